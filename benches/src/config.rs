//! What the compiler costs, beside a scan of the same text by libyaml.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capstan_config::{Compiled, Orb, Severity, Sources, check, compile};
use capstan_model::Trigger;
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};

use crate::measure;
use crate::{Outcome, Row, Tools, compare};

/// The argument by which this program compiles the many jobs, and nothing else.
pub const MANY: &str = "--compile-many-jobs";
/// Memory that the many jobs may take.
const MEMORY_MIB: u64 = 512;
/// How often a text is compiled and scanned; the fastest counts, as all else is the machine's.
const ROUNDS: u32 = 20;

/// Reads the events of the file in its first argument, as often as the second says, and prints the
/// nanoseconds of the fastest.
const SCAN: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <yaml.h>
int main(int argc, char **argv) {
    if (argc != 3) return 2;
    FILE *file = fopen(argv[1], "rb");
    if (!file) return 2;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    unsigned char *text = malloc(size);
    if (fread(text, 1, size, file) != (size_t)size) return 2;
    long best = -1;
    for (int round = atoi(argv[2]); round > 0; round--) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        yaml_parser_t parser;
        yaml_event_t event;
        int last = 0;
        yaml_parser_initialize(&parser);
        yaml_parser_set_input_string(&parser, text, size);
        while (!last) {
            if (!yaml_parser_parse(&parser, &event)) return 3;
            last = event.type == YAML_STREAM_END_EVENT;
            yaml_event_delete(&event);
        }
        yaml_parser_delete(&parser);
        clock_gettime(CLOCK_MONOTONIC, &to);
        long took = (to.tv_sec - from.tv_sec) * 1000000000L + (to.tv_nsec - from.tv_nsec);
        if (best < 0 || took < best) best = took;
    }
    printf("%ld\n", best);
    return 0;
}
"#;

/// 500 jobs that call 50 commands with parameters; a workflow runs each by a matrix of two.
fn large() -> String {
    let mut text =
        String::from("version: 2.1\nparameters:\n  deep: {type: boolean, default: true}\n");
    text.push_str("executors:\n  e:\n    parameters: {tag: {type: string, default: stable}}\n");
    text.push_str("    docker:\n      - image: cimg/base:<< parameters.tag >>\n    environment: {CI_MODE: full}\n");
    text.push_str("commands:\n");
    for at in 0..50 {
        let _ = write!(
            text,
            "  c{at}:\n    description: prepare and test part {at}\n    parameters:\n      where: {{type: string}}\n      \
             level: {{type: integer, default: {at}}}\n      loud: {{type: boolean, default: false}}\n    steps:\n      \
             - run:\n          name: Part {at} of << parameters.where >>\n          command: |\n            \
             cd << parameters.where >>\n            make part-{at} LEVEL=<< parameters.level >>\n      - when:\n          \
             condition: << parameters.loud >>\n          steps:\n            - run: cat << parameters.where >>/log\n"
        );
    }
    text.push_str("jobs:\n");
    for at in 0..500 {
        let _ = write!(
            text,
            "  j{at}:\n    parameters:\n      version: {{type: string}}\n    executor: {{name: e, tag: << parameters.version >>}}\n    \
             resource_class: large\n    working_directory: ~/project/{at}\n    environment:\n      PART: '{at}'\n      \
             VERSION: << parameters.version >>\n    steps:\n      - checkout\n"
        );
        for call in 0..4 {
            let _ = writeln!(
                text,
                "      - c{}: {{where: src/{at}/{call}, loud: {}}}",
                (at * 7 + call * 13) % 50,
                call % 2 == 0
            );
        }
        text.push_str("      - run:\n          name: Tests\n          command: |\n            set -e\n            make test\n");
        text.push_str(
            "          no_output_timeout: 20m\n      - store_test_results: {path: out/results}\n",
        );
    }
    text.push_str("workflows:\n  all:\n    when: << pipeline.parameters.deep >>\n    jobs:\n");
    for at in 0..500 {
        let _ = write!(
            text,
            "      - j{at}:\n          matrix:\n            alias: m{at}\n            parameters: {{version: ['1.{at}', '2.{at}']}}\n          \
             context: [shared]\n          filters:\n            branches: {{only: [main, /release-.*/]}}\n"
        );
        if at > 0 {
            let _ = writeln!(text, "          requires: [m{}]", at / 2);
        }
    }
    text
}

/// 10,000 concrete jobs from 100 matrices of 100.
fn many() -> String {
    let mut text = String::from(
        "version: 2.1\njobs:\n  j:\n    parameters: {a: {type: integer}, b: {type: string}}\n",
    );
    text.push_str("    docker: [{image: 'cimg/base:stable'}]\n    steps:\n      - checkout\n");
    text.push_str(
        "      - run: make << parameters.a >> << parameters.b >>\n      - run: make test\n",
    );
    text.push_str("workflows:\n  all:\n    jobs:\n");
    for at in 0..100 {
        let _ = writeln!(
            text,
            "      - j:\n          name: j{at}-<< matrix.a >>-<< matrix.b >>\n          matrix: {{parameters: {{a: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], \
             b: [a, b, c, d, e, f, g, h, i, j]}}}}"
        );
    }
    text
}

