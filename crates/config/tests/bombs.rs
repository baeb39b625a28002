//! Small texts that would grow, or cost, without bound: each ends soon, in a finding or in a plan.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot build its own input has to fail"
)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use capstan_config::{Compiled, Severity, Sources, compile};
use capstan_model::Trigger;
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};

/// Far above what each takes, far below what it took.
const SOON: Duration = Duration::from_secs(10);

/// The codes of the errors, each once, and how many findings there are.
fn errors(text: &str) -> (Vec<&'static str>, usize) {
    let trigger = Trigger {
        pipeline: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
        number: 1,
        actor: String::from("ada"),
        kind: TriggerKind::CommandLine,
        received_at_ms: 0,
        project: Project::default(),
        revision: Revision {
            branch: Some("a".repeat(60)),
            ..Revision::default()
        },
        parameters: Default::default(),
        selection: Selection::default(),
        values: Default::default(),
    };
    let started = Instant::now();
    let compiled = compile(&Sources::new("config.yml", text), &trigger);
    let took = started.elapsed();
    assert!(took < SOON, "took {took:?}");
    let Compiled::Done { plan, diagnostics } = compiled else {
        panic!("asks for orbs");
    };
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error);
    let mut codes: Vec<&str> = errors.map(|d| d.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(plan.is_some(), codes.is_empty(), "{codes:?}");
    for found in &diagnostics {
        assert!(found.message.len() < 2_000, "{} is long", found.code);
    }
    (codes, diagnostics.len())
}

const BUILD: &str = "jobs: {build: {machine: {image: u}, steps: [checkout]}}\n";

#[test]
fn arguments_that_double_with_every_call() {
    let mut text = String::from("version: 2.1\ncommands:\n");
    for level in 0..60 {
        let next = level + 1;
        let _ = writeln!(
            text,
            "  c{level}: {{parameters: {{x: {{type: steps}}}}, steps: [{{c{next}: {{x: \
             [{{steps: << parameters.x >>}}, {{steps: << parameters.x >>}}]}}}}]}}"
        );
    }
    text.push_str("  c60: {parameters: {x: {type: steps}}, steps: << parameters.x >>}\n");
    text.push_str("jobs: {build: {machine: {image: u}, steps: [{c0: {x: []}}]}}\n");
    assert_eq!(errors(&text).0, ["E_LIMIT"]);
}

#[test]
fn items_that_merge_one_large_map() {
    let mut text = String::from("version: 2.1\nlarge: &large\n");
    for key in 0..2_000 {
        let _ = writeln!(text, "  k{key}: 1");
    }
    text.push_str("list:\n");
    text.push_str(&"  - <<: *large\n".repeat(20_000));
    text.push_str(BUILD);
    assert_eq!(errors(&text).0, ["E_LIMIT"]);
}

#[test]
fn commands_that_call_the_next_twice() {
    let mut text = String::from("version: 2.1\ncommands:\n");
    for level in 0..90 {
        let next = level + 1;
        let _ = writeln!(text, "  c{level}: {{steps: [c{next}, c{next}]}}");
    }
    text.push_str("  c90: {steps: []}\n");
    text.push_str("jobs: {build: {machine: {image: u}, steps: [c0, checkout]}}\n");
    assert_eq!(errors(&text).0, ["E_LIMIT"]);
}

#[test]
fn a_long_chain_of_commands_is_no_circle() {
    let mut text = String::from("version: 2.1\ncommands:\n");
    for level in 0..20_000 {
        let next = level + 1;
        let _ = writeln!(text, "  c{level}: {{steps: [c{next}]}}");
    }
    text.push_str("  c20000: {steps: [checkout]}\n");
    text.push_str(BUILD);
    assert_eq!(errors(&text).0, [""; 0]);
}

#[test]
fn every_job_requires_every_other() {
    let names: Vec<String> = (0..5_000).map(|n| format!("a{n}")).collect();
    let mut text = format!("version: 2.1\nx: &all [{}]\n{BUILD}", names.join(", "));
    text.push_str("workflows:\n  w:\n    jobs:\n");
    for name in &names {
        let _ = writeln!(text, "      - {name}: {{type: approval}}");
    }
    for n in 0..4_000 {
        let _ = writeln!(text, "      - build: {{name: b{n}, requires: *all}}");
    }
    assert_eq!(errors(&text).0, ["E_LIMIT"]);
}

#[test]
fn names_of_a_megabyte_are_not_compared_letter_by_letter() {
    let (one, other) = ("a".repeat(1 << 20), "b".repeat(1 << 20));
    let text = format!(
        "version: 2.1\ncommands:\n  ? {one}\n  : {{steps: [checkout]}}\njobs:\n  build: \
         {{machine: {{image: u}}, steps: [{other}]}}\n"
    );
    assert_eq!(errors(&text).0, ["E_UNKNOWN_COMMAND"]);
}

#[test]
fn a_hundred_thousand_variables_for_every_step() {
    let mut text = String::from("version: 2.1\njobs:\n  build:\n    machine: {image: u}\n");
    text.push_str("    environment: &e\n");
    for n in 0..100_000 {
        let _ = writeln!(text, "      A{n}: ''");
    }
    text.push_str("    steps:\n");
    for _ in 0..8 {
        text.push_str("      - run: {command: a, environment: *e}\n");
    }
    assert_eq!(errors(&text).0, [""; 0]);
    text.push_str(&"      - run: {command: a, environment: *e}\n".repeat(200));
    assert_eq!(errors(&text).0, ["E_LIMIT"]);
}

#[test]
fn a_script_of_a_megabyte_in_every_step() {
    let mut text = format!("version: 2.1\nx: &x {}\n", "a".repeat(1 << 20));
    text.push_str("jobs:\n  build:\n    machine: {image: u}\n    steps:\n");
    text.push_str(&"      - run: *x\n".repeat(50));
    assert_eq!(errors(&text).0, ["E_LIMIT"]);
}

#[test]
fn mistakes_without_end_are_five_hundred() {
    let mut text = format!("version: 2.1\n{BUILD}workflows:\n  w:\n    jobs:\n");
    for n in 0..50_000 {
        let _ = writeln!(text, "      - nobody{n}");
    }
    let (codes, count) = errors(&text);
    assert_eq!(codes, ["E_UNKNOWN_JOB"]);
    assert!(count <= 510, "{count}");
    let twice = format!("version: 2.1\n{BUILD}{}", "a: 1\n".repeat(100_000));
    assert_eq!(errors(&twice).0, ["E_YAML"]);
}

#[test]
fn patterns_that_backtrack_without_end() {
    let mut text = format!("version: 2.1\n{BUILD}workflows:\n  w:\n    jobs:\n");
    for n in 0..2_000 {
        let _ = writeln!(
            text,
            "      - build: {{name: b{n}, filters: {{branches: {{only: '/(?=b|)(a|a)*(?=c){n}/'}}}}}}"
        );
    }
    let (codes, _) = errors(&text);
    assert_eq!(codes, ["E_REGEX"]);
}

#[test]
fn a_matrix_of_too_many_and_too_large_values() {
    let values: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
    for values in [values.join(", "), format!("[{}]", "a, ".repeat(50_000))] {
        let text = format!(
            "version: 2.1\njobs: {{j: {{parameters: {{x: {{type: integer}}}}, machine: {{image: \
             u}}, steps: [checkout]}}}}\nworkflows: {{w: {{jobs: [{{j: {{matrix: {{parameters: \
             {{x: [{values}]}}}}}}}}]}}}}\n"
        );
        assert_eq!(errors(&text).0, ["E_MATRIX"]);
    }
}
