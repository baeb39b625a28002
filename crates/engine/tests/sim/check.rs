//! What must hold after every event, said again without the engine's own means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use capstan_engine::event::{CancelScope, NewWorkflow, PlanRef, RerunScope, Timer};
use capstan_engine::rows::PipelineState;
use capstan_engine::{
    CANCEL_GRACE_MS, Effect, Event, JobRow, PipelineRow, Row, TaskRow, TaskState, WorkflowRow,
};
use capstan_model::plan::{JobKind, RequiredStatus};
use capstan_model::{JobId, JobStatus, TaskOutcome, WorkflowId, WorkflowStatus};

use crate::model;
use crate::rows::{Rows, all_ids};

type Verdict = Result<(), String>;

/// What one event changed: each row before, if there was one, and after.
#[derive(Default)]
struct Changes {
    workflows: Vec<(Option<WorkflowRow>, WorkflowRow)>,
    jobs: Vec<(Option<JobRow>, JobRow)>,
    tasks: Vec<(Option<TaskRow>, TaskRow)>,
}

impl Rows {
    /// Takes a change over, and looks whether it is one that may be.
    pub fn take(
        &mut self,
        now_ms: i64,
        event: &Event,
        rows: Vec<Row>,
        effects: &[Effect],
    ) -> Verdict {
        self.remember(event);
        let changes = self.store(rows)?;
        self.pipeline_holds(event)?;
        self.new_workflows_hold(event, &changes)?;
        let mut touched: BTreeSet<WorkflowId> =
            changes.workflows.iter().map(|(_, row)| row.id).collect();
        touched.extend(changes.jobs.iter().map(|(_, row)| row.workflow));
        touched.extend(changes.tasks.iter().map(|(_, row)| row.workflow));
        for id in touched {
            self.workflow_holds(id)?;
        }
        for (old, row) in &changes.jobs {
            let one = CancelScope::Job {
                workflow: row.workflow,
                job: row.id,
            };
            let asked = matches!(event, Event::CancelAsked { scope, .. } if *scope == one);
            let waited = old
                .as_ref()
                .is_some_and(|old| old.status == JobStatus::Blocked);
            if waited && row.status == JobStatus::Canceled && !asked {
                return Err(format!(
                    "waited, and was canceled instead of left out: {row:?}"
                ));
            }
        }
        for (old, row) in &changes.workflows {
            let ended = old.as_ref().is_none_or(|old| !old.status.is_terminal());
            if ended && row.status.is_terminal() && row.stopped_at_ms != Some(now_ms) {
                return Err(format!("ended now, and says another time: {row:?}"));
            }
        }
        self.effects_hold(now_ms, &changes, effects)
    }

    fn remember(&mut self, event: &Event) {
        let mut ids = Vec::new();
        match event {
            Event::Planned {
                plan, workflows, ..
            }
            | Event::Continued {
                plan, workflows, ..
            } => {
                if let Some(known) = &plan.plan {
                    self.plans.insert(plan.digest.clone(), Arc::clone(known));
                }
                all_ids(workflows, &mut ids);
                for new in workflows {
                    self.spare.insert(new.id, new.auto_reruns.clone());
                }
            }
            Event::Rerun { new, .. } => all_ids(std::slice::from_ref(new), &mut ids),
            Event::Superseded { workflow, job } => {
                self.superseded.insert((*workflow, *job));
            }
            Event::CancelAsked { scope, .. } => {
                let asked = |row: &&JobRow| match scope {
                    CancelScope::Pipeline => true,
                    CancelScope::Workflow { workflow } => row.workflow == *workflow,
                    CancelScope::Job { workflow, job } => {
                        row.workflow == *workflow && row.id == *job
                    }
                };
                let live = |row: &&JobRow| {
                    !row.status.is_terminal() && self.tasks_of(row.id).next().is_some()
                };
                let jobs = self.jobs.values().filter(asked).filter(live);
                let jobs: Vec<JobId> = jobs.map(|row| row.id).collect();
                self.asked_to_end.extend(jobs);
            }
            _ => {}
        }
        self.ids.extend(ids);
    }

