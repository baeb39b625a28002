//! The runner between a scripted agent and a scripted server.

mod server;

use std::path::Path;

use capstan_model::plan::{Executor as Wanted, Step, StepKind, When};
use capstan_model::wire::TaskSpec;
use capstan_model::{JobId, OriginId, PipelineId, RunnerId, TaskId, WorkflowId};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::UnixListener;

use super::*;
use crate::executor::{Executor, Exit};
use crate::{Runner, RunnerError, RunnerSettings};
use server::Script;

const SECRET: &str = "hunter2-hunter2";
/// What may lie between agent and relay.
const PIPE: usize = 64 << 10;

// ---------------------------------------------------------------- the place and its agent

/// Gives each place a pipe whose other end the test holds.
#[derive(Clone)]
struct Pipes {
    agents: mpsc::UnboundedSender<DuplexStream>,
    /// How many places were stopped.
    freed: watch::Sender<usize>,
}

struct Pipe(Pipes);

impl Executor for Pipes {
    fn name(&self) -> &'static str {
        "pipes"
    }

    fn prepare<'a>(
        &'a self,
        _: &'a PlaceRequest,
        log: &'a SpinUpLog,
    ) -> BoxFuture<'a, Result<Box<dyn Place>, PlaceError>> {
        Box::pin(async move {
            log.line(format!("a pipe for {SECRET}"));
            let place: Box<dyn Place> = Box::new(Pipe(self.clone()));
            Ok(place)
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<(), PlaceError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Place for Pipe {
    fn start(&mut self) -> BoxFuture<'_, Result<AgentStream, PlaceError>> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        self.0.agents.send(theirs).unwrap();
        let (reader, writer) = tokio::io::split(ours);
        Box::pin(async move {
            Ok(AgentStream {
                reader: Box::pin(reader),
                writer: Box::pin(writer),
            })
        })
    }

    fn watch(&mut self) -> BoxFuture<'_, Exit> {
        Box::pin(async {
            Exit {
                code: Some(137),
                ..Exit::unknown(format!("the agent was killed over {SECRET}"))
            }
        })
    }

    fn images(&self) -> Vec<PinnedImage> {
        let reference = format!("registry/{SECRET}");
        vec![PinnedImage {
            reference,
            digest: String::from("sha256:0"),
        }]
    }

    fn stop(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.0.freed.send_modify(|count| *count += 1) })
    }
}

/// The agent's end of a pipe.
struct Agent {
    stream: DuplexStream,
    frames: FrameReader,
}

impl Agent {
    async fn say(&mut self, message: AgentMessage) {
        self.send(&Frame::Agent(message)).await;
    }

    async fn log(&mut self, step: u32, offset: u64, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        let frame = Frame::Log {
            step,
            offset,
            bytes,
        };
        self.send(&frame).await;
    }

    async fn send(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        // A runner that has had enough does not read to the end.
        let _ = self.stream.write_all(&bytes).await;
    }

    async fn hello(&mut self) {
        let version = String::from("test");
        let (proto, min) = (PROTO, PROTO_MIN);
        self.say(AgentMessage::Hello {
            proto,
            min,
            version,
        })
        .await;
    }

    async fn start(&mut self, step: u32) {
        let name = format!("step {step} of {SECRET}");
        let at_ms = 1;
        self.say(AgentMessage::StepStarted { step, name, at_ms })
            .await;
    }

    async fn finish_step(&mut self, step: u32) {
        self.say(AgentMessage::StepFinished {
            step,
            status: StepStatus::Success,
            exit_code: Some(0),
            reason: Some(format!("because of {SECRET}")),
            at_ms: 2,
        })
        .await;
    }

    async fn fetch(&mut self, transfer: u32) {
        let what = Fetch::Source;
        self.say(AgentMessage::Fetch { transfer, what }).await;
    }

    async fn finish(&mut self, outcome: TaskOutcome) {
        self.say(AgentMessage::Finished { outcome }).await;
    }

