//! What is wrong, where, and how to mend it: data first. [`Report`] brings it to a reader: drawn under the
//! source for a terminal, as JSON, or as SARIF.

use capstan_model::Span;

mod advice;
mod draw;
mod lines;
mod mend;
mod nearest;
mod sarif;

pub(crate) use advice::advise;
pub use draw::Look;
pub use lines::{Place, Report};
pub use mend::{Mend, WITHOUT_QUOTES, did_you_mean, in_quotes};
pub use nearest::nearest;
pub use sarif::sarif;

use crate::sources::Sources;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It compiles, and may surprise.
    Warning,
    /// It is right, and this version cannot execute it yet: `validate` passes, `plan` and `run` refuse.
    Unsupported,
    /// No plan.
    Error,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// `E_…`, `W_…` or `U_…`, explained in [`codes`](crate::codes); stable.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// The text a person would point at.
    pub span: Span,
    /// What to write under `span`, may be empty.
    pub label: String,
    /// Other places that matter, with what to say there.
    pub labels: Vec<(Span, String)>,
    /// How to mend it, one entry a way.
    pub help: Vec<String>,
    /// The exact text that mends it, where there is one; the first help says it in words. Helps in the words of [`did_you_mean`],
    /// [`in_quotes`] and [`WITHOUT_QUOTES`] need not say it again; see [`Report::mend`].
    pub mend: Option<Mend>,
    /// Outermost first: `calling workflow: 'w'`, `calling job: 'j'`, … with the place of each call.
    pub origin: Vec<(String, Span)>,
}

impl Diagnostic {
    pub(crate) fn new(code: &'static str, severity: Severity, message: String, span: Span) -> Self {
        let label = String::new();
        Self {
            code,
            severity,
            message,
            span,
            label,
            labels: vec![],
            help: vec![],
            mend: None,
            origin: vec![],
        }
    }

    /// An error without labels or help.
    pub fn error(code: &'static str, message: String, span: Span) -> Self {
        Self::new(code, Severity::Error, message, span)
    }

    /// Something this version does not do, named.
    pub fn unsupported(code: &'static str, message: String, span: Span) -> Self {
        Self::new(code, Severity::Unsupported, message, span)
    }

    /// As JSON, with `file`, `line` and `column` (both from 1) for every place. For more than one finding,
    /// [`Report::json`] counts lines once.
    pub fn to_json(&self, sources: &Sources) -> serde_json::Value {
        Report::new(sources).json(self)
    }

    /// Drawn under the source line, without what a terminal could take for a command. For more than one
    /// finding, [`Report::draw`] counts lines once.
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let look = Look {
            color,
            ..Look::default()
        };
        Report::new(sources).draw(self, look)
    }
}

impl Severity {
    /// The word shown to people and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Unsupported => "unsupported",
            Self::Error => "error",
        }
    }
}
