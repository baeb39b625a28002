//! The server with a scripted runner that speaks the wire over the socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use capstan_engine::event::{NewWorkflow, PlanRef};
use capstan_engine::{TaskState, rows::JobRow};
use capstan_model::plan::{BuildJob, Decision, Executor, Job, JobKind, Workflow};
use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};
use capstan_model::wire::Assignment;
use capstan_model::{FileId, JobStatus, OriginId, Secret, Span};
use capstan_scm::{Forge, ForgeError, SourceStream};
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use uuid::Uuid;

use super::*;

const CONFIG: &str = ".circleci/config.yml";

/// Has one config at most, and no sources.
#[derive(Default)]
struct SmallForge {
    config: Option<&'static str>,
}

impl Forge for SmallForge {
    fn read_file<'a>(
        &'a self,
        _: &'a Revision,
        path: &'a str,
    ) -> BoxFuture<'a, Result<String, ForgeError>> {
        let found = self.config.map(str::to_owned);
        let found = found
            .filter(|_| path == CONFIG)
            .ok_or_else(|| ForgeError::NotFound {
                path: path.to_owned(),
                at: String::new(),
            });
        Box::pin(async move { found })
    }

    fn open_source<'a>(
        &'a self,
        _: &'a Revision,
    ) -> BoxFuture<'a, Result<SourceStream, ForgeError>> {
        Box::pin(async { Err(ForgeError::Failed(String::from("no sources here"))) })
    }
}

fn settings(dir: &Path, socket: &str) -> Settings {
    let context = vec![(String::from("TOKEN"), Secret::new(String::from("s3cret")))];
    Settings {
        data_dir: dir.join("run"),
        blanks: None,
        socket: dir.join(socket),
        forge: Arc::new(SmallForge::default()),
        orbs: Arc::new(orbs::NoOrbs),
        config_path: String::from(CONFIG),
        contexts: BTreeMap::from([(String::from("ctx"), context)]),
        project_vars: Vec::new(),
        max_run_time_ms: 60_000,
        lease_ms: 60_000,
        on_disconnect: OnDisconnect::Die,
    }
}

fn decision() -> Decision {
    let span = Span {
        file: FileId(0),
        start: 0,
        end: 0,
    };
    Decision {
        runs: true,
        reason: String::new(),
        clause: None,
        value: None,
        span,
    }
}

fn job(name: &str, kind: JobKind) -> Job {
    Job {
        name: name.to_owned(),
        kind,
        decision: decision(),
        requires: Vec::new(),
        contexts: vec![String::from("ctx"), String::from("absent")],
        serial_group: None,
        origin: OriginId(0),
    }
}

fn build() -> JobKind {
    JobKind::Build(Box::new(BuildJob {
        executor: Executor::Machine {
            image: None,
            docker_layer_caching: false,
        },
        resource_class: None,
        shell: None,
        working_directory: String::from("~/project"),
        environment: Vec::new(),
        parallelism: 1,
        origins: Vec::new(),
        steps: Vec::new(),
    }))
}

/// A pipeline of these jobs, none of which waits for another.
async fn begin(server: &Server, jobs: Vec<Job>) -> (PipelineId, WorkflowId, Vec<JobId>) {
    begin_plan(server, plan(jobs)).await
}

/// A plan of one workflow `w`.
fn plan(jobs: Vec<Job>) -> Plan {
    let workflow = Workflow {
        name: String::from("w"),
        decision: decision(),
        jobs,
        max_auto_reruns: 0,
        origin: OriginId(0),
    };
    Plan {
        workflows: vec![workflow],
        ..Plan::default()
    }
}

/// A push to `main`.
fn pushed(pipeline: PipelineId) -> Trigger {
    Trigger {
        pipeline,
        number: 1,
        actor: String::from("ann"),
        kind: TriggerKind::CommandLine,
        received_at_ms: 1,
        project: Project {
            slug: String::from("local/x"),
            ..Project::default()
        },
        revision: Revision {
            branch: Some(String::from("main")),
            ..Revision::default()
        },
        parameters: BTreeMap::new(),
        selection: Selection::default(),
        values: BTreeMap::new(),
    }
}

