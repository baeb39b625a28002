//! The contract against a real engine, and what is this executor's own.

mod failing;
mod registry;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use capstan_model::plan::{self, Container};
use futures_util::future::BoxFuture;

use super::engine::{self, Engine};
use super::{DockerExecutor, DockerSettings, RUN_LABEL};
use crate::executor::contract::{self, Session, Subject, contract, in_time, prepare};
use crate::executor::{Executor, PlaceError, PlaceRequest};

/// Made by `scripts/make-test-images.sh`.
const IMAGE: &str = "cimg/base:stable";

struct InDocker {
    executor: DockerExecutor,
    run: String,
    places: AtomicU32,
}

/// An executor whose agent is the shell of the test image; `None`, said aloud, where there is no engine.
async fn docker() -> Option<InDocker> {
    let engine = engine::find().await;
    let ready = engine.map_err(|why| why.to_string()).and_then(|engine| {
        let inspect = docker_cli(&["image", "inspect", IMAGE]);
        let missing = format!("no image {IMAGE}: scripts/make-test-images.sh makes it");
        inspect.map(|_| engine).map_err(|_| missing)
    });
    match ready {
        Ok(engine) => Some(on(engine).await),
        Err(why) => {
            let required = std::env::var("CAPSTAN_REQUIRE").is_ok_and(|all| all.contains("docker"));
            assert!(!required, "{why}");
            println!("skipped: {why}");
            None
        }
    }
}

async fn on(engine: Engine) -> InDocker {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let run = format!("test-{}-{number}", std::process::id());
    let settings = DockerSettings {
        run: run.clone(),
        agent: shell().clone(),
        agent_args: Vec::new(),
    };
    InDocker {
        executor: DockerExecutor::on(engine, settings).await.unwrap(),
        run,
        places: AtomicU32::new(0),
    }
}

/// The image's own shell as a file: it runs where its libraries are.
fn shell() -> &'static PathBuf {
    static SHELL: OnceLock<PathBuf> = OnceLock::new();
    SHELL.get_or_init(|| {
        let bytes =
            docker_cli(&["run", "--rm", "--network=none", IMAGE, "cat", "/bin/dash"]).unwrap();
        let path = std::env::temp_dir().join("capstan-test-dash");
        // Tests at the same time write the same bytes.
        let fresh = path.with_extension(std::process::id().to_string());
        std::fs::write(&fresh, bytes).unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        path
    })
}

/// What a command says, or what it complains of.
fn docker_cli(arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn lines(arguments: &[&str]) -> Vec<String> {
    let said = String::from_utf8(docker_cli(arguments).unwrap()).unwrap();
    said.lines().map(str::to_owned).collect()
}

contract!(docker());

impl Subject for InDocker {
    fn executor(&self) -> &dyn Executor {
        &self.executor
    }

    fn request(&self) -> PlaceRequest {
        request(self, Container::default())
    }

    fn kill<'a>(&'a self, _: &'a str) -> BoxFuture<'a, ()> {
        // Nobody inside can kill the first process.
        docker_cli(&["kill", &container_of(self)]).unwrap();
        Box::pin(async {})
    }

    fn remains(&self) -> BoxFuture<'_, Vec<String>> {
        let label = format!("label={RUN_LABEL}={}", self.run);
        let mut found = lines(&["ps", "-aq", "--filter", &label]);
        found.extend(lines(&["network", "ls", "-q", "--filter", &label]));
        // The container's processes are the kernel's to end with its first one.
        Box::pin(async move { found })
    }
}

fn request(subject: &InDocker, container: Container) -> PlaceRequest {
    let number = subject.places.fetch_add(1, Ordering::Relaxed);
    let image = Container {
        image: IMAGE.to_owned(),
        ..container
    };
    PlaceRequest {
        task: format!("00000000-0000-4000-8000-000000000001.{number}.1")
            .parse()
            .unwrap(),
        lease_epoch: 1,
        job_name: "build".to_owned(),
        executor: plan::Executor::Docker(vec![image]),
        resource_class: Some("small".to_owned()),
        working_directory: "~/project".to_owned(),
    }
}