    /// The next frame from the runner, acknowledgements passed over; `None` at the end.
    async fn hear(&mut self) -> Option<Frame> {
        let heard = async {
            loop {
                match self.frames.next_frame().unwrap() {
                    Some(Frame::Runner(RunnerMessage::LogAcknowledged { .. })) => {}
                    Some(frame) => return Some(frame),
                    None => {
                        let mut bytes = [0; 1024];
                        let count = self.stream.read(&mut bytes).await.unwrap();
                        if count == 0 {
                            return None;
                        }
                        self.frames.push(&bytes[..count]);
                    }
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), heard)
            .await
            .unwrap()
    }

    /// Hello, and the task that comes back.
    async fn greet(&mut self) -> TaskSpec {
        self.hello().await;
        let welcome = self.hear().await;
        assert_eq!(
            welcome,
            Some(Frame::Runner(RunnerMessage::Welcome { proto: PROTO }))
        );
        match self.hear().await {
            Some(Frame::Runner(RunnerMessage::Task(spec))) => *spec,
            other => panic!("not a task: {other:?}"),
        }
    }
}

// ---------------------------------------------------------------- both

/// A runner at work on a task of two steps.
struct World {
    directory: tempfile::TempDir,
    script: Arc<Script>,
    agents: mpsc::UnboundedReceiver<DuplexStream>,
    freed: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), RunnerError>>,
}

impl World {
    fn new(script: Script) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let script = Arc::new(script);
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(Arc::clone(&script).serve(listener));
        let (pipes, agents) = mpsc::unbounded_channel();
        let (stops, freed) = watch::channel(0);
        let pipes = Pipes {
            agents: pipes,
            freed: stops,
        };
        let runner = runner(&socket, Arc::new(pipes));
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(runner.run(stopped));
        Self {
            directory,
            script,
            agents,
            freed,
            stop,
            running,
        }
    }

    /// With a task to claim.
    fn with_task() -> Self {
        let script = Script::default();
        script.claims.lock().unwrap().push(assignment());
        Self::new(script)
    }

    async fn agent(&mut self) -> Agent {
        let agent = tokio::time::timeout(Duration::from_secs(20), self.agents.recv());
        Agent {
            stream: agent.await.unwrap().unwrap(),
            frames: FrameReader::default(),
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(Duration::from_secs(5), self.running);
        ended.await.unwrap().unwrap().unwrap();
        let told = self.script.told();
        let sinks = format!("{:?} {:?}", told.events, told.logs.values());
        assert!(!sinks.contains(SECRET), "{sinks}");
        drop(self.directory);
    }
}

fn runner(socket: &Path, executor: Arc<dyn Executor>) -> Runner {
    Runner::new(RunnerSettings {
        socket: socket.to_owned(),
        id: RunnerId(uuid::Uuid::new_v4()),
        capacity: 1,
        docker: None,
        machine: Some(executor),
        cancel_grace_ms: 100,
    })
}

fn assignment() -> Assignment {
    let job = JobId(uuid::Uuid::new_v4());
    let step = Step {
        name: None,
        kind: StepKind::Run(Box::default()),
        when: When::OnSuccess,
        origin: OriginId(0),
    };
    let spec = TaskSpec {
        steps: vec![step.clone(), step],
        ..TaskSpec::default()
    };
    let (node, attempt) = (0, 1);
    Assignment {
        task: TaskId { job, node, attempt },
        pipeline: PipelineId(uuid::Uuid::new_v4()),
        workflow: WorkflowId(uuid::Uuid::new_v4()),
        job,
        job_name: String::from("build"),
        lease_epoch: 1,
        lease_ms: 60_000,
        executor: Wanted::Machine {
            image: None,
            docker_layer_caching: false,
        },
        resource_class: None,
        spec,
        mask: vec![SECRET.to_owned()],
        notes: vec![String::from("Warning: the context x is not given")],
    }
}

