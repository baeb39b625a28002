//! `capstan orb info`.

use capstan_server::orbs::OrbSources;
use capstan_server::orbs::reference::{Reference, Release};
use capstan_server::orbs::registry::Info;
use clap::Args;
use serde_json::json;

use super::{not_found, reference, sources, unavailable};
use crate::args::OrbArgs;
use crate::exit::{Code, Failure};
use crate::render::Out;
use crate::render::neutral::one_line;
use crate::render::out::Style;
use crate::session::block_on;

/// How many versions a person is shown.
const SHOWN: usize = 20;

/// Arguments of `capstan orb info`.
#[derive(Args, Clone, Debug)]
pub struct InfoArgs {
    /// An orb: namespace/name, with @version where not the highest is meant
    #[arg(value_name = "ORB", value_parser = reference)]
    reference: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    orbs: OrbArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// There is no such orb, or nobody can be asked.
pub fn main(args: &InfoArgs) -> Result<Code, Failure> {
    let orbs = sources::of(&args.orbs, args.json)?;
    let found = block_on(find(orbs.inner(), &args.reference))?;
    let found = found.map_err(|why| unavailable(&args.reference, &why))?;
    let (info, from) = found.ok_or_else(|| not_found(&args.reference))?;
    let mut out = Out::new();
    if args.json {
        let versions: Vec<_> = info
            .versions
            .iter()
            .map(|(version, at)| json!({ "version": version, "published_at": text(at) }))
            .collect();
        let used = info.used.map(|(builds, projects, organizations)| {
            json!({ "builds": builds, "projects": projects, "organizations": organizations })
        });
        let object = json!({
            "name": info.name,
            "version": info.version,
            "published_at": text(&info.published_at),
            "created_at": text(&info.created_at),
            "private": info.private,
            "categories": info.categories,
            "last_30_days": used,
            "versions": versions,
            "from": from,
        });
        out.line(&object.to_string());
    } else {
        print(&mut out, &info, &from);
    }
    Ok(Code::Success)
}

/// A text that may be missing.
fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The first source that knows the orb, by folders and then registries, and which that was.
async fn find(orbs: &OrbSources, text: &str) -> Result<Option<(Info, String)>, String> {
    let Reference::Registry {
        namespace,
        name,
        version,
    } = text.parse()?
    else {
        return Err(String::from(
            "an address has one version and no more to tell; `capstan orb source` prints it",
        ));
    };
    for folder in orbs.folders() {
        let mut releases: Vec<Release> = folder.releases(&namespace, &name)?;
        releases.sort_unstable_by(|a, b| b.cmp(a));
        let Some(meant) = releases.iter().find(|release| version.admits(**release)) else {
            continue;
        };
        let info = Info {
            name: format!("{namespace}/{name}"),
            version: meant.to_string(),
            published_at: String::new(),
            created_at: String::new(),
            private: false,
            categories: Vec::new(),
            used: None,
            versions: releases
                .iter()
                .map(|release| (release.to_string(), String::new()))
                .collect(),
        };
        return Ok(Some((info, folder.root().display().to_string())));
    }
    let Some(net) = orbs.net() else {
        return Err(String::from(
            "--offline opens no connection, and no --orb-dir has it; run without --offline",
        ));
    };
    for registry in orbs.registries() {
        if let Some(info) = registry.info(net, text).await? {
            return Ok(Some((info, registry.id().to_owned())));
        }
    }
    Ok(None)
}

fn print(out: &mut Out, info: &Info, from: &str) {
    let name = out.paint(Style::Bold, &one_line(&info.name));
    let private = if info.private { ", private" } else { "" };
    out.line(&format!("{name}  (from {}{private})", one_line(from)));
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            out.line(&format!("  {name:<10} {}", one_line(value)));
        }
    };
    row("version", &info.version);
    row("published", &info.published_at);
    row("created", &info.created_at);
    row("categories", &info.categories.join(", "));
    if let Some((builds, projects, organizations)) = info.used {
        row(
            "used",
            &format!(
                "in the last 30 days by {builds} builds, {projects} projects, {organizations} organizations"
            ),
        );
    }
    let versions: Vec<&str> = info
        .versions
        .iter()
        .take(SHOWN)
        .map(|(version, _)| version.as_str())
        .collect();
    let more = info.versions.len().saturating_sub(SHOWN);
    let more = match more {
        0 => String::new(),
        more => format!(", and {more} older ones"),
    };
    row("versions", &format!("{}{more}", versions.join(", ")));
}
