//! Jobs on this machine, as whoever runs Capstan: a fresh directory with a fresh `HOME` for each, and no
//! other border. The agent ends what the job started; it dies with its stream.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use capstan_model::Digest;
use capstan_model::wire::{EXIT_ALONE, JOB_COMMANDS, PinnedImage};
use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{
    AgentStream, Executor, Exit, Place, PlaceError, PlaceRequest, SpinUpLog, refuse_kernel_folders,
};
use crate::agent_bin::{self, AgentBinary};

/// What a job on the host keeps of the caller's environment.
const KEPT: &[&str] = &[
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "USER",
    "LOGNAME",
    "SHELL",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// So much of a run's id is in the names of its places. They are short, because a job may want to make sockets
/// below them, whose paths the system cuts at 107 bytes.
const RUN_DIGITS: usize = 12;

/// How long an agent has to leave by itself after its stream was closed.
const LEAVE: Duration = Duration::from_secs(2);

type Removals = Arc<Mutex<Vec<JoinHandle<()>>>>;

/// Makes places on this machine.
pub struct HostExecutor {
    /// Where places are, those of other runs too.
    folder: PathBuf,
    /// What the names of this run's places begin with.
    prefix: String,
    /// The number of the next one.
    next: AtomicU64,
    agent: AgentBinary,
    /// Where jobs find `circleci`.
    bin: PathBuf,
    /// A place whose agent waits for a task.
    spare: Mutex<Option<HostPlace>>,
    /// Every place of this run that is not known to be gone.
    made: Mutex<Vec<PathBuf>>,
    removals: Removals,
}

impl HostExecutor {
    /// Places are folders in `folder`, which runs share; the id of this one is `run`. What all places of this
    /// machine have in common is kept in `shared`.
    ///
    /// # Errors
    /// There is no agent program, or `shared` cannot be written to.
    pub fn new(folder: impl Into<PathBuf>, run: &str, shared: &Path) -> io::Result<Self> {
        let agent = agent_bin::agent()?;
        let bin = job_commands(&agent, shared)?;
        Ok(Self::with(folder.into(), run, agent, bin))
    }

    fn with(folder: PathBuf, run: &str, agent: AgentBinary, bin: PathBuf) -> Self {
        let digits = run.chars().filter(char::is_ascii_alphanumeric);
        let prefix: String = digits.take(RUN_DIGITS).chain(['-']).collect();
        Self {
            made: Mutex::new(places_in(&folder, &prefix)),
            folder,
            prefix,
            next: AtomicU64::new(1),
            agent,
            bin,
            spare: Mutex::default(),
            removals: Removals::default(),
        }
    }

    /// A place with its folders, and nothing running in it.
    fn place(&self) -> Result<HostPlace, PlaceError> {
        let root = self.new_root()?;
        self.made().push(root.clone());
        let make = |name: &str| {
            let folder = root.join(name);
            std::fs::create_dir(&folder).map_err(cannot_make(&folder))
        };
        make("home")?;
        make("tmp")?;
        Ok(HostPlace {
            cookie: root.clone().into_os_string(),
            root,
            agent: self.agent.clone(),
            bin: self.bin.clone(),
            child: None,
            stream: None,
            removals: Arc::clone(&self.removals),
        })
    }

    /// A folder that was not there before, and is nobody else's: what a killed process left is nobody's fresh
    /// directory.
    fn new_root(&self) -> Result<PathBuf, PlaceError> {
        let private = |recursive| {
            let mut builder = std::fs::DirBuilder::new();
            builder.mode(0o700).recursive(recursive);
            builder
        };
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let root = self.folder.join(format!("{}{number}", self.prefix));
            let made = private(false).create(&root).or_else(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    return Err(error);
                }
                private(true).create(&self.folder)?;
                private(false).create(&root)
            });
            match made {
                Ok(()) => return Ok(root),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(cannot_make(&root)(error)),
            }
        }
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_spare(&self) -> Option<HostPlace> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose agent is gone is none; its folder goes with the last sweep.
        spare.take().and_then(HostPlace::if_alive)
    }
}

