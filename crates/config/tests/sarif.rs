//! SARIF as its readers want it: the shape of version 2.1.0 as far as it is used here, indexes and ids
//! that lead somewhere, and fixes that mend.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot build its own input has to fail"
)]

#[path = "support/compiled.rs"]
mod support;

use capstan_config::diagnostic::sarif;
use serde_json::{Value, json};

const CONFIG: &str = "version: 2.1
commands:
  greet:
    parameters: {to: {type: string}}
    steps: [{run: echo << parameters.to >>}]
jobs:
  one:
    docker: [{image: a}]
    steps:
      - greet: {to: 3.8}
      - chekout
    steps: [checkout]
    branches: {only: main}
workflows:
  w:
    jobs: [one]
";

/// What the objects of a log may hold: the name, required keys, other keys.
type Shape = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const LOG: Shape = ("log", &["version", "runs"], &["$schema"]);
const RUN: Shape = ("run", &["tool"], &["results", "invocations", "columnKind"]);
const DRIVER: Shape = (
    "driver",
    &["name"],
    &["informationUri", "semanticVersion", "rules"],
);
const RULE: Shape = (
    "rule",
    &["id"],
    &[
        "shortDescription",
        "fullDescription",
        "help",
        "helpUri",
        "defaultConfiguration",
    ],
);
const RESULT: Shape = (
    "result",
    &["message"],
    &[
        "ruleId",
        "ruleIndex",
        "level",
        "locations",
        "relatedLocations",
        "fixes",
    ],
);
const PLACE: Shape = ("location", &[], &["id", "message", "physicalLocation"]);
const PHYSICAL: Shape = ("physicalLocation", &["artifactLocation"], &["region"]);
const ARTIFACT: Shape = ("artifactLocation", &["uri"], &["uriBaseId"]);
const FIX: Shape = ("fix", &["artifactChanges"], &["description"]);
const CHANGE: Shape = ("artifactChange", &["artifactLocation", "replacements"], &[]);
const REPLACEMENT: Shape = ("replacement", &["deletedRegion"], &["insertedContent"]);

