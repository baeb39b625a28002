//! The language as a JSON schema (draft 7), for editors: completion, hover texts, and the mistakes that a
//! shape can show. Made from the same table that the parser reads.

use std::collections::BTreeMap;

use capstan_model::FileId;
use serde_json::{Value, json};

use crate::language::{CONDITIONAL, JOB, Key, MATCHES, Map, Need, Others, ROOT, STEPS, Takes};
use crate::yaml;

/// Built-in steps that take nothing, or nothing that is known.
const PLAIN_STEPS: &[&str] = &["install_signing_bundle", "with_tool_cache"];

/// The schema. In version 2 of the language unknown keys pass everywhere, so that only what 2.1 reads is
/// held against the table.
pub fn schema() -> Value {
    let mut maker = Maker::default();
    let root = maker.map(&ROOT);
    let step = maker.step();
    let logic = maker.logic();
    let mut definitions = maker.definitions;
    definitions.insert("step", step);
    definitions.insert("logic", logic);
    let tag = json!({"type": "string", "pattern": "<<[\\s\\S]*>>",
        "description": "A tag: `<< parameters.NAME >>`, `<< pipeline.git.branch >>`, …"});
    definitions.insert("tag", tag);
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "CircleCI config",
        "description": ROOT.doc,
        "type": "object",
        "required": ["version"],
        "if": {"properties": {"version": {"enum": [2, "2", "2.0"]}}},
        "then": {"properties": {
            "version": {},
            "jobs": {"type": ["object", "null"]},
            "workflows": {"type": ["object", "null"], "required": ["version"]},
        }},
        "else": root,
        "definitions": definitions,
    })
}

/// A text as the data that a schema speaks of, with anchors and merges applied; `None` where it cannot be
/// read as a map.
pub fn data(text: &str) -> Option<Value> {
    let mut found = Vec::new();
    let root = yaml::parse(FileId(0), text, &mut found).ok()?;
    found.is_empty().then(|| root.value.json())
}

/// Makes a definition of each map that it meets.
#[derive(Default)]
struct Maker {
    definitions: BTreeMap<&'static str, Value>,
}

impl Maker {
    fn reference(&mut self, map: &'static Map) -> Value {
        if !self.definitions.contains_key(map.name) {
            // Maps can hold themselves, so the name is taken first.
            self.definitions.insert(map.name, Value::Null);
            let schema = self.map(map);
            self.definitions.insert(map.name, schema);
        }
        json!({"$ref": format!("#/definitions/{}", map.name)})
    }

    fn map(&mut self, map: &'static Map) -> Value {
        let mut properties = serde_json::Map::new();
        for key in map.keys {
            let schema = self.key(map, key);
            properties.insert(key.name.to_owned(), schema);
        }
        let required: Vec<&str> = map
            .keys
            .iter()
            .filter(|key| key.need == Need::Required)
            .map(|key| key.name)
            .collect();
        let mut schema =
            json!({"type": "object", "description": map.doc, "properties": properties});
        let mut put = |name: &str, value: Value| {
            if let Some(fields) = schema.as_object_mut() {
                fields.insert(name.to_owned(), value);
            }
        };
        if !required.is_empty() {
            put("required", json!(required));
        }
        if map.others == Others::Refused {
            put("additionalProperties", json!(false));
        }
        if map.name == JOB.name {
            // Only jobs of other types do without steps and without a place to run.
            let places = ["docker", "machine", "macos", "executor"];
            let one: Vec<Value> = places
                .iter()
                .map(|key| json!({"required": [key]}))
                .collect();
            put("if", json!({"properties": {"type": {"enum": ["build"]}}}));
            put("then", json!({"required": ["steps"], "anyOf": one}));
        }
        if map.name == "restore_cache" {
            put(
                "anyOf",
                json!([{"required": ["key"]}, {"required": ["keys"]}]),
            );
        }
        schema
    }

    fn key(&mut self, map: &Map, key: &'static Key) -> Value {
        let mut any = vec![self.takes(&key.takes)];
        if map.name == ROOT.name && key.name == "version" {
            // A version without quotes is a number.
            any = vec![json!({"enum": [2, 2.1, "2", "2.0", "2.1"]})];
        }
        let tags = map.name != ROOT.name && map.name != "parameter";
        if tags
            && !matches!(
                key.takes,
                Takes::Str | Takes::Text | Takes::Any | Takes::Prose
            )
        {
            any.push(json!({"$ref": "#/definitions/tag"}));
        }
        if key.need != Need::Required {
            // A key with nothing behind it counts as absent.
            any.push(json!({"type": "null"}));
        }
        let mut schema = match <[Value; 1]>::try_from(any) {
            Ok([only]) if only.get("$ref").is_none() => only,
            Ok([only]) => json!({"allOf": [only]}),
            Err(any) => json!({"anyOf": any}),
        };
        if let Some(fields) = schema.as_object_mut() {
            fields.insert(String::from("description"), json!(key.doc));
            if key.need == Need::Deprecated {
                fields.insert(String::from("deprecationMessage"), json!(key.doc));
            }
        }
        schema
    }

