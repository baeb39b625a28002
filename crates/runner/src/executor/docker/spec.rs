//! The one function that says what a container may do.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigLogConfig,
    Mount, MountType, NetworkingConfig,
};
use capstan_model::plan::Container;

use super::image::ImageFacts;
use super::{DockerSettings, PlaceError, PlaceRequest, RUN_LABEL};
use crate::executor::refuse_kernel_folders;
use crate::resources;

/// Where the agent's binary is, read-only.
pub(super) const AGENT_MOUNT: &str = "/.capstan";
/// Where the agent may write.
const AGENT_DIR: &str = "/.capstan-run";
/// Where clouds give a machine's own credentials to whoever asks.
const METADATA: &str = "169.254.169.254";

/// What of a container is not the job's to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) settings: &'a DockerSettings,
    /// Holds the agent.
    pub(super) volume: &'a str,
    /// The job's network.
    pub(super) network: &'a str,
    /// Processors and memory of the machine.
    pub(super) machine: (u32, u64),
    /// Name servers, where the engine's own are out of reach; else empty.
    pub(super) name_servers: &'a [String],
}

/// Refuses what can be refused before an image is looked at.
pub(super) fn check(request: &PlaceRequest) -> Result<(), PlaceError> {
    refuse_kernel_folders(&request.working_directory)
}

/// Refuses what the image itself asks for and cannot have.
pub(super) fn check_image(container: &Container, facts: &ImageFacts) -> Result<(), PlaceError> {
    // The engine enters this directory before anything of ours runs; old engines can be led out of the
    // container by it.
    match refuse_kernel_folders(&facts.working_directory) {
        Err(_) if runs_own_entrypoint(container, facts) => Err(PlaceError::Job(format!(
            "image {} has the working directory {:?}, which is one of the kernel's folders",
            container.image, facts.working_directory
        ))),
        _ => Ok(()),
    }
}

/// Whether the container's first process is the image's or the config's, and not the agent. Then the
/// agent is started beside it, and the job ends with it.
pub(super) fn runs_own_entrypoint(container: &Container, facts: &ImageFacts) -> bool {
    facts.preserve || container.entrypoint.is_some() || container.command.is_some()
}

/// What starts the agent.
pub(super) fn agent_command(settings: &DockerSettings) -> Vec<String> {
    let mut command = vec![format!("{AGENT_MOUNT}/capstan-agent")];
    command.extend(settings.agent_args.iter().cloned());
    command
}

/// The container of a job. Of the request only the image, its entrypoint, command and user, the
/// environment and the resource class have a say.
pub(super) fn container_spec(
    request: &PlaceRequest,
    container: &Container,
    facts: &ImageFacts,
    around: Surroundings<'_>,
) -> ContainerCreateBody {
    let Surroundings {
        settings,
        volume,
        network,
        machine,
        name_servers,
    } = around;
    let limits = resources::limits(request.resource_class.as_deref(), machine.0, machine.1);
    let step_user = container.user.as_deref().unwrap_or(&facts.user);
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
    env.push(format!("CAPSTAN_STEP_USER={step_user}"));
    let labels = [
        (RUN_LABEL.to_owned(), settings.run.clone()),
        ("capstan.task".to_owned(), request.task.to_string()),
        ("capstan.epoch".to_owned(), request.lease_epoch.to_string()),
        ("capstan.job".to_owned(), request.job_name.clone()),
    ];
    // An address of the container's own is not looked for outside: whoever asks the metadata service
    // asks this container, and its whole network 169.254.0.0/16 leads nowhere.
    let endpoint = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            link_local_ips: Some(vec![METADATA.to_owned()]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let first_process = first_process(container, facts, settings);
    ContainerCreateBody {
        image: Some(facts.id.clone()),
        env: Some(env),
        labels: Some(labels.into()),
        tty: Some(false),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.to_owned(), endpoint)])),
        }),
        host_config: Some(HostConfig {
            privileged: Some(false),
            auto_remove: Some(true),
            network_mode: Some(network.to_owned()),
            cap_drop: Some(vec!["NET_RAW".to_owned(), "MKNOD".to_owned()]),
            dns: (!name_servers.is_empty()).then(|| name_servers.to_vec()),
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
        ..first_process
    }
}

