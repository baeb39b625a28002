//! What a reader sees of raw output: without escapes, and without the line ends inside of wrapped text.

use std::borrow::Cow;
use std::ops::Range;

/// Characters of wrapped text that must stand before a line end for it to be part of the wrapping.
/// Tools wrap at 60, 64 or 76.
const WRAPPED_LINE: usize = 60;

/// The raw bytes without some of them.
pub(super) struct View<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    raw: &'a [u8],
    /// What was left out of the raw bytes, in order.
    left_out: Vec<Range<usize>>,
    /// Where each piece that was not left out begins: in the view, and in the raw bytes.
    pieces: Vec<(usize, usize)>,
    /// Where the raw bytes end, or an unfinished escape at their end begins.
    complete: usize,
}

impl<'a> View<'a> {
    /// The bytes that are not escapes, carriage returns and backspaces. An unfinished escape at the end
    /// is left out as well.
    pub(super) fn without_escapes(raw: &'a [u8]) -> Self {
        let mut left_out: Vec<Range<usize>> = Vec::new();
        let mut complete = raw.len();
        let mut at = 0;
        while let Some(ahead) = next_escape(raw.get(at..).unwrap_or_default()) {
            let start = at + ahead;
            let rest = raw.get(start..).unwrap_or_default();
            let length = match rest.first() {
                Some(0x1b) => escape_length(rest).unwrap_or_else(|| {
                    complete = start;
                    rest.len()
                }),
                _ => 1,
            };
            at = start + length;
            left_out.push(start..at);
        }
        Self::leaving_out(raw, left_out, complete)
    }

    /// The same without the line ends inside of wrapped text; `None` when there are none. `before` is
    /// how many characters of wrapped text were seen right before these bytes.
    pub(super) fn unwrapped(&self, before: usize) -> Option<Self> {
        let ends = wrapping_line_ends(&self.bytes, before);
        if ends.is_empty() {
            return None;
        }
        let ends = ends.into_iter().map(|at| self.raw(at));
        let mut left_out = self.left_out.clone();
        left_out.extend(ends.map(|at| at..at + 1));
        left_out.sort_unstable_by_key(|range| range.start);
        Some(Self::leaving_out(self.raw, left_out, self.complete))
    }

    fn leaving_out(raw: &'a [u8], left_out: Vec<Range<usize>>, complete: usize) -> Self {
        if left_out.is_empty() {
            return Self {
                bytes: Cow::Borrowed(raw),
                raw,
                left_out,
                pieces: vec![(0, 0)],
                complete,
            };
        }
        let mut bytes = Vec::with_capacity(raw.len());
        let mut pieces = Vec::with_capacity(left_out.len() + 1);
        let mut from = 0;
        let end = raw.len()..raw.len();
        for gap in left_out.iter().chain([&end]) {
            if let Some(piece) = raw.get(from..gap.start).filter(|piece| !piece.is_empty()) {
                pieces.push((bytes.len(), from));
                bytes.extend_from_slice(piece);
            }
            from = gap.end;
        }
        Self {
            bytes: Cow::Owned(bytes),
            raw,
            left_out,
            pieces,
            complete,
        }
    }

    /// Whether the view is all of the raw bytes.
    pub(super) fn is_raw(&self) -> bool {
        self.left_out.is_empty()
    }

    /// Where a byte of the view stands in the raw bytes. The end of the view is where they end, or an
    /// unfinished escape at their end begins.
    pub(super) fn raw(&self, at: usize) -> usize {
        if at >= self.bytes.len() {
            return self.complete;
        }
        let after = self.pieces.partition_point(|piece| piece.0 <= at);
        match after.checked_sub(1).and_then(|last| self.pieces.get(last)) {
            Some((view, raw)) => raw + (at - view),
            None => 0,
        }
    }

    /// What of the raw bytes is left out inside of a range.
    pub(super) fn left_out(&self, within: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let first = self.left_out.partition_point(|gap| gap.end <= within.start);
        let last = self.left_out.partition_point(|gap| gap.start < within.end);
        self.left_out
            .get(first..last)
            .unwrap_or_default()
            .iter()
            .cloned()
    }

