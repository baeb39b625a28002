//! `capstan config`: validate and process.

use std::path::{Path, PathBuf};

use capstan_config::Severity;
use capstan_model::Trigger;
use capstan_scm::worktree::read_limited;
use capstan_server::orbs::Orbs;
use clap::{Args, Subcommand};

use crate::args::{TriggerArgs, ValueArgs};
use crate::exit::{Code, Failure};
use crate::orb::sources;
use crate::render::Out;
use crate::{compile, project};

/// Arguments of `capstan config`.
#[derive(Subcommand, Clone, Debug)]
pub enum ConfigArgs {
    /// Say what is wrong with config files, and how to mend it
    #[command(after_help = "Examples:
  capstan config validate
  capstan config validate --json a.yml b.yml
  cat config.yml | capstan config validate -")]
    Validate(ValidateArgs),
    /// Print the config with everything expanded
    #[command(after_help = "Examples:
  capstan config process
  capstan config process --branch main --param deploy=true")]
    Process(ProcessArgs),
    /// Print one config made of a folder of files
    #[command(after_help = "Examples:
  capstan config pack src > .circleci/config.yml

Each file becomes keys along its path: src/jobs/build.yml is the job build. Files at the top, and files
and folders whose names begin with @, go into the map they lie in.")]
    Pack(crate::orb::pack::PackArgs),
}

/// Arguments of `capstan config validate`.
#[derive(Args, Clone, Debug)]
pub struct ValidateArgs {
    /// Config files, `-` for standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    values: ValueArgs,
    /// Print one JSON object a line for each mistake
    #[arg(long)]
    json: bool,
}

/// Arguments of `capstan config process`.
#[derive(Args, Clone, Debug)]
pub struct ProcessArgs {
    /// Config file, `-` for standard input
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    #[command(flatten)]
    values: ValueArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// A config is wrong or cannot be read.
pub fn main(args: &ConfigArgs) -> Result<Code, Failure> {
    match args {
        ConfigArgs::Validate(args) => validate(args),
        ConfigArgs::Process(args) => process(args),
        ConfigArgs::Pack(args) => crate::orb::pack::config(args),
    }
}

fn validate(args: &ValidateArgs) -> Result<Code, Failure> {
    let paths: Vec<Option<&Path>> = match args.paths.as_slice() {
        [] => vec![None],
        paths => paths.iter().map(|path| Some(path.as_path())).collect(),
    };
    let orbs = sources::of(&args.values.orbs, args.json)?;
    let mut code = Code::Success;
    for path in paths {
        // A file that cannot be read does not keep the others from being looked at.
        match validate_one(path, args, &*orbs) {
            Ok(true) => {}
            Ok(false) => code = Code::Config,
            Err(failure) => {
                crate::render::out::complain(&failure.to_string());
                code = failure.code;
            }
        }
    }
    if code == Code::Success {
        Ok(code)
    } else {
        Err(Failure::told(code))
    }
}

fn validate_one(
    path: Option<&Path>,
    args: &ValidateArgs,
    orbs: &dyn Orbs,
) -> Result<bool, Failure> {
    let (name, done) = compile_one(path, &args.values, orbs)?;
    let told: Vec<_> = done
        .diagnostics
        .iter()
        // What this version cannot execute is no mistake of the file; its JSON says so by severity.
        .filter(|found| args.json || found.severity != Severity::Unsupported)
        .cloned()
        .collect();
    compile::tell(&told, &done.sources, args.json);
    let valid = !done.has(Severity::Error);
    if valid && !args.json {
        let far = if done.has(Severity::Unsupported) {
            ", as far as this version understands it"
        } else {
            ""
        };
        Out::new().line(&format!("{name} is valid{far}"));
        for found in done
            .diagnostics
            .iter()
            .filter(|found| found.severity == Severity::Unsupported)
        {
            let (line, _) = done.sources.get(found.span.file).map_or((0, 0), |file| {
                capstan_model::source::line_column(&file.text, found.span.start)
            });
            Out::new().line(&format!("  line {line}: {}", found.message));
        }
    }
    Ok(valid)
}

fn process(args: &ProcessArgs) -> Result<Code, Failure> {
    let orbs = sources::of(&args.values.orbs, false)?;
    let (_, done) = compile_one(args.path.as_deref(), &args.values, &*orbs)?;
    let errors: Vec<_> = done
        .diagnostics
        .iter()
        .filter(|found| found.severity != Severity::Unsupported)
        .cloned()
        .collect();
    compile::accept(&errors, &done.sources, false)?;
    let Some(plan) = done.plan else {
        return Err(Failure::told(Code::Config));
    };
    Out::new().write(plan.processed.as_bytes());
    Ok(Code::Success)
}

fn compile_one(
    path: Option<&Path>,
    values: &ValueArgs,
    orbs: &dyn Orbs,
) -> Result<(String, compile::Done), Failure> {
    let worktree = project::find(None)?;
    let (name, text) = match path {
        None => {
            let text = worktree
                .read_config()
                .map_err(|error| project::unreadable(&error))?;
            (worktree.config_path().to_owned(), text)
        }
        Some(path) => {
            let (file, name) = match path.to_str() {
                Some("-") => (Path::new("/dev/stdin"), String::from("standard input")),
                _ => (path, path.display().to_string()),
            };
            let bytes = read_limited(file, &name).map_err(|error| project::unreadable(&error))?;
            let text = String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                Failure::config(format!("{name} is not UTF-8 text: bad byte at offset {at}"))
                    .hint("save it as UTF-8")
            })?;
            (name, text)
        }
    };
    let number = values.pipeline_number.unwrap_or(1);
    let args = TriggerArgs {
        values: values.clone(),
        ..TriggerArgs::default()
    };
    let trigger: Trigger = project::trigger(&worktree, &args, number);
    let done = compile::text_for(&name, text, &trigger, orbs)?;
    Ok((name, done))
}
