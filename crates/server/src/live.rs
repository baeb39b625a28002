//! What a pipeline is doing, as a sequence that can be read from any point: first the past, then what
//! comes. Reading is a pull; being woken is a hint.

use capstan_model::wire::PinnedImage;
use capstan_model::{
    JobId, JobStatus, PipelineId, StepStatus, TaskId, TaskOutcome, WorkflowId, WorkflowStatus,
};
use serde::{Deserialize, Serialize};

/// One change. `capstan run --json` prints these, one a line; the shape is documented in `docs/json.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Position in the pipeline's sequence, from 1, without gaps.
    pub seq: u64,
    /// Milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// What changed. Its fields stand beside `seq` in JSON.
    #[serde(flatten)]
    pub kind: UpdateKind,
}

/// The kinds of change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum UpdateKind {
    /// The pipeline exists.
    Pipeline {
        /// Its id.
        pipeline: PipelineId,
        /// Its number.
        number: u64,
        /// Compile errors; empty when it was created.
        errors: Vec<String>,
    },
    /// A workflow was made or changed its status.
    Workflow {
        /// Its id.
        workflow: WorkflowId,
        /// Its name.
        name: String,
        /// Its status.
        status: WorkflowStatus,
        /// The workflow that it runs again, if it is a rerun.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rerun_of: Option<WorkflowId>,
    },
    /// A job was made or changed its status.
    Job {
        /// Its workflow.
        workflow: WorkflowId,
        /// Its id.
        job: JobId,
        /// Its name.
        name: String,
        /// Its status.
        status: JobStatus,
        /// Why.
        reason: String,
    },
    /// A task's agent took it.
    TaskStarted {
        /// The task.
        task: TaskId,
        /// What its place was made of.
        images: Vec<PinnedImage>,
    },
    /// A task ended.
    TaskFinished {
        /// The task.
        task: TaskId,
        /// How.
        outcome: TaskOutcome,
    },
    /// A step began.
    StepStarted {
        /// The task.
        task: TaskId,
        /// Its number.
        step: u32,
        /// Its title.
        name: String,
    },
    /// A step ended.
    StepFinished {
        /// The task.
        task: TaskId,
        /// Its number.
        step: u32,
        /// How.
        status: StepStatus,
        /// Exit code of a `run` step.
        exit_code: Option<i32>,
        /// Why it did not succeed.
        reason: Option<String>,
        /// How long it took in milliseconds.
        duration_ms: i64,
    },
    /// More output of a step is stored. Neighbouring ones may be merged; read the bytes with
    /// `Server::output`. Not stored itself: past output is known by its length.
    Output {
        /// The task.
        task: TaskId,
        /// The step.
        step: u32,
        /// Offset of the first new byte.
        offset: u64,
        /// Number of new bytes.
        bytes: u64,
    },
}
