//! Where effects become IO. Everything goes through four verbs of `Server`: start, trigger, apply,
//! follow. Server and runner meet only over the wire, even in one process.

mod claim;
pub mod compile;
mod continuation;
mod driver;
pub mod error;
mod feed;
mod groups;
pub mod live;
pub mod net;
pub mod orbs;
mod resume;
mod runner_api;
pub mod settings;
#[cfg(test)]
mod tests;
mod timers;
mod trigger;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use capstan_engine::Event;
use capstan_model::{JobId, PipelineId, Plan, TaskId, Trigger, WorkflowId};
pub use capstan_store::StoreError;
use capstan_store::{Store, Writes};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use capstan_engine::event::{CancelScope, RerunScope};
pub use capstan_engine::{JobRow, PipelineRow, Row, TaskRow, TaskState, WorkflowRow};
pub use capstan_store::StepRow;
pub use error::{ApplyError, FollowError, StartError, TriggerError};
pub use live::{Update, UpdateKind};
pub use settings::{OnDisconnect, Settings};
pub use trigger::Triggered;

use driver::{Held, Live, lock};

/// A server. Clones share it.
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    store: Store,
    live: Mutex<HashMap<PipelineId, Arc<Live>>>,
    held: Mutex<HashMap<TaskId, Arc<Held>>>,
    groups: Mutex<groups::Groups>,
    queue: claim::Queue,
    timers: timers::Timers,
    listening: Mutex<Option<AbortHandle>>,
    /// Why the disk refused for the first time.
    refused: watch::Sender<Option<String>>,
}

