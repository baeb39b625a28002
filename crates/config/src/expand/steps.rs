//! Steps flattened: commands called, conditions decided, step lists spliced (language 8, 9).

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use capstan_model::plan::Step;
use capstan_model::source::OriginKind;
use capstan_model::{FileId, Span};
use indexmap::IndexMap;

use super::fields::BUILT_IN;
use crate::ast::Kind;
use crate::budget::{MAX_CALLS, MAX_NESTED};
use crate::compiler::{Compiler, Scope};
use crate::logic;
use crate::space::SpaceId;
use crate::yaml::{Entry, Node, Ref, Value};

/// What a call costs beside the steps in it, in nodes.
const CALL: u64 = 4;

/// A step of the flat list.
pub(crate) struct Expanded {
    /// As processed output has it; none for a native step, whose orb's steps stand there.
    pub(crate) processed: Option<Ref>,
    /// As it runs; none where a native step runs in its place.
    pub(crate) step: Option<Step>,
    pub(crate) built_in: &'static str,
    pub(crate) span: Span,
}

/// A step as it was written.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    /// All of it.
    pub(crate) item: &'a Ref,
    pub(crate) name: &'a str,
    pub(crate) span: Span,
    /// What stands below its name.
    pub(crate) body: Option<&'a Ref>,
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
        if self.nested >= MAX_NESTED {
            let message = format!("steps within steps, deeper than {MAX_NESTED}");
            return self.error("E_LIMIT", message, list.span);
        }
        self.nested += 1;
        self.steps_here(list, scope, out);
        self.nested -= 1;
    }

    fn steps_here(&mut self, list: &Ref, scope: &Scope, out: &mut Vec<Expanded>) {
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
            Value::Str(_) if list.tags && !scope.frozen => {
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
        if self.nested >= MAX_NESTED {
            let message = format!("steps within steps, deeper than {MAX_NESTED}");
            return self.error("E_LIMIT", message, value.span);
        }
        self.nested += 1;
        let space = value.closed_over().unwrap_or(scope.space);
        match value.open() {
            Value::Seq(items) => {
                let scope = Scope::frozen(space);
                for item in items {
                    if self.spent() {
                        break;
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
        self.nested -= 1;
    }

    fn step(&mut self, item: &Ref, scope: &Scope, out: &mut Vec<Expanded>) {
        if !self.spend(1, item.span) {
            return;
        }
        match &item.value {
            Value::Str(_) if item.tags && !scope.frozen => {
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
            Value::Str(name) => {
                let (span, body) = (item.span, None);
                self.named(
                    Written {
                        item,
                        name,
                        span,
                        body,
                    },
                    scope,
                    out,
                );
            }
            Value::Map(entries) => match entries.as_slice() {
                [entry] => {
                    let (name, span, body) = (&entry.key, entry.key_span, Some(&entry.value));
                    self.named(
                        Written {
                            item,
                            name,
                            span,
                            body,
                        },
                        scope,
                        out,
                    );
                }
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

    fn named(&mut self, written: Written<'_>, scope: &Scope, out: &mut Vec<Expanded>) {
        let Written {
            name, span, body, ..
        } = written;
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
        if let Some(name) = BUILT_IN.iter().find(|known| **known == name) {
            let body = body.map(|body| self.subst(body, scope));
            // Its fields are copied into the plan.
            let weight = body.as_ref().map_or(1, |body| u64::from(body.weight));
            if let Some(step) = self.built_in(name, written, body.as_ref())
                && self.spend_step(span)
                && self.spend(weight, span)
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
        if !self.spend(CALL, span) {
            return;
        }
        if self
            .calling
            .iter()
            .any(|other| Rc::ptr_eq(other, &definition))
        {
            if definition.space.is_orb() {
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
            this.calling.push(Rc::clone(&definition));
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
        let means = |e: &Entry| e.key != "name" && e.key != "description";
        let others: Cow<'_, [Entry]> = match entries.iter().all(means) {
            true => Cow::Borrowed(entries),
            false => entries.iter().filter(|e| means(e)).cloned().collect(),
        };
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
        crate::checks::condition::check(self, condition);
        let condition = self.subst(condition, scope);
        if !self.spend(u64::from(condition.weight), condition.span) {
            return;
        }
        match logic::evaluate(&condition, &mut self.patterns) {
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
            called.retain(|name| commands.contains_key(name.as_str()));
            edges.insert(name.to_string(), (entry.key_span, called));
        }
        let edges = circular(edges);
        // What this costs grows with the square only where circles are, and those are few.
        let cost = (edges.len() as u64).pow(2);
        if !edges.is_empty()
            && !self.spend(
                cost,
                Span {
                    file: FileId(0),
                    start: 0,
                    end: 0,
                },
            )
        {
            return;
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

/// The commands that call themselves or come to one that does; the others in turn call nothing that is
/// left, and are taken away.
fn circular(mut edges: Edges) -> Edges {
    let mut waits: HashMap<String, usize> = HashMap::with_capacity(edges.len());
    let mut callers: HashMap<String, Vec<String>> = HashMap::new();
    for (name, (_, called)) in &edges {
        waits.insert(name.clone(), called.len());
        for other in called {
            callers.entry(other.clone()).or_default().push(name.clone());
        }
    }
    let mut done: Vec<String> = waits
        .iter()
        .filter(|(_, left)| **left == 0)
        .map(|(name, _)| name.clone())
        .collect();
    while let Some(name) = done.pop() {
        waits.remove(&name);
        for caller in callers.remove(&name).unwrap_or_default() {
            if let Some(left) = waits.get_mut(&caller) {
                *left -= 1;
                if *left == 0 {
                    done.push(caller);
                }
            }
        }
    }
    edges.retain(|name, _| waits.contains_key(name));
    edges
}

/// The shortest way from `start` back to itself.
fn cycle(start: &str, edges: &Edges) -> Option<Vec<String>> {
    let mut queue = VecDeque::from([start]);
    let mut from: HashMap<&str, &str> = HashMap::new();
    while let Some(last) = queue.pop_front() {
        let Some((_, called)) = edges.get(last) else {
            continue;
        };
        for next in called {
            if next == start {
                let mut path = vec![last.to_owned()];
                let mut at = last;
                while let Some(before) = from.get(at) {
                    path.push((*before).to_owned());
                    at = before;
                }
                path.reverse();
                return Some(path);
            }
            if !from.contains_key(next.as_str()) {
                from.insert(next, last);
                queue.push_back(next);
            }
        }
    }
    None
}

/// The names of the steps in a list, those under conditions too.
fn calls(steps: &Ref, out: &mut Vec<String>) {
    for item in steps.seq().unwrap_or_default() {
        match &item.value {
            Value::Str(name) => out.push(name.to_string()),
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
