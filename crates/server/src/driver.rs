//! Live pipelines. An event is applied in memory, stored with its rows and effects as one unit, then
//! taken over, then its effects are performed. One match, one call per arm.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capstan_engine::event::Timer;
use capstan_engine::{Effect, Event, JobRow, Pipeline, Row, TaskRow, TaskState, WorkflowRow};
use capstan_model::plan::{BuildJob, Job, JobKind};
use capstan_model::wire::Want;
use capstan_model::{
    Digest, JobId, JobStatus, PipelineId, Plan, StepStatus, TaskId, TaskOutcome, Trigger,
    WorkflowId,
};
use capstan_store::{StepRow, StoreError, Telemetry, Unit};
use tokio::sync::watch;

use crate::Inner;
use crate::error::ApplyError;
use crate::feed::Feed;
use crate::groups::{Answer, Member, Turn};
use crate::live::UpdateKind;

/// A pipeline in memory.
pub(crate) struct Live {
    pub(crate) id: PipelineId,
    pub(crate) trigger: Trigger,
    /// The call of a runner by which it continued: task, lease epoch and transfer.
    pub(crate) continued_by: Mutex<Option<(TaskId, u64, u32)>>,
    /// The plan it began with, and the one it continued with.
    plans: Mutex<Vec<Arc<Pinned>>>,
    pub(crate) feed: Feed,
    /// Held from applying an event until its effects are performed: events of a pipeline have an order.
    state: tokio::sync::Mutex<State>,
    pub(crate) known: Mutex<Known>,
}

/// A plan with the sources that were kept for it.
pub(crate) struct Pinned {
    digest: Digest,
    pub(crate) plan: Arc<Plan>,
    pub(crate) source: Option<Digest>,
    /// Places of the jobs that take part, by workflow and name.
    jobs: HashMap<(String, String), (usize, usize)>,
}

struct State {
    pipeline: Pipeline,
    version: u64,
}

/// The rows as they stand, by their keys, and what goes with them.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) announced: bool,
    pub(crate) workflows: HashMap<WorkflowId, WorkflowRow>,
    pub(crate) jobs: HashMap<(WorkflowId, JobId), JobRow>,
    pub(crate) tasks: HashMap<TaskId, TaskRow>,
    pub(crate) numbers: HashMap<JobId, u64>,
    /// Steps of tasks that have not ended.
    pub(crate) steps: HashMap<TaskId, Vec<StepRow>>,
}

/// A claimed task, as its runner sees it.
pub(crate) struct Held {
    pub(crate) pipeline: PipelineId,
    pub(crate) epoch: u64,
    pub(crate) state: watch::Sender<HeldState>,
}

/// What a runner is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldState {
    /// The task is its.
    Yours(Want),
    /// It reported the end.
    Reported,
    /// The task ended without it.
    Lost,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since 1970 UTC.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Live {
    /// A pipeline after `version` events and `seq` updates.
    pub(crate) fn new(
        first: &Event,
        pipeline: Pipeline,
        version: u64,
        seq: u64,
    ) -> Result<Self, ApplyError> {
        let (Event::Planned { trigger, .. } | Event::Rejected { trigger, .. }) = first else {
            return Err(ApplyError::Illegal(format!(
                "a pipeline cannot begin with {first:?}"
            )));
        };
        let live = Self {
            id: trigger.pipeline,
            trigger: (**trigger).clone(),
            plans: Mutex::default(),
            continued_by: Mutex::default(),
            feed: Feed::new(trigger.pipeline, seq),
            state: tokio::sync::Mutex::new(State { pipeline, version }),
            known: Mutex::default(),
        };
        live.learn_plan(first);
        Ok(live)
    }

    /// Whether all its workflows have ended.
    pub(crate) fn is_over(&self) -> bool {
        let known = lock(&self.known);
        known.workflows.values().all(|row| row.status.is_terminal())
    }

    /// Where its jobs stand among those of its project.
    pub(crate) fn turn(&self) -> Turn {
        Turn {
            project: self.trigger.project.slug.clone(),
            number: self.trigger.number,
        }
    }

    /// Keeps the plan of an event that brings one.
    pub(crate) fn learn_plan(&self, event: &Event) {
        let (Event::Planned { plan, source, .. } | Event::Continued { plan, source, .. }) = event
        else {
            return;
        };
        let mut plans = lock(&self.plans);
        if let Some(known) = &plan.plan
            && plans.iter().all(|pinned| pinned.digest != plan.digest)
        {
            let pinned = Pinned::new(plan.digest.clone(), Arc::clone(known), source.clone());
            plans.push(Arc::new(pinned));
        }
    }

    /// The plan it began with; `None` when its config was rejected.
    pub(crate) fn plan(&self) -> Option<Arc<Plan>> {
        let plans = lock(&self.plans);
        plans.first().map(|pinned| Arc::clone(&pinned.plan))
    }

    /// All its plans, in the order they came.
    pub(crate) fn plans(&self) -> Vec<(Digest, Arc<Plan>)> {
        let plans = lock(&self.plans);
        let all = plans.iter();
        all.map(|pinned| (pinned.digest.clone(), Arc::clone(&pinned.plan)))
            .collect()
    }

    /// The sources that its first plan pinned.
    pub(crate) fn source(&self) -> Option<Digest> {
        let plans = lock(&self.plans);
        plans.first().and_then(|pinned| pinned.source.clone())
    }

    /// The plan that a workflow is of.
    pub(crate) fn plan_of(&self, workflow: WorkflowId) -> Option<Arc<Pinned>> {
        let digest = lock(&self.known).workflows.get(&workflow)?.plan.clone();
        let plans = lock(&self.plans);
        plans.iter().find(|pinned| pinned.digest == digest).cloned()
    }

    /// Every row as it stands.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        self.state.lock().await.pipeline.rows()
    }
}

