//! The rows as a store has them, and what an event means to them: which states it meets, and whether it
//! may be taken at all.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use capstan_engine::event::{CancelScope, NewWorkflow, Timer};
use capstan_engine::rows::PipelineState;
use capstan_engine::{Event, JobRow, PipelineRow, Row, TaskRow, TaskState, WorkflowRow};
use capstan_model::plan;
use capstan_model::{Digest, JobId, JobStatus, Plan, TaskId, WorkflowId, WorkflowStatus};
use uuid::Uuid;

use crate::model;
use crate::pairs::{self, Met};

/// The rows, and what has to be remembered of the events to judge them.
#[derive(Default)]
pub struct Rows {
    pub pipeline: Option<PipelineRow>,
    pub workflows: BTreeMap<WorkflowId, WorkflowRow>,
    pub jobs: BTreeMap<(WorkflowId, JobId), JobRow>,
    pub tasks: BTreeMap<TaskId, TaskRow>,
    pub plans: BTreeMap<Digest, Arc<Plan>>,
    /// Requirements that count as met, by job.
    pub forgiven: BTreeMap<(WorkflowId, JobId), BTreeSet<String>>,
    /// Jobs that were refused their group.
    pub superseded: BTreeSet<(WorkflowId, JobId)>,
    /// Jobs that were asked to end while they had tasks.
    pub asked_to_end: BTreeSet<JobId>,
    /// Ids for automatic reruns, by the workflow they were given with.
    pub spare: BTreeMap<WorkflowId, Vec<NewWorkflow>>,
    pub ids: HashSet<Uuid>,
}

/// What an event is about.
enum Named {
    Pipeline,
    Workflow(WorkflowId),
    Job(WorkflowId, JobId),
    Task(TaskId),
}

impl Rows {
    pub fn jobs_of(&self, id: WorkflowId) -> impl Iterator<Item = &JobRow> {
        let ends = (id, JobId(Uuid::nil()))..=(id, JobId(Uuid::max()));
        self.jobs.range(ends).map(|(_, row)| row)
    }

    /// In the order of the workflow.
    pub fn ordered_jobs_of(&self, id: WorkflowId) -> Vec<&JobRow> {
        let mut jobs: Vec<&JobRow> = self.jobs_of(id).collect();
        jobs.sort_by_key(|row| row.ordinal);
        jobs
    }

    pub fn tasks_of(&self, job: JobId) -> impl Iterator<Item = &TaskRow> {
        let end = |node, attempt| TaskId { job, node, attempt };
        self.tasks
            .range(end(0, 0)..=end(u32::MAX, u32::MAX))
            .map(|(_, row)| row)
    }

    /// Whether its tasks were not offered yet, for want of its group.
    pub fn waits_for_group(&self, job: &JobRow) -> bool {
        job.status == JobStatus::Queued && self.tasks_of(job.id).next().is_none()
    }

    /// What a job requires by the config, and counts as met.
    pub fn forgiven(&self, job: &JobRow) -> BTreeSet<String> {
        let names = self.forgiven.get(&(job.workflow, job.id));
        names.cloned().unwrap_or_default()
    }

    pub fn planned(&self, row: &WorkflowRow) -> Option<&plan::Workflow> {
        let plan = self.plans.get(&row.plan)?;
        plan.workflows.iter().find(|one| one.name == row.name)
    }

    /// Every row, sorted, to be compared with those of the engine.
    pub fn sorted(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        rows.extend(self.pipeline.clone().map(Row::Pipeline));
        rows.extend(self.workflows.values().cloned().map(Row::Workflow));
        rows.extend(self.jobs.values().cloned().map(Row::Job));
        rows.extend(self.tasks.values().cloned().map(Row::Task));
        sorted(rows)
    }

    // ------------------------------------------------------------ what an event meets

    pub fn met(&self, event: &Event) -> Met {
        let mut met = Met::default();
        met.add(pairs::pipeline(self.pipeline_word()));
        match named(event) {
            Named::Pipeline => {
                for workflow in self.workflows.values() {
                    self.meet_workflow(workflow, &mut met);
                }
            }
            Named::Workflow(id) => {
                if let Some(workflow) = self.workflows.get(&id) {
                    self.meet_workflow(workflow, &mut met);
                }
            }
            Named::Job(workflow, job) => {
                if let Some(job) = self.jobs.get(&(workflow, job)) {
                    self.meet_job(job, &mut met);
                    if job.carried_from.is_none() {
                        self.meet_tasks(job.id, &mut met);
                    }
                }
            }
            Named::Task(task) => {
                if let Some(row) = self.tasks.get(&task) {
                    met.add(pairs::task(&row.state));
                }
                let owner = |row: &&JobRow| row.id == task.job && row.carried_from.is_none();
                if let Some(job) = self.jobs.values().find(owner) {
                    self.meet_job(job, &mut met);
                }
            }
        }
        met
    }

