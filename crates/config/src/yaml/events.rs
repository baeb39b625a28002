//! All of YAML: the tree from the events of the YAML library. The only file that knows the library.

use std::collections::HashMap;

use capstan_model::{FileId, Span};
use granit_parser::{Event, Parser, ScalarStyle};

use super::{
    Entry, MAX_DEPTH, MAX_NODES, Node, Ref, Text, Value, Weighed, fail, mapping, scalar, trimmed,
};
use crate::diagnostic::Diagnostic;

/// Reads the one document of `text`, which is no longer than texts may be.
pub(super) fn read(
    file: FileId,
    text: &str,
    found: &mut Vec<Diagnostic>,
) -> Result<Ref, Box<Diagnostic>> {
    let at = |start: u32, end: u32| Span {
        file,
        start,
        end: end.max(start),
    };
    let mut parser = Parser::new_from_str(text);
    let mut stack = Vec::<Open>::new();
    let mut anchors = HashMap::<usize, Weighed>::new();
    let mut root: Option<Weighed> = None;
    let mut room = MAX_NODES;
    let source = Text::from(text);
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
        // Counted as they come, so that no long list has to be made before it turns out too long.
        let node = matches!(
            event,
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..)
        );
        room = room
            .checked_sub(u32::from(node))
            .ok_or_else(|| too_many(span))?;
        let done = match event {
            Event::Scalar(value, style, anchor, _) => {
                let words = cut(&source, span, &value);
                let node = if style == ScalarStyle::Plain {
                    let (value, words) = match scalar::typed(&value) {
                        Some(typed) => (typed, Some(words)),
                        None => (Value::Str(words), None),
                    };
                    Node::made(value, span, words, false)
                } else {
                    Node::new(Value::Str(words), trimmed(text, span))
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
                    let weighed = close(open, trimmed_at(text, &at, end), &mut room, found)?;
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

/// The text of a scalar, as a part of the source where it is as it is written, quotes aside.
fn cut(source: &Text, span: Span, value: &str) -> Text {
    for (start, end) in [(span.start, span.end), (span.start + 1, span.end)] {
        let end = end.saturating_sub(start - span.start);
        if source.get(start as usize..end as usize) == Some(value) {
            return source.part(start, end);
        }
    }
    Text::from(value)
}

/// The nearest start of a character at or before `at`.
fn boundary(text: &str, at: u32) -> u32 {
    let mut at = at;
    while at > 0 && !text.is_char_boundary(at as usize) {
        at -= 1;
    }
    at
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

fn too_many(span: Span) -> Box<Diagnostic> {
    let message = "the config has more than 1,000,000 nodes after its aliases are expanded";
    fail("E_LIMIT", message, span)
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
    room: &mut u32,
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
        return Err(too_many(span));
    }
    if depth > MAX_DEPTH {
        let message = "the config has more than 64 levels after its aliases are expanded";
        return Err(fail("E_LIMIT", message, span));
    }
    let value = if open.map {
        let entries = mapping::entries(written(&open.children), room, found);
        Value::Map(entries.ok_or_else(|| too_many(span))?)
    } else {
        Value::Seq(open.children.into_iter().map(|child| child.node).collect())
    };
    Ok(Weighed {
        node: Node::new(value, span),
        depth,
    })
}

/// What is written in a map, pair by pair.
fn written(children: &[Weighed]) -> impl Iterator<Item = Result<Entry, Span>> + '_ {
    children.chunks_exact(2).filter_map(|pair| {
        let [key, value] = pair else { return None };
        let key_span = key.node.span;
        let entry = mapping::key(&key.node.value).map(|key| Entry {
            key,
            key_span,
            value: Ref::clone(&value.node),
        });
        Some(entry.ok_or(key_span))
    })
}
