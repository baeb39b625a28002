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

/// An engine that answered, and where.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) docker: Docker,
    pub(super) host: Host,
}

/// How an engine is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// A socket of this machine.
    Unix(PathBuf),
    /// `address:port`, without encryption.
    Tcp(String),
}

impl Host {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let address = text
            .strip_prefix("tcp://")
            .or_else(|| text.strip_prefix("http://"))
            .map(|address| address.trim_end_matches('/'));
        match address {
            Some(address)
                if address
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| port.parse::<u16>().is_ok()) =>
            {
                Ok(Self::Tcp(address.to_owned()))
            }
            Some(_) => Err("no port is given".to_owned()),
            None => Err("only unix:// and tcp:// are supported".to_owned()),
        }
    }
}

/// The first engine that answers: what the environment names, else the usual sockets.
pub(super) async fn find() -> Result<Engine, DockerUnavailable> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut tried = Vec::new();
    for host in candidates(set) {
        match connect(&host).await {
            Ok(engine) => return Ok(engine),
            Err(why) => tried.push(format!("{host}: {why}")),
        }
    }
    Err(DockerUnavailable(format!(
        "{}. Start Docker or Podman, or name the engine in DOCKER_HOST.",
        tried.join("; ")
    )))
}

/// Asks one engine for its version.
pub(super) async fn connect(host: &str) -> Result<Engine, String> {
    let parsed = Host::parse(host)?;
    let docker = match &parsed {
        Host::Unix(path) if !path.exists() => return Err("no such socket".to_owned()),
        Host::Unix(_) => Docker::connect_with_unix(host, REQUEST_SECONDS, API_DEFAULT_VERSION),
        Host::Tcp(address) => {
            let url = format!("http://{address}");
            Docker::connect_with_http(&url, REQUEST_SECONDS, API_DEFAULT_VERSION)
        }
    };
    let docker = docker.map_err(|error| error.to_string())?;
    match tokio::time::timeout(PROBE, docker.negotiate_version()).await {
        Ok(Ok(docker)) => Ok(Engine {
            docker,
            host: parsed,
        }),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} seconds", PROBE.as_secs())),
    }
}

/// Where to look, given the environment's variables.
fn candidates(set: impl Fn(&str) -> Option<String>) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};

    use sha2::{Digest as _, Sha256};

    use super::{Host, candidates, connect};

    /// A home with a Docker context of this name, which is the current one if `current`.
    fn home(test: &str, name: &str, host: &str, current: bool) -> PathBuf {
        let home = std::env::temp_dir().join(format!("capstan-{test}-{}", std::process::id()));
        let docker = home.join(".docker");
        let place = docker
            .join("contexts/meta")
            .join(hex::encode(Sha256::digest(name)));
        std::fs::create_dir_all(&place).unwrap();
        let meta = serde_json::json!({"Name": name, "Endpoints": {"docker": {"Host": host}}});
        std::fs::write(place.join("meta.json"), meta.to_string()).unwrap();
        let config = if current {
            serde_json::json!({ "currentContext": name })
        } else {
            serde_json::json!({"auths": {}})
        };
        std::fs::write(docker.join("config.json"), config.to_string()).unwrap();
        home
    }

    fn found(variables: &[(&str, &str)]) -> Vec<String> {
        let all: HashMap<_, _> = variables.iter().copied().collect();
        candidates(|name| all.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn the_usual_sockets_are_tried_in_order() {
        let usual = [
            "unix:///var/run/docker.sock",
            "unix:///run/podman/podman.sock",
        ];
        assert_eq!(found(&[]), usual);
        assert_eq!(
            found(&[("HOME", "/nowhere"), ("XDG_RUNTIME_DIR", "/run/user/7")]),
            [usual[0], "unix:///run/user/7/podman/podman.sock", usual[1]]
        );
    }

    #[test]
    fn an_engine_that_is_named_is_the_only_one() {
        let home = home("contexts", "work", "tcp://10.0.0.1:2375", true);
        let home = home.to_str().unwrap();
        assert_eq!(found(&[("HOME", home)]), ["tcp://10.0.0.1:2375"]);
        let host = ("DOCKER_HOST", "unix:///else.sock");
        assert_eq!(found(&[("HOME", home), host]), ["unix:///else.sock"]);
        // The default context is the usual sockets.
        assert_eq!(
            found(&[("HOME", home), ("DOCKER_CONTEXT", "default")]).len(),
            2
        );
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn a_context_is_chosen_by_the_environment_or_not_at_all() {
        let home = home("chosen", "work", "unix:///work.sock", false);
        let docker = home.join(".docker");
        let (home, docker) = (home.to_str().unwrap(), docker.to_str().unwrap());
        assert_eq!(found(&[("HOME", home)]).len(), 2);
        assert_eq!(
            found(&[("HOME", home), ("DOCKER_CONTEXT", "work")]),
            ["unix:///work.sock"]
        );
        assert_eq!(
            found(&[("DOCKER_CONFIG", docker), ("DOCKER_CONTEXT", "work")]),
            ["unix:///work.sock"]
        );
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn hosts_are_sockets_or_addresses_with_a_port() {
        let unix = Host::Unix(Path::new("/a b").to_owned());
        assert_eq!(Host::parse("unix:///a b"), Ok(unix));
        let tcp = Host::Tcp("[::1]:2375".to_owned());
        assert_eq!(Host::parse("tcp://[::1]:2375"), Ok(tcp));
        for wrong in [
            "ssh://me@there",
            "tcp://there",
            "npipe:////./pipe/docker",
            "",
        ] {
            assert!(Host::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn an_engine_that_does_not_answer_is_given_up() {
        assert_eq!(
            connect("unix:///nowhere").await.unwrap_err(),
            "no such socket"
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let why = connect(&format!("tcp://{address}")).await.unwrap_err();
        assert!(why.contains("no answer"), "{why}");
    }
}
