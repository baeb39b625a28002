//! One container, from its start to its removal.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ExecConfig;
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, StartContainerOptions,
    WaitContainerOptionsBuilder,
};
use capstan_model::wire::PinnedImage;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::attach::{self, AttachError};
use super::engine::Engine;
use super::network::Network;
use super::{Place, PlaceError, Removals, engine_failed, force_remove, status};
use crate::executor::{AgentStream, Exit};

/// How long the engine may take to hand over a stream.
const ATTACH: Duration = Duration::from_secs(60);
/// How long to wait for the cause of an end that is known. Less than a relay waits for it.
const CAUSE: Duration = Duration::from_secs(3);

const DEAF: &str = "the container engine does not answer any more";

/// What a place is made of.
pub(super) struct Parts {
    pub(super) engine: Engine,
    pub(super) id: String,
    pub(super) image: PinnedImage,
    pub(super) network: Network,
    /// The agent's command where it is not the container's first process.
    pub(super) agent: Option<Vec<String>>,
    pub(super) removals: Removals,
    pub(super) vigil: Vigil,
}

/// How it is noticed that an engine is there and does not answer any more; one that is gone closes its
/// connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vigil {
    /// Between two questions.
    pub(super) every: Duration,
    /// For an answer.
    pub(super) patience: Duration,
    /// Questions without an answer, one after another, that are enough.
    pub(super) misses: u32,
}

impl Default for Vigil {
    /// Generous: a machine under load answers late, and its jobs are fine.
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            patience: Duration::from_secs(20),
            misses: 3,
        }
    }
}

pub(super) struct DockerPlace {
    parts: Parts,
    exit: Option<JoinHandle<Exit>>,
    /// Whether the engine does not answer any more.
    deaf: watch::Sender<bool>,
}

impl DockerPlace {
    pub(super) fn new(parts: Parts) -> Self {
        let (deaf, exit) = (watch::Sender::new(false), None);
        Self { parts, exit, deaf }
    }

    async fn run(&mut self) -> Result<AgentStream, PlaceError> {
        let stream = match self.parts.agent.clone() {
            None => {
                let stream = attach(attach::container(&self.parts.engine, &self.parts.id)).await?;
                self.start_container().await?;
                stream
            }
            Some(agent) => {
                self.start_container().await?;
                self.agent_beside_entrypoint(agent).await?
            }
        };
        let docker = self.parts.engine.docker.clone();
        let (vigil, deaf) = (self.parts.vigil, self.deaf.clone());
        let mut told = deaf.subscribe();
        Ok(AgentStream {
            reader: Box::pin(Watched {
                reader: stream.reader,
                deaf: Box::pin(async move { told.wait_for(|deaf| *deaf).await.is_ok() }),
                vigil: tokio::spawn(keep_vigil(docker, vigil, deaf)),
            }),
            writer: stream.writer,
        })
    }

    async fn start_container(&mut self) -> Result<(), PlaceError> {
        let (docker, id) = (&self.parts.engine.docker, &self.parts.id);
        let own_entrypoint = self.parts.agent.is_some();
        let end = exit(docker.clone(), id.clone(), own_entrypoint);
        let mut deaf = self.deaf.subscribe();
        self.exit = Some(tokio::spawn(async move {
            tokio::select! {
                end = end => end,
                Ok(_) = deaf.wait_for(|deaf| *deaf) => Exit::unknown(DEAF),
            }
        }));
        let started = docker
            .start_container(id, None::<StartContainerOptions>)
            .await;
        started.map_err(|error| match &error {
            // The engine blames the command of the config or the image.
            Error::DockerResponseServerError {
                status_code: 400,
                message,
            } if own_entrypoint => PlaceError::Job(format!(
                "the entrypoint of the primary container cannot be started: {message}"
            )),
            _ => engine_failed("start the container", &error),
        })
    }

    /// Starts the agent in a container whose first process is not ours.
    async fn agent_beside_entrypoint(
        &mut self,
        agent: Vec<String>,
    ) -> Result<AgentStream, PlaceError> {
        let command = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(false),
            privileged: Some(false),
            user: Some("0:0".to_owned()),
            working_dir: Some("/".to_owned()),
            cmd: Some(agent),
            ..Default::default()
        };
        let engine = &self.parts.engine;
        let made = engine.docker.create_exec(&self.parts.id, command).await;
        let refused = match made {
            Ok(made) => match attach(attach::exec(engine, &made.id)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            },
            Err(error) => engine_failed("start the agent beside the entrypoint", &error),
        };
        // The usual reason: there is nothing any more that it could be started beside.
        match tokio::time::timeout(CAUSE, self.watch()).await {
            Ok(exit) if exit.by_job => Err(PlaceError::Job(format!(
                "{} before the job could start. An entrypoint must run for as long as the job",
                exit.cause
            ))),
            _ => Err(refused),
        }
    }
}

