//! What is wrong is said once, at its place, with everything else that is wrong; and soon.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot build its own input has to fail"
)]

#[path = "support/compiled.rs"]
mod support;

use std::time::{Duration, Instant};

use capstan_model::source::line_column;

const MANY: &str = "version: 2.1
commands:
  greet:
    parameters: {to: {type: string}}
    steps: [{run: echo << parameters.too >>}]
jobs:
  one: {docker: [{image: a}], steps: [{greet: {to: 3.8}}, chekout]}
  two: {dokcer: [{image: a}], steps: [checkout]}
workflows:
  w:
    jobs:
      - one
      - three: {requires: [one]}
";

#[test]
fn mistakes_in_different_places_are_all_reported_in_file_order() {
    let (_, found) = support::compiled(MANY);
    let told: Vec<(u32, &str)> = found
        .iter()
        .map(|d| (line_column(MANY, d.span.start).0, d.code))
        .collect();
    assert_eq!(
        told,
        [
            (5, "E_PARAM_UNDECLARED"),
            (7, "E_PARAM_TYPE"),
            (7, "E_UNKNOWN_COMMAND"),
            (8, "E_SCHEMA"),
            (8, "E_SCHEMA"),
            (13, "E_UNKNOWN_JOB"),
        ]
    );
}

#[test]
fn a_finding_is_drawn_with_its_calls_and_its_mend() {
    let (sources, found) = support::compiled(MANY);
    let typed = found.iter().find(|d| d.code == "E_PARAM_TYPE").unwrap();
    let drawn = typed.render(&sources, false);
    for part in [
        "error[E_PARAM_TYPE]: Type error for argument to",
        ".circleci/config.yml:7:",
        "enclose it in quotes: \"3.8\"",
        "calling workflow: 'w'",
        "calling command: 'greet'",
    ] {
        assert!(drawn.contains(part), "no {part:?} in\n{drawn}");
    }
    let json = typed.to_json(&sources);
    assert_eq!(
        (&json["severity"], &json["line"]),
        (&"error".into(), &7.into())
    );
}

#[test]
fn bombs_are_one_finding_within_a_second() {
    let mut aliases = String::from("version: 2.1\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let before = i - 1;
        let nine = vec![format!("*a{before}"); 9].join(", ");
        aliases.push_str(&format!("a{i}: &a{i} [{nine}]\n"));
    }
    let deep = format!("a: {}", "[".repeat(100_000));
    let long = format!("version: 2.1\n# {}\n", "x".repeat(4 * 1024 * 1024));
    // The YAML reader itself stops at nesting far beyond ours.
    for (text, code) in [
        (aliases, "E_LIMIT"),
        (deep, "E_YAML"),
        (
            format!("a: {}{}", "[".repeat(70), "]".repeat(70)),
            "E_LIMIT",
        ),
        (long, "E_LIMIT"),
    ] {
        let start = Instant::now();
        let (_, found) = support::compiled(&text);
        let codes: Vec<&str> = found.iter().map(|d| d.code).collect();
        assert_eq!(codes, [code]);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

/// What compiles and surprises: a config, the warning it gets, and the text that is pointed at; each with
/// the same config mended, which gets none of the kind.
const SURPRISES: [(&str, &str, &str, (&str, &str)); 7] = [
    (
        "jobs: {build: {resource_class: hgue, docker: [{image: a}], steps: [checkout]}}",
        "W_RESOURCE_CLASS",
        "hgue",
        ("hgue", "huge/one"),
    ),
    (
        "jobs: {build: {machine: {image: 'cimg/base'}, steps: [checkout]}}",
        "W_IMAGE",
        "'cimg/base'",
        ("cimg/base", "ubuntu-2404:current"),
    ),
    (
        "jobs: {build: {docker: [{image: a}], steps: [{when: {condition: a == b, steps: [checkout]}}, checkout]}}",
        "W_ALWAYS_TRUE",
        "a == b",
        ("a == b", "true"),
    ),
    (
        "jobs: {build: {parameters: {Big: {type: string, default: x}}, docker: [{image: << parameters.Big >>}], steps: [checkout]}}",
        "W_NAME",
        "Big",
        ("Big", "big"),
    ),
    (
        "jobs: {a: &j {docker: [{image: a}], steps: [checkout]}, b: *j}\nworkflows: {w: {jobs: [a, b: {requires: [a], filters: {tags: {only: /v.*/}}}]}}",
        "W_TAG_FILTERS",
        "a",
        ("jobs: [a,", "jobs: [a: {filters: {tags: {only: /v.*/}}},"),
    ),
    (
        "jobs: {a: &j {docker: [{image: a}], steps: [checkout]}, b: *j}\nworkflows: {w: {jobs: [a: {filters: {branches: {ignore: /.*/}}}, b: {requires: [a]}]}}",
        "W_NEVER_RUNS",
        "a",
        ("ignore: /.*/", "ignore: /x/"),
    ),
    (
        "jobs: {build: {docker: [{image: a}], steps: [{deploy: x}]}}",
        "W_DEPRECATED",
        "deploy",
        ("deploy: x", "run: x"),
    ),
];

#[test]
fn what_compiles_and_surprises_is_warned_of() {
    for (body, code, pointed, (wrong, right)) in SURPRISES {
        let text = format!("version: 2.1\n{body}\n");
        let (_, warned) = support::compiled(&text);
        let warning = warned.iter().find(|d| d.code == code);
        let warning = warning.unwrap_or_else(|| panic!("no {code} in {warned:?}"));
        let span = warning.span.start as usize..warning.span.end as usize;
        assert_eq!(&text[span], pointed, "{code}");
        let (_, mended) = support::compiled(&text.replace(wrong, right));
        assert!(mended.iter().all(|d| d.code != code), "{mended:?}");
    }
}

#[test]
fn an_orb_that_may_not_be_had_is_another_mistake_than_one_that_cannot() {
    let text = "version: 2.1
orbs: {a: 'https://refused.example/a.yml', b: 'https://down.example/b.yml', c: acme/none@1.0.0}
jobs: {build: {docker: [{image: a}], steps: [a/x, b/x, c/x]}}
";
    let (_, found) = support::compiled(text);
    let told: Vec<(&str, &str)> = found.iter().map(|d| (d.code, d.message.as_str())).collect();
    assert_eq!(
        told,
        [
            (
                "E_ORB_REF",
                "Cannot fetch https://refused.example/a.yml: it is nowhere near"
            ),
            (
                "E_ORB_NOT_FOUND",
                "Cannot fetch https://down.example/b.yml: it is down"
            ),
            (
                "E_ORB_NOT_FOUND",
                "Cannot find acme/none@1.0.0 in the orb registry."
            ),
        ]
    );
}
