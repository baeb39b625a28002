//! Keeps secrets out of logs. One automaton over every known form of every secret runs over the byte
//! stream before anything is stored or shown. It is a seat belt: a job that means to leak a secret can.

mod forms;

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// What stands in the log where a secret stood.
const REPLACEMENT: &[u8] = b"****";
/// Up to this many pattern bytes the fast but large automaton is built.
const DFA_LIMIT: usize = 32 * 1024;
/// Escape bytes that may lie inside one held-back match before it is let go.
const ESCAPE_LIMIT: usize = 64 * 1024;

/// The secrets of a task and the automaton that finds them.
#[derive(Clone)]
pub struct Masker {
    patterns: Vec<Vec<u8>>,
    matcher: Option<Arc<Matcher>>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The patterns are secrets.
        write!(f, "Masker({} patterns)", self.patterns.len())
    }
}

struct Matcher {
    automaton: AhoCorasick,
    /// Sorted, for the question whether some bytes begin a pattern.
    patterns: Vec<Vec<u8>>,
    first: [bool; 256],
    longest: usize,
}

impl Masker {
    /// Masks these values. Values under four characters and the words true and false are left readable.
    pub fn new(secrets: &[String]) -> Self {
        let mut patterns = Vec::new();
        for secret in secrets {
            patterns.extend(forms::of(secret));
        }
        let mut masker = Self {
            patterns,
            matcher: None,
        };
        masker.build();
        masker
    }

    /// Masks this value too, in streams made from now on, and in those told by [`MaskStream::mask_by`].
    pub fn add(&mut self, secret: &str) {
        self.patterns.extend(forms::of(secret));
        self.build();
    }

    /// A stream that masks one flow of bytes.
    pub fn stream(&self) -> MaskStream {
        MaskStream {
            matcher: self.matcher.clone(),
            held: Vec::new(),
        }
    }

    /// Masks a text that is complete.
    pub fn mask_text(&self, text: &str) -> String {
        let mut out = Vec::with_capacity(text.len());
        let mut stream = self.stream();
        stream.push(text.as_bytes(), &mut out);
        stream.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn build(&mut self) {
        self.patterns.sort_unstable();
        self.patterns.dedup();
        self.matcher = Matcher::new(&self.patterns).map(Arc::new);
    }
}

impl Matcher {
    fn new(patterns: &[Vec<u8>]) -> Option<Self> {
        let bytes: usize = patterns.iter().map(Vec::len).sum();
        let build = |kind| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .kind(Some(kind))
                .build(patterns)
        };
        let preferred = if bytes <= DFA_LIMIT {
            AhoCorasickKind::DFA
        } else {
            AhoCorasickKind::ContiguousNFA
        };
        // The smallest automaton fails only beyond two billion states; no environment is that large.
        let automaton = build(preferred)
            .or_else(|_| build(AhoCorasickKind::NoncontiguousNFA))
            .ok()
            .filter(|_| !patterns.is_empty())?;
        let mut first = [false; 256];
        for byte in patterns.iter().filter_map(|pattern| pattern.first()) {
            first[usize::from(*byte)] = true;
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or(0);
        Some(Self {
            automaton,
            patterns: patterns.to_vec(),
            first,
            longest,
        })
    }

    /// Where the longest tail begins that more input could turn into a match, or into a longer one.
    fn open_tail(&self, view: &[u8]) -> usize {
        let from = view.len().saturating_sub(self.longest);
        (from..view.len())
            .find(|at| self.first[usize::from(view[*at])] && self.begins_pattern(&view[*at..]))
            .unwrap_or(view.len())
    }

    fn begins_pattern(&self, tail: &[u8]) -> bool {
        // Sorted patterns that start with `tail` follow `tail` itself, which is not open any more.
        let after = self
            .patterns
            .partition_point(|pattern| pattern.as_slice() <= tail);
        self.patterns
            .get(after)
            .is_some_and(|pattern| pattern.starts_with(tail))
    }
}

/// Masks one flow of bytes, however it is cut.
pub struct MaskStream {
    matcher: Option<Arc<Matcher>>,
    held: Vec<u8>,
}

impl std::fmt::Debug for MaskStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MaskStream({} bytes held)", self.held.len())
    }
}

