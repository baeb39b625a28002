//! How a run stands, put together from its updates.

use std::collections::BTreeMap;
use std::sync::Arc;

use capstan_model::plan::{BuildJob, JobKind, Plan, Step};
use capstan_model::source::Location;
use capstan_model::wire::{STEP_FIRST, STEP_SPIN_UP};
use capstan_model::{JobId, JobStatus, PipelineId, StepStatus, TaskId, WorkflowId, WorkflowStatus};
use capstan_server::live::{Update, UpdateKind};

/// A workflow.
#[derive(Clone, Debug)]
pub struct WorkflowView {
    /// Its id.
    pub id: WorkflowId,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: WorkflowStatus,
    /// The workflow that it runs again.
    pub rerun_of: Option<WorkflowId>,
    /// What is done in it, for the places of steps.
    pub plan: Option<Arc<Plan>>,
}

/// A job in a workflow.
#[derive(Clone, Debug)]
pub struct JobView {
    /// The workflow it stands in.
    pub workflow: WorkflowId,
    /// Its id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: JobStatus,
    /// Why.
    pub reason: String,
    /// When it left the queue.
    pub started_at_ms: Option<i64>,
    /// When it ended.
    pub stopped_at_ms: Option<i64>,
}

/// A step of a task.
#[derive(Clone, Debug)]
pub struct StepView {
    /// Its title.
    pub name: String,
    /// How it stands.
    pub status: StepStatus,
    /// Exit code of a `run` step.
    pub exit_code: Option<i32>,
    /// Why it did not succeed.
    pub reason: Option<String>,
    /// When it began.
    pub started_at_ms: i64,
    /// How long it took.
    pub duration_ms: i64,
}

/// Everything known of a run.
#[derive(Debug, Default)]
pub struct Board {
    /// The pipeline and its number.
    pub pipeline: Option<(PipelineId, u64)>,
    /// Its workflows in order.
    pub workflows: Vec<WorkflowView>,
    /// Its jobs in order.
    pub jobs: Vec<JobView>,
    /// Its steps.
    pub steps: BTreeMap<(TaskId, u32), StepView>,
    /// Only these workflows are looked at.
    only: Option<Vec<WorkflowId>>,
}

impl Board {
    /// A board for all workflows, or for some: a rerun looks at nothing else.
    pub fn new(only: Option<Vec<WorkflowId>>) -> Self {
        Self {
            only,
            ..Self::default()
        }
    }

    /// Whether an update belongs to what is looked at.
    pub fn concerns(&self, update: &Update) -> bool {
        let Some(only) = &self.only else { return true };
        match &update.kind {
            UpdateKind::Pipeline { .. } => true,
            UpdateKind::Workflow {
                workflow, rerun_of, ..
            } => {
                let automatic = |of: WorkflowId| self.workflow(of).is_some();
                only.contains(workflow) || rerun_of.is_some_and(automatic)
            }
            UpdateKind::Job { workflow, .. } => self.workflow(*workflow).is_some(),
            UpdateKind::TaskStarted { task, .. }
            | UpdateKind::TaskFinished { task, .. }
            | UpdateKind::StepStarted { task, .. }
            | UpdateKind::StepFinished { task, .. }
            | UpdateKind::Output { task, .. } => self.job_of(*task).is_some(),
        }
    }

    /// A workflow that is looked at.
    pub fn workflow(&self, id: WorkflowId) -> Option<&WorkflowView> {
        self.workflows.iter().find(|workflow| workflow.id == id)
    }

    /// Tells a workflow what is done in it.
    pub fn explain(&mut self, id: WorkflowId, plan: Option<Arc<Plan>>) {
        let mut all = self.workflows.iter_mut();
        if let Some(workflow) = all.find(|workflow| workflow.id == id) {
            workflow.plan = plan;
        }
    }

    /// The workflows that count: of those that ran again by themselves, the last try.
    pub fn last_tries(&self) -> impl Iterator<Item = &WorkflowView> {
        self.workflows.iter().filter(|workflow| {
            let again = |other: &WorkflowView| other.rerun_of == Some(workflow.id);
            !self.workflows.iter().any(again)
        })
    }

