//! A job with its arguments becomes a concrete one (language 7, 16.1 phases 7 and 8).

use std::rc::Rc;

use capstan_model::Span;
use capstan_model::plan::{BuildJob, Executor, FieldOrigin, JobKind};
use capstan_model::source::OriginKind;
use indexmap::IndexMap;

use super::flat::Part;
use crate::ast::{Definition, JOB_KEYS, PLACES};
use crate::budget::MAX_STEPS_OF_A_JOB;
use crate::compiler::{Compiler, Scope, Wanted};
use crate::space::SpaceId;
use crate::yaml::{Entry, Node, Ref, Text, Value};

/// The steps before a job's own, those, and the steps behind them.
type Parts = [Option<Part>; 3];

/// What an invocation came to.
pub(crate) struct Concrete {
    /// What it does, still without its steps.
    pub(crate) kind: JobKind,
    steps: Parts,
    /// Its entry under `jobs`; none for approvals.
    pub(crate) processed: Option<Ref>,
}

impl Concrete {
    /// A job without steps.
    pub(crate) fn bare(kind: JobKind, processed: Option<Ref>) -> Self {
        Self {
            kind,
            steps: Parts::default(),
            processed,
        }
    }

    /// What it does, with its steps.
    pub(crate) fn into_kind(self) -> JobKind {
        let Self {
            mut kind, steps, ..
        } = self;
        if let JobKind::Build(job) = &mut kind {
            for part in steps.into_iter().flatten() {
                part.onto(&mut job.steps);
            }
        }
        kind
    }
}

/// Steps around the job's own, with the scope they were written in.
#[derive(Default)]
pub(crate) struct Around {
    pub(crate) before: Option<Ref>,
    pub(crate) after: Option<Ref>,
}

