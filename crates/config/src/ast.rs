//! Definitions of the config: commands, executors, jobs and pipeline parameters, with their shape
//! checked. Their fields stay nodes until a call gives their tags a meaning.

use std::rc::Rc;

use capstan_model::Span;
use indexmap::IndexMap;

use crate::compiler::Compiler;
use crate::yaml::{Entry, Ref, Value};

pub(crate) mod parameter;

pub(crate) use parameter::{Parameter, Parameters};

/// A named command, executor or job.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) node: Ref,
    pub(crate) parameters: Parameters,
    /// Its shape is wrong, which was reported; expanding it would only repeat that.
    pub(crate) broken: bool,
}

/// The three tables of definitions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Command,
    Executor,
    Job,
}

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
const JOB_KEYS: &[&str] = &[
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

/// The name most like `name`, if one is close enough to be meant.
pub(crate) fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    all.map(|other| (distance(name, other), other))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, other)| (*distance, (*other).to_owned()))
        .map(|(_, other)| other)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let (up, left, diagonal) = (
                row.get(j + 1).copied().unwrap_or(usize::MAX - 1),
                next.get(j).copied().unwrap_or(usize::MAX - 1),
                row.get(j).copied().unwrap_or(usize::MAX - 1),
            );
            let changed = usize::from(x.to_lowercase().ne(y.to_lowercase()));
            next.push((up + 1).min(left + 1).min(diagonal + changed));
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// `did you mean …`, if a name is close.
pub(crate) fn suggest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(name, all).map(|near| format!("did you mean `{near}`?"))
}

