//! Bytes, lines, blanks and comments: where the next token is.

use super::{Reader, ends};

/// Whether a text has only characters whose place in YAML is known here.
pub(super) fn usual(text: &str) -> bool {
    let ascii = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\t');
    let blocks = text.as_bytes().chunks(256);
    let all = |block: &[u8]| block.iter().fold(true, |all, byte| all & ascii(byte));
    // What the library takes for printable, without the byte order mark.
    let printable = |c: char| {
        matches!(
            c,
            ' '..='~' | '\n' | '\t' | '\u{85}' | '\u{a0}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}'
        ) || c >= '\u{10000}'
    };
    blocks.into_iter().all(all) || text.chars().all(printable)
}

impl<'a> Reader<'a> {
    /// The byte at a place, and zero behind the end.
    #[inline]
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn spaces(&mut self) {
        while self.byte(self.at) == b' ' {
            self.at += 1;
        }
    }

    #[inline]
    pub(super) fn blanks(&mut self) {
        while matches!(self.byte(self.at), b' ' | b'\t') {
            self.at += 1;
        }
    }

    /// The next line break at or behind a place, or the end.
    #[inline]
    pub(super) fn line_end(&self, at: usize) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        at + rest
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap_or(rest.len())
    }

    /// Goes behind the line break at the cursor.
    #[inline]
    pub(super) fn break_line(&mut self) {
        self.at += 1;
        self.line = self.at;
    }

    /// Goes to the first token of the document, behind a marker of its start.
    pub(super) fn start(&mut self) -> Option<()> {
        self.token()?;
        if self.text.get(self.at..self.at + 3) == Some("---") && self.marker() {
            self.at += 3;
            return self.rest();
        }
        (!self.marker()).then_some(())
    }

    /// Goes to the next token; before the cursor there are only blanks on its line.
    pub(super) fn next(&mut self) -> Option<()> {
        self.token()?;
        (!self.marker()).then_some(())
    }

    fn token(&mut self) -> Option<()> {
        loop {
            self.spaces();
            match self.byte(self.at) {
                b'\n' => self.break_line(),
                b'#' => self.at = self.line_end(self.at),
                b'\t' => return None,
                0 => {
                    self.column = 0;
                    return Some(());
                }
                _ => {
                    self.column = self.at - self.line + 1;
                    return Some(());
                }
            }
        }
    }

    /// Whether the cursor is at the dash of an item.
    #[inline]
    pub(super) fn dash(&self) -> bool {
        self.byte(self.at) == b'-' && ends(self.byte(self.at + 1))
    }

    /// Whether a marker of documents, or a directive, is at the cursor.
    pub(super) fn marker(&self) -> bool {
        if self.at != self.line {
            return false;
        }
        let byte = self.byte(self.at);
        byte == b'%'
            || (matches!(byte, b'-' | b'.')
                && byte == self.byte(self.at + 1)
                && byte == self.byte(self.at + 2)
                && ends(self.byte(self.at + 3)))
    }

    /// Goes over the rest of a line that has no more tokens, and on to the next token.
    #[inline]
    pub(super) fn rest(&mut self) -> Option<()> {
        let from = self.at;
        self.blanks();
        match self.byte(self.at) {
            b'\n' | 0 => {}
            b'#' if self.at > from => self.at = self.line_end(self.at),
            _ => return None,
        }
        self.next()
    }

    /// Goes over blanks, lines and comments within `[ ]` or `{ }`; the byte of the token there.
    #[inline]
    pub(super) fn gap(&mut self) -> Option<u8> {
        loop {
            self.spaces();
            match self.byte(self.at) {
                b'\n' => {
                    self.break_line();
                    if self.marker() {
                        return None;
                    }
                }
                b'#' if self.at > 0 && ends(self.byte(self.at - 1)) => {
                    self.at = self.line_end(self.at);
                }
                b'#' | b'\t' | 0 => return None,
                byte => return Some(byte),
            }
        }
    }

    /// Whether a colon that makes a key of what is before it comes next on the line; goes there.
    #[inline]
    pub(super) fn colon(&mut self) -> bool {
        let mut at = self.at;
        while self.byte(at) == b' ' {
            at += 1;
        }
        let colon = self.byte(at) == b':' && ends(self.byte(at + 1));
        if colon {
            self.at = at;
        }
        colon
    }

    /// The name behind the sign of an anchor or alias.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        let start = self.at + 1;
        let mut at = start;
        while !matches!(
            self.byte(at),
            b' ' | b'\t' | b'\n' | 0 | b',' | b'[' | b']' | b'{' | b'}'
        ) {
            at += 1;
        }
        self.at = at;
        self.text.get(start..at).filter(|name| !name.is_empty())
    }

    /// Whether the stretch of the text has a `<<` in it. Stretches are asked for in their order.
    #[inline]
    pub(super) fn tagged(&mut self, start: u32, end: u32) -> bool {
        let (start, end) = (start as usize, end as usize);
        if self.tag < start {
            self.find_tag(start);
        }
        self.tag.saturating_add(2) <= end
    }

    pub(super) fn find_tag(&mut self, start: usize) {
        let mut at = start;
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            let Some(next) = rest.find('<') else {
                self.tag = usize::MAX;
                return;
            };
            at += next;
            if self.byte(at + 1) == b'<' {
                self.tag = at;
                return;
            }
            at += 1;
        }
    }
}
