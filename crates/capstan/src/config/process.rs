//! `capstan config process`: the config with everything expanded.

use std::path::PathBuf;

use capstan_config::Severity;
use clap::Args;

use super::compile_one;
use crate::args::ValueArgs;
use crate::compile;
use crate::exit::{Code, Failure};
use crate::orb::sources;
use crate::render::Out;

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
/// The config is wrong or cannot be read.
pub fn main(args: &ProcessArgs) -> Result<Code, Failure> {
    let orbs = sources::of(&args.values.orbs, false)?;
    let (_, done) = compile_one(
        args.path.as_deref(),
        &args.values,
        &*orbs,
        capstan_config::compile,
    )?;
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
