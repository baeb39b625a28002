//! The same example on the host and in containers: the `--json` streams are equal once ids, times and
//! the executors' own steps are dropped.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a stream says of each job, in order: one line for each thing that happened to it.
type Story = BTreeMap<String, Vec<String>>;

#[test]
fn the_streams_are_equal() {
    if !docker_answers() {
        return;
    }
    let host = story("host");
    let docker = story("docker");
    assert!(
        host.len() > 5,
        "the example has more jobs than {:?}",
        host.keys()
    );
    for (job, told) in &host {
        assert_eq!(
            Some(told),
            docker.get(job),
            "{job}: the host's story, then Docker's"
        );
    }
    assert_eq!(host.len(), docker.len());
}

fn story(executor: &str) -> Story {
    let data =
        std::env::temp_dir().join(format!("capstan-equal-{executor}-{}", std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_capstan"))
        .args([
            "run",
            "--json",
            "--approve-all",
            "--branch",
            "main",
            "--executor",
            executor,
        ])
        .arg("--config")
        .arg(repository().join("examples/backend/.circleci/config.yml"))
        .env("CAPSTAN_DATA", &data)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{executor}: {}\n{text}\n{errors}",
        output.status
    );
    std::fs::remove_dir_all(&data).unwrap();
    read(&text)
}

fn read(stream: &str) -> Story {
    let lines: Vec<Value> = stream
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: BTreeMap<String, String> = lines
        .iter()
        .filter(|line| line["type"] == "job")
        .map(|line| (word(line, "job"), word(line, "name")))
        .collect();
    let mut story = Story::new();
    let mut output: BTreeMap<(String, u64), String> = BTreeMap::new();
    for line in &lines {
        match word(line, "type").as_str() {
            "job" => tell(&mut story, &word(line, "name"), word(line, "status")),
            "step_started" if !executors_own(line) => {
                tell(
                    &mut story,
                    &job_of(line, &names),
                    format!("{} {}", line["step"], line["name"]),
                );
            }
            "step_finished" if !executors_own(line) => {
                let told = format!("{} {} {}", line["step"], line["status"], line["exit_code"]);
                tell(&mut story, &job_of(line, &names), told);
            }
            "output" if !executors_own(line) => {
                let step = line["step"].as_u64().unwrap();
                output
                    .entry((job_of(line, &names), step))
                    .or_default()
                    .push_str(&word(line, "text"));
            }
            "task_finished" => tell(
                &mut story,
                &job_of(line, &names),
                line["outcome"].to_string(),
            ),
            _ => {}
        }
    }
    // Chunks are cut by time; the text of a step as a whole is what counts.
    for ((job, step), text) in output {
        tell(
            &mut story,
            &job,
            format!("{step} said {}", without_ids(&text)),
        );
    }
    story
}

fn tell(story: &mut Story, job: &str, what: String) {
    let told = story.entry(job.to_owned()).or_default();
    // A status may be repeated with another reason.
    if told.last() != Some(&what) {
        told.push(what);
    }
}

fn word(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_default().to_owned()
}

/// "Spin up environment" is the executor's.
fn executors_own(line: &Value) -> bool {
    line["step"] == 0
}

fn job_of(line: &Value, names: &BTreeMap<String, String>) -> String {
    let task = word(line, "task");
    let job = task.split('.').next().unwrap_or_default();
    names
        .get(job)
        .cloned()
        .unwrap_or_else(|| panic!("no job of task {task}"))
}

/// Words that hold an id become `<id>`, those that hold a place of the host become `<place>`.
fn without_ids(text: &str) -> String {
    let shorten = |word: &str| {
        if word
            .split(|c: char| !c.is_ascii_hexdigit() && c != '-')
            .any(is_uuid)
        {
            word.split('=').next().unwrap_or_default().to_owned() + "=<id>"
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| line.split(' ').map(shorten).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned()
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
