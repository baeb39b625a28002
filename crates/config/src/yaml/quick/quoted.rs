//! Scalars in single and double quotes.

use super::plain::fold;
use super::tree::{leaf, made};
use super::{Reader, offset};
use crate::yaml::{Text, Value, Weighed, text_weight};

/// What is between two quotes.
pub(super) struct Quoted {
    pub(super) text: Text,
    /// Behind the closing quote.
    pub(super) end: usize,
    /// Whether a tag may be in it.
    pub(super) tags: bool,
}

impl Reader<'_> {
    /// Reads the quoted scalar at the cursor.
    pub(super) fn quoted(&mut self) -> Option<Quoted> {
        self.room = self.room.checked_sub(1)?;
        let quote = self.byte(self.at);
        let start = self.at + 1;
        let at = self.quoted_run(start, quote);
        if self.byte(at) == quote && (quote == b'"' || self.byte(at + 1) != quote) {
            self.at = at + 1;
            return Some(Quoted {
                text: self.part(start, at),
                end: self.at,
                tags: self.tagged(offset(start), offset(at)),
            });
        }
        let text = self.unquoted(start, at, quote)?;
        Some(Quoted {
            tags: text.contains("<<"),
            text: Text::from(text),
            end: self.at,
        })
    }

    fn quoted_run(&self, at: usize, quote: u8) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let special =
            |byte: &u8| *byte == quote || *byte == b'\n' || (*byte == b'\\' && quote == b'"');
        at + rest.iter().position(special).unwrap_or(rest.len())
    }

    /// The text of a scalar that is not as it is written; `at` is the first place where it differs.
    fn unquoted(&mut self, start: usize, at: usize, quote: u8) -> Option<String> {
        let mut text = String::from(self.text.get(start..at)?);
        // Blanks before a line break go, but not those that come of an escape.
        let mut kept = 0;
        self.at = at;
        loop {
            match self.byte(self.at) {
                b'\n' => {
                    while text.len() > kept && text.ends_with([' ', '\t']) {
                        text.pop();
                    }
                    let breaks = self.breaks()?;
                    fold(&mut text, breaks);
                }
                b'\\' if quote == b'"' && self.byte(self.at + 1) == b'\n' => {
                    self.at += 1;
                    let breaks = self.breaks()?;
                    text.extend(std::iter::repeat_n('\n', breaks - 1));
                }
                b'\\' if quote == b'"' => {
                    text.push(self.escape()?);
                    kept = text.len();
                }
                b'\'' if quote == b'\'' && self.byte(self.at + 1) == b'\'' => {
                    self.at += 2;
                    text.push('\'');
                }
                0 => return None,
                _ => {
                    self.at += 1;
                    return Some(text);
                }
            }
            let next = self.quoted_run(self.at, quote);
            text.push_str(self.text.get(self.at..next)?);
            self.at = next;
        }
    }

    /// Goes over line breaks and the blanks behind them; how many breaks.
    fn breaks(&mut self) -> Option<usize> {
        let mut breaks = 0;
        while self.byte(self.at) == b'\n' {
            self.break_line();
            if self.marker() {
                return None;
            }
            self.blanks();
            breaks += 1;
        }
        Some(breaks)
    }

    /// The character of the escape at the cursor.
    fn escape(&mut self) -> Option<char> {
        let (c, digits) = match self.byte(self.at + 1) {
            b'0' => ('\0', 0),
            b'a' => ('\u{7}', 0),
            b'b' => ('\u{8}', 0),
            b't' | b'\t' => ('\t', 0),
            b'n' => ('\n', 0),
            b'v' => ('\u{b}', 0),
            b'f' => ('\u{c}', 0),
            b'r' => ('\r', 0),
            b'e' => ('\u{1b}', 0),
            b' ' => (' ', 0),
            b'"' => ('"', 0),
            b'/' => ('/', 0),
            b'\\' => ('\\', 0),
            b'N' => ('\u{85}', 0),
            b'_' => ('\u{a0}', 0),
            b'L' => ('\u{2028}', 0),
            b'P' => ('\u{2029}', 0),
            b'x' => ('\0', 2),
            b'u' => ('\0', 4),
            b'U' => ('\0', 8),
            _ => return None,
        };
        self.at += 2;
        if digits == 0 {
            return Some(c);
        }
        let digits = self.text.get(self.at..self.at + digits)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += digits.len();
        // Halves of pairs are no characters, and left to the library.
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    }

    /// The node of a quoted scalar.
    pub(super) fn string(&mut self, quoted: Quoted, start: usize) -> Option<Weighed> {
        let span = self.span(offset(start), offset(quoted.end));
        let weight = 1 + text_weight(&quoted.text);
        Some(leaf(made(
            Value::Str(quoted.text),
            span,
            quoted.tags,
            weight,
        )))
    }
}
