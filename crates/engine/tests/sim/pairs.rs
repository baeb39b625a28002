//! Every state that platform 1.3 to 1.5 names, met with every event.
//!
//! An event meets what it names, what holds that, and what that holds: the end of a task meets the states
//! of the task, its job, its workflow and its pipeline; a rerun of a workflow those of the pipeline, the
//! workflow, its jobs and their tasks. A pair has come when the event was taken, or refused, in that
//! state. `pairs.txt` is the whole table; a pair that cannot come is named by [`impossible`].

use capstan_engine::event::{CancelScope, RerunScope, Timer};
use capstan_engine::{Event, TaskState};
use capstan_model::{JobStatus, TaskOutcome, WorkflowStatus};

/// Events by name, in the order of `event.rs`.
pub const EVENTS: [&str; 23] = [
    "planned",
    "rejected",
    "continued",
    "continuation rejected",
    "claimed",
    "task started",
    "task finished: success",
    "task finished: failed",
    "task finished: canceled",
    "task finished: timedout",
    "task finished: infrastructure_fail",
    "timer fired: lease",
    "timer fired: cancel grace",
    "approved",
    "cancel asked: pipeline",
    "cancel asked: workflow",
    "cancel asked: job",
    "granted",
    "superseded",
    "rerun: from start",
    "rerun: from failed",
    "rerun: jobs",
    "rerun: jobs and downstream",
];

/// States by name; the first word is the kind.
pub const STATES: [&str; 34] = [
    "pipeline pending",
    "pipeline setup-pending",
    "pipeline setup",
    "pipeline created",
    "pipeline errored",
    "workflow running",
    "workflow failing",
    "workflow on_hold",
    "workflow success",
    "workflow failed",
    "workflow canceled",
    "workflow error",
    "workflow unauthorized",
    "workflow not_run",
    "job blocked",
    "job on_hold",
    "job queued for its group",
    "job queued",
    "job not_running",
    "job running",
    "job success",
    "job failed",
    "job canceled",
    "job timedout",
    "job infrastructure_fail",
    "job terminated-unknown",
    "job unauthorized",
    "job not_run",
    "job retried",
    "task queued",
    "task claimed",
    "task running",
    "task told to stop",
    "task finished",
];

/// Why no event ever meets a state; `None` where each of them must.
pub fn impossible(state: &str) -> Option<&'static str> {
    let why = match state {
        "pipeline setup-pending" => {
            "a config is compiled, and its workflows are made, by one event: no event comes between"
        }
        "workflow error" => "a job is started by an event, which is refused where it cannot start",
        "workflow unauthorized" | "job unauthorized" => "no event tells that a context was refused",
        "job terminated-unknown" => "a runner that is lost is known to be lost",
        "job retried" => "a second try is another task of the same job",
        _ => return None,
    };
    Some(why)
}

pub fn event(event: &Event) -> usize {
    let name = match event {
        Event::Planned { .. } => "planned",
        Event::Rejected { .. } => "rejected",
        Event::Continued { .. } => "continued",
        Event::ContinuationRejected { .. } => "continuation rejected",
        Event::Claimed { .. } => "claimed",
        Event::TaskStarted { .. } => "task started",
        Event::TaskFinished { outcome, .. } => match outcome {
            TaskOutcome::Success => "task finished: success",
            TaskOutcome::Failed => "task finished: failed",
            TaskOutcome::Canceled => "task finished: canceled",
            TaskOutcome::Timedout => "task finished: timedout",
            TaskOutcome::InfrastructureFail(_) => "task finished: infrastructure_fail",
        },
        Event::TimerFired { timer } => match timer {
            Timer::Lease { .. } => "timer fired: lease",
            Timer::CancelGrace { .. } => "timer fired: cancel grace",
        },
        Event::Approved { .. } => "approved",
        Event::CancelAsked { scope, .. } => match scope {
            CancelScope::Pipeline => "cancel asked: pipeline",
            CancelScope::Workflow { .. } => "cancel asked: workflow",
            CancelScope::Job { .. } => "cancel asked: job",
        },
        Event::Granted { .. } => "granted",
        Event::Superseded { .. } => "superseded",
        Event::Rerun { scope, .. } => match scope {
            RerunScope::FromStart => "rerun: from start",
            RerunScope::FromFailed => "rerun: from failed",
            RerunScope::Jobs {
                with_downstream: false,
                ..
            } => "rerun: jobs",
            RerunScope::Jobs {
                with_downstream: true,
                ..
            } => "rerun: jobs and downstream",
        },
    };
    place(&EVENTS, "", name)
}

