//! Arguments that several subcommands share.

use std::path::PathBuf;

use capstan_server::orbs::Prefix;
use capstan_server::orbs::registry::Registry;
use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};

/// What decides which workflows and jobs there are.
#[derive(Args, Clone, Debug, Default)]
pub struct TriggerArgs {
    /// The config file, when it is not .circleci/config.yml
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub values: ValueArgs,
    /// Only this workflow (may be given several times)
    #[arg(long = "workflow", value_name = "NAME")]
    pub workflows: Vec<String>,
    /// Only this job, without what it requires (may be given several times)
    #[arg(long = "job", value_name = "NAME")]
    pub jobs: Vec<String>,
}

/// The values a config can look at.
#[derive(Args, Clone, Debug, Default)]
pub struct ValueArgs {
    /// Act as if on this branch; nothing is checked out
    #[arg(long, value_name = "BRANCH", conflicts_with = "tag")]
    pub branch: Option<String>,
    /// Act as if this tag was pushed; there is no branch then
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// A pipeline parameter (may be given several times)
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    pub params: Vec<(String, String)>,
    /// The pipeline's number, else counted per project
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub pipeline_number: Option<u64>,
    #[command(flatten)]
    pub orbs: OrbArgs,
}

/// Where orbs come from.
#[derive(Args, Clone, Debug, Default)]
pub struct OrbArgs {
    /// A folder of orbs, NAMESPACE/NAME/1.2.3.yml, looked at first (may be given several times)
    #[arg(
        long = "orb-dir",
        value_name = "DIR",
        env = "CAPSTAN_ORB_DIR",
        help_heading = "Orbs",
        hide_env_values = true,
        value_delimiter = ':'
    )]
    pub dirs: Vec<PathBuf>,
    /// A registry asked before CircleCI's, https://HOST (may be given several times)
    #[arg(
        long = "orb-registry",
        value_name = "URL",
        env = "CAPSTAN_ORB_REGISTRY",
        help_heading = "Orbs",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = registry
    )]
    pub registries: Vec<String>,
    /// Do not ask CircleCI's public registry
    #[arg(
        long,
        env = "CAPSTAN_NO_PUBLIC_ORBS",
        help_heading = "Orbs",
        hide_env_values = true,
        value_parser = FalseyValueParser::new()
    )]
    pub no_public_orbs: bool,
    /// Open no connection for orbs: folders and what was fetched before have to do
    #[arg(
        long,
        env = "CAPSTAN_OFFLINE",
        help_heading = "Orbs",
        hide_env_values = true,
        value_parser = FalseyValueParser::new()
    )]
    pub offline: bool,
    /// Allow orbs by address below this prefix, https://HOST/PATH/ (may be given five times)
    #[arg(
        long = "orb-allow",
        value_name = "PREFIX",
        env = "CAPSTAN_ORB_ALLOW",
        help_heading = "Orbs",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = prefix
    )]
    pub allow: Vec<String>,
    /// Let orbs by address come from this host though it is in a private network
    #[arg(
        long = "orb-private-host",
        value_name = "HOST",
        env = "CAPSTAN_ORB_PRIVATE_HOST",
        help_heading = "Orbs",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub private_hosts: Vec<String>,
}

/// What decides where and with what jobs run.
#[derive(Args, Clone, Debug, Default)]
pub struct ExecutionArgs {
    /// A file of NAME=value lines for every job; values are masked in output
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
    /// A variable for every job, over those of files; NAME alone takes it from your environment
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// A context: a file of NAME=value lines for the jobs that use it
    #[arg(long = "context", value_name = "NAME=FILE", value_parser = pair)]
    pub contexts: Vec<(String, String)>,
    /// Where jobs run
    #[arg(long, value_enum, default_value_t)]
    pub executor: ExecutorChoice,
    /// Approve this approval job (`job` or `workflow/job`; may be given several times)
    #[arg(long = "approve", value_name = "NAME")]
    pub approve: Vec<String>,
    /// Approve every approval job
    #[arg(long)]
    pub approve_all: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// How many tasks run at once, else the number of processors
    #[arg(long = "jobs", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs_at_once: Option<u32>,
    /// Print output with every control sequence it contains
    #[arg(long)]
    pub raw: bool,
}

/// Where jobs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExecutorChoice {
    /// Docker where it answers, else asks
    #[default]
    Auto,
    /// In containers
    Docker,
    /// In fresh directories of this machine, container jobs too
    Host,
}

/// The address of a registry. A variable that is set to nothing names none.
fn registry(text: &str) -> Result<String, String> {
    if !text.is_empty() {
        Registry::new(text, None)?;
    }
    Ok(text.to_owned())
}

/// The beginning of addresses, or nothing.
fn prefix(text: &str) -> Result<String, String> {
    if !text.is_empty() {
        text.parse::<Prefix>()?;
    }
    Ok(text.to_owned())
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(String::from("expected NAME=VALUE")),
    }
}
