//! One process of a step: its output, its silence, its end. A step ends when its shell does, whoever
//! else still holds its output.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use capstan_sys::Ids;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};

use crate::os::{self, Handle};
use crate::reaper;
use crate::stream::Link;

/// Output goes on when there is this much of it, …
const FLUSH_BYTES: usize = 256 << 10;
/// … or when the first of it is this old.
const FLUSH_AFTER: Duration = Duration::from_millis(50);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// How often to look whether everything has ended that was asked to.
const LOOK_AFTER: Duration = Duration::from_millis(20);

/// A process that was started.
pub(crate) struct Process {
    pid: Pid,
    handle: Handle,
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

/// What ends a process before its time. A background step has none of these: it lives until the job
/// ends, and ends with it.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'a> {
    /// Longest silence.
    pub(crate) silence: Duration,
    /// When the job's time is over.
    pub(crate) deadline: Instant,
    /// Tells of a cancel.
    pub(crate) link: &'a Link,
}

/// Where output goes.
type Log<'a> = &'a mut dyn FnMut(&[u8]);

impl Process {
    /// Starts a command with both outputs in one pipe, and nothing to read.
    pub(crate) fn start(mut command: Command, user: Option<&Ids>) -> io::Result<Self> {
        let (output, write) = os::pipe()?;
        os::widen(&output);
        rustix::io::ioctl_fionbio(&output, true)?;
        command
            .stdin(Stdio::null())
            .stdout(write.try_clone()?)
            .stderr(write);
        match user {
            Some(ids) => capstan_sys::run_as(&mut command, ids.clone()),
            // In the agent's own session a group is all that is needed, and it keeps the cheap way of
            // starting: a session of its own would cost a fifth of a short step.
            None => drop(command.process_group(0)),
        }
        let child = reaper::spawn(&mut command)?;
        // Our ends of the pipe go with the command, so that the pipe can end.
        drop(command);
        let pid = Pid::from_child(&child);
        Ok(Self {
            pid,
            handle: Handle::of_child(pid)?,
            output,
        })
    }

    /// Its id, to be compared only.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// A second hold on it, for whoever is to end it.
    pub(crate) fn handle(&self) -> io::Result<Handle> {
        self.handle.try_clone()
    }

    /// Reads it to its end, which its limits may bring about. Output goes to `log`.
    pub(crate) fn watch(self, limits: Limits<'_>, log: Log<'_>) -> End {
        let mut pending = Pending::default();
        let mut silent_at = later(limits.silence);
        let mut open = true;
        loop {
            let wake = limits.deadline.min(silent_at);
            let [exited, canceled, output] = ready(
                [
                    Some(self.handle.as_fd()),
                    Some(limits.link.wake().as_fd()),
                    open.then(|| self.output.as_fd()),
                ],
                pending.due_or(wake),
            );
            if output {
                match pending.fill(&self.output, log) {
                    Filled::Some => silent_at = later(limits.silence),
                    Filled::Nothing => {}
                    Filled::End => open = false,
                }
            }
            if let (true, Some(grace)) = (canceled, limits.link.cancel_deadline()) {
                return self.wind_down(grace, open, pending, log);
            }
            if exited {
                let code = self.reap();
                pending.fill(&self.output, log);
                pending.flush(log);
                self.abandon(open);
                return End::Exited(code);
            }
            let now = Instant::now();
            pending.flush_if_due(now, log);
            let end = match () {
                () if limits.deadline <= now => Some(End::Late),
                () if silent_at <= now => Some(End::Silent),
                () => None,
            };
            if let Some(end) = end {
                return self.stop(end, pending, log);
            }
        }
    }

    /// Reads a background step to its end, however that comes.
    pub(crate) fn follow(self, log: Log<'_>) -> End {
        let mut pending = Pending::default();
        let mut open = true;
        loop {
            let output = open.then(|| self.output.as_fd());
            let [exited, output] = ready(
                [Some(self.handle.as_fd()), output],
                pending.due_or(later(YEAR)),
            );
            if output && matches!(pending.fill(&self.output, log), Filled::End) {
                open = false;
            }
            if exited {
                let code = self.reap();
                pending.fill(&self.output, log);
                pending.flush(log);
                self.abandon(open);
                return End::Exited(code);
            }
            pending.flush_if_due(Instant::now(), log);
        }
    }

