//! One change in the making: what an event touched, over a pipeline that stays as it was until the
//! change is taken over. Work and size are those of what is touched, not of the pipeline.
//!
//! Here is how it reads and moves; `fresh` is how workflows come to be, `course` how jobs start and end,
//! `cancel` how they are asked to, `settle` what follows, `rows` what is stored of it.

mod cancel;
mod course;
mod fresh;
mod rows;
mod settle;

use std::collections::{BTreeMap, VecDeque};

use capstan_model::plan;
use capstan_model::{JobStatus, TaskId, WorkflowStatus};

use crate::job::{Job, JobMove};
use crate::mutation::{Mutation, planted};
use crate::pipeline::Pipeline;
use crate::rows::{PipelineRow, Row, TaskRow, TaskState};
use crate::task::TaskMove;
use crate::tasks::Tasks;
use crate::workflow::{Summary, Workflow};
use crate::{Effect, IllegalTransition, meter};

pub(crate) use fresh::Ids;
pub(crate) use rows::{job_row, workflow_row};

/// A job by workflow index and job index.
pub(crate) type At = (usize, usize);

/// What an event changed. [`Pipeline::commit`] takes it over; [`Delta::rows`] is what to store.
#[derive(Clone, Debug, Default)]
pub struct Delta {
    pub(crate) pipeline: Option<PipelineRow>,
    pub(crate) fresh: Vec<Workflow>,
    pub(crate) jobs: BTreeMap<At, Job>,
    pub(crate) tasks: Tasks,
    pub(crate) ids: Ids,
    pub(crate) summaries: BTreeMap<usize, Summary>,
    rows: Vec<Row>,
}

impl Delta {
    /// The rows as they stand after the change; those that did not change are left out.
    pub fn rows(&self) -> Vec<Row> {
        self.rows.clone()
    }
}

