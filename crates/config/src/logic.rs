//! Logic statements (language 5.3), evaluated after their tags were replaced.

use capstan_model::Span;

use crate::regex::Patterns;
use crate::yaml::{Node, Ref, Value};

/// A mistake in a statement.
pub(crate) type Fault = (&'static str, String, Span);

const MAX_DEPTH: u32 = 100;

/// The operators, for messages and suggestions.
pub(crate) const OPERATORS: [&str; 5] = ["and", "or", "not", "equal", "matches"];

/// The value of a statement.
pub(crate) fn evaluate(node: &Ref, patterns: &mut Patterns) -> Result<Value, Fault> {
    statement(node, 0, patterns)
}

fn logic(message: impl Into<String>, span: Span) -> Fault {
    ("E_LOGIC", message.into(), span)
}

fn statement(node: &Ref, depth: u32, patterns: &mut Patterns) -> Result<Value, Fault> {
    if depth > MAX_DEPTH {
        return Err(logic("the statement is too deep", node.span));
    }
    match &node.value {
        Value::Map(entries) => {
            let [entry] = entries.as_slice() else {
                let message = format!(
                    "a logic statement holds exactly one of {}; this one holds {} keys",
                    OPERATORS.join(", "),
                    entries.len()
                );
                return Err(logic(message, node.span));
            };
            operator(&entry.key, entry.key_span, &entry.value, depth, patterns)
        }
        Value::Seq(_) if !node.tagged => Err(logic(
            "a logic statement is no list: write `and: […]` or `or: […]`",
            node.span,
        )),
        value => Ok(value.clone()),
    }
}

fn operands<'a>(key: &str, node: &'a Node) -> Result<&'a [Ref], Fault> {
    match node.seq() {
        Some([]) => Err(logic(
            format!("`{key}` needs at least one argument"),
            node.span,
        )),
        Some(items) => Ok(items),
        None => Err(logic(format!("`{key}` takes a list"), node.span)),
    }
}

fn operator(
    key: &str,
    span: Span,
    node: &Ref,
    depth: u32,
    patterns: &mut Patterns,
) -> Result<Value, Fault> {
    if node.is_bad() {
        return Ok(Value::Bad);
    }
    let result = match key {
        "and" | "or" => {
            // A mistake counts only where evaluation comes to it.
            let stops = key == "or";
            let mut result = !stops;
            for item in operands(key, node)? {
                if statement(item, depth + 1, patterns)?.truthy() == stops {
                    result = stops;
                    break;
                }
            }
            result
        }
        "not" if node.seq().is_some() && !node.tagged => {
            return Err(logic("`not` takes one statement, not a list", node.span));
        }
        "not" => !statement(node, depth + 1, patterns)?.truthy(),
        "equal" => {
            let items = operands(key, node)?;
            if let Some(large) = items.iter().find(|item| item.value.is_large()) {
                let message = "a list or a map this large cannot be compared";
                return Err(logic(message, large.span));
            }
            items.windows(2).all(|pair| match pair {
                [a, b] => a.value.same(&b.value),
                _ => true,
            })
        }
        "matches" => matches(node, patterns)?,
        _ => {
            let message = format!(
                "`{key}` is no logic operator; there are {}",
                OPERATORS.join(", ")
            );
            return Err(logic(message, span));
        }
    };
    Ok(Value::Bool(result))
}

fn matches(node: &Ref, patterns: &mut Patterns) -> Result<bool, Fault> {
    let entries = node
        .map()
        .ok_or_else(|| logic("`matches` takes a map of `pattern` and `value`", node.span))?;
    if let Some(entry) = entries
        .iter()
        .find(|e| e.key != "pattern" && e.key != "value")
    {
        let message = format!(
            "`matches` takes only `pattern` and `value`, not `{}`",
            entry.key
        );
        return Err(logic(message, entry.key_span));
    }
    let field = |key: &str| {
        node.entry(key).map(|entry| &entry.value).ok_or_else(|| {
            logic(
                format!("matches: required key [{key}] not found"),
                node.span,
            )
        })
    };
    let (pattern, value) = (field("pattern")?, field("value")?);
    let text = match &value.value {
        Value::Str(text) => text.as_str(),
        // An unset pipeline value is empty text.
        Value::Null if value.tagged => "",
        Value::Bad => return Ok(false),
        _ => return Err(logic("matches: value must produce a string", value.span)),
    };
    let pattern_text = match &pattern.value {
        Value::Str(text) => text.as_str(),
        Value::Bad => return Ok(false),
        _ => return Err(logic("matches: pattern must be a string", pattern.span)),
    };
    patterns
        .whole(pattern_text, text)
        .map_err(|why| ("E_REGEX", why, pattern.span))
}
