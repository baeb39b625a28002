//! What a rerun is, said again from the rows alone: which jobs stand in the new workflow, which of them
//! are new, and which of their requirements count as met. Platform 4.1 and 4.3, without the engine's means.

use std::collections::{BTreeMap, BTreeSet};

use capstan_engine::event::RerunScope;
use capstan_engine::{JobRow, WorkflowRow};
use capstan_model::plan;
use capstan_model::{JobStatus, WorkflowStatus};

/// What a job of the new workflow is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whether it is a new job, or the old one as it ended.
    pub new: bool,
    /// Jobs that it requires by the config and that count as met here.
    pub forgiven: BTreeSet<String>,
}

/// The jobs of the new workflow by name; an error is why there is none. `forgiven` is what counted as met
/// in the old workflow.
pub fn rerun(
    old: &WorkflowRow,
    jobs: &[&JobRow],
    planned: &plan::Workflow,
    scope: &RerunScope,
    forgiven: impl Fn(&JobRow) -> BTreeSet<String>,
) -> Result<BTreeMap<String, Part>, &'static str> {
    let anew = match scope {
        RerunScope::FromStart => jobs.iter().map(|job| job.name.as_str()).collect(),
        RerunScope::FromFailed => from_failed(old, jobs)?,
        RerunScope::Jobs {
            jobs: chosen,
            with_downstream,
        } => {
            let known = chosen.iter().all(|id| jobs.iter().any(|job| job.id == *id));
            if chosen.is_empty() || !known {
                return Err("names no job of the workflow");
            }
            some(jobs, planned, &named(jobs, scope), *with_downstream)
        }
    };
    let named = named(jobs, scope);
    let mut parts = BTreeMap::new();
    for job in jobs {
        let new = anew.contains(job.name.as_str());
        if !new && !job.status.is_terminal() && matches!(scope, RerunScope::Jobs { .. }) {
            continue;
        }
        // What counted as met because it was not there still is not there.
        let mut met = forgiven(job);
        met.retain(|name| jobs.iter().all(|job| job.name != *name));
        if named.contains(job.name.as_str()) {
            let others = requires(planned, &job.name)
                .iter()
                .map(|one| one.job.clone());
            met.extend(others.filter(|one| !anew.contains(one.as_str())));
        }
        parts.insert(job.name.clone(), Part { new, forgiven: met });
    }
    Ok(parts)
}

fn named<'a>(jobs: &[&'a JobRow], scope: &RerunScope) -> BTreeSet<&'a str> {
    let RerunScope::Jobs { jobs: chosen, .. } = scope else {
        return BTreeSet::new();
    };
    let named = jobs.iter().filter(|job| chosen.contains(&job.id));
    named.map(|job| job.name.as_str()).collect()
}

fn requires<'a>(planned: &'a plan::Workflow, name: &str) -> &'a [plan::Requirement] {
    let job = planned.jobs.iter().find(|job| job.name == name);
    job.map_or(&[], |job| job.requires.as_slice())
}

/// Everything that did not succeed.
fn from_failed<'a>(
    old: &WorkflowRow,
    jobs: &[&'a JobRow],
) -> Result<BTreeSet<&'a str>, &'static str> {
    if !old.status.is_terminal() {
        return Err("not over");
    }
    if matches!(old.status, WorkflowStatus::Success | WorkflowStatus::NotRun) {
        return Err("nothing failed");
    }
    let anew: BTreeSet<&str> = jobs
        .iter()
        .filter(|job| job.status != JobStatus::Success)
        .map(|job| job.name.as_str())
        .collect();
    if anew.is_empty() {
        return Err("nothing is left to do");
    }
    Ok(anew)
}

/// The named ones, and those that require one that runs again, until nothing is added.
fn some<'a>(
    jobs: &[&'a JobRow],
    planned: &plan::Workflow,
    named: &BTreeSet<&'a str>,
    with_downstream: bool,
) -> BTreeSet<&'a str> {
    let mut again = named.clone();
    loop {
        let before = again.len();
        for job in jobs {
            let follows = |one: &plan::Requirement| again.contains(one.job.as_str());
            if with_downstream && requires(planned, &job.name).iter().any(follows) {
                again.insert(job.name.as_str());
            }
        }
        if again.len() == before {
            return again;
        }
    }
}

/// Whether a workflow that ended runs again by itself.
pub fn runs_again(row: &WorkflowRow) -> bool {
    let asked_for = row.rerun_of.is_some() && row.auto_rerun_number.is_none();
    row.status == WorkflowStatus::Failed
        && !asked_for
        && row.auto_rerun_number.unwrap_or(0) < row.max_auto_reruns
}
