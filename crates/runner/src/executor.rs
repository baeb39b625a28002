//! The places where tasks run. An executor prepares, starts, watches and stops them; what happens
//! inside is the agent's business.

#[cfg(test)]
mod contract;
pub mod docker;
#[cfg(test)]
mod fake;
pub mod host;

use std::pin::Pin;

use capstan_model::TaskId;
use capstan_model::plan;
use capstan_model::wire::PinnedImage;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// Makes places of one kind.
pub trait Executor: Send + Sync {
    /// `docker` or `host`, as `--executor` names it.
    fn name(&self) -> &'static str;

    /// Makes a place, ready to start; nothing of the job runs yet. What a person should know of it (the
    /// image's digest, the progress of a pull) goes to `log` as lines.
    fn prepare<'a>(
        &'a self,
        request: &'a PlaceRequest,
        log: &'a SpinUpLog,
    ) -> BoxFuture<'a, Result<Box<dyn Place>, PlaceError>>;

    /// Gets ready for the first place, which is asked for soon, while there is nothing else to do.
    fn warm_up(&self) {}

    /// Removes whatever earlier places of this runner's run left behind; called when the runner ends.
    fn sweep(&self) -> BoxFuture<'_, Result<(), PlaceError>>;
}

/// A place that was prepared.
pub trait Place: Send {
    /// Starts the agent in it and returns the byte stream to it. Called once.
    fn start(&mut self) -> BoxFuture<'_, Result<AgentStream, PlaceError>>;

    /// Waits until the agent's process is gone and says how.
    fn watch(&mut self) -> BoxFuture<'_, Exit>;

    /// What the place was made of.
    fn images(&self) -> Vec<PinnedImage>;

    /// Ends every process of the place and removes it. The parts nobody waits for may happen later in
    /// the background; [`Executor::sweep`] waits for them.
    fn stop(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// The two halves of the byte stream to an agent.
pub struct AgentStream {
    /// From the agent.
    pub reader: Pin<Box<dyn AsyncRead + Send>>,
    /// To the agent; dropping it ends the agent's input.
    pub writer: Pin<Box<dyn AsyncWrite + Send>>,
}

/// What a task needs of its place.
#[derive(Clone, Debug)]
pub struct PlaceRequest {
    /// The task, for labels.
    pub task: TaskId,
    /// The claim, for labels.
    pub lease_epoch: u64,
    /// Name of the job, for labels.
    pub job_name: String,
    /// What the config asks for; `auth` and `image` hold no `$VAR` any more.
    pub executor: plan::Executor,
    /// As written in the config.
    pub resource_class: Option<String>,
    /// Unexpanded working directory of the job.
    pub working_directory: String,
}

/// Where an executor writes lines for the step "Spin up environment". Never blocks.
#[derive(Clone, Debug)]
pub struct SpinUpLog(pub tokio::sync::mpsc::UnboundedSender<String>);

impl SpinUpLog {
    /// One line, without its end.
    pub fn line(&self, text: impl Into<String>) {
        // Nobody listening any more is no reason to fail a job.
        let _ = self.0.send(text.into());
    }
}

/// How an agent's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128+n for signal n; `None` when it could not be learnt.
    pub code: Option<i32>,
    /// Whether the kernel killed it for want of memory.
    pub out_of_memory: bool,
    /// Whether the job itself brought this about: the entrypoint that it asked for ended. Then it
    /// failed; else the machine is at fault.
    pub by_job: bool,
    /// For people: `agent was killed by signal 9`, `container was removed`.
    pub cause: String,
}

/// The kernel's own folders are no place for a job. A directory below `~`, or a relative one, is refused
/// when it would be such a folder for some home. What links lead to, only the place itself knows.
pub(crate) fn refuse_kernel_folders(working_directory: &str) -> Result<(), PlaceError> {
    let mut parts = Vec::new();
    for part in working_directory.split('/') {
        match part {
            "" | "." | "~" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let climbs = working_directory.split('/').any(|part| part == "..");
    let from_root = working_directory.starts_with('/') || climbs;
    if from_root && matches!(parts.first(), Some(&("proc" | "sys" | "dev"))) {
        return Err(PlaceError::Job(format!(
            "working_directory {working_directory:?} leads into /proc, /sys or /dev; these are the \
             kernel's, choose another"
        )));
    }
    Ok(())
}

impl Exit {
    /// An end of which only the cause is known.
    pub(crate) fn unknown(cause: impl Into<String>) -> Self {
        Self {
            code: None,
            out_of_memory: false,
            by_job: false,
            cause: cause.into(),
        }
    }
}

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The job asks for something that cannot be had: an image that does not exist, a working directory
    /// under `/proc`. The job fails.
    #[error("{0}")]
    Job(String),
    /// The machine is at fault: no engine, disk full. The job ends `infrastructure_fail`.
    #[error("{0}")]
    Infrastructure(String),
}

#[cfg(test)]
mod tests {
    use super::refuse_kernel_folders;

    #[test]
    fn folders_of_the_kernel_are_refused_however_they_are_written() {
        for fine in [
            "~/project",
            "project",
            "/process",
            "/home/dev",
            "~/dev",
            "dev",
            "~/../work",
            "/srv/../home/x",
            "/a/proc",
        ] {
            assert!(refuse_kernel_folders(fine).is_ok(), "{fine}");
        }
        for folder in [
            "/proc",
            "/proc/self/cwd",
            "//sys",
            "/./dev/shm",
            "/a/../dev",
            "/../proc",
            "~/../../proc/1",
            "../dev",
            "~/x/../../sys",
        ] {
            assert!(refuse_kernel_folders(folder).is_err(), "{folder}");
        }
    }
}
