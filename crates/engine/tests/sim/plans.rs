//! Plans of every shape: chains, fans, approvals, no-ops, parallel jobs, serial groups, odd requirements.

use capstan_model::Plan;
use capstan_model::plan::{
    BuildJob, Decision, Executor, Job, JobKind, RequiredStatus, Requirement, Workflow,
};
use capstan_model::source::{FileId, OriginId, Span};

use crate::rng::Rng;

/// A plan with one or two workflows of a few jobs each.
pub fn random(rng: &mut Rng) -> Plan {
    let workflows = (0..=rng.below(2)).map(|w| workflow(rng, w)).collect();
    Plan {
        workflows,
        ..Plan::default()
    }
}

fn workflow(rng: &mut Rng, w: usize) -> Workflow {
    let count = 1 + rng.below(7);
    let jobs = (0..count).map(|j| job(rng, j)).collect();
    Workflow {
        name: format!("w{w}"),
        decision: decision(true),
        jobs,
        max_auto_reruns: 0,
        origin: OriginId(0),
    }
}

fn job(rng: &mut Rng, j: usize) -> Job {
    let kind = match rng.below(10) {
        0 | 1 => JobKind::Approval,
        2 => JobKind::NoOp,
        _ => JobKind::Build(Box::new(build(rng))),
    };
    let mut requires = Vec::new();
    for earlier in 0..j {
        if rng.chance(35) {
            requires.push(Requirement {
                job: format!("j{earlier}"),
                statuses: statuses(rng),
            });
        }
    }
    let serial_group =
        (matches!(kind, JobKind::Build(_)) && rng.chance(15)).then(|| String::from("g"));
    Job {
        name: format!("j{j}"),
        kind,
        decision: decision(true),
        requires,
        contexts: Vec::new(),
        serial_group,
        origin: OriginId(0),
    }
}

fn build(rng: &mut Rng) -> BuildJob {
    BuildJob {
        executor: Executor::Machine {
            image: None,
            docker_layer_caching: false,
        },
        resource_class: None,
        shell: None,
        working_directory: String::new(),
        environment: Vec::new(),
        parallelism: if rng.chance(25) {
            2 + rng.below(2) as u32
        } else {
            1
        },
        steps: Vec::new(),
    }
}

fn statuses(rng: &mut Rng) -> Vec<RequiredStatus> {
    match rng.below(10) {
        0 => vec![RequiredStatus::Failed],
        1 => vec![RequiredStatus::Success, RequiredStatus::Canceled],
        2 => RequiredStatus::ALL.to_vec(),
        3 => vec![RequiredStatus::NotRun, RequiredStatus::Success],
        _ => vec![RequiredStatus::Success],
    }
}

fn decision(runs: bool) -> Decision {
    Decision {
        runs,
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
