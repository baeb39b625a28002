//! What the parts say to each other: agent and runner over one byte stream of frames, runner and
//! server over HTTP with JSON and raw bytes.
//!
//! Both protocols are versioned by [`PROTO`]: a peer accepts the current version and the one before.
//! Unknown JSON fields are ignored, so a newer peer may say more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{JobId, PipelineId, RunnerId, TaskId, WorkflowId};
use crate::outcome::{StepStatus, TaskOutcome};
use crate::plan::{Executor, Shell, Step};
use crate::trigger::ParameterValue;

/// The version spoken.
pub const PROTO: u32 = 1;
/// The oldest version still understood.
pub const PROTO_MIN: u32 = 1;
/// The longest config that a pipeline continues with, in bytes (language 1.1).
pub const CONTINUATION_MAX: u64 = 4 << 20;
/// The largest frame body in bytes; a longer one means a broken peer.
pub const FRAME_MAX: usize = 1 << 20;
/// What the agent's program is called by steps; by these names it is the command line inside a job.
pub const JOB_COMMANDS: [&str; 2] = ["circleci", "circleci-agent"];
/// What an agent exits with after a task whose processes are all gone: the kernel has told it that it has
/// no child left.
pub const EXIT_ALONE: u8 = 64;
/// Step number of the executor's own step, "Spin up environment" (platform 1.1).
pub const STEP_SPIN_UP: u32 = 0;
/// Step number of "Preparing environment variables".
pub const STEP_ENVIRONMENT: u32 = 99;
/// Step number of the first configured step.
pub const STEP_FIRST: u32 = 101;

// ---------------------------------------------------------------- agent <-> runner

/// One message of the byte stream. On the wire: body length as `u32` little endian, a tag byte, the
/// body. The length counts tag and body.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Agent to runner, tag 0, JSON.
    Agent(AgentMessage),
    /// Runner to agent, tag 1, JSON.
    Runner(RunnerMessage),
    /// Agent to runner, tag 2: output of a step. `u32` step, `u64` offset, bytes.
    Log {
        /// Step number.
        step: u32,
        /// Offset of the first byte in the step's unmasked output.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Either way, tag 3: part of a transfer. `u32` transfer, `u64` offset, bytes.
    Blob {
        /// The transfer, numbered by whoever asked for it.
        transfer: u32,
        /// Offset of the first byte.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentMessage {
    /// The first frame. The agent then waits for [`RunnerMessage::Welcome`].
    Hello {
        /// Version it would like to speak.
        proto: u32,
        /// Oldest version it understands.
        min: u32,
        /// Program version, for people.
        version: String,
    },
    /// A step begins.
    StepStarted {
        /// Its number.
        step: u32,
        /// Its title.
        name: String,
        /// Milliseconds since 1970 UTC.
        at_ms: i64,
    },
    /// A step ended. Comes after the last log byte of the step.
    StepFinished {
        /// Its number.
        step: u32,
        /// How.
        status: StepStatus,
        /// Exit code of a `run` step; 128+n for signal n.
        exit_code: Option<i32>,
        /// Why it did not succeed, in words.
        reason: Option<String>,
        /// Milliseconds since 1970 UTC.
        at_ms: i64,
    },
    /// Asks for bytes, which come as [`Frame::Blob`]s and a [`RunnerMessage::TransferDone`].
    Fetch {
        /// Number chosen by the agent, unique in this connection.
        transfer: u32,
        /// What it wants.
        what: Fetch,
    },
    /// Continues the pipeline with a second config, whose bytes follow as [`Frame::Blob`]s. The answer is
    /// a [`RunnerMessage::TransferDone`], whose error says why the pipeline does not continue.
    Continue {
        /// Number chosen by the agent, unique in this connection.
        transfer: u32,
        /// Length of the config in bytes.
        bytes: u64,
        /// What the config is called, for messages.
        name: String,
        /// Pipeline parameters that are passed on.
        parameters: BTreeMap<String, ParameterValue>,
    },
    /// A value to be masked from now on.
    Mask {
        /// The value.
        value: String,
    },
    /// Everything ended. The agent waits for [`RunnerMessage::Goodbye`] and exits.
    Finished {
        /// How.
        outcome: TaskOutcome,
    },
}

/// Things an agent can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Fetch {
    /// The sources of this pipeline's revision, as a tar stream with paths relative to the project root.
    Source,
}

