//! What every phase of a compilation shares: the sources, what was found, the names tags can see.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use capstan_model::plan::{PinnedOrb, PipelineParameter};
use capstan_model::source::{Origin, OriginKind, Origins};
use capstan_model::{FileId, OriginId, Span, Trigger};
use indexmap::IndexMap;

use crate::ast::parameter::Bound;
use crate::budget::{Budget, MAX_FOUND};
use crate::diagnostic::{Diagnostic, Severity};
use crate::expand::flat::Lists;
use crate::expr::{Fault, Names};
use crate::regex::Patterns;
use crate::sources::Sources;
use crate::space::{Space, SpaceId};
use crate::template;
use crate::yaml::{Entry, MAX_NODES, Node, Ref, Text, Value};

/// Longest text of a finding, in bytes.
const LONGEST_TEXT: usize = 1_024;
/// Longest expression that stands without a tag, in bytes.
const LONGEST_EXPRESSION: usize = 16 * 1024;

/// A compilation under way.
pub(crate) struct Compiler<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) trigger: &'a Trigger,
    pub(crate) wanted: Wanted,
    /// Whether jobs of one name may stand in several workflows, where their numbers depend on whether they
    /// read alike.
    pub(crate) compared: bool,
    pub(crate) found: Vec<Diagnostic>,
    pub(crate) origins: Origins,
    /// Pipeline values and parameters by full name.
    pub(crate) pipeline: BTreeMap<String, Value>,
    /// The config's names, then those of each orb; by [`SpaceId`].
    pub(crate) spaces: Vec<Space>,
    /// Groups of jobs by name, as written.
    pub(crate) groups: IndexMap<Text, Entry>,
    /// Orbs that have to be brought before this can go on.
    pub(crate) missing: Vec<String>,
    /// Orbs that were brought, as they were used.
    pub(crate) pins: Vec<PinnedOrb>,
    /// Pipeline parameters that the config declares.
    pub(crate) declared: Vec<PipelineParameter>,
    /// Spaces of orb files that were read, and how reading them ended.
    pub(crate) files: HashMap<FileId, crate::space::Import>,
    /// Version 2 or 2.0 of the language: no tags, and unknown keys are let pass (language 18.1).
    pub(crate) v2: bool,
    /// What is compiled now came here through this chain of calls; the parent of new origins.
    pub(crate) parent: Option<OriginId>,
    /// Commands being expanded, outermost first.
    pub(crate) calling: Vec<Rc<crate::ast::Definition>>,
    /// Where the fields of the job that is being built come from.
    pub(crate) fields: IndexMap<String, OriginId>,
    pub(crate) budget: Budget,
    pub(crate) patterns: Patterns,
    /// How many lists of steps this is in.
    pub(crate) nested: usize,
    /// Lists of steps that further jobs may have, too.
    pub(crate) lists: Lists,
    /// Grows with each error that is reported and each look at who calls: what cannot be had again by
    /// taking what it gave.
    pub(crate) particular: usize,
    errors: usize,
    /// Findings by severity, those that were not kept too.
    told: HashMap<Severity, usize>,
    seen: HashSet<(&'static str, FileId, u32, String)>,
}

/// What a compilation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Findings only. What is left out then is what only a plan shows.
    Findings,
    /// A plan, with the processed config.
    Plan,
}

/// What a text can see.
#[derive(Default)]
pub(crate) struct Scope {
    /// Whose elements.
    pub(crate) space: SpaceId,
    pub(crate) parameters: Option<Bound>,
    pub(crate) matrix: Option<IndexMap<Text, Ref>>,
    /// The text was substituted where it was written, and is not looked at again.
    pub(crate) frozen: bool,
}

impl Scope {
    /// The scope of what was substituted before, and written in `space`.
    pub(crate) fn frozen(space: SpaceId) -> Self {
        Self {
            space,
            frozen: true,
            ..Self::default()
        }
    }

    /// The scope of a text outside of any element.
    pub(crate) fn of(space: SpaceId) -> Self {
        Self {
            space,
            ..Self::default()
        }
    }
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(sources: &'a Sources, trigger: &'a Trigger, wanted: Wanted) -> Self {
        let files = match wanted {
            Wanted::Plan => sources.files(),
            Wanted::Findings => &[],
        };
        Self {
            sources,
            trigger,
            wanted,
            compared: true,
            found: Vec::new(),
            origins: Origins {
                files: files.to_vec(),
                table: Vec::new(),
            },
            pipeline: BTreeMap::new(),
            spaces: vec![Space::default()],
            groups: IndexMap::new(),
            missing: Vec::new(),
            pins: Vec::new(),
            declared: Vec::new(),
            files: HashMap::new(),
            v2: false,
            parent: None,
            calling: Vec::new(),
            fields: IndexMap::new(),
            budget: Budget::default(),
            patterns: Patterns::default(),
            nested: 0,
            lists: Lists::default(),
            particular: 0,
            errors: 0,
            told: HashMap::new(),
            seen: HashSet::new(),
        }
    }

