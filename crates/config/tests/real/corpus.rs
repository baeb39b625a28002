//! Real configs of many repositories, compiled with real orbs: every one that is sound compiles, or stands
//! in `corpus.txt` with the finding it gets and why.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use capstan_config::{Compiled, Orb, Severity, Sources, compile};
use capstan_model::Trigger;

use crate::shared::{OrbFolder, Row, compile_with, trigger};
use crate::{check, expected, first_error};

/// Far above what a debug build needs for the largest of them, far below a compiler that ran away.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn sound_configs_compile_or_are_expected_not_to() {
    let (Some(folder), Some(orbs)) = (
        crate::shared::folder("corpus"),
        crate::shared::folder("orbs"),
    ) else {
        return;
    };
    let orbs = OrbFolder::new(&orbs);
    let mut expected = expected("corpus.txt");
    let listed = expected.len();
    let mut wrong = String::new();
    let (mut rows, mut compiled, mut stubbed) = (0, 0, 0);
    for row in crate::shared::corpus(&folder) {
        if !row.sound || !matches!(row.role.as_str(), "config" | "continuation") {
            continue;
        }
        rows += 1;
        let outcome = outcome(&row, &orbs);
        stubbed += usize::from(outcome.stubbed);
        compiled += usize::from(outcome.failure.is_none());
        check(&row.name, outcome.failure, &mut expected, &mut wrong);
    }
    for name in expected.keys() {
        let _ = writeln!(
            wrong,
            "{name}: is listed and is no sound config of the corpus"
        );
    }
    println!(
        "{rows} rows: {compiled} compile ({stubbed} with made-up orbs), {listed} are expected not to"
    );
    assert!(
        listed * 10 <= rows,
        "more than a tenth of the rows are expected to fail"
    );
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Whatever a file holds, compiling it ends soon, with a plan or with findings that point into it.
#[test]
fn every_file_compiles_to_something() {
    let Some(folder) = crate::shared::folder("corpus") else {
        return;
    };
    let mut wrong = Vec::new();
    let rows = crate::shared::corpus(&folder);
    assert!(!rows.is_empty(), "{} holds no configs", folder.display());
    for row in &rows {
        let text = String::from_utf8_lossy(&std::fs::read(&row.path).unwrap()).into_owned();
        let mut sources = Sources::new(row.name.clone(), text);
        for trigger in [trigger(Some("main"), None), trigger(None, Some("v1.0.0"))] {
            let start = Instant::now();
            let done = catch_unwind(AssertUnwindSafe(|| {
                compile_with(sources.clone(), &trigger, compile, |_| Orb::NotFound)
            }));
            let took = start.elapsed();
            if took > LIMIT {
                wrong.push(format!("{}: took {took:?}", row.name));
            }
            match done {
                Ok((compiled, answered, _)) => {
                    let problems = judge(&compiled, &answered);
                    wrong.extend(problems.into_iter().map(|p| format!("{}: {p}", row.name)));
                    sources = answered;
                }
                Err(_) => wrong.push(format!("{}: panicked", row.name)),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What is wrong with the end of a compilation.
fn judge(compiled: &Compiled, sources: &Sources) -> Vec<String> {
    let Compiled::Done { plan, diagnostics } = compiled else {
        return vec![String::from("asks for orbs that were answered")];
    };
    let mut problems = Vec::new();
    for diagnostic in diagnostics {
        let span = diagnostic.span;
        let text = sources.get(span.file).map_or("", |file| file.text.as_str());
        if text.get(span.start as usize..span.end as usize).is_none() {
            problems.push(format!(
                "{span:?} of {} is no stretch of the file",
                diagnostic.code
            ));
        }
    }
    let error = diagnostics.iter().any(|d| d.severity == Severity::Error);
    if plan.is_some() == error {
        problems.push(format!("a plan: {}, an error: {error}", plan.is_some()));
    }
    problems
}

struct Outcome {
    /// The first error with its place; `None` if there is a plan.
    failure: Option<String>,
    /// Whether an orb had to be made up.
    stubbed: bool,
}

fn outcome(row: &Row, orbs: &OrbFolder) -> Outcome {
    let text = filled(&std::fs::read_to_string(&row.path).unwrap());
    let trigger = trigger(Some("main"), None);
    let settled = crate::stub::settle(&row.name, &text, &trigger, compile, orbs);
    let failure = first_error(&settled.compiled, &settled.sources);
    if let Compiled::Done {
        plan: Some(plan), ..
    } = &settled.compiled
    {
        again(row, &plan.processed, &trigger);
    }
    Outcome {
        failure,
        stubbed: settled.stubbed,
    }
}

/// The text with `orbs: {node: {}}` filled in. Such an empty orb is a gap: a publishing job puts the orb
/// under test there before it continues.
fn filled(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for line in text.lines() {
        if !line.starts_with([' ', '#']) {
            inside = line.trim_end() == "orbs:";
        }
        match line.trim_end().strip_suffix(": {}") {
            Some(alias) if inside => {
                let _ = writeln!(out, "{alias}: made-up/{}@1.0.0", alias.trim());
            }
            _ => {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}

/// What was processed compiles to itself.
fn again(row: &Row, processed: &str, trigger: &Trigger) {
    let (compiled, ..) = compile_with(
        Sources::new("processed.yml", processed),
        trigger,
        compile,
        |_| Orb::NotFound,
    );
    let Compiled::Done {
        plan: Some(plan), ..
    } = &compiled
    else {
        panic!(
            "{}: what was processed does not compile: {compiled:?}\n{processed}",
            row.name
        );
    };
    let body = |text: &str| {
        let text = text
            .split("\n# Original config:\n")
            .next()
            .unwrap_or(text)
            .to_owned();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(body(&plan.processed), body(processed), "{}", row.name);
}
