//! Real configs and real orbs: what the hosted service runs compiles here too.
//!
//! They are no part of this repository; without them the tests say so and pass, unless `CAPSTAN_REQUIRE`
//! names `shared`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own files has to fail"
)]

#[path = "real/corpus.rs"]
mod corpus;
#[path = "real/orbs.rs"]
mod orbs;
#[path = "support/shared.rs"]
mod shared;
#[path = "support/stub.rs"]
mod stub;
#[path = "support/yaml.rs"]
mod yaml;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use capstan_config::{Compiled, Severity, Sources};

/// What is expected to fail, of `tests/real/FILE`: name and class of the first error. Each line says why
/// that is right.
fn expected(file: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert!(words.len() > 2, "{line}: the reason is missing");
            (words[0].to_owned(), words[1].to_owned())
        })
        .collect()
}

/// The first error of a compilation with its place.
fn first_error(compiled: &Compiled, sources: &Sources) -> Option<String> {
    let Compiled::Done { diagnostics, .. } = compiled else {
        panic!("asks for orbs that were answered");
    };
    let error = diagnostics.iter().find(|d| d.severity == Severity::Error)?;
    let file = sources.get(error.span.file).unwrap();
    let (line, column) = capstan_model::source::line_column(&file.text, error.span.start);
    Some(format!(
        "{} {}:{line}:{column}: {}",
        error.code, file.name, error.message
    ))
}

/// Holds a failure against the list, and notes what differs.
fn check(
    name: &str,
    error: Option<String>,
    expected: &mut BTreeMap<String, String>,
    wrong: &mut String,
) {
    let _ = match (error, expected.remove(name)) {
        (None, None) => Ok(()),
        (None, Some(_)) => writeln!(wrong, "{name}: is sound, yet the list holds it"),
        (Some(error), Some(code)) if error.starts_with(&code) => Ok(()),
        (Some(error), _) => writeln!(wrong, "{name}  {error}"),
    };
}