pub fn workflow(status: WorkflowStatus) -> usize {
    place(&STATES, "workflow ", status.as_str())
}

/// `waiting` is a job whose tasks were not offered yet, for want of its group.
pub fn job(status: JobStatus, waiting: bool) -> usize {
    if status == JobStatus::Queued && waiting {
        place(&STATES, "job ", "queued for its group")
    } else {
        place(&STATES, "job ", status.as_str())
    }
}

pub fn task(state: &TaskState) -> usize {
    let word = match state {
        TaskState::Queued { .. } => "queued",
        TaskState::Finished { .. } => "finished",
        _ if state.canceling() => "told to stop",
        TaskState::Claimed { .. } => "claimed",
        TaskState::Running { .. } => "running",
    };
    place(&STATES, "task ", word)
}

pub fn pipeline(word: &str) -> usize {
    place(&STATES, "pipeline ", word)
}

fn place(names: &[&str], kind: &str, word: &str) -> usize {
    let found = names
        .iter()
        .position(|name| name.strip_prefix(kind) == Some(word));
    let Some(at) = found else {
        unreachable!("the table lacks {kind}{word}")
    };
    at
}

/// The states that an event met.
#[derive(Clone, Copy, Default)]
pub struct Met(u64);

impl Met {
    pub fn add(&mut self, state: usize) {
        self.0 |= 1 << state;
    }
}

/// How often each pair came: taken, refused.
pub struct Seen([[[u32; 2]; EVENTS.len()]; STATES.len()]);

impl Default for Seen {
    fn default() -> Self {
        Self([[[0; 2]; EVENTS.len()]; STATES.len()])
    }
}

impl Seen {
    pub fn note(&mut self, met: Met, event: usize, taken: bool) {
        let mut rest = met.0;
        while rest != 0 {
            let state = rest.trailing_zeros() as usize;
            self.0[state][event][usize::from(!taken)] += 1;
            rest &= rest - 1;
        }
    }

    pub fn extend(&mut self, other: &Self) {
        for (row, others) in self.0.iter_mut().zip(&other.0) {
            for (cell, other) in row.iter_mut().zip(others) {
                cell[0] += other[0];
                cell[1] += other[1];
            }
        }
    }

    /// Pairs that came though they are impossible, or did not come though nothing says why.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (s, state) in STATES.iter().enumerate() {
            for (e, event) in EVENTS.iter().enumerate() {
                let came = self.0[s][e] != [0, 0];
                match (came, impossible(state)) {
                    (true, Some(why)) => faults.push(format!("{state}, {event}: came, but {why}")),
                    (false, None) => faults.push(format!("{state}, {event}: never came")),
                    _ => {}
                }
            }
        }
        faults
    }

    /// The table as it stands in `pairs.txt`: a column an event, a row a state.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "T taken, R refused, B taken or refused as other states have it, . impossible\n\n",
        );
        for (e, event) in EVENTS.iter().enumerate() {
            text += &format!("{}{event}\n", "│".repeat(e));
        }
        for (s, state) in STATES.iter().enumerate() {
            for e in 0..EVENTS.len() {
                text += match self.0[s][e] {
                    [0, 0] => ".",
                    [_, 0] => "T",
                    [0, _] => "R",
                    _ => "B",
                };
            }
            text += &format!("  {state}\n");
        }
        text += "\nimpossible:\n";
        for state in STATES {
            if let Some(why) = impossible(state) {
                text += &format!("  {state}: {why}\n");
            }
        }
        text
    }

    /// The pairs that came least often, for whoever tunes the worlds.
    pub fn rarest(&self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        for (s, state) in STATES.iter().enumerate() {
            for (e, event) in EVENTS.iter().enumerate() {
                for (way, word) in ["taken", "refused"].iter().enumerate() {
                    let times = self.0[s][e][way];
                    if times > 0 {
                        all.push((times, format!("{state}, {event}, {word}: {times}")));
                    }
                }
            }
        }
        all.sort();
        all.truncate(count);
        all.into_iter().map(|(_, text)| text).collect()
    }
}
