//! Runners, timers, people and groups around one pipeline, all driven by a seed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use capstan_engine::event::{NewWorkflow, Timer};
use capstan_engine::{Effect, Event, Pipeline, TaskState};
use capstan_model::{JobId, PipelineId, Plan, WorkflowId};

use crate::make;
use crate::pairs::{self, Seen};
use crate::plans;
use crate::rng::Rng;
use crate::rows::{Rows, sorted};

pub struct World {
    pub rng: Rng,
    /// What it begins with, what it may continue with.
    plans: [Arc<Plan>; 2],
    pipeline: Pipeline,
    id: PipelineId,
    pub rows: Rows,
    pub log: Vec<Logged>,
    pub now_ms: i64,
    pub epoch: u64,
    pub timers: Vec<Timer>,
    group: VecDeque<(WorkflowId, JobId)>,
    pub granted: Vec<(WorkflowId, JobId)>,
    /// Whether every state is compared around a refused event, which costs.
    thorough: bool,
    /// Events tried, refused ones too.
    events: usize,
}

/// An event that was taken.
pub struct Logged {
    pub now_ms: i64,
    pub event: Event,
    effects: Vec<Effect>,
}

/// Runs one history of at least `events` events; an error says what did not hold.
pub fn history(seed: u64, events: usize, seen: &mut Seen) -> Result<usize, String> {
    let mut rng = Rng::new(seed);
    let first = Arc::new(plans::random(&mut rng));
    let second = Arc::new(plans::continuation(&mut rng));
    let id = PipelineId(rng.uuid());
    let mut world = World {
        plans: [first, second],
        pipeline: Pipeline::new(id),
        id,
        rows: Rows::default(),
        log: Vec::new(),
        now_ms: 1_000,
        epoch: 0,
        timers: Vec::new(),
        group: VecDeque::new(),
        granted: Vec::new(),
        thorough: seed.is_multiple_of(16),
        events: 0,
        rng,
    };
    world.begin(seen)?;
    while world.events < events {
        let event = world.anything();
        world.happen(event, seen)?;
    }
    world.drain(seen)?;
    world.replay()?;
    Ok(world.events)
}

impl World {
    /// The first event, which a few worlds keep waiting for.
    fn begin(&mut self, seen: &mut Seen) -> Result<(), String> {
        while self.rng.chance(10) {
            let event = self.anything();
            self.happen(event, seen)?;
        }
        while self.rows.pipeline.is_none() {
            let event = if self.rng.chance(4) {
                self.rejected()
            } else {
                self.planned()
            };
            self.happen(event, seen)?;
        }
        Ok(())
    }

    pub fn planned(&mut self) -> Event {
        let plan = Arc::clone(&self.plans[0]);
        let workflows = self.workflows_of(&plan);
        Event::Planned {
            trigger: Box::new(make::trigger(self.id)),
            plan: make::plan_ref(&plan, 0),
            source: None,
            workflows,
        }
    }

    pub fn continued(&mut self) -> Event {
        // Now and then with the setup config itself.
        let n = usize::from(!self.rng.chance(5));
        let plan = Arc::clone(&self.plans[n]);
        let workflows = self.workflows_of(&plan);
        Event::Continued {
            parameters: BTreeMap::new(),
            plan: make::plan_ref(&plan, n as u8),
            source: None,
            workflows,
        }
    }

    fn workflows_of(&mut self, plan: &Plan) -> Vec<NewWorkflow> {
        let mut workflows = Vec::new();
        for workflow in &plan.workflows {
            let jobs = workflow.jobs.len();
            let mut new = self.new_ids(jobs);
            for _ in 0..workflow.max_auto_reruns {
                let spare = self.new_ids(jobs);
                new.auto_reruns.push(spare);
            }
            workflows.push(new);
        }
        if self.rng.chance(2) {
            self.spoil(&mut workflows);
        }
        workflows
    }

    pub fn rejected(&self) -> Event {
        Event::Rejected {
            trigger: Box::new(make::trigger(self.id)),
            errors: vec![String::from("a config without jobs")],
        }
    }

    pub fn continuation_rejected() -> Event {
        Event::ContinuationRejected {
            parameters: BTreeMap::new(),
            errors: vec![String::from("a continuation without jobs")],
        }
    }

    pub fn new_ids(&mut self, jobs: usize) -> NewWorkflow {
        NewWorkflow {
            id: WorkflowId(self.rng.uuid()),
            jobs: (0..jobs).map(|_| JobId(self.rng.uuid())).collect(),
            auto_reruns: Vec::new(),
        }
    }

