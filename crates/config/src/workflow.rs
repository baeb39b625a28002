//! Workflows and the jobs they invoke (language 10).

use std::collections::{HashMap, HashSet};

use capstan_model::plan::Decision;
use capstan_model::source::{Origin, OriginKind};
use capstan_model::{OriginId, Span};

use crate::ast::Kind;
use crate::compiler::{Compiler, Scope};
use crate::expand::job::Concrete;
use crate::graph::Linked;
use crate::logic;
use crate::space::SpaceId;
use crate::yaml::{Entry, Node, Ref, Text, Value};

mod group;
pub(crate) mod invocation;
pub(crate) mod requires;
mod schedule;

use requires::Wanted;

/// A job of a workflow before names are final.
pub(crate) struct Invocation {
    /// The name it asks for.
    pub(crate) base: Text,
    /// The name it has in the end.
    pub(crate) name: Text,
    /// The name by which the jobs around it require it; differs from `base` inside of a named group.
    pub(crate) local: Text,
    pub(crate) alias: Option<Text>,
    /// The matrix it is a member of, if there are several.
    pub(crate) cell_of: Option<usize>,
    /// The group it is a part of.
    pub(crate) group: Option<usize>,
    /// The group it is the end of, as the workflow names it.
    pub(crate) stands_for: Option<String>,
    pub(crate) concrete: Concrete,
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
    /// Groups of jobs by the name they were invoked with.
    pub(crate) groups: HashMap<String, Span>,
    /// Names whose invocation was reported as wrong; requiring them is no further mistake.
    pub(crate) broken: HashSet<String>,
    /// Names of matrices without members.
    pub(crate) empty: HashSet<String>,
    pub(crate) max_auto_reruns: u32,
    pub(crate) triggers: Option<Ref>,
    pub(crate) origin: OriginId,
}

impl Compiler<'_> {
    /// All workflows that are sound; `None` if there is nothing to find any in.
    pub(crate) fn workflows(&mut self, root: &Ref) -> Option<Vec<Linked>> {
        let mut drafts = Vec::new();
        let listed: Vec<Entry> = match root.get("workflows") {
            None => Vec::new(),
            Some(node) => match node.map() {
                Some(entries) => {
                    self.workflows_version(node);
                    let named = entries.iter().filter(|e| e.key != "version");
                    named.cloned().collect()
                }
                None => {
                    if !node.is_bad() {
                        self.schema("`workflows` is a map of names", node.span);
                    }
                    return None;
                }
            },
        };
        // A config that was processed down to nothing, or continues with nothing, says so.
        let nothing = root.get("workflows").is_some()
            && root
                .get("jobs")
                .is_some_and(|jobs| jobs.map().is_some_and(<[Entry]>::is_empty));
        if listed.is_empty() && !nothing {
            drafts.push(self.implicit(root)?);
        }
        self.compared = listed.len() > 1;
        for entry in &listed {
            let kind = OriginKind::Workflow(entry.key.to_string());
            let draft = self.within(kind, entry.key_span, |this| this.workflow(entry));
            drafts.extend(draft);
        }
        self.select(&mut drafts);
        Some(self.link(drafts))
    }

    /// Version 2 asks for `version: 2` among the workflows (language 1.9, 20.19).
    fn workflows_version(&mut self, node: &Ref) {
        if !self.v2 {
            return;
        }
        let help = Some(String::from("add `version: 2` below `workflows`"));
        match node.entry("version") {
            None => {
                let message = "workflows: required key [version] not found";
                let span = Span {
                    end: node.span.start,
                    ..node.span
                };
                self.error_help("E_SCHEMA", message, span, help);
            }
            Some(entry)
                if !matches!(
                    entry.value.source_text().as_deref(),
                    Some("2" | "2.0" | "2.1")
                ) =>
            {
                let message = "the version of workflows is 2";
                self.error_help("E_SCHEMA", message, entry.value.span, help);
            }
            Some(_) => {}
        }
    }

    /// The workflow of a config without any: its job `build`.
    fn implicit(&mut self, root: &Ref) -> Option<Draft> {
        let written = self
            .space(SpaceId::CONFIG)
            .and_then(|space| space.written(Kind::Job).get("build"))
            .map(|entry| (entry.key_span, entry.value.get("branches").cloned()));
        let Some((span, branches)) = written else {
            if self.errors() == 0 {
                let message = "There are no workflows or build jobs in the config.";
                let span = match root.entry("jobs") {
                    Some(entry) => entry.key_span,
                    None => Span {
                        end: root.span.start,
                        ..root.span
                    },
                };
                let help = "add a workflow that lists your jobs, or call the job `build`";
                self.error_help("E_NO_WORKFLOW", message, span, Some(help.to_owned()));
            }
            return None;
        };
        let name = Node::new(Value::Str("build".into()), span);
        let mut draft = self.draft("workflow", span);
        self.invocation(&name, &mut draft, None);
        // Without workflows the job's own `branches` still count (language 7).
        if let (Some(branches), Some(job)) = (branches, draft.jobs.first_mut()) {
            let entry = crate::expand::entry("branches", branches);
            let filters = Node::new(Value::Map(vec![entry]), span);
            job.decision = self.filter(Some(&filters), span);
            job.filters = Some(filters);
        }
        Some(draft)
    }

    fn draft(&mut self, name: &str, span: Span) -> Draft {
        let origin = self.parent.unwrap_or_else(|| {
            self.origins.push(Origin {
                parent: None,
                kind: OriginKind::Workflow(name.to_owned()),
                span,
            })
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
            groups: HashMap::new(),
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
            if !node.is_bad() {
                let message = format!("the workflow {} is a map with `jobs`", entry.key);
                self.schema(message, entry.key_span);
            }
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
        let (when, unless) = match self.v2 {
            true => (None, None),
            false => (node.entry("when"), node.entry("unless")),
        };
        if self.v2 {
            for entry in [node.entry("when"), node.entry("unless")]
                .into_iter()
                .flatten()
            {
                self.ignored_in_2(entry);
            }
        }
        if let (Some(_), Some(unless)) = (when, unless) {
            let message = "a workflow has `when` or `unless`, not both";
            let help = Some(String::from("put both into one `when: {and: […]}`"));
            self.error_help("E_SCHEMA", message, unless.key_span, help);
            return None;
        }
        match node
            .get("max_auto_reruns")
            .map(|n| (self.subst(n, &Scope::default()), n.span))
        {
            None => {}
            Some((value, span)) => match value.value {
                Value::Int(n @ 1..=5) => draft.max_auto_reruns = u32::try_from(n).unwrap_or(0),
                Value::Bad => {}
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
        if let Some(clause) = when.or(unless) {
            draft.decision = self.condition(clause)?;
            if !draft.decision.runs {
                draft.dropped = true;
                return Some(draft);
            }
        }
        if let Some(triggers) = node.get("triggers") {
            let triggers = self.subst(triggers, &Scope::default());
            self.triggers(&triggers);
            if !self.scheduled() {
                draft.decision = Decision {
                    runs: false,
                    reason: String::from("it has `triggers`: runs on its schedule only"),
                    clause: Some(String::from("triggers")),
                    value: None,
                    span: triggers.span,
                };
            }
            draft.triggers = Some(triggers);
        }
        for item in &jobs {
            if self.spent() {
                break;
            }
            self.invocation(item, &mut draft, None);
        }
        Some(draft)
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
                match logic::evaluate(&substituted, &mut self.patterns) {
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
        let shown = value.text().unwrap_or_else(|| value.brief());
        let word = if holds { "true" } else { "false" };
        let file = self.sources.get(node.span.file);
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
