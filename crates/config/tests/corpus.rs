//! Real configs of many repositories: whatever they hold, compiling one ends soon, with a plan or with
//! findings that point into it, and never by a panic.
//!
//! The configs are no part of this repository; without them the test says so and passes, unless
//! `CAPSTAN_REQUIRE` names `shared`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own files has to fail"
)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use capstan_config::{Compiled, Severity, Sources, compile};
use capstan_model::Trigger;
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};

/// Far above what a debug build needs for the largest of them, far below a compiler that ran away.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn real_configs_compile_to_something() {
    let Some(corpus) = corpus() else {
        let required = std::env::var("CAPSTAN_REQUIRE").unwrap_or_default();
        assert!(
            !required.contains("shared"),
            "CAPSTAN_REQUIRE asks for it, and there is no shared/corpus"
        );
        println!(
            "skipped: no shared/corpus beside any folder above {}",
            env!("CARGO_MANIFEST_DIR")
        );
        return;
    };
    let mut files = Vec::new();
    configs_below(&corpus, &mut files);
    files.sort();
    assert!(!files.is_empty(), "{} holds no configs", corpus.display());

    let mut wrong = Vec::new();
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for path in &files {
        let name = path
            .strip_prefix(&corpus)
            .unwrap_or(path)
            .display()
            .to_string();
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        let sources = Sources::new(name.clone(), text.clone());
        for trigger in [trigger(Some("main"), None), trigger(None, Some("v1.0.0"))] {
            let start = Instant::now();
            let compiled = catch_unwind(AssertUnwindSafe(|| compile(&sources, &trigger)));
            let took = start.elapsed();
            if took > LIMIT {
                wrong.push(format!("{name}: took {took:?}"));
            }
            match compiled {
                Ok(compiled) => {
                    let (end, problems) = judge(&compiled, &text);
                    *ends.entry(end).or_default() += 1;
                    wrong.extend(
                        problems
                            .into_iter()
                            .map(|problem| format!("{name}: {problem}")),
                    );
                }
                Err(_) => wrong.push(format!("{name}: panicked")),
            }
        }
    }
    println!(
        "{} configs, each on a branch and on a tag: {ends:?}",
        files.len()
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Says how a compilation ended, and what is wrong with that.
fn judge(compiled: &Compiled, text: &str) -> (&'static str, Vec<String>) {
    let (plan, diagnostics) = match compiled {
        Compiled::Missing(names) if names.is_empty() => {
            return (
                "asks for orbs",
                vec![String::from("asks for no orb by name")],
            );
        }
        Compiled::Missing(_) => return ("asks for orbs", Vec::new()),
        Compiled::Done { plan, diagnostics } => (plan, diagnostics),
    };
    let mut problems = Vec::new();
    for diagnostic in diagnostics {
        let span = diagnostic.span;
        if text.get(span.start as usize..span.end as usize).is_none() {
            problems.push(format!(
                "{span:?} of {} is no stretch of the file",
                diagnostic.code
            ));
        }
    }
    let error = diagnostics.iter().any(|d| d.severity == Severity::Error);
    let refused = diagnostics
        .iter()
        .any(|d| d.severity == Severity::Unsupported);
    if plan.is_some() == error {
        problems.push(format!("a plan: {}, an error: {error}", plan.is_some()));
    }
    let end = match (error, refused) {
        (true, _) => "errors",
        (false, true) => "beyond what is built",
        (false, false) => "runs",
    };
    (end, problems)
}

/// The folder `shared/corpus` in the nearest folder above this crate that has it.
fn corpus() -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/corpus"))
        .find(|folder| folder.is_dir())
}

fn configs_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            configs_below(&path, files);
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            files.push(path);
        }
    }
}

fn trigger(branch: Option<&str>, tag: Option<&str>) -> Trigger {
    Trigger {
        pipeline: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
        number: 1,
        actor: String::from("ada"),
        kind: TriggerKind::CommandLine,
        received_at_ms: 1_760_000_000_000,
        project: Project::default(),
        revision: Revision {
            branch: branch.map(str::to_owned),
            tag: tag.map(str::to_owned),
            ..Revision::default()
        },
        parameters: BTreeMap::new(),
        selection: Selection::default(),
        values: BTreeMap::new(),
    }
}
