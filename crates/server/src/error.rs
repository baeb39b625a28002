//! Why a verb of the server did not do what was asked.

use capstan_model::PipelineId;
use capstan_scm::ForgeError;
use capstan_store::StoreError;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store did not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The socket could not be made.
    #[error("cannot listen on {path}: {cause}")]
    Socket {
        /// Its path.
        path: std::path::PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A stored pipeline could not be taken up again.
    #[error("cannot take up pipeline {pipeline} again: {cause}")]
    Resume {
        /// Which.
        pipeline: PipelineId,
        /// Why.
        cause: ApplyError,
    },
}

/// Why a trigger made no pipeline.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// The config could not be read.
    #[error("cannot read the config: {0}")]
    Config(ForgeError),
    /// The sources could not be read.
    #[error("cannot read the sources: {0}")]
    Source(String),
    /// There is a pipeline of this id.
    #[error("pipeline {0} exists already")]
    Exists(PipelineId),
    /// Something inside went wrong.
    #[error("the config could not be compiled: {0}")]
    Internal(String),
    /// The store or the engine refused.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Nothing is known of the pipeline.
    #[error("there is no pipeline {0}")]
    UnknownPipeline(PipelineId),
    /// It cannot happen as things stand; nothing was changed.
    #[error("{0}")]
    Illegal(String),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why there are no updates.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Nothing is known of the pipeline.
    #[error("there is no pipeline {0}")]
    UnknownPipeline(PipelineId),
    /// The server is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Something could not be stored, and nobody is going to wait until it can.
    #[error("{0}")]
    Disk(String),
    /// The past could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
