//! Runs each job in a container of a Docker-compatible engine, with the agent as its first process.

mod engine;
mod place;
mod spec;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, VolumeCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use capstan_model::plan::{self, Container};
use capstan_model::wire::PinnedImage;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::{Executor, Place, PlaceError, PlaceRequest, SpinUpLog};
use crate::guard::Guard;
pub use engine::DockerUnavailable;
use place::DockerPlace;
use spec::{AGENT_MOUNT, ImageFacts, container_spec};

/// Label of everything a run makes; its value is the run.
pub const RUN_LABEL: &str = "capstan.run";

/// What the executor is told.
#[derive(Clone, Debug)]
pub struct DockerSettings {
    /// The run, as a label's value.
    pub run: String,
    /// The agent's binary for Linux, linked statically.
    pub agent: PathBuf,
    /// Its arguments.
    pub agent_args: Vec<String>,
}

/// Makes containers.
pub struct DockerExecutor {
    docker: Docker,
    settings: DockerSettings,
    machine: (u32, u64),
    /// The volume with the agent, once it is known to be complete.
    volume: tokio::sync::Mutex<Option<String>>,
    removals: Removals,
    /// Removes this run's containers if this process is killed.
    _guard: Guard,
}

/// Removals under way, for [`Executor::sweep`] to wait for.
type Removals = Arc<Mutex<Vec<JoinHandle<()>>>>;

