//! The plain part of YAML, straight from the bytes into the tree: what configs are written in.
//!
//! The quick reader knows block maps and lists, flow maps and lists, all five styles of scalars, comments,
//! anchors, aliases and merges. It never says that a text is wrong: `None` is "not mine", and then the whole
//! text goes to [`events`](super::events). It hands over
//! - every mistake, and what is near a limit;
//! - tags, directives, `? ` and keys that are no scalars, anchored or aliased keys, keys over several lines;
//! - a second document, an end marker, a byte order mark, a carriage return, what is not printable;
//! - tabs outside of scalars and comments, and plain scalars over several lines within `[ ]` and `{ }`.
//!
//! So each rule below is at least as narrow as that of the library, and where it takes a text, spans, values
//! and sharing are the same. A position is always that of a token, as the library's events point at tokens;
//! [`Reader::next`] says where the next one is, and a map or list ends there, less the blanks before it.

use std::collections::HashMap;

use capstan_model::{FileId, Span};

use super::{Entry, MAX_NODES, Ref, Text, Weighed, mapping, scalar, trimmed};
use crate::diagnostic::Diagnostic;
use plain::Stop;
use quoted::Quoted;

mod cursor;
mod flow;
mod literal;
mod plain;
mod quoted;
#[cfg(test)]
mod tests;
mod tree;

/// Longest way from the start of a key to its colon, in bytes; the library counts characters.
const LONGEST_KEY: usize = 1024;

/// The tree of a text, unless there is something in it that is left to the library.
pub(super) fn read(file: FileId, text: &str, found: &mut Vec<Diagnostic>) -> Option<Ref> {
    if !cursor::usual(text) {
        return None;
    }
    let before = found.len();
    let mut reader = Reader::new(file, text, found);
    let root = reader.document();
    if root.is_none() {
        found.truncate(before);
    }
    root
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    file: FileId,
    /// The text again, for scalars to be parts of it.
    source: Text,
    /// What stands for an empty node.
    tilde: Text,
    /// The byte to look at.
    at: usize,
    /// Where its line begins.
    line: usize,
    /// One more than the column of the token at `at`, and zero at the end, which is left of everything.
    column: usize,
    /// Where the next `<<` is, at or behind the last place that was asked for.
    tag: usize,
    /// How many more scalars and merged entries there may be.
    room: u32,
    /// The latest anchor of each name.
    names: HashMap<&'a str, usize>,
    /// The nodes of anchors; none as long as the node is under construction.
    anchored: Vec<Option<Weighed>>,
    /// Items of the open lists, entries of the open maps: those of the innermost are last.
    items: Vec<Ref>,
    entries: Vec<Entry>,
    found: &'a mut Vec<Diagnostic>,
}

/// A key that was read, up to its colon.
struct Key {
    text: Text,
    span: Span,
    /// Whether a tag may be in it.
    tags: bool,
    colon: usize,
}

/// Where a node may stand: what its lines have to be indented deeper than, and how many lists and maps
/// are open around it.
#[derive(Clone, Copy)]
struct Place {
    /// The column of the list or map around it, as in [`Reader::column`].
    parent: usize,
    level: u32,
    /// Whether a list may start at the column of the parent.
    flush: bool,
}

/// Whether a byte ends an indicator: `- `, `key: `.
fn ends(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t' | 0)
}

/// Whether a scalar cannot be plain with this first byte, or only sometimes.
fn indicator(byte: u8) -> bool {
    matches!(
        byte,
        b',' | b'['
            | b']'
            | b'{'
            | b'}'
            | b'#'
            | b'&'
            | b'*'
            | b'!'
            | b'|'
            | b'>'
            | b'\''
            | b'"'
            | b'%'
            | b'@'
            | b'`'
            | b'?'
            | b':'
            | b' '
            | b'\t'
            | b'\n'
            | 0
    )
}

impl<'a> Reader<'a> {
    fn new(file: FileId, text: &'a str, found: &'a mut Vec<Diagnostic>) -> Self {
        let mut reader = Self {
            text,
            bytes: text.as_bytes(),
            file,
            source: Text::from(text),
            tilde: Text::from("~"),
            at: 0,
            line: 0,
            column: 0,
            tag: 0,
            room: MAX_NODES / 2,
            names: HashMap::new(),
            anchored: Vec::new(),
            items: Vec::new(),
            entries: Vec::new(),
            found,
        };
        reader.find_tag(0);
        reader
    }