/// The places of a run that earlier processes left behind.
fn places_in(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}

fn cannot_make(folder: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    move |error| PlaceError::Infrastructure(format!("cannot make {}: {error}", folder.display()))
}

/// A folder with the commands that steps may call, all of them the agent's program. It is shared by all
/// runs with that program, and put right by the next one if a job has changed it.
fn job_commands(agent: &AgentBinary, shared: &Path) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let path = Sha256::digest(agent.program.as_os_str().as_bytes());
    let bin = shared.join(Digest::of(path.into()).as_str());
    for command in JOB_COMMANDS {
        let link = bin.join(command);
        if std::fs::read_link(&link).is_ok_and(|target| target == agent.program) {
            continue;
        }
        std::fs::create_dir_all(&bin)?;
        // Another run may be at the same.
        let next = bin.join(format!(".{command}.{}", uuid::Uuid::new_v4().simple()));
        std::os::unix::fs::symlink(&agent.program, &next)?;
        std::fs::rename(&next, &link)?;
    }
    Ok(bin)
}

impl Executor for HostExecutor {
    fn name(&self) -> &'static str {
        "host"
    }

    fn prepare<'a>(
        &'a self,
        request: &'a PlaceRequest,
        log: &'a SpinUpLog,
    ) -> BoxFuture<'a, Result<Box<dyn Place>, PlaceError>> {
        Box::pin(async move {
            refuse_kernel_folders(&request.working_directory)?;
            let place = match self.take_spare() {
                Some(spare) => spare,
                None => self.place()?,
            };
            refuse_links_to_kernel_folders(&place.root, &request.working_directory)?;
            log.line("Running on this machine, in a fresh directory with a fresh HOME");
            let place: Box<dyn Place> = Box::new(place);
            Ok(place)
        })
    }

    fn warm_up(&self) {
        // What is wrong with a spare place is told by the first one that is asked for.
        let Ok(mut place) = self.place() else {
            return;
        };
        let Ok(stream) = place.spawn() else {
            return;
        };
        place.stream = Some(stream);
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    fn sweep(&self) -> BoxFuture<'_, Result<(), PlaceError>> {
        Box::pin(async move {
            if let Some(spare) = self.take_spare() {
                Box::new(spare).stop().await;
            }
            loop {
                let next = self
                    .removals
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop();
                let Some(removal) = next else { break };
                // A removal that panicked has left files, which the next line takes.
                let _ = removal.await;
            }
            // Places that nobody stopped, because their tasks were lost or an earlier process was killed.
            let mut left = std::mem::take(&mut *self.made());
            left.retain(|place| place.symlink_metadata().is_ok());
            if left.is_empty() {
                return Ok(());
            }
            let swept = tokio::task::spawn_blocking(move || {
                for place in left {
                    kill_strays(place.as_os_str());
                    remove(&place);
                }
            });
            swept.await.map_err(|error| {
                PlaceError::Infrastructure(format!(
                    "the places of this run are not removed: {error}"
                ))
            })
        })
    }
}

/// The same question for what links on this machine lead to.
fn refuse_links_to_kernel_folders(root: &Path, working_directory: &str) -> Result<(), PlaceError> {
    let below_home = working_directory
        .strip_prefix('~')
        .unwrap_or(working_directory)
        .trim_start_matches('/');
    let directory = if working_directory.starts_with('/') {
        PathBuf::from(working_directory)
    } else {
        root.join("home").join(below_home)
    };
    // What does not exist yet will be made, and is no link.
    let existing = directory
        .ancestors()
        .find_map(|path| path.canonicalize().ok());
    match existing.as_deref().and_then(Path::to_str) {
        Some(real) => refuse_kernel_folders(real),
        None => Ok(()),
    }
}

struct HostPlace {
    root: PathBuf,
    cookie: OsString,
    agent: AgentBinary,
    bin: PathBuf,
    child: Option<Child>,
    /// Of an agent that was started before there was a task for it.
    stream: Option<AgentStream>,
    removals: Removals,
}

