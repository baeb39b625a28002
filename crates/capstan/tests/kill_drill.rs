//! The kill drill: `capstan run` is killed with SIGKILL at a hundred moments spread over the whole run of
//! a job that does what it can to leave something behind. Within five seconds nothing of it may be left,
//! without another start of Capstan, and the run directory must open and say what happened.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MOMENTS: u32 = 100;
const SIDE_BY_SIDE: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(5);

/// The job ends by itself after about a second, so that the last moments fall behind its end.
const CONFIG: &str = r#"version: 2.1
jobs:
  build:
    docker: [{image: "cimg/base:stable"}]
    environment: {CAPSTAN_DRILL: "@MARK@"}
    steps:
      - run: setsid nohup sleep 999 > /dev/null 2>&1 &
      - run: |
          ( ( exec -a hidden sleep 999 ) & )
          (setsid sh -c 'trap "" TERM HUP; sleep 999' &) &
      - run: {command: sleep 999, background: true}
      - run: sleep 0.4
      - run: echo nearly done; sleep 0.4
workflows: {w: {jobs: [build]}}
"#;

#[test]
fn nothing_is_left_on_the_host() {
    drill("host");
}

#[test]
fn nothing_is_left_in_docker() {
    if docker_answers() {
        drill("docker");
    }
}

