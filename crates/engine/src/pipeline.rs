//! A pipeline: its workflows, and where each event goes.

use std::collections::HashMap;

use capstan_model::{JobId, JobStatus, PipelineId, RunnerId, TaskId, TaskOutcome, WorkflowId};

use crate::decision;
use crate::draft::{At, Delta, Draft, Ids, job_row, workflow_row};
use crate::event::{CancelScope, Timer};
use crate::job::{JobMove, JobState};
use crate::rows::{JobRow, PipelineRow, Row, WorkflowRow};
use crate::task::TaskMove;
use crate::tasks::Tasks;
use crate::workflow::Workflow;
use crate::{Effect, Event, IllegalTransition};

/// Everything that is known of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    id: PipelineId,
    row: Option<PipelineRow>,
    pub(crate) workflows: Vec<Workflow>,
    workflow_index: HashMap<WorkflowId, usize>,
    /// Jobs by id, in the workflow they run in; a carried one is not indexed again.
    job_index: HashMap<JobId, At>,
    pub(crate) tasks: Tasks,
    /// Every id that was ever given, used or not.
    pub(crate) ids: Ids,
}

impl Pipeline {
    /// A pipeline that nothing has happened to. Its first event is `Planned` or `Rejected`.
    pub fn new(id: PipelineId) -> Self {
        Self {
            id,
            row: None,
            workflows: Vec::new(),
            workflow_index: HashMap::new(),
            job_index: HashMap::new(),
            tasks: Tasks::default(),
            ids: Ids::default(),
        }
    }

    /// Its id.
    pub fn id(&self) -> PipelineId {
        self.id
    }

    /// Its own row, once something has happened.
    pub(crate) fn row(&self) -> Option<&PipelineRow> {
        self.row.as_ref()
    }

    /// What an event changes, and what is to be done for it. Nothing changes before
    /// [`Pipeline::commit`].
    ///
    /// # Errors
    /// The event cannot happen in this state.
    pub fn apply(
        &self,
        now_ms: i64,
        event: &Event,
    ) -> Result<(Delta, Vec<Effect>), IllegalTransition> {
        let mut draft = Draft::new(self, now_ms);
        match event {
            Event::Planned {
                trigger,
                plan,
                workflows,
                source: _,
            } => {
                draft.planned(trigger, plan, workflows)?;
            }
            Event::Rejected { trigger, errors } => draft.rejected(trigger, errors)?,
            Event::Continued {
                plan,
                workflows,
                source: _,
                parameters: _,
            } => draft.continued(plan, workflows)?,
            Event::ContinuationRejected {
                errors,
                parameters: _,
            } => {
                draft.continuation_rejected(errors)?;
            }
            Event::Claimed {
                task,
                runner,
                lease_epoch,
                lease_until_ms,
            } => {
                self.claimed(&mut draft, *task, *runner, *lease_epoch, *lease_until_ms)?;
            }
            Event::TaskStarted { task, lease_epoch } => {
                let at = self.owner(*task)?;
                draft.move_task(
                    at,
                    *task,
                    TaskMove::Start {
                        lease_epoch: *lease_epoch,
                    },
                )?;
                draft.move_job(at, JobMove::Start, "its steps are executed")?;
            }
            Event::TaskFinished {
                task,
                lease_epoch,
                outcome,
            } => {
                draft.end_task(self.owner(*task)?, *task, *lease_epoch, outcome.clone())?;
            }
            Event::TimerFired { timer } => self.timer(&mut draft, timer)?,
            Event::Approved {
                workflow,
                job,
                actor,
            } => {
                self.approved(&mut draft, *workflow, *job, actor)?;
            }
            Event::CancelAsked { scope, actor } => self.cancel(&mut draft, scope, actor)?,
            Event::Granted { workflow, job } => {
                let event = "be given its serial group";
                let at = self.answered(&draft, *workflow, *job, event)?;
                draft.queue(at, String::from("has its serial group"))?;
            }
            Event::Superseded { workflow, job } => {
                let event = "be refused its serial group";
                let at = self.answered(&draft, *workflow, *job, event)?;
                draft.leave_out(at, decision::SUPERSEDED)?;
            }
            Event::Rerun {
                of,
                scope,
                new,
                actor,
            } => {
                draft.rerun(*of, scope, new, actor)?;
            }
        }
        draft.finish()
    }

    /// Takes over what [`Pipeline::apply`] gave.
    pub fn commit(&mut self, delta: Delta) {
        if let Some(row) = delta.pipeline {
            self.row = Some(row);
        }
        for workflow in delta.fresh {
            let w = self.workflows.len();
            self.workflow_index.insert(workflow.summary.id, w);
            for (j, job) in workflow.jobs.iter().enumerate() {
                if job.carried_from.is_none() {
                    self.job_index.insert(job.id, (w, j));
                }
            }
            self.workflows.push(workflow);
        }
        for ((w, j), job) in delta.jobs {
            if let Some(slot) = self
                .workflows
                .get_mut(w)
                .and_then(|workflow| workflow.jobs.get_mut(j))
            {
                *slot = job;
            }
        }
        self.tasks.take(delta.tasks);
        self.ids.take(delta.ids);
        for (w, summary) in delta.summaries {
            if let Some(workflow) = self.workflows.get_mut(w) {
                workflow.summary = summary;
            }
        }
    }

    // ------------------------------------------------------------ events

    fn claimed(
        &self,
        draft: &mut Draft<'_>,
        task: TaskId,
        runner: RunnerId,
        lease_epoch: u64,
        lease_until_ms: i64,
    ) -> Result<(), IllegalTransition> {
        let at = self.owner(task)?;
        draft.move_task(
            at,
            task,
            TaskMove::Claim {
                runner,
                lease_epoch,
                lease_until_ms,
            },
        )?;
        draft.move_job(at, JobMove::Prepare, "a runner prepares its place")?;
        let timer = Timer::Lease { task, lease_epoch };
        draft.effects.push(Effect::SetTimer {
            timer,
            at_ms: lease_until_ms,
        });
        Ok(())
    }

