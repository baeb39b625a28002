//! Dynamic configuration: a setup config that runs, decides, and continues with another one, with nothing
//! but a shell on this machine.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// An orb with the shape of the one that continues pipelines; its own steps would fail.
const CONTINUATION: &str = "version: 2.1
commands:
  continue:
    parameters:
      configuration_path: {type: string}
      parameters: {type: string, default: '{}'}
    steps:
      - run: {name: never runs, command: exit 9}
  finish:
    steps:
      - run: {name: never runs, command: exit 9}
";

const SETUP: &str = "version: 2.1
setup: true
orbs: {continuation: circleci/continuation@1}
parameters:
  level: {type: integer, default: 0}
jobs:
  decide:
    machine: true
    environment: {CONFIG: next.yml}
    steps:
      - checkout
      - run: |
          echo '{\"deep\": true}' > parameters.json
STEPS
workflows: {setup: {jobs: [decide]}}
";

const CONTINUE: &str =
    "      - continuation/continue: {configuration_path: $CONFIG, parameters: parameters.json}";

const NEXT: &str = "version: 2.1
parameters:
  deep: {type: boolean, default: false}
  level: {type: integer, default: 0}
jobs:
  after: {machine: true, steps: [checkout, run: 'echo level << pipeline.parameters.level >> && cat next.yml | head -1']}
  shallow: {machine: true, steps: [run: 'true']}
workflows:
  deep: {when: << pipeline.parameters.deep >>, jobs: [after]}
  shallow: {unless: << pipeline.parameters.deep >>, jobs: [shallow]}
";

struct Project {
    directory: TempDir,
}

struct Ended {
    code: i32,
    text: String,
}

impl Project {
    fn new(steps: &str, next: &str) -> Self {
        let project = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        project.write(
            "project/.circleci/config.yml",
            &SETUP.replace("STEPS", steps),
        );
        project.write("project/next.yml", next);
        project.write("orbs/circleci/continuation/1.0.0.yml", CONTINUATION);
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, orbs: &Path, args: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capstan"));
        let output = command
            .args(["run", "--executor", "host", "--offline", "--orb-dir"])
            .arg(orbs)
            .args(args)
            .current_dir(self.directory.path().join("project"))
            .stdin(Stdio::null())
            .env("CAPSTAN_DATA", self.directory.path().join("data"))
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        Ended {
            code: output.status.code().unwrap(),
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }

    fn go(&self, args: &[&str]) -> Ended {
        self.run(&self.directory.path().join("orbs"), args)
    }
}

impl Ended {
    fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text);
        for word in words {
            assert!(self.text.contains(word), "no {word:?} in\n{}", self.text);
        }
    }
}

#[test]
fn a_setup_config_continues_with_its_parameters_and_sources() {
    let ended = Project::new(CONTINUE, NEXT).go(&["--param", "level=3"]);
    ended.says(
        0,
        &[
            "runs natively",
            "Continuing with next.yml and deep=true",
            "level 3",
            "setup success",
            "deep success",
        ],
    );
    assert!(!ended.text.contains("shallow"), "{}", ended.text);
}

#[test]
fn finishing_continues_with_nothing() {
    let ended = Project::new("      - continuation/finish", NEXT).go(&[]);
    ended.says(0, &["Finishing", "setup success"]);
}

#[test]
fn a_config_that_is_wrong_fails_the_step_and_says_where() {
    let wrong = NEXT.replace("jobs: [after]", "jobs: [aftre]");
    let ended = Project::new(CONTINUE, &wrong).go(&[]);
    ended.says(1, &["E_UNKNOWN_JOB", "next.yml:9", "did you mean `after`"]);
}

#[test]
fn a_pipeline_continues_once() {
    let twice = format!("{CONTINUE}\n{CONTINUE}");
    let ended = Project::new(&twice, NEXT).go(&[]);
    ended.says(1, &["level 0", "deep success", "setup failed"]);
}

