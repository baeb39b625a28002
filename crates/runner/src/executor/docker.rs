//! Runs each job in a container of a Docker-compatible engine, with the agent as its first process.

mod agent_volume;
mod attach;
mod engine;
mod image;
mod network;
mod place;
mod spec;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{
    CreateContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use capstan_model::plan;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use super::{Executor, Place, PlaceError, PlaceRequest, SpinUpLog};
use crate::guard::Guard;
pub use engine::DockerUnavailable;
use engine::{Engine, Host};
use network::Networks;
use place::{DockerPlace, Parts, Vigil};
use spec::{Surroundings, container_spec};

/// Label of everything a run makes; its value is the run.
pub const RUN_LABEL: &str = "capstan.run";
/// After this, what is still to be removed is left to the guard.
const SWEEP: Duration = Duration::from_secs(20);

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
    engine: Engine,
    settings: DockerSettings,
    machine: (u32, u64),
    networks: Networks,
    /// Given to every container; empty where the engine's own can be reached.
    name_servers: Vec<String>,
    /// The volume with the agent, once it is known to be complete.
    volume: tokio::sync::Mutex<Option<String>>,
    removals: Removals,
    vigil: Vigil,
    /// Removes this run's containers if this process is killed.
    guard: Guard,
}

/// Removals under way, for [`Executor::sweep`] to wait for.
type Removals = Arc<Mutex<Vec<JoinHandle<()>>>>;

impl DockerExecutor {
    /// Finds an engine and asks it for its version and size.
    pub async fn connect(settings: DockerSettings) -> Result<Self, DockerUnavailable> {
        let engine = engine::find().await?;
        Self::on(engine, settings).await
    }

    async fn on(engine: Engine, settings: DockerSettings) -> Result<Self, DockerUnavailable> {
        let (info, networks) = tokio::join!(
            engine.docker.info(),
            Networks::of(&engine.docker, &settings.run)
        );
        let info = info.map_err(|e| DockerUnavailable(e.to_string()))?;
        let cpus = info.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let memory = info
            .mem_total
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0);
        let guard = Guard::start(&settings.run).map_err(|e| {
            DockerUnavailable(format!("the guard of this run cannot be started: {e}"))
        })?;
        let name_servers = match &engine.host {
            Host::Unix(_) => network::name_servers_instead(&resolvers()),
            // Nobody here knows what that machine asks.
            Host::Tcp(_) => Vec::new(),
        };
        Ok(Self {
            engine,
            settings,
            guard,
            machine: (cpus, memory),
            networks,
            name_servers,
            volume: tokio::sync::Mutex::new(None),
            removals: Removals::default(),
            vigil: Vigil::default(),
        })
    }

    /// The volume that holds the agent, filled at its first use on this engine.
    async fn agent_volume(&self, image: &str) -> Result<String, PlaceError> {
        let mut known = self.volume.lock().await;
        if let Some(name) = known.as_ref() {
            return Ok(name.clone());
        }
        let name = agent_volume::ensure(&self.engine.docker, &self.settings, image).await?;
        *known = Some(name.clone());
        Ok(name)
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
        spec::check(request)?;
        let docker = &self.engine.docker;
        let (pinned, facts) = image::ensure(docker, container, log).await?;
        spec::check_image(container, &facts)?;
        let (volume, network) =
            tokio::try_join!(self.agent_volume(&facts.id), self.networks.take())?;
        if let Some(first) = self.name_servers.first() {
            log.line(format!(
                "This machine's name server is a link-local address, which jobs cannot reach; names are \
                 asked of {first} instead"
            ));
        }
        let around = Surroundings {
            settings: &self.settings,
            volume: &volume,
            network: network.name(),
            machine: self.machine,
            name_servers: &self.name_servers,
        };
        let body = container_spec(request, container, &facts, around);
        let made = docker
            .create_container(None::<CreateContainerOptions>, body)
            .await;
        let id = match made {
            Ok(made) => made.id,
            Err(error) => {
                network.give_back();
                return Err(match status(&error) {
                    // The engine takes offence at something that the config or the image says.
                    Some(400) => {
                        PlaceError::Job(format!("the primary container cannot be made: {error}"))
                    }
                    _ => engine_failed("create the container", &error),
                });
            }
        };
        let own_entrypoint = spec::runs_own_entrypoint(container, &facts);
        Ok(Box::new(DockerPlace::new(Parts {
            engine: self.engine.clone(),
            id,
            image: pinned,
            network,
            agent: own_entrypoint.then(|| spec::agent_command(&self.settings)),
            removals: Arc::clone(&self.removals),
            vigil: self.vigil,
        })))
    }

    async fn remove_everything(&self) -> Result<(), PlaceError> {
        let pending = {
            let mut all = self.removals.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *all)
        };
        for removal in pending {
            // What a removal left behind is found by its label below.
            let _ = removal.await;
        }
        remove_labelled(&self.engine.docker, &self.settings.run).await
    }
}

/// What this machine asks for names; the engine copies it into containers.
fn resolvers() -> String {
    // With systemd's stub in the usual place, engines take what stands behind it.
    let stub = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let behind = "/run/systemd/resolve/resolv.conf";
    if stub.contains("127.0.0.53") {
        std::fs::read_to_string(behind).unwrap_or(stub)
    } else {
        stub
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
            match tokio::time::timeout(SWEEP, self.remove_everything()).await {
                Ok(removed) => removed?,
                Err(_) => {
                    return Err(PlaceError::Infrastructure(format!(
                        "the container engine did not remove this run's containers within {} seconds",
                        SWEEP.as_secs()
                    )));
                }
            }
            self.guard.all_removed();
            Ok(())
        })
    }
}

/// Finds the engine and removes everything of a run: the guard's work.
pub(crate) async fn remove_run(run: &str) -> Result<(), PlaceError> {
    let engine = engine::find()
        .await
        .map_err(|e| PlaceError::Infrastructure(e.to_string()))?;
    remove_labelled(&engine.docker, run).await
}

/// Removes every container of a run, in whatever state, then its networks and unfinished volumes.
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
    let (networks, volumes) = tokio::join!(
        network::remove_labelled(docker, run),
        agent_volume::remove_unfinished(docker, run)
    );
    networks.and(volumes)
}

/// Kills and removes, and waits until the container is gone; that it is gone already is as good.
async fn force_remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    // A failure here leaves a labelled container that the guard of the run removes.
    let removed = docker.remove_container(id, Some(options)).await;
    if removed.is_err_and(|error| status(&error) == Some(409)) {
        // The engine is removing it by itself.
        let options = WaitContainerOptionsBuilder::default()
            .condition("removed")
            .build();
        let mut gone = docker.wait_container(id, Some(options));
        let _ = tokio::time::timeout(SWEEP, gone.next()).await;
    }
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
