//! HTTP to a server, for those who do not live in it. Today over a unix socket; the transport is one
//! function.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use capstan_model::TaskId;
use capstan_model::wire::{
    Assignment, Claim, Continuation, Continued, Directive, Renew, TaskReport,
};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Connections kept for the next request.
const SPARE: usize = 16;
/// The longest answer that is read whole.
const ANSWER_MAX: usize = 64 << 20;

/// How long an answer may take that the server does not hold back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The claim is not valid any more (409): stop, and say nothing further.
    #[error("{0}")]
    Stale(String),
    /// The server answered and refused: the same call will be refused again.
    #[error("the server refused ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The server could not answer just now: it is broken, overloaded or going down.
    #[error("the server could not answer ({status}): {message}")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// No answer; trying again may help.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
}

impl CallError {
    /// Whether asking again is of no use.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Stale(_) | Self::Refused { .. })
    }

    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Stale(_) | Self::Refused { .. } | Self::Unreachable(_) => None,
        }
    }
}

/// How long the server may compile a continuation.
const COMPILE_WAIT_MS: u64 = 120_000;

/// What a runner calls.
pub struct RunnerApi {
    socket: PathBuf,
    spare: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl RunnerApi {
    /// Talks to the server behind a unix socket. Nothing is opened before the first call.
    pub fn over(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            spare: Mutex::default(),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for a task; `None` when there was none in time.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn claim(&self, claim: &Claim) -> Result<Option<Box<Assignment>>, CallError> {
        let answer = self
            .held(
                Method::POST,
                "/runner/v1/claim",
                json(claim)?,
                claim.wait_ms,
            )
            .await?;
        if answer.status() == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        read(answer).await.map(Some)
    }

    /// Says what happened to a task.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn report(&self, task: TaskId, report: &TaskReport) -> Result<Directive, CallError> {
        let path = format!("/runner/v1/tasks/{task}/events");
        read(self.call(Method::POST, &path, json(report)?).await?).await
    }

    /// Keeps the lease, and waits for what the server wants.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn renew(&self, task: TaskId, renew: &Renew) -> Result<Directive, CallError> {
        let path = format!("/runner/v1/tasks/{task}/renew");
        let answer = self.held(Method::POST, &path, json(renew)?, renew.wait_ms);
        read(answer.await?).await
    }

    /// Stores output.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn log(
        &self,
        task: TaskId,
        lease_epoch: u64,
        step: u32,
        offset: u64,
        bytes: Bytes,
    ) -> Result<Directive, CallError> {
        let path =
            format!("/runner/v1/tasks/{task}/log/{step}?lease_epoch={lease_epoch}&offset={offset}");
        read(self.call(Method::POST, &path, bytes).await?).await
    }

    /// Continues a setup pipeline. Orbs may have to be fetched for it, so the answer may take a while.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn continue_pipeline(
        &self,
        task: TaskId,
        continuation: &Continuation,
    ) -> Result<Continued, CallError> {
        let path = format!("/runner/v1/tasks/{task}/continue");
        let answer = self.held(Method::POST, &path, json(continuation)?, COMPILE_WAIT_MS);
        read(answer.await?).await
    }

    /// Opens the sources of a task's pipeline, a tar stream.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn source(&self, task: TaskId, lease_epoch: u64) -> Result<Source, CallError> {
        let path = format!("/runner/v1/tasks/{task}/source?lease_epoch={lease_epoch}");
        let answer = self.call(Method::GET, &path, Bytes::new()).await?;
        if answer.status().is_success() {
            return Ok(Source(answer.into_body()));
        }
        Err(refusal(answer).await)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, CallError> {
        self.held(method, path, body, 0).await
    }

    /// A call whose answer the server may hold back for a while. One that never answers is as good as
    /// gone.
    async fn held(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        wait_ms: u64,
    ) -> Result<Response<Incoming>, CallError> {
        let limit = PATIENCE + Duration::from_millis(wait_ms);
        tokio::time::timeout(limit, self.ask(method, path, body))
            .await
            .map_err(|_| CallError::Unreachable(format!("no answer in {} s", limit.as_secs())))?
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, CallError> {
        // A kept connection may have been closed by the other side meanwhile; a new one tells.
        if let Some(mut sender) = self.kept()
            && sender.ready().await.is_ok()
            && let Ok(answer) = sender.send_request(request(&method, path, &body)?).await
        {
            self.keep(sender);
            return Ok(answer);
        }
        let mut sender = self.connect().await?;
        let answer = sender
            .send_request(request(&method, path, &body)?)
            .await
            .map_err(lost)?;
        self.keep(sender);
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, CallError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(lost)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(lost)?;
        // It ends with its sender; what broke it is seen by the request under way.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose answer is still being read stays for later.
        let free = spare.iter().rposition(SendRequest::is_ready)?;
        Some(spare.swap_remove(free))
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.retain(|sender| !sender.is_closed());
        if spare.len() < SPARE {
            spare.push(sender);
        }
    }
}

/// A tar stream in pieces.
#[derive(Debug)]
pub struct Source(Incoming);

impl Source {
    /// The next piece, `None` at the end.
    ///
    /// # Errors
    /// The stream broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            match self.0.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(lost(error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

fn request(method: &Method, path: &str, body: &Bytes) -> Result<Request<Full<Bytes>>, CallError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "capstan")
        .header("content-type", "application/json")
        .body(Full::new(body.clone()))
        .map_err(lost)
}

fn json<T: Serialize>(value: &T) -> Result<Bytes, CallError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(lost)
}

async fn read<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, CallError> {
    if !answer.status().is_success() {
        return Err(refusal(answer).await);
    }
    let bytes = whole(answer).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| CallError::Unreachable(format!("the answer is not understood: {error}")))
}

async fn refusal(answer: Response<Incoming>) -> CallError {
    let status = answer.status();
    let retry_after = retry_after(&answer);
    let bytes = whole(answer).await.unwrap_or_default();
    let message = serde_json::from_slice::<serde_json::Value>(&bytes)
        .ok()
        .and_then(|value| value.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned());
    match status {
        StatusCode::CONFLICT => CallError::Stale(message),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => CallError::Unavailable {
            status: status.as_u16(),
            message,
            retry_after,
        },
        other if other.is_server_error() => CallError::Unavailable {
            status: other.as_u16(),
            message,
            retry_after,
        },
        other => CallError::Refused {
            status: other.as_u16(),
            message,
        },
    }
}

/// What the header says, in seconds; a date in it is passed over.
fn retry_after(answer: &Response<Incoming>) -> Option<Duration> {
    let value = answer.headers().get(hyper::header::RETRY_AFTER)?;
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, CallError> {
    let body = http_body_util::Limited::new(answer.into_body(), ANSWER_MAX);
    tokio::time::timeout(PATIENCE, body.collect())
        .await
        .map_err(|_| CallError::Unreachable(String::from("the answer stopped half-way")))?
        .map(http_body_util::Collected::to_bytes)
        .map_err(lost)
}

fn lost(error: impl std::fmt::Display) -> CallError {
    CallError::Unreachable(error.to_string())
}
