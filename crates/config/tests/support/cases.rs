//! The files of cases: what they look like, and how they are read.
//!
//! A file is a list of cases. A line that starts with `#` before the first section of a case is a comment.
//!
//! ```text
//! == 11.2 an argument reaches the command
//! -- config                 a 2.1 config: `version: 2.1` and, if it has none, the workflow
//!                           `w: {jobs: [build]}` are added; `$J` stands for a docker executor
//! -- file                   instead of config: a file as it is
//! -- setup                  a setup config, `version` and `setup` are added; `config` continues it, with
//!                           the parameters of `pass NAME = YAML` lines of the trigger
//! -- registry               orbs that the test answers with, one a line: `acme/x 1.2.0 1.3.0`; each has a
//!                           command `c` that echoes its version
//! -- trigger                one fact a line: `branch B` (main, if nothing is said), `tag T`, `number N`,
//!                           `param NAME = YAML`, or `text NAME = …` as a command line gives it
//! -- expect                 one fact a line, see `Fact`
//! ```
//!
//! `-- trigger` and `-- expect` may be repeated: each pair compiles the config once more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use capstan_model::Trigger;
use capstan_model::trigger::{ParameterValue, Project, Revision, Selection, TriggerKind};
use serde_json::Value;

use crate::yaml;

/// What stands for `$J` in a config.
const DOCKER: &str = "docker: [{image: cimg/base:stable}]";

/// A config and what is to come of it.
pub struct Case {
    pub id: String,
    pub title: String,
    pub place: String,
    pub config: String,
    /// A setup config that is compiled first, and that `config` continues; empty if there is none.
    pub setup: String,
    /// Orbs with their releases.
    pub registry: BTreeMap<String, Vec<[u64; 3]>>,
    pub checks: Vec<Check>,
}

/// One compilation of a case; each fact with its line.
pub struct Check {
    pub trigger: Trigger,
    /// What the setup config passes on to the one that continues.
    pub passed: BTreeMap<String, ParameterValue>,
    pub facts: Vec<(usize, Fact)>,
}

/// One line of `-- expect`.
pub enum Fact {
    /// `ok`: there is a plan, and no finding is an error.
    Ok,
    /// `error CODE "words" "more words"`: there is such an error. Where errors are expected, every error
    /// must be.
    Error { code: String, words: Vec<String> },
    /// `warning CODE`: there is such a warning.
    Warning { code: String },
    /// `missing REF …`: the compiler asks for exactly these orbs.
    Missing(Vec<String>),
    /// `refused "words"`: the setup config may not pass these parameters on.
    Refused(String),
    /// `orb REF = EXACT`: the plan was made with this release.
    Orb { reference: String, exact: String },
    /// `at PATH = YAML`: the processed config holds this value there. A path is keys and indexes with
    /// `/` between them; ` > ` may be used instead where keys hold slashes.
    At { path: Vec<String>, value: Value },
    /// `absent PATH`: nothing stands there.
    Absent(Vec<String>),
    /// `jobs NAME …`: exactly these jobs are in the processed config, in any order.
    Jobs(BTreeSet<String>),
    /// `begins PATH = YAML`: the text there starts with this one.
    Begins { path: Vec<String>, text: String },
    /// `runs W/J …` or `skips W/J …`: the plan's decision about a job, with a reason in words.
    Job {
        names: Vec<(String, String)>,
        runs: bool,
    },
    /// `workflow-runs W` or `workflow-skipped W`: the plan's decision about a workflow.
    Workflow { name: String, runs: bool },
    /// `requires W/J = [a, {b: [failed]}]`: what the plan makes it wait for.
    Requires { job: (String, String), value: Value },
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance"))
}

/// `left.txt`: an id, blanks, the reason. A number that stands in no file may be listed too.
pub fn read_left() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join("left.txt")).unwrap();
    let mut left = BTreeMap::new();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (id, reason) = line
            .split_once(' ')
            .unwrap_or_else(|| panic!("left.txt: no reason in {line:?}"));
        let before = left.insert(id.to_owned(), reason.trim().to_owned());
        assert!(before.is_none(), "left.txt: {id} twice");
    }
    left
}

/// Every case of every file, in order.
pub fn read_cases() -> Vec<Case> {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt") && !path.ends_with("left.txt"))
        .collect();
    files.sort();
    files.iter().flat_map(|path| read_file(path)).collect()
}

