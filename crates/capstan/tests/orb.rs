//! `capstan orb` and `capstan config pack`, as a person and as a script use them.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test fails as the test does"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with its own data and nothing of the environment that could lead elsewhere.
struct Place(TempDir);

struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = place.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn capstan(&self, args: &[&str]) -> Ended {
        self.with(&[], args)
    }

    fn with(&self, environment: &[(&str, &str)], args: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capstan"));
        command
            .args(args)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .env_clear()
            .env("CAPSTAN_DATA", self.path("data"))
            .envs(environment.iter().copied());
        let output = command.output().unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A registry that answers each request by its text with an `orbVersion`, and how often it was called.
fn registry(orb_version: fn(&str) -> Option<Value>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let orb = orb_version(&receive(&mut stream));
            answer(&mut stream, &json!({ "data": { "orbVersion": orb } }));
        }
    });
    (address, count)
}

fn receive(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    while !request.ends_with(b"}") {
        match stream.read(&mut part).unwrap() {
            0 => break,
            read => request.extend_from_slice(&part[..read]),
        }
    }
    String::from_utf8(request).unwrap()
}

fn answer(stream: &mut TcpStream, body: &Value) {
    let body = body.to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream
        .write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())
        .unwrap();
}

/// `acme/tools` in two versions, and nothing else.
fn tools(asked: &str) -> Option<Value> {
    let exact = asked.contains("acme/tools@1.0.0");
    let version = if exact { "1.0.0" } else { "1.4.0" };
    let versions = json!([{ "version": "1.4.0" }, { "version": "1.0.0" }]);
    asked.contains("acme/tools@").then(|| {
        json!({
            "id": "1",
            "version": version,
            "createdAt": null,
            "source": format!("version: 2.1 # {version}\n"),
            "orb": { "id": "2", "name": "acme/tools", "versions": versions },
        })
    })
}

/// Two orbs, one of which imports the other.
fn tools_and_base(asked: &str) -> Option<Value> {
    let source = if asked.contains("acme/tools@1") {
        TOOLS
    } else {
        BASE
    };
    Some(json!({ "id": "1", "version": "1.2.0", "source": source }))
}

const ORBS: &[(&str, &str)] = &[
    ("orbs/acme/tools/1.0.0.yml", "version: 2.1 # 1.0.0"),
    ("orbs/acme/tools/1.10.0.yml", "version: 2.1 # 1.10.0\n"),
    ("orbs/acme/tools/1.9.0.yml", "version: 2.1 # 1.9.0\n"),
    ("orbs/other/thing/0.1.0.yml", "version: 2.1\n"),
];

