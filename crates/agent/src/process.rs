//! One process of a step: its output, its silence, its end. A step ends when its shell does, whoever
//! else still holds its output.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capstan_sys::Ids;

use crate::reaper;
use crate::stream::Link;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open,
    waitid,
};

/// Output goes on when there is this much of it, …
const FLUSH_BYTES: usize = 256 << 10;
/// … or when the first of it is this old.
const FLUSH_AFTER: Duration = Duration::from_millis(50);
/// What a pipe may hold, where the system lets it.
const PIPE_BYTES: usize = 1 << 20;

/// A process that was started.
pub(crate) struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    output: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself; 128+n for signal n.
    Exited(i32),
    /// Too long without output.
    Silent,
    /// The job's time was over.
    Late,
    /// The runner asked to stop.
    Canceled,
}

/// What ends a process before its time.
pub(crate) struct Limits<'a> {
    /// Longest silence.
    pub(crate) silence: Option<Duration>,
    /// When the job's time is over.
    pub(crate) deadline: Instant,
    /// Tells of a cancel.
    pub(crate) link: &'a Link,
}

impl Process {
    /// Starts a command with both outputs in one pipe, and nothing to read.
    pub(crate) fn start(mut command: Command, user: Option<&Ids>) -> io::Result<Self> {
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (output, write) = rustix::pipe::pipe_with(flags)?;
        // Unprivileged users may be out of pipe pages; a small pipe works as well, only slower.
        let _ = rustix::pipe::fcntl_setpipe_size(&output, PIPE_BYTES);
        rustix::io::ioctl_fionbio(&output, true)?;
        command
            .stdin(Stdio::null())
            .stdout(write.try_clone()?)
            .stderr(write);
        match user {
            Some(ids) => capstan_sys::run_as(&mut command, ids.clone()),
            // A group of its own is all that is needed, and keeps the cheap way of starting.
            None => drop(command.process_group(0)),
        }
        let child = reaper::spawn(&mut command)?;
        // Our ends of the pipe go with the command, so that the pipe can end.
        drop(command);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without an id"))?;
        Ok(Self {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            output,
        })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Reads it to its end. Output goes to `log`. A cancel sends TERM to everything the job started,
    /// waits, and sends KILL.
    pub(crate) fn watch(self, limits: &Limits<'_>, log: &mut dyn FnMut(Vec<u8>)) -> End {
        let mut pending = Pending::default();
        let mut heard = Instant::now();
        let mut open = true;
        let mut killed_at: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let silent_at = limits.silence.map(|silence| heard + silence);
            let limit = killed_at.or(silent_at);
            let wake = [Some(limits.deadline), limit, pending.due()]
                .into_iter()
                .flatten()
                .min();
            let wait = wake.map_or(Duration::ZERO, |wake| wake.saturating_duration_since(now));
            let [output, exited, canceled] = self.wait(limits, open, killed_at.is_none(), wait);
            if output {
                match pending.fill(&self.output, log) {
                    Filled::Some => heard = Instant::now(),
                    Filled::Nothing => {}
                    Filled::End => open = false,
                }
            }
            if exited {
                let code = self.reap();
                pending.fill(&self.output, log);
                pending.flush(log);
                self.abandon(open);
                return if killed_at.is_some() {
                    End::Canceled
                } else {
                    End::Exited(code)
                };
            }
            let now = Instant::now();
            if pending.due().is_some_and(|due| due <= now) {
                pending.flush(log);
            }
            if canceled && killed_at.is_none() {
                let grace = Duration::from_millis(limits.link.cancel_grace_ms().unwrap_or(0));
                reaper::signal_all(Signal::TERM);
                killed_at = Some(now + grace);
            }
            let end = match () {
                () if killed_at.is_some_and(|at| at <= now) => Some(End::Canceled),
                () if killed_at.is_some() => None,
                () if limits.deadline <= now => Some(End::Late),
                () if limits.silence.is_some_and(|silence| heard + silence <= now) => {
                    Some(End::Silent)
                }
                () => None,
            };
            if let Some(end) = end {
                return self.stop(end, pending, log);
            }
        }
    }

    /// Waits for output, for the end, for a cancel, or for the time to pass.
    fn wait(&self, limits: &Limits<'_>, open: bool, cancel: bool, wait: Duration) -> [bool; 3] {
        // The cancel stays readable; once it is known there is nothing more to learn from it.
        let interest = if cancel {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let mut fds = vec![
            PollFd::new(&self.pidfd, PollFlags::IN),
            PollFd::new(limits.link.wake(), interest),
        ];
        if open {
            fds.push(PollFd::new(&self.output, PollFlags::IN));
        }
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()) as _,
        };
        // An interrupted wait is one that was short.
        let _ = poll(&mut fds, Some(&wait));
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        [ready(2), ready(0), ready(1)]
    }

    fn stop(self, end: End, mut pending: Pending, log: &mut dyn FnMut(Vec<u8>)) -> End {
        // Everything of the step; whoever left the group goes at the end of the job.
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.reap();
        pending.fill(&self.output, log);
        pending.flush(log);
        self.abandon(true);
        end
    }

    /// Exit code once the process is over; waits for that.
    fn reap(&self) -> i32 {
        let status = waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED);
        status.ok().flatten().map_or(-1, |status| code(&status))
    }

    /// Processes that a step left behind may go on writing; they must not die of it. Nobody reads what
    /// they say: the step is over.
    fn abandon(self, open: bool) {
        if !open {
            return;
        }
        let drain = move || {
            let mut buffer = vec![0; 64 << 10];
            let mut fds = [PollFd::new(&self.output, PollFlags::IN)];
            while poll(&mut fds, None).is_ok() {
                match rustix::io::read(&self.output, &mut buffer) {
                    Ok(0) => return,
                    Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
                    Err(_) => return,
                }
            }
        };
        // Without a thread the pipe closes, and the writers see that.
        let _ = std::thread::Builder::new().spawn(drain);
    }
}

fn code(status: &WaitIdStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    signal.or(status.exit_status()).unwrap_or(-1)
}

/// Output that was read and not sent on.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    since: Option<Instant>,
}

enum Filled {
    Some,
    Nothing,
    End,
}

impl Pending {
    fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + FLUSH_AFTER)
    }

    /// Takes what is in the pipe now.
    fn fill(&mut self, output: &OwnedFd, log: &mut dyn FnMut(Vec<u8>)) -> Filled {
        let mut filled = Filled::Nothing;
        // Bounded, so that a flood cannot keep us from seeing the end or a cancel.
        for round in 0..16 {
            let start = self.bytes.len();
            // Most steps say little; room for a flood is made when one comes.
            let room = if round == 0 {
                start + (8 << 10)
            } else {
                FLUSH_BYTES
            };
            self.bytes.resize(room.min(FLUSH_BYTES), 0);
            let read = rustix::io::read(output, &mut self.bytes[start..]);
            self.bytes.truncate(start + read.unwrap_or(0));
            match read {
                Ok(0) => return Filled::End,
                Ok(_) => filled = Filled::Some,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return filled,
                Err(_) => return Filled::End,
            }
            self.since.get_or_insert_with(Instant::now);
            if self.bytes.len() >= FLUSH_BYTES {
                self.flush(log);
            }
        }
        filled
    }

    fn flush(&mut self, log: &mut dyn FnMut(Vec<u8>)) {
        self.since = None;
        if !self.bytes.is_empty() {
            log(std::mem::take(&mut self.bytes));
        }
    }
}