    /// What is over stays as it is, and what is told has changed.
    fn store(&mut self, rows: Vec<Row>) -> Result<Changes, String> {
        let mut changes = Changes::default();
        for row in rows {
            match row {
                Row::Pipeline(row) => {
                    let old = self.pipeline.replace(row.clone());
                    let over = |old: &PipelineRow| old.state != PipelineState::Setup;
                    may_follow(old.as_ref(), &row, over)?;
                }
                Row::Workflow(row) => {
                    let old = self.workflows.insert(row.id, row.clone());
                    may_follow(old.as_ref(), &row, |old| old.status.is_terminal())?;
                    changes.workflows.push((old, row));
                }
                Row::Job(row) => {
                    let old = self.jobs.insert((row.workflow, row.id), row.clone());
                    may_follow(old.as_ref(), &row, |old| old.status.is_terminal())?;
                    changes.jobs.push((old, row));
                }
                Row::Task(row) => {
                    let old = self.tasks.insert(row.id, row.clone());
                    let over = |old: &TaskRow| matches!(old.state, TaskState::Finished { .. });
                    may_follow(old.as_ref(), &row, over)?;
                    changes.tasks.push((old, row));
                }
            }
        }
        Ok(changes)
    }

    /// The state of the pipeline is the one that an event of its own leads to.
    fn pipeline_holds(&self, event: &Event) -> Verdict {
        let row = self.pipeline.as_ref().ok_or("no row of the pipeline")?;
        let (state, plan) = match event {
            Event::Planned { plan, .. } => {
                let setup = plan.plan.as_ref().is_some_and(|plan| plan.setup);
                let state = if setup {
                    PipelineState::Setup
                } else {
                    PipelineState::Created
                };
                (state, Some(&plan.digest) == row.plan.as_ref())
            }
            Event::Continued { plan, .. } => {
                let plan = Some(&plan.digest) == row.continued.as_ref();
                (PipelineState::Created, plan)
            }
            Event::Rejected { errors, .. } | Event::ContinuationRejected { errors, .. } => {
                (PipelineState::Errored, row.errors == *errors)
            }
            _ => (row.state, true),
        };
        if row.state == state && plan {
            Ok(())
        } else {
            Err(format!("the pipeline is {row:?} after {event:?}"))
        }
    }

    // ------------------------------------------------------------ new workflows

    /// Every new workflow has its reason, and is what it ought to be.
    fn new_workflows_hold(&mut self, event: &Event, changes: &Changes) -> Verdict {
        let mut reasons: BTreeMap<WorkflowId, Verdict> = BTreeMap::new();
        match event {
            Event::Planned {
                plan, workflows, ..
            }
            | Event::Continued {
                plan, workflows, ..
            } => {
                for new in workflows {
                    reasons.insert(new.id, self.first_holds(plan, new));
                }
            }
            Event::Rerun {
                of,
                scope,
                new,
                actor,
            } => {
                let verdict = self.rerun_holds(*of, scope, new, actor, None);
                reasons.insert(new.id, verdict);
            }
            _ => {}
        }
        for (_, row) in &changes.workflows {
            if model::runs_again(row) {
                let new = self.spare_of(row)?;
                let number = row.auto_rerun_number.unwrap_or(0) + 1;
                let actor = row.started_by.clone();
                let scope = RerunScope::FromFailed;
                let verdict = self.rerun_holds(row.id, &scope, &new, &actor, Some(number));
                reasons.insert(new.id, verdict);
            }
        }
        for (old, row) in &changes.workflows {
            if old.is_none() {
                reasons
                    .remove(&row.id)
                    .ok_or_else(|| format!("nothing asked for {row:?}"))??;
            }
        }
        match reasons.into_iter().next() {
            Some((id, _)) => Err(format!("workflow {id} should be there")),
            None => Ok(()),
        }
    }

    fn spare_of(&self, row: &WorkflowRow) -> Result<NewWorkflow, String> {
        let mut root = row;
        while let Some(of) = root.rerun_of.and_then(|of| self.workflows.get(&of)) {
            root = of;
        }
        let spare = self.spare.get(&root.id);
        let number = row.auto_rerun_number.unwrap_or(0) as usize;
        let new = spare.and_then(|spare| spare.get(number));
        new.cloned()
            .ok_or_else(|| format!("no ids to run {row:?} again"))
    }

    fn first_holds(&self, plan: &PlanRef, new: &NewWorkflow) -> Verdict {
        let Some(row) = self.workflows.get(&new.id) else {
            return Ok(());
        };
        let planned = self.planned(row).ok_or("a workflow that is not planned")?;
        let jobs = self.ordered_jobs_of(new.id);
        let is = jobs.iter().map(|job| (job.name.as_str(), job.id));
        let ought = planned
            .jobs
            .iter()
            .zip(&new.jobs)
            .map(|(job, id)| (job.name.as_str(), *id));
        let first = row.rerun_of.is_none() && row.auto_rerun_number.is_none();
        let setup = plan.plan.as_ref().is_some_and(|plan| plan.setup);
        let its_plan = row.plan == plan.digest && row.setup == setup;
        if !is.eq(ought) || !first || !its_plan || row.started_by != "ann" {
            return Err(format!("planned otherwise: {row:?} with {jobs:?}"));
        }
        Ok(())
    }

