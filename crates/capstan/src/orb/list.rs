//! `capstan orb list`.

use std::collections::BTreeMap;

use capstan_server::orbs::OrbSources;
use capstan_server::orbs::reference::is_name;
use clap::Args;
use serde_json::json;

use super::sources;
use crate::args::OrbArgs;
use crate::exit::{Code, Failure};
use crate::render::Out;
use crate::render::neutral::one_line;
use crate::render::out::{Style, complain};
use crate::session::block_on;

/// Arguments of `capstan orb list`.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Whose orbs; without it those of the folders, and the certified ones of the registries
    #[arg(value_name = "NAMESPACE", value_parser = namespace)]
    namespace: Option<String>,
    /// Print one JSON object a line: name, latest, from
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    orbs: OrbArgs,
}

/// The highest version of each orb, and where it is from.
type Listing = BTreeMap<String, (Option<String>, String)>;

/// Runs the subcommand.
///
/// # Errors
/// There are none, or nobody can be asked.
pub fn main(args: &ListArgs) -> Result<Code, Failure> {
    let orbs = sources::of(&args.orbs, args.json)?;
    let namespace = args.namespace.as_deref();
    let listing = block_on(list(orbs.inner(), namespace, args.json))?;
    let listing = listing.map_err(|why| {
        let (what, hint) = why.split_once("; ").unwrap_or((why.as_str(), ""));
        let failure = Failure::setup(format!("cannot list orbs: {what}"));
        if hint.is_empty() {
            failure
        } else {
            failure.hint(hint)
        }
    })?;
    if listing.is_empty() {
        return Err(Failure::config(match namespace {
            Some(namespace) => format!("there are no orbs of the namespace {namespace}"),
            None => String::from("there are no orbs"),
        })
        .hint("--orb-dir names a folder of orbs, --orb-registry a further registry"));
    }
    let mut out = Out::new();
    let width = listing
        .keys()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, (latest, from)) in &listing {
        if args.json {
            out.line(&json!({ "name": name, "latest": latest, "from": from }).to_string());
            continue;
        }
        let pad = " ".repeat(width.saturating_sub(name.chars().count()));
        let latest = latest.as_deref().unwrap_or("not published");
        let from = out.paint(Style::Dim, &one_line(from));
        out.line(&format!(
            "{}{pad}  {:<10}  {from}",
            one_line(name),
            one_line(latest)
        ));
    }
    Ok(Code::Success)
}

/// Of an orb that several sources have, the first counts, as it would for a config.
async fn list(orbs: &OrbSources, namespace: Option<&str>, quiet: bool) -> Result<Listing, String> {
    let mut listing = Listing::new();
    for folder in orbs.folders() {
        for (space, name) in folder.orbs(namespace)? {
            let latest = folder.releases(&space, &name)?.into_iter().max();
            listing.entry(format!("{space}/{name}")).or_insert_with(|| {
                let latest = latest.map(|release| release.to_string());
                (latest, folder.root().display().to_string())
            });
        }
    }
    let Some(net) = orbs.net() else {
        return Ok(listing);
    };
    for registry in orbs.registries() {
        if !quiet {
            complain(&format!("asking {} …", registry.id()));
        }
        for orb in registry.list(net, namespace).await?.unwrap_or_default() {
            listing
                .entry(orb.name)
                .or_insert_with(|| (orb.latest, registry.id().to_owned()));
        }
    }
    Ok(listing)
}

fn namespace(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(String::from(
            "a namespace is lower-case letters, digits, - and _; `capstan orb info` takes an orb",
        ))
    }
}