#[test]
fn a_folder_is_enough_for_everything() {
    let place = Place::new(ORBS);
    // Nobody may be called: where the registry would be, somebody counts.
    let (address, count) = registry(tools);
    let offline = [
        ("CAPSTAN_ORB_DIR", "orbs"),
        ("CAPSTAN_ORB_REGISTRY", address.as_str()),
        ("CAPSTAN_OFFLINE", "1"),
    ];
    for (asked, expected) in [
        ("acme/tools", "version: 2.1 # 1.10.0\n"),
        ("acme/tools@1", "version: 2.1 # 1.10.0\n"),
        ("acme/tools@1.9", "version: 2.1 # 1.9.0\n"),
        ("acme/tools@1.0.0", "version: 2.1 # 1.0.0\n"),
    ] {
        let ended = place.with(&offline, &["orb", "source", asked]);
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (0, expected),
            "{}",
            ended.err
        );
        assert_eq!(ended.err, "", "nothing is fetched");
    }
    let ended = place.with(&offline, &["orb", "source", "acme/tools@1", "--json"]);
    let object: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        object,
        json!({ "reference": "acme/tools@1", "exact": "acme/tools@1.10.0", "source": "version: 2.1 # 1.10.0\n" })
    );
    let ended = place.with(&offline, &["orb", "list"]);
    assert_eq!(
        ended.out,
        "acme/tools   1.10.0      orbs\nother/thing  0.1.0       orbs\n"
    );
    let ended = place.with(&offline, &["orb", "list", "other", "--json"]);
    assert_eq!(
        ended.out,
        "{\"from\":\"orbs\",\"latest\":\"0.1.0\",\"name\":\"other/thing\"}\n"
    );
    let ended = place.with(&offline, &["orb", "info", "acme/tools@1.9"]);
    assert_eq!(
        ended.out,
        "acme/tools  (from orbs)\n  version    1.9.0\n  versions   1.10.0, 1.9.0, 1.0.0\n"
    );
    // Variables that are set to nothing say nothing.
    let empty = [
        ("CAPSTAN_ORB_REGISTRY", ""),
        ("CAPSTAN_ORB_ALLOW", ""),
        ("CAPSTAN_ORB_PRIVATE_HOST", ""),
        ("CAPSTAN_ORB_TIMEOUT", ""),
        ("CAPSTAN_NO_PUBLIC_ORBS", ""),
    ];
    let all = [&offline[..1], &offline[2..], &empty[..]].concat();
    let ended = place.with(&all, &["orb", "source", "acme/tools@1.0.0"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let ended = place.with(&offline, &["orb", "source", "acme/tools@2"]);
    assert_eq!((ended.code, ended.out.as_str()), (3, ""));
    assert!(
        ended.err.contains("--offline opens no connection"),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains("help: run once without --offline"),
        "{}",
        ended.err
    );
    assert_eq!(count.load(Ordering::SeqCst), 0, "nobody was called");
}

#[test]
fn a_registry_is_asked_once_for_what_never_changes() {
    let place = Place::new(&[]);
    let (address, count) = registry(tools);
    let all = ["--orb-registry", &address, "--no-public-orbs"];
    let source = |args: &[&str]| place.capstan(&[&["orb", "source"], args, &all].concat());

    let ended = source(&["acme/tools@1.0.0"]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (0, "version: 2.1 # 1.0.0\n"),
        "{}",
        ended.err
    );
    assert_eq!(ended.err, "fetching orb acme/tools@1.0.0 …\n");
    let ended = source(&["acme/tools@1.0.0"]);
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    assert_eq!(count.load(Ordering::SeqCst), 1);

    for calls in [2, 3] {
        let ended = source(&["acme/tools@1", "--json"]);
        let object: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(object["exact"], "acme/tools@1.4.0");
        assert_eq!(ended.err, "", "a program reads no progress");
        assert_eq!(count.load(Ordering::SeqCst), calls);
    }
    // What was fetched stays at hand.
    let ended = source(&["acme/tools@1", "--offline"]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (0, "version: 2.1 # 1.4.0\n")
    );
    assert_eq!(count.load(Ordering::SeqCst), 3);

    let ended = source(&["acme/none@1"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended
            .err
            .contains("error: there is no orb acme/none@1\n  help: "),
        "{}",
        ended.err
    );
    let ended = place.capstan(&[&["orb", "info", "acme/tools", "--json"], &all[..]].concat());
    let object: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(object["version"], "1.4.0");
    assert_eq!(object["from"], json!(address));
}

#[test]
fn arguments_that_cannot_be_meant_are_refused_with_what_is_meant() {
    let place = Place::new(&[]);
    for (args, expected) in [
        (&["orb", "source", "tools"][..], "namespace/name@1.2.3"),
        (
            &["orb", "source", "acme/tools@latest"],
            "1.2.3, 1.2, 1, volatile or dev:label",
        ),
        (&["orb", "list", "acme/tools"], "capstan orb info"),
        (
            &["orb", "list", "--orb-registry", "http://registry.example"],
            "https://",
        ),
        (
            &[
                "orb",
                "source",
                "a/b",
                "--orb-allow",
                "https://x.example/orbs",
            ],
            "has to end with /",
        ),
        (
            &["config", "validate", "--orb-allow", "http://x.example/"],
            "begin with https://",
        ),
    ] {
        let ended = place.capstan(args);
        assert_eq!(ended.code, 2, "{args:?}");
        assert!(ended.err.contains(expected), "{args:?}: {}", ended.err);
    }
    let ended = place.with(
        &[("CAPSTAN_CA_FILE", "/nonexistent.pem")],
        &["orb", "source", "acme/tools@1"],
    );
    assert_eq!(ended.code, 3);
    assert!(ended.err.contains("/nonexistent.pem"), "{}", ended.err);
}

#[test]
fn an_orb_is_packed_and_found_again() {
    let place = Place::new(&[
        ("src/@orb.yml", "version: 2.1\ndescription: Tools\n"),
        (
            "src/commands/greet.yml",
            "steps:\n  - run: <<include(scripts/greet.sh)>>\n",
        ),
        ("src/scripts/greet.sh", "cat <<EOF\nhello\nEOF\n"),
        ("src/examples/.hidden.yml", "no: 1\n"),
        ("src/README.md", "# Tools\n"),
    ]);
    let ended = place.capstan(&["orb", "pack", "src"]);
    assert_eq!(
        ended.out,
        "version: 2.1
description: Tools
commands:
  greet:
    steps:
      - run: |
          cat \\<<EOF
          hello
          EOF
",
        "{}",
        ended.err
    );
    let target = place.path("orbs/acme/tools/1.0.0.yml");
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(target, &ended.out).unwrap();
    let found = place.capstan(&["orb", "source", "acme/tools@1", "--orb-dir", "orbs"]);
    assert_eq!(found.out, ended.out);

    let config = place.capstan(&["config", "pack", "src"]);
    assert!(
        config
            .out
            .contains("run: \"<<include(scripts/greet.sh)>>\""),
        "{}",
        config.out
    );
}

#[test]
fn packing_takes_nothing_from_outside() {
    let place = Place::new(&[
        ("secret", "s3cret\n"),
        ("secret.yml", "key: s3cret\n"),
        ("src/a.yml", "a: <<include(../secret)>>\n"),
        ("src/b.yml", "b: <<include(/etc/hostname)>>\n"),
        ("src/c.yml", "c: <<include(link)>>\n"),
        ("other/a.yml", "a: 1\n"),
    ]);
    std::os::unix::fs::symlink(place.path("secret"), place.path("src/link")).unwrap();
    std::os::unix::fs::symlink(place.path("secret.yml"), place.path("other/b.yml")).unwrap();
    let ended = place.capstan(&["orb", "pack", "src"]);
    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    for place in ["a.yml:1:4", "b.yml:1:4", "c.yml:1:4"] {
        assert!(
            ended
                .err
                .contains(&format!("error: {place}: cannot include")),
            "{}",
            ended.err
        );
    }
    let ended = place.capstan(&["orb", "pack", "other"]);
    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    assert!(
        ended.err.contains("outside of the packed folder"),
        "{}",
        ended.err
    );
    let ended = place.capstan(&["orb", "pack", "nowhere"]);
    assert_eq!(ended.code, 2);
}

const TOOLS: &str = "version: 2.1
orbs:
  base: acme/base@1
commands:
  greet:
    parameters: {to: {type: string, default: world}}
    steps:
      - base/say: {words: hello << parameters.to >>}
";

const BASE: &str = "version: 2.1
commands:
  say:
    parameters: {words: {type: string}}
    steps:
      - run: {name: say, command: echo \"<< parameters.words >> from base\"}
";

const CONFIG: &str = "version: 2.1
orbs:
  tools: acme/tools@1
jobs:
  build:
    machine: true
    steps: [{tools/greet: {to: orbs}}]
workflows:
  w:
    jobs: [build]
";

#[test]
fn a_run_brings_what_orbs_import_once_and_a_rerun_needs_nothing() {
    let place = Place::new(&[(".circleci/config.yml", CONFIG)]);
    let (address, count) = registry(tools_and_base);
    let all = ["--orb-registry", &address, "--no-public-orbs"];
    let ended = place.capstan(&[&["run", "--executor", "host"], &all[..]].concat());
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("hello orbs from base"), "{}", ended.out);
    assert_eq!(
        ended.err.matches("fetching orb").collect::<Vec<_>>().len(),
        2,
        "{}",
        ended.err
    );
    assert_eq!(
        count.load(Ordering::SeqCst),
        2,
        "run compiles twice, and asks once"
    );

    let ended = place.capstan(&[
        "rerun",
        "--executor",
        "host",
        "--offline",
        "--no-public-orbs",
    ]);
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("hello orbs from base"), "{}", ended.out);

    let ended = place.capstan(&[&["plan", "--json"], &all[..]].concat());
    assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{}", ended.out);
    assert_eq!(
        count.load(Ordering::SeqCst),
        4,
        "a range is asked for each time"
    );

    let offline = [&["config", "process", "--offline"], &all[..]].concat();
    let ended = place.capstan(&offline);
    assert!(
        ended
            .out
            .starts_with("# Orb 'acme/tools@1' resolved to 'acme/tools@1.2.0'\n"),
        "{}{}",
        ended.out,
        ended.err
    );
    assert_eq!(count.load(Ordering::SeqCst), 4, "offline calls nobody");

    fs::remove_dir_all(place.path("data/orbs")).unwrap();
    let ended = place.capstan(&[&["config", "validate", "--offline"], &all[..]].concat());
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains("config.yml:3:10"), "{}", ended.err);
    assert!(
        ended
            .err
            .contains("--offline opens no connection, it is not in the cache"),
        "{}",
        ended.err
    );
    assert_eq!(count.load(Ordering::SeqCst), 4, "offline calls nobody");
}

