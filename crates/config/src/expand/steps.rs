//! Steps flattened: commands called, conditions decided, step lists spliced (language 8, 9).

use std::rc::Rc;

use capstan_model::Span;
use capstan_model::plan::Step;
use capstan_model::source::OriginKind;

use super::fields::BUILT_IN;
use crate::ast::suggest;
use crate::compiler::{Compiler, Scope};
use crate::logic;
use crate::yaml::{Entry, Node, Ref, Value};

const MAX_CALLS: usize = 100;

/// A step of the flat list.
pub(crate) struct Expanded {
    pub(crate) processed: Ref,
    pub(crate) step: Step,
    pub(crate) built_in: String,
    pub(crate) span: Span,
}

/// The modern name of a hyphenated built-in step.
fn modern(name: &str) -> Option<&'static str> {
    Some(match name {
        "restore-cache" | "cache-restore" => "restore_cache",
        "save-cache" | "cache-save" => "save_cache",
        "store-artifacts" => "store_artifacts",
        "store-test-results" => "store_test_results",
        "persist-to-workspace" => "persist_to_workspace",
        "attach-workspace" => "attach_workspace",
        "setup-remote-docker" => "setup_remote_docker",
        "add-ssh-keys" => "add_ssh_keys",
        _ => return None,
    })
}

impl Compiler<'_> {
    /// Expands a list of steps, written in `scope`, onto `out`.
    pub(crate) fn steps(&mut self, list: &Ref, scope: &Scope, out: &mut Vec<Expanded>) {
        match &list.value {
            Value::Seq(items) => {
                for item in items {
                    self.step(item, scope, out);
                }
            }
            // A whole tag that yields steps.
            Value::Str(text) if text.contains("<<") && !scope.frozen => {
                let value = self.subst(list, scope);
                self.spliced(&value, out);
            }
            Value::Map(_) => self.step(list, scope, out),
            Value::Bad => {}
            other => {
                let message = format!("`steps` is a list, not a {}", other.kind());
                self.schema(message, list.span);
            }
        }
    }

    fn spliced(&mut self, value: &Ref, out: &mut Vec<Expanded>) {
        match &value.value {
            Value::Seq(_) => self.steps(value, &Scope::frozen(), out),
            Value::Bad => {}
            other => {
                let message = format!("expected type: steps, actual type: {}", other.kind());
                self.error("E_PARAM_TYPE", message, value.span);
            }
        }
    }

    fn step(&mut self, item: &Ref, scope: &Scope, out: &mut Vec<Expanded>) {
        match &item.value {
            Value::Str(text) if text.contains("<<") && !scope.frozen => {
                let value = self.subst(item, scope);
                match &value.value {
                    Value::Seq(_) => self.spliced(&value, out),
                    Value::Bad => {}
                    other => {
                        let name = other.text().unwrap_or_default();
                        let message = format!("Cannot find a definition for command named {name}");
                        let help = String::from("the name of a step cannot come from a tag");
                        self.error_help("E_UNKNOWN_COMMAND", message, item.span, Some(help));
                    }
                }
            }
            Value::Str(name) => self.named(name, item.span, None, scope, out),
            Value::Map(entries) => match entries.as_slice() {
                [entry] => self.named(&entry.key, entry.key_span, Some(&entry.value), scope, out),
                _ => self.steps_shape(&Node::new(Value::Seq(vec![Rc::clone(item)]), item.span)),
            },
            Value::Seq(_) if item.tagged => self.spliced(item, out),
            Value::Bad => {}
            other => {
                let message = format!(
                    "a step is a string or a map of one key, not a {}",
                    other.kind()
                );
                self.schema(message, item.span);
            }
        }
    }

    fn named(
        &mut self,
        name: &str,
        span: Span,
        body: Option<&Ref>,
        scope: &Scope,
        out: &mut Vec<Expanded>,
    ) {
        if self.commands.contains_key(name) {
            if BUILT_IN.contains(&name) {
                let message =
                    format!("the command {name} stands in the place of the built-in step");
                self.warn("W_SHADOW", message, span);
            }
            return self.call(name, span, body, scope, out);
        }
        match name {
            "when" | "unless" => return self.conditional(name, span, body, scope, out),
            "steps" => {
                let Some(body) = body else {
                    return self.schema("`steps` as a step holds a list of steps", span);
                };
                if body.seq().is_some() {
                    return self.steps(body, scope, out);
                }
                let value = self.subst(body, scope);
                return self.spliced(&value, out);
            }
            _ => {}
        }
        let name = match modern(name) {
            Some(modern) => {
                let message = format!("`{name}` is an old spelling of `{modern}`");
                self.warn("W_STYLE", message, span);
                modern
            }
            None => name,
        };
        if BUILT_IN.contains(&name) {
            let body = body.map(|body| self.subst(body, scope));
            if let Some(step) = self.built_in(name, span, body.as_ref()) {
                out.push(step);
            }
        } else if let Some((orb, _)) = name.split_once('/') {
            if self.orbs.contains(orb) {
                self.unsupported(
                    "U_ORB",
                    format!("the command {name} comes from an orb"),
                    span,
                );
            } else {
                let message = format!("Cannot find orb '{orb}' looking for command named '{name}'");
                self.error("E_UNKNOWN_ORB", message, span);
            }
        } else {
            let commands = self.commands.keys().map(String::as_str);
            let help = suggest(name, commands.chain(BUILT_IN.iter().copied()));
            let message = format!("Cannot find a definition for command named {name}");
            self.error_help("E_UNKNOWN_COMMAND", message, span, help);
        }
    }

    fn call(
        &mut self,
        name: &str,
        span: Span,
        body: Option<&Ref>,
        scope: &Scope,
        out: &mut Vec<Expanded>,
    ) {
        let Some(definition) = self.commands.get(name).map(Rc::clone) else {
            return;
        };
        if definition.broken {
            return;
        }
        if self.calling.iter().any(|caller| caller == name) {
            // Reported once for all commands, whether they are called or not.
            return;
        }
        if self.calling.len() >= MAX_CALLS {
            return self.error(
                "E_LIMIT",
                format!("commands call each other deeper than {MAX_CALLS}"),
                span,
            );
        }
        let arguments = match body.map(|body| self.subst(body, scope)) {
            None => Vec::new(),
            Some(body) => match &body.value {
                Value::Map(entries) => entries.clone(),
                Value::Null => Vec::new(),
                Value::Bad => return,
                other => {
                    let message =
                        format!("the arguments of {name} are a map, not a {}", other.kind());
                    return self.schema(message, body.span);
                }
            },
        };
        if let Some(target) = definition.node.str() {
            let orb = target.split_once('/').map_or("", |(orb, _)| orb);
            return if self.orbs.contains(orb) {
                self.unsupported(
                    "U_ORB",
                    format!("the command {target} comes from an orb"),
                    span,
                );
            } else {
                let message =
                    format!("Cannot find orb '{orb}' looking for command named '{target}'");
                self.error("E_UNKNOWN_ORB", message, definition.span);
            };
        }
        let call = format!("calling command: '{name}'");
        self.within(call, OriginKind::Command(name.to_owned()), span, |this| {
            let inner = this.bind(name, &definition.parameters, &arguments, span);
            this.calling.push(name.to_owned());
            if let Some(steps) = definition.node.get("steps") {
                this.steps(steps, &inner, out);
            }
            this.calling.pop();
        });
    }

    fn conditional(
        &mut self,
        name: &str,
        span: Span,
        body: Option<&Ref>,
        scope: &Scope,
        out: &mut Vec<Expanded>,
    ) {
        let Some(entries) = body.and_then(|body| body.map()) else {
            return self.schema(
                format!("`{name}` is a map of `condition` and `steps`"),
                span,
            );
        };
        for entry in entries
            .iter()
            .filter(|e| e.key == "name" || e.key == "description")
        {
            let message = format!("`{}` means nothing in a `{name}` step", entry.key);
            self.warn("W_IGNORED_KEY", message, entry.key_span);
        }
        let others: Vec<Entry> = entries
            .iter()
            .filter(|e| e.key != "name" && e.key != "description")
            .cloned()
            .collect();
        if !self.closed(&others, &["condition", "steps"]) {
            return;
        }
        let find = |key: &str| others.iter().find(|e| e.key == key).map(|e| &e.value);
        let Some(condition) = find("condition") else {
            return self.schema(format!("{name}: required key [condition] not found"), span);
        };
        let Some(steps) = find("steps") else {
            return self.schema(format!("{name}: required key [steps] not found"), span);
        };
        let condition = self.subst(condition, scope);
        match logic::evaluate(&condition) {
            Ok(Value::Bad) => {}
            Ok(value) if value.truthy() == (name == "when") => {
                self.within(
                    format!("keeping a `{name}` step"),
                    OriginKind::Condition,
                    span,
                    |this| this.steps(steps, scope, out),
                );
            }
            Ok(_) => {}
            Err((code, message, span)) => self.error(code, message, span),
        }
    }

    /// Reports commands that call themselves, under whatever condition.
    pub(crate) fn recursion(&mut self) {
        let mut edges: Vec<(String, Span, Vec<String>)> = Vec::new();
        for (name, definition) in &self.commands {
            let mut called = Vec::new();
            if let Some(steps) = definition.node.get("steps") {
                calls(steps, &mut called);
            }
            called.retain(|name| self.commands.contains_key(name));
            edges.push((name.clone(), definition.span, called));
        }
        let mut told: Vec<String> = Vec::new();
        for (name, span, _) in &edges {
            if told.contains(name) {
                continue;
            }
            if let Some(path) = cycle(name, &edges) {
                let through: Vec<&str> = path
                    .iter()
                    .filter(|n| *n != name)
                    .map(String::as_str)
                    .collect();
                let through = if through.is_empty() {
                    String::new()
                } else {
                    format!(" through {}", through.join(", then "))
                };
                let message =
                    format!("Infinite loop detected: command {name} calls itself{through}");
                self.error("E_CYCLE", message, *span);
                told.extend(path);
            }
        }
    }
}