    /// The one document of the text, which is a map.
    fn document(&mut self) -> Option<Ref> {
        self.start()?;
        let place = Place {
            parent: 0,
            level: 0,
            flush: false,
        };
        let root = self.node(place)?.node;
        (self.column == 0 && root.map().is_some()).then_some(root)
    }

    /// The node at the token, which may be the first key of a map; behind it, the next token.
    fn node(&mut self, place: Place) -> Option<Weighed> {
        let start = self.at;
        match self.byte(start) {
            b'-' if self.dash() => self.list(self.column, place.level, false),
            b'"' | b'\'' => {
                let line = self.line;
                let quoted = self.quoted()?;
                if line == self.line && self.colon() {
                    let key = self.quoted_key(quoted, start)?;
                    return self.map(self.column, place.level, key);
                }
                let node = self.string(quoted, start)?;
                self.rest()?;
                Some(node)
            }
            b'[' | b'{' | b'|' | b'>' | b'*' | b'&' => self.inline(place),
            byte if indicator(byte) => None,
            _ => match self.plain_line() {
                Stop::Colon(end) => {
                    let key = self.plain_key(start, end)?;
                    self.map(self.column, place.level, key)
                }
                stop => self.plain(start, stop, place.parent),
            },
        }
    }

    /// The node at the token, where no map can start with a key: behind `key: ` or an anchor.
    fn inline(&mut self, place: Place) -> Option<Weighed> {
        let start = self.at;
        let node = match self.byte(start) {
            b'"' | b'\'' => {
                let quoted = self.quoted()?;
                self.string(quoted, start)?
            }
            b'[' | b'{' => self.flow(place.level)?,
            b'*' => self.alias()?,
            b'|' | b'>' => return self.literal(place.parent),
            b'&' => return self.anchor(place),
            byte if indicator(byte) || self.dash() => return None,
            _ => {
                let stop = self.plain_line();
                return self.plain(start, stop, place.parent);
            }
        };
        self.rest()?;
        Some(node)
    }

    /// The node on a later line, if there is one: `Some(None)` stands for an empty one.
    fn below(&mut self, place: Place) -> Option<Option<Weighed>> {
        if self.column > place.parent {
            return self.node(place).map(Some);
        }
        if place.flush && self.column == place.parent && self.dash() {
            return self.list(self.column, place.level, true).map(Some);
        }
        Some(None)
    }

    /// A node with its anchor.
    fn anchor(&mut self, place: Place) -> Option<Weighed> {
        let id = self.name()?;
        let end = self.at;
        self.blanks();
        let node = match self.byte(self.at) {
            b'&' | b'*' => return None,
            b'\n' | 0 | b'#' => {
                self.at = end;
                self.rest()?;
                if matches!(self.byte(self.at), b'&' | b'*') {
                    return None;
                }
                match self.below(place)? {
                    Some(node) => node,
                    None => self.empty(end)?,
                }
            }
            _ => self.inline(place)?,
        };
        self.keep(id, &node);
        Some(node)
    }

    /// The name behind `&`, as the number of a new anchor.
    fn name(&mut self) -> Option<usize> {
        let name = self.word()?;
        let id = self.anchored.len();
        self.names.insert(name, id);
        self.anchored.push(None);
        Some(id)
    }

    fn keep(&mut self, id: usize, node: &Weighed) {
        if let Some(kept) = self.anchored.get_mut(id) {
            *kept = Some(node.clone());
        }
    }

    fn alias(&mut self) -> Option<Weighed> {
        let name = self.word()?;
        let id = *self.names.get(name)?;
        self.anchored.get(id)?.clone()
    }

    /// A map at a column, whose first key is read already.
    fn map(&mut self, column: usize, level: u32, first: Key) -> Option<Weighed> {
        let start = first.span.start;
        let mut sum = self.open(level, self.entries.len())?;
        let place = Place {
            parent: column,
            level: level + 1,
            flush: true,
        };
        let mut key = first;
        loop {
            let value = self.value(key.colon, place)?;
            self.entry(&mut sum, key, value);
            if self.column != column {
                break;
            }
            key = self.key()?;
        }
        if self.column > column {
            return None;
        }
        let end = offset(self.at);
        self.close_map(sum, self.trimmed(start, end))
    }

