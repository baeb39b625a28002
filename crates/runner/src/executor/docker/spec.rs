//! The one function that says what a container may do.

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType};
use capstan_model::plan::Container;

use super::{DockerSettings, PlaceError, PlaceRequest, RUN_LABEL};
use crate::resources;

/// Where the agent's binary is, read-only.
pub(super) const AGENT_MOUNT: &str = "/.capstan";
/// Where the agent may write.
const AGENT_DIR: &str = "/.capstan-run";

/// What matters of an image.
#[derive(Clone, Debug, Default)]
pub(super) struct ImageFacts {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) preserve: bool,
}

/// Refuses what can be refused before an image is looked at.
pub(super) fn check(request: &PlaceRequest, container: &Container) -> Result<(), PlaceError> {
    let directory = request.working_directory.as_str();
    let parts: Vec<&str> = directory
        .split('/')
        .filter(|p| !p.is_empty() && *p != ".")
        .collect();
    let kernel = parts
        .first()
        .is_some_and(|first| ["proc", "sys", "dev"].contains(first));
    if directory.starts_with('/') && (kernel || parts.contains(&"..")) {
        return Err(PlaceError::Job(format!(
            "working_directory {directory:?} must not lead into /proc, /sys or /dev, nor hold `..`"
        )));
    }
    if container.entrypoint.is_some() || container.command.is_some() {
        return Err(PlaceError::Job(
            "`entrypoint` and `command` of the primary container are not supported yet; remove them \
             from the first image of the job"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Refuses what the image itself asks for and cannot have.
pub(super) fn check_image(container: &Container, facts: &ImageFacts) -> Result<(), PlaceError> {
    if facts.preserve {
        return Err(PlaceError::Job(format!(
            "image {} has the label com.circleci.preserve-entrypoint=true, which is not supported yet",
            container.image
        )));
    }
    Ok(())
}

/// The container of a job. Of the request only the image, its user, the environment and the resource
/// class have a say.
///
/// The default bridge serves: a job of one container shares it with nothing it must reach, and a network
/// of its own would cost each job a tenth of a second and more.
pub(super) fn container_spec(
    request: &PlaceRequest,
    container: &Container,
    facts: &ImageFacts,
    settings: &DockerSettings,
    volume: &str,
    machine: (u32, u64),
) -> ContainerCreateBody {
    let limits = resources::limits(request.resource_class.as_deref(), machine.0, machine.1);
    let user = container.user.as_deref().unwrap_or(&facts.user);
    let mut env: Vec<String> = container
        .environment
        .iter()
        .map(|var| format!("{}={}", var.name, var.value))
        .collect();
    // Ours come last: the last one of a name counts.
    env.push(format!(
        "CAPSTAN_COOKIE={}.{}",
        request.task, request.lease_epoch
    ));
    env.push(format!("CAPSTAN_AGENT_DIR={AGENT_DIR}"));
    env.push(format!("CAPSTAN_STEP_USER={user}"));
    let mut entrypoint = vec![format!("{AGENT_MOUNT}/capstan-agent")];
    entrypoint.extend(settings.agent_args.iter().cloned());
    let labels = [
        (RUN_LABEL.to_owned(), settings.run.clone()),
        ("capstan.task".to_owned(), request.task.to_string()),
        ("capstan.epoch".to_owned(), request.lease_epoch.to_string()),
        ("capstan.job".to_owned(), request.job_name.clone()),
    ];
    ContainerCreateBody {
        image: Some(facts.id.clone()),
        // The agent starts as root and becomes the user of the steps itself.
        user: Some("0:0".to_owned()),
        entrypoint: Some(entrypoint),
        cmd: Some(Vec::new()),
        env: Some(env),
        labels: Some(labels.into()),
        working_dir: Some("/".to_owned()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        tty: Some(false),
        host_config: Some(HostConfig {
            privileged: Some(false),
            auto_remove: Some(true),
            network_mode: Some("bridge".to_owned()),
            cap_drop: Some(vec!["NET_RAW".to_owned(), "MKNOD".to_owned()]),
            // A log file made the attached stream several times slower.
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: None,
            }),
            memory: limits.and_then(|l| i64::try_from(l.memory).ok()),
            nano_cpus: limits.map(|l| i64::from(l.cpus) * 1_000_000_000),
            mounts: Some(vec![Mount {
                target: Some(AGENT_MOUNT.to_owned()),
                source: Some(volume.to_owned()),
                typ: Some(MountType::VOLUME),
                read_only: Some(true),
                ..Default::default()
            }]),
            tmpfs: Some([(AGENT_DIR.to_owned(), "rw,exec,nosuid,mode=1777".to_owned())].into()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use capstan_model::plan::{self, Container, EnvVar};

    use super::{DockerSettings, ImageFacts, PlaceRequest, check, container_spec};

    fn request(class: &str, directory: &str, container: &Container) -> PlaceRequest {
        PlaceRequest {
            task: "00000000-0000-4000-8000-000000000001.0.1".parse().unwrap(),
            lease_epoch: 7,
            job_name: class.to_owned(),
            executor: plan::Executor::Docker(vec![container.clone()]),
            resource_class: Some(class.to_owned()),
            working_directory: directory.to_owned(),
        }
    }

    #[test]
    fn no_request_gets_more_than_a_plain_container() {
        let words = [
            "",
            "--privileged",
            "/:/host",
            "host",
            "xlarge",
            "CAPSTAN_COOKIE",
            "$X",
            "root",
        ];
        let settings = DockerSettings {
            run: "r1".to_owned(),
            agent: PathBuf::new(),
            agent_args: vec!["agent".to_owned()],
        };
        for seed in 0..512_usize {
            let word = |shift: u32| words[seed >> shift & 7].to_owned();
            let container = Container {
                image: word(0),
                name: Some(word(3)),
                user: Some(word(6)),
                environment: vec![EnvVar {
                    name: word(3),
                    value: word(6),
                }],
                ..Container::default()
            };
            let request = request(&word(0), &word(6), &container);
            let facts = ImageFacts {
                id: word(3),
                ..ImageFacts::default()
            };
            let spec = container_spec(
                &request,
                &container,
                &facts,
                &settings,
                "agent-volume",
                (2, 1 << 30),
            );
            let host = spec.host_config.unwrap();
            assert_eq!(host.privileged, Some(false));
            assert_eq!(host.network_mode.as_deref(), Some("bridge"));
            assert!(host.binds.is_none() && host.devices.is_none() && host.cap_add.is_none());
            assert!(
                host.pid_mode.is_none() && host.ipc_mode.is_none() && host.security_opt.is_none()
            );
            assert!(host.volumes_from.is_none() && host.userns_mode.is_none());
            assert_eq!(host.cap_drop.unwrap(), ["NET_RAW", "MKNOD"]);
            assert_eq!(host.log_config.unwrap().typ.as_deref(), Some("none"));
            assert_eq!(host.auto_remove, Some(true));
            assert!(host.memory.unwrap_or(0) <= 1 << 30);
            let mounts = host.mounts.unwrap();
            assert_eq!(mounts.len(), 1);
            assert_eq!(mounts[0].read_only, Some(true));
            assert_eq!(mounts[0].source.as_deref(), Some("agent-volume"));
            let labels = spec.labels.unwrap();
            assert_eq!(
                (
                    labels["capstan.run"].as_str(),
                    labels["capstan.epoch"].as_str()
                ),
                ("r1", "7")
            );
            let cookies = spec.env.unwrap();
            let last = cookies
                .iter()
                .rfind(|v| v.starts_with("CAPSTAN_COOKIE="))
                .unwrap();
            assert!(last.ends_with(".0.1.7"), "{last}");
        }
    }

    #[test]
    fn directories_of_the_kernel_are_refused() {
        let container = Container::default();
        for (directory, fine) in [
            ("~/project", true),
            ("/process", true),
            ("/proc/1", false),
            ("//sys", false),
            ("/a/../dev", false),
        ] {
            let checked = check(&request("small", directory, &container), &container);
            assert_eq!(checked.is_ok(), fine, "{directory}");
        }
    }
}
