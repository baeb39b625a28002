//! Where sources come from. Past this crate nobody knows which forge it was.

pub mod worktree;

use std::pin::Pin;

use capstan_model::trigger::Revision;
use futures_util::future::BoxFuture;
use tokio::io::AsyncRead;

pub use worktree::Worktree;

/// A place that holds repositories. Each names what it supports by what it implements.
pub trait Forge: Send + Sync {
    /// Reads one text file of a revision, by its path relative to the repository (or project) root.
    fn read_file<'a>(
        &'a self,
        revision: &'a Revision,
        path: &'a str,
    ) -> BoxFuture<'a, Result<String, ForgeError>>;

    /// The files of a revision as an uncompressed tar stream, paths relative to the project root.
    fn open_source<'a>(
        &'a self,
        revision: &'a Revision,
    ) -> BoxFuture<'a, Result<SourceStream, ForgeError>>;
}

/// A tar stream.
pub type SourceStream = Pin<Box<dyn AsyncRead + Send>>;

/// Why a forge did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// There is no such file at that revision.
    #[error("{path} does not exist{at}")]
    NotFound {
        /// The path asked for.
        path: String,
        /// ` at <sha>` or empty.
        at: String,
    },
    /// The file is there and is no UTF-8 text, or is too large.
    #[error("{path} cannot be read: {cause}")]
    Unreadable {
        /// The path asked for.
        path: String,
        /// Why.
        cause: String,
    },
    /// Anything else, with what was being done.
    #[error("{0}")]
    Failed(String),
}
