//! One change in the making: what an event touched, over a pipeline that stays as it was until the
//! change is taken over. Work and size are those of what is touched, not of the pipeline.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use capstan_model::plan::{self, JobKind};
use capstan_model::{JobStatus, Plan, TaskId, TaskOutcome, WorkflowStatus};

use crate::decision;
use crate::job::{Job, JobMove};
use crate::mutation::{Mutation, planted};
use crate::pipeline::Pipeline;
use crate::rows::{JobRow, PipelineRow, Row, TaskRow, TaskState, WorkflowRow};
use crate::task::{Task, TaskMove};
use crate::workflow::{Summary, Workflow};
use crate::{CANCEL_GRACE_MS, Effect, IllegalTransition, MAX_ATTEMPTS};

/// A job by workflow index and job index.
pub(crate) type At = (usize, usize);

/// What an event changed. [`Pipeline::commit`] takes it over; [`Delta::rows`] is what to store.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    pub(crate) pipeline: Option<PipelineRow>,
    pub(crate) plan: Option<Arc<Plan>>,
    pub(crate) fresh: Vec<Workflow>,
    pub(crate) jobs: BTreeMap<At, Job>,
    pub(crate) summaries: BTreeMap<usize, Summary>,
    rows: Vec<Row>,
}

impl Delta {
    /// The rows as they stand after the change; those that did not change are left out.
    pub fn rows(&self) -> Vec<Row> {
        self.rows.clone()
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.jobs.is_empty()
    }
}