    /// How many characters of wrapped text stand right before a place of the raw bytes.
    pub(super) fn wrapped_before(&self, place: usize, before: usize) -> usize {
        let after = self.pieces.partition_point(|piece| piece.1 < place);
        let at = match after.checked_sub(1).and_then(|last| self.pieces.get(last)) {
            Some((view, raw)) => view + (place - raw),
            None => 0,
        };
        let seen = self.bytes.get(..at).unwrap_or(&self.bytes);
        wrapped_at_end(seen, before).min(WRAPPED_LINE)
    }
}

/// Characters of wrapped text at the end of bytes that so many stand before, counted no further than is
/// needed.
fn wrapped_at_end(bytes: &[u8], before: usize) -> usize {
    let last = bytes.iter().rev().take(WRAPPED_LINE);
    let count = last.take_while(|byte| is_wrapped_text(**byte)).count();
    if count == bytes.len() {
        count + before
    } else {
        count
    }
}

/// Whether base64, base32 or hexadecimal is written with this byte.
fn is_wrapped_text(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut at = 0;
        while at < table.len() {
            let byte = at as u8;
            table[at] =
                byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
            at += 1;
        }
        table
    };
    TABLE[usize::from(byte)]
}

/// Line ends with enough wrapped text before them, and more of it, or nothing yet, behind them.
fn wrapping_line_ends(bytes: &[u8], before: usize) -> Vec<usize> {
    let mut ends = Vec::new();
    // Words are left after a few bytes; the first one may go on from the bytes before these.
    let mut probe = 0;
    while probe < bytes.len() {
        let rest = bytes.get(probe..).unwrap_or_default();
        let ahead = rest
            .iter()
            .take_while(|byte| is_wrapped_text(**byte))
            .count();
        let end = probe + ahead;
        if bytes.get(end) == Some(&b'\n') {
            let run = wrapped_at_end(bytes.get(..end).unwrap_or_default(), before);
            let goes_on = bytes.get(end + 1).is_none_or(|byte| is_wrapped_text(*byte));
            if run >= WRAPPED_LINE && goes_on {
                ends.push(end);
            }
        }
        // The byte at `end` belongs to no run, so the next long one covers the place this far behind.
        probe = end + WRAPPED_LINE;
    }
    ends
}

fn next_escape(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 64;
    // Blocks of one size without an early exit are what the compiler turns into vector code.
    let any = |block: &[u8; BLOCK]| {
        let found = |found: u8, byte: &u8| found | u8::from(is_escape(*byte));
        block.iter().fold(0, found) != 0
    };
    let (blocks, last) = bytes.as_chunks::<BLOCK>();
    let at = |start: usize, rest: &[u8]| {
        let ahead = rest.iter().position(|byte| is_escape(*byte))?;
        Some(start + ahead)
    };
    match blocks.iter().position(any) {
        Some(block) => at(block * BLOCK, blocks.get(block)?),
        None => at(blocks.len() * BLOCK, last),
    }
}

fn is_escape(byte: u8) -> bool {
    (byte == 0x1b) | (byte == b'\r') | (byte == 0x08)
}

/// Length of the escape sequence at the start of `bytes`, `None` while it is unfinished.
fn escape_length(bytes: &[u8]) -> Option<usize> {
    /// No terminal sends longer ones; whatever is longer is not an escape.
    const LONGEST: usize = 4096;
    let end = match bytes.get(1)? {
        b'[' => bytes
            .iter()
            .skip(2)
            .position(|b| !(0x20..=0x3f).contains(b))
            .map(|at| {
                // Only a final byte belongs to the sequence; anything else cuts it short.
                let last = at + 2;
                let is_final = bytes.get(last).is_some_and(|b| (0x40..=0x7e).contains(b));
                if is_final { last + 1 } else { last }
            }),
        b']' => {
            let bell = bytes.iter().position(|b| *b == 0x07).map(|at| at + 1);
            let string_end = bytes
                .windows(2)
                .position(|pair| pair == b"\x1b\\")
                .map(|at| at + 2);
            match (bell, string_end) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            }
        }
        b'(' | b')' | b'#' => (bytes.len() >= 3).then_some(3),
        0x20..=0x7e => Some(2),
        _ => Some(1),
    };
    match end {
        Some(end) if end <= LONGEST => Some(end),
        None if bytes.len() <= LONGEST => None,
        _ => Some(1),
    }
}
