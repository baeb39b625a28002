//! The fields of built-in steps, checked after substitution (language 8.6, 8.7).

use std::borrow::Cow;
use std::rc::Rc;

use capstan_model::Span;
use capstan_model::plan::{CheckoutMethod, RunStep, Step, StepKind, When};

use super::steps::{Expanded, Written};
use super::{entry, is_list_of_text, list};
use crate::ast::suggest;
use crate::compiler::Compiler;
use crate::yaml::{Entry, Node, Ref, Value};

/// The built-in steps, in the order a reader meets them.
pub(crate) const BUILT_IN: &[&str] = &[
    "run",
    "checkout",
    "setup_remote_docker",
    "save_cache",
    "restore_cache",
    "deploy",
    "store_artifacts",
    "store_test_results",
    "persist_to_workspace",
    "attach_workspace",
    "add_ssh_keys",
    "when",
    "unless",
    "steps",
    "install_signing_bundle",
    "with_tool_cache",
];

const RUN_KEYS: &[&str] = &[
    "command",
    "name",
    "shell",
    "environment",
    "background",
    "working_directory",
    "no_output_timeout",
    "when",
    "max_auto_reruns",
    "auto_rerun_delay",
];

/// Fields of the other steps: known ones, required ones.
fn known(step: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match step {
        "checkout" => (&["path", "method", "depth", "name"], &[]),
        "setup_remote_docker" => (
            &[
                "docker_layer_caching",
                "version",
                "prefer_same_region",
                "name",
            ],
            &[],
        ),
        "save_cache" => (&["paths", "key", "name", "when"], &["paths", "key"]),
        "restore_cache" => (&["key", "keys", "name", "when"], &[]),
        "store_artifacts" => (&["path", "destination", "name"], &["path"]),
        "store_test_results" => (&["path", "name"], &["path"]),
        "persist_to_workspace" => (&["root", "paths", "name"], &["root", "paths"]),
        "attach_workspace" => (&["at", "name"], &["at"]),
        "add_ssh_keys" => (&["fingerprints", "name"], &[]),
        _ => (&["name"], &[]),
    }
}

/// The fields of a step as processed output has them: those that were written, until one differs.
struct Fields<'a> {
    /// Where they were written, if all in one map.
    body: Option<&'a Ref>,
    entries: Cow<'a, [Entry]>,
}

impl Fields<'_> {
    fn get(&self, key: &str) -> Option<&Ref> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.map(|entry| &entry.value)
    }

    fn set(&mut self, at: usize, value: Ref) {
        if let Some(entry) = self.entries.to_mut().get_mut(at) {
            entry.value = value;
        }
    }

    fn into_node(self, span: Span) -> Ref {
        match (self.body, self.entries) {
            (Some(body), Cow::Borrowed(_)) => Rc::clone(body),
            (_, entries) => Node::new(Value::Map(entries.into_owned()), span),
        }
    }
}

impl Written<'_> {
    /// The step with these fields in the place of its own.
    fn with(&self, name: &str, fields: Ref) -> Ref {
        let same = |body: &Ref| self.name == name && Rc::ptr_eq(body, &fields);
        if self.body.is_some_and(same) {
            return Rc::clone(self.item);
        }
        let field = match self.item.map() {
            Some([entry]) if entry.key == *name => entry.with(fields),
            _ => entry(name, fields),
        };
        Node::new(Value::Map(vec![field]), self.span)
    }

    /// The step without fields.
    fn bare(&self, name: &str) -> Ref {
        match self.item.str() {
            Some(written) if written == name => Rc::clone(self.item),
            _ => Node::new(Value::Str(name.into()), self.span),
        }
    }
}