    fn meet_workflow(&self, workflow: &WorkflowRow, met: &mut Met) {
        met.add(pairs::workflow(workflow.status));
        for job in self.jobs_of(workflow.id) {
            met.add(pairs::job(job.status, self.waits_for_group(job)));
            if job.carried_from.is_none() {
                self.meet_tasks(job.id, met);
            }
        }
    }

    fn meet_job(&self, job: &JobRow, met: &mut Met) {
        met.add(pairs::job(job.status, self.waits_for_group(job)));
        if let Some(workflow) = self.workflows.get(&job.workflow) {
            met.add(pairs::workflow(workflow.status));
        }
    }

    fn meet_tasks(&self, job: JobId, met: &mut Met) {
        for task in self.tasks_of(job) {
            met.add(pairs::task(&task.state));
        }
    }

    fn pipeline_word(&self) -> &'static str {
        self.pipeline
            .as_ref()
            .map_or("pending", |row| row.state.as_str())
    }

    // ------------------------------------------------------------ what may be taken

    /// Whether an event may be taken, by the rows alone; the error says why not. The engine must say the
    /// same.
    pub fn may(&self, now_ms: i64, event: &Event) -> Result<(), &'static str> {
        if let Event::Planned {
            plan, workflows, ..
        } = event
        {
            let plan = plan.plan.as_ref().ok_or("no plan")?;
            yes(self.pipeline.is_none(), "there already")?;
            yes(
                !plan.setup || workflows.len() < 2,
                "a setup config of many workflows",
            )?;
            return self.ids_fit(plan, workflows);
        }
        if let Event::Rejected { .. } = event {
            return yes(self.pipeline.is_none(), "there already");
        }
        yes(self.pipeline.is_some(), "nothing has happened yet")?;
        match event {
            Event::Planned { .. } | Event::Rejected { .. } => Ok(()),
            Event::Continued {
                plan, workflows, ..
            } => {
                self.may_continue(now_ms)?;
                let plan = plan.plan.as_ref().ok_or("no plan")?;
                yes(!plan.setup, "a setup config again")?;
                self.ids_fit(plan, workflows)
            }
            Event::ContinuationRejected { .. } => self.may_continue(now_ms),
            Event::Claimed { task, .. } => yes(
                matches!(self.state(*task)?, TaskState::Queued { .. }),
                "not offered",
            ),
            Event::TaskStarted { task, lease_epoch } => {
                let state = self.state(*task)?;
                let claimed = matches!(state, TaskState::Claimed { .. });
                yes(
                    claimed && state.epoch() == Some(*lease_epoch),
                    "not claimed so",
                )
            }
            Event::TaskFinished {
                task, lease_epoch, ..
            }
            | Event::TimerFired {
                timer: Timer::Lease { task, lease_epoch },
            } => yes(
                self.state(*task)?.epoch() == Some(*lease_epoch),
                "not held so",
            ),
            Event::TimerFired {
                timer: Timer::CancelGrace { task, lease_epoch },
            } => {
                let state = self.state(*task)?;
                let told = state.canceling() && state.epoch() == Some(*lease_epoch);
                yes(told, "not told to stop")
            }
            Event::Approved { workflow, job, .. } => yes(
                self.job(*workflow, *job)?.status == JobStatus::OnHold,
                "waits for nobody",
            ),
            Event::CancelAsked { scope, .. } => match scope {
                CancelScope::Pipeline => Ok(()),
                CancelScope::Workflow { workflow } => {
                    yes(self.workflows.contains_key(workflow), "no such workflow")
                }
                CancelScope::Job { workflow, job } => self.job(*workflow, *job).map(|_| ()),
            },
            Event::Granted { workflow, job } | Event::Superseded { workflow, job } => yes(
                self.waits_for_group(self.job(*workflow, *job)?),
                "waits for no group",
            ),
            Event::Rerun { of, scope, new, .. } => {
                let old = self.workflows.get(of).ok_or("no such workflow")?;
                let jobs = self.ordered_jobs_of(*of);
                let planned = self.planned(old).ok_or("not planned")?;
                model::rerun(old, &jobs, planned, scope, |job| self.forgiven(job))?;
                yes(new.jobs.len() == jobs.len(), "too few ids")?;
                yes(new.auto_reruns.is_empty(), "ids nobody needs")?;
                yes(self.are_new(std::slice::from_ref(new)), "ids are used")
            }
        }
    }

    /// Once, while it waits, and not after the setup workflow or all of it was canceled.
    fn may_continue(&self, now_ms: i64) -> Result<(), &'static str> {
        let row = self.pipeline.as_ref().ok_or("no pipeline")?;
        yes(row.state == PipelineState::Setup, "not in setup")?;
        yes(row.continued.is_none(), "continued already")?;
        let newest = self.workflows.values().max_by_key(|row| row.ordinal);
        let canceled = newest
            .is_some_and(|row| row.canceled_by.is_some() || row.status == WorkflowStatus::Canceled);
        yes(!canceled && row.canceled_by.is_none(), "canceled")?;
        let six_hours = 6 * 60 * 60 * 1_000;
        let late = newest.is_none_or(|row| now_ms - row.created_at_ms > six_hours);
        yes(!late, "too late")
    }

    fn state(&self, task: TaskId) -> Result<&TaskState, &'static str> {
        let row = self.tasks.get(&task).ok_or("no such task")?;
        Ok(&row.state)
    }

    fn job(&self, workflow: WorkflowId, job: JobId) -> Result<&JobRow, &'static str> {
        self.jobs.get(&(workflow, job)).ok_or("no such job")
    }

    /// Whether there are ids for all that a plan makes, and none is used.
    fn ids_fit(&self, plan: &Plan, workflows: &[NewWorkflow]) -> Result<(), &'static str> {
        let fits = |(planned, new): (&plan::Workflow, &NewWorkflow)| {
            let jobs = planned.jobs.len();
            new.jobs.len() == jobs
                && new.auto_reruns.len() == planned.max_auto_reruns as usize
                && new.auto_reruns.iter().all(|one| one.jobs.len() == jobs)
        };
        let fit = plan.workflows.len() == workflows.len()
            && plan.workflows.iter().zip(workflows).all(fits);
        yes(fit, "ids do not fit the plan")?;
        yes(self.are_new(workflows), "ids are used")
    }

    fn are_new(&self, workflows: &[NewWorkflow]) -> bool {
        let mut ids = Vec::new();
        all_ids(workflows, &mut ids);
        let mut once = HashSet::new();
        ids.iter()
            .all(|id| once.insert(*id) && !self.ids.contains(id))
    }
}