async fn begin_plan(server: &Server, plan: Plan) -> (PipelineId, WorkflowId, Vec<JobId>) {
    let pipeline = PipelineId(Uuid::new_v4());
    let (plan, new) = pinned(server, plan).await;
    let (id, ids) = (new.id, new.jobs.clone());
    let trigger = pushed(pipeline);
    let event = Event::Planned {
        trigger: Box::new(trigger),
        plan,
        source: None,
        workflows: vec![new],
    };
    server.inner.begin(pipeline, event).await.unwrap();
    (pipeline, id, ids)
}

/// A plan as an event brings it, with ids for its workflow.
async fn pinned(server: &Server, plan: Plan) -> (PlanRef, NewWorkflow) {
    let new = trigger::new_ids(plan.workflows[0].jobs.len());
    let plan = Arc::new(plan);
    let digest = server.inner.put_plan(&plan).await.unwrap();
    let plan = Some(plan);
    (PlanRef { digest, plan }, new)
}

async fn post(socket: &Path, path: &str, body: impl Into<Bytes>) -> (u16, Bytes) {
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::post(format!("/runner/v1/{path}"))
        .header("host", "capstan")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    (
        status,
        response.into_body().collect().await.unwrap().to_bytes(),
    )
}

async fn claim(socket: &Path, wait_ms: u64) -> Option<Assignment> {
    let body = format!(
        "{{\"proto\":1,\"runner\":\"{}\",\"wait_ms\":{wait_ms}}}",
        Uuid::new_v4()
    );
    let (status, body) = post(socket, "claim", body).await;
    (status != 204).then(|| {
        assert_eq!(status, 200, "{body:?}");
        serde_json::from_slice(&body).unwrap()
    })
}

async fn report(socket: &Path, task: TaskId, epoch: u64, events: &str) -> (u16, String) {
    let body = format!("{{\"lease_epoch\":{epoch},\"events\":[{events}]}}");
    let (status, body) = post(socket, &format!("tasks/{task}/events"), body).await;
    (status, String::from_utf8(body.to_vec()).unwrap())
}

const STARTED: &str = r#"{"type":"started","at_ms":1,"images":[]}"#;
const STEP: &str = r#"{"type":"step_started","step":101,"name":"echo","at_ms":2}"#;
const STEP_END: &str = r#"{"type":"step_finished","step":101,"status":"success","exit_code":0,"reason":null,"at_ms":5}"#;
const SUCCESS: &str = r#"{"type":"finished","outcome":"success","at_ms":6}"#;
const CANCELED: &str = r#"{"type":"finished","outcome":"canceled","at_ms":6}"#;

async fn status(server: &Server, pipeline: PipelineId, job: JobId) -> JobStatus {
    let rows = server.snapshot(pipeline).await.unwrap();
    let find = |row: &Row| match row {
        Row::Job(JobRow { id, status, .. }) if *id == job => Some(*status),
        _ => None,
    };
    rows.iter().find_map(find).unwrap()
}

