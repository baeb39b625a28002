//! The simulator: a hundred thousand histories of a pipeline among lost runners, doubled, late and stale
//! messages, cancels and reruns. After each event everything that must hold is looked at.
//!
//! `CAPSTAN_SIM_SEEDS=1000 cargo test -p capstan-engine --test sim` runs fewer of them, and
//! `CAPSTAN_SIM_SEED=42` runs one alone.

#[path = "sim/check.rs"]
mod check;
#[path = "sim/plans.rs"]
mod plans;
#[path = "sim/rng.rs"]
mod rng;
#[path = "sim/world.rs"]
mod world;

use capstan_engine::mutation::{Mutation, plant};
use capstan_model::JobStatus;

use world::Seen;

const SEEDS: u64 = 100_000;
const EVENTS: usize = 100;

/// Events that are about a job or one of its tasks.
const ABOUT_A_JOB: [&str; 8] = [
    "claimed",
    "task started",
    "task finished",
    "lease timer",
    "cancel timer",
    "approved",
    "cancel asked",
    "granted",
];

/// States of a job that no event of today leads to, and why.
const NEVER: [(JobStatus, &str); 3] = [
    (
        JobStatus::TerminatedUnknown,
        "a runner that is lost is known to be lost",
    ),
    (
        JobStatus::Unauthorized,
        "contexts are not checked by the engine yet",
    ),
    (JobStatus::Retried, "a second try is a task of the same job"),
];

#[test]
fn every_history_holds() {
    if let Some(seed) = number("CAPSTAN_SIM_SEED") {
        world::history(seed, EVENTS, &mut Seen::new()).unwrap();
        return;
    }
    let seeds = number("CAPSTAN_SIM_SEEDS").unwrap_or(SEEDS);
    let lanes = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let threads: Vec<_> = (0..lanes)
        .map(|lane| {
            std::thread::spawn(move || {
                let mut seen = Seen::new();
                for seed in (lane..seeds).step_by(lanes as usize) {
                    if let Err(why) = world::history(seed, EVENTS, &mut seen) {
                        panic!("CAPSTAN_SIM_SEED={seed}: {why}");
                    }
                }
                seen
            })
        })
        .collect();
    let mut seen = Seen::new();
    for thread in threads {
        seen.extend(thread.join().unwrap());
    }
    if seeds >= 10_000 {
        every_pair_came(&seen);
    }
}

fn every_pair_came(seen: &Seen) {
    let never = |status: JobStatus| NEVER.iter().any(|(known, _)| *known == status);
    for status in JobStatus::ALL {
        for event in ABOUT_A_JOB {
            let came = seen.contains(&(status.as_str(), event));
            assert_eq!(
                came,
                !never(status),
                "job {}, event {event}",
                status.as_str()
            );
        }
    }
    for state in [
        "task queued",
        "task claimed",
        "task running",
        "task finished",
    ] {
        for event in ABOUT_A_JOB.into_iter().take(5) {
            assert!(seen.contains(&(state, event)), "{state}, event {event}");
        }
    }
}

#[test]
fn every_planted_bug_is_found() {
    for mutation in Mutation::ALL {
        plant(Some(mutation));
        // A planted bug may also break a counter, and with it an assertion of the engine.
        let found = (0..2_000).find(|seed| {
            std::panic::catch_unwind(|| world::history(*seed, EVENTS, &mut Seen::new()).is_err())
                .unwrap_or(true)
        });
        plant(None);
        assert!(found.is_some(), "{mutation:?} was not found by 2,000 seeds");
    }
    for seed in 0..200 {
        assert_eq!(
            world::history(seed, EVENTS, &mut Seen::new()).err(),
            None,
            "nothing is planted now"
        );
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