/// What the runner says to the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunnerMessage {
    /// Answer to `Hello`.
    Welcome {
        /// The version to speak.
        proto: u32,
    },
    /// What to do; the second frame.
    Task(Box<TaskSpec>),
    /// Everything of this step below `offset` is stored. An agent of whose output too much is not stored
    /// yet stops reading its children.
    LogAcknowledged {
        /// Step number.
        step: u32,
        /// First byte that is not stored yet.
        offset: u64,
    },
    /// A transfer is complete, or failed with this message.
    TransferDone {
        /// The transfer.
        transfer: u32,
        /// `None` when all bytes were sent.
        error: Option<String>,
    },
    /// Stop: TERM to everything, KILL after the grace, no further steps, then `Finished`.
    Cancel {
        /// Milliseconds between TERM and KILL.
        grace_ms: u64,
    },
    /// The runner has everything; the agent may exit.
    Goodbye,
}

/// What the agent is to run. Nothing in here names a workflow. When the stream ends before
/// [`RunnerMessage::Goodbye`], the agent kills everything and exits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Steps in order; the n-th has number [`STEP_FIRST`] + n.
    pub steps: Vec<Step>,
    /// Variables over those of the place, lowest precedence first: contexts, built-ins, job
    /// environment (platform 2.4). A later entry of the same name wins.
    pub environment: Vec<TaskVar>,
    /// Default shell.
    pub shell: Option<Shell>,
    /// Unexpanded working directory.
    pub working_directory: String,
    /// User of the steps in a container, `None` for the image's.
    pub user: Option<String>,
    /// Time limit of the whole task in milliseconds.
    pub max_run_time_ms: u64,
}

/// A variable with where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskVar {
    /// POSIX name.
    pub name: String,
    /// Value.
    pub value: String,
    /// Its source.
    pub source: VarSource,
}

/// Where a variable came from: decides precedence and whether its value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarSource {
    /// Project settings; on a laptop `--env` and `--env-file`. Secret.
    Project,
    /// A context. Secret.
    Context,
    /// `CIRCLE_*` and `CI`.
    BuiltIn,
    /// Job `environment`.
    Job,
}

/// A stream that does not follow the protocol.
#[derive(Debug)]
pub enum FrameError {
    /// A length over [`FRAME_MAX`] or under 1.
    Length(u32),
    /// A tag nobody uses.
    Tag(u8),
    /// A body too short for its tag.
    Short,
    /// JSON that does not parse.
    Json(serde_json::Error),
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length(n) => write!(f, "frame of {n} bytes"),
            Self::Tag(tag) => write!(f, "unknown frame tag {tag}"),
            Self::Short => f.write_str("frame too short"),
            Self::Json(error) => write!(f, "frame is not the JSON expected: {error}"),
        }
    }
}

impl std::error::Error for FrameError {}

impl Frame {
    /// Appends the encoded frame to `out`.
    ///
    /// # Panics
    /// Never on messages of this module: their JSON cannot fail to serialize.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Agent(message) => encode_json(0, message, out),
            Self::Runner(message) => encode_json(1, message, out),
            Self::Log {
                step,
                offset,
                bytes,
            } => encode_chunk(2, *step, *offset, bytes, out),
            Self::Blob {
                transfer,
                offset,
                bytes,
            } => {
                encode_chunk(3, *transfer, *offset, bytes, out);
            }
        }
    }

    fn decode(tag: u8, body: &[u8]) -> Result<Self, FrameError> {
        match tag {
            0 => serde_json::from_slice(body)
                .map(Self::Agent)
                .map_err(FrameError::Json),
            1 => serde_json::from_slice(body)
                .map(Self::Runner)
                .map_err(FrameError::Json),
            2 => decode_chunk(body).map(|(step, offset, bytes)| Self::Log {
                step,
                offset,
                bytes,
            }),
            3 => decode_chunk(body).map(|(transfer, offset, bytes)| Self::Blob {
                transfer,
                offset,
                bytes,
            }),
            other => Err(FrameError::Tag(other)),
        }
    }
}

