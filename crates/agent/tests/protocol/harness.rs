//! A runner in miniature.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use capstan_model::plan::{RunStep, Step, StepKind};
use capstan_model::wire::{
    AgentMessage, EXIT_ALONE, Frame, FrameReader, PROTO, RunnerMessage, STEP_FIRST, TaskSpec,
};
use tempfile::TempDir;

/// No answer takes longer, on however slow a machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
const MARK: &str = "CAPSTAN_PROTOCOL_TEST";

/// An agent at work, in a place of its own.
pub struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: ChildStderr,
    frames: Receiver<Frame>,
    place: TempDir,
    output: BTreeMap<u32, String>,
}

/// What a task was seen to do. Each line of output is `step| text`, each end `step status exit-code`, and
/// the last line is the outcome.
pub type Transcript = String;

/// A `run` step.
pub fn run(command: &str) -> Step {
    run_with(command, |_| {})
}

/// A `run` step with more than a command.
pub fn run_with(command: &str, more: impl FnOnce(&mut RunStep)) -> Step {
    let mut step = RunStep {
        command: command.to_owned(),
        ..RunStep::default()
    };
    more(&mut step);
    Step {
        name: None,
        kind: StepKind::Run(Box::new(step)),
        ..checkout(None)
    }
}

/// A `checkout` step.
pub fn checkout(path: Option<&str>) -> Step {
    Step {
        name: None,
        kind: StepKind::Checkout {
            path: path.map(str::to_owned),
            method: Default::default(),
        },
        when: Default::default(),
        origin: serde_json::from_str("0").unwrap(),
    }
}

/// A task of these steps.
pub fn task(steps: Vec<Step>) -> TaskSpec {
    TaskSpec {
        steps,
        working_directory: String::from("~/project"),
        max_run_time_ms: 60_000,
        ..TaskSpec::default()
    }
}

/// Runs steps and compares what they were seen to do.
pub fn check(steps: Vec<Step>, expected: &str) {
    check_task(task(steps), expected);
}

/// The same for a whole task.
pub fn check_task(spec: TaskSpec, expected: &str) {
    let shown = format!("{:#?}", spec.steps);
    let mut agent = Agent::greeted();
    agent.send(RunnerMessage::Task(Box::new(spec)));
    let transcript = agent.finish();
    let expected: Vec<&str> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(
        transcript.trim().lines().collect::<Vec<_>>(),
        expected,
        "steps: {shown}"
    );
}

