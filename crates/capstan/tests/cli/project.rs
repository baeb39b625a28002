//! A project, and how commands in it end.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const CAPSTAN: &str = env!("CARGO_BIN_EXE_capstan");

/// A project with its own data directory and no Docker.
pub struct Project {
    pub directory: TempDir,
}

impl Project {
    pub fn new(config: &str) -> Self {
        let project = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        project.write(".circleci/config.yml", config);
        project.write("name", "world\n");
        project
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("project")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.program(CAPSTAN, args)
    }

    /// A script of bash, whose `$0` is the program.
    pub fn shell(&self, script: &str) -> Command {
        self.program("bash", &["-c", script, CAPSTAN])
    }

    fn program(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.root())
            .stdin(Stdio::null())
            .env("CAPSTAN_DATA", self.directory.path().join("data"))
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .env_remove("XDG_RUNTIME_DIR");
        command
    }

    pub fn capstan(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).output().unwrap())
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        let all = [&["run", "--executor", "host"], args].concat();
        self.capstan(&all)
    }
}

/// How a command ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
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
    pub fn says(self, text: &str) -> Self {
        let found = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(
            found,
            "no {text:?} in\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    pub fn silent_on(self, text: &str) -> Self {
        let found = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(
            !found,
            "{text:?} in\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    pub fn objects(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
