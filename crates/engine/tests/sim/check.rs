//! What must hold after every event, said again without the engine's own means.

use std::collections::{BTreeMap, HashMap};

use capstan_engine::{Delta, Effect, JobRow, Row, TaskRow, TaskState, WorkflowRow};
use capstan_model::plan::RequiredStatus;
use capstan_model::{JobId, JobStatus, Plan, TaskId, WorkflowId, WorkflowStatus};

/// The rows as a store would have them.
#[derive(Default)]
pub struct Rows {
    pub pipeline: Option<Row>,
    pub workflows: BTreeMap<WorkflowId, WorkflowRow>,
    pub jobs: BTreeMap<(WorkflowId, JobId), JobRow>,
    pub tasks: BTreeMap<TaskId, TaskRow>,
}

type Verdict = Result<(), String>;

impl Rows {
    /// Takes a change over, and looks whether it is one that may be.
    pub fn take(&mut self, plan: &Plan, delta: &Delta, effects: &[Effect]) -> Verdict {
        let mut touched = Vec::new();
        let canceled: Vec<WorkflowId> = self
            .workflows
            .values()
            .filter(|row| row.canceled_by.is_some())
            .map(|row| row.id)
            .collect();
        for row in delta.rows() {
            match row {
                Row::Pipeline(_) => self.pipeline = Some(row),
                Row::Workflow(row) => {
                    touched.push(row.id);
                    if let Some(old) = self.workflows.insert(row.id, row.clone())
                        && old.status.is_terminal()
                        && old != row
                    {
                        return Err(format!("a terminal workflow changed: {old:?} to {row:?}"));
                    }
                }
                Row::Job(row) => {
                    touched.push(row.workflow);
                    let old = self.jobs.insert((row.workflow, row.id), row.clone());
                    if let Some(old) = &old
                        && old.status.is_terminal()
                        && *old != row
                    {
                        return Err(format!("a terminal job changed: {old:?} to {row:?}"));
                    }
                    let blocked = old
                        .as_ref()
                        .is_some_and(|old| old.status == JobStatus::Blocked);
                    let whole = delta.rows().iter().any(|other| {
                        matches!(other, Row::Workflow(other) if other.id == row.workflow
                            && other.canceled_by.is_some() && !canceled.contains(&other.id))
                    });
                    if blocked && whole && row.status == JobStatus::Canceled {
                        return Err(format!("canceled with its workflow, not left out: {row:?}"));
                    }
                    let was_blocked = old.is_none_or(|old| old.status == JobStatus::Blocked);
                    let begins =
                        !matches!(row.status, JobStatus::Blocked) && !row.status.is_terminal();
                    if was_blocked && begins && canceled.contains(&row.workflow) {
                        return Err(format!("a canceled workflow started {row:?}"));
                    }
                }
                Row::Task(row) => {
                    let old = self.tasks.insert(row.id, row.clone());
                    if let Some(old) = old
                        && matches!(old.state, TaskState::Finished { .. })
                        && old != row
                    {
                        return Err(format!("a finished task changed: {old:?} to {row:?}"));
                    }
                }
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for workflow in touched {
            self.workflow_holds(plan, workflow, &canceled)?;
        }
        self.offers_hold(effects)
    }

    fn jobs_of(&self, workflow: WorkflowId) -> Vec<&JobRow> {
        let mut jobs: Vec<&JobRow> = self
            .jobs
            .values()
            .filter(|row| row.workflow == workflow)
            .collect();
        jobs.sort_by_key(|row| row.ordinal);
        jobs
    }

    fn workflow_holds(&self, plan: &Plan, id: WorkflowId, canceled: &[WorkflowId]) -> Verdict {
        let Some(workflow) = self.workflows.get(&id) else {
            return Err(format!("no row of workflow {id}"));
        };
        let jobs = self.jobs_of(id);
        let wanted = naive_status(workflow, &jobs);
        if workflow.status != wanted {
            let statuses: Vec<_> = jobs.iter().map(|job| job.status).collect();
            return Err(format!(
                "workflow is {:?}, its jobs {statuses:?} make it {wanted:?}",
                workflow.status
            ));
        }
        if workflow.status.is_terminal() != workflow.stopped_at_ms.is_some() {
            return Err(format!("stopped_at of {workflow:?}"));
        }
        let planned = plan
            .workflows
            .iter()
            .find(|planned| planned.name == workflow.name);
        let Some(planned) = planned else {
            return Err(format!("workflow {} is not planned", workflow.name));
        };
        let by_name: HashMap<&str, &JobRow> =
            jobs.iter().map(|job| (job.name.as_str(), *job)).collect();
        for job in jobs.iter().filter(|job| job.carried_from.is_none()) {
            self.nodes_hold(job)?;
            let began = !matches!(
                job.status,
                JobStatus::Blocked | JobStatus::NotRun | JobStatus::Canceled
            );
            // Jobs of a rerun may count requirements as met.
            if workflow.rerun_of.is_some() || !began {
                continue;
            }
            let Some(node) = planned.jobs.iter().find(|planned| planned.name == job.name) else {
                return Err(format!("job {} is not planned", job.name));
            };
            for requirement in &node.requires {
                let status = by_name.get(requirement.job.as_str()).map(|row| row.status);
                let seen = status.and_then(RequiredStatus::of);
                if !seen.is_some_and(|seen| requirement.statuses.contains(&seen)) {
                    return Err(format!(
                        "{} began though {} is {status:?} and {:?} was required",
                        job.name, requirement.job, requirement.statuses
                    ));
                }
            }
        }
        let _ = canceled;
        Ok(())
    }

    fn nodes_hold(&self, job: &JobRow) -> Verdict {
        let range = TaskId {
            job: job.id,
            node: 0,
            attempt: 0,
        }..=TaskId {
            job: job.id,
            node: u32::MAX,
            attempt: u32::MAX,
        };
        let mut live: HashMap<u32, u32> = HashMap::new();
        for (id, task) in self.tasks.range(range) {
            if !matches!(task.state, TaskState::Finished { .. }) {
                *live.entry(id.node).or_default() += 1;
            }
        }
        if live.values().any(|count| *count > 1) {
            return Err(format!("two live tries of one node of {}", job.name));
        }
        if job.status.is_terminal() && !live.is_empty() {
            return Err(format!(
                "{} ended {:?} with live tasks",
                job.name, job.status
            ));
        }
        Ok(())
    }

    /// A new task is offered once, by the change that made it.
    fn offers_hold(&self, effects: &[Effect]) -> Verdict {
        let mut offered = std::collections::HashSet::new();
        for effect in effects {
            if let Effect::Enqueue { task, .. } = effect {
                let queued = self
                    .tasks
                    .get(task)
                    .is_some_and(|row| matches!(row.state, TaskState::Queued { .. }));
                if !offered.insert(*task) || !queued {
                    return Err(format!("task {task} was offered wrongly"));
                }
            }
        }
        Ok(())
    }

    /// Whether anything can still happen by itself or by somebody; if not, all must be over.
    pub fn can_progress_or_is_over(&self) -> Verdict {
        for workflow in self.workflows.values() {
            let jobs = self.jobs_of(workflow.id);
            let moving = jobs.iter().any(|job| {
                matches!(
                    job.status,
                    JobStatus::OnHold
                        | JobStatus::Queued
                        | JobStatus::NotRunning
                        | JobStatus::Running
                )
            });
            if !moving && !workflow.status.is_terminal() {
                return Err(format!("workflow {} can never end", workflow.name));
            }
        }
        Ok(())
    }

    /// Every row, in the order of [`capstan_engine::Pipeline::rows`] sorted.
    pub fn sorted(&self) -> Vec<String> {
        let mut all: Vec<String> = self.pipeline.iter().map(|row| format!("{row:?}")).collect();
        all.extend(
            self.workflows
                .values()
                .map(|row| format!("{:?}", Row::Workflow(row.clone()))),
        );
        all.extend(
            self.jobs
                .values()
                .map(|row| format!("{:?}", Row::Job(row.clone()))),
        );
        all.extend(
            self.tasks
                .values()
                .map(|row| format!("{:?}", Row::Task(row.clone()))),
        );
        all.sort();
        all
    }
}

/// The algorithm of platform 1.4, step by step.
fn naive_status(workflow: &WorkflowRow, jobs: &[&JobRow]) -> WorkflowStatus {
    let any = |wanted: &dyn Fn(JobStatus) -> bool| jobs.iter().any(|job| wanted(job.status));
    let failed = any(&JobStatus::is_failure);
    let unauthorized = any(&|status| status == JobStatus::Unauthorized);
    if any(&|status| !status.is_terminal()) {
        if failed || unauthorized {
            return WorkflowStatus::Failing;
        }
        let moving = any(&|status| {
            matches!(
                status,
                JobStatus::Queued | JobStatus::NotRunning | JobStatus::Running
            )
        });
        let held = any(&|status| status == JobStatus::OnHold);
        return if !moving && held {
            WorkflowStatus::OnHold
        } else {
            WorkflowStatus::Running
        };
    }
    if workflow.canceled_by.is_some() {
        return WorkflowStatus::Canceled;
    }
    if unauthorized {
        return WorkflowStatus::Unauthorized;
    }
    if failed {
        return WorkflowStatus::Failed;
    }
    if any(&|status| status == JobStatus::Canceled) {
        return WorkflowStatus::Canceled;
    }
    if jobs.iter().all(|job| job.status == JobStatus::NotRun) {
        return WorkflowStatus::NotRun;
    }
    WorkflowStatus::Success
}
