//! Ends processes. The agent is a subreaper (or PID 1), so whatever a job starts, by `setsid`, `nohup` or
//! a double fork, is its descendant and cannot get away from it.

use std::fs;
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, wait, waitid, waitpid,
};

/// How long processes may take to die of SIGKILL. Only one that hangs in the kernel takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the agent is ending: nothing may be started any more.
static ENDING: Mutex<bool> = Mutex::new(false);

/// Starts a child, unless the agent is ending.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    // Held while starting, so that the end either waits for this child or keeps it from being.
    let ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
    if *ending {
        return Err(io::Error::other("the runner is gone"));
    }
    command.spawn()
}

/// Ends everything for good: from here on nothing is started.
pub(crate) fn end() {
    *ENDING.lock().unwrap_or_else(PoisonError::into_inner) = true;
    kill_all();
}

/// Sends a signal to every descendant.
pub(crate) fn signal_all(signal: Signal) {
    for pid in descendants() {
        let _ = kill_process(pid, signal);
    }
}

/// Kills every descendant and waits until none is left. Costs one system call when there is none; to read
/// the threads of a process in `/proc` makes the kernel's burial of it slow, ten milliseconds and more.
pub(crate) fn kill_all() {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(100);
    loop {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if Instant::now() > deadline {
            return;
        }
        // The list may miss a process that is changing its parent just now; so only the kernel's word
        // that there is no child any more ends this.
        for pid in descendants() {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Buries orphans that ended by themselves, up to the first that somebody waits for.
pub(crate) fn bury(waited_for: &[Pid]) {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while let Ok(Some(_)) = waitid(WaitId::All, look) {
        let Some(pid) = zombies().into_iter().find(|pid| !waited_for.contains(pid)) else {
            return;
        };
        if waitpid(Some(pid), WaitOptions::NOHANG).is_err() {
            return;
        }
    }
}

fn zombies() -> Vec<Pid> {
    let dead = |pid: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        stat.is_ok_and(|stat| {
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| rest.starts_with(" Z"))
        })
    };
    children(rustix::process::getpid())
        .into_iter()
        .filter(dead)
        .collect()
}

fn descendants() -> Vec<Pid> {
    let mut found = children(rustix::process::getpid());
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children(pid));
        next += 1;
    }
    found
}

/// Children of a process, by whichever of its threads they were started.
fn children(pid: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    for thread in threads.into_iter().flatten().flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => found.extend(list.split_whitespace().filter_map(parse)),
            // Kernels without that file: look at every process.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return search(pid),
            Err(_) => {}
        }
    }
    found
}

fn search(parent: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(parse) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let ppid = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if ppid.and_then(parse) == Some(parent) {
            found.push(pid);
        }
    }
    found
}

fn parse(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}
