//! A workflow's status, computed from its jobs (platform 1.4).

use std::sync::Arc;

use capstan_model::{Digest, JobStatus, Plan, WorkflowId, WorkflowStatus, plan};

use crate::event::NewWorkflow;
use crate::graph::Graph;
use crate::job::Job;

/// A workflow of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Workflow {
    /// The plan it is of; a pipeline that was continued has workflows of two.
    pub plan: Arc<Pinned>,
    /// The part that stands still.
    pub graph: Arc<Graph>,
    /// Its index in the plan.
    pub planned: usize,
    /// One job a node of the graph.
    pub jobs: Vec<Job>,
    /// The rest.
    pub summary: Summary,
    /// Which automatic rerun it is, from 1.
    pub auto_rerun: Option<u32>,
    /// Ids for the automatic reruns that the config allows, in order; none for a workflow that somebody
    /// asked to run again.
    pub spare: Arc<[NewWorkflow]>,
}

/// A plan with its address.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// Content address of its JSON.
    pub digest: Digest,
    /// What is to be done.
    pub plan: Arc<Plan>,
}

impl PartialEq for Pinned {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Workflow {
    /// What the plan says of it.
    pub fn planned(&self) -> Option<&plan::Workflow> {
        self.plan.plan.workflows.get(self.planned)
    }

    /// What the plan says of one of its jobs.
    pub fn planned_job(&self, j: usize) -> Option<&plan::Job> {
        let place = self.graph.nodes.get(j)?.planned;
        self.planned()?.jobs.get(place)
    }
}

/// The moving part of a workflow besides its jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its id.
    pub id: WorkflowId,
    /// Order of creation in the pipeline.
    pub ordinal: u32,
    /// The workflow it runs again.
    pub rerun_of: Option<WorkflowId>,
    /// Who started it.
    pub started_by: String,
    /// Who asked to cancel all of it.
    pub canceled_by: Option<String>,
    /// When it was made.
    pub created_at_ms: i64,
    /// When its last job ended.
    pub stopped_at_ms: Option<i64>,
    /// How many jobs stand where.
    pub tally: Tally,
}

/// How many jobs stand where. Kept with every move, so that a status costs the same in a workflow of two
/// thousand jobs as in one of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    blocked: u32,
    on_hold: u32,
    moving: u32,
    success: u32,
    failed: u32,
    canceled: u32,
    unauthorized: u32,
    not_run: u32,
}

impl Tally {
    /// Counts a job in.
    pub fn add(&mut self, status: JobStatus) {
        *self.slot(status) += 1;
    }

    /// Counts a job out again.
    pub fn remove(&mut self, status: JobStatus) {
        *self.slot(status) -= 1;
    }

    fn slot(&mut self, status: JobStatus) -> &mut u32 {
        match status {
            JobStatus::Blocked => &mut self.blocked,
            JobStatus::OnHold => &mut self.on_hold,
            JobStatus::Queued | JobStatus::NotRunning | JobStatus::Running => &mut self.moving,
            JobStatus::Success | JobStatus::Retried => &mut self.success,
            JobStatus::Failed
            | JobStatus::Timedout
            | JobStatus::InfrastructureFail
            | JobStatus::TerminatedUnknown => &mut self.failed,
            JobStatus::Canceled => &mut self.canceled,
            JobStatus::Unauthorized => &mut self.unauthorized,
            JobStatus::NotRun => &mut self.not_run,
        }
    }

    fn live(&self) -> u32 {
        self.blocked + self.on_hold + self.moving
    }
}

impl Summary {
    /// A workflow without jobs yet.
    pub fn new(
        id: WorkflowId,
        ordinal: u32,
        rerun_of: Option<WorkflowId>,
        started_by: &str,
        created_at_ms: i64,
    ) -> Self {
        Self {
            id,
            ordinal,
            rerun_of,
            started_by: started_by.to_owned(),
            canceled_by: None,
            created_at_ms,
            stopped_at_ms: None,
            tally: Tally::default(),
        }
    }

    /// The status by the algorithm of platform 1.4.
    pub fn status(&self) -> WorkflowStatus {
        let tally = &self.tally;
        let failed = tally.failed > 0;
        let unauthorized = tally.unauthorized > 0;
        if tally.live() > 0 {
            return match () {
                () if failed || unauthorized => WorkflowStatus::Failing,
                () if tally.moving > 0 || tally.on_hold == 0 => WorkflowStatus::Running,
                () => WorkflowStatus::OnHold,
            };
        }
        match () {
            () if self.canceled_by.is_some() => WorkflowStatus::Canceled,
            () if unauthorized => WorkflowStatus::Unauthorized,
            () if failed => WorkflowStatus::Failed,
            () if tally.canceled > 0 => WorkflowStatus::Canceled,
            () if tally.success == 0 => WorkflowStatus::NotRun,
            () => WorkflowStatus::Success,
        }
    }
}
