//! What is to be done: fully expanded, every name resolved. `config` makes it, the engine runs it, and
//! it is stored by the digest of its JSON, so that a rerun runs the very same thing.

use serde::{Deserialize, Serialize};

use crate::outcome::JobStatus;
use crate::source::{OriginId, Origins, Span};
use crate::trigger::ParameterValue;

/// The compiled config for one trigger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Every workflow of the config in file order, the skipped ones too.
    pub workflows: Vec<Workflow>,
    /// The processed config as YAML (language 16.4).
    pub processed: String,
    /// Sources and origins that the spans and ids below point into.
    pub origins: Origins,
    /// Whether this is a setup config (language 14).
    pub setup: bool,
    /// The pipeline parameters that the config declares.
    #[serde(default)]
    pub parameters: Vec<PipelineParameter>,
    /// The orbs it was made with, in the order they were needed.
    #[serde(default)]
    pub orbs: Vec<PinnedOrb>,
}

/// A declared pipeline parameter and what it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineParameter {
    /// Its name.
    pub name: String,
    /// Its default.
    pub default: ParameterValue,
    /// Its value: the trigger's, or the default.
    pub value: ParameterValue,
}

/// An orb as one compilation used it. A rerun runs the stored plan, and so the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedOrb {
    /// As written, with its tags replaced: `circleci/node@5`, a URL.
    pub reference: String,
    /// What it resolved to: `circleci/node@5.2.0`, a URL.
    pub exact: String,
    /// SHA-256 of its text.
    pub digest: crate::ids::Digest,
}

/// A graph of jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// Its name.
    pub name: String,
    /// Whether it runs, and why.
    pub decision: Decision,
    /// Its jobs in order, those filtered out too; empty when a `when` dropped the workflow, because
    /// nothing below a dropped workflow is expanded (language 10.3).
    pub jobs: Vec<Job>,
    /// Automatic reruns from failed (language 10.5).
    pub max_auto_reruns: u32,
    /// Where it stands.
    pub origin: OriginId,
}

/// A node of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Unique in its workflow.
    pub name: String,
    /// What it does.
    pub kind: JobKind,
    /// Whether it takes part, and why.
    pub decision: Decision,
    /// What must end before it starts. Names jobs of this workflow that take part; requirements that
    /// were filtered out are dropped (language 10.9.6).
    pub requires: Vec<Requirement>,
    /// Contexts by name, later ones win.
    pub contexts: Vec<String>,
    /// Key of the serial group it belongs to (language 10.7).
    pub serial_group: Option<String>,
    /// Where it was invoked.
    pub origin: OriginId,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Runs steps.
    Build(Box<BuildJob>),
    /// Waits for a person.
    Approval,
    /// Ends `success` at once.
    NoOp,
}

/// Whether something runs, decided when the pipeline was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Takes part or not.
    pub runs: bool,
    /// In words: `no filters: runs on every branch`, `branch "dev" is not in only: main`.
    pub reason: String,
    /// The clause that decided, as written: `filters.branches.only: main`; `None` where nothing was written.
    pub clause: Option<String>,
    /// The value the clause was held against: the branch, the condition's value.
    pub value: Option<String>,
    /// Where the clause stands; without one, where the workflow or job stands.
    pub span: Span,
}

/// A job that must end first, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// Its name in this workflow.
    pub job: String,
    /// Ends that are accepted; never empty.
    pub statuses: Vec<RequiredStatus>,
}

/// The words of `requires` (language 10.9.1). `terminal` is written out as the other five.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequiredStatus {
    /// Ended well.
    Success,
    /// Failed for whatever reason.
    Failed,
    /// Canceled.
    Canceled,
    /// Refused by a context.
    Unauthorized,
    /// Never ran.
    NotRun,
}

impl RequiredStatus {
    /// All five, which is what `terminal` means.
    pub const ALL: [Self; 5] = [
        Self::Success,
        Self::Failed,
        Self::Canceled,
        Self::Unauthorized,
        Self::NotRun,
    ];

    /// The word of the config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Unauthorized => "unauthorized",
            Self::NotRun => "not_run",
        }
    }

    /// What a requirement sees in a terminal job status; `None` while the job can still change.
    pub fn of(status: JobStatus) -> Option<Self> {
        match status {
            JobStatus::Success => Some(Self::Success),
            JobStatus::Canceled => Some(Self::Canceled),
            JobStatus::Unauthorized => Some(Self::Unauthorized),
            JobStatus::NotRun => Some(Self::NotRun),
            failure if failure.is_failure() => Some(Self::Failed),
            _ => None,
        }
    }
}

/// A job that runs steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BuildJob {
    /// Where it runs.
    pub executor: Executor,
    /// As written; `None` means the default of the executor's kind (language 6.10).
    pub resource_class: Option<String>,
    /// Default shell of `run` steps, already split when it was a list.
    pub shell: Option<Shell>,
    /// As written, unexpanded; default `~/project`.
    pub working_directory: String,
    /// Job environment with the executor's merged in, in order; values are text.
    pub environment: Vec<EnvVar>,
    /// Number of tasks, at least 1.
    pub parallelism: u32,
    /// Flat list of steps.
    pub steps: Vec<Step>,
    /// Where what stands beside the steps comes from, by the keys of the config: `docker`,
    /// `resource_class`, and `environment.NAME` for each variable.
    #[serde(default)]
    pub origins: Vec<FieldOrigin>,
}

impl BuildJob {
    /// Where a field comes from, if the config says it anywhere.
    pub fn origin_of(&self, field: &str) -> Option<OriginId> {
        let found = self.origins.iter().find(|known| known.field == field)?;
        Some(found.origin)
    }
}

