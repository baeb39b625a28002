//! Systems without `/proc`, as macOS: the `ps` command tells who is there, and a thread tells when a
//! child is over. There are no subreapers here: a process that was orphaned is found only while what it
//! descends from is alive.

use std::io;
use std::process::{Command, Stdio};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::Seen;

/// A pipe that children do not inherit by themselves: reading end, writing end.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe()?;
    fcntl_setfd(&read, FdFlags::CLOEXEC)?;
    fcntl_setfd(&write, FdFlags::CLOEXEC)?;
    Ok((read, write))
}

/// Pipes here have the size they have.
pub(crate) fn widen(_: impl AsFd) {}

/// A child, with a pipe that ends when the child is over.
#[derive(Debug)]
pub(crate) struct Handle {
    pid: Pid,
    over: OwnedFd,
}

impl Handle {
    /// Of a child that was not waited for yet.
    pub(crate) fn of_child(pid: Pid) -> io::Result<Self> {
        let (over, held) = pipe()?;
        std::thread::Builder::new().spawn(move || {
            // Only looks: whoever has the handle buries it.
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), look), Err(rustix::io::Errno::INTR)) {}
            drop(held);
        })?;
        Ok(Self { pid, over })
    }

    /// Sends a signal; to one that is over it means nothing.
    pub(crate) fn signal(&self, signal: Signal) {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        // While it is our child and not buried its id is its own.
        if matches!(waitid(WaitId::Pid(self.pid), look), Ok(None)) {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// The same process once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            pid: self.pid,
            over: self.over.try_clone()?,
        })
    }
}

impl AsFd for Handle {
    /// Becomes readable when the process is over, and stays so.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.over.as_fd()
    }
}

/// Sends a signal to a process, if it is still the one that was seen.
pub(crate) fn signal(seen: &Seen, signal: Signal) {
    if look(seen.pid).is_some_and(|now| now.started == seen.started) {
        let _ = kill_process(seen.pid, signal);
    }
}

/// A process as it is now.
pub(crate) fn look(pid: Pid) -> Option<Seen> {
    let id = pid.as_raw_nonzero().to_string();
    processes(&["-p", &id]).into_iter().next()
}

/// Children of a process.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    processes(&["-ax"])
        .into_iter()
        .filter(|seen| seen.parent == Some(pid))
        .map(|seen| seen.pid)
        .collect()
}

fn processes(which: &[&str]) -> Vec<Seen> {
    let child = Command::new("/bin/ps")
        .args(which)
        .args(["-o", "pid=,ppid=,state=,lstart=,ucomm="])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        return Vec::new();
    };
    // It sees itself, as a child of ours.
    let itself = Pid::from_child(&child);
    let output = child.wait_with_output();
    let said = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said)
        .lines()
        .filter_map(row)
        .filter(|seen| seen.pid != itself)
        .collect()
}

/// `pid ppid state Mon Jan  2 15:04:05 2006 name`.
fn row(line: &str) -> Option<Seen> {
    let mut words = line.split_whitespace();
    let pid = Pid::from_raw(words.next()?.parse().ok()?)?;
    let parent = Pid::from_raw(words.next()?.parse().ok()?);
    let dead = words.next()?.starts_with('Z');
    let start: Vec<&str> = words.by_ref().take(5).collect();
    // A name for the moment is all that is needed of it: equal moments are equal numbers.
    let started = start.join(" ").bytes().fold(5381, |sum: u64, byte| {
        sum.wrapping_mul(33) ^ u64::from(byte)
    });
    Some(Seen {
        pid,
        parent,
        started,
        dead,
        name: words.collect::<Vec<_>>().join(" "),
    })
}
