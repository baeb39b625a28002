//! What is wrong, where, and how to mend it: data first, drawn for a terminal or as JSON.

use capstan_model::Span;
use capstan_model::source::line_column;

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

    /// As JSON, with `file`, `line` and `column` (both from 1) for every place.
    pub fn to_json(&self, sources: &Sources) -> serde_json::Value {
        let place = |span: Span| {
            let (name, text) = sources
                .get(span.file)
                .map_or(("?", ""), |file| (file.name.as_str(), file.text.as_str()));
            let (line, column) = line_column(text, span.start);
            let (end_line, end_column) = line_column(text, span.end);
            (name.to_owned(), line, column, end_line, end_column)
        };
        let (file, line, column, end_line, end_column) = place(self.span);
        let labels = self.labels.iter().map(|(span, message)| {
            let (file, line, column, end_line, end_column) = place(*span);
            serde_json::json!({"message": message, "file": file, "line": line, "column": column,
                "end_line": end_line, "end_column": end_column})
        });
        let origin = self.origin.iter().map(|(message, span)| {
            let (file, line, column, ..) = place(*span);
            serde_json::json!({"message": message, "file": file, "line": line, "column": column})
        });
        serde_json::json!({"code": self.code, "severity": self.severity.as_str(),
            "message": self.message, "file": file, "line": line, "column": column,
            "end_line": end_line, "end_column": end_column, "labels": labels.collect::<Vec<_>>(),
            "help": self.help, "origin": origin.collect::<Vec<_>>()})
    }

    /// Drawn under the source line. Control characters of the source are replaced.
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let (name, text) = sources
            .get(self.span.file)
            .map_or(("?", ""), |file| (file.name.as_str(), file.text.as_str()));
        let (line, column) = line_column(text, self.span.start);
        let shown = text
            .lines()
            .nth((line as usize).saturating_sub(1))
            .unwrap_or("");
        let width = text
            .get(self.span.start as usize..self.span.end as usize)
            .map_or(1, |part| {
                part.lines()
                    .next()
                    .map_or(1, |part| part.chars().count().max(1))
            });
        let (on, off) = match (color, self.severity) {
            (false, _) => ("", ""),
            (true, Severity::Error) => ("\u{1b}[1;31m", "\u{1b}[0m"),
            (true, _) => ("\u{1b}[1;33m", "\u{1b}[0m"),
        };
        let gutter = " ".repeat(line.to_string().len());
        let mut out = format!(
            "{on}{}[{}]{off}: {}\n{gutter}--> {}:{line}:{column}\n{gutter} |\n{line} | {}\n{gutter} | {}{on}{}{off} {}\n",
            self.severity.as_str(),
            self.code,
            clean(&self.message),
            clean(name),
            clean(shown),
            " ".repeat((column as usize).saturating_sub(1)),
            "^".repeat(width),
            clean(&self.label),
        );
        let place = |span: Span| {
            let (name, text) = sources
                .get(span.file)
                .map_or(("?", ""), |file| (file.name.as_str(), file.text.as_str()));
            let (line, column) = line_column(text, span.start);
            format!("{}:{line}:{column}", clean(name))
        };
        for (span, label) in &self.labels {
            out.push_str(&format!(
                "{gutter} = note: {} at {}\n",
                clean(label),
                place(*span)
            ));
        }
        for (call, span) in &self.origin {
            out.push_str(&format!(
                "{gutter} = while {} at {}\n",
                clean(call),
                place(*span)
            ));
        }
        for help in &self.help {
            out.push_str(&format!("{gutter} = help: {}\n", clean(help)));
        }
        out
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

fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Draws all of them, one after the other.
pub fn render_all(sources: &Sources, diagnostics: &[Diagnostic], color: bool) -> String {
    let drawn: Vec<String> = diagnostics
        .iter()
        .map(|d| d.render(sources, color))
        .collect();
    drawn.join("\n")
}

/// One as JSON.
pub fn to_json(sources: &Sources, diagnostic: &Diagnostic) -> serde_json::Value {
    diagnostic.to_json(sources)
}
