//! Single phases for the fuzz harness, which judges what they give.

use capstan_model::{FileId, Span};

use crate::diagnostic::Diagnostic;
use crate::expr::{Fault, Names};
use crate::regex::Patterns;
use crate::yaml::{self, Node, Ref, Value};

/// Reads a text with both readers of YAML; whether the quick one took it.
///
/// # Errors
/// The quick one took it, and made something else of it than the library.
pub fn readers(text: &str) -> Result<bool, String> {
    yaml::same::readers(text)
}

/// Reads a text as YAML, and walks all of what comes of it. What is wrong with the reader is an error.
///
/// # Errors
/// A node points beside its file, or the tree is not equal to itself.
pub fn yaml(text: &str) -> Result<Vec<Diagnostic>, String> {
    let mut found = Vec::new();
    match yaml::parse(FileId(0), text, &mut found) {
        Ok(root) => {
            inside(&root, text)?;
            let again = yaml::parse(FileId(0), text, &mut Vec::new());
            let again = again.map_err(|d| format!("read once, then not: {}", d.message))?;
            // A number that is none is equal to nothing.
            if !text.to_ascii_lowercase().contains(".nan") && !root.value.same(&again.value) {
                return Err(String::from("a tree differs from itself"));
            }
        }
        Err(diagnostic) => found.push(*diagnostic),
    }
    Ok(found)
}

fn inside(node: &Ref, text: &str) -> Result<(), String> {
    let span = node.span;
    if text.get(span.start as usize..span.end as usize).is_none() {
        return Err(format!("{span:?} of a {} is no text", node.value.kind()));
    }
    match &node.value {
        Value::Seq(items) => items.iter().try_for_each(|item| inside(item, text)),
        Value::Map(entries) => entries.iter().try_for_each(|e| inside(&e.value, text)),
        _ => Ok(()),
    }
}

/// The names that texts under test can use.
#[derive(Default)]
struct Table(Patterns);

impl Names for Table {
    fn value(&mut self, name: &str) -> Result<Value, Fault> {
        let item = |n| {
            let span = Span {
                file: FileId(0),
                start: 0,
                end: 0,
            };
            Node::new(Value::Int(n), span)
        };
        match name {
            "n" | "parameters.n" => Ok(Value::Int(i64::MAX)),
            "b" | "parameters.b" => Ok(Value::Bool(true)),
            "s" | "parameters.s" => Ok(Value::Str("<< n >>".into())),
            "list" | "parameters.list" => Ok(Value::Seq(vec![item(1), item(2)])),
            "unset" | "pipeline.git.tag" => Ok(Value::Null),
            "pipeline.git.branch" => Ok(Value::Str("main".into())),
            _ => Err(("E_PARAM_UNDECLARED", name.to_owned())),
        }
    }

    fn matches(&mut self, pattern: &str, text: &str) -> Result<bool, String> {
        self.0.whole(pattern, text)
    }
}

fn shown(value: &Value) -> String {
    format!("{} {:?}", value.kind(), value.text())
}

/// What a text with tags comes to, in words.
pub fn template(text: &str) -> Result<String, String> {
    crate::template::render(text, &mut Table::default())
        .map(|(value, tagged)| format!("{tagged} {}", shown(&value)))
        .map_err(|(code, message)| format!("{code} {message}"))
}

/// What an expression comes to, in words.
pub fn expression(text: &str) -> Result<String, String> {
    crate::expr::evaluate(text, &mut Table::default())
        .map(|value| shown(&value))
        .map_err(|(code, message)| format!("{code} {message}"))
}

/// What a logic statement comes to, in words; the text is the YAML of a map that holds it under `when`.
pub fn logic(text: &str) -> Result<String, String> {
    let root = yaml::parse(FileId(0), text, &mut Vec::new()).map_err(|d| d.message)?;
    let Some(node) = root.get("when") else {
        return Err(String::from("no `when`"));
    };
    crate::logic::evaluate(node, &mut Patterns::default())
        .map(|value| shown(&value))
        .map_err(|(code, message, _)| format!("{code} {message}"))
}