/// A change in the making.
pub(crate) struct Draft<'a> {
    base: &'a Pipeline,
    pub(crate) delta: Delta,
    pub(crate) effects: Vec<Effect>,
    pub(crate) now_ms: i64,
    /// Jobs that ended and whose dependants have not heard of it.
    ended: VecDeque<At>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(base: &'a Pipeline, now_ms: i64) -> Self {
        Self {
            base,
            delta: Delta::default(),
            effects: Vec::new(),
            now_ms,
            ended: VecDeque::new(),
        }
    }

    /// Lets everything that follows from the change happen, and makes the rows.
    pub(crate) fn finish(mut self) -> Result<(Delta, Vec<Effect>), IllegalTransition> {
        self.settle()?;
        self.delta.rows = self.rows();
        Ok((self.delta, self.effects))
    }

    // ------------------------------------------------------------ reading

    pub(crate) fn plan(&self) -> Option<&Arc<Plan>> {
        self.delta.plan.as_ref().or(self.base.plan.as_ref())
    }

    pub(crate) fn workflow_count(&self) -> usize {
        self.base.workflows.len() + self.delta.fresh.len()
    }

    fn workflow(&self, w: usize) -> Option<&Workflow> {
        let known = self.base.workflows.len();
        if w < known {
            self.base.workflows.get(w)
        } else {
            self.delta.fresh.get(w - known)
        }
    }

    pub(crate) fn job(&self, at: At) -> Option<&Job> {
        self.delta
            .jobs
            .get(&at)
            .or_else(|| self.workflow(at.0)?.jobs.get(at.1))
    }

    pub(crate) fn summary(&self, w: usize) -> Option<&Summary> {
        self.delta
            .summaries
            .get(&w)
            .or_else(|| Some(&self.workflow(w)?.summary))
    }

    /// What the plan says of a job.
    fn planned(&self, at: At) -> Option<&plan::Job> {
        let workflow = self.workflow(at.0)?;
        let planned = workflow.graph.nodes.get(at.1)?.planned;
        self.plan()?
            .workflows
            .get(workflow.planned)?
            .jobs
            .get(planned)
    }

    pub(crate) fn name(&self, at: At) -> String {
        self.planned(at)
            .map_or_else(String::new, |job| job.name.clone())
    }

    // ------------------------------------------------------------ moving

    fn change(&mut self, at: At, change: impl FnOnce(&mut Job)) {
        let Some(job) = self.job(at) else { return };
        let mut job = job.clone();
        change(&mut job);
        self.delta.jobs.insert(at, job);
    }

    pub(crate) fn set_unmet(&mut self, at: At, unmet: u32) {
        self.change(at, |job| job.unmet = unmet);
    }

    pub(crate) fn change_summary(&mut self, w: usize, change: impl FnOnce(&mut Summary)) {
        let Some(summary) = self.summary(w) else {
            return;
        };
        let mut summary = summary.clone();
        change(&mut summary);
        self.delta.summaries.insert(w, summary);
    }

    /// Moves a job and keeps the tally.
    pub(crate) fn move_job(
        &mut self,
        at: At,
        how: JobMove,
        reason: impl Into<String>,
    ) -> Result<(), IllegalTransition> {
        let Some(job) = self.job(at) else {
            return Err(IllegalTransition::new("job", "unknown", "change"));
        };
        let before = job.state.status();
        let next = job
            .state
            .next(how, self.now_ms)
            .map_err(|error| IllegalTransition {
                subject: format!("job {}", self.name(at)),
                ..error
            })?;
        let after = next.status();
        let (id, reason) = (job.id, reason.into());
        self.change(at, |job| {
            job.state = next;
            job.reason = reason;
        });
        if before == after {
            return Ok(());
        }
        self.change_summary(at.0, |summary| {
            if !planted(Mutation::TallyLeaks) {
                summary.tally.remove(before);
            }
            summary.tally.add(after);
        });
        if let Some(workflow) = self.summary(at.0).map(|summary| summary.id) {
            self.effects.push(Effect::Report { workflow, job: id });
        }
        if after.is_terminal() {
            self.leave_group(at);
            self.ended.push_back(at);
        }
        Ok(())
    }

    /// Gives the serial group back, or the place in its queue. Safe to say of a job that had neither.
    fn leave_group(&mut self, at: At) {
        let group = self.planned(at).and_then(|job| job.serial_group.clone());
        let (Some(group), Some(job), Some(summary)) = (group, self.job(at), self.summary(at.0))
        else {
            return;
        };
        let effect = Effect::Release {
            group,
            workflow: summary.id,
            job: job.id,
        };
        self.effects.push(effect);
    }

    /// Moves a task; the task must be the newest try of its node or an older one of the same job.
    pub(crate) fn move_task(
        &mut self,
        at: At,
        id: TaskId,
        how: TaskMove,
    ) -> Result<(), IllegalTransition> {
        let task = self
            .job(at)
            .and_then(|job| job.tasks.iter().find(|task| task.id == id));
        let Some(task) = task else {
            return Err(IllegalTransition::new(
                format!("task {id}"),
                "unknown",
                "change",
            ));
        };
        let next = task
            .state
            .next(how, self.now_ms)
            .map_err(|error| IllegalTransition {
                subject: format!("task {id}"),
                ..error
            })?;
        self.change(at, |job| {
            for task in job.tasks.iter_mut().filter(|task| task.id == id) {
                task.state = next.clone();
            }
        });
        Ok(())
    }

    // ------------------------------------------------------------ starting

    /// A job whose requirements are met goes its way.
    pub(crate) fn ready(&mut self, at: At, forced: bool) -> Result<(), IllegalTransition> {
        let Some(planned) = self.planned(at) else {
            return Err(IllegalTransition::new("job", "not in the plan", "start"));
        };
        let reason = decision::starts(planned, forced);
        match (&planned.kind, planned.serial_group.clone()) {
            (JobKind::Approval, _) => self.move_job(at, JobMove::Hold, "waits for an approval"),
            (JobKind::NoOp, _) => self.move_job(at, JobMove::End(JobStatus::Success), reason),
            (JobKind::Build(_), Some(group)) => {
                self.move_job(
                    at,
                    JobMove::Wait,
                    format!("waits for the serial group {group}"),
                )?;
                if let (Some(job), Some(summary)) = (self.job(at), self.summary(at.0)) {
                    let effect = Effect::Acquire {
                        group,
                        workflow: summary.id,
                        job: job.id,
                    };
                    self.effects.push(effect);
                }
                Ok(())
            }
            (JobKind::Build(_), None) => self.queue(at, reason),
        }
    }

    /// Offers every node of a job to runners.
    pub(crate) fn queue(&mut self, at: At, reason: String) -> Result<(), IllegalTransition> {
        self.move_job(at, JobMove::Queue, reason)?;
        let nodes = match self.planned(at).map(|job| &job.kind) {
            Some(JobKind::Build(build)) => build.parallelism.max(1),
            _ => 1,
        };
        for node in 0..nodes {
            self.offer(at, node, 1);
        }
        Ok(())
    }

    fn offer(&mut self, at: At, node: u32, attempt: u32) {
        let (Some(job), Some(summary)) = (self.job(at), self.summary(at.0)) else {
            return;
        };
        let (task, workflow) = (
            TaskId {
                job: job.id,
                node,
                attempt,
            },
            summary.id,
        );
        let since_ms = self.now_ms;
        self.change(at, |job| {
            job.tasks.push(Task {
                id: task,
                state: TaskState::Queued { since_ms },
            });
        });
        self.effects.push(Effect::Enqueue { task, workflow });
    }

    // ------------------------------------------------------------ ending

    /// A task is over. One that was lost before its first step is tried once more.
    pub(crate) fn end_task(
        &mut self,
        at: At,
        id: TaskId,
        lease_epoch: u64,
        outcome: TaskOutcome,
    ) -> Result<(), IllegalTransition> {
        let began = self
            .job(at)
            .and_then(|job| job.tasks.iter().find(|task| task.id == id))
            .is_some_and(|task| matches!(task.state, TaskState::Running { .. }));
        let lost = matches!(outcome, TaskOutcome::InfrastructureFail(_));
        let why = match &outcome {
            TaskOutcome::InfrastructureFail(cause) => cause.clone(),
            _ => String::new(),
        };
        self.move_task(
            at,
            id,
            TaskMove::Finish {
                lease_epoch,
                outcome,
            },
        )?;
        let canceling = self.job(at).is_some_and(|job| job.cancel.is_some());
        if lost && !began && !canceling && id.attempt < MAX_ATTEMPTS {
            self.move_job(
                at,
                JobMove::Queue,
                format!("tried again, the first place was lost: {why}"),
            )?;
            self.offer(at, id.node, id.attempt + 1);
            return Ok(());
        }
        self.end_if_over(at)
    }

    fn end_if_over(&mut self, at: At) -> Result<(), IllegalTransition> {
        match self.job(at).and_then(Job::outcome) {
            Some((status, reason)) => self.move_job(at, JobMove::End(status), reason),
            None => Ok(()),
        }
    }

    /// Asks one job to end. What runs ends later, by its runner's word.
    pub(crate) fn cancel_job(&mut self, at: At, actor: &str) -> Result<(), IllegalTransition> {
        let Some(job) = self.job(at) else {
            return Ok(());
        };
        let reason = format!("canceled by {actor}");
        match job.state.status() {
            JobStatus::Blocked | JobStatus::OnHold => {
                return self.move_job(at, JobMove::End(JobStatus::Canceled), reason);
            }
            JobStatus::Queued | JobStatus::NotRunning | JobStatus::Running => {}
            _ => return Ok(()),
        }
        if job.tasks.is_empty() {
            return self.move_job(at, JobMove::End(JobStatus::Canceled), reason);
        }
        let tasks: Vec<Task> = job.tasks.clone();
        self.change(at, |job| {
            job.cancel.get_or_insert_with(|| actor.to_owned());
        });
        for task in tasks {
            match &task.state {
                TaskState::Queued { .. } => {
                    self.move_task(at, task.id, TaskMove::Withdraw)?;
                    self.effects.push(Effect::Revoke { task: task.id });
                }
                TaskState::Claimed {
                    lease_epoch,
                    canceling: false,
                    ..
                }
                | TaskState::Running {
                    lease_epoch,
                    canceling: false,
                    ..
                } => {
                    self.move_task(at, task.id, TaskMove::AskCancel)?;
                    self.effects.push(Effect::Revoke { task: task.id });
                    let timer = crate::event::Timer::CancelGrace {
                        task: task.id,
                        lease_epoch: *lease_epoch,
                    };
                    self.effects.push(Effect::SetTimer {
                        timer,
                        at_ms: self.now_ms + CANCEL_GRACE_MS,
                    });
                }
                _ => {}
            }
        }
        self.end_if_over(at)
    }

    /// Asks a whole workflow to end. Blocked jobs become `not_run` first, so that nothing that waits for
    /// a cancel starts because of this one.
    pub(crate) fn cancel_workflow(
        &mut self,
        w: usize,
        actor: &str,
    ) -> Result<(), IllegalTransition> {
        let Some(summary) = self.summary(w) else {
            return Ok(());
        };
        if summary.status().is_terminal() {
            return Ok(());
        }
        let jobs = self.workflow(w).map_or(0, |workflow| workflow.jobs.len());
        self.change_summary(w, |summary| {
            summary.canceled_by.get_or_insert_with(|| actor.to_owned());
        });
        for j in 0..jobs {
            let blocked = |job: &Job| job.state.status() == JobStatus::Blocked;
            let canceled_too = planted(Mutation::BlockedAreCanceled);
            if self.job((w, j)).is_some_and(blocked) && !canceled_too {
                let reason = format!("the workflow was canceled by {actor}");
                self.move_job((w, j), JobMove::End(JobStatus::NotRun), reason)?;
            }
        }
        for j in 0..jobs {
            self.cancel_job((w, j), actor)?;
        }
        Ok(())
    }

    // ------------------------------------------------------------ settling

    /// Tells dependants of ended jobs, without recursion: a chain may be as long as the workflow.
    fn settle(&mut self) -> Result<(), IllegalTransition> {
        while let Some(at) = self.ended.pop_front() {
            let Some(status) = self.job(at).map(|job| job.state.status()) else {
                continue;
            };
            let Some(graph) = self
                .workflow(at.0)
                .map(|workflow| Arc::clone(&workflow.graph))
            else {
                continue;
            };
            let Some(node) = graph.nodes.get(at.1) else {
                continue;
            };
            for &next in &node.dependants {
                self.hear((at.0, next), at, status, &graph.nodes[next])?;
            }
        }
        self.close_workflows();
        Ok(())
    }

    fn hear(
        &mut self,
        at: At,
        ended: At,
        status: JobStatus,
        node: &crate::graph::Node,
    ) -> Result<(), IllegalTransition> {
        let blocked = self
            .job(at)
            .is_some_and(|job| job.state.status() == JobStatus::Blocked);
        if !blocked {
            return Ok(());
        }
        for edge in node.requires.iter().filter(|edge| edge.job == ended.1) {
            if !edge.accepts(status) && !planted(Mutation::AnyEndWillDo) {
                let reason = decision::never(&self.name(ended), status);
                return self.move_job(at, JobMove::End(JobStatus::NotRun), reason);
            }
            self.change(at, |job| job.unmet = job.unmet.saturating_sub(1));
        }
        if self.job(at).is_some_and(|job| job.unmet == 0) {
            self.ready(at, false)
        } else {
            Ok(())
        }
    }

    /// Workflows that ended or came to rest by this change.
    fn close_workflows(&mut self) {
        let known = self.base.workflows.len();
        let touched: Vec<usize> = self.delta.summaries.keys().copied().collect();
        let touched = touched.into_iter().chain(known..self.workflow_count());
        for w in std::collections::BTreeSet::from_iter(touched) {
            let Some(summary) = self.summary(w) else {
                continue;
            };
            let (id, status) = (summary.id, summary.status());
            let before = self
                .base
                .workflows
                .get(w)
                .map(|workflow| workflow.summary.status());
            if before == Some(status) {
                continue;
            }
            if status.is_terminal() {
                let now_ms = self.now_ms;
                self.change_summary(w, |summary| summary.stopped_at_ms = Some(now_ms));
            }
            if status.is_terminal() || status == WorkflowStatus::OnHold {
                self.effects.push(Effect::Notify { workflow: id });
            }
        }
    }

    // ------------------------------------------------------------ rows

    fn rows(&self) -> Vec<Row> {
        let known = self.base.workflows.len();
        let mut rows: Vec<Row> = self
            .delta
            .pipeline
            .clone()
            .map(Row::Pipeline)
            .into_iter()
            .collect();
        for w in known..self.workflow_count() {
            rows.extend(self.workflow_row(w).map(Row::Workflow));
        }
        for (&w, _) in self.delta.summaries.range(..known) {
            let row = self.workflow_row(w);
            if row != self.base.workflow_row(w) {
                rows.extend(row.map(Row::Workflow));
            }
        }
        for w in known..self.workflow_count() {
            let jobs = self.workflow(w).map_or(0, |workflow| workflow.jobs.len());
            for j in 0..jobs {
                self.job_rows((w, j), &mut rows);
            }
        }
        for (&at, _) in self.delta.jobs.range(..(known, 0)) {
            self.job_rows(at, &mut rows);
        }
        rows
    }

    fn workflow_row(&self, w: usize) -> Option<WorkflowRow> {
        let name = &self.plan()?.workflows.get(self.workflow(w)?.planned)?.name;
        Some(workflow_row(self.base.id(), name, self.summary(w)?))
    }

    fn job_rows(&self, at: At, rows: &mut Vec<Row>) {
        let (Some(job), Some(summary), Some(planned)) =
            (self.job(at), self.summary(at.0), self.planned(at))
        else {
            return;
        };
        let row = job_row(summary, at.1, planned, job);
        let before = self
            .base
            .workflows
            .get(at.0)
            .and_then(|workflow| workflow.jobs.get(at.1));
        if before.is_none() || self.base.job_row(at).as_ref() != Some(&row) {
            rows.push(Row::Job(row));
        }
        for task in &job.tasks {
            let same = before.is_some_and(|before| before.tasks.contains(task));
            if !same {
                rows.push(Row::Task(TaskRow {
                    id: task.id,
                    workflow: summary.id,
                    state: task.state.clone(),
                }));
            }
        }
    }
}