#[tokio::test]
async fn a_task_is_told_in_order_and_the_agent_goes_when_it_has_said_all() {
    let mut world = World::with_task();
    let mut agent = world.agent().await;
    assert_eq!(agent.greet().await.steps.len(), 2);
    agent.start(STEP_ENVIRONMENT).await;
    agent.log(STEP_ENVIRONMENT, 0, b"CI=true\n").await;
    agent.finish_step(STEP_ENVIRONMENT).await;
    agent.start(101).await;
    // A secret that is cut, and bytes that are no text.
    agent.log(101, 0, b"one hunter2-").await;
    agent.log(101, 12, b"hunter2 two\n").await;
    agent.log(101, 24, &[0xff, b'\n']).await;
    agent.finish_step(101).await;
    agent.finish(TaskOutcome::Success).await;
    assert_eq!(
        agent.hear().await,
        Some(Frame::Runner(RunnerMessage::Goodbye))
    );
    assert_eq!(world.script.outcome().await, "success");
    let kinds: Vec<String> = world
        .script
        .told()
        .events
        .iter()
        .filter(|event| event["type"] != "output")
        .map(|event| {
            let word = event["type"].as_str().unwrap();
            format!("{word} {}", event["step"])
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "step_started 0",
            "step_finished 0",
            "started null",
            "step_started 99",
            "step_finished 99",
            "step_started 101",
            "step_finished 101",
            "finished null"
        ]
    );
    assert_eq!(world.script.log(0), "a pipe for ****\n");
    assert_eq!(
        world.script.log(99),
        "Warning: the context x is not given\nCI=true\n",
        "what a person should know comes first"
    );
    let log = world.script.told().logs.get(&101).cloned();
    assert_eq!(log.unwrap(), b"one **** two\n\xff\n");
    assert_eq!(agent.hear().await, None, "its input ends");
    world.end().await;
}

/// What an agent does after its greeting, and what is said of it.
type Breach = (&'static str, fn(Agent) -> BoxFuture<'static, Agent>);

#[tokio::test]
async fn an_agent_that_breaks_the_protocol_is_not_believed() {
    let breaches: [Breach; 9] = [
        ("a second hello", |mut agent| {
            Box::pin(async {
                agent.hello().await;
                agent
            })
        }),
        ("step 101 has not begun", |mut agent| {
            Box::pin(async {
                agent.log(101, 0, b"early").await;
                agent
            })
        }),
        ("step 101 is over", |mut agent| {
            Box::pin(async {
                agent.start(101).await;
                agent.finish_step(101).await;
                agent.log(101, 0, b"late").await;
                agent
            })
        }),
        ("step 101 is over", |mut agent| {
            Box::pin(async {
                agent.start(101).await;
                agent.finish_step(101).await;
                agent.finish_step(101).await;
                agent
            })
        }),
        ("step 102 began twice", |mut agent| {
            Box::pin(async {
                agent.start(102).await;
                agent.finish_step(102).await;
                agent.start(102).await;
                agent
            })
        }),
        ("there is no step 103", |mut agent| {
            Box::pin(async {
                agent.start(103).await;
                agent
            })
        }),
        ("output of step 101 at 7, not at 3", |mut agent| {
            Box::pin(async {
                agent.start(101).await;
                agent.log(101, 0, b"abc").await;
                agent.log(101, 7, b"abc").await;
                agent
            })
        }),
        ("more than 256 values", |mut agent| {
            Box::pin(async {
                for n in 0..=MASKS_MAX {
                    let value = format!("value-{n}");
                    agent.say(AgentMessage::Mask { value }).await;
                }
                agent
            })
        }),
        // The reason of the refusal repeats what the agent sent.
        ("unknown variant `****`", |mut agent| {
            Box::pin(async {
                let body = json!({ "type": SECRET }).to_string();
                let length = u32::try_from(body.len() + 1).unwrap().to_le_bytes();
                let frame = [&length[..], &[0], body.as_bytes()].concat();
                agent.stream.write_all(&frame).await.unwrap();
                agent
            })
        }),
    ];
    for (said, script) in breaches {
        let mut world = World::with_task();
        let mut agent = world.agent().await;
        agent.greet().await;
        let mut agent = script(agent).await;
        let outcome = world.script.outcome().await;
        let cause = outcome["infrastructure_fail"].as_str().unwrap_or_default();
        assert!(
            cause.starts_with("agent broke the protocol: ") && cause.contains(said),
            "{said}: {outcome}"
        );
        // It may be at work: nothing but the end of its input ends that.
        assert_eq!(agent.hear().await, None, "no goodbye");
        world.end().await;
    }
}

