//! Workflows and the jobs they invoke (language 10).

use std::collections::HashSet;
use std::rc::Rc;

use capstan_model::plan::{Decision, JobKind, RequiredStatus};
use capstan_model::source::{Origin, OriginKind};
use capstan_model::trigger::TriggerKind;
use capstan_model::{OriginId, Span, plan};

use crate::ast::suggest;
use crate::compiler::{Compiler, Scope};
use crate::expand::job::{Around, Concrete, unsupported};
use crate::logic;
use crate::matrix::{Cell, cell_text, suffix};
use crate::yaml::{Entry, Node, Ref, Value};

const INVOCATION_KEYS: &[&str] = &[
    "requires",
    "name",
    "context",
    "type",
    "filters",
    "matrix",
    "pre-steps",
    "post-steps",
    "serial-group",
    "override-with",
];

/// A requirement as written.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) job: String,
    pub(crate) statuses: Vec<RequiredStatus>,
    /// The statuses as written, if any.
    pub(crate) written: Option<Ref>,
    pub(crate) span: Span,
}

/// A job of a workflow before names are final.
pub(crate) struct Invocation {
    /// The name it asks for, and later the one it has.
    pub(crate) base: String,
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    pub(crate) cell_of: Option<usize>,
    pub(crate) concrete: Concrete,
    pub(crate) inline_approval: bool,
    pub(crate) requires: Vec<Wanted>,
    pub(crate) context: Option<Ref>,
    pub(crate) filters: Option<Ref>,
    pub(crate) serial_group: Option<Ref>,
    pub(crate) decision: Decision,
    pub(crate) origin: OriginId,
    pub(crate) span: Span,
}

/// A workflow before names are final.
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) decision: Decision,
    /// A condition dropped it, and nothing below was expanded.
    pub(crate) dropped: bool,
    pub(crate) jobs: Vec<Invocation>,
    /// Names whose invocation was reported as wrong; requiring them is no further mistake.
    pub(crate) broken: HashSet<String>,
    /// Names of matrices without members.
    pub(crate) empty: HashSet<String>,
    pub(crate) max_auto_reruns: u32,
    pub(crate) triggers: Option<Ref>,
    pub(crate) origin: OriginId,
}

