//! Back-pressure, broken streams, and the end of the runner.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capstan_model::wire::{EXIT_ALONE, FRAME_MAX, Frame, RunnerMessage};

use super::harness::{Agent, run, run_with};

/// What the agent may hold of output that nobody stored, with room for what is on its way.
const WINDOW: u64 = 6 << 20;

/// A step that would say 64 MiB.
fn flood() -> capstan_model::plan::Step {
    run("echo ready; head -c 64M /dev/zero; echo; echo done > done")
}

/// Takes output without storing it, until there is no more. Returns how much there was.
fn take_all(agent: &mut Agent) -> u64 {
    let mut taken = 0;
    while let Some(frame) = agent.next_within(Duration::from_millis(500)) {
        if let Frame::Log { bytes, .. } = frame {
            taken += bytes.len() as u64;
        }
    }
    taken
}

#[test]
fn output_that_nobody_stores_stops_its_step_and_fills_no_memory() {
    let mut agent = Agent::with_steps(vec![flood()]);
    let taken = take_all(&mut agent);
    assert!((1 << 20..WINDOW).contains(&taken), "{taken} bytes came");
    assert!(!agent.file("done").exists(), "the step was not stopped");
    let peak = agent.peak_kib();
    assert!(peak < 16 << 10, "the agent had {peak} KiB");
    // Stored now: the step goes on to its end.
    agent.send(RunnerMessage::LogAcknowledged {
        step: 101,
        offset: taken,
    });
    let mut more = 0;
    while !agent.file("done").exists() {
        let Some(Frame::Log { bytes, offset, .. }) = agent.next() else {
            continue;
        };
        more += bytes.len() as u64;
        let offset = offset + bytes.len() as u64;
        agent.send(RunnerMessage::LogAcknowledged { step: 101, offset });
    }
    assert!(more > 32 << 20, "only {more} bytes more came");
    assert!(agent.peak_kib() < 16 << 10);
}

#[test]
fn a_cancel_reaches_a_step_whose_output_nobody_stores() {
    let mut agent = Agent::with_steps(vec![flood()]);
    take_all(&mut agent);
    let start = Instant::now();
    agent.send(RunnerMessage::Cancel { grace_ms: 300 });
    while !matches!(agent.next(), Some(Frame::Agent(message)) if format!("{message:?}").contains("Finished { outcome: Canceled"))
    {
        assert!(start.elapsed() < Duration::from_secs(10), "no end came");
    }
    agent.must_leave_nothing();
}

#[test]
fn a_runner_that_vanishes_takes_everything_along() {
    let hard = [
        run_with("trap '' TERM HUP; sleep 999", |step| step.background = true),
        run("setsid nohup sleep 999 > /dev/null 2>&1 & ( ( sleep 999 & ) & ) ; echo forked"),
        run("trap '' TERM HUP PIPE; echo ready; while :; do echo more; sleep 0.02; done"),
    ];
    let mut agent = Agent::with_steps(hard.into());
    agent.wait_for("ready");
    assert!(agent.processes().len() >= 4, "{:?}", agent.processes());
    let start = Instant::now();
    agent.vanish();
    let (status, _) = agent.ended();
    assert_eq!(status.code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(5));
    agent.must_leave_nothing();
}

#[test]
fn a_broken_stream_ends_it_cleanly_and_says_how() {
    let oversize = u32::try_from(FRAME_MAX + 1).unwrap().to_le_bytes();
    let cases: [(&str, &[u8], &str); 8] = [
        ("too long", &oversize, "frame of 1048577 bytes"),
        ("no length", &[0, 0, 0, 0], "frame of 0 bytes"),
        ("an unknown tag", &[1, 0, 0, 0, 9], "unknown frame tag 9"),
        ("no JSON", &[3, 0, 0, 0, 1, b'{', b'x'], "not the JSON"),
        ("other JSON", &[3, 0, 0, 0, 1, b'4', b'2'], "not the JSON"),
        ("a short chunk", &[3, 0, 0, 0, 3, 1, 2], "too short"),
        ("text", b"HTTP/1.1 400 Bad Request\r\n\r\n", "frame of "),
        ("half a frame, then the end", &[200, 0, 0, 0, 1, b'{'], ""),
    ];
    for (name, bytes, why) in cases {
        let mut agent = Agent::with_steps(vec![run("sleep 999 & echo ready; wait")]);
        agent.wait_for("ready");
        agent.send_bytes(bytes);
        if why.is_empty() {
            agent.vanish();
        }
        let (status, said) = agent.ended();
        assert_eq!(status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(why), "{name}: {said}");
        agent.must_leave_nothing();
    }
}

#[test]
fn a_runner_that_never_stops_talking_fills_no_memory() {
    let mut agent = Agent::with_steps(vec![run("sleep 999 & echo ready; wait")]);
    agent.wait_for("ready");
    for _ in 0..100 {
        agent.send(RunnerMessage::Welcome { proto: 1 });
    }
    let (status, said) = agent.ended();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("more messages than a task has"), "{said}");
    agent.must_leave_nothing();
}

#[test]
fn noise_never_makes_it_hang_or_crash() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..60 {
        let mut agent = Agent::start();
        agent.next();
        let mut bytes: Vec<u8> = (0..random() % 300)
            .map(|_| random().to_le_bytes()[0])
            .collect();
        if round % 2 == 0 && bytes.len() > 5 {
            // A plausible length and tag, so that the noise is in the body.
            bytes[..5].copy_from_slice(&[20, 0, 0, 0, round % 5]);
        }
        agent.send_bytes(&bytes);
        agent.vanish();
        let (status, said) = agent.ended();
        assert_eq!(status.code(), Some(1), "{bytes:?}: {said}");
        assert!(!said.contains("panicked"), "{bytes:?}: {said}");
    }
}

#[test]
fn steps_find_no_terminal() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&pty).unwrap();
    unlockpt(&pty).unwrap();
    let terminal = ptsname(&pty, Vec::new()).unwrap().into_string().unwrap();
    let place = tempfile::tempdir().unwrap();
    // A session with that terminal, as a person's shell has it; the agent is started in it as the leader
    // of a group of its own, as the host executor starts it.
    let mut command = Command::new("setsid");
    Agent::environment(&mut command, &place);
    let script = format!(
        "exec 4>&1 < {terminal}; true < /dev/tty || exit 9; set -m; \"$0\" < \"$PIPE\" >&4 & wait $!"
    );
    let pipe = place.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    command
        .args([
            "--ctty",
            "--wait",
            "bash",
            "-c",
            &script,
            env!("CARGO_BIN_EXE_capstan-agent"),
        ])
        .env("PIPE", &pipe)
        .stdin(Stdio::from(std::fs::File::open(&terminal).unwrap()));
    let mut child = command.spawn().unwrap();
    let mut input = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    for message in [
        RunnerMessage::Welcome {
            proto: capstan_model::wire::PROTO,
        },
        RunnerMessage::Task(Box::new(super::harness::task(vec![run(
            "if true < /dev/tty; then echo a terminal; else echo none; fi
             read -r _ _ _ _ group session _ < /proc/$$/stat
             test $group = $$ && test $session = $PPID && echo own group and session",
        )]))),
        RunnerMessage::Goodbye,
    ] {
        let mut bytes = Vec::new();
        Frame::Runner(message).encode(&mut bytes);
        std::io::Write::write_all(&mut input, &bytes).unwrap();
    }
    let mut output = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut output)
        .unwrap();
    let text = String::from_utf8_lossy(&output);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(i32::from(EXIT_ALONE)), "{text}");
    assert!(text.contains("none\nown group and session\n"), "{text}");
}