    fn takes(&mut self, takes: &'static Takes) -> Value {
        match takes {
            Takes::Any => json!({}),
            Takes::Str => json!({"type": "string"}),
            Takes::Text | Takes::Prose => json!({"type": ["string", "number", "boolean", "null"]}),
            Takes::Bool => json!({"type": "boolean"}),
            Takes::Int(least, most) if *most == i64::MAX => {
                json!({"type": "integer", "minimum": least})
            }
            Takes::Int(least, most) => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Takes::Words(words) => json!({"enum": words}),
            Takes::Shape(pattern) => json!({"type": "string", "pattern": pattern}),
            Takes::List(item, least) => {
                let item = self.takes(item);
                json!({"type": "array", "items": item, "minItems": least})
            }
            Takes::Several(item) => {
                let item = self.takes(item);
                json!({"anyOf": [item, {"type": "array", "items": item}]})
            }
            Takes::Map(map) => self.reference(map),
            Takes::Named(value) => {
                let value = self.takes(value);
                json!({"type": "object", "additionalProperties": value})
            }
            Takes::Single(value) => {
                let value = self.takes(value);
                json!({"type": "object", "minProperties": 1, "maxProperties": 1,
                    "additionalProperties": {"anyOf": [value, {"type": "null"}]}})
            }
            Takes::Either(all) => {
                let all: Vec<Value> = all.iter().map(|one| self.takes(one)).collect();
                json!({"anyOf": all})
            }
            Takes::Step => json!({"$ref": "#/definitions/step"}),
            Takes::Logic => json!({"$ref": "#/definitions/logic"}),
        }
    }

    /// A step is a name or a map of one key. Names that are not built in are commands, whose arguments
    /// are their own.
    fn step(&mut self) -> Value {
        let mut properties = serde_json::Map::new();
        for map in STEPS {
            let reference = self.reference(map);
            let text = map.name == "run";
            let empty = map.keys.iter().all(|key| key.need != Need::Required);
            let mut any = vec![reference, json!({"$ref": "#/definitions/tag"})];
            if text {
                any.push(json!({"type": ["string", "number", "boolean"]}));
            } else if empty && map.name != "restore_cache" {
                any.push(json!({"type": "null"}));
            }
            let schema = json!({"anyOf": any, "description": map.doc});
            if text {
                let mut deploy = schema.clone();
                if let Some(fields) = deploy.as_object_mut() {
                    fields.insert(String::from("deprecationMessage"), json!("Use `run`."));
                }
                properties.insert(String::from("deploy"), deploy);
            }
            properties.insert(map.name.to_owned(), schema);
        }
        let conditional = self.reference(&CONDITIONAL);
        for name in ["when", "unless"] {
            properties.insert(
                name.to_owned(),
                json!({"allOf": [conditional], "description": CONDITIONAL.doc}),
            );
        }
        properties.insert(
            String::from("steps"),
            json!({"description": "The value of a `steps` parameter.",
                "anyOf": [{"$ref": "#/definitions/tag"},
                    {"type": "array", "items": {"$ref": "#/definitions/step"}}]}),
        );
        let words: Vec<&str> = properties
            .iter()
            .filter(|(name, _)| PLAIN_STEPS.contains(&name.as_str()))
            .map(|(name, _)| name.as_str())
            .chain(["checkout", "setup_remote_docker", "add_ssh_keys"])
            .chain(PLAIN_STEPS.iter().copied())
            .collect();
        json!({
            "description": "A step: a built-in one, or a command.",
            "anyOf": [
                {"enum": words},
                {"type": "string"},
                {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": properties},
            ],
        })
    }

    fn logic(&mut self) -> Value {
        let statement = json!({"$ref": "#/definitions/logic"});
        let several = json!({"type": "array", "minItems": 1, "items": statement});
        let matches = self.reference(&MATCHES);
        json!({
            "description": "A value, a tag, an expression, or one of the operators.",
            "anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
                    "properties": {
                        "and": several,
                        "or": several,
                        "not": statement,
                        "equal": {"type": "array", "minItems": 1},
                        "matches": matches,
                    }},
            ],
        })
    }
}
