//! Calls of the `git` command. They never run a hook, never ask, never take a lock, and see nothing of
//! a repository the caller's environment may point at (safety rule 46).

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::ForgeError;

/// Variables by which an environment can redirect `git`: set, for instance, inside a hook.
const REDIRECTING: [&str; 12] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_EXTERNAL_DIFF",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_TRACE",
];

/// A call in a directory, with everything switched off that could run a program or ask a question.
pub(super) fn command(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .args(["--no-pager", "--literal-pathspecs", "--no-optional-locks"])
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ])
        .args([
            "-c",
            "log.showSignature=false",
            "-c",
            "core.quotePath=false",
        ])
        .args([
            "-c",
            "protocol.ext.allow=never",
            "-c",
            "protocol.file.allow=never",
        ])
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    for name in REDIRECTING {
        command.env_remove(name);
    }
    command
}

/// Runs a call to its end.
pub(super) fn output(directory: &Path, args: &[&str]) -> std::io::Result<Output> {
    command(directory).args(args).output()
}

/// Runs a call that has to work.
pub(super) fn expect_output(directory: &Path, args: &[&str]) -> Result<Vec<u8>, ForgeError> {
    let verb = args.first().copied().unwrap_or_default();
    let output = output(directory, args)
        .map_err(|error| ForgeError::Failed(format!("cannot run git {verb}: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(ForgeError::Failed(format!(
        "git {verb} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// The commit a reference names.
pub(super) fn resolve_commit(directory: &Path, reference: &str) -> Result<String, ForgeError> {
    let spec = format!("{reference}^{{commit}}");
    let args = [
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        &spec,
    ];
    let output = output(directory, &args).map_err(|error| {
        ForgeError::Failed(format!("cannot run git, which --ref needs: {error}"))
    })?;
    let sha = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !sha.is_empty() {
        return Ok(sha);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let cause = if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    };
    Err(ForgeError::Failed(format!(
        "there is no commit {reference:?} in this repository{cause}"
    )))
}

/// A file of a commit, by its path relative to `directory`.
pub(super) fn read_blob(directory: &Path, sha: &str, path: &str) -> Result<Vec<u8>, ForgeError> {
    let spec = format!("{sha}:./{path}");
    let output = output(directory, &["cat-file", "blob", &spec])
        .map_err(|error| ForgeError::Failed(format!("cannot run git: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(ForgeError::NotFound {
        path: path.to_owned(),
        at: format!(" at {sha}"),
    })
}
