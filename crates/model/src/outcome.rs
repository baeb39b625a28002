//! The status words of platform 1.4, 1.5 and 1.7, and which of them are final.

use serde::{Deserialize, Serialize};

/// A job's status (platform 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waits for what it requires.
    Blocked,
    /// An approval whose requirements are met.
    OnHold,
    /// May start, waits for a runner or a group.
    Queued,
    /// Claimed; its place is being prepared.
    NotRunning,
    /// Executing steps.
    Running,
    /// Ended well.
    Success,
    /// A step failed.
    Failed,
    /// Canceled by a person or a rule.
    Canceled,
    /// Killed by the job's time limit.
    Timedout,
    /// Agent or place lost for a reason that is not the job's.
    InfrastructureFail,
    /// The final state could not be learnt.
    TerminatedUnknown,
    /// A context refused the actor.
    Unauthorized,
    /// Its requirements can never be met.
    NotRun,
    /// Superseded by an automatic retry.
    Retried,
}

impl JobStatus {
    /// Every status, for tables and tests.
    pub const ALL: [Self; 14] = [
        Self::Blocked,
        Self::OnHold,
        Self::Queued,
        Self::NotRunning,
        Self::Running,
        Self::Success,
        Self::Failed,
        Self::Canceled,
        Self::Timedout,
        Self::InfrastructureFail,
        Self::TerminatedUnknown,
        Self::Unauthorized,
        Self::NotRun,
        Self::Retried,
    ];

    /// Whether it never changes again.
    pub fn is_terminal(self) -> bool {
        !matches!(
            self,
            Self::Blocked | Self::OnHold | Self::Queued | Self::NotRunning | Self::Running
        )
    }

    /// Whether a requirement sees it as `failed` (platform 1.5).
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Failed | Self::Timedout | Self::InfrastructureFail | Self::TerminatedUnknown
        )
    }

    /// The word of API v2.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::OnHold => "on_hold",
            Self::Queued => "queued",
            Self::NotRunning => "not_running",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Timedout => "timedout",
            Self::InfrastructureFail => "infrastructure_fail",
            Self::TerminatedUnknown => "terminated-unknown",
            Self::Unauthorized => "unauthorized",
            Self::NotRun => "not_run",
            Self::Retried => "retried",
        }
    }
}

/// A workflow's status (platform 1.4), always computed from its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowStatus {
    /// In progress, nothing failed yet.
    Running,
    /// A job has failed while others still run or wait.
    Failing,
    /// Nothing failed or running, an approval waits.
    OnHold,
    /// All jobs finished well.
    Success,
    /// A job failed.
    Failed,
    /// Canceled before it finished.
    Canceled,
    /// An internal error while starting a job.
    Error,
    /// A job was unauthorized.
    Unauthorized,
    /// Nothing of it ever ran.
    NotRun,
}

impl WorkflowStatus {
    /// Whether it never changes again.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Running | Self::Failing | Self::OnHold)
    }

    /// The word of API v2.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Failing => "failing",
            Self::OnHold => "on_hold",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Error => "error",
            Self::Unauthorized => "unauthorized",
            Self::NotRun => "not_run",
        }
    }
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutcome {
    /// Every step that had to succeed did.
    Success,
    /// A step failed.
    Failed,
    /// Stopped because it was asked to.
    Canceled,
    /// The job's time limit passed.
    Timedout,
    /// The place, the agent or the runner was lost; the cause in words.
    InfrastructureFail(String),
}

/// How a step stands or ended (platform 1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// Executing.
    Running,
    /// Exit code 0.
    Success,
    /// Any other end of its own.
    Failed,
    /// The job was canceled while it ran.
    Canceled,
    /// Too long without output.
    Timedout,
    /// The place was lost while it ran.
    InfrastructureFail,
}

impl StepStatus {
    /// The word of API v1.1.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Timedout => "timedout",
            Self::InfrastructureFail => "infrastructure_fail",
        }
    }
}
