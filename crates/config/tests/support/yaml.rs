//! A second, independent reading of YAML into plain data, so that the compiler's output is not judged by
//! the compiler's own reader. It knows what the tests need: no anchors, no merges.

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Reads the one document of `text`; a text of comments only is null.
pub fn read(text: &str) -> Result<Value, String> {
    let mut events = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error.to_string())?;
        match event {
            Event::Scalar(text, style, ..) => events.push(Token::Scalar(text.into_owned(), style)),
            Event::SequenceStart(..) => events.push(Token::Seq),
            Event::MappingStart(..) => events.push(Token::Map),
            Event::SequenceEnd | Event::MappingEnd => events.push(Token::End),
            Event::Alias(_) => return Err(format!("an alias at byte {span:?}")),
            _ => {}
        }
    }
    let mut tokens = events.into_iter();
    match tokens.next() {
        Some(first) => node(first, &mut tokens),
        None => Ok(Value::Null),
    }
}

enum Token {
    Scalar(String, ScalarStyle),
    Seq,
    Map,
    End,
}

fn node(first: Token, rest: &mut impl Iterator<Item = Token>) -> Result<Value, String> {
    match first {
        Token::Scalar(text, ScalarStyle::Plain) => Ok(plain(text)),
        Token::Scalar(text, _) => Ok(Value::String(text)),
        Token::Seq => {
            let mut items = Vec::new();
            loop {
                match rest.next() {
                    Some(Token::End) => return Ok(Value::Array(items)),
                    Some(token) => items.push(node(token, rest)?),
                    None => return Err(String::from("a sequence that never ends")),
                }
            }
        }
        Token::Map => {
            let mut map = Map::new();
            loop {
                let key = match rest.next() {
                    Some(Token::End) => return Ok(Value::Object(map)),
                    Some(Token::Scalar(key, _)) => key,
                    _ => return Err(String::from("a key that is no scalar")),
                };
                let value = rest.next().ok_or("a key without a value")?;
                let value = node(value, rest)?;
                if map.insert(key.clone(), value).is_some() {
                    return Err(format!("the key {key} twice"));
                }
            }
        }
        Token::End => Err(String::from("an end without a start")),
    }
}

/// A plain scalar by the rules of YAML 1.1, as far as they matter here.
fn plain(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return true.into();
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return false.into();
        }
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(&text);
    let octal =
        digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    if !octal && let Ok(integer) = text.parse::<i64>() {
        return integer.into();
    }
    let float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits
            .chars()
            .all(|c| c.is_ascii_digit() || "eE+-.".contains(c));
    if !octal
        && float
        && let Some(number) = text.parse::<f64>().ok().and_then(Number::from_f64)
    {
        return Value::Number(number);
    }
    Value::String(text)
}

#[test]
fn plain_scalars_have_types_and_quoted_ones_are_text() {
    let text = "{a: 1, b: '1', c: on, d: \"on\", e: , f: 1.5, g: 010, h: v1, i: [x, {y: ~}]}";
    let expected = serde_json::json!({
        "a": 1, "b": "1", "c": true, "d": "on", "e": null, "f": 1.5, "g": "010", "h": "v1",
        "i": ["x", {"y": null}],
    });
    assert_eq!(read(text), Ok(expected));
    assert_eq!(
        read("a: |-\n  x\n  y\n# end\n"),
        Ok(serde_json::json!({"a": "x\ny"}))
    );
    assert!(read("a: 1\na: 2\n").is_err());
    assert!(read("a: [\n").is_err());
}
