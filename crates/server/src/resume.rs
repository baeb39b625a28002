//! A store that was used before: its pipelines are taken up where their events end.

use std::collections::HashMap;
use std::sync::Arc;

use capstan_engine::event::{CancelScope, Timer};
use capstan_engine::{Effect, Event, Row, TaskState};
use capstan_model::{JobId, JobStatus, PipelineId, TaskId, WorkflowId, WorkflowStatus};
use capstan_store::Telemetry;

use crate::Inner;
use crate::driver::{Live, lock, now_ms};
use crate::error::{ApplyError, StartError};
use crate::groups::Member;
use crate::live::{Update, UpdateKind};
use crate::settings::OnDisconnect;

/// Updates read at once.
const PAGE: u32 = 1024;

/// What the stored updates have told already.
#[derive(Default)]
struct Told {
    last: u64,
    pipeline: bool,
    workflows: HashMap<WorkflowId, WorkflowStatus>,
    jobs: HashMap<(WorkflowId, JobId), (JobStatus, String)>,
    finished: std::collections::HashSet<TaskId>,
}

impl Inner {
    /// Takes up every pipeline of the store.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), StartError> {
        let mut granted = Vec::new();
        let mut groups = HashMap::new();
        let pipelines = self.store.pipelines().await?;
        for pipeline in &pipelines {
            self.resume_one(*pipeline, &mut granted, &mut groups)
                .await
                .map_err(|cause| StartError::Resume {
                    pipeline: *pipeline,
                    cause,
                })?;
        }
        for member in granted {
            if let Some(group) = groups.get(&(member.workflow, member.job)) {
                lock(&self.groups).restore_holder(group, member);
            }
        }
        for pipeline in pipelines {
            self.settle(pipeline)
                .await
                .map_err(|cause| StartError::Resume { pipeline, cause })?;
        }
        Ok(())
    }

    async fn resume_one(
        self: &Arc<Self>,
        id: PipelineId,
        granted: &mut Vec<Member>,
        groups: &mut HashMap<(WorkflowId, JobId), String>,
    ) -> Result<(), ApplyError> {
        let replayed = self.store.replay(id).await?;
        let told = self.told(id).await?;
        let rows = replayed.pipeline.rows();
        let Some(first) = replayed.events.first() else {
            return Ok(());
        };
        let live = Live::new(first, replayed.pipeline, replayed.version, told.last)?;
        let live = Arc::new(live);
        for effect in replayed.effects {
            match effect {
                Effect::Acquire {
                    group,
                    workflow,
                    job,
                } => {
                    let member = Member {
                        pipeline: id,
                        workflow,
                        job,
                    };
                    lock(&self.groups).restore(&group, member, live.turn());
                    groups.insert((workflow, job), group);
                }
                Effect::Release {
                    group,
                    workflow,
                    job,
                } => {
                    lock(&self.groups).release(
                        &group,
                        Member {
                            pipeline: id,
                            workflow,
                            job,
                        },
                    );
                    groups.remove(&(workflow, job));
                }
                _ => {}
            }
        }
        for event in &replayed.events {
            live.learn_plan(event);
            if let Event::Granted { workflow, job } = event {
                granted.push(Member {
                    pipeline: id,
                    workflow: *workflow,
                    job: *job,
                });
            }
        }
        self.know(&live, &rows, &told).await?;
        let missing: Vec<UpdateKind> = rows
            .into_iter()
            .filter_map(|row| told.missing(row))
            .collect();
        self.store
            .telemetry(live.feed.publish(now_ms(), missing))
            .await?;
        lock(&self.live).insert(id, live);
        Ok(())
    }

    /// Fills what the driver knows of a pipeline, without telling anybody.
    async fn know(&self, live: &Live, rows: &[Row], told: &Told) -> Result<(), ApplyError> {
        let numbers = self.store.job_numbers(live.id).await?;
        let mut steps = HashMap::new();
        for row in rows {
            if let Row::Task(row) = row
                && matches!(
                    row.state,
                    TaskState::Claimed { .. } | TaskState::Running { .. }
                )
            {
                steps.insert(row.id, self.store.steps(row.id).await?);
            }
        }
        self.take_over_silently(live, rows);
        let mut known = lock(&live.known);
        known.numbers.extend(numbers);
        known.steps = steps;
        known.announced = told.pipeline || known.announced;
        Ok(())
    }

    fn take_over_silently(&self, live: &Live, rows: &[Row]) {
        let mut known = lock(&live.known);
        for row in rows.iter().cloned() {
            match row {
                Row::Pipeline(_) => known.announced = true,
                Row::Workflow(row) => drop(known.workflows.insert(row.id, row)),
                Row::Job(row) => drop(known.jobs.insert((row.workflow, row.id), row)),
                Row::Task(row) => {
                    if let TaskState::Claimed {
                        lease_epoch,
                        canceling,
                        ..
                    }
                    | TaskState::Running {
                        lease_epoch,
                        canceling,
                        ..
                    } = row.state
                    {
                        self.hold(live.id, row.id, lease_epoch, canceling);
                    }
                    known.tasks.insert(row.id, row);
                }
            }
        }
    }

    async fn told(&self, id: PipelineId) -> Result<Told, ApplyError> {
        let mut told = Told::default();
        loop {
            let page = self.store.updates(id, told.last, PAGE).await?;
            if page.is_empty() {
                return Ok(told);
            }
            for json in page {
                let update: Update = serde_json::from_str(&json).map_err(|error| {
                    ApplyError::Store(capstan_store::StoreError::Corrupt {
                        what: format!("an update of pipeline {id}"),
                        cause: error.to_string(),
                    })
                })?;
                told.take(update);
            }
        }
    }

    /// Performs what was not, and deals with tasks whose runner may be gone.
    async fn settle(self: &Arc<Self>, id: PipelineId) -> Result<(), ApplyError> {
        let live = self.live(id)?;
        let now = now_ms();
        let mut done = Vec::new();
        let mut answers = Vec::new();
        for (entry, effects) in self.store.outbox(id).await? {
            for effect in effects {
                // Offers and timers are made from the rows below, which know what became of them.
                if !matches!(effect, Effect::Enqueue { .. } | Effect::SetTimer { .. }) {
                    answers.extend(self.perform(&live, effect, now));
                }
            }
            done.push(Telemetry::OutboxDone(entry));
        }
        for (live, event) in answers {
            self.attempt(live.id, event).await?;
        }
        let timers = self.store.timers(id).await?;
        let mut tasks: Vec<_> = lock(&live.known).tasks.values().cloned().collect();
        tasks.sort_by_key(|row| row.id);
        for row in tasks {
            match row.state {
                TaskState::Queued { .. } if self.settings.on_disconnect == OnDisconnect::Die => {}
                TaskState::Queued { .. } => self.queue.push(id, row.id),
                TaskState::Claimed { lease_epoch, .. } | TaskState::Running { lease_epoch, .. } => {
                    let task = row.id;
                    let lost = Timer::Lease { task, lease_epoch };
                    match self.settings.on_disconnect {
                        // The runner was in the process that ended, and its places died with it. What was being
                        // canceled has ended as it was asked to.
                        OnDisconnect::Die => {
                            let timer = match row.state.canceling() {
                                true => Timer::CancelGrace { task, lease_epoch },
                                false => lost,
                            };
                            self.attempt(id, Event::TimerFired { timer }).await?;
                        }
                        OnDisconnect::Hold => {
                            // The time this server was away does not count (safety rule 15).
                            let lease = i64::try_from(self.settings.lease_ms).unwrap_or(i64::MAX);
                            self.arm(id, lost, lease);
                        }
                    }
                }
                TaskState::Finished { .. } => {}
            }
        }
        if self.settings.on_disconnect == OnDisconnect::Die {
            self.give_up_queued(&live).await?;
        }
        if self.settings.on_disconnect == OnDisconnect::Hold {
            for (timer, at_ms) in timers {
                if matches!(timer, Timer::CancelGrace { .. }) {
                    self.arm(id, timer, at_ms.saturating_sub(now));
                }
            }
        }
        self.store.telemetry(done).await?;
        Ok(())
    }

    /// Ends the jobs that waited for a runner of a process that is gone. What follows them may be queued
    /// by that (`requires: [x: canceled]`), and has no runner either.
    async fn give_up_queued(self: &Arc<Self>, live: &Live) -> Result<(), ApplyError> {
        loop {
            let queued: Vec<_> = lock(&live.known)
                .jobs
                .values()
                .filter(|row| row.status == JobStatus::Queued)
                .map(|row| (row.workflow, row.id))
                .collect();
            if queued.is_empty() {
                return Ok(());
            }
            for (workflow, job) in queued {
                let scope = CancelScope::Job { workflow, job };
                let actor = String::from("the end of the program that ran it");
                self.apply(live.id, Event::CancelAsked { scope, actor }, Vec::new())
                    .await?;
            }
        }
    }

    /// Applies an event that may have become illegal meanwhile, which is then no mistake.
    async fn attempt(self: &Arc<Self>, id: PipelineId, event: Event) -> Result<(), ApplyError> {
        match self.apply(id, event, Vec::new()).await {
            Ok(()) | Err(ApplyError::Illegal(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Told {
    fn take(&mut self, update: Update) {
        self.last = update.seq;
        match update.kind {
            UpdateKind::Pipeline { .. } => self.pipeline = true,
            UpdateKind::Workflow {
                workflow, status, ..
            } => {
                self.workflows.insert(workflow, status);
            }
            UpdateKind::Job {
                workflow,
                job,
                status,
                reason,
                ..
            } => {
                self.jobs.insert((workflow, job), (status, reason));
            }
            UpdateKind::TaskFinished { task, .. } => {
                self.finished.insert(task);
            }
            UpdateKind::TaskStarted { .. }
            | UpdateKind::StepStarted { .. }
            | UpdateKind::StepFinished { .. }
            | UpdateKind::Output { .. } => {}
        }
    }

    /// What a row says that no stored update does: the process ended between the two.
    fn missing(&self, row: Row) -> Option<UpdateKind> {
        match row {
            Row::Pipeline(row) => (!self.pipeline).then_some(UpdateKind::Pipeline {
                pipeline: row.id,
                number: row.number,
                errors: row.errors,
            }),
            Row::Workflow(row) => {
                (self.workflows.get(&row.id) != Some(&row.status)).then_some(UpdateKind::Workflow {
                    workflow: row.id,
                    name: row.name,
                    status: row.status,
                    rerun_of: row.rerun_of,
                })
            }
            Row::Job(row) => {
                let told = self.jobs.get(&(row.workflow, row.id));
                told.is_none_or(|(status, reason)| *status != row.status || *reason != row.reason)
                    .then_some(UpdateKind::Job {
                        workflow: row.workflow,
                        job: row.id,
                        name: row.name,
                        status: row.status,
                        reason: row.reason,
                    })
            }
            Row::Task(row) => match row.state {
                TaskState::Finished { outcome, .. } if !self.finished.contains(&row.id) => {
                    Some(UpdateKind::TaskFinished {
                        task: row.id,
                        outcome,
                    })
                }
                _ => None,
            },
        }
    }
}