/// The only container of a run.
fn container_of(subject: &InDocker) -> String {
    let label = format!("label={RUN_LABEL}={}", subject.run);
    let mut found = lines(&["ps", "-q", "--filter", &label]);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

async fn open(subject: &InDocker, request: &PlaceRequest) -> Session {
    let mut place = prepare(subject, request).await.unwrap();
    let stream = in_time(place.start()).await.unwrap();
    Session { place, stream }
}

/// Connects with bash, which says whether and why not.
fn connect_to(address: &str, port: u16) -> String {
    format!(
        "timeout 3 bash -c 'echo >/dev/tcp/{address}/{port}' 2>&1 | grep -o 'refused\\|No route\\|unreachable' \
         | head -n 1 | grep . || echo no answer"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_docker_defaults_less_raw_sockets_and_devices() {
    let Some(docker) = docker().await else { return };
    let mut session = Session::open(&docker).await;
    let bounding = session.ask("grep CapBnd /proc/self/status").await;
    let bounding = u64::from_str_radix(bounding.rsplit('\t').next().unwrap(), 16).unwrap();
    // Docker's fourteen, without CAP_NET_RAW (13) and CAP_MKNOD (27).
    let docker_defaults = 0x0000_0000_a804_25fb_u64;
    assert_eq!(bounding, docker_defaults & !(1 << 13) & !(1 << 27));
    assert_eq!(
        session.ask("grep Seccomp: /proc/self/status").await,
        "Seccomp:\t2"
    );
    let refused = session
        .ask("echo x 2>/dev/null >/.capstan/capstan-agent || echo refused")
        .await;
    assert_eq!(refused, "refused");
    assert_eq!(session.ask("id -u; cd /").await, "0");
    session.stop().await;
    contract::nothing_remains(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_addresses_lead_nowhere() {
    let Some(docker) = docker().await else { return };
    // The first job is in the default bridge, the second in a network of its own.
    let mut one = Session::open(&docker).await;
    let mut other = Session::open(&docker).await;
    for session in [&mut one, &mut other] {
        // Its own address: nobody listens. Out of IPv6 there is no way.
        assert_eq!(
            session.ask(&connect_to("169.254.169.254", 80)).await,
            "refused"
        );
        let v6 = session.ask(&connect_to("fd00:ec2::254", 80)).await;
        assert!(
            v6 == "unreachable" || v6 == "No route" || v6.contains("no answer"),
            "{v6}"
        );
        assert_eq!(
            session
                .ask("cat /proc/net/if_inet6 | grep -vc ' lo$'")
                .await,
            "0"
        );
        let route = session
            .ask("grep -c 'FEA9.00000000.0001' /proc/net/route")
            .await;
        assert_eq!(route, "1", "all of 169.254.0.0/16 stays inside");
    }
    one.stop().await;
    other.stop().await;
    contract::nothing_remains(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_run_do_not_reach_each_other() {
    let Some(docker) = docker().await else { return };
    let mut one = Session::open(&docker).await;
    let mut other = Session::open(&docker).await;
    let address = one
        .ask("hostname -i | tr ' ' '\\n' | grep -v 169.254 | head -n 1")
        .await;
    one.say("busybox nc -l -p 4711 >/dev/null 2>&1 &").await;
    // Nobody listening would be refused at once; what is cut off gets no answer at all.
    assert_eq!(other.ask(&connect_to(&address, 4711)).await, "no answer");
    // The network of a job that is gone is used again.
    other.stop().await;
    in_time(async {
        while docker
            .executor
            .removals
            .lock()
            .unwrap()
            .iter()
            .any(|all| !all.is_finished())
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let third = Session::open(&docker).await;
    let label = format!("label={RUN_LABEL}={}", docker.run);
    assert_eq!(lines(&["network", "ls", "-q", "--filter", &label]).len(), 1);
    one.stop().await;
    third.stop().await;
    contract::nothing_remains(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ran_out_of_memory_says_so() {
    let Some(mut docker) = docker().await else {
        return;
    };
    docker.executor.machine.1 = 32 << 20;
    let mut session = Session::open(&docker).await;
    session.say("exec tail /dev/zero").await;
    session.rest().await;
    let exit = in_time(session.place.watch()).await;
    assert!(exit.out_of_memory, "{exit:?}");
    session.stop().await;
    contract::nothing_remains(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_somebody_removes_ends_with_a_cause() {
    let Some(docker) = docker().await else { return };
    let mut session = Session::open(&docker).await;
    assert_eq!(session.ask("echo ready").await, "ready");
    docker_cli(&["rm", "-f", &container_of(&docker)]).unwrap();
    session.rest().await;
    let exit = in_time(session.place.watch()).await;
    assert!(exit.cause.contains("removed") && !exit.by_job, "{exit:?}");
    session.stop().await;
    contract::nothing_remains(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrypoint_runs_beside_the_agent_and_ends_the_job() {
    let Some(docker) = docker().await else { return };
    let words = |all: &[&str]| Some(all.iter().map(|word| (*word).to_owned()).collect());
    let container = Container {
        entrypoint: words(&["sh", "-c"]),
        command: words(&[
            "echo $0 >/tmp/said; until [ -e /tmp/end ]; do sleep 0.1; done; exit 3",
            "x",
        ]),
        user: Some("circleci".to_owned()),
        ..Container::default()
    };
    let mut session = open(&docker, &request(&docker, container)).await;
    let first = "tr '\\0' ' ' </proc/1/cmdline; echo";
    assert!(session.ask(first).await.starts_with("sh -c echo"));
    assert_eq!(session.ask("stat -c %U /proc/1; true").await, "circleci");
    assert_eq!(session.ask("pwd").await, "/");
    assert_eq!(session.ask("cat /tmp/said").await, "x");
    session.say("touch /tmp/end").await;
    session.rest().await;
    let exit = in_time(session.place.watch()).await;
    assert_eq!((exit.code, exit.by_job), (Some(3), true), "{exit:?}");
    assert!(exit.cause.contains("entrypoint"), "{exit:?}");
    session.stop().await;
    contract::nothing_remains(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entrypoint_that_does_not_last_fails_the_job() {
    let Some(docker) = docker().await else { return };
    for (command, why) in [
        ("true", "exit code 0"),
        ("/no/such/file", "cannot be started"),
    ] {
        let container = Container {
            entrypoint: Some(vec![command.to_owned()]),
            ..Container::default()
        };
        let mut place = prepare(&docker, &request(&docker, container))
            .await
            .unwrap();
        let error = match in_time(place.start()).await {
            Err(error) => error,
            // It was attached to just in time.
            Ok(mut stream) => {
                let mut rest = Vec::new();
                let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream.reader, &mut rest).await;
                let exit = in_time(place.watch()).await;
                assert!(exit.by_job, "{exit:?}");
                PlaceError::Job(exit.cause)
            }
        };
        assert!(matches!(error, PlaceError::Job(_)), "{command}: {error:?}");
        assert!(error.to_string().contains(why), "{command}: {error}");
        in_time(place.stop()).await;
    }
    contract::nothing_remains(&docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_preserves_its_entrypoint_runs_it() {
    let Some(docker) = docker().await else { return };
    let label = "--change=LABEL com.circleci.preserve-entrypoint=true";
    let image = format!("capstan-test-preserve:{}", docker.run);
    let made = docker_cli(&["create", "--network=none", IMAGE]).unwrap();
    let made = String::from_utf8(made).unwrap();
    let entrypoint = "--change=ENTRYPOINT [\"sleep\"]";
    let command = "--change=CMD [\"996\"]";
    docker_cli(&["commit", label, entrypoint, command, made.trim(), &image]).unwrap();
    docker_cli(&["rm", made.trim()]).unwrap();
    let mut wanted = request(&docker, Container::default());
    if let plan::Executor::Docker(containers) = &mut wanted.executor {
        containers[0].image.clone_from(&image);
    }
    let mut session = open(&docker, &wanted).await;
    assert_eq!(
        session.ask("tr '\\0' ' ' </proc/1/cmdline; echo").await,
        "sleep 996 "
    );
    session.stop().await;
    contract::nothing_remains(&docker).await;
    docker_cli(&["image", "rm", &image]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_was_left_half_filled_is_never_mounted() {
    let Some(docker) = docker().await else { return };
    // An agent that no other test has: this one fills its volume itself.
    let agent = std::env::temp_dir().join(format!("capstan-test-{}", docker.run));
    let own = [
        std::fs::read(shell()).unwrap(),
        docker.run.clone().into_bytes(),
    ]
    .concat();
    std::fs::write(&agent, own).unwrap();
    let mut settings = docker.executor.settings.clone();
    settings.agent.clone_from(&agent);
    let engine = &docker.executor.engine.docker;
    let ensure = || super::agent_volume::ensure(engine, &settings, IMAGE);

    let first = in_time(ensure()).await.unwrap();
    assert_eq!(in_time(ensure()).await.unwrap(), first);
    let marker = format!("{}-complete", first.rsplit_once('-').unwrap().0);
    // Somebody removed the volume and left the marker.
    docker_cli(&["volume", "rm", &first]).unwrap();
    let second = in_time(ensure()).await.unwrap();
    assert_ne!(second, first);
    // A crash before the marker was made: the volume is filled anew, and the old one swept away.
    docker_cli(&["volume", "rm", &marker]).unwrap();
    let third = in_time(ensure()).await.unwrap();
    assert_ne!(third, second);
    docker.executor.sweep().await.unwrap();
    let label = format!("label={RUN_LABEL}={}", docker.run);
    assert_eq!(
        lines(&["volume", "ls", "-q", "--filter", &label]),
        [third.as_str()]
    );
    // Several at once agree on one.
    docker_cli(&["volume", "rm", &third, &marker]).unwrap();
    let (one, other) = tokio::join!(in_time(ensure()), in_time(ensure()));
    assert_eq!(one.unwrap(), other.unwrap());
    let left = lines(&["volume", "ls", "-q", "--filter", &label]);
    assert_eq!(left.len(), 1, "{left:?}");
    docker_cli(&["volume", "rm", &left[0], &marker]).unwrap();
    std::fs::remove_file(agent).unwrap();
}