    /// Adds a finding with the calls that led here, once for each place and message. What surprises in a
    /// published orb is for its author, and not told to who uses it.
    pub(crate) fn report(&mut self, mut diagnostic: Diagnostic) {
        let file = diagnostic.span.file;
        if diagnostic.severity == Severity::Warning && file != FileId(0) {
            return;
        }
        let error = diagnostic.severity == Severity::Error;
        self.particular += usize::from(error);
        let told = self.told.entry(diagnostic.severity).or_default();
        if *told >= MAX_FOUND {
            // The last one that is kept says so.
            self.errors += usize::from(error);
            return;
        }
        shorten(&mut diagnostic);
        let key = (
            diagnostic.code,
            file,
            diagnostic.span.start,
            diagnostic.message.clone(),
        );
        if self.seen.insert(key) {
            if diagnostic.origin.is_empty() {
                diagnostic.origin = self.trail();
            }
            self.errors += usize::from(error);
            *self.told.entry(diagnostic.severity).or_default() += 1;
            if self.told.get(&diagnostic.severity) == Some(&MAX_FOUND) {
                let more = format!("these are {MAX_FOUND} already, so further ones are not shown");
                diagnostic.help.push(more);
            }
            self.found.push(diagnostic);
        }
    }

    /// The calls that led here, outermost first, as messages name them (language 16.3).
    fn trail(&self) -> Vec<(String, Span)> {
        let Some(parent) = self.parent else {
            return Vec::new();
        };
        let chain = self.origins.chain(parent);
        let mut trail: Vec<_> = chain
            .filter_map(|origin| Some((call(&origin.kind)?, origin.span)))
            .collect();
        trail.reverse();
        trail
    }

    /// How many errors there are so far.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// The nearest place in the config itself that led here; `span`, if that is in the config.
    pub(crate) fn place_in_config(&mut self, span: Span) -> Span {
        self.particular += 1;
        if span.file == FileId(0) {
            return span;
        }
        let chain = self.parent.map(|parent| self.origins.chain(parent));
        let mut spans = chain.into_iter().flatten().map(|origin| origin.span);
        spans.find(|span| span.file == FileId(0)).unwrap_or(span)
    }

    /// Counts the errors again, after findings were taken back.
    pub(crate) fn recount(&mut self) {
        let errors = self.found.iter().filter(|f| f.severity == Severity::Error);
        self.errors = errors.count();
    }

    pub(crate) fn error(&mut self, code: &'static str, message: impl Into<String>, span: Span) {
        self.report(Diagnostic::error(code, message.into(), span));
    }

    pub(crate) fn schema(&mut self, message: impl Into<String>, span: Span) {
        self.error("E_SCHEMA", message, span);
    }

    pub(crate) fn error_help(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        span: Span,
        help: Option<String>,
    ) {
        let mut diagnostic = Diagnostic::error(code, message.into(), span);
        diagnostic.help.extend(help);
        self.report(diagnostic);
    }

    pub(crate) fn warn(&mut self, code: &'static str, message: impl Into<String>, span: Span) {
        self.warn_help(code, message, span, None);
    }

    pub(crate) fn warn_help(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        span: Span,
        help: Option<String>,
    ) {
        let mut diagnostic = Diagnostic::new(code, Severity::Warning, message.into(), span);
        diagnostic.help.extend(help);
        self.report(diagnostic);
    }

    pub(crate) fn unsupported(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        span: Span,
    ) {
        self.report(Diagnostic::unsupported(code, message.into(), span));
    }

    /// Runs `work` one call further down.
    pub(crate) fn within<T>(
        &mut self,
        kind: OriginKind,
        span: Span,
        work: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.parent;
        self.parent = Some(self.origins.push(Origin {
            parent: before,
            kind,
            span,
        }));
        let result = work(self);
        self.parent = before;
        result
    }

    /// Runs `work` inside of an element, which may be an orb's.
    pub(crate) fn inside<T>(
        &mut self,
        definition: &crate::ast::Definition,
        kind: OriginKind,
        call: Span,
        work: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.within(kind, call, |this| this.of_orb(definition, work))
    }

    /// Runs `work` inside of a job whose invocation is known already.
    pub(crate) fn of_orb<T>(
        &mut self,
        definition: &crate::ast::Definition,
        work: impl FnOnce(&mut Self) -> T,
    ) -> T {
        if !definition.space.is_orb() {
            return work(self);
        }
        let reference = self
            .space(definition.space)
            .map(|space| space.reference.clone());
        let kind = OriginKind::Orb {
            name: definition.name.clone(),
            reference: reference.unwrap_or_default(),
        };
        self.within(kind, definition.span, work)
    }

