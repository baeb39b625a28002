//! Elements become concrete: executors merged into jobs, commands into steps.

use std::borrow::Cow;
use std::collections::HashSet;
use std::rc::Rc;

use capstan_model::Span;
use capstan_model::plan::{EnvVar, Shell};

use crate::ast::parameter::posix;
use crate::compiler::{Compiler, Wanted};
use crate::yaml::{Entry, Node, Ref, Text, Value};

pub(crate) mod executor;
pub(crate) mod fields;
pub(crate) mod flat;
pub(crate) mod job;
pub(crate) mod steps;
mod trial;

/// A new entry of processed output.
pub(crate) fn entry(key: impl Into<Text>, value: Ref) -> Entry {
    Entry {
        key: key.into(),
        key_span: value.span,
        value,
    }
}

impl Compiler<'_> {
    /// An `environment` in any of its forms (language 6.12), as a map and for a plan as variables.
    pub(crate) fn environment(&mut self, node: &Ref) -> (Ref, Vec<EnvVar>) {
        let map = self.assigned(node);
        if self.wanted == Wanted::Findings {
            return (map, Vec::new());
        }
        let variable = |entry: &Entry| {
            let (name, value) = (entry.key.as_str().to_owned(), entry.value.value.text()?);
            Some(EnvVar { name, value })
        };
        let variables = map.map().unwrap_or_default().iter().filter_map(variable);
        let variables = variables.collect();
        (map, variables)
    }

    /// An `environment` in any of its forms as a map of names and scalars: the node itself where it is one.
    pub(crate) fn assigned(&mut self, node: &Ref) -> Ref {
        if !self.spend(u64::from(node.weight), node.span) {
            return Node::new(Value::Map(Vec::new()), node.span);
        }
        let mut entries = self.assignments(node);
        if entries.iter().any(|entry| number(&entry.value).is_some()) {
            for entry in entries.to_mut() {
                entry.value = number(&entry.value).unwrap_or_else(|| Rc::clone(&entry.value));
            }
        }
        if !entries.iter().all(|entry| is_scalar(&entry.value)) {
            for entry in entries.iter().filter(|e| !is_scalar(&e.value)) {
                if !entry.value.is_bad() {
                    let (name, kind) = (&entry.key, entry.value.value.kind());
                    let message = format!("the variable {name} holds text, not a {kind}");
                    self.schema(message, entry.value.span);
                }
            }
            entries.to_mut().retain(|entry| is_scalar(&entry.value));
        }
        for entry in entries.iter() {
            if !posix(&entry.key) {
                let message = format!("[{}] is an unusual name of a variable", entry.key);
                self.warn("W_NAME", message, entry.key_span);
            } else if entry.key.starts_with("CIRCLE_") {
                let message = format!("{} is a name CircleCI keeps for itself", entry.key);
                self.warn("W_NAME", message, entry.key_span);
            }
        }
        if let (Cow::Owned(entries), Value::Seq(_)) = (&mut entries, &node.value) {
            // A name that stands twice has its last value, at its last place.
            let mut seen: HashSet<Text> = HashSet::with_capacity(entries.len());
            entries.reverse();
            entries.retain(|entry| seen.insert(entry.key.clone()));
            entries.reverse();
        }
        match entries {
            Cow::Borrowed(_) => Rc::clone(node),
            Cow::Owned(entries) => Node::new(Value::Map(entries), node.span),
        }
    }

    /// What an `environment` assigns, in order.
    fn assignments<'n>(&mut self, node: &'n Ref) -> Cow<'n, [Entry]> {
        let mut entries: Vec<Entry> = Vec::new();
        match &node.value {
            // The names of a map differ.
            Value::Map(all) => return Cow::Borrowed(all),
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
        Cow::Owned(entries)
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
            Value::Str(text) => Some(text.as_str().to_owned()),
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
            Value::Str(text) => Some(vec![text.as_str().to_owned()]),
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

/// Whether a value is text, or can be.
fn is_scalar(node: &Node) -> bool {
    !matches!(node.open(), Value::Bad | Value::Seq(_) | Value::Map(_))
}

/// The number as which a boolean reaches the shell that a tag gave.
fn number(node: &Node) -> Option<Ref> {
    match node.value {
        Value::Bool(b) if node.tagged => Some(Node::new(Value::Int(i64::from(b)), node.span)),
        _ => None,
    }
}

/// Whether this is a list that holds text only.
pub(crate) fn is_list_of_text(node: &Node) -> bool {
    let is_text = |item: &Ref| matches!(item.value, Value::Str(_));
    node.seq().is_some_and(|items| items.iter().all(is_text))
}

/// A list of strings as a node.
pub(crate) fn list(items: &[String], span: Span) -> Ref {
    let items = items
        .iter()
        .map(|text| Node::new(Value::Str(text.as_str().into()), span))
        .collect();
    Rc::clone(&Node::new(Value::Seq(items), span))
}