impl Compiler<'_> {
    /// All workflows as the plan has them, and the processed config.
    pub(crate) fn workflows(&mut self, root: &Ref) -> Option<(Vec<plan::Workflow>, Value)> {
        let mut drafts = Vec::new();
        let listed: Vec<Entry> = match root.get("workflows") {
            None => Vec::new(),
            Some(node) => match node.map() {
                Some(entries) => entries
                    .iter()
                    .filter(|e| e.key != "version")
                    .cloned()
                    .collect(),
                None => {
                    self.schema("`workflows` is a map of names", node.span);
                    return None;
                }
            },
        };
        if listed.is_empty() {
            let Some(build) = self.jobs.get("build").map(Rc::clone) else {
                if self.errors() == 0 {
                    let message = "There are no workflows or build jobs in the config.";
                    let span = root.entry("jobs").map_or(root.span, |e| e.key_span);
                    let span = if span == root.span {
                        Span {
                            end: span.start,
                            ..span
                        }
                    } else {
                        span
                    };
                    let help = String::from(
                        "add a workflow that lists your jobs, or call the job `build`",
                    );
                    self.error_help("E_NO_WORKFLOW", message, span, Some(help));
                }
                return None;
            };
            let name = Node::new(Value::Str(String::from("build")), build.span);
            let mut draft = self.draft("workflow", build.span);
            self.invocation(&name, &mut draft);
            drafts.push(draft);
        }
        for entry in &listed {
            let draft = self.within(
                format!("calling workflow: '{}'", entry.key),
                OriginKind::Workflow(entry.key.clone()),
                entry.key_span,
                |this| this.workflow(entry),
            );
            drafts.extend(draft);
        }
        self.select(&mut drafts);
        self.finish_workflows(drafts)
    }

    fn draft(&mut self, name: &str, span: Span) -> Draft {
        let origin = self.origins.push(Origin {
            parent: None,
            kind: OriginKind::Workflow(name.to_owned()),
            span,
        });
        Draft {
            name: name.to_owned(),
            span,
            decision: Decision {
                runs: true,
                reason: String::from("no condition: runs always"),
                clause: None,
                value: None,
                span,
            },
            dropped: false,
            jobs: Vec::new(),
            broken: HashSet::new(),
            empty: HashSet::new(),
            max_auto_reruns: 0,
            triggers: None,
            origin,
        }
    }

    fn workflow(&mut self, entry: &Entry) -> Option<Draft> {
        let node = &entry.value;
        let mut draft = self.draft(&entry.key, entry.key_span);
        let Some(entries) = node.map() else {
            let message = format!("the workflow {} is a map with `jobs`", entry.key);
            self.schema(message, entry.key_span);
            return None;
        };
        let keys = [
            "jobs",
            "triggers",
            "when",
            "unless",
            "max_auto_reruns",
            "description",
        ];
        self.closed(entries, &keys);
        if let (Some(_), Some(unless)) = (node.entry("when"), node.entry("unless")) {
            let message = "a workflow has `when` or `unless`, not both";
            self.schema(message, unless.key_span);
            return None;
        }
        match node
            .get("max_auto_reruns")
            .map(|n| (self.subst(n, &Scope::default()), n.span))
        {
            None => {}
            Some((value, span)) => match value.value {
                Value::Int(n @ 1..=5) => draft.max_auto_reruns = u32::try_from(n).unwrap_or(0),
                _ => self.schema("max_auto_reruns must be an integer between 1 and 5", span),
            },
        }
        let jobs = match node.get("jobs").map(|jobs| (jobs.seq(), jobs.span)) {
            Some((Some(jobs), _)) if !jobs.is_empty() => jobs.to_vec(),
            Some((_, span)) => {
                self.schema("`jobs` of a workflow is a list of at least one job", span);
                return None;
            }
            None => {
                let message = format!("workflow {}: required key [jobs] not found", entry.key);
                self.schema(message, entry.key_span);
                return None;
            }
        };
        if let Some(clause) = node.entry("when").or(node.entry("unless")) {
            draft.decision = self.condition(clause)?;
            if !draft.decision.runs {
                draft.dropped = true;
                return Some(draft);
            }
        }
        if let Some(triggers) = node.get("triggers") {
            self.triggers(triggers);
            draft.triggers = Some(Rc::clone(triggers));
            if self.trigger.kind != TriggerKind::Schedule {
                draft.decision = Decision {
                    runs: false,
                    reason: String::from("it has `triggers`: runs on its schedule only"),
                    clause: Some(String::from("triggers")),
                    value: None,
                    span: triggers.span,
                };
            }
        }
        for item in &jobs {
            self.invocation(item, &mut draft);
        }
        Some(draft)
    }

    fn triggers(&mut self, node: &Ref) {
        let Some(items) = node.seq() else {
            return self.schema("`triggers` is a list", node.span);
        };
        for item in items {
            let cron = item
                .get("schedule")
                .and_then(|s| s.get("cron"))
                .and_then(|c| c.str());
            match cron {
                Some(cron) if cron.split_whitespace().count() == 5 && !cron.contains('/') => {}
                Some(_) => self.schema("invalid cron: write five fields, without steps", item.span),
                None => self.schema("a trigger is `schedule: {cron, filters}`", item.span),
            }
        }
    }

    /// Decides a workflow's `when` or `unless`; `None` where a mistake was reported.
    fn condition(&mut self, clause: &Entry) -> Option<Decision> {
        let node = &clause.value;
        let scope = Scope::default();
        let bare = node.str().filter(|text| !text.contains("<<"));
        let value = match bare {
            Some(text) => {
                let value = self.expression(text, node.span, &scope);
                if matches!(value, Value::Bad) {
                    return None;
                }
                Value::Bool(crate::expr::truthy(&value))
            }
            None => {
                let substituted = self.subst(node, &scope);
                if node.str().is_some() && !substituted.tagged && !substituted.is_bad() {
                    let message = "text around a tag makes a text that is always true; put all of it into the tag";
                    self.warn("W_ALWAYS_TRUE", message, node.span);
                }
                match logic::evaluate(&substituted) {
                    Ok(Value::Bad) => return None,
                    Ok(value) => value,
                    Err((code, message, span)) => {
                        self.error(code, message, span);
                        return None;
                    }
                }
            }
        };
        let holds = value.truthy();
        let runs = holds == (clause.key == "when");
        let shown = value.text().unwrap_or_else(|| value.json().to_string());
        let word = if holds { "true" } else { "false" };
        let file = self.origins.files.get(node.span.file.0 as usize);
        let text = file.and_then(|f| f.text.get(node.span.start as usize..node.span.end as usize));
        let text = text
            .unwrap_or("")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        Some(Decision {
            runs,
            reason: format!("`{}` is {word}", clause.key),
            clause: Some(format!("{}: {text}", clause.key)),
            value: Some(shown),
            span: clause.key_span,
        })
    }

    fn invocation(&mut self, item: &Ref, draft: &mut Draft) {
        let nothing = Node::new(Value::Map(Vec::new()), item.span);
        let (name, span, body) = match &item.value {
            Value::Str(name) => (name.clone(), item.span, nothing),
            Value::Map(entries) => match entries.as_slice() {
                [entry] if entry.value.is_null() => (entry.key.clone(), entry.key_span, nothing),
                [entry] => (entry.key.clone(), entry.key_span, Rc::clone(&entry.value)),
                [first, ..] if first.value.is_null() => {
                    let message = format!(
                        "the keys beside `{}` are ignored; indent them deeper",
                        first.key
                    );
                    self.warn("W_INDENT", message, first.key_span);
                    (first.key.clone(), first.key_span, nothing)
                }
                _ => {
                    let message = format!(
                        "a job of a workflow is a name or a map of one key: maximum size: [1], found: [{}]",
                        entries.len()
                    );
                    return self.schema(message, item.span);
                }
            },
            Value::Bad => return,
            other => {
                let message = format!(
                    "a job of a workflow is a name or a map, not a {}",
                    other.kind()
                );
                return self.schema(message, item.span);
            }
        };
        if body.map().is_none() {
            draft.broken.insert(name.clone());
            return self.schema(format!("the arguments of {name} are a map"), body.span);
        }
        let before = self.errors();
        let wanted = body
            .get("name")
            .and_then(|n| n.str())
            .unwrap_or(&name)
            .to_owned();
        self.within(
            format!("calling job: '{name}'"),
            OriginKind::Job(name.clone()),
            span,
            |this| this.members(&name, span, &body, draft),
        );
        if self.errors() > before {
            draft.broken.insert(name);
            draft.broken.insert(wanted);
            if let Some(alias) = body.get("matrix").and_then(|m| m.get("alias")) {
                draft.broken.extend(alias.str().map(str::to_owned));
            }
        }
    }

    fn members(&mut self, name: &str, span: Span, body: &Ref, draft: &mut Draft) {
        let Some(matrix) = body.get("matrix") else {
            let found = self.member(name, span, body, None);
            draft.jobs.extend(found);
            return;
        };
        let Some(cells) = self.cells(matrix) else {
            return;
        };
        let given = body.get("name").and_then(|n| n.str());
        let literal = given.filter(|text| !text.contains("matrix."));
        let alias = matrix
            .get("alias")
            .and_then(|n| n.str())
            .or(literal)
            .unwrap_or(name)
            .to_owned();
        if cells.is_empty() {
            draft.empty.insert(alias.clone());
        }
        for entry in body.map().unwrap_or_default() {
            let in_matrix = matrix.get("parameters").and_then(|p| p.entry(&entry.key));
            if in_matrix.is_some() && !INVOCATION_KEYS.contains(&entry.key.as_str()) {
                let message = format!(
                    "the matrix gives [{}] too, and its value is used",
                    entry.key
                );
                self.warn("W_IGNORED_KEY", message, entry.key_span);
            }
        }
        let many = cells.len() > 1;
        let group = draft.jobs.len();
        for cell in cells {
            let values = cell
                .iter()
                .map(|(k, v)| (k.clone(), cell_text(v)))
                .collect();
            let shown: Vec<String> = cell
                .iter()
                .map(|(k, v)| format!("{k}={}", cell_text(v)))
                .collect();
            let found = self.within(
                format!("expanding the matrix cell {}", shown.join(", ")),
                OriginKind::Matrix(values),
                matrix.span,
                |this| this.member(name, span, body, Some(cell.clone())),
            );
            if let Some(mut found) = found {
                found.alias = Some(alias.clone());
                found.cell_of = many.then_some(group);
                draft.jobs.push(found);
            }
        }
    }

    fn member(
        &mut self,
        name: &str,
        span: Span,
        body: &Ref,
        cell: Option<Cell>,
    ) -> Option<Invocation> {
        let default = match &cell {
            Some(cell) => format!("{name}{}", suffix(cell)),
            None => name.to_owned(),
        };
        let cell = cell.map(Rc::new);
        let scope = Scope {
            matrix: cell.clone(),
            ..Scope::default()
        };
        let mut own = |key: &str| body.get(key).map(|node| self.subst(node, &scope));
        let (given, kind, requires) = (own("name"), own("type"), own("requires"));
        let (context, filters) = (own("context"), own("filters"));
        let (serial_group, before, after) =
            (own("serial-group"), own("pre-steps"), own("post-steps"));
        let base = match &given {
            None => default,
            Some(given) => self.string("name", given)?,
        };
        let approval = match &kind {
            None => false,
            Some(kind) if kind.str() == Some("approval") => true,
            Some(kind) if kind.is_bad() => return None,
            Some(kind) => {
                let message = "Only jobs with `type: approval` can be defined inline";
                self.schema(message, kind.span);
                return None;
            }
        };
        if let Some(entry) = body.entry("override-with") {
            self.unsupported("U_ORB", "`override-with`", entry.key_span);
        }
        if let (Some(group), Some(entry)) = (&serial_group, body.entry("serial-group")) {
            self.string("serial-group", group)?;
            self.unsupported("U_SERIAL_GROUP", "serial groups", entry.key_span);
        }
        let arguments = body.map().unwrap_or_default();
        let mut arguments: Vec<Entry> = arguments
            .iter()
            .filter(|e| !INVOCATION_KEYS.contains(&e.key.as_str()))
            .filter(|e| cell.as_ref().is_none_or(|cell| !cell.contains_key(&e.key)))
            .map(|e| Entry {
                value: self.subst(&e.value, &scope),
                ..e.clone()
            })
            .collect();
        for (key, value) in cell.iter().flat_map(|cell| cell.iter()) {
            let key_span = value.span;
            arguments.push(Entry {
                key: key.clone(),
                key_span,
                value: Rc::clone(value),
            });
        }
        let concrete = if approval {
            for entry in body.map().unwrap_or_default() {
                let useful = ["type", "requires", "name", "filters", "context", "matrix"];
                if !useful.contains(&entry.key.as_str()) {
                    let message = format!("`{}` means nothing on an approval", entry.key);
                    self.warn("W_IGNORED_KEY", message, entry.key_span);
                }
            }
            if self.jobs.contains_key(name) {
                self.warn(
                    "W_SHADOW",
                    format!("the approval {name} hides the job {name}"),
                    span,
                );
            }
            Concrete {
                kind: JobKind::Approval,
                processed: None,
            }
        } else {
            self.look_up(name, span, &arguments, &Around { before, after })?
        };
        let requires = match &requires {
            None => Vec::new(),
            Some(node) => self.requires(node)?,
        };
        let decision = self.filter(filters.as_ref(), span);
        let origin = self.parent.unwrap_or(OriginId(0));
        Some(Invocation {
            name: base.clone(),
            base,
            alias: None,
            cell_of: None,
            concrete,
            inline_approval: approval,
            requires,
            context,
            filters,
            serial_group,
            decision,
            origin,
            span,
        })
    }

    fn look_up(
        &mut self,
        name: &str,
        span: Span,
        arguments: &[Entry],
        around: &Around,
    ) -> Option<Concrete> {
        if let Some(definition) = self.jobs.get(name).map(Rc::clone) {
            if let Some(target) = definition.node.str() {
                self.unsupported(
                    "U_ORB",
                    format!("the job {target} comes from an orb"),
                    definition.span,
                );
                return Some(unsupported());
            }
            return self.concrete(&definition, arguments, around, span);
        }
        if let Some((orb, _)) = name.split_once('/') {
            if self.orbs.contains(orb) {
                self.unsupported("U_ORB", format!("the job {name} comes from an orb"), span);
                return Some(unsupported());
            }
            let message = format!("Cannot find orb '{orb}' looking for job named '{name}'");
            self.error("E_UNKNOWN_ORB", message, span);
            return None;
        }
        let help = if self.commands.contains_key(name) {
            Some(format!("{name} is a command, not a job"))
        } else {
            suggest(name, self.jobs.keys().map(String::as_str))
        };
        let message = format!("Cannot find a definition for job named {name}");
        self.error_help("E_UNKNOWN_JOB", message, span, help);
        None
    }

    fn requires(&mut self, node: &Ref) -> Option<Vec<Wanted>> {
        let Some(items) = node.seq() else {
            if !node.is_bad() {
                let help = Some(String::from("write a list: `requires: [name]`"));
                let message = format!("`requires` is a list, not a {}", node.value.kind());
                self.error_help("E_SCHEMA", message, node.span, help);
            }
            return None;
        };
        let mut all: Vec<Wanted> = Vec::new();
        for item in items {
            let wanted = match &item.value {
                Value::Map(entries) => match entries.as_slice() {
                    [entry] => Wanted {
                        job: entry.key.clone(),
                        statuses: self.statuses(&entry.value)?,
                        written: Some(Rc::clone(&entry.value)),
                        span: entry.key_span,
                    },
                    _ => {
                        self.schema(
                            "an entry of `requires` is a name, or `{name: status}`",
                            item.span,
                        );
                        return None;
                    }
                },
                _ => match item.source_text().filter(|_| !item.is_null()) {
                    Some(job) => Wanted {
                        job,
                        statuses: vec![RequiredStatus::Success],
                        written: None,
                        span: item.span,
                    },
                    None if item.is_bad() => return None,
                    None => {
                        self.schema(
                            "an entry of `requires` is a name, or `{name: status}`",
                            item.span,
                        );
                        return None;
                    }
                },
            };
            all.push(wanted);
        }
        Some(all)
    }

    fn statuses(&mut self, node: &Ref) -> Option<Vec<RequiredStatus>> {
        let words = self.strings("requires", node)?;
        let mut all = Vec::new();
        for word in &words {
            if word == "terminal" {
                all.extend(RequiredStatus::ALL);
                continue;
            }
            let Some(status) = RequiredStatus::ALL.into_iter().find(|s| s.as_str() == word) else {
                let names = RequiredStatus::ALL.map(RequiredStatus::as_str);
                let message = format!(
                    "[{word}] is no status; there are {} and terminal",
                    names.join(", ")
                );
                self.error_help(
                    "E_SCHEMA",
                    message,
                    node.span,
                    suggest(word, names.into_iter()),
                );
                return None;
            };
            all.push(status);
        }
        if all.is_empty() {
            self.schema("a requirement names at least one status", node.span);
            return None;
        }
        let mut distinct = Vec::new();
        for status in all {
            if !distinct.contains(&status) {
                distinct.push(status);
            }
        }
        Some(distinct)
    }

    /// Leaves out what the trigger did not ask for.
    fn select(&mut self, drafts: &mut [Draft]) {
        let asked = &self.trigger.selection;
        for draft in drafts {
            if !asked.workflows.is_empty() && !asked.workflows.contains(&draft.name) {
                draft.decision.runs = false;
                draft.decision.reason = String::from("not among the workflows asked for");
                draft.decision.clause = None;
            }
        }
    }
}
