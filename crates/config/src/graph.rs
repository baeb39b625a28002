//! Names made unique, requirements checked, filters carried through the graph, and the result written
//! (language 10.9, 10.10, 16.4).

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use capstan_model::plan::{Job, Requirement, Workflow};
use capstan_model::{FileId, Span};
use indexmap::IndexMap;

use crate::ast::suggest;
use crate::compiler::Compiler;
use crate::expand::entry;
use crate::workflow::{Draft, Invocation};
use crate::yaml::{Entry, Node, Ref, Value};

/// Requirements of one job: index of the job, with what was wanted of it.
type Edges = Vec<(usize, usize)>;

impl Compiler<'_> {
    /// Drafts into workflows and the processed config.
    pub(crate) fn finish_workflows(
        &mut self,
        mut drafts: Vec<Draft>,
    ) -> Option<(Vec<Workflow>, Value)> {
        name_all(&mut drafts);
        self.contexts_limit(&drafts);
        let nowhere = Span {
            file: FileId(0),
            start: 0,
            end: 0,
        };
        let mut workflows = Vec::new();
        let mut jobs: IndexMap<String, Value> = IndexMap::new();
        let mut written: Vec<Entry> = vec![entry("version", Node::new(Value::Int(2), nowhere))];
        for draft in &mut drafts {
            let before = self.errors();
            let edges = self.edges(draft);
            if self.errors() == before {
                self.cycles(draft, &edges);
            }
            if self.errors() > before {
                continue;
            }
            self.carry(draft, &edges);
            if !draft.dropped {
                for job in &draft.jobs {
                    if let Some(processed) = &job.concrete.processed {
                        jobs.entry(job.name.clone())
                            .or_insert_with(|| processed.clone());
                    }
                }
                let node = Node::new(workflow_value(draft, &edges, nowhere), nowhere);
                written.push(entry(&draft.name, node));
            }
            workflows.push(self.plan_workflow(draft, &edges));
        }
        let map = |entries| Node::new(Value::Map(entries), nowhere);
        let jobs = jobs
            .into_iter()
            .map(|(name, value)| entry(&name, Node::new(value, nowhere)));
        let processed = Value::Map(vec![
            entry("version", Node::new(Value::Int(2), nowhere)),
            entry("jobs", map(jobs.collect())),
            entry("workflows", map(written)),
        ]);
        Some((workflows, processed))
    }

    fn contexts_limit(&mut self, drafts: &[Draft]) {
        let mut names = HashSet::new();
        let mut last = None;
        for job in drafts.iter().flat_map(|draft| &draft.jobs) {
            for name in job
                .context
                .iter()
                .flat_map(|node| self.strings("context", node))
                .flatten()
            {
                names.insert(name);
                if names.len() == 101 {
                    last = job.context.as_ref().map(|node| node.span);
                }
            }
        }
        if let Some(span) = last {
            self.error(
                "E_LIMIT",
                "a config uses at most 100 different contexts",
                span,
            );
        }
    }

    fn edges(&mut self, draft: &Draft) -> Vec<Edges> {
        let mut all = Vec::new();
        for (me, job) in draft.jobs.iter().enumerate() {
            let mut edges = Edges::new();
            for (i, wanted) in job.requires.iter().enumerate() {
                let named: Vec<usize> = matching(draft, |other| other.base == wanted.job);
                let others: Vec<usize> = named.iter().copied().filter(|at| *at != me).collect();
                let group: Vec<usize> = matching(draft, |other| {
                    other.alias.as_deref() == Some(wanted.job.as_str())
                });
                let one_matrix = |all: &[usize]| {
                    let of = |at: &usize| draft.jobs.get(*at).and_then(|job| job.cell_of);
                    all.first()
                        .and_then(of)
                        .is_some_and(|first| all.iter().all(|at| of(at) == Some(first)))
                };
                let apart = others.iter().any(|at| !group.contains(at)) && !group.is_empty();
                let found = if apart || (others.len() > 1 && !one_matrix(&others)) {
                    let count = others.len().max(2);
                    let message = format!(
                        "{}: requires job \"{}\" which is the name of {count} other jobs in this workflow",
                        job.base, wanted.job
                    );
                    let help = String::from("give each of them a `name`");
                    self.error_help("E_REQ_AMBIG", message, wanted.span, Some(help));
                    continue;
                } else if !group.is_empty() {
                    group
                } else if !others.is_empty() {
                    others
                } else if !named.is_empty() {
                    named
                } else {
                    matching(draft, |other| other.name == wanted.job)
                };
                if found.is_empty()
                    && !draft.broken.contains(&wanted.job)
                    && !draft.empty.contains(&wanted.job)
                {
                    let message = format!(
                        "{}: requires job \"{}\" but \"{}\" is not part of this workflow.",
                        job.base, wanted.job, wanted.job
                    );
                    let names = draft.jobs.iter().map(|job| job.base.as_str());
                    let help = suggest(&wanted.job, names).or_else(|| {
                        Some(format!(
                            "add {} to this workflow, or drop the requirement",
                            wanted.job
                        ))
                    });
                    self.error_help("E_REQ_UNKNOWN", message, wanted.span, help);
                }
                edges.extend(found.into_iter().map(|at| (at, i)));
            }
            all.push(edges);
        }
        all
    }

    fn cycles(&mut self, draft: &Draft, edges: &[Edges]) {
        // Jobs are taken away once all they require is; what stays is in a cycle or behind one.
        let mut left: HashSet<usize> = (0..draft.jobs.len()).collect();
        loop {
            let free = |at: &usize| {
                edges
                    .get(*at)
                    .is_none_or(|edges| edges.iter().all(|(to, _)| !left.contains(to)))
            };
            let done: Vec<usize> = left.iter().copied().filter(free).collect();
            if done.is_empty() {
                break;
            }
            for at in done {
                left.remove(&at);
            }
        }
        let Some(mut at) = left.iter().copied().min() else {
            return;
        };
        // Whoever follows requirements that stay must come around.
        let mut path = Vec::new();
        while !path.contains(&at) {
            path.push(at);
            let next = edges
                .get(at)
                .and_then(|e| e.iter().map(|(to, _)| *to).find(|to| left.contains(to)));
            match next {
                Some(next) => at = next,
                None => return,
            }
        }
        let ring = path.iter().skip_while(|other| **other != at).chain([&at]);
        let names: Vec<&str> = ring
            .filter_map(|at| draft.jobs.get(*at))
            .map(|job| job.name.as_str())
            .collect();
        let message = format!(
            "jobs that wait for each other: {}",
            names.join(" requires ")
        );
        let span = draft.jobs.get(at).map_or(draft.span, |job| {
            job.requires.first().map_or(job.span, |wanted| wanted.span)
        });
        let help = String::from("drop one of these requirements");
        self.error_help("E_REQ_CYCLE", message, span, Some(help));
    }

    /// A job whose requirements were all filtered out does not run either.
    fn carry(&mut self, draft: &mut Draft, edges: &[Edges]) {
        loop {
            let runs: Vec<bool> = draft.jobs.iter().map(|job| job.decision.runs).collect();
            let mut changed = false;
            for (job, edges) in draft.jobs.iter_mut().zip(edges) {
                let any = edges
                    .iter()
                    .any(|(to, _)| runs.get(*to).copied().unwrap_or(false));
                if job.decision.runs && !job.requires.is_empty() && !any {
                    let names: Vec<&str> = job.requires.iter().map(|w| w.job.as_str()).collect();
                    job.decision.runs = false;
                    job.decision.reason =
                        format!("everything it requires is left out: {}", names.join(", "));
                    job.decision.clause = Some(format!("requires: {}", names.join(", ")));
                    job.decision.span = job.requires.first().map_or(job.span, |w| w.span);
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        let asked = &self.trigger.selection.jobs;
        for job in &mut draft.jobs {
            let named = asked.is_empty()
                || asked.contains(&job.name)
                || asked.contains(&job.base)
                || job
                    .alias
                    .as_ref()
                    .is_some_and(|alias| asked.contains(alias));
            if !named {
                job.decision.runs = false;
                job.decision.reason = String::from("not among the jobs asked for");
                job.decision.clause = None;
            }
        }
    }

    fn plan_workflow(&mut self, draft: &Draft, edges: &[Edges]) -> Workflow {
        let mut jobs = Vec::new();
        for (job, edges) in draft.jobs.iter().zip(edges) {
            let mut requires: Vec<Requirement> = Vec::new();
            for (to, wanted) in edges {
                let (Some(other), Some(wanted)) = (draft.jobs.get(*to), job.requires.get(*wanted))
                else {
                    continue;
                };
                if !other.decision.runs {
                    continue;
                }
                match requires.iter_mut().find(|r| r.job == other.name) {
                    Some(there) => {
                        for status in &wanted.statuses {
                            if !there.statuses.contains(status) {
                                there.statuses.push(*status);
                            }
                        }
                    }
                    None => requires.push(Requirement {
                        job: other.name.clone(),
                        statuses: wanted.statuses.clone(),
                    }),
                }
            }
            let mut contexts: Vec<String> = Vec::new();
            for name in job
                .context
                .iter()
                .flat_map(|node| self.strings("context", node))
                .flatten()
            {
                if !contexts.contains(&name) {
                    contexts.push(name);
                }
            }
            jobs.push(Job {
                name: job.name.clone(),
                kind: job.concrete.kind.clone(),
                decision: job.decision.clone(),
                requires,
                contexts,
                serial_group: job
                    .serial_group
                    .as_ref()
                    .and_then(|n| n.str())
                    .map(str::to_owned),
                origin: job.origin,
            });
        }
        Workflow {
            name: draft.name.clone(),
            decision: draft.decision.clone(),
            jobs,
            max_auto_reruns: draft.max_auto_reruns,
            origin: draft.origin,
        }
    }
}

fn matching(draft: &Draft, test: impl Fn(&Invocation) -> bool) -> Vec<usize> {
    let all = draft.jobs.iter().enumerate();
    all.filter(|(_, job)| test(job)).map(|(at, _)| at).collect()
}

/// Gives numbers to jobs that share a name and are not one job of several workflows.
fn name_all(drafts: &mut [Draft]) {
    let mut uses: IndexMap<String, Vec<(usize, usize)>> = IndexMap::new();
    for (w, draft) in drafts.iter().enumerate() {
        for (j, job) in draft.jobs.iter().enumerate() {
            uses.entry(job.base.clone()).or_default().push((w, j));
        }
    }
    let mut taken: HashSet<String> = uses.keys().cloned().collect();
    for (base, places) in &uses {
        let mut per_workflow: HashMap<usize, usize> = HashMap::new();
        let mut first: Option<&Value> = None;
        let mut differ = false;
        for (w, j) in places {
            *per_workflow.entry(*w).or_default() += 1;
            let processed = drafts
                .get(*w)
                .and_then(|draft| draft.jobs.get(*j))
                .and_then(|job| job.concrete.processed.as_ref());
            if let Some(processed) = processed {
                differ |= first.is_some_and(|first| !first.same(processed));
                first = first.or(Some(processed));
            }
        }
        if !differ && per_workflow.values().all(|count| *count == 1) {
            continue;
        }
        let mut number = 0;
        for (w, j) in places {
            let name = loop {
                number += 1;
                let name = format!("{base}-{number}");
                if taken.insert(name.clone()) {
                    break name;
                }
            };
            if let Some(job) = drafts.get_mut(*w).and_then(|draft| draft.jobs.get_mut(*j)) {
                job.name = name;
            }
        }
    }
}

fn workflow_value(draft: &Draft, edges: &[Edges], nowhere: Span) -> Value {
    let text = |text: &str| Node::new(Value::Str(text.to_owned()), nowhere);
    let mut items: Vec<Ref> = Vec::new();
    for (job, edges) in draft.jobs.iter().zip(edges) {
        let mut fields: Vec<Entry> = Vec::new();
        if job.inline_approval {
            fields.push(entry("type", text("approval")));
        }
        let mut required: Vec<Ref> = Vec::new();
        for (to, wanted) in edges {
            let (Some(other), Some(wanted)) = (draft.jobs.get(*to), job.requires.get(*wanted))
            else {
                continue;
            };
            let node = match &wanted.written {
                None => text(&other.name),
                Some(statuses) => {
                    let inner = vec![entry(&other.name, Rc::clone(statuses))];
                    Node::new(Value::Map(inner), nowhere)
                }
            };
            if !required.iter().any(|there| there.value.same(&node.value)) {
                required.push(node);
            }
        }
        if !required.is_empty() {
            fields.push(entry("requires", Node::new(Value::Seq(required), nowhere)));
        }
        let kept = [
            ("context", &job.context),
            ("filters", &job.filters),
            ("serial-group", &job.serial_group),
        ];
        for (key, node) in kept {
            fields.extend(node.as_ref().map(|node| entry(key, Rc::clone(node))));
        }
        // A job defined as an approval has no entry of its own, so its type stands here.
        let approval = matches!(job.concrete.kind, capstan_model::plan::JobKind::Approval);
        if approval && !job.inline_approval {
            fields.push(entry("type", text("approval")));
        }
        items.push(if fields.is_empty() {
            text(&job.name)
        } else {
            let inner = Node::new(Value::Map(fields), nowhere);
            Node::new(Value::Map(vec![entry(&job.name, inner)]), nowhere)
        });
    }
    let mut fields = vec![entry("jobs", Node::new(Value::Seq(items), nowhere))];
    if draft.max_auto_reruns > 0 {
        let n = Value::Int(i64::from(draft.max_auto_reruns));
        fields.push(entry("max_auto_reruns", Node::new(n, nowhere)));
    }
    fields.extend(
        draft
            .triggers
            .as_ref()
            .map(|node| entry("triggers", Rc::clone(node))),
    );
    Value::Map(fields)
}
