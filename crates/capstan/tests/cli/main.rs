//! The real binary, as a person and as a script use it.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A project with its own data directory and no Docker.
struct Project {
    directory: TempDir,
}

const HELLO: &str = "version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - checkout
      - run: {name: greet, command: echo \"hello $(cat name)\"}
";

const HOLD: &str = "version: 2.1
jobs:
  build: &job
    docker: [{image: cimg/base:stable}]
    steps: [checkout, run: {name: say, command: cat name}]
  deploy: *job
workflows:
  w:
    jobs:
      - build
      - hold: {type: approval, requires: [build]}
      - deploy: {requires: [hold], filters: {branches: {only: main}}}
";

impl Project {
    fn new(config: &str) -> Self {
        let project = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        project.write(".circleci/config.yml", config);
        project.write("name", "world\n");
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("project")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capstan"));
        command
            .args(args)
            .current_dir(self.root())
            .stdin(Stdio::null())
            .env("CAPSTAN_DATA", self.directory.path().join("data"))
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .env_remove("XDG_RUNTIME_DIR");
        command
    }

    fn capstan(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).output().unwrap())
    }

    fn run(&self, args: &[&str]) -> Ended {
        let all = [&["run", "--executor", "host"], args].concat();
        self.capstan(&all)
    }
}

