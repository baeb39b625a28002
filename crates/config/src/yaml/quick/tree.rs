//! What becomes of what is read: nodes, with what they weigh added up on the way.

use capstan_model::Span;

use super::{Key, Reader, offset};
use crate::yaml::{Entry, MAX_DEPTH, MAX_NODES, Node, Ref, Value, Weighed, mapping, text_weight};

/// What is known of the children of an open list or map.
pub(super) struct Sum {
    base: usize,
    depth: u32,
    weight: u32,
    tags: bool,
}

impl Sum {
    fn new(base: usize) -> Self {
        Self {
            base,
            depth: 1,
            weight: 1,
            tags: false,
        }
    }

    fn add(&mut self, child: &Weighed) {
        self.depth = self.depth.max(child.depth + 1);
        self.weight = self.weight.saturating_add(child.node.weight);
        self.tags |= child.node.tags;
    }
}

impl Reader<'_> {
    /// Begins a list or map, unless too many are open.
    pub(super) fn open(&mut self, level: u32, base: usize) -> Option<Sum> {
        self.room = self.room.checked_sub(1)?;
        (level < MAX_DEPTH).then(|| Sum::new(base))
    }

    pub(super) fn item(&mut self, sum: &mut Sum, item: Weighed) {
        sum.add(&item);
        self.items.push(item.node);
    }

    pub(super) fn entry(&mut self, sum: &mut Sum, key: Key, value: Weighed) {
        sum.add(&value);
        sum.weight = sum.weight.saturating_add(text_weight(&key.text));
        sum.tags |= key.tags;
        self.entries.push(Entry {
            key: key.text,
            key_span: key.span,
            value: value.node,
        });
    }

    pub(super) fn close_map(&mut self, sum: Sum, span: Span) -> Option<Weighed> {
        let written = self.entries.split_off(sum.base);
        let count = u32::try_from(written.len()).unwrap_or(u32::MAX);
        if !fits(&sum, count) {
            return None;
        }
        let depth = sum.depth;
        let node = if mapping::plain(&written) {
            Ref::new(made(Value::Map(written), span, sum.tags, sum.weight))
        } else {
            let entries =
                mapping::entries(written.into_iter().map(Ok), &mut self.room, self.found)?;
            Node::new(Value::Map(entries), span)
        };
        Some(Weighed { node, depth })
    }

    pub(super) fn close_list(&mut self, sum: Sum, span: Span) -> Option<Weighed> {
        let items = self.items.split_off(sum.base);
        if !fits(&sum, 0) {
            return None;
        }
        let node = Ref::new(made(Value::Seq(items), span, sum.tags, sum.weight));
        let depth = sum.depth;
        Some(Weighed { node, depth })
    }

    /// A node that was left out; the library says where it would be.
    pub(super) fn empty(&mut self, at: usize) -> Option<Weighed> {
        self.room = self.room.checked_sub(1)?;
        let mut node = made(Value::Null, self.span(offset(at), offset(at)), false, 1);
        node.plain = Some(self.tilde.clone());
        Some(leaf(node))
    }
}

/// Whether a list or map is far from the limits. Keys are counted along with the values.
fn fits(sum: &Sum, keys: u32) -> bool {
    sum.depth <= MAX_DEPTH && sum.weight.saturating_add(keys) < MAX_NODES / 2
}

/// A node as it is read.
pub(super) fn made(value: Value, span: Span, tags: bool, weight: u32) -> Node {
    Node {
        value,
        span,
        plain: None,
        tagged: false,
        tags,
        weight,
    }
}

/// A node that is no list and no map.
pub(super) fn leaf(node: Node) -> Weighed {
    Weighed {
        node: Ref::new(node),
        depth: 1,
    }
}
