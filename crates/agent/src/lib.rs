//! Runs one task's steps where they must run. Talks to its runner over one byte stream, standard input
//! and output, and to nobody else: no network, no token, no name look-ups.
//!
//! Read [`task`] first: hello, take the task, run its steps, report. Blocking threads are enough: the
//! main one runs steps, one reads the stream, and each background step has one.

mod archive;
mod environment;
mod jobcli;
mod os;
mod process;
mod reaper;
mod shell;
mod steps;
mod stream;
mod task;
mod user;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use capstan_model::wire::JOB_COMMANDS;

/// The program's entry. What it does depends on its name, then on its first argument:
///
/// * called `circleci` or `circleci-agent`, it is the command line inside a job;
/// * `extract DIR`, it unpacks standard input there (the agent calls itself so, as the job's user);
/// * otherwise it is the agent, on standard input and output.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments;
    let name = arguments.next().unwrap_or_default();
    if is_job_command(&name) {
        let words: Vec<String> = arguments
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return jobcli::main(&words);
    }
    let mut rest = arguments.skip_while(|word| word == "agent");
    match rest.next() {
        Some(word) if word == "extract" => match rest.next() {
            Some(folder) => archive::main(Path::new(&folder)),
            None => usage(),
        },
        Some(word) if word == "read" => match rest.next() {
            Some(path) => steps::continuation::main(&path),
            None => usage(),
        },
        Some(_) => usage(),
        None => task::main(),
    }
}

/// Whether a program called so is the command line of a job.
pub fn is_job_command(name: &OsString) -> bool {
    Path::new(name)
        .file_name()
        .is_some_and(|name| JOB_COMMANDS.iter().any(|command| name == *command))
}

fn usage() -> ExitCode {
    eprintln!("capstan-agent: started by a runner, which talks to it on standard input and output");
    ExitCode::from(2)
}
