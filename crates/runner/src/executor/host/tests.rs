//! The contract on this machine, and what is this executor's own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use capstan_model::plan;
use futures_util::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process};

use super::HostExecutor;
use crate::agent_bin::AgentBinary;
use crate::executor::contract::{Session, Subject, contract, prepare};
use crate::executor::{Executor, PlaceError, PlaceRequest};

struct Host {
    executor: HostExecutor,
    base: PathBuf,
    places: AtomicU32,
}

const RUN: &str = "00000000-0000-4000-8000-000000000001";

/// Places below a folder of their own, with a shell for an agent.
async fn host() -> Option<Host> {
    static FOLDERS: AtomicU32 = AtomicU32::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let base = std::env::temp_dir().join(format!("capstan-host-{}-{number}", std::process::id()));
    let agent = AgentBinary {
        program: "/bin/sh".into(),
        // Going to its place is the agent's part.
        args: ["-c", "cd \"$CAPSTAN_PLACE\" && exec sh"]
            .map(Into::into)
            .to_vec(),
    };
    let executor = HostExecutor::with(base.clone(), RUN, agent, base.join("bin"));
    let places = AtomicU32::new(0);
    Some(Host {
        executor,
        base,
        places,
    })
}

contract!(host());

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

impl Subject for Host {
    fn executor(&self) -> &dyn Executor {
        &self.executor
    }

    fn request(&self) -> PlaceRequest {
        let number = self.places.fetch_add(1, Ordering::Relaxed);
        PlaceRequest {
            task: format!("00000000-0000-4000-8000-000000000001.{number}.1")
                .parse()
                .unwrap(),
            lease_epoch: 1,
            job_name: "build".to_owned(),
            executor: plan::Executor::Docker(Vec::new()),
            resource_class: None,
            working_directory: "~/project".to_owned(),
        }
    }

    fn kill<'a>(&'a self, pid: &'a str) -> BoxFuture<'a, ()> {
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        Box::pin(async {})
    }

    fn remains(&self) -> BoxFuture<'_, Vec<String>> {
        let mut found = Vec::new();
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let environ = std::fs::read(process.path().join("environ")).unwrap_or_default();
            let environ = String::from_utf8_lossy(&environ);
            if environ.contains(&format!("CAPSTAN_COOKIE={}/", self.base.display())) {
                found.push(format!("process {:?}", process.file_name()));
            }
        }
        for place in std::fs::read_dir(&self.base)
            .into_iter()
            .flatten()
            .flatten()
        {
            found.push(format!("{:?}", place.path()));
        }
        Box::pin(async move { found })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gets_a_fresh_home_and_little_of_the_callers_environment() {
    let host = host().await.unwrap();
    let mut session = Session::open(&host).await;
    let root = host.base.join("000000000000-1");
    assert_eq!(session.ask("pwd").await, root.display().to_string());
    for folder in [&host.base, &root] {
        let mode = std::os::unix::fs::MetadataExt::mode(&folder.metadata().unwrap());
        assert_eq!(mode & 0o077, 0, "others look into {}", folder.display());
    }
    let home = root.join("home").display().to_string();
    assert_eq!(session.ask("echo $HOME").await, home);
    assert_eq!(session.ask("ls -A $HOME | wc -l").await.trim(), "0");
    assert_eq!(
        session.ask("echo $PATH").await,
        std::env::var("PATH").unwrap()
    );
    // Cargo gives its tests many variables; none of them is the job's business.
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO_")));
    assert_eq!(session.ask("env | grep -c ^CARGO_").await, "0");
    session.stop().await;
    host.executor.sweep().await.unwrap();
    assert_eq!(host.remains().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_task_gets_the_place_that_was_made_ready() {
    let host = host().await.unwrap();
    let ready = || {
        let spare = host.executor.spare.lock().unwrap();
        let spare = spare.as_ref().unwrap();
        let pid = spare.child.as_ref().unwrap().id().unwrap();
        (spare.root.display().to_string(), pid.to_string())
    };
    host.executor.warm_up();
    let (spare, _) = ready();
    let mut first = Session::open(&host).await;
    assert_eq!(first.ask("pwd").await, spare);
    let mut second = Session::open(&host).await;
    assert_ne!(second.ask("pwd").await, spare);
    first.stop().await;
    second.stop().await;
    // One whose agent is gone is no place.
    host.executor.warm_up();
    let (dead, pid) = ready();
    assert_ne!(dead, spare, "no place is used twice");
    host.kill(&pid).await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let mut third = Session::open(&host).await;
    assert_ne!(third.ask("pwd").await, dead);
    third.stop().await;
    host.executor.sweep().await.unwrap();
    assert_eq!(host.remains().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_left_is_nobodys_fresh_directory() {
    let host = host().await.unwrap();
    let old = host.base.join("000000000000-1");
    let others = host.base.join("000000000001-1");
    std::fs::create_dir_all(old.join("home/old")).unwrap();
    std::fs::create_dir_all(&others).unwrap();
    let mut session = Session::open(&host).await;
    let fresh = host.base.join("000000000000-2").display().to_string();
    assert_eq!(session.ask("pwd").await, fresh);
    session.stop().await;
    // The next process of the same run removes it, and nothing of another run.
    let found = super::places_in(&host.base, "000000000000-");
    *host.executor.made() = found;
    host.executor.sweep().await.unwrap();
    assert_eq!(host.remains().await, [format!("{others:?}")]);
}

#[test]
fn the_commands_of_jobs_are_put_right_by_the_next_run() {
    let shared = tempfile::tempdir().unwrap();
    let agent = AgentBinary {
        program: "/bin/sh".into(),
        args: Vec::new(),
    };
    let bin = super::job_commands(&agent, shared.path()).unwrap();
    std::fs::remove_file(bin.join("circleci")).unwrap();
    std::fs::remove_file(bin.join("circleci-agent")).unwrap();
    std::fs::write(bin.join("circleci"), "#!/bin/sh").unwrap();
    assert_eq!(super::job_commands(&agent, shared.path()).unwrap(), bin);
    for command in ["circleci", "circleci-agent"] {
        let target = std::fs::read_link(bin.join(command)).unwrap();
        assert_eq!(target, std::path::Path::new("/bin/sh"));
    }
    assert_eq!(std::fs::read_dir(&bin).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_folder_of_the_kernel_is_refused_like_the_folder() {
    let host = host().await.unwrap();
    let link = host.base.with_extension("link");
    std::os::unix::fs::symlink("/proc", &link).unwrap();
    for folder in [link.clone(), link.join("self/not yet")] {
        let request = PlaceRequest {
            working_directory: folder.display().to_string(),
            ..host.request()
        };
        let refused = prepare(&host, &request).await;
        assert!(matches!(refused, Err(PlaceError::Job(_))), "{folder:?}");
    }
    std::fs::remove_file(&link).unwrap();
    host.executor.sweep().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_made_read_only_is_removed_as_well() {
    let host = host().await.unwrap();
    let mut session = Session::open(&host).await;
    let script = "mkdir -p a/b; echo x >a/b/c; chmod 0 a/b/c; chmod 500 a/b a; echo done";
    assert_eq!(session.ask(script).await, "done");
    session.stop().await;
    host.executor.sweep().await.unwrap();
    assert_eq!(host.remains().await, [""; 0]);
}
