//! `capstan orb`: what an orb holds, which there are, and making one.

mod info;
mod list;
pub mod pack;
mod source;
pub mod sources;
mod validate;

use capstan_server::orbs::reference::Reference;
use clap::Subcommand;

use crate::exit::{Code, Failure};

/// The subcommands of `capstan orb`.
#[derive(Subcommand, Clone, Debug)]
pub enum OrbCommand {
    /// Print the source of an orb
    #[command(after_help = "Examples:
  capstan orb source circleci/node@5.2.0     this version
  capstan orb source circleci/node@5         the highest 5.x.y
  capstan orb source circleci/node           the highest there is
  capstan orb source circleci/node@5.2.0 --offline --orb-dir orbs

Folders of --orb-dir are looked at first, then the registries of --orb-registry are asked, then
CircleCI's. An exact version that was fetched once is never asked for again.")]
    Source(source::SourceArgs),
    /// Say which versions an orb has, and who uses it
    #[command(after_help = "Examples:
  capstan orb info circleci/node
  capstan orb info circleci/node@5 --json")]
    Info(info::InfoArgs),
    /// List the orbs of a namespace
    #[command(after_help = "Examples:
  capstan orb list circleci       the orbs of this namespace
  capstan orb list                all of the folders, and the certified ones of the registries
  capstan orb list --offline --orb-dir orbs")]
    List(list::ListArgs),
    /// Say what is wrong with orbs, and how to mend it
    #[command(after_help = "Examples:
  capstan orb validate orb.yml
  capstan orb pack src | capstan orb validate -
  capstan orb validate circleci/node@5 --json")]
    Validate(validate::ValidateArgs),
    /// Print an orb as a registry keeps it: anchors written out, imports exact
    #[command(after_help = "Examples:
  capstan orb process orb.yml
  capstan orb pack src | capstan orb process -")]
    Process(validate::ProcessArgs),
    /// Print one file made of a folder of files: an orb to publish, or to put into --orb-dir
    #[command(after_help = "Examples:
  capstan orb pack src > orb.yml

Each file becomes keys along its path: src/jobs/build.yml is the job build. Files at the top, and files
and folders whose names begin with @, go into the map they lie in. A value <<include(scripts/a.sh)>> is
replaced by the text of src/scripts/a.sh.")]
    Pack(pack::PackArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// There is no such orb, or it cannot be had.
pub fn main(command: &OrbCommand) -> Result<Code, Failure> {
    match command {
        OrbCommand::Source(args) => source::main(args),
        OrbCommand::Info(args) => info::main(args),
        OrbCommand::List(args) => list::main(args),
        OrbCommand::Validate(args) => validate::validate(args),
        OrbCommand::Process(args) => validate::process(args),
        OrbCommand::Pack(args) => pack::orb(args),
    }
}

/// A reference as a person types it: without a version, the highest is meant.
fn reference(text: &str) -> Result<String, String> {
    let whole = if text.contains('@') || text.contains("://") {
        text.to_owned()
    } else {
        format!("{text}@volatile")
    };
    whole.parse::<Reference>().map(|_| whole)
}

fn not_found(reference: &str) -> Failure {
    Failure::config(format!("there is no orb {reference}")).hint(
        "`capstan orb list NAMESPACE` lists those of a namespace; `capstan orb info ORB` the versions of one",
    )
}

fn unavailable(reference: &str, why: &str) -> Failure {
    let (what, hint) = why.rsplit_once("; ").unwrap_or((why, ""));
    let failure = Failure::setup(format!("cannot get the orb {reference}: {what}"));
    if hint.is_empty() {
        failure
    } else {
        failure.hint(hint)
    }
}
