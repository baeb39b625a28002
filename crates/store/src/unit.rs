//! What is written: units, which are answered, and telemetry, which is not.

use capstan_engine::{Effect, Row};
use capstan_model::{JobId, PipelineId, StepStatus, TaskId};

/// One event with everything that goes with it. Stored whole or not at all.
#[derive(Clone, Debug)]
pub struct Unit {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Number of events stored before this one.
    pub expected_version: u64,
    /// When the event was applied.
    pub at_ms: i64,
    /// The event as JSON.
    pub event: String,
    /// The rows it touched.
    pub rows: Vec<Row>,
    /// What is to be done after it is stored.
    pub effects: Vec<Effect>,
    /// The project, for the numbers of its jobs.
    pub project: String,
    /// Jobs that need a number now, in order. A job that has one keeps it.
    pub number: Vec<JobId>,
}

/// What storing a unit gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The numbers of the jobs that asked.
    pub numbers: Vec<(JobId, u64)>,
    /// The outbox entry of the effects, if there were any.
    pub outbox: Option<String>,
}

/// Things worth keeping that nobody waits for. Batched; the last few may be lost with the process.
#[derive(Clone, Debug)]
pub enum Telemetry {
    /// A step began or ended.
    Step(StepRow),
    /// A change as followers see it.
    Update {
        /// The pipeline.
        pipeline: PipelineId,
        /// Its position.
        seq: u64,
        /// The change as JSON.
        json: String,
    },
    /// The effects of an outbox entry were performed.
    OutboxDone(String),
    /// The timers of a task are of no use any more.
    TimersDone(TaskId),
}

/// A step as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// The task.
    pub task: TaskId,
    /// Its number.
    pub step: u32,
    /// Its title.
    pub name: String,
    /// How it stands.
    pub status: StepStatus,
    /// Exit code of a `run` step.
    pub exit_code: Option<i32>,
    /// Why it did not succeed.
    pub reason: Option<String>,
    /// When it began.
    pub started_at_ms: i64,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
    /// Length of its output; known when it ended.
    pub log_bytes: u64,
}
