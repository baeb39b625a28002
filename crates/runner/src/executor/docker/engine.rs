//! Finds a container engine that answers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use sha2::{Digest as _, Sha256};

/// Why no engine could be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no container engine answers: {0}")]
pub struct DockerUnavailable(pub String);

/// An engine on this machine answers within milliseconds or not at all.
const PROBE: Duration = Duration::from_secs(3);
/// Seconds a request may take; creating a container on a busy machine can take long.
const REQUEST_SECONDS: u64 = 120;

/// The first engine that answers: what the environment names, else the usual sockets.
pub(super) async fn find() -> Result<Docker, DockerUnavailable> {
    let mut tried = Vec::new();
    for host in candidates() {
        match connect(&host).await {
            Ok(docker) => return Ok(docker),
            Err(why) => tried.push(format!("{host}: {why}")),
        }
    }
    Err(DockerUnavailable(format!(
        "{}. Start Docker or Podman, or name the engine in DOCKER_HOST.",
        tried.join("; ")
    )))
}

async fn connect(host: &str) -> Result<Docker, String> {
    let docker = if let Some(path) = host.strip_prefix("unix://") {
        if !Path::new(path).exists() {
            return Err("no such socket".to_owned());
        }
        Docker::connect_with_unix(host, REQUEST_SECONDS, API_DEFAULT_VERSION)
    } else if host.starts_with("tcp://") || host.starts_with("http://") {
        Docker::connect_with_http(host, REQUEST_SECONDS, API_DEFAULT_VERSION)
    } else {
        return Err("only unix:// and tcp:// are supported".to_owned());
    };
    let docker = docker.map_err(|error| error.to_string())?;
    match tokio::time::timeout(PROBE, docker.negotiate_version()).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} seconds", PROBE.as_secs())),
    }
}

fn candidates() -> Vec<String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // An engine that was named is the one that is meant: no other is tried in its stead.
    if let Some(host) = set("DOCKER_HOST") {
        return vec![host];
    }
    let config = set("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".docker")));
    if let Some(host) = config.and_then(|dir| context_host(&dir, set("DOCKER_CONTEXT"))) {
        return vec![host];
    }
    let mut all = vec!["unix:///var/run/docker.sock".to_owned()];
    all.extend(set("XDG_RUNTIME_DIR").map(|dir| format!("unix://{dir}/podman/podman.sock")));
    all.push("unix:///run/podman/podman.sock".to_owned());
    all
}

/// The host of the Docker context in use, `None` for the default one.
fn context_host(dir: &Path, chosen: Option<String>) -> Option<String> {
    let json = |path: PathBuf| -> Option<serde_json::Value> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    };
    let name = chosen.or_else(|| {
        Some(
            json(dir.join("config.json"))?
                .get("currentContext")?
                .as_str()?
                .to_owned(),
        )
    })?;
    if name == "default" {
        return None;
    }
    let place = dir
        .join("contexts/meta")
        .join(hex::encode(Sha256::digest(&name)));
    let meta = json(place.join("meta.json"))?;
    meta.pointer("/Endpoints/docker/Host")?
        .as_str()
        .map(str::to_owned)
}
