//! A matrix becomes its cells (language 10.11).

use std::rc::Rc;

use indexmap::IndexMap;

use crate::compiler::{Compiler, Scope};
use crate::yaml::{Node, Ref, Text, Value};

const MAX_CELLS: usize = 128;
/// The heaviest value of a cell: it becomes a part of a name.
const LARGEST: u32 = 256;

/// Values by parameter, in the order of the declaration.
pub(crate) type Cell = IndexMap<Text, Ref>;

impl Compiler<'_> {
    /// The cells of a matrix in order, or `None` where a mistake was reported.
    pub(crate) fn cells(&mut self, node: &Ref) -> Option<Vec<Cell>> {
        let node = self.subst(node, &Scope::default());
        if !self.spend(u64::from(node.weight), node.span) {
            return None;
        }
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Bad => return None,
            other => {
                self.schema(
                    format!("`matrix` is a map, not a {}", other.kind()),
                    node.span,
                );
                return None;
            }
        };
        if !self.closed(entries, &["parameters", "exclude", "alias"]) {
            return None;
        }
        let Some(parameters) = node.get("parameters") else {
            self.schema("matrix: required key [parameters] not found", node.span);
            return None;
        };
        let Some(axes) = parameters.map() else {
            self.error(
                "E_MATRIX",
                "`parameters` of a matrix is a map of lists",
                parameters.span,
            );
            return None;
        };
        let mut cells = vec![Cell::new()];
        let mut count = 1usize;
        for axis in axes {
            let values = match &axis.value.value {
                Value::Seq(values) => values.as_slice(),
                Value::Null => &[],
                Value::Bad => return None,
                other => {
                    let message = format!(
                        "[{}] of a matrix is a list of values, not a {}",
                        axis.key,
                        other.kind()
                    );
                    let help = String::from("write a list, also of one value: `[…]`");
                    self.error_help("E_MATRIX", message, axis.value.span, Some(help));
                    return None;
                }
            };
            let mut distinct: Vec<&Ref> = Vec::new();
            for value in values {
                if value.weight > LARGEST {
                    let message = format!("[{}] holds a value too large for a name", axis.key);
                    self.error("E_MATRIX", message, value.span);
                    return None;
                }
                if !distinct.iter().any(|other| other.value.same(&value.value)) {
                    distinct.push(value);
                }
                if distinct.len() > MAX_CELLS {
                    break;
                }
            }
            if distinct.is_empty() {
                let message = format!("[{}] has no values, so the matrix gives no jobs", axis.key);
                self.warn("W_EMPTY_MATRIX", message, axis.key_span);
            }
            count = count.saturating_mul(distinct.len());
            if count > MAX_CELLS {
                let message = format!("Matrices cannot generate more than {MAX_CELLS} jobs");
                self.error("E_MATRIX", message, node.span);
                return None;
            }
            cells = cells
                .iter()
                .flat_map(|cell| {
                    distinct.iter().map(|value| {
                        let mut cell = cell.clone();
                        cell.insert(axis.key.clone(), Rc::clone(value));
                        cell
                    })
                })
                .collect();
        }
        if let Some(exclude) = node.get("exclude") {
            let Some(rules) = exclude.seq() else {
                self.error("E_MATRIX", "`exclude` is a list of maps", exclude.span);
                return None;
            };
            for rule in rules {
                if !self.spend(u64::from(rule.weight) + cells.len() as u64, rule.span) {
                    return None;
                }
                let Some(wanted) = rule.map() else {
                    self.error("E_MATRIX", "an entry of `exclude` is a map", rule.span);
                    continue;
                };
                if let Some(odd) = wanted.iter().find(|e| axes.iter().all(|a| a.key != e.key)) {
                    let message = format!("[{}] is no parameter of this matrix", odd.key);
                    self.error("E_MATRIX", message, odd.key_span);
                    continue;
                }
                cells.retain(|cell| {
                    !wanted.iter().all(|e| {
                        cell.get(&e.key)
                            .is_some_and(|value| value.value.same(&e.value.value))
                    })
                });
            }
        }
        Some(cells)
    }
}

/// `name-v1-v2`: the values as text in the alphabetical order of their parameters.
pub(crate) fn named(name: &str, cell: &Cell) -> String {
    let mut sorted: Vec<(&Text, &Ref)> = cell.iter().collect();
    sorted.sort_by_key(|(parameter, _)| *parameter);
    let mut out = String::from(name);
    for (_, value) in sorted {
        out.push('-');
        match &value.value {
            Value::Str(text) => out.push_str(text),
            _ => out.push_str(&cell_text(value)),
        }
    }
    out
}

/// A value of a cell as text.
pub(crate) fn cell_text(value: &Node) -> String {
    value
        .value
        .text()
        .unwrap_or_else(|| value.value.json().to_string())
}
