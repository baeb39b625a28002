//! `circleci` and `circleci-agent` inside a job (platform 2.9). They find the agent's directory by
//! `CIRCLE_INTERNAL_TASK_DATA`, so they work wherever a job copies them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
usage: circleci <command>

  step halt      end the job after this step, successfully (also: task halt)
  version        print the version (also: --version)
";

/// Name of the file that tells the agent to halt.
pub(crate) const HALT: &str = "halt";

/// Runs a command; `words` are its arguments.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| *word != "--verbose")
        .collect();
    match words.as_slice() {
        ["step" | "task", "halt"] => halt(),
        ["--version" | "version", ..] => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        [] | ["--help" | "-h" | "help", ..] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        other => {
            eprintln!(
                "circleci: `{}` is not supported inside a Capstan job yet",
                other.join(" ")
            );
            eprint!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn halt() -> ExitCode {
    let Some(folder) = std::env::var_os("CIRCLE_INTERNAL_TASK_DATA").map(PathBuf::from) else {
        eprintln!("circleci: CIRCLE_INTERNAL_TASK_DATA is not set: this is not a job");
        return ExitCode::FAILURE;
    };
    match std::fs::write(folder.join(HALT), "") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("circleci: cannot write to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

/// Whether a job has asked to halt.
pub(crate) fn halted(folder: &Path) -> bool {
    folder.join(HALT).exists()
}