/// A change in the making.
pub(crate) struct Draft<'a> {
    base: &'a Pipeline,
    pub(crate) delta: Delta,
    pub(crate) effects: Vec<Effect>,
    pub(crate) now_ms: i64,
    /// Jobs that ended and whose dependants have not heard of it.
    ended: VecDeque<At>,
    /// What was last told of workflows that changed.
    told: BTreeMap<usize, WorkflowStatus>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(base: &'a Pipeline, now_ms: i64) -> Self {
        Self {
            base,
            delta: Delta::default(),
            effects: Vec::new(),
            now_ms,
            ended: VecDeque::new(),
            told: BTreeMap::new(),
        }
    }

    /// Lets everything that follows from the change happen, and makes the rows.
    pub(crate) fn finish(mut self) -> Result<(Delta, Vec<Effect>), IllegalTransition> {
        self.settle()?;
        self.delta.rows = self.rows();
        Ok((self.delta, self.effects))
    }

    // ------------------------------------------------------------ reading

    pub(crate) fn base(&self) -> &Pipeline {
        self.base
    }

    pub(crate) fn workflow_count(&self) -> usize {
        self.base.workflows.len() + self.delta.fresh.len()
    }

    /// A workflow as it was before this change; its jobs and its summary may have moved since.
    pub(crate) fn workflow(&self, w: usize) -> Option<&Workflow> {
        let known = self.base.workflows.len();
        if w < known {
            self.base.workflows.get(w)
        } else {
            self.delta.fresh.get(w - known)
        }
    }

    /// A workflow with everything that moved in it.
    pub(crate) fn as_it_stands(&self, w: usize) -> Option<Workflow> {
        let mut workflow = self.workflow(w)?.clone();
        for (j, job) in workflow.jobs.iter_mut().enumerate() {
            if let Some(moved) = self.delta.jobs.get(&(w, j)) {
                job.clone_from(moved);
            }
        }
        workflow.summary = self.summary(w)?.clone();
        Some(workflow)
    }

    pub(crate) fn workflow_name(&self, w: usize) -> String {
        self.workflow(w)
            .and_then(Workflow::planned)
            .map_or_else(String::new, |planned| planned.name.clone())
    }

    pub(crate) fn job(&self, at: At) -> Option<&Job> {
        meter::look();
        self.delta
            .jobs
            .get(&at)
            .or_else(|| self.workflow(at.0)?.jobs.get(at.1))
    }

    fn task(&self, id: TaskId) -> Option<&TaskRow> {
        self.delta.tasks.get(id).or_else(|| self.base.tasks.get(id))
    }

    pub(crate) fn summary(&self, w: usize) -> Option<&Summary> {
        self.delta
            .summaries
            .get(&w)
            .or_else(|| Some(&self.workflow(w)?.summary))
    }

    /// What the plan says of a job.
    fn planned_job(&self, at: At) -> Option<&plan::Job> {
        self.workflow(at.0)?.planned_job(at.1)
    }

    pub(crate) fn name(&self, at: At) -> String {
        self.planned_job(at)
            .map_or_else(String::new, |job| job.name.clone())
    }

    // ------------------------------------------------------------ moving

    fn change(&mut self, at: At, change: impl FnOnce(&mut Job)) {
        let Some(job) = self.job(at) else { return };
        let mut job = job.clone();
        change(&mut job);
        self.delta.jobs.insert(at, job);
    }

    /// Says why a job may start, or never can.
    fn decide(&mut self, at: At, why: &str) {
        self.change(at, |job| job.decision = why.to_owned());
    }

    /// A job that can never start is over.
    pub(crate) fn leave_out(&mut self, at: At, why: &str) -> Result<(), IllegalTransition> {
        self.decide(at, why);
        self.move_job(at, JobMove::End(JobStatus::NotRun), why)
    }

    pub(crate) fn set_unmet(&mut self, at: At, unmet: u32) {
        self.change(at, |job| job.unmet = unmet);
    }

    pub(crate) fn change_summary(&mut self, w: usize, change: impl FnOnce(&mut Summary)) {
        let Some(summary) = self.summary(w) else {
            return;
        };
        let mut summary = summary.clone();
        change(&mut summary);
        self.delta.summaries.insert(w, summary);
    }

    /// Moves a job and keeps the tally.
    pub(crate) fn move_job(
        &mut self,
        at: At,
        how: JobMove,
        reason: impl Into<String>,
    ) -> Result<(), IllegalTransition> {
        let Some(job) = self.job(at) else {
            return Err(IllegalTransition::new("job", "unknown", "change"));
        };
        let (id, before) = (job.id, job.state.status());
        let next = job
            .state
            .next(how, self.now_ms)
            .map_err(|error| IllegalTransition {
                subject: format!("job {}", self.name(at)),
                ..error
            })?;
        let after = next.status();
        self.change(at, |job| {
            // Another node of a job that runs already says nothing new about the job.
            if std::mem::discriminant(&job.state) != std::mem::discriminant(&next) {
                job.reason = reason.into();
            }
            job.state = next;
        });
        if before == after {
            return Ok(());
        }
        self.change_summary(at.0, |summary| {
            if !planted(Mutation::TallyLeaks) {
                summary.tally.remove(before);
            }
            summary.tally.add(after);
        });
        if let Some(workflow) = self.summary(at.0).map(|summary| summary.id) {
            self.effects.push(Effect::Report { workflow, job: id });
        }
        if after.is_terminal() {
            self.leave_group(at);
            self.ended.push_back(at);
        }
        Ok(())
    }

    /// Gives the serial group back, or the place in its queue. Safe to say of a job that had neither.
    fn leave_group(&mut self, at: At) {
        let group = self
            .planned_job(at)
            .and_then(|job| job.serial_group.clone());
        let (Some(group), Some(job), Some(summary)) = (group, self.job(at), self.summary(at.0))
        else {
            return;
        };
        let effect = Effect::Release {
            group,
            workflow: summary.id,
            job: job.id,
        };
        self.effects.push(effect);
    }

    /// Moves a task of a job, and keeps the count of those that have not finished.
    pub(crate) fn move_task(
        &mut self,
        at: At,
        id: TaskId,
        how: TaskMove,
    ) -> Result<(), IllegalTransition> {
        let subject = || format!("task {id}");
        let Some(task) = self.task(id) else {
            return Err(IllegalTransition::new(subject(), "unknown", "change"));
        };
        let workflow = task.workflow;
        let state = task
            .state
            .next(how, self.now_ms)
            .map_err(|error| IllegalTransition {
                subject: subject(),
                ..error
            })?;
        let ended = matches!(state, TaskState::Finished { .. });
        let row = TaskRow {
            id,
            workflow,
            state,
        };
        self.delta.tasks.set(row);
        if ended {
            self.change(at, |job| job.live = job.live.saturating_sub(1));
        }
        Ok(())
    }
}