/// A row of [`BuildJob::origins`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldOrigin {
    /// The field.
    pub field: String,
    /// Where it was written, and through which calls it came here.
    pub origin: OriginId,
}

/// A variable written in the config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvVar {
    /// POSIX name.
    pub name: String,
    /// Literal value; `$OTHER` is not expanded.
    pub value: String,
}

/// A shell as the config names it (language 6.11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shell {
    /// One line, split at blanks with quotes respected: `/bin/bash -eo pipefail`.
    Line(String),
    /// Program and arguments.
    List(Vec<String>),
}

/// The kinds of place a job can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Executor {
    /// Containers; the first is the primary, where steps run. Never empty.
    Docker(Vec<Container>),
    /// A virtual machine.
    Machine {
        /// Image name, `None` for the default.
        image: Option<String>,
        /// Whether layer caching was asked for.
        docker_layer_caching: bool,
    },
    /// macOS with this Xcode version.
    Macos {
        /// As written.
        xcode: String,
    },
}

/// An entry of `docker:` (language 6.7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Image reference as written.
    pub image: String,
    /// Extra host name.
    pub name: Option<String>,
    /// Overrides the image's ENTRYPOINT.
    pub entrypoint: Option<Vec<String>>,
    /// Overrides the image's CMD.
    pub command: Option<Vec<String>>,
    /// User that runs in it; for the primary, the user of the steps.
    pub user: Option<String>,
    /// Environment of this container only.
    pub environment: Vec<EnvVar>,
    /// Registry login; values may be `$VAR` of contexts and project.
    pub auth: Option<RegistryAuth>,
}

/// Registry credentials as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryAuth {
    /// User name or `$VAR`.
    pub username: String,
    /// Password or `$VAR`.
    pub password: String,
}

/// One entry of a flat step list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Display name as written; without one see [`Step::title`].
    pub name: Option<String>,
    /// What it does.
    pub kind: StepKind,
    /// When it runs, given how earlier steps ended.
    pub when: When,
    /// Where it was written, and through which calls it came here.
    pub origin: OriginId,
}

impl Step {
    /// The name shown to people (platform 2.1): the given one, or the default of its kind.
    pub fn title(&self) -> &str {
        match (&self.name, &self.kind) {
            (Some(name), _) => name,
            (None, StepKind::Run(run)) => &run.command,
            (None, StepKind::Checkout { .. }) => "Checkout code",
            (None, StepKind::Continue(step)) if step.configuration.is_some() => "Continue Pipeline",
            (None, StepKind::Continue(_)) => "Finish Pipeline",
            (None, StepKind::Other { step, .. }) => match step.as_str() {
                "restore_cache" => "Restoring Cache",
                "save_cache" => "Saving Cache",
                "attach_workspace" => "Attaching workspace",
                "persist_to_workspace" => "Persisting to workspace",
                "store_artifacts" => "Uploading artifacts",
                "store_test_results" => "Uploading test results",
                "setup_remote_docker" => "Setup a remote Docker engine",
                "add_ssh_keys" => "Installing additional ssh keys",
                other => other,
            },
        }
    }
}

/// The condition of a step on the steps before it (language 8.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Only while nothing has failed.
    #[default]
    OnSuccess,
    /// Only after something has failed.
    OnFail,
    /// Always, short of a cancel.
    Always,
}

/// The built-in steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// `run`.
    Run(Box<RunStep>),
    /// `checkout`.
    Checkout {
        /// Where to, `None` for the working directory.
        path: Option<String>,
        /// How the repository is fetched.
        method: CheckoutMethod,
    },
    /// Continues a setup pipeline with its second config (language 14.7).
    Continue(Box<ContinueStep>),
    /// A built-in step that compiles and that nothing can execute yet; `run` refuses it by name. The
    /// fields stand as processed.
    Other {
        /// Its key: `save_cache`.
        step: String,
        /// Its fields.
        fields: serde_json::Value,
    },
}

/// What an orb command that continues a pipeline was called with. Every text may hold `$NAME` and
/// `${NAME}`, which the job's environment gives a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContinueStep {
    /// Path of the second config; `None` continues with nothing, so that the pipeline ends here.
    pub configuration: Option<String>,
    /// Pipeline parameters: a JSON object, or the path of a file that holds one.
    pub parameters: String,
    /// Path of a file with a changed path on each line.
    pub files_changed: Option<String>,
    /// The parameter that gets those paths with commas between them, if they are wanted.
    pub parameter_for_files_changed: Option<String>,
}

/// `checkout: {method: …}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckoutMethod {
    /// History without file contents.
    #[default]
    Blobless,
    /// Everything.
    Full,
    /// The last `depth` commits.
    Shallow {
        /// Number of commits.
        depth: u32,
    },
}

/// A `run` step (language 8.6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStep {
    /// Script text.
    pub command: String,
    /// Shell of this step, else the job's.
    pub shell: Option<Shell>,
    /// Variables of this step only.
    pub environment: Vec<EnvVar>,
    /// Whether the job goes on at once.
    pub background: bool,
    /// Relative to the job's working directory.
    pub working_directory: Option<String>,
    /// Silence limit in milliseconds; `None` means the default of ten minutes.
    pub no_output_timeout_ms: Option<u64>,
    /// Further tries after a failure.
    pub max_auto_reruns: u32,
    /// Pause before each further try, in milliseconds.
    pub auto_rerun_delay_ms: u64,
}