fn read_file(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap();
    let file = path.file_name().unwrap().to_string_lossy().into_owned();
    let mut cases: Vec<Case> = Vec::new();
    let mut section = Section::None;
    let mut trigger = trigger();
    let mut passed = BTreeMap::new();
    for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let place = format!("{file}:{at}");
        if let Some(head) = line.strip_prefix("== ") {
            let (id, title) = head
                .split_once(' ')
                .unwrap_or_else(|| panic!("{place}: a case needs a title"));
            cases.push(Case {
                id: id.to_owned(),
                title: title.to_owned(),
                place,
                config: String::new(),
                setup: String::new(),
                registry: BTreeMap::new(),
                checks: Vec::new(),
            });
            (section, trigger, passed) = (Section::None, self::trigger(), BTreeMap::new());
            continue;
        }
        if let Some(name) = line.strip_prefix("-- ") {
            section = Section::named(name.trim())
                .unwrap_or_else(|| panic!("{place}: no section {name:?}"));
            let case = cases
                .last_mut()
                .unwrap_or_else(|| panic!("{place}: a section before any case"));
            match section {
                Section::Config => case.config.push_str("version: 2.1\n"),
                Section::Setup => case.setup.push_str("version: 2.1\nsetup: true\n"),
                Section::Trigger => (trigger, passed) = (self::trigger(), BTreeMap::new()),
                Section::Expect => {
                    finish_config(&mut case.config);
                    case.checks.push(Check {
                        trigger: trigger.clone(),
                        passed: passed.clone(),
                        facts: Vec::new(),
                    });
                }
                Section::None | Section::File | Section::Registry => {}
            }
            continue;
        }
        let blank = line.trim().is_empty() || line.starts_with('#');
        let Some(case) = cases.last_mut() else {
            assert!(blank, "{place}: text before any case");
            continue;
        };
        match section {
            Section::None => assert!(blank, "{place}: text outside any section"),
            Section::Config | Section::File => {
                case.config.push_str(&line.replace("$J", DOCKER));
                case.config.push('\n');
            }
            Section::Setup => {
                case.setup.push_str(&line.replace("$J", DOCKER));
                case.setup.push('\n');
            }
            Section::Registry if !blank => {
                let mut words = line.split_whitespace();
                let name = words.next().unwrap().to_owned();
                let releases =
                    words.map(|word| release(word).unwrap_or_else(|| panic!("{place}: {word}")));
                case.registry.insert(name, releases.collect());
            }
            Section::Trigger if !blank => match line.strip_prefix("pass ") {
                Some(rest) => {
                    let (name, value) = parameter(rest, &place);
                    passed.insert(name, value);
                }
                None => trigger_line(&mut trigger, line, &place),
            },
            Section::Expect if !blank => {
                let fact = fact(line).unwrap_or_else(|| panic!("{place}: no fact: {line:?}"));
                case.checks.last_mut().unwrap().facts.push((at, fact));
            }
            Section::Registry | Section::Trigger | Section::Expect => {}
        }
    }
    for case in &cases {
        let empty =
            case.checks.is_empty() || case.checks.iter().any(|check| check.facts.is_empty());
        assert!(!empty, "{}: case {} expects nothing", case.place, case.id);
    }
    cases
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    None,
    Config,
    File,
    Setup,
    Registry,
    Trigger,
    Expect,
}

impl Section {
    fn named(name: &str) -> Option<Self> {
        match name {
            "config" => Some(Self::Config),
            "file" => Some(Self::File),
            "setup" => Some(Self::Setup),
            "registry" => Some(Self::Registry),
            "trigger" => Some(Self::Trigger),
            "expect" => Some(Self::Expect),
            _ => None,
        }
    }
}

/// A config without workflows gets the one that runs `build`; a file as it is stays so.
fn finish_config(config: &mut String) {
    let written = config.lines().any(|line| line.starts_with("workflows:"));
    let ours = config.starts_with("version: 2.1\n");
    let named = config.lines().any(|line| line == "# no workflows");
    if ours && !written && !named {
        config.push_str("workflows: {w: {jobs: [build]}}\n");
    }
}

fn trigger() -> Trigger {
    Trigger {
        pipeline: "00000000-0000-0000-0000-000000000007".parse().unwrap(),
        number: 7,
        actor: String::from("ada"),
        kind: TriggerKind::CommandLine,
        received_at_ms: 1_760_000_000_000,
        project: Project {
            slug: String::from("gh/acme/shop"),
            provider: String::from("github"),
            owner: String::from("acme"),
            name: String::from("shop"),
            web_url: String::from("https://github.com/acme/shop"),
            clone_url: String::from("https://github.com/acme/shop.git"),
            default_branch: Some(String::from("main")),
        },
        revision: Revision {
            branch: Some(String::from("main")),
            sha: Some("0123456789".repeat(4)),
            ..Revision::default()
        },
        parameters: BTreeMap::new(),
        selection: Selection::default(),
        values: BTreeMap::new(),
    }
}