    fn rerun_holds(
        &mut self,
        of: WorkflowId,
        scope: &RerunScope,
        new: &NewWorkflow,
        actor: &str,
        number: Option<u32>,
    ) -> Verdict {
        let (Some(old), Some(row)) = (self.workflows.get(&of), self.workflows.get(&new.id)) else {
            return Ok(());
        };
        if (row.rerun_of, row.auto_rerun_number) != (Some(of), number)
            || row.started_by != actor
            || (&row.name, &row.plan, row.setup) != (&old.name, &old.plan, old.setup)
        {
            return Err(format!("the rerun of {old:?} is {row:?}"));
        }
        let before = self.ordered_jobs_of(of);
        let planned = self.planned(old).ok_or("a workflow that is not planned")?;
        let parts = model::rerun(old, &before, planned, scope, |job| self.forgiven(job))?;
        let after = self.ordered_jobs_of(new.id);
        if after.len() != parts.len() {
            return Err(format!("rerun {scope:?} made {after:?}, wanted {parts:?}"));
        }
        let mut forgiven = Vec::new();
        for (n, old) in before.iter().enumerate() {
            let Some(part) = parts.get(&old.name) else {
                continue;
            };
            let is = after.iter().find(|job| job.name == old.name);
            let is = is.ok_or_else(|| format!("the rerun lacks {}", old.name))?;
            forgiven.push(((new.id, is.id), part.forgiven.clone()));
            if part.new {
                if Some(&is.id) != new.jobs.get(n) || is.carried_from.is_some() {
                    return Err(format!("should be a new job: {is:?}"));
                }
                continue;
            }
            let ought = JobRow {
                workflow: new.id,
                carried_from: old.carried_from.or(Some(of)),
                ordinal: is.ordinal,
                ..(*old).clone()
            };
            if **is != ought {
                return Err(format!("carried over as {is:?}, not {ought:?}"));
            }
        }
        self.forgiven.extend(forgiven);
        Ok(())
    }

    // ------------------------------------------------------------ workflows and jobs

    fn workflow_holds(&self, id: WorkflowId) -> Verdict {
        let workflow = self
            .workflows
            .get(&id)
            .ok_or_else(|| format!("no row of workflow {id}"))?;
        let jobs = self.ordered_jobs_of(id);
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
        for job in jobs.iter().filter(|job| job.carried_from.is_none()) {
            self.requirements_hold(workflow, job)?;
            self.nodes_hold(workflow, job)?;
            if workflow.canceled_by.is_some() {
                self.cancel_holds(job)?;
            }
            if job.reason.is_empty() || job.decision.is_empty() {
                return Err(format!("without a reason: {job:?}"));
            }
        }
        Ok(())
    }

    /// A job waits, starts or is left out as its requirements say.
    fn requirements_hold(&self, workflow: &WorkflowRow, job: &JobRow) -> Verdict {
        let planned = self
            .planned(workflow)
            .ok_or("a workflow that is not planned")?;
        let Some(node) = planned.jobs.iter().find(|planned| planned.name == job.name) else {
            return Err(format!("job {} is not planned", job.name));
        };
        let forgiven = self.forgiven.get(&(workflow.id, job.id));
        let (mut waits, mut never) = (false, false);
        for requirement in &node.requires {
            if forgiven.is_some_and(|names| names.contains(&requirement.job)) {
                continue;
            }
            let required = self
                .jobs_of(workflow.id)
                .find(|row| row.name == requirement.job);
            // What is not in a rerun does not run.
            let status = required.map_or(JobStatus::NotRun, |row| row.status);
            match RequiredStatus::of(status) {
                None => waits = true,
                Some(seen) => never |= !requirement.statuses.contains(&seen),
            }
        }
        let superseded = self.superseded.contains(&(workflow.id, job.id));
        let fits = match job.status {
            JobStatus::Canceled => true,
            JobStatus::Blocked => waits && !never,
            JobStatus::NotRun => never || superseded || workflow.canceled_by.is_some(),
            _ => !waits && !never,
        };
        if fits {
            Ok(())
        } else {
            Err(format!(
                "{job:?} began or waits otherwise than its requirements {:?} say",
                node.requires
            ))
        }
    }