impl Compiler<'_> {
    /// Reports keys that a closed map does not have; true if there are none.
    pub(crate) fn closed(&mut self, entries: &[Entry], permitted: &[&str]) -> bool {
        let mut fine = true;
        for entry in entries
            .iter()
            .filter(|entry| !permitted.contains(&entry.key.as_str()))
        {
            fine = false;
            let message = format!(
                "extraneous key [{}] is not permitted; permitted are {}",
                entry.key,
                permitted.join(", ")
            );
            let help = if INVOCATION_KEYS.contains(&entry.key.as_str()) {
                Some(format!(
                    "`{}` belongs to the job's entry in a workflow",
                    entry.key
                ))
            } else {
                suggest(&entry.key, permitted.iter().copied())
            };
            self.error_help("E_SCHEMA", message, entry.key_span, help);
        }
        fine
    }

    /// Reads a table of definitions.
    pub(crate) fn definitions(
        &mut self,
        node: &Ref,
        kind: Kind,
    ) -> IndexMap<String, Rc<Definition>> {
        let mut table = IndexMap::new();
        let what = match kind {
            Kind::Command => "commands",
            Kind::Executor => "executors",
            Kind::Job => "jobs",
        };
        let Some(entries) = node.map() else {
            self.schema(
                format!("`{what}` is a map of names, not a {}", node.value.kind()),
                node.span,
            );
            return table;
        };
        let mut lower: IndexMap<String, Span> = IndexMap::new();
        for entry in entries {
            let mut definition = self.definition(entry, kind);
            if !self.name_fits(entry, kind) {
                definition.broken = true;
            }
            if kind == Kind::Job {
                match lower.get(&entry.key.to_lowercase()) {
                    Some(_) => self.error(
                        "E_DUP",
                        format!(
                            "two jobs are called {} but for upper and lower case",
                            entry.key
                        ),
                        entry.key_span,
                    ),
                    None => {
                        lower.insert(entry.key.to_lowercase(), entry.key_span);
                    }
                }
            }
            table.insert(entry.key.clone(), Rc::new(definition));
        }
        table
    }

    fn name_fits(&mut self, entry: &Entry, kind: Kind) -> bool {
        let name = &entry.key;
        let mut chars = name.chars();
        if kind == Kind::Job {
            if name.is_empty() || name.contains('/') {
                self.schema(
                    format!("a job cannot be called [{name}]: `/` is for orbs"),
                    entry.key_span,
                );
                return false;
            }
            let usual = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
                && chars.all(|c| c.is_ascii_alphanumeric() || " _-".contains(c));
            if !usual {
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

    fn definition(&mut self, entry: &Entry, kind: Kind) -> Definition {
        let node = Rc::clone(&entry.value);
        let mut definition = Definition {
            name: entry.key.clone(),
            span: entry.key_span,
            node,
            parameters: Parameters::new(),
            broken: false,
        };
        let before = self.errors();
        match &entry.value.value {
            Value::Map(entries) => {
                let permitted = match kind {
                    Kind::Command => COMMAND_KEYS,
                    Kind::Executor => EXECUTOR_KEYS,
                    Kind::Job => JOB_KEYS,
                };
                self.closed(entries, permitted);
                if let Some(parameters) = entry.value.get("parameters") {
                    definition.parameters = self.parameters(parameters, Some(kind));
                }
                if let Some(reserved) = reserved(&definition.parameters, kind) {
                    let message =
                        format!("Parameters {reserved} are reserved parameter names in build jobs");
                    self.error("E_PARAM_RESERVED", message, entry.key_span);
                }
                self.body(entry, kind);
            }
            // An alias of an orb's element, or of another executor.
            Value::Str(target) if kind == Kind::Executor || target.contains('/') => {}
            Value::Bad => definition.broken = true,
            other => {
                let message = format!("[{}] is a map, not a {}", entry.key, other.kind());
                self.schema(message, entry.key_span);
            }
        }
        definition.broken |= self.errors() > before;
        definition
    }

    fn body(&mut self, entry: &Entry, kind: Kind) {
        let node = &entry.value;
        let name = &entry.key;
        let places = ["docker", "machine", "macos"];
        let given: Vec<&str> = places
            .into_iter()
            .filter(|key| {
                node.get(key)
                    .is_some_and(|n| !matches!(n.value, Value::Bool(false)))
            })
            .collect();
        if kind != Kind::Command && given.len() > 1 {
            let message = format!("[{name}] has {}, and only one can be", given.join(" and "));
            self.schema(message, entry.key_span);
        }
        let steps = node.get("steps");
        let kind_of_job = node.get("type").and_then(|n| n.str()).unwrap_or("build");
        if kind == Kind::Job && kind_of_job == "build" {
            if given.is_empty() && node.get("executor").is_none() {
                let message = format!(
                    "job {name}: missing a required key: docker, machine, macos or executor"
                );
                self.schema(message, entry.key_span);
            }
            if steps.is_some_and(|steps| steps.seq().is_some_and(<[Ref]>::is_empty)) {
                self.schema(
                    format!("job {name}: `steps` holds at least one step"),
                    entry.key_span,
                );
            }
        }
        if (kind == Kind::Job && kind_of_job == "build") || kind == Kind::Command {
            match steps {
                None => self.schema(
                    format!("{name}: required key [steps] not found"),
                    entry.key_span,
                ),
                Some(steps) => self.steps_shape(steps),
            }
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
                    let help = "indent the arguments of a step deeper than its name".to_owned();
                    self.error_help("E_SCHEMA", message, span, Some(help));
                }
                Value::Str(_) | Value::Bad => {}
                Value::Seq(_) if item.tagged => {}
                other => {
                    let message = format!("a step is a string or a map, not a {}", other.kind());
                    self.schema(message, item.span);
                }
            }
        }
    }

    /// How many errors there are so far.
    pub(crate) fn errors(&self) -> usize {
        let errors = self.found.iter();
        errors
            .filter(|found| found.severity == crate::Severity::Error)
            .count()
    }
}

fn reserved(parameters: &Parameters, kind: Kind) -> Option<String> {
    let names: &[&str] = match kind {
        Kind::Command => &[],
        Kind::Executor => &["name"],
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
        .map(String::as_str)
        .filter(|name| names.contains(name))
        .collect();
    (!used.is_empty()).then(|| used.join(", "))
}