    /// Notes where a field of the job that is being built comes from, and with an environment where each
    /// variable does. What was noted before of the same field is overridden, as the field is.
    pub(crate) fn note_field(&mut self, entry: &Entry) {
        if self.wanted == Wanted::Findings {
            return;
        }
        let origin = self.written(entry.key_span);
        self.fields.insert(entry.key.as_str().to_owned(), origin);
        if entry.key == *"environment" {
            for variable in entry.value.map().unwrap_or_default() {
                let origin = self.written(variable.key_span);
                let name = format!("environment.{}", variable.key);
                self.fields.insert(name, origin);
            }
        }
    }

    /// Whether somebody will look at how jobs are written in the processed config.
    pub(crate) fn shows_processed(&self) -> bool {
        self.compared || self.wanted == Wanted::Plan
    }

    /// What only a plan holds, made where one is wanted.
    pub(crate) fn planned<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match self.wanted {
            Wanted::Plan => Some(make(self)),
            Wanted::Findings => None,
        }
    }

    /// A new origin below the current calls.
    pub(crate) fn written(&mut self, span: Span) -> OriginId {
        let parent = self.parent;
        self.origins.push(Origin {
            parent,
            kind: OriginKind::Written,
            span,
        })
    }

    /// The node with its tags replaced; unchanged parts stay shared.
    pub(crate) fn subst(&mut self, node: &Ref, scope: &Scope) -> Ref {
        if scope.frozen || self.v2 || !node.tags {
            return Rc::clone(node);
        }
        // Written once, looked at for every use.
        if self.spent() || !self.spend(1, node.span) {
            return Node::new(Value::Bad, node.span);
        }
        match &node.value {
            Value::Str(text) => self.text(text, node.span, scope),
            Value::Seq(items) => {
                // Nothing is made before the first item that changes.
                let mut new: Option<Vec<Ref>> = None;
                for (at, item) in items.iter().enumerate() {
                    let value = self.subst(item, scope);
                    match &mut new {
                        Some(new) => new.push(value),
                        None if Rc::ptr_eq(&value, item) => {}
                        None => {
                            let mut all = items.get(..at).unwrap_or_default().to_vec();
                            all.push(value);
                            new = Some(all);
                        }
                    }
                }
                match new {
                    None => Rc::clone(node),
                    Some(new) => self.make(Value::Seq(new), node.span),
                }
            }
            Value::Map(entries) => {
                let mut new: Option<Vec<Entry>> = None;
                for (at, entry) in entries.iter().enumerate() {
                    let value = self.subst(&entry.value, scope);
                    let same = Rc::ptr_eq(&value, &entry.value);
                    match &mut new {
                        None if same => {}
                        None => {
                            let mut all = entries.get(..at).unwrap_or_default().to_vec();
                            all.push(entry.with(value));
                            new = Some(all);
                        }
                        Some(new) => new.push(entry.with(value)),
                    }
                }
                match new {
                    None => Rc::clone(node),
                    Some(new) => self.make(Value::Map(new), node.span),
                }
            }
            _ => Rc::clone(node),
        }
    }

    fn make(&mut self, value: Value, span: Span) -> Ref {
        let children = match &value {
            Value::Seq(items) => items.len(),
            Value::Map(entries) => entries.len(),
            _ => 0,
        };
        let node = Node::new(value, span);
        // Arguments can double what they are given with every call.
        let fits = node.weight <= MAX_NODES || self.too_large(span);
        if self.spend(1 + children as u64, span) && fits {
            node
        } else {
            Node::new(Value::Bad, span)
        }
    }

    fn text(&mut self, text: &str, span: Span, scope: &Scope) -> Ref {
        let mut view = View {
            compiler: self,
            scope,
            span,
        };
        match template::render(text, &mut view) {
            Ok((value, tagged)) => {
                let weight = match &value {
                    Value::Str(text) => 1 + text.len() as u64 / 64,
                    Value::Seq(items) => 1 + items.len() as u64,
                    Value::Map(entries) => 1 + entries.len() as u64,
                    _ => 1,
                };
                if !self.spend(weight, span) {
                    return Node::new(Value::Bad, span);
                }
                match tagged {
                    true => Node::of_tag(value, span),
                    false => Node::new(value, span),
                }
            }
            Err((code, message)) => {
                self.error(code, message, span);
                Node::new(Value::Bad, span)
            }
        }
    }

    /// An expression that stands bare, without `<< >>`.
    pub(crate) fn expression(&mut self, text: &str, span: Span, scope: &Scope) -> Value {
        if text.len() > LONGEST_EXPRESSION {
            let message = format!("an expression has at most {LONGEST_EXPRESSION} bytes");
            self.error("E_EXPR", message, span);
            return Value::Bad;
        }
        if !self.spend(1 + text.len() as u64 / 64, span) {
            return Value::Bad;
        }
        let mut view = View {
            compiler: self,
            scope,
            span,
        };
        match crate::expr::evaluate(text, &mut view) {
            Ok(value) => value,
            Err((code, message)) => {
                self.error(code, message, span);
                Value::Bad
            }
        }
    }
}

