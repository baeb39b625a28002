//! Names made unique, requirements checked, filters carried through the graph, and the result written
//! (language 10.9, 10.10, 16.4).

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use capstan_model::plan::{Job, JobKind, Requirement, Workflow};
use capstan_model::{FileId, Span};
use indexmap::IndexMap;

use crate::ast::suggest;
use crate::budget::MAX_CONTEXTS;
use crate::compiler::Compiler;
use crate::diagnostic::{Diagnostic, Severity};
use crate::expand::entry;
use crate::expand::flat::Lists;
use crate::workflow::requires::Wanted;
use crate::workflow::{Draft, Invocation};
use crate::yaml::{Entry, Node, Ref, Text, Value};

/// Requirements of one job: index of the job, with what was wanted of it.
pub(crate) type Edges = Vec<(usize, usize)>;

/// A workflow whose names are final and whose requirements were found.
pub(crate) struct Linked {
    pub(crate) draft: Draft,
    /// By job.
    edges: Vec<Edges>,
}

impl Compiler<'_> {
    /// Links the drafts that are sound; what is wrong with the others is reported.
    pub(crate) fn link(&mut self, mut drafts: Vec<Draft>) -> Vec<Linked> {
        // No more steps are expanded, and who holds a list alone can take it apart.
        self.lists = Lists::default();
        name_all(&mut drafts);
        self.contexts_limit(&drafts);
        let mut linked = Vec::with_capacity(drafts.len());
        for mut draft in drafts {
            let before = self.errors();
            self.serial_twice(&draft);
            let edges = self.edges(&draft);
            let order = match self.errors() == before {
                true => self.order(&draft, &edges),
                false => Vec::new(),
            };
            if self.errors() > before {
                continue;
            }
            crate::checks::workflow(self, &draft, &edges);
            self.carry(&mut draft, &edges, &order);
            linked.push(Linked { draft, edges });
        }
        linked
    }

    /// Workflows as the plan has them.
    pub(crate) fn plan_workflows(&mut self, linked: Vec<Linked>) -> Vec<Workflow> {
        let plan = |linked| self.plan_workflow(linked);
        linked.into_iter().map(plan).collect()
    }

    fn contexts_limit(&mut self, drafts: &[Draft]) {
        let mut names: HashSet<Text> = HashSet::new();
        let mut last = None;
        // The members of a matrix have one list.
        let mut before: Option<&Ref> = None;
        for job in drafts.iter().flat_map(|draft| &draft.jobs) {
            let Some(context) = &job.context else {
                continue;
            };
            if before.is_some_and(|before| Rc::ptr_eq(before, context)) {
                continue;
            }
            before = Some(context);
            for name in self.context_names(context).into_iter().flatten() {
                if names.insert(Text::from(name)) && names.len() == MAX_CONTEXTS + 1 {
                    last = Some(context.span);
                }
            }
        }
        if let Some(span) = last {
            let message = format!("a config uses at most {MAX_CONTEXTS} different contexts");
            self.error("E_LIMIT", message, span);
        }
    }

    /// A serial group orders pipelines; two jobs of one workflow in it run one after the other in an
    /// order nobody wrote down. Configs that ran for long do that, so it is no error.
    fn serial_twice(&mut self, draft: &Draft) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for job in &draft.jobs {
            let Some((key, span)) = job
                .serial_group
                .as_ref()
                .and_then(|node| Some((node.str()?, node.span)))
            else {
                continue;
            };
            let Some(first) = seen.get(key) else {
                seen.insert(key, span);
                continue;
            };
            let message = format!("the serial group [{key}] stands twice in this workflow");
            let mut warning = Diagnostic::new("W_SERIAL_GROUP", Severity::Warning, message, span);
            warning.labels.push((*first, String::from("first here")));
            let help = "say the order with `requires`; the group is for other pipelines";
            warning.help.push(help.to_owned());
            self.report(warning);
        }
    }

    fn edges(&mut self, draft: &Draft) -> Vec<Edges> {
        let names = NamesOf::of(draft);
        let mut all = Vec::with_capacity(draft.jobs.len());
        for (me, job) in draft.jobs.iter().enumerate() {
            let mut edges = Edges::new();
            for (i, wanted) in job.requires.iter().enumerate() {
                if let Some(at) = wanted.at {
                    edges.push((at, i));
                    continue;
                }
                let found = match names.find(me, &wanted.job) {
                    Ok(found) => found,
                    Err(count) => {
                        let message = format!(
                            "{}: requires job \"{}\" which is the name of {count} other jobs in this workflow",
                            job.base, wanted.job
                        );
                        let help = String::from("give each of them a `name`");
                        self.error_help("E_REQ_AMBIG", message, wanted.span, Some(help));
                        continue;
                    }
                };
                if found.is_empty()
                    && !draft.broken.contains(wanted.job.as_str())
                    && !draft.empty.contains(wanted.job.as_str())
                {
                    self.nobody(draft, job, wanted);
                }
                // Each is a line of the processed config, too.
                if !self.spend(2 * found.len() as u64, wanted.span) {
                    return Vec::new();
                }
                edges.extend(found.iter().map(|at| (*at, i)));
            }
            all.push(edges);
        }
        all
    }

    /// Reports a requirement that names no job of the workflow.
    fn nobody(&mut self, draft: &Draft, job: &Invocation, wanted: &Wanted) {
        let message = format!(
            "{}: requires job \"{}\" but \"{}\" is not part of this workflow.",
            job.base, wanted.job, wanted.job
        );
        let elsewhere = draft
            .jobs
            .iter()
            .find(|other| other.group != job.group && other.local == wanted.job);
        let names = draft.jobs.iter().filter(|other| other.group == job.group);
        let help = match elsewhere {
            Some(_) if job.group.is_some() => String::from(
                "a member of a group requires members only; the group itself requires the rest",
            ),
            Some(_) => format!("{} is a member of a group: require the group", wanted.job),
            None => {
                suggest(&wanted.job, names.map(|job| job.local.as_str())).unwrap_or_else(|| {
                    format!(
                        "add {} to this workflow, or drop the requirement",
                        wanted.job
                    )
                })
            }
        };
        self.error_help("E_REQ_UNKNOWN", message, wanted.span, Some(help));
    }

    /// The jobs in an order in which each comes after what it requires; those in a circle are
    /// reported, and left out with what is behind them.
    fn order(&mut self, draft: &Draft, edges: &[Edges]) -> Vec<usize> {
        let mut waits: Vec<usize> = edges.iter().map(Vec::len).collect();
        let mut followers: Vec<Vec<usize>> = vec![Vec::new(); draft.jobs.len()];
        for (me, edges) in edges.iter().enumerate() {
            for (to, _) in edges {
                if let Some(followers) = followers.get_mut(*to) {
                    followers.push(me);
                }
            }
        }
        let mut order: Vec<usize> = (0..waits.len())
            .filter(|at| waits.get(*at) == Some(&0))
            .collect();
        let mut done = 0;
        while let Some(at) = order.get(done).copied() {
            done += 1;
            for me in followers.get(at).into_iter().flatten() {
                if let Some(left) = waits.get_mut(*me) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        order.push(*me);
                    }
                }
            }
        }
        if order.len() < draft.jobs.len() {
            let ordered: HashSet<usize> = order.iter().copied().collect();
            let left = (0..draft.jobs.len()).filter(|at| !ordered.contains(at));
            self.circle(draft, edges, &left.collect());
        }
        order
    }

    fn circle(&mut self, draft: &Draft, edges: &[Edges], left: &HashSet<usize>) {
        let Some(mut at) = left.iter().copied().min() else {
            return;
        };
        // Whoever follows requirements that stay must come around.
        let mut path = Vec::new();
        let mut seen = HashSet::new();
        while seen.insert(at) {
            path.push(at);
            let next = edges
                .get(at)
                .and_then(|e| e.iter().map(|(to, _)| *to).find(|to| left.contains(to)));
            match next {
                Some(next) => at = next,
                None => return,
            }
        }
        let ring: Vec<usize> = path
            .iter()
            .copied()
            .skip_while(|other| *other != at)
            .chain([at])
            .collect();
        let names: Vec<&str> = ring
            .iter()
            .filter_map(|at| draft.jobs.get(*at))
            .map(|job| job.name.as_str())
            .collect();
        let shown = if names.len() > 12 {
            let (first, last) = (names.get(..6), names.get(names.len() - 6..));
            let part = |part: Option<&[&str]>| part.unwrap_or_default().join(" requires ");
            format!("{} … {}", part(first), part(last))
        } else {
            names.join(" requires ")
        };
        let message = format!("jobs that wait for each other: {shown}");
        let next = ring.get(1).copied();
        let span = draft.jobs.get(at).map_or(draft.span, |job| {
            let to_next = edges.get(at).and_then(|edges| {
                let edge = edges.iter().find(|(to, _)| Some(*to) == next)?;
                job.requires.get(edge.1)
            });
            to_next.map_or(job.span, |wanted| wanted.span)
        });
        let help = String::from("drop one of these requirements");
        self.error_help("E_REQ_CYCLE", message, span, Some(help));
    }

    /// A job whose requirements were all filtered out does not run either.
    fn carry(&mut self, draft: &mut Draft, edges: &[Edges], order: &[usize]) {
        for me in order {
            let Some((job, edges)) = draft.jobs.get(*me).zip(edges.get(*me)) else {
                continue;
            };
            if !job.decision.runs || job.requires.is_empty() {
                continue;
            }
            let runs = |to: usize| draft.jobs.get(to).is_some_and(|job| job.decision.runs);
            if edges.iter().any(|(to, _)| runs(*to)) {
                continue;
            }
            let mut names: Vec<&str> = Vec::new();
            for wanted in &job.requires {
                let direct = wanted.at.and_then(|at| draft.jobs.get(at));
                names.push(direct.map_or(wanted.job.as_str(), |job| job.base.as_str()));
            }
            let names = names.join(", ");
            let span = job.requires.first().map_or(job.span, |w| w.span);
            if let Some(job) = draft.jobs.get_mut(*me) {
                job.decision.runs = false;
                job.decision.reason = format!("everything it requires is left out: {names}");
                job.decision.clause = Some(format!("requires: {names}"));
                job.decision.span = span;
            }
        }
        let asked = &self.trigger.selection.jobs;
        for job in &mut draft.jobs {
            let names = [Some(&job.name), Some(&job.base), job.alias.as_ref()];
            let is_one = |asked: &String| names.iter().flatten().any(|name| **name == **asked);
            let named = asked.is_empty() || asked.iter().any(is_one);
            if !named {
                job.decision.runs = false;
                job.decision.reason = String::from("not among the jobs asked for");
                job.decision.clause = None;
            }
        }
    }

    fn plan_workflow(&mut self, linked: Linked) -> Workflow {
        let Linked { draft, edges } = linked;
        let requires = draft.jobs.iter().zip(&edges);
        let requires: Vec<Vec<Requirement>> = requires
            .map(|(job, edges)| requirements(&draft, job, edges))
            .collect();
        let mut jobs = Vec::with_capacity(draft.jobs.len());
        for (job, requires) in draft.jobs.into_iter().zip(requires) {
            let contexts = job.context.as_ref();
            let contexts = contexts.and_then(|node| self.context_names(node));
            let serial_group = job.serial_group.as_ref().and_then(|n| n.str());
            jobs.push(Job {
                name: job.name.as_str().to_owned(),
                kind: job.concrete.into_kind(),
                decision: job.decision,
                requires,
                contexts: contexts.unwrap_or_default(),
                serial_group: serial_group.map(str::to_owned),
                origin: job.origin,
            });
        }
        Workflow {
            name: draft.name,
            decision: draft.decision,
            jobs,
            max_auto_reruns: draft.max_auto_reruns,
            origin: draft.origin,
        }
    }
}

