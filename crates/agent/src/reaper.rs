//! Ends processes. The agent is a subreaper (or PID 1), so whatever a job starts, by `setsid`, `nohup` or
//! a double fork, is its descendant and cannot get away from it.

use std::io;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, wait, waitid, waitpid,
};

use crate::os::{self, Seen};

/// How long processes may take to die of SIGKILL. Only one that hangs in the kernel takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the agent is ending: nothing may be started any more.
static ENDING: Mutex<bool> = Mutex::new(false);
/// Whether everything was asked to end.
static ASKED: AtomicBool = AtomicBool::new(false);

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
    let _ = kill_all(PATIENCE);
}

/// Sends TERM to everything the job started, once in the life of the agent: what a process starts to
/// clean up after itself is not to be hit by a second one.
pub(crate) fn ask_all_to_end() {
    if !ASKED.swap(true, Ordering::SeqCst) {
        signal_all(Signal::TERM);
    }
}

/// Sends a signal to every descendant.
pub(crate) fn signal_all(signal: Signal) {
    for seen in os::descendants(getpid()) {
        os::signal(&seen, signal);
    }
}

/// Whether anything that the job started is alive.
pub(crate) fn any_left() -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if matches!(waitid(WaitId::All, look), Err(rustix::io::Errno::CHILD)) {
        return false;
    }
    // The list of children may miss one while another ends, so an empty one is read again.
    (0..2).any(|_| !os::descendants(getpid()).is_empty())
}

/// Waits until nothing of the job is alive any more, or a moment has come.
pub(crate) fn wait_for_all(until: Instant) {
    let mut pause = Duration::from_millis(1);
    while any_left() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Kills every descendant and waits until none is left. Costs one system call when there is none; to read
/// the threads of a process in `/proc` makes the kernel's burial of it slow, ten milliseconds and more.
/// Returns what would not die.
pub(crate) fn kill_all(patience: Duration) -> Vec<Seen> {
    end_all(patience, |seen| os::signal(seen, Signal::KILL))
}

fn end_all(patience: Duration, kill: impl Fn(&Seen)) -> Vec<Seen> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(100);
    loop {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return Vec::new(),
            }
        }
        if Instant::now() > deadline {
            return os::descendants(getpid());
        }
        // The list may miss a process that is changing its parent just now; so only the kernel's word
        // that there is no child any more ends this.
        os::descendants(getpid()).iter().for_each(&kill);
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Says who would not die.
pub(crate) fn obituary(left: &[Seen]) -> String {
    let names: Vec<String> = left
        .iter()
        .take(10)
        .map(|seen| format!("{} ({})", seen.pid.as_raw_nonzero(), seen.name))
        .collect();
    let more = match left.len().saturating_sub(names.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "processes of the job are still there {} s after SIGKILL: {}{more}. They hang in the kernel, \
         for instance on a file system that does not answer",
        PATIENCE.as_secs(),
        names.join(", ")
    )
}

/// Buries orphans that ended by themselves, up to the first that somebody waits for.
pub(crate) fn bury(waited_for: &[Pid]) {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while let Ok(Some(_)) = waitid(WaitId::All, look) {
        let dead = os::children(getpid())
            .into_iter()
            .filter(|pid| !waited_for.contains(pid))
            .find(|pid| os::look(*pid).is_some_and(|seen| seen.dead));
        let Some(pid) = dead else {
            return;
        };
        if waitpid(Some(pid), WaitOptions::NOHANG).is_err() {
            return;
        }
    }
}

/// Held by tests that have children of their own: one of them reaps whatever it finds.
#[cfg(test)]
pub(crate) static CHILDREN_OF_TESTS: Mutex<()> = Mutex::new(());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_would_not_die_is_named() {
        let _alone = CHILDREN_OF_TESTS.lock().unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        // A killer that does not kill stands for a process that hangs in the kernel.
        let left = end_all(Duration::from_millis(20), |_| {});
        let pid = child.id();
        let said = obituary(&left);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(said.contains(&format!("{pid} (sleep)")), "{said}");
    }

    #[test]
    fn a_long_list_is_cut() {
        let seen = Seen {
            pid: Pid::INIT,
            parent: None,
            started: 1,
            dead: false,
            name: String::from("x"),
        };
        let said = obituary(&vec![seen; 12]);
        assert!(said.contains(" and 2 more"), "{said}");
    }
}
