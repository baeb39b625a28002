//! Groups of jobs: an invocation becomes an entry, the members and an end (language 11).

use std::rc::Rc;

use capstan_model::Span;
use capstan_model::plan::{JobKind, RequiredStatus};
use capstan_model::source::OriginKind;

use super::{Draft, Invocation};
use crate::ast::suggest;
use crate::compiler::{Compiler, Scope};
use crate::expand::job::Concrete;
use crate::workflow::requires::Wanted;
use crate::yaml::{Entry, Node, Ref, Text, Value};

const KEYS: &[&str] = &["requires", "filters", "name", "serial-group"];

impl Compiler<'_> {
    /// Adds the jobs of a group that is invoked as `name`.
    pub(crate) fn group(
        &mut self,
        name: &str,
        span: Span,
        body: &Ref,
        group: &Entry,
        draft: &mut Draft,
    ) {
        let mut fine = true;
        for entry in body.map().unwrap_or_default() {
            if !KEYS.contains(&entry.key.as_str()) {
                let message = format!(
                    "a group of jobs takes no [{}]; it takes {}",
                    entry.key,
                    KEYS.join(", ")
                );
                let help = suggest(&entry.key, KEYS.iter().copied());
                self.error_help("E_GROUP", message, entry.key_span, help);
                fine = false;
            }
        }
        let scope = Scope::default();
        let mut own = |key: &str| body.get(key).map(|node| self.subst(node, &scope));
        let (given, requires, filters) = (own("name"), own("requires"), own("filters"));
        let serial_group = own("serial-group");
        let shown = match &given {
            None => name.to_owned(),
            Some(node) => match self.string("name", node) {
                Some(given) => given,
                None => return,
            },
        };
        let requires = match &requires {
            None => Some(Vec::new()),
            Some(node) => self.requires(node),
        };
        let serial_group = match &serial_group {
            None => None,
            Some(node) => match self.serial_group(node) {
                Some(_) => Some(Rc::clone(node)),
                None => return,
            },
        };
        let (Some(requires), true) = (requires, fine) else {
            return;
        };
        if let Some(first) = draft.groups.insert(shown.clone(), span) {
            let message = format!("the group {shown} occurs 2 times in this workflow");
            let mut diagnostic = crate::Diagnostic::error("E_DUP", message, span);
            diagnostic.labels.push((first, String::from("first here")));
            diagnostic
                .help
                .push(String::from("give each of them a `name` of its own"));
            return self.report(diagnostic);
        }
        let decision = self.filter(filters.as_ref(), span);
        let id = draft.groups.len();
        let mut entry = self.part(format!("{shown}/group-start"), span);
        entry.requires = requires;
        entry.filters = filters;
        entry.decision = decision;
        entry.serial_group.clone_from(&serial_group);
        let start = draft.jobs.len();
        draft.jobs.push(entry);

        let prefix = given.is_some().then(|| format!("{shown}/"));
        let kind = OriginKind::Job(name.to_owned());
        let items: Vec<Ref> = group
            .value
            .get("jobs")
            .and_then(|jobs| jobs.seq())
            .map(<[Ref]>::to_vec)
            .unwrap_or_default();
        self.within(kind, span, |this| {
            for item in &items {
                let first = draft.jobs.len();
                this.invocation(item, draft, Some(id));
                for job in draft.jobs.iter_mut().skip(first) {
                    job.group = Some(id);
                    if let Some(prefix) = &prefix {
                        job.base = Text::from(format!("{prefix}{}", job.base));
                        job.name = job.base.clone();
                    }
                }
            }
        });
        let members = start + 1..draft.jobs.len();
        self.tie(draft, members, start, span, id);
        let end = draft.jobs.len();
        let leaves = leaves(draft, start + 1..end, id);
        let mut last = self.part(format!("{shown}/group-end"), span);
        last.requires = leaves
            .into_iter()
            .map(|at| Wanted::of(at, &[RequiredStatus::Success], None, span))
            .collect();
        last.stands_for = Some(shown.clone());
        draft.jobs.push(last);
        if serial_group.is_some() {
            let mut unlock = self.part(format!("{shown}/group-unlock"), span);
            let terminal = Node::new(Value::Str("terminal".into()), span);
            let wanted = Wanted::of(end, &RequiredStatus::ALL, Some(terminal), span);
            unlock.requires = vec![wanted];
            draft.jobs.push(unlock);
        }
    }

    /// Members that require nobody wait for the entry.
    fn tie(
        &mut self,
        draft: &mut Draft,
        members: std::ops::Range<usize>,
        start: usize,
        span: Span,
        id: usize,
    ) {
        for at in members {
            let Some(job) = draft.jobs.get_mut(at) else {
                continue;
            };
            if job.group == Some(id) && job.requires.is_empty() {
                let wanted = Wanted::of(start, &[RequiredStatus::Success], None, span);
                job.requires.push(wanted);
            }
        }
    }

    /// A job that does nothing but hold a place of the graph. To the workflow it is one of its jobs.
    fn part(&mut self, name: String, span: Span) -> Invocation {
        let name = Text::from(name);
        let kind = Node::new(Value::Str("no-op".into()), span);
        let processed = Value::Map(vec![crate::expand::entry("type", kind)]);
        let processed = Node::new(processed, span);
        let origin = self.parent.unwrap_or_else(|| self.written(span));
        Invocation {
            local: name.clone(),
            name: name.clone(),
            base: name,
            alias: None,
            cell_of: None,
            group: None,
            stands_for: None,
            concrete: Concrete::bare(JobKind::NoOp, Some(processed)),
            requires: Vec::new(),
            context: None,
            filters: None,
            serial_group: None,
            decision: capstan_model::plan::Decision {
                runs: true,
                reason: String::from("a part of a group of jobs: runs with the group"),
                clause: None,
                value: None,
                span,
            },
            origin,
            span,
        }
    }
}

/// Members that no other member requires.
fn leaves(draft: &Draft, members: std::ops::Range<usize>, id: usize) -> Vec<usize> {
    let of_group: Vec<usize> = members
        .filter(|at| draft.jobs.get(*at).is_some_and(|job| job.group == Some(id)))
        .collect();
    let required: std::collections::HashSet<&str> = of_group
        .iter()
        .filter_map(|at| draft.jobs.get(*at))
        .flat_map(|job| job.requires.iter().map(|wanted| wanted.job.as_str()))
        .collect();
    let is_leaf = |at: &usize| {
        draft.jobs.get(*at).is_some_and(|job| {
            !required.contains(job.local.as_str())
                && job
                    .alias
                    .as_ref()
                    .is_none_or(|alias| !required.contains(alias.as_str()))
        })
    };
    of_group.iter().copied().filter(is_leaf).collect()
}