/// What a job waits for: the jobs that run, each once.
fn requirements(draft: &Draft, job: &Invocation, edges: &Edges) -> Vec<Requirement> {
    let mut requires: Vec<Requirement> = Vec::with_capacity(edges.len());
    let mut places: HashMap<usize, usize> = HashMap::new();
    for (to, wanted) in edges {
        let (Some(other), Some(wanted)) = (draft.jobs.get(*to), job.requires.get(*wanted)) else {
            continue;
        };
        if !other.decision.runs {
            continue;
        }
        let place = match edges.as_slice() {
            [_] => 0,
            _ => *places.entry(*to).or_insert(requires.len()),
        };
        match requires.get_mut(place) {
            Some(there) => {
                for status in wanted.statuses.iter() {
                    if !there.statuses.contains(status) {
                        there.statuses.push(*status);
                    }
                }
            }
            None => requires.push(Requirement {
                job: other.name.as_str().to_owned(),
                statuses: wanted.statuses.to_vec(),
            }),
        }
    }
    requires
}

/// Jobs of a workflow by name, each in its group or outside of all.
type Table<'a> = HashMap<(Option<usize>, &'a str), Vec<usize>>;

/// The names by which jobs of a workflow can be required.
struct NamesOf<'a> {
    draft: &'a Draft,
    asked: Table<'a>,
    aliases: Table<'a>,
    /// The names they have in the end; made when somebody asks.
    given: OnceCell<Table<'a>>,
}

