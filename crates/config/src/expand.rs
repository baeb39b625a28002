//! Elements become concrete: executors merged into jobs, commands into steps.

use std::collections::HashMap;
use std::rc::Rc;

use capstan_model::Span;
use capstan_model::plan::{EnvVar, Shell};

use crate::ast::parameter::posix;
use crate::compiler::Compiler;
use crate::yaml::{Entry, Node, Ref, Text, Value};

pub(crate) mod executor;
pub(crate) mod fields;
pub(crate) mod job;
pub(crate) mod steps;
mod trial;

/// A new entry of processed output.
pub(crate) fn entry(key: &str, value: Ref) -> Entry {
    Entry {
        key: key.into(),
        key_span: value.span,
        value,
    }
}

impl Compiler<'_> {
    /// An `environment` in any of its forms (language 6.12), as a map and as variables.
    pub(crate) fn environment(&mut self, node: &Ref) -> (Vec<Entry>, Vec<EnvVar>) {
        let mut entries: Vec<Entry> = Vec::new();
        if !self.spend(u64::from(node.weight), node.span) {
            return (Vec::new(), Vec::new());
        }
        match &node.value {
            Value::Map(all) => entries.extend(all.iter().cloned()),
            Value::Seq(items) => {
                for item in items {
                    match &item.value {
                        Value::Map(all) => entries.extend(all.iter().cloned()),
                        _ => entries.extend(self.assignment(item)),
                    }
                }
            }
            Value::Null | Value::Bad => {}
            _ => entries.extend(self.assignment(node)),
        }
        // A name that stands twice has its last value, at its last place.
        let mut places: HashMap<Text, usize> = HashMap::with_capacity(entries.len());
        let mut kept: Vec<Option<(Entry, EnvVar)>> = Vec::with_capacity(entries.len());
        for mut entry in entries {
            if let (true, Value::Bool(b)) = (entry.value.tagged, &entry.value.value) {
                // A boolean that a tag gave reaches the shell as a number.
                entry.value = Node::new(Value::Int(i64::from(*b)), entry.value.span);
            }
            let Some(value) = entry.value.value.text() else {
                if !entry.value.is_bad() {
                    let message = format!(
                        "the variable {} holds text, not a {}",
                        entry.key,
                        entry.value.value.kind()
                    );
                    self.schema(message, entry.value.span);
                }
                continue;
            };
            if !posix(&entry.key) {
                let message = format!("[{}] is an unusual name of a variable", entry.key);
                self.warn("W_NAME", message, entry.key_span);
            } else if entry.key.starts_with("CIRCLE_") {
                let message = format!("{} is a name CircleCI keeps for itself", entry.key);
                self.warn("W_NAME", message, entry.key_span);
            }
            if let Some(old) = places.insert(entry.key.clone(), kept.len())
                && let Some(old) = kept.get_mut(old)
            {
                *old = None;
            }
            let variable = EnvVar {
                name: entry.key.to_string(),
                value,
            };
            kept.push(Some((entry, variable)));
        }
        kept.into_iter().flatten().unzip()
    }

    fn assignment(&mut self, node: &Ref) -> Option<Entry> {
        match node.str().and_then(|text| text.split_once('=')) {
            Some((key, value)) => Some(Entry {
                key: key.into(),
                key_span: node.span,
                value: Node::new(Value::Str(value.into()), node.span),
            }),
            None => {
                if !node.is_bad() {
                    let message = "`environment` is a map, or a list of KEY=VALUE";
                    self.schema(message, node.span);
                }
                None
            }
        }
    }

    /// A text field.
    pub(crate) fn string(&mut self, key: &str, node: &Ref) -> Option<String> {
        match &node.value {
            Value::Str(text) => Some(text.to_string()),
            Value::Bad => None,
            other => {
                self.schema(
                    format!("`{key}` is a string, not a {}", other.kind()),
                    node.span,
                );
                None
            }
        }
    }

    /// A boolean field.
    pub(crate) fn boolean(&mut self, key: &str, node: &Ref) -> Option<bool> {
        match &node.value {
            Value::Bool(b) => Some(*b),
            Value::Bad => None,
            _ => {
                self.schema(format!("{key} must be a boolean"), node.span);
                None
            }
        }
    }

    /// A field that is a string or a list of strings.
    pub(crate) fn strings(&mut self, key: &str, node: &Ref) -> Option<Vec<String>> {
        match &node.value {
            Value::Str(text) => Some(vec![text.to_string()]),
            Value::Bad => None,
            Value::Seq(items) => {
                let mut all = Vec::new();
                for item in items {
                    match item.source_text().filter(|_| !item.is_null()) {
                        Some(text) => all.push(text),
                        None if item.is_bad() => {}
                        None => self.schema(format!("`{key}` is a list of strings"), item.span),
                    }
                }
                Some(all)
            }
            _ => {
                self.schema(
                    format!("`{key}` is a string or a list of strings"),
                    node.span,
                );
                None
            }
        }
    }

    /// A `shell`.
    pub(crate) fn shell(&mut self, node: &Ref) -> Option<Shell> {
        match &node.value {
            Value::Str(line) => Some(Shell::Line(line.to_string())),
            _ => self.strings("shell", node).map(Shell::List),
        }
    }
}

/// A list of strings as a node.
pub(crate) fn list(items: &[String], span: Span) -> Ref {
    let items = items
        .iter()
        .map(|text| Node::new(Value::Str(text.as_str().into()), span))
        .collect();
    Rc::clone(&Node::new(Value::Seq(items), span))
}
