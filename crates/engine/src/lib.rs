//! What happens next in a pipeline. Pure: it never asks what time it is, draws no random number, reads
//! no file. An event goes in; a change of state and a list of effects come out, to be stored together
//! and performed after.
//!
//! Read [`event`], then [`job`] and [`task`] (the states), then [`graph`] (who is ready), then
//! [`pipeline`] (where `apply` sends an event).

pub mod effect;
pub mod event;
pub mod rows;

pub use effect::Effect;
pub use event::Event;
pub use rows::{JobRow, PipelineRow, Row, TaskRow, TaskState, WorkflowRow};