impl DockerExecutor {
    /// Finds an engine and asks it for its version and size.
    pub async fn connect(settings: DockerSettings) -> Result<Self, DockerUnavailable> {
        let docker = engine::find().await?;
        let info = docker
            .info()
            .await
            .map_err(|e| DockerUnavailable(e.to_string()))?;
        let cpus = info.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let memory = info
            .mem_total
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0);
        let guard = Guard::start(&settings.run).map_err(|e| {
            DockerUnavailable(format!("the guard of this run cannot be started: {e}"))
        })?;
        Ok(Self {
            docker,
            settings,
            _guard: guard,
            machine: (cpus, memory),
            volume: tokio::sync::Mutex::new(None),
            removals: Removals::default(),
        })
    }

    /// The image's facts, pulling it where the engine does not have it.
    async fn image(
        &self,
        container: &Container,
        log: &SpinUpLog,
    ) -> Result<(PinnedImage, ImageFacts), PlaceError> {
        let name = container.image.as_str();
        let image = match self.docker.inspect_image(name).await {
            Ok(image) => image,
            Err(error) if status(&error) == Some(404) => {
                self.pull(container, log).await?;
                self.docker
                    .inspect_image(name)
                    .await
                    .map_err(|e| engine_failed("inspect", &e))?
            }
            Err(error) if status(&error) == Some(400) => {
                return Err(PlaceError::Job(format!(
                    "image {name:?} is not a valid image reference: {error}"
                )));
            }
            Err(error) => return Err(engine_failed("inspect the image", &error)),
        };
        let config = image.config.unwrap_or_default();
        let id = image.id.unwrap_or_default();
        let digest = image
            .repo_digests
            .and_then(|all| all.into_iter().next())
            .unwrap_or_else(|| id.clone());
        log.line(format!("Using image {name} ({digest})"));
        let preserve = config
            .labels
            .as_ref()
            .and_then(|labels| labels.get("com.circleci.preserve-entrypoint"))
            .is_some_and(|value| value == "true");
        let facts = ImageFacts {
            id,
            user: config.user.unwrap_or_default(),
            preserve,
        };
        Ok((
            PinnedImage {
                reference: name.to_owned(),
                digest,
            },
            facts,
        ))
    }

    async fn pull(&self, container: &Container, log: &SpinUpLog) -> Result<(), PlaceError> {
        let name = container.image.as_str();
        log.line(format!("Pulling image {name}"));
        let last = name.rsplit('/').next().unwrap_or(name);
        let options = CreateImageOptionsBuilder::default().from_image(name);
        // Without a tag the engine would pull every tag there is.
        let options = if last.contains([':', '@']) {
            options
        } else {
            options.tag("latest")
        };
        let credentials = container.auth.as_ref().map(|auth| DockerCredentials {
            username: Some(auth.username.clone()),
            password: Some(auth.password.clone()),
            ..Default::default()
        });
        let mut progress = self
            .docker
            .create_image(Some(options.build()), None, credentials);
        while let Some(event) = progress.next().await {
            let event = event.map_err(|error| {
                PlaceError::Job(format!(
                    "cannot pull image {name}: {error}. Check the name and tag, `auth` of the image \
                     if it is private, and that the engine can reach the registry; or make the image \
                     available with `docker pull` or `docker build -t {name}`."
                ))
            })?;
            // Progress bars are left out: they would be thousands of lines.
            if let Some(status) = event.status.filter(|_| event.progress_detail.is_none()) {
                log.line(
                    event
                        .id
                        .map_or_else(|| status.clone(), |id| format!("{id}: {status}")),
                );
            }
        }
        Ok(())
    }

    /// The volume that holds the agent, filled at its first use on this engine.
    async fn agent_volume(&self, image: &str) -> Result<String, PlaceError> {
        let mut known = self.volume.lock().await;
        if let Some(name) = known.as_ref() {
            return Ok(name.clone());
        }
        let path = &self.settings.agent;
        let bytes = tokio::fs::read(path).await.map_err(|error| {
            PlaceError::Infrastructure(format!("cannot read the agent {}: {error}", path.display()))
        })?;
        let digest = hex::encode(Sha256::digest(&bytes));
        let name = format!("capstan-agent-{}", digest.get(..12).unwrap_or(&digest));
        // A second volume says that the first is complete: a crash while filling leaves no marker, and
        // the next run fills it again with the same bytes.
        let marker = format!("{name}-complete");
        let (filled, marked) = tokio::join!(
            self.docker.inspect_volume(&name),
            self.docker.inspect_volume(&marker)
        );
        let ours = |volume: bollard::models::Volume| volume.labels.contains_key("capstan.agent");
        if !(filled.is_ok_and(ours) && marked.is_ok()) {
            // A marker without its volume would vouch for one that is filled halfway.
            let _ = self
                .docker
                .remove_volume(
                    &marker,
                    None::<bollard::query_parameters::RemoveVolumeOptions>,
                )
                .await;
            self.fill(&name, &digest, image, bytes).await?;
            self.create_volume(&marker, &digest).await?;
        }
        *known = Some(name.clone());
        Ok(name)
    }

    async fn create_volume(&self, name: &str, digest: &str) -> Result<(), PlaceError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some([("capstan.agent".to_owned(), digest.to_owned())].into()),
            ..Default::default()
        };
        let made = self.docker.create_volume(request).await;
        made.map(drop)
            .map_err(|e| engine_failed("create the agent's volume", &e))
    }

    /// Uploads through a container that is created and never started.
    async fn fill(
        &self,
        name: &str,
        digest: &str,
        image: &str,
        agent: Vec<u8>,
    ) -> Result<(), PlaceError> {
        self.create_volume(name, digest).await?;
        let pack = || -> std::io::Result<Vec<u8>> {
            let mut header = tar::Header::new_gnu();
            header.set_size(agent.len() as u64);
            header.set_mode(0o755);
            header.set_cksum();
            let mut archive = tar::Builder::new(Vec::with_capacity(agent.len() + 2048));
            archive.append_data(&mut header, "capstan-agent", agent.as_slice())?;
            archive.into_inner()
        };
        let archive = pack()
            .map_err(|e| PlaceError::Infrastructure(format!("cannot pack the agent: {e}")))?;
        let helper = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec![format!("{AGENT_MOUNT}/capstan-agent")]),
            labels: Some([(RUN_LABEL.to_owned(), self.settings.run.clone())].into()),
            host_config: Some(HostConfig {
                network_mode: Some("none".to_owned()),
                mounts: Some(vec![Mount {
                    target: Some(AGENT_MOUNT.to_owned()),
                    source: Some(name.to_owned()),
                    typ: Some(MountType::VOLUME),
                    ..Default::default()
                }]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let made = self
            .docker
            .create_container(None::<CreateContainerOptions>, helper)
            .await;
        let id = made
            .map_err(|e| engine_failed("create the agent's helper", &e))?
            .id;
        let to = UploadToContainerOptionsBuilder::default()
            .path(AGENT_MOUNT)
            .build();
        let body = bollard::body_full(archive.into());
        let uploaded = self.docker.upload_to_container(&id, Some(to), body).await;
        force_remove(&self.docker, &id).await;
        uploaded.map_err(|e| engine_failed("copy the agent into its volume", &e))
    }

    async fn make(
        &self,
        request: &PlaceRequest,
        log: &SpinUpLog,
    ) -> Result<Box<dyn Place>, PlaceError> {
        let plan::Executor::Docker(containers) = &request.executor else {
            return Err(PlaceError::Job(
                "this job asks for a virtual machine or macOS, which the docker executor cannot give"
                    .to_owned(),
            ));
        };
        let [container] = containers.as_slice() else {
            return Err(PlaceError::Job(format!(
                "this job asks for {} containers; service containers are not supported yet",
                containers.len()
            )));
        };
        spec::check(request, container)?;
        let (pinned, facts) = self.image(container, log).await?;
        spec::check_image(container, &facts)?;
        let volume = self.agent_volume(&facts.id).await?;
        let body = container_spec(
            request,
            container,
            &facts,
            &self.settings,
            &volume,
            self.machine,
        );
        let made = self
            .docker
            .create_container(None::<CreateContainerOptions>, body)
            .await;
        let id = made
            .map_err(|e| engine_failed("create the container", &e))?
            .id;
        let place = DockerPlace::new(self.docker.clone(), id, pinned, Arc::clone(&self.removals));
        Ok(Box::new(place))
    }
}

impl Executor for DockerExecutor {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn prepare<'a>(
        &'a self,
        request: &'a PlaceRequest,
        log: &'a SpinUpLog,
    ) -> BoxFuture<'a, Result<Box<dyn Place>, PlaceError>> {
        Box::pin(self.make(request, log))
    }

    fn sweep(&self) -> BoxFuture<'_, Result<(), PlaceError>> {
        Box::pin(async move {
            let pending = match self.removals.lock() {
                Ok(mut all) => std::mem::take(&mut *all),
                Err(poisoned) => std::mem::take(&mut *poisoned.into_inner()),
            };
            for removal in pending {
                // What a removal left behind is found by its label below.
                let _ = removal.await;
            }
            remove_labelled(&self.docker, &self.settings.run).await
        })
    }
}

/// Finds the engine and removes every container of a run: the guard's work.
pub(crate) async fn remove_run(run: &str) -> Result<(), PlaceError> {
    let docker = engine::find()
        .await
        .map_err(|e| PlaceError::Infrastructure(e.to_string()))?;
    remove_labelled(&docker, run).await
}

/// Removes every container of a run, in whatever state.
pub async fn remove_labelled(docker: &Docker, run: &str) -> Result<(), PlaceError> {
    let filters = std::collections::HashMap::from([("label", vec![format!("{RUN_LABEL}={run}")])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let listed = docker.list_containers(Some(options)).await;
    let found = listed.map_err(|e| engine_failed("list the containers of this run", &e))?;
    let ids = found.into_iter().filter_map(|container| container.id);
    futures_util::future::join_all(ids.map(|id| async move { force_remove(docker, &id).await }))
        .await;
    Ok(())
}

/// Kills and removes; that it is gone already is as good.
async fn force_remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    // A failure here leaves a labelled container that the guard of the run removes.
    let _ = docker.remove_container(id, Some(options)).await;
}

fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn engine_failed(what: &str, error: &bollard::errors::Error) -> PlaceError {
    PlaceError::Infrastructure(format!("the container engine could not {what}: {error}"))
}
