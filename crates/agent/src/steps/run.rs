//! `run`: a script given to a shell (language 8.6).

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use capstan_model::StepStatus;
use capstan_model::plan::RunStep;

use crate::process::{End, Limits, Process};
use crate::shell;
use crate::steps::Ended;
use crate::task::{Output, Task};

/// Silence that nobody changed (platform 2.7).
const SILENCE_MS: u64 = 600_000;

/// Runs a script, again when it may be tried again.
pub(crate) fn run(task: &Task, step: &RunStep, output: &mut Output<'_>) -> Ended {
    for attempt in 0..=step.max_auto_reruns {
        let ended = once(task, step, output);
        let again = ended.status == StepStatus::Failed && attempt < step.max_auto_reruns;
        if !again || task.link.cancel_grace_ms().is_some() {
            return ended;
        }
        let left = step.max_auto_reruns - attempt;
        output.line(&format!("Trying again, {left} more at most"));
        pause(task, Duration::from_millis(step.auto_rerun_delay_ms));
    }
    Ended::badly("no attempt was made")
}

/// Waits, but not through a cancel.
fn pause(task: &Task, time: Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let time = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()) as _,
    };
    let _ = poll(
        &mut [PollFd::new(task.link.wake(), PollFlags::IN)],
        Some(&time),
    );
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
        silence: Some(silence),
        deadline: task.deadline,
        link: &task.link,
    };
    let end = process.watch(&limits, &mut |bytes| output.bytes(bytes));
    ended(end, silence, output)
}

fn ended(end: End, silence: Duration, output: &mut Output<'_>) -> Ended {
    let (status, exit_code, reason) = match end {
        End::Exited(0) => {
            return Ended {
                exit_code: Some(0),
                ..Ended::well()
            };
        }
        End::Exited(code) => {
            let reason = format!("Exited with code exit status {code}");
            (StepStatus::Failed, Some(code), reason)
        }
        End::Silent => {
            let limit = duration(silence);
            let reason =
                format!("Too long with no output (exceeded {limit}): context deadline exceeded");
            (StepStatus::Timedout, None, reason)
        }
        End::Late => (
            StepStatus::Timedout,
            None,
            String::from("The job ran longer than it may"),
        ),
        End::Canceled => (StepStatus::Canceled, None, String::from("Canceled")),
    };
    output.fresh_line(&reason);
    Ended {
        status,
        exit_code,
        reason: Some(reason),
        late: end == End::Late,
    }
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
    if step.command.len() > shell::LONGEST_ARGUMENT {
        command
            .arg(script(task, step).map_err(|error| format!("cannot write the script: {error}"))?);
    } else {
        command.arg("-c").arg(&step.command);
    }
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

fn script(task: &Task, step: &RunStep) -> io::Result<PathBuf> {
    let path = task.folder.join(format!("script-{}", task.next_number()));
    std::fs::write(&path, &step.command)?;
    task.give(&path)?;
    Ok(path)
}

/// A `run` step in the background: the job goes on, and the process lives until the job ends.
pub(crate) struct Background {
    /// Its id, so that nobody else buries it.
    pub(crate) pid: rustix::process::Pid,
    thread: std::thread::JoinHandle<Ended>,
}

impl Background {
    /// Starts it with a thread that reads its output.
    pub(crate) fn start(task: &Task, step: &RunStep, number: u32) -> Result<Self, String> {
        let process = start(task, step)?;
        let pid = process.pid();
        let link = std::sync::Arc::clone(&task.link);
        let far = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        let watch = move || {
            let mut output = Output::new(&link, number);
            let limits = Limits {
                silence: None,
                deadline: far,
                link: &link,
            };
            let end = process.watch(&limits, &mut |bytes| output.bytes(bytes));
            let exit_code = match end {
                End::Exited(code) => Some(code),
                _ => None,
            };
            // However it ended: its exit code does not count (platform 2.7).
            Ended {
                exit_code,
                ..Ended::well()
            }
        };
        let thread = std::thread::Builder::new().spawn(watch);
        Ok(Self {
            pid,
            thread: thread.map_err(|error| format!("cannot start a thread: {error}"))?,
        })
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
