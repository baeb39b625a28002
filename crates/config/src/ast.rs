//! Definitions of the config: commands, executors, jobs and pipeline parameters, with their shape
//! checked. Their fields stay nodes until a call gives their tags a meaning.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use capstan_model::Span;

use crate::compiler::Compiler;
use crate::space::SpaceId;
use crate::yaml::{Entry, Ref, Text, Value};

pub(crate) mod parameter;

pub(crate) use parameter::{Parameter, Parameters};

/// A named command, executor or job.
#[derive(Debug)]
pub(crate) struct Definition {
    /// Its own name, without an orb's.
    pub(crate) name: String,
    /// Where it was written.
    pub(crate) space: SpaceId,
    pub(crate) span: Span,
    pub(crate) node: Ref,
    pub(crate) parameters: Rc<Parameters>,
    /// Its shape is wrong, which was reported; expanding it would only repeat that.
    pub(crate) broken: bool,
    named_in_steps: OnceCell<Vec<usize>>,
}

impl Definition {
    /// The parameters whose names stand in its steps, by the place of their declaration.
    pub(crate) fn named_in_steps(&self) -> &[usize] {
        self.named_in_steps.get_or_init(|| {
            let steps = self.node.get("steps").filter(|steps| steps.tags);
            let named = steps.map(|steps| parameter::named(steps, &self.parameters));
            named.unwrap_or_default()
        })
    }
}

/// The three tables of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Command,
    Executor,
    Job,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Command, Self::Executor, Self::Job];

    /// As messages name one of them.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Executor => "executor",
            Self::Job => "job",
        }
    }

    /// The key of a config that holds them.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Command => "commands",
            Self::Executor => "executors",
            Self::Job => "jobs",
        }
    }
}

/// The keys that say where a job runs.
pub(crate) const PLACES: [&str; 3] = ["docker", "machine", "macos"];

const COMMAND_KEYS: &[&str] = &["steps", "parameters", "description"];
pub(crate) const EXECUTOR_KEYS: &[&str] = &[
    "docker",
    "machine",
    "macos",
    "resource_class",
    "shell",
    "working_directory",
    "environment",
    "parameters",
    "description",
];
pub(crate) const JOB_KEYS: &[&str] = &[
    "type",
    "description",
    "parameters",
    "docker",
    "machine",
    "macos",
    "executor",
    "steps",
    "shell",
    "working_directory",
    "environment",
    "resource_class",
    "parallelism",
    "circleci_ip_ranges",
    "retention",
    "branches",
    "key",
    "plan_name",
    "validation",
];
const INVOCATION_KEYS: &[&str] = &[
    "requires",
    "filters",
    "context",
    "matrix",
    "pre-steps",
    "post-steps",
    "max_auto_reruns",
    "serial-group",
    "name",
    "override-with",
];

/// Keys whose null says something.
const NULL_MEANS: &[&str] = &["default", "when", "unless", "condition", "value"];

/// Keys that only version 2.1 knows.
const NEEDS_2_1: &[&str] = &[
    "orbs",
    "commands",
    "executors",
    "executor",
    "parameters",
    "job-groups",
    "setup",
    "when",
    "unless",
    "matrix",
    "name",
    "pre-steps",
    "post-steps",
    "serial-group",
    "override-with",
];

pub(crate) use crate::diagnostic::nearest;

/// `did you mean …`, if a name is close.
pub(crate) fn suggest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(name, all).map(crate::diagnostic::did_you_mean)
}

