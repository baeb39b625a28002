//! The volume that holds the agent: filled once for an engine, mounted read-only into every job.
//!
//! Volumes cannot be renamed, so the name that says "complete" is a second, empty volume, the marker,
//! whose label names the first. It is made when the agent was read back and is what it should be. Making a
//! volume that exists returns the one that exists: of several runs that fill at once, one wins, and a
//! crash at any moment leaves at most a volume that no marker names.

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountType, Volume, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptions, DownloadFromContainerOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveVolumeOptions, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};

use super::spec::AGENT_MOUNT;
use super::{DockerSettings, PlaceError, RUN_LABEL, engine_failed, force_remove, status};

/// Label of a marker; its value is the volume it vouches for.
const VOUCHES: &str = "capstan.agent-volume";
const FILE: &str = "capstan-agent";

/// The complete volume, filled now if there is none. `image` is any image that the engine has.
pub(super) async fn ensure(
    docker: &Docker,
    settings: &DockerSettings,
    image: &str,
) -> Result<String, PlaceError> {
    let path = &settings.agent;
    let agent = tokio::fs::read(path).await.map_err(|error| {
        PlaceError::Infrastructure(format!("cannot read the agent {}: {error}", path.display()))
    })?;
    let digest = hex::encode(Sha256::digest(&agent));
    let short = digest.get(..12).unwrap_or(&digest);
    let marker = format!("capstan-agent-{short}-complete");
    if let Some(volume) = vouched(docker, &marker).await? {
        return Ok(volume);
    }
    let volume = format!("capstan-agent-{short}-{}", uuid::Uuid::new_v4().simple());
    create(docker, &volume, (RUN_LABEL, &settings.run)).await?;
    fill(docker, settings, image, &volume, agent, &digest).await?;
    let made = create(docker, &marker, (VOUCHES, &volume)).await?;
    match made.labels.get(VOUCHES) {
        Some(winner) if *winner != volume => {
            remove(docker, &volume).await?;
            Ok(winner.clone())
        }
        _ => Ok(volume),
    }
}

/// The volume that a marker vouches for, if both exist.
async fn vouched(docker: &Docker, marker: &str) -> Result<Option<String>, PlaceError> {
    let Some(volume) = inspect(docker, marker)
        .await?
        .and_then(|marker| marker.labels.get(VOUCHES).cloned())
    else {
        return Ok(None);
    };
    if inspect(docker, &volume).await?.is_some() {
        return Ok(Some(volume));
    }
    // Somebody removed the volume and left its marker.
    remove(docker, marker).await?;
    Ok(None)
}

async fn inspect(docker: &Docker, name: &str) -> Result<Option<Volume>, PlaceError> {
    match docker.inspect_volume(name).await {
        Ok(volume) => Ok(Some(volume)),
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(engine_failed("inspect the agent's volume", &error)),
    }
}

async fn create(docker: &Docker, name: &str, label: (&str, &str)) -> Result<Volume, PlaceError> {
    let request = VolumeCreateRequest {
        name: Some(name.to_owned()),
        labels: Some([(label.0.to_owned(), label.1.to_owned())].into()),
        ..Default::default()
    };
    let made = docker.create_volume(request).await;
    made.map_err(|e| engine_failed("create the agent's volume", &e))
}

async fn remove(docker: &Docker, name: &str) -> Result<(), PlaceError> {
    match docker
        .remove_volume(name, None::<RemoveVolumeOptions>)
        .await
    {
        Err(error) if status(&error) != Some(404) => {
            Err(engine_failed("remove a volume without an agent", &error))
        }
        _ => Ok(()),
    }
}

/// Removes volumes that this run began to fill and that no marker vouches for.
pub(super) async fn remove_unfinished(docker: &Docker, run: &str) -> Result<(), PlaceError> {
    let label = |label: String| {
        let filters = std::collections::HashMap::from([("label", vec![label])]);
        let options = ListVolumesOptionsBuilder::default()
            .filters(&filters)
            .build();
        async move {
            let listed = docker.list_volumes(Some(options)).await;
            let listed = listed.map_err(|e| engine_failed("list the volumes of this run", &e))?;
            Ok::<_, PlaceError>(listed.volumes.unwrap_or_default())
        }
    };
    let ours = label(format!("{RUN_LABEL}={run}")).await?;
    if ours.is_empty() {
        return Ok(());
    }
    let markers = label(VOUCHES.to_owned()).await?;
    let vouched: Vec<&String> = markers
        .iter()
        .filter_map(|marker| marker.labels.get(VOUCHES))
        .collect();
    for volume in ours {
        if !vouched.contains(&&volume.name) {
            remove(docker, &volume.name).await?;
        }
    }
    Ok(())
}

/// Writes the agent through a container that is created and never started, and reads it back.
async fn fill(
    docker: &Docker,
    settings: &DockerSettings,
    image: &str,
    volume: &str,
    agent: Vec<u8>,
    digest: &str,
) -> Result<(), PlaceError> {
    let archive = pack(&agent)
        .map_err(|e| PlaceError::Infrastructure(format!("cannot pack the agent: {e}")))?;
    let helper = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec![format!("{AGENT_MOUNT}/{FILE}")]),
        labels: Some([(RUN_LABEL.to_owned(), settings.run.clone())].into()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            mounts: Some(vec![Mount {
                target: Some(AGENT_MOUNT.to_owned()),
                source: Some(volume.to_owned()),
                typ: Some(MountType::VOLUME),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let made = docker
        .create_container(None::<CreateContainerOptions>, helper)
        .await;
    let id = made
        .map_err(|e| engine_failed("create the agent's helper", &e))?
        .id;
    let to = UploadToContainerOptionsBuilder::default()
        .path(AGENT_MOUNT)
        .build();
    let body = bollard::body_full(archive.into());
    let uploaded = docker.upload_to_container(&id, Some(to), body).await;
    let read = match uploaded {
        Ok(()) => read_back(docker, &id).await,
        Err(error) => Err(error),
    };
    force_remove(docker, &id).await;
    let read = read.map_err(|e| engine_failed("copy the agent into its volume", &e))?;
    let stands = unpack(&read).is_ok_and(|agent| hex::encode(Sha256::digest(agent)) == digest);
    if stands {
        Ok(())
    } else {
        Err(PlaceError::Infrastructure(format!(
            "the container engine did not keep the agent as it was copied into the volume {volume}"
        )))
    }
}

async fn read_back(docker: &Docker, id: &str) -> Result<Vec<u8>, bollard::errors::Error> {
    let path = format!("{AGENT_MOUNT}/{FILE}");
    let from = DownloadFromContainerOptionsBuilder::default()
        .path(&path)
        .build();
    let mut parts = docker.download_from_container(id, Some(from));
    let mut archive = Vec::new();
    while let Some(part) = parts.next().await {
        archive.extend_from_slice(&part?);
    }
    Ok(archive)
}

fn pack(agent: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(agent.len() as u64);
    header.set_mode(0o755);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::with_capacity(agent.len() + 2048));
    archive.append_data(&mut header, FILE, agent)?;
    archive.into_inner()
}

fn unpack(archive: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let mut agent = Vec::new();
    if let Some(entry) = archive.entries()?.next() {
        std::io::Read::read_to_end(&mut entry?, &mut agent)?;
    }
    Ok(agent)
}
