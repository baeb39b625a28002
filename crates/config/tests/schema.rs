//! The schema accepts what the compiler accepts, and refuses the mistakes that a shape can show.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own files has to fail"
)]

#[path = "support/cases.rs"]
#[expect(dead_code, reason = "only the configs of the cases are used here")]
mod cases;
#[path = "support/draft7.rs"]
mod draft7;
#[path = "support/shared.rs"]
#[expect(dead_code, reason = "the orbs are not needed here")]
mod shared;
#[path = "support/yaml.rs"]
mod yaml;

use capstan_config::schema::{data, schema};
use capstan_config::{Compiled, Diagnostic, Orb, Severity, Sources, compile};
use capstan_model::Trigger;
use draft7::Schema;
use serde_json::Value;

/// What compiles with this warning has keys beside a job's name instead of below it. The compiler lets
/// that pass as it always did; an editor is to point at it.
const REFUSED: &str = "W_INDENT";

#[test]
fn every_case_that_compiles_validates() {
    let root = schema();
    let schema = Schema::new(&root);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for case in cases::read_cases() {
        let codes: Option<Vec<&str>> = case
            .checks
            .iter()
            .map(|check| warnings(&case.config, &check.trigger))
            .collect::<Option<Vec<_>>>()
            .map(|all| all.concat());
        if let Some(codes) = codes {
            seen += 1;
            let value = data(&case.config).unwrap();
            wrong.extend(problem(&schema, &case.id, &value, &codes));
        }
    }
    assert!(seen > 70, "only {seen} cases compile");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Which of them compile is the business of `tests/real`; `corpus.txt` lists those that do not.
#[test]
fn real_configs_validate() {
    let Some(corpus) = shared::folder("corpus") else {
        return;
    };
    let root = schema();
    let schema = Schema::new(&root);
    let broken = include_str!("real/corpus.txt");
    let broken: Vec<&str> = broken
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let trigger = shared::trigger(Some("main"), None);
    let mut wrong = Vec::new();
    for row in shared::corpus(&corpus) {
        if row.role == "fragment" || !row.sound || broken.contains(&row.name.as_str()) {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&row.path).unwrap()).into_owned();
        let value = data(&text).unwrap();
        let codes: Vec<&str> = found(&text, &trigger).iter().map(|one| one.code).collect();
        wrong.extend(problem(&schema, &row.name, &value, &codes));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn mistakes_of_shape_are_refused() {
    let root = schema();
    let schema = Schema::new(&root);
    let job = "docker: [{image: a}]";
    for wrong in [
        "jobs: {}",
        "version: 3",
        "version: 2.1\njobs: {build: {steps: [checkout]}}",
        &format!("version: 2.1\njobs: {{build: {{{job}}}}}"),
        &format!("version: 2.1\njobs: {{build: {{{job}, steps: []}}}}"),
        &format!("version: 2.1\njobs: {{build: {{{job}, steps: [checkout], stepz: 1}}}}"),
        &format!("version: 2.1\njobs: {{build: {{{job}, steps: [{{run: x, name: y}}]}}}}"),
        &format!("version: 2.1\njobs: {{build: {{{job}, steps: [{{run: {{name: y}}}}]}}}}"),
        &format!(
            "version: 2.1\njobs: {{build: {{{job}, steps: [{{run: {{command: y, when: now}}}}]}}}}"
        ),
        &format!("version: 2.1\njobs: {{build: {{{job}, steps: [{{save_cache: {{key: k}}}}]}}}}"),
        &format!(
            "version: 2.1\njobs: {{build: {{{job}, steps: [{{restore_cache: {{name: k}}}}]}}}}"
        ),
        &format!("version: 2.1\njobs: {{build: {{{job}, parallelism: 0, steps: [checkout]}}}}"),
        "version: 2.1\njobs: {build: {docker: {image: a}, steps: [checkout]}}",
        "version: 2.1\ncommands: {c: {steps: [{when: {condition: {xor: [1]}, steps: []}}]}}",
        "version: 2.1\ncommands: {c: {parameters: {p: {type: text}}, steps: []}}",
        "version: 2.1\nworkflows: {w: {jobs: []}}",
        "version: 2.1\nworkflows: {w: {jobs: [{a: {filters: {branch: x}}}]}}",
        "version: 2.1\nworkflows: {w: {jobs: [{a: {requires: [{b: green}]}}]}}",
        "version: 2.1\nworkflows: {w: {jobs: [{a: {matrix: {parameters: {v: 1}}}}]}}",
    ] {
        let value = data(wrong).unwrap_or_else(|| panic!("no YAML: {wrong}"));
        assert!(!schema.check(&value).is_empty(), "accepted:\n{wrong}");
    }
}

#[test]
fn editors_get_a_text_for_every_key() {
    let root = schema();
    let mut keys = 0;
    let maps = root["definitions"].as_object().unwrap().values();
    for map in maps.chain([&root["else"]]) {
        for (key, schema) in map["properties"].as_object().into_iter().flatten() {
            assert!(schema["description"].is_string(), "{key}: {schema}");
            keys += 1;
        }
    }
    assert!(keys > 100, "{keys}");
}

/// What is wrong with the schema's answer about a config that compiles with these warnings.
fn problem(schema: &Schema, name: &str, value: &Value, warnings: &[&str]) -> Option<String> {
    let problems = schema.check(value);
    let refused = warnings.contains(&REFUSED);
    (problems.is_empty() == refused).then(|| {
        format!(
            "{name}, to be refused: {refused}\n  {}",
            problems.join("\n  ")
        )
    })
}

/// The codes of a config that compiles; `None` where it has an error.
fn warnings(text: &str, trigger: &Trigger) -> Option<Vec<&'static str>> {
    let found = found(text, trigger);
    let good = found.iter().all(|one| one.severity != Severity::Error);
    good.then(|| found.iter().map(|one| one.code).collect())
}

/// What is found in a config without any orb.
fn found(text: &str, trigger: &Trigger) -> Vec<Diagnostic> {
    let sources = Sources::new("config.yml", text);
    match shared::compile_with(sources, trigger, compile, |_| Orb::NotFound) {
        (Compiled::Done { diagnostics, .. }, ..) => diagnostics,
        _ => panic!("asks for orbs that were answered"),
    }
}
