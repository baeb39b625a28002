//! Why a job stands where it stands, in words for people. `capstan why` prints them.

use capstan_model::JobStatus;
use capstan_model::plan::{Job, RequiredStatus};

/// Why a job waits: what it requires, as the config says it.
pub fn waits(job: &Job) -> String {
    let list: Vec<String> = job
        .requires
        .iter()
        .map(|requirement| match requirement.statuses.as_slice() {
            [RequiredStatus::Success] => requirement.job.clone(),
            statuses if statuses.len() == RequiredStatus::ALL.len() => {
                format!("{} (terminal)", requirement.job)
            }
            statuses => {
                let words: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
                format!("{} ({})", requirement.job, words.join(" or "))
            }
        })
        .collect();
    format!("waits for {}", list.join(", "))
}

/// Why a job may start.
pub fn starts(job: &Job, forced: bool) -> String {
    match (job.requires.is_empty(), forced) {
        (true, _) => String::from("requires nothing"),
        (false, true) => String::from("asked for by name; its requirements count as met"),
        (false, false) => {
            let names: Vec<&str> = job.requires.iter().map(|r| r.job.as_str()).collect();
            format!("{} ended as required", names.join(", "))
        }
    }
}

/// Why a job of a rerun can never start.
pub fn not_here(required: &str) -> String {
    format!("{required} is not part of this rerun")
}

/// Why a job with a serial group is left out.
pub const SUPERSEDED: &str = "a job of a newer pipeline has its serial group, or waits for it";

/// Why a job can never start.
pub fn never(required: &str, status: JobStatus) -> String {
    format!("{required} ended {}", status.as_str())
}