impl HostPlace {
    fn if_alive(mut self) -> Option<Self> {
        let ended = self.child.as_mut()?.try_wait();
        matches!(ended, Ok(None)).then_some(self)
    }

    fn spawn(&mut self) -> io::Result<AgentStream> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = Command::new(&self.agent.program);
        // It goes into its place by itself: a directory set here would make the start a fork, which copies the
        // tables of all memory of this process.
        command.args(&self.agent.args).env_clear();
        for name in KEPT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", self.root.join("home"))
            .env("TMPDIR", self.root.join("tmp"))
            .env("CAPSTAN_BIN", &self.bin)
            .env("CAPSTAN_PLACE", &self.root)
            .env("CAPSTAN_COOKIE", &self.cookie)
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs.try_clone()?)))
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            // Ctrl-C in the terminal is for Capstan, which tells the agent.
            .process_group(0)
            .kill_on_drop(true);
        self.child = Some(command.spawn()?);
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        Ok(AgentStream {
            reader: Box::pin(reader),
            writer: Box::pin(writer),
        })
    }
}

impl Place for HostPlace {
    fn start(&mut self) -> BoxFuture<'_, Result<AgentStream, PlaceError>> {
        Box::pin(async move {
            if let Some(stream) = self.stream.take() {
                return Ok(stream);
            }
            self.spawn().map_err(|error| {
                let program = self.agent.program.display();
                PlaceError::Infrastructure(format!("cannot start the agent {program}: {error}"))
            })
        })
    }

    fn watch(&mut self) -> BoxFuture<'_, Exit> {
        Box::pin(async move {
            let Some(child) = &mut self.child else {
                return Exit::unknown("the agent was never started");
            };
            match child.wait().await {
                Ok(status) => exit(status),
                Err(error) => Exit::unknown(format!("the agent cannot be watched: {error}")),
            }
        })
    }

    fn images(&self) -> Vec<PinnedImage> {
        Vec::new()
    }

    fn stop(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // An agent that never had a task leaves with its stream.
            drop(self.stream.take());
            let mut alone = false;
            if let Some(mut child) = self.child.take() {
                // Its stream is closed by now; an agent in order leaves at once, and says whether anything of
                // the job is left.
                match tokio::time::timeout(LEAVE, child.wait()).await {
                    Ok(ended) => {
                        let code = ended.ok().and_then(|status| status.code());
                        alone = code == Some(i32::from(EXIT_ALONE));
                    }
                    Err(_) => drop(child.kill().await),
                }
            }
            let (root, cookie) = (self.root.clone(), self.cookie.clone());
            let removal = tokio::task::spawn_blocking(move || {
                if !alone {
                    kill_strays(&cookie);
                }
                remove(&root);
            });
            let mut removals = self.removals.lock().unwrap_or_else(PoisonError::into_inner);
            removals.retain(|removal| !removal.is_finished());
            removals.push(removal);
        })
    }
}

fn exit(status: std::process::ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit {
            code: Some(code),
            ..Exit::unknown(format!("the agent ended with exit code {code}"))
        },
        (None, Some(signal)) => Exit {
            code: Some(128 + signal),
            ..Exit::unknown(format!("the agent was killed by signal {signal}"))
        },
        (None, None) => Exit::unknown(format!("the agent ended: {status}")),
    }
}

/// Ends processes that carry the place's cookie. There are none unless the agent itself was killed.
fn kill_strays(cookie: &OsStr) {
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let strays = crate::strays::with_cookie(cookie);
        if strays.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in strays {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes a folder even if the job took the write permission from parts of it.
fn remove(root: &Path) {
    if std::fs::remove_dir_all(root).is_ok() {
        return;
    }
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        use std::os::unix::fs::PermissionsExt;
        let _ = std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700));
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    // What cannot be removed even so belongs to somebody else.
    let _ = std::fs::remove_dir_all(root);
}

#[cfg(test)]
mod tests;
