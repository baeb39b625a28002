//! A parsed config into a plan: jobs that run steps, and workflows with `requires`. What this version
//! does not compile is reported by name as unsupported, and then there is no plan.

use std::collections::{HashMap, HashSet};

use capstan_model::source::{Origin, OriginKind, Origins};
use capstan_model::{FileId, Plan, Span, Trigger, plan as p};

use indexmap::IndexMap;

use crate::diagnostic::{Diagnostic, Severity};
use crate::sources::Sources;
use crate::yaml::{self, NodeId, Tree, Value};

struct Lower<'a> {
    tree: &'a Tree,
    found: Vec<Diagnostic>,
    origins: Origins,
}

/// The plan, if nothing stands in its way, and everything found.
pub(crate) fn lower(sources: &Sources, trigger: &Trigger) -> (Option<Plan>, Vec<Diagnostic>) {
    let text = sources.get(FileId(0)).map_or("", |file| file.text.as_str());
    let tree = match yaml::parse(FileId(0), text) {
        Ok(tree) => tree,
        Err(diagnostic) => return (None, vec![*diagnostic]),
    };
    let origins = Origins {
        files: sources.files().to_vec(),
        table: Vec::new(),
    };
    let mut lower = Lower {
        tree: &tree,
        found: Vec::new(),
        origins,
    };
    let workflows = lower.config(trigger);
    let Lower { found, origins, .. } = lower;
    let stops = found.iter().any(|d| d.severity != Severity::Warning);
    let plan = (!stops).then(|| Plan {
        workflows,
        // JSON is YAML; without templates the config is its own expansion.
        processed: json(&tree, tree.root).to_string(),
        origins,
        setup: false,
    });
    (plan, found)
}

fn json(tree: &Tree, id: NodeId) -> serde_json::Value {
    use serde_json::Value as Json;
    match tree.node(id).map(|node| &node.value) {
        None => Json::Null,
        Some(Value::Seq(items)) => Json::Array(items.iter().map(|id| json(tree, *id)).collect()),
        Some(Value::Map(pairs)) => Json::Object(
            pairs
                .iter()
                .map(|(k, v)| (tree.text(*k).unwrap_or_default().to_owned(), json(tree, *v)))
                .collect(),
        ),
        Some(Value::Scalar { text, plain }) if *plain => match text.as_str() {
            "" | "~" | "null" => Json::Null,
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            number => number
                .parse::<i64>()
                .map_or_else(|_| Json::String(text.clone()), Json::from),
        },
        Some(Value::Scalar { text, .. }) => Json::String(text.clone()),
    }
}

impl<'a> Lower<'a> {
    fn span(&self, id: NodeId) -> Span {
        self.tree.node(id).map_or(
            Span {
                file: FileId(0),
                start: 0,
                end: 0,
            },
            |node| node.span,
        )
    }

    fn error(&mut self, code: &'static str, message: impl Into<String>, at: NodeId) {
        let span = self.span(at);
        self.found
            .push(Diagnostic::error(code, message.into(), span));
    }

    fn unsupported(&mut self, what: &str, at: NodeId) {
        let message = format!("`{what}` is not compiled by this version");
        let span = self.span(at);
        self.found
            .push(Diagnostic::unsupported("U_KEY", message, span));
    }

