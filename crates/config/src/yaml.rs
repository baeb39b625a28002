//! Config text into a tree of nodes with spans. Nodes live in an arena and an alias shares the node of
//! its anchor, so that a small text cannot grow into a large tree in memory.

use std::collections::HashMap;

use capstan_model::{FileId, Span};
use granit_parser::{Event, Parser, ScalarStyle};

use crate::diagnostic::Diagnostic;

/// Longest source text, in bytes.
const MAX_SOURCE: usize = 4 * 1024 * 1024;
/// Most nodes, each alias counted with everything below it.
const MAX_NODES: u64 = 1_000_000;
/// Deepest nesting, through aliases too.
const MAX_DEPTH: u32 = 64;

/// A node of a [`Tree`].
pub(crate) type NodeId = usize;

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Value {
    Scalar { text: String, plain: bool },
    Seq(Vec<NodeId>),
    Map(Vec<(NodeId, NodeId)>),
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
    nodes: u64,
    depth: u32,
}

/// A parsed document.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    pub(crate) root: NodeId,
}

impl Tree {
    /// The node; ids come only from this tree.
    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The text of a scalar.
    pub(crate) fn text(&self, id: NodeId) -> Option<&str> {
        match &self.node(id)?.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

struct Open {
    anchor: usize,
    start: u32,
    map: bool,
    children: Vec<NodeId>,
}

fn offset(n: Option<usize>) -> u32 {
    u32::try_from(n.unwrap_or(0)).unwrap_or(u32::MAX)
}

/// Parses the one document of `text`.
pub(crate) fn parse(file: FileId, text: &str) -> Result<Tree, Box<Diagnostic>> {
    let at = |start: u32, end: u32| Span { file, start, end };
    let limit = |span, what: &str| fail("E_LIMIT", format!("the config has {what}"), span);
    if text.len() > MAX_SOURCE {
        return Err(limit(at(0, 0), "more than 4 MiB of text"));
    }
    let mut parser = Parser::new_from_str(text);
    let (mut nodes, mut stack) = (Vec::<Node>::new(), Vec::<Open>::new());
    let mut anchors = HashMap::<usize, NodeId>::new();
    let mut root = None;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let start = offset(error.marker().byte_offset()).min(offset(Some(text.len())));
            fail(
                "E_YAML",
                format!("this is not YAML: {error}"),
                at(start, start),
            )
        })?;
        let (start, end) = span
            .byte_range()
            .map_or((0, 0), |r| (offset(Some(r.start)), offset(Some(r.end))));
        let span = at(start, end);
        let done = match event {
            Event::Scalar(value, style, anchor, _) => {
                let value = Value::Scalar {
                    text: value.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                nodes.push(Node {
                    value,
                    span,
                    nodes: 1,
                    depth: 1,
                });
                if anchor > 0 {
                    anchors.insert(anchor, nodes.len() - 1);
                }
                Some(nodes.len() - 1)
            }
            Event::SequenceStart(_, anchor, _) | Event::MappingStart(_, anchor, _) => {
                if stack.len() >= MAX_DEPTH as usize {
                    return Err(limit(span, "more than 64 levels"));
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
                    let below = || open.children.iter().filter_map(|id| nodes.get(*id));
                    let size = below().fold(1u64, |sum, node| sum.saturating_add(node.nodes));
                    let depth = 1 + below().map(|node| node.depth).max().unwrap_or(0);
                    let span = at(open.start, end.max(open.start));
                    if size > MAX_NODES {
                        return Err(limit(
                            span,
                            "more than 1,000,000 nodes after its aliases are expanded",
                        ));
                    }
                    if depth > MAX_DEPTH {
                        return Err(limit(
                            span,
                            "more than 64 levels after its aliases are expanded",
                        ));
                    }
                    let value = if open.map {
                        let pairs = open.children.chunks_exact(2).filter_map(|pair| match pair {
                            [key, value] => Some((*key, *value)),
                            _ => None,
                        });
                        Value::Map(pairs.collect())
                    } else {
                        Value::Seq(open.children)
                    };
                    nodes.push(Node {
                        value,
                        span,
                        nodes: size,
                        depth,
                    });
                    if open.anchor > 0 {
                        anchors.insert(open.anchor, nodes.len() - 1);
                    }
                    Some(nodes.len() - 1)
                }
            },
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some(id) => Some(*id),
                None => {
                    let message = "this alias names an anchor that is not complete here".to_owned();
                    return Err(fail("E_YAML", message, span));
                }
            },
            Event::DocumentStart(..) if root.is_some() => {
                let message =
                    "a config is one YAML document, and a second one starts here".to_owned();
                return Err(fail("E_YAML", message, span));
            }
            _ => None,
        };
        if let Some(id) = done {
            match stack.last_mut() {
                Some(open) => open.children.push(id),
                None => root = Some(id),
            }
        }
    }
    match root {
        Some(root) => Ok(Tree { nodes, root }),
        None => Err(fail("E_YAML", "the config is empty".to_owned(), at(0, 0))),
    }
}

fn fail(code: &'static str, message: String, span: Span) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(code, message, span))
}
