//! Parameter definitions, and values held against them (language 3).

use std::rc::Rc;

use capstan_model::Span;
use indexmap::IndexMap;

use super::{Definition, Kind, suggest};
use crate::compiler::{Compiler, Scope};
use crate::diagnostic::{Diagnostic, WITHOUT_QUOTES, in_quotes};
use crate::space::SpaceId;
use crate::yaml::{Entry, Node, Ref, Text, Value};

/// What stands before the name of a parameter in a tag.
const PREFIX: &str = "parameters.";
/// So many names are compared one by one.
const FEW: usize = 8;
/// How many declarations one finding points at.
const MOST_LABELS: usize = 5;

/// Declared parameters in file order.
pub(crate) type Parameters = IndexMap<Text, Parameter>;

/// A declared parameter.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) kind: Option<Type>,
    pub(crate) members: Vec<Ref>,
    pub(crate) default: Option<Ref>,
    /// Where it is declared.
    pub(crate) span: Span,
}

/// The types of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    String,
    Boolean,
    Integer,
    Enum,
    Executor,
    Steps,
    EnvVarName,
}

const ALL: [(&str, Type); 7] = [
    ("string", Type::String),
    ("boolean", Type::Boolean),
    ("integer", Type::Integer),
    ("enum", Type::Enum),
    ("executor", Type::Executor),
    ("steps", Type::Steps),
    ("env_var_name", Type::EnvVarName),
];

/// The values of an element's parameters in one use of it.
#[derive(Debug)]
pub(crate) struct Bound {
    declared: Rc<Parameters>,
    /// By the place of their declaration.
    values: Vec<Option<Ref>>,
}

impl Bound {
    /// The value of a parameter, if the element declares it.
    pub(crate) fn get(&self, name: &str) -> Option<&Ref> {
        self.at(place(&self.declared, name)?)
    }

    /// The value of a parameter by the place of its declaration.
    pub(crate) fn at(&self, place: usize) -> Option<&Ref> {
        self.values.get(place)?.as_ref()
    }

    /// The names that have values.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.keys().map(Text::as_str)
    }
}

/// Where a parameter is declared among the others.
fn place(declared: &Parameters, name: &str) -> Option<usize> {
    match declared.len() {
        // A few names are compared sooner than one is hashed.
        0..=FEW => declared.keys().position(|key| key == name),
        _ => declared.get_index_of(name),
    }
}

impl Parameter {
    fn type_name(&self) -> &'static str {
        ALL.iter()
            .find(|(_, kind)| Some(*kind) == self.kind)
            .map_or("unknown", |(name, _)| name)
    }

    /// The value as the parameter holds it, if it fits.
    pub(crate) fn accept(&self, value: &Ref) -> Option<Ref> {
        if self.kind == Some(Type::String) && value.tagged && value.is_null() {
            // An unset pipeline value, such as the branch of a tag pipeline, is empty text.
            return Some(Node::new(Value::Str("".into()), value.span));
        }
        let Some(kind) = self.kind else {
            return Some(Rc::clone(value));
        };
        let fits = match (kind, value.open()) {
            (_, Value::Bad) => true,
            (Type::String, Value::Str(_))
            | (Type::Boolean, Value::Bool(_))
            | (Type::Integer, Value::Int(_))
            | (Type::Executor, Value::Str(_))
            | (Type::Steps, Value::Seq(_)) => true,
            (Type::Executor, Value::Map(_)) => value.get("name").is_some(),
            (Type::EnvVarName, Value::Str(name)) => posix(name),
            (Type::Enum, _) => {
                let large = value.value.is_large();
                let member = |member: &&Ref| {
                    let by_text = match (value.open(), &member.plain) {
                        (Value::Str(text), Some(plain)) => plain == text,
                        _ => false,
                    };
                    by_text || (!large && member.value.same(&value.value))
                };
                return self.members.iter().find(member).map(|_| Rc::clone(value));
            }
            _ => false,
        };
        fits.then(|| match (kind, &value.value) {
            // Only where names are looked up does it matter where they were written.
            (Type::String | Type::EnvVarName, Value::Closed(inner, _)) => Rc::clone(inner),
            _ => Rc::clone(value),
        })
    }

    /// The value with the space its names belong to, which stays when it is passed on.
    fn close(&self, value: Ref, space: SpaceId) -> Ref {
        let named = matches!(self.kind, Some(Type::Steps | Type::Executor));
        if !named || matches!(value.value, Value::Closed(..) | Value::Bad) {
            return value;
        }
        let span = value.span;
        Node::of_tag(Value::Closed(value, space), span)
    }
}

/// Which of the declared parameters the texts below name in a tag, or might seem to, by their places.
pub(crate) fn named(node: &Node, declared: &Parameters) -> Vec<usize> {
    let mut named = vec![false; declared.len()];
    mark(node, declared, &mut named);
    (0..named.len())
        .filter(|place| named.get(*place) == Some(&true))
        .collect()
}

