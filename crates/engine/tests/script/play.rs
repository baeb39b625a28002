//! Plays a script: names become ids, events go in, and what comes out is told by name again.

use std::collections::BTreeMap;
use std::sync::Arc;

use capstan_engine::event::{CancelScope, NewWorkflow, RerunScope, Timer};
use capstan_engine::{Effect, Event, JobRow, Pipeline, Row, TaskRow, TaskState, WorkflowRow};
use capstan_model::{JobId, PipelineId, Plan, RunnerId, TaskId, TaskOutcome, WorkflowId};
use uuid::Uuid;

use crate::{make, read};

/// The script with what comes of its events.
pub fn play(script: &str) -> Result<String, String> {
    let head: Vec<&str> = script
        .lines()
        .take_while(|line| !line.starts_with("> "))
        .collect();
    let mut player = Player::new(read::plans(&head)?);
    let mut text = head.join("\n").trim_end().to_owned();
    for line in script.lines() {
        let Some(words) = line.strip_prefix("> ") else {
            continue;
        };
        let told = player
            .event(words)
            .map_err(|why| format!("{line}: {why}"))?;
        text += &format!("\n\n> {words}");
        for line in told {
            text += &format!("\n{line}");
        }
    }
    Ok(text + "\n")
}

struct Player {
    plans: [Arc<Plan>; 2],
    pipeline: Pipeline,
    now_ms: i64,
    /// Ids are counted.
    ids: u128,
    epochs: BTreeMap<TaskId, u64>,
    workflows: Vec<WorkflowRow>,
    jobs: BTreeMap<(WorkflowId, JobId), JobRow>,
}

impl Player {
    fn new(plans: [Plan; 2]) -> Self {
        Self {
            plans: plans.map(Arc::new),
            pipeline: Pipeline::new(PipelineId(Uuid::from_u128(1))),
            now_ms: 0,
            ids: 1,
            epochs: BTreeMap::new(),
            workflows: Vec::new(),
            jobs: BTreeMap::new(),
        }
    }

    /// Applies an event; the answer is what it changed and asked for. A second passes with each.
    fn event(&mut self, words: &str) -> Result<Vec<String>, String> {
        if let Some(hours) = words.strip_suffix(" hours pass") {
            let hours: i64 = hours.parse().map_err(|_| "how many hours?")?;
            self.now_ms += hours * 3_600_000;
            return Ok(Vec::new());
        }
        let epochs = self.epochs.clone();
        let event = self.parse(words)?;
        self.now_ms += 1_000;
        let (delta, effects) = match self.pipeline.apply(self.now_ms, &event) {
            Ok(change) => change,
            Err(error) => {
                self.epochs = epochs;
                return Ok(vec![format!("refused: {}", self.named(&error.to_string()))]);
            }
        };
        let rows = delta.rows();
        self.pipeline.commit(delta);
        for row in &rows {
            self.know(row);
        }
        let mut told: Vec<String> = rows.iter().map(|row| self.row(row)).collect();
        told.extend(self.effects(&effects));
        if told.is_empty() {
            told.push(String::from("nothing changes"));
        }
        Ok(told)
    }

    fn know(&mut self, row: &Row) {
        match row {
            Row::Workflow(row) => {
                let place = self.workflows.iter().position(|known| known.id == row.id);
                match place {
                    Some(at) => self.workflows[at] = row.clone(),
                    None => self.workflows.push(row.clone()),
                }
            }
            Row::Job(row) => drop(self.jobs.insert((row.workflow, row.id), row.clone())),
            Row::Pipeline(_) | Row::Task(_) => {}
        }
    }

    // ------------------------------------------------------------ events

