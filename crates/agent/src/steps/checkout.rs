//! `checkout`: the sources of the pipeline, as the runner sends them.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use capstan_model::wire::Fetch;
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, Signal};

use crate::archive;
use crate::os::{self, Handle};
use crate::process::ready;
use crate::steps::Ended;
use crate::task::{Output, Task};
use crate::user::User;

/// Unpacks the sources into `path`, the working directory by default.
pub(crate) fn run(task: &Task, path: Option<&str>, output: &mut Output<'_>) -> Ended {
    let folder = match path {
        Some(path) => task.path(path),
        None => task.working_directory.clone(),
    };
    match unpack(task, &folder) {
        Ok(count) => {
            // As the config names the place: where a job's home is differs from machine to machine.
            let named = path.unwrap_or(&task.spec.working_directory);
            output.line(&format!("Checked out {count} files into {named}"));
            Ended::well()
        }
        // Whatever was said by then, it was said because it was stopped.
        Err(why) => {
            let ended = task.over().unwrap_or_else(|| Ended::badly(why));
            if let Some(reason) = &ended.reason {
                output.line(reason);
            }
            ended
        }
    }
}

fn unpack(task: &Task, folder: &Path) -> Result<String, String> {
    if !is_free(folder) {
        return Err(format!(
            "Directory ({}) you are trying to checkout to is not empty and not a git repository",
            folder.display()
        ));
    }
    let incoming = task.link.fetch(Fetch::Source, task.deadline);
    let unpacked = match &task.user {
        // Files are to belong to the job, and are written with its rights.
        Some(user) => unpack_as(user, task, incoming, folder),
        None => archive::unpack(incoming, folder).map(|count| count.to_string()),
    };
    unpacked.map_err(|error| format!("cannot check out into {}: {error}", folder.display()))
}

/// A folder that is not there or is empty, or one that is a repository already.
fn is_free(folder: &Path) -> bool {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none() || folder.join(".git").exists(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn unpack_as(
    user: &User,
    task: &Task,
    mut incoming: impl io::Read,
    folder: &Path,
) -> io::Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(task.self_arguments.iter())
        .arg("extract")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    capstan_sys::run_as(&mut command, user.ids.clone());
    let mut child = crate::reaper::spawn(&mut command)?;
    let watchdog = Watchdog::start(task, &child)?;
    let copied = match child.stdin.take() {
        Some(mut stdin) => io::copy(&mut incoming, &mut stdin),
        None => Ok(0),
    };
    let answer = child.wait_with_output()?;
    drop(watchdog);
    let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    // A child that stopped reading says itself why; any other trouble came before its own.
    if let Err(error) = copied
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error);
    }
    match (answer.status.success(), said.is_empty()) {
        (true, _) => Ok(said),
        (false, true) => Err(io::Error::other(format!(
            "unpacking ended: {}",
            answer.status
        ))),
        (false, false) => Err(io::Error::other(said)),
    }
}

/// Kills a child when the job is canceled or its time is over, while we wait for the child.
struct Watchdog {
    /// Closed when the child needs no watching any more.
    _done: OwnedFd,
}

impl Watchdog {
    fn start(task: &Task, child: &std::process::Child) -> io::Result<Self> {
        let handle = Handle::of_child(Pid::from_child(child))?;
        let (closed, done) = os::pipe()?;
        let (link, deadline) = (Arc::clone(&task.link), task.deadline);
        std::thread::Builder::new().spawn(move || {
            loop {
                let [over, canceled] =
                    ready([Some(closed.as_fd()), Some(link.wake().as_fd())], deadline);
                match () {
                    () if over => return,
                    () if canceled || deadline <= Instant::now() => {
                        return handle.signal(Signal::KILL);
                    }
                    () => {}
                }
            }
        })?;
        Ok(Self { _done: done })
    }
}