fn trigger() -> Result<Trigger, String> {
    let id = "00000000-0000-0000-0000-000000000001";
    Ok(Trigger {
        pipeline: id.parse().map_err(|_| String::from("no id"))?,
        number: 1,
        actor: String::from("ada"),
        kind: TriggerKind::CommandLine,
        received_at_ms: 0,
        project: Project::default(),
        revision: Revision {
            branch: Some(String::from("main")),
            ..Revision::default()
        },
        parameters: Default::default(),
        selection: Selection::default(),
        values: Default::default(),
    })
}

/// The first error of a text that has to be right.
fn sound(text: &str) -> Result<usize, String> {
    let compiled = compile(&Sources::new("config.yml", text), &trigger()?);
    match compiled {
        Compiled::Done {
            plan: Some(plan), ..
        } => Ok(plan.workflows.iter().map(|w| w.jobs.len()).sum()),
        Compiled::Done { diagnostics, .. } => {
            let error = diagnostics.iter().find(|d| d.severity == Severity::Error);
            Err(error.map_or_else(String::new, |d| d.message.clone()))
        }
        Compiled::Missing(orbs) => Err(format!("asks for {orbs:?}")),
    }
}

fn fastest(rounds: u32, mut work: impl FnMut()) -> Duration {
    let times = (0..rounds).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

/// The fastest scan of a file by libyaml.
fn libyaml(tools: &Tools, file: &Path) -> Result<Duration, String> {
    let source = tools.scratch.join("scan.c");
    let program = tools.scratch.join("scan");
    std::fs::write(&source, SCAN).map_err(|error| error.to_string())?;
    let built = Command::new("cc")
        .arg("-O2")
        .arg("-o")
        .arg(&program)
        .arg(&source)
        .arg("-lyaml")
        .stderr(Stdio::null())
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return Err(String::from("no libyaml: install cc and libyaml-dev"));
    }
    let mut scan = Command::new(&program);
    scan.arg(file).arg(ROUNDS.to_string());
    let ns = measure::once(&mut scan)?;
    let ns = ns.parse().map_err(|_| format!("the scan says {ns:?}"))?;
    Ok(Duration::from_nanos(ns))
}

fn against_libyaml(tools: &Tools, work: impl Fn(&Sources, &Trigger)) -> Outcome {
    let text = large();
    let jobs = sound(&text)?;
    let file = tools.scratch.join("large.yml");
    std::fs::write(&file, &text).map_err(|error| error.to_string())?;
    let limit = libyaml(tools, &file)?;
    let (sources, trigger) = (Sources::new("config.yml", text.as_str()), trigger()?);
    let ours = fastest(ROUNDS, || work(&sources, &trigger));
    let note = format!("{} KB, {jobs} concrete jobs", text.len() / 1000);
    Ok(compare(ours, limit, note))
}

/// `config validate`.
pub fn validate(tools: &Tools) -> Outcome {
    against_libyaml(tools, |sources, trigger| {
        drop(std::hint::black_box(check(sources, trigger)));
    })
}

/// `config process`.
pub fn process(tools: &Tools) -> Outcome {
    against_libyaml(tools, |sources, trigger| {
        std::hint::black_box(compile(sources, trigger));
    })
}

/// The many jobs in a process of their own, whose memory is looked at.
pub fn many_jobs(_: &Tools) -> Outcome {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg(MANY).stdout(Stdio::null());
    let (took, peak) = measure::peak(&mut command)?;
    let row = compare(took, Duration::from_secs(1), String::new());
    let mib = peak.0 >> 20;
    let over = if mib > MEMORY_MIB { ", OVER" } else { "" };
    Ok(Row {
        limit: String::from("1 s"),
        note: format!("{mib} MiB ({MEMORY_MIB} at most){over}"),
        ..row
    })
}

/// What [`many_jobs`] measures.
pub fn compile_many_jobs() -> Result<(), String> {
    match sound(&many())? {
        10_000 => Ok(()),
        jobs => Err(format!("{jobs} jobs instead of 10,000")),
    }
}

/// Every config of the corpus of real ones.
pub fn corpus(_: &Tools) -> Outcome {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = here
        .ancestors()
        .map(|folder| folder.join("shared/corpus"))
        .find(|folder| folder.is_dir())
        .ok_or("no corpus beside this repository")?;
    let mut files = Vec::new();
    collect(&folder, &mut files);
    let trigger = trigger()?;
    let mut times = Vec::new();
    for file in &files {
        let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
        let mut sources = Sources::new("config.yml", String::from_utf8_lossy(&bytes));
        let start = Instant::now();
        while let Compiled::Missing(orbs) = compile(&sources, &trigger) {
            for orb in orbs {
                sources.add_orb(orb, Orb::NotFound);
            }
        }
        times.push(start.elapsed());
    }
    let total: Duration = times.iter().sum();
    let median = measure::median(&mut times);
    let row = compare(total, Duration::from_secs(1), String::new());
    Ok(Row {
        limit: String::from("1 s"),
        note: format!(
            "{} files, the median one {} (2 ms at most)",
            files.len(),
            measure::show(median)
        ),
        ..row
    })
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            files.push(path);
        }
    }
}
