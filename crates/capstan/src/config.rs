//! `capstan config`: what a file says, whether it is right, and where each line of the result comes from.

use std::path::{Path, PathBuf};

use capstan_config::Sources;
use capstan_config::schema::schema;
use capstan_model::Trigger;
use capstan_scm::worktree::read_limited;
use capstan_server::compile::{Compiler, Done};
use capstan_server::orbs::Orbs;
use clap::{Args, Subcommand};

use crate::args::{TriggerArgs, ValueArgs};
use crate::exit::{Code, Failure};
use crate::render::Out;
use crate::{compile, project};

mod explain;
mod process;
mod validate;

/// Arguments of `capstan config`.
#[derive(Subcommand, Clone, Debug)]
pub enum ConfigArgs {
    /// Say what is wrong with config files, and how to mend it
    #[command(after_help = "Examples:
  capstan config validate
  capstan config validate services/a services/b/config.yml
  capstan config validate --format sarif > findings.sarif
  cat config.yml | capstan config validate -")]
    Validate(validate::ValidateArgs),
    /// Print the config with everything expanded
    #[command(after_help = "Examples:
  capstan config process
  capstan config process --branch main --param deploy=true")]
    Process(process::ProcessArgs),
    /// Say where each line of a compiled job comes from, or what a code means
    #[command(after_help = "Examples:
  capstan config explain test
  capstan config explain main/test-22.11
  capstan config explain test:3
  capstan config explain 'test:Run the tests'
  capstan config explain E_PARAM_TYPE")]
    Explain(explain::ExplainArgs),
    /// Print one config made of a folder of files
    #[command(after_help = "Examples:
  capstan config pack src > .circleci/config.yml

Each file becomes keys along its path: src/jobs/build.yml is the job build. Files at the top, and files
and folders whose names begin with @, go into the map they lie in.")]
    Pack(crate::orb::pack::PackArgs),
    /// Print the JSON schema of the language, for editors
    #[command(
        after_help = "Editors that use the YAML language server read it with this line in the config:
  # yaml-language-server: $schema=circleci.schema.json

Examples:
  capstan config schema > circleci.schema.json"
    )]
    Schema,
}

/// Runs the subcommand.
///
/// # Errors
/// A config is wrong or cannot be read, or there is no such thing as was asked for.
pub fn main(args: &ConfigArgs) -> Result<Code, Failure> {
    match args {
        ConfigArgs::Validate(args) => validate::main(args),
        ConfigArgs::Process(args) => process::main(args),
        ConfigArgs::Explain(args) => explain::main(args),
        ConfigArgs::Pack(args) => crate::orb::pack::config(args),
        ConfigArgs::Schema => {
            Out::new().line(&format!("{:#}", schema()));
            Ok(Code::Success)
        }
    }
}

/// Compiles the config of the project, or the one at a path: a file, `-`, or a directory that holds
/// `.circleci/config.yml`. The first value is its name as a person would write it.
fn compile_one(
    path: Option<&Path>,
    values: &ValueArgs,
    orbs: &dyn Orbs,
    compiler: Compiler,
) -> Result<(String, Done), Failure> {
    let worktree = project::find(None)?;
    let (name, text) = match path {
        None => {
            let text = worktree
                .read_config()
                .map_err(|error| project::unreadable(&error))?;
            (worktree.config_path().to_owned(), text)
        }
        Some(path) => read(path)?,
    };
    let number = values.pipeline_number.unwrap_or(1);
    let args = TriggerArgs {
        values: values.clone(),
        ..TriggerArgs::default()
    };
    let trigger: Trigger = project::trigger(&worktree, &args, number);
    let done = compile::with(compiler, Sources::new(name.clone(), text), trigger, orbs)?;
    Ok((name, done))
}

fn read(path: &Path) -> Result<(String, String), Failure> {
    let mut file = path.to_path_buf();
    let mut name = path.display().to_string();
    if name == "-" {
        file = PathBuf::from("/dev/stdin");
        name = String::from("standard input");
    } else if path.join(".circleci").is_dir() {
        file = path.join(".circleci/config.yml");
        name = file.display().to_string();
    }
    let bytes = read_limited(&file, &name).map_err(|error| project::unreadable(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::config(format!("{name} is not UTF-8 text: bad byte at offset {at}"))
            .hint("save it as UTF-8")
    })?;
    Ok((name, text))
}

/// Which config a subcommand looks at, and with what values.
#[derive(Args, Clone, Debug)]
struct OneConfig {
    /// The config file, when it is not .circleci/config.yml; `-` for standard input
    #[arg(long = "config", value_name = "PATH")]
    path: Option<PathBuf>,
    #[command(flatten)]
    values: ValueArgs,
}
