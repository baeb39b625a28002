//! Steps flattened: commands called, conditions decided, step lists spliced (language 8, 9).

use std::rc::Rc;

use capstan_model::Span;
use capstan_model::plan::Step;
use capstan_model::source::OriginKind;
use indexmap::IndexMap;

use super::fields::BUILT_IN;
use crate::ast::Kind;
use crate::budget::MAX_CALLS;
use crate::compiler::{Compiler, Scope};
use crate::logic;
use crate::space::SpaceId;
use crate::yaml::{Entry, Node, Ref, Value};

/// A step of the flat list.
pub(crate) struct Expanded {
    /// As processed output has it; none for a native step, whose orb's steps stand there.
    pub(crate) processed: Option<Ref>,
    /// As it runs; none where a native step runs in its place.
    pub(crate) step: Option<Step>,
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
                    if self.spent() {
                        return;
                    }
                    self.step(item, scope, out);
                }
            }
            Value::Closed(..) => self.spliced(list, scope, out),
            // A whole tag that yields steps.
            Value::Str(text) if text.contains("<<") && !scope.frozen => {
                let value = self.subst(list, scope);
                self.spliced(&value, scope, out);
            }
            Value::Map(_) => self.step(list, scope, out),
            Value::Bad => {}
            other => {
                let message = format!("`steps` is a list, not a {}", other.kind());
                self.schema(message, list.span);
            }
        }
    }

    /// Expands a value that a tag gave: steps passed as an argument, whose names belong to whoever
    /// wrote them.
    fn spliced(&mut self, value: &Ref, scope: &Scope, out: &mut Vec<Expanded>) {
        let space = value.closed_over().unwrap_or(scope.space);
        match value.open() {
            Value::Seq(items) => {
                let scope = Scope::frozen(space);
                for item in items {
                    if self.spent() {
                        return;
                    }
                    self.step(item, &scope, out);
                }
            }
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
                match value.open() {
                    Value::Seq(_) => self.spliced(&value, scope, out),
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
            Value::Closed(..) => self.spliced(item, scope, out),
            Value::Seq(_) if item.tagged => self.spliced(item, scope, out),
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
        if self.defines(scope.space, Kind::Command, name) {
            if BUILT_IN.contains(&name) {
                let message =
                    format!("the command {name} stands in the place of the built-in step");
                self.warn("W_SHADOW", message, span);
            }
            return self.call(name, span, body, scope, out);
        }
        match name {
            "when" | "unless" if self.v2 => {
                let message = format!("Cannot find a definition for command named {name}");
                let help = Some(format!("a `{name}` step needs `version: 2.1`"));
                return self.error_help("E_UNKNOWN_COMMAND", message, span, help);
            }
            "when" | "unless" => return self.conditional(name, span, body, scope, out),
            "steps" => {
                let Some(body) = body else {
                    return self.schema("`steps` as a step holds a list of steps", span);
                };
                if body.seq().is_some() {
                    return self.steps(body, scope, out);
                }
                let value = self.subst(body, scope);
                return self.spliced(&value, scope, out);
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
            if let Some(step) = self.built_in(name, span, body.as_ref())
                && self.spend_step(span)
            {
                out.push(step);
            }
        } else {
            self.call(name, span, body, scope, out);
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
        let Some(definition) = self.resolve(scope.space, Kind::Command, name, span) else {
            return;
        };
        if definition.broken {
            return;
        }
        let me = (definition.space, definition.name.clone());
        if self.calling.contains(&me) {
            if me.0.is_orb() {
                let message = format!("Infinite loop detected: command {name} calls itself");
                self.error("E_CYCLE", message, span);
            }
            // The config's own were reported once for all, whether they are called or not.
            return;
        }
        if self.calling.len() >= MAX_CALLS {
            return self.error(
                "E_LIMIT",
                format!("commands call each other deeper than {MAX_CALLS}"),
                span,
            );
        }
        let body = body.map(|body| self.subst(body, scope));
        let arguments = match body.as_ref().map(|body| (&body.value, body.span)) {
            None | Some((Value::Null, _)) => &[],
            Some((Value::Map(entries), _)) => entries.as_slice(),
            Some((Value::Bad, _)) => return,
            Some((other, at)) => {
                let message = format!("the arguments of {name} are a map, not a {}", other.kind());
                return self.schema(message, at);
            }
        };
        let kind = OriginKind::Command(name.to_owned());
        self.inside(&definition, kind, span, |this| {
            let inner = this.bind(&definition, arguments, scope.space, span);
            let first = out.len();
            this.calling.push(me);
            if let Some(steps) = definition.node.get("steps") {
                this.steps(steps, &inner, out);
            }
            this.calling.pop();
            this.native(&definition, &inner, first, span, out);
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
                self.within(OriginKind::Condition, span, |this| {
                    this.steps(steps, scope, out);
                });
            }
            Ok(_) => {}
            Err((code, message, span)) => self.error(code, message, span),
        }
    }

    /// Reports commands of a space that call themselves, under whatever condition.
    pub(crate) fn recursion(&mut self, space: SpaceId) {
        let Some(there) = self.space(space) else {
            return;
        };
        let commands = there.written(Kind::Command);
        let mut edges = Edges::with_capacity(commands.len());
        for (name, entry) in commands {
            let mut called = Vec::new();
            if let Some(steps) = entry.value.get("steps") {
                calls(steps, &mut called);
            }
            called.retain(|name| commands.contains_key(name));
            edges.insert(name.clone(), (entry.key_span, called));
        }
        let mut told: Vec<String> = Vec::new();
        for (name, (span, _)) in &edges {
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
                let help = if BUILT_IN.contains(&name.as_str()) {
                    format!(
                        "inside the command {name} the built-in step {name} is out of reach; give the command another name"
                    )
                } else {
                    String::from("take one of these calls away")
                };
                self.error_help("E_CYCLE", message, *span, Some(help));
                told.extend(path);
            }
        }
    }
}

/// Commands with the place of their name and the commands they call.
type Edges = IndexMap<String, (Span, Vec<String>)>;

/// The shortest way from `start` back to itself.
fn cycle(start: &str, edges: &Edges) -> Option<Vec<String>> {
    let mut queue = std::collections::VecDeque::from([vec![start.to_owned()]]);
    let mut seen = std::collections::HashSet::new();
    while let Some(path) = queue.pop_front() {
        let last = path.last()?;
        let (_, called) = edges.get(last)?;
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