/// Every id of these, one after the other.
pub fn all_ids(workflows: &[NewWorkflow], ids: &mut Vec<Uuid>) {
    for new in workflows {
        ids.push(new.id.0);
        ids.extend(new.jobs.iter().map(|job| job.0));
        all_ids(&new.auto_reruns, ids);
    }
}

fn yes(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn named(event: &Event) -> Named {
    match event {
        Event::Planned { .. }
        | Event::Rejected { .. }
        | Event::Continued { .. }
        | Event::ContinuationRejected { .. } => Named::Pipeline,
        Event::Claimed { task, .. }
        | Event::TaskStarted { task, .. }
        | Event::TaskFinished { task, .. }
        | Event::TimerFired {
            timer: Timer::Lease { task, .. } | Timer::CancelGrace { task, .. },
        } => Named::Task(*task),
        Event::CancelAsked { scope, .. } => match scope {
            CancelScope::Pipeline => Named::Pipeline,
            CancelScope::Workflow { workflow } => Named::Workflow(*workflow),
            CancelScope::Job { workflow, job } => Named::Job(*workflow, *job),
        },
        Event::Approved { workflow, job, .. }
        | Event::Granted { workflow, job }
        | Event::Superseded { workflow, job } => Named::Job(*workflow, *job),
        Event::Rerun { of, .. } => Named::Workflow(*of),
    }
}

/// Rows by kind and key.
pub fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    let nobody = (WorkflowId(Uuid::nil()), JobId(Uuid::nil()));
    rows.sort_by_key(|row| match row {
        Row::Pipeline(_) => (0, nobody, 0, 0),
        Row::Workflow(row) => (1, (row.id, nobody.1), 0, 0),
        Row::Job(row) => (2, (row.workflow, row.id), 0, 0),
        Row::Task(row) => (3, (nobody.0, row.id.job), row.id.node, row.id.attempt),
    });
    rows
}