/// What comes before the bytes of a [`Frame::Log`] of this size, for who does not want to copy them.
pub fn log_head(step: u32, offset: u64, size: usize) -> [u8; 17] {
    let mut head = [0; 17];
    let length = u32::try_from(size + 13).unwrap_or(u32::MAX);
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4] = 2;
    head[5..9].copy_from_slice(&step.to_le_bytes());
    head[9..].copy_from_slice(&offset.to_le_bytes());
    head
}

fn encode_json<T: Serialize>(tag: u8, message: &T, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(tag);
    if serde_json::to_writer(&mut *out, message).is_err() {
        unreachable!("wire messages always serialize");
    }
    patch_length(start, out);
}

fn encode_chunk(tag: u8, id: u32, offset: u64, bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(tag);
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(bytes);
    patch_length(start, out);
}

fn patch_length(start: usize, out: &mut [u8]) {
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn decode_chunk(body: &[u8]) -> Result<(u32, u64, Vec<u8>), FrameError> {
    let (id, rest) = body.split_first_chunk::<4>().ok_or(FrameError::Short)?;
    let (offset, bytes) = rest.split_first_chunk::<8>().ok_or(FrameError::Short)?;
    Ok((
        u32::from_le_bytes(*id),
        u64::from_le_bytes(*offset),
        bytes.to_vec(),
    ))
}

/// Cuts a byte stream into frames. Push what was read, take frames until there is none.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).extend_from_slice(bytes);
    }

    /// Where bytes that are read go, with room for so many; only to be added to.
    pub fn space(&mut self, size: usize) -> &mut Vec<u8> {
        if self.start > 0 && self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > FRAME_MAX {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.reserve(size);
        &mut self.buffer
    }

    /// The next whole frame, `None` until more bytes come.
    ///
    /// # Errors
    /// The stream is broken and cannot be read further.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let pending = &self.buffer[self.start..];
        let Some((length, rest)) = pending.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length);
        let size = length as usize;
        if size == 0 || size > FRAME_MAX {
            return Err(FrameError::Length(length));
        }
        let Some(body) = rest.get(..size) else {
            return Ok(None);
        };
        let frame = Frame::decode(body[0], &body[1..])?;
        self.start += 4 + size;
        Ok(Some(frame))
    }

    /// Whether the stream ended in the middle of a frame.
    pub fn has_partial(&self) -> bool {
        self.start < self.buffer.len()
    }
}

// ---------------------------------------------------------------- runner <-> server

/// `POST /runner/v1/claim`. Answered by an [`Assignment`], or 204 when `wait_ms` passed without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Version spoken.
    pub proto: u32,
    /// Who asks.
    pub runner: RunnerId,
    /// How long the server may hold the question open.
    pub wait_ms: u64,
}

/// A task lent to a runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The task.
    pub task: TaskId,
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// Its workflow.
    pub workflow: WorkflowId,
    /// Its job.
    pub job: JobId,
    /// Name of the job, for labels and messages.
    pub job_name: String,
    /// Every message about the task carries it; an older one is answered 409 (safety rule 14).
    pub lease_epoch: u64,
    /// The lease ends then unless renewed; milliseconds from now.
    pub lease_ms: u64,
    /// The place it needs.
    pub executor: Executor,
    /// As written in the config.
    pub resource_class: Option<String>,
    /// What the agent is to run.
    pub spec: TaskSpec,
    /// Values to mask in everything that leaves the place; also in `spec` as variables.
    pub mask: Vec<String>,
    /// What a person should know of the task before its first step: a line each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// `POST /runner/v1/tasks/{task}/events`: in order, at least once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReport {
    /// The epoch of the assignment.
    pub lease_epoch: u64,
    /// What happened, oldest first.
    pub events: Vec<TaskEvent>,
}

