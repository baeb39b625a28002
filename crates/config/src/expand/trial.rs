//! Elements of an orb expanded with made-up arguments, so that what they refer to is looked at although
//! nobody calls them.

use std::rc::Rc;

use capstan_model::source::OriginKind;

use super::job::Around;
use crate::ast::parameter::Type;
use crate::ast::{Definition, Kind};
use crate::compiler::Compiler;
use crate::diagnostic::Severity;
use crate::space::SpaceId;
use crate::yaml::{Entry, Node, Value};

impl Compiler<'_> {
    /// Expands one element. With made-up values a field may hold what it cannot, so mistakes of shape
    /// count only where every parameter has a default.
    pub(crate) fn try_one(&mut self, space: SpaceId, kind: Kind, name: &str) {
        let span = self
            .space(space)
            .and_then(|there| there.written(kind).get(name))
            .map(|entry| entry.key_span);
        let Some(span) = span else { return };
        let Some(definition) = self.resolve(space, kind, name, span) else {
            return;
        };
        if definition.space != space || definition.broken {
            return;
        }
        let Some(arguments) = self.made_up(&definition) else {
            return;
        };
        let before = self.found.len();
        let call = (space, span);
        match kind {
            Kind::Command => {
                let kind = OriginKind::Command(name.to_owned());
                self.within(kind, span, |this| {
                    let scope = this.bind(&definition, &arguments, space, span);
                    this.calling.push(Rc::clone(&definition));
                    if let Some(steps) = definition.node.get("steps") {
                        this.steps(steps, &scope, &mut Vec::new());
                    }
                    this.calling.pop();
                });
            }
            Kind::Executor => {
                let kind = OriginKind::Executor(name.to_owned());
                self.within(kind, span, |this| {
                    let scope = this.bind(&definition, &arguments, space, span);
                    for entry in definition.node.map().unwrap_or_default() {
                        if entry.key != "parameters" && entry.key != "description" {
                            this.subst(&entry.value, &scope);
                        }
                    }
                });
            }
            Kind::Job => {
                let kind = OriginKind::Job(name.to_owned());
                self.within(kind, span, |this| {
                    this.concrete(&definition, &arguments, &Around::default(), call);
                });
            }
        }
        if !arguments.is_empty() {
            let mut index = 0;
            self.found.retain(|found| {
                index += 1;
                let made_up = matches!(found.code, "E_SCHEMA" | "E_PARAM_TYPE" | "E_STEP");
                index <= before || found.severity != Severity::Error || !made_up
            });
        }
        self.recount();
    }

    /// An argument for each parameter without a default; `None` if there is nothing that could be one.
    fn made_up(&mut self, definition: &Definition) -> Option<Vec<Entry>> {
        let span = definition.span;
        let mut arguments = Vec::new();
        for (name, parameter) in definition.parameters.iter() {
            if parameter.default.is_some() {
                continue;
            }
            let value = match parameter.kind? {
                Type::String => Value::Str("text".into()),
                Type::EnvVarName => Value::Str("NAME".into()),
                Type::Boolean => Value::Bool(true),
                Type::Integer => Value::Int(1),
                Type::Steps => Value::Seq(Vec::new()),
                Type::Enum => parameter.members.first()?.value.clone(),
                Type::Executor => {
                    // One that asks for nothing itself.
                    let executors = self.space(definition.space)?.written(Kind::Executor);
                    let free = executors.values().find(|executor| {
                        let declared = executor.value.get("parameters").and_then(|n| n.map());
                        let all = declared.unwrap_or_default();
                        all.iter().all(|p| p.value.get("default").is_some())
                    });
                    Value::Str(free?.key.clone())
                }
            };
            arguments.push(Entry {
                key: name.clone(),
                key_span: span,
                value: Node::new(value, span),
            });
        }
        Some(arguments)
    }
}
