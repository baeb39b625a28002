//! Jobs that have their steps in common are still jobs of their own: each has the values it was given, its
//! own chain of origins, and its own findings.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot build its own input has to fail"
)]

use std::collections::BTreeMap;

use capstan_config::{Compiled, Diagnostic, Orb, Sources, check, compile};
use capstan_model::plan::{JobKind, Plan, StepKind};
use capstan_model::source::{OriginKind, line_column};
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};
use capstan_model::{OriginId, Trigger};

const JOBS: &str = "version: 2.1
commands:
  greet:
    parameters: {who: {type: string}, loud: {type: boolean, default: false}}
    steps:
      - run: echo << parameters.who >>
      - when: {condition: << parameters.loud >>, steps: [{run: echo LOUD}]}
jobs:
  same:
    parameters: {v: {type: string}, w: {type: string, default: x}}
    docker: [{image: 'a:<< parameters.v >>'}]
    steps: [checkout, {greet: {who: 'all', loud: true}}]
  half:
    parameters: {v: {type: string}, w: {type: string, default: x}}
    docker: [{image: 'a:<< parameters.v >>'}]
    steps: [{greet: {who: << parameters.w >>}}]
";

fn trigger() -> Trigger {
    Trigger {
        pipeline: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
        number: 1,
        actor: String::from("ada"),
        kind: TriggerKind::CommandLine,
        received_at_ms: 0,
        project: Project::default(),
        revision: Revision {
            branch: Some(String::from("main")),
            ..Revision::default()
        },
        parameters: BTreeMap::new(),
        selection: Selection::default(),
        values: BTreeMap::new(),
    }
}

/// The plan, if there is one, and the findings, which are those of a validation too.
fn compiled(text: &str) -> (Option<Plan>, Vec<Diagnostic>) {
    let sources = Sources::new("config.yml", text);
    let Compiled::Done { plan, diagnostics } = compile(&sources, &trigger()) else {
        panic!("asks for orbs");
    };
    assert_eq!(check(&sources, &trigger()).as_ref(), Ok(&diagnostics));
    (plan.map(|plan| *plan), diagnostics)
}

/// The commands of each job's `run` steps with their origins.
fn commands(plan: &Plan) -> Vec<(String, Vec<(String, OriginId)>)> {
    let jobs = plan.workflows.iter().flat_map(|workflow| &workflow.jobs);
    jobs.map(|job| {
        let JobKind::Build(build) = &job.kind else {
            panic!("{} has no steps", job.name);
        };
        let steps = build.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Run(run) => Some((run.command.clone(), step.origin)),
            _ => None,
        });
        (job.name.clone(), steps.collect())
    })
    .collect()
}

/// The chain of an origin in short, nearest first.
fn chain(plan: &Plan, origin: OriginId) -> Vec<String> {
    let word = |kind: &OriginKind| match kind {
        OriginKind::Written => String::from("written"),
        OriginKind::Condition => String::from("condition"),
        OriginKind::Command(name) | OriginKind::Job(name) | OriginKind::Workflow(name) => {
            name.clone()
        }
        OriginKind::Matrix(cell) => format!("{cell:?}"),
        other => format!("{other:?}"),
    };
    let chain = plan.origins.chain(origin);
    chain.map(|origin| word(&origin.kind)).collect()
}

#[test]
fn members_that_share_their_steps_have_chains_of_their_own() {
    let workflow = "workflows: {w: {jobs: [{same: {matrix: {parameters: {v: [a, b, c]}}}}]}}\n";
    let (plan, found) = compiled(&format!("{JOBS}{workflow}"));
    let plan = plan.unwrap_or_else(|| panic!("{found:?}"));
    let jobs = commands(&plan);
    assert_eq!(jobs.len(), 3);
    for (job, v) in jobs.iter().zip(["a", "b", "c"]) {
        let (name, steps) = job;
        assert_eq!(*name, format!("same-{v}"));
        let cell = format!("[(\"v\", \"{v}\")]");
        let outer = ["greet", cell.as_str(), "same", "w"];
        let chains: Vec<Vec<String>> = steps.iter().map(|(_, at)| chain(&plan, *at)).collect();
        assert_eq!(chains[0], [&["written"][..], &outer].concat());
        assert_eq!(chains[1], [&["written", "condition"][..], &outer].concat());
    }
    // No row belongs to two of them.
    let mut origins: Vec<OriginId> = jobs.iter().flat_map(|(_, s)| s).map(|s| s.1).collect();
    origins.sort_unstable();
    origins.dedup();
    assert_eq!(origins.len(), 6);
}

