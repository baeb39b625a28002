//! Runners, timers, people and groups around one pipeline, all driven by a seed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use capstan_engine::event::{CancelScope, NewWorkflow, PlanRef, RerunScope, Timer};
use capstan_engine::{Effect, Event, JobRow, Pipeline, TaskState};
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};
use capstan_model::{
    Digest, JobId, JobStatus, PipelineId, Plan, RunnerId, TaskId, TaskOutcome, Trigger, WorkflowId,
};

use crate::check::Rows;
use crate::plans;
use crate::rng::Rng;

/// Pairs of a state and an event that came together.
pub type Seen = BTreeSet<(&'static str, &'static str)>;

pub struct World {
    rng: Rng,
    plan: Arc<Plan>,
    pipeline: Pipeline,
    id: PipelineId,
    rows: Rows,
    log: Vec<(i64, Event)>,
    now_ms: i64,
    epoch: u64,
    timers: Vec<Timer>,
    group: VecDeque<(WorkflowId, JobId)>,
    granted: Vec<(WorkflowId, JobId)>,
    /// Events tried, refused ones too.
    pub events: usize,
}

/// Runs one history of at least `events` events; an error says what did not hold.
pub fn history(seed: u64, events: usize, seen: &mut Seen) -> Result<usize, String> {
    let mut rng = Rng::new(seed);
    let plan = Arc::new(plans::random(&mut rng));
    let id = PipelineId(rng.uuid());
    let mut world = World {
        plan,
        pipeline: Pipeline::new(id),
        id,
        rows: Rows::default(),
        log: Vec::new(),
        now_ms: 1_000,
        epoch: 0,
        timers: Vec::new(),
        group: VecDeque::new(),
        granted: Vec::new(),
        events: 0,
        rng,
    };
    let planned = world.planned();
    world.happen(planned, seen)?;
    while world.events < events {
        let event = world.anything();
        world.happen(event, seen)?;
    }
    world.drain(seen)?;
    world.replay()?;
    Ok(world.events)
}

impl World {
    fn planned(&mut self) -> Event {
        let workflows = self.plan.workflows.clone();
        let workflows = workflows
            .iter()
            .map(|workflow| NewWorkflow {
                id: WorkflowId(self.rng.uuid()),
                jobs: workflow
                    .jobs
                    .iter()
                    .map(|_| JobId(self.rng.uuid()))
                    .collect(),
            })
            .collect();
        let Ok(digest) = Digest::try_from("0".repeat(64)) else {
            unreachable!("64 hex digits")
        };
        let plan = PlanRef {
            digest,
            plan: Some(Arc::clone(&self.plan)),
        };
        Event::Planned {
            trigger: Box::new(trigger(self.id)),
            plan,
            source: None,
            workflows,
        }
    }

