//! One task, from hello to goodbye.

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, fchown, lchown, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use capstan_model::plan::{StepKind, When};
use capstan_model::wire::{
    AgentMessage, EXIT_ALONE, JOB_COMMANDS, PROTO, PROTO_MIN, RunnerMessage, STEP_ENVIRONMENT,
    STEP_FIRST, TaskSpec,
};
use capstan_model::{StepStatus, TaskOutcome};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::environment::{Environment, listing};
use crate::os::{self, Seen};
use crate::process::later;
use crate::steps::run::Background;
use crate::steps::{Ended, checkout, continuation, run};
use crate::stream::{self, Inbox, Link};
use crate::user::{self, User};
use crate::{jobcli, reaper};

/// How many names for a script are tried when a step has taken the first ones.
const NAMES_TRIED: u32 = 1000;

/// What steps need to know of their task.
pub(crate) struct Task {
    /// To the runner.
    pub(crate) link: Arc<Link>,
    /// What is to be done.
    pub(crate) spec: TaskSpec,
    /// Variables of every step.
    pub(crate) environment: Environment,
    /// Whom steps run as, when that is not who the agent is.
    pub(crate) user: Option<User>,
    /// Where steps run.
    pub(crate) working_directory: PathBuf,
    /// The agent's own directory, writable by steps.
    pub(crate) folder: PathBuf,
    /// The same directory whatever a step puts in its place.
    folder_fd: OwnedFd,
    /// When the job's time is over.
    pub(crate) deadline: Instant,
    /// What to say to this program so that it is the agent.
    pub(crate) self_arguments: Vec<OsString>,
    home: PathBuf,
    number: Cell<u32>,
}

/// Output of one step, in order.
pub(crate) struct Output<'a> {
    link: &'a Link,
    step: u32,
    offset: u64,
    open_line: bool,
}

impl<'a> Output<'a> {
    /// Of a step.
    pub(crate) fn new(link: &'a Link, step: u32) -> Self {
        Self {
            link,
            step,
            offset: 0,
            open_line: false,
        }
    }

    /// Bytes as they came.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let size = bytes.len() as u64;
        self.open_line = bytes.last().is_some_and(|byte| *byte != b'\n');
        self.link.log(self.step, self.offset, bytes);
        self.offset += size;
    }

    /// A line of ours.
    pub(crate) fn line(&mut self, text: &str) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// A line of ours after output that may not have ended its last one.
    pub(crate) fn fresh_line(&mut self, text: &str) {
        let start = if self.open_line { "\n" } else { "" };
        self.bytes(format!("{start}{text}\n").as_bytes());
    }
}

/// The agent as a program.
pub(crate) fn main() -> ExitCode {
    // The terminal of whoever runs Capstan is none of the job's business.
    os::leave_terminal();
    if let Some(place) = std::env::var_os("CAPSTAN_PLACE") {
        // Steps name their own directory; this one only keeps the agent out of its starter's.
        let _ = std::env::set_current_dir(place);
    }
    // Neither is needed for a job to run well; without them it is only less well guarded.
    let _ = capstan_sys::become_subreaper();
    let _ = capstan_sys::set_non_dumpable();
    // A stream over standard input cannot come back, so its end is the end of the job.
    let lost = || {
        reaper::end();
        // Whoever would have removed the place is gone.
        if let Some(place) = std::env::var_os("CAPSTAN_PLACE") {
            let _ = std::fs::remove_dir_all(place);
        }
        std::process::exit(1);
    };
    let (link, inbox) = match stream::open(lost) {
        Ok(open) => open,
        Err(error) => {
            eprintln!("capstan-agent: cannot read the stream: {error}");
            return ExitCode::FAILURE;
        }
    };
    let version = String::from(env!("CARGO_PKG_VERSION"));
    link.send(AgentMessage::Hello {
        proto: PROTO,
        min: PROTO_MIN,
        version,
    });
    let spec = match receive(&inbox) {
        Ok(spec) => spec,
        Err(why) => {
            eprintln!("capstan-agent: {why}");
            return ExitCode::FAILURE;
        }
    };
    let (outcome, alone) = match Task::prepare(Arc::clone(&link), spec) {
        Ok(task) => task.run(),
        Err(why) => (TaskOutcome::InfrastructureFail(why), false),
    };
    link.send(AgentMessage::Finished { outcome });
    while let Ok(message) = inbox.recv() {
        if message == RunnerMessage::Goodbye {
            return match alone {
                true => ExitCode::from(EXIT_ALONE),
                false => ExitCode::SUCCESS,
            };
        }
    }
    ExitCode::FAILURE
}

