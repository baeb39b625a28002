//! The entries of a map: keys as text, duplicates, merges (language 1.2).

use std::collections::{HashMap, HashSet};

use capstan_model::Span;

use super::{Entry, Ref, Text, Value, fail};
use crate::diagnostic::Diagnostic;

/// Most findings of one text.
const MAX_FOUND: usize = 500;
/// The key whose value is merged into the map around it.
pub(super) const MERGE: &str = "<<";
/// Longest map whose keys are compared one by one.
const SHORT: usize = 16;

/// The text that a scalar is as a key, or `None` of a list or a map.
pub(super) fn key(value: &Value) -> Option<Text> {
    match value {
        Value::Str(text) => Some(text.clone()),
        other => other.text().map(Text::from),
    }
}

/// The entries of what is written in a map, which is the place of the key where that is no scalar.
/// Explicit keys come first in file order; merged ones follow, earlier maps first. Each entry that is
/// merged takes from `room`; without enough of it there is no map, as few lines could merge a large one
/// very often.
pub(super) fn entries(
    written: impl Iterator<Item = Result<Entry, Span>>,
    room: &mut u32,
    found: &mut Vec<Diagnostic>,
) -> Option<Vec<Entry>> {
    let mut entries = Vec::<Entry>::new();
    let mut seen = HashMap::<Text, Span>::new();
    let mut merged = Vec::<Ref>::new();
    for entry in written {
        let entry = match entry {
            Ok(entry) => entry,
            Err(span) => {
                note(
                    found,
                    *fail("E_YAML", "a key of a map must be a scalar", span),
                );
                continue;
            }
        };
        if entry.key == MERGE {
            merge(&entry.value, &mut merged, found);
            continue;
        }
        let name = &entry.key;
        if let Some(first) = seen.get(name) {
            let mut diagnostic = fail("E_YAML", format!("duplicate key [{name}]"), entry.key_span);
            diagnostic.labels.push((*first, String::from("first here")));
            diagnostic.help.push(String::from("remove one of the two"));
            note(found, *diagnostic);
            continue;
        }
        seen.insert(name.clone(), entry.key_span);
        entries.push(entry);
    }
    if !merged.is_empty() {
        let mut keys: HashSet<Text> = seen.into_keys().collect();
        for entry in merged.iter().filter_map(|node| node.map()).flatten() {
            *room = room.checked_sub(1)?;
            if keys.insert(entry.key.clone()) {
                entries.push(entry.clone());
            }
        }
    }
    Some(entries)
}

/// Whether no key is there twice and none is a merge, so that [`entries`] would change nothing.
pub(super) fn plain(written: &[Entry]) -> bool {
    if written.len() > SHORT {
        let mut seen = HashSet::with_capacity(written.len());
        return written
            .iter()
            .all(|entry| entry.key != MERGE && seen.insert(entry.key.as_str()));
    }
    written.iter().enumerate().all(|(at, entry)| {
        let before = written.get(..at).unwrap_or_default();
        entry.key != MERGE && before.iter().all(|other| other.key != entry.key)
    })
}

/// Keeps a finding, unless there are far too many.
fn note(found: &mut Vec<Diagnostic>, diagnostic: Diagnostic) {
    if found.len() < MAX_FOUND {
        found.push(diagnostic);
    }
}

fn merge(node: &Ref, merged: &mut Vec<Ref>, found: &mut Vec<Diagnostic>) {
    match &node.value {
        Value::Map(_) => merged.push(Ref::clone(node)),
        Value::Seq(items) => {
            for item in items {
                if item.map().is_some() {
                    merged.push(Ref::clone(item));
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