    /// Applies an event, takes its change over, performs its effects, and checks.
    fn happen(&mut self, event: Event, seen: &mut Seen) -> Result<bool, String> {
        self.events += 1;
        self.now_ms += 1;
        self.note(&event, seen);
        let stale = self.is_stale(&event);
        let (delta, effects) = match self.pipeline.apply(self.now_ms, &event) {
            Ok(change) => change,
            Err(error) if self.must_be_taken(&event) => {
                return Err(format!("refused: {error}\nby {event:?}"));
            }
            Err(_) => return Ok(false),
        };
        if stale {
            return Err(format!("a stale message was believed: {event:?}"));
        }
        self.rows
            .take(&self.plan, &delta, &effects)
            .and_then(|()| {
                self.pipeline.commit(delta);
                self.rows.can_progress_or_is_over()
            })
            .map_err(|why| format!("{why}\nafter {event:?}"))?;
        self.log.push((self.now_ms, event));
        for effect in effects {
            self.perform(effect);
        }
        Ok(true)
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::SetTimer { timer, .. } => self.timers.push(timer),
            Effect::Acquire { workflow, job, .. } => {
                self.group.push_back((workflow, job));
                self.grant();
            }
            Effect::Release { workflow, job, .. } => {
                self.group.retain(|member| *member != (workflow, job));
                self.grant();
            }
            Effect::Enqueue { .. }
            | Effect::Revoke { .. }
            | Effect::Report { .. }
            | Effect::Notify { .. } => {}
        }
    }

    fn grant(&mut self) {
        if let Some(first) = self.group.front()
            && !self.granted.contains(first)
        {
            self.granted.push(*first);
        }
    }

    /// The word of the valid claim about the end of its task is never refused: nobody says it again.
    fn must_be_taken(&self, event: &Event) -> bool {
        let ends = matches!(
            event,
            Event::TaskFinished { .. }
                | Event::TimerFired {
                    timer: Timer::Lease { .. }
                }
        );
        ends && !self.is_stale(event)
    }

    /// A message with the epoch of a claim that is not the valid one.
    fn is_stale(&self, event: &Event) -> bool {
        let (task, epoch) = match event {
            Event::TaskStarted { task, lease_epoch }
            | Event::TaskFinished {
                task, lease_epoch, ..
            } => (task, lease_epoch),
            Event::TimerFired {
                timer: Timer::Lease { task, lease_epoch } | Timer::CancelGrace { task, lease_epoch },
            } => (task, lease_epoch),
            _ => return false,
        };
        let valid = self.rows.tasks.get(task).and_then(|row| row.state.epoch());
        valid != Some(*epoch)
    }

    // ------------------------------------------------------------ what happens

    fn anything(&mut self) -> Event {
        match self.rng.below(100) {
            0..=49 => self.likely(),
            50..=64 => self.by_a_runner_in_disorder(),
            65..=72 => self.again(),
            73..=78 => self.timer(),
            79..=86 => self.approval(),
            87..=90 => self.cancel(),
            91..=93 => self.group_answer(),
            _ => self.rerun(),
        }
    }

    /// What a world in order does next, or else anything.
    fn likely(&mut self) -> Event {
        if let Some((workflow, job)) = self.granted.last().copied()
            && self.rng.chance(50)
        {
            return Event::Granted { workflow, job };
        }
        let live: Vec<(TaskId, TaskState)> = self
            .rows
            .tasks
            .values()
            .filter(|row| !matches!(row.state, TaskState::Finished { .. }))
            .map(|row| (row.id, row.state.clone()))
            .collect();
        match self.rng.pick(&live).cloned() {
            Some((task, state)) => self.next_of(task, &state),
            None => self.approval(),
        }
    }

    fn next_of(&mut self, task: TaskId, state: &TaskState) -> Event {
        match state {
            TaskState::Claimed { lease_epoch, .. } if self.rng.chance(75) => Event::TaskStarted {
                task,
                lease_epoch: *lease_epoch,
            },
            TaskState::Claimed { lease_epoch, .. } | TaskState::Running { lease_epoch, .. } => {
                let outcome = self.outcome();
                Event::TaskFinished {
                    task,
                    lease_epoch: *lease_epoch,
                    outcome,
                }
            }
            _ => self.claim(task),
        }
    }

    fn claim(&mut self, task: TaskId) -> Event {
        self.epoch += 1;
        let runner = RunnerId(self.rng.uuid());
        Event::Claimed {
            task,
            runner,
            lease_epoch: self.epoch,
            lease_until_ms: self.now_ms + 60_000,
        }
    }

    fn outcome(&mut self) -> TaskOutcome {
        match self.rng.below(12) {
            0 | 1 => TaskOutcome::Failed,
            2 => TaskOutcome::Canceled,
            3 => TaskOutcome::Timedout,
            4 => TaskOutcome::InfrastructureFail(String::from("lost")),
            _ => TaskOutcome::Success,
        }
    }

    /// Any message of any claim for any task, invented ones too.
    fn by_a_runner_in_disorder(&mut self) -> Event {
        let task = self.some_task();
        let valid = self.rows.tasks.get(&task).and_then(|row| row.state.epoch());
        let lease_epoch = match valid {
            Some(epoch) if self.rng.chance(50) => epoch,
            _ => self.rng.next() % (self.epoch + 2),
        };
        match self.rng.below(5) {
            0 => self.claim(task),
            1 => Event::TaskStarted { task, lease_epoch },
            2 => Event::TimerFired {
                timer: Timer::Lease { task, lease_epoch },
            },
            3 => Event::TimerFired {
                timer: Timer::CancelGrace { task, lease_epoch },
            },
            _ => {
                let outcome = self.outcome();
                Event::TaskFinished {
                    task,
                    lease_epoch,
                    outcome,
                }
            }
        }
    }

    fn some_task(&mut self) -> TaskId {
        let known: Vec<TaskId> = self.rows.tasks.keys().copied().collect();
        match self.rng.pick(&known) {
            Some(task) if self.rng.chance(60) => *task,
            _ => TaskId {
                job: self.some_job().1,
                node: 0,
                attempt: 1,
            },
        }
    }

    fn some_job(&mut self) -> (WorkflowId, JobId) {
        let known: Vec<_> = self.rows.jobs.keys().copied().collect();
        let invented = (WorkflowId(self.rng.uuid()), JobId(self.rng.uuid()));
        if self.rng.chance(2) {
            invented
        } else {
            self.rng.pick(&known).copied().unwrap_or(invented)
        }
    }

    /// A message that comes twice.
    fn again(&mut self) -> Event {
        let events: Vec<Event> = self.log.iter().map(|(_, event)| event.clone()).collect();
        self.rng
            .pick(&events)
            .cloned()
            .unwrap_or_else(|| self.planned())
    }

    fn timer(&mut self) -> Event {
        match self.rng.pick(&self.timers).cloned() {
            Some(timer) => Event::TimerFired { timer },
            None => self.by_a_runner_in_disorder(),
        }
    }

    fn approval(&mut self) -> Event {
        let held: Vec<_> = self.jobs_that(|row| row.status == JobStatus::OnHold);
        let (workflow, job) = match self.rng.pick(&held).copied() {
            Some(held) if self.rng.chance(70) => held,
            _ => self.some_job(),
        };
        Event::Approved {
            workflow,
            job,
            actor: String::from("ann"),
        }
    }

    fn jobs_that(&self, wanted: impl Fn(&JobRow) -> bool) -> Vec<(WorkflowId, JobId)> {
        self.rows
            .jobs
            .iter()
            .filter(|(_, row)| wanted(row))
            .map(|(key, _)| *key)
            .collect()
    }

    fn cancel(&mut self) -> Event {
        let (workflow, job) = self.some_job();
        let scope = match self.rng.below(8) {
            0 => CancelScope::Pipeline,
            1 => CancelScope::Workflow { workflow },
            _ => CancelScope::Job { workflow, job },
        };
        Event::CancelAsked {
            scope,
            actor: String::from("bob"),
        }
    }

    fn group_answer(&mut self) -> Event {
        let (workflow, job) = self.some_job();
        Event::Granted { workflow, job }
    }

    fn rerun(&mut self) -> Event {
        let (of, job) = self.some_job();
        // Few are enough; a history of nothing else would never end.
        if self.rows.workflows.len() > 6 {
            return self.approval();
        }
        let size = self
            .rows
            .jobs
            .keys()
            .filter(|(workflow, _)| *workflow == of)
            .count();
        let jobs = (0..size).map(|_| JobId(self.rng.uuid())).collect();
        let scope = match self.rng.below(4) {
            0 => RerunScope::FromStart,
            1 => RerunScope::FromFailed,
            _ => RerunScope::Jobs {
                jobs: vec![job],
                with_downstream: self.rng.chance(50),
            },
        };
        let new = NewWorkflow {
            id: WorkflowId(self.rng.uuid()),
            jobs,
        };
        Event::Rerun {
            of,
            scope,
            new,
            actor: String::from("eve"),
        }
    }

    // ------------------------------------------------------------ the end

    /// A world in order brings everything to its end.
    fn drain(&mut self, seen: &mut Seen) -> Result<(), String> {
        for _ in 0..2_000 {
            if self
                .rows
                .workflows
                .values()
                .all(|row| row.status.is_terminal())
            {
                return Ok(());
            }
            let live = self
                .rows
                .tasks
                .values()
                .find(|row| !matches!(row.state, TaskState::Finished { .. }))
                .map(|row| (row.id, row.state.clone()));
            let held = self.jobs_that(|row| row.status == JobStatus::OnHold);
            let event = match (live, held.first(), self.group.front()) {
                (Some((task, state)), ..) => self.next_of(task, &state),
                (None, Some((workflow, job)), _) => Event::Approved {
                    workflow: *workflow,
                    job: *job,
                    actor: String::from("ann"),
                },
                (None, None, Some((workflow, job))) => Event::Granted {
                    workflow: *workflow,
                    job: *job,
                },
                (None, None, None) => {
                    return Err(String::from("nothing can happen, and not all is over"));
                }
            };
            self.happen(event, seen)?;
        }
        Err(String::from(
            "two thousand events did not bring it to its end",
        ))
    }

    /// The log makes the same rows again.
    fn replay(&self) -> Result<(), String> {
        let mut again = Pipeline::new(self.id);
        for (now_ms, event) in &self.log {
            let (delta, _) = again
                .apply(*now_ms, event)
                .map_err(|error| format!("replay: {error}"))?;
            again.commit(delta);
        }
        let sorted = |pipeline: &Pipeline| {
            let mut rows: Vec<String> = pipeline
                .rows()
                .iter()
                .map(|row| format!("{row:?}"))
                .collect();
            rows.sort();
            rows
        };
        let (first, second) = (sorted(&self.pipeline), sorted(&again));
        if first != second {
            return Err(String::from("replaying the log made other rows"));
        }
        if first != self.rows.sorted() {
            return Err(String::from("the changes taken together are not the rows"));
        }
        Ok(())
    }

    // ------------------------------------------------------------ coverage

    fn note(&self, event: &Event, seen: &mut Seen) {
        let (job, task) = match event {
            Event::Claimed { task, .. }
            | Event::TaskStarted { task, .. }
            | Event::TaskFinished { task, .. } => (
                self.rows
                    .jobs
                    .values()
                    .find(|row| row.id == task.job && row.carried_from.is_none()),
                Some(*task),
            ),
            Event::TimerFired {
                timer: Timer::Lease { task, .. } | Timer::CancelGrace { task, .. },
            } => (
                self.rows
                    .jobs
                    .values()
                    .find(|row| row.id == task.job && row.carried_from.is_none()),
                Some(*task),
            ),
            Event::Approved { workflow, job, .. }
            | Event::Granted { workflow, job }
            | Event::CancelAsked {
                scope: CancelScope::Job { workflow, job },
                ..
            } => (self.rows.jobs.get(&(*workflow, *job)), None),
            _ => (None, None),
        };
        let kind = kind(event);
        if let Some(job) = job {
            seen.insert((job.status.as_str(), kind));
        }
        if let Some(task) = task.and_then(|task| self.rows.tasks.get(&task)) {
            seen.insert((task_word(&task.state), kind));
        }
    }
}

