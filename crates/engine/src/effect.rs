//! What the engine wants done. Performed after the event is stored; each may be performed twice.

use capstan_model::{JobId, TaskId, WorkflowId};
use serde::{Deserialize, Serialize};

use crate::event::Timer;

/// An effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Effect {
    /// Offer a task to runners.
    Enqueue {
        /// The task.
        task: TaskId,
        /// Its workflow.
        workflow: WorkflowId,
    },
    /// Tell whoever holds the task to stop; if nobody does, withdraw it.
    Revoke {
        /// The task.
        task: TaskId,
    },
    /// Send [`crate::Event::TimerFired`] at that time.
    SetTimer {
        /// What to send.
        timer: Timer,
        /// When, in milliseconds since 1970 UTC.
        at_ms: i64,
    },
    /// A job's status changed: commit statuses, checks.
    Report {
        /// The workflow.
        workflow: WorkflowId,
        /// The job.
        job: JobId,
    },
    /// A workflow ended, or went on hold: messages to people.
    Notify {
        /// The workflow.
        workflow: WorkflowId,
    },
    /// Ask the store for a serial group; [`crate::Event::Granted`] answers, or
    /// [`crate::Event::Superseded`].
    Acquire {
        /// The group's key.
        group: String,
        /// The workflow.
        workflow: WorkflowId,
        /// The job.
        job: JobId,
    },
    /// Give a serial group back.
    Release {
        /// The group's key.
        group: String,
        /// The workflow.
        workflow: WorkflowId,
        /// The job.
        job: JobId,
    },
}
