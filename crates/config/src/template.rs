//! `<< … >>` in a text (language 4): lexed into parts, then joined, or given back with its type.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::expr::{self, Fault, Names};
use crate::yaml::Value;

/// Longest text with its tags replaced, in bytes.
const MAX_TEXT: usize = 4 * 1024 * 1024;
/// Longest content of a tag.
const MAX_TAG: usize = 2048;

/// A stretch of a text.
#[derive(Clone, Debug, PartialEq)]
enum Part<'a> {
    /// Stands as it is, but for the backslashes that escaped a `<<`.
    Text(Cow<'a, str>),
    Tag(&'a str),
    Open {
        name: &'a str,
        wanted: bool,
    },
    Close(&'a str),
}

fn fault(message: impl Into<String>) -> Fault {
    ("E_TEMPLATE", message.into())
}

fn lex(text: &str) -> Result<Vec<Part<'_>>, Fault> {
    let mut parts = Vec::new();
    let mut plain = Cow::Borrowed("");
    let mut rest = text;
    while !rest.is_empty() {
        let starts = |b: u8| matches!(b, b'<' | b'\\');
        let at = rest.bytes().position(starts).unwrap_or(rest.len());
        join(&mut plain, rest.get(..at).unwrap_or(""));
        rest = rest.get(at..).unwrap_or("");
        if let Some(after) = rest.strip_prefix("\\\\<<") {
            plain.to_mut().push('\\');
            rest = tag(after, &mut plain, &mut parts)?;
        } else if let Some(after) = rest.strip_prefix("\\<<") {
            plain.to_mut().push_str("<<");
            // The third `<` of a here-string starts no tag.
            rest = after.strip_prefix('<').map_or(after, |after| {
                plain.to_mut().push('<');
                after
            });
        } else if let Some(after) = rest.strip_prefix("<<") {
            rest = tag(after, &mut plain, &mut parts)?;
        } else if let Some(c) = rest.chars().next() {
            plain.to_mut().push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or("");
        }
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

/// Appends a piece of the source, which is only copied behind another one.
fn join<'a>(plain: &mut Cow<'a, str>, piece: &'a str) {
    if plain.is_empty() {
        *plain = Cow::Borrowed(piece);
    } else {
        plain.to_mut().push_str(piece);
    }
}

/// Reads a tag behind its `<<` and returns what follows its `>>`.
fn tag<'a>(
    after: &'a str,
    plain: &mut Cow<'a, str>,
    parts: &mut Vec<Part<'a>>,
) -> Result<&'a str, Fault> {
    let unclosed =
        || fault("Unclosed '<<' tag: a `<<` that is text is written `\\<<` in version 2.1");
    let end = end(after).ok_or_else(unclosed)?;
    let content = after.get(..end).unwrap_or("");
    if content.len() > MAX_TAG {
        return Err(fault(format!("a tag holds at most {MAX_TAG} characters")));
    }
    if content.contains('<') && content.contains("<<") {
        return Err(unclosed());
    }
    if !plain.is_empty() {
        parts.push(Part::Text(std::mem::take(plain)));
    }
    let content = content.trim();
    parts.push(match content.chars().next() {
        None => return Err(fault("Expected expression between << and >>")),
        Some('#') => Part::Open {
            name: content.trim_start_matches('#').trim(),
            wanted: true,
        },
        Some('^') => Part::Open {
            name: content.trim_start_matches('^').trim(),
            wanted: false,
        },
        Some('/') if !content.trim_start_matches('/').contains('/') => {
            Part::Close(content.trim_start_matches('/').trim())
        }
        Some(_) => Part::Tag(content),
    });
    Ok(after.get(end + 2..).unwrap_or(""))
}

/// Where the `>>` of a tag stands that began just before, outside of its quotes.
fn end(after: &str) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    let bytes = after.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted && bytes.get(i + 1) == Some(&b'>') => return Some(i),
            _ => {}
        }
    }
    // A quote that never closes hides the end of its own tag.
    after.find(">>")
}

fn value(content: &str, names: &mut impl Names) -> Result<Value, Fault> {
    // Most tags are one name, which needs no reading.
    if expr::is_name(content) {
        return names.value(content);
    }
    // A parameter whose name does not fit the grammar can still stand alone.
    if content.starts_with("parameters.") && !content.is_ascii() {
        return names.value(content);
    }
    expr::evaluate(content, names).map_err(|(code, message)| {
        let bare = !content.contains(|c: char| c.is_whitespace() || "\"'&|=<>!()/".contains(c));
        if bare && code == "E_EXPR" {
            ("E_TEMPLATE", message)
        } else {
            (code, message)
        }
    })
}

