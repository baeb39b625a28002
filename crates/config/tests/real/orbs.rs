//! Real orbs: every one of them is sound, or stands in `orbs.txt`. Of some, the examples compile too, and
//! configs that call each of their commands and jobs.

use std::fmt::Write as _;

use capstan_config::{Orb, compile, validate_orb};
use serde_json::Value;

use crate::shared::{OrbFolder, trigger};
use crate::{check, expected, first_error};

#[test]
fn every_orb_is_sound_or_expected_not_to_be() {
    let Some(folder) = crate::shared::folder("orbs") else {
        return;
    };
    let orbs = OrbFolder::new(&folder);
    let mut expected = expected("orbs.txt");
    let mut wrong = String::new();
    let all = orbs.all();
    assert!(!all.is_empty(), "{} holds no orbs", folder.display());
    for (name, path) in &all {
        let text = std::fs::read_to_string(path).unwrap();
        let trigger = trigger(Some("main"), None);
        let settled = crate::stub::settle(name, &text, &trigger, validate_orb, &orbs);
        let error = first_error(&settled.compiled, &settled.sources);
        check(name, error, &mut expected, &mut wrong);
    }
    for name in expected.keys() {
        let _ = writeln!(
            wrong,
            "{name}: stands in the list and is no orb of the folder"
        );
    }
    println!("{} orbs", all.len());
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The orbs that are looked at whole: all they offer is called, and their own examples compile.
const WHOLE: [&str; 4] = [
    "circleci/slack@4.3.1",
    "circleci/aws-cli@1.4.0",
    "circleci/aws-ecr@6.15.3",
    "circleci/aws-elastic-beanstalk@1.0.2",
];

#[test]
fn a_config_can_call_all_that_an_orb_offers() {
    let Some(folder) = crate::shared::folder("orbs") else {
        return;
    };
    let orbs = OrbFolder::new(&folder);
    let mut wrong = String::new();
    for name in WHOLE {
        let orb = yaml_of(&orbs, name);
        let config = calls_all(name, &orb);
        let offered = members(&orb, "commands").len() + members(&orb, "jobs").len();
        assert!(offered > 1, "{name} offers next to nothing: {config}");
        let trigger = trigger(Some("main"), None);
        let settled = crate::stub::settle("config.yml", &config, &trigger, compile, &orbs);
        if let Some(error) = first_error(&settled.compiled, &settled.sources) {
            let _ = writeln!(wrong, "{name}: {error}\n{config}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_examples_of_an_orb_compile() {
    let Some(folder) = crate::shared::folder("orbs") else {
        return;
    };
    let orbs = OrbFolder::new(&folder);
    let mut expected = expected("examples.txt");
    let mut wrong = String::new();
    for name in WHOLE {
        let orb = yaml_of(&orbs, name);
        let examples = orb["examples"].as_object();
        assert!(
            examples.is_some_and(|e| !e.is_empty()),
            "{name} has no examples"
        );
        for (title, example) in examples.unwrap() {
            // JSON is YAML too.
            let usage = example["usage"].to_string();
            let (_, version) = name.split_once('@').unwrap();
            let usage = usage.replace("@x.y.z", &format!("@{version}"));
            let usage = usage.replace("@x.y\"", &format!("@{version}\""));
            let trigger = trigger(Some("main"), None);
            let settled = crate::stub::settle("usage.yml", &usage, &trigger, compile, &orbs);
            let error = first_error(&settled.compiled, &settled.sources);
            let title = format!("{name}/{title}");
            check(&title, error, &mut expected, &mut wrong);
        }
    }
    for name in expected.keys() {
        let _ = writeln!(wrong, "{name}: stands in the list and is no example");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn yaml_of(orbs: &OrbFolder, name: &str) -> Value {
    let Orb::Found { text, .. } = orbs.find(name) else {
        panic!("the folder of orbs has no {name}");
    };
    crate::yaml::read(&text).unwrap()
}

/// A config that calls every command and job of an orb, with an argument for each parameter that has no
/// default.
fn calls_all(name: &str, orb: &Value) -> String {
    let mut out = format!("version: 2.1\norbs: {{o: {name}}}\njobs:\n  commands:\n");
    out.push_str("    machine: {image: ubuntu-2204:current}\n    steps:\n      - checkout\n");
    for (command, definition) in members(orb, "commands") {
        let _ = writeln!(out, "      - o/{command}: {}", arguments(definition));
    }
    out.push_str("workflows:\n  all:\n    jobs:\n      - commands\n");
    for (job, definition) in members(orb, "jobs") {
        let _ = writeln!(out, "      - o/{job}: {}", arguments(definition));
    }
    out
}

fn members<'a>(orb: &'a Value, section: &str) -> Vec<(&'a String, &'a Value)> {
    let all = orb.get(section).and_then(Value::as_object);
    all.map(|all| all.iter().collect()).unwrap_or_default()
}

fn arguments(definition: &Value) -> Value {
    let declared = definition.get("parameters").and_then(Value::as_object);
    let mut given = serde_json::Map::new();
    for (name, parameter) in declared.into_iter().flatten() {
        if parameter.get("default").is_some_and(|d| !d.is_null()) {
            continue;
        }
        let value = match parameter["type"].as_str().unwrap() {
            "boolean" => true.into(),
            "integer" => 1.into(),
            "steps" => Value::Array(vec!["checkout".into()]),
            "env_var_name" => "NAME".into(),
            "enum" => parameter["enum"][0].clone(),
            "executor" => "o/default".into(),
            _ => "text".into(),
        };
        given.insert(name.clone(), value);
    }
    Value::Object(given)
}
