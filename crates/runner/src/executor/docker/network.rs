//! Which network a job is in: never one that another job of the run is in at the same time.
//!
//! The engine's default bridge is given to one job at a time, because a container in it starts a tenth
//! of a second sooner than in a network that was made for it. Jobs beside that one get networks of their
//! own, which later jobs use again when the earlier ones are gone.

use std::sync::{Arc, Mutex, PoisonError};

use bollard::Docker;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptionsBuilder};

use super::{PlaceError, RUN_LABEL, engine_failed};

const BRIDGE: &str = "bridge";

/// The networks of a run.
#[derive(Clone)]
pub(super) struct Networks {
    docker: Docker,
    run: String,
    free: Arc<Mutex<Vec<String>>>,
}

/// A network that one job has to itself until it is given back. One that is dropped is not used again:
/// its container may still be there.
pub(super) struct Network {
    name: String,
    free: Arc<Mutex<Vec<String>>>,
}

impl Networks {
    /// None are made yet.
    pub(super) async fn of(docker: &Docker, run: &str) -> Self {
        let bridge = docker.inspect_network(BRIDGE, None::<InspectNetworkOptions>);
        // Over IPv6 the metadata address would be in reach; our own networks have none.
        let free = match bridge.await {
            Ok(bridge) if bridge.enable_ipv6 != Some(true) => vec![BRIDGE.to_owned()],
            _ => Vec::new(),
        };
        Self {
            docker: docker.clone(),
            run: run.to_owned(),
            free: Arc::new(Mutex::new(free)),
        }
    }

    /// One that nobody is in.
    pub(super) async fn take(&self) -> Result<Network, PlaceError> {
        let free = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let name = match free {
            Some(name) => name,
            None => self.make().await?,
        };
        Ok(Network {
            name,
            free: Arc::clone(&self.free),
        })
    }

    async fn make(&self) -> Result<String, PlaceError> {
        let name = format!("capstan-{}-{}", self.run, uuid::Uuid::new_v4().simple());
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some(BRIDGE.to_owned()),
            enable_ipv6: Some(false),
            labels: Some([(RUN_LABEL.to_owned(), self.run.clone())].into()),
            ..Default::default()
        };
        let made = self.docker.create_network(request).await;
        made.map(|_| name).map_err(|error| {
            let why = engine_failed("create a network", &error);
            PlaceError::Infrastructure(format!(
                "{why}. If it has no addresses left, `docker network prune` frees those of networks that \
                 nobody uses"
            ))
        })
    }
}

impl Network {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The job's container is gone.
    pub(super) fn give_back(self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one is taken first, and the bridge is the quickest.
        if self.name == BRIDGE {
            free.push(self.name);
        } else {
            free.insert(0, self.name);
        }
    }
}

/// Removes the networks of a run, after its containers.
pub(super) async fn remove_labelled(docker: &Docker, run: &str) -> Result<(), PlaceError> {
    let label = vec![format!("{RUN_LABEL}={run}")];
    let filters = std::collections::HashMap::from([("label", label)]);
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filters)
        .build();
    let listed = docker.list_networks(Some(options)).await;
    let listed = listed.map_err(|e| engine_failed("list the networks of this run", &e))?;
    let names = listed.into_iter().filter_map(|network| network.id);
    let removals = names.map(|id| async move {
        match docker.remove_network(&id).await {
            Err(error) if super::status(&error) != Some(404) => {
                Err(engine_failed("remove a network of this run", &error))
            }
            _ => Ok(()),
        }
    });
    futures_util::future::join_all(removals)
        .await
        .into_iter()
        .collect()
}

/// Name servers for containers where all that this machine asks are link-local, which the block of the
/// metadata address cuts off too; empty where they can be left as they are.
pub(super) fn name_servers_instead(resolv_conf: &str) -> Vec<String> {
    /// What engines themselves give to containers of a machine that asks only itself.
    const PUBLIC: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
    let servers: Vec<&str> = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .map(str::trim)
        .collect();
    let (cut, left): (Vec<&str>, Vec<&str>) = servers
        .into_iter()
        .partition(|server| server.starts_with("169.254."));
    let instead = match (cut.is_empty(), left.is_empty()) {
        (true, _) => Vec::new(),
        (false, false) => left,
        (false, true) => PUBLIC.to_vec(),
    };
    instead.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::name_servers_instead;

    #[test]
    fn name_servers_that_the_block_cuts_off_are_replaced() {
        let none: [&str; 0] = [];
        for (conf, instead) in [
            ("search x\nnameserver 10.0.0.2\n", &none[..]),
            ("", &none[..]),
            ("nameserver 169.254.169.254\n", &["8.8.8.8", "8.8.4.4"][..]),
            (
                "nameserver 169.254.169.253\nnameserver 1.1.1.1\n",
                &["1.1.1.1"][..],
            ),
        ] {
            assert_eq!(name_servers_instead(conf), instead, "{conf:?}");
        }
    }
}