    /// Ids that do not fit.
    pub fn spoil(&mut self, workflows: &mut Vec<NewWorkflow>) {
        let used = self.rows.jobs.keys().next().map(|(_, job)| *job);
        let Some(last) = workflows.last_mut() else {
            return;
        };
        match self.rng.below(5) {
            0 => drop(last.jobs.pop()),
            1 => last.jobs.push(JobId(self.rng.uuid())),
            2 => last.auto_reruns.push(last.clone()),
            3 => last.jobs[0] = used.unwrap_or(last.jobs[last.jobs.len() - 1]),
            _ => drop(workflows.pop()),
        }
    }

    /// Applies an event, takes its change over, performs its effects, and checks.
    fn happen(&mut self, event: Event, seen: &mut Seen) -> Result<(), String> {
        self.events += 1;
        self.now_ms += 1;
        if self.rng.chance(1) {
            self.now_ms += 3 * 60 * 60 * 1_000;
        }
        let met = self.rows.met(&event);
        let may = self.rows.may(self.now_ms, &event);
        let applied = self.pipeline.apply(self.now_ms, &event);
        seen.note(met, pairs::event(&event), applied.is_ok());
        let (delta, effects) = match (applied, may) {
            (Ok(change), Ok(())) => change,
            (Err(_), Err(_)) => return self.nothing_changed(&event),
            (Ok(_), Err(why)) => return Err(format!("taken though {why}: {event:?}")),
            (Err(error), Ok(())) => return Err(format!("refused: {error}\nby {event:?}")),
        };
        let rows = delta.rows();
        self.pipeline.commit(delta);
        self.rows
            .take(self.now_ms, &event, rows, &effects)
            .and_then(|()| self.rows.can_progress_or_is_over())
            .map_err(|why| format!("{why}\nafter {event:?}"))?;
        for effect in &effects {
            self.perform(effect);
        }
        self.log.push(Logged {
            now_ms: self.now_ms,
            event,
            effects,
        });
        Ok(())
    }

    /// After a refused event every state is what it was; at the end of a history this is seen anyway.
    fn nothing_changed(&self, event: &Event) -> Result<(), String> {
        if self.thorough && sorted(self.pipeline.rows()) != self.rows.sorted() {
            return Err(format!("refused, and yet it changed something: {event:?}"));
        }
        Ok(())
    }

    fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::SetTimer { timer, .. } => self.timers.push(timer.clone()),
            Effect::Acquire { workflow, job, .. } => {
                self.group.push_back((*workflow, *job));
                self.grant();
            }
            Effect::Release { workflow, job, .. } => {
                self.group.retain(|member| member != &(*workflow, *job));
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

    // ------------------------------------------------------------ the end

    /// A world in order brings everything to its end.
    fn drain(&mut self, seen: &mut Seen) -> Result<(), String> {
        for _ in 0..4_000 {
            let over = |row: &capstan_engine::WorkflowRow| row.status.is_terminal();
            if self.rows.workflows.values().all(over) {
                return Ok(());
            }
            let live = self
                .rows
                .tasks
                .values()
                .find(|row| !matches!(row.state, TaskState::Finished { .. }))
                .map(|row| (row.id, row.state.clone()));
            let held = self.held();
            let event = match (live, held.first(), self.group.front()) {
                (Some((task, state)), ..) => self.next_of(task, &state),
                (None, Some((workflow, job)), _) => approved(*workflow, *job),
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
            "four thousand events did not bring it to its end",
        ))
    }

    /// The log makes the same pipeline again, asks for the same effects, and its rows are those that the
    /// changes made one by one.
    fn replay(&self) -> Result<(), String> {
        let mut again = Pipeline::new(self.id);
        for logged in &self.log {
            let stored = if self.thorough {
                self.through_json(&logged.event)?
            } else {
                logged.event.clone()
            };
            let (delta, effects) = again
                .apply(logged.now_ms, &stored)
                .map_err(|error| format!("replay: {error}"))?;
            again.commit(delta);
            if effects != logged.effects {
                return Err(format!("replaying {stored:?} asked for {effects:?}"));
            }
        }
        if again != self.pipeline {
            return Err(String::from("replaying the log made another pipeline"));
        }
        let rows = sorted(again.rows());
        if rows != sorted(self.pipeline.rows()) || rows != self.rows.sorted() {
            return Err(String::from("the changes taken together are not the rows"));
        }
        Ok(())
    }

    /// An event as it comes back from a store.
    fn through_json(&self, event: &Event) -> Result<Event, String> {
        let read = |error: serde_json::Error| format!("{event:?} has no JSON: {error}");
        let json = serde_json::to_string(event).map_err(read)?;
        let mut stored: Event = serde_json::from_str(&json).map_err(read)?;
        if let Some(plan) = stored.plan_mut() {
            plan.plan = self.rows.plans.get(&plan.digest).cloned();
        }
        Ok(stored)
    }
}

pub fn approved(workflow: WorkflowId, job: JobId) -> Event {
    Event::Approved {
        workflow,
        job,
        actor: String::from("ann"),
    }
}