impl Compiler<'_> {
    /// The concrete job, or `None` where a mistake was reported. The arguments were substituted, and
    /// written in the space `from`.
    pub(crate) fn concrete(
        &mut self,
        definition: &Definition,
        arguments: &[Entry],
        around: &Around,
        (from, call): (SpaceId, Span),
    ) -> Option<Concrete> {
        if definition.broken {
            return None;
        }
        let before = self.errors();
        let scope = self.bind(definition, arguments, from, call);
        let node = &definition.node;
        let kind = node.get("type").map(|n| self.subst(n, &scope));
        let span = kind.as_ref().map_or(definition.span, |n| n.span);
        let word = kind.as_ref().and_then(|n| n.str()).unwrap_or("build");
        let concrete = match word {
            "build" => self.build(definition, &scope, around),
            "approval" => Some(Concrete::bare(JobKind::Approval, None)),
            "no-op" => {
                for entry in node.map().unwrap_or_default() {
                    if !["type", "parameters", "description"].contains(&entry.key.as_str()) {
                        let message =
                            format!("`{}` means nothing in a job of type no-op", entry.key);
                        self.warn("W_IGNORED_KEY", message, entry.key_span);
                    }
                }
                let kind = Node::new(Value::Str("no-op".into()), definition.span);
                let processed = Value::Map(vec![super::entry("type", kind)]);
                let processed = Node::new(processed, definition.span);
                Some(Concrete::bare(JobKind::NoOp, Some(processed)))
            }
            "release" | "lock" | "unlock" => {
                self.unsupported("U_JOB_TYPE", format!("jobs of type {word}"), span);
                let fields = node.map().unwrap_or_default();
                let mut fields: Vec<Entry> = fields
                    .iter()
                    .filter(|e| {
                        ["type", "plan_name", "validation", "key"].contains(&e.key.as_str())
                    })
                    .map(|e| e.with(self.subst(&e.value, &scope)))
                    .collect();
                fields.sort_by(|a, b| a.key.cmp(&b.key));
                let processed = Node::new(Value::Map(fields), definition.span);
                Some(Concrete::bare(JobKind::NoOp, Some(processed)))
            }
            _ => {
                let message = format!(
                    "`type` is one of build, release, no-op, approval, lock, unlock, not [{word}]"
                );
                self.schema(message, span);
                None
            }
        };
        (self.errors() == before).then_some(concrete).flatten()
    }

    fn build(
        &mut self,
        definition: &Definition,
        scope: &Scope,
        around: &Around,
    ) -> Option<Concrete> {
        let node = &definition.node;
        self.fields.clear();
        let mut fields: Vec<Entry> = Vec::new();
        if let Some(executor) = node.get("executor").filter(|_| !self.v2) {
            fields = self.executor(executor, scope)?;
        }
        let mut own: Vec<Entry> = Vec::new();
        for entry in node.map()? {
            let elsewhere = [
                "executor",
                "parameters",
                "description",
                "steps",
                "type",
                "branches",
                "key",
                "plan_name",
                "validation",
            ];
            if elsewhere.contains(&entry.key.as_str())
                || entry.value.is_null()
                || !JOB_KEYS.contains(&entry.key.as_str())
            {
                continue;
            }
            let value = self.subst(&entry.value, scope);
            if value.is_null()
                || (entry.key == "machine" && matches!(value.value, Value::Bool(false)))
            {
                continue;
            }
            let field = entry.with(value);
            self.note_field(&field);
            own.push(field);
        }
        if let Some(branches) = node.entry("branches") {
            let message = "`branches` of a job means nothing to workflows; use `filters` there";
            self.warn("W_DEPRECATED", message, branches.key_span);
        }
        if own.iter().any(|e| PLACES.contains(&e.key.as_str())) {
            fields.retain(|e| !PLACES.contains(&e.key.as_str()));
        }
        for entry in own {
            match fields.iter_mut().find(|e| e.key == entry.key) {
                Some(there) if entry.key == "environment" => {
                    let below = self.assigned(&there.value);
                    let over = self.assigned(&entry.value);
                    let all = [below.map(), over.map()].into_iter().flatten().flatten();
                    let merged: IndexMap<&Text, &Entry> = all.map(|e| (&e.key, e)).collect();
                    let merged = merged.into_values().cloned().collect();
                    there.value = Node::new(Value::Map(merged), entry.value.span);
                }
                Some(there) => *there = entry,
                None => fields.push(entry),
            }
        }
        let parts = [
            self.around("pre-steps", around.before.as_ref()),
            self.own_steps(definition, scope),
            self.around("post-steps", around.after.as_ref()),
        ];
        let counts = parts.iter().flatten().map(|part| part.list.count);
        if counts.sum::<usize>() > MAX_STEPS_OF_A_JOB {
            let message = format!("a job has at most {MAX_STEPS_OF_A_JOB} steps");
            self.error("E_LIMIT", message, definition.span);
            return None;
        }
        self.finish(definition, fields, parts)
    }

    /// Steps that an invocation puts around a job's own: written in the config, whoever the job is of
    /// (language 10.7).
    fn around(&mut self, which: &str, list: Option<&Ref>) -> Option<Part> {
        let list = list?;
        let kind = OriginKind::AroundSteps(which.to_owned());
        let scope = Scope::frozen(SpaceId::CONFIG);
        Some(self.within(kind, list.span, |this| {
            this.flat(|this, out| this.steps(list, &scope, out))
        }))
    }

    fn finish(
        &mut self,
        definition: &Definition,
        fields: Vec<Entry>,
        parts: Parts,
    ) -> Option<Concrete> {
        let mut job = BuildJob {
            executor: Executor::Machine {
                image: None,
                docker_layer_caching: false,
            },
            resource_class: None,
            shell: None,
            working_directory: String::from("~/project"),
            environment: Vec::new(),
            parallelism: 1,
            steps: Vec::new(),
            origins: Vec::new(),
        };
        let mut processed: Vec<Entry> = Vec::new();
        let mut placed = false;
        let mut fields = std::collections::VecDeque::from(fields);
        while let Some(field) = fields.pop_front() {
            let mut kept = Rc::clone(&field.value);
            let value = &field.value;
            match field.key.as_str() {
                "docker" | "machine" | "macos" => {
                    placed = true;
                    let class = fields
                        .iter()
                        .chain(&processed)
                        .find(|e| e.key == "resource_class");
                    let class = class.and_then(|e| e.value.str()).map(str::to_owned);
                    let found = match field.key.as_str() {
                        "docker" => self.docker(value).map(|(node, e)| (node, e, Vec::new())),
                        "machine" => self.machine(value, class.as_deref()),
                        _ => self.macos(value),
                    };
                    let (node, executor, moved) = found?;
                    kept = node;
                    job.executor = executor;
                    for inner in moved {
                        if fields.iter().chain(&processed).any(|e| e.key == inner.key) {
                            let message = format!(
                                "{} is set both on the job and inside the {} map",
                                inner.key, field.key
                            );
                            self.schema(message, inner.key_span);
                        } else {
                            self.note_field(&inner);
                            fields.push_back(inner);
                        }
                    }
                }
                "resource_class" => {
                    let class = self.string("resource_class", value)?;
                    if class.contains('/') && !runner_class(&class) {
                        self.schema(
                            format!("Invalid format in resource class [{class}]"),
                            value.span,
                        );
                    }
                    crate::checks::resource_class::check(self, &class, value.span);
                    job.resource_class = Some(class);
                }
                "shell" => job.shell = self.shell(value),
                "working_directory" => {
                    job.working_directory = self.string("working_directory", value)?;
                }
                "environment" => {
                    (kept, job.environment) = self.environment(value);
                }
                "parallelism" => {
                    job.parallelism = self.parallelism(value)?;
                    kept = Node::new(Value::Int(i64::from(job.parallelism)), value.span);
                }
                "circleci_ip_ranges" => {
                    self.boolean("circleci_ip_ranges", value);
                }
                "retention" => self.retention(value),
                _ => {}
            }
            processed.push(Entry {
                value: kept,
                ..field
            });
        }
        if !placed {
            let message = format!(
                "job {}: missing a required key: docker, machine, macos or executor; its executor has none",
                definition.name
            );
            self.schema(message, definition.span);
            return None;
        }
        let noted = parts.iter().flatten().flat_map(|part| &part.list.noted);
        let places = |name| noted.clone().filter(move |e| e.0 == name).map(|e| e.1);
        let mut remotes = places("setup_remote_docker");
        if let Some(first) = remotes.next() {
            if let Some(second) = remotes.next() {
                let message = "More than one setup_remote_docker is not valid";
                self.error("E_STEP", message, second);
            }
            if !matches!(job.executor, Executor::Docker(_)) {
                let message = "setup_remote_docker is only valid in jobs that run in `docker`";
                self.error("E_STEP", message, first);
            }
        }
        if let (2.., Some(deploy)) = (job.parallelism, places("deploy").next()) {
            let message = "the step `deploy` in a parallel job, which runs once after all nodes";
            self.unsupported("U_STEP", message, deploy);
        }
        let steps = listed(&parts, definition.span);
        processed.push(match definition.node.entry("steps") {
            Some(entry) => entry.with(steps),
            None => super::entry("steps", steps),
        });
        processed.sort_by(|a, b| a.key.cmp(&b.key));
        let fields = std::mem::take(&mut self.fields).into_iter();
        job.origins = fields
            .map(|(field, origin)| FieldOrigin { field, origin })
            .collect();
        let shown = self.shows_processed();
        let processed = shown.then(|| Node::new(Value::Map(processed), definition.span));
        Some(match self.wanted {
            Wanted::Findings => Concrete::bare(JobKind::NoOp, processed),
            Wanted::Plan => Concrete {
                kind: JobKind::Build(Box::new(job)),
                steps: parts,
                processed,
            },
        })
    }

    /// `retention: {caches: 15d}`, from 1 to 30 days (language 7, 20.18).
    fn retention(&mut self, node: &Ref) {
        let entries = node.map().unwrap_or_default();
        if !self.closed(entries, &["caches"]) {
            return;
        }
        let days = node.get("caches").and_then(|n| n.str()).and_then(|text| {
            let days: u32 = text.strip_suffix('d')?.parse().ok()?;
            (1..=30).contains(&days).then_some(days)
        });
        if days.is_none() && !node.is_bad() {
            let message = "`retention` is `caches` with 1 to 30 days: `{caches: 15d}`";
            self.schema(message, node.span);
        }
    }

    fn parallelism(&mut self, node: &Ref) -> Option<u32> {
        let n = match &node.value {
            Value::Int(n) => Some(*n),
            Value::Str(text) => text.parse::<i64>().ok(),
            Value::Bad => return None,
            _ => None,
        };
        match n.map(u32::try_from) {
            Some(Ok(n)) if n >= 1 => Some(n),
            Some(_) => {
                self.schema("parallelism must be a positive integer", node.span);
                None
            }
            None => {
                self.schema("parallelism must be an integer", node.span);
                None
            }
        }
    }
}

/// All steps as processed output has them.
fn listed(parts: &Parts, span: Span) -> Ref {
    match parts {
        [None, Some(part), None] => Rc::clone(&part.list.processed),
        parts => {
            let lists = parts.iter().flatten();
            let lists = lists.filter_map(|part| part.list.processed.seq());
            Node::new(Value::Seq(lists.flatten().cloned().collect()), span)
        }
    }
}

fn runner_class(class: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    let wide = |c: char| c.is_ascii_alphanumeric() || ":_+-".contains(c);
    class.split_once('/').is_some_and(|(space, name)| {
        !space.is_empty() && !name.is_empty() && space.chars().all(lower) && name.chars().all(wide)
    })
}
