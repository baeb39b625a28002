//! The process that starts workers, learns how they ended, and keeps the inputs they died of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::corpus::Corpus;
use crate::rng::Rng;
use crate::target::Target;
use crate::worker::{DOES_NOT_HOLD, TOO_LONG};

/// Failures of one target after which its runs end: they are most likely one mistake.
const ENOUGH: usize = 20;
/// Tries to make an input smaller.
const TRIES: usize = 600;
/// How long one input is made smaller.
const PATIENCE: Duration = Duration::from_secs(60);

/// An input that fails.
pub struct Failure {
    /// The number of its run.
    pub run: u64,
    /// What happened.
    pub why: String,
    /// Where the small input was kept.
    pub file: PathBuf,
}

/// What came of the runs of a target.
pub struct Report {
    /// Runs that were made.
    pub runs: u64,
    /// The slowest of them, in milliseconds.
    pub slowest_ms: u64,
    /// What failed.
    pub failures: Vec<Failure>,
}

/// The folder of inputs that failed once.
pub fn regressions(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("regressions")
        .join(target.name())
}

/// Runs a target, and keeps small inputs of what fails in `folder`.
pub fn fuzz(target: Target, seed: u64, runs: u64, folder: &Path) -> io::Result<Report> {
    let program = std::env::current_exe()?;
    let progress = scratch(&format!("{}-{seed}", target.name()));
    let mut report = Report {
        runs: 0,
        slowest_ms: 0,
        failures: Vec::new(),
    };
    let mut from = 0;
    while from < runs && report.failures.len() < ENOUGH {
        let output = worker(&program, target)
            .args(["--seed", &seed.to_string()])
            .args(["--from", &from.to_string(), "--to", &runs.to_string()])
            .arg("--progress")
            .arg(&progress)
            .output()?;
        if output.status.success() {
            let ms = String::from_utf8_lossy(&output.stdout);
            report.slowest_ms = report.slowest_ms.max(ms.trim().parse().unwrap_or(0));
            from = runs;
            break;
        }
        let why = ended(&output);
        let at = fs::read(&progress)?;
        let at = at.try_into().map_err(|_| io::Error::other(why.clone()))?;
        let run = u64::from_le_bytes(at);
        let input = target.input(&Corpus::read(), &mut Rng::of(seed, run));
        let small = smaller(&program, target, &input, &kind(&output))?;
        fs::create_dir_all(folder)?;
        let file = folder.join(format!("{seed}-{run}.txt"));
        fs::write(&file, small)?;
        report.failures.push(Failure { run, why, file });
        from = run + 1;
    }
    report.runs = from;
    // It is in the temporary directory, and of eight bytes.
    let _ = fs::remove_file(progress);
    Ok(report)
}

/// Why an input fails in a worker of `program`, if it does.
pub fn fails(program: &Path, target: Target, input: &Path) -> io::Result<Option<String>> {
    let output = worker(program, target).arg("--input").arg(input).output()?;
    Ok((!output.status.success()).then(|| ended(&output)))
}

fn worker(program: &Path, target: Target) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--worker", target.name()])
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    command
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("capstan-fuzz-{}-{name}", std::process::id()))
}

/// How a worker ended, in words.
fn ended(output: &std::process::Output) -> String {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let how = match output.status.code() {
        Some(code) if code == i32::from(DOES_NOT_HOLD) || code == i32::from(TOO_LONG) => {
            String::new()
        }
        _ => format!("{}: ", output.status),
    };
    let mut text = format!("{how}{} {}", said(&output.stdout), said(&output.stderr));
    if let Some((at, _)) = text.char_indices().nth(2_000) {
        text.truncate(at);
    }
    text
}

/// What has to stay the same while an input gets smaller: the end, and the first words of the reason.
fn kind(output: &std::process::Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text.split_whitespace().take(4).collect::<Vec<_>>();
    (output.status.code(), words.join(" "))
}

/// Takes lines and characters away for as long as the input fails in the same way.
fn smaller(
    program: &Path,
    target: Target,
    input: &str,
    wanted: &(Option<i32>, String),
) -> io::Result<String> {
    let began = Instant::now();
    let file = scratch(&format!("{}-input", target.name()));
    let mut tries = 0;
    let mut fails = |text: &str| -> io::Result<bool> {
        tries += 1;
        if tries > TRIES || began.elapsed() > PATIENCE {
            return Ok(false);
        }
        fs::write(&file, text)?;
        let output = worker(program, target).arg("--input").arg(&file).output()?;
        Ok(!output.status.success() && kind(&output) == *wanted)
    };
    let lines: Vec<&str> = input.split_inclusive('\n').collect();
    let lines = shrink(lines, |lines| fails(&lines.concat()))?;
    let mut text = lines.concat();
    if text.len() <= 4_096 {
        let characters = shrink(text.chars().collect(), |characters: &[char]| {
            fails(&characters.iter().collect::<String>())
        })?;
        text = characters.into_iter().collect();
    }
    // It is in the temporary directory.
    let _ = fs::remove_file(&file);
    Ok(text)
}

/// Halves, quarters and so on down to single items are taken away where that changes nothing.
fn shrink<T: Clone>(
    mut items: Vec<T>,
    mut fails: impl FnMut(&[T]) -> io::Result<bool>,
) -> io::Result<Vec<T>> {
    let mut size = items.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < items.len() {
            let mut fewer = items.clone();
            fewer.drain(at..(at + size).min(items.len()));
            if fails(&fewer)? {
                items = fewer;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::shrink;

    #[test]
    fn what_does_not_matter_is_taken_away() {
        let items: Vec<u32> = (0..100).collect();
        let left = shrink(
            items,
            |items| Ok(items.contains(&17) && items.contains(&91)),
        );
        assert_eq!(left.ok(), Some(vec![17, 91]));
    }
}
