//! One container, from its start to its removal.

use std::pin::Pin;
use std::task::{Context, Poll};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, InspectContainerOptions, StartContainerOptions,
    WaitContainerOptionsBuilder,
};
use bytes::{Buf as _, Bytes};
use capstan_model::wire::PinnedImage;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::JoinHandle;

use super::{Place, PlaceError, Removals, engine_failed, force_remove, status};
use crate::executor::{AgentStream, Exit};

pub(super) struct DockerPlace {
    docker: Docker,
    id: String,
    image: PinnedImage,
    removals: Removals,
    exit: Option<JoinHandle<Exit>>,
}

impl DockerPlace {
    pub(super) fn new(docker: Docker, id: String, image: PinnedImage, removals: Removals) -> Self {
        Self {
            docker,
            id,
            image,
            removals,
            exit: None,
        }
    }

    async fn run(&mut self) -> Result<AgentStream, PlaceError> {
        let options = AttachContainerOptionsBuilder::default()
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .stream(true);
        let attached = self
            .docker
            .attach_container(&self.id, Some(options.build()))
            .await;
        let attached = attached.map_err(|e| engine_failed("attach to the container", &e))?;
        self.exit = Some(tokio::spawn(exit(self.docker.clone(), self.id.clone())));
        let started = self
            .docker
            .start_container(&self.id, None::<StartContainerOptions>)
            .await;
        started.map_err(|e| engine_failed("start the container", &e))?;
        let reader = Stdout {
            frames: attached.output,
            rest: Bytes::new(),
        };
        Ok(AgentStream {
            reader: Box::pin(reader),
            writer: attached.input,
        })
    }
}

impl Place for DockerPlace {
    fn start(&mut self) -> BoxFuture<'_, Result<AgentStream, PlaceError>> {
        Box::pin(self.run())
    }

    fn watch(&mut self) -> BoxFuture<'_, Exit> {
        Box::pin(async move {
            let lost = |cause: &str| Exit {
                code: None,
                out_of_memory: false,
                cause: cause.to_owned(),
            };
            let Some(task) = self.exit.as_mut() else {
                return lost("the container was never started");
            };
            let end = task
                .await
                .unwrap_or_else(|_| lost("the container is not watched any more"));
            let again = end.clone();
            self.exit = Some(tokio::spawn(async move { again }));
            end
        })
    }

    fn images(&self) -> Vec<PinnedImage> {
        vec![self.image.clone()]
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self {
                docker,
                id,
                removals,
                exit,
                ..
            } = *self;
            if let Some(exit) = exit {
                exit.abort();
            }
            // Nobody waits for a removal but the end of the run.
            let task = tokio::spawn(async move { force_remove(&docker, &id).await });
            match removals.lock() {
                Ok(mut all) => all.push(task),
                Err(poisoned) => poisoned.into_inner().push(task),
            }
        })
    }
}

/// Waits for the end of a container that is about to start.
async fn exit(docker: Docker, id: String) -> Exit {
    let options = WaitContainerOptionsBuilder::default()
        .condition("next-exit")
        .build();
    let answer = docker.wait_container(&id, Some(options)).next().await;
    let code = match answer {
        Some(Ok(response)) => response.status_code,
        Some(Err(Error::DockerContainerWaitError { code, .. })) => code,
        Some(Err(error)) if status(&error) == Some(404) => {
            return Exit {
                code: None,
                out_of_memory: false,
                cause: "container was removed".to_owned(),
            };
        }
        Some(Err(error)) => {
            let cause = format!("the container engine does not answer any more: {error}");
            return Exit {
                code: None,
                out_of_memory: false,
                cause,
            };
        }
        None => {
            let cause = "the container engine stopped answering".to_owned();
            return Exit {
                code: None,
                out_of_memory: false,
                cause,
            };
        }
    };
    // Only a killed container is worth asking about; it may be removed already.
    let out_of_memory = code == 137
        && docker
            .inspect_container(&id, None::<InspectContainerOptions>)
            .await
            .ok()
            .and_then(|container| container.state?.oom_killed)
            .unwrap_or(false);
    let code = i32::try_from(code).ok();
    let cause = match code {
        _ if out_of_memory => "the container ran out of memory".to_owned(),
        Some(code) if code > 128 => format!("agent was killed by signal {}", code - 128),
        Some(code) => format!("agent ended with exit code {code}"),
        None => "agent ended with an unknown exit code".to_owned(),
    };
    Exit {
        code,
        out_of_memory,
        cause,
    }
}

/// The standard output in an attached stream. Standard error carries nothing that the protocol needs.
struct Stdout {
    frames: Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>,
    rest: Bytes,
}

impl AsyncRead for Stdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while self.rest.is_empty() {
            match std::task::ready!(self.frames.poll_next_unpin(cx)) {
                Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => {
                    self.rest = message;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(std::io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}