/// The greeting, then the task.
fn receive(inbox: &Inbox) -> Result<TaskSpec, String> {
    let gone = |_| String::from("the runner is gone");
    match inbox.recv().map_err(gone)? {
        RunnerMessage::Welcome { proto } if (PROTO_MIN..=PROTO).contains(&proto) => {}
        RunnerMessage::Welcome { proto } => {
            return Err(format!(
                "the runner speaks version {proto} of the protocol, this agent {PROTO_MIN} to {PROTO}"
            ));
        }
        _ => return Err(String::from("the runner did not greet")),
    }
    match inbox.recv().map_err(gone)? {
        RunnerMessage::Task(spec) => Ok(*spec),
        _ => Err(String::from("the runner gave no task")),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Task {
    fn prepare(link: Arc<Link>, spec: TaskSpec) -> Result<Self, String> {
        let user = step_user(&spec)?;
        let mut environment = Environment::of_place();
        if let Some(user) = &user {
            environment.set("HOME", &user.home);
            environment.set("USER", &user.name);
            environment.set("LOGNAME", &user.name);
        }
        let (folder, folder_fd) =
            own_folder().map_err(|error| format!("cannot make the agent's directory: {error}"))?;
        environment.set("BASH_ENV", folder.join("bash_env"));
        environment.set("CIRCLE_SHELL_ENV", folder.join("bash_env"));
        environment.set("CIRCLE_INTERNAL_TASK_DATA", &folder);
        environment.extend(&spec.environment);
        let home = PathBuf::from(environment.get("HOME").unwrap_or_else(|| String::from("/")));
        let mut task = Self {
            link,
            environment,
            user,
            working_directory: PathBuf::new(),
            folder,
            folder_fd,
            deadline: later(Duration::from_millis(spec.max_run_time_ms)),
            self_arguments: std::env::args_os()
                .skip(1)
                .take_while(|word| word == "agent")
                .collect(),
            home,
            number: Cell::new(0),
            spec,
        };
        task.furnish()
            .map_err(|error| format!("cannot furnish {}: {error}", task.folder.display()))?;
        let relative_to_home = expand(&task.spec.working_directory, &task.home);
        task.working_directory = task.home.join(relative_to_home);
        let folder = task.working_directory.clone();
        task.make_folder(&folder).map_err(|error| {
            format!(
                "cannot make working_directory {}: {error}",
                folder.display()
            )
        })?;
        Ok(task)
    }

    /// The file of `BASH_ENV`, and `circleci` on the path.
    fn furnish(&mut self) -> io::Result<()> {
        self.give(&self.folder)?;
        let bash_env = self.folder.join("bash_env");
        std::fs::write(&bash_env, "")?;
        self.give(&bash_env)?;
        let bin = match std::env::var_os("CAPSTAN_BIN") {
            Some(bin) => PathBuf::from(bin),
            None => {
                let bin = self.folder.join("bin");
                std::fs::create_dir(&bin)?;
                self.give(&bin)?;
                let program = std::env::current_exe()?;
                for name in JOB_COMMANDS {
                    symlink(&program, bin.join(name))?;
                }
                bin
            }
        };
        let path = self
            .environment
            .get("PATH")
            .unwrap_or_else(|| String::from("/usr/local/bin:/usr/bin:/bin"));
        self.environment
            .set("PATH", format!("{}:{path}", bin.display()));
        Ok(())
    }

    // ------------------------------------------------------------ steps

    /// How it ended, and whether nothing of it is left.
    fn run(self) -> (TaskOutcome, bool) {
        self.show_environment();
        let mut background = Vec::new();
        let mut failed = false;
        let mut outcome = None;
        for (at, step) in self.spec.steps.iter().enumerate() {
            if self.link.is_canceled() {
                outcome = Some(TaskOutcome::Canceled);
                break;
            }
            let due = match step.when {
                When::OnSuccess => !failed,
                When::OnFail => failed,
                When::Always => true,
            };
            if !due {
                continue;
            }
            let number = STEP_FIRST + u32::try_from(at).unwrap_or(u32::MAX - STEP_FIRST);
            let name = step.title().to_owned();
            self.link.send(AgentMessage::StepStarted {
                step: number,
                name,
                at_ms: now_ms(),
            });
            let Some(ended) = self.step(&step.kind, number, &mut background) else {
                continue;
            };
            failed |= ended.status != StepStatus::Success;
            let (canceled, late) = (ended.status == StepStatus::Canceled, ended.late);
            self.finished(number, ended);
            if canceled || late {
                outcome = Some(if late {
                    TaskOutcome::Timedout
                } else {
                    TaskOutcome::Canceled
                });
                break;
            }
            let pids: Vec<_> = background
                .iter()
                .map(|(_, process): &(u32, Background)| process.pid)
                .collect();
            reaper::bury(&pids);
            if jobcli::halted(&self.folder) {
                break;
            }
        }
        let left = self.clean_up(background);
        let outcome = match outcome {
            // In a container they end with it; here they would go on behind everybody's back.
            _ if !left.is_empty() && !rustix::process::getpid().is_init() => {
                TaskOutcome::InfrastructureFail(reaper::obituary(&left))
            }
            Some(outcome) => outcome,
            None if failed => TaskOutcome::Failed,
            None => TaskOutcome::Success,
        };
        (outcome, left.is_empty())
    }

    /// Runs one step; `None` for one that goes on in the background.
    fn step(
        &self,
        kind: &StepKind,
        number: u32,
        background: &mut Vec<(u32, Background)>,
    ) -> Option<Ended> {
        let mut output = Output::new(&self.link, number);
        match kind {
            StepKind::Run(step) if step.background => match Background::start(self, step, number) {
                Ok(process) => {
                    background.push((number, process));
                    None
                }
                Err(why) => {
                    output.line(&why);
                    Some(Ended::badly(why))
                }
            },
            StepKind::Run(step) => Some(run::run(self, step, &mut output)),
            StepKind::Checkout { path, method: _ } => {
                Some(checkout::run(self, path.as_deref(), &mut output))
            }
            StepKind::Continue(step) => Some(continuation::run(self, step, &mut output)),
            StepKind::Other { step, .. } => {
                let why = format!("the step {step} cannot be executed by this version");
                output.line(&why);
                Some(Ended::badly(why))
            }
        }
    }

    fn finished(&self, step: u32, ended: Ended) {
        let Ended {
            status,
            exit_code,
            reason,
            late: _,
        } = ended;
        self.link.send(AgentMessage::StepFinished {
            step,
            status,
            exit_code,
            reason,
            at_ms: now_ms(),
        });
    }

    fn show_environment(&self) {
        let (step, name) = (
            STEP_ENVIRONMENT,
            String::from("Preparing environment variables"),
        );
        self.link.send(AgentMessage::StepStarted {
            step,
            name,
            at_ms: now_ms(),
        });
        let text = listing(&self.spec.environment);
        Output::new(&self.link, step).bytes(text.as_bytes());
        self.finished(step, Ended::well());
    }

    /// Ends everything the job started, then says how its background steps ended. Returns what could not
    /// be ended.
    fn clean_up(&self, background: Vec<(u32, Background)>) -> Vec<Seen> {
        if let Some(grace) = self.link.cancel_deadline() {
            reaper::ask_all_to_end();
            reaper::wait_for_all(grace);
        }
        for (_, process) in &background {
            process.kill();
        }
        for (number, process) in background {
            let ended = process.ended();
            self.finished(number, ended);
        }
        let left = reaper::kill_all(reaper::PATIENCE);
        // Where the executor gave the folder it goes with the place, when nobody waits any more.
        if own_place().is_none() && std::env::var_os("CAPSTAN_AGENT_DIR").is_none() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
        left
    }

    /// How a step ends that must not go on, if that is so.
    pub(crate) fn over(&self) -> Option<Ended> {
        match () {
            () if self.link.is_canceled() => Some(Ended::canceled()),
            () if self.deadline <= Instant::now() => Some(Ended::late()),
            () => None,
        }
    }

    // ------------------------------------------------------------ places

    /// A variable of the job's environment.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.environment.get(name)
    }

    /// A path of the config: `~` is the job's home, anything relative is below the working directory.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.working_directory.join(expand(path, &self.home))
    }

    /// Makes a folder that belongs to the job, with what leads to it. Only before the first step: later,
    /// steps could change what leads to it while it is made.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut here = Some(folder);
        while let Some(path) = here.filter(|path| !path.exists()) {
            missing.push(path);
            here = path.parent();
        }
        for path in missing.into_iter().rev() {
            match std::fs::create_dir(path) {
                Ok(()) => self.give(path)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives a file of ours to the job's user.
    fn give(&self, path: &Path) -> io::Result<()> {
        match &self.user {
            Some(user) => lchown(path, Some(user.ids.uid), Some(user.ids.gid)),
            None => Ok(()),
        }
    }

    /// Puts a script where the job's user can read it. That user can write to the directory, so nothing
    /// that lies there under the script's name is followed or written to.
    pub(crate) fn write_script(&self, text: &str) -> io::Result<PathBuf> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..NAMES_TRIED {
            self.number.set(self.number.get() + 1);
            let name = format!("script-{}", self.number.get());
            let file = match openat(&self.folder_fd, &name, flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) => continue,
                file => file?,
            };
            if let Some(user) = &self.user {
                fchown(&file, Some(user.ids.uid), Some(user.ids.gid))?;
            }
            std::fs::File::from(file).write_all(text.as_bytes())?;
            return Ok(self.folder.join(name));
        }
        Err(io::Error::other("every name for it is taken"))
    }
}