    fn timer(&self, draft: &mut Draft<'_>, timer: &Timer) -> Result<(), IllegalTransition> {
        let (task, epoch, outcome) = match timer {
            Timer::Lease { task, lease_epoch } => {
                let cause = String::from("its runner was not heard of any more");
                (*task, *lease_epoch, TaskOutcome::InfrastructureFail(cause))
            }
            Timer::CancelGrace { task, lease_epoch } => {
                (*task, *lease_epoch, TaskOutcome::Canceled)
            }
        };
        let at = self.owner(task)?;
        if let Timer::CancelGrace { .. } = timer {
            let canceling = self
                .tasks
                .get(task)
                .is_some_and(|task| task.state.canceling());
            if !canceling {
                return Err(IllegalTransition::new(
                    format!("task {task}"),
                    "not being canceled",
                    "end by the cancel timer",
                )
                .stale());
            }
        }
        draft.end_task(at, task, epoch, outcome)
    }

    fn approved(
        &self,
        draft: &mut Draft<'_>,
        workflow: WorkflowId,
        job: JobId,
        actor: &str,
    ) -> Result<(), IllegalTransition> {
        let at = self.place(workflow, job)?;
        if draft
            .job(at)
            .is_none_or(|job| job.state != JobState::OnHold)
        {
            let state = draft
                .job(at)
                .map_or("unknown", |job| job.state.status().as_str());
            return Err(IllegalTransition::new(
                format!("job {}", draft.name(at)),
                state,
                "be approved",
            ));
        }
        draft.move_job(
            at,
            JobMove::End(JobStatus::Success),
            format!("approved by {actor}"),
        )?;
        if let Some(job) = draft.delta.jobs.get_mut(&at) {
            job.approved_by = Some(actor.to_owned());
        }
        Ok(())
    }

    fn cancel(
        &self,
        draft: &mut Draft<'_>,
        scope: &CancelScope,
        actor: &str,
    ) -> Result<(), IllegalTransition> {
        match scope {
            CancelScope::Pipeline if self.row.is_none() => {
                let state = "not there yet";
                Err(IllegalTransition::new("pipeline", state, "be canceled"))
            }
            CancelScope::Pipeline => {
                draft.cancel_setup(actor);
                for w in 0..self.workflows.len() {
                    draft.cancel_workflow(w, actor)?;
                }
                Ok(())
            }
            CancelScope::Workflow { workflow } => {
                draft.cancel_workflow(self.workflow_place(*workflow)?, actor)
            }
            CancelScope::Job { workflow, job } => {
                draft.cancel_job(self.place(*workflow, *job)?, actor)
            }
        }
    }

    /// The store answers a job that waits for its serial group.
    fn answered(
        &self,
        draft: &Draft<'_>,
        workflow: WorkflowId,
        job: JobId,
        event: &str,
    ) -> Result<At, IllegalTransition> {
        let at = self.place(workflow, job)?;
        match draft.job(at).map(|job| &job.state) {
            Some(JobState::Waiting) => Ok(at),
            other => {
                let state = other.map_or("unknown", |state| state.status().as_str());
                let subject = format!("job {}", draft.name(at));
                Err(IllegalTransition::new(subject, state, event))
            }
        }
    }

    // ------------------------------------------------------------ finding

    pub(crate) fn workflow_place(&self, id: WorkflowId) -> Result<usize, IllegalTransition> {
        let unknown = || IllegalTransition::new(format!("workflow {id}"), "unknown", "change");
        self.workflow_index.get(&id).copied().ok_or_else(unknown)
    }

    fn place(&self, workflow: WorkflowId, job: JobId) -> Result<At, IllegalTransition> {
        let w = self.workflow_place(workflow)?;
        // The index knows where the job runs; a carried one is looked for.
        match self.job_index.get(&job) {
            Some(at) if at.0 == w => Ok(*at),
            _ => self.workflows[w]
                .jobs
                .iter()
                .position(|known| known.id == job)
                .map(|j| (w, j))
                .ok_or_else(|| IllegalTransition::new(format!("job {job}"), "unknown", "change")),
        }
    }

    fn owner(&self, task: TaskId) -> Result<At, IllegalTransition> {
        let unknown = || IllegalTransition::new(format!("task {task}"), "unknown", "change");
        self.job_index.get(&task.job).copied().ok_or_else(unknown)
    }

    // ------------------------------------------------------------ rows

    /// Every row, as the events made them.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.row.clone().map(Row::Pipeline).into_iter().collect();
        for w in 0..self.workflows.len() {
            rows.extend(self.workflow_row(w).map(Row::Workflow));
        }
        for (w, workflow) in self.workflows.iter().enumerate() {
            for j in 0..workflow.jobs.len() {
                rows.extend(self.job_row((w, j)).map(Row::Job));
            }
        }
        rows.extend(self.tasks.iter().cloned().map(Row::Task));
        rows
    }

    pub(crate) fn workflow_row(&self, w: usize) -> Option<WorkflowRow> {
        let workflow = self.workflows.get(w)?;
        workflow_row(self.id, workflow, &workflow.summary)
    }

    pub(crate) fn job_row(&self, (w, j): At) -> Option<JobRow> {
        let workflow = self.workflows.get(w)?;
        let (planned, job) = (workflow.planned_job(j)?, workflow.jobs.get(j)?);
        Some(job_row(&workflow.summary, j, planned, job))
    }
}
