//! The directory you stand in: the working tree with its uncommitted changes, or one commit of it.
//!
//! What a job checks out is the files a commit of everything would hold: tracked and untracked ones as
//! they are on disk, ignored and deleted ones left out. With a commit comes a `.git` directory of the job's
//! own.
//!
//! Branch and commit are read from the files of the repository, so that a machine without `git` still
//! knows them; what only `git` can tell is asked of it in the background while the caller does other
//! things.

mod archive;
mod facts;
mod git;
mod history;

use std::io;
use std::path::{Path, PathBuf};

use capstan_model::trigger::{Project, Revision};
use futures_util::future::BoxFuture;

use crate::{Forge, ForgeError, SourceStream};
use facts::{CommitFacts, RepositoryFiles};

/// The largest config file that is read, in bytes (safety rule 38 bounds what the parser does with it).
const CONFIG_MAX: u64 = 16 << 20;

/// A project on this machine.
#[derive(Debug)]
pub struct Worktree {
    root: PathBuf,
    config_path: String,
    repository: Option<RepositoryFiles>,
    git: Background,
    at: Option<String>,
}

/// What `git` was asked when the worktree was found; the answers are waited for when they are needed.
#[derive(Debug)]
enum Background {
    Asked(
        std::sync::Mutex<Option<std::thread::JoinHandle<CommitFacts>>>,
        std::sync::OnceLock<CommitFacts>,
    ),
    NotARepository(CommitFacts),
}

impl Worktree {
    /// Finds the project that `start` lies in: the nearest directory upwards that holds `.circleci`.
    /// A `config` that was named decides itself: when it lies in a directory called `.circleci`, that
    /// one's parent is the project, whatever `start` is. Without any `.circleci` the root of the
    /// repository is taken, or else `start`. Whether the config exists shows when it is read.
    ///
    /// # Errors
    /// `start` cannot be resolved.
    pub fn discover(start: &Path, config: Option<&Path>) -> io::Result<Self> {
        let start = start.canonicalize()?;
        let config = config.map(|path| {
            let joined = start.join(path);
            joined.canonicalize().unwrap_or(joined)
        });
        let root = project_root(&start, config.as_deref());
        let config_path = match config {
            None => String::from(".circleci/config.yml"),
            Some(path) => path
                .strip_prefix(&root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned(),
        };
        let repository = RepositoryFiles::find(&root);
        let git = match repository {
            Some(_) => {
                let at = root.clone();
                let asked = std::thread::spawn(move || CommitFacts::ask(&at, None));
                Background::Asked(
                    std::sync::Mutex::new(Some(asked)),
                    std::sync::OnceLock::new(),
                )
            }
            None => Background::NotARepository(CommitFacts::default()),
        };
        Ok(Self {
            root,
            config_path,
            repository,
            git,
            at: None,
        })
    }

    /// The same project with the sources of a commit instead of the files on disk. The working tree is
    /// not touched. `reference` is anything `git` understands as a commit.
    ///
    /// # Errors
    /// There is no repository, no `git`, or no such commit.
    pub fn at(mut self, reference: &str) -> Result<Self, ForgeError> {
        if self.repository.is_none() {
            return Err(ForgeError::Failed(format!(
                "{} is not in a git repository, so there is no commit {reference:?}",
                self.root.display()
            )));
        }
        let sha = git::resolve_commit(&self.root, reference)?;
        self.git = Background::NotARepository(CommitFacts::ask(&self.root, Some(&sha)));
        self.at = Some(sha);
        Ok(self)
    }

    /// The project root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path of the config: relative to the root when it lies below it, else absolute.
    pub fn config_path(&self) -> &str {
        &self.config_path
    }

    /// What the project is, as far as its remote tells.
    pub fn project(&self) -> Project {
        let remote = self
            .repository
            .as_ref()
            .and_then(RepositoryFiles::remote_url);
        let mut project = remote
            .as_deref()
            .and_then(facts::project_of_remote)
            .unwrap_or_else(|| {
                let name = self
                    .root
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                Project {
                    slug: format!("local/{name}"),
                    provider: String::from("local"),
                    name,
                    clone_url: remote.unwrap_or_default(),
                    ..Project::default()
                }
            });
        project.default_branch = self
            .repository
            .as_ref()
            .and_then(RepositoryFiles::default_branch);
        project
    }

    /// What would be checked out. Waits for `git`, where it was asked.
    pub fn revision(&self) -> Revision {
        let facts = self.commit_facts();
        let head = self
            .repository
            .as_ref()
            .map(RepositoryFiles::head)
            .unwrap_or_default();
        let sha = self.at.clone().or_else(|| facts.sha.clone()).or(head.sha);
        Revision {
            branch: head.branch.or_else(|| facts.branch.clone()),
            tag: None,
            sha,
            base_sha: None,
            subject: facts.subject.clone(),
            body: facts.body.clone(),
            author: facts.author.clone(),
            dirty: self.at.is_none() && facts.dirty,
        }
    }

    /// The history a job gets with a revision. A project that is only a part of its repository gets none:
    /// its paths are not those of the commits.
    fn history_of(&self, revision: &Revision) -> Option<archive::HistoryRequest> {
        let repository = self
            .repository
            .as_ref()
            .filter(|files| files.is_of(&self.root))?;
        Some(archive::HistoryRequest {
            repository: repository.clone(),
            wanted: history::Wanted {
                sha: revision.sha.as_deref().and_then(facts::as_sha)?,
                branch: revision.branch.clone(),
                tag: revision.tag.clone(),
            },
        })
    }

    fn commit_facts(&self) -> &CommitFacts {
        match &self.git {
            Background::NotARepository(facts) => facts,
            Background::Asked(handle, answer) => answer.get_or_init(|| {
                let handle = handle
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .take();
                handle
                    .and_then(|handle| handle.join().ok())
                    .unwrap_or_default()
            }),
        }
    }

    /// The text of the config.
    ///
    /// # Errors
    /// It is not there, is no file, is no UTF-8 or is too large.
    pub fn read_config(&self) -> Result<String, ForgeError> {
        self.read(&self.config_path)
    }

    fn read(&self, path: &str) -> Result<String, ForgeError> {
        let bytes = match &self.at {
            // A path outside the project is no part of the commit.
            Some(sha) if Path::new(path).is_relative() => git::read_blob(&self.root, sha, path)?,
            _ => read_limited(&self.root.join(path), path)?,
        };
        String::from_utf8(bytes).map_err(|error| ForgeError::Unreadable {
            path: path.to_owned(),
            cause: format!(
                "it is not UTF-8 text: the first bad byte is at offset {}; save it as UTF-8",
                error.utf8_error().valid_up_to()
            ),
        })
    }
}

impl Forge for Worktree {
    fn read_file<'a>(
        &'a self,
        _revision: &'a Revision,
        path: &'a str,
    ) -> BoxFuture<'a, Result<String, ForgeError>> {
        Box::pin(async move { self.read(path) })
    }

    fn open_source<'a>(
        &'a self,
        revision: &'a Revision,
    ) -> BoxFuture<'a, Result<SourceStream, ForgeError>> {
        Box::pin(async move {
            let root = self.root.clone();
            let source = match (&self.at, &self.repository) {
                (Some(sha), _) => archive::Source::Commit {
                    sha: sha.clone(),
                    time: self.commit_facts().committed_at,
                },
                (None, Some(_)) => archive::Source::Tracked,
                (None, None) => archive::Source::Everything,
            };
            let stream: SourceStream =
                Box::pin(archive::stream(root, source, self.history_of(revision)));
            Ok(stream)
        })
    }
}

