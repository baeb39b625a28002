//! Keeps secrets out of logs. A search for every known form of every secret runs over the byte
//! stream before anything is stored or shown. It is a seat belt: a job that means to leak a secret can.

mod finder;
mod forms;
mod view;

use std::ops::Range;
use std::sync::Arc;

use finder::Finder;
use view::View;

/// What stands in the log where a secret stood.
const REPLACEMENT: &[u8] = b"****";
/// Escape bytes that may lie inside one held-back match before it is let go.
const ESCAPE_LIMIT: usize = 64 * 1024;

/// The secrets of a task and what finds them.
#[derive(Clone)]
pub struct Masker {
    /// Sorted, each once.
    patterns: Arc<Vec<Vec<u8>>>,
    finder: Option<Arc<Finder>>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The patterns are secrets.
        write!(f, "Masker({} patterns)", self.patterns.len())
    }
}

impl Masker {
    /// Masks these values. Values under four characters and the words true and false are left readable.
    pub fn new(secrets: &[String]) -> Self {
        let mut masker = Self {
            patterns: Arc::default(),
            finder: None,
        };
        masker.extend(secrets.iter().flat_map(|secret| forms::of(secret)));
        masker
    }

    /// Masks this value too, in streams made from now on, and in those told by [`MaskStream::mask_by`].
    pub fn add(&mut self, secret: &str) {
        self.extend(forms::of(secret));
    }

    /// A stream that masks one flow of bytes.
    pub fn stream(&self) -> MaskStream {
        MaskStream {
            finder: self.finder.clone(),
            held: Vec::new(),
            wrapped: 0,
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

    fn extend(&mut self, forms: impl IntoIterator<Item = Vec<u8>>) {
        self.finder = None;
        // Streams that were made keep what they have.
        let patterns = Arc::make_mut(&mut self.patterns);
        patterns.extend(forms);
        patterns.sort_unstable();
        patterns.dedup();
        self.finder = Finder::new(Arc::clone(&self.patterns)).map(Arc::new);
    }
}

/// Masks one flow of bytes, however it is cut.
pub struct MaskStream {
    finder: Option<Arc<Finder>>,
    held: Vec<u8>,
    /// How many characters of wrapped text stood right before what is held.
    wrapped: usize,
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
        self.finder.clone_from(&masker.finder);
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
        let Some(finder) = &self.finder else {
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
        let view = View::without_escapes(bytes);
        let unwrapped = view.unwrapped(self.wrapped);
        let used = match &unwrapped {
            None if view.is_raw() => mask_plain(finder, bytes, out, last),
            _ => mask_views(finder, bytes, &view, unwrapped.as_ref(), out, last),
        };
        self.wrapped = view.wrapped_before(used, self.wrapped);
        self.held.extend_from_slice(&bytes[used..]);
    }
}

/// Masks bytes that are seen as they are; returns how many are done with.
fn mask_plain(finder: &Finder, bytes: &[u8], out: &mut Vec<u8>, last: bool) -> usize {
    let open = if last {
        bytes.len()
    } else {
        finder.open_tail(bytes)
    };
    let mut done = 0;
    while let Some(found) = finder.find(bytes, done) {
        // A match that begins before the open tail cannot grow: else the tail would begin there.
        if found.start >= open {
            break;
        }
        out.extend_from_slice(&bytes[done..found.start]);
        out.extend_from_slice(REPLACEMENT);
        done = found.end;
    }
    let end = open.max(done);
    out.extend_from_slice(&bytes[done..end]);
    end
}

/// The same through views of the bytes. What a view leaves out inside a match is written after the
/// replacement, so that colours end where they ended and lines stay lines.
fn mask_views(
    finder: &Finder,
    bytes: &[u8],
    view: &View<'_>,
    unwrapped: Option<&View<'_>>,
    out: &mut Vec<u8>,
    last: bool,
) -> usize {
    let views = || std::iter::once(view).chain(unwrapped);
    let open = if last {
        bytes.len()
    } else {
        let opens = views().map(|view| view.raw(finder.open_tail(&view.bytes)));
        let open = opens.min().unwrap_or(bytes.len());
        let overflow = bytes.len() - open > finder.longest() + ESCAPE_LIMIT;
        if overflow { bytes.len() } else { open }
    };
    let mut spans: Vec<(Range<usize>, &View<'_>)> = Vec::new();
    for view in views() {
        let mut from = 0;
        while let Some(found) = finder.find(&view.bytes, from) {
            let span = view.raw(found.start)..view.raw(found.end - 1) + 1;
            if span.start >= open {
                break;
            }
            from = found.end;
            spans.push((span, view));
        }
    }
    spans.sort_by_key(|(span, _)| span.start);
    let mut done = 0;
    for (span, view) in spans {
        if span.start >= done {
            out.extend_from_slice(&bytes[done..span.start]);
            out.extend_from_slice(REPLACEMENT);
            done = span.start;
        }
        // Of overlapping spans, the part that is not covered yet.
        if done < span.end {
            for gap in view.left_out(&(done..span.end)) {
                out.extend_from_slice(&bytes[gap.start.max(done)..gap.end]);
            }
            done = span.end;
        }
    }
    let end = open.max(done);
    out.extend_from_slice(&bytes[done..end]);
    end
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
