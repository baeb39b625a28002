//! The examples of this repository compile without a finding, and mean what their READMEs say.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own files has to fail"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use capstan_config::{Compiled, Sources, compile};
use capstan_model::plan::JobKind;
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};
use capstan_model::{Plan, Trigger};

#[test]
fn every_example_compiles_without_a_finding() {
    let mut seen = 0;
    for folder in std::fs::read_dir(examples())
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if folder.is_dir() {
            plan_of(&folder, "main");
            plan_of(&folder, "feature");
            assert!(
                folder.join("README.md").is_file(),
                "{} has no README.md",
                folder.display()
            );
            seen += 1;
        }
    }
    assert!(seen >= 2, "only {seen} examples");
}

#[test]
fn backend_stops_after_its_tests_on_a_branch() {
    assert_eq!(
        drawn(&plan_of(&examples().join("backend"), "feature")),
        "deliver\n\
         \x20 build\n\
         \x20 test-unit <- build\n\
         \x20 test-api <- build\n\
         \x20 migrate: skipped\n\
         \x20 stage: skipped\n\
         \x20 smoke-test: skipped\n\
         \x20 hold: skipped\n\
         \x20 deploy-app: skipped\n\
         \x20 deploy-workers: skipped\n"
    );
}

#[test]
fn backend_goes_through_an_approval_to_two_deploys_on_main() {
    assert_eq!(
        drawn(&plan_of(&examples().join("backend"), "main")),
        "deliver\n\
         \x20 build\n\
         \x20 test-unit <- build\n\
         \x20 test-api <- build\n\
         \x20 migrate <- test-unit test-api\n\
         \x20 stage <- migrate\n\
         \x20 smoke-test <- stage\n\
         \x20 hold (approval) <- smoke-test\n\
         \x20 deploy-app <- hold\n\
         \x20 deploy-workers <- hold\n"
    );
}

fn examples() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples")).to_owned()
}

fn plan_of(folder: &Path, branch: &str) -> Plan {
    let path = folder.join(".circleci/config.yml");
    let text = std::fs::read_to_string(&path).unwrap();
    let sources = Sources::new(path.display().to_string(), text);
    match compile(&sources, &trigger(branch)) {
        Compiled::Done {
            plan: Some(plan),
            diagnostics,
        } if diagnostics.is_empty() => *plan,
        other => panic!("{}: {other:#?}", path.display()),
    }
}

/// A line a job: what it waits for, or that it is skipped.
fn drawn(plan: &Plan) -> String {
    let mut text = String::new();
    for workflow in &plan.workflows {
        text.push_str(&workflow.name);
        text.push('\n');
        for job in &workflow.jobs {
            text.push_str("  ");
            text.push_str(&job.name);
            if job.kind == JobKind::Approval && job.decision.runs {
                text.push_str(" (approval)");
            }
            if !job.decision.runs {
                text.push_str(": skipped");
            } else if !job.requires.is_empty() {
                let names: Vec<&str> = job.requires.iter().map(|r| r.job.as_str()).collect();
                text.push_str(" <- ");
                text.push_str(&names.join(" "));
            }
            text.push('\n');
        }
    }
    text
}

fn trigger(branch: &str) -> Trigger {
    Trigger {
        pipeline: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
        number: 1,
        actor: String::from("ada"),
        kind: TriggerKind::CommandLine,
        received_at_ms: 1_760_000_000_000,
        project: Project::default(),
        revision: Revision {
            branch: Some(branch.to_owned()),
            ..Revision::default()
        },
        parameters: BTreeMap::new(),
        selection: Selection::default(),
        values: BTreeMap::new(),
    }
}