    fn map(&mut self, id: NodeId, what: &str) -> Vec<(&'a str, NodeId, NodeId)> {
        let tree = self.tree;
        let Some(Value::Map(pairs)) = tree.node(id).map(|node| &node.value) else {
            self.error("E_SCHEMA", format!("{what} must be a map"), id);
            return Vec::new();
        };
        let mut seen = HashSet::new();
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            match tree.text(*key) {
                None => self.error("E_SCHEMA", format!("a key of {what} must be text"), *key),
                Some(name) if !seen.insert(name) => {
                    self.error(
                        "E_YAML",
                        format!("the key `{name}` stands here twice"),
                        *key,
                    );
                }
                Some(name) => entries.push((name, *key, *value)),
            }
        }
        entries
    }

    fn seq(&mut self, id: NodeId, what: &str) -> &'a [NodeId] {
        let tree = self.tree;
        if let Some(Value::Seq(items)) = tree.node(id).map(|node| &node.value) {
            return items;
        }
        self.error("E_SCHEMA", format!("{what} must be a list"), id);
        &[]
    }

    fn text(&mut self, id: NodeId, what: &str) -> String {
        match self.tree.text(id) {
            Some(text) if text.contains("<<") => self.unsupported("<< >>", id),
            Some(text) => return text.to_owned(),
            None => self.error("E_SCHEMA", format!("{what} must be text"), id),
        }
        String::new()
    }

    fn environment(&mut self, id: NodeId) -> Vec<p::EnvVar> {
        let entries = self.map(id, "`environment`");
        let var = |(name, _, value): (&str, NodeId, NodeId)| p::EnvVar {
            name: name.to_owned(),
            value: self.text(value, "the value of a variable"),
        };
        entries.into_iter().map(var).collect()
    }

    fn config(&mut self, trigger: &Trigger) -> Vec<p::Workflow> {
        let (mut jobs, mut workflows, mut version) = (IndexMap::new(), Vec::new(), None);
        for (key, at, value) in self.map(self.tree.root, "the config") {
            match key {
                "version" => version = Some(value),
                "jobs" => {
                    for (name, at, body) in self.map(value, "`jobs`") {
                        jobs.insert(name, (at, body));
                    }
                }
                "workflows" => workflows = self.map(value, "`workflows`"),
                other => self.unsupported(other, at),
            }
        }
        match version {
            None => self.error(
                "E_VERSION",
                "the config has no `version`; write `version: 2.1`",
                self.tree.root,
            ),
            Some(at) if self.tree.text(at) != Some("2.1") => {
                self.unsupported("a version other than 2.1", at)
            }
            Some(_) => {}
        }
        let selection = &trigger.selection;
        if !selection.workflows.is_empty() || !selection.jobs.is_empty() {
            self.unsupported("a selection of workflows or jobs", self.tree.root);
        }
        if !trigger.parameters.is_empty() {
            self.unsupported("pipeline parameters", self.tree.root);
        }
        let mut built = HashMap::new();
        for (name, (_, body)) in &jobs {
            let job = self.job(*body);
            built.insert(*name, job);
        }
        workflows.retain(|(name, ..)| *name != "version");
        if workflows.is_empty() {
            let (Some((at, _)), Some(job)) = (jobs.get("build"), built.get("build")) else {
                self.error(
                    "E_NO_WORKFLOW",
                    "There are no workflows or build jobs in the config.",
                    self.tree.root,
                );
                return Vec::new();
            };
            let (name, kind) = (
                "workflow".to_owned(),
                p::JobKind::Build(Box::new(job.clone())),
            );
            let origin = self.origin(OriginKind::Workflow(name.clone()), *at);
            let job = self.invoked("build", kind, Vec::new(), Vec::new(), *at);
            let decision = self.always(*at);
            return vec![p::Workflow {
                name,
                decision,
                jobs: vec![job],
                max_auto_reruns: 0,
                origin,
            }];
        }
        workflows
            .into_iter()
            .map(|(name, at, body)| self.workflow(name, at, body, &built))
            .collect()
    }

    fn origin(&mut self, kind: OriginKind, at: NodeId) -> capstan_model::OriginId {
        let span = self.span(at);
        self.origins.push(Origin {
            parent: None,
            kind,
            span,
        })
    }

    fn always(&self, at: NodeId) -> p::Decision {
        let reason = "no filters: runs on every branch".to_owned();
        p::Decision {
            runs: true,
            reason,
            clause: None,
            value: None,
            span: self.span(at),
        }
    }

    fn invoked(
        &mut self,
        name: &str,
        kind: p::JobKind,
        requires: Vec<p::Requirement>,
        contexts: Vec<String>,
        at: NodeId,
    ) -> p::Job {
        let origin = self.origin(OriginKind::Job(name.to_owned()), at);
        let decision = self.always(at);
        p::Job {
            name: name.to_owned(),
            kind,
            decision,
            requires,
            contexts,
            serial_group: None,
            origin,
        }
    }

    fn workflow(
        &mut self,
        name: &str,
        at: NodeId,
        body: NodeId,
        built: &HashMap<&str, p::BuildJob>,
    ) -> p::Workflow {
        let (mut jobs, mut places) = (Vec::<p::Job>::new(), Vec::new());
        for (key, key_at, value) in self.map(body, "a workflow") {
            if key != "jobs" {
                self.unsupported(key, key_at);
                continue;
            }
            for item in self.seq(value, "`jobs` of a workflow") {
                let (target, fields) = match self.tree.text(*item) {
                    Some(name) => (name, Vec::new()),
                    None => match self.map(*item, "a job invocation").as_slice() {
                        [(name, _, body)] => (*name, self.map(*body, "a job invocation")),
                        _ => {
                            self.error("E_SCHEMA", "a job invocation must have one key", *item);
                            continue;
                        }
                    },
                };
                let (mut shown, mut requires, mut contexts) =
                    (target.to_owned(), Vec::new(), Vec::new());
                for (key, key_at, value) in fields {
                    match key {
                        "name" => shown = self.text(value, "`name`"),
                        "requires" => {
                            for id in self.seq(value, "`requires`") {
                                let job = self.text(
                                    *id,
                                    "a requirement (statuses are not compiled by this version)",
                                );
                                places.push((job.clone(), *id));
                                requires.push(p::Requirement {
                                    job,
                                    statuses: vec![p::RequiredStatus::Success],
                                });
                            }
                        }
                        "context" if self.tree.text(value).is_some() => {
                            contexts = vec![self.text(value, "`context`")]
                        }
                        "context" => {
                            for id in self.seq(value, "`context`") {
                                contexts.push(self.text(*id, "a context"));
                            }
                        }
                        other => self.unsupported(other, key_at),
                    }
                }
                let Some(job) = built.get(target) else {
                    self.error(
                        "E_UNKNOWN_JOB",
                        format!("there is no job named `{target}`"),
                        *item,
                    );
                    continue;
                };
                if jobs.iter().any(|job| job.name == shown) {
                    self.unsupported("two jobs of one name in a workflow", *item);
                }
                let kind = p::JobKind::Build(Box::new(job.clone()));
                let job = self.invoked(&shown, kind, requires, contexts, *item);
                jobs.push(job);
            }
        }
        for (job, at) in places {
            if !jobs.iter().any(|known| known.name == job) {
                self.error(
                    "E_REQ_UNKNOWN",
                    format!("no job of this workflow is named `{job}`"),
                    at,
                );
            }
        }
        let mut done = HashSet::new();
        loop {
            let before = done.len();
            for job in &jobs {
                if job
                    .requires
                    .iter()
                    .all(|r| done.contains(&r.job) || !jobs.iter().any(|j| j.name == r.job))
                {
                    done.insert(job.name.clone());
                }
            }
            if done.len() == before {
                break;
            }
        }
        if jobs.iter().any(|job| !done.contains(&job.name)) {
            self.error(
                "E_REQ_CYCLE",
                "jobs of this workflow require each other in a circle",
                at,
            );
        }
        let origin = self.origin(OriginKind::Workflow(name.to_owned()), at);
        p::Workflow {
            name: name.to_owned(),
            decision: self.always(at),
            jobs,
            max_auto_reruns: 0,
            origin,
        }
    }

    fn job(&mut self, body: NodeId) -> p::BuildJob {
        let (mut executor, mut environment, mut steps) = (None, Vec::new(), None);
        let (mut class, mut shell, mut directory, mut parallelism) =
            (None, None, "~/project".to_owned(), 1);
        for (key, at, value) in self.map(body, "a job") {
            match key {
                "docker" => executor = self.docker(value),
                "machine" if self.tree.text(value) == Some("true") => {
                    executor = Some(p::Executor::Machine {
                        image: None,
                        docker_layer_caching: false,
                    });
                }
                "machine" => {
                    let mut image = None;
                    for (key, at, value) in self.map(value, "`machine`") {
                        match key {
                            "image" => image = Some(self.text(value, "`image`")),
                            other => self.unsupported(other, at),
                        }
                    }
                    executor = Some(p::Executor::Machine {
                        image,
                        docker_layer_caching: false,
                    });
                }
                "environment" => environment = self.environment(value),
                "resource_class" => class = Some(self.text(value, "`resource_class`")),
                "shell" => shell = Some(p::Shell::Line(self.text(value, "`shell`"))),
                "working_directory" => directory = self.text(value, "`working_directory`"),
                "parallelism" => match self.text(value, "`parallelism`").parse::<u32>() {
                    Ok(n) if n > 0 => parallelism = n,
                    _ => self.error(
                        "E_SCHEMA",
                        "`parallelism` must be a whole number from 1",
                        value,
                    ),
                },
                "steps" => {
                    let items = self.seq(value, "`steps`");
                    steps = Some(
                        items
                            .iter()
                            .filter_map(|id| self.step(*id))
                            .collect::<Vec<_>>(),
                    );
                }
                "description" => {}
                other => self.unsupported(other, at),
            }
        }
        if executor.is_none() && !self.found.iter().any(|d| d.code.starts_with("U_")) {
            self.error("E_SCHEMA", "a job needs `docker` or `machine`", body);
        }
        if steps.is_none() {
            self.unsupported("a job without `steps`", body);
        }
        let executor = executor.unwrap_or(p::Executor::Machine {
            image: None,
            docker_layer_caching: false,
        });
        p::BuildJob {
            executor,
            resource_class: class,
            shell,
            working_directory: directory,
            environment,
            parallelism,
            steps: steps.unwrap_or_default(),
        }
    }

    fn docker(&mut self, id: NodeId) -> Option<p::Executor> {
        let mut containers = Vec::new();
        for item in self.seq(id, "`docker`") {
            let mut container = p::Container::default();
            for (key, at, value) in self.map(*item, "a container") {
                match key {
                    "image" => container.image = self.text(value, "`image`"),
                    "user" => container.user = Some(self.text(value, "`user`")),
                    "environment" => container.environment = self.environment(value),
                    other => self.unsupported(other, at),
                }
            }
            if container.image.is_empty() {
                self.error("E_SCHEMA", "a container needs an `image`", *item);
            }
            if !containers.is_empty() {
                self.unsupported("a second docker container", *item);
            }
            containers.push(container);
        }
        (!containers.is_empty()).then_some(p::Executor::Docker(containers))
    }

    fn step(&mut self, id: NodeId) -> Option<p::Step> {
        let origin = self.origin(OriginKind::Written, id);
        if let Some(text) = self.tree.text(id) {
            if text != "checkout" {
                self.unsupported(text, id);
                return None;
            }
            let kind = p::StepKind::Checkout {
                path: None,
                method: p::CheckoutMethod::default(),
            };
            return Some(p::Step {
                name: None,
                kind,
                when: p::When::OnSuccess,
                origin,
            });
        }
        let entries = self.map(id, "a step");
        let [(key, at, value)] = entries.as_slice() else {
            self.error(
                "E_SCHEMA",
                "a step must have one key; check the indentation below it",
                id,
            );
            return None;
        };
        if *key != "run" {
            self.unsupported(key, *at);
            return None;
        }
        let (mut run, mut name, mut when) = (p::RunStep::default(), None, p::When::OnSuccess);
        if self.tree.text(*value).is_some() {
            run.command = self.text(*value, "`run`");
        } else {
            for (key, at, value) in self.map(*value, "`run`") {
                match key {
                    "command" => run.command = self.text(value, "`command`"),
                    "name" => name = Some(self.text(value, "`name`")),
                    "shell" => run.shell = Some(p::Shell::Line(self.text(value, "`shell`"))),
                    "environment" => run.environment = self.environment(value),
                    "working_directory" => {
                        run.working_directory = Some(self.text(value, "`working_directory`"))
                    }
                    "background" => match self.tree.text(value) {
                        Some("true") => run.background = true,
                        Some("false") => {}
                        _ => self.error("E_SCHEMA", "`background` must be true or false", value),
                    },
                    "when" => match self.tree.text(value) {
                        Some("on_success") => {}
                        Some("on_fail") => when = p::When::OnFail,
                        Some("always") => when = p::When::Always,
                        _ => self.error(
                            "E_SCHEMA",
                            "`when` must be on_success, on_fail or always",
                            value,
                        ),
                    },
                    other => self.unsupported(other, at),
                }
            }
        }
        if run.command.is_empty() {
            self.error("E_SCHEMA", "`run` needs a `command`", *value);
        }
        Some(p::Step {
            name,
            kind: p::StepKind::Run(Box::new(run)),
            when,
            origin,
        })
    }
}