#[tokio::test]
async fn a_cause_is_masked_whoever_tells_it() {
    let mut world = World::with_task();
    let mut agent = world.agent().await;
    agent.greet().await;
    let cause = format!("no room for {SECRET}");
    agent.finish(TaskOutcome::InfrastructureFail(cause)).await;
    let outcome = world.script.outcome().await;
    assert_eq!(outcome, json!({"infrastructure_fail": "no room for ****"}));
    world.end().await;

    let mut world = World::with_task();
    let mut agent = world.agent().await;
    agent.greet().await;
    drop(agent);
    let outcome = world.script.outcome().await;
    let cause = "the agent was killed over ****";
    assert_eq!(outcome, json!({ "infrastructure_fail": cause }));
    world.end().await;
}

#[tokio::test]
async fn a_value_born_in_the_job_is_masked_in_every_open_stream() {
    let mut world = World::with_task();
    let mut agent = world.agent().await;
    agent.greet().await;
    agent.start(101).await;
    agent.start(102).await;
    // The stream of 102 holds a tail back that looks like the older secret.
    agent.log(102, 0, b"x hunter2-").await;
    let value = String::from("born-in-the-job");
    agent.say(AgentMessage::Mask { value }).await;
    agent.log(101, 0, b"<born-in-the-job>").await;
    agent.log(102, 10, b"born-in-the-job>").await;
    agent.finish_step(101).await;
    agent.finish_step(102).await;
    agent.finish(TaskOutcome::Success).await;
    world.script.outcome().await;
    assert_eq!(world.script.log(101), "<****>");
    assert_eq!(world.script.log(102), "x hunter2-****>");
    world.end().await;
}

#[tokio::test]
async fn an_agent_has_one_transfer_at_a_time_and_not_for_ever() {
    let mut world = World::with_task();
    let mut agent = world.agent().await;
    agent.greet().await;
    agent.fetch(1).await;
    agent.fetch(2).await;
    let error = Some(String::from("another transfer is still under way"));
    let done = |transfer, error| {
        Some(Frame::Runner(RunnerMessage::TransferDone {
            transfer,
            error,
        }))
    };
    assert_eq!(agent.hear().await, done(2, error));
    world.script.source.notify_one();
    let part = Frame::Blob {
        transfer: 1,
        offset: 0,
        bytes: b"a tar stream".to_vec(),
    };
    assert_eq!(agent.hear().await, Some(part));
    assert_eq!(agent.hear().await, done(1, None));
    world.script.source.notify_one();
    agent.fetch(3).await;
    assert!(matches!(
        agent.hear().await,
        Some(Frame::Blob { transfer: 3, .. })
    ));
    assert_eq!(agent.hear().await, done(3, None));
    for transfer in 4.. {
        agent.fetch(transfer).await;
        if transfer > u32::try_from(FETCHES_MAX).unwrap() {
            break;
        }
    }
    let outcome = world.script.outcome().await.to_string();
    assert!(
        outcome.contains("fetched more than 1024 times"),
        "{outcome}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_server_in_trouble_does_not_end_a_lane() {
    let script = Script::default();
    *script.refusals.lock().unwrap() = vec![
        ("/claim", "500 Internal Server Error"),
        ("/claim", "502 Bad Gateway"),
        ("/claim", "503 Service Unavailable\r\nretry-after: 1"),
        ("/renew", "500 Internal Server Error"),
        ("/events", "500 Internal Server Error"),
        ("/events", "429 Too Many Requests\r\nretry-after: 1"),
    ];
    script.claims.lock().unwrap().push(assignment());
    let start = Instant::now();
    let mut world = World::new(script);
    let mut agent = world.agent().await;
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "it was asked to wait"
    );
    agent.greet().await;
    agent.finish(TaskOutcome::Success).await;
    assert_eq!(world.script.outcome().await, "success");
    assert!(start.elapsed() >= Duration::from_secs(2), "and again");
    assert_eq!(*world.script.refusals.lock().unwrap(), []);
    world.end().await;
}