/// How a command ended.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        let found = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(
            found,
            "no {text:?} in\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    fn silent_on(self, text: &str) -> Self {
        let found = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(
            !found,
            "{text:?} in\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    fn objects(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[test]
fn hello_passes_and_is_remembered() {
    let project = Project::new(HELLO);
    project
        .run(&[])
        .expect(0)
        .says("[build] hello world\n")
        .says("[build] ✓ greet (")
        .silent_on("\x1b");
    project.capstan(&["runs"]).expect(0).says("success");
    project.capstan(&["show"]).expect(0).says("greet  success");
    project
        .capstan(&["logs", "latest", "build"])
        .expect(0)
        .says("hello world\n");
    project
        .capstan(&["why"])
        .expect(0)
        .says("build")
        .says("success");
}

#[test]
fn a_failed_step_is_named_with_its_place_and_code() {
    let project = Project::new(
        "version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - run: echo fine
      - run:
          name: break
          command: echo broken; exit 7
",
    );
    project
        .run(&[])
        .expect(1)
        .says("[build] broken\n")
        .says("✗ build › break  .circleci/config.yml:7  exit code 7")
        .says("capstan rerun --from-failed");
}

#[test]
fn what_failed_is_told_of_a_run_on_hold_as_well() {
    Project::new(
        "version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [run: {name: break, command: exit 7}]
workflows:
  w:
    jobs: [build, hold: {type: approval}]
",
    )
    .run(&[])
    .expect(4)
    .says("✗ build › break  .circleci/config.yml:5  exit code 7");
}

#[test]
fn a_project_of_no_forge_compiles_as_on_the_one_most_are_on() {
    Project::new(
        "version: 2.1
jobs:
  build:
    parameters: {forge: {type: enum, enum: [github, bitbucket]}}
    docker: [{image: cimg/base:stable}]
    steps: [run: echo it is << parameters.forge >>]
workflows:
  w:
    jobs: [build: {forge: << pipeline.project.type >>}]
",
    )
    .run(&[])
    .expect(0)
    .says("it is github");
}

#[test]
fn a_run_that_cannot_be_stored_ends_at_once_and_says_why() {
    let started = std::time::Instant::now();
    Project::new(
        "version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      # No output finds a place from here on, as on a full disk.
      - run: cd \"$HOME\"/../../../runs/*/ && rm -r logs && touch logs
      - run: echo lost; sleep 60
",
    )
    .run(&[])
    .expect(3)
    .says("error: the run cannot be stored in ")
    .says("help: make room there, or set CAPSTAN_DATA to a directory with more");
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn json_is_one_object_a_line_and_nothing_else() {
    let project = Project::new(HELLO);
    let ended = project.run(&["--json"]).expect(0);
    let objects = ended.objects();
    let types: Vec<&str> = objects
        .iter()
        .map(|object| object["type"].as_str().unwrap())
        .collect();
    for wanted in [
        "pipeline",
        "workflow",
        "job",
        "task_started",
        "step_finished",
        "output",
    ] {
        assert!(types.contains(&wanted), "{wanted} is not in {types:?}");
    }
    let text: String = objects
        .iter()
        .filter(|object| object["type"] == "output")
        .map(|object| object["text"].as_str().unwrap())
        .collect();
    assert!(text.contains("hello world\n"), "{text}");
    let last = objects
        .iter()
        .rfind(|object| object["type"] == "workflow")
        .unwrap();
    assert_eq!(last["status"], "success");
}

#[test]
fn a_plan_names_the_clause_that_decided() {
    let project = Project::new(HOLD);
    let verdict = |branch: &str, job: &str| {
        let ended = project
            .capstan(&["plan", "--json", "--branch", branch])
            .expect(0);
        let objects = ended.objects();
        objects
            .into_iter()
            .find(|object| object["job"] == job)
            .unwrap()
    };
    assert_eq!(verdict("main", "build")["verdict"], "runs");
    assert_eq!(verdict("main", "hold")["verdict"], "waits");
    let deploy = verdict("main", "deploy");
    assert_eq!(deploy["verdict"], "waits");
    assert!(
        deploy["reason"].as_str().unwrap().starts_with("after hold"),
        "{deploy}"
    );
    let skipped = verdict("dev", "deploy");
    assert_eq!(skipped["verdict"], "skipped");
    assert_eq!(skipped["value"], "dev");
    assert_eq!(skipped["line"], 12);
    let own = project.capstan(&["plan", "--json"]).expect(0);
    assert_eq!(own.objects()[0]["job"], Value::Null);
}

#[test]
fn an_approval_nobody_gave_is_exit_code_four_and_its_run_can_go_on() {
    let project = Project::new(HOLD);
    project
        .run(&["--branch", "main"])
        .expect(4)
        .says("--approve hold");
    project.capstan(&["runs"]).expect(0).says("on_hold");
    // Sources are those of the run, whatever became of the files.
    project.write("name", "changed\n");
    project
        .capstan(&["rerun", "--executor", "host", "--job", "build"])
        .expect(0)
        .says("[build] world\n");
    project
        .run(&["--branch", "main", "--approve", "w/hold"])
        .expect(0)
        .says("[deploy] changed\n");
    project
        .run(&["--branch", "main", "--approve-all"])
        .expect(0);
    project
        .run(&["--approve", "nobody"])
        .expect(2)
        .says("there is no approval job \"nobody\"")
        .says("w/hold");
}

#[test]
fn a_run_on_hold_goes_on_with_an_approval() {
    let project = Project::new(HOLD);
    let approve = |words: &[&str]| {
        let all = [&["approve", "--executor", "host"], words].concat();
        project.capstan(&all)
    };
    project
        .run(&["--branch", "main"])
        .expect(4)
        .says("capstan approve hold");
    approve(&["nobody"])
        .expect(2)
        .says("there is no approval that waits \"nobody\"")
        .says("w/hold");
    // Whoever asks in vain changes nothing.
    project.capstan(&["runs"]).expect(0).says("on_hold");
    // Sources are those of the run, and what was shown is not shown again.
    project.write("name", "changed\n");
    approve(&["latest", "w/hold"])
        .expect(0)
        .says("[deploy] world\n")
        .silent_on("[build]");
    project.capstan(&["runs"]).expect(0).says("success");
    approve(&["hold"])
        .expect(2)
        .says("nothing in this run waits for an approval");
}

#[test]
fn plan_and_why_agree_on_the_backend_example() {
    let config = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/backend/.circleci/config.yml"
    );
    let project = Project::new(HELLO);
    for branch in ["feature", "main"] {
        let about = ["--config", config];
        let run = ["--approve-all", "--branch", branch, "--config", config];
        project.run(&run).expect(0);
        let plan = [&["plan", "--json", "--branch", branch], &about[..]].concat();
        let planned = project.capstan(&plan).expect(0).objects();
        let why = project.capstan(&[&["why", "--json"], &about[..]].concat());
        let mut told = why.expect(0).objects();
        assert!(planned.len() > 5, "{planned:?}");
        let mut skipped = 0;
        for line in &mut told {
            let became = line.as_object_mut().unwrap().remove("became").unwrap();
            let became = became.as_array().unwrap();
            if line["verdict"] == "skipped" {
                skipped += 1;
                assert_eq!(became.len(), 0, "{line}");
                assert!(line["clause"].is_string(), "{line}");
            } else {
                assert_eq!(became.len(), 1, "{line}");
                assert_eq!(became[0]["status"], "success", "{line}");
            }
        }
        assert_eq!(planned, told, "branch {branch}");
        assert_eq!(skipped > 0, branch == "feature");
    }
}

#[test]
fn variables_have_their_order_and_are_masked() {
    let project = Project::new(
        "version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    environment: {C: from-job}
    steps:
      - run: 'for v in \"$A\" \"$B\" \"$C\" \"$D\"; do printf \"%s \" \"$v\" | tr a-z A-Z; done; echo; echo \"$A\"'
workflows: {w: {jobs: [build: {context: team}]}}
",
    );
    project.write(
        "env",
        "A=file-aaaa\nB=file-bbbb\nC=file-cccc\nD=file-dddd\n",
    );
    project.write("team.env", "export D='team-dddd'\n");
    let args = [
        "--env-file",
        "env",
        "--env",
        "B=flag-bbbb",
        "--context",
        "team=team.env",
    ];
    project
        .run(&args)
        .expect(0)
        .says("FILE-AAAA FLAG-BBBB FROM-JOB TEAM-DDDD")
        .silent_on("file-aaaa");
    project
        .run(&["--env", "1x=y"])
        .expect(2)
        .says("is no variable name");
    project.write("env", "A=1\nbroken\n");
    project
        .run(&["--env-file", "env"])
        .expect(2)
        .says("env:2: expected NAME=value");
    project
        .run(&["--context", "team=none.env"])
        .expect(2)
        .says("cannot read none.env");
}

#[test]
fn an_unknown_context_is_warned_of() {
    let config = HELLO.to_owned() + "workflows: {w: {jobs: [build: {context: team}]}}\n";
    Project::new(&config)
        .run(&[])
        .expect(0)
        .says("--context team=FILE")
        .says("[build] Warning: the context team is not given");
}

#[test]
fn a_job_can_run_alone_and_green_ones_again() {
    let project = Project::new(HOLD);
    project
        .run(&["--branch", "main", "--job", "deploy"])
        .expect(0)
        .silent_on("[build]");
    project
        .run(&["--job", "nope"])
        .expect(2)
        .says("there is no job \"nope\"");
    project
        .run(&["--workflow", "nope"])
        .expect(2)
        .says("there is no workflow \"nope\"");
    project
        .capstan(&["rerun", "--executor", "host", "--from-failed"])
        .expect(2)
        .says("nothing of this run failed");
}

#[test]
fn container_jobs_without_docker_are_refused_with_the_way_out() {
    let project = Project::new(HELLO);
    project.capstan(&["run"]).expect(3).says("--executor host");
    project
        .capstan(&["runs"])
        .expect(0)
        .says("no runs of this project yet");
}

#[test]
fn configs_that_cannot_be_read_say_what_to_do() {
    let project = Project::new(HELLO);
    let path = project.root().join(".circleci/config.yml");
    fs::write(&path, b"version: \xff\n").unwrap();
    project.capstan(&["plan"]).expect(2).says("not UTF-8");
    fs::remove_file(&path).unwrap();
    for args in [
        &["plan"][..],
        &["run"],
        &["config", "validate"],
        &["config", "process"],
    ] {
        project
            .capstan(args)
            .expect(2)
            .says(".circleci/config.yml does not exist")
            .says("--config");
    }
    fs::create_dir(&path).unwrap();
    project.capstan(&["plan"]).expect(2).says("is a directory");
    project
        .capstan(&["config", "validate", "nowhere.yml"])
        .expect(2)
        .says("nowhere.yml does not exist");
    project
        .capstan(&["run", "--ref", "HEAD"])
        .expect(2)
        .says("not in a git repository");
}

#[test]
fn validate_looks_at_every_file() {
    let project = Project::new(HELLO);
    project.write("bad.yml", "version: 2.1\njobs: {build: {steps: 3}}\n");
    project
        .capstan(&["config", "validate"])
        .expect(0)
        .says(".circleci/config.yml is valid");
    project
        .capstan(&["config", "validate", "bad.yml", ".circleci/config.yml"])
        .expect(2)
        .says("bad.yml")
        .says(".circleci/config.yml is valid");
    let ended = project
        .capstan(&["config", "validate", "--json", "bad.yml"])
        .expect(2);
    assert!(
        ended
            .objects()
            .iter()
            .all(|object| object["severity"] == "error")
    );
    project
        .capstan(&["config", "process"])
        .expect(0)
        .says("greet");
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_run() {
    let project = Project::new(
        "version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [run: 'for i in 1 2 3 4 5 6 7 8 9; do echo $i; done; sleep 0.2; echo end']
",
    );
    let mut child = project
        .command(&["run", "--executor", "host"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    project.capstan(&["logs"]).expect(0).says("end\n");
}

#[test]
fn control_sequences_of_jobs_stay_out_of_the_terminal() {
    let project = Project::new(
        "version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [run: 'printf \"a\\033[2J\\033]0;title\\007b\\n\"']
",
    );
    project
        .run(&[])
        .expect(0)
        .says("[build] ab\n")
        .silent_on("\x1b]0");
    project
        .run(&["--raw"])
        .expect(0)
        .says("a\x1b[2J\x1b]0;title\x07b");
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_cancels() {
    let project = Project::new(
        "version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps: [run: 'touch \"$STARTED\"; sleep 600']
",
    );
    let started = project.directory.path().join("started");
    let variable = format!("STARTED={}", started.display());
    let child = project
        .command(&["run", "--executor", "host", "--env", &variable])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&started);
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    Ended::of(child.wait_with_output().unwrap())
        .expect(130)
        .says("canceling");
    project.capstan(&["runs"]).expect(0).says("canceled");
}

fn wait_for(path: &Path) {
    let begun = std::time::Instant::now();
    while !path.exists() {
        assert!(
            begun.elapsed().as_secs() < 30,
            "{} never came",
            path.display()
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn help_teaches() {
    let project = Project::new(HELLO);
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["plan", "--help"],
        &["rerun", "--help"],
    ] {
        project
            .capstan(args)
            .expect(0)
            .says("Usage:")
            .says("capstan ");
    }
    project
        .capstan(&["run", "--nonsense"])
        .expect(2)
        .says("--help");
}