fn first_process(
    container: &Container,
    facts: &ImageFacts,
    settings: &DockerSettings,
) -> ContainerCreateBody {
    if runs_own_entrypoint(container, facts) {
        return ContainerCreateBody {
            user: container.user.clone(),
            entrypoint: container.entrypoint.clone(),
            cmd: container.command.clone(),
            ..Default::default()
        };
    }
    ContainerCreateBody {
        // The agent starts as root and becomes the user of the steps itself.
        user: Some("0:0".to_owned()),
        entrypoint: Some(agent_command(settings)),
        cmd: Some(Vec::new()),
        working_dir: Some("/".to_owned()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        stdin_once: Some(true),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bollard::models::ContainerCreateBody;
    use capstan_model::plan::{self, Container, EnvVar};

    use super::{
        DockerSettings, ImageFacts, PlaceError, PlaceRequest, Surroundings, check_image,
        container_spec,
    };

    fn settings() -> DockerSettings {
        DockerSettings {
            run: "r1".to_owned(),
            agent: PathBuf::new(),
            agent_args: vec!["agent".to_owned()],
        }
    }

    fn spec(container: &Container, facts: &ImageFacts, class: &str) -> ContainerCreateBody {
        let request = PlaceRequest {
            task: "00000000-0000-4000-8000-000000000001.0.1".parse().unwrap(),
            lease_epoch: 7,
            job_name: class.to_owned(),
            executor: plan::Executor::Docker(vec![container.clone()]),
            resource_class: Some(class.to_owned()),
            working_directory: class.to_owned(),
        };
        let around = Surroundings {
            settings: &settings(),
            volume: "agent-volume",
            network: "net-1",
            machine: (2, 1 << 30),
            name_servers: &[],
        };
        container_spec(&request, container, facts, around)
    }

    /// Whatever the request, nothing but what is listed here is asked of the engine.
    fn assert_plain(spec: ContainerCreateBody) {
        let host = spec.host_config.unwrap();
        assert_eq!(host.privileged, Some(false));
        assert_eq!(host.network_mode.as_deref(), Some("net-1"));
        assert!(host.binds.is_none() && host.devices.is_none() && host.cap_add.is_none());
        assert!(host.device_requests.is_none() && host.device_cgroup_rules.is_none());
        assert!(host.pid_mode.is_none() && host.ipc_mode.is_none() && host.uts_mode.is_none());
        assert!(host.cgroupns_mode.is_none() && host.cgroup_parent.is_none());
        // No option at all: the engine's default seccomp and AppArmor profiles.
        assert!(host.security_opt.is_none() && host.sysctls.is_none() && host.runtime.is_none());
        assert!(host.volumes_from.is_none() && host.userns_mode.is_none());
        assert!(host.masked_paths.is_none() && host.readonly_paths.is_none());
        assert!(host.port_bindings.is_none() && host.publish_all_ports.is_none());
        assert!(host.extra_hosts.is_none() && host.links.is_none() && host.dns.is_none());
        assert_eq!(host.cap_drop.unwrap(), ["NET_RAW", "MKNOD"]);
        assert_eq!(host.log_config.unwrap().typ.as_deref(), Some("none"));
        assert_eq!(host.auto_remove, Some(true));
        assert!(host.memory.unwrap_or(0) <= 1 << 30);
        let mounts = host.mounts.unwrap();
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].read_only, Some(true));
        assert_eq!(mounts[0].source.as_deref(), Some("agent-volume"));
        assert!(host.tmpfs.unwrap().keys().eq(["/.capstan-run"]));
        let networks = spec.networking_config.unwrap().endpoints_config.unwrap();
        assert!(networks.keys().eq(["net-1"]));
        let blocked = networks["net-1"]
            .ipam_config
            .clone()
            .unwrap()
            .link_local_ips;
        assert_eq!(blocked.unwrap(), ["169.254.169.254"]);
        assert!(spec.volumes.is_none() && spec.exposed_ports.is_none());
        let labels = spec.labels.unwrap();
        let (run, epoch) = (&labels["capstan.run"], &labels["capstan.epoch"]);
        assert_eq!((run.as_str(), epoch.as_str()), ("r1", "7"));
        let env = spec.env.unwrap();
        let cookie = env.iter().rfind(|v| v.starts_with("CAPSTAN_COOKIE="));
        assert!(cookie.unwrap().ends_with(".0.1.7"), "{cookie:?}");
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
        for seed in 0..512_usize {
            let word = |shift: u32| words[seed >> shift & 7].to_owned();
            let container = Container {
                image: word(0),
                name: Some(word(3)),
                user: Some(word(6)),
                entrypoint: (seed % 3 == 0).then(|| vec![word(3), word(6)]),
                command: (seed % 5 == 0).then(|| vec![word(0)]),
                environment: vec![EnvVar {
                    name: word(3),
                    value: word(6),
                }],
                auth: None,
            };
            let facts = ImageFacts {
                id: word(3),
                user: word(0),
                working_directory: word(6),
                preserve: seed % 7 == 0,
            };
            let spec = spec(&container, &facts, &word(0));
            let own = seed % 3 == 0 || seed % 5 == 0 || seed % 7 == 0;
            assert_eq!(spec.user.as_deref() == Some("0:0"), !own);
            assert_plain(spec);
        }
    }

    #[test]
    fn the_first_process_is_the_agent_unless_the_config_or_the_image_wants_its_own() {
        let plain = spec(&Container::default(), &ImageFacts::default(), "small");
        assert_eq!(
            plain.entrypoint.unwrap(),
            ["/.capstan/capstan-agent", "agent"]
        );
        assert_eq!(
            (plain.cmd, plain.open_stdin),
            (Some(Vec::new()), Some(true))
        );

        let preserved = ImageFacts {
            preserve: true,
            ..ImageFacts::default()
        };
        let kept = spec(&Container::default(), &preserved, "small");
        assert_eq!((kept.entrypoint, kept.cmd, kept.user), (None, None, None));

        let written = Container {
            command: Some(vec!["serve".to_owned()]),
            ..Container::default()
        };
        let written = spec(&written, &ImageFacts::default(), "small");
        assert_eq!((written.entrypoint, written.open_stdin), (None, None));
        assert_eq!(written.cmd.unwrap(), ["serve"]);
    }

    #[test]
    fn an_entrypoint_does_not_start_in_a_folder_of_the_kernel() {
        let mut facts = ImageFacts {
            working_directory: "/proc/self/fd/8".to_owned(),
            ..ImageFacts::default()
        };
        // The agent starts in the root directory, whatever the image says.
        assert!(check_image(&Container::default(), &facts).is_ok());
        facts.preserve = true;
        let refused = check_image(&Container::default(), &facts);
        assert!(matches!(refused, Err(PlaceError::Job(_))));
    }
}