pub(crate) fn workflow_row(
    pipeline: capstan_model::PipelineId,
    name: &str,
    summary: &Summary,
) -> WorkflowRow {
    WorkflowRow {
        id: summary.id,
        pipeline,
        name: name.to_owned(),
        ordinal: summary.ordinal,
        status: summary.status(),
        rerun_of: summary.rerun_of,
        started_by: summary.started_by.clone(),
        canceled_by: summary.canceled_by.clone(),
        created_at_ms: summary.created_at_ms,
        stopped_at_ms: summary.stopped_at_ms,
    }
}

pub(crate) fn job_row(summary: &Summary, index: usize, planned: &plan::Job, job: &Job) -> JobRow {
    use crate::job::JobState;
    let (started_at_ms, stopped_at_ms) = match &job.state {
        JobState::Running { started_at_ms } => (Some(*started_at_ms), None),
        JobState::Ended {
            started_at_ms,
            stopped_at_ms,
            ..
        } => (*started_at_ms, Some(*stopped_at_ms)),
        _ => (None, None),
    };
    let (kind, parallelism) = match &planned.kind {
        JobKind::Build(build) => ("build", build.parallelism.max(1)),
        JobKind::Approval => ("approval", 1),
        JobKind::NoOp => ("no-op", 1),
    };
    JobRow {
        id: job.id,
        workflow: summary.id,
        carried_from: job.carried_from,
        name: planned.name.clone(),
        ordinal: u32::try_from(index).unwrap_or(u32::MAX),
        kind: kind.to_owned(),
        parallelism,
        status: job.state.status(),
        reason: job.reason.clone(),
        approved_by: job.approved_by.clone(),
        started_at_ms,
        stopped_at_ms,
    }
}
