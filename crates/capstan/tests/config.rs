//! `capstan config` as a person and as a program use it.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const GOOD: &str = "version: 2.1
executors:
  node:
    parameters: {tag: {type: string}}
    docker: [{image: \"cimg/node:<< parameters.tag >>\"}]
    environment: {CI: \"1\"}
commands:
  greet:
    parameters: {to: {type: string, default: world}}
    steps:
      - run: echo hello << parameters.to >>
jobs:
  test:
    parameters: {version: {type: string}}
    executor: {name: node, tag: << parameters.version >>}
    steps:
      - checkout
      - greet: {to: \"<< parameters.version >>\"}
workflows:
  main:
    jobs:
      - test: {matrix: {parameters: {version: [\"22\", \"23\"]}}}
";

const BAD: &str = "version: 2.1
jobs: {build: {docker: [{image: a}], steps: [chekout]}}
";

/// A directory with files in it.
struct Folder(TempDir);

/// What a command said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = folder.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn config(&self, args: &[&str], input: &str) -> Said {
        let mut child = Command::new(env!("CARGO_BIN_EXE_capstan"))
            .arg("config")
            .args(args)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without reading; then there is nobody to write to.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Said {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn many_paths_are_validated_in_every_format() {
    let folder = Folder::with(&[
        ("good/.circleci/config.yml", GOOD),
        ("bad.yml", BAD),
        ("good.yml", GOOD),
    ]);
    let said = folder.config(&["validate", "good", "bad.yml", "-"], GOOD);
    assert_eq!(said.code, Some(2));
    assert_eq!(
        said.stdout,
        "good/.circleci/config.yml is valid\nstandard input is valid\n"
    );
    assert!(said.stderr.contains("bad.yml:2:46"), "{}", said.stderr);
    assert!(
        said.stderr
            .contains("bad.yml: 1 error. More about one: capstan config explain E_UNKNOWN_COMMAND"),
        "{}",
        said.stderr
    );

    for json in [&["--json"][..], &["--format", "json"]] {
        let args = [&["validate", "bad.yml", "good.yml"], json].concat();
        let said = folder.config(&args, "");
        assert_eq!((said.code, said.stderr.as_str()), (Some(2), ""));
        let found: Value = serde_json::from_str(said.stdout.trim()).unwrap();
        assert_eq!(found["code"], "E_UNKNOWN_COMMAND");
        assert_eq!(found["help"][0], "did you mean `checkout`?");
    }

    let said = folder.config(
        &[
            "validate", "--format", "sarif", "bad.yml", "gone.yml", "good",
        ],
        "",
    );
    assert_eq!(said.code, Some(2));
    let log: Value = serde_json::from_str(&said.stdout).unwrap();
    let run = &log["runs"][0];
    assert_eq!(run["results"].as_array().unwrap().len(), 1);
    let place = &run["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "bad.yml");
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);

    let said = folder.config(&["validate", "--format", "sarif", "good"], "");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
}

#[test]
fn a_code_is_explained_and_a_misspelt_one_finds_its_neighbour() {
    let folder = Folder::with(&[]);
    let said = folder.config(&["explain", "E_PARAM_TYPE"], "");
    assert_eq!(said.code, Some(0));
    assert!(
        said.stdout.starts_with("# E_PARAM_TYPE: "),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains("## Mended"));
    let said = folder.config(&["explain", "E_PARAM_TYP"], "");
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.contains("did you mean E_PARAM_TYPE?"),
        "{}",
        said.stderr
    );
}

#[test]
fn the_schema_is_printed_for_editors() {
    let said = Folder::with(&[]).config(&["schema"], "");
    assert_eq!(said.code, Some(0));
    let schema: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    let job = &schema["definitions"]["job"]["properties"];
    assert!(job["parallelism"]["description"].is_string());
}

#[test]
fn a_job_is_explained_with_the_chain_of_each_line() {
    let folder = Folder::with(&[(".circleci/config.yml", GOOD)]);
    let said = folder.config(&["explain", "main/test-22"], "");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let wanted = "\
main/test-22
  .circleci/config.yml:22:24  by the matrix, with version=22
  .circleci/config.yml:22:9  by job 'test'
  .circleci/config.yml:20:3  in workflow 'main'
  docker: cimg/node:22
       .circleci/config.yml:5:5  written here
       .circleci/config.yml:15:15  by executor 'node'
  working_directory: ~/project
  environment: CI=1
       .circleci/config.yml:6:19  written here
       .circleci/config.yml:15:15  by executor 'node'
  1. checkout
       .circleci/config.yml:17:9  written here
  2. run
    echo hello 22
       .circleci/config.yml:11:9  written here
       .circleci/config.yml:18:9  by the call of command 'greet'
";
    assert_eq!(said.stdout, wanted, "\n{}", said.stdout);
}

/// A matrix of a job of an orb, whose parameter goes through an executor and a command of the orb.
#[test]
fn the_chain_of_an_orb_job_in_a_matrix_is_whole() {
    let config = "version: 2.1
orbs:
  tools: acme/tools@1
workflows:
  main:
    jobs:
      - tools/test:
          matrix: {parameters: {version: [\"22\", \"23\"]}}
";
    let orb = "version: 2.1
executors:
  node:
    parameters: {tag: {type: string}}
    docker: [{image: \"cimg/node:<< parameters.tag >>\"}]
commands:
  greet:
    parameters: {to: {type: string}}
    steps:
      - run: echo hello << parameters.to >>
jobs:
  test:
    parameters: {version: {type: string}}
    executor: {name: node, tag: << parameters.version >>}
    steps:
      - greet: {to: << parameters.version >>}
";
    let folder = Folder::with(&[
        (".circleci/config.yml", config),
        ("orbs/acme/tools/1.2.3.yml", orb),
    ]);
    let said = folder.config(&["explain", "tools/test-22", "--orb-dir", "orbs"], "");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let wanted = "\
main/tools/test-22
  .circleci/config.yml:8:19  by the matrix, with version=22
  .circleci/config.yml:7:9  by job 'tools/test'
  .circleci/config.yml:5:3  in workflow 'main'
  docker: cimg/node:22
       acme/tools@1.2.3:5:5  written here
       acme/tools@1.2.3:3:3  in 'node' of the orb acme/tools@1.2.3
       acme/tools@1.2.3:14:15  by executor 'node'
       acme/tools@1.2.3:12:3  in 'test' of the orb acme/tools@1.2.3
  working_directory: ~/project
  1. run
    echo hello 22
       acme/tools@1.2.3:10:9  written here
       acme/tools@1.2.3:7:3  in 'greet' of the orb acme/tools@1.2.3
       acme/tools@1.2.3:16:9  by the call of command 'greet'
       acme/tools@1.2.3:12:3  in 'test' of the orb acme/tools@1.2.3
";
    assert_eq!(said.stdout, wanted, "\n{}", said.stdout);
}

#[test]
fn one_step_is_explained_by_number_name_or_command() {
    let folder = Folder::with(&[(".circleci/config.yml", GOOD)]);
    for step in ["2", "echo hello 23", "run", "greet"] {
        let what = format!("test-23:{step}");
        let said = folder.config(&["explain", "--json", &what], "");
        assert_eq!(said.code, Some(0), "{what}: {}", said.stderr);
        let line: Value = serde_json::from_str(said.stdout.trim()).unwrap();
        assert_eq!(
            (&line["part"], &line["number"]),
            (&"step".into(), &2.into())
        );
        assert_eq!(line["value"]["does"]["run"]["command"], "echo hello 23");
        let chain: Vec<&str> = line["origin"]
            .as_array()
            .unwrap()
            .iter()
            .map(|origin| origin["what"].as_str().unwrap())
            .collect();
        assert_eq!(
            chain,
            [
                "written here",
                "by the call of command 'greet'",
                "by the matrix, with version=23",
                "by job 'test'",
                "in workflow 'main'"
            ]
        );
    }
}

#[test]
fn unknown_jobs_and_steps_name_what_there_is() {
    let folder = Folder::with(&[(".circleci/config.yml", GOOD)]);
    for (what, said_wanted) in [
        ("tset-22", "did you mean `test-22`?"),
        ("nothing-like-it", "there are test-22, test-23"),
        ("test-22:9", "Checkout code, echo hello 22"),
        ("test-22:chekcout", "did you mean `checkout`?"),
    ] {
        let said = folder.config(&["explain", what], "");
        assert_eq!(said.code, Some(2), "{what}");
        assert!(said.stderr.contains(said_wanted), "{what}: {}", said.stderr);
    }
    fs::write(folder.0.path().join(".circleci/config.yml"), BAD).unwrap();
    let said = folder.config(&["explain", "build"], "");
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.contains("error[E_UNKNOWN_COMMAND]"),
        "{}",
        said.stderr
    );
}