    /// The key at the token, up to its colon.
    fn key(&mut self) -> Option<Key> {
        let start = self.at;
        match self.byte(start) {
            b'"' | b'\'' => {
                let line = self.line;
                let quoted = self.quoted()?;
                if line != self.line || !self.colon() {
                    return None;
                }
                self.quoted_key(quoted, start)
            }
            byte if indicator(byte) || self.dash() => None,
            _ => match self.plain_line() {
                Stop::Colon(end) => self.plain_key(start, end),
                _ => None,
            },
        }
    }

    fn plain_key(&mut self, start: usize, end: usize) -> Option<Key> {
        self.room = self.room.checked_sub(1)?;
        let text = match scalar::typed(self.text.get(start..end)?) {
            Some(value) => mapping::key(&value)?,
            None => self.part(start, end),
        };
        let span = self.span(offset(start), offset(end));
        let tags = self.tagged(span.start, span.end);
        let colon = self.at;
        (colon - start <= LONGEST_KEY).then_some(Key {
            text,
            span,
            tags,
            colon,
        })
    }

    fn quoted_key(&self, quoted: Quoted, start: usize) -> Option<Key> {
        let colon = self.at;
        (colon - start <= LONGEST_KEY).then(|| Key {
            text: quoted.text,
            span: self.span(offset(start), offset(quoted.end)),
            tags: quoted.tags,
            colon,
        })
    }

    /// The value behind a colon; behind it, the next token.
    fn value(&mut self, colon: usize, place: Place) -> Option<Weighed> {
        self.at = colon + 1;
        self.spaces();
        match self.byte(self.at) {
            b'\n' | 0 | b'#' => {
                self.at = colon + 1;
                self.rest()?;
                match self.below(place)? {
                    Some(node) => Some(node),
                    None => self.empty(colon),
                }
            }
            b'\t' => None,
            _ => self.inline(place),
        }
    }

    /// A list at a column; a flush one is at the column of the map around it.
    fn list(&mut self, column: usize, level: u32, flush: bool) -> Option<Weighed> {
        let mut start = None;
        let dash = self.at;
        let mut sum = self.open(level, self.items.len())?;
        let place = Place {
            parent: column,
            level: level + 1,
            flush: false,
        };
        while self.column == column && self.dash() {
            self.at += 1;
            let behind = self.at;
            self.spaces();
            let item = match self.byte(self.at) {
                b'\t' => return None,
                b'\n' | 0 | b'#' => {
                    // The library places the entry behind the comment.
                    let entry = self.line_end(self.at);
                    start.get_or_insert(entry);
                    self.at = behind;
                    self.rest()?;
                    match self.below(place)? {
                        Some(node) => node,
                        None => self.empty(entry)?,
                    }
                }
                _ => {
                    start.get_or_insert(self.at);
                    self.column = self.at - self.line + 1;
                    self.node(place)?
                }
            };
            self.item(&mut sum, item);
        }
        if self.column > column || (self.column == column && !flush) {
            return None;
        }
        let start = start.filter(|_| flush).unwrap_or(dash);
        let span = self.trimmed(offset(start), offset(self.at));
        self.close_list(sum, span)
    }

    fn part(&self, start: usize, end: usize) -> Text {
        self.source.part(offset(start), offset(end))
    }

    fn span(&self, start: u32, end: u32) -> Span {
        let file = self.file;
        Span { file, start, end }
    }

    /// A span without the blanks at its end.
    fn trimmed(&self, start: u32, end: u32) -> Span {
        let mut end = end;
        while end > start && matches!(self.byte(end as usize - 1), b' ' | b'\n' | b'\t') {
            end -= 1;
        }
        let span = self.span(start, end);
        if end > start && !self.byte(end as usize - 1).is_ascii() {
            return trimmed(self.text, span);
        }
        span
    }
}

/// A place in the text, which is no longer than texts may be.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
