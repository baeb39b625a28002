//! The built-in steps, one file each.

pub(crate) mod checkout;
pub(crate) mod continuation;
pub(crate) mod run;

use capstan_model::StepStatus;

/// How a step ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// How.
    pub(crate) status: StepStatus,
    /// Exit code of a `run` step.
    pub(crate) exit_code: Option<i32>,
    /// Why it did not succeed.
    pub(crate) reason: Option<String>,
    /// Whether the job's time is over.
    pub(crate) late: bool,
}

impl Ended {
    /// Well.
    pub(crate) fn well() -> Self {
        Self {
            status: StepStatus::Success,
            exit_code: None,
            reason: None,
            late: false,
        }
    }

    /// Because the runner asked for it.
    pub(crate) fn canceled() -> Self {
        Self {
            status: StepStatus::Canceled,
            exit_code: None,
            reason: Some(String::from("Canceled")),
            late: false,
        }
    }

    /// Because the job's time is over.
    pub(crate) fn late() -> Self {
        Self {
            status: StepStatus::Timedout,
            exit_code: None,
            reason: Some(String::from("The job ran longer than it may")),
            late: true,
        }
    }

    /// Badly, for a reason that is not an exit code.
    pub(crate) fn badly(reason: impl Into<String>) -> Self {
        let reason = Some(reason.into());
        Self {
            status: StepStatus::Failed,
            exit_code: None,
            reason,
            late: false,
        }
    }
}
