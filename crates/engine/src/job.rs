//! A job's states, and the one function that moves them (platform 1.5).

use capstan_model::{JobId, JobStatus, TaskOutcome, WorkflowId};

use crate::IllegalTransition;
use crate::mutation::{Mutation, planted};

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
            | (Self::Waiting, JobMove::End(status @ (S::Canceled | S::NotRun)))
            | (Self::Queued, JobMove::End(status @ S::Canceled)) => ended(status, None),
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

/// The moving part of a job; what stands still is in the workflow's graph and in the plan, and its tasks
/// are in the pipeline.
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
    /// Why it stands there.
    pub reason: String,
    /// Why it waits, could start, or never can. Decided once; what happens to it later is in `reason`.
    pub decision: String,
    /// Tasks that have not finished.
    pub live: u32,
    /// How its nodes ended.
    pub ends: Ends,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// Who asked to cancel it.
    pub cancel: Option<String>,
}

/// How the nodes of a job ended, each by its last try. Of several that ended alike the first is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    nodes: u32,
    lost: Option<(u32, String)>,
    timedout: Option<u32>,
    failed: Option<u32>,
    canceled: Option<u32>,
}

impl Ends {
    /// Counts a node in.
    pub fn add(&mut self, node: u32, outcome: &TaskOutcome) {
        self.nodes += 1;
        match outcome {
            TaskOutcome::Success => {}
            TaskOutcome::Failed => _ = self.failed.get_or_insert(node),
            TaskOutcome::Canceled => _ = self.canceled.get_or_insert(node),
            TaskOutcome::Timedout => _ = self.timedout.get_or_insert(node),
            TaskOutcome::InfrastructureFail(cause) => {
                self.lost.get_or_insert_with(|| (node, cause.clone()));
            }
        }
    }
}

impl Job {
    /// A job that nothing has happened to.
    pub fn new(id: JobId, unmet: u32, waits: String) -> Self {
        Self {
            id,
            carried_from: None,
            unmet,
            state: JobState::Blocked,
            reason: waits.clone(),
            decision: waits,
            live: 0,
            ends: Ends::default(),
            approved_by: None,
            cancel: None,
        }
    }

    /// Whether it waits for nothing that is required.
    pub fn is_free(&self) -> bool {
        self.state == JobState::Blocked && self.unmet == 0
    }

    /// How the job ended, once every node has: `canceled` if it was asked to and a node obeyed; else the
    /// worst of the nodes: lost, timed out, failed, canceled, success.
    pub fn outcome(&self) -> Option<(JobStatus, String)> {
        let over = self.live == 0 || planted(Mutation::FirstNodeDecides);
        if !over || self.ends.nodes == 0 {
            return None;
        }
        let on = |node: u32| match self.ends.nodes {
            1 => String::new(),
            _ => format!(" on node {node}"),
        };
        let ends = &self.ends;
        let told = match (&self.cancel, ends.canceled) {
            (Some(actor), Some(_)) => (JobStatus::Canceled, format!("canceled by {actor}")),
            (None, Some(node)) if ends.nothing_worse() => {
                (JobStatus::Canceled, format!("canceled{}", on(node)))
            }
            _ => match (&ends.lost, ends.timedout, ends.failed) {
                (Some((node, cause)), ..) => {
                    let reason = format!("lost{}: {cause}", on(*node));
                    (JobStatus::InfrastructureFail, reason)
                }
                (None, Some(node), _) => (JobStatus::Timedout, format!("ran too long{}", on(node))),
                (None, None, Some(node)) => {
                    (JobStatus::Failed, format!("a step failed{}", on(node)))
                }
                (None, None, None) => (JobStatus::Success, String::from("every step succeeded")),
            },
        };
        Some(told)
    }
}

impl Ends {
    fn nothing_worse(&self) -> bool {
        self.lost.is_none() && self.timedout.is_none() && self.failed.is_none()
    }
}