#[cfg(test)]
mod tests {
    use capstan_model::plan::{Executor, JobKind, StepKind};
    use capstan_model::{FileId, Plan};

    use super::Lower;
    use crate::diagnostic::Diagnostic;
    use crate::yaml;

    fn codes(text: &str) -> (Vec<capstan_model::plan::Workflow>, Vec<Diagnostic>) {
        let tree = match yaml::parse(FileId(0), text) {
            Ok(tree) => tree,
            Err(diagnostic) => return (Vec::new(), vec![*diagnostic]),
        };
        let mut lower = Lower {
            tree: &tree,
            found: Vec::new(),
            origins: Plan::default().origins,
        };
        let trigger: capstan_model::Trigger = serde_json::from_value(serde_json::json!({
            "pipeline": "00000000-0000-0000-0000-000000000000", "number": 1, "actor": "a",
            "kind": "command_line", "received_at_ms": 0,
            "project": {"slug": "", "provider": "local", "owner": "", "name": "", "web_url": "", "clone_url": "", "default_branch": null},
            "revision": {"branch": null, "tag": null, "sha": null, "base_sha": null, "subject": null, "body": null, "author": null, "dirty": false},
            "parameters": {}, "selection": {"workflows": [], "jobs": []}, "values": {}
        }))
        .unwrap();
        let workflows = lower.config(&trigger);
        (workflows, lower.found)
    }