async fn attach(
    attaching: impl Future<Output = Result<AgentStream, AttachError>>,
) -> Result<AgentStream, PlaceError> {
    let attached = tokio::time::timeout(ATTACH, attaching).await;
    let why = match attached {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} seconds", ATTACH.as_secs()),
    };
    Err(PlaceError::Infrastructure(format!(
        "the container engine could not attach to the container: {why}"
    )))
}

impl Place for DockerPlace {
    fn start(&mut self) -> BoxFuture<'_, Result<AgentStream, PlaceError>> {
        Box::pin(self.run())
    }

    fn watch(&mut self) -> BoxFuture<'_, Exit> {
        Box::pin(async move {
            let Some(task) = self.exit.as_mut() else {
                return Exit::unknown("the container was never started");
            };
            let end = task
                .await
                .unwrap_or_else(|_| Exit::unknown("the container is not watched any more"));
            let again = end.clone();
            self.exit = Some(tokio::spawn(async move { again }));
            end
        })
    }

    fn images(&self) -> Vec<PinnedImage> {
        vec![self.parts.image.clone()]
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { parts, exit, .. } = *self;
            if let Some(exit) = exit {
                exit.abort();
            }
            let removals = parts.removals;
            // Nobody waits for a removal but the end of the run. The network is free after it.
            let (docker, id, network) = (parts.engine.docker, parts.id, parts.network);
            let task = tokio::spawn(async move {
                force_remove(&docker, &id).await;
                network.give_back();
            });
            let mut all = removals.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|removal| !removal.is_finished());
            all.push(task);
        })
    }
}

/// Waits for the end of a container that is about to start.
async fn exit(docker: Docker, id: String, own_entrypoint: bool) -> Exit {
    let options = WaitContainerOptionsBuilder::default()
        .condition("next-exit")
        .build();
    let answer = docker.wait_container(&id, Some(options)).next().await;
    let code = match answer {
        Some(Ok(response)) => response.status_code,
        Some(Err(Error::DockerContainerWaitError { code, .. })) => code,
        Some(Err(error)) if status(&error) == Some(404) => {
            return Exit::unknown("the container was removed");
        }
        Some(Err(error)) => {
            let cause = format!("the container engine does not answer any more: {error}");
            return Exit::unknown(cause);
        }
        None => return Exit::unknown("the container engine stopped answering"),
    };
    // Only a killed container is worth asking about.
    let out_of_memory = code == 137 && ran_out_of_memory(&docker, &id).await;
    let code = i32::try_from(code).ok();
    let who = if own_entrypoint {
        "the entrypoint of the primary container"
    } else {
        "the agent"
    };
    let cause = match code {
        _ if out_of_memory => String::from("the container ran out of memory"),
        // A removal by somebody else is a kill, too.
        Some(137) => format!("{who} was killed by signal 9, or its container was removed"),
        Some(code) if code > 128 => format!("{who} was killed by signal {}", code - 128),
        Some(code) => format!("{who} ended with exit code {code}"),
        None => format!("{who} ended with an unknown exit code"),
    };
    Exit {
        code,
        out_of_memory,
        by_job: own_entrypoint && code != Some(137),
        cause,
    }
}

/// Asks the container, and when that is removed already, the engine's memory of what happened to it.
async fn ran_out_of_memory(docker: &Docker, id: &str) -> bool {
    let inspected = docker.inspect_container(id, None::<InspectContainerOptions>);
    if let Some(state) = inspected.await.ok().and_then(|container| container.state) {
        return state.oom_killed == Some(true);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let filters = HashMap::from([
        ("container", vec![id.to_owned()]),
        ("event", vec!["oom".to_owned()]),
    ]);
    let options = EventsOptionsBuilder::default()
        .since("1")
        .until(&format!("{}.{:09}", now.as_secs(), now.subsec_nanos()))
        .filters(&filters)
        .build();
    // An engine whose clock is late would wait until it is now.
    let first = tokio::time::timeout(CAUSE, docker.events(Some(options)).next()).await;
    matches!(first, Ok(Some(Ok(_))))
}

/// Asks the engine now and then whether it is there, and says so when it is not.
async fn keep_vigil(docker: Docker, vigil: Vigil, deaf: watch::Sender<bool>) {
    let mut misses = 0;
    while misses < vigil.misses {
        tokio::time::sleep(vigil.every).await;
        let answer = tokio::time::timeout(vigil.patience, docker.ping()).await;
        misses = if answer.is_ok() { 0 } else { misses + 1 };
    }
    deaf.send_replace(true);
}

/// A stream that ends with an error when the engine behind it does not answer any more.
struct Watched {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    /// Ends when the engine is deaf; not asked again after that.
    deaf: BoxFuture<'static, bool>,
    vigil: JoinHandle<()>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = self.reader.as_mut().poll_read(cx, out) {
            return Poll::Ready(read);
        }
        if self.deaf.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.deaf = Box::pin(std::future::ready(true));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, DEAF)))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.vigil.abort();
    }
}
