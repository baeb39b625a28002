//! What runners call. Every message carries the epoch of its claim; a stale one is answered 409.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use capstan_engine::Event;
use capstan_model::wire::{
    Claim, Continuation, Continued, Directive, PROTO, PROTO_MIN, Renew, TaskEvent, TaskReport, Want,
};
use capstan_model::{StepStatus, TaskId};
use capstan_store::{StepRow, StoreError, Telemetry};
use serde::{Deserialize, Serialize};

use crate::Inner;
use crate::driver::{Held, HeldState, Live, lock, now_ms};
use crate::error::{ApplyError, TriggerError};
use crate::live::UpdateKind;

/// The largest log chunk.
const LOG_MAX: usize = 4 << 20;
/// The largest report.
const REPORT_MAX: usize = 8 << 20;
/// The largest continuation: a config as JSON text, each byte of which may take two.
const CONTINUATION_BODY_MAX: usize = 2 * (4 << 20) + (1 << 20);
/// The longest a renewal is held open.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Bytes of sources read at once.
const SOURCE_PART: usize = 256 << 10;

pub(crate) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/runner/v1/claim", post(claim))
        .route(
            "/runner/v1/tasks/{task}/events",
            post(events).layer(DefaultBodyLimit::max(REPORT_MAX)),
        )
        .route("/runner/v1/tasks/{task}/renew", post(renew))
        .route(
            "/runner/v1/tasks/{task}/log/{step}",
            post(log).layer(DefaultBodyLimit::max(LOG_MAX)),
        )
        .route("/runner/v1/tasks/{task}/source", get(source))
        .route(
            "/runner/v1/tasks/{task}/continue",
            post(continue_pipeline).layer(DefaultBodyLimit::max(CONTINUATION_BODY_MAX)),
        )
        .with_state(inner)
}

/// A refusal, as `{"message": …}`.
struct Refusal(StatusCode, String);

#[derive(Serialize)]
struct Message {
    message: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(Message { message: self.1 })).into_response()
    }
}

