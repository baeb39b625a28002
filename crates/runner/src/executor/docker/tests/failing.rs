//! An engine that goes away, or does not answer any more, in the middle of a job: every wait ends, with
//! a cause. Between the executor and the engine stands a proxy that can be cut or frozen.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::{InDocker, docker, in_time, on, prepare};
use crate::executor::contract::{Session, Subject as _};
use crate::executor::docker::engine::{self, Host};
use crate::executor::docker::place::Vigil;
use crate::executor::{Executor as _, PlaceError};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    /// Takes connections and bytes, and passes nothing on.
    Frozen,
    Cut,
}

/// A socket that stands for the engine's.
struct Proxy {
    path: PathBuf,
    state: watch::Sender<State>,
}

impl Proxy {
    fn before(engine: PathBuf) -> Self {
        static PROXIES: AtomicU32 = AtomicU32::new(0);
        let number = PROXIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("capstan-proxy-{}-{number}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let state = watch::Sender::new(State::Open);
        let states = state.clone();
        tokio::spawn(async move {
            let mut cut = states.subscribe();
            loop {
                let near = tokio::select! {
                    near = listener.accept() => near.unwrap().0,
                    _ = cut.wait_for(|state| *state == State::Cut) => return,
                };
                let far = UnixStream::connect(&engine).await.unwrap();
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                tokio::spawn(pass(near_in, far_out, states.subscribe()));
                tokio::spawn(pass(far_in, near_out, states.subscribe()));
            }
        });
        Self { path, state }
    }

    /// As when the engine's process is killed.
    fn cut(&self) {
        self.state.send_replace(State::Cut);
        std::fs::remove_file(&self.path).unwrap();
    }

    /// As when it is stopped.
    fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }

    fn thaw(&self) {
        self.state.send_replace(State::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It was cut already.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 64 << 10];
    let mut cut = state.clone();
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = cut.wait_for(|state| *state == State::Cut) => return,
        };
        let next = state.wait_for(|state| *state != State::Frozen).await;
        if next.is_ok_and(|state| *state == State::Cut) {
            return;
        }
        if read == 0 {
            // The other end may be gone before this one.
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// A job through a proxy; `None` where there is no engine.
async fn job() -> Option<(InDocker, Proxy, Session)> {
    let direct = docker().await?;
    let Host::Unix(socket) = direct.executor.engine.host.clone() else {
        println!("skipped: the engine is not behind a socket of this machine");
        return None;
    };
    let proxy = Proxy::before(socket);
    let host = format!("unix://{}", proxy.path.display());
    let mut docker = on(engine::connect(&host).await.unwrap()).await;
    docker.executor.vigil = Vigil {
        every: Duration::from_millis(100),
        patience: Duration::from_secs(2),
        misses: 2,
    };
    let mut session = Session::open(&docker).await;
    assert_eq!(session.ask("echo ready").await, "ready");
    Some((docker, proxy, session))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_ends_the_job_with_a_cause() {
    let Some((docker, proxy, mut session)) = job().await else {
        return;
    };
    proxy.cut();
    session.rest().await;
    let exit = in_time(session.place.watch()).await;
    assert!(exit.cause.contains("engine") && !exit.by_job, "{exit:?}");
    session.stop().await;
    // The next job is told; the end of the runner does not hang, and leaves the rest to the guard.
    let next = prepare(&docker, &docker.request()).await;
    assert!(matches!(next, Err(PlaceError::Infrastructure(_))));
    assert!(in_time(docker.executor.sweep()).await.is_err());
    clean(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_stopped_ends_the_job_with_a_cause() {
    let Some((docker, proxy, mut session)) = job().await else {
        return;
    };
    proxy.freeze();
    session.rest().await;
    let exit = in_time(session.place.watch()).await;
    assert!(exit.cause.contains("does not answer"), "{exit:?}");
    proxy.thaw();
    session.stop().await;
    in_time(docker.executor.sweep()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_only_slow_ends_nothing() {
    let Some((docker, proxy, mut session)) = job().await else {
        return;
    };
    proxy.freeze();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    proxy.thaw();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(session.ask("echo still here").await, "still here");
    session.stop().await;
    in_time(docker.executor.sweep()).await.unwrap();
}

/// Removes what the executor could not, as the guard would.
async fn clean(docker: &InDocker) {
    let engine = engine::find().await.unwrap();
    let removed = super::super::remove_labelled(&engine.docker, &docker.run);
    in_time(removed).await.unwrap();
}