    /// A cancel: TERM to everything the job started, then time for all of it to end by itself. Its last
    /// words are read. What is there when the grace is over is killed.
    fn wind_down(self, grace: Instant, mut open: bool, mut pending: Pending, log: Log<'_>) -> End {
        reaper::ask_all_to_end();
        let mut over = false;
        loop {
            let now = Instant::now();
            if grace <= now {
                reaper::signal_all(Signal::KILL);
                return self.stop(End::Canceled, pending, log);
            }
            let wake = grace.min(now + LOOK_AFTER);
            // Once the shell is over its handle would end every wait at once.
            let shell = (!over).then(|| self.handle.as_fd());
            let output = open.then(|| self.output.as_fd());
            let [exited, output] = ready([shell, output], pending.due_or(wake));
            if output && matches!(pending.fill(&self.output, log), Filled::End) {
                open = false;
            }
            pending.flush_if_due(Instant::now(), log);
            over |= exited;
            if over && !reaper::any_left() {
                return self.stop(End::Canceled, pending, log);
            }
        }
    }

    /// Kills what is left of the step; whoever left its group goes at the end of the job.
    fn stop(self, end: End, mut pending: Pending, log: Log<'_>) -> End {
        // The shell was not waited for yet, so the group is still its own.
        let _ = kill_process_group(self.pid, Signal::KILL);
        // One that hangs in the kernel is not waited for for ever; the end of the job tells of it.
        let patience = Instant::now() + reaper::PATIENCE;
        let over = || ready([Some(self.handle.as_fd())], patience) == [true];
        while Instant::now() < patience {
            if over() {
                self.reap();
                break;
            }
        }
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

/// A moment that much later. No limit is longer than a year, whatever a config says.
pub(crate) fn later(time: Duration) -> Instant {
    Instant::now() + time.min(YEAR)
}

/// Waits for any of these to become readable or until a moment has come. Says which are.
pub(crate) fn ready<const N: usize>(fds: [Option<BorrowedFd<'_>>; N], until: Instant) -> [bool; N] {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .flatten()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let wait = until.saturating_duration_since(Instant::now());
    let wait = Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(wait.subsec_nanos()) as _,
    };
    // An interrupted wait is one that was short.
    let _ = poll(&mut polled, Some(&wait));
    let mut polled = polled.iter();
    fds.map(|fd| fd.is_some() && polled.next().is_some_and(|fd| !fd.revents().is_empty()))
}

fn code(status: &WaitIdStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    signal.or(status.exit_status()).unwrap_or(-1)
}

/// Output that was read and not sent on.
#[derive(Default)]
struct Pending {
    /// Room, as much as was ever needed.
    buffer: Vec<u8>,
    /// How much of it is output.
    length: usize,
    since: Option<Instant>,
}

enum Filled {
    Some,
    Nothing,
    End,
}

impl Pending {
    /// When it is to be sent on, or a moment before that.
    fn due_or(&self, moment: Instant) -> Instant {
        let due = self.since.map(|since| since + FLUSH_AFTER);
        due.map_or(moment, |due| due.min(moment))
    }

    fn flush_if_due(&mut self, now: Instant, log: Log<'_>) {
        if self.since.is_some_and(|since| since + FLUSH_AFTER <= now) {
            self.flush(log);
        }
    }

    /// Takes what is in the pipe now.
    fn fill(&mut self, output: &OwnedFd, log: Log<'_>) -> Filled {
        let mut filled = Filled::Nothing;
        // Bounded, so that a flood cannot keep us from seeing the end or a cancel.
        for round in 0..16 {
            // Most steps say little; room for a flood is made when one comes.
            let room = match round {
                0 => FLUSH_BYTES.min(self.length + (8 << 10)),
                _ => FLUSH_BYTES,
            };
            if self.buffer.len() < room {
                self.buffer.resize(room, 0);
            }
            let read = rustix::io::read(output, &mut self.buffer[self.length..]);
            self.length += read.unwrap_or(0);
            match read {
                Ok(0) => return Filled::End,
                Ok(_) => filled = Filled::Some,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return filled,
                Err(_) => return Filled::End,
            }
            self.since.get_or_insert_with(Instant::now);
            if self.length >= FLUSH_BYTES {
                self.flush(log);
            }
        }
        filled
    }

    fn flush(&mut self, log: Log<'_>) {
        self.since = None;
        if self.length > 0 {
            log(&self.buffer[..std::mem::take(&mut self.length)]);
        }
    }
}