fn trigger_line(trigger: &mut Trigger, line: &str, place: &str) {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match word {
        "branch" => trigger.revision.branch = Some(rest.to_owned()),
        "tag" => {
            trigger.revision.branch = None;
            trigger.revision.tag = Some(rest.to_owned());
        }
        "number" => {
            trigger.number = rest
                .parse()
                .unwrap_or_else(|_| panic!("{place}: no number"))
        }
        "param" => {
            let (name, value) = parameter(rest, place);
            trigger.parameters.insert(name, value);
        }
        // The text of a command line, whose type the declaration gives.
        "text" => {
            let (name, value) = rest
                .split_once('=')
                .unwrap_or_else(|| panic!("{place}: no value"));
            let value = ParameterValue::Untyped(value.trim().to_owned());
            trigger.parameters.insert(name.trim().to_owned(), value);
        }
        _ => panic!("{place}: a trigger knows branch, tag, number, param and text"),
    }
}

/// `NAME = YAML`.
fn parameter(text: &str, place: &str) -> (String, ParameterValue) {
    let (name, value) = text
        .split_once('=')
        .unwrap_or_else(|| panic!("{place}: no value"));
    let value = match yaml::read(value.trim()).unwrap_or_else(|e| panic!("{place}: {e}")) {
        Value::Bool(value) => ParameterValue::Boolean(value),
        Value::Number(value) => ParameterValue::Integer(value.as_i64().unwrap()),
        Value::String(value) => ParameterValue::String(value),
        other => panic!("{place}: a parameter cannot be {other}"),
    };
    (name.trim().to_owned(), value)
}

/// Reads one line of `-- expect`.
pub fn fact(line: &str) -> Option<Fact> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    Some(match word {
        "ok" => Fact::Ok,
        "error" => {
            let (code, words) = rest.split_once(' ').unwrap_or((rest, ""));
            let words = words
                .split('"')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            Fact::Error {
                code: code.to_owned(),
                words,
            }
        }
        "warning" => Fact::Warning {
            code: rest.to_owned(),
        },
        "refused" => Fact::Refused(rest.trim_matches('"').to_owned()),
        "missing" => Fact::Missing(rest.split_whitespace().map(str::to_owned).collect()),
        "at" => {
            let (path, value) = rest.split_once(" = ")?;
            Fact::At {
                path: path_of(path),
                value: yaml::read(value).ok()?,
            }
        }
        "begins" => {
            let (path, value) = rest.split_once(" = ")?;
            let text = yaml::read(value).ok()?.as_str()?.to_owned();
            Fact::Begins {
                path: path_of(path),
                text,
            }
        }
        "orb" => {
            let (reference, exact) = rest.split_once(" = ")?;
            Fact::Orb {
                reference: reference.trim().to_owned(),
                exact: exact.trim().to_owned(),
            }
        }
        "absent" => Fact::Absent(path_of(rest)),
        "jobs" => Fact::Jobs(rest.split_whitespace().map(str::to_owned).collect()),
        "runs" | "skips" => {
            let names = rest
                .split_whitespace()
                .map(in_workflow)
                .collect::<Option<Vec<_>>>()?;
            Fact::Job {
                names,
                runs: word == "runs",
            }
        }
        "workflow-runs" | "workflow-skipped" => Fact::Workflow {
            name: rest.to_owned(),
            runs: word == "workflow-runs",
        },
        "requires" => {
            let (job, value) = rest.split_once(" = ")?;
            Fact::Requires {
                job: in_workflow(job.trim())?,
                value: yaml::read(value).ok()?,
            }
        }
        _ => return None,
    })
}

/// `1.2.3`.
fn release(text: &str) -> Option<[u64; 3]> {
    let numbers: Option<Vec<u64>> = text.split('.').map(|n| n.parse().ok()).collect();
    numbers?.try_into().ok()
}

impl Case {
    /// The newest release that a reference admits, by its whole name.
    pub fn resolve(&self, reference: &str) -> Option<String> {
        let (name, version) = reference.split_once('@')?;
        let wanted: Vec<&str> = version.split('.').filter(|n| *n != "volatile").collect();
        let admits = |release: &&[u64; 3]| {
            let mut pairs = wanted.iter().zip(release.iter());
            pairs.all(|(wanted, number)| **wanted == number.to_string())
        };
        let [major, minor, patch] = self.registry.get(name)?.iter().filter(admits).max()?;
        Some(format!("{name}@{major}.{minor}.{patch}"))
    }
}

fn in_workflow(text: &str) -> Option<(String, String)> {
    let (workflow, job) = text.split_once('/')?;
    Some((workflow.to_owned(), job.to_owned()))
}

fn path_of(text: &str) -> Vec<String> {
    let split = if text.contains(" > ") { " > " } else { "/" };
    text.trim().split(split).map(str::to_owned).collect()
}