impl MaskStream {
    /// Takes the next bytes and appends to `out` what is decided. Held back is only the tail that may
    /// be the beginning of a secret.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.step(input, out, false);
    }

    /// From here on everything is masked by `masker`, what is held back included.
    pub fn mask_by(&mut self, masker: &Masker) {
        self.matcher.clone_from(&masker.matcher);
    }

    /// Bytes that are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The flow has ended: appends what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.step(&[], out, true);
    }

    fn step(&mut self, input: &[u8], out: &mut Vec<u8>, last: bool) {
        let Some(matcher) = &self.matcher else {
            out.extend_from_slice(input);
            return;
        };
        let joined;
        let bytes = if self.held.is_empty() {
            input
        } else {
            let mut all = std::mem::take(&mut self.held);
            all.extend_from_slice(input);
            joined = all;
            &joined
        };
        let used = if bytes.iter().any(|byte| is_escape(*byte)) {
            mask_stripped(matcher, bytes, out, last)
        } else {
            mask_plain(matcher, bytes, out, last)
        };
        self.held.extend_from_slice(&bytes[used..]);
    }
}

/// Masks bytes without escapes; returns how many are done with.
fn mask_plain(matcher: &Matcher, bytes: &[u8], out: &mut Vec<u8>, last: bool) -> usize {
    let open = if last {
        bytes.len()
    } else {
        matcher.open_tail(bytes)
    };
    let mut done = 0;
    for found in matcher.automaton.find_iter(bytes) {
        // A match that begins before the open tail cannot grow: else the tail would begin there.
        if found.start() >= open {
            break;
        }
        out.extend_from_slice(&bytes[done..found.start()]);
        out.extend_from_slice(REPLACEMENT);
        done = found.end();
    }
    let end = open.max(done);
    out.extend_from_slice(&bytes[done..end]);
    end
}

/// The same on a view without escapes, carriage returns and backspaces. Escapes inside a match are
/// written after the replacement, so that colours end where they ended.
fn mask_stripped(matcher: &Matcher, bytes: &[u8], out: &mut Vec<u8>, last: bool) -> usize {
    let (view, places, complete) = strip(bytes);
    let raw = |at: usize| places.get(at).copied().unwrap_or(complete);
    let open = if last {
        view.len()
    } else {
        matcher.open_tail(&view)
    };
    let overflow = bytes.len() - raw(open) > matcher.longest + ESCAPE_LIMIT;
    let open = if overflow { view.len() } else { open };
    let mut done = 0;
    for found in matcher.automaton.find_iter(&view) {
        if found.start() >= open {
            break;
        }
        let (Some(start), Some(final_byte)) =
            (places.get(found.start()), places.get(found.end() - 1))
        else {
            break;
        };
        out.extend_from_slice(&bytes[done..*start]);
        out.extend_from_slice(REPLACEMENT);
        for at in found.range() {
            let (here, next) = (raw(at), raw(at + 1));
            if at + 1 < found.end() {
                out.extend_from_slice(&bytes[here + 1..next]);
            }
        }
        done = final_byte + 1;
    }
    let end = if last || overflow {
        bytes.len()
    } else {
        raw(open).max(done)
    };
    out.extend_from_slice(&bytes[done..end]);
    end
}

fn is_escape(byte: u8) -> bool {
    matches!(byte, 0x1b | b'\r' | 0x08)
}

/// The bytes that are not escapes, where each stood, and where an unfinished escape at the end begins.
fn strip(bytes: &[u8]) -> (Vec<u8>, Vec<usize>, usize) {
    let mut view = Vec::with_capacity(bytes.len());
    let mut places = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            0x1b => match escape_length(&bytes[at..]) {
                Some(length) => at += length,
                None => return (view, places, at),
            },
            b'\r' | 0x08 => at += 1,
            _ => {
                view.push(*byte);
                places.push(at);
                at += 1;
            }
        }
    }
    (view, places, bytes.len())
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

#[cfg(test)]
mod tests;