    /// A job and its tasks say the same.
    fn nodes_hold(&self, workflow: &WorkflowRow, job: &JobRow) -> Verdict {
        let tasks: Vec<&TaskRow> = self.tasks_of(job.id).collect();
        let planned = self
            .planned(workflow)
            .ok_or("a workflow that is not planned")?;
        let node = planned.jobs.iter().find(|planned| planned.name == job.name);
        let build = node.is_some_and(|node| matches!(node.kind, JobKind::Build(_)));
        let wrong = |what: &str| Err(format!("{what}: {job:?} with {tasks:?}"));
        if tasks.is_empty() {
            use JobStatus as S;
            let grouped = node.is_some_and(|node| node.serial_group.is_some());
            let fits = match job.status {
                S::Blocked | S::NotRun | S::Canceled => true,
                S::OnHold | S::Success => !build,
                S::Queued => build && grouped,
                _ => false,
            };
            return if fits {
                Ok(())
            } else {
                wrong("a status without tasks")
            };
        }
        let asked = self.asked_to_end.contains(&job.id);
        let mut newest: BTreeMap<u32, &TaskRow> = BTreeMap::new();
        for task in &tasks {
            let before = newest.insert(task.id.node, task);
            if before.map_or(0, |before| before.id.attempt) + 1 != task.id.attempt {
                return wrong("tries that are not counted");
            }
            if before.is_some_and(|before| !lost_before_start(before)) {
                return wrong("tried again though a step may have begun");
            }
        }
        let again = newest.values().any(|task| {
            let first = task.id.attempt == 1;
            first && lost_before_start(task) && !asked
        });
        if again {
            return wrong("lost before it began, and not tried again");
        }
        if newest.len() != job.parallelism as usize || tasks.iter().any(|task| task.id.attempt > 2)
        {
            return wrong("another number of nodes or tries");
        }
        let live = newest
            .values()
            .any(|task| !matches!(task.state, TaskState::Finished { .. }));
        if live == job.status.is_terminal() {
            return wrong("ended with live tasks, or did not end with the last");
        }
        let started = tasks
            .iter()
            .filter_map(|task| started_at(&task.state))
            .min();
        if job.started_at_ms != started {
            return wrong("another start");
        }
        if live && (started.is_some() != (job.status == JobStatus::Running)) {
            return wrong("runs or does not");
        }
        if !live && job.status != naive_end(newest.values().copied(), asked) {
            return wrong("ended otherwise than its nodes");
        }
        Ok(())
    }

    /// In a canceled workflow nothing waits, and what runs was told to stop.
    fn cancel_holds(&self, job: &JobRow) -> Verdict {
        let told = |task: &TaskRow| {
            task.state.canceling() || matches!(task.state, TaskState::Finished { .. })
        };
        let ends = job.status.is_terminal() || self.tasks_of(job.id).next().is_some();
        if ends && self.tasks_of(job.id).all(told) {
            return Ok(());
        }
        Err(format!("goes on in a canceled workflow: {job:?}"))
    }

    // ------------------------------------------------------------ effects

    /// Every effect has its cause in the rows, and every cause its effect.
    fn effects_hold(&self, now_ms: i64, changes: &Changes, effects: &[Effect]) -> Verdict {
        let mut wanted = Vec::new();
        for (old, row) in &changes.workflows {
            let before = old.as_ref().map(|old| old.status);
            let tells = row.status.is_terminal() || row.status == WorkflowStatus::OnHold;
            if before != Some(row.status) && tells {
                wanted.push(Effect::Notify { workflow: row.id });
            }
        }
        for (old, row) in &changes.jobs {
            self.job_effects(old.as_ref(), row, &mut wanted)?;
        }
        for (old, row) in &changes.tasks {
            task_effects(now_ms, old.as_ref(), row, &mut wanted);
        }
        let all =
            wanted.len() == effects.len() && wanted.iter().all(|effect| effects.contains(effect));
        if all {
            Ok(())
        } else {
            Err(format!("effects are {effects:?}, wanted {wanted:?}"))
        }
    }

