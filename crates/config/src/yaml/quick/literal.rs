//! Literal and folded scalars: `|` and `>`.

use super::tree::{leaf, made};
use super::{Reader, offset};
use crate::yaml::{Text, Value, Weighed, text_weight};

/// What becomes of the line breaks at the end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// One stays.
    Clip,
    /// `-`: none.
    Strip,
    /// `+`: all.
    Keep,
}

impl Reader<'_> {
    /// The scalar at the cursor; behind it, the next token. `parent` is never zero: a config is a map.
    pub(super) fn literal(&mut self, parent: usize) -> Option<Weighed> {
        self.room = self.room.checked_sub(1)?;
        let sign = self.at;
        let folded = self.byte(sign) == b'>';
        let (tail, indent) = self.header(parent)?;
        let mut breaks = 0;
        let indent = match indent {
            Some(indent) => {
                self.indented(indent, &mut breaks);
                indent
            }
            None => self.first_indent(&mut breaks).max(parent),
        };
        if self.byte(self.at) == 0 {
            if tail == Tail::Keep {
                return None;
            }
            return self.literal_node(Text::from(""), sign, false);
        }
        let column = self.at - self.line;
        if column < indent && column + 1 > parent {
            return None;
        }
        let start = self.at;
        if let Some(end) = self.one_line(indent, breaks, tail) {
            let text = self.part(start, end);
            let tags = self.tagged(offset(start), offset(end));
            return self.literal_node(text, start, tags);
        }
        let text = self.lines(folded, indent, breaks, tail)?;
        let tags = self.tagged(offset(start), offset(self.at));
        self.literal_node(Text::from(text), start, tags)
    }

    fn literal_node(&mut self, text: Text, start: usize, tags: bool) -> Option<Weighed> {
        let span = self.trimmed(offset(start), offset(self.at));
        let weight = 1 + text_weight(&text);
        self.next()?;
        Some(leaf(made(Value::Str(text), span, tags, weight)))
    }

    /// Reads the line of the sign: what becomes of the tail, and the column where lines begin if it says.
    fn header(&mut self, parent: usize) -> Option<(Tail, Option<usize>)> {
        let (mut tail, mut indent) = (None, None);
        loop {
            self.at += 1;
            match self.byte(self.at) {
                b'-' if tail.is_none() => tail = Some(Tail::Strip),
                b'+' if tail.is_none() => tail = Some(Tail::Keep),
                digit @ b'1'..=b'9' if indent.is_none() => {
                    indent = Some((parent + usize::from(digit - b'0')).checked_sub(1)?);
                }
                _ => break,
            }
        }
        let from = self.at;
        self.blanks();
        if self.byte(self.at) == b'#' && self.at > from {
            self.at = self.line_end(self.at);
        }
        if self.byte(self.at) != b'\n' {
            return None;
        }
        self.break_line();
        (parent > 0 && self.byte(self.at) != b'\t').then_some((tail.unwrap_or(Tail::Clip), indent))
    }

    /// Goes over empty lines to the first content; the widest indentation on the way.
    fn first_indent(&mut self, breaks: &mut usize) -> usize {
        let mut widest = 0;
        loop {
            self.spaces();
            widest = widest.max(self.at - self.line);
            if self.byte(self.at) != b'\n' {
                return widest;
            }
            self.break_line();
            *breaks += 1;
        }
    }

    /// Goes over the indentation of a line, and over empty lines before it.
    fn indented(&mut self, indent: usize, breaks: &mut usize) {
        loop {
            while self.at - self.line < indent && self.byte(self.at) == b' ' {
                self.at += 1;
            }
            if self.byte(self.at) != b'\n' {
                return;
            }
            self.break_line();
            *breaks += 1;
        }
    }

    /// Whether the scalar is one line as it is written, and where it ends then; it is gone over.
    fn one_line(&mut self, indent: usize, breaks: usize, tail: Tail) -> Option<usize> {
        if breaks > 0 || self.at - self.line != indent || tail == Tail::Keep {
            return None;
        }
        let (at, line) = (self.at, self.line);
        let end = self.line_end(at);
        if self.byte(end) == b'\n' {
            self.at = end;
            self.break_line();
            self.indented(indent, &mut 0);
            if self.at - self.line != indent || self.byte(self.at) == 0 {
                return Some(if tail == Tail::Strip { end } else { end + 1 });
            }
        }
        (self.at, self.line) = (at, line);
        None
    }

    /// Reads the lines from the first content on, with `breaks` empty ones before it.
    fn lines(&mut self, folded: bool, indent: usize, breaks: usize, tail: Tail) -> Option<String> {
        let mut text = String::new();
        let mut breaks = breaks;
        // Whether a line is open, and whether the last one began with a blank.
        let (mut broken, mut blank) = (false, false);
        while self.at - self.line == indent && self.byte(self.at) != 0 {
            let blank_here = matches!(self.byte(self.at), b' ' | b'\t');
            let folds = folded && broken && !blank && !blank_here;
            match (folds, breaks) {
                (true, 0) => text.push(' '),
                (false, _) if broken => text.push('\n'),
                _ => {}
            }
            text.extend(std::iter::repeat_n('\n', breaks));
            (broken, breaks, blank) = (false, 0, blank_here);
            let end = self.line_end(self.at);
            text.push_str(self.text.get(self.at..end)?);
            self.at = end;
            if self.byte(end) == 0 {
                break;
            }
            self.break_line();
            broken = true;
            self.indented(indent, &mut breaks);
        }
        // A last line without a break is taken for one with it.
        let open = !broken && !text.is_empty() && self.byte(self.at) == 0;
        if tail != Tail::Strip && (broken || open) {
            text.push('\n');
        }
        if tail == Tail::Keep {
            text.extend(std::iter::repeat_n('\n', breaks));
        }
        Some(text)
    }
}
