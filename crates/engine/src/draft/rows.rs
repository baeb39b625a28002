//! The rows that a change touched.

use capstan_model::PipelineId;
use capstan_model::plan::{self, JobKind};

use super::{At, Draft};
use crate::job::{Job, JobState};
use crate::rows::{JobRow, Row, TaskRow, WorkflowRow};
use crate::workflow::{Summary, Workflow};

impl Draft<'_> {
    pub(super) fn rows(&self) -> Vec<Row> {
        let known = self.base.workflows.len();
        let mut rows: Vec<Row> = self
            .delta
            .pipeline
            .clone()
            .map(Row::Pipeline)
            .into_iter()
            .collect();
        for w in known..self.workflow_count() {
            rows.extend(self.workflow_row(w).map(Row::Workflow));
        }
        for (&w, _) in self.delta.summaries.range(..known) {
            let row = self.workflow_row(w);
            if row != self.base.workflow_row(w) {
                rows.extend(row.map(Row::Workflow));
            }
        }
        for w in known..self.workflow_count() {
            let jobs = self.workflow(w).map_or(0, |workflow| workflow.jobs.len());
            for j in 0..jobs {
                self.job_rows((w, j), &mut rows);
            }
        }
        for (&at, _) in self.delta.jobs.range(..(known, 0)) {
            self.job_rows(at, &mut rows);
        }
        let changed = |row: &&TaskRow| self.base.tasks.get(row.id) != Some(*row);
        rows.extend(
            self.delta
                .tasks
                .iter()
                .filter(changed)
                .cloned()
                .map(Row::Task),
        );
        rows
    }

    fn workflow_row(&self, w: usize) -> Option<WorkflowRow> {
        workflow_row(self.base.id(), self.workflow(w)?, self.summary(w)?)
    }

    fn job_rows(&self, at: At, rows: &mut Vec<Row>) {
        let (Some(job), Some(summary), Some(planned)) =
            (self.job(at), self.summary(at.0), self.planned_job(at))
        else {
            return;
        };
        let row = job_row(summary, at.1, planned, job);
        let before = self
            .base
            .workflows
            .get(at.0)
            .and_then(|workflow| workflow.jobs.get(at.1));
        if before.is_none() || self.base.job_row(at).as_ref() != Some(&row) {
            rows.push(Row::Job(row));
        }
    }
}

pub(crate) fn workflow_row(
    pipeline: PipelineId,
    workflow: &Workflow,
    summary: &Summary,
) -> Option<WorkflowRow> {
    let planned = workflow.planned()?;
    Some(WorkflowRow {
        id: summary.id,
        pipeline,
        plan: workflow.plan.digest.clone(),
        setup: workflow.plan.plan.setup,
        name: planned.name.clone(),
        ordinal: summary.ordinal,
        status: summary.status(),
        rerun_of: summary.rerun_of,
        auto_rerun_number: workflow.auto_rerun,
        max_auto_reruns: planned.max_auto_reruns,
        started_by: summary.started_by.clone(),
        canceled_by: summary.canceled_by.clone(),
        created_at_ms: summary.created_at_ms,
        stopped_at_ms: summary.stopped_at_ms,
    })
}

pub(crate) fn job_row(summary: &Summary, index: usize, planned: &plan::Job, job: &Job) -> JobRow {
    let (started_at_ms, stopped_at_ms) = match &job.state {
        JobState::Running { started_at_ms } => (Some(*started_at_ms), None),
        JobState::Ended {
            started_at_ms,
            stopped_at_ms,
            ..
        } => (*started_at_ms, Some(*stopped_at_ms)),
        _ => (None, None),
    };
    let (kind, parallelism) = match &planned.kind {
        JobKind::Build(build) => ("build", build.parallelism.max(1)),
        JobKind::Approval => ("approval", 1),
        JobKind::NoOp => ("no-op", 1),
    };
    JobRow {
        id: job.id,
        workflow: summary.id,
        carried_from: job.carried_from,
        name: planned.name.clone(),
        ordinal: u32::try_from(index).unwrap_or(u32::MAX),
        kind: kind.to_owned(),
        parallelism,
        status: job.state.status(),
        reason: job.reason.clone(),
        decision: job.decision.clone(),
        approved_by: job.approved_by.clone(),
        started_at_ms,
        stopped_at_ms,
    }
}
