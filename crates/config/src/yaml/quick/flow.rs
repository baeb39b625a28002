//! Lists and maps in brackets and braces.

use super::plain::{WITHIN, flow};
use super::{Key, Reader, ends, indicator, offset};
use crate::yaml::{Weighed, mapping};

impl Reader<'_> {
    /// The list or map at the cursor.
    pub(super) fn flow(&mut self, level: u32) -> Option<Weighed> {
        if self.byte(self.at) == b'[' {
            self.flow_list(level)
        } else {
            self.flow_map(level)
        }
    }

    fn flow_list(&mut self, level: u32) -> Option<Weighed> {
        let start = self.at;
        let mut sum = self.open(level, self.items.len())?;
        self.at += 1;
        while self.gap()? != b']' {
            let item = match self.flow_key()? {
                Scalar::Key(key) => self.pair(key, level + 1)?,
                Scalar::Node(node) => node,
                Scalar::Other => self.flow_node(level + 1)?,
            };
            self.item(&mut sum, item);
            self.comma(b']')?;
        }
        self.at += 1;
        let span = self.span(offset(start), offset(self.at));
        self.close_list(sum, span)
    }

    /// A map of one pair as an item of a list; it ends at the token behind it.
    fn pair(&mut self, key: Key, level: u32) -> Option<Weighed> {
        let start = key.span.start;
        let mut sum = self.open(level, self.entries.len())?;
        let value = self.flow_value(key.colon, b']', level + 1)?;
        self.entry(&mut sum, key, value);
        self.gap()?;
        let span = self.trimmed(start, offset(self.at));
        self.close_map(sum, span)
    }

    fn flow_map(&mut self, level: u32) -> Option<Weighed> {
        let start = self.at;
        let mut sum = self.open(level, self.entries.len())?;
        self.at += 1;
        while self.gap()? != b'}' {
            match self.flow_key()? {
                Scalar::Key(key) => {
                    let value = self.flow_value(key.colon, b'}', level + 1)?;
                    self.entry(&mut sum, key, value);
                }
                Scalar::Node(node) => {
                    let node = node.node;
                    self.gap()?;
                    let value = self.empty(self.at)?;
                    let key = Key {
                        text: mapping::key(&node.value)?,
                        span: node.span,
                        tags: node.tags,
                        colon: self.at,
                    };
                    self.entry(&mut sum, key, value);
                }
                Scalar::Other => return None,
            }
            self.comma(b'}')?;
        }
        self.at += 1;
        let span = self.span(offset(start), offset(self.at));
        self.close_map(sum, span)
    }

    /// Goes behind a comma, or to the end.
    fn comma(&mut self, close: u8) -> Option<()> {
        match self.gap()? {
            b',' => self.at += 1,
            byte if byte == close => {}
            _ => return None,
        }
        Some(())
    }

    fn flow_value(&mut self, colon: usize, close: u8, level: u32) -> Option<Weighed> {
        self.at = colon + 1;
        let byte = self.gap()?;
        if byte == b',' || byte == close {
            return self.empty(colon);
        }
        self.flow_node(level)
    }

    fn flow_node(&mut self, level: u32) -> Option<Weighed> {
        match self.byte(self.at) {
            b'[' | b'{' => self.flow(level),
            b'*' => self.alias(),
            b'&' => {
                let id = self.name()?;
                if matches!(self.gap()?, b'&' | b'*') {
                    return None;
                }
                let node = self.flow_node(level)?;
                self.keep(id, &node);
                Some(node)
            }
            b'"' | b'\'' => {
                let start = self.at;
                let quoted = self.quoted()?;
                self.string(quoted, start)
            }
            _ => {
                let start = self.at;
                self.flow_plain()?;
                self.word_node(start, self.at)
            }
        }
    }

    /// The scalar at the cursor, as a key where a colon follows.
    fn flow_key(&mut self) -> Option<Scalar> {
        let (start, line) = (self.at, self.line);
        match self.byte(start) {
            b'[' | b'{' | b'*' | b'&' => Some(Scalar::Other),
            b'"' | b'\'' => {
                let quoted = self.quoted()?;
                let mut colon = self.at;
                while self.byte(colon) == b' ' {
                    colon += 1;
                }
                if self.byte(colon) != b':' {
                    return self.string(quoted, start).map(Scalar::Node);
                }
                self.at = colon;
                if line != self.line {
                    return None;
                }
                self.quoted_key(quoted, start).map(Scalar::Key)
            }
            _ => {
                self.flow_plain()?;
                let end = self.at;
                let mut colon = end;
                while matches!(self.byte(colon), b' ' | b'\t') {
                    colon += 1;
                }
                if self.byte(colon) != b':' {
                    return self.word_node(start, end).map(Scalar::Node);
                }
                // The scalar ends before a colon only where that is a sign of its own.
                if matches!(self.byte(colon + 1), b'[' | b'{') {
                    return None;
                }
                self.at = colon;
                self.plain_key(start, end).map(Scalar::Key)
            }
        }
    }

    /// Goes to the end of the plain scalar at the cursor, which is on one line.
    fn flow_plain(&mut self) -> Option<()> {
        let first = self.byte(self.at);
        let second = self.byte(self.at + 1);
        if indicator(first) || (first == b'-' && (ends(second) || flow(second))) {
            return None;
        }
        let mut at = self.at;
        loop {
            at = self.plain_run(at, WITHIN);
            let end = at;
            while matches!(self.byte(at), b' ' | b'\t') {
                at += 1;
            }
            let next = self.byte(at + 1);
            let colon = self.byte(at) == b':';
            let stops = match self.byte(at) {
                b'\n' | 0 => true,
                b':' => ends(next) || flow(next),
                // Only behind a blank is the run of the scalar interrupted here.
                b'#' => true,
                byte => flow(byte),
            };
            if stops {
                self.at = end;
                return Some(());
            }
            at += usize::from(colon);
        }
    }
}

/// What stands at the beginning of an entry.
enum Scalar {
    /// A scalar with a colon behind it.
    Key(Key),
    Node(Weighed),
    /// No scalar, or one with an anchor.
    Other,
}