fn shaped(value: &Value, (name, required, other): Shape) {
    let fields = value
        .as_object()
        .unwrap_or_else(|| panic!("{name} is no object: {value}"));
    for key in required {
        assert!(fields.contains_key(*key), "{name} without {key}: {value}");
    }
    for key in fields.keys() {
        let known = required.contains(&key.as_str()) || other.contains(&key.as_str());
        assert!(known, "{name} has {key}");
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn check(log: &Value) {
    shaped(log, LOG);
    assert_eq!(log["version"], "2.1.0");
    for run in items(&log["runs"]) {
        shaped(run, RUN);
        assert_eq!(run["columnKind"], "unicodeCodePoints");
        let driver = &run["tool"]["driver"];
        shaped(driver, DRIVER);
        for rule in items(&driver["rules"]) {
            shaped(rule, RULE);
            assert!(
                rule["help"]["text"]
                    .as_str()
                    .unwrap()
                    .contains("## Example")
            );
            let uri = rule["helpUri"].as_str().unwrap();
            assert!(uri.ends_with(&format!("{}.md", rule["id"].as_str().unwrap())));
        }
        for result in items(&run["results"]) {
            check_result(result, items(&driver["rules"]));
        }
    }
}

fn check_result(result: &Value, rules: &[Value]) {
    shaped(result, RESULT);
    assert!(!result["message"]["text"].as_str().unwrap().is_empty());
    assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
    let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(rules[index]["id"], result["ruleId"]);
    assert_eq!(items(&result["locations"]).len(), 1);
    items(&result["locations"]).iter().for_each(check_place);
    for (id, place) in items(&result["relatedLocations"]).iter().enumerate() {
        assert_eq!(place["id"], id);
        assert!(place["message"]["text"].is_string());
        check_place(place);
    }
    for fix in items(&result["fixes"]) {
        shaped(fix, FIX);
        for change in items(&fix["artifactChanges"]) {
            shaped(change, CHANGE);
            check_artifact(&change["artifactLocation"]);
            for replacement in items(&change["replacements"]) {
                shaped(replacement, REPLACEMENT);
                check_region(&replacement["deletedRegion"]);
                assert!(replacement["insertedContent"]["text"].is_string());
            }
        }
    }
}

fn check_place(place: &Value) {
    shaped(place, PLACE);
    let physical = &place["physicalLocation"];
    shaped(physical, PHYSICAL);
    check_artifact(&physical["artifactLocation"]);
    check_region(&physical["region"]);
}

fn check_artifact(artifact: &Value) {
    shaped(artifact, ARTIFACT);
    let uri = artifact["uri"].as_str().unwrap();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~:/@+%".contains(c);
    assert!(uri.chars().all(fits), "{uri}");
    let relative = !uri.contains(':');
    assert_eq!(relative, artifact["uriBaseId"] == "%SRCROOT%", "{artifact}");
    assert!(!(relative && uri.starts_with('/')), "{uri}");
}

fn check_region(region: &Value) {
    let at = |key: &str| {
        region[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {region}"))
    };
    let start = (at("startLine"), at("startColumn"));
    let end = (at("endLine"), at("endColumn"));
    assert!(start >= (1, 1) && end >= start, "{region}");
}

#[test]
fn a_log_has_the_shape_of_the_format() {
    let found = support::compiled(CONFIG);
    let log = sarif(&[found], &[String::from("gone.yml does not exist")]);
    check(&log);
    let run = &log["runs"][0];
    let ids: Vec<&str> = items(&run["results"])
        .iter()
        .map(|result| result["ruleId"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [
            "E_PARAM_TYPE",
            "E_UNKNOWN_COMMAND",
            "E_YAML",
            "W_DEPRECATED"
        ]
    );
    let rules: Vec<&Value> = items(&run["tool"]["driver"]["rules"])
        .iter()
        .map(|rule| &rule["id"])
        .collect();
    assert_eq!(rules.len(), 4, "only what was found: {rules:?}");
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    let duplicate = &run["results"][2];
    assert_eq!(
        duplicate["relatedLocations"][0]["physicalLocation"]["region"]["startLine"],
        9
    );
}

#[test]
fn fixes_mend_what_they_are_offered_for() {
    let (sources, found) = support::compiled(CONFIG);
    let log = sarif(&[(sources, found)], &[]);
    let mut text = CONFIG.to_owned();
    let mut fixed = 0;
    // From the end, so that places before stay where they are.
    for result in items(&log["runs"][0]["results"]).iter().rev() {
        for fix in items(&result["fixes"]) {
            let replacement = &fix["artifactChanges"][0]["replacements"][0];
            let region = &replacement["deletedRegion"];
            let byte = |line: &str, column: &str| {
                let number = |key: &str| usize::try_from(region[key].as_u64().unwrap()).unwrap();
                let before: usize = text
                    .split_inclusive('\n')
                    .take(number(line) - 1)
                    .map(str::len)
                    .sum();
                before + number(column) - 1
            };
            let range = byte("startLine", "startColumn")..byte("endLine", "endColumn");
            let new = replacement["insertedContent"]["text"].as_str().unwrap();
            text.replace_range(range, new);
            fixed += 1;
        }
    }
    assert_eq!(fixed, 2, "{log:#}");
    let (_, left) = support::compiled(&text);
    let left: Vec<&str> = left.iter().map(|one| one.code).collect();
    assert_eq!(left, ["E_YAML", "W_DEPRECATED"], "{text}");
}

#[test]
fn nothing_found_is_a_log_without_results() {
    let log = sarif(&[], &[]);
    check(&log);
    assert_eq!(log["runs"][0]["results"], json!([]));
}