/// Name of a task's state in the table of pairs.
pub fn task_word(state: &TaskState) -> &'static str {
    match state {
        TaskState::Queued { .. } => "task queued",
        TaskState::Claimed { .. } => "task claimed",
        TaskState::Running { .. } => "task running",
        TaskState::Finished { .. } => "task finished",
    }
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::Planned { .. } => "planned",
        Event::Rejected { .. } => "rejected",
        Event::Claimed { .. } => "claimed",
        Event::TaskStarted { .. } => "task started",
        Event::TaskFinished { .. } => "task finished",
        Event::TimerFired {
            timer: Timer::Lease { .. },
        } => "lease timer",
        Event::TimerFired {
            timer: Timer::CancelGrace { .. },
        } => "cancel timer",
        Event::Approved { .. } => "approved",
        Event::CancelAsked { .. } => "cancel asked",
        Event::Granted { .. } => "granted",
        Event::Rerun { .. } => "rerun",
    }
}

fn trigger(pipeline: PipelineId) -> Trigger {
    Trigger {
        pipeline,
        number: 1,
        actor: String::from("ann"),
        kind: TriggerKind::Api,
        received_at_ms: 0,
        project: Project::default(),
        revision: Revision::default(),
        parameters: std::collections::BTreeMap::new(),
        selection: Selection::default(),
        values: std::collections::BTreeMap::new(),
    }
}
