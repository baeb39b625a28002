//! Whether what was asked for by name exists.

use capstan_model::Plan;
use capstan_model::plan::JobKind;
use capstan_model::trigger::Selection;

use crate::exit::Failure;

/// Checks `--workflow` and `--job`. Workflows that a `when` dropped have no jobs to look at.
///
/// # Errors
/// A name that is not in the config; lists those that are.
pub fn check(plan: &Plan, selection: &Selection) -> Result<(), Failure> {
    let workflows: Vec<&str> = plan
        .workflows
        .iter()
        .map(|workflow| &*workflow.name)
        .collect();
    for name in &selection.workflows {
        if !workflows.contains(&name.as_str()) {
            return Err(unknown("workflow", name, &workflows));
        }
    }
    let jobs: Vec<&str> = plan
        .workflows
        .iter()
        .flat_map(|workflow| &workflow.jobs)
        .map(|job| &*job.name)
        .collect();
    for name in &selection.jobs {
        if !jobs.contains(&name.as_str()) {
            return Err(unknown("job", name, &jobs));
        }
    }
    Ok(())
}

/// Checks `--approve`.
///
/// # Errors
/// A name that is no approval job; lists those that are.
pub fn check_approvals(plan: &Plan, names: &[String]) -> Result<(), Failure> {
    let approvals: Vec<String> = plan
        .workflows
        .iter()
        .flat_map(|workflow| workflow.jobs.iter().map(move |job| (workflow, job)))
        .filter(|(_, job)| job.kind == JobKind::Approval)
        .map(|(workflow, job)| format!("{}/{}", workflow.name, job.name))
        .collect();
    for name in names {
        let known = approvals.iter().any(|approval| approves(name, approval));
        if !known {
            let known: Vec<&str> = approvals.iter().map(String::as_str).collect();
            return Err(unknown("approval job", name, &known));
        }
    }
    Ok(())
}

/// Whether `name`, a job or `workflow/job`, means the approval `workflow/job`.
pub fn approves(name: &str, approval: &str) -> bool {
    approval == name
        || approval
            .strip_suffix(name)
            .is_some_and(|head| head.ends_with('/'))
}

/// A name nobody has, with those that exist.
pub fn unknown(kind: &str, name: &str, known: &[&str]) -> Failure {
    let failure = Failure::config(format!("there is no {kind} {name:?}"));
    if known.is_empty() {
        return failure.hint(format!(
            "there is no {kind} here at all; `capstan plan` says why"
        ));
    }
    let mut known = known.to_vec();
    known.dedup();
    failure.hint(format!("there is {}", known.join(", ")))
}