    /// Takes a change in.
    pub fn apply(&mut self, update: &Update) {
        let at_ms = update.at_ms;
        match &update.kind {
            UpdateKind::Pipeline {
                pipeline, number, ..
            } => {
                self.pipeline = Some((*pipeline, *number));
            }
            UpdateKind::Workflow {
                workflow,
                name,
                status,
                rerun_of,
            } => {
                match self
                    .workflows
                    .iter_mut()
                    .find(|known| known.id == *workflow)
                {
                    Some(known) => known.status = *status,
                    None => self.workflows.push(WorkflowView {
                        id: *workflow,
                        name: name.clone(),
                        status: *status,
                        rerun_of: *rerun_of,
                        plan: None,
                    }),
                }
            }
            UpdateKind::Job {
                workflow,
                job,
                name,
                status,
                reason,
            } => {
                let known = self
                    .jobs
                    .iter()
                    .position(|known| known.id == *job && known.workflow == *workflow);
                let at = known.unwrap_or_else(|| {
                    self.jobs.push(JobView {
                        workflow: *workflow,
                        id: *job,
                        name: name.clone(),
                        status: *status,
                        reason: String::new(),
                        started_at_ms: None,
                        stopped_at_ms: None,
                    });
                    self.jobs.len() - 1
                });
                if let Some(view) = self.jobs.get_mut(at) {
                    view.move_to(*status, reason, at_ms, known.is_none());
                }
            }
            UpdateKind::StepStarted { task, step, name } => {
                self.steps.insert(
                    (*task, *step),
                    StepView {
                        name: super::neutral::one_line(name),
                        status: StepStatus::Running,
                        exit_code: None,
                        reason: None,
                        started_at_ms: at_ms,
                        duration_ms: 0,
                    },
                );
            }
            UpdateKind::StepFinished {
                task,
                step,
                status,
                exit_code,
                reason,
                duration_ms,
            } => {
                if let Some(view) = self.steps.get_mut(&(*task, *step)) {
                    view.status = *status;
                    view.exit_code = *exit_code;
                    view.reason.clone_from(reason);
                    view.duration_ms = *duration_ms;
                }
            }
            UpdateKind::TaskStarted { .. }
            | UpdateKind::TaskFinished { .. }
            | UpdateKind::Output { .. } => {}
        }
    }

    /// The job of a task.
    pub fn job_of(&self, task: TaskId) -> Option<&JobView> {
        self.jobs.iter().rfind(|job| job.id == task.job)
    }

    /// The name of a workflow.
    pub fn workflow_name(&self, id: WorkflowId) -> &str {
        self.workflows
            .iter()
            .find(|known| known.id == id)
            .map_or("?", |known| &known.name)
    }

    /// How a job is called in lines: its name, with the workflow's where that alone is ambiguous.
    pub fn job_label(&self, job: &JobView) -> String {
        let ambiguous = self
            .jobs
            .iter()
            .any(|other| other.name == job.name && other.workflow != job.workflow);
        let name = super::neutral::one_line(&job.name);
        if ambiguous {
            format!("{}/{name}", self.workflow_name(job.workflow))
        } else {
            name
        }
    }

    /// How a task is called in lines: its job, with the node's index where there are several.
    pub fn task_label(&self, task: TaskId) -> String {
        let Some(job) = self.job_of(task) else {
            return String::from("?");
        };
        let label = self.job_label(job);
        let nodes = self.build_of(job).map_or(1, |build| build.parallelism);
        if nodes > 1 {
            format!("{label}#{}", task.node)
        } else {
            label
        }
    }

    /// Where a configured step stands in the config.
    pub fn location(&self, task: TaskId, step: u32) -> Option<Location> {
        let job = self.job_of(task)?;
        let plan = self.workflow(job.workflow)?.plan.as_ref()?;
        let origin = plan.origins.get(self.planned_step(task, step)?.origin)?;
        Some(plan.origins.locate(origin.span))
    }

    fn planned_step(&self, task: TaskId, step: u32) -> Option<&Step> {
        let build = self.build_of(self.job_of(task)?)?;
        build
            .steps
            .get(usize::try_from(step.checked_sub(STEP_FIRST)?).ok()?)
    }

    fn build_of(&self, job: &JobView) -> Option<&BuildJob> {
        let workflow = self.workflow_name(job.workflow);
        let planned = self
            .workflow(job.workflow)?
            .plan
            .as_ref()?
            .workflows
            .iter()
            .filter(|planned| planned.name == workflow)
            .flat_map(|planned| &planned.jobs)
            .find(|planned| planned.name == job.name)?;
        match &planned.kind {
            JobKind::Build(build) => Some(build),
            JobKind::Approval | JobKind::NoOp => None,
        }
    }

    /// The steps that did not end well, in order.
    pub fn failed_steps(&self) -> impl Iterator<Item = (TaskId, u32, &StepView)> {
        self.steps
            .iter()
            .filter(|(_, view)| !matches!(view.status, StepStatus::Running | StepStatus::Success))
            .map(|((task, step), view)| (*task, *step, view))
    }

    /// The step a task is at, the latest that runs.
    pub fn running_step(&self, job: &JobView) -> Option<(TaskId, u32, &StepView)> {
        self.steps
            .iter()
            .rfind(|((task, _), view)| task.job == job.id && view.status == StepStatus::Running)
            .map(|((task, step), view)| (*task, *step, view))
    }
}

impl JobView {
    fn move_to(&mut self, status: JobStatus, reason: &str, at_ms: i64, first_seen: bool) {
        self.status = status;
        reason.clone_into(&mut self.reason);
        if matches!(status, JobStatus::NotRunning | JobStatus::Running) {
            self.started_at_ms.get_or_insert(at_ms);
        }
        // What a rerun carries over has ended long ago and took no time now.
        if status.is_terminal() && !first_seen {
            self.stopped_at_ms.get_or_insert(at_ms);
        }
    }

    /// How long it took, or has taken until now.
    pub fn elapsed_ms(&self, now_ms: i64) -> Option<i64> {
        Some(self.stopped_at_ms.unwrap_or(now_ms) - self.started_at_ms?)
    }
}

/// Whether a step is the executor's own and says nothing when it went well.
pub fn is_own_step(step: u32) -> bool {
    (STEP_SPIN_UP..STEP_FIRST).contains(&step)
}