fn project_root(start: &Path, config: Option<&Path>) -> PathBuf {
    if let Some(directory) = config.and_then(Path::parent)
        && directory
            .file_name()
            .is_some_and(|name| name == ".circleci")
        && let Some(root) = directory.parent()
    {
        return root.to_owned();
    }
    start
        .ancestors()
        .find(|directory| directory.join(".circleci").is_dir())
        .or_else(|| {
            start
                .ancestors()
                .find(|directory| directory.join(".git").exists())
        })
        .unwrap_or(start)
        .to_owned()
}

/// Reads a file of this machine as a config: bounded, and with a message for each way it can be wrong.
///
/// # Errors
/// It is not there, is no file or is too large. `name` is the path as the person knows it.
pub fn read_limited(path: &Path, name: &str) -> Result<Vec<u8>, ForgeError> {
    let unreadable = |cause: String| ForgeError::Unreadable {
        path: name.to_owned(),
        cause,
    };
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ForgeError::NotFound {
            path: name.to_owned(),
            at: String::new(),
        },
        _ => unreadable(error.to_string()),
    })?;
    if metadata.is_dir() {
        return Err(unreadable(String::from(
            "it is a directory; name the file in it",
        )));
    }
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file of exactly the limit from a longer one; a device or a
    // pipe has no length to ask for.
    io::Read::read_to_end(&mut io::Read::take(file, CONFIG_MAX + 1), &mut bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > CONFIG_MAX {
        return Err(unreadable(format!(
            "it is larger than {} MiB",
            CONFIG_MAX >> 20
        )));
    }
    Ok(bytes)
}
