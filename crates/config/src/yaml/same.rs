//! Whether two readers made the same of a text.

use std::collections::HashMap;

use capstan_model::FileId;

use super::{Node, Ref, Value, events, quick};

/// Reads a text both ways. An error says where they differ; otherwise whether the quick reader took it.
pub(crate) fn readers(text: &str) -> Result<bool, String> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    let Some(quick) = quick::read(FileId(0), text, &mut found) else {
        return match found.is_empty() {
            true => Ok(false),
            false => Err(format!("hands over, and leaves {found:?}")),
        };
    };
    let whole = events::read(FileId(0), text, &mut others);
    let whole =
        whole.map_err(|d| format!("takes what is refused: {} at {:?}", d.message, d.span))?;
    Pairs::default().same(&quick, &whole)?;
    match found == others {
        true => Ok(true),
        false => Err(format!("finds {found:?} instead of {others:?}")),
    }
}

/// The nodes that are each other's: a shared one has one partner only, and is looked at once.
#[derive(Default)]
struct Pairs {
    ones: HashMap<*const Node, *const Node>,
    others: HashMap<*const Node, *const Node>,
}

impl Pairs {
    fn same(&mut self, one: &Ref, other: &Ref) -> Result<(), String> {
        let pair = (Ref::as_ptr(one), Ref::as_ptr(other));
        match (self.ones.get(&pair.0), self.others.get(&pair.1)) {
            (None, None) => {}
            (Some(known), Some(_)) if *known == pair.1 => return Ok(()),
            _ => return Err(format!("shares {one:?} otherwise")),
        }
        self.ones.insert(pair.0, pair.1);
        self.others.insert(pair.1, pair.0);
        let head = |node: &Node| {
            let made = (node.span, node.plain.clone(), node.tagged);
            (made, node.tags, node.weight)
        };
        let (left, right) = (head(one), head(other));
        if left != right {
            return Err(format!("{:?}: {left:?} instead of {right:?}", one.value));
        }
        self.values(&one.value, &other.value)
    }

    fn values(&mut self, one: &Value, other: &Value) -> Result<(), String> {
        match (one, other) {
            (Value::Seq(ones), Value::Seq(others)) if ones.len() == others.len() => {
                let mut pairs = ones.iter().zip(others);
                pairs.try_for_each(|(one, other)| self.same(one, other))
            }
            (Value::Map(ones), Value::Map(others)) if ones.len() == others.len() => {
                let mut pairs = ones.iter().zip(others);
                pairs.try_for_each(|(one, other)| {
                    let keys = [one, other].map(|entry| (&entry.key, entry.key_span));
                    match keys[0] == keys[1] {
                        true => self.same(&one.value, &other.value),
                        false => Err(format!("key {:?} instead of {:?}", keys[0], keys[1])),
                    }
                })
            }
            (Value::Float(one), Value::Float(other)) if one.to_bits() == other.to_bits() => Ok(()),
            (Value::Float(_), _) => Err(format!("{one:?} instead of {other:?}")),
            _ if scalar(one) && one.kind() == other.kind() && one.text() == other.text() => Ok(()),
            _ => Err(format!("{one:?} instead of {other:?}")),
        }
    }
}

fn scalar(value: &Value) -> bool {
    !matches!(
        value,
        Value::Bad | Value::Seq(_) | Value::Map(_) | Value::Closed(..)
    )
}
