//! Config text into a tree of typed nodes with spans. An alias shares the node of its anchor, so that a
//! small text cannot grow into a large tree in memory; what it would grow into is counted and capped.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use capstan_model::{FileId, Span};
use granit_parser::{Event, Parser, ScalarStyle};

use crate::diagnostic::Diagnostic;
use crate::space::SpaceId;

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
/// Most findings of one text.
const MAX_FOUND: usize = 500;

/// A shared node.
pub(crate) type Ref = Rc<Node>;

/// A value with the place it was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
    /// The source text of a plain scalar that is not a string.
    pub(crate) plain: Option<Box<str>>,
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

    fn made(value: Value, span: Span, plain: Option<Box<str>>, tagged: bool) -> Ref {
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
        let of_text = |text: &str| u32::try_from(text.len() / 64).unwrap_or(u32::MAX);
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
                    weight = weight.saturating_add(of_text(&entry.key));
                }
            }
            // Looked into only where its names are looked up, and substituted long before.
            Self::Closed(inner, _) => weight = inner.weight,
            Self::Str(text) => {
                tags = text.contains("<<");
                weight = weight.saturating_add(of_text(text));
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
                let ordered = |(x, y): (&Entry, &Entry)| x.key == y.key && x.value.same(&y.value);
                let others = || b.iter().map(|e| (&*e.key, &e.value)).collect();
                a.len() == b.len()
                    && (a.iter().zip(b).all(ordered) || {
                        let others: HashMap<&str, &Ref> = others();
                        a.iter()
                            .all(|x| others.get(&*x.key).is_some_and(|y| x.value.same(y)))
                    })
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

/// A node under construction, with how deep it is once aliases are written out.
#[derive(Clone)]
struct Weighed {
    node: Ref,
    depth: u32,
}

struct Open {
    anchor: usize,
    start: u32,
    map: bool,
    children: Vec<Weighed>,
}

fn offset(n: Option<usize>, text: &str) -> u32 {
    u32::try_from(n.unwrap_or(0).min(text.len())).unwrap_or(u32::MAX)
}

fn fail(code: &'static str, message: impl Into<String>, span: Span) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(code, message.into(), span))
}

/// What the parser says, without its own idea of the place, and how the two classic mistakes are mended.
fn not_yaml(said: &str, span: Span) -> Box<Diagnostic> {
    let what = said.split(" at char ").next().unwrap_or(said);
    let mut diagnostic = Diagnostic::error("E_YAML", format!("this is not YAML: {what}"), span);
    if what.contains("mapping values are not allowed") {
        diagnostic.help.push(String::from(
            "a text with a colon and a blank in it wants quotes: run: \"echo: hi\"",
        ));
    }
    if what.contains("flow") {
        diagnostic.help.push(String::from(
            "inside [ ] and { } a text with braces or commas wants quotes: key: \"{{ .Branch }}\"",
        ));
    }
    Box::new(diagnostic)
}

/// Parses the one document of `text`. Mistakes that leave the rest readable are pushed to `found`.
pub(crate) fn parse(
    file: FileId,
    text: &str,
    found: &mut Vec<Diagnostic>,
) -> Result<Ref, Box<Diagnostic>> {
    let at = |start: u32, end: u32| Span {
        file,
        start,
        end: end.max(start),
    };
    if text.len() > MAX_SOURCE {
        return Err(fail(
            "E_LIMIT",
            "the config has more than 4 MiB of text",
            at(0, 0),
        ));
    }
    let mut parser = Parser::new_from_str(text);
    let mut stack = Vec::<Open>::new();
    let mut anchors = HashMap::<usize, Weighed>::new();
    let mut root: Option<Weighed> = None;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let start = boundary(text, offset(error.marker().byte_offset(), text));
            not_yaml(&error.to_string(), at(start, start))
        })?;
        let (start, end) = span.byte_range().map_or((0, 0), |range| {
            (
                offset(Some(range.start), text),
                offset(Some(range.end), text),
            )
        });
        let span = at(start, end);
        let done = match event {
            Event::Scalar(value, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let node = if plain {
                    let typed = scalar::plain(&value);
                    let source = match typed {
                        Value::Str(_) => None,
                        _ => Some(Box::from(&*value)),
                    };
                    Node::made(typed, span, source, false)
                } else {
                    Node::new(Value::Str(Text::from(&*value)), trimmed(text, span))
                };
                let weighed = Weighed { node, depth: 1 };
                if anchor > 0 {
                    anchors.insert(anchor, weighed.clone());
                }
                Some(weighed)
            }
            Event::SequenceStart(_, anchor, _) | Event::MappingStart(_, anchor, _) => {
                if stack.len() >= MAX_DEPTH as usize {
                    return Err(fail("E_LIMIT", "the config has more than 64 levels", span));
                }
                let map = matches!(event, Event::MappingStart(..));
                stack.push(Open {
                    anchor,
                    start,
                    map,
                    children: Vec::new(),
                });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                None => None,
                Some(open) => {
                    let anchor = open.anchor;
                    let weighed = close(open, trimmed_at(text, &at, end), found)?;
                    if anchor > 0 {
                        anchors.insert(anchor, weighed.clone());
                    }
                    Some(weighed)
                }
            },
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some(weighed) => Some(weighed.clone()),
                None => {
                    let message = "this alias names an anchor that is not complete here";
                    return Err(fail("E_YAML", message, span));
                }
            },
            Event::DocumentStart(..) if root.is_some() => {
                let message = "a config is one YAML document, and a second one starts here";
                return Err(fail("E_YAML", message, span));
            }
            _ => None,
        };
        if let Some(weighed) = done {
            match stack.last_mut() {
                Some(open) => open.children.push(weighed),
                None => root = Some(weighed),
            }
        }
    }
    match root {
        Some(root) if root.node.map().is_some() => Ok(root.node),
        Some(root) => Err(fail("E_YAML", "the config must be a map", root.node.span)),
        None => Err(fail(
            "E_YAML",
            "the config must be a map, and the file is empty",
            at(0, 0),
        )),
    }
}

