//! Why the store did not do what was asked.

use std::path::PathBuf;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process uses the directory.
    #[error("{dir} is in use by {holder}; wait until it ends, or choose another directory")]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// `process 123`.
        holder: String,
    },
    /// The directory is on another machine.
    #[error(
        "{dir} is on a network file system, where two machines could write at once; choose a directory on a disk \
         of this machine (CAPSTAN_DATA names it)"
    )]
    Network {
        /// The directory.
        dir: PathBuf,
    },
    /// A newer program wrote the directory.
    #[error(
        "{dir} was written by a newer version of Capstan (schema {found}, this one knows {known}); \
         use that version"
    )]
    NewerSchema {
        /// The directory.
        dir: PathBuf,
        /// What it holds.
        found: i64,
        /// What this program knows.
        known: i64,
    },
    /// The unit was made from a state that is not the stored one any more.
    #[error("pipeline {pipeline} is not at version {expected} in the store any more")]
    Conflict {
        /// The pipeline.
        pipeline: capstan_model::PipelineId,
        /// The version the unit was made from.
        expected: u64,
    },
    /// A write failed earlier; what was stored since cannot be known, so nothing more is accepted.
    #[error("the store stopped after a failed write: {0}")]
    Broken(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The database said no.
    #[error("{what}: {cause}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// What the database said.
        cause: String,
    },
    /// The file system said no.
    #[error("{what} {path}: {cause}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Something stored is not what it should be.
    #[error("the store holds something unreadable ({what}): {cause}")]
    Corrupt {
        /// What was read.
        what: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A log chunk begins after the end of what is stored.
    #[error(
        "log chunk of {task} step {step} begins at {offset}, but only {stored} bytes are stored"
    )]
    LogGap {
        /// The task.
        task: capstan_model::TaskId,
        /// The step.
        step: u32,
        /// Where the chunk begins.
        offset: u64,
        /// What is stored.
        stored: u64,
    },
    /// There is no such blob.
    #[error("blob {0} is not in the store")]
    NoBlob(capstan_model::Digest),
}

impl StoreError {
    /// Whether the disk or the database said no, and not the store itself.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Database { .. } | Self::Broken(_)
        )
    }

    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { what, path, cause }
    }

    pub(crate) fn corrupt(what: impl Into<String>, cause: impl ToString) -> Self {
        Self::Corrupt {
            what: what.into(),
            cause: cause.to_string(),
        }
    }
}
