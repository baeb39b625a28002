//! What an event costs is what it touches. Counted, not timed: jobs and tasks looked at, rows written.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/make.rs"]
mod make;

use std::sync::Arc;

use capstan_engine::event::NewWorkflow;
use capstan_engine::{Effect, Event, Pipeline, meter};
use capstan_model::plan::{Job, RequiredStatus};
use capstan_model::{JobId, PipelineId, RunnerId, TaskId, TaskOutcome, WorkflowId};
use uuid::Uuid;

/// The most that one event of a kind looked at and wrote.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cost {
    looks: u64,
    rows: usize,
}

impl Cost {
    fn worsen(&mut self, other: Self) {
        self.looks = self.looks.max(other.looks);
        self.rows = self.rows.max(other.rows);
    }
}

struct Run {
    pipeline: Pipeline,
    offered: Vec<TaskId>,
    now_ms: i64,
    claim: Cost,
    start: Cost,
    finish: Cost,
}

impl Run {
    fn of(jobs: Vec<Job>) -> Self {
        let id = PipelineId(Uuid::from_u128(1));
        let ids = (0..jobs.len()).map(|n| JobId(Uuid::from_u128(100 + n as u128)));
        let new = NewWorkflow {
            id: WorkflowId(Uuid::from_u128(2)),
            jobs: ids.collect(),
            auto_reruns: Vec::new(),
        };
        let plan = Arc::new(make::plan(vec![make::workflow("main", jobs)]));
        let planned = Event::Planned {
            trigger: Box::new(make::trigger(id)),
            plan: make::plan_ref(&plan, 1),
            source: None,
            workflows: vec![new],
        };
        let mut run = Self {
            pipeline: Pipeline::new(id),
            offered: Vec::new(),
            now_ms: 0,
            claim: Cost::default(),
            start: Cost::default(),
            finish: Cost::default(),
        };
        run.happen(&planned);
        run
    }

    fn happen(&mut self, event: &Event) -> Cost {
        self.now_ms += 1;
        meter::take();
        let (delta, effects) = self.pipeline.apply(self.now_ms, event).unwrap();
        let rows = delta.rows().len();
        self.pipeline.commit(delta);
        self.offered
            .extend(effects.iter().filter_map(|effect| match effect {
                Effect::Enqueue { task, .. } => Some(*task),
                _ => None,
            }));
        Cost {
            looks: meter::take(),
            rows,
        }
    }

    /// Runs everything that is offered, all of it side by side.
    fn finished(mut self) -> Self {
        while !self.offered.is_empty() {
            let tasks = std::mem::take(&mut self.offered);
            for &task in &tasks {
                let event = Event::Claimed {
                    task,
                    runner: RunnerId(Uuid::from_u128(3)),
                    lease_epoch: 1,
                    lease_until_ms: 1_000_000,
                };
                let cost = self.happen(&event);
                self.claim.worsen(cost);
            }
            for &task in &tasks {
                let event = Event::TaskStarted {
                    task,
                    lease_epoch: 1,
                };
                let cost = self.happen(&event);
                self.start.worsen(cost);
            }
            for &task in &tasks {
                let event = Event::TaskFinished {
                    task,
                    lease_epoch: 1,
                    outcome: TaskOutcome::Success,
                };
                let cost = self.happen(&event);
                self.finish.worsen(cost);
            }
        }
        self
    }

    fn costs(&self) -> [&Cost; 3] {
        [&self.claim, &self.start, &self.finish]
    }
}

#[test]
fn an_event_about_one_node_costs_the_same_in_a_job_of_many() {
    let run = |nodes| Run::of(vec![make::job("test", make::build(nodes))]).finished();
    let (few, many) = (run(4), run(1024));
    assert_eq!(few.costs(), many.costs());
    assert!(many.finish.looks > 0, "nothing was counted");
}

#[test]
fn an_event_about_one_job_costs_the_same_in_a_workflow_of_many() {
    let chain = |length: usize| {
        let mut jobs: Vec<Job> = Vec::new();
        for n in 0..length {
            let mut job = make::job(&format!("j{n}"), make::build(1));
            if n > 0 {
                let before = format!("j{}", n - 1);
                job.requires = vec![make::requires(&before, &[RequiredStatus::Success])];
            }
            jobs.push(job);
        }
        Run::of(jobs).finished()
    };
    assert_eq!(chain(4).costs(), chain(1000).costs());
}

#[test]
fn a_fan_in_looks_at_each_of_its_requirements_once() {
    let fan = |width: usize| {
        let mut jobs: Vec<Job> = (0..width)
            .map(|n| make::job(&format!("j{n}"), make::build(1)))
            .collect();
        let mut last = make::job("last", make::build(1));
        last.requires = (0..width)
            .map(|n| make::requires(&format!("j{n}"), &[RequiredStatus::Success]))
            .collect();
        jobs.push(last);
        Run::of(jobs).finished()
    };
    assert_eq!(fan(4).costs(), fan(500).costs());
}
