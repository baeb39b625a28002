//! What goes wrong: in a job, on the disk, with what was asked for, and at the other end of a pipe.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::HELLO;
use super::project::{Ended, Project};

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
fn a_run_that_cannot_be_stored_ends_at_once_and_says_why() {
    let project = Project::new(
        "version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      # No output finds a place from here on, as on a full disk.
      - run: cd \"$HOME\"/../../../runs/*/ && rm -r logs && touch logs
      - run: echo lost; sleep 600
",
    );
    let mut capstan = project.command(&["run", "--executor", "host"]);
    let mut child = capstan
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > patience {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ended::of(child.wait_with_output().unwrap())
        .expect(3)
        .says("error: the run cannot be stored in ")
        .says("help: make room there, or set CAPSTAN_DATA to a directory with more");
}

#[test]
fn a_rerun_that_cannot_be_stored_says_why_as_well() {
    let project = Project::new(HELLO);
    project.run(&[]).expect(0);
    // The shell ignores the signal, so that a file that would be too long is refused as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 34; exec \"$0\" rerun --executor host";
    Ended::of(project.shell(script).output().unwrap())
        .expect(3)
        .says("error: the run cannot be stored in ")
        .says("help: make room there, or set CAPSTAN_DATA to a directory with more");
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