/// The shortest way from `start` back to itself.
fn cycle(start: &str, edges: &[(String, Span, Vec<String>)]) -> Option<Vec<String>> {
    let mut queue = std::collections::VecDeque::from([vec![start.to_owned()]]);
    let mut seen = std::collections::HashSet::new();
    while let Some(path) = queue.pop_front() {
        let last = path.last()?;
        let called = edges
            .iter()
            .find(|(name, ..)| name == last)
            .map(|(_, _, called)| called)?;
        for next in called {
            if next == start {
                return Some(path);
            }
            if seen.insert(next.clone()) {
                let mut longer = path.clone();
                longer.push(next.clone());
                queue.push_back(longer);
            }
        }
    }
    None
}

/// The names of the steps in a list, those under conditions too.
fn calls(steps: &Ref, out: &mut Vec<String>) {
    for item in steps.seq().unwrap_or_default() {
        match &item.value {
            Value::Str(name) => out.push(name.clone()),
            Value::Map(entries) => {
                for entry in entries {
                    match entry.key.as_str() {
                        "when" | "unless" => {
                            if let Some(inner) = entry.value.get("steps") {
                                calls(inner, out);
                            }
                        }
                        "steps" => calls(&entry.value, out),
                        name => out.push(name.to_owned()),
                    }
                }
            }
            _ => {}
        }
    }
}
