//! What becomes of each workflow and job, and the clause that decided it: the one text `plan` and `why`
//! share.

use capstan_model::Plan;
use capstan_model::plan::{Decision, Job, JobKind, RequiredStatus, Workflow};
use serde::Serialize;

/// A verdict. `capstan plan --json` prints these, one a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The workflow.
    pub workflow: String,
    /// The job, `None` for the workflow's own verdict.
    pub job: Option<String>,
    /// What becomes of it.
    pub verdict: Word,
    /// Why, in words.
    pub reason: String,
    /// The clause that decided, as written.
    pub clause: Option<String>,
    /// The value the clause was held against.
    pub value: Option<String>,
    /// The file of the clause, or of the workflow or job.
    pub file: String,
    /// The line there.
    pub line: u32,
}

/// What becomes of a workflow or job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Starts at once.
    Runs,
    /// Takes part, after something else.
    Waits,
    /// Takes no part.
    Skipped,
}

impl Word {
    /// The word itself.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Waits => "waits",
            Self::Skipped => "skipped",
        }
    }
}

/// Every workflow of a plan, each followed by its jobs.
pub fn all(plan: &Plan) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for workflow in &plan.workflows {
        verdicts.push(of_workflow(plan, workflow));
        verdicts.extend(workflow.jobs.iter().map(|job| of_job(plan, workflow, job)));
    }
    verdicts
}

fn of_workflow(plan: &Plan, workflow: &Workflow) -> Verdict {
    let word = if workflow.decision.runs {
        Word::Runs
    } else {
        Word::Skipped
    };
    let reason = workflow.decision.reason.clone();
    verdict(plan, workflow, None, word, reason, &workflow.decision)
}

/// The verdict of one job.
pub fn of_job(plan: &Plan, workflow: &Workflow, job: &Job) -> Verdict {
    let decided = &job.decision;
    let mut waits = Vec::new();
    if workflow.decision.runs && decided.runs {
        if !job.requires.is_empty() {
            waits.push(format!("after {}", requirements(job)));
        }
        if job.kind == JobKind::Approval {
            waits.push(String::from("until somebody approves it"));
        }
    }
    let (word, reason) = if !(workflow.decision.runs && decided.runs) {
        (Word::Skipped, decided.reason.clone())
    } else if waits.is_empty() {
        (Word::Runs, decided.reason.clone())
    } else {
        (
            Word::Waits,
            format!("{}; {}", waits.join(", "), decided.reason),
        )
    };
    verdict(plan, workflow, Some(&job.name), word, reason, decided)
}

/// `build, test (failed or canceled)`.
fn requirements(job: &Job) -> String {
    let one = |requirement: &capstan_model::plan::Requirement| {
        let statuses = &requirement.statuses;
        if statuses.as_slice() == [RequiredStatus::Success] {
            return requirement.job.clone();
        }
        if RequiredStatus::ALL
            .iter()
            .all(|status| statuses.contains(status))
        {
            return format!("{} (however it ends)", requirement.job);
        }
        let words: Vec<_> = statuses.iter().map(|status| status.as_str()).collect();
        format!("{} ({})", requirement.job, words.join(" or "))
    };
    job.requires.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn verdict(
    plan: &Plan,
    workflow: &Workflow,
    job: Option<&str>,
    word: Word,
    reason: String,
    decided: &Decision,
) -> Verdict {
    let at = plan.origins.locate(decided.span);
    Verdict {
        workflow: workflow.name.clone(),
        job: job.map(str::to_owned),
        verdict: word,
        reason,
        clause: decided.clause.clone(),
        value: decided.value.clone(),
        file: at.file,
        line: at.line,
    }
}
