//! What may happen in a world, likely or not: messages in order and in disorder, doubled, late, stale and
//! invented ones.

use capstan_engine::event::{CancelScope, RerunScope, Timer};
use capstan_engine::{Event, JobRow, TaskState};
use capstan_model::{JobId, JobStatus, RunnerId, TaskId, TaskOutcome, WorkflowId};

use crate::world::{World, approved};

/// Workflows of a pipeline that a world lets become; a history of nothing but reruns would never end.
const WORKFLOWS: usize = 8;

impl World {
    pub fn anything(&mut self) -> Event {
        match self.rng.below(100) {
            0..=47 => self.likely(),
            48..=64 => self.by_a_runner_in_disorder(),
            65..=71 => self.again(),
            72..=77 => self.timer(),
            78..=83 => self.approval(),
            84..=89 => self.cancel(),
            90..=92 => self.group_answer(),
            93 => match self.rng.below(6) {
                0 | 1 => self.rejected(),
                2 => World::continuation_rejected(),
                _ => self.continued(),
            },
            _ => self.rerun(),
        }
    }

    /// What a world in order does next, or else anything.
    fn likely(&mut self) -> Event {
        if let Some((workflow, job)) = self.granted.last().copied()
            && self.rng.chance(50)
        {
            return Event::Granted { workflow, job };
        }
        let live: Vec<(TaskId, TaskState)> = self
            .rows
            .tasks
            .values()
            .filter(|row| !matches!(row.state, TaskState::Finished { .. }))
            .map(|row| (row.id, row.state.clone()))
            .collect();
        match self.rng.pick(&live).cloned() {
            Some((task, state)) => self.next_of(task, &state),
            None => self.approval(),
        }
    }

    pub fn next_of(&mut self, task: TaskId, state: &TaskState) -> Event {
        match state {
            TaskState::Claimed { lease_epoch, .. } if self.rng.chance(75) => Event::TaskStarted {
                task,
                lease_epoch: *lease_epoch,
            },
            TaskState::Claimed { lease_epoch, .. } | TaskState::Running { lease_epoch, .. } => {
                let outcome = self.outcome();
                Event::TaskFinished {
                    task,
                    lease_epoch: *lease_epoch,
                    outcome,
                }
            }
            _ => self.claim(task),
        }
    }

    fn claim(&mut self, task: TaskId) -> Event {
        self.epoch += 1;
        let runner = RunnerId(self.rng.uuid());
        Event::Claimed {
            task,
            runner,
            lease_epoch: self.epoch,
            lease_until_ms: self.now_ms + 60_000,
        }
    }

    fn outcome(&mut self) -> TaskOutcome {
        match self.rng.below(12) {
            0 | 1 => TaskOutcome::Failed,
            2 => TaskOutcome::Canceled,
            3 => TaskOutcome::Timedout,
            4 => lost(),
            _ => TaskOutcome::Success,
        }
    }

    /// Any message of any claim for any task, invented ones too.
    fn by_a_runner_in_disorder(&mut self) -> Event {
        let task = self.some_task();
        let valid = self.rows.tasks.get(&task).and_then(|row| row.state.epoch());
        let lease_epoch = match valid {
            Some(epoch) if self.rng.chance(50) => epoch,
            _ => self.rng.next() % (self.epoch + 2),
        };
        match self.rng.below(8) {
            0 => self.claim(task),
            1 => Event::TaskStarted { task, lease_epoch },
            2 => Event::TimerFired {
                timer: Timer::Lease { task, lease_epoch },
            },
            3 => Event::TimerFired {
                timer: Timer::CancelGrace { task, lease_epoch },
            },
            n => Event::TaskFinished {
                task,
                lease_epoch,
                outcome: match n {
                    4 => TaskOutcome::Failed,
                    5 => TaskOutcome::Canceled,
                    6 => TaskOutcome::Timedout,
                    _ if self.rng.chance(30) => lost(),
                    _ => self.outcome(),
                },
            },
        }
    }

