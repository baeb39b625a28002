//! `cargo run --release -p capstan-fuzz -- [TARGET …] [--runs N] [--seed S]`: a million runs of each
//! target, or of those named. What fails is made small and kept under `fuzz/regressions/`, where an
//! ordinary test runs it again.

use std::fs::File;
use std::process::ExitCode;
use std::time::Instant;

use capstan_fuzz::parent;
use capstan_fuzz::target::Target;
use capstan_fuzz::worker::{Work, work};

/// Runs of a target if nobody says how many.
const RUNS: u64 = 1_000_000;

/// What the command line says.
#[derive(Default)]
struct Asked {
    targets: Vec<Target>,
    runs: Option<u64>,
    seed: u64,
    worker: Option<Target>,
    from: u64,
    to: u64,
    progress: Option<String>,
    input: Option<String>,
}

impl Asked {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            let number = |text: String| {
                text.parse::<u64>()
                    .map_err(|_| format!("{text} is no number"))
            };
            match word.as_str() {
                "--runs" => asked.runs = Some(number(value()?)?),
                "--seed" => asked.seed = number(value()?)?,
                "--from" => asked.from = number(value()?)?,
                "--to" => asked.to = number(value()?)?,
                "--progress" => asked.progress = Some(value()?),
                "--input" => asked.input = Some(value()?),
                "--worker" => asked.worker = Some(target(&value()?)?),
                name => asked.targets.push(target(name)?),
            }
        }
        Ok(asked)
    }
}

fn target(name: &str) -> Result<Target, String> {
    Target::named(name).ok_or_else(|| {
        let names = Target::ALL.map(Target::name);
        format!("no target is called {name}; there are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let outcome = Asked::read(std::env::args().skip(1)).and_then(|asked| match asked.worker {
        Some(target) => in_worker(target, asked),
        None => in_parent(&asked),
    });
    outcome.unwrap_or_else(|why| {
        eprintln!("capstan-fuzz: {why}");
        ExitCode::from(2)
    })
}

fn in_worker(target: Target, asked: Asked) -> Result<ExitCode, String> {
    let task = match (asked.input, asked.progress) {
        (Some(path), _) => {
            let bytes = std::fs::read(&path).map_err(|e| format!("{path}: {e}"))?;
            Work::Input(String::from_utf8_lossy(&bytes).into_owned())
        }
        (None, Some(path)) => Work::Runs {
            seed: asked.seed,
            runs: asked.from..asked.to,
            progress: File::create(&path).map_err(|e| format!("{path}: {e}"))?,
        },
        (None, None) => return Err(String::from("a worker wants --input or --progress")),
    };
    Ok(work(target, task))
}

fn in_parent(asked: &Asked) -> Result<ExitCode, String> {
    let all = Target::ALL.to_vec();
    let targets = if asked.targets.is_empty() {
        &all
    } else {
        &asked.targets
    };
    let mut fine = true;
    for target in targets {
        let began = Instant::now();
        let folder = parent::regressions(*target);
        let runs = asked.runs.unwrap_or(RUNS);
        let report = parent::fuzz(*target, asked.seed, runs, &folder)
            .map_err(|error| format!("{}: {error}", target.name()))?;
        println!(
            "{:<11} {:>9} runs of seed {} in {} s, slowest {} ms, {} failed",
            target.name(),
            report.runs,
            asked.seed,
            began.elapsed().as_secs(),
            report.slowest_ms,
            report.failures.len()
        );
        for failure in &report.failures {
            fine = false;
            println!(
                "  run {}: {}\n    kept in {}",
                failure.run,
                failure.why,
                failure.file.display()
            );
        }
    }
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
