//! Whose names a text can see: the config's, or those of one orb (language 12.3, 12.4).
//!
//! A config sees the elements it defines and, as `alias/name`, those of the orbs it declares. An orb sees
//! its own and those of the orbs that it imports, and nothing of whoever uses it.

use std::collections::HashMap;
use std::rc::Rc;

use capstan_model::Span;
use indexmap::IndexMap;

use crate::ast::{Definition, Kind, suggest};
use crate::budget::MAX_CALLS;
use crate::compiler::Compiler;
use crate::expand::fields::BUILT_IN;
use crate::yaml::{Entry, Text};

/// A row of the compiler's spaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SpaceId(pub(crate) u32);

impl SpaceId {
    /// The config.
    pub(crate) const CONFIG: Self = Self(0);

    /// Whether this is an orb.
    pub(crate) fn is_orb(self) -> bool {
        self != Self::CONFIG
    }
}

/// The names of a config or of an orb.
#[derive(Default)]
pub(crate) struct Space {
    /// `ns/orb@1.2.3`, `inline` or a URL; empty for the config.
    pub(crate) reference: String,
    /// Elements as written, by kind and name.
    written: [IndexMap<Text, Entry>; 3],
    /// Elements whose shape was looked at.
    defined: [HashMap<Text, Rc<Definition>>; 3],
    /// Imported orbs by alias.
    pub(crate) orbs: IndexMap<Text, Import>,
}

/// What an alias of `orbs` stands for.
#[derive(Clone, Debug)]
pub(crate) enum Import {
    /// An orb.
    Orb(SpaceId),
    /// Nothing, which was reported.
    Broken,
    /// Nothing that could be had; said only where it is used.
    Absent {
        code: &'static str,
        why: String,
        help: Option<String>,
    },
}

impl Space {
    /// The space of an orb, still empty.
    pub(crate) fn named(reference: String) -> Self {
        Self {
            reference,
            ..Self::default()
        }
    }

    /// Elements of one kind as written, by name.
    pub(crate) fn written(&self, kind: Kind) -> &IndexMap<Text, Entry> {
        let [commands, executors, jobs] = &self.written;
        match kind {
            Kind::Command => commands,
            Kind::Executor => executors,
            Kind::Job => jobs,
        }
    }

    pub(crate) fn write(&mut self, kind: Kind, entries: &[Entry]) {
        let [commands, executors, jobs] = &mut self.written;
        let table = match kind {
            Kind::Command => commands,
            Kind::Executor => executors,
            Kind::Job => jobs,
        };
        for entry in entries {
            table.insert(entry.key.clone(), entry.clone());
        }
    }
}

