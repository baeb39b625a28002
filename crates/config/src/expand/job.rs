//! A job with its arguments becomes a concrete one (language 7, 16.1 phases 7 and 8).

use std::rc::Rc;

use capstan_model::Span;
use capstan_model::plan::{BuildJob, Executor, JobKind, Step};

use super::executor::Found;
use super::steps::Expanded;
use crate::ast::Definition;
use crate::compiler::{Compiler, Scope};
use crate::yaml::{Entry, Node, Ref, Value};

/// Most steps of one job.
const MAX_STEPS: usize = 10_000;

/// What an invocation came to.
#[derive(Clone, Debug)]
pub(crate) struct Concrete {
    pub(crate) kind: JobKind,
    /// Its entry under `jobs`; none for approvals.
    pub(crate) processed: Option<Value>,
}

/// Steps around the job's own, with the scope they were written in.
#[derive(Default)]
pub(crate) struct Around {
    pub(crate) before: Option<Ref>,
    pub(crate) after: Option<Ref>,
}

impl Compiler<'_> {
    /// The concrete job, or `None` where a mistake was reported.
    pub(crate) fn concrete(
        &mut self,
        definition: &Definition,
        arguments: &[Entry],
        around: &Around,
        call: Span,
    ) -> Option<Concrete> {
        if definition.broken {
            return None;
        }
        let before = self.errors();
        let scope = self.bind(&definition.name, &definition.parameters, arguments, call);
        let node = &definition.node;
        let kind = node.get("type").map(|n| self.subst(n, &scope));
        let word = kind.as_ref().and_then(|n| n.str()).unwrap_or("build");
        match word {
            "build" => {}
            "approval" => {
                return Some(Concrete {
                    kind: JobKind::Approval,
                    processed: None,
                });
            }
            "no-op" => {
                let kind = Node::new(Value::Str(String::from("no-op")), definition.span);
                let processed = Value::Map(vec![super::entry("type", kind)]);
                return Some(Concrete {
                    kind: JobKind::NoOp,
                    processed: Some(processed),
                });
            }
            "release" | "lock" | "unlock" => {
                let span = kind.as_ref().map_or(definition.span, |n| n.span);
                self.unsupported("U_JOB_TYPE", format!("jobs of type {word}"), span);
                return Some(unsupported());
            }
            _ => {
                let span = kind.as_ref().map_or(definition.span, |n| n.span);
                let message = format!(
                    "`type` is one of build, release, no-op, approval, lock, unlock, not [{word}]"
                );
                self.schema(message, span);
                return None;
            }
        }
        let concrete = self.build(definition, &scope, around);
        (self.errors() == before).then_some(concrete).flatten()
    }

    fn build(
        &mut self,
        definition: &Definition,
        scope: &Scope,
        around: &Around,
    ) -> Option<Concrete> {
        let node = &definition.node;
        let mut fields: Vec<Entry> = Vec::new();
        let mut lacking = false;
        if let Some(executor) = node.get("executor") {
            match self.executor(executor, scope) {
                Found::Fields(found) => fields = found,
                Found::Unsupported => lacking = true,
                Found::Broken => return None,
            }
        }
        let places = ["docker", "machine", "macos"];
        let own: Vec<Entry> = node
            .map()?
            .iter()
            .filter(|e| {
                !matches!(
                    e.key.as_str(),
                    "executor" | "parameters" | "description" | "steps" | "type" | "branches"
                ) && !e.value.is_null()
            })
            .map(|e| Entry {
                value: self.subst(&e.value, scope),
                ..e.clone()
            })
            .filter(|e| !(e.key == "machine" && matches!(e.value.value, Value::Bool(false))))
            .collect();
        if let Some(branches) = node.entry("branches") {
            let message = "`branches` of a job means nothing to workflows; use `filters` there";
            self.warn("W_DEPRECATED", message, branches.key_span);
        }
        if own.iter().any(|e| places.contains(&e.key.as_str())) {
            fields.retain(|e| !places.contains(&e.key.as_str()));
        }
        for entry in own {
            match fields.iter_mut().find(|e| e.key == entry.key) {
                Some(there) if entry.key == "environment" => {
                    let (mut map, _) = self.environment(&there.value);
                    let (over, _) = self.environment(&entry.value);
                    for variable in over {
                        match map.iter_mut().find(|e| e.key == variable.key) {
                            Some(old) => *old = variable,
                            None => map.push(variable),
                        }
                    }
                    there.value = Node::new(Value::Map(map), entry.value.span);
                }
                Some(there) => *there = entry,
                None => fields.push(entry),
            }
        }
        let mut steps = Vec::new();
        for (list, around_it) in [
            (around.before.as_ref(), true),
            (node.get("steps"), false),
            (around.after.as_ref(), true),
        ] {
            let frozen = Scope::frozen();
            if let Some(list) = list {
                let scope = if around_it { &frozen } else { scope };
                self.steps(list, scope, &mut steps);
            }
        }
        if steps.len() > MAX_STEPS {
            let message = format!("a job has at most {MAX_STEPS} steps");
            self.error("E_LIMIT", message, definition.span);
            return None;
        }
        self.finish(definition, fields, steps, lacking)
    }

    fn finish(
        &mut self,
        definition: &Definition,
        fields: Vec<Entry>,
        steps: Vec<Expanded>,
        lacking: bool,
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
                    job.resource_class = Some(class);
                }
                "shell" => job.shell = self.shell(value),
                "working_directory" => {
                    job.working_directory = self.string("working_directory", value)?;
                }
                "environment" => {
                    let (map, variables) = self.environment(value);
                    kept = Node::new(Value::Map(map), value.span);
                    job.environment = variables;
                }
                "parallelism" => {
                    job.parallelism = self.parallelism(value)?;
                    kept = Node::new(Value::Int(i64::from(job.parallelism)), value.span);
                }
                "circleci_ip_ranges" => {
                    self.boolean("circleci_ip_ranges", value);
                }
                _ => {}
            }
            processed.push(Entry {
                value: kept,
                ..field
            });
        }
        if !placed {
            if lacking {
                return Some(unsupported());
            }
            let message = format!(
                "job {}: missing a required key: docker, machine, macos or executor; its executor has none",
                definition.name
            );
            self.schema(message, definition.span);
            return None;
        }
        let remote = |e: &&Expanded| e.built_in == "setup_remote_docker";
        let mut remotes = steps.iter().filter(remote);
        if let Some(first) = remotes.next() {
            if let Some(second) = remotes.next() {
                let message = "More than one setup_remote_docker is not valid";
                self.error("E_STEP", message, second.span);
            }
            if !matches!(job.executor, Executor::Docker(_)) {
                let message = "setup_remote_docker is only valid in jobs that run in `docker`";
                self.error("E_STEP", message, first.span);
            }
        }
        let list = steps
            .iter()
            .map(|step| Rc::clone(&step.processed))
            .collect();
        processed.push(super::entry(
            "steps",
            Node::new(Value::Seq(list), definition.span),
        ));
        processed.sort_by(|a, b| a.key.cmp(&b.key));
        job.steps = steps
            .into_iter()
            .map(|step| step.step)
            .collect::<Vec<Step>>();
        let kind = JobKind::Build(Box::new(job));
        Some(Concrete {
            kind,
            processed: Some(Value::Map(processed)),
        })
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

/// Stands for a job that was reported as unsupported, so that the graph around it can be checked.
pub(crate) fn unsupported() -> Concrete {
    Concrete {
        kind: JobKind::NoOp,
        processed: None,
    }
}

fn runner_class(class: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    let wide = |c: char| c.is_ascii_alphanumeric() || ":_+-".contains(c);
    class.split_once('/').is_some_and(|(space, name)| {
        !space.is_empty() && !name.is_empty() && space.chars().all(lower) && name.chars().all(wide)
    })
}
