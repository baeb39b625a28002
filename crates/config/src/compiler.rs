//! What every phase of a compilation shares: the sources, what was found, the names tags can see.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use capstan_model::source::{Origin, OriginKind, Origins};
use capstan_model::{OriginId, Span, Trigger};
use indexmap::IndexMap;

use crate::ast::Definition;
use crate::diagnostic::{Diagnostic, Severity};
use crate::expr::{Fault, Names};
use crate::template;
use crate::yaml::{Entry, Node, Ref, Value};

/// Most nodes that substitution may make in one compilation.
const MAX_MADE: u64 = 4_000_000;

/// A compilation under way.
pub(crate) struct Compiler<'a> {
    pub(crate) trigger: &'a Trigger,
    pub(crate) found: Vec<Diagnostic>,
    pub(crate) origins: Origins,
    /// Pipeline values and parameters by full name.
    pub(crate) pipeline: BTreeMap<String, Value>,
    pub(crate) commands: IndexMap<String, Rc<Definition>>,
    pub(crate) executors: IndexMap<String, Rc<Definition>>,
    pub(crate) jobs: IndexMap<String, Rc<Definition>>,
    pub(crate) orbs: HashSet<String>,
    /// Calls that led to what is compiled now, outermost first.
    pub(crate) trail: Vec<(String, Span)>,
    /// The same as the parent of new origins.
    pub(crate) parent: Option<OriginId>,
    /// Commands being expanded, outermost first.
    pub(crate) calling: Vec<String>,
    made: u64,
    seen: HashSet<(&'static str, u32, String)>,
}

/// The parameters a text can see.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    pub(crate) parameters: Option<Rc<HashMap<String, Ref>>>,
    pub(crate) matrix: Option<Rc<IndexMap<String, Ref>>>,
    /// The text was substituted where it was written, and is not looked at again.
    pub(crate) frozen: bool,
    /// Only pipeline values, no pipeline parameters.
    pub(crate) bare: bool,
}

impl Scope {
    /// The scope of what was substituted before.
    pub(crate) fn frozen() -> Self {
        Self {
            frozen: true,
            ..Self::default()
        }
    }
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(trigger: &'a Trigger, origins: Origins) -> Self {
        Self {
            trigger,
            found: Vec::new(),
            origins,
            pipeline: BTreeMap::new(),
            commands: IndexMap::new(),
            executors: IndexMap::new(),
            jobs: IndexMap::new(),
            orbs: HashSet::new(),
            trail: Vec::new(),
            parent: None,
            calling: Vec::new(),
            made: 0,
            seen: HashSet::new(),
        }
    }

    /// Adds a finding with the calls that led here, once for each place and message.
    pub(crate) fn report(&mut self, mut diagnostic: Diagnostic) {
        let key = (
            diagnostic.code,
            diagnostic.span.start,
            diagnostic.message.clone(),
        );
        if self.seen.insert(key) {
            if diagnostic.origin.is_empty() {
                diagnostic.origin.clone_from(&self.trail);
            }
            self.found.push(diagnostic);
        }
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
        self.report(Diagnostic::new(
            code,
            Severity::Warning,
            message.into(),
            span,
        ));
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
        call: String,
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
        self.trail.push((call, span));
        let result = work(self);
        self.trail.pop();
        self.parent = before;
        result
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
        if scope.frozen {
            return Rc::clone(node);
        }
        match &node.value {
            Value::Str(text) if text.contains("<<") => self.text(text, node.span, scope),
            Value::Seq(items) => {
                let new: Vec<Ref> = items.iter().map(|item| self.subst(item, scope)).collect();
                if new.iter().zip(items).all(|(a, b)| Rc::ptr_eq(a, b)) {
                    return Rc::clone(node);
                }
                self.make(Value::Seq(new), node.span)
            }
            Value::Map(entries) => {
                let new: Vec<Entry> = entries
                    .iter()
                    .map(|e| Entry {
                        value: self.subst(&e.value, scope),
                        ..e.clone()
                    })
                    .collect();
                if new
                    .iter()
                    .zip(entries)
                    .all(|(a, b)| Rc::ptr_eq(&a.value, &b.value))
                {
                    return Rc::clone(node);
                }
                self.make(Value::Map(new), node.span)
            }
            _ => Rc::clone(node),
        }
    }

    fn make(&mut self, value: Value, span: Span) -> Ref {
        self.made += 1;
        if self.made > MAX_MADE {
            self.error("E_LIMIT", "the expanded config is too large", span);
            return Node::new(Value::Bad, span);
        }
        Node::new(value, span)
    }

    fn text(&mut self, text: &str, span: Span, scope: &Scope) -> Ref {
        let mut view = View {
            compiler: self,
            scope,
            span,
        };
        match template::render(text, &mut view) {
            Ok((value, tagged)) => Rc::new(Node {
                value,
                span,
                plain: None,
                tagged,
            }),
            Err((code, message)) => {
                self.error(code, message, span);
                Node::new(Value::Bad, span)
            }
        }
    }

    /// An expression that stands bare, without `<< >>`.
    pub(crate) fn expression(&mut self, text: &str, span: Span, scope: &Scope) -> Value {
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

struct View<'c, 'a> {
    compiler: &'c mut Compiler<'a>,
    scope: &'c Scope,
    span: Span,
}

impl Names for View<'_, '_> {
    fn value(&mut self, name: &str) -> Result<Value, Fault> {
        let undeclared = |message: String| ("E_PARAM_UNDECLARED", message);
        if let Some(parameter) = name.strip_prefix("parameters.") {
            let declared = self.scope.parameters.as_ref();
            return match declared.and_then(|all| all.get(parameter)) {
                Some(node) => Ok(node.value.clone()),
                None => {
                    let near = declared.and_then(|all| {
                        crate::ast::nearest(parameter, all.keys().map(String::as_str))
                    });
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
        if name.starts_with("pipeline.parameters.") && self.scope.bare {
            return Err(undeclared(format!("{name} cannot be used here")));
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
