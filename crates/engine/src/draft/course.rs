//! How a job starts and ends: its requirements are met, its nodes are offered, their ends are counted.

use capstan_model::plan::JobKind;
use capstan_model::{JobStatus, TaskId, TaskOutcome};

use super::{At, Draft};
use crate::decision;
use crate::job::{Job, JobMove};
use crate::rows::{TaskRow, TaskState};
use crate::task::TaskMove;
use crate::{Effect, IllegalTransition, MAX_ATTEMPTS};

impl Draft<'_> {
    /// A job whose requirements are met goes its way.
    pub(crate) fn ready(&mut self, at: At, forced: bool) -> Result<(), IllegalTransition> {
        let Some(planned) = self.planned_job(at) else {
            return Err(IllegalTransition::new("job", "not in the plan", "start"));
        };
        let reason = decision::starts(planned, forced);
        let (how, group) = match (&planned.kind, &planned.serial_group) {
            (JobKind::Approval, _) => (JobMove::Hold, None),
            (JobKind::NoOp, _) => (JobMove::End(JobStatus::Success), None),
            (JobKind::Build(_), None) => (JobMove::Queue, None),
            (JobKind::Build(_), Some(group)) => (JobMove::Wait, Some(group.clone())),
        };
        self.decide(at, &reason);
        match (how, group) {
            (JobMove::Queue, _) => self.queue(at, reason),
            (JobMove::Hold, _) => self.move_job(at, how, "waits for an approval"),
            (_, None) => self.move_job(at, how, reason),
            (_, Some(group)) => self.acquire(at, group),
        }
    }

    fn acquire(&mut self, at: At, group: String) -> Result<(), IllegalTransition> {
        let reason = format!("waits for the serial group {group}");
        self.move_job(at, JobMove::Wait, reason)?;
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

    /// Offers every node of a job to runners.
    pub(crate) fn queue(&mut self, at: At, reason: String) -> Result<(), IllegalTransition> {
        self.move_job(at, JobMove::Queue, reason)?;
        let nodes = match self.planned_job(at).map(|job| &job.kind) {
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
        let job = job.id;
        let task = TaskId { job, node, attempt };
        let workflow = summary.id;
        let state = TaskState::Queued {
            since_ms: self.now_ms,
        };
        self.delta.tasks.set(TaskRow {
            id: task,
            workflow,
            state,
        });
        self.change(at, |job| job.live += 1);
        self.effects.push(Effect::Enqueue { task, workflow });
    }

    /// A task is over. One that was lost before its first step is tried once more.
    pub(crate) fn end_task(
        &mut self,
        at: At,
        id: TaskId,
        lease_epoch: u64,
        outcome: TaskOutcome,
    ) -> Result<(), IllegalTransition> {
        let began = self
            .task(id)
            .is_some_and(|task| matches!(task.state, TaskState::Running { .. }));
        let lost = matches!(outcome, TaskOutcome::InfrastructureFail(_));
        let why = match &outcome {
            TaskOutcome::InfrastructureFail(cause) => cause.clone(),
            _ => String::new(),
        };
        let finish = TaskMove::Finish {
            lease_epoch,
            outcome: outcome.clone(),
        };
        self.move_task(at, id, finish)?;
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
        self.change(at, |job| job.ends.add(id.node, &outcome));
        self.end_if_over(at)
    }

    pub(super) fn end_if_over(&mut self, at: At) -> Result<(), IllegalTransition> {
        match self.job(at).and_then(Job::outcome) {
            Some((status, reason)) => self.move_job(at, JobMove::End(status), reason),
            None => Ok(()),
        }
    }
}
