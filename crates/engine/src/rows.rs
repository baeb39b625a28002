//! The rows of a pipeline as they are stored and shown: a cache of the event log. A `Delta` holds those
//! that one event touched; replaying the log makes them all again.

use capstan_model::{
    Digest, JobId, JobStatus, PipelineId, RunnerId, TaskId, TaskOutcome, WorkflowId, WorkflowStatus,
};
use serde::{Deserialize, Serialize};

/// One row of one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Row {
    /// Keyed by `id`.
    Pipeline(PipelineRow),
    /// Keyed by `id`.
    Workflow(WorkflowRow),
    /// Keyed by `(workflow, id)`: a job carried over by a rerun stands in two workflows.
    Job(JobRow),
    /// Keyed by `id`.
    Task(TaskRow),
}

/// A pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PipelineRow {
    /// Its id.
    pub id: PipelineId,
    /// Its number in the project.
    pub number: u64,
    /// Where it stands (platform 1.3).
    pub state: PipelineState,
    /// The plan, if it compiled; of the setup config, if there is one.
    pub plan: Option<Digest>,
    /// The plan that the setup workflow continued with.
    pub continued: Option<Digest>,
    /// Why one of them did not compile.
    pub errors: Vec<String>,
    /// Who canceled it while it waited for its continuation. Running the setup workflow again takes it
    /// back.
    pub canceled_by: Option<String>,
    /// Milliseconds since 1970 UTC.
    pub created_at_ms: i64,
}

/// States of a pipeline (platform 1.3). `pending` is one that has no row yet; `setup-pending` never is: a
/// config is compiled, and its workflow made, by one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineState {
    /// Its setup workflow is there; waits for the continuation.
    Setup,
    /// Compiled; stays here whatever its workflows do.
    Created,
    /// Did not compile.
    Errored,
}

impl PipelineState {
    /// The word of API v2.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Created => "created",
            Self::Errored => "errored",
        }
    }
}

/// A workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowRow {
    /// Its id.
    pub id: WorkflowId,
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// The plan it is of.
    pub plan: Digest,
    /// Whether that is the plan of a setup config (`tag: "setup"` in API v2).
    pub setup: bool,
    /// Its name.
    pub name: String,
    /// Order of creation in the pipeline, from 0.
    pub ordinal: u32,
    /// Computed from its jobs.
    pub status: WorkflowStatus,
    /// The workflow it runs again.
    pub rerun_of: Option<WorkflowId>,
    /// Which automatic rerun it is, from 1; `None` for any other workflow.
    pub auto_rerun_number: Option<u32>,
    /// How many automatic reruns its config allows.
    pub max_auto_reruns: u32,
    /// Who started it.
    pub started_by: String,
    /// Who asked to cancel it.
    pub canceled_by: Option<String>,
    /// Milliseconds since 1970 UTC.
    pub created_at_ms: i64,
    /// When it became terminal.
    pub stopped_at_ms: Option<i64>,
}

/// A job in a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// The workflow it stands in.
    pub workflow: WorkflowId,
    /// The workflow it ran in, if it was carried over.
    pub carried_from: Option<WorkflowId>,
    /// Its name in the workflow.
    pub name: String,
    /// Order in the workflow, from 0.
    pub ordinal: u32,
    /// `build`, `approval` or `no-op`.
    pub kind: String,
    /// Number of nodes.
    pub parallelism: u32,
    /// Where it stands.
    pub status: JobStatus,
    /// Why it stands there: `waits for build`, `approved by ann`, `a step failed`.
    pub reason: String,
    /// Why it waits, could start, or never can: `build ended as required`, `build ended failed`. Stays as
    /// it was decided, whatever happens to the job afterwards.
    pub decision: String,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When its first node started.
    pub started_at_ms: Option<i64>,
    /// When it ended.
    pub stopped_at_ms: Option<i64>,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// The workflow it runs for.
    pub workflow: WorkflowId,
    /// Where it stands.
    pub state: TaskState,
}

/// States of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TaskState {
    /// Offered to runners.
    Queued {
        /// Since when.
        since_ms: i64,
    },
    /// A runner has it and prepares a place.
    Claimed {
        /// Who.
        runner: RunnerId,
        /// Number of the claim.
        lease_epoch: u64,
        /// End of the lease unless renewed.
        lease_until_ms: i64,
        /// Whether its runner was told to stop.
        canceling: bool,
    },
    /// Its agent executes steps.
    Running {
        /// Who.
        runner: RunnerId,
        /// Number of the claim.
        lease_epoch: u64,
        /// Since when.
        since_ms: i64,
        /// Whether its runner was told to stop.
        canceling: bool,
    },
    /// Over; never changes again.
    Finished {
        /// How.
        outcome: TaskOutcome,
        /// When it started, if it did.
        started_at_ms: Option<i64>,
        /// When it ended.
        at_ms: i64,
    },
}