/// Texts of a finding may quote the config, and a config may hold megabytes without a blank.
pub(crate) fn shorten(diagnostic: &mut Diagnostic) {
    // Half of a replacement would break what it mends.
    diagnostic
        .mend
        .take_if(|mend| mend.replacement.len() > LONGEST_TEXT);
    let texts = [&mut diagnostic.message, &mut diagnostic.label]
        .into_iter()
        .chain(&mut diagnostic.help)
        .chain(diagnostic.labels.iter_mut().map(|(_, text)| text));
    for text in texts {
        if text.len() > LONGEST_TEXT {
            let at = text.floor_char_boundary(LONGEST_TEXT);
            text.truncate(at);
            text.push('…');
        }
    }
}

struct View<'c, 'a> {
    compiler: &'c mut Compiler<'a>,
    scope: &'c Scope,
    span: Span,
}

impl Names for View<'_, '_> {
    fn matches(&mut self, pattern: &str, text: &str) -> Result<bool, String> {
        self.compiler.patterns.whole(pattern, text)
    }

    fn value(&mut self, name: &str) -> Result<Value, Fault> {
        let undeclared = |message: String| ("E_PARAM_UNDECLARED", message);
        if let Some(parameter) = name.strip_prefix("parameters.") {
            let declared = self.scope.parameters.as_ref();
            return match declared.and_then(|all| all.get(parameter)) {
                Some(node) => Ok(node.value.clone()),
                None => {
                    let near = declared.and_then(|all| crate::ast::nearest(parameter, all.names()));
                    let hint = near
                        .map_or_else(String::new, |n| format!(" (did you mean parameters.{n}?)"));
                    Err(undeclared(format!(
                        "Arguments referenced without declared parameters: {name}{hint}"
                    )))
                }
            };
        }
        if let Some(parameter) = name.strip_prefix("matrix.") {
            return match self
                .scope
                .matrix
                .as_ref()
                .and_then(|all| all.get(parameter))
            {
                Some(node) => Ok(node.value.clone()),
                None => Err(undeclared(format!(
                    "{name} is no parameter of a matrix here"
                ))),
            };
        }
        if name.starts_with("pipeline.parameters.") && self.scope.space.is_orb() {
            return Err(undeclared(format!(
                "an orb cannot see {name}: pass it as an argument"
            )));
        }
        match self.compiler.pipeline.get(name) {
            Some(value) => Ok(value.clone()),
            None if name.starts_with("pipeline.parameters.") => {
                let near =
                    crate::ast::nearest(name, self.compiler.pipeline.keys().map(String::as_str));
                let hint = near.map_or_else(String::new, |n| format!(" (did you mean {n}?)"));
                Err(undeclared(format!(
                    "{name} is not declared under parameters{hint}"
                )))
            }
            None if name.starts_with("pipeline.") => {
                let message = format!("{name} is no known pipeline value; it is taken as unset");
                let span = self.span;
                self.compiler.warn("W_PIPELINE_VALUE", message, span);
                Ok(Value::Null)
            }
            None => Err(undeclared(format!(
                "{name} is not defined; a tag can name parameters.…, matrix.… or pipeline.…"
            ))),
        }
    }
}

/// A link of the chain of calls in words, if it is worth a line.
fn call(kind: &OriginKind) -> Option<String> {
    Some(match kind {
        OriginKind::Workflow(name) => format!("calling workflow: '{name}'"),
        OriginKind::Job(name) => format!("calling job: '{name}'"),
        OriginKind::Command(name) => format!("calling command: '{name}'"),
        OriginKind::Executor(name) => format!("calling executor: '{name}'"),
        OriginKind::Matrix(cell) => {
            let cell: Vec<String> = cell.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("expanding the matrix cell {}", cell.join(", "))
        }
        OriginKind::AroundSteps(which) => format!("adding `{which}`"),
        OriginKind::Condition => String::from("keeping a conditional step"),
        OriginKind::Orb { name, reference } => format!("in {name} of the orb {reference}"),
        OriginKind::Shim(name) => format!("running {name} natively"),
        OriginKind::Parameter(name) => format!("using the parameter {name}"),
        OriginKind::Written => return None,
    })
}