#[test]
fn what_cannot_be_a_continuation_is_refused_by_name() {
    let table = [
        (
            "{configuration_path: gone.yml}",
            NEXT,
            "there is no gone.yml",
        ),
        (
            "{configuration_path: next.yml, parameters: '{\"deep\": [1]}'}",
            NEXT,
            "a pipeline parameter is a string, an integer or a boolean",
        ),
        (
            "{configuration_path: next.yml, parameters: nonsense}",
            NEXT,
            "not valid JSON",
        ),
        (
            "{configuration_path: next.yml, parameters: '{\"wide\": true}'}",
            NEXT,
            "Unexpected argument(s): wide",
        ),
        (
            "{configuration_path: next.yml}",
            "version: 2.1\nsetup: true\njobs: {build: {machine: true, steps: [checkout]}}\n",
            "take `setup: true` out",
        ),
    ];
    for (arguments, next, words) in table {
        let step = format!("      - continuation/continue: {arguments}");
        Project::new(&step, next).go(&[]).says(1, &[words]);
    }
}

#[test]
fn parameters_of_trigger_and_continuation_may_conflict() {
    let step = "      - continuation/continue: {configuration_path: next.yml, parameters: '{\"level\": 2}'}";
    let project = Project::new(step, NEXT);
    project.go(&[]).says(0, &["shallow success"]);
    project
        .go(&["--param", "level=1"])
        .says(1, &["Conflicting pipeline parameters"]);
}

/// The real path-filtering orb, as published.
#[test]
fn path_filtering_runs_unmodified() {
    let Some(orbs) = shared("orbs") else { return };
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    if !has_python {
        println!("skipped: the orb needs python3");
        return;
    }
    let project = Project::new("", NEXT);
    project.write(
        "project/.circleci/config.yml",
        "version: 2.1
setup: true
orbs: {path-filtering: circleci/path-filtering@0.1.3}
workflows:
  setup:
    jobs:
      - path-filtering/filter:
          base-revision: main
          config-path: next.yml
          mapping: |
            src/.* deep true
            docs/.* level 7
",
    );
    project.write("project/src/a", "one");
    let root = project.directory.path().join("project");
    let git = |args: &[&str]| {
        let done = Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
            .args(args)
            .current_dir(&root)
            .output()
            .unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
    };
    git(&["init", "-q", "-b", "main", "."]);
    git(&["add", "-A"]);
    git(&["commit", "-qm", "one"]);
    git(&["checkout", "-q", "-b", "feature"]);
    project.write("project/src/a", "two");
    git(&["commit", "-qam", "two"]);
    project.run(&orbs, &[]).says(
        0,
        &["Continuing with next.yml and deep=true", "deep success"],
    );
}

/// The folder `shared/NAME` in the nearest folder above this crate that has it; without one says so, or
/// fails where `CAPSTAN_REQUIRE` names `shared`.
fn shared(name: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared").join(name))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        let required = std::env::var("CAPSTAN_REQUIRE").unwrap_or_default();
        assert!(
            !required.contains("shared"),
            "CAPSTAN_REQUIRE asks for it, and there is no shared/{name}"
        );
        println!("skipped: no shared/{name} above this crate");
    }
    found
}

/// Not dynamic, but of the same kind: a pipeline that gets workflows while it runs.
#[test]
fn a_workflow_that_fails_and_runs_again_by_itself_counts_by_its_last_try() {
    let project = Project::new("", "");
    project.write(
        "project/.circleci/config.yml",
        "version: 2.1
jobs:
  flaky: {machine: true, steps: [run: {name: try, command: 'echo x >> $TRIES; test $(wc -l < $TRIES) -ge 3'}]}
workflows:
  w: {max_auto_reruns: 3, jobs: [flaky]}
",
    );
    let tries = project.directory.path().join("tries");
    let tries_is = format!("TRIES={}", tries.display());
    project.go(&["--env", &tries_is]).says(0, &["w success"]);
    assert_eq!(fs::read_to_string(&tries).unwrap(), "x\nx\nx\n");
    fs::remove_file(&tries).unwrap();
    let config = project
        .directory
        .path()
        .join("project/.circleci/config.yml");
    let once = fs::read_to_string(&config)
        .unwrap()
        .replace("reruns: 3", "reruns: 1");
    fs::write(&config, once).unwrap();
    project.go(&["--env", &tries_is]).says(1, &["w failed"]);
}