impl<'a> NamesOf<'a> {
    fn of(draft: &'a Draft) -> Self {
        let mut names = Self {
            draft,
            asked: HashMap::with_capacity(draft.jobs.len()),
            aliases: HashMap::new(),
            given: OnceCell::new(),
        };
        for (at, job) in draft.jobs.iter().enumerate() {
            let asked = (job.group, job.local.as_str());
            names.asked.entry(asked).or_default().push(at);
            if let Some(alias) = &job.alias {
                let alias = (job.group, alias.as_str());
                names.aliases.entry(alias).or_default().push(at);
            }
            if let Some(group) = &job.stands_for {
                let group = (None, group.as_str());
                names.asked.entry(group).or_default().push(at);
            }
        }
        names
    }

    fn given(&self) -> &Table<'a> {
        self.given.get_or_init(|| {
            let mut given = Table::with_capacity(self.draft.jobs.len());
            for (at, job) in self.draft.jobs.iter().enumerate() {
                let name = (job.group, job.name.as_str());
                given.entry(name).or_default().push(at);
            }
            given
        })
    }

    /// The jobs that `me` means by a name, or how many it could mean (language 10.9.3, 10.11.9).
    fn find(&self, me: usize, name: &'a str) -> Result<Cow<'_, [usize]>, usize> {
        let job = |at: usize| self.draft.jobs.get(at);
        let scope = job(me).and_then(|job| job.group);
        let key = (scope, name);
        let named = self.asked.get(&key).map_or(&[][..], Vec::as_slice);
        let group = self.aliases.get(&key).map_or(&[][..], Vec::as_slice);
        let others: Cow<'_, [usize]> = match named.contains(&me) {
            false => Cow::Borrowed(named),
            true => named.iter().copied().filter(|at| *at != me).collect(),
        };
        let cell_of = |at: &usize| job(*at).and_then(|job| job.cell_of);
        let first = others.first().and_then(cell_of);
        let one_matrix = first.is_some() && others.iter().all(|at| cell_of(at) == first);
        let alias = |at: &usize| job(*at).and_then(|job| job.alias.as_deref());
        let apart = !group.is_empty() && others.iter().any(|at| alias(at) != Some(name));
        if apart || (others.len() > 1 && !one_matrix) {
            return Err(others.len().max(2));
        }
        Ok(if !group.is_empty() {
            Cow::Borrowed(group)
        } else if !others.is_empty() {
            others
        } else if !named.is_empty() {
            Cow::Borrowed(named)
        } else {
            Cow::Borrowed(self.given().get(&key).map_or(&[][..], Vec::as_slice))
        })
    }
}

