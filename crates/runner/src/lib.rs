//! Claims tasks, gives each a place, masks and relays what comes out of it: claim, prepare, start,
//! watch, free. Knows nothing of workflows, and nothing of what a step does.
//!
//! Read [`executor`] (what a place is), then `relay` (a task from its claim to its end).

pub mod agent_bin;
mod backoff;
pub mod executor;
pub mod guard;
pub mod mask;
mod relay;
pub mod resources;
pub mod strays;
mod uplink;

use std::path::PathBuf;
use std::sync::Arc;

use capstan_client::{CallError, RunnerApi};
use capstan_model::RunnerId;
use capstan_model::plan;
use capstan_model::wire::{Assignment, Claim, PROTO};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use backoff::Backoff;
use executor::Executor;
pub use executor::host::HostExecutor;

/// How long a claim may be held open by the server.
const CLAIM_WAIT_MS: u64 = 20_000;

/// What a runner is told.
pub struct RunnerSettings {
    /// The server's socket.
    pub socket: PathBuf,
    /// Who it is.
    pub id: RunnerId,
    /// How many tasks it runs at once.
    pub capacity: usize,
    /// Places for `docker:` jobs.
    pub docker: Option<Arc<dyn Executor>>,
    /// Places for `machine:` jobs.
    pub machine: Option<Arc<dyn Executor>>,
    /// Milliseconds between TERM and KILL when a task is canceled.
    pub cancel_grace_ms: u64,
}

/// A runner.
pub struct Runner {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) api: RunnerApi,
    pub(crate) settings: RunnerSettings,
    /// One question at a time: a second one would only wait beside the first, and cost as much.
    asking: tokio::sync::Mutex<()>,
}

/// Why a runner stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The server refused its claims.
    #[error("the server refuses this runner: {0}")]
    Refused(String),
}

impl Runner {
    /// A runner; nothing happens before [`Runner::run`].
    pub fn new(settings: RunnerSettings) -> Self {
        let api = RunnerApi::over(settings.socket.clone());
        Self {
            inner: Arc::new(Inner {
                api,
                settings,
                asking: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Claims and runs tasks until told to stop; then ends what still runs, and frees every place.
    ///
    /// # Errors
    /// The server refuses this runner for good.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), RunnerError> {
        let mut lanes = JoinSet::new();
        for number in 0..self.inner.settings.capacity.max(1) {
            lanes.spawn(lane(Arc::clone(&self.inner), stop.clone(), number == 0));
        }
        let mut result = Ok(());
        while let Some(ended) = lanes.join_next().await {
            // A lane that panicked has lost its task; the lease tells the server.
            if let Ok(Err(error)) = ended {
                result = Err(error);
            }
        }
        let (docker, machine) = (&self.inner.settings.docker, &self.inner.settings.machine);
        let same = matches!((docker, machine), (Some(a), Some(b)) if Arc::ptr_eq(a, b));
        let machine = machine.as_ref().filter(|_| !same);
        for executor in docker.iter().chain(machine) {
            // What cannot be removed now is the guard's, or the next start's.
            let _ = executor.sweep().await;
        }
        result
    }
}

/// Runs one task after another. While the place of the last one is freed the next one may begin; that of
/// the one before it is free by then.
async fn lane(
    inner: Arc<Inner>,
    mut stop: watch::Receiver<bool>,
    is_first: bool,
) -> Result<(), RunnerError> {
    let claim = Claim {
        proto: PROTO,
        runner: inner.settings.id,
        wait_ms: CLAIM_WAIT_MS,
    };
    let mut backoff = Backoff::default();
    let mut clearing: Option<JoinHandle<()>> = None;
    let mut cold = is_first;
    let result = loop {
        let claimed = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break Ok(()),
            claimed = claim_and_warm_up(&inner, &claim, std::mem::take(&mut cold)) => claimed,
        };
        match claimed {
            Ok(assignment) => {
                backoff = Backoff::default();
                let Some(assignment) = assignment else {
                    continue;
                };
                let freed = relay::run(&inner, *assignment, stop.clone()).await;
                cleared(clearing.replace(freed)).await;
            }
            Err(CallError::Refused { message, .. }) => break Err(RunnerError::Refused(message)),
            Err(error) => tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break Ok(()),
                () = backoff.wait(error.retry_after()) => {}
            },
        }
    };
    cleared(clearing).await;
    result
}

/// Claims a task. The first time the place of the first task is made ready once the server has been asked.
async fn claim_and_warm_up(
    inner: &Inner,
    claim: &Claim,
    cold: bool,
) -> Result<Option<Box<Assignment>>, CallError> {
    let warm_up = async {
        match &inner.settings.docker {
            Some(executor) if cold => executor.warm_up(),
            _ => {}
        }
    };
    let _turn = inner.asking.lock().await;
    let (claimed, ()) = tokio::join!(biased; inner.api.claim(claim), warm_up);
    claimed
}

async fn cleared(clearing: Option<JoinHandle<()>>) {
    if let Some(clearing) = clearing {
        // One that panicked has left a place, which the sweep takes.
        let _ = clearing.await;
    }
}

impl Inner {
    pub(crate) fn executor(&self, wanted: &plan::Executor) -> Result<&Arc<dyn Executor>, String> {
        let (executor, word) = match wanted {
            plan::Executor::Docker(_) => (&self.settings.docker, "docker"),
            plan::Executor::Machine { .. } => (&self.settings.machine, "machine"),
            plan::Executor::Macos { .. } => (&None, "macos"),
        };
        executor
            .as_ref()
            .ok_or_else(|| format!("this runner has no place for {word} jobs"))
    }
}
