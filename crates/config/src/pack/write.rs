//! The packed tree as YAML text.

use super::{MAX_RESULT, Map, Packed};
use crate::quote::{is_special, quoted};

/// Writes a map at an indentation.
pub(super) fn block(out: &mut String, map: &Map<'_>, indent: usize) {
    for (at, key) in map.keys.iter().enumerate() {
        // The first key of a map in a list stands behind its dash.
        if at > 0 || !out.ends_with("- ") {
            pad(out, indent);
        }
        out.push_str(&scalar(&key.name));
        out.push(':');
        after(out, &key.value, indent);
    }
}

fn list(out: &mut String, items: &[Packed<'_>], indent: usize) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 || !out.ends_with("- ") {
            pad(out, indent);
        }
        out.push('-');
        match item {
            Packed::Map(map) if !map.keys.is_empty() => {
                out.push(' ');
                block(out, map, indent + 2);
            }
            Packed::List(items) if !items.is_empty() => {
                out.push(' ');
                list(out, items, indent + 2);
            }
            other => after(out, other, indent),
        }
    }
}

/// What follows a key or a dash, to the end of its lines.
fn after(out: &mut String, value: &Packed<'_>, indent: usize) {
    if out.len() > MAX_RESULT {
        return;
    }
    match value {
        Packed::Map(map) if !map.keys.is_empty() => {
            out.push('\n');
            block(out, map, indent + 2);
        }
        Packed::List(items) if !items.is_empty() => {
            out.push('\n');
            list(out, items, indent + 2);
        }
        Packed::Map(_) => out.push_str(" {}\n"),
        Packed::List(_) => out.push_str(" []\n"),
        Packed::Plain(text) => {
            out.push(' ');
            out.push_str(text);
            out.push('\n');
        }
        Packed::Text(text) if is_literal(text) => {
            let keep = if text.ends_with("\n\n") {
                "+"
            } else if text.ends_with('\n') {
                ""
            } else {
                "-"
            };
            out.push_str(&format!(" |{keep}\n"));
            for line in text.lines() {
                if !line.is_empty() {
                    pad(out, indent + 2);
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        Packed::Text(text) => {
            out.push(' ');
            out.push_str(&scalar(text));
            out.push('\n');
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Whether a text of several lines reads back the same from a literal block.
fn is_literal(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\t', '\n'])
        && !text
            .lines()
            .any(|line| line.trim().is_empty() && !line.is_empty())
        && text
            .chars()
            .all(|c| c == '\n' || c == '\t' || !is_special(c))
}

/// Plain where any YAML reads the same string, else in double quotes.
fn scalar(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./ @+$()<>=!*&|'\"\\~;?%^".contains(c);
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
    );
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && !text.ends_with(' ')
        && !word
        && text.chars().all(safe);
    if plain {
        return text.to_owned();
    }
    let mut out = String::new();
    quoted(&mut out, text);
    out
}
