//! `run`: a script given to a shell (language 8.6).

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use capstan_model::StepStatus;
use capstan_model::plan::RunStep;
use rustix::fd::AsFd;
use rustix::process::{Pid, Signal};

use crate::os::Handle;
use crate::process::{End, Limits, Process, later, ready};
use crate::shell;
use crate::steps::Ended;
use crate::task::{Output, Task};

/// Silence that nobody changed (platform 2.7).
const SILENCE_MS: u64 = 600_000;

/// Runs a script, again when it may be tried again.
pub(crate) fn run(task: &Task, step: &RunStep, output: &mut Output<'_>) -> Ended {
    let mut left = step.max_auto_reruns;
    loop {
        let ended = once(task, step, output);
        if ended.status != StepStatus::Failed || left == 0 {
            return ended;
        }
        output.line(&format!("Trying again, {left} more at most"));
        left -= 1;
        if let Some(ended) = pause(task, Duration::from_millis(step.auto_rerun_delay_ms)) {
            return said(ended, output);
        }
    }
}

/// Waits, but neither through a cancel nor past the end of the job's time.
fn pause(task: &Task, time: Duration) -> Option<Ended> {
    let until = later(time);
    loop {
        if let Some(ended) = task.over() {
            return Some(ended);
        }
        if until <= Instant::now() {
            return None;
        }
        ready([Some(task.link.wake().as_fd())], until.min(task.deadline));
    }
}

fn once(task: &Task, step: &RunStep, output: &mut Output<'_>) -> Ended {
    let process = match start(task, step) {
        Ok(process) => process,
        Err(why) => {
            output.line(&why);
            return Ended::badly(why);
        }
    };
    let silence = Duration::from_millis(step.no_output_timeout_ms.unwrap_or(SILENCE_MS));
    let limits = Limits {
        silence,
        deadline: task.deadline,
        link: &task.link,
    };
    let ended = match process.watch(limits, &mut |bytes| output.bytes(bytes)) {
        End::Exited(0) => {
            return Ended {
                exit_code: Some(0),
                ..Ended::well()
            };
        }
        End::Exited(code) => Ended {
            exit_code: Some(code),
            ..Ended::badly(format!("Exited with code exit status {code}"))
        },
        End::Silent => {
            let limit = duration(silence);
            Ended {
                status: StepStatus::Timedout,
                ..Ended::badly(format!(
                    "Too long with no output (exceeded {limit}): context deadline exceeded"
                ))
            }
        }
        End::Late => Ended::late(),
        End::Canceled => Ended::canceled(),
    };
    said(ended, output)
}

/// The reason as the last line of the output.
fn said(ended: Ended, output: &mut Output<'_>) -> Ended {
    if let Some(reason) = &ended.reason {
        output.fresh_line(reason);
    }
    ended
}

/// As Go prints it: `10m0s`, `1h15m0s`, `5s`, `500ms`.
fn duration(time: Duration) -> String {
    let (all, ms) = (time.as_secs(), time.subsec_millis());
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) if all == 0 => format!("{ms}ms"),
        (0, 0) if ms > 0 => format!("{seconds}.{}s", format!("{ms:03}").trim_end_matches('0')),
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Starts the shell of a step.
fn start(task: &Task, step: &RunStep) -> Result<Process, String> {
    let words = shell::words(step.shell.as_ref().or(task.spec.shell.as_ref()))?;
    let (program, arguments) = words.split_first().ok_or("the shell is an empty text")?;
    let folder = match &step.working_directory {
        Some(path) => task.path(path),
        None => task.working_directory.clone(),
    };
    if !folder.is_dir() {
        return Err(format!(
            "working_directory {} does not exist",
            folder.display()
        ));
    }
    let mut command = Command::new(program);
    command.args(arguments);
    match shell::code_option(&words).filter(|_| step.command.len() <= shell::LONGEST_ARGUMENT) {
        Some(option) => command.arg(option).arg(&step.command),
        None => command.arg(
            task.write_script(&step.command)
                .map_err(|error| format!("cannot write the script: {error}"))?,
        ),
    };
    command
        .env_clear()
        .envs(task.environment.with(&step.environment).iter())
        .current_dir(&folder);
    Process::start(command, task.user.as_ref().map(|user| &user.ids)).map_err(|error| {
        match error.kind() {
            io::ErrorKind::NotFound => format!("the shell {program} does not exist here"),
            _ => format!("cannot start the shell {program}: {error}"),
        }
    })
}

/// A `run` step in the background: the job goes on, and the process lives until the job ends.
pub(crate) struct Background {
    /// Its id, so that nobody else buries it.
    pub(crate) pid: Pid,
    handle: Handle,
    thread: std::thread::JoinHandle<Ended>,
}

impl Background {
    /// Starts it with a thread that reads its output.
    pub(crate) fn start(task: &Task, step: &RunStep, number: u32) -> Result<Self, String> {
        let process = start(task, step)?;
        let pid = process.pid();
        let handle = process
            .handle()
            .map_err(|error| format!("cannot hold on to the process: {error}"))?;
        let link = std::sync::Arc::clone(&task.link);
        let watch = move || {
            let mut output = Output::new(&link, number);
            let end = process.follow(&mut |bytes| output.bytes(bytes));
            if link.is_canceled() {
                return Ended::canceled();
            }
            // However it ended: its exit code does not count (platform 2.7).
            Ended {
                exit_code: match end {
                    End::Exited(code) => Some(code),
                    _ => None,
                },
                ..Ended::well()
            }
        };
        let thread = std::thread::Builder::new().spawn(watch);
        Ok(Self {
            pid,
            handle,
            thread: thread.map_err(|error| format!("cannot start a thread: {error}"))?,
        })
    }

    /// Kills its shell; what that has started is for the reaper.
    pub(crate) fn kill(&self) {
        self.handle.signal(Signal::KILL);
    }

    /// How it ended; to be asked once it was killed.
    pub(crate) fn ended(self) -> Ended {
        self.thread
            .join()
            .unwrap_or_else(|_| Ended::badly("its output was lost"))
    }
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn durations_read_as_users_know_them() {
        for (ms, text) in [
            (600_000, "10m0s"),
            (5_000, "5s"),
            (4_500_000, "1h15m0s"),
            (500, "500ms"),
            (1_500, "1.5s"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }
}