impl From<ApplyError> for Refusal {
    fn from(error: ApplyError) -> Self {
        let status = match &error {
            ApplyError::UnknownPipeline(_) => StatusCode::NOT_FOUND,
            ApplyError::Illegal(_) => StatusCode::CONFLICT,
            ApplyError::Store(StoreError::LogGap { .. }) => StatusCode::CONFLICT,
            ApplyError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::LogGap { .. } => StatusCode::CONFLICT,
            StoreError::NoBlob(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}

#[derive(Deserialize)]
struct Epoch {
    lease_epoch: u64,
}

#[derive(Deserialize)]
struct Chunk {
    lease_epoch: u64,
    offset: u64,
}

impl Inner {
    /// The claim a message speaks of; a stale epoch is refused.
    fn held(&self, task: TaskId, epoch: u64) -> Result<Arc<Held>, Refusal> {
        let stale = |why: &str| Refusal(StatusCode::CONFLICT, format!("task {task} {why}"));
        let held = lock(&self.held).get(&task).cloned();
        let held = held.ok_or_else(|| stale("is not claimed"))?;
        if held.epoch != epoch {
            return Err(stale(&format!(
                "was claimed again (epoch {}, not {epoch})",
                held.epoch
            )));
        }
        if *held.state.borrow() == HeldState::Lost {
            return Err(stale("has ended without its runner"));
        }
        self.timers
            .renew(task, Duration::from_millis(self.settings.lease_ms));
        Ok(held)
    }
}

fn directive(held: &Held, acknowledged: Option<u64>) -> Json<Directive> {
    let want = match *held.state.borrow() {
        HeldState::Yours(want) => want,
        HeldState::Reported | HeldState::Lost => Want::Continue,
    };
    Json(Directive { want, acknowledged })
}

async fn claim(
    State(inner): State<Arc<Inner>>,
    Json(claim): Json<Claim>,
) -> Result<Response, Refusal> {
    if !(PROTO_MIN..=PROTO).contains(&claim.proto) {
        return Err(Refusal(
            StatusCode::BAD_REQUEST,
            format!(
                "this server speaks versions {PROTO_MIN} to {PROTO} of the runner protocol, not {}; \
                 use a runner of the same release",
                claim.proto
            ),
        ));
    }
    Ok(match inner.claim(claim).await? {
        Some(assignment) => Json(assignment).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn renew(
    State(inner): State<Arc<Inner>>,
    Path(task): Path<TaskId>,
    Json(renew): Json<Renew>,
) -> Result<Json<Directive>, Refusal> {
    let held = inner.held(task, renew.lease_epoch)?;
    let mut state = held.state.subscribe();
    let wait = Duration::from_millis(renew.wait_ms).min(WAIT_MAX);
    let changed = state.wait_for(|state| *state != HeldState::Yours(Want::Continue));
    // Silence until the time is over is an answer too: go on.
    drop(tokio::time::timeout(wait, changed).await);
    let held = inner.held(task, renew.lease_epoch)?;
    Ok(directive(&held, None))
}

async fn continue_pipeline(
    State(inner): State<Arc<Inner>>,
    Path(task): Path<TaskId>,
    Json(continuation): Json<Continuation>,
) -> Result<Json<Continued>, Refusal> {
    let held = inner.held(task, continuation.lease_epoch)?;
    let error = inner
        .continue_pipeline(held.pipeline, task, continuation)
        .await
        .map_err(|error| match error {
            TriggerError::Apply(error) => error.into(),
            error => Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        })?;
    Ok(Json(Continued { error }))
}

async fn log(
    State(inner): State<Arc<Inner>>,
    Path((task, step)): Path<(TaskId, u32)>,
    Query(chunk): Query<Chunk>,
    bytes: Bytes,
) -> Result<Json<Directive>, Refusal> {
    let held = inner.held(task, chunk.lease_epoch)?;
    let live = inner.live(held.pipeline)?;
    let store = inner.store.clone();
    let stored =
        tokio::task::spawn_blocking(move || store.logs().append(task, step, chunk.offset, &bytes));
    let stored = stored
        .await
        .map_err(|error| Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    let stored = inner.written(stored)?;
    let end = stored.end;
    live.feed.output(now_ms(), task, step, stored);
    Ok(directive(&held, Some(end)))
}

async fn source(
    State(inner): State<Arc<Inner>>,
    Path(task): Path<TaskId>,
    Query(epoch): Query<Epoch>,
) -> Result<Response, Refusal> {
    let held = inner.held(task, epoch.lease_epoch)?;
    let live = inner.live(held.pipeline)?;
    let workflow = lock(&live.known).tasks.get(&task).map(|row| row.workflow);
    let pinned = workflow.and_then(|workflow| live.plan_of(workflow));
    let Some(digest) = pinned.and_then(|pinned| pinned.source.clone()) else {
        return Err(Refusal(
            StatusCode::NOT_FOUND,
            String::from("no job of this config checks out sources, so none were kept"),
        ));
    };
    let reader = inner.store.blobs().open(&digest)?;
    let parts = futures_util::stream::try_unfold(reader, |mut reader| async move {
        let read = tokio::task::spawn_blocking(move || {
            reader
                .read(SOURCE_PART)
                .map(|part| part.map(|part| (Bytes::from(part), reader)))
        });
        read.await
            .map_err(std::io::Error::other)?
            .map_err(std::io::Error::other)
    });
    Ok(Body::from_stream(parts).into_response())
}

async fn events(
    State(inner): State<Arc<Inner>>,
    Path(task): Path<TaskId>,
    Json(report): Json<TaskReport>,
) -> Result<Json<Directive>, Refusal> {
    let held = inner.held(task, report.lease_epoch)?;
    // A report runs to its end even when the runner hangs up: it will come again whole, and each part
    // of it is known then.
    let done = tokio::spawn(async move {
        let live = inner.live(held.pipeline)?;
        for event in report.events {
            // The end was reported before: this is a repetition.
            if *held.state.borrow() == HeldState::Reported {
                break;
            }
            inner
                .task_event(&live, task, report.lease_epoch, event)
                .await?;
        }
        Ok::<_, ApplyError>(held)
    });
    let held = done
        .await
        .map_err(|error| Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))??;
    if *held.state.borrow() == HeldState::Lost {
        return Err(Refusal(
            StatusCode::CONFLICT,
            format!("task {task} has ended without its runner"),
        ));
    }
    Ok(directive(&held, None))
}

impl Inner {
    async fn task_event(
        self: &Arc<Self>,
        live: &Live,
        task: TaskId,
        lease_epoch: u64,
        event: TaskEvent,
    ) -> Result<(), ApplyError> {
        match event {
            TaskEvent::Started { at_ms: _, images } => {
                if is_running(live, task) {
                    return Ok(());
                }
                let event = Event::TaskStarted { task, lease_epoch };
                let with = vec![UpdateKind::TaskStarted { task, images }];
                self.apply(live.id, event, with).await
            }
            TaskEvent::StepStarted { step, name, at_ms } => {
                self.step_started(live, task, step, name, at_ms).await
            }
            TaskEvent::StepFinished {
                step,
                status,
                exit_code,
                reason,
                at_ms,
            } => {
                let end = StepEnd {
                    step,
                    status,
                    exit_code,
                    reason,
                    at_ms,
                };
                self.step_finished(live, task, end).await
            }
            TaskEvent::Output { step, offset, text } => {
                let logs = self.store.logs();
                let stored = self.written(logs.append(task, step, offset, text.as_bytes()))?;
                live.feed.output(now_ms(), task, step, stored);
                Ok(())
            }
            TaskEvent::Finished { outcome, at_ms: _ } => {
                self.apply(
                    live.id,
                    Event::TaskFinished {
                        task,
                        lease_epoch,
                        outcome,
                    },
                    Vec::new(),
                )
                .await
            }
        }
    }

    async fn step_started(
        &self,
        live: &Live,
        task: TaskId,
        step: u32,
        name: String,
        at_ms: i64,
    ) -> Result<(), ApplyError> {
        let row = StepRow {
            task,
            step,
            name: name.clone(),
            status: StepStatus::Running,
            exit_code: None,
            reason: None,
            started_at_ms: at_ms,
            ended_at_ms: None,
            log_bytes: 0,
        };
        let telemetry = {
            let mut known = lock(&live.known);
            let steps = known.steps.entry(task).or_default();
            if steps.iter().any(|known| known.step == step) {
                return Ok(());
            }
            steps.push(row.clone());
            let mut telemetry = live
                .feed
                .publish(at_ms, vec![UpdateKind::StepStarted { task, step, name }]);
            telemetry.push(Telemetry::Step(row));
            telemetry
        };
        Ok(self.written(self.store.telemetry(telemetry).await)?)
    }

    async fn step_finished(
        &self,
        live: &Live,
        task: TaskId,
        end: StepEnd,
    ) -> Result<(), ApplyError> {
        let log_bytes = self.store.logs().length(task, end.step)?;
        let telemetry = {
            let mut known = lock(&live.known);
            let steps = known.steps.entry(task).or_default();
            let Some(row) = steps.iter_mut().find(|known| known.step == end.step) else {
                return Err(ApplyError::Illegal(format!(
                    "step {} of task {task} ended without having begun",
                    end.step
                )));
            };
            if row.status != StepStatus::Running {
                return Ok(());
            }
            row.status = end.status;
            row.exit_code = end.exit_code;
            row.reason.clone_from(&end.reason);
            row.ended_at_ms = Some(end.at_ms);
            row.log_bytes = log_bytes;
            let row = row.clone();
            let update = UpdateKind::StepFinished {
                task,
                step: end.step,
                status: end.status,
                exit_code: end.exit_code,
                reason: end.reason,
                duration_ms: end.at_ms.saturating_sub(row.started_at_ms).max(0),
            };
            let mut telemetry = live.feed.publish(end.at_ms, vec![update]);
            telemetry.push(Telemetry::Step(row));
            telemetry
        };
        Ok(self.written(self.store.telemetry(telemetry).await)?)
    }
}

struct StepEnd {
    step: u32,
    status: StepStatus,
    exit_code: Option<i32>,
    reason: Option<String>,
    at_ms: i64,
}

fn is_running(live: &Live, task: TaskId) -> bool {
    lock(&live.known)
        .tasks
        .get(&task)
        .is_some_and(|row| matches!(row.state, capstan_engine::TaskState::Running { .. }))
}
