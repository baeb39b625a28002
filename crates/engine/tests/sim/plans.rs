//! Plans of every shape: chains, fans, approvals, no-ops, parallel jobs, serial groups, odd requirements,
//! automatic reruns.

use capstan_model::Plan;
use capstan_model::plan::{Job, JobKind, RequiredStatus, Workflow};

use crate::make;
use crate::rng::Rng;

/// A plan with one or two workflows of a few jobs each; some are of a setup config, which has one.
pub fn random(rng: &mut Rng) -> Plan {
    if rng.chance(25) {
        return Plan {
            setup: true,
            ..make::plan(vec![workflow(rng, 0)])
        };
    }
    continuation(rng)
}

/// What a pipeline continues with. Its workflows may be called as those of the setup config.
pub fn continuation(rng: &mut Rng) -> Plan {
    make::plan((0..=rng.below(2)).map(|w| workflow(rng, w)).collect())
}

fn workflow(rng: &mut Rng, w: usize) -> Workflow {
    let count = 1 + rng.below(7);
    let mut workflow = make::workflow(&format!("w{w}"), (0..count).map(|j| job(rng, j)).collect());
    if rng.chance(25) {
        workflow.max_auto_reruns = 1 + rng.below(2) as u32;
    }
    workflow
}

fn job(rng: &mut Rng, j: usize) -> Job {
    let kind = match rng.below(10) {
        0 | 1 => JobKind::Approval,
        2 => JobKind::NoOp,
        _ if rng.chance(25) => make::build(2 + rng.below(2) as u32),
        _ => make::build(1),
    };
    let grouped = matches!(kind, JobKind::Build(_)) && rng.chance(15);
    let mut job = make::job(&format!("j{j}"), kind);
    for earlier in 0..j {
        let mut percent = 35;
        // Now and then the same job twice.
        while rng.chance(percent) {
            let statuses = statuses(rng);
            let name = format!("j{earlier}");
            job.requires.push(make::requires(&name, &statuses));
            percent = 5;
        }
    }
    job.serial_group = grouped.then(|| String::from("g"));
    job
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
