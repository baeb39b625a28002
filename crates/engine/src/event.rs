//! Everything that can happen to a pipeline. Ids of new things ride in the event.

use std::collections::BTreeMap;
use std::sync::Arc;

use capstan_model::plan::Plan;
use capstan_model::trigger::ParameterValue;
use capstan_model::{Digest, JobId, RunnerId, TaskId, TaskOutcome, Trigger, WorkflowId};
use serde::{Deserialize, Serialize};

/// An event. What is stored is its JSON; a plan is stored by digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A trigger was compiled. The first event of a pipeline.
    Planned {
        /// Why the pipeline exists.
        trigger: Box<Trigger>,
        /// What is to be done.
        plan: PlanRef,
        /// The sources as one pinned blob (a tar), when some job checks them out.
        source: Option<Digest>,
        /// An id for each workflow of the plan that runs, in plan order, with one for each job of it
        /// that takes part, in plan order.
        workflows: Vec<NewWorkflow>,
    },
    /// A trigger could not be compiled. The first and last event of its pipeline.
    Rejected {
        /// Why the pipeline exists.
        trigger: Box<Trigger>,
        /// What is wrong, one text a mistake.
        errors: Vec<String>,
    },
    /// A job of a setup pipeline said how it continues (language 14): one more plan, once. An event of its
    /// own and not a second `Planned`, so that a first event that comes twice is never taken for it.
    Continued {
        /// What the setup config passed on, besides the parameters of the trigger.
        parameters: BTreeMap<String, ParameterValue>,
        /// What is to be done.
        plan: PlanRef,
        /// The sources as one pinned blob, when some job of this plan checks them out.
        source: Option<Digest>,
        /// As in `Planned`.
        workflows: Vec<NewWorkflow>,
    },
    /// What a job of a setup pipeline continued with could not be compiled; the pipeline is errored, while
    /// its setup workflow goes on.
    ContinuationRejected {
        /// What the setup config passed on.
        parameters: BTreeMap<String, ParameterValue>,
        /// What is wrong, one text a mistake.
        errors: Vec<String>,
    },
    /// A runner took a task.
    Claimed {
        /// The task.
        task: TaskId,
        /// Who took it.
        runner: RunnerId,
        /// Number of this claim, higher than any before it for the task.
        lease_epoch: u64,
        /// When the lease ends unless renewed.
        lease_until_ms: i64,
    },
    /// The agent took the task.
    TaskStarted {
        /// The task.
        task: TaskId,
        /// The epoch of the claim; another one is stale.
        lease_epoch: u64,
    },
    /// The runner said how a task ended.
    TaskFinished {
        /// The task.
        task: TaskId,
        /// The epoch of the claim; another one is stale.
        lease_epoch: u64,
        /// How it ended.
        outcome: TaskOutcome,
    },
    /// A timer asked for by [`crate::Effect::SetTimer`] went off.
    TimerFired {
        /// Which.
        timer: Timer,
    },
    /// Somebody approved an approval job.
    Approved {
        /// The workflow.
        workflow: WorkflowId,
        /// The job.
        job: JobId,
        /// Who.
        actor: String,
    },
    /// Somebody asked to cancel. First phase: nothing ends by it that is running.
    CancelAsked {
        /// What.
        scope: CancelScope,
        /// Who.
        actor: String,
    },
    /// The store gave a serial group to a job.
    Granted {
        /// The workflow.
        workflow: WorkflowId,
        /// The job.
        job: JobId,
    },
    /// The store refused a serial group to a job: one of a newer pipeline of the project has it or waits
    /// for it (platform 4.6).
    Superseded {
        /// The workflow.
        workflow: WorkflowId,
        /// The job.
        job: JobId,
    },
    /// Somebody asked for jobs to run again, in a new workflow.
    Rerun {
        /// The workflow to run again.
        of: WorkflowId,
        /// How much of it.
        scope: RerunScope,
        /// The new workflow; one new id for each job of `of`, in order. Jobs carried over keep their
        /// old id and leave their new one unused.
        new: NewWorkflow,
        /// Who.
        actor: String,
    },
}

impl Event {
    /// The plan it brings; whoever reads a stored event puts the plan itself back there.
    pub fn plan_mut(&mut self) -> Option<&mut PlanRef> {
        match self {
            Self::Planned { plan, .. } | Self::Continued { plan, .. } => Some(plan),
            _ => None,
        }
    }
}

/// Ids for a workflow about to exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewWorkflow {
    /// The workflow.
    pub id: WorkflowId,
    /// Its jobs, in order.
    pub jobs: Vec<JobId>,
    /// Ids for each automatic rerun that the config allows, so that one can follow in the very change that
    /// ends the workflow failed. Empty in a rerun that somebody asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auto_reruns: Vec<NewWorkflow>,
}

/// A plan by its digest. Only the digest is stored; whoever replays a stored event puts the plan back
/// before applying it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanRef {
    /// Content address of the plan's JSON.
    pub digest: Digest,
    /// The plan itself; `None` straight after reading a stored event.
    #[serde(skip)]
    pub plan: Option<Arc<Plan>>,
}

impl PartialEq for PlanRef {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// Timers the engine asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Timer {
    /// A claim was not renewed in time.
    Lease {
        /// The task.
        task: TaskId,
        /// The claim.
        lease_epoch: u64,
    },
    /// A canceled task did not confirm its end in time.
    CancelGrace {
        /// The task.
        task: TaskId,
        /// The claim.
        lease_epoch: u64,
    },
}

/// What to cancel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CancelScope {
    /// Every workflow of the pipeline.
    Pipeline,
    /// One workflow.
    Workflow {
        /// Which.
        workflow: WorkflowId,
    },
    /// One job.
    Job {
        /// Its workflow.
        workflow: WorkflowId,
        /// Which.
        job: JobId,
    },
}

/// How much of a workflow runs again (platform 4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RerunScope {
    /// Everything.
    FromStart,
    /// What did not succeed, and what was blocked behind it. Only of a workflow that is over and did not
    /// end well: one that succeeded has nothing to run again from, though some of its jobs never ran.
    FromFailed,
    /// These jobs, in whatever state they are.
    Jobs {
        /// Which, by id in the old workflow.
        jobs: Vec<JobId>,
        /// Whether what follows them runs again too, when its requirements end as they should. What the
        /// chosen jobs require and does not run again counts as met. Every other job is carried over as
        /// it ended, or left out if it never did; what is left out counts as `not_run` for those that
        /// follow, so that an approval nobody gave is not passed over, in this rerun or in reruns of it.
        with_downstream: bool,
    },
}
