//! The conformance cases of the language, as data: `tests/conformance/*.txt`, each case under its number.
//! The head of `support/cases.rs` says how they are written.
//!
//! Cases that wait for parts of the language not built yet are named in `tests/conformance/left.txt` with
//! the reason; one that is named there and passes is a mistake of that list. `CASE=11` in the environment
//! picks the cases of one number, or one case.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own files has to fail"
)]

#[path = "support/cases.rs"]
mod cases;
#[path = "support/yaml.rs"]
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use capstan_config::continuation;
use capstan_config::{Compiled, Diagnostic, Orb, Severity, Sources, compile};
use capstan_model::plan::{
    Decision, Job, JobKind, PinnedOrb, Plan, RequiredStatus, Requirement, Workflow,
};
use capstan_model::{Digest, FileId, OriginId, Span, Trigger};
use serde_json::Value;

use cases::{Case, Check, Fact, read_cases, read_left};

/// How many cases the language has; every number from 1 must be here or in `left.txt`.
const CASES: u32 = 111;

#[test]
fn every_case_of_the_language_is_here_or_listed_as_left() {
    let cases = read_cases();
    let left = read_left();
    let mut seen = BTreeSet::new();
    let mut wrong = String::new();
    for case in &cases {
        if !seen.insert(case.id.clone()) {
            let _ = writeln!(wrong, "{}: case {} stands twice", case.place, case.id);
        }
    }
    for number in 1..=CASES {
        let number = number.to_string();
        let here = seen.iter().any(|id| number_of(id) == number);
        if !here && !left.contains_key(&number) {
            let _ = writeln!(
                wrong,
                "case {number} is nowhere: write it, or say in left.txt why not"
            );
        }
    }
    for id in left.keys().chain(&seen) {
        if !number_of(id)
            .parse::<u32>()
            .is_ok_and(|n| (1..=CASES).contains(&n))
        {
            let _ = writeln!(wrong, "{id} is no case of the language");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn cases_pass_and_those_left_do_not() {
    let left = read_left();
    let only = std::env::var("CASE").ok();
    let mut wrong = String::new();
    for case in read_cases() {
        if only
            .as_deref()
            .is_some_and(|only| only != case.id && only != number_of(&case.id))
        {
            continue;
        }
        match (run(&case), left.get(&case.id)) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Ok(()), Some(reason)) => {
                let _ = writeln!(
                    wrong,
                    "{}: case {} ({}) passes, yet left.txt lists it: {reason}",
                    case.place, case.id, case.title
                );
            }
            (Err(why), None) => {
                let _ = writeln!(
                    wrong,
                    "{}: case {} ({})\n{why}",
                    case.place, case.id, case.title
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The cases are worth what their facts are worth: each kind of fact is refused where it does not hold.
#[test]
fn facts_that_do_not_hold_are_noticed() {
    let plan = Plan {
        workflows: vec![Workflow {
            name: String::from("w"),
            decision: decision(true),
            jobs: vec![planned("a", true, &[]), planned("b", false, &["a"])],
            max_auto_reruns: 0,
            origin: OriginId(0),
        }],
        orbs: vec![PinnedOrb {
            reference: String::from("acme/x@1"),
            exact: String::from("acme/x@1.3.0"),
            digest: Digest::of([0; 32]),
        }],
        processed: String::from("jobs: {a: {parallelism: 4, steps: [{run: {command: echo hi}}]}}"),
        ..Plan::default()
    };
    let processed = yaml::read(&plan.processed).unwrap();
    let table = [
        ("ok", true),
        ("at jobs/a/parallelism = 4", true),
        ("at jobs/a/parallelism = \"4\"", false),
        ("at jobs > a > parallelism = 5", false),
        ("at jobs/c = 1", false),
        ("absent jobs/c", true),
        ("absent jobs/a", false),
        ("begins jobs/a/steps/0/run/command = echo", true),
        ("begins jobs/a/steps/0/run/command = hi", false),
        ("jobs a", true),
        ("jobs a b", false),
        ("runs w/a", true),
        ("runs w/a w/b", false),
        ("runs w/c", false),
        ("skips w/b", true),
        ("skips w/a", false),
        ("workflow-runs w", true),
        ("workflow-skipped w", false),
        ("workflow-skipped v", false),
        ("requires w/b = [a]", true),
        ("requires w/b = [{a: [failed]}]", false),
        ("error E_SCHEMA", false),
        ("warning W_NAME", false),
        ("missing acme/x@1", false),
        ("orb acme/x@1 = acme/x@1.3.0", true),
        ("orb acme/x@1 = acme/x@1.2.0", false),
        ("orb acme/y@1 = acme/x@1.3.0", false),
    ];
    for (line, expected) in table {
        let fact = cases::fact(line).unwrap();
        assert_eq!(
            fact.holds(Some(&plan), &processed, &[]).is_ok(),
            expected,
            "{line}"
        );
    }
}

fn decision(runs: bool) -> Decision {
    let span = Span {
        file: FileId(0),
        start: 0,
        end: 0,
    };
    Decision {
        runs,
        reason: String::from("because"),
        clause: None,
        value: None,
        span,
    }
}

fn planned(name: &str, runs: bool, requires: &[&str]) -> Job {
    let requirement = |job: &&str| Requirement {
        job: (*job).to_owned(),
        statuses: vec![RequiredStatus::Success],
    };
    Job {
        name: name.to_owned(),
        kind: JobKind::NoOp,
        decision: decision(runs),
        requires: requires.iter().map(requirement).collect(),
        contexts: Vec::new(),
        serial_group: None,
        origin: OriginId(0),
    }
}

fn number_of(id: &str) -> &str {
    id.split('.').next().unwrap_or(id)
}

fn run(case: &Case) -> Result<(), String> {
    let mut why = String::new();
    for check in &case.checks {
        let trigger = match continued(case, check) {
            Ok(trigger) => trigger,
            Err(problem) => {
                let _ = writeln!(why, "{problem}");
                continue;
            }
        };
        let Some(trigger) = trigger else { continue };
        let mut sources = Sources::new(".circleci/config.yml", case.config.clone());
        let mut compiled = compile(&sources, &trigger);
        if let (Compiled::Missing(names), false) = (&compiled, case.registry.is_empty()) {
            for name in names {
                sources.add_orb(name, answer(case, name));
            }
            compiled = compile(&sources, &trigger);
        }
        if let Err(problem) = holds(check, &compiled, &sources) {
            let _ = writeln!(why, "{problem}");
        }
    }
    if why.is_empty() { Ok(()) } else { Err(why) }
}

/// The trigger that the config of a case is compiled for: what a setup config, if there is one, passes on
/// stands in it. `None` where that is refused as expected.
fn continued(case: &Case, check: &Check) -> Result<Option<Trigger>, String> {
    let refused = check.facts.iter().find_map(|(_, fact)| match fact {
        Fact::Refused(words) => Some(words),
        _ => None,
    });
    if case.setup.is_empty() {
        return Ok(Some(check.trigger.clone()));
    }
    let sources = Sources::new("setup.yml", case.setup.clone());
    let compiled = compile(&sources, &check.trigger);
    let Compiled::Done {
        plan: Some(plan), ..
    } = &compiled
    else {
        return Err(format!(
            "    the setup config does not compile: {compiled:?}"
        ));
    };
    match (
        continuation::continued(plan, &check.trigger, &check.passed),
        refused,
    ) {
        (Ok(trigger), None) => Ok(Some(trigger)),
        (Err(why), Some(words)) if why.contains(words) => Ok(None),
        (Ok(_), Some(words)) => Err(format!("    not refused: {words}")),
        (Err(why), _) => Err(format!("    refused: {why}")),
    }
}

/// What the case's registry has for a reference.
fn answer(case: &Case, reference: &str) -> Orb {
    match case.resolve(reference) {
        None => Orb::NotFound,
        Some(exact) => Orb::Found {
            text: format!("version: 2.1\ncommands: {{c: {{steps: [{{run: echo {exact}}}]}}}}\n"),
            exact,
        },
    }
}

fn holds(check: &Check, compiled: &Compiled, sources: &Sources) -> Result<(), String> {
    let (plan, diagnostics) = match compiled {
        Compiled::Missing(names) => {
            let asked = check.facts.iter().find_map(|(_, fact)| match fact {
                Fact::Missing(expected) => Some(expected),
                _ => None,
            });
            return match asked {
                Some(expected) if expected == names => Ok(()),
                _ => Err(format!("    the compiler asks for the orbs {names:?}")),
            };
        }
        Compiled::Done { plan, diagnostics } => (plan.as_deref(), diagnostics.as_slice()),
    };
    let mut why = String::new();
    let wants_error = check
        .facts
        .iter()
        .any(|(_, fact)| matches!(fact, Fact::Error { .. }));
    for diagnostic in diagnostics {
        if let Err(problem) = well_formed(diagnostic, sources) {
            let _ = writeln!(why, "    {problem}");
        }
        let expected = check
            .facts
            .iter()
            .any(|(_, fact)| matches_error(fact, diagnostic));
        if wants_error && diagnostic.severity == Severity::Error && !expected {
            let _ = writeln!(why, "    not expected: {}", shown(diagnostic));
        }
    }
    let processed = match plan {
        Some(plan) => match yaml::read(&plan.processed) {
            Ok(value) => value,
            Err(error) => return Err(format!("    the processed config is no YAML: {error}")),
        },
        None => Value::Null,
    };
    if let Some(plan) = plan
        && let Err(problem) = compiles_to_itself(&plan.processed, &processed, &check.trigger)
    {
        let _ = writeln!(why, "    {problem}");
    }
    for (line, fact) in &check.facts {
        if let Err(problem) = fact.holds(plan, &processed, diagnostics) {
            let _ = writeln!(why, "    line {line}: {problem}");
        }
    }
    if why.is_empty() { Ok(()) } else { Err(why) }
}

/// What was processed is finished: compiled once more, it stays as it is.
fn compiles_to_itself(text: &str, processed: &Value, trigger: &Trigger) -> Result<(), String> {
    // Its parameters are gone, so the trigger gives none.
    let trigger = Trigger {
        parameters: BTreeMap::new(),
        ..trigger.clone()
    };
    let compiled = compile(&Sources::new("processed.yml", text), &trigger);
    let Compiled::Done {
        plan: Some(plan), ..
    } = &compiled
    else {
        return Err(format!(
            "the processed config does not compile: {compiled:?}\n{text}"
        ));
    };
    let again = yaml::read(&plan.processed)?;
    if again == *processed {
        return Ok(());
    }
    Err(format!(
        "the processed config compiles to another one\n      {processed}\n      {again}"
    ))
}

/// A finding names a code of ours and points into a file that is there.
fn well_formed(diagnostic: &Diagnostic, sources: &Sources) -> Result<(), String> {
    let spans = std::iter::once(&diagnostic.span)
        .chain(diagnostic.labels.iter().map(|(span, _)| span))
        .chain(diagnostic.origin.iter().map(|(_, span)| span));
    for span in spans {
        let text = sources
            .get(span.file)
            .map(|file| file.text.as_str())
            .unwrap_or_default();
        if text.get(span.start as usize..span.end as usize).is_none() {
            return Err(format!(
                "{:?} is no place of the file: {}",
                span,
                shown(diagnostic)
            ));
        }
    }
    let prefix = match diagnostic.severity {
        Severity::Error => "E_",
        Severity::Warning => "W_",
        Severity::Unsupported => "U_",
    };
    if !diagnostic.code.starts_with(prefix) || diagnostic.message.is_empty() {
        return Err(format!(
            "a code that does not fit its severity, or no message: {}",
            shown(diagnostic)
        ));
    }
    Ok(())
}

fn matches_error(fact: &Fact, diagnostic: &Diagnostic) -> bool {
    match fact {
        Fact::Error { code, words } => {
            diagnostic.severity == Severity::Error
                && diagnostic.code == code
                && words.iter().all(|words| diagnostic.message.contains(words))
        }
        _ => false,
    }
}

impl Fact {
    fn holds(
        &self,
        plan: Option<&Plan>,
        processed: &Value,
        diagnostics: &[Diagnostic],
    ) -> Result<(), String> {
        let found = || all_shown(diagnostics);
        match self {
            Self::Error { code, words } => {
                if plan.is_some() {
                    return Err(format!("there is a plan in spite of {code}"));
                }
                if diagnostics
                    .iter()
                    .any(|diagnostic| matches_error(self, diagnostic))
                {
                    return Ok(());
                }
                Err(format!("no {code} with {words:?} among{}", found()))
            }
            Self::Warning { code } => {
                let there = diagnostics
                    .iter()
                    .any(|d| d.severity == Severity::Warning && d.code == code);
                if there {
                    Ok(())
                } else {
                    Err(format!("no {code} among{}", found()))
                }
            }
            Self::Refused(words) => Err(format!("not refused: {words}")),
            Self::Missing(names) => Err(format!(
                "the compiler does not ask for {names:?}: {}",
                found()
            )),
            _ => {
                let Some(plan) = plan else {
                    return Err(format!("there is no plan:{}", found()));
                };
                if diagnostics.iter().any(|d| d.severity == Severity::Error) {
                    return Err(format!("there is a plan together with errors:{}", found()));
                }
                self.holds_in(plan, processed)
            }
        }
    }

    fn holds_in(&self, plan: &Plan, processed: &Value) -> Result<(), String> {
        match self {
            Self::Ok
            | Self::Error { .. }
            | Self::Warning { .. }
            | Self::Missing(_)
            | Self::Refused(_) => Ok(()),
            Self::Orb { reference, exact } => {
                let pin = plan.orbs.iter().find(|pin| pin.reference == *reference);
                match pin {
                    Some(pin) if pin.exact == *exact => Ok(()),
                    pin => Err(format!("{reference} is {:?}", pin.map(|pin| &pin.exact))),
                }
            }
            Self::At { path, value } => match lookup(processed, path) {
                Some(found) if found == value => Ok(()),
                Some(found) => Err(format!(
                    "at {}\n      expected {value}\n      got      {found}",
                    path.join("/")
                )),
                None => Err(format!("nothing at {} in\n{processed}", path.join("/"))),
            },
            Self::Absent(path) => match lookup(processed, path) {
                None => Ok(()),
                Some(found) => Err(format!("{} should be absent, is {found}", path.join("/"))),
            },
            Self::Begins { path, text } => match lookup(processed, path).and_then(Value::as_str) {
                Some(found) if found.starts_with(text.as_str()) => Ok(()),
                other => Err(format!(
                    "{} does not begin with {text:?}: {other:?}",
                    path.join("/")
                )),
            },
            Self::Jobs(names) => {
                let found: BTreeSet<String> = processed
                    .get("jobs")
                    .and_then(Value::as_object)
                    .map(|jobs| jobs.keys().cloned().collect())
                    .unwrap_or_default();
                if found == *names {
                    Ok(())
                } else {
                    Err(format!("jobs: expected {names:?}, got {found:?}"))
                }
            }
            Self::Workflow { name, runs } => {
                let decision = &workflow(plan, name)?.decision;
                if decision.runs != *runs || decision.reason.is_empty() {
                    return Err(format!(
                        "workflow {name}: runs = {}, because {:?}",
                        decision.runs, decision.reason
                    ));
                }
                Ok(())
            }
            Self::Job { names, runs } => {
                for (in_workflow, name) in names {
                    let decision = &job(plan, in_workflow, name)?.decision;
                    if decision.runs != *runs || decision.reason.is_empty() {
                        return Err(format!(
                            "job {name}: runs = {}, because {:?}",
                            decision.runs, decision.reason
                        ));
                    }
                }
                Ok(())
            }
            Self::Requires {
                job: (in_workflow, name),
                value,
            } => {
                let found: Vec<Value> = job(plan, in_workflow, name)?
                    .requires
                    .iter()
                    .map(|requirement| {
                        let words: Vec<Value> = requirement
                            .statuses
                            .iter()
                            .map(|s| Value::from(s.as_str()))
                            .collect();
                        if words == [Value::from("success")] {
                            Value::from(requirement.job.clone())
                        } else {
                            serde_json::json!({ requirement.job.clone(): words })
                        }
                    })
                    .collect();
                let found = Value::Array(found);
                if found == *value {
                    Ok(())
                } else {
                    Err(format!("{name} requires {found}, not {value}"))
                }
            }
        }
    }
}

fn workflow<'a>(plan: &'a Plan, name: &str) -> Result<&'a Workflow, String> {
    plan.workflows
        .iter()
        .find(|w| w.name == name)
        .ok_or_else(|| {
            let names: Vec<&str> = plan.workflows.iter().map(|w| w.name.as_str()).collect();
            format!("no workflow {name} in the plan, only {names:?}")
        })
}

fn job<'a>(plan: &'a Plan, in_workflow: &str, name: &str) -> Result<&'a Job, String> {
    let workflow = workflow(plan, in_workflow)?;
    workflow
        .jobs
        .iter()
        .find(|j| j.name == name)
        .ok_or_else(|| {
            let names: Vec<&str> = workflow.jobs.iter().map(|j| j.name.as_str()).collect();
            format!("no job {name} in workflow {in_workflow}, only {names:?}")
        })
}

fn lookup<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

fn shown(diagnostic: &Diagnostic) -> String {
    format!("{} {:?}", diagnostic.code, diagnostic.message)
}

fn all_shown(diagnostics: &[Diagnostic]) -> String {
    if diagnostics.is_empty() {
        return String::from(" no findings at all");
    }
    diagnostics
        .iter()
        .fold(String::new(), |mut text, diagnostic| {
            let _ = write!(text, "\n      {}", shown(diagnostic));
            text
        })
}
