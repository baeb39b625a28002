//! What happens next in a pipeline. Pure: it never asks what time it is, draws no random number, reads
//! no file. An event goes in; a change of state and a list of effects come out, to be stored together
//! and performed after.
//!
//! Read [`event`], then [`job`] and [`task`] (the states and what moves them), then [`graph`] (who waits
//! for whom), then [`pipeline`] (where `apply` sends an event) and `draft` (how one change settles);
//! `plans` is how a pipeline begins and continues, `rerun` how a workflow runs again. `tests/scripts` tells
//! it all in stories.

pub mod decision;
mod draft;
pub mod effect;
pub mod event;
pub mod graph;
pub mod job;
#[doc(hidden)]
pub mod meter;
#[doc(hidden)]
pub mod mutation;
pub mod pipeline;
mod plans;
mod rerun;
pub mod rows;
pub mod task;
mod tasks;
pub mod workflow;

use std::fmt;

pub use draft::Delta;
pub use effect::Effect;
pub use event::Event;
pub use pipeline::Pipeline;
pub use rows::{JobRow, PipelineRow, Row, TaskRow, TaskState, WorkflowRow};

/// How long a canceled task has to confirm its end, in milliseconds: the agent's ten seconds between TERM
/// and KILL (platform 2.11), and some for the way.
pub const CANCEL_GRACE_MS: i64 = 30_000;

/// How often a task is tried whose place was lost before its first step (safety rule 18).
pub const MAX_ATTEMPTS: u32 = 2;

/// How often a workflow of a pipeline may run again, reruns of reruns included (platform 4.1).
pub const MAX_RERUNS: usize = 100;

/// How long after its setup workflow began a pipeline may continue, in milliseconds: six hours (language
/// 14.2).
pub const CONTINUE_WITHIN_MS: i64 = 6 * 3_600_000;

/// An event that cannot happen in this state. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IllegalTransition {
    /// Whose state it was: `job deploy`, `task …`, `workflow main`, `pipeline`.
    pub subject: String,
    /// The state it is in, in words.
    pub state: String,
    /// What was asked of it.
    pub event: String,
    /// Whether the message comes from a claim that is not valid any more.
    pub stale: bool,
}

impl IllegalTransition {
    pub(crate) fn new(
        subject: impl Into<String>,
        state: impl Into<String>,
        event: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            state: state.into(),
            event: event.into(),
            stale: false,
        }
    }

    pub(crate) fn stale(self) -> Self {
        Self {
            stale: true,
            ..self
        }
    }
}

impl fmt::Display for IllegalTransition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {} and cannot {}",
            self.subject, self.state, self.event
        )
    }
}

impl std::error::Error for IllegalTransition {}