    fn parse(&mut self, words: &str) -> Result<Event, String> {
        let words: Vec<&str> = words.split_whitespace().collect();
        match words.as_slice() {
            ["plan"] => Ok(self.planned()),
            ["continue"] => Ok(self.continued(1)),
            ["continue", "with", "the", "setup", "config"] => Ok(self.continued(0)),
            ["continue", "with", "a", "mistake"] => Ok(Event::ContinuationRejected {
                parameters: BTreeMap::new(),
                errors: vec![String::from("no jobs")],
            }),
            ["claim", task] => self.claim(task),
            ["start", task] => {
                let (task, lease_epoch) = self.held(task)?;
                Ok(Event::TaskStarted { task, lease_epoch })
            }
            ["finish", task, outcome, rest @ ..] => {
                let (task, lease_epoch) = self.held(task)?;
                let lease_epoch = match rest {
                    ["by", "an", "older", "claim"] => lease_epoch - 1,
                    _ => lease_epoch,
                };
                let outcome = self.outcome(outcome)?;
                Ok(Event::TaskFinished {
                    task,
                    lease_epoch,
                    outcome,
                })
            }
            ["lease", "of", task, "ends"] => {
                let (task, lease_epoch) = self.held(task)?;
                let timer = Timer::Lease { task, lease_epoch };
                Ok(Event::TimerFired { timer })
            }
            ["grace", "of", task, "ends"] => {
                let (task, lease_epoch) = self.held(task)?;
                let timer = Timer::CancelGrace { task, lease_epoch };
                Ok(Event::TimerFired { timer })
            }
            ["approve", job] => {
                let (workflow, job) = self.job(job)?;
                Ok(Event::Approved {
                    workflow,
                    job,
                    actor: String::from("bea"),
                })
            }
            ["cancel", rest @ ..] => {
                let scope = match rest {
                    ["pipeline"] => CancelScope::Pipeline,
                    ["workflow", name] => CancelScope::Workflow {
                        workflow: self.workflow(name)?.id,
                    },
                    ["job", name] => {
                        let (workflow, job) = self.job(name)?;
                        CancelScope::Job { workflow, job }
                    }
                    _ => return Err(String::from("cancel what?")),
                };
                let actor = String::from("cid");
                Ok(Event::CancelAsked { scope, actor })
            }
            ["grant", job] => {
                let (workflow, job) = self.job(job)?;
                Ok(Event::Granted { workflow, job })
            }
            ["supersede", job] => {
                let (workflow, job) = self.job(job)?;
                Ok(Event::Superseded { workflow, job })
            }
            ["rerun", workflow, scope @ ..] => self.rerun(workflow, scope),
            _ => Err(String::from("no such event")),
        }
    }

    fn planned(&mut self) -> Event {
        let plan = Arc::clone(&self.plans[0]);
        Event::Planned {
            trigger: Box::new(make::trigger(self.pipeline.id())),
            plan: make::plan_ref(&plan, 0),
            source: None,
            workflows: self.workflows_of(&plan),
        }
    }

    fn continued(&mut self, n: u8) -> Event {
        let plan = Arc::clone(&self.plans[usize::from(n)]);
        Event::Continued {
            parameters: BTreeMap::new(),
            plan: make::plan_ref(&plan, n),
            source: None,
            workflows: self.workflows_of(&plan),
        }
    }

    fn workflows_of(&mut self, plan: &Plan) -> Vec<NewWorkflow> {
        let mut workflows = Vec::new();
        for workflow in &plan.workflows {
            let mut new = self.new_ids(workflow.jobs.len());
            for _ in 0..workflow.max_auto_reruns {
                let spare = self.new_ids(workflow.jobs.len());
                new.auto_reruns.push(spare);
            }
            workflows.push(new);
        }
        workflows
    }

    fn new_ids(&mut self, jobs: usize) -> NewWorkflow {
        let id = WorkflowId(self.new_id());
        NewWorkflow {
            id,
            jobs: (0..jobs).map(|_| JobId(self.new_id())).collect(),
            auto_reruns: Vec::new(),
        }
    }

    fn new_id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    fn claim(&mut self, name: &str) -> Result<Event, String> {
        let task = self.task(name)?;
        let epoch = self.epochs.entry(task).or_default();
        *epoch += 1;
        Ok(Event::Claimed {
            task,
            runner: RunnerId(Uuid::from_u128(0)),
            lease_epoch: *epoch,
            lease_until_ms: self.now_ms + 61_000,
        })
    }

    fn outcome(&self, word: &str) -> Result<TaskOutcome, String> {
        match word {
            "success" => Ok(TaskOutcome::Success),
            "failed" => Ok(TaskOutcome::Failed),
            "canceled" => Ok(TaskOutcome::Canceled),
            "timedout" => Ok(TaskOutcome::Timedout),
            "lost" => Ok(TaskOutcome::InfrastructureFail(String::from("power cut"))),
            _ => Err(format!("no outcome: {word}")),
        }
    }

