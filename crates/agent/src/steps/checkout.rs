//! `checkout`: the sources of the pipeline, as the runner sends them.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use capstan_model::wire::Fetch;

use crate::archive;
use crate::steps::Ended;
use crate::task::{Output, Task};

/// Unpacks the sources into `path`, the working directory by default.
pub(crate) fn run(task: &Task, path: Option<&str>, output: &mut Output<'_>) -> Ended {
    let folder = match path {
        Some(path) => task.path(path),
        None => task.working_directory.clone(),
    };
    if let Err(error) = task.make_folder(&folder) {
        return fail(output, format!("cannot make {}: {error}", folder.display()));
    }
    if !is_free(&folder) {
        return fail(
            output,
            format!(
                "Directory ({}) you are trying to checkout to is not empty and not a git repository",
                folder.display()
            ),
        );
    }
    let incoming = task.link.fetch(Fetch::Source);
    let unpacked = match &task.user {
        // Files are to belong to the job, and are written with its rights.
        Some(_) => unpack_as_user(task, incoming, &folder),
        None => archive::extract(incoming, &folder).map(|count| count.to_string()),
    };
    match unpacked {
        Ok(count) => {
            // As the config names the place: where a job's home is differs from machine to machine.
            let named = path.unwrap_or(&task.spec.working_directory);
            output.line(&format!("Checked out {count} files into {named}"));
            Ended::well()
        }
        Err(error) => fail(output, format!("cannot check out: {error}")),
    }
}

fn fail(output: &mut Output<'_>, why: String) -> Ended {
    output.line(&why);
    Ended::badly(why)
}

/// An empty folder, or one that is a repository already.
fn is_free(folder: &Path) -> bool {
    let empty = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    empty || folder.join(".git").exists()
}

fn unpack_as_user(task: &Task, mut incoming: impl io::Read, folder: &Path) -> io::Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(task.self_arguments.iter())
        .arg("extract")
        .arg(folder);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    if let Some(user) = &task.user {
        capstan_sys::run_as(&mut command, user.ids.clone());
    }
    let mut child = crate::reaper::spawn(&mut command)?;
    let copied = match child.stdin.take() {
        Some(mut stdin) => io::copy(&mut incoming, &mut stdin),
        None => Ok(0),
    };
    // Whatever is left must be read, or the runner waits for us for ever.
    io::copy(&mut incoming, &mut io::sink())?;
    let answer = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    if answer.status.success() {
        return copied.map(|_| said);
    }
    Err(io::Error::other(said))
}
