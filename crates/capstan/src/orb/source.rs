//! `capstan orb source`.

use capstan_server::orbs::{Orb, Orbs as _};
use clap::Args;
use serde_json::json;

use super::{not_found, reference, sources, unavailable};
use crate::args::OrbArgs;
use crate::exit::{Code, Failure};
use crate::render::Out;
use crate::render::neutral::Neutralizer;
use crate::session::block_on;

/// Arguments of `capstan orb source`.
#[derive(Args, Clone, Debug)]
pub struct SourceArgs {
    /// An orb: namespace/name, with @version where not the highest is meant; or its address
    #[arg(value_name = "ORB", value_parser = reference)]
    reference: String,
    /// Print one JSON object: reference, exact, source
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    orbs: OrbArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// There is no such orb, or it cannot be had.
pub fn main(args: &SourceArgs) -> Result<Code, Failure> {
    let orbs = sources::of(&args.orbs, args.json)?;
    let (exact, text) = match block_on(orbs.find(&args.reference))? {
        Orb::Found { exact, text } => (exact, text),
        Orb::NotFound => return Err(not_found(&args.reference)),
        Orb::Refused(why) | Orb::Unavailable(why) => {
            return Err(unavailable(&args.reference, &why));
        }
    };
    let mut out = Out::new();
    if args.json {
        let object = json!({ "reference": args.reference, "exact": exact, "source": text });
        out.line(&object.to_string());
    } else {
        if out.terminal {
            // A stranger's text; into a file or a pipe it goes as it is.
            let mut shown = Vec::with_capacity(text.len());
            Neutralizer::new(false).push(text.as_bytes(), &mut shown);
            out.write(&shown);
        } else {
            out.write(text.as_bytes());
        }
        if !text.ends_with('\n') {
            out.write(b"\n");
        }
    }
    Ok(Code::Success)
}
