//! Pulling from a real registry that wants a login: Debian's `docker-registry`, on this machine.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptionsBuilder, RemoveImageOptionsBuilder};
use capstan_model::plan::{self, Container, RegistryAuth};
use futures_util::StreamExt as _;

use super::{InDocker, docker, in_time};
use crate::executor::{Executor as _, Place, PlaceError, PlaceRequest, SpinUpLog};

const USER: &str = "ci";
const PASSWORD: &str = "open sesame";
/// Of the password, as `htpasswd -B` writes it.
const PASSWORD_HASH: &str = "$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW";

struct Registry {
    process: Child,
    folder: PathBuf,
    address: String,
}

impl Registry {
    /// `None`, said aloud, where there is no such program.
    async fn start() -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("capstan-registry-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("users"), format!("{USER}:{PASSWORD_HASH}\n")).unwrap();
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let address = format!("127.0.0.1:{port}");
        let shown = folder.display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{shown}/data'}}}}\n\
             http: {{addr: '{address}'}}\nauth: {{htpasswd: {{realm: test, path: '{shown}/users'}}}}\n"
        );
        std::fs::write(folder.join("config.yml"), config).unwrap();
        let started = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                let required =
                    std::env::var("CAPSTAN_REQUIRE").is_ok_and(|all| all.contains("registry"));
                assert!(!required, "docker-registry: {error}");
                println!("skipped: docker-registry: {error} (Debian has a package of this name)");
                return None;
            }
        };
        let registry = Self {
            process,
            folder,
            address,
        };
        in_time(async {
            while tokio::net::TcpStream::connect(&registry.address)
                .await
                .is_err()
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
        Some(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Puts a small image into the registry and takes it from the engine; returns its name and digest.
async fn publish(docker: &InDocker, registry: &Registry) -> (String, String) {
    let engine = &docker.executor.engine.docker;
    let repository = format!("{}/team/tool", registry.address);
    let name = format!("{repository}:1");
    // A layer that the engine does not have, large enough for a bar to move.
    let file = registry.folder.join("layer.tar");
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.wrapping_mul(0x9E37_79B9).to_be_bytes()[0])
        .collect();
    let mut layer = tar::Builder::new(std::fs::File::create(&file).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(noise.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    layer
        .append_data(&mut header, "noise", noise.as_slice())
        .unwrap();
    layer.into_inner().unwrap();
    super::docker_cli(&["import", file.to_str().unwrap(), &name]).unwrap();
    let options = PushImageOptionsBuilder::default().tag("1").build();
    let credentials = DockerCredentials {
        username: Some(USER.to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..Default::default()
    };
    let mut pushed = engine.push_image(&repository, Some(options), Some(credentials));
    while let Some(event) = pushed.next().await {
        event.unwrap();
    }
    let digests = engine
        .inspect_image(&name)
        .await
        .unwrap()
        .repo_digests
        .unwrap();
    let digest = digests
        .iter()
        .find(|digest| digest.starts_with(&repository));
    let digest = digest.unwrap().clone();
    forget(docker, &name).await;
    (name, digest)
}

async fn forget(docker: &InDocker, name: &str) {
    let options = RemoveImageOptionsBuilder::default().build();
    let removed = docker
        .executor
        .engine
        .docker
        .remove_image(name, Some(options), None);
    removed.await.unwrap();
}

/// Prepares a place, and what a person was told of it.
async fn prepare(
    docker: &InDocker,
    image: &str,
    auth: Option<(&str, &str)>,
) -> (Result<Box<dyn Place>, PlaceError>, Vec<String>) {
    let request = PlaceRequest {
        executor: plan::Executor::Docker(vec![Container {
            image: image.to_owned(),
            auth: auth.map(|(username, password)| RegistryAuth {
                username: username.to_owned(),
                password: password.to_owned(),
            }),
            ..Container::default()
        }]),
        ..super::request(docker, Container::default())
    };
    let (lines, mut said) = tokio::sync::mpsc::unbounded_channel();
    let place = in_time(docker.executor.prepare(&request, &SpinUpLog(lines))).await;
    let mut all = Vec::new();
    while let Ok(line) = said.try_recv() {
        all.push(line);
    }
    (place, all)
}

fn job_error(place: Result<Box<dyn Place>, PlaceError>) -> String {
    match place {
        Err(PlaceError::Job(why)) => why,
        Err(other) => panic!("not the job's fault: {other}"),
        Ok(_) => panic!("there is a place"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_with_a_login_and_pinned_by_digest() {
    let Some(docker) = docker().await else { return };
    let Some(registry) = Registry::start().await else {
        return;
    };
    let (name, digest) = publish(&docker, &registry).await;

    // Without a login, and with a wrong one.
    for auth in [None, Some((USER, "close sesame"))] {
        let (place, said) = prepare(&docker, &name, auth).await;
        let why = job_error(place);
        assert!(why.contains("auth") && why.contains(&name), "{why}");
        let told = said.join("\n");
        assert!(
            !format!("{why}{told}").contains("close sesame"),
            "{why} {told}"
        );
    }
    let (place, said) = prepare(&docker, &name, Some((USER, PASSWORD))).await;
    let place = place.unwrap();
    assert_eq!(place.images()[0].digest, digest);
    assert_eq!(said[0], format!("Pulling image {name}"));
    assert_eq!(
        said.last().unwrap(),
        &format!("Using image {name} ({digest})")
    );
    let told = said.join("\n");
    assert!(told.contains(": Pull complete"), "{told}");
    assert!(said.len() < 30, "moving bars are left out: {told}");
    in_time(place.stop()).await;

    // By its digest, which is what a rerun would ask for.
    docker.executor.sweep().await.unwrap();
    forget(&docker, &name).await;
    let (place, said) = prepare(&docker, &digest, Some((USER, PASSWORD))).await;
    let place = place.unwrap();
    assert_eq!(place.images()[0].digest, digest, "{said:?}");
    in_time(place.stop()).await;

    // What does not exist.
    let missing = format!("{}/team/tool:2", registry.address);
    let (place, _) = prepare(&docker, &missing, Some((USER, PASSWORD))).await;
    let why = job_error(place);
    assert!(
        why.contains(&missing) && why.contains("name and tag"),
        "{why}"
    );
    docker.executor.sweep().await.unwrap();
    forget(&docker, &digest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_cannot_be_reached_is_the_machines_fault() {
    let Some(docker) = docker().await else { return };
    let (place, _) = prepare(&docker, "127.0.0.1:9/none:1", None).await;
    match place {
        Err(PlaceError::Infrastructure(why)) => {
            assert!(why.contains("127.0.0.1:9/none:1"), "{why}")
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("there is a place"),
    }
    let (place, _) = prepare(&docker, "Not An Image", None).await;
    assert!(job_error(place).contains("valid image reference"));
}