    const JOB: &str = "version: 2.1\njobs:\n  build:\n    docker: [{image: a}]\n    steps: [checkout, {run: echo hi}]\n";

    #[test]
    fn a_build_job_becomes_the_implicit_workflow() {
        let (workflows, found) = codes(JOB);
        assert_eq!(found, []);
        assert_eq!(workflows[0].name, "workflow");
        let JobKind::Build(job) = &workflows[0].jobs[0].kind else {
            panic!("not a build job")
        };
        assert!(matches!(&job.executor, Executor::Docker(c) if c[0].image == "a"));
        assert!(matches!(&job.steps[1].kind, StepKind::Run(run) if run.command == "echo hi"));
    }

    #[test]
    fn mistakes_and_what_is_not_compiled_have_codes() {
        let flow = |jobs: &str| format!("{JOB}workflows: {{w: {{jobs: {jobs}}}}}\n");
        for (text, code) in [
            (flow("[nope]"), "E_UNKNOWN_JOB"),
            (flow("[{build: {requires: [nope]}}]"), "E_REQ_UNKNOWN"),
            (flow("[{build: {requires: [build]}}]"), "E_REQ_CYCLE"),
            (flow("[{build: {filters: {}}}]"), "U_KEY"),
            ("version: 2.1\n".to_owned(), "E_NO_WORKFLOW"),
            ("a: [".to_owned(), "E_YAML"),
        ] {
            let (_, found) = codes(&text);
            assert_eq!(
                found.iter().map(|d| d.code).collect::<Vec<_>>(),
                [code],
                "{text}"
            );
        }
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut text = "a0: &a0 [x]\n".to_owned();
        for n in 1..30 {
            text.push_str(&format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1));
        }
        assert_eq!(codes(&text).1[0].code, "E_LIMIT");
    }
}
