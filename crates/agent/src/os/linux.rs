//! Linux: `/proc` and process file descriptors.

use std::fs;
use std::io;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Seen;
use rustix::fd::AsFd;

/// What a pipe may hold, where the system lets it.
const PIPE_BYTES: usize = 1 << 20;

/// A pipe that children do not inherit by themselves: reading end, writing end.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Makes room in a pipe. Unprivileged users may be out of pipe pages; a small pipe works as well, only
/// slower.
pub(crate) fn widen(pipe: impl AsFd) {
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
}

/// A process of which nobody else can take the place.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    /// Of a child that was not waited for yet.
    pub(crate) fn of_child(pid: Pid) -> io::Result<Self> {
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Sends a signal; to one that is over it means nothing.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.0, signal);
    }

    /// The same process once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }
}

impl AsFd for Handle {
    /// Becomes readable when the process is over, and stays so.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a signal to a process, if it is still the one that was seen.
pub(crate) fn signal(seen: &Seen, signal: Signal) {
    // The handle first: whoever it stands for cannot change any more while we look again.
    let Ok(handle) = Handle::of_child(seen.pid) else {
        return;
    };
    if look(seen.pid).is_some_and(|now| now.started == seen.started) {
        handle.signal(signal);
    }
}

/// A process as it is now.
pub(crate) fn look(pid: Pid) -> Option<Seen> {
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    parse_stat(pid, &String::from_utf8_lossy(&stat))
}

/// `pid (name) state ppid …`, where the name may hold anything; the 22nd field is the time of the start.
fn parse_stat(pid: Pid, stat: &str) -> Option<Seen> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = rest.split_whitespace();
    let (state, parent) = (fields.next()?, fields.next()?);
    Some(Seen {
        pid,
        parent: parse(parent),
        started: fields.nth(17)?.parse().ok()?,
        dead: matches!(state, "Z" | "X" | "x"),
        name: name.to_owned(),
    })
}

/// Children of a process, by whichever of its threads they were started.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    for thread in threads.into_iter().flatten().flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => found.extend(list.split_whitespace().filter_map(parse)),
            // Kernels without that file: look at every process. A thread that ended is no such kernel.
            Err(error) if error.kind() == io::ErrorKind::NotFound && thread.path().exists() => {
                return search(pid);
            }
            Err(_) => {}
        }
    }
    found
}

fn search(parent: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(parse);
        if let Some(seen) = pid.and_then(look)
            && seen.parent == Some(parent)
        {
            found.push(seen.pid);
        }
    }
    found
}

fn parse(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_what_it_likes() {
        let rest = "R 77 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        for (name, state) in [("sh", "R"), (") Z 1 (", "R"), ("a b", "Z")] {
            let stat = format!("9 ({name}) {}", rest.replacen('R', state, 1));
            let seen = parse_stat(Pid::INIT, &stat).unwrap();
            assert_eq!(
                (seen.parent, seen.started, seen.dead, seen.name.as_str()),
                (Pid::from_raw(77), 4242, state == "Z", name),
                "{stat}"
            );
        }
    }

    #[test]
    fn an_id_that_was_given_to_somebody_else_is_not_signalled() {
        let _alone = crate::reaper::CHILDREN_OF_TESTS.lock().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let seen = look(pid).unwrap();
        let stranger = Seen {
            started: seen.started + 1,
            ..seen.clone()
        };
        signal(&stranger, Signal::KILL);
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none(), "a stranger was killed");
        signal(&seen, Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }
}