impl Server {
    /// Opens the store, takes up its pipelines, and listens for runners.
    ///
    /// # Errors
    /// The store or the socket cannot be had, or what is stored cannot be taken up.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let store = Store::open(
            &settings.data_dir,
            settings.writes(),
            settings.blanks.as_deref(),
        )
        .await?;
        let inner = Arc::new(Inner {
            settings,
            store,
            live: Mutex::default(),
            held: Mutex::default(),
            groups: Mutex::default(),
            queue: claim::Queue::default(),
            timers: timers::Timers::default(),
            listening: Mutex::default(),
            refused: watch::Sender::default(),
        });
        if !inner.store.is_fresh() {
            inner.resume().await?;
        }
        let path = inner.settings.socket.clone();
        let listener = UnixListener::bind(&path).map_err(|cause| StartError::Socket {
            path: path.clone(),
            cause,
        })?;
        let router = runner_api::router(Arc::clone(&inner));
        let serving = tokio::spawn(async move {
            // It ends with `shutdown` only; errors of single connections end those.
            let _ = axum::serve(listener, router).await;
        });
        *lock(&inner.listening) = Some(serving.abort_handle());
        Ok(Self { inner })
    }

    /// Makes a pipeline: reads the config, compiles it, pins plan and sources, stores the first event.
    ///
    /// # Errors
    /// There is no pipeline then. A config that does not compile is no error here: its pipeline is made
    /// and errored, and the diagnostics come back.
    pub async fn trigger(&self, trigger: Trigger) -> Result<Triggered, TriggerError> {
        self.inner.trigger(trigger).await
    }

    /// The same with a config that was compiled already: what was looked at is what is pinned.
    ///
    /// # Errors
    /// As [`Server::trigger`].
    pub async fn trigger_compiled(
        &self,
        compiled: compile::Done,
    ) -> Result<Triggered, TriggerError> {
        self.inner.trigger_compiled(compiled).await
    }

    /// Applies an event; returns when it is stored.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn apply(&self, pipeline: PipelineId, event: Event) -> Result<(), ApplyError> {
        self.inner.apply(pipeline, event, Vec::new()).await
    }

    /// Approves an approval job.
    pub async fn approve(
        &self,
        pipeline: PipelineId,
        workflow: WorkflowId,
        job: JobId,
        actor: &str,
    ) -> Result<(), ApplyError> {
        self.apply(
            pipeline,
            Event::Approved {
                workflow,
                job,
                actor: actor.to_owned(),
            },
        )
        .await
    }

    /// Asks to cancel.
    pub async fn cancel(
        &self,
        pipeline: PipelineId,
        scope: CancelScope,
        actor: &str,
    ) -> Result<(), ApplyError> {
        self.apply(
            pipeline,
            Event::CancelAsked {
                scope,
                actor: actor.to_owned(),
            },
        )
        .await
    }

    /// Runs jobs of a workflow again, in a new workflow of the same pipeline, whose id comes back.
    pub async fn rerun(
        &self,
        pipeline: PipelineId,
        of: WorkflowId,
        scope: RerunScope,
        actor: &str,
    ) -> Result<WorkflowId, ApplyError> {
        let live = self.inner.live(pipeline)?;
        let count = lock(&live.known)
            .jobs
            .keys()
            .filter(|(workflow, _)| *workflow == of)
            .count();
        let new = trigger::new_ids(count);
        let id = new.id;
        self.apply(
            pipeline,
            Event::Rerun {
                of,
                scope,
                new,
                actor: actor.to_owned(),
            },
        )
        .await?;
        Ok(id)
    }

    /// Updates after a position: waits until there is one, and returns some of those there are, oldest
    /// first. Positions have no gaps as long as the server runs; after a restart those of output, which
    /// is not stored, are missing.
    ///
    /// # Errors
    /// There is no such pipeline, the server ends, or, where it does not wait for that, the disk refuses.
    pub async fn follow(
        &self,
        pipeline: PipelineId,
        after_seq: u64,
    ) -> Result<Vec<Update>, FollowError> {
        let live = self
            .inner
            .live(pipeline)
            .map_err(|_| FollowError::UnknownPipeline(pipeline))?;
        let mut refused = self.inner.refused.subscribe();
        let refused = async {
            // A server waits for the disk, and goes on by itself. A run on a laptop is waited for by somebody.
            match self.inner.settings.on_disconnect {
                OnDisconnect::Die => refused.wait_for(Option::is_some).await.ok()?.clone(),
                OnDisconnect::Hold => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            why = refused => Err(FollowError::Disk(why.unwrap_or_default())),
            updates = live.feed.follow(&self.inner.store, after_seq) => updates,
        }
    }

    /// The position of the newest update.
    pub fn position(&self, pipeline: PipelineId) -> Result<u64, ApplyError> {
        Ok(self.inner.live(pipeline)?.feed.position())
    }

    /// At most `max` bytes of a step's output from `offset`; fewer only where it ends for now.
    pub fn output(
        &self,
        task: TaskId,
        step: u32,
        offset: u64,
        max: usize,
    ) -> Result<Vec<u8>, StoreError> {
        self.inner.store.logs().read(task, step, offset, max)
    }

    /// Every row of a pipeline as it stands.
    pub async fn snapshot(&self, pipeline: PipelineId) -> Result<Vec<Row>, ApplyError> {
        Ok(self.inner.live(pipeline)?.rows().await)
    }

    /// The steps of a task that have begun, in order.
    pub async fn steps(&self, task: TaskId) -> Result<Vec<StepRow>, StoreError> {
        self.inner.store.flush().await?;
        self.inner.store.steps(task).await
    }

    /// The plan a pipeline began with; `None` when its config was rejected.
    pub fn plan(&self, pipeline: PipelineId) -> Result<Option<Arc<Plan>>, ApplyError> {
        Ok(self.inner.live(pipeline)?.plan())
    }

    /// Every plan of a pipeline: the one it began with, and the one a setup config continued with.
    pub fn plans(
        &self,
        pipeline: PipelineId,
    ) -> Result<Vec<(capstan_model::Digest, Arc<Plan>)>, ApplyError> {
        Ok(self.inner.live(pipeline)?.plans())
    }

    /// The plan that a workflow is of.
    pub fn plan_of(
        &self,
        pipeline: PipelineId,
        workflow: WorkflowId,
    ) -> Result<Option<Arc<Plan>>, ApplyError> {
        let pinned = self.inner.live(pipeline)?.plan_of(workflow);
        Ok(pinned.map(|pinned| Arc::clone(&pinned.plan)))
    }

    /// The trigger of a pipeline.
    pub fn trigger_of(&self, pipeline: PipelineId) -> Result<Trigger, ApplyError> {
        Ok(self.inner.live(pipeline)?.trigger.clone())
    }

    /// The number of a job, once it has left `blocked`.
    pub fn job_number(&self, pipeline: PipelineId, job: JobId) -> Result<Option<u64>, ApplyError> {
        Ok(lock(&self.inner.live(pipeline)?.known)
            .numbers
            .get(&job)
            .copied())
    }

    /// Every pipeline, oldest first.
    pub fn pipelines(&self) -> Vec<PipelineId> {
        let mut all: Vec<_> = lock(&self.inner.live)
            .values()
            .map(|live| (live.trigger.received_at_ms, live.id))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// Ends every wait, writes what is pending, closes the store and removes the socket.
    ///
    /// # Errors
    /// Something that was to be written was not.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        if let Some(listening) = lock(&self.inner.listening).take() {
            listening.abort();
        }
        self.inner.timers.clear();
        for live in lock(&self.inner.live).values() {
            live.feed.close();
        }
        // It may be gone with its directory already.
        let _ = std::fs::remove_file(&self.inner.settings.socket);
        // A run that is on hold is to be there tomorrow, whatever happens to the machine.
        let over = lock(&self.inner.live).values().all(|live| live.is_over());
        let writes = match over {
            true => self.inner.settings.writes(),
            false => Writes::ToTheDisk,
        };
        self.inner.store.close(writes).await
    }
}