#[test]
fn steps_differ_by_the_values_that_they_name() {
    let workflow = "workflows:
  w:
    jobs:
      - half: {matrix: {parameters: {v: [a, b], w: ['1', '2']}}}
      - half: {name: by-default, v: a}
      - half: {name: around, v: a, w: '1', pre-steps: [{run: before}], post-steps: [{run: after}]}
";
    let (plan, found) = compiled(&format!("{JOBS}{workflow}"));
    let jobs = commands(&plan.unwrap_or_else(|| panic!("{found:?}")));
    let said: Vec<(&str, Vec<&str>)> = jobs
        .iter()
        .map(|(name, steps)| {
            let steps = steps.iter().map(|(command, _)| command.as_str());
            (name.as_str(), steps.collect())
        })
        .collect();
    assert_eq!(
        said,
        [
            ("half-a-1", vec!["echo 1"]),
            ("half-a-2", vec!["echo 2"]),
            ("half-b-1", vec!["echo 1"]),
            ("half-b-2", vec!["echo 2"]),
            ("by-default", vec!["echo x"]),
            ("around", vec!["before", "echo 1", "after"]),
        ]
    );
}

/// One list under two jobs: the first leaves out what names a parameter that it lacks, and the second
/// lacks the one that decides, with the same value for its own.
#[test]
fn what_one_job_leaves_out_is_wrong_in_another() {
    let text = "version: 2.1
jobs:
  one:
    parameters: {a: {type: boolean}}
    docker: [{image: i}]
    steps: &steps
      - when: {condition: << parameters.a >>, steps: [{run: echo << parameters.b >>}]}
  two:
    parameters: {b: {type: boolean}}
    docker: [{image: i}]
    steps: *steps
workflows: {w: {jobs: [{one: {a: false}}, {two: {b: false}}]}}
";
    let (plan, found) = compiled(text);
    assert!(plan.is_none());
    let told: Vec<(&str, &str)> = found.iter().map(|d| (d.code, d.message.as_str())).collect();
    let message = "Arguments referenced without declared parameters: parameters.a";
    assert_eq!(told, [("E_PARAM_UNDECLARED", message)]);
}

/// A note that stands where the job of an orb is invoked stands at every invocation.
#[test]
fn a_note_at_the_caller_is_told_to_each_caller() {
    let text = "version: 2.1
orbs: {c: circleci/continuation@1}
workflows:
  w:
    jobs:
      - c/go: {name: first}
      - c/go: {name: second}
";
    let orb = "version: 2.1
commands:
  continue:
    parameters: {configuration_path: {type: string, default: next.yml}}
    steps: [{run: curl}]
jobs:
  go: {docker: [{image: i}], steps: [checkout, continue]}
";
    let mut sources = Sources::new("config.yml", text);
    let orb = Orb::Found {
        exact: String::from("circleci/continuation@1.0.0"),
        text: orb.to_owned(),
    };
    sources.add_orb("circleci/continuation@1", orb);
    let found = check(&sources, &trigger()).unwrap();
    let line = |d: &Diagnostic| line_column(text, d.span.start).0;
    let told: Vec<(&str, u32)> = found.iter().map(|d| (d.code, line(d))).collect();
    assert_eq!(told, [("W_NATIVE", 6), ("W_NATIVE", 7)]);
}
