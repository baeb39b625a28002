//! `requires` as written (language 10.9.1).

use std::borrow::Cow;
use std::rc::Rc;

use capstan_model::Span;
use capstan_model::plan::RequiredStatus;

use crate::ast::suggest;
use crate::compiler::Compiler;
use crate::yaml::{Ref, Text, Value};

/// A requirement as written.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) job: Text,
    /// The job itself, where no name is needed: between the parts of a group.
    pub(crate) at: Option<usize>,
    pub(crate) statuses: Cow<'static, [RequiredStatus]>,
    /// The statuses as written, if any.
    pub(crate) written: Option<Ref>,
    pub(crate) span: Span,
}

impl Wanted {
    /// A requirement that a job ends well.
    fn well(job: Text, span: Span) -> Self {
        Self {
            job,
            at: None,
            statuses: Cow::Borrowed(&[RequiredStatus::Success]),
            written: None,
            span,
        }
    }

    /// A requirement that a group makes of one of its own jobs, by its place in the workflow.
    pub(crate) fn of(
        at: usize,
        statuses: &'static [RequiredStatus],
        written: Option<Ref>,
        span: Span,
    ) -> Self {
        Self {
            job: Text::from(""),
            at: Some(at),
            statuses: Cow::Borrowed(statuses),
            written,
            span,
        }
    }
}

impl Compiler<'_> {
    /// Reads `requires`, or `None` where a mistake was reported.
    pub(crate) fn requires(&mut self, node: &Ref) -> Option<Vec<Wanted>> {
        let Some(items) = node.seq() else {
            if !node.is_bad() {
                let help = Some(String::from("write a list: `requires: [name]`"));
                let message = format!("`requires` is a list, not a {}", node.value.kind());
                self.error_help("E_SCHEMA", message, node.span, help);
            }
            return None;
        };
        let mut all: Vec<Wanted> = Vec::new();
        if !self.spend(u64::from(node.weight), node.span) {
            return None;
        }
        for item in items {
            let wanted = match &item.value {
                Value::Map(entries) => match entries.as_slice() {
                    [entry] => Wanted {
                        job: entry.key.clone(),
                        at: None,
                        statuses: Cow::Owned(self.statuses(&entry.value)?),
                        written: Some(Rc::clone(&entry.value)),
                        span: entry.key_span,
                    },
                    _ => {
                        self.schema(
                            "an entry of `requires` is a name, or `{name: status}`",
                            item.span,
                        );
                        return None;
                    }
                },
                Value::Str(job) => Wanted::well(job.clone(), item.span),
                _ => match item.source_text().filter(|_| !item.is_null()) {
                    Some(job) => Wanted::well(Text::from(job), item.span),
                    None if item.is_bad() => return None,
                    None => {
                        self.schema(
                            "an entry of `requires` is a name, or `{name: status}`",
                            item.span,
                        );
                        return None;
                    }
                },
            };
            all.push(wanted);
        }
        Some(all)
    }

    fn statuses(&mut self, node: &Ref) -> Option<Vec<RequiredStatus>> {
        let words = self.strings("requires", node)?;
        let mut all = Vec::new();
        for word in &words {
            if word == "terminal" {
                all.extend(RequiredStatus::ALL);
                continue;
            }
            let Some(status) = RequiredStatus::ALL.into_iter().find(|s| s.as_str() == word) else {
                let names = RequiredStatus::ALL.map(RequiredStatus::as_str);
                let message = format!(
                    "[{word}] is no status; there are {} and terminal",
                    names.join(", ")
                );
                self.error_help(
                    "E_SCHEMA",
                    message,
                    node.span,
                    suggest(word, names.into_iter()),
                );
                return None;
            };
            all.push(status);
        }
        if all.is_empty() {
            self.schema("a requirement names at least one status", node.span);
            return None;
        }
        let mut distinct = Vec::new();
        for status in all {
            if !distinct.contains(&status) {
                distinct.push(status);
            }
        }
        Some(distinct)
    }
}
