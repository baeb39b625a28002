//! A task's states, and the one function that moves them.

use capstan_model::{RunnerId, TaskOutcome};

use crate::IllegalTransition;
use crate::mutation::{Mutation, planted};
use crate::rows::TaskState;

/// What can be done to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskMove {
    /// A runner takes it.
    Claim {
        /// Who.
        runner: RunnerId,
        /// Number of the claim.
        lease_epoch: u64,
        /// End of the lease.
        lease_until_ms: i64,
    },
    /// Its agent took it.
    Start {
        /// Number of the claim.
        lease_epoch: u64,
    },
    /// Its runner says how it ended.
    Finish {
        /// Number of the claim.
        lease_epoch: u64,
        /// How.
        outcome: TaskOutcome,
    },
    /// Nobody needs it any more.
    Withdraw,
    /// Its runner is to be told to stop.
    AskCancel,
}

impl TaskState {
    /// The state after a move.
    ///
    /// # Errors
    /// The move is not possible from here, or speaks for a claim that is not valid any more.
    pub fn next(&self, how: TaskMove, now_ms: i64) -> Result<Self, IllegalTransition> {
        let illegal = |words: &str| IllegalTransition::new("task", self.words(), words);
        let current = self.epoch();
        let valid = |epoch: u64, words: &str| {
            if current == Some(epoch) || planted(Mutation::StaleClaimBelieved) {
                Ok(())
            } else {
                Err(illegal(words).stale())
            }
        };
        match (self, how) {
            (
                Self::Queued { .. },
                TaskMove::Claim {
                    runner,
                    lease_epoch,
                    lease_until_ms,
                },
            ) => Ok(Self::Claimed {
                runner,
                lease_epoch,
                lease_until_ms,
                canceling: false,
            }),
            (
                Self::Claimed {
                    runner, canceling, ..
                },
                TaskMove::Start { lease_epoch },
            ) => {
                valid(lease_epoch, "be started by an older claim")?;
                let (runner, canceling) = (*runner, *canceling);
                Ok(Self::Running {
                    runner,
                    lease_epoch,
                    since_ms: now_ms,
                    canceling,
                })
            }
            (
                Self::Claimed { .. } | Self::Running { .. },
                TaskMove::Finish {
                    lease_epoch,
                    outcome,
                },
            ) => {
                valid(lease_epoch, "be finished by an older claim")?;
                Ok(Self::Finished {
                    outcome,
                    started_at_ms: self.started_at_ms(),
                    at_ms: now_ms,
                })
            }
            (Self::Queued { .. }, TaskMove::Withdraw) => Ok(Self::Finished {
                outcome: TaskOutcome::Canceled,
                started_at_ms: None,
                at_ms: now_ms,
            }),
            (Self::Claimed { .. } | Self::Running { .. }, TaskMove::AskCancel) => {
                let mut next = self.clone();
                if let Self::Claimed { canceling, .. } | Self::Running { canceling, .. } = &mut next
                {
                    *canceling = true;
                }
                Ok(next)
            }
            (_, TaskMove::Claim { .. }) => Err(illegal("be claimed")),
            (_, TaskMove::Start { .. }) => Err(illegal("be started").stale()),
            (_, TaskMove::Finish { .. }) => Err(illegal("be finished").stale()),
            (_, TaskMove::Withdraw) => Err(illegal("be withdrawn")),
            (_, TaskMove::AskCancel) => Err(illegal("be told to stop")),
        }
    }

    /// Number of the valid claim.
    pub fn epoch(&self) -> Option<u64> {
        match self {
            Self::Claimed { lease_epoch, .. } | Self::Running { lease_epoch, .. } => {
                Some(*lease_epoch)
            }
            Self::Queued { .. } | Self::Finished { .. } => None,
        }
    }

    /// Whether its runner was told to stop.
    pub fn canceling(&self) -> bool {
        matches!(
            self,
            Self::Claimed {
                canceling: true,
                ..
            } | Self::Running {
                canceling: true,
                ..
            }
        )
    }

    fn started_at_ms(&self) -> Option<i64> {
        match self {
            Self::Running { since_ms, .. } => Some(*since_ms),
            Self::Finished { started_at_ms, .. } => *started_at_ms,
            Self::Queued { .. } | Self::Claimed { .. } => None,
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Queued { .. } => "queued",
            Self::Claimed { .. } => "claimed",
            Self::Running { .. } => "running",
            Self::Finished { .. } => "finished",
        }
    }
}
