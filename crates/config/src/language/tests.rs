//! The table against the parser.

use std::collections::BTreeSet;

use super::Map;
use super::root::{COMMAND, EXECUTOR, JOB, ORB, PARAMETER, ROOT};
use super::runs::{AUTH, CONTAINER, MACHINE, MACOS};
use super::steps::{CONDITIONAL, MATCHES, RUN, STEPS};
use super::workflows::{FILTERS, GROUP, INVOCATION, MATRIX, RULES, WORKFLOW};

fn names(map: &Map) -> BTreeSet<String> {
    map.keys.iter().map(|key| key.name.to_owned()).collect()
}

/// The strings in the first `[…]` behind `marker` in a source text of the parser.
fn listed(source: &str, marker: &str) -> BTreeSet<String> {
    let rest = source
        .split_once(marker)
        .unwrap_or_else(|| panic!("no {marker}"))
        .1;
    let list = rest.split_once("&[").unwrap().1.split_once(']').unwrap().0;
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_parser_knows_the_keys_of_the_table() {
    let ast = include_str!("../ast.rs");
    let fields = include_str!("../expand/fields.rs");
    let executor = include_str!("../expand/executor.rs");
    let workflow = include_str!("../workflow/invocation.rs");
    let table: &[(&Map, &str, &str)] = &[
        (&ROOT, include_str!("../lower.rs"), "const TOP: &[&str] = "),
        (&COMMAND, ast, "const COMMAND_KEYS: &[&str] = "),
        (&EXECUTOR, ast, "const EXECUTOR_KEYS: &[&str] = "),
        (&JOB, ast, "const JOB_KEYS: &[&str] = "),
        (
            &PARAMETER,
            include_str!("../ast/parameter.rs"),
            "self.closed(fields, ",
        ),
        (&RUN, fields, "const RUN_KEYS: &[&str] = "),
        (&CONTAINER, executor, "const CONTAINER_KEYS: &[&str] = "),
        (&INVOCATION, workflow, "const INVOCATION_KEYS: &[&str] = "),
        (
            &FILTERS,
            include_str!("../filter.rs"),
            "self.closed(entries, ",
        ),
        (
            &MATRIX,
            include_str!("../matrix.rs"),
            "self.closed(entries, ",
        ),
    ];
    for (map, source, marker) in table {
        assert_eq!(
            listed(source, marker),
            names(map),
            "{} and {marker}",
            map.name
        );
    }
}

#[test]
fn the_parser_knows_the_fields_of_the_steps() {
    let fields = include_str!("../expand/fields.rs");
    for map in STEPS.iter().filter(|map| map.name != "run") {
        let marker = format!("\"{}\" => (", map.name);
        assert_eq!(listed(fields, &marker), names(map), "{}", map.name);
    }
}

#[test]
fn every_key_stands_once_and_says_what_it_is_for() {
    let maps = [
        &ROOT,
        &ORB,
        &PARAMETER,
        &EXECUTOR,
        &COMMAND,
        &JOB,
        &CONTAINER,
        &AUTH,
        &MACHINE,
        &MACOS,
        &CONDITIONAL,
        &MATCHES,
        &WORKFLOW,
        &GROUP,
        &INVOCATION,
        &FILTERS,
        &RULES,
        &MATRIX,
    ];
    for map in maps.into_iter().chain(STEPS.iter().copied()) {
        assert_eq!(names(map).len(), map.keys.len(), "{}", map.name);
        for key in map.keys {
            assert!(key.doc.ends_with('.'), "{}/{}", map.name, key.name);
        }
    }
}
