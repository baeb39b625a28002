//! Plans and triggers, made by hand: no compiler here.

use std::sync::Arc;

use capstan_engine::event::PlanRef;
use capstan_model::plan::{
    BuildJob, Decision, Executor, Job, JobKind, RequiredStatus, Requirement, Workflow,
};
use capstan_model::source::{FileId, OriginId, Span};
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};
use capstan_model::{Digest, PipelineId, Plan, Trigger};

/// A plan of these workflows.
pub fn plan(workflows: Vec<Workflow>) -> Plan {
    Plan {
        workflows,
        ..Plan::default()
    }
}

/// A workflow of these jobs.
pub fn workflow(name: &str, jobs: Vec<Job>) -> Workflow {
    Workflow {
        name: name.to_owned(),
        decision: decision(),
        jobs,
        max_auto_reruns: 0,
        origin: OriginId(0),
    }
}

/// A job that requires nothing.
pub fn job(name: &str, kind: JobKind) -> Job {
    Job {
        name: name.to_owned(),
        kind,
        decision: decision(),
        requires: Vec::new(),
        contexts: Vec::new(),
        serial_group: None,
        origin: OriginId(0),
    }
}

/// A job of so many nodes.
pub fn build(parallelism: u32) -> JobKind {
    JobKind::Build(Box::new(BuildJob {
        executor: Executor::Machine {
            image: None,
            docker_layer_caching: false,
        },
        resource_class: None,
        shell: None,
        working_directory: String::new(),
        environment: Vec::new(),
        parallelism,
        origins: Vec::new(),
        steps: Vec::new(),
    }))
}

/// A requirement.
pub fn requires(job: &str, statuses: &[RequiredStatus]) -> Requirement {
    Requirement {
        job: job.to_owned(),
        statuses: statuses.to_vec(),
    }
}

fn decision() -> Decision {
    Decision {
        runs: true,
        reason: String::new(),
        clause: None,
        value: None,
        span: Span {
            file: FileId(0),
            start: 0,
            end: 0,
        },
    }
}

/// A plan as an event carries it; `n` makes its digest.
pub fn plan_ref(plan: &Arc<Plan>, n: u8) -> PlanRef {
    let Ok(digest) = Digest::try_from(format!("{n:064x}")) else {
        unreachable!("64 hex digits")
    };
    PlanRef {
        digest,
        plan: Some(Arc::clone(plan)),
    }
}

/// A trigger by ann.
pub fn trigger(pipeline: PipelineId) -> Trigger {
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
