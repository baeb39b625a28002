//! Images: what the engine has, and pulling what it has not.

use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptionsBuilder;
use capstan_model::plan::Container;
use capstan_model::wire::PinnedImage;
use futures_util::StreamExt as _;

use super::{PlaceError, SpinUpLog, engine_failed, status};

/// A pull that says nothing for so long is not going on.
const SILENCE: Duration = Duration::from_secs(600);

/// What matters of an image.
#[derive(Clone, Debug, Default)]
pub(super) struct ImageFacts {
    pub(super) id: String,
    pub(super) user: String,
    /// Where its own entrypoint starts.
    pub(super) working_directory: String,
    /// Whether its own entrypoint is to run.
    pub(super) preserve: bool,
}

/// The image's facts, pulling it where the engine does not have it.
pub(super) async fn ensure(
    docker: &Docker,
    container: &Container,
    log: &SpinUpLog,
) -> Result<(PinnedImage, ImageFacts), PlaceError> {
    let name = container.image.as_str();
    let image = match docker.inspect_image(name).await {
        Ok(image) => image,
        Err(error) if status(&error) == Some(404) => {
            pull(docker, container, log).await?;
            docker
                .inspect_image(name)
                .await
                .map_err(|e| engine_failed("inspect the image it pulled", &e))?
        }
        Err(error) if status(&error) == Some(400) => {
            return Err(PlaceError::Job(format!(
                "image {name:?} is not a valid image reference: {error}"
            )));
        }
        Err(error) => return Err(engine_failed("inspect the image", &error)),
    };
    let digest = digest(name, &image);
    log.line(format!("Using image {name} ({digest})"));
    let config = image.config.unwrap_or_default();
    let label = "com.circleci.preserve-entrypoint";
    let preserve = config
        .labels
        .unwrap_or_default()
        .get(label)
        .map(String::as_str)
        == Some("true");
    let facts = ImageFacts {
        id: image.id.unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        working_directory: config.working_dir.unwrap_or_default(),
        preserve,
    };
    let reference = name.to_owned();
    Ok((PinnedImage { reference, digest }, facts))
}

/// What the registry knows the image by; of an image that was made here, its id.
fn digest(name: &str, image: &ImageInspect) -> String {
    let repository = name.split('@').next().unwrap_or(name);
    let repository = match repository.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => repository,
    };
    let all = image.repo_digests.as_deref().unwrap_or_default();
    // The same image may have come from several repositories.
    let ours = all.iter().find(|digest| {
        let known = digest.split('@').next();
        known == Some(repository)
    });
    ours.or_else(|| all.first())
        .cloned()
        .or_else(|| image.id.clone())
        .unwrap_or_default()
}

async fn pull(docker: &Docker, container: &Container, log: &SpinUpLog) -> Result<(), PlaceError> {
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
    let mut progress = docker.create_image(Some(options.build()), None, credentials);
    let (mut layer, mut said) = (String::new(), String::new());
    loop {
        let event = match tokio::time::timeout(SILENCE, progress.next()).await {
            Ok(Some(event)) => event.map_err(|error| cannot_pull(name, &error))?,
            Ok(None) => return Ok(()),
            Err(_) => {
                let minutes = SILENCE.as_secs() / 60;
                return Err(PlaceError::Infrastructure(format!(
                    "pulling image {name} has made no progress for {minutes} minutes"
                )));
            }
        };
        let (id, status) = (
            event.id.unwrap_or_default(),
            event.status.unwrap_or_default(),
        );
        // A moving bar is the same word many times over.
        if status.is_empty() || (id == layer && status == said) {
            continue;
        }
        let moving = event
            .progress_detail
            .is_some_and(|detail| detail.total.is_some());
        if !moving {
            log.line(if id.is_empty() {
                status.clone()
            } else {
                format!("{id}: {status}")
            });
        }
        (layer, said) = (id, status);
    }
}

/// Whether the job asks for what does not exist or is not its to have, or the way there is broken.
fn cannot_pull(name: &str, error: &Error) -> PlaceError {
    const REFUSALS: [&str; 7] = [
        "not found",
        "manifest unknown",
        "does not exist",
        "denied",
        "unauthorized",
        "no basic auth credentials",
        "invalid reference",
    ];
    let why = match error {
        Error::DockerStreamError { error } => error.clone(),
        Error::DockerResponseServerError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    let lower = why.to_lowercase();
    if REFUSALS.iter().any(|refusal| lower.contains(refusal)) {
        PlaceError::Job(format!(
            "cannot pull image {name}: {why}. Check the name and tag, and `auth` of the image if it is \
             private; or make the image available with `docker pull` or `docker build -t {name}`."
        ))
    } else {
        PlaceError::Infrastructure(format!(
            "cannot pull image {name}: {why}. Check that the container engine can reach the registry."
        ))
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ImageInspect;

    use super::digest;

    #[test]
    fn the_digest_is_the_one_of_the_repository_that_is_named() {
        let image = ImageInspect {
            id: Some("sha256:1".to_owned()),
            repo_digests: Some(vec![
                "mirror:5000/a@sha256:2".to_owned(),
                "cimg/base@sha256:3".to_owned(),
            ]),
            ..Default::default()
        };
        for (name, expected) in [
            ("cimg/base:stable", "cimg/base@sha256:3"),
            ("cimg/base", "cimg/base@sha256:3"),
            ("cimg/base@sha256:3", "cimg/base@sha256:3"),
            ("mirror:5000/a", "mirror:5000/a@sha256:2"),
            ("other", "mirror:5000/a@sha256:2"),
        ] {
            assert_eq!(digest(name, &image), expected, "{name}");
        }
        let local = ImageInspect {
            id: Some("sha256:1".to_owned()),
            ..Default::default()
        };
        assert_eq!(digest("mine", &local), "sha256:1");
    }
}
