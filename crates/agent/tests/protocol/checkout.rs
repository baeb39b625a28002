//! `checkout`, with a runner that sends what it likes.

use std::time::{Duration, Instant};

use capstan_model::wire::{AgentMessage, Fetch, Frame, RunnerMessage};

use super::harness::{Agent, checkout, run, task};

pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

/// Waits until it asks for the sources; returns the number of the transfer.
pub fn asked(agent: &mut Agent) -> u32 {
    loop {
        match agent.next().unwrap() {
            Frame::Agent(AgentMessage::Fetch {
                transfer,
                what: Fetch::Source,
            }) => return transfer,
            Frame::Agent(AgentMessage::Finished { outcome }) => panic!("it ended: {outcome:?}"),
            _ => {}
        }
    }
}

pub fn answer(agent: &mut Agent, transfer: u32, bytes: &[u8], part: usize, error: Option<&str>) {
    for (number, part_bytes) in bytes.chunks(part).enumerate() {
        agent.send_frame(&Frame::Blob {
            transfer,
            offset: (number * part) as u64,
            bytes: part_bytes.to_vec(),
        });
    }
    agent.send(RunnerMessage::TransferDone {
        transfer,
        error: error.map(str::to_owned),
    });
}

#[test]
fn the_sources_are_where_they_are_wanted() {
    let sources = archive(&[("a", "alpha\n"), ("dir/b", "beta\n")]);
    for (path, place) in [
        (None, "."),
        (Some("sub/deep"), "sub/deep"),
        (Some("~/else"), "../else"),
    ] {
        let read = run(&format!("cat {place}/a {place}/dir/b"));
        let mut agent = Agent::with_steps(vec![checkout(path), read]);
        let transfer = asked(&mut agent);
        answer(&mut agent, transfer, &sources, 100, None);
        let named = path.unwrap_or("~/project");
        assert_eq!(
            agent.finish(),
            format!(
                "1| Checked out 2 files into {named}\n1 success\n2| alpha\n2| beta\n2 success 0\nsuccess\n"
            )
        );
    }
}

#[test]
fn what_goes_wrong_is_said() {
    let whole = archive(&[("a", "alpha")]);
    let escaping = {
        let mut bytes = archive(&[("aa/x", "gotcha")]);
        // The name, and a checksum that is right for it.
        bytes[..2].copy_from_slice(b"..");
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&bytes[..512]);
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        bytes
    };
    for (bytes, error, why) in [
        (
            whole.as_slice(),
            Some("the disk is full"),
            "the disk is full",
        ),
        (&whole[..700], None, "unexpected EOF"),
        (&escaping, None, "leaves the folder"),
    ] {
        let mut agent = Agent::with_steps(vec![checkout(None)]);
        let transfer = asked(&mut agent);
        answer(&mut agent, transfer, bytes, 4096, error);
        let transcript = agent.finish();
        assert!(
            transcript.contains(why) && transcript.ends_with("1 failed\nfailed\n"),
            "{why}: {transcript}"
        );
    }
    let mut agent = Agent::with_steps(vec![run("touch stray"), checkout(None)]);
    agent.wait_for("not empty and not a git repository");
    assert!(agent.finish().ends_with("2 failed\nfailed\n"));
}

#[test]
fn a_cancel_ends_one_that_does_not_come() {
    let mut agent = Agent::with_steps(vec![checkout(None), run("echo never")]);
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

#[test]
fn the_jobs_time_ends_one_that_does_not_come() {
    let mut spec = task(vec![checkout(None)]);
    spec.max_run_time_ms = 300;
    let mut agent = Agent::greeted();
    agent.send(RunnerMessage::Task(Box::new(spec)));
    asked(&mut agent);
    let transcript = agent.finish();
    assert!(
        transcript.ends_with("1 timedout\ntimedout\n"),
        "{transcript}"
    );
}

#[test]
fn one_that_was_given_up_does_not_hold_up_what_comes_after() {
    // Refused at its first entry, with far more on the way than the agent would keep.
    let mut bytes = archive(&[("a", "alpha")]);
    bytes[156] = b'6';
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&bytes[..512]);
    header.set_cksum();
    bytes[..512].copy_from_slice(header.as_bytes());
    bytes.resize(16 << 20, 0);
    let always = capstan_model::plan::Step {
        when: capstan_model::plan::When::Always,
        ..run("echo went on")
    };
    let mut agent = Agent::with_steps(vec![checkout(None), always]);
    let transfer = asked(&mut agent);
    answer(&mut agent, transfer, &bytes, 256 << 10, None);
    let transcript = agent.finish();
    assert!(transcript.contains("neither file"), "{transcript}");
    assert!(transcript.contains("went on"), "{transcript}");
}
