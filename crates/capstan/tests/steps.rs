//! `run` steps in all their fields, on the host, by the real program.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What became of the configured steps of a job: number from 1, status, exit code.
type Steps = Vec<(u64, String, Option<i64>)>;

struct Ran {
    code: i32,
    steps: Steps,
    output: String,
}

/// Runs one job with these steps (YAML, indented by six).
fn run(name: &str, steps: &str) -> Ran {
    let root = std::env::temp_dir().join(format!("capstan-steps-{name}-{}", std::process::id()));
    std::fs::create_dir_all(root.join(".circleci")).unwrap();
    let config = format!(
        "version: 2.1\njobs:\n  build:\n    machine: true\n    environment: {{A: job, B: job}}\n    steps:\n{steps}"
    );
    std::fs::write(root.join(".circleci/config.yml"), config).unwrap();
    let ran = capstan(&root);
    std::fs::remove_dir_all(&root).unwrap();
    ran
}

fn capstan(root: &PathBuf) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_capstan"))
        .args(["run", "--executor", "host", "--json"])
        .current_dir(root)
        .env("CAPSTAN_DATA", root.join("data"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut ran = Ran {
        code: output.status.code().unwrap(),
        steps: Vec::new(),
        output: String::new(),
    };
    for line in text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
    {
        let Some(step) = line["step"].as_u64().filter(|step| *step > 100) else {
            continue;
        };
        if line["type"] == "output" {
            ran.output.push_str(line["text"].as_str().unwrap());
        }
        if line["type"] == "step_finished" {
            let status = line["status"].as_str().unwrap().to_owned();
            ran.steps
                .push((step - 100, status, line["exit_code"].as_i64()));
        }
    }
    ran
}

fn step(number: u64, status: &str, code: impl Into<Option<i64>>) -> (u64, String, Option<i64>) {
    (number, status.to_owned(), code.into())
}

#[test]
fn a_failure_skips_what_follows_but_not_always_and_on_fail() {
    let ran = run(
        "when",
        "      - run: exit 3\n      - run: echo never\n      - run: {command: echo handler, when: on_fail}\n      \
         - run: {command: echo anyway, when: always}\n",
    );
    assert_eq!(ran.code, 1);
    assert_eq!(
        ran.steps,
        [
            step(1, "failed", 3),
            step(3, "success", 0),
            step(4, "success", 0)
        ]
    );
    assert!(
        ran.output.contains("Exited with code exit status 3"),
        "{}",
        ran.output
    );
    assert!(!ran.output.contains("never"), "{}", ran.output);
}

#[test]
fn a_job_halts_well() {
    for halt in ["circleci-agent step halt", "circleci task halt"] {
        let steps = format!(
            "      - run: {halt}; echo to the end\n      - run: exit 1\n      - run: {{command: exit 1, when: always}}\n"
        );
        let ran = run("halt", &steps);
        assert_eq!(
            (ran.code, ran.steps),
            (0, vec![step(1, "success", 0)]),
            "{}",
            ran.output
        );
        assert!(ran.output.contains("to the end"), "{}", ran.output);
    }
}

#[test]
fn the_circleci_command_works_where_it_was_copied() {
    let ran = run(
        "copied",
        "      - run: |\n          at=$(command -v circleci-agent)\n          cp \"$at\" moved && rm \"$at\" && mv moved \"$at\"\n          \
         circleci-agent step halt\n      - run: exit 1\n",
    );
    assert_eq!((ran.code, ran.steps.len()), (0, 1), "{}", ran.output);
}

#[test]
fn silence_ends_a_step() {
    let ran = run(
        "silence",
        "      - run: {command: 'echo once; sleep 60', no_output_timeout: 0.2s}\n",
    );
    assert_eq!((ran.code, ran.steps), (1, vec![step(1, "timedout", None)]));
    assert!(
        ran.output
            .contains("Too long with no output (exceeded 200ms)"),
        "{}",
        ran.output
    );
}

#[test]
fn a_signal_is_128_and_its_number() {
    let ran = run("signal", "      - run: kill -9 $$\n");
    assert_eq!((ran.code, ran.steps), (1, vec![step(1, "failed", 137)]));
}

#[test]
fn a_background_step_lives_until_the_job_ends_and_does_not_fail_it() {
    let ran = run(
        "background",
        "      - run: {command: 'echo up > up; sleep 99', background: true}\n      \
         - run: while [ ! -e up ]; do sleep 0.05; done\n",
    );
    assert_eq!(
        (ran.code, ran.steps),
        (0, vec![step(2, "success", 0), step(1, "success", 137)])
    );
}

#[test]
fn a_step_ends_with_its_shell_though_others_hold_its_output() {
    let start = std::time::Instant::now();
    let ran = run("held", "      - run: (sleep 30; echo late) & echo shell\n");
    assert_eq!(ran.code, 0, "{}", ran.output);
    assert!(start.elapsed().as_secs() < 20, "it waited for the child");
    assert!(
        ran.output.contains("shell") && !ran.output.contains("late"),
        "{}",
        ran.output
    );
}

#[test]
fn variables_go_from_step_to_step_by_bash_env_only() {
    let ran = run(
        "variables",
        "      - run: export C=lost; echo 'export D=kept' >> \"$BASH_ENV\"\n      \
         - run: {command: 'echo \"$A $B ${C:-unset} $D\"', environment: {B: step}}\n",
    );
    assert!(ran.output.contains("job step unset kept"), "{}", ran.output);
}

#[test]
fn shells_and_directories_are_as_asked_for() {
    let ran = run(
        "shells",
        "      - run: mkdir -p sub\n      - run: {command: 'false; echo lenient in $(basename \"$PWD\")', shell: /bin/sh, working_directory: sub}\n      \
         - run: {command: 'true', working_directory: missing}\n",
    );
    assert!(ran.output.contains("lenient in sub"), "{}", ran.output);
    assert_eq!(
        ran.steps.last(),
        Some(&step(3, "failed", None)),
        "{}",
        ran.output
    );
    assert!(
        ran.output.contains("missing does not exist"),
        "{}",
        ran.output
    );
}

#[test]
fn a_step_is_tried_again_as_often_as_it_may() {
    let ran = run(
        "again",
        "      - run: {command: 'echo x >> tries; [ $(wc -l < tries) -ge 3 ]', max_auto_reruns: 2}\n",
    );
    assert_eq!(
        (ran.code, ran.steps),
        (0, vec![step(1, "success", 0)]),
        "{}",
        ran.output
    );
}

#[test]
fn a_script_longer_than_an_argument_may_be_runs() {
    let filler =
        "# 0123456789012345678901234567890123456789012345678901234567890123456789\n          ";
    let steps = format!(
        "      - run: |\n          {}echo long\n",
        filler.repeat(3_000)
    );
    let ran = run("long", &steps);
    assert!(
        ran.code == 0 && ran.output.contains("long"),
        "{}",
        ran.output
    );
}

#[test]
fn a_job_can_ask_git_about_what_it_checked_out() {
    let root = std::env::temp_dir().join(format!("capstan-steps-git-{}", std::process::id()));
    std::fs::create_dir_all(root.join(".circleci")).unwrap();
    std::fs::write(
        root.join(".circleci/config.yml"),
        "version: 2.1\njobs:\n  build:\n    machine: true\n    steps:\n      - checkout\n      - run: |\n          \
         test \"$(git rev-parse HEAD)\" = \"$CIRCLE_SHA1\"\n          \
         test \"$(git branch --show-current)\" = \"$CIRCLE_BRANCH\"\n          \
         test -z \"$(git status --porcelain)\"\n          \
         git log --format=%s\n          \
         git describe --tags\n      - checkout\n",
    )
    .unwrap();
    let git = |args: &[&str]| {
        let status = Command::new("git")
            .current_dir(&root)
            .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"])
            .args(args)
            .status()
            .unwrap();
        assert!(status.success(), "git {args:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "the only commit"]);
    git(&["tag", "v7"]);
    std::fs::write(root.join(".git/info/exclude"), "data\n").unwrap();
    let ran = capstan(&root);
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(ran.code, 0, "{}", ran.output);
    assert!(
        ran.output.contains("the only commit\nv7\n"),
        "{}",
        ran.output
    );
}

#[test]
fn an_interrupt_gives_every_process_time_to_end() {
    let root = std::env::temp_dir().join(format!("capstan-steps-interrupt-{}", std::process::id()));
    std::fs::create_dir_all(root.join(".circleci")).unwrap();
    let (ready, cleaned) = (root.join("ready"), root.join("cleaned"));
    // The shell ends at once; its child, in a session of its own, has something to put in order.
    let config = format!(
        "version: 2.1\njobs:\n  build:\n    machine: true\n    steps:\n      - run: |\n          \
         setsid bash -c 'trap \"sleep 0.5; touch {}; exit\" TERM; touch {}; while :; do sleep 0.05; done' &\n          \
         wait\n",
        cleaned.display(),
        ready.display()
    );
    std::fs::write(root.join(".circleci/config.yml"), config).unwrap();
    let mut capstan = Command::new(env!("CARGO_BIN_EXE_capstan"))
        .args(["run", "--executor", "host"])
        .current_dir(&root)
        .env("CAPSTAN_DATA", root.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while !ready.exists() && start.elapsed().as_secs() < 30 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let interrupted = Command::new("kill")
        .args(["-INT", &capstan.id().to_string()])
        .status()
        .unwrap();
    assert!(ready.exists() && interrupted.success());
    let status = capstan.wait().unwrap();
    let in_order = cleaned.exists();
    std::fs::remove_dir_all(&root).unwrap();
    assert_eq!(status.code(), Some(130), "{status}");
    assert!(in_order, "the child was killed within its grace");
}

#[test]
fn an_agent_beside_the_program_is_the_one_that_runs() {
    // Links of the program, so that what stands beside it is ours to choose.
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("beside");
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(root.join(".circleci")).unwrap();
    std::fs::write(
        root.join(".circleci/config.yml"),
        "version: 2.1\njobs: {build: {machine: true, steps: [{run: 'true'}]}}\n",
    )
    .unwrap();
    let program = root.join("capstan");
    std::fs::hard_link(env!("CARGO_BIN_EXE_capstan"), &program).unwrap();
    let agent = root.join("capstan-agent");
    let used = root.join("used");
    std::fs::write(
        &agent,
        format!(
            "#!/bin/sh\n: > {}\nexec {} agent\n",
            used.display(),
            program.display()
        ),
    )
    .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&agent, mode).unwrap();
    let status = Command::new(&program)
        .args(["run", "--executor", "host"])
        .current_dir(&root)
        .env("CAPSTAN_DATA", root.join("data"))
        .env_remove("CAPSTAN_AGENT")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    assert!(
        used.exists(),
        "the agent beside the program was not started"
    );
}