async fn all(server: &Server, pipeline: PipelineId, from: u64) -> Vec<Update> {
    let mut seen = Vec::new();
    let mut after = from;
    while let Ok(batch) =
        tokio::time::timeout(Duration::from_millis(100), server.follow(pipeline, after)).await
    {
        let batch = batch.unwrap();
        after = batch.last().unwrap().seq;
        seen.extend(batch);
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_from_claim_to_success_and_everything_may_be_said_twice() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let server = Server::start(settings(dir.path(), "s")).await.unwrap();
    let (pipeline, workflow, jobs) = begin(&server, vec![job("build", build())]).await;
    let task = claim(&socket, 5000).await.unwrap();
    assert_eq!(claim(&socket, 0).await, None);
    let value = |name: &str| {
        task.spec
            .environment
            .iter()
            .rev()
            .find(|var| var.name == name)
            .map(|var| var.value.as_str())
    };
    assert_eq!(value("TOKEN"), Some("s3cret"));
    assert_eq!(value("CIRCLE_BRANCH"), Some("main"));
    assert_eq!(value("CIRCLE_BUILD_NUM"), Some("1"));
    assert_eq!(
        value("CIRCLE_WORKFLOW_WORKSPACE_ID"),
        Some(workflow.to_string().as_str())
    );
    assert_eq!(value("CIRCLE_SHA1"), None);
    assert_eq!(task.mask, ["s3cret"]);
    let note = "Warning: the context absent is not given; the job runs without its variables";
    assert_eq!(task.notes, [note]);
    let (id, epoch) = (task.task, task.lease_epoch);
    assert_eq!(report(&socket, id, epoch + 1, STARTED).await.0, 409);
    for _ in 0..2 {
        assert_eq!(
            report(&socket, id, epoch, &format!("{STARTED},{STEP}"))
                .await
                .0,
            200
        );
        let path = format!("tasks/{id}/log/101?lease_epoch={epoch}&offset=0");
        let (status, body) = post(&socket, &path, "hello\n").await;
        assert_eq!(
            (status, &body[..]),
            (200, &br#"{"want":"continue","acknowledged":6}"#[..])
        );
    }
    let gap = post(
        &socket,
        &format!("tasks/{id}/log/101?lease_epoch={epoch}&offset=9"),
        "x",
    )
    .await;
    assert_eq!(gap.0, 409);
    let short = |offset: u64| {
        format!(r#"{{"type":"output","step":101,"offset":{offset},"text":"short\n"}}"#)
    };
    assert_eq!(report(&socket, id, epoch, &short(7)).await.0, 409);
    for _ in 0..2 {
        assert_eq!(report(&socket, id, epoch, &short(6)).await.0, 200);
    }
    for _ in 0..2 {
        let (code, body) = report(&socket, id, epoch, &format!("{STEP_END},{SUCCESS}")).await;
        assert_eq!(code, 200, "{body}");
    }
    assert_eq!(status(&server, pipeline, jobs[0]).await, JobStatus::Success);
    assert_eq!(server.output(id, 101, 0, 100).unwrap(), b"hello\nshort\n");
    assert_eq!(server.steps(id).await.unwrap()[0].log_bytes, 12);
    let updates = all(&server, pipeline, 0).await;
    let seqs: Vec<_> = updates.iter().map(|update| update.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    for from in 0..seqs.len() {
        assert_eq!(all(&server, pipeline, from as u64).await, updates[from..]);
    }
    let output = |update: &&Update| matches!(update.kind, UpdateKind::Output { .. });
    assert_eq!(updates.iter().filter(output).count(), 1);
    assert_eq!(
        server.inner.store.check(pipeline).await.unwrap(),
        Vec::<String>::new()
    );
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_wakes_the_renewal_and_the_runner_confirms() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let server = Server::start(settings(dir.path(), "s")).await.unwrap();
    let (pipeline, _, jobs) = begin(&server, vec![job("build", build())]).await;
    let task = claim(&socket, 5000).await.unwrap();
    let (id, epoch) = (task.task, task.lease_epoch);
    assert_eq!(report(&socket, id, epoch, STARTED).await.0, 200);
    let renewal = tokio::spawn({
        let body = format!("{{\"lease_epoch\":{epoch},\"wait_ms\":60000}}");
        async move { post(&socket, &format!("tasks/{id}/renew"), body).await }
    });
    server
        .cancel(pipeline, CancelScope::Pipeline, "ann")
        .await
        .unwrap();
    let (code, body) = renewal.await.unwrap();
    assert_eq!((code, &body[..]), (200, &br#"{"want":"cancel"}"#[..]));
    assert_eq!(status(&server, pipeline, jobs[0]).await, JobStatus::Running);
    let socket = dir.path().join("s");
    assert_eq!(report(&socket, id, epoch, CANCELED).await.0, 200);
    assert_eq!(
        status(&server, pipeline, jobs[0]).await,
        JobStatus::Canceled
    );
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_the_lost_task_has_failed_and_the_past_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(settings(dir.path(), "s")).await.unwrap();
    let jobs = vec![job("build", build()), job("hold", JobKind::Approval)];
    let (pipeline, workflow, jobs) = begin(&server, jobs).await;
    let task = claim(&dir.path().join("s"), 5000).await.unwrap();
    let (id, epoch) = (task.task, task.lease_epoch);
    report(
        &dir.path().join("s"),
        id,
        epoch,
        &format!("{STARTED},{STEP}"),
    )
    .await;
    let before = all(&server, pipeline, 0).await;
    server.shutdown().await.unwrap();

    let server = Server::start(settings(dir.path(), "t")).await.unwrap();
    assert_eq!(server.pipelines(), [pipeline]);
    assert_eq!(
        status(&server, pipeline, jobs[0]).await,
        JobStatus::InfrastructureFail
    );
    assert_eq!(status(&server, pipeline, jobs[1]).await, JobStatus::OnHold);
    let after = all(&server, pipeline, 0).await;
    assert_eq!(after[..before.len()], before);
    let rows = server.snapshot(pipeline).await.unwrap();
    let finished = |row: &Row| matches!(row, Row::Task(row) if row.id == id && matches!(row.state, TaskState::Finished { .. }));
    assert!(rows.iter().any(finished));
    assert_eq!(
        report(&dir.path().join("t"), id, epoch, SUCCESS).await.0,
        409
    );
    let scope = RerunScope::Jobs {
        jobs: vec![jobs[0]],
        with_downstream: false,
    };
    server
        .rerun(pipeline, workflow, scope, "ann")
        .await
        .unwrap();
    let again = claim(&dir.path().join("t"), 5000).await.unwrap();
    assert_eq!(again.job_name, "build");
    server
        .approve(pipeline, workflow, jobs[1], "ann")
        .await
        .unwrap();
    assert_eq!(status(&server, pipeline, jobs[1]).await, JobStatus::Success);
    assert!(
        server
            .approve(pipeline, workflow, jobs[1], "ann")
            .await
            .is_err()
    );
    assert_eq!(
        server.inner.store.check(pipeline).await.unwrap(),
        Vec::<String>::new()
    );
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_continued_pipeline_runs_each_workflow_by_its_own_plan_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (s, t) = (dir.path().join("s"), dir.path().join("t"));
    let server = Server::start(settings(dir.path(), "s")).await.unwrap();
    let setup = Plan {
        setup: true,
        ..plan(vec![job("build", build())])
    };
    let (pipeline, _, _) = begin_plan(&server, setup).await;
    let first = claim(&s, 5000).await.unwrap();
    assert_eq!(first.spec.working_directory, "~/project");
    assert_eq!(
        report(&s, first.task, first.lease_epoch, STARTED).await.0,
        200
    );

    // The same names in the second plan, and yet another job.
    let mut elsewhere = job("build", build());
    if let JobKind::Build(build) = &mut elsewhere.kind {
        build.working_directory = String::from("~/elsewhere");
    }
    let (plan, new) = pinned(&server, plan(vec![elsewhere])).await;
    let continued = |new: NewWorkflow| Event::Continued {
        parameters: BTreeMap::new(),
        plan: plan.clone(),
        source: None,
        workflows: vec![new],
    };
    server
        .apply(pipeline, continued(new.clone()))
        .await
        .unwrap();
    let twice = server.apply(pipeline, continued(trigger::new_ids(1))).await;
    let twice = twice.unwrap_err().to_string();
    assert!(
        twice.contains("pipeline is created, not in setup"),
        "{twice}"
    );
    let second = claim(&s, 5000).await.unwrap();
    assert_eq!(second.spec.working_directory, "~/elsewhere");
    assert_eq!(second.workflow, new.id);
    let finish = format!("{STARTED},{SUCCESS}");
    assert_eq!(
        report(&s, second.task, second.lease_epoch, &finish).await.0,
        200
    );
    server.shutdown().await.unwrap();

    let server = Server::start(settings(dir.path(), "t")).await.unwrap();
    let scope = RerunScope::FromStart;
    server.rerun(pipeline, new.id, scope, "ann").await.unwrap();
    let again = claim(&t, 5000).await.unwrap();
    assert_eq!(again.spec.working_directory, "~/elsewhere");
    assert_eq!(
        server.inner.store.check(pipeline).await.unwrap(),
        Vec::<String>::new()
    );
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_made_of_the_config_that_the_forge_has() {
    let dir = tempfile::tempdir().unwrap();
    let start = async |name: &str, config| {
        let settings = Settings {
            data_dir: dir.path().join(format!("{name}.d")),
            forge: Arc::new(SmallForge { config }),
            ..settings(dir.path(), name)
        };
        Server::start(settings).await.unwrap()
    };
    let id = PipelineId(Uuid::new_v4());

    let sound = "version: 2.1\njobs: {build: {machine: true, steps: [{run: 'true'}]}}\n";
    let server = start("sound", Some(sound)).await;
    let made = server.trigger(pushed(id)).await.unwrap();
    assert_eq!((made.pipeline, made.workflows.len()), (id, 1));
    let next = claim(&dir.path().join("sound"), 5000).await.unwrap();
    assert_eq!(next.job_name, "build");
    let again = server.trigger(pushed(id)).await;
    assert!(matches!(again, Err(TriggerError::Exists(_))), "{again:?}");
    server.shutdown().await.unwrap();

    let broken = "version: 2.1\njobs: {build: {machine: true, steps: [chekout]}}\n";
    let server = start("broken", Some(broken)).await;
    let made = server.trigger(pushed(id)).await.unwrap();
    assert_eq!((made.plan, made.workflows.len()), (None, 0));
    assert_eq!(made.diagnostics[0].code, "E_UNKNOWN_COMMAND");
    let rows = server.snapshot(id).await.unwrap();
    let told = format!("{rows:?}");
    assert!(told.contains(".circleci/config.yml:2:39: "), "{told}");
    server.shutdown().await.unwrap();

    let server = start("none", None).await;
    let none = server.trigger(pushed(id)).await;
    assert!(matches!(none, Err(TriggerError::Config(_))), "{none:?}");
    assert_eq!(server.pipelines(), []);
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_hears_that_the_disk_refuses() {
    let dir = tempfile::tempdir().unwrap();
    for (name, waits) in [("die", false), ("hold", true)] {
        let settings = Settings {
            data_dir: dir.path().join(format!("{name}.d")),
            on_disconnect: match waits {
                true => OnDisconnect::Hold,
                false => OnDisconnect::Die,
            },
            ..settings(dir.path(), name)
        };
        let logs = settings.data_dir.join("logs");
        let server = Server::start(settings).await.unwrap();
        let (pipeline, ..) = begin(&server, vec![job("build", build())]).await;
        let socket = dir.path().join(name);
        let next = claim(&socket, 5000).await.unwrap();
        std::fs::write(&logs, "").unwrap();
        let output = r#"{"type":"output","step":101,"offset":0,"text":"lost"}"#;
        let events = format!("{STARTED},{STEP},{output}");
        let (code, _) = report(&socket, next.task, next.lease_epoch, &events).await;
        assert_eq!(code, 503, "nothing is acknowledged");
        let newest = server.position(pipeline).unwrap();
        let follow = server.follow(pipeline, newest);
        let heard = tokio::time::timeout(Duration::from_millis(300), follow).await;
        match heard {
            Err(_) => assert!(waits),
            Ok(Err(FollowError::Disk(why))) => assert!(!waits && why.contains("logs"), "{why}"),
            Ok(other) => panic!("{other:?}"),
        }
        // A server goes on once there is room again.
        std::fs::remove_file(&logs).unwrap();
        let (code, _) = report(&socket, next.task, next.lease_epoch, &events).await;
        assert_eq!(code, 200);
        server.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_being_canceled_when_the_process_ended_is_canceled() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(settings(dir.path(), "s")).await.unwrap();
    let (pipeline, _, jobs) = begin(&server, vec![job("build", build())]).await;
    claim(&dir.path().join("s"), 5000).await.unwrap();
    let scope = CancelScope::Pipeline;
    server.cancel(pipeline, scope, "ann").await.unwrap();
    server.shutdown().await.unwrap();
    let server = Server::start(settings(dir.path(), "t")).await.unwrap();
    assert_eq!(
        status(&server, pipeline, jobs[0]).await,
        JobStatus::Canceled
    );
    server.shutdown().await.unwrap();
}
