//! `capstan orb validate` and `capstan orb process`.

use std::path::Path;

use capstan_config::pack::{PackFile, pin};
use capstan_config::{Severity, Sources, validate_orb};
use capstan_server::orbs::reference::Reference;
use capstan_server::orbs::{Once, Orb, OrbSources, Orbs as _};
use clap::Args;

use super::{not_found, pack, sources, unavailable};
use crate::args::{OrbArgs, TriggerArgs};
use crate::exit::{Code, Failure};
use crate::render::Out;
use crate::render::neutral::one_line;
use crate::render::out::complain;
use crate::session::block_on;
use crate::{compile, project};

/// Arguments of `capstan orb validate`.
#[derive(Args, Clone, Debug)]
pub struct ValidateArgs {
    /// Files of packed orbs, `-` for standard input, or references: namespace/name@version
    #[arg(value_name = "PATH|ORB", required = true)]
    orbs_to_check: Vec<String>,
    /// Print one JSON object a line for each mistake
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    orbs: OrbArgs,
}

/// Arguments of `capstan orb process`.
#[derive(Args, Clone, Debug)]
pub struct ProcessArgs {
    /// A file of a packed orb, `-` for standard input, or a reference: namespace/name@version
    #[arg(value_name = "PATH|ORB")]
    orb: String,
    #[command(flatten)]
    orbs: OrbArgs,
}

/// Checks orbs.
///
/// # Errors
/// One is wrong, or cannot be read.
pub fn validate(args: &ValidateArgs) -> Result<Code, Failure> {
    let orbs = sources::of(&args.orbs, args.json)?;
    let mut code = Code::Success;
    for name in &args.orbs_to_check {
        // One that cannot be read does not keep the others from being looked at.
        match check(name, &orbs, args.json) {
            Ok((name, _, true)) => {
                if !args.json {
                    Out::new().line(&format!("{} is valid", one_line(&name)));
                }
            }
            Ok((_, _, false)) => code = Code::Config,
            Err(failure) => {
                complain(&failure.to_string());
                code = failure.code;
            }
        }
    }
    match code {
        Code::Success => Ok(code),
        _ => Err(Failure::told(code)),
    }
}

/// Prints an orb as a registry keeps it: its imports are exact.
///
/// # Errors
/// It is wrong, or cannot be read.
pub fn process(args: &ProcessArgs) -> Result<Code, Failure> {
    let orbs = sources::of(&args.orbs, false)?;
    let (name, text, valid) = check(&args.orb, &orbs, false)?;
    if !valid {
        return Err(Failure::told(Code::Config));
    }
    let file = PackFile { path: name, text };
    let pinned = pin(&file, &|reference| orbs.exact(reference)).map_err(|wrong| {
        for wrong in &wrong {
            complain(&format!("error: {}", one_line(wrong)));
        }
        Failure::told(Code::Config)
    })?;
    Out::new().write(pinned.as_bytes());
    Ok(Code::Success)
}

/// Its name, its text, and whether it is sound; what is wrong with it is told.
fn check(
    orb: &str,
    orbs: &Once<OrbSources>,
    json: bool,
) -> Result<(String, String, bool), Failure> {
    let (name, text) = read(orb, orbs)?;
    let worktree = project::find(None)?;
    let trigger = project::trigger(&worktree, &TriggerArgs::default(), 1);
    let sources = Sources::new(name.as_str(), text.as_str());
    let done = compile::with(validate_orb, sources, trigger, orbs)?;
    let told: Vec<_> = done
        .diagnostics
        .iter()
        // What this version cannot execute is no mistake of the orb; its JSON says so by severity.
        .filter(|found| json || found.severity != Severity::Unsupported)
        .cloned()
        .collect();
    compile::tell(&told, &done.sources, json);
    let valid = !done.has(Severity::Error);
    Ok((name, text, valid))
}

/// A file that is there is meant before a reference, as nobody calls a file `namespace/name@1.2.3`.
fn read(orb: &str, orbs: &Once<OrbSources>) -> Result<(String, String), Failure> {
    let path = Path::new(orb);
    if orb == "-" {
        let text = pack::text(Path::new("/dev/stdin"), "standard input")?;
        return Ok((String::from("standard input"), text));
    }
    let reference = orb.parse::<Reference>().is_ok() && !path.exists();
    if !reference {
        if path.is_dir() {
            return Err(Failure::config(format!(
                "{orb} is a folder; an orb is checked in one file"
            ))
            .hint(format!("capstan orb pack {orb} | capstan orb validate -")));
        }
        return Ok((orb.to_owned(), pack::text(path, orb)?));
    }
    match block_on(orbs.find(orb))? {
        Orb::Found { exact, text } => Ok((exact, text)),
        Orb::NotFound => Err(not_found(orb)),
        Orb::Refused(why) | Orb::Unavailable(why) => Err(unavailable(orb, &why)),
    }
}