    fn rerun(&mut self, name: &str, scope: &[&str]) -> Result<Event, String> {
        let of = self.workflow(name)?.id;
        let scope = match scope {
            ["from", "start"] => RerunScope::FromStart,
            ["from", "failed"] => RerunScope::FromFailed,
            ["jobs", names @ ..] => {
                let with_downstream = names.ends_with(&["with", "downstream"]);
                let names = &names[..names.len() - if with_downstream { 2 } else { 0 }];
                let mut jobs = Vec::new();
                for name in names {
                    let job = self.jobs_of(of).into_iter().find(|job| job.name == *name);
                    jobs.push(job.ok_or_else(|| format!("no job {name}"))?.id);
                }
                RerunScope::Jobs {
                    jobs,
                    with_downstream,
                }
            }
            _ => return Err(String::from("rerun what of it?")),
        };
        let count = self.jobs_of(of).len();
        let new = self.new_ids(count);
        let actor = String::from("dan");
        Ok(Event::Rerun {
            of,
            scope,
            new,
            actor,
        })
    }

    // ------------------------------------------------------------ from names to ids

    fn workflow(&self, name: &str) -> Result<&WorkflowRow, String> {
        let is = |row: &&WorkflowRow| self.workflow_name(row.id) == name;
        let found = self.workflows.iter().find(is);
        found.ok_or_else(|| format!("no workflow {name}"))
    }

    fn jobs_of(&self, workflow: WorkflowId) -> Vec<&JobRow> {
        let jobs = self.jobs.values().filter(|row| row.workflow == workflow);
        let mut jobs: Vec<&JobRow> = jobs.collect();
        jobs.sort_by_key(|row| row.ordinal);
        jobs
    }

    /// `build` of the first workflow, `main#2/build` of another.
    fn job(&self, name: &str) -> Result<(WorkflowId, JobId), String> {
        let is = |row: &&JobRow| self.job_name(row.workflow, row.id) == name;
        let found = self.jobs.values().find(is);
        let row = found.ok_or_else(|| format!("no job {name}"))?;
        Ok((row.workflow, row.id))
    }

    /// `build`, `test[2]` for a node of several, and its second try `build~2`.
    fn task(&self, name: &str) -> Result<TaskId, String> {
        let (name, attempt) = name.split_once('~').unwrap_or((name, "1"));
        let (name, node) = name.split_once('[').unwrap_or((name, "0]"));
        let number = |text: &str| text.parse().map_err(|_| format!("not a number: {text}"));
        Ok(TaskId {
            job: self.job(name)?.1,
            node: number(node.trim_end_matches(']'))?,
            attempt: number(attempt)?,
        })
    }

    fn held(&self, name: &str) -> Result<(TaskId, u64), String> {
        let task = self.task(name)?;
        Ok((task, self.epochs.get(&task).copied().unwrap_or(1)))
    }

    // ------------------------------------------------------------ from ids to names

    fn workflow_name(&self, id: WorkflowId) -> String {
        let Some(row) = self.workflows.iter().find(|row| row.id == id) else {
            return id.to_string();
        };
        let like = |other: &&WorkflowRow| other.name == row.name && other.ordinal <= row.ordinal;
        match self.workflows.iter().filter(like).count() {
            1 => row.name.clone(),
            n => format!("{}#{n}", row.name),
        }
    }

    fn job_name(&self, workflow: WorkflowId, job: JobId) -> String {
        let Some(row) = self.jobs.get(&(workflow, job)) else {
            return job.to_string();
        };
        let first = self.workflows.first().is_some_and(|row| row.id == workflow);
        if first {
            row.name.clone()
        } else {
            format!("{}/{}", self.workflow_name(workflow), row.name)
        }
    }

    fn task_name(&self, task: TaskId) -> String {
        let ran = |row: &&JobRow| row.id == task.job && row.carried_from.is_none();
        let Some(row) = self.jobs.values().find(ran) else {
            return task.to_string();
        };
        let mut name = self.job_name(row.workflow, row.id);
        if row.parallelism > 1 {
            name += &format!("[{}]", task.node);
        }
        if task.attempt > 1 {
            name += &format!("~{}", task.attempt);
        }
        name
    }

    /// A message with ids, by name.
    fn named(&self, message: &str) -> String {
        let names = self.jobs.values().map(|row| {
            let task = TaskId {
                job: row.id,
                node: 0,
                attempt: 1,
            };
            (row.id.to_string(), self.task_name(task))
        });
        names.fold(message.to_owned(), |text, (id, name)| {
            text.replace(&format!("{id}.0.1"), &name)
                .replace(&id, &name)
        })
    }

