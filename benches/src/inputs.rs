//! What is run: configs made to size.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory with a config in it.
pub struct Project {
    root: PathBuf,
}

impl Project {
    /// Writes the config into a fresh directory.
    pub fn make(root: &Path, config: &str) -> Result<Self, String> {
        let folder = root.join(".circleci");
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        fs::write(folder.join("config.yml"), config).map_err(|error| error.to_string())?;
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its config.
    pub fn config(&self) -> PathBuf {
        self.root.join(".circleci/config.yml")
    }
}

const HEAD: &str = "version: 2.1\nexecutors:\n  e:\n    docker: [{image: 'cimg/base:stable'}]\n";

/// One job of so many trivial steps.
pub fn steps(count: u32) -> String {
    let mut text = format!("{HEAD}jobs:\n  build:\n    executor: e\n    steps:\n");
    for _ in 0..count {
        text.push_str("      - run: 'true'\n");
    }
    text
}

/// One job that goes out to `count` less two, which come in again to one.
pub fn fan(count: usize) -> String {
    let mut text = format!(
        "{HEAD}jobs:\n  j:\n    executor: e\n    steps:\n      - run: 'true'\n\
         workflows:\n  w:\n    jobs:\n      - j: {{name: first}}\n"
    );
    let mut middle = String::new();
    for at in 0..count.saturating_sub(2) {
        let _ = writeln!(text, "      - j: {{name: m{at}, requires: [first]}}");
        let _ = write!(middle, "{}m{at}", if at == 0 { "" } else { ", " });
    }
    let _ = writeln!(text, "      - j: {{name: last, requires: [{middle}]}}");
    text
}

/// The same graph for make.
pub fn makefile(folder: &Path, count: usize) -> Result<PathBuf, String> {
    let mut text =
        String::from("SHELL = /bin/bash\n.PHONY: all\nall: last\nfirst:\n\t@bash -c true\n");
    let mut middle = String::new();
    for at in 0..count.saturating_sub(2) {
        let _ = write!(text, "m{at}: first\n\t@bash -c true\n");
        let _ = write!(middle, " m{at}");
    }
    let _ = write!(text, "last:{middle}\n\t@bash -c true\n");
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let path = folder.join("Makefile");
    fs::write(&path, text).map_err(|error| error.to_string())?;
    Ok(path)
}

/// One job whose only step prints what `command` prints.
pub fn output(command: &str) -> String {
    // A shell without pipefail: the program that makes the lines is ended by the one that counts them.
    format!(
        "{HEAD}jobs:\n  build:\n    executor: e\n    steps:\n      - run:\n          shell: /bin/bash -e\n          \
         command: \"{command}\"\n"
    )
}

/// An environment file of so many secrets.
pub fn secrets(folder: &Path, count: u32) -> Result<PathBuf, String> {
    let mut text = String::new();
    for at in 0..count {
        let noise = u64::from(at).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let _ = writeln!(text, "SECRET_{at}=s3cr3t-{at:04}-{noise:016x}-value");
    }
    let path = folder.join("secrets.env");
    fs::write(&path, text).map_err(|error| error.to_string())?;
    Ok(path)
}
