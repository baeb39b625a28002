//! A job's states, and the one function that moves them (platform 1.5).

use capstan_model::{JobId, JobStatus, TaskOutcome, WorkflowId};

use crate::IllegalTransition;
use crate::mutation::{Mutation, planted};
use crate::rows::TaskState;
use crate::task::Task;

/// Where a job stands. What is known in a state lives in its variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Waits for what it requires.
    Blocked,
    /// An approval whose requirements are met.
    OnHold,
    /// Waits for its serial group.
    Waiting,
    /// Its tasks are offered to runners.
    Queued,
    /// A runner has one of its tasks and prepares a place.
    Preparing,
    /// One of its agents executes steps.
    Running {
        /// Since when.
        started_at_ms: i64,
    },
    /// Over; never changes again.
    Ended {
        /// How.
        status: JobStatus,
        /// When its first node started, if one did.
        started_at_ms: Option<i64>,
        /// When it ended.
        stopped_at_ms: i64,
    },
}

/// What can be done to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobMove {
    /// Ask a person.
    Hold,
    /// Ask for the serial group.
    Wait,
    /// Offer its tasks.
    Queue,
    /// A runner took a task.
    Prepare,
    /// An agent took a task.
    Start,
    /// It is over.
    End(JobStatus),
}

impl JobState {
    /// The state after a move.
    ///
    /// # Errors
    /// The move is not possible from here; the subject is left for the caller to fill in.
    pub fn next(&self, how: JobMove, now_ms: i64) -> Result<Self, IllegalTransition> {
        use JobStatus as S;
        let ended = |status, started_at_ms| Self::Ended {
            status,
            started_at_ms,
            stopped_at_ms: now_ms,
        };
        let next = match (self, how) {
            (Self::Blocked, JobMove::Hold) => Self::OnHold,
            (Self::Blocked, JobMove::Wait) => Self::Waiting,
            // From `Queued`: another node of the same job was lost as well.
            (Self::Blocked | Self::Waiting | Self::Queued | Self::Preparing, JobMove::Queue) => {
                Self::Queued
            }
            (
                Self::Blocked,
                JobMove::End(status @ (S::Success | S::NotRun | S::Canceled | S::Unauthorized)),
            )
            | (Self::OnHold, JobMove::End(status @ (S::Success | S::Canceled)))
            | (Self::Waiting | Self::Queued, JobMove::End(status @ (S::Canceled | S::NotRun))) => {
                ended(status, None)
            }
            (Self::Queued | Self::Preparing, JobMove::Prepare) => Self::Preparing,
            (Self::Preparing | Self::Queued, JobMove::Start) => Self::Running {
                started_at_ms: now_ms,
            },
            (Self::Preparing, JobMove::End(status)) if status.is_terminal() => ended(status, None),
            // Another node of the same job.
            (Self::Running { .. }, JobMove::Prepare | JobMove::Start | JobMove::Queue) => {
                self.clone()
            }
            (Self::Running { started_at_ms }, JobMove::End(status)) if status.is_terminal() => {
                ended(status, Some(*started_at_ms))
            }
            (state, how) => {
                return Err(IllegalTransition::new(
                    "job",
                    state.status().as_str(),
                    how.words(),
                ));
            }
        };
        Ok(next)
    }

    /// The word of API v2.
    pub fn status(&self) -> JobStatus {
        match self {
            Self::Blocked => JobStatus::Blocked,
            Self::OnHold => JobStatus::OnHold,
            Self::Waiting | Self::Queued => JobStatus::Queued,
            Self::Preparing => JobStatus::NotRunning,
            Self::Running { .. } => JobStatus::Running,
            Self::Ended { status, .. } => *status,
        }
    }
}

impl JobMove {
    fn words(self) -> String {
        match self {
            Self::Hold => String::from("go on hold"),
            Self::Wait => String::from("wait for its group"),
            Self::Queue => String::from("be queued"),
            Self::Prepare => String::from("be prepared"),
            Self::Start => String::from("start"),
            Self::End(status) => format!("end {}", status.as_str()),
        }
    }
}

/// The moving part of a job; what stands still is in the workflow's graph and in the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The workflow it ran in, if it was carried over from there.
    pub carried_from: Option<WorkflowId>,
    /// Requirements that are not met yet.
    pub unmet: u32,
    /// Where it stands.
    pub state: JobState,
    /// Every try of every node, oldest first.
    pub tasks: Vec<Task>,
    /// Why it stands there.
    pub reason: String,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// Who asked to cancel it.
    pub cancel: Option<String>,
}

impl Job {
    /// A job that nothing has happened to.
    pub fn new(id: JobId, unmet: u32) -> Self {
        Self {
            id,
            carried_from: None,
            unmet,
            state: JobState::Blocked,
            tasks: Vec::new(),
            reason: String::new(),
            approved_by: None,
            cancel: None,
        }
    }

    /// The newest try of each node.
    pub fn nodes(&self) -> impl Iterator<Item = &Task> {
        let newest = |task: &&Task| {
            !self
                .tasks
                .iter()
                .any(|other| other.id.node == task.id.node && other.id.attempt > task.id.attempt)
        };
        self.tasks.iter().filter(newest)
    }

    /// How the job ended, once every node has: `canceled` if it was asked to and a node obeyed; else the
    /// worst of the nodes: lost, timed out, failed, canceled, success.
    pub fn outcome(&self) -> Option<(JobStatus, String)> {
        let mut worst: Option<(u32, JobStatus, String)> = None;
        for task in self.nodes() {
            let TaskState::Finished { outcome, .. } = &task.state else {
                if planted(Mutation::FirstNodeDecides) {
                    continue;
                }
                return None;
            };
            let told = self.judge(outcome, task.id.node);
            if worst.as_ref().is_none_or(|worst| told.0 > worst.0) {
                worst = Some(told);
            }
        }
        worst.map(|(_, status, reason)| (status, reason))
    }

    fn judge(&self, outcome: &TaskOutcome, node: u32) -> (u32, JobStatus, String) {
        let node = if self.nodes().count() > 1 {
            format!(" on node {node}")
        } else {
            String::new()
        };
        match (outcome, &self.cancel) {
            (TaskOutcome::Canceled, Some(actor)) => {
                (5, JobStatus::Canceled, format!("canceled by {actor}"))
            }
            (TaskOutcome::InfrastructureFail(cause), _) => (
                4,
                JobStatus::InfrastructureFail,
                format!("lost{node}: {cause}"),
            ),
            (TaskOutcome::Timedout, _) => (3, JobStatus::Timedout, format!("ran too long{node}")),
            (TaskOutcome::Failed, _) => (2, JobStatus::Failed, format!("a step failed{node}")),
            (TaskOutcome::Canceled, None) => (1, JobStatus::Canceled, format!("canceled{node}")),
            (TaskOutcome::Success, _) => {
                (0, JobStatus::Success, String::from("every step succeeded"))
            }
        }
    }
}