    // ------------------------------------------------------------ what came of it

    fn row(&self, row: &Row) -> String {
        match row {
            Row::Pipeline(row) => {
                let canceled = match &row.canceled_by {
                    Some(actor) => format!(", canceled by {actor}"),
                    None => String::new(),
                };
                let errors = match row.errors.as_slice() {
                    [] => String::new(),
                    errors => format!(": {}", errors.join(", ")),
                };
                format!("pipeline {}{canceled}{errors}", row.state.as_str())
            }
            Row::Workflow(row) => {
                let again = match (row.rerun_of, row.auto_rerun_number) {
                    (None, _) => String::new(),
                    (Some(of), None) => format!(", reruns {}", self.workflow_name(of)),
                    (Some(of), Some(number)) => format!(
                        ", reruns {} by itself, {number} of {}",
                        self.workflow_name(of),
                        row.max_auto_reruns
                    ),
                };
                let canceled = match &row.canceled_by {
                    Some(actor) => format!(", canceled by {actor}"),
                    None => String::new(),
                };
                let name = self.workflow_name(row.id);
                let setup = if row.setup { ", setup" } else { "" };
                let status = row.status.as_str();
                format!("workflow {name} {status}{setup}{again}{canceled}")
            }
            Row::Job(row) => self.job_row(row),
            Row::Task(row) => self.task_row(row),
        }
    }

    fn job_row(&self, row: &JobRow) -> String {
        let name = self.job_name(row.workflow, row.id);
        let decided = if row.decision == row.reason {
            String::new()
        } else {
            format!(" [{}]", row.decision)
        };
        let carried = match row.carried_from {
            Some(from) => format!(", carried over from {}", self.workflow_name(from)),
            None => String::new(),
        };
        let status = row.status.as_str();
        format!("job {name} {status}: {}{decided}{carried}", row.reason)
    }

    fn task_row(&self, row: &TaskRow) -> String {
        let told = if row.state.canceling() {
            ", told to stop"
        } else {
            ""
        };
        let state = match &row.state {
            TaskState::Queued { .. } => String::from("queued"),
            TaskState::Claimed { .. } => format!("claimed{told}"),
            TaskState::Running { .. } => format!("running{told}"),
            TaskState::Finished { outcome, .. } => match outcome {
                TaskOutcome::Success => String::from("finished: success"),
                TaskOutcome::Failed => String::from("finished: failed"),
                TaskOutcome::Canceled => String::from("finished: canceled"),
                TaskOutcome::Timedout => String::from("finished: timedout"),
                TaskOutcome::InfrastructureFail(cause) => format!("finished: lost, {cause}"),
            },
        };
        format!("task {} {state}", self.task_name(row.id))
    }

    /// In order; what is told to the outside is gathered in one line.
    fn effects(&self, effects: &[Effect]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut reports = Vec::new();
        let mut notices = Vec::new();
        for effect in effects {
            match effect {
                Effect::Enqueue { task, .. } => {
                    lines.push(format!("→ enqueue {}", self.task_name(*task)));
                }
                Effect::Revoke { task } => {
                    lines.push(format!("→ revoke {}", self.task_name(*task)));
                }
                Effect::SetTimer { timer, at_ms } => {
                    let (kind, task) = match timer {
                        Timer::Lease { task, .. } => ("lease", task),
                        Timer::CancelGrace { task, .. } => ("grace", task),
                    };
                    let name = self.task_name(*task);
                    let seconds = (at_ms - self.now_ms) / 1_000;
                    lines.push(format!("→ timer: {kind} of {name} in {seconds} s"));
                }
                Effect::Acquire {
                    group,
                    workflow,
                    job,
                } => {
                    let name = self.job_name(*workflow, *job);
                    lines.push(format!("→ acquire {group} for {name}"));
                }
                Effect::Release {
                    group,
                    workflow,
                    job,
                } => {
                    let name = self.job_name(*workflow, *job);
                    lines.push(format!("→ release {group} of {name}"));
                }
                Effect::Report { workflow, job } => reports.push(self.job_name(*workflow, *job)),
                Effect::Notify { workflow } => notices.push(self.workflow_name(*workflow)),
            }
        }
        for (word, names) in [("report", reports), ("notify", notices)] {
            if !names.is_empty() {
                lines.push(format!("→ {word} {}", names.join(", ")));
            }
        }
        lines
    }
}