fn drill(executor: &'static str) {
    let length = whole_run(executor);
    let lanes: Vec<_> = (0..SIDE_BY_SIDE)
        .map(|lane| {
            std::thread::spawn(move || {
                let moments = (lane..MOMENTS).step_by(SIDE_BY_SIDE as usize);
                moments
                    .map(|moment| {
                        // The last moments lie past the usual end, where cleaning up is under way.
                        let delay = length.mul_f64(f64::from(moment) * 1.2 / f64::from(MOMENTS));
                        kill_at(executor, moment, delay)
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let killed: Vec<_> = lanes
        .into_iter()
        .flat_map(|lane| lane.join().unwrap())
        .collect();
    // Nothing came late, for instance a container that was being made when its maker was killed.
    std::thread::sleep(PATIENCE);
    for (place, _) in &killed {
        place.must_be_empty(executor, "some time after the drill");
    }
    let phases: Vec<_> = killed.iter().map(|(_, phase)| *phase).collect();
    let count = |wanted: Phase| phases.iter().filter(|phase| **phase == wanted).count();
    let [early, steps, over] = [Phase::BeforeSteps, Phase::InSteps, Phase::Over].map(count);
    assert!(
        early >= 3 && steps >= 3 && over >= 3,
        "{executor}: the moments do not cover the run: {early} before its steps, {steps} in them, \
         {over} after its end"
    );
}

/// How far a run was when it was killed, by what its directory shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    BeforeSteps,
    InSteps,
    Over,
}

/// How long a run takes that nobody kills, while others run beside it.
fn whole_run(executor: &'static str) -> Duration {
    let alone = move |name: String| {
        let place = Place::new(executor, &name);
        let start = Instant::now();
        let status = place.run(executor).wait().unwrap();
        assert!(
            status.success(),
            "{executor}: the job itself must pass: {status}"
        );
        let took = start.elapsed();
        place.must_be_empty(executor, "after a whole run");
        took
    };
    // The first one on an engine brings it the agent, which the others find there.
    alone(String::from("first"));
    let lanes: Vec<_> = (0..SIDE_BY_SIDE)
        .map(|lane| {
            std::thread::spawn(move || {
                let rounds = (0..3).map(|round| alone(format!("whole-{lane}-{round}")));
                rounds.collect::<Vec<_>>()
            })
        })
        .collect();
    let mut took: Vec<_> = lanes
        .into_iter()
        .flat_map(|lane| lane.join().unwrap())
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}

fn kill_at(executor: &str, moment: u32, delay: Duration) -> (Place, Phase) {
    let place = Place::new(executor, &moment.to_string());
    let mut child = place.run(executor);
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    place.must_be_empty(executor, &format!("killed after {delay:?}"));
    let phase = place.must_open(executor, moment);
    (place, phase)
}

/// A project and a data directory that no other run knows of.
struct Place {
    root: PathBuf,
    mark: String,
}

impl Place {
    fn new(executor: &str, name: &str) -> Self {
        let mark = format!("capstan-drill-{executor}-{}-{name}", std::process::id());
        let root = std::env::temp_dir().join(&mark);
        fs::create_dir_all(root.join(".circleci")).unwrap();
        fs::write(
            root.join(".circleci/config.yml"),
            CONFIG.replace("@MARK@", &mark),
        )
        .unwrap();
        Self { root, mark }
    }

    fn capstan(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capstan"));
        command
            .current_dir(&self.root)
            .env("CAPSTAN_DATA", self.data())
            .stdin(Stdio::null());
        command
    }

    fn data(&self) -> PathBuf {
        self.root.join(format!("data-{}", self.mark))
    }

    fn run(&self, executor: &str) -> Child {
        self.capstan()
            .args(["run", "--executor", executor])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn must_be_empty(&self, executor: &str, when: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut left = processes_with(&self.mark);
            if executor == "docker" {
                left.extend(self.containers());
            }
            if left.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{executor}, {when}: left behind: {left:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Containers labelled with a run of this place.
    fn containers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for run in names(&self.data().join("runs")) {
            let output = Command::new("docker")
                .args([
                    "ps",
                    "--all",
                    "--quiet",
                    "--filter",
                    &format!("label=capstan.run={run}"),
                ])
                .output()
                .unwrap();
            let ids = String::from_utf8_lossy(&output.stdout);
            found.extend(ids.split_whitespace().map(|id| format!("container {id}")));
        }
        found
    }

    /// Every run of this place opens, is over, and says how it came to be.
    fn must_open(&self, executor: &str, moment: u32) -> Phase {
        let mut phase = Phase::BeforeSteps;
        for run in names(&self.data().join("runs")) {
            let output = self.capstan().args(["show", &run]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            let about = format!("{executor}, moment {moment}: show {run}");
            assert!(
                output.status.success() && text.contains(&run),
                "{about} said {}: {text}{errors}",
                output.status
            );
            for word in ["queued", "not_running", " running"] {
                assert!(!text.contains(word), "{about}: still {word}:\n{text}");
            }
            // Before there is a plan there is no job to tell of.
            let job = text.lines().find(|line| line.contains(" build "));
            let ended = ["success", "infrastructure_fail", "canceled"];
            assert!(
                job.is_none_or(|job| ended.iter().any(|word| job.contains(word))),
                "{about}: no end of the job:\n{text}"
            );
            phase = match job {
                Some(job) if job.contains("success") => Phase::Over,
                _ if text.contains(" 101 ") => Phase::InSteps,
                _ => Phase::BeforeSteps,
            };
        }
        phase
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Left for a look when the test failed.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// Processes that carry the mark in their environment or arguments: everything the run started.
fn processes_with(mark: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for pid in names(Path::new("/proc")) {
        if pid.parse::<u32>().is_err() || pid == std::process::id().to_string() {
            continue;
        }
        for file in ["environ", "cmdline"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            if String::from_utf8_lossy(&bytes).contains(mark) {
                let name = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                found.insert(format!("process {pid} {}", name.replace('\0', " ")));
            }
        }
    }
    found
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn docker_answers() -> bool {
    let answers = Command::new("docker")
        .args(["image", "inspect", "cimg/base:stable"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let required = std::env::var("CAPSTAN_REQUIRE")
        .unwrap_or_default()
        .contains("docker");
    assert!(
        answers || !required,
        "no Docker with cimg/base:stable: run scripts/make-test-images.sh"
    );
    if !answers {
        eprintln!(
            "skipped: no Docker with cimg/base:stable (scripts/make-test-images.sh makes it)"
        );
    }
    answers
}
