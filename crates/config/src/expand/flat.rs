//! Lists of steps, flattened: made once for all the jobs in which one comes out the same, such as the
//! members of a matrix whose steps do not ask in which of them they are.
//!
//! The steps of a job come out the same wherever it has the same value for each parameter whose name stands
//! in them: they see nothing else of who invokes the job, as all other names of a tag are the pipeline's.
//! That holds as long as nothing is wrong. So a list is kept only if no error was reported in it and
//! nothing asked for its caller ([`Compiler::particular`]); whatever else it reported was said with the
//! first use, and [`Compiler::report`] says nothing twice. The budget and the table of origins grow with a
//! further use as they did with the first.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::rc::Rc;

use capstan_model::plan::Step;
use capstan_model::source::Origin;
use capstan_model::{OriginId, Span};

use super::steps::Expanded;
use crate::ast::Definition;
use crate::budget::Cost;
use crate::compiler::{Compiler, Scope, Wanted};
use crate::space::SpaceId;
use crate::yaml::{Node, Ref, Value};

/// A list of steps as it came out.
pub(crate) struct Flat {
    /// As they run, if a plan is wanted.
    steps: Vec<Step>,
    /// As processed output has them, if somebody looks at that: a list.
    pub(crate) processed: Ref,
    /// How many there are, those among them that a native step stands in for.
    pub(crate) count: usize,
    /// The built-in steps that a job as a whole has something to say about.
    pub(crate) noted: Vec<(&'static str, Span)>,
    /// The origins that were made for it.
    origins: Range<usize>,
    /// What it cost.
    cost: Cost,
}

/// A use of a flat list.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) list: Rc<Flat>,
    /// How far behind the origins of the list those of this use are.
    shift: u32,
}

impl Part {
    /// Its steps at the end of others; those of the last use are moved.
    pub(crate) fn onto(self, steps: &mut Vec<Step>) {
        let shift = self.shift;
        let mine = |mut step: Step| {
            step.origin = OriginId(step.origin.0.saturating_add(shift));
            step
        };
        match Rc::try_unwrap(self.list) {
            Ok(list) if steps.is_empty() && shift == 0 => *steps = list.steps,
            Ok(list) => steps.extend(list.steps.into_iter().map(mine)),
            Err(list) => steps.extend(list.steps.iter().cloned().map(mine)),
        }
    }
}

/// The lists that can be used again.
#[derive(Default)]
pub(crate) struct Lists {
    made: HashMap<Key, Rc<Flat>>,
    /// Room for the steps of the next one.
    room: Vec<Expanded>,
}

/// What a flat list was made of.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    /// The job, as it was written.
    job: Identity,
    space: SpaceId,
    /// Of the parameters that its steps name.
    values: Box<[Given]>,
}

/// A node as itself.
struct Identity(Ref);

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Rc::as_ptr(&self.0).hash(state);
    }
}

/// The value of a parameter: equal are two that no text can tell apart. Of scalars these are the equal
/// ones, as a tag takes nothing of the node but its value.
struct Given(Ref);

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0.value, &other.0.value) {
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            _ => Rc::ptr_eq(&self.0, &other.0),
        }
    }
}

impl Eq for Given {}

impl Hash for Given {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0.value {
            Value::Str(text) => text.hash(state),
            Value::Int(n) => n.hash(state),
            Value::Bool(b) => b.hash(state),
            _ => Rc::as_ptr(&self.0).hash(state),
        }
    }
}

impl Compiler<'_> {
    /// The steps of a job, in the scope inside of it.
    pub(crate) fn own_steps(&mut self, definition: &Definition, scope: &Scope) -> Option<Part> {
        let list = definition.node.get("steps")?;
        let values = scope.parameters.iter().flat_map(|bound| {
            let places = definition.named_in_steps().iter();
            places.filter_map(|place| bound.at(*place))
        });
        let key = Key {
            job: Identity(Rc::clone(&definition.node)),
            space: scope.space,
            values: values.map(|value| Given(Rc::clone(value))).collect(),
        };
        // What an error does to later jobs is not thought about.
        let sound = self.errors() == 0;
        if sound
            && let Some(list) = self.lists.made.get(&key).cloned()
            && self.budget.again(list.cost)
        {
            return Some(self.again(list));
        }
        let before = self.particular;
        let part = self.flat(|this, out| this.steps(list, scope, out));
        if sound && self.particular == before {
            self.lists.made.insert(key, Rc::clone(&part.list));
        }
        Some(part)
    }

    /// The steps that `work` expands.
    pub(crate) fn flat(&mut self, work: impl FnOnce(&mut Self, &mut Vec<Expanded>)) -> Part {
        let (first, before) = (self.origins.table.len(), self.budget.cost());
        let mut expanded = std::mem::take(&mut self.lists.room);
        work(self, &mut expanded);
        let count = expanded.len();
        let mut steps = match self.wanted {
            Wanted::Plan => Vec::with_capacity(count),
            Wanted::Findings => Vec::new(),
        };
        let mut processed = match self.shows_processed() {
            true => Vec::with_capacity(count),
            false => Vec::new(),
        };
        let mut noted = Vec::new();
        for step in expanded.drain(..) {
            if matches!(step.built_in, "setup_remote_docker" | "deploy") {
                noted.push((step.built_in, step.span));
            }
            if self.shows_processed() {
                processed.extend(step.processed);
            }
            steps.extend(step.step);
        }
        self.lists.room = expanded;
        let nowhere = Span {
            file: capstan_model::FileId(0),
            start: 0,
            end: 0,
        };
        let list = Flat {
            steps,
            processed: Node::new(Value::Seq(processed), nowhere),
            count,
            noted,
            origins: first..self.origins.table.len(),
            cost: self.budget.since(before),
        };
        Part {
            list: Rc::new(list),
            shift: 0,
        }
    }

    /// A further use of a list, which is paid for: its origins stand below what calls it now.
    fn again(&mut self, list: Rc<Flat>) -> Part {
        if self.wanted == Wanted::Findings {
            return Part { list, shift: 0 };
        }
        let first = self.origins.table.len();
        let by = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let shift = by(first.saturating_sub(list.origins.start));
        let outside = by(list.origins.start);
        for at in list.origins.clone() {
            let Some(origin) = self.origins.table.get(at) else {
                continue;
            };
            let inside = origin.parent.filter(|parent| parent.0 >= outside);
            let parent = match inside {
                Some(parent) => Some(OriginId(parent.0.saturating_add(shift))),
                None => self.parent,
            };
            let (kind, span) = (origin.kind.clone(), origin.span);
            self.origins.push(Origin { parent, kind, span });
        }
        Part { list, shift }
    }
}