impl Compiler<'_> {
    /// A built-in step whose body was substituted.
    pub(crate) fn built_in(
        &mut self,
        name: &'static str,
        written: Written<'_>,
        body: Option<&Ref>,
    ) -> Option<Expanded> {
        let body = body.filter(|body| !body.is_null());
        if body.is_some_and(|body| body.is_bad()) {
            return None;
        }
        if name == "run" || name == "deploy" {
            return self.run(name, written, body);
        }
        let span = written.span;
        let (keys, required) = known(name);
        let entries: &[Entry] = match body.map(|body| (&body.value, body)) {
            None => &[],
            Some((Value::Map(entries), _)) => entries,
            Some((other, body)) => {
                let message = format!("the fields of `{name}` are a map, not a {}", other.kind());
                self.schema(message, body.span);
                return None;
            }
        };
        let mut fields = self.known_only(name, body, Cow::Borrowed(entries), keys);
        for at in 0..fields.entries.len() {
            let Some(field) = fields.entries.get(at) else {
                continue;
            };
            let key = field.key.as_str();
            if !matches!(key, "paths" | "keys" | "fingerprints") {
                continue;
            }
            let value = Rc::clone(&field.value);
            if value.str().is_some() {
                let message = format!("`{key}` is a list; one string means a list of one");
                self.warn("W_STYLE", message, value.span);
            }
            let items = self.strings(key, &value)?;
            if items.is_empty() && required.contains(&key) {
                self.schema(format!("`{key}` of {name} is empty"), value.span);
            }
            if !is_list_of_text(&value) {
                fields.set(at, list(&items, value.span));
            }
        }
        let has = |key: &str| fields.get(key).is_some();
        for key in required.iter().filter(|key| !has(key)) {
            self.schema(format!("{name}: required key [{key}] not found"), span);
        }
        if name == "restore_cache" && !has("key") && !has("keys") {
            self.schema(
                "restore_cache: required key [key] or [keys] not found",
                span,
            );
        }
        let when = self.when(&fields);
        let name_shown = self.planned(|_| display_name(&fields)).flatten();
        let empty = fields.entries.is_empty();
        let node = fields.into_node(span);
        let kind = if name == "checkout" {
            Some(self.checkout(&node)?)
        } else {
            let message = format!("the step `{name}` cannot be executed yet");
            self.unsupported("U_STEP", message, span);
            self.planned(|_| StepKind::Other {
                step: name.to_owned(),
                fields: node.value.json(),
            })
        };
        let processed = match empty {
            true => written.bare(name),
            false => written.with(name, node),
        };
        let step = kind.map(|kind| Step {
            name: name_shown,
            kind,
            when,
            origin: self.written(span),
        });
        Some(Expanded {
            processed: Some(processed),
            step,
            built_in: name,
            span,
        })
    }

    /// The fields that mean something, and are not empty.
    fn known_only<'a>(
        &mut self,
        name: &str,
        body: Option<&'a Ref>,
        entries: Cow<'a, [Entry]>,
        keys: &[&str],
    ) -> Fields<'a> {
        let known = |entry: &Entry| keys.contains(&entry.key.as_str());
        for entry in entries.iter().filter(|entry| !known(entry)) {
            let message = format!("`{}` means nothing in a `{name}` step", entry.key);
            self.warn("W_IGNORED_KEY", message, entry.key_span);
        }
        let kept = |entry: &&Entry| known(entry) && !entry.value.is_null();
        let entries = match entries.iter().all(|entry| kept(&entry)) {
            true => entries,
            false => entries.iter().filter(kept).cloned().collect(),
        };
        Fields { body, entries }
    }

    fn when(&mut self, fields: &Fields<'_>) -> When {
        let Some(value) = fields.get("when") else {
            return When::OnSuccess;
        };
        match value.str() {
            Some("on_success") => When::OnSuccess,
            Some("on_fail") => When::OnFail,
            Some("always") => When::Always,
            written => {
                if !value.is_bad() {
                    let message = "`when` of a step is one of on_success, always, on_fail";
                    let words = ["on_success", "always", "on_fail"].into_iter();
                    let help = suggest(written.unwrap_or(""), words)
                        .or_else(|| Some(String::from("a condition goes into a `when` step")));
                    self.error_help("E_SCHEMA", message, value.span, help);
                }
                When::OnSuccess
            }
        }
    }

    fn checkout(&mut self, node: &Node) -> Option<StepKind> {
        let path = match node.get("path") {
            Some(path) => Some(self.string("path", path)?),
            None => None,
        };
        let depth = match node.get("depth").map(|n| (&n.value, n.span)) {
            None => None,
            Some((Value::Int(n), span)) => match u32::try_from(*n) {
                Ok(n) if n > 0 => Some(n),
                _ => {
                    self.schema("`depth` is a positive integer", span);
                    return None;
                }
            },
            Some((_, span)) => {
                self.schema("`depth` is a positive integer", span);
                return None;
            }
        };
        let method = match node.get("method").map(|n| (n.str().unwrap_or(""), n.span)) {
            None | Some(("blobless", _)) => CheckoutMethod::Blobless,
            Some(("full", _)) => CheckoutMethod::Full,
            Some(("shallow", _)) => CheckoutMethod::Shallow {
                depth: depth.unwrap_or(1),
            },
            Some((_, span)) => {
                let message = "Unsupported checkout method: there are blobless, full and shallow";
                self.schema(message, span);
                return None;
            }
        };
        if let (Some(_), false) = (depth, matches!(method, CheckoutMethod::Shallow { .. })) {
            let span = node.get("depth").map_or(node.span, |n| n.span);
            self.schema("`depth` needs `method: shallow`", span);
        }
        Some(StepKind::Checkout { path, method })
    }

    fn run(
        &mut self,
        name: &'static str,
        written: Written<'_>,
        body: Option<&Ref>,
    ) -> Option<Expanded> {
        let span = written.span;
        let Some(body) = body else {
            self.schema(format!("{name}: required key [command] not found"), span);
            return None;
        };
        let entries = match &body.value {
            Value::Map(entries) => Cow::Borrowed(entries.as_slice()),
            Value::Seq(_) => {
                self.schema(
                    format!("`{name}` is a command or a map, not a list"),
                    body.span,
                );
                return None;
            }
            _ => Cow::Owned(vec![entry("command", Rc::clone(body))]),
        };
        let mut run = RunStep::default();
        let mut fields = self.known_only(name, Some(body), entries, RUN_KEYS);
        let when = self.when(&fields);
        let mut commanded = false;
        let mut delay = None;
        for at in 0..fields.entries.len() {
            let Some(field) = fields.entries.get(at) else {
                continue;
            };
            let value = Rc::clone(&field.value);
            match field.key.as_str() {
                "command" => {
                    commanded = true;
                    // `run: 12` and `run: true` are scripts too.
                    if value.str().is_some() {
                        continue;
                    }
                    match value.source_text() {
                        Some(text) => {
                            fields.set(at, Node::new(Value::Str(text.into()), value.span));
                        }
                        None if value.is_bad() => return None,
                        None => {
                            self.schema("`command` is a string", value.span);
                            return None;
                        }
                    }
                }
                "shell" => run.shell = self.shell(&value),
                "environment" => {
                    let (map, variables) = self.environment(&value);
                    if !Rc::ptr_eq(&map, &value) {
                        fields.set(at, map);
                    }
                    run.environment = variables;
                }
                "background" => run.background = self.boolean("background", &value)?,
                "working_directory" => {
                    run.working_directory = Some(self.string("working_directory", &value)?);
                }
                "no_output_timeout" => match value.str().and_then(duration) {
                    Some(ms) => run.no_output_timeout_ms = Some(ms),
                    None if value.is_bad() => return None,
                    None => {
                        let message = "`no_output_timeout` is a number with s, m or h: `10m`";
                        self.schema(message, value.span);
                    }
                },
                "max_auto_reruns" => match &value.value {
                    Value::Int(n @ 1..=5) => run.max_auto_reruns = u32::try_from(*n).unwrap_or(1),
                    Value::Bad => return None,
                    _ => {
                        let message = "max_auto_reruns must be an integer between 1 and 5";
                        self.schema(message, value.span);
                    }
                },
                "auto_rerun_delay" => {
                    delay = Some(value.span);
                    match value
                        .str()
                        .filter(|text| !text.ends_with('h') && !text.contains('.'))
                    {
                        Some(text)
                            if duration(text).is_some_and(|ms| (1..=600_000).contains(&ms)) =>
                        {
                            run.auto_rerun_delay_ms = duration(text).unwrap_or(0);
                        }
                        _ => {
                            let message = "`auto_rerun_delay` is `Ns` or `Nm`, at most 10 minutes";
                            self.schema(message, value.span);
                        }
                    }
                }
                _ => {}
            }
        }
        if !commanded {
            self.schema(format!("{name}: required key [command] not found"), span);
            return None;
        }
        if let (Some(at), 0) = (delay, run.max_auto_reruns) {
            self.schema("`auto_rerun_delay` needs `max_auto_reruns`", at);
        }
        if run.background && run.max_auto_reruns > 0 {
            self.schema(
                "`max_auto_reruns` does not work with `background: true`",
                span,
            );
        }
        if name == "deploy" {
            self.warn("W_DEPRECATED", "`deploy` is deprecated; use `run`", span);
        }
        let step = self.planned(|this| {
            let command = fields.get("command").and_then(|value| value.str());
            run.command = command.unwrap_or_default().to_owned();
            Step {
                name: display_name(&fields),
                kind: StepKind::Run(Box::new(run)),
                when,
                origin: this.written(span),
            }
        });
        let processed = written.with(name, fields.into_node(span));
        Some(Expanded {
            processed: Some(processed),
            step,
            built_in: name,
            span,
        })
    }
}

fn display_name(fields: &Fields<'_>) -> Option<String> {
    fields.get("name")?.source_text()
}

/// `1.5m` in milliseconds.
fn duration(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().last()? {
        (at, 's') => (text.get(..at)?, 1_000),
        (at, 'm') => (text.get(..at)?, 60_000),
        (at, 'h') => (text.get(..at)?, 3_600_000),
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    // Finer than a millisecond means nothing.
    let mut part = 0;
    let mut scale = unit;
    for digit in fraction.chars().take(6) {
        scale /= 10;
        part += u64::from(digit.to_digit(10)?) * scale;
    }
    whole.checked_mul(unit)?.checked_add(part)
}