/// Only root can run steps as somebody else.
fn step_user(spec: &TaskSpec) -> Result<Option<User>, String> {
    let image_user = std::env::var("CAPSTAN_STEP_USER").ok();
    let wanted = spec
        .user
        .clone()
        .or(image_user)
        .filter(|user| !user.is_empty());
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let user = user::find(&wanted)?;
    let me = rustix::process::geteuid();
    match () {
        () if me.as_raw() == user.ids.uid => Ok(None),
        () if me.is_root() => Ok(Some(user)),
        () => Err(format!(
            "steps cannot run as {wanted}: the agent is not root here"
        )),
    }
}

/// The folder of a place that is made for one job and removed after it.
fn own_place() -> Option<PathBuf> {
    std::env::var_os("CAPSTAN_PLACE").map(PathBuf::from)
}

/// A directory that nobody else has made, and a hold on it.
fn own_folder() -> io::Result<(PathBuf, OwnedFd)> {
    let folder = match own_place() {
        // As fresh and as private as one of ours.
        Some(place) => place,
        None => {
            let folder = match std::env::var_os("CAPSTAN_AGENT_DIR") {
                Some(folder) => PathBuf::from(folder).join("task"),
                None => std::env::temp_dir().join(format!(
                    "capstan-agent-{}-{}",
                    std::process::id(),
                    now_ms()
                )),
            };
            if let Some(parent) = folder.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::DirBuilder::new().mode(0o755).create(&folder)?;
            folder
        }
    };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let hold = openat(CWD, &folder, flags, Mode::empty())?;
    Ok((folder, hold))
}

fn expand(path: &str, home: &Path) -> PathBuf {
    let mut parts = Path::new(path).components();
    match parts.next() {
        Some(Component::Normal(first)) if first == "~" => home.join(parts.as_path()),
        _ => PathBuf::from(path),
    }
}
