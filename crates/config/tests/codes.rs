//! The table of codes against the code that raises them: every class that is raised is in the table and
//! the other way round, every example gets its class and the mended one gets none, and the pages under
//! `docs/diagnostics` are those of the table. `UPDATE=1` in the environment writes the pages.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own files has to fail"
)]

#[path = "support/compiled.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use capstan_config::codes::{self, Rule};
use capstan_config::{Diagnostic, Severity};

/// Classes of the language that nothing raises yet, so that their examples do not get them; a name leaves
/// this list with the change that builds its part.
const NOT_RAISED: &[&str] = &[];

/// Classes that the examples cannot get: they are compiled for a push to a branch, and without orbs.
const ELSEWHERE: &[&str] = &["W_SETUP", "W_NATIVE"];

#[test]
fn every_class_that_is_raised_is_in_the_table_and_the_other_way_round() {
    let mut raised = BTreeSet::new();
    sources_below(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut |path, text| {
            if !path.components().any(|part| part.as_os_str() == "codes") {
                raised.extend(codes_in(text));
            }
        },
    );
    let listed: BTreeSet<String> = codes::all().map(|rule| rule.code.to_owned()).collect();
    let waiting: BTreeSet<String> = NOT_RAISED.iter().map(|code| (*code).to_owned()).collect();
    let unlisted: Vec<_> = raised.difference(&listed).collect();
    assert!(
        unlisted.is_empty(),
        "raised, and not in src/codes: {unlisted:?}"
    );
    let expected: BTreeSet<String> = listed.difference(&raised).cloned().collect();
    assert_eq!(
        expected, waiting,
        "left: what nothing raises, right: what NOT_RAISED lists"
    );
}

#[test]
fn no_class_stands_twice_and_all_say_something() {
    let mut seen = BTreeSet::new();
    for rule in codes::all() {
        assert!(seen.insert(rule.code), "{} stands twice", rule.code);
        assert!(codes::looks_like(rule.code), "{}", rule.code);
        assert!(
            !rule.title.is_empty() && !rule.title.ends_with('.'),
            "{}",
            rule.code
        );
        assert!(
            rule.text.trim().ends_with(['.', ':']),
            "{}: {}",
            rule.code,
            rule.text
        );
        assert!(
            rule.mend.is_none_or(|mend| !mend.ends_with('.')),
            "{}",
            rule.code
        );
        assert!(
            rule.section.starts_with(|c: char| c.is_ascii_digit()),
            "{}",
            rule.code
        );
    }
}

#[test]
fn examples_get_their_class_and_mended_ones_get_nothing() {
    let mut wrong = Vec::new();
    for rule in codes::all() {
        let pending = NOT_RAISED.contains(&rule.code) || ELSEWHERE.contains(&rule.code);
        match (behaves(rule), pending) {
            (Ok(()), false) | (Err(_), true) => {}
            (Ok(()), true) => {
                wrong.push(format!("{} behaves, and is listed as pending", rule.code))
            }
            (Err(why), false) => wrong.push(format!("{}: {why}", rule.code)),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pages_are_those_of_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/diagnostics");
    let mut pages: Vec<(String, String)> = codes::all()
        .map(|rule| (format!("{}.md", rule.code), rule.page()))
        .collect();
    pages.push((String::from("README.md"), codes::index()));
    let names: BTreeSet<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(&folder).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (name, page) in &pages {
            fs::write(folder.join(name), page).unwrap();
        }
    }
    let mut stale = Vec::new();
    for (name, page) in &pages {
        if fs::read_to_string(folder.join(name)).unwrap_or_default() != *page {
            stale.push(format!("{name} differs from the table"));
        }
    }
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !names.contains(name.as_str()) {
            stale.push(format!("{name} is of no class"));
        }
    }
    assert!(
        stale.is_empty(),
        "UPDATE=1 cargo test -p capstan-config --test codes writes them:\n{}",
        stale.join("\n")
    );
}

#[test]
fn misspelt_codes_find_their_neighbour() {
    assert_eq!(codes::nearest("E_PARAM_TYP"), Some("E_PARAM_TYPE"));
    assert!(codes::find("E_PARAM_TYPE").is_some());
    assert!(codes::looks_like("E_NO_SUCH_THING"));
    for job in ["E_", "E_build", "EPARAM", "build"] {
        assert!(!codes::looks_like(job), "{job}");
    }
}

fn behaves(rule: &Rule) -> Result<(), String> {
    let mut got = classes(rule.wrong, rule);
    if rule.code == "W_UNREACHED" {
        // What is used by unused things only comes with an unused thing.
        got.remove("W_UNUSED");
    }
    if got != BTreeSet::from([rule.code]) {
        return Err(format!("the example gets {got:?}"));
    }
    let got = classes(rule.right, rule);
    if !got.is_empty() {
        return Err(format!("the mended example gets {got:?}"));
    }
    Ok(())
}

/// The classes of everything found in a config. What is not built yet counts for its own class only.
fn classes(text: &str, rule: &Rule) -> BTreeSet<&'static str> {
    let counts = |found: &&Diagnostic| {
        found.severity != Severity::Unsupported || rule.severity() == Severity::Unsupported
    };
    let (_, found) = support::compiled(text);
    found
        .iter()
        .filter(counts)
        .map(|found| found.code)
        .collect()
}

fn sources_below(folder: &Path, each: &mut impl FnMut(&PathBuf, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_below(&path, each);
        } else {
            each(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

/// Every string of a source text that is a code and nothing else; those of its tests do not count.
fn codes_in(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let all = text.split('"').skip(1);
    all.filter(|part| codes::looks_like(part))
        .map(str::to_owned)
        .collect()
}
