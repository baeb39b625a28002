//! The docker executor against a real engine, with `cat` in the agent's stead.

use std::process::{Command, Stdio};

use capstan_model::plan::{self, Container};
use capstan_runner::executor::docker::{DockerExecutor, DockerSettings};
use capstan_runner::executor::{Executor, PlaceError, PlaceRequest, SpinUpLog};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const IMAGE: &str = "capstan-test-cat:latest";

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn request(image: &str) -> PlaceRequest {
    let container = Container {
        image: image.to_owned(),
        ..Container::default()
    };
    PlaceRequest {
        task: "00000000-0000-4000-8000-000000000001.0.1".parse().unwrap(),
        lease_epoch: 1,
        job_name: "build".to_owned(),
        executor: plan::Executor::Docker(vec![container]),
        resource_class: Some("small".to_owned()),
        working_directory: "~/project".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_echoes_ends_and_is_removed() {
    let settings = DockerSettings {
        run: format!("test-{}", std::process::id()),
        agent: "/bin/cat".into(),
        agent_args: vec!["-".to_owned()],
    };
    let executor = match DockerExecutor::connect(settings).await {
        Ok(executor) => executor,
        Err(why) => {
            let required = std::env::var("CAPSTAN_REQUIRE").is_ok_and(|all| all.contains("docker"));
            assert!(!required, "{why}");
            println!("skipped: {why}");
            return;
        }
    };
    let script =
        "tar -ch /bin/cat $(ldd /bin/cat | grep -o '/[^ ]*') 2>/dev/null | docker import - ";
    let made = Command::new("sh")
        .args(["-c", &format!("{script}{IMAGE}")])
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let (send, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let log = SpinUpLog(send);

    let mut place = executor.prepare(&request(IMAGE), &log).await.unwrap();
    assert!(place.images()[0].digest.starts_with("sha256:"));
    assert!(lines.recv().await.unwrap().contains(IMAGE));
    let mut stream = place.start().await.unwrap();
    stream.writer.write_all(b"hello\n").await.unwrap();
    stream.writer.shutdown().await.unwrap();
    let mut said = String::new();
    stream.reader.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "hello\n");
    assert_eq!(place.watch().await.code, Some(0));
    place.stop().await;

    let missing = executor.prepare(&request("127.0.0.1:9/none:1"), &log).await;
    assert!(
        matches!(missing, Err(PlaceError::Job(_))),
        "{:?}",
        missing.err()
    );
    executor.sweep().await.unwrap();
}
