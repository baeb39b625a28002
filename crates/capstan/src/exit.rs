//! How a command ends: one type turns what went wrong into an exit code and a hint.

use std::fmt;
use std::process::ExitCode;

/// The exit codes, as the help text lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Everything that was asked for happened.
    Success,
    /// A job failed.
    JobFailed,
    /// The config or the arguments are wrong.
    Config,
    /// This machine lacks something.
    Setup,
    /// An approval waits that nobody gave.
    OnHold,
    /// Canceled by Ctrl-C.
    Canceled,
}

impl Code {
    /// The number the process ends with.
    pub fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::JobFailed => 1,
            Self::Config => 2,
            Self::Setup => 3,
            Self::OnHold => 4,
            Self::Canceled => 130,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

/// Why a command could not do what it was asked, sorted by what the reader does next.
#[derive(Debug)]
pub struct Failure {
    /// What the process ends with.
    pub code: Code,
    /// What is wrong; empty when it has been said already.
    pub message: String,
    /// What to do.
    pub hints: Vec<String>,
}

impl Failure {
    /// The config or the arguments are wrong.
    pub fn config(message: impl Into<String>) -> Self {
        Self {
            code: Code::Config,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// This machine lacks something.
    pub fn setup(message: impl Into<String>) -> Self {
        Self {
            code: Code::Setup,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// The reader has been told, by diagnostics for instance.
    pub fn told(code: Code) -> Self {
        Self {
            code,
            message: String::new(),
            hints: Vec::new(),
        }
    }

    /// Adds a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return Ok(());
        }
        writeln!(f, "error: {}", self.message)?;
        for hint in &self.hints {
            writeln!(f, "  help: {hint}")?;
        }
        Ok(())
    }
}
