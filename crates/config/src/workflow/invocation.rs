//! An entry of a workflow's `jobs`: one job, the members of a matrix, or a group (language 10.7, 10.11).

use std::collections::HashSet;
use std::rc::Rc;

use capstan_model::plan::JobKind;
use capstan_model::source::OriginKind;
use capstan_model::{OriginId, Span};
use indexmap::IndexSet;

use super::requires::Wanted;
use super::{Draft, Invocation};
use crate::ast::{Kind, suggest};
use crate::budget::MAX_JOBS;
use crate::compiler::{Compiler, Scope};
use crate::expand::is_list_of_text;
use crate::expand::job::{Around, Concrete};
use crate::matrix::{Cell, cell_text, named};
use crate::space::{Import, SpaceId};
use crate::yaml::{Entry, Node, Ref, Text, Value};

/// Keys of an invocation that are not arguments.
pub(crate) const INVOCATION_KEYS: &[&str] = &[
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

/// Those of them that version 2 has; the last for what was processed (language 18.1, 16.4).
const KEYS_OF_2: &[&str] = &["requires", "context", "type", "filters", "serial-group"];

/// Keys that mean something on an approval.
const APPROVAL_KEYS: &[&str] = &["type", "requires", "name", "filters", "context", "matrix"];

/// Longest key of a serial group.
const MAX_SERIAL_KEY: usize = 512;

impl Compiler<'_> {
    /// Reads an entry of `jobs`, which may stand in a group, and adds what it makes to the draft.
    pub(crate) fn invocation(&mut self, item: &Ref, draft: &mut Draft, group: Option<usize>) {
        let nothing = Node::new(Value::Map(Vec::new()), item.span);
        let (name, span, body) = match &item.value {
            Value::Str(name) => (name.to_string(), item.span, nothing),
            Value::Map(entries) => match entries.as_slice() {
                [entry] if entry.value.is_null() => {
                    (entry.key.to_string(), entry.key_span, nothing)
                }
                [entry] => (
                    entry.key.to_string(),
                    entry.key_span,
                    Rc::clone(&entry.value),
                ),
                [first, ..] if first.value.is_null() => {
                    let message = format!(
                        "the keys beside `{}` are ignored; indent them deeper",
                        first.key
                    );
                    self.warn("W_INDENT", message, first.key_span);
                    (first.key.to_string(), first.key_span, nothing)
                }
                _ => {
                    let message = format!(
                        "a job of a workflow is a name or a map of one key: maximum size: [1], found: [{}]",
                        entries.len()
                    );
                    let span = entries.get(1).map_or(item.span, |e| e.key_span);
                    let help = "indent what belongs to a job deeper than its name";
                    return self.error_help("E_SCHEMA", message, span, Some(help.to_owned()));
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
            if !body.is_bad() {
                let message = format!(
                    "the arguments of {name} are a map, not a {}",
                    body.value.kind()
                );
                self.schema(message, body.span);
            }
            return;
        }
        let before = self.errors();
        let wanted = body
            .get("name")
            .and_then(|n| n.str())
            .unwrap_or(&name)
            .to_owned();
        let approval = body
            .get("type")
            .is_some_and(|kind| kind.str() == Some("approval"));
        let of_group = (!approval && !self.v2).then(|| self.groups.get(name.as_str()).cloned());
        match (of_group.flatten(), group) {
            (Some(_), Some(_)) => {
                let message = format!("nesting: the group {name} cannot stand in another group");
                let help = String::from("list its jobs here");
                self.error_help("E_GROUP", message, span, Some(help));
            }
            (Some(entry), None) => self.group(&name, span, &body, &entry, draft),
            (None, _) => {
                let kind = OriginKind::Job(name.clone());
                self.within(kind, span, |this| this.members(&name, span, &body, draft));
            }
        }
        if self.errors() > before {
            draft.broken.insert(name);
            draft.broken.insert(wanted);
            if let Some(alias) = body.get("matrix").and_then(|m| m.get("alias")) {
                draft.broken.extend(alias.str().map(str::to_owned));
            }
        }
    }

    fn members(&mut self, name: &str, span: Span, body: &Ref, draft: &mut Draft) {
        let Some(matrix) = body.get("matrix").filter(|_| !self.v2) else {
            let found = self.member(name, span, body, None);
            self.add(found, span, draft);
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
            .unwrap_or(name);
        let alias = Text::from(alias);
        if cells.is_empty() {
            draft.empty.insert(alias.to_string());
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
            if self.spent() {
                return;
            }
            let values = cell
                .iter()
                .map(|(k, v)| (k.as_str().to_owned(), cell_text(v)))
                .collect();
            let kind = OriginKind::Matrix(values);
            let found = self.within(kind, matrix.span, |this| {
                this.member(name, span, body, Some(cell))
            });
            let found = found.map(|found| Invocation {
                alias: Some(alias.clone()),
                cell_of: many.then_some(group),
                ..found
            });
            self.add(found, span, draft);
        }
    }

    fn add(&mut self, found: Option<Invocation>, span: Span, draft: &mut Draft) {
        let Some(found) = found else { return };
        self.budget.jobs += 1;
        if self.budget.jobs == MAX_JOBS + 1 {
            let message = format!("a config makes at most {MAX_JOBS} jobs");
            let help = Some(String::from("split it, or make its matrices smaller"));
            self.error_help("E_LIMIT", message, span, help);
        }
        if self.budget.jobs <= MAX_JOBS {
            draft.jobs.push(found);
        }
    }

    fn member(
        &mut self,
        name: &str,
        span: Span,
        body: &Ref,
        cell: Option<Cell>,
    ) -> Option<Invocation> {
        let scope = Scope {
            matrix: cell,
            ..Scope::default()
        };
        let v2 = self.v2;
        let mut own = |key: &str| {
            let known = !v2 || KEYS_OF_2.contains(&key);
            let node = body.get(key).filter(|_| known)?;
            Some(self.subst(node, &scope))
        };
        let (given, kind, requires) = (own("name"), own("type"), own("requires"));
        let (context, filters) = (own("context"), own("filters"));
        let (serial_group, before, after) =
            (own("serial-group"), own("pre-steps"), own("post-steps"));
        let base = match &given {
            None => Text::from(match &scope.matrix {
                Some(cell) => named(name, cell),
                None => name.to_owned(),
            }),
            Some(given) => self.job_name(given)?,
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
        if let Some(group) = &serial_group {
            self.serial_group(group)?;
        }
        let arguments = self.arguments(body, &scope);
        let concrete = if approval {
            self.approval(name, span, body)
        } else {
            let around = Around { before, after };
            self.called(name, span, body, &arguments, &around)?
        };
        let requires = match &requires {
            None => Vec::new(),
            Some(node) => self.requires(node)?,
        };
        if let Some(context) = context.as_ref().filter(|node| !is_list_of_text(node)) {
            self.context_names(context)?;
        }
        let decision = self.filter(filters.as_ref(), span);
        let origin = self.parent.unwrap_or(OriginId(0));
        Some(Invocation {
            local: base.clone(),
            name: base.clone(),
            base,
            alias: None,
            cell_of: None,
            group: None,
            stands_for: None,
            concrete,
            requires: distinct(requires),
            context,
            filters,
            serial_group,
            decision,
            origin,
            span,
        })
    }

    fn job_name(&mut self, given: &Ref) -> Option<Text> {
        let text = match &given.value {
            Value::Str(name) => Some(name.clone()),
            Value::Null => None,
            _ => given.source_text().map(Text::from),
        };
        match text {
            Some(name) if !name.is_empty() => Some(name),
            _ => {
                if !given.is_bad() {
                    self.schema("`name` is a string that is not empty", given.span);
                }
                None
            }
        }
    }

    /// The arguments of an invocation, substituted; those of the matrix win (language 10.11.5).
    fn arguments(&mut self, body: &Ref, scope: &Scope) -> Vec<Entry> {
        let mut arguments = Vec::new();
        for entry in body.map().unwrap_or_default() {
            if INVOCATION_KEYS.contains(&entry.key.as_str()) {
                if self.v2 && !KEYS_OF_2.contains(&entry.key.as_str()) {
                    self.ignored_in_2(entry);
                }
                continue;
            }
            if self.v2 {
                self.ignored_in_2(entry);
            } else if scope
                .matrix
                .as_ref()
                .is_none_or(|cell| !cell.contains_key(&entry.key))
            {
                arguments.push(entry.with(self.subst(&entry.value, scope)));
            }
        }
        for (key, value) in scope.matrix.iter().flat_map(|cell| cell.iter()) {
            arguments.push(Entry {
                key: key.clone(),
                key_span: value.span,
                value: Rc::clone(value),
            });
        }
        arguments
    }

    fn approval(&mut self, name: &str, span: Span, body: &Ref) -> Concrete {
        for entry in body.map().unwrap_or_default() {
            if !APPROVAL_KEYS.contains(&entry.key.as_str()) {
                let message = format!("`{}` means nothing on an approval", entry.key);
                self.warn("W_IGNORED_KEY", message, entry.key_span);
            }
        }
        if self.defines(SpaceId::CONFIG, Kind::Job, name) {
            let message = format!("the approval {name} hides the job {name}");
            self.warn("W_SHADOW", message, span);
        }
        Concrete::bare(JobKind::Approval, None)
    }

    /// The job that is called, which `override-with` may exchange.
    fn called(
        &mut self,
        name: &str,
        span: Span,
        body: &Ref,
        arguments: &[Entry],
        around: &Around,
    ) -> Option<Concrete> {
        let overriding = match body.get("override-with").filter(|_| !self.v2) {
            None => None,
            Some(node) => self.overriding(node)?,
        };
        let name = overriding.as_deref().unwrap_or(name);
        let definition = self.resolve(SpaceId::CONFIG, Kind::Job, name, span)?;
        self.of_orb(&definition, |this| {
            this.concrete(&definition, arguments, around, (SpaceId::CONFIG, span))
        })
    }

    /// The job of `override-with`, if its orb has it; `None` where a mistake was reported.
    fn overriding(&mut self, node: &Ref) -> Option<Option<String>> {
        let node = self.subst(node, &Scope::default());
        let text = self.string("override-with", &node)?;
        let Some((orb, job)) = text.split_once('/') else {
            let message =
                format!("override-with: [{text}] does not reference a job definition in an orb");
            let help = Some(String::from("write `override-with: orb/job`"));
            self.error_help("E_SCHEMA", message, node.span, help);
            return None;
        };
        let import = self
            .space(SpaceId::CONFIG)
            .and_then(|s| s.orbs.get(orb))
            .cloned();
        match import {
            Some(Import::Orb(space)) => {
                let there = self.defines(space, Kind::Job, job);
                Some(there.then(|| text.clone()))
            }
            Some(Import::Broken) => None,
            Some(Import::Absent { .. }) => Some(None),
            None => {
                let orbs = self.space(SpaceId::CONFIG).map(|s| &s.orbs);
                let help = orbs.and_then(|orbs| suggest(orb, orbs.keys().map(Text::as_str)));
                let message = format!("no orb is called {orb}, so `override-with` changes nothing");
                self.warn_help("W_IGNORED_KEY", message, node.span, help);
                Some(None)
            }
        }
    }

    /// A key of a serial group; `None` where a mistake was reported.
    pub(crate) fn serial_group(&mut self, node: &Ref) -> Option<String> {
        let text = self.string("serial-group", node)?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
        let why = if text.trim().is_empty() {
            "is blank"
        } else if text.len() > MAX_SERIAL_KEY {
            "is longer than 512 characters"
        } else if !text.chars().all(fits) {
            "holds other characters than letters, digits, `.`, `_`, `/` and `-`"
        } else {
            return Some(text);
        };
        self.schema(format!("the key of a serial group {why}"), node.span);
        None
    }

    /// The contexts of an invocation; `None` where a mistake was reported.
    pub(crate) fn context_names(&mut self, node: &Ref) -> Option<Vec<String>> {
        let names = self.strings("context", node)?;
        if names.len() < 2 {
            return Some(names);
        }
        let names: IndexSet<String> = names.into_iter().collect();
        Some(names.into_iter().collect())
    }
}

/// The same job wanted twice with the same statuses is wanted once; with different ones, with any of
/// them (language 10.9.5).
fn distinct(all: Vec<Wanted>) -> Vec<Wanted> {
    if all.len() < 2 {
        return all;
    }
    let mut seen = HashSet::new();
    all.into_iter()
        .filter(|wanted| seen.insert((wanted.at, wanted.job.clone(), wanted.statuses.clone())))
        .collect()
}
