//! The real binary, as a person and as a script use it.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

mod project;
mod trouble;

use project::Project;
use serde_json::Value;

/// One job that reads a file of the project.
const HELLO: &str = "version: 2.1
jobs:
  build:
    docker: [{image: cimg/base:stable}]
    steps:
      - checkout
      - run: {name: greet, command: echo \"hello $(cat name)\"}
";

/// An approval between two jobs, the last of which is for `main`.
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
fn help_teaches() {
    let project = Project::new(HELLO);
    for (args, about) in [
        (&["--help"][..], "Runs CircleCI configs, unmodified"),
        (&["run", "--help"], "Run the workflows a push"),
        (&["plan", "--help"], "Say what would run"),
        (&["rerun", "--help"], "Run a run again"),
        (&["config", "--help"], "Check or expand config files"),
        (&["help", "config", "explain"], "Say where each line"),
        (&["orb", "--help"], "Look at orbs"),
    ] {
        let ended = project.capstan(args).expect(0);
        assert!(ended.stdout.starts_with(about), "{}", ended.stdout);
        ended.says("Usage: capstan ");
    }
    project
        .capstan(&["run", "--nonsense"])
        .expect(2)
        .says("--help");
}