/// The nearest start of a character at or before `at`.
fn boundary(text: &str, at: u32) -> u32 {
    let mut at = at;
    while at > 0 && !text.is_char_boundary(at as usize) {
        at -= 1;
    }
    at
}

/// A span without the blanks at its end.
fn trimmed(text: &str, span: Span) -> Span {
    let end = text
        .get(span.start as usize..span.end as usize)
        .map_or(span.end, |part| {
            span.start + offset(Some(part.trim_end().len()), text)
        });
    Span { end, ..span }
}

fn trimmed_at<'a>(
    text: &'a str,
    at: &'a impl Fn(u32, u32) -> Span,
    end: u32,
) -> impl Fn(u32) -> Span + 'a {
    move |start| trimmed(text, at(start, end))
}

fn close(
    open: Open,
    span: impl Fn(u32) -> Span,
    found: &mut Vec<Diagnostic>,
) -> Result<Weighed, Box<Diagnostic>> {
    let span = span(open.start);
    // Keys count too, and what a merge leaves out.
    let weights = open.children.iter().map(|child| child.node.weight);
    let nodes = weights.fold(1, u32::saturating_add);
    let depth = 1 + open
        .children
        .iter()
        .map(|child| child.depth)
        .max()
        .unwrap_or(0);
    if nodes > MAX_NODES {
        let message = "the config has more than 1,000,000 nodes after its aliases are expanded";
        return Err(fail("E_LIMIT", message, span));
    }
    if depth > MAX_DEPTH {
        let message = "the config has more than 64 levels after its aliases are expanded";
        return Err(fail("E_LIMIT", message, span));
    }
    let value = if open.map {
        Value::Map(map(&open.children, found))
    } else {
        Value::Seq(open.children.into_iter().map(|child| child.node).collect())
    };
    Ok(Weighed {
        node: Node::new(value, span),
        depth,
    })
}

/// Explicit keys first in file order; merged ones follow, earlier maps first.
fn map(children: &[Weighed], found: &mut Vec<Diagnostic>) -> Vec<Entry> {
    let mut entries = Vec::<Entry>::new();
    let mut seen = HashMap::<Text, Span>::new();
    let mut merged = Vec::<Ref>::new();
    for pair in children.chunks_exact(2) {
        let [key, value] = pair else { continue };
        let name = match &key.node.value {
            Value::Str(text) => text.clone(),
            other => match other.text() {
                Some(text) => Text::from(text),
                None => {
                    let message = "a key of a map must be a scalar";
                    note(found, *fail("E_YAML", message, key.node.span));
                    continue;
                }
            },
        };
        if name == "<<" {
            merge(&value.node, &mut merged, found);
            continue;
        }
        if let Some(first) = seen.get(&name) {
            let mut diagnostic = fail("E_YAML", format!("duplicate key [{name}]"), key.node.span);
            diagnostic.labels.push((*first, String::from("first here")));
            diagnostic.help.push(String::from("remove one of the two"));
            note(found, *diagnostic);
            continue;
        }
        seen.insert(name.clone(), key.node.span);
        entries.push(Entry {
            key: name,
            key_span: key.node.span,
            value: Rc::clone(&value.node),
        });
    }
    if !merged.is_empty() {
        let mut keys: HashSet<Text> = seen.into_keys().collect();
        for entry in merged.iter().filter_map(|node| node.map()).flatten() {
            if keys.insert(entry.key.clone()) {
                entries.push(entry.clone());
            }
        }
    }
    entries
}

/// Keeps a finding, unless there are far too many.
fn note(found: &mut Vec<Diagnostic>, diagnostic: Diagnostic) {
    if found.len() < MAX_FOUND {
        found.push(diagnostic);
    }
}

fn merge(node: &Ref, merged: &mut Vec<Ref>, found: &mut Vec<Diagnostic>) {
    match &node.value {
        Value::Map(_) => merged.push(Rc::clone(node)),
        Value::Seq(items) => {
            for item in items {
                if item.map().is_some() {
                    merged.push(Rc::clone(item));
                } else {
                    let message =
                        format!("only maps can be merged, this is a {}", item.value.kind());
                    note(found, *fail("E_YAML", message, item.span));
                }
            }
        }
        other => {
            let message = format!("only maps can be merged, this is a {}", other.kind());
            note(found, *fail("E_YAML", message, node.span));
        }
    }
}
