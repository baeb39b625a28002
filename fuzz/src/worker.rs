//! The process that runs inputs: it has limits, and leaves behind which run it was at.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::corpus::Corpus;
use crate::rng::Rng;
use crate::target::Target;

/// How a worker says that a property does not hold.
pub const DOES_NOT_HOLD: u8 = 3;
/// How a worker says that an input took too long.
pub const TOO_LONG: u8 = 4;

/// Memory that one input may take, beside what the worker has to begin with.
const MEMORY: u64 = 512 * 1024 * 1024;
/// The stack of a worker: what threads of a server have.
const STACK: usize = 2 * 1024 * 1024;
/// Processor time of one input, in nanoseconds. An unoptimised build is slower by some factor.
const LONGEST_NS: u64 = if cfg!(debug_assertions) {
    15_000_000_000
} else {
    1_000_000_000
};

/// What a worker does.
pub enum Work {
    /// Some runs of a seed.
    Runs {
        /// The seed.
        seed: u64,
        /// The first run and the one behind the last.
        runs: std::ops::Range<u64>,
        /// Where the number of the run under way is kept.
        progress: File,
    },
    /// One input.
    Input(String),
}

/// When the input under way began in processor time; zero between two.
static BEGAN_NS: AtomicU64 = AtomicU64::new(0);

fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Works in this process, and ends it.
pub fn work(target: Target, work: Work) -> ExitCode {
    thread::spawn(watch);
    let worker = thread::Builder::new().stack_size(STACK).spawn(move || {
        let corpus = match &work {
            Work::Runs { .. } => Corpus::read(),
            Work::Input(_) => Corpus::default(),
        };
        if let Err(why) = limit_memory() {
            println!("cannot limit memory: {why}");
            return Err(());
        }
        run(target, &work, &corpus)
    });
    match worker.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(slowest_ns))) => {
            println!("{}", slowest_ns / 1_000_000);
            ExitCode::SUCCESS
        }
        Ok(Ok(Err(()))) => ExitCode::from(DOES_NOT_HOLD),
        // The panic said why.
        _ => ExitCode::FAILURE,
    }
}

/// The longest time of a run, or an error that was printed.
fn run(target: Target, work: &Work, corpus: &Corpus) -> Result<u64, ()> {
    let mut slowest = 0;
    let mut one = |input: &str| {
        let began = processor_ns();
        BEGAN_NS.store(began, Ordering::Relaxed);
        let held = target.check(input);
        BEGAN_NS.store(0, Ordering::Relaxed);
        slowest = slowest.max(processor_ns() - began);
        held.map_err(|why| println!("{why}"))
    };
    match work {
        Work::Input(input) => one(input)?,
        Work::Runs {
            seed,
            runs,
            progress,
        } => {
            for run in runs.clone() {
                if let Err(why) = progress.write_all_at(&run.to_le_bytes(), 0) {
                    println!("cannot keep the number of the run: {why}");
                    return Err(());
                }
                one(&target.input(corpus, &mut Rng::of(*seed, run)))?;
            }
        }
    }
    Ok(slowest)
}

/// Ends the process when an input takes too long.
fn watch() {
    loop {
        thread::sleep(Duration::from_millis(50));
        let began = BEGAN_NS.load(Ordering::Relaxed);
        if began > 0 && processor_ns().saturating_sub(began) > LONGEST_NS {
            println!("took more than {} s", LONGEST_NS / 1_000_000_000);
            std::process::exit(i32::from(TOO_LONG));
        }
    }
}

/// Lets this process grow by [`MEMORY`] and no more.
fn limit_memory() -> Result<(), String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| e.to_string())?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmSize:"))
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .ok_or("the status of this process has no VmSize")?;
    let limit = Rlimit {
        current: Some(kib * 1024 + MEMORY),
        maximum: getrlimit(Resource::As).maximum,
    };
    setrlimit(Resource::As, limit).map_err(|e| e.to_string())
}
