//! How jobs are asked to end. First phase: what runs ends later, by its runner's word or by a timer.

use capstan_model::{JobStatus, TaskId, TaskOutcome};

use super::{At, Draft};
use crate::event::Timer;
use crate::job::{Job, JobMove};
use crate::mutation::{Mutation, planted};
use crate::rows::{TaskRow, TaskState};
use crate::task::TaskMove;
use crate::{CANCEL_GRACE_MS, Effect, IllegalTransition};

impl Draft<'_> {
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
        if job.live == 0 {
            return self.move_job(at, JobMove::End(JobStatus::Canceled), reason);
        }
        let id = job.id;
        self.change(at, |job| {
            job.cancel.get_or_insert_with(|| actor.to_owned());
        });
        let tasks: Vec<TaskRow> = self.base.tasks.of(id).cloned().collect();
        for task in tasks {
            self.cancel_task(at, task.id, &task.state)?;
        }
        self.end_if_over(at)
    }

    fn cancel_task(
        &mut self,
        at: At,
        task: TaskId,
        state: &TaskState,
    ) -> Result<(), IllegalTransition> {
        match state {
            TaskState::Queued { .. } => {
                self.move_task(at, task, TaskMove::Withdraw)?;
                self.change(at, |job| job.ends.add(task.node, &TaskOutcome::Canceled));
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
                self.move_task(at, task, TaskMove::AskCancel)?;
                let timer = Timer::CancelGrace {
                    task,
                    lease_epoch: *lease_epoch,
                };
                let at_ms = self.now_ms + CANCEL_GRACE_MS;
                self.effects.push(Effect::Revoke { task });
                self.effects.push(Effect::SetTimer { timer, at_ms });
                return Ok(());
            }
            TaskState::Claimed { .. } | TaskState::Running { .. } | TaskState::Finished { .. } => {
                return Ok(());
            }
        }
        self.effects.push(Effect::Revoke { task });
        Ok(())
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
                self.leave_out((w, j), &reason)?;
            }
        }
        for j in 0..jobs {
            self.cancel_job((w, j), actor)?;
        }
        Ok(())
    }
}
