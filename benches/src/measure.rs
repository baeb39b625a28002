//! Time and memory of whole processes.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The highest resident memory of a process tree, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peak(pub u64);

/// How long one run of a command takes.
fn time(command: &mut Command) -> Result<Duration, String> {
    let start = Instant::now();
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let took = start.elapsed();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("{command:?}: {status}"))
    }
}

/// The middle of several runs.
pub fn median_of(rounds: usize, make: impl Fn() -> Command) -> Result<Duration, String> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        times.push(time(&mut make())?);
    }
    Ok(median(&mut times))
}

/// The middles of two commands run in turn, so that a change of the machine's mood meets both. One run
/// of each warms the caches.
pub fn pair(
    rounds: usize,
    ours: impl Fn() -> Command,
    limit: impl Fn() -> Command,
) -> Result<(Duration, Duration), String> {
    time(&mut ours())?;
    time(&mut limit())?;
    let mut left = Vec::with_capacity(rounds);
    let mut right = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        left.push(time(&mut ours())?);
        right.push(time(&mut limit())?);
    }
    Ok((median(&mut left), median(&mut right)))
}

/// The middle value; zero of nothing.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// A duration with three digits that matter.
pub fn show(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms >= 1000.0 {
        format!("{:.2} s", ms / 1000.0)
    } else {
        format!("{ms:.2} ms")
    }
}

/// First word of what a command prints.
pub fn once(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

/// SHA-256 of what a command prints.
pub fn sha256(command: &mut Command) -> Result<String, String> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let mut sum = Command::new("sha256sum");
    sum.stdin(stdout);
    let text = once(&mut sum)?;
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        Ok(text)
    } else {
        Err(format!("{command:?}: {status}"))
    }
}

/// Runs a command and watches the resident memory of it and all it started.
pub fn peak(command: &mut Command) -> Result<(Duration, Peak), String> {
    let start = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let root = child.id();
    let over = Arc::new(AtomicBool::new(false));
    let highest = Arc::new(AtomicU64::new(0));
    let watcher = std::thread::spawn({
        let (over, highest) = (Arc::clone(&over), Arc::clone(&highest));
        move || {
            while !over.load(Ordering::Relaxed) {
                highest.fetch_max(resident(root), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
    let status = child.wait().map_err(|error| error.to_string())?;
    let took = start.elapsed();
    over.store(true, Ordering::Relaxed);
    // A panic of the watcher would only mean that no memory was measured.
    let _ = watcher.join();
    if !status.success() {
        return Err(format!("{command:?}: {status}"));
    }
    Ok((took, Peak(highest.load(Ordering::Relaxed))))
}

/// Resident bytes of a process and its descendants.
fn resident(root: u32) -> u64 {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Some((parent, pages)) = stat(pid) else {
            continue;
        };
        parents.push((pid, parent, pages));
    }
    let mut family = vec![root];
    let mut next = 0;
    let mut pages = parents
        .iter()
        .filter(|(pid, ..)| *pid == root)
        .map(|row| row.2)
        .sum::<u64>();
    while let Some(parent) = family.get(next).copied() {
        for (pid, _, size) in parents.iter().filter(|row| row.1 == parent) {
            family.push(*pid);
            pages += size;
        }
        next += 1;
    }
    pages * 4096
}

/// Parent and resident pages.
fn stat(pid: u32) -> Option<(u32, u64)> {
    let mut text = String::new();
    fs::File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read_to_string(&mut text)
        .ok()?;
    // The command's name may hold anything; the fields start after its closing parenthesis.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(21)?.parse().ok()?))
}