#[tokio::test]
async fn a_server_that_refuses_for_good_is_not_asked_again() {
    let script = Script::default();
    let refusal = ("/claim", "400 Bad Request");
    script.refusals.lock().unwrap().push(refusal);
    let world = World::new(script);
    let ended = tokio::time::timeout(Duration::from_secs(5), world.running);
    let ended = ended.await.unwrap().unwrap();
    assert!(matches!(ended, Err(RunnerError::Refused(why)) if why == "not now"));
}

#[tokio::test]
async fn a_server_that_is_away_for_a_while_loses_nothing_and_fills_no_memory() {
    let mut world = World::with_task();
    let mut agent = world.agent().await;
    agent.greet().await;
    agent.start(101).await;
    agent.start(102).await;
    world
        .script
        .until(|told| told.events.iter().any(|event| event["step"] == 102))
        .await;
    world.script.go_away(true);
    let line = |n: u64| format!("line {n:09}\n").into_bytes();
    // More than may wait: the agent is stopped by a pipe that nobody empties.
    let writing = tokio::spawn(async move {
        for n in 0..150_000 {
            agent.log(101, n * 15, &line(n)).await;
        }
        agent.log(102, 0, b"the end").await;
        agent.finish_step(101).await;
        agent.finish(TaskOutcome::Success).await;
        agent
    });
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!writing.is_finished(), "it was made to wait");
    assert_eq!(world.script.log(101), "");
    world.script.go_away(false);
    assert_eq!(world.script.outcome().await, "success");
    let mut agent = writing.await.unwrap();
    assert_eq!(
        agent.hear().await,
        Some(Frame::Runner(RunnerMessage::Goodbye))
    );
    let wanted: Vec<u8> = (0..150_000).flat_map(line).collect();
    assert!(
        world.script.log(101).into_bytes() == wanted,
        "every byte once, in order"
    );
    assert_eq!(world.script.log(102), "the end");
    world.end().await;
}

#[tokio::test]
async fn a_runner_stops_although_the_server_is_away() {
    let mut world = World::with_task();
    let mut agent = world.agent().await;
    agent.greet().await;
    world.script.go_away(true);
    agent.finish(TaskOutcome::Success).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // What is checked is in it: it ends within seconds.
    world.end().await;
}

#[tokio::test]
async fn a_place_is_freed_while_a_server_that_is_away_has_not_heard_the_end() {
    let mut world = World::with_task();
    let mut agent = world.agent().await;
    agent.greet().await;
    agent.start(101).await;
    agent.log(101, 0, b"before the end\n").await;
    agent.finish_step(101).await;
    world.script.go_away(true);
    agent.finish(TaskOutcome::Success).await;
    assert_eq!(
        agent.hear().await,
        Some(Frame::Runner(RunnerMessage::Goodbye))
    );
    assert_eq!(agent.hear().await, None, "its input ends");
    let freed = world.freed.wait_for(|count| *count == 1);
    tokio::time::timeout(Duration::from_secs(20), freed)
        .await
        .unwrap()
        .unwrap();
    world.script.go_away(false);
    assert_eq!(world.script.outcome().await, "success");
    assert_eq!(world.script.log(101), "before the end\n");
    world.end().await;
}

#[tokio::test]
async fn an_agent_at_work_is_not_dismissed_when_the_runner_stops() {
    let mut world = World::with_task();
    let mut agent = world.agent().await;
    agent.greet().await;
    agent.start(101).await;
    world.end().await;
    assert_eq!(agent.hear().await, None, "its input ends without a goodbye");
}

#[tokio::test]
async fn a_server_that_answers_renewals_at_once_is_not_asked_without_end() {
    let mut world = World::with_task();
    let mut agent = world.agent().await;
    agent.greet().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.script.told().renewals, 1);
    agent.finish(TaskOutcome::Success).await;
    world.script.outcome().await;
    world.end().await;
}
