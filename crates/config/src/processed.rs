//! The processed config as YAML text (language 16.4).

use std::borrow::Cow;
use std::fmt::Write as _;

use capstan_model::plan::PinnedOrb;

use crate::quote::{is_special, quoted};
use crate::yaml::Value;

/// Words that some YAML reads as something else than text.
const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
/// How long the longest of them is.
const LONGEST_WORD: usize = 5;
/// What lines are indented with, piece by piece.
const BLANKS: &str = "                                ";
/// Longest key without a mark, in bytes; YAML has a limit of 1,024 characters.
const LONGEST_KEY: usize = 1_000;
/// Longest result, in bytes.
const MAX_RESULT: usize = 32 * 1024 * 1024;

/// The processed config: the orbs it was made with, the result, and the original as a comment behind
/// it; `None` if the result is longer than 32 MiB.
pub(crate) fn config(value: &Value, orbs: &[PinnedOrb], original: &str) -> Option<String> {
    let mut out = String::with_capacity(4 * original.len());
    for orb in orbs {
        let (reference, exact) = (comment(&orb.reference), comment(&orb.exact));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# Orb '{reference}' resolved to '{exact}'");
    }
    let mut writer = Writer {
        longest: out.len() + MAX_RESULT,
        out,
    };
    writer.block(value, 0);
    if writer.is_full() {
        return None;
    }
    let mut out = writer.out;
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
fn comment(line: &str) -> Cow<'_, str> {
    let odd = |c: char| (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}');
    if line.bytes().all(|b| b == b'\t' || matches!(b, b' '..=b'~')) || !line.contains(odd) {
        return Cow::Borrowed(line);
    }
    line.chars().filter(|c| !odd(*c)).collect()
}

/// Writes values as blocks of YAML.
struct Writer {
    out: String,
    /// Nothing more is begun behind this length.
    longest: usize,
}

impl Writer {
    /// Shared nodes are written out each time, so the text is what has to be capped.
    fn is_full(&self) -> bool {
        self.out.len() > self.longest
    }

    fn pad(&mut self, indent: usize) {
        let mut left = indent;
        while left > 0 {
            let blanks = BLANKS.get(..left).unwrap_or(BLANKS);
            self.out.push_str(blanks);
            left -= blanks.len();
        }
    }

    fn block(&mut self, value: &Value, indent: usize) {
        if self.is_full() {
            return;
        }
        match value {
            Value::Map(entries) => {
                for entry in entries {
                    self.pad(indent);
                    self.pair(&entry.key, &entry.value.value, indent);
                }
            }
            Value::Seq(items) => {
                for item in items {
                    self.pad(indent);
                    self.out.push_str("- ");
                    self.item(&item.value, indent + 2);
                }
            }
            other => {
                self.pad(indent);
                self.line(other);
            }
        }
    }

    /// An item of a list, behind its dash.
    fn item(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Map(entries) if !entries.is_empty() => {
                for (i, entry) in entries.iter().enumerate() {
                    if i > 0 {
                        self.pad(indent);
                    }
                    self.pair(&entry.key, &entry.value.value, indent);
                }
            }
            other => self.line(other),
        }
    }

    fn pair(&mut self, key: &str, value: &Value, indent: usize) {
        if self.key(key) {
            self.out.push('\n');
            self.pad(indent);
        }
        self.out.push(':');
        match value {
            Value::Map(entries) if !entries.is_empty() => {
                self.out.push('\n');
                self.block(value, indent + 2);
            }
            Value::Seq(items) if !items.is_empty() => {
                self.out.push('\n');
                self.block(value, indent + 2);
            }
            Value::Str(text) if literal(text) => {
                self.out.push_str(match text.ends_with('\n') {
                    true => " |\n",
                    false => " |-\n",
                });
                for line in text.lines() {
                    if !line.is_empty() {
                        self.pad(indent + 2);
                        self.out.push_str(line);
                    }
                    self.out.push('\n');
                }
            }
            other => {
                self.out.push(' ');
                self.line(other);
            }
        }
    }

    /// A value that ends its line.
    fn line(&mut self, value: &Value) {
        self.inline(value);
        self.out.push('\n');
    }

    fn inline(&mut self, value: &Value) {
        if self.is_full() {
            return;
        }
        match value.open() {
            Value::Str(text) => string(&mut self.out, text),
            Value::Bad | Value::Null => self.out.push_str("null"),
            Value::Seq(items) => {
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.out.push_str(if at > 0 { ", " } else { "" });
                    self.inline(&item.value);
                }
                self.out.push(']');
            }
            Value::Map(entries) => {
                self.out.push('{');
                for (at, entry) in entries.iter().enumerate() {
                    self.out.push_str(if at > 0 { ", " } else { "" });
                    let long = self.key(&entry.key);
                    self.out.push_str(if long { " : " } else { ": " });
                    self.inline(&entry.value.value);
                }
                self.out.push('}');
            }
            other => self.out.push_str(&other.text().unwrap_or_default()),
        }
    }

    /// Writes a key, and says whether it is so long that YAML wants a mark before it.
    fn key(&mut self, text: &str) -> bool {
        let start = self.out.len();
        string(&mut self.out, text);
        let long = self.out.len() - start > LONGEST_KEY;
        if long {
            self.out.insert_str(start, "? ");
        }
        long
    }
}

/// Whether a text reads best, and reads back the same, as a literal block.
fn literal(text: &str) -> bool {
    let body = text.trim_end_matches('\n');
    if !body.contains('\n') {
        return false;
    }
    let usual = |b: u8| matches!(b, b' '..=b'~' | b'\n' | b'\t');
    !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n', '\t'])
        && (text.bytes().all(usual)
            || text
                .chars()
                .all(|c| c == '\n' || c == '\t' || !is_special(c)))
        && !text
            .lines()
            .any(|line| line.trim().is_empty() && !line.is_empty())
}

/// A scalar: plain where it reads back as the same string in any YAML, else in double quotes.
fn string(out: &mut String, text: &str) {
    let safe = |c: u8| {
        c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'_' | b'-' | b'.' | b'/' | b' ' | b'~' | b'@' | b'+' | b'$' | b'(' | b')'
            )
    };
    let is_word = || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    let plain = text
        .bytes()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == b'/')
        && !text.ends_with(' ')
        && text.bytes().all(safe)
        && !(text.len() <= LONGEST_WORD && is_word());
    if plain {
        return out.push_str(text);
    }
    quoted(out, text);
}