    fn job_effects(&self, old: Option<&JobRow>, row: &JobRow, wanted: &mut Vec<Effect>) -> Verdict {
        let before = old.map_or(JobStatus::Blocked, |old| old.status);
        if let Some(old) = old
            && old.status != JobStatus::Blocked
            && old.decision != row.decision
            && !self.superseded.contains(&(row.workflow, row.id))
        {
            return Err(format!("decided twice: {old:?}, {row:?}"));
        }
        if row.carried_from.is_some() || before == row.status {
            return Ok(());
        }
        let (workflow, job) = (row.workflow, row.id);
        wanted.push(Effect::Report { workflow, job });
        let planned = self
            .workflows
            .get(&workflow)
            .and_then(|row| self.planned(row));
        let node = planned.and_then(|planned| planned.jobs.iter().find(|one| one.name == row.name));
        if let Some(group) = node.and_then(|node| node.serial_group.clone()) {
            if row.status.is_terminal() {
                wanted.push(Effect::Release {
                    group,
                    workflow,
                    job,
                });
            } else if self.waits_for_group(row) {
                wanted.push(Effect::Acquire {
                    group,
                    workflow,
                    job,
                });
            }
        }
        Ok(())
    }

    /// Whether anything can still happen by itself or by somebody; if not, all must be over.
    pub fn can_progress_or_is_over(&self) -> Verdict {
        for workflow in self.workflows.values() {
            let waits = |job: &JobRow| job.status == JobStatus::Blocked || job.status.is_terminal();
            if !workflow.status.is_terminal() && self.jobs_of(workflow.id).all(waits) {
                return Err(format!("workflow {} can never end", workflow.name));
            }
        }
        Ok(())
    }
}

fn may_follow<T: PartialEq + std::fmt::Debug>(
    old: Option<&T>,
    new: &T,
    over: impl Fn(&T) -> bool,
) -> Verdict {
    match old {
        Some(old) if old == new => Err(format!("told though it had not changed: {new:?}")),
        Some(old) if over(old) => Err(format!("changed though it was over: {old:?} to {new:?}")),
        _ => Ok(()),
    }
}

fn task_effects(now_ms: i64, old: Option<&TaskRow>, row: &TaskRow, wanted: &mut Vec<Effect>) {
    let task = row.id;
    match (old.map(|old| &old.state), &row.state) {
        (_, TaskState::Queued { .. }) => wanted.push(Effect::Enqueue {
            task,
            workflow: row.workflow,
        }),
        (
            Some(TaskState::Queued { .. }),
            TaskState::Claimed {
                lease_epoch,
                lease_until_ms,
                ..
            },
        ) => wanted.push(Effect::SetTimer {
            timer: Timer::Lease {
                task,
                lease_epoch: *lease_epoch,
            },
            at_ms: *lease_until_ms,
        }),
        (Some(TaskState::Queued { .. }), TaskState::Finished { .. }) => {
            wanted.push(Effect::Revoke { task });
        }
        (Some(old), new) if !old.canceling() && new.canceling() => {
            wanted.push(Effect::Revoke { task });
            if let Some(lease_epoch) = new.epoch() {
                wanted.push(Effect::SetTimer {
                    timer: Timer::CancelGrace { task, lease_epoch },
                    at_ms: now_ms + CANCEL_GRACE_MS,
                });
            }
        }
        _ => {}
    }
}

fn lost_before_start(task: &TaskRow) -> bool {
    matches!(
        task.state,
        TaskState::Finished {
            outcome: TaskOutcome::InfrastructureFail(_),
            started_at_ms: None,
            ..
        }
    )
}

fn started_at(state: &TaskState) -> Option<i64> {
    match state {
        TaskState::Running { since_ms, .. } => Some(*since_ms),
        TaskState::Finished { started_at_ms, .. } => *started_at_ms,
        TaskState::Queued { .. } | TaskState::Claimed { .. } => None,
    }
}

/// How nodes that are all over make their job end (platform 1.5, 2.11).
fn naive_end<'a>(nodes: impl Iterator<Item = &'a TaskRow>, asked: bool) -> JobStatus {
    let outcomes: Vec<&TaskOutcome> = nodes
        .filter_map(|task| match &task.state {
            TaskState::Finished { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect();
    let any = |wanted: &dyn Fn(&TaskOutcome) -> bool| outcomes.iter().any(|one| wanted(one));
    let canceled = any(&|one| matches!(one, TaskOutcome::Canceled));
    if canceled && asked {
        return JobStatus::Canceled;
    }
    if any(&|one| matches!(one, TaskOutcome::InfrastructureFail(_))) {
        return JobStatus::InfrastructureFail;
    }
    if any(&|one| matches!(one, TaskOutcome::Timedout)) {
        return JobStatus::Timedout;
    }
    if any(&|one| matches!(one, TaskOutcome::Failed)) {
        return JobStatus::Failed;
    }
    if canceled {
        return JobStatus::Canceled;
    }
    JobStatus::Success
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