fn mark(node: &Node, declared: &Parameters, named: &mut [bool]) {
    if !node.tags {
        return;
    }
    match &node.value {
        Value::Str(text) => {
            if !text.is_ascii() && text.contains(PREFIX) {
                // A name that does not fit the grammar may end anywhere.
                return named.fill(true);
            }
            for (at, _) in text.match_indices(PREFIX) {
                let rest = text.get(at + PREFIX.len()..).unwrap_or("");
                let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
                let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
                let name = rest.get(..end).unwrap_or("");
                let place = declared.get_index_of(name);
                if let Some(named) = place.and_then(|place| named.get_mut(place)) {
                    *named = true;
                }
            }
        }
        Value::Seq(items) => items.iter().for_each(|item| mark(item, declared, named)),
        Value::Map(entries) => {
            for entry in entries {
                mark(&entry.value, declared, named);
            }
        }
        _ => {}
    }
}

/// Whether a name is as the language wants it (language 2.2).
fn usual(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
}

/// Whether it can name a variable.
pub(crate) fn posix(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn shown(value: &Value) -> String {
    value.text().unwrap_or_else(|| value.brief())
}

impl Compiler<'_> {
    /// Reads `parameters`; `kind` is `None` for those of the pipeline.
    pub(crate) fn parameters(&mut self, node: &Ref, kind: Option<Kind>) -> Parameters {
        let mut all = Parameters::new();
        let Some(entries) = node.map() else {
            self.schema(
                format!("`parameters` is a map, not a {}", node.value.kind()),
                node.span,
            );
            return all;
        };
        for entry in entries {
            let parameter = self.parameter(entry, kind);
            all.insert(entry.key.clone(), parameter);
        }
        all
    }

    fn parameter(&mut self, entry: &Entry, of: Option<Kind>) -> Parameter {
        let name = &entry.key;
        if !usual(name) {
            let message = format!("[{name}] is an unusual name of a parameter");
            let help =
                "it starts with a lower-case letter and goes on with those, digits, `_` and `-`";
            self.warn_help("W_NAME", message, entry.key_span, Some(help.to_owned()));
        }
        let mut parameter = Parameter {
            kind: None,
            members: Vec::new(),
            default: None,
            span: entry.key_span,
        };
        let Some(fields) = entry.value.map() else {
            self.schema(
                format!("parameter {name} is a map with a `type`"),
                entry.key_span,
            );
            return parameter;
        };
        if !self.closed(fields, &["type", "description", "default", "enum"]) {
            return parameter;
        }
        let permitted: Vec<&str> = ALL
            .iter()
            .filter(|(_, kind)| match of {
                None => matches!(
                    kind,
                    Type::String | Type::Boolean | Type::Integer | Type::Enum
                ),
                Some(Kind::Executor) => !matches!(kind, Type::Executor | Type::Steps),
                Some(_) => true,
            })
            .map(|(name, _)| *name)
            .collect();
        let Some(typed) = entry.value.get("type") else {
            self.schema(
                format!("parameter {name}: required key [type] not found"),
                entry.key_span,
            );
            return parameter;
        };
        let word = typed.str().unwrap_or("");
        let Some((_, kind)) = ALL
            .iter()
            .find(|(n, _)| *n == word && permitted.contains(n))
        else {
            let message = format!(
                "parameter {name}: the type [{}] is not permitted here; permitted are {}",
                shown(&typed.value),
                permitted.join(", ")
            );
            self.error_help(
                "E_SCHEMA",
                message,
                typed.span,
                suggest(word, permitted.into_iter()),
            );
            return parameter;
        };
        match entry.value.get("enum") {
            Some(members) if *kind == Type::Enum => match members.seq() {
                Some(items) if !items.is_empty() => parameter.members = items.to_vec(),
                _ => {
                    let message =
                        format!("parameter {name}: `enum` is a list of at least one value");
                    self.schema(message, members.span);
                    return parameter;
                }
            },
            Some(members) => {
                let message = format!("parameter {name}: `enum` means nothing for type {word}");
                self.warn("W_IGNORED_KEY", message, members.span);
            }
            None if *kind == Type::Enum => {
                self.schema(
                    format!("parameter {name}: required key [enum] not found"),
                    entry.key_span,
                );
                return parameter;
            }
            None => {}
        }
        parameter.kind = Some(*kind);
        parameter.default = entry.value.get("default").cloned();
        match &parameter.default {
            None if of.is_none() => self.schema(
                format!("pipeline parameter {name}: required key [default] not found"),
                entry.key_span,
            ),
            Some(default) => {
                let tagged = default.str().is_some_and(|text| text.contains("<<"));
                if of.is_none() && tagged {
                    let message =
                        format!("Parameter error: default value of parameter '{name}' holds a tag");
                    self.error("E_PARAM_DEFAULT", message, default.span);
                } else if !tagged && parameter.accept(default).is_none() {
                    self.bad_default(name, &parameter, default);
                    parameter.default = Some(Node::new(Value::Bad, default.span));
                }
            }
            None => {}
        }
        parameter
    }

    fn bad_default(&mut self, name: &str, parameter: &Parameter, value: &Ref) {
        let message = format!(
            "Parameter error: default value of parameter '{name}' is '{}' (type {}): expected type {}",
            shown(&value.value),
            value.value.kind(),
            expected(parameter)
        );
        let help = mend(parameter, value);
        self.error_help("E_PARAM_DEFAULT", message, value.span, help);
    }

    /// Checks one argument; what does not fit is reported and stands as bad.
    pub(crate) fn argument(&mut self, name: &str, parameter: &Parameter, value: &Ref) -> Ref {
        parameter.accept(value).unwrap_or_else(|| {
            let message = format!(
                "Type error for argument {name}: expected type: {}, actual value: {} (type {})",
                expected(parameter),
                shown(&value.value),
                value.value.kind()
            );
            let mut diagnostic = Diagnostic::error("E_PARAM_TYPE", message, value.span);
            let declared = format!("declared as {}", parameter.type_name());
            diagnostic.labels.push((parameter.span, declared));
            diagnostic.help.extend(mend(parameter, value));
            self.report(diagnostic);
            Node::new(Value::Bad, value.span)
        })
    }

    /// The scope inside an element that is called with `arguments`, which were written in the space
    /// `from` and substituted before.
    pub(crate) fn bind(
        &mut self,
        definition: &Definition,
        arguments: &[Entry],
        from: SpaceId,
        call: Span,
    ) -> Scope {
        let (name, parameters) = (&definition.name, &definition.parameters);
        let mut values: Vec<Option<Ref>> = vec![None; parameters.len()];
        for argument in arguments {
            let place = place(parameters, &argument.key);
            match place.and_then(|place| Some((place, parameters.get_index(place)?))) {
                Some((place, (key, parameter))) => {
                    let value = self.argument(key, parameter, &argument.value);
                    if let Some(there) = values.get_mut(place) {
                        *there = Some(parameter.close(value, from));
                    }
                }
                None => {
                    let message = format!("Unexpected argument(s): {}", argument.key);
                    let help =
                        suggest(&argument.key, parameters.keys().map(Text::as_str)).or_else(|| {
                            match argument.key.as_str() {
                                "when" => {
                                    Some(String::from("put the step into a `when` step instead"))
                                }
                                "parameters" => {
                                    Some(String::from("arguments stand directly below the name"))
                                }
                                _ => Some(format!("{name} declares no such parameter")),
                            }
                        });
                    self.error_help("E_PARAM_UNEXPECTED", message, argument.key_span, help);
                }
            }
        }
        let mut missing = Vec::new();
        for ((key, parameter), value) in parameters.iter().zip(&mut values) {
            if value.is_some() {
                continue;
            }
            *value = Some(match &parameter.default {
                Some(default) => {
                    // A default sees pipeline values, and no parameter beside it.
                    let value = self.subst(default, &Scope::of(definition.space));
                    let value = parameter.accept(&value).unwrap_or_else(|| {
                        self.bad_default(key, parameter, &value);
                        Node::new(Value::Bad, call)
                    });
                    parameter.close(value, definition.space)
                }
                None => {
                    // A parameter whose definition is wrong was reported there.
                    if parameter.kind.is_some() {
                        missing.push((key.as_str(), parameter.span));
                    }
                    Node::new(Value::Bad, call)
                }
            });
        }
        if !missing.is_empty() {
            missing.sort_unstable_by_key(|(name, _)| *name);
            let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
            let message = format!("Missing required argument(s): {}", names.join(", "));
            let mut diagnostic = Diagnostic::error("E_PARAM_MISSING", message, call);
            for (name, span) in missing.iter().take(MOST_LABELS) {
                let label = format!("{name} is declared here, without a default");
                diagnostic.labels.push((*span, label));
            }
            let help = format!("pass them to {name}, or give them a default there");
            diagnostic.help.push(help);
            self.report(diagnostic);
        }
        Scope {
            parameters: Some(Bound {
                declared: Rc::clone(parameters),
                values,
            }),
            ..Scope::of(definition.space)
        }
    }
}

fn expected(parameter: &Parameter) -> String {
    if parameter.kind == Some(Type::Enum) {
        let members: Vec<String> = parameter
            .members
            .iter()
            .map(|m| m.source_text().unwrap_or_default())
            .collect();
        return format!("enum ({})", members.join(", "));
    }
    parameter.type_name().to_owned()
}

fn mend(parameter: &Parameter, value: &Node) -> Option<String> {
    match (parameter.kind, &value.value) {
        (Some(Type::String), Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
            Some(in_quotes(&value.source_text().unwrap_or_default()))
        }
        (Some(Type::Boolean | Type::Integer), Value::Str(_)) => Some(String::from(WITHOUT_QUOTES)),
        (Some(Type::Enum), Value::Str(text)) => {
            let members: Vec<String> = parameter
                .members
                .iter()
                .filter_map(|member| member.source_text())
                .collect();
            suggest(text, members.iter().map(String::as_str))
        }
        _ => None,
    }
}