#[test]
fn orbs_are_validated_and_processed_as_a_registry_would() {
    let place = Place::new(&[
        ("orbs/acme/base/1.2.0.yml", BASE),
        ("orbs/acme/tools/1.0.0.yml", TOOLS),
        ("good.yml", TOOLS),
        (
            "bad.yml",
            "version: 2.1\ncommands: {c: {steps: [nowhere]}}\n",
        ),
    ]);
    let offline = [("CAPSTAN_ORB_DIR", "orbs"), ("CAPSTAN_OFFLINE", "true")];
    let ended = place.with(&offline, &["orb", "validate", "good.yml", "acme/base@1"]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (0, "good.yml is valid\nacme/base@1.2.0 is valid\n"),
        "{}",
        ended.err
    );
    let ended = place.with(
        &offline,
        &["orb", "validate", "bad.yml", "good.yml", "gone.yml"],
    );
    assert_eq!(ended.code, 2);
    assert_eq!(ended.out, "good.yml is valid\n");
    assert!(ended.err.contains("E_UNKNOWN_COMMAND"), "{}", ended.err);
    assert!(ended.err.contains("gone.yml"), "{}", ended.err);
    let ended = place.with(&offline, &["orb", "validate", "bad.yml", "--json"]);
    let first: Value = serde_json::from_str(ended.out.lines().next().unwrap()).unwrap();
    assert_eq!(
        (ended.code, first["code"].as_str()),
        (2, Some("E_UNKNOWN_COMMAND"))
    );

    let ended = place.with(&offline, &["orb", "process", "good.yml"]);
    assert!(
        ended.out.contains("  base: acme/base@1.2.0\n"),
        "{}{}",
        ended.out,
        ended.err
    );
    let ended = place.with(&offline, &["orb", "process", "bad.yml"]);
    assert_eq!((ended.code, ended.out.as_str()), (2, ""));
    let ended = place.with(&offline, &["orb", "validate", "orbs"]);
    assert!(
        ended
            .err
            .contains("capstan orb pack orbs | capstan orb validate -"),
        "{}",
        ended.err
    );
}
