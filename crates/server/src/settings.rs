//! What a server is started with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use capstan_model::Secret;
use capstan_scm::Forge;
use capstan_store::Writes;

use crate::orbs::Orbs;

/// Settings of one server. A laptop run and a CI server differ in nothing else.
pub struct Settings {
    /// Directory of the store: `run.db`, `logs/`, `blobs/`. Made when absent.
    pub data_dir: PathBuf,
    /// Folder of a blank database that new stores are copied from; made when absent.
    pub blanks: Option<PathBuf>,
    /// Where runners connect: the path of a unix socket that does not exist yet. Keep it under 100 bytes.
    pub socket: PathBuf,
    /// Where sources come from.
    pub forge: Arc<dyn Forge>,
    /// Where orbs come from.
    pub orbs: Arc<dyn Orbs>,
    /// Path of the config in the repository, `.circleci/config.yml` unless told otherwise.
    pub config_path: String,
    /// Contexts by name: variables in order.
    pub contexts: BTreeMap<String, Vec<(String, Secret<String>)>>,
    /// Variables of the project.
    pub project_vars: Vec<(String, Secret<String>)>,
    /// Time limit of a job in milliseconds.
    pub max_run_time_ms: u64,
    /// Length of a lease in milliseconds.
    pub lease_ms: u64,
    /// What became of the places of runners that this server does not hear from.
    pub on_disconnect: OnDisconnect,
}

impl Settings {
    /// A server waits for the disk at every commit (safety rule 10). Where places die with this process, a
    /// new run does not: it would not outlive a loss of power anyway.
    pub(crate) fn writes(&self) -> Writes {
        match self.on_disconnect {
            OnDisconnect::Die => Writes::ToTheSystem,
            OnDisconnect::Hold => Writes::ToTheDisk,
        }
    }
}

/// See [`Settings::on_disconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisconnect {
    /// They ended with this server's process: the laptop.
    Die,
    /// They go on, and may be heard of again for as long as their leases last.
    Hold,
}