/// Gives numbers to jobs that share a name and are not one job of several workflows.
fn name_all(drafts: &mut [Draft]) {
    let mut taken = HashSet::new();
    let mut all = drafts.iter().flat_map(|draft| &draft.jobs);
    if all.all(|job| taken.insert(job.base.clone())) {
        return;
    }
    taken.clear();
    let mut uses: IndexMap<Text, Vec<(usize, usize)>> = IndexMap::new();
    for (w, draft) in drafts.iter().enumerate() {
        for (j, job) in draft.jobs.iter().enumerate() {
            uses.entry(job.base.clone()).or_default().push((w, j));
        }
    }
    taken.extend(uses.keys().cloned());
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
                differ |= first.is_some_and(|first| !first.same(&processed.value));
                first = first.or(Some(&processed.value));
            }
        }
        if !differ && per_workflow.values().all(|count| *count == 1) {
            continue;
        }
        let mut number = 0;
        for (w, j) in places {
            let name = loop {
                number += 1;
                let name = Text::from(format!("{base}-{number}"));
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

/// The processed config.
pub(crate) fn processed(linked: &[Linked]) -> Value {
    let nowhere = Span {
        file: FileId(0),
        start: 0,
        end: 0,
    };
    let version = || entry("version", Node::new(Value::Int(2), nowhere));
    let mut jobs: IndexMap<&Text, &Ref> = IndexMap::new();
    let mut workflows: Vec<Entry> = vec![version()];
    for Linked { draft, edges } in linked {
        // Matrices without members can leave a workflow without jobs.
        if draft.dropped || draft.jobs.is_empty() {
            continue;
        }
        for job in &draft.jobs {
            if let Some(processed) = &job.concrete.processed {
                jobs.entry(&job.name).or_insert(processed);
            }
        }
        let node = Node::new(workflow_value(draft, edges, nowhere), nowhere);
        workflows.push(entry(draft.name.as_str(), node));
    }
    let map = |entries| Node::new(Value::Map(entries), nowhere);
    let jobs = jobs.into_iter();
    let jobs = jobs.map(|(name, job)| entry(name.clone(), Rc::clone(job)));
    Value::Map(vec![
        version(),
        entry("jobs", map(jobs.collect())),
        entry("workflows", map(workflows)),
    ])
}

fn workflow_value(draft: &Draft, edges: &[Edges], nowhere: Span) -> Value {
    let text = |text: Text| Node::new(Value::Str(text), nowhere);
    let names: Vec<Ref> = draft
        .jobs
        .iter()
        .map(|job| text(job.name.clone()))
        .collect();
    // Every job shares its keys with the others.
    let requires = Text::from("requires");
    let others = ["context", "filters", "serial-group"].map(Text::from);
    let mut items: Vec<Ref> = Vec::with_capacity(names.len());
    for ((job, name), edges) in draft.jobs.iter().zip(&names).zip(edges) {
        let mut fields: Vec<Entry> = Vec::new();
        // A job defined as an approval has no entry of its own, so its type stands here too.
        if matches!(job.concrete.kind, JobKind::Approval) {
            fields.push(entry("type", text("approval".into())));
        }
        let mut required: Vec<Ref> = Vec::with_capacity(edges.len());
        let mut seen = HashSet::new();
        for (to, wanted) in edges {
            let (Some(other), Some(wanted)) = (names.get(*to), job.requires.get(*wanted)) else {
                continue;
            };
            if edges.len() > 1 && !seen.insert((*to, &wanted.statuses)) {
                continue;
            }
            required.push(match (&wanted.written, &other.value) {
                (Some(statuses), Value::Str(name)) => {
                    let inner = vec![entry(name.clone(), Rc::clone(statuses))];
                    Node::new(Value::Map(inner), nowhere)
                }
                _ => Rc::clone(other),
            });
        }
        if !required.is_empty() {
            let required = Node::new(Value::Seq(required), nowhere);
            fields.push(entry(requires.clone(), required));
        }
        let kept = [&job.context, &job.filters, &job.serial_group];
        for (key, node) in others.iter().zip(kept) {
            fields.extend(node.iter().map(|node| entry(key.clone(), Rc::clone(node))));
        }
        items.push(if fields.is_empty() {
            Rc::clone(name)
        } else {
            let inner = Node::new(Value::Map(fields), nowhere);
            Node::new(Value::Map(vec![entry(job.name.clone(), inner)]), nowhere)
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
