//! Config text into a tree of typed nodes with spans. An alias shares the node of its anchor, so that a
//! small text cannot grow into a large tree in memory; what it would grow into is counted and capped.
//!
//! Two readers make the tree. [`events`] makes it of the events of the YAML library, which decides what is
//! YAML and says what is wrong with what is not. Its events alone take 2.2 times as long as those of
//! libyaml, most of the time that a check of a large config may take as a whole. So [`quick`] goes first:
//! it reads the plain part of YAML that configs are written in straight from the bytes, and hands over
//! whatever it does not know. Where both read a text they make the same tree, which tests and the fuzz
//! harness hold ([`same`]).

use std::collections::HashMap;
use std::rc::Rc;

use capstan_model::{FileId, Span};

use crate::diagnostic::Diagnostic;
use crate::space::SpaceId;

mod events;
mod mapping;
mod quick;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod same;
mod scalar;
mod text;

pub(crate) use text::Text;

/// Longest source text, in bytes.
const MAX_SOURCE: usize = 4 * 1024 * 1024;
/// Most nodes, each alias counted with everything below it, and long texts as several.
pub(crate) const MAX_NODES: u32 = 1_000_000;
/// Deepest nesting, through aliases too.
const MAX_DEPTH: u32 = 64;
/// Heavier values are not compared.
const LARGE: u32 = 10_000;
/// Most characters of a value in a message.
const BRIEF: usize = 300;

/// A shared node.
pub(crate) type Ref = Rc<Node>;

/// A value with the place it was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
    /// The source text of a plain scalar that is not a string.
    pub(crate) plain: Option<Text>,
    /// Whether the value is the result of one whole tag.
    pub(crate) tagged: bool,
    /// Whether a tag may stand in it or below.
    pub(crate) tags: bool,
    /// How many nodes it is, written out: shared ones count each time, long texts as several.
    pub(crate) weight: u32,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Stands where a mistake was reported; every check lets it pass.
    Bad,
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Text),
    Seq(Vec<Ref>),
    Map(Vec<Entry>),
    /// An argument of type steps or executor, with the space its names are looked up in: that of the
    /// text it was written in (language 12.5). Everything but a look-up sees what is inside.
    Closed(Ref, SpaceId),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Text,
    pub(crate) key_span: Span,
    pub(crate) value: Ref,
}

impl Entry {
    /// The same key with another value.
    pub(crate) fn with(&self, value: Ref) -> Self {
        Self {
            key: self.key.clone(),
            key_span: self.key_span,
            value,
        }
    }
}

impl Node {
    /// A node of no special making.
    pub(crate) fn new(value: Value, span: Span) -> Ref {
        Self::made(value, span, None, false)
    }

    /// A node that a whole tag gave.
    pub(crate) fn of_tag(value: Value, span: Span) -> Ref {
        Self::made(value, span, None, true)
    }

    fn made(value: Value, span: Span, plain: Option<Text>, tagged: bool) -> Ref {
        let (weight, tags) = value.weigh();
        Rc::new(Self {
            value,
            span,
            plain,
            tagged,
            tags,
            weight,
        })
    }

    /// What it holds, looked at without the space it is closed over.
    pub(crate) fn open(&self) -> &Value {
        self.value.open()
    }

    /// The space the value is closed over, if it is.
    pub(crate) fn closed_over(&self) -> Option<SpaceId> {
        match &self.value {
            Value::Closed(_, space) => Some(*space),
            _ => None,
        }
    }

