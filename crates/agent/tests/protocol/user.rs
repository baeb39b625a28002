//! Steps as somebody else than the agent, which is root then: in most containers.

use std::time::{Duration, Instant};

use capstan_model::plan::Step;
use capstan_model::wire::{Frame, RunnerMessage};

use super::checkout::{answer, archive, asked};
use super::harness::{Agent, checkout, run, task};

const USER: u32 = 34_567;

/// An agent that is root and runs these steps as a user without an entry. `None` for who is not root.
fn as_user(steps: Vec<Step>) -> Option<Agent> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can run steps as somebody else");
        return None;
    }
    let mut agent = Agent::start_for_user(&format!("{USER}:{USER}"));
    agent.greet();
    let mut spec = task(steps);
    // Such a user's home is the root directory, which is not to be touched here.
    spec.working_directory = agent.file("").display().to_string();
    agent.send(RunnerMessage::Task(Box::new(spec)));
    Some(agent)
}

#[test]
fn files_and_steps_belong_to_the_user() {
    let Some(mut agent) = as_user(vec![
        checkout(None),
        run("id -u; stat -c %u a dir dir/b .; touch mine; echo 'export X=1' >> \"$BASH_ENV\""),
    ]) else {
        return;
    };
    let transfer = asked(&mut agent);
    answer(
        &mut agent,
        transfer,
        &archive(&[("a", "alpha"), ("dir/b", "beta")]),
        100,
        None,
    );
    let transcript = agent.finish();
    let expected = format!("2| {USER}\n").repeat(5) + "2 success 0\nsuccess\n";
    assert!(transcript.ends_with(&expected), "{transcript}");
}

#[test]
fn a_link_in_place_of_a_script_gives_nothing_of_roots() {
    let long = String::from("echo end") + &"\n# filler".repeat(20_000);
    let Some(mut agent) = as_user(vec![
        run("echo ready; until [ -e go ]; do sleep 0.02; done
             for number in 1 2 3; do
               ln -s \"$PWD/../roots\" \"$CIRCLE_INTERNAL_TASK_DATA/script-$number\"
             done"),
        run(&long),
        run("head -c 20 ../roots; stat -c ' %u' ../roots"),
    ]) else {
        return;
    };
    agent.wait_for("ready");
    let roots = agent.file("../roots");
    std::fs::write(&roots, "untouched").unwrap();
    std::fs::write(agent.file("go"), "").unwrap();
    let transcript = agent.finish();
    assert!(
        transcript.ends_with("2| end\n2 success 0\n3| untouched 0\n3 success 0\nsuccess\n"),
        "{transcript}"
    );
}

#[test]
fn a_checkout_has_no_more_rights_than_the_user() {
    let Some(mut agent) = as_user(vec![checkout(Some("/capstan-not-allowed-here"))]) else {
        return;
    };
    let transfer = asked(&mut agent);
    answer(&mut agent, transfer, &archive(&[("a", "alpha")]), 100, None);
    let transcript = agent.finish();
    assert!(transcript.contains("Permission denied"), "{transcript}");
}

#[test]
fn what_goes_wrong_on_either_side_is_said() {
    let sources = archive(&[("a", "alpha")]);
    let too_much = [sources.as_slice(), &vec![1; 8 << 20]].concat();
    for (bytes, error, why) in [
        (
            &sources[..600],
            Some("the disk is full"),
            "the disk is full",
        ),
        (&sources[..700], None, "unexpected EOF"),
        (&too_much[512..], None, "numeric field"),
    ] {
        let Some(mut agent) = as_user(vec![checkout(None)]) else {
            return;
        };
        let transfer = asked(&mut agent);
        answer(&mut agent, transfer, bytes, 64 << 10, error);
        let transcript = agent.finish();
        assert!(
            transcript.contains(why) && transcript.ends_with("1 failed\nfailed\n"),
            "{why}: {transcript}"
        );
    }
}

#[test]
fn a_cancel_ends_a_checkout_that_somebody_else_unpacks() {
    let Some(mut agent) = as_user(vec![checkout(None)]) else {
        return;
    };
    let transfer = asked(&mut agent);
    agent.send_frame(&Frame::Blob {
        transfer,
        offset: 0,
        bytes: archive(&[("a", "alpha")])[..600].to_vec(),
    });
    let start = Instant::now();
    agent.send(RunnerMessage::Cancel { grace_ms: 20_000 });
    let transcript = agent.finish();
    assert!(
        transcript.ends_with("1 canceled\ncanceled\n"),
        "{transcript}"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}
