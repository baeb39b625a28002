//! A cancel: TERM to everything once, time to end, then KILL.

use std::time::{Duration, Instant};

use capstan_model::wire::RunnerMessage;

use super::harness::{Agent, Transcript, run, run_with};

/// Cancels once this text was heard. Returns the transcript and how long the end took.
fn cancel(mut agent: Agent, at: &str, grace_ms: u64) -> (Transcript, Duration) {
    agent.wait_for(at);
    let start = Instant::now();
    agent.send(RunnerMessage::Cancel { grace_ms });
    (agent.finish(), start.elapsed())
}

#[test]
fn a_child_of_the_shell_has_the_grace_too() {
    // The shell dies of TERM at once; its child has something to put in order.
    let child = "trap 'echo last words; sleep 0.4; echo cleaned > cleaned; exit' TERM; echo ready; \
                 while :; do sleep 0.05; done";
    let agent = Agent::with_steps(vec![
        run(&format!("bash -c \"{child}\" & wait")),
        run("echo never"),
    ]);
    let cleaned = agent.file("cleaned");
    // Read before the place is removed.
    let seen = std::thread::spawn(move || {
        let start = Instant::now();
        while !cleaned.exists() && start.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(2));
        }
        cleaned.exists()
    });
    let (transcript, took) = cancel(agent, "ready", 20_000);
    assert!(seen.join().unwrap(), "it was killed within its grace");
    assert!(
        took < Duration::from_secs(10),
        "the end waited for {took:?}"
    );
    assert!(
        transcript.ends_with("1 canceled\ncanceled\n") && transcript.contains("last words"),
        "{transcript}"
    );
}

#[test]
fn what_ignores_it_is_killed_when_the_grace_is_over() {
    for stubborn in [
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
        "(trap '' TERM; echo ready; sleep 999) & wait",
        "setsid bash -c 'trap \"\" TERM; echo ready; sleep 999' & wait",
    ] {
        let agent = Agent::with_steps(vec![run(stubborn)]);
        let (transcript, took) = cancel(agent, "ready", 400);
        assert!(
            transcript.ends_with("1 canceled\ncanceled\n"),
            "{stubborn}: {transcript}"
        );
        let range = Duration::from_millis(400)..Duration::from_secs(5);
        assert!(range.contains(&took), "{stubborn}: took {took:?}");
    }
}

#[test]
fn everything_hears_it_once_however_many_steps_there_are() {
    let counter = |name: &str| {
        format!(
            "trap 'echo term >> terms-{name}' TERM; echo ready-{name}; while :; do sleep 0.05; done"
        )
    };
    let background = |name: &str| run_with(&counter(name), |step| step.background = true);
    let mut agent = Agent::with_steps(vec![background("a"), background("b"), run(&counter("c"))]);
    let files: Vec<_> = ["a", "b", "c"]
        .map(|name| agent.file(&format!("terms-{name}")))
        .into();
    for name in ["a", "b", "c"] {
        agent.wait_for(&format!("ready-{name}"));
    }
    let start = Instant::now();
    agent.send(RunnerMessage::Cancel { grace_ms: 3_000 });
    while !files.iter().all(|file| file.exists()) && start.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Time for a second one to come.
    std::thread::sleep(Duration::from_millis(300));
    for file in files {
        let terms = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(terms, "term\n", "{}", file.display());
    }
    let transcript = agent.finish();
    for end in ["1 canceled", "2 canceled", "3 canceled"] {
        assert!(transcript.contains(end), "{transcript}");
    }
}

#[test]
fn what_cleans_up_is_not_hit_by_a_second_term() {
    let agent = Agent::with_steps(vec![run(
        "trap 'sleep 0.3 && echo undisturbed; exit 0' TERM; echo ready; sleep 60 & wait",
    )]);
    let (transcript, _) = cancel(agent, "ready", 10_000);
    assert!(transcript.contains("undisturbed"), "{transcript}");
}

#[test]
fn a_pause_before_another_try_ends_with_it() {
    let mut agent = Agent::with_steps(vec![run_with("echo x >> tries; exit 1", |step| {
        step.max_auto_reruns = 3;
        step.auto_rerun_delay_ms = 60_000;
    })]);
    let tries = agent.file("tries");
    agent.wait_for("Trying again");
    let start = Instant::now();
    agent.send(RunnerMessage::Cancel { grace_ms: 10_000 });
    agent.wait_for("Canceled");
    assert_eq!(std::fs::read_to_string(tries).unwrap(), "x\n");
    assert!(start.elapsed() < Duration::from_secs(5));
    let transcript = agent.finish();
    assert!(
        transcript.ends_with("1 canceled\ncanceled\n"),
        "{transcript}"
    );
}