    /// The entry of a map by its key.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match self.open() {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == *key),
            _ => None,
        }
    }

    /// The value of a map by its key; a null counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Ref> {
        self.entry(key)
            .map(|entry| &entry.value)
            .filter(|node| !node.is_null())
    }

    /// The entries, if this is a map.
    pub(crate) fn map(&self) -> Option<&[Entry]> {
        match self.open() {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, if this is a list.
    pub(crate) fn seq(&self) -> Option<&[Ref]> {
        match self.open() {
            Value::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// The text, if this is a string.
    pub(crate) fn str(&self) -> Option<&str> {
        match self.open() {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(crate) fn is_bad(&self) -> bool {
        matches!(self.value, Value::Bad)
    }

    fn same(self: &Rc<Self>, other: &Rc<Self>) -> bool {
        // A number that is none is not even itself.
        let number = matches!(self.open(), Value::Float(_));
        (Rc::ptr_eq(self, other) && !number) || self.value.same(&other.value)
    }

    /// A scalar as text, with the words of the source where they are known.
    pub(crate) fn source_text(&self) -> Option<String> {
        match &self.plain {
            Some(plain) if !self.is_null() => Some(plain.to_string()),
            _ => self.value.text(),
        }
    }
}

impl Value {
    /// The value itself, or the one that is closed over a space.
    pub(crate) fn open(&self) -> &Self {
        match self {
            Self::Closed(inner, _) => inner.value.open(),
            other => other,
        }
    }

    /// The text a scalar turns into; `None` for lists and maps.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Null => Some(String::new()),
            Self::Bool(b) => Some(b.to_string()),
            Self::Int(n) => Some(n.to_string()),
            Self::Float(f) => Some(scalar::float_text(*f)),
            Self::Str(text) => Some(text.as_str().to_owned()),
            Self::Bad | Self::Seq(_) | Self::Map(_) => None,
            Self::Closed(inner, _) => inner.value.text(),
        }
    }

    /// What kind of value it is, as messages say it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Bad => "unknown",
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "float",
            Self::Str(_) => "string",
            Self::Seq(_) => "list",
            Self::Map(_) => "map",
            Self::Closed(inner, _) => inner.value.kind(),
        }
    }

    /// The weight of a node with this value, and whether a tag may be in it.
    fn weigh(&self) -> (u32, bool) {
        let mut tags = false;
        let mut weight = 1u32;
        let mut child = |node: &Ref| {
            tags |= node.tags;
            weight = weight.saturating_add(node.weight);
        };
        match self {
            Self::Seq(items) => items.iter().for_each(&mut child),
            Self::Map(entries) => {
                for entry in entries {
                    child(&entry.value);
                }
                for entry in entries {
                    tags |= entry.key.contains("<<");
                    weight = weight.saturating_add(text_weight(&entry.key));
                }
            }
            // Looked into only where its names are looked up, and substituted long before.
            Self::Closed(inner, _) => weight = inner.weight,
            Self::Str(text) => {
                tags = text.contains("<<");
                weight = weight.saturating_add(text_weight(text));
            }
            _ => {}
        }
        (weight, tags)
    }

    /// Whether comparing it with another value takes long.
    pub(crate) fn is_large(&self) -> bool {
        match self.open() {
            Self::Seq(items) if items.len() > LARGE as usize => true,
            Self::Map(entries) if entries.len() > LARGE as usize => true,
            other => other.weigh().0 > LARGE,
        }
    }

    /// As JSON for a message or a name: all of it, or its start.
    pub(crate) fn brief(&self) -> String {
        let mut out = String::new();
        self.brief_onto(&mut out);
        if let Some((at, _)) = out.char_indices().nth(BRIEF) {
            out.truncate(at);
            out.push('…');
        }
        out
    }

    fn brief_onto(&self, out: &mut String) {
        if out.len() > BRIEF * 4 {
            return;
        }
        let (open, close) = match self.open() {
            Self::Seq(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate().take(BRIEF) {
                    out.push_str(if at > 0 { "," } else { "" });
                    item.value.brief_onto(out);
                }
                return out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (at, entry) in entries.iter().enumerate().take(BRIEF) {
                    out.push_str(if at > 0 { "," } else { "" });
                    Self::Str(entry.key.clone()).brief_onto(out);
                    out.push(':');
                    entry.value.value.brief_onto(out);
                }
                return out.push('}');
            }
            Self::Str(text) => {
                let start: String = text.chars().take(BRIEF).collect();
                return out.push_str(&serde_json::Value::from(start).to_string());
            }
            Self::Null | Self::Bad => ("null", String::new()),
            other => ("", other.text().unwrap_or_default()),
        };
        out.push_str(open);
        out.push_str(&close);
    }

    /// Equal with the type, lists and maps deep; the order of keys does not matter.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self.open(), other.open()) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Seq(a), Self::Seq(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            (Self::Map(a), Self::Map(b)) => {
                // Each pair is compared once: what is compared again at every level never ends.
                let ordered = a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.key == y.key);
                if ordered {
                    return a.iter().zip(b).all(|(x, y)| x.value.same(&y.value));
                }
                let others: HashMap<&str, &Ref> = b.iter().map(|e| (&*e.key, &e.value)).collect();
                a.len() == b.len()
                    && a.iter()
                        .all(|x| others.get(&*x.key).is_some_and(|y| x.value.same(y)))
            }
            _ => false,
        }
    }

    /// Truth in logic statements (language 5.2).
    pub(crate) fn truthy(&self) -> bool {
        match self {
            Self::Bad | Self::Null => false,
            Self::Bool(b) => *b,
            Self::Int(n) => *n != 0,
            Self::Float(f) => *f != 0.0 && !f.is_nan(),
            Self::Str(text) => !text.is_empty(),
            Self::Seq(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Closed(inner, _) => inner.value.truthy(),
        }
    }

    /// As JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Self::Bad | Self::Null => serde_json::Value::Null,
            Self::Bool(b) => (*b).into(),
            Self::Int(n) => (*n).into(),
            Self::Float(f) => (*f).into(),
            Self::Str(text) => text.as_str().into(),
            Self::Seq(items) => items.iter().map(|item| item.value.json()).collect(),
            Self::Map(entries) => serde_json::Value::Object(
                entries
                    .iter()
                    .map(|e| (e.key.to_string(), e.value.value.json()))
                    .collect(),
            ),
            Self::Closed(inner, _) => inner.value.json(),
        }
    }
}

/// What a text adds to the weight of its node.
fn text_weight(text: &str) -> u32 {
    u32::try_from(text.len() / 64).unwrap_or(u32::MAX)
}

/// A node under construction, with how deep it is once aliases are written out.
#[derive(Clone)]
struct Weighed {
    node: Ref,
    depth: u32,
}

fn fail(code: &'static str, message: impl Into<String>, span: Span) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(code, message.into(), span))
}

/// A span without the blanks at its end.
fn trimmed(text: &str, span: Span) -> Span {
    let end = text
        .get(span.start as usize..span.end as usize)
        .map_or(span.end, |part| {
            let kept = u32::try_from(part.trim_end().len()).unwrap_or(u32::MAX);
            span.start.saturating_add(kept)
        });
    Span { end, ..span }
}

/// Reads the one document of `text`. Mistakes that leave the rest readable are pushed to `found`.
pub(crate) fn parse(
    file: FileId,
    text: &str,
    found: &mut Vec<Diagnostic>,
) -> Result<Ref, Box<Diagnostic>> {
    if text.len() > MAX_SOURCE {
        let start = Span {
            file,
            start: 0,
            end: 0,
        };
        let message = "the config has more than 4 MiB of text";
        return Err(fail("E_LIMIT", message, start));
    }
    quick::read(file, text, found).map_or_else(|| events::read(file, text, found), Ok)
}
