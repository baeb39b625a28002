//! Where orbs come from, made of arguments and the environment.

use std::sync::Arc;

use capstan_model::Secret;
use capstan_server::net::{Limits, NetSettings, Proxies};
use capstan_server::orbs::registry::{PUBLIC, Registry};
use capstan_server::orbs::{Notice, Once, OrbSettings, OrbSources, UrlOrbs};

use crate::args::OrbArgs;
use crate::data::Data;
use crate::exit::Failure;
use crate::render::neutral::one_line;
use crate::render::out::complain;

/// The sources of one command, which sees each orb in one version only. `quiet` tells of no fetch.
///
/// # Errors
/// An argument is not what it should be.
pub fn of(args: &OrbArgs, quiet: bool) -> Result<Arc<Once<OrbSources>>, Failure> {
    let settings = OrbSettings {
        folders: args
            .dirs
            .iter()
            .filter(|folder| !folder.as_os_str().is_empty())
            .cloned()
            .collect(),
        registries: registries(args)?,
        urls: urls(args).map_err(|why| Failure::config(format!("--orb-allow: {why}")))?,
        // Without a place for it every fetch is a new one, which is no reason to stop.
        cache: Data::locate().ok().map(|data| data.orbs()),
        offline: args.offline,
        net: NetSettings {
            limits: limits()?,
            extra_roots: variable("CAPSTAN_CA_FILE").map(Into::into),
            proxies: Proxies::from_variables(variable),
        },
        notice: (!quiet).then(|| {
            Arc::new(|reference: &str| {
                complain(&format!("fetching orb {} …", one_line(reference)));
            }) as Notice
        }),
    };
    OrbSources::new(settings)
        .map(|orbs| Arc::new(Once::new(orbs)))
        .map_err(|why| Failure::setup(why).hint("CAPSTAN_CA_FILE names a PEM file"))
}

/// The named ones first. Each gets a token that was meant for it, and no other.
fn registries(args: &OrbArgs) -> Result<Vec<Registry>, Failure> {
    let token = |name: &str| variable(name).map(Secret::new);
    let mut own_token = token("CAPSTAN_ORB_TOKEN");
    let mut all = Vec::new();
    for base in args.registries.iter().filter(|base| !base.is_empty()) {
        all.push(Registry::new(base, own_token.take()));
    }
    if !args.no_public_orbs {
        all.push(Registry::new(PUBLIC, token("CIRCLECI_CLI_TOKEN")));
    }
    all.into_iter()
        .collect::<Result<_, _>>()
        .map_err(|why| Failure::config(format!("--orb-registry: {why}")))
}

fn urls(args: &OrbArgs) -> Result<UrlOrbs, String> {
    let allow = args.allow.iter().filter(|prefix| !prefix.is_empty());
    let allow = allow
        .map(|prefix| prefix.parse())
        .collect::<Result<_, _>>()?;
    UrlOrbs::new(allow, args.private_hosts.clone())
}

fn limits() -> Result<Limits, Failure> {
    let mut limits = Limits::default();
    if let Some(text) = variable("CAPSTAN_ORB_TIMEOUT") {
        let seconds = text
            .parse()
            .ok()
            .filter(|seconds| (1..=600).contains(seconds));
        let seconds = seconds.ok_or_else(|| {
            Failure::config(format!(
                "CAPSTAN_ORB_TIMEOUT is {text:?}; it takes seconds, 1 to 600"
            ))
        })?;
        limits.attempt = std::time::Duration::from_secs(seconds);
        limits.connect = limits.connect.min(limits.attempt);
    }
    Ok(limits)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