impl Pinned {
    fn new(digest: Digest, plan: Arc<Plan>, source: Option<Digest>) -> Self {
        let mut jobs = HashMap::new();
        for (w, workflow) in plan.workflows.iter().enumerate() {
            for (j, job) in workflow.jobs.iter().enumerate() {
                if job.decision.runs {
                    jobs.insert((workflow.name.clone(), job.name.clone()), (w, j));
                }
            }
        }
        Self {
            digest,
            plan,
            source,
            jobs,
        }
    }

    /// What the plan says of a job that runs steps.
    pub(crate) fn build_job(&self, workflow: &str, job: &str) -> Option<(&Job, &BuildJob)> {
        let (w, j) = self.jobs.get(&(workflow.to_owned(), job.to_owned()))?;
        let job = self.plan.workflows.get(*w)?.jobs.get(*j)?;
        match &job.kind {
            JobKind::Build(build) => Some((job, build)),
            JobKind::Approval | JobKind::NoOp => None,
        }
    }
}

impl Inner {
    pub(crate) fn live(&self, pipeline: PipelineId) -> Result<Arc<Live>, ApplyError> {
        lock(&self.live)
            .get(&pipeline)
            .cloned()
            .ok_or(ApplyError::UnknownPipeline(pipeline))
    }

    /// Remembers the first time that the disk refused, for whoever follows.
    pub(crate) fn written<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &done
            && error.is_of_the_disk()
        {
            self.refused.send_if_modified(|refused| {
                let first = refused.is_none();
                if first {
                    *refused = Some(error.to_string());
                }
                first
            });
        }
        done
    }

    /// Applies an event, and what follows from its effects. `with` are updates that belong to it.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        pipeline: PipelineId,
        event: Event,
        with: Vec<UpdateKind>,
    ) -> Result<(), ApplyError> {
        let live = self.live(pipeline)?;
        let mut next: VecDeque<(Arc<Live>, Event)> =
            self.apply_one(&live, event, with).await?.into();
        while let Some((live, event)) = next.pop_front() {
            match self.apply_one(&live, event, Vec::new()).await {
                Ok(more) => next.extend(more),
                // The job was canceled while the answer was on its way; its release follows.
                Err(ApplyError::Illegal(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn apply_one(
        self: &Arc<Self>,
        live: &Arc<Live>,
        event: Event,
        with: Vec<UpdateKind>,
    ) -> Result<Vec<(Arc<Live>, Event)>, ApplyError> {
        let mut state = live.state.lock().await;
        let now = now_ms();
        let (delta, effects) = state
            .pipeline
            .apply(now, &event)
            .map_err(|error| ApplyError::Illegal(error.to_string()))?;
        let rows: Vec<Row> = delta.rows();
        let json = serde_json::to_string(&event)
            .map_err(|error| ApplyError::Illegal(format!("the event has no JSON: {error}")))?;
        let unit = Unit {
            pipeline: live.id,
            expected_version: state.version,
            at_ms: now,
            event: json,
            number: live.unnumbered(&rows),
            rows: rows.clone(),
            effects: effects.clone(),
            project: live.trigger.project.slug.clone(),
        };
        let committed = self.written(self.store.commit_unit(unit).await)?;
        state.pipeline.commit(delta);
        state.version += 1;
        live.learn_plan(&event);
        lock(&live.known).numbers.extend(committed.numbers);
        let reported = matches!(event, Event::TaskFinished { .. });
        let mut telemetry = self.take_over(live, rows, with, now, reported);
        let mut next = Vec::new();
        for effect in effects {
            next.extend(self.perform(live, effect, now));
        }
        telemetry.extend(committed.outbox.map(Telemetry::OutboxDone));
        if !telemetry.is_empty() {
            self.written(self.store.telemetry(telemetry).await)?;
        }
        Ok(next)
    }

    /// Makes the rows of an event known: to followers, and to the runners of its tasks.
    fn take_over(
        &self,
        live: &Live,
        rows: Vec<Row>,
        with: Vec<UpdateKind>,
        now: i64,
        reported: bool,
    ) -> Vec<Telemetry> {
        let mut telemetry = Vec::new();
        let mut updates = with;
        let mut ends = Vec::new();
        let mut late = Vec::new();
        let mut known = lock(&live.known);
        for row in rows {
            match row {
                Row::Pipeline(row) => {
                    if !std::mem::replace(&mut known.announced, true) {
                        updates.push(UpdateKind::Pipeline {
                            pipeline: row.id,
                            number: row.number,
                            errors: row.errors,
                        });
                    }
                }
                Row::Workflow(row) => {
                    let old = known.workflows.get(&row.id).map(|old| old.status);
                    let update = UpdateKind::Workflow {
                        workflow: row.id,
                        name: row.name.clone(),
                        status: row.status,
                        rerun_of: row.rerun_of,
                    };
                    match old {
                        None => updates.push(update),
                        Some(old) if old != row.status => late.push(update),
                        Some(_) => {}
                    }
                    known.workflows.insert(row.id, row);
                }
                Row::Job(row) => {
                    let old = known.jobs.get(&(row.workflow, row.id));
                    if old.is_none_or(|old| old.status != row.status || old.reason != row.reason) {
                        ends.push(UpdateKind::Job {
                            workflow: row.workflow,
                            job: row.id,
                            name: row.name.clone(),
                            status: row.status,
                            reason: row.reason.clone(),
                        });
                    }
                    known.jobs.insert((row.workflow, row.id), row);
                }
                Row::Task(row) => {
                    self.take_over_task(
                        live,
                        &mut known,
                        &row,
                        now,
                        reported,
                        &mut updates,
                        &mut telemetry,
                    );
                    known.tasks.insert(row.id, row);
                }
            }
        }
        drop(known);
        // A pipeline and its workflows come before their jobs; a workflow's end comes after them.
        updates.append(&mut ends);
        updates.append(&mut late);
        telemetry.extend(live.feed.publish(now, updates));
        telemetry
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one arm of `take_over`, split off for its length"
    )]
    fn take_over_task(
        &self,
        live: &Live,
        known: &mut Known,
        row: &TaskRow,
        now: i64,
        reported: bool,
        updates: &mut Vec<UpdateKind>,
        telemetry: &mut Vec<Telemetry>,
    ) {
        match &row.state {
            TaskState::Queued { .. } => {}
            TaskState::Claimed {
                lease_epoch,
                canceling,
                ..
            }
            | TaskState::Running {
                lease_epoch,
                canceling,
                ..
            } => {
                self.hold(live.id, row.id, *lease_epoch, *canceling);
            }
            TaskState::Finished { outcome, .. } => {
                let old = known.tasks.get(&row.id).map(|old| &old.state);
                if matches!(old, Some(TaskState::Finished { .. })) {
                    return;
                }
                for step in known.steps.remove(&row.id).unwrap_or_default() {
                    if step.status == StepStatus::Running {
                        let (step, update) = cut_off(step, outcome, now);
                        telemetry.push(Telemetry::Step(step));
                        updates.push(update);
                    }
                }
                updates.push(UpdateKind::TaskFinished {
                    task: row.id,
                    outcome: outcome.clone(),
                });
                self.timers.drop_task(row.id);
                if old.is_some_and(|old| !matches!(old, TaskState::Queued { .. })) {
                    telemetry.push(Telemetry::TimersDone(row.id));
                }
                if let Some(held) = lock(&self.held).get(&row.id) {
                    let end = if reported {
                        HeldState::Reported
                    } else {
                        HeldState::Lost
                    };
                    held.state.send_replace(end);
                }
            }
        }
    }

    pub(crate) fn hold(&self, pipeline: PipelineId, task: TaskId, epoch: u64, canceling: bool) {
        let want = if canceling {
            Want::Cancel
        } else {
            Want::Continue
        };
        let mut held = lock(&self.held);
        match held.get(&task) {
            Some(held) if held.epoch == epoch => {
                held.state.send_replace(HeldState::Yours(want));
            }
            _ => {
                let state = watch::Sender::new(HeldState::Yours(want));
                held.insert(
                    task,
                    Arc::new(Held {
                        pipeline,
                        epoch,
                        state,
                    }),
                );
            }
        }
    }

    /// Performs an effect. Each may be performed twice. What comes back are events that answer it.
    pub(crate) fn perform(
        self: &Arc<Self>,
        live: &Arc<Live>,
        effect: Effect,
        now: i64,
    ) -> Option<(Arc<Live>, Event)> {
        match effect {
            Effect::Enqueue { task, workflow: _ } => self.queue.push(live.id, task),
            // The row says `canceling`, or the task is over: its runner was told by `hold`.
            Effect::Revoke { task } => self.queue.withdraw(task),
            Effect::SetTimer { timer, at_ms } => {
                self.arm(live.id, timer, at_ms.saturating_sub(now))
            }
            // Nobody outside is told by this server: its followers see every change as an update.
            Effect::Report { .. } | Effect::Notify { .. } => {}
            Effect::Acquire {
                group,
                workflow,
                job,
            } => {
                let member = Member {
                    pipeline: live.id,
                    workflow,
                    job,
                };
                let answer = lock(&self.groups).acquire(&group, member, live.turn());
                let event = match answer {
                    Answer::Granted => Event::Granted { workflow, job },
                    Answer::Superseded => Event::Superseded { workflow, job },
                    Answer::Waits => return None,
                };
                return Some((Arc::clone(live), event));
            }
            Effect::Release {
                group,
                workflow,
                job,
            } => {
                let member = Member {
                    pipeline: live.id,
                    workflow,
                    job,
                };
                let holder = lock(&self.groups).release(&group, member);
                return holder.and_then(|holder| self.granted(holder));
            }
        }
        None
    }

    fn granted(&self, holder: Member) -> Option<(Arc<Live>, Event)> {
        let live = self.live(holder.pipeline).ok()?;
        Some((
            live,
            Event::Granted {
                workflow: holder.workflow,
                job: holder.job,
            },
        ))
    }

    pub(crate) fn arm(self: &Arc<Self>, pipeline: PipelineId, timer: Timer, wait_ms: i64) {
        let inner = Arc::downgrade(self);
        let event = Event::TimerFired {
            timer: timer.clone(),
        };
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        self.timers.arm(&timer, wait, async move {
            let Some(inner) = inner.upgrade() else { return };
            match inner.apply(pipeline, event, Vec::new()).await {
                // What it waited for has happened meanwhile.
                Ok(()) | Err(ApplyError::Illegal(_)) => {}
                // A store that is gone answers every verb so; there is nobody to tell here.
                Err(ApplyError::Store(_) | ApplyError::UnknownPipeline(_)) => {}
            }
        });
    }
}

impl Live {
    /// Build jobs that have left `blocked` and have no number (platform 1.2).
    fn unnumbered(&self, rows: &[Row]) -> Vec<JobId> {
        let known = lock(&self.known);
        let mut jobs = Vec::new();
        for row in rows {
            let Row::Job(row) = row else { continue };
            let waits = matches!(row.status, JobStatus::Blocked | JobStatus::NotRun);
            if row.kind == "build" && !waits && !known.numbers.contains_key(&row.id) {
                jobs.push(row.id);
            }
        }
        jobs
    }
}

/// A step whose task ended before it said how it ended.
fn cut_off(mut step: StepRow, outcome: &TaskOutcome, now: i64) -> (StepRow, UpdateKind) {
    (step.status, step.reason) = match outcome {
        TaskOutcome::Canceled => (StepStatus::Canceled, None),
        TaskOutcome::Timedout => (StepStatus::Timedout, None),
        TaskOutcome::InfrastructureFail(cause) => {
            (StepStatus::InfrastructureFail, Some(cause.clone()))
        }
        TaskOutcome::Success | TaskOutcome::Failed => (
            StepStatus::Failed,
            Some(String::from("its job ended while it ran")),
        ),
    };
    step.ended_at_ms = Some(now);
    let update = UpdateKind::StepFinished {
        task: step.task,
        step: step.step,
        status: step.status,
        exit_code: step.exit_code,
        reason: step.reason.clone(),
        duration_ms: now.saturating_sub(step.started_at_ms),
    };
    (step, update)
}