impl Agent {
    /// One that was started and hears nothing yet.
    pub fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_capstan-agent"));
        let child = Self::environment(&mut command, &place).spawn().unwrap();
        Self::of(child, place)
    }

    /// One that is to run steps as this user, in a place that others may enter.
    pub fn start_for_user(user: &str) -> Self {
        // Not in a temporary folder of ours, which others may not be able to pass.
        let place = tempfile::tempdir_in("/tmp").unwrap();
        // Nor its program, which runs itself as that user to unpack sources.
        let program = place.path().join("capstan-agent");
        fs::copy(env!("CARGO_BIN_EXE_capstan-agent"), &program).unwrap();
        let mut command = Command::new(&program);
        Self::environment(&mut command, &place).env("CAPSTAN_STEP_USER", user);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(place.path(), open).unwrap();
        let child = command.spawn().unwrap();
        Self::of(child, place)
    }

    /// One that was started by a command of the test's own, in this place.
    pub fn of(mut child: Child, place: TempDir) -> Self {
        let mut stdout = child.stdout.take().unwrap();
        let (sender, frames) = channel();
        std::thread::spawn(move || {
            let mut reader = FrameReader::default();
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                reader.push(&buffer[..count]);
                while let Some(frame) = reader.next_frame().unwrap() {
                    if sender.send(frame).is_err() {
                        return;
                    }
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            stderr: child.stderr.take().unwrap(),
            child,
            frames,
            place,
            output: BTreeMap::new(),
        }
    }

    /// The environment of a place, as an executor makes it.
    pub fn environment<'a>(command: &'a mut Command, place: &TempDir) -> &'a mut Command {
        fs::create_dir_all(place.path().join("home")).unwrap();
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", place.path().join("home"))
            .env("CAPSTAN_AGENT_DIR", place.path().join("agent"))
            .env(MARK, place.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
    }

    /// One that said hello and was welcomed.
    pub fn greeted() -> Self {
        let mut agent = Self::start();
        agent.greet();
        agent
    }

    /// Hears the hello and welcomes.
    pub fn greet(&mut self) {
        let hello = self.next();
        assert!(
            matches!(hello, Some(Frame::Agent(AgentMessage::Hello { .. }))),
            "{hello:?}"
        );
        self.send(RunnerMessage::Welcome { proto: PROTO });
    }

    /// Greeted and given a task of these steps.
    pub fn with_steps(steps: Vec<Step>) -> Self {
        let mut agent = Self::greeted();
        agent.send(RunnerMessage::Task(Box::new(task(steps))));
        agent
    }

    pub fn send(&mut self, message: RunnerMessage) {
        self.send_frame(&Frame::Runner(message));
    }

    pub fn send_frame(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.send_bytes(&bytes);
    }

    /// An agent that is gone does not hear it, which is for the test to find out.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stdin.as_mut().unwrap().write_all(bytes);
    }

    /// Closes its input, as a runner does that is killed.
    pub fn vanish(&mut self) {
        self.stdin = None;
    }

    /// The next frame; `None` at the end of the stream.
    pub fn next(&mut self) -> Option<Frame> {
        match self.frames.recv_timeout(PATIENCE) {
            Ok(frame) => Some(frame),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the agent says nothing"),
        }
    }

    /// The next frame, unless there is none for so long.
    pub fn next_within(&mut self, time: Duration) -> Option<Frame> {
        self.frames.recv_timeout(time).ok()
    }

    /// Stores output and waits for this text in it.
    pub fn wait_for(&mut self, text: &str) {
        while !self.output.values().any(|seen| seen.contains(text)) {
            match self.next() {
                Some(frame) => self.store(&frame),
                None => panic!("the stream ended before {text:?}: {:?}", self.output),
            }
        }
    }

    /// Keeps output and acknowledges it.
    fn store(&mut self, frame: &Frame) {
        let Frame::Log {
            step,
            offset,
            bytes,
        } = frame
        else {
            return;
        };
        let known = self.output.entry(*step).or_default();
        assert_eq!(*offset, known.len() as u64, "output of step {step}");
        known.push_str(&String::from_utf8_lossy(bytes));
        let offset = offset + bytes.len() as u64;
        self.send(RunnerMessage::LogAcknowledged {
            step: *step,
            offset,
        });
    }

    /// Stores what comes until the task is over, and says goodbye. Nothing may be left then.
    pub fn finish(mut self) -> Transcript {
        let mut transcript = String::new();
        loop {
            let frame = self.next();
            match &frame {
                None => panic!("the stream ended: {}\n{transcript}", self.ended().1),
                Some(frame @ Frame::Log { .. }) => self.store(frame),
                Some(Frame::Agent(AgentMessage::StepFinished {
                    step,
                    status,
                    exit_code,
                    ..
                })) if *step >= STEP_FIRST => {
                    let text = self.output.remove(step).unwrap_or_default();
                    let step = step - STEP_FIRST + 1;
                    for line in text.lines() {
                        writeln!(transcript, "{step}| {line}").unwrap();
                    }
                    let status = word(status);
                    match exit_code {
                        Some(code) => writeln!(transcript, "{step} {status} {code}").unwrap(),
                        None => writeln!(transcript, "{step} {status}").unwrap(),
                    }
                }
                Some(Frame::Agent(AgentMessage::Finished { outcome })) => {
                    writeln!(transcript, "{}", word(outcome)).unwrap();
                    break;
                }
                Some(_) => {}
            }
        }
        self.must_leave_nothing();
        self.send(RunnerMessage::Goodbye);
        let (status, said) = self.ended();
        assert_eq!(
            status.code(),
            Some(i32::from(EXIT_ALONE)),
            "after goodbye: {said}"
        );
        transcript
    }

    /// Waits for the program to end. Returns how it did and what it said to whoever looks.
    pub fn ended(&mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut said = String::new();
                let _ = self.stderr.read_to_string(&mut said);
                return (status, said);
            }
            assert!(Instant::now() < deadline, "the agent does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Every process of this place but the agent is gone.
    pub fn must_leave_nothing(&self) {
        let left = self.processes();
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// Processes that inherited the mark of this place.
    pub fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.place.path().display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter(|entry| *entry.file_name() != *self.child.id().to_string())
            .filter(|entry| {
                let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
                environment
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == mark.as_bytes())
            })
            .map(|entry| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default())
            .collect()
    }

    /// The most memory the program ever had, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// A file in the steps' working directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.place.path().join("home/project").join(name)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The word of a status or an outcome on the wire.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap();
    match &value {
        serde_json::Value::String(word) => word.clone(),
        other => other.to_string(),
    }
}
