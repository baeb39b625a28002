//! As much of JSON schema, draft 7, as the schema of the language uses. A word it does not know is a
//! failure, so that a schema is never held to less than it says.

use std::cell::RefCell;
use std::collections::HashMap;

use fancy_regex::Regex;
use serde_json::Value;

/// Words that say nothing about validity.
const NOTES: &[&str] = &[
    "$schema",
    "title",
    "description",
    "deprecationMessage",
    "definitions",
];

/// A schema with its definitions.
pub struct Schema<'a> {
    root: &'a Value,
    /// Compiled once each.
    patterns: RefCell<HashMap<String, Regex>>,
}

impl<'a> Schema<'a> {
    /// A schema that refers to itself only.
    pub fn new(root: &'a Value) -> Self {
        Self {
            root,
            patterns: RefCell::default(),
        }
    }

    /// What is wrong with a value, as paths with reasons; of alternatives, all their reasons.
    pub fn check(&self, value: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        self.node(self.root, value, "#", &mut wrong);
        wrong
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let mut patterns = self.patterns.borrow_mut();
        let regex = patterns
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(pattern).unwrap());
        regex.is_match(text).unwrap()
    }

    fn fits(&self, schema: &Value, value: &Value, path: &str) -> bool {
        let mut wrong = Vec::new();
        self.node(schema, value, path, &mut wrong);
        wrong.is_empty()
    }

    fn node(&self, schema: &Value, value: &Value, path: &str, wrong: &mut Vec<String>) {
        let Some(words) = schema.as_object() else {
            if schema == &Value::Bool(false) {
                wrong.push(format!("{path}: nothing may stand here"));
            }
            return;
        };
        for (word, what) in words {
            let shown = || value.to_string().chars().take(60).collect::<String>();
            let mut no = |why: String| wrong.push(format!("{path}: {why}"));
            match word.as_str() {
                "$ref" => {
                    let name = what.as_str().unwrap().strip_prefix("#/definitions/");
                    let target = &self.root["definitions"][name.unwrap()];
                    assert!(target.is_object(), "{what} leads nowhere");
                    self.node(target, value, path, wrong);
                }
                "type" => {
                    let kinds = list(what);
                    if !kinds.iter().any(|kind| is(value, kind.as_str().unwrap())) {
                        no(format!("{} is no {what}", shown()));
                    }
                }
                "enum" => {
                    if !list(what).iter().any(|member| same(member, value)) {
                        no(format!("{} is none of {what}", shown()));
                    }
                }
                "pattern" => {
                    if let Some(text) = value.as_str()
                        && !self.matches(what.as_str().unwrap(), text)
                    {
                        no(format!("{} does not match {what}", shown()));
                    }
                }
                "minimum" | "maximum" => {
                    if let (Some(n), Some(limit)) = (value.as_f64(), what.as_f64())
                        && ((word == "minimum" && n < limit) || (word == "maximum" && n > limit))
                    {
                        no(format!("{} is beyond the {word} {what}", shown()));
                    }
                }
                "minItems" => {
                    if value
                        .as_array()
                        .is_some_and(|items| items.len() < size(what))
                    {
                        no(format!("fewer than {what} items"));
                    }
                }
                "minProperties" | "maxProperties" => {
                    if let Some(fields) = value.as_object() {
                        let (n, limit) = (fields.len(), size(what));
                        if (word == "minProperties" && n < limit)
                            || (word == "maxProperties" && n > limit)
                        {
                            no(format!("{n} keys, and the {word} are {limit}"));
                        }
                    }
                }
                "required" => {
                    for key in list(what) {
                        if value
                            .as_object()
                            .is_some_and(|f| !f.contains_key(key.as_str().unwrap()))
                        {
                            no(format!("no {key}"));
                        }
                    }
                }
                "items" => {
                    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.node(what, item, &format!("{path}/{at}"), wrong);
                    }
                }
                "properties" => {
                    for (key, field) in value.as_object().into_iter().flatten() {
                        if let Some(schema) = what.get(key) {
                            self.node(schema, field, &format!("{path}/{key}"), wrong);
                        }
                    }
                }
                "additionalProperties" => {
                    for (key, field) in value.as_object().into_iter().flatten() {
                        if words.get("properties").and_then(|p| p.get(key)).is_none() {
                            self.node(what, field, &format!("{path}/{key}"), wrong);
                        }
                    }
                }
                "allOf" => {
                    for schema in list(what) {
                        self.node(schema, value, path, wrong);
                    }
                }
                "anyOf" => {
                    if !list(what)
                        .iter()
                        .any(|schema| self.fits(schema, value, path))
                    {
                        for schema in list(what) {
                            self.node(schema, value, path, wrong);
                        }
                    }
                }
                "if" => {
                    let branch = if self.fits(what, value, path) {
                        "then"
                    } else {
                        "else"
                    };
                    if let Some(schema) = words.get(branch) {
                        self.node(schema, value, path, wrong);
                    }
                }
                "then" | "else" => {}
                note if NOTES.contains(&note) => {}
                other => panic!("{path}: no word of a schema that is known here: {other}"),
            }
        }
    }
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}

fn size(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() < f64::EPSILON,
        _ => a == b,
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no kind {other}"),
    }
}