    fn some_task(&mut self) -> TaskId {
        let known: Vec<TaskId> = self.rows.tasks.keys().copied().collect();
        match self.rng.pick(&known) {
            Some(task) if self.rng.chance(60) => *task,
            _ => TaskId {
                job: self.some_job().1,
                node: 0,
                attempt: 1,
            },
        }
    }

    fn some_job(&mut self) -> (WorkflowId, JobId) {
        let known: Vec<_> = self.rows.jobs.keys().copied().collect();
        let invented = (WorkflowId(self.rng.uuid()), JobId(self.rng.uuid()));
        if self.rng.chance(2) {
            invented
        } else {
            self.rng.pick(&known).copied().unwrap_or(invented)
        }
    }

    /// A message that comes twice.
    fn again(&mut self) -> Event {
        if self.log.is_empty() || self.rng.chance(8) {
            return self.planned();
        }
        let at = self.rng.below(self.log.len());
        self.log[at].event.clone()
    }

    fn timer(&mut self) -> Event {
        match self.rng.pick(&self.timers).cloned() {
            Some(timer) => Event::TimerFired { timer },
            None => self.by_a_runner_in_disorder(),
        }
    }

    fn approval(&mut self) -> Event {
        let held = self.held();
        let (workflow, job) = match self.rng.pick(&held).copied() {
            Some(held) if self.rng.chance(70) => held,
            _ => self.some_job(),
        };
        approved(workflow, job)
    }

    pub fn held(&self) -> Vec<(WorkflowId, JobId)> {
        self.jobs_that(|row| row.status == JobStatus::OnHold)
    }

    fn jobs_that(&self, wanted: impl Fn(&JobRow) -> bool) -> Vec<(WorkflowId, JobId)> {
        self.rows
            .jobs
            .iter()
            .filter(|(_, row)| wanted(row))
            .map(|(key, _)| *key)
            .collect()
    }

    fn cancel(&mut self) -> Event {
        let (workflow, job) = self.some_job();
        let scope = match self.rng.below(10) {
            0 => CancelScope::Pipeline,
            1 | 2 => CancelScope::Workflow { workflow },
            _ => CancelScope::Job { workflow, job },
        };
        Event::CancelAsked {
            scope,
            actor: String::from("bob"),
        }
    }

    fn group_answer(&mut self) -> Event {
        let waiting = self.jobs_that(|row| self.rows.waits_for_group(row));
        let (workflow, job) = match self.rng.pick(&waiting).copied() {
            Some(waiting) if self.rng.chance(40) => waiting,
            _ => self.some_job(),
        };
        if self.rng.chance(50) {
            Event::Granted { workflow, job }
        } else {
            Event::Superseded { workflow, job }
        }
    }

    fn rerun(&mut self) -> Event {
        let (of, job) = self.some_job();
        if self.rows.workflows.len() >= WORKFLOWS {
            return self.approval();
        }
        let jobs: Vec<JobId> = self.rows.jobs_of(of).map(|row| row.id).collect();
        let scope = match self.rng.below(5) {
            0 => RerunScope::FromStart,
            1 | 2 => RerunScope::FromFailed,
            _ => {
                let mut chosen = vec![job];
                while self.rng.chance(25) {
                    chosen.extend(self.rng.pick(&jobs));
                }
                if self.rng.chance(2) {
                    chosen.clear();
                }
                RerunScope::Jobs {
                    jobs: chosen,
                    with_downstream: self.rng.chance(50),
                }
            }
        };
        let mut new = vec![self.new_ids(jobs.len())];
        if self.rng.chance(3) && !jobs.is_empty() {
            self.spoil(&mut new);
        }
        let new = new.pop().unwrap_or_else(|| self.new_ids(0));
        Event::Rerun {
            of,
            scope,
            new,
            actor: String::from("eve"),
        }
    }
}

fn lost() -> TaskOutcome {
    TaskOutcome::InfrastructureFail(String::from("lost"))
}