impl Compiler<'_> {
    pub(crate) fn space(&self, id: SpaceId) -> Option<&Space> {
        self.spaces.get(id.0 as usize)
    }

    /// Whether a space defines the element itself.
    pub(crate) fn defines(&self, space: SpaceId, kind: Kind, name: &str) -> bool {
        self.space(space)
            .is_some_and(|space| space.written(kind).contains_key(name))
    }

    /// An element of a space by its own name. Its shape is looked at with the first use, so that
    /// mistakes in parts of an orb that nobody uses are nobody's.
    fn own(&mut self, space: SpaceId, kind: Kind, name: &str) -> Option<Rc<Definition>> {
        let there = self.space(space)?;
        if let Some(definition) = there.defined[kind as usize].get(name) {
            return Some(Rc::clone(definition));
        }
        let entry = there.written(kind).get(name)?.clone();
        let definition = Rc::new(self.definition(&entry, kind, space));
        if let Some(there) = self.spaces.get_mut(space.0 as usize) {
            there.defined[kind as usize].insert(name.into(), Rc::clone(&definition));
        }
        Some(definition)
    }

    /// Looks at the shape of everything a space defines.
    pub(crate) fn define_all(&mut self, space: SpaceId) {
        for kind in Kind::ALL {
            let names: Vec<String> = self
                .space(space)
                .map(|space| space.written(kind).keys().map(Text::to_string).collect())
                .unwrap_or_default();
            for name in names {
                self.own(space, kind, &name);
            }
        }
    }

    /// The definition `name` means in a space, through aliases and orbs; `None` where there is none,
    /// which was reported at `span`.
    pub(crate) fn resolve(
        &mut self,
        space: SpaceId,
        kind: Kind,
        name: &str,
        span: Span,
    ) -> Option<Rc<Definition>> {
        let mut path: Vec<(SpaceId, String)> = Vec::new();
        let (mut space, mut at) = (space, span);
        // The definition that only names another one.
        let mut alias: Option<Rc<Definition>> = None;
        loop {
            let (name, called) = match &alias {
                None => (name, None),
                Some(alias) => (alias.node.str()?, Some(alias.name.as_str())),
            };
            let definition = self.look(space, kind, name, at, called)?;
            if definition.node.str().is_none() {
                return Some(definition);
            }
            if definition.broken {
                return None;
            }
            let here = (definition.space, definition.name.clone());
            if path.contains(&here) {
                let what = kind.word();
                let message = format!("Infinite loop detected: {what} {} is its own alias", here.1);
                self.error("E_CYCLE", message, definition.span);
                return None;
            }
            if path.len() >= MAX_CALLS {
                let message = format!("aliases of aliases, deeper than {MAX_CALLS}");
                self.error("E_LIMIT", message, span);
                return None;
            }
            path.push(here);
            space = definition.space;
            // An orb's file is not the user's: the use is the place to point at.
            at = if space.is_orb() {
                span
            } else {
                definition.node.span
            };
            alias = Some(definition);
        }
    }

    fn look(
        &mut self,
        space: SpaceId,
        kind: Kind,
        name: &str,
        span: Span,
        alias: Option<&str>,
    ) -> Option<Rc<Definition>> {
        if let Some(found) = self.own(space, kind, name) {
            return Some(found);
        }
        if let Some((orb, inner)) = name.split_once('/') {
            let import = self.space(space).and_then(|s| s.orbs.get(orb)).cloned();
            return match import {
                Some(Import::Orb(of)) => {
                    let found = self.own(of, kind, inner);
                    if found.is_none() {
                        self.unknown(kind, of, name, inner, span, alias);
                    }
                    found
                }
                Some(Import::Broken) => None,
                Some(Import::Absent { code, why, help }) => {
                    self.error_help(code, why, span, help);
                    None
                }
                None => {
                    let message = format!(
                        "Cannot find orb '{orb}' looking for {} named '{name}'",
                        kind.word()
                    );
                    let orbs = self.space(space).map(|s| &s.orbs);
                    let help = orbs
                        .and_then(|orbs| suggest(orb, orbs.keys().map(Text::as_str)))
                        .or_else(|| {
                            Some(format!(
                                "declare it: `orbs: {{{orb}: namespace/{orb}@1.0.0}}`"
                            ))
                        });
                    self.error_help("E_UNKNOWN_ORB", message, span, help);
                    None
                }
            };
        }
        self.unknown(kind, space, name, name, span, alias);
        None
    }

    /// Reports a name that nobody defines.
    fn unknown(
        &mut self,
        kind: Kind,
        space: SpaceId,
        name: &str,
        inner: &str,
        span: Span,
        alias: Option<&str>,
    ) {
        let message = match (kind, alias) {
            (Kind::Executor, Some(alias)) => format!(
                "Executor alias '{alias}' refers to '{name}', which is not a known local executor"
            ),
            (_, Some(alias)) => format!(
                "the alias {alias}: Cannot find a definition for {} named {name}",
                kind.word()
            ),
            (_, None) => format!("Cannot find a definition for {} named {name}", kind.word()),
        };
        let other = match kind {
            Kind::Job if self.defines(space, Kind::Command, inner) => {
                Some(format!("{name} is a command, not a job"))
            }
            Kind::Command if self.defines(space, Kind::Job, inner) => {
                Some(format!("{name} is a job, not a command"))
            }
            _ => None,
        };
        let there = self.space(space);
        let known = there.map(|s| s.written(kind).keys().map(Text::as_str));
        let built_in = if kind == Kind::Command && name == inner {
            BUILT_IN
        } else {
            &[]
        };
        let near = suggest(
            inner,
            known.into_iter().flatten().chain(built_in.iter().copied()),
        );
        let help = other.or(near).or_else(|| {
            let there = there?;
            let names: Vec<&str> = there.written(kind).keys().map(Text::as_str).collect();
            if space.is_orb() && name != inner && !names.is_empty() && names.len() <= 12 {
                let word = kind.word();
                return Some(format!(
                    "the {word}s of {} are {}",
                    there.reference,
                    names.join(", ")
                ));
            }
            match kind {
                Kind::Command if name == inner && self.v2 => Some(String::from(
                    "commands need `version: 2.1`; in version 2 a step is one of the built-in ones",
                )),
                _ => None,
            }
        });
        let code = match kind {
            Kind::Command => "E_UNKNOWN_COMMAND",
            Kind::Executor => "E_UNKNOWN_EXECUTOR",
            Kind::Job => "E_UNKNOWN_JOB",
        };
        self.error_help(code, message, span, help);
    }
}