/// What can happen to a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TaskEvent {
    /// The place stands and the agent took the task.
    Started {
        /// Milliseconds since 1970 UTC.
        at_ms: i64,
        /// What was pinned while preparing: image references with digests.
        images: Vec<PinnedImage>,
    },
    /// A step begins.
    StepStarted {
        /// Its number.
        step: u32,
        /// Its title, masked.
        name: String,
        /// Milliseconds since 1970 UTC.
        at_ms: i64,
    },
    /// A step ended.
    StepFinished {
        /// Its number.
        step: u32,
        /// How.
        status: StepStatus,
        /// Exit code of a `run` step.
        exit_code: Option<i32>,
        /// Why it did not succeed, masked.
        reason: Option<String>,
        /// Milliseconds since 1970 UTC.
        at_ms: i64,
    },
    /// Output of a step, masked: short and UTF-8. Whatever is not goes the way of its own.
    Output {
        /// Its number.
        step: u32,
        /// Offset of the first byte in the step's masked output.
        offset: u64,
        /// The bytes.
        text: String,
    },
    /// The last event of a task.
    Finished {
        /// How.
        outcome: TaskOutcome,
        /// Milliseconds since 1970 UTC.
        at_ms: i64,
    },
}

/// An image that was used, and what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedImage {
    /// The reference of the config.
    pub reference: String,
    /// Repository digest, or the image id where it was never in a registry.
    pub digest: String,
}

/// Answer to a report, a log chunk and a renewal. A stale epoch is answered 409 instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directive {
    /// What the server wants.
    pub want: Want,
    /// After a log chunk: first byte of the step that is not stored yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<u64>,
}

/// What the server wants of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    /// Go on.
    Continue,
    /// Cancel it and report.
    Cancel,
}

/// `POST /runner/v1/tasks/{task}/renew`. Answered by a [`Directive`] after `wait_ms`, or earlier when
/// the server wants something else than `Continue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// The epoch of the assignment.
    pub lease_epoch: u64,
    /// How long the server may hold the question open.
    pub wait_ms: u64,
}

/// `POST /runner/v1/tasks/{task}/continue`: how the setup pipeline of a task goes on. Answered by a
/// [`Continued`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// The epoch of the assignment.
    pub lease_epoch: u64,
    /// The agent's number of the transfer: the same one twice is one call whose answer was lost.
    pub transfer: u32,
    /// What the config is called, for messages.
    pub name: String,
    /// The second config.
    pub configuration: String,
    /// Pipeline parameters that are passed on.
    pub parameters: BTreeMap<String, ParameterValue>,
}

/// Whether a pipeline continues.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continued {
    /// Why not.
    pub error: Option<String>,
}

// `POST /runner/v1/tasks/{task}/log/{step}?lease_epoch=E&offset=O` with raw masked bytes is answered by
// a `Directive`; `GET /runner/v1/tasks/{task}/source?lease_epoch=E` streams the tar of `Fetch::Source`.

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_log_is_that_of_its_frame() {
        for bytes in [&b""[..], b"hello\n"] {
            let frame = Frame::Log {
                step: 101,
                offset: 1 << 40,
                bytes: bytes.to_vec(),
            };
            let mut whole = Vec::new();
            frame.encode(&mut whole);
            let head = log_head(101, 1 << 40, bytes.len());
            assert_eq!([&head[..], bytes].concat(), whole);
        }
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let frames = [
            Frame::Agent(AgentMessage::Hello {
                proto: 1,
                min: 1,
                version: "0.1.0".into(),
            }),
            Frame::Log {
                step: 101,
                offset: 7,
                bytes: b"hello\n".to_vec(),
            },
            Frame::Runner(RunnerMessage::Goodbye),
            Frame::Blob {
                transfer: 3,
                offset: 1 << 40,
                bytes: vec![],
            },
        ];
        let mut stream = Vec::new();
        for frame in &frames {
            frame.encode(&mut stream);
        }
        for size in 1..stream.len() {
            let mut reader = FrameReader::default();
            let mut seen = Vec::new();
            for part in stream.chunks(size) {
                reader.push(part);
                while let Some(frame) = reader.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames, "cut every {size} bytes");
            assert!(!reader.has_partial());
        }
    }

    #[test]
    fn a_broken_length_is_an_error_and_not_an_allocation() {
        let mut reader = FrameReader::default();
        reader.push(&[0xFF; 16]);
        assert!(matches!(reader.next_frame(), Err(FrameError::Length(_))));
    }
}
