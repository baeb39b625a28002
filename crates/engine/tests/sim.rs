//! The simulator: a hundred thousand histories of a pipeline among lost runners, doubled, late and stale
//! messages, cancels and reruns. Of each event the rows alone say whether it may be taken, and after it
//! everything that must hold is looked at; the engine has to agree. `sim/pairs.txt` says which states met
//! which events.
//!
//! `CAPSTAN_SIM_SEEDS=1000 cargo test -p capstan-engine --test sim` runs fewer of them, and
//! `CAPSTAN_SIM_SEED=42` runs one alone. `UPDATE_EXPECT=1` writes the table of pairs again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "sim/check.rs"]
mod check;
#[path = "sim/events.rs"]
mod events;
#[path = "support/make.rs"]
mod make;
#[path = "sim/model.rs"]
mod model;
#[path = "sim/pairs.rs"]
mod pairs;
#[path = "sim/plans.rs"]
mod plans;
#[path = "sim/rng.rs"]
mod rng;
#[path = "sim/rows.rs"]
mod rows;
#[path = "sim/world.rs"]
mod world;

use capstan_engine::mutation::{Mutation, plant};

use pairs::Seen;

const SEEDS: u64 = 100_000;
const EVENTS: usize = 100;
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim/pairs.txt");

#[test]
fn every_history_holds_and_every_pair_comes() {
    if let Some(seed) = number("CAPSTAN_SIM_SEED") {
        world::history(seed, EVENTS, &mut Seen::default()).unwrap();
        return;
    }
    let seeds = number("CAPSTAN_SIM_SEEDS").unwrap_or(SEEDS);
    let lanes = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    let threads: Vec<_> = (0..lanes)
        .map(|lane| {
            std::thread::spawn(move || {
                let mut seen = Seen::default();
                for seed in (lane..seeds).step_by(lanes as usize) {
                    match world::history(seed, EVENTS, &mut seen) {
                        Ok(events) => assert!(events >= EVENTS),
                        Err(why) => panic!("CAPSTAN_SIM_SEED={seed}: {why}"),
                    }
                }
                seen
            })
        })
        .collect();
    let mut seen = Seen::default();
    for thread in threads {
        seen.extend(&thread.join().unwrap());
    }
    if std::env::var_os("CAPSTAN_SIM_RAREST").is_some() {
        println!("{}", seen.rarest(60).join("\n"));
    }
    // Fewer seeds do not bring every pair.
    if seeds >= SEEDS {
        let faults = seen.faults();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        table_is(&seen.table());
    }
}

fn table_is(table: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(TABLE, table).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(TABLE).unwrap();
    assert_eq!(
        kept, table,
        "the table of pairs is another one; UPDATE_EXPECT=1 writes it, for you to read"
    );
}

/// What the checkers say of each planted bug, one way or another. That the engine stumbles over it itself
/// does not count.
const FOUND_BY: [(Mutation, &[&str]); Mutation::ALL.len()] = [
    (Mutation::StaleClaimBelieved, &["taken though not"]),
    (Mutation::FirstNodeDecides, &["ended with live tasks"]),
    (Mutation::AnyEndWillDo, &["otherwise than its requirements"]),
    (Mutation::TallyLeaks, &["make it"]),
    (Mutation::BlockedAreCanceled, &["instead of left out"]),
    (
        Mutation::FailedAreCarried,
        &["should be a new job", "refused: workflow"],
    ),
    (Mutation::EveryRerunIsAutomatic, &["nothing asked for"]),
    (Mutation::ContinuesForEver, &["the pipeline is"]),
];

#[test]
fn every_planted_bug_is_found_by_a_checker() {
    for (mutation, words) in FOUND_BY {
        plant(Some(mutation));
        let found =
            (0..2_000).find_map(|seed| world::history(seed, EVENTS, &mut Seen::default()).err());
        plant(None);
        let found = found.unwrap_or_else(|| panic!("2,000 seeds do not find {mutation:?}"));
        assert!(
            words.iter().any(|words| found.contains(words)),
            "{mutation:?} should be found because {words:?}, and was because {found}"
        );
    }
    for seed in 0..200 {
        let nothing = world::history(seed, EVENTS, &mut Seen::default());
        assert_eq!(nothing.err(), None, "nothing is planted now");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
