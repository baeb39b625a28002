//! The processed config as YAML text (language 16.4).

use std::fmt::Write as _;

use capstan_model::plan::PinnedOrb;

use crate::quote::{is_special, quoted};
use crate::yaml::Value;

/// Words that some YAML reads as something else than text.
const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
/// Longest key without a mark, in bytes; YAML has a limit of 1,024 characters.
const LONGEST_KEY: usize = 1_000;
/// Longest result, in bytes.
const MAX_RESULT: usize = 32 * 1024 * 1024;

/// The processed config: the orbs it was made with, the result, and the original as a comment behind
/// it; `None` if the result is longer than 32 MiB.
pub(crate) fn config(value: &Value, orbs: &[PinnedOrb], original: &str) -> Option<String> {
    let mut out = String::new();
    for orb in orbs {
        let (reference, exact) = (comment(&orb.reference), comment(&orb.exact));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# Orb '{reference}' resolved to '{exact}'");
    }
    out.push_str(&text(value)?);
    out.push_str("\n# Original config:\n");
    for line in original.lines() {
        let clean = comment(line);
        out.push_str(if clean.is_empty() { "#" } else { "# " });
        out.push_str(&clean);
        out.push('\n');
    }
    Some(out)
}

/// A line that can stand in a comment of any YAML.
fn comment(line: &str) -> String {
    let odd = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
    line.chars().filter(|c| !odd(*c)).collect()
}

/// Writes a value as a block of YAML; `None` if that is longer than 32 MiB.
fn text(value: &Value) -> Option<String> {
    let mut out = String::new();
    block(&mut out, value, 0);
    (out.len() <= MAX_RESULT).then_some(out)
}

fn pad(out: &mut String, indent: usize) {
    for _ in 0..indent {
        out.push(' ');
    }
}

fn block(out: &mut String, value: &Value, indent: usize) {
    // Shared nodes are written out each time, so the text is what has to be capped.
    if out.len() > MAX_RESULT {
        return;
    }
    match value {
        Value::Map(entries) => {
            for entry in entries {
                pad(out, indent);
                pair(out, &entry.key, &entry.value.value, indent);
            }
        }
        Value::Seq(items) => {
            for item in items {
                pad(out, indent);
                out.push_str("- ");
                match &item.value {
                    Value::Map(entries) if !entries.is_empty() => {
                        for (i, entry) in entries.iter().enumerate() {
                            if i > 0 {
                                pad(out, indent + 2);
                            }
                            pair(out, &entry.key, &entry.value.value, indent + 2);
                        }
                    }
                    other => {
                        inline(out, other);
                        out.push('\n');
                    }
                }
            }
        }
        other => {
            pad(out, indent);
            inline(out, other);
            out.push('\n');
        }
    }
}

fn pair(out: &mut String, key: &str, value: &Value, indent: usize) {
    if self::key(out, key) {
        out.push('\n');
        pad(out, indent);
    }
    out.push(':');
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            block(out, value, indent + 2);
        }
        Value::Seq(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, indent + 2);
        }
        Value::Str(text) if literal(text) => {
            out.push_str(match text.ends_with('\n') {
                true => " |\n",
                false => " |-\n",
            });
            for line in text.lines() {
                if !line.is_empty() {
                    pad(out, indent + 2);
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        other => {
            out.push(' ');
            inline(out, other);
            out.push('\n');
        }
    }
}

/// Whether a text reads best, and reads back the same, as a literal block.
fn literal(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n', '\t'])
        && text
            .chars()
            .all(|c| c == '\n' || c == '\t' || !is_special(c))
        && !text
            .lines()
            .any(|line| line.trim().is_empty() && !line.is_empty())
}

fn inline(out: &mut String, value: &Value) {
    if out.len() > MAX_RESULT {
        return;
    }
    match value.open() {
        Value::Str(text) => string(out, text),
        Value::Bad | Value::Null => out.push_str("null"),
        Value::Seq(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                inline(out, &item.value);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (at, entry) in entries.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                let long = key(out, &entry.key);
                out.push_str(if long { " : " } else { ": " });
                inline(out, &entry.value.value);
            }
            out.push('}');
        }
        other => out.push_str(&other.text().unwrap_or_default()),
    }
}

/// Writes a key, and says whether it is so long that YAML wants a mark before it.
fn key(out: &mut String, text: &str) -> bool {
    let start = out.len();
    string(out, text);
    let long = out.len() - start > LONGEST_KEY;
    if long {
        out.insert_str(start, "? ");
    }
    long
}

/// A scalar: plain where it reads back as the same string in any YAML, else in double quotes.
fn string(out: &mut String, text: &str) {
    let safe = |c: u8| c.is_ascii_alphanumeric() || b"_-./ ~@+$()".contains(&c);
    let plain = text
        .bytes()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == b'/')
        && !text.ends_with(' ')
        && text.bytes().all(safe)
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if plain {
        return out.push_str(text);
    }
    quoted(out, text);
}
