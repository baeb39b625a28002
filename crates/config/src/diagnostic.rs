//! What is wrong, where, and how to mend it: data first, drawn for a terminal or as JSON.

use capstan_model::Span;

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
    /// `E_…`, `W_…` or `U_…` (language 17); stable.
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
    /// Outermost first: `calling workflow 'w'`, `calling job 'j'`, … with the place of each call.
    pub origin: Vec<(String, Span)>,
}
