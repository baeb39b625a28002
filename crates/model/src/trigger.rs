//! Why a pipeline exists: who asked, for which revision, with which parameters, for how much of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::PipelineId;

/// Everything a compilation may know besides the config text. Two equal triggers and equal sources
/// make equal plans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// The pipeline this trigger makes.
    pub pipeline: PipelineId,
    /// The pipeline's number, counted per project from 1 (platform 1.2).
    pub number: u64,
    /// Who asked, as a login name.
    pub actor: String,
    /// By which way it came.
    pub kind: TriggerKind,
    /// When it came, in milliseconds since 1970 UTC.
    pub received_at_ms: i64,
    /// The project.
    pub project: Project,
    /// What is checked out.
    pub revision: Revision,
    /// Pipeline parameters as given; defaults are added by the compiler (language 3.12).
    pub parameters: BTreeMap<String, ParameterValue>,
    /// Which part of the config was asked for.
    pub selection: Selection,
    /// Further pipeline values by full name without `pipeline.` (`event.name`, …; language 5.1).
    pub values: BTreeMap<String, ParameterValue>,
}

/// The ways a pipeline is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerKind {
    /// `capstan run` and its relatives.
    CommandLine,
    /// A forge told us.
    Webhook,
    /// An API call.
    Api,
    /// A schedule.
    Schedule,
}

/// The project a pipeline belongs to. Texts are empty where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// `gh/org/repo` and its kind; `local/<directory>` on a laptop without a known remote.
    pub slug: String,
    /// Lower-case provider: `github`, `bitbucket`, `gitlab`, `local`.
    pub provider: String,
    /// Repository owner.
    pub owner: String,
    /// Repository name.
    pub name: String,
    /// Web URL of the repository.
    pub web_url: String,
    /// Clone URL of the repository.
    pub clone_url: String,
    /// The branch that is the default one, where known.
    pub default_branch: Option<String>,
}

/// What is checked out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Branch; `None` on tag pipelines and where there is no git.
    pub branch: Option<String>,
    /// Tag; `None` on branch pipelines.
    pub tag: Option<String>,
    /// The commit, 40 hex digits; `None` without git or before the first commit.
    pub sha: Option<String>,
    /// The commit of the previous pipeline of this branch.
    pub base_sha: Option<String>,
    /// First line of the commit message.
    pub subject: Option<String>,
    /// The rest of the commit message.
    pub body: Option<String>,
    /// Author of the commit.
    pub author: Option<String>,
    /// Whether files differ from the commit.
    pub dirty: bool,
}

/// A parameter value at the trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterValue {
    /// A string.
    String(String),
    /// An integer.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// Text of a command line, to be read as the declared type says.
    Untyped(String),
}

/// Which part of the config to plan. Empty lists mean all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Only these workflows.
    pub workflows: Vec<String>,
    /// Only these jobs, by their names in the workflow; what they require is left out.
    pub jobs: Vec<String>,
}
