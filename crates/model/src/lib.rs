//! The nouns every part of Capstan shares, and nothing else: no IO, no async, no logic beyond one type.
//!
//! # Glossary
//!
//! One word per thing, in code, tables, API and pages.
//!
//! * **Pipeline**: one answer to one [`Trigger`]: a compiled [`Plan`], its workflows, its number.
//!   Owned by the engine.
//! * **Workflow**: a graph of jobs inside a pipeline. A rerun makes a new workflow in the same pipeline.
//! * **Job**: a node of that graph: something to build, an approval to give, or a no-op.
//! * **Task**: one execution of one job on one place. A job with `parallelism: 4` has four tasks.
//! * **Attempt**: the ordinal of a task among the executions of its job node, starting at 1.
//! * **Step**: one entry of a job's step list, as the agent runs it.
//! * **Place**: where a task runs: a container, or a directory of the host. Made by an executor.
//! * **Agent**: the small program inside the place that runs the steps.
//! * **Runner**: the program that claims tasks, gives each a place, masks and relays its output.
//! * **Server**: the program that owns pipelines, stores them, and performs the engine's effects.
//!
//! Read [`plan`] first (what is to be done), then [`wire`] (how the parts tell each other).

pub mod ids;
pub mod outcome;
pub mod plan;
pub mod secret;
pub mod source;
pub mod trigger;
pub mod wire;

pub use ids::{Digest, JobId, PipelineId, RunnerId, TaskId, WorkflowId};
pub use outcome::{JobStatus, StepStatus, TaskOutcome, WorkflowStatus};
pub use plan::Plan;
pub use secret::Secret;
pub use source::{FileId, OriginId, Span};
pub use trigger::Trigger;
