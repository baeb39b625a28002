//! Plain scalars.

use super::tree::{leaf, made};
use super::{Reader, ends, offset};
use crate::yaml::{Text, Value, Weighed, scalar, text_weight};

/// What ends the part of a plain scalar that is on one line; with the end of its text. The cursor is there.
pub(super) enum Stop {
    /// A colon that makes a key of it.
    Colon(usize),
    /// A comment.
    Comment(usize),
    /// The end of the line.
    Line(usize),
}

/// Bytes of which each can mean something else than itself, outside of `[ ]` and `{ }` and within.
const SPECIAL: [u8; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    let outside = b" \n\t:\0";
    while at < outside.len() {
        table[outside[at] as usize] = OUTSIDE | WITHIN;
        at += 1;
    }
    let mut at = 0;
    let within = b",[]{}";
    while at < within.len() {
        table[within[at] as usize] = WITHIN;
        at += 1;
    }
    table
};
const OUTSIDE: u8 = 1;
pub(super) const WITHIN: u8 = 2;

/// Whether a byte is one of flow lists and maps.
pub(super) fn flow(byte: u8) -> bool {
    matches!(byte, b',' | b'[' | b']' | b'{' | b'}')
}

impl Reader<'_> {
    #[inline]
    pub(super) fn plain_run(&self, at: usize, place: u8) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let special = |byte: &u8| SPECIAL[usize::from(*byte)] & place != 0;
        at + rest.iter().position(special).unwrap_or(rest.len())
    }

    /// Reads on to the end of the line, or to what ends the scalar on it.
    pub(super) fn plain_line(&mut self) -> Stop {
        let mut at = self.at;
        loop {
            at = self.plain_run(at, OUTSIDE);
            let end = at;
            if self.byte(at) == b':' {
                if ends(self.byte(at + 1)) {
                    self.at = at;
                    return Stop::Colon(end);
                }
                at += 1;
                continue;
            }
            while matches!(self.byte(at), b' ' | b'\t') {
                at += 1;
            }
            self.at = at;
            match self.byte(at) {
                b'\n' | 0 => return Stop::Line(end),
                b'#' => return Stop::Comment(end),
                b':' if ends(self.byte(at + 1)) => return Stop::Colon(end),
                _ => {}
            }
        }
    }

    /// A scalar whose first line is read; it goes on on lines that are indented deeper than `parent`.
    /// Behind it, the next token.
    pub(super) fn plain(&mut self, start: usize, stop: Stop, parent: usize) -> Option<Weighed> {
        let mut part = start;
        let mut stop = stop;
        let mut folded = String::new();
        loop {
            let end = match stop {
                Stop::Colon(_) => return None,
                Stop::Comment(end) | Stop::Line(end) => end,
            };
            let breaks = match stop {
                Stop::Line(_) => self.continues(parent)?,
                _ => {
                    self.at = self.line_end(self.at);
                    0
                }
            };
            if breaks == 0 {
                let node = if folded.is_empty() {
                    self.word_node(start, end)
                } else {
                    folded.push_str(self.text.get(part..end)?);
                    self.folded_node(folded, start, end)
                }?;
                self.next()?;
                return Some(node);
            }
            folded.push_str(self.text.get(part..end)?);
            fold(&mut folded, breaks);
            part = self.at;
            stop = self.plain_line();
        }
    }

    /// How many line breaks there are to the line on which the scalar goes on, or zero. The cursor is at
    /// the first content of that line, or where the next token is to be looked for.
    fn continues(&mut self, parent: usize) -> Option<usize> {
        let mut breaks = 0;
        while self.byte(self.at) == b'\n' {
            self.break_line();
            self.spaces();
            breaks += 1;
        }
        let deeper = self.at - self.line + 1 > parent;
        match self.byte(self.at) {
            b'\t' => None,
            0 | b'#' => Some(0),
            _ if deeper => Some(breaks),
            _ => Some(0),
        }
    }

    /// The node of a plain scalar that is as it is written.
    pub(super) fn word_node(&mut self, start: usize, end: usize) -> Option<Weighed> {
        self.room = self.room.checked_sub(1)?;
        let word = self.text.get(start..end)?;
        let span = self.span(offset(start), offset(end));
        let typed = scalar::typed(word);
        let text = self.part(start, end);
        Some(leaf(match typed {
            Some(value) => {
                let mut node = made(value, span, false, 1);
                node.plain = Some(text);
                node
            }
            None => {
                let tags = self.tagged(span.start, span.end);
                let weight = 1 + text_weight(word);
                made(Value::Str(text), span, tags, weight)
            }
        }))
    }

    fn folded_node(&mut self, text: String, start: usize, end: usize) -> Option<Weighed> {
        self.room = self.room.checked_sub(1)?;
        let span = self.span(offset(start), offset(end));
        let typed = scalar::typed(&text);
        let (tags, weight) = (text.contains("<<"), 1 + text_weight(&text));
        let text = Text::from(text);
        Some(leaf(match typed {
            Some(value) => {
                let mut node = made(value, span, false, 1);
                node.plain = Some(text);
                node
            }
            None => made(Value::Str(text), span, tags, weight),
        }))
    }
}

/// What line breaks between two parts of a scalar become.
pub(super) fn fold(text: &mut String, breaks: usize) {
    match breaks {
        1 => text.push(' '),
        _ => text.extend(std::iter::repeat_n('\n', breaks - 1)),
    }
}