/// A text of one tag and nothing else.
fn whole(text: &str) -> Option<&str> {
    let after = text.strip_prefix("<<")?;
    let content = after.strip_suffix(">>")?;
    let plain = !content.contains(['<', '>', '"', '\\']) && content.len() <= MAX_TAG;
    let content = content.trim();
    (plain && !content.is_empty() && !content.starts_with(['#', '^', '/'])).then_some(content)
}

/// The value of a text with tags. One whole tag keeps its type, which the second value says.
pub(crate) fn render(text: &str, names: &mut impl Names) -> Result<(Value, bool), Fault> {
    if let Some(content) = whole(text) {
        return Ok((value(content, names)?, true));
    }
    let parts = lex(text)?;
    if let [Part::Tag(content)] = parts.as_slice() {
        return Ok((value(content, names)?, true));
    }
    let mut out = String::with_capacity(text.len());
    // Open sections with whether what is in them is kept.
    let mut open: Vec<(&str, bool)> = Vec::new();
    let mut dropping = 0usize;
    for part in parts {
        if out.len() > MAX_TEXT {
            return Err((
                "E_LIMIT",
                format!("with its tags replaced this text has more than {MAX_TEXT} bytes"),
            ));
        }
        let kept = dropping == 0;
        match part {
            Part::Text(text) if kept => out.push_str(&text),
            Part::Tag(content) if kept => match value(content, names)? {
                Value::Str(text) => out.push_str(&text),
                Value::Int(n) => {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "{n}");
                }
                Value::Bad => return Ok((Value::Bad, false)),
                value => match value.text() {
                    Some(text) => out.push_str(&text),
                    None => {
                        let kind = value.kind();
                        return Err(fault(format!(
                            "`{content}` is a {kind}, which cannot be embedded in a string"
                        )));
                    }
                },
            },
            Part::Open { name, wanted } => {
                let holds = value(name, names)?.truthy();
                dropping += usize::from(holds != wanted);
                open.push((name, holds == wanted));
            }
            Part::Close(name) => match open.pop() {
                Some((started, kept)) if started == name => dropping -= usize::from(!kept),
                _ => return Err(fault("Expected section end tag to match start tag")),
            },
            Part::Text(_) | Part::Tag(_) => {}
        }
    }
    if open.is_empty() {
        Ok((Value::Str(out.into()), false))
    } else {
        Err(fault("Unclosed section, expected '<</'"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Names, Value, render};

    struct Table;

    impl Names for Table {
        fn value(&mut self, name: &str) -> Result<Value, Fault> {
            match name {
                "n" => Ok(Value::Int(4)),
                "yes" => Ok(Value::Bool(true)),
                "s" => Ok(Value::Str("<< n >>".into())),
                "list" => Ok(Value::Seq(Vec::new())),
                _ => Err(("E_PARAM_UNDECLARED", name.to_owned())),
            }
        }

        fn matches(&mut self, _: &str, _: &str) -> Result<bool, String> {
            Ok(false)
        }
    }

    #[test]
    fn tags_keep_types_or_become_text() {
        let table: &[(&str, &str, &str)] = &[
            ("<< n >>", "integer", "4"),
            (" << n >>", "string", " 4"),
            ("<<n>><<yes>>", "string", "4true"),
            ("<< s >>!", "string", "<< n >>!"),
            ("a \\<< b", "string", "a << b"),
            ("a \\\\<<n>>", "string", "a \\4"),
            ("read \\<<<\"$y\"", "string", "read <<<\"$y\""),
            ("a >> b", "string", "a >> b"),
            ("<<# yes >>a<</ yes >><<^ yes >>b<</ yes >>", "string", "a"),
            ("<< n > 3 and \"x>>y\" >>", "string", "x>>y"),
            ("<< list >>", "list", ""),
        ];
        for (text, kind, shown) in table {
            let (value, _) = render(text, &mut Table).unwrap();
            assert_eq!(
                (value.kind(), value.text().unwrap_or_default().as_str()),
                (*kind, *shown),
                "{text}"
            );
        }
        let table = [
            ("<< n", "E_TEMPLATE", "Unclosed '<<' tag"),
            ("<<  >>", "E_TEMPLATE", "Expected expression"),
            ("<< list >>x", "E_TEMPLATE", "cannot be embedded"),
            ("<<# yes >>a", "E_TEMPLATE", "Unclosed section"),
            ("<<# yes >>a<</ n >>", "E_TEMPLATE", "match start tag"),
            ("<< nope >>", "E_PARAM_UNDECLARED", "nope"),
            ("<< yes && n >>", "E_EXPR", "and"),
        ];
        for (text, code, words) in table {
            let (found, message) = render(text, &mut Table).unwrap_err();
            assert!(
                found == code && message.contains(words),
                "{text}: {found} {message}"
            );
        }
    }
}