impl Compiler<'_> {
    /// Reports keys that a closed map does not have; true if there are none. Version 2 ignores them
    /// (language 2.6, 18.1).
    pub(crate) fn closed(&mut self, entries: &[Entry], permitted: &[&str]) -> bool {
        let mut fine = true;
        for entry in entries {
            let key = entry.key.as_str();
            if permitted.contains(&key) {
                if entry.value.is_null() && !NULL_MEANS.contains(&key) {
                    let message = format!("[{key}] is empty, which is as if it were not there");
                    self.warn("W_EMPTY", message, entry.key_span);
                }
                continue;
            }
            if self.v2 {
                self.ignored_in_2(entry);
                continue;
            }
            fine = false;
            let message = format!(
                "extraneous key [{key}] is not permitted; permitted are {}",
                permitted.join(", ")
            );
            let help = if INVOCATION_KEYS.contains(&key) {
                Some(format!("`{key}` belongs to the job's entry in a workflow"))
            } else {
                Some(crate::language::advice(key, permitted))
            };
            self.error_help("E_SCHEMA", message, entry.key_span, help);
        }
        fine
    }

    /// Warns of a key that version 2 of the language does not know.
    pub(crate) fn ignored_in_2(&mut self, entry: &Entry) {
        let message = format!(
            "[{}] means nothing here in version 2, and is ignored",
            entry.key
        );
        let help = NEEDS_2_1
            .contains(&entry.key.as_str())
            .then(|| format!("`{}` needs `version: 2.1`", entry.key));
        self.warn_help("W_UNKNOWN_KEY", message, entry.key_span, help);
    }

    /// Reads the tables of a config or of an orb into its space; shapes are looked at later.
    pub(crate) fn tables(&mut self, space: SpaceId, root: &Ref) {
        for kind in Kind::ALL {
            if self.v2 && kind != Kind::Job {
                continue;
            }
            let Some(node) = root.get(kind.key()) else {
                continue;
            };
            let Some(entries) = node.map() else {
                if !node.is_bad() {
                    let message = format!(
                        "`{}` is a map of names, not a {}",
                        kind.key(),
                        node.value.kind()
                    );
                    self.schema(message, node.span);
                }
                continue;
            };
            if let Some(there) = self.spaces.get_mut(space.0 as usize) {
                there.write(kind, entries);
            }
            if kind == Kind::Job && !space.is_orb() {
                self.twice(entries);
            }
        }
    }

    /// Reports jobs whose names differ by case only (language 2.3).
    fn twice(&mut self, entries: &[Entry]) {
        let mut lower: HashMap<String, Span> = HashMap::new();
        for entry in entries {
            if let Some(first) = lower.insert(entry.key.to_lowercase(), entry.key_span) {
                let message = format!(
                    "two jobs are called {} but for upper and lower case",
                    entry.key
                );
                let mut diagnostic = crate::Diagnostic::error("E_DUP", message, entry.key_span);
                diagnostic
                    .labels
                    .push((first, String::from("the other one")));
                diagnostic
                    .help
                    .push(String::from("give one of them another name"));
                self.report(diagnostic);
            }
        }
    }

    fn name_fits(&mut self, entry: &Entry, kind: Kind) -> bool {
        let name = &entry.key;
        let mut chars = name.chars();
        if kind == Kind::Job {
            // What was processed keeps the names of orb jobs (language 12.9), and is version 2.
            if name.is_empty() || (name.contains('/') && !self.v2) {
                self.schema(
                    format!("a job cannot be called [{name}]: `/` is for orbs"),
                    entry.key_span,
                );
                return false;
            }
            let usual = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
                && chars.all(|c| c.is_ascii_alphanumeric() || " _-".contains(c));
            if !usual && !self.v2 {
                self.warn(
                    "W_NAME",
                    format!("[{name}] is an unusual name of a job"),
                    entry.key_span,
                );
            }
            return true;
        }
        let fits = chars.next().is_some_and(|c| c.is_ascii_lowercase())
            && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
        if !fits {
            let message = format!(
                "[{name}] is no name: it starts with a lower-case letter and goes on with lower-case \
                 letters, digits, `_` and `-`"
            );
            self.schema(message, entry.key_span);
        }
        fits
    }

    /// An element with its shape looked at.
    pub(crate) fn definition(&mut self, entry: &Entry, kind: Kind, space: SpaceId) -> Definition {
        let node = Rc::clone(&entry.value);
        let mut definition = Definition {
            name: entry.key.to_string(),
            space,
            span: entry.key_span,
            node,
            parameters: Rc::default(),
            broken: false,
            named_in_steps: OnceCell::new(),
        };
        let before = self.errors();
        self.name_fits(entry, kind);
        match &entry.value.value {
            Value::Map(entries) => {
                let permitted = match kind {
                    Kind::Command => COMMAND_KEYS,
                    Kind::Executor => EXECUTOR_KEYS,
                    Kind::Job => JOB_KEYS,
                };
                self.closed(entries, permitted);
                if let Some(parameters) = entry.value.get("parameters").filter(|_| !self.v2) {
                    definition.parameters = Rc::new(self.parameters(parameters, Some(kind)));
                }
                self.reserved(entry, &definition.parameters, kind, space);
                self.body(entry, kind);
            }
            // An alias of an orb's element, or of another executor.
            Value::Str(target) if kind == Kind::Executor || target.contains('/') => {}
            Value::Bad => definition.broken = true,
            other => {
                let (word, given) = (kind.word(), other.kind());
                let message = format!("the {word} [{}] is a map, not a {given}", entry.key);
                let help = match kind {
                    Kind::Command => "put `steps:` above its list",
                    _ => "write its keys below its name",
                };
                self.error_help("E_SCHEMA", message, entry.key_span, Some(help.to_owned()));
            }
        }
        definition.broken |= self.errors() > before;
        definition
    }

    fn body(&mut self, entry: &Entry, kind: Kind) {
        let node = &entry.value;
        let name = &entry.key;
        let given: Vec<&Entry> = PLACES
            .iter()
            .filter_map(|key| node.entry(key))
            .filter(|e| !e.value.is_null() && !matches!(e.value.value, Value::Bool(false)))
            .collect();
        if let (true, [_, second, ..]) = (kind != Kind::Command, given.as_slice()) {
            let words: Vec<&str> = given.iter().map(|e| e.key.as_str()).collect();
            let message = format!("[{name}] has {}, and only one can be", words.join(" and "));
            let help = Some(format!("remove `{}`", second.key));
            self.error_help("E_SCHEMA", message, second.key_span, help);
        }
        let steps = node.get("steps");
        match kind {
            Kind::Executor => {}
            Kind::Command => self.needs_steps(name, steps, entry.key_span),
            Kind::Job => match node.get("type").map(|n| (n.str().unwrap_or(""), n.span)) {
                None | Some(("build", _)) => {
                    let executor = node.get("executor").is_some() && !self.v2;
                    if given.is_empty() && !executor {
                        let message = format!(
                            "job {name}: missing a required key: docker, machine, macos or executor"
                        );
                        let help = match node.entry("executor") {
                            Some(_) if self.v2 => "`executor` needs `version: 2.1`",
                            _ => "say where it runs: `docker: [{image: cimg/base:current}]`",
                        };
                        let help = Some(help.to_owned());
                        self.error_help("E_SCHEMA", message, entry.key_span, help);
                    }
                    // What was processed is version 2, and conditions may have left nothing of a list
                    // (language 7.1).
                    let empty =
                        steps.is_some_and(|steps| steps.seq().is_some_and(<[Ref]>::is_empty));
                    if empty && !self.v2 {
                        let message = format!("job {name}: `steps` holds at least one step");
                        self.schema(message, entry.key_span);
                    }
                    self.needs_steps(name, steps, entry.key_span);
                }
                Some(("release", _)) => self.release_shape(name, entry),
                Some(("lock" | "unlock", _)) if node.get("key").is_none() => {
                    let message = format!("job {name}: required key [key] not found");
                    self.schema(message, entry.key_span);
                }
                Some(_) => {}
            },
        }
    }

    fn needs_steps(&mut self, name: &str, steps: Option<&Ref>, span: Span) {
        match steps {
            None => self.schema(format!("{name}: required key [steps] not found"), span),
            Some(steps) => self.steps_shape(steps),
        }
    }

    /// A job of type release (language 7.2).
    fn release_shape(&mut self, name: &str, entry: &Entry) {
        if entry.value.get("plan_name").is_none() {
            let message = format!("job {name}: required key [plan_name] not found");
            self.schema(message, entry.key_span);
        }
        if let Some(steps) = entry.value.entry("steps") {
            let message = format!("job {name}: a release has no steps");
            self.schema(message, steps.key_span);
        }
        if let Some(validation) = entry.value.get("validation") {
            let keys = [
                "enabled",
                "evaluation_time",
                "auto_rollback_on_failure",
                "webhooks",
            ];
            self.closed(validation.map().unwrap_or_default(), &keys);
        }
    }

    /// Checks that a list of steps holds one-key maps and strings.
    pub(crate) fn steps_shape(&mut self, steps: &Ref) {
        let Some(items) = steps.seq() else {
            if steps.str().is_none_or(|text| !text.contains("<<")) && !steps.is_bad() {
                self.schema(
                    format!("`steps` is a list, not a {}", steps.value.kind()),
                    steps.span,
                );
            }
            return;
        };
        for item in items {
            match &item.value {
                Value::Map(entries) if entries.len() == 1 => {
                    let inner = entries
                        .first()
                        .filter(|e| e.key == "when" || e.key == "unless");
                    if let Some(steps) = inner.and_then(|e| e.value.get("steps"))
                        && steps.seq().is_some()
                    {
                        self.steps_shape(steps);
                    }
                }
                Value::Map(entries) => {
                    let span = entries.get(1).map_or(item.span, |entry| entry.key_span);
                    let message = format!(
                        "a step is a map of one key: maximum size: [1], found: [{}]",
                        entries.len()
                    );
                    let conditional = entries
                        .first()
                        .filter(|e| !e.value.is_null() && (e.key == "when" || e.key == "unless"));
                    let help = match conditional {
                        Some(e) => format!("put `condition:` and `steps:` below `{}:`", e.key),
                        None => "indent the arguments of a step deeper than its name".to_owned(),
                    };
                    self.error_help("E_SCHEMA", message, span, Some(help));
                }
                Value::Str(_) | Value::Bad | Value::Closed(..) => {}
                Value::Seq(_) if item.tagged => {}
                other => {
                    let message = format!("a step is a string or a map, not a {}", other.kind());
                    self.schema(message, item.span);
                }
            }
        }
    }

    /// Reports parameters with names that are kept (language 3.11, 20.8).
    fn reserved(&mut self, entry: &Entry, parameters: &Parameters, kind: Kind, space: SpaceId) {
        let Some(names) = reserved(parameters, kind, space.is_orb()) else {
            return;
        };
        let message = match kind {
            Kind::Executor => format!("[{names}] is a reserved parameter name in executors"),
            _ => format!("Parameters {names} are reserved parameter names in build jobs"),
        };
        let help = Some(String::from("give the parameter another name"));
        self.error_help("E_PARAM_RESERVED", message, entry.key_span, help);
    }
}

fn reserved(parameters: &Parameters, kind: Kind, orb: bool) -> Option<String> {
    let names: &[&str] = match kind {
        Kind::Command => &[],
        Kind::Executor => &["name"],
        Kind::Job if orb => &["name", "requires", "context", "type", "filters", "matrix"],
        Kind::Job => &[
            "name",
            "requires",
            "context",
            "type",
            "filters",
            "matrix",
            "pre-steps",
            "post-steps",
            "override-with",
            "upstream",
            "serial-group",
        ],
    };
    let used: Vec<&str> = parameters
        .keys()
        .map(Text::as_str)
        .filter(|name| names.contains(name))
        .collect();
    (!used.is_empty()).then(|| used.join(", "))
}
