//! A task from its claim to its end: place, agent, output. What comes from the agent is not believed
//! before it is checked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use capstan_model::wire::{
    AgentMessage, Assignment, Fetch, Frame, FrameReader, PROTO, PROTO_MIN, Renew, RunnerMessage,
    STEP_ENVIRONMENT, STEP_FIRST, STEP_SPIN_UP, TaskEvent, Want,
};
use capstan_model::{StepStatus, TaskOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc, watch};

use crate::Inner;
use crate::executor::{AgentStream, Place, PlaceError, PlaceRequest, SpinUpLog};
use crate::mask::{MaskStream, Masker};
use crate::uplink::{Acknowledge, Claimed, Uplink, Wish, hear};

/// How long the server may hold a renewal open.
const RENEW_WAIT_MS: u64 = 10_000;
/// What an agent has beyond its grace to end after a cancel.
const CANCEL_SLACK: Duration = Duration::from_secs(5);
/// How long to wait for the cause when an agent's stream has ended.
const CAUSE: Duration = Duration::from_secs(5);
/// How long an agent may take to read the last word.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long an agent may take to say hello.
const HELLO: Duration = Duration::from_secs(60);
/// Sources go to the agent in frames of this size.
const SOURCE_PART: usize = 256 << 10;

/// Runs a task to its end, and tells the server.
pub(crate) async fn run(
    inner: &Arc<Inner>,
    assignment: Assignment,
    mut stop: watch::Receiver<bool>,
) {
    let claimed = Claimed {
        task: assignment.task,
        lease_epoch: assignment.lease_epoch,
    };
    let (wish, wishes) = watch::channel(Wish::Go);
    let heartbeat = tokio::spawn(heartbeat(Arc::clone(inner), claimed, wish.clone()));
    let stopped = wish.clone();
    let uplink = Uplink::open(Arc::clone(inner), claimed, wish);
    let mut relay = Relay {
        inner: Arc::clone(inner),
        masker: Masker::new(&assignment.mask),
        assignment,
        claimed,
        uplink,
        steps: HashMap::new(),
        events: Vec::new(),
    };
    // The runner stops: whatever is under way ends with its place, and nobody is told.
    let stopping = tokio::spawn(async move {
        let _ = stop.wait_for(|stop| *stop).await;
        hear(&stopped, Wish::Drop);
    });
    relay.run(wishes).await;
    stopping.abort();
    heartbeat.abort();
}

/// Keeps the lease on a task of its own, so that a busy relay cannot lose it.
async fn heartbeat(inner: Arc<Inner>, claimed: Claimed, wish: watch::Sender<Wish>) {
    let renew = Renew {
        lease_epoch: claimed.lease_epoch,
        wait_ms: RENEW_WAIT_MS,
    };
    loop {
        match inner.api.renew(claimed.task, &renew).await {
            Ok(directive) if directive.want == Want::Cancel => {
                hear(&wish, Wish::Cancel);
                tokio::time::sleep(Duration::from_millis(RENEW_WAIT_MS)).await;
            }
            Ok(_) => {}
            Err(capstan_client::CallError::Unreachable(_)) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(_) => {
                hear(&wish, Wish::Drop);
                return;
            }
        }
    }
}

struct Relay {
    inner: Arc<Inner>,
    assignment: Assignment,
    claimed: Claimed,
    masker: Masker,
    uplink: Uplink,
    steps: HashMap<u32, StepOutput>,
    /// Events that wait for company, so that a short job needs few requests.
    events: Vec<TaskEvent>,
}

/// Output of one step on its way through the mask.
struct StepOutput {
    mask: MaskStream,
    /// Bytes that came from the agent.
    taken: u64,
    /// Bytes that went to the server.
    given: u64,
    open: bool,
}

/// How a task ended; `None` when nobody is to be told.
type End = Option<TaskOutcome>;

impl Relay {
    async fn run(&mut self, mut wishes: watch::Receiver<Wish>) {
        let mut place = None;
        let outcome = tokio::select! {
            outcome = self.spin_up(&mut place) => outcome,
            wish = wished(&mut wishes, Wish::Go) => Err(canceled(wish)),
        };
        let mut stream = None;
        let end = match outcome {
            Ok(opened) => {
                let end = self
                    .work(opened, &mut place, &mut wishes, &mut stream)
                    .await;
                if end.is_some() { end } else { None }
            }
            Err(end) => end,
        };
        if let Some(outcome) = end {
            self.finish_all().await;
            self.events.push(TaskEvent::Finished {
                outcome,
                at_ms: now_ms(),
            });
            self.tell().await;
            self.uplink.flush().await;
        }
        if let Some(writer) = stream {
            // An agent that does not read is not waited for: its place ends it.
            let _ = tokio::time::timeout(GOODBYE, goodbye(&writer)).await;
        }
        if let Some(place) = place {
            place.stop().await;
        }
    }

    // ------------------------------------------------------------ the place

    /// Prepares a place and starts the agent in it, as the step "Spin up environment".
    async fn spin_up(&mut self, slot: &mut Option<Box<dyn Place>>) -> Result<AgentStream, End> {
        let name = String::from("Spin up environment");
        self.events.push(TaskEvent::StepStarted {
            step: STEP_SPIN_UP,
            name,
            at_ms: now_ms(),
        });
        match self.place(slot).await {
            Ok((stream, images)) => {
                self.step_over(STEP_SPIN_UP, StepStatus::Success, None)
                    .await;
                self.events.push(TaskEvent::Started {
                    at_ms: now_ms(),
                    images,
                });
                self.tell().await;
                Ok(stream)
            }
            Err(error) => {
                let why = error.to_string();
                self.log(STEP_SPIN_UP, format!("{why}\n").as_bytes(), None)
                    .await;
                let (status, outcome) = match error {
                    PlaceError::Job(_) => (StepStatus::Failed, TaskOutcome::Failed),
                    PlaceError::Infrastructure(_) => {
                        let outcome = TaskOutcome::InfrastructureFail(self.masker.mask_text(&why));
                        (StepStatus::InfrastructureFail, outcome)
                    }
                };
                self.step_over(STEP_SPIN_UP, status, Some(why)).await;
                Err(Some(outcome))
            }
        }
    }

    async fn place(
        &mut self,
        slot: &mut Option<Box<dyn Place>>,
    ) -> Result<(AgentStream, Vec<capstan_model::wire::PinnedImage>), PlaceError> {
        let inner = Arc::clone(&self.inner);
        let executor = inner
            .executor(&self.assignment.executor)
            .map_err(PlaceError::Infrastructure)?;
        let request = PlaceRequest {
            task: self.claimed.task,
            lease_epoch: self.claimed.lease_epoch,
            job_name: self.assignment.job_name.clone(),
            executor: self.assignment.executor.clone(),
            resource_class: self.assignment.resource_class.clone(),
            working_directory: self.assignment.spec.working_directory.clone(),
        };
        let (lines, mut said) = mpsc::unbounded_channel();
        let log = SpinUpLog(lines);
        let prepared = {
            let preparing = executor.prepare(&request, &log);
            tokio::pin!(preparing);
            loop {
                tokio::select! {
                    biased;
                    prepared = &mut preparing => break prepared,
                    Some(line) = said.recv() => {
                        self.log(STEP_SPIN_UP, format!("{line}\n").as_bytes(), None).await;
                    }
                }
            }
        };
        while let Ok(line) = said.try_recv() {
            self.log(STEP_SPIN_UP, format!("{line}\n").as_bytes(), None)
                .await;
        }
        let place = slot.insert(prepared?);
        let stream = place.start().await?;
        Ok((stream, place.images()))
    }

    // ------------------------------------------------------------ the agent

    async fn work(
        &mut self,
        stream: AgentStream,
        place: &mut Option<Box<dyn Place>>,
        wishes: &mut watch::Receiver<Wish>,
        slot: &mut Option<Writer>,
    ) -> End {
        let writer: Writer = Arc::new(Mutex::new(stream.writer));
        *slot = Some(Arc::clone(&writer));
        let (acknowledge, mut acknowledged) = mpsc::unbounded_channel::<(u32, u64)>();
        let back = Arc::clone(&writer);
        let acknowledging = tokio::spawn(async move {
            while let Some((step, offset)) = acknowledged.recv().await {
                send(
                    &back,
                    &Frame::Runner(RunnerMessage::LogAcknowledged { step, offset }),
                )
                .await;
            }
        });
        let mut deadline = None;
        let mut known = Wish::Go;
        let mut reader = stream.reader;
        let mut frames = FrameReader::default();
        let mut buffer = vec![0; 256 << 10];
        let mut greeted = false;
        let hello = tokio::time::Instant::now() + HELLO;
        let end = loop {
            let limit = deadline.or((!greeted).then_some(hello));
            tokio::select! {
                read = reader.read(&mut buffer) => {
                    let count = match read {
                        Ok(0) | Err(_) => break Some(lost(place).await),
                        Ok(count) => count,
                    };
                    frames.push(&buffer[..count]);
                    match self.take(&mut frames, &writer, &acknowledge, &mut greeted).await {
                        Ok(Some(outcome)) => break Some(outcome),
                        Ok(None) => {}
                        Err(why) => {
                            let why = format!("agent broke the protocol: {why}");
                            break Some(TaskOutcome::InfrastructureFail(why));
                        }
                    }
                }
                wish = wished(wishes, known) => {
                    if wish == Wish::Drop {
                        break None;
                    }
                    known = wish;
                    let grace_ms = self.inner.settings.cancel_grace_ms;
                    let limit = Duration::from_millis(grace_ms) + CANCEL_SLACK;
                    deadline = Some(tokio::time::Instant::now() + limit);
                    // Not waited for: an agent that does not read is ended by the deadline.
                    let writer = Arc::clone(&writer);
                    tokio::spawn(async move {
                        send(&writer, &Frame::Runner(RunnerMessage::Cancel { grace_ms })).await;
                    });
                }
                () = sleep_until(limit) => {
                    break Some(match deadline {
                        Some(_) => TaskOutcome::Canceled,
                        None => TaskOutcome::InfrastructureFail(String::from("the agent did not say hello")),
                    });
                }
            }
        };
        acknowledging.abort();
        end
    }

    /// Takes every whole frame. `Some` is the end of the task.
    async fn take(
        &mut self,
        frames: &mut FrameReader,
        writer: &Writer,
        acknowledge: &mpsc::UnboundedSender<(u32, u64)>,
        greeted: &mut bool,
    ) -> Result<Option<TaskOutcome>, String> {
        while let Some(frame) = frames.next_frame().map_err(|error| error.to_string())? {
            match frame {
                Frame::Agent(AgentMessage::Hello {
                    proto,
                    min,
                    version: _,
                }) => {
                    if min > PROTO || proto < PROTO_MIN {
                        return Err(format!(
                            "it speaks versions {min} to {proto}, this is {PROTO}"
                        ));
                    }
                    *greeted = true;
                    let proto = proto.min(PROTO);
                    send(writer, &Frame::Runner(RunnerMessage::Welcome { proto })).await;
                    let spec = Box::new(std::mem::take(&mut self.assignment.spec));
                    let steps = u32::try_from(spec.steps.len()).unwrap_or(u32::MAX);
                    self.expect(steps);
                    send(writer, &Frame::Runner(RunnerMessage::Task(spec))).await;
                }
                _ if !*greeted => return Err(String::from("no hello")),
                Frame::Log {
                    step,
                    offset,
                    bytes,
                } => {
                    let known = self.output(step)?;
                    if known.taken != offset {
                        return Err(format!(
                            "output of step {step} at {offset}, not {}",
                            known.taken
                        ));
                    }
                    let end = offset + bytes.len() as u64;
                    known.taken = end;
                    let to = Acknowledge {
                        step,
                        offset: end,
                        to: acknowledge.clone(),
                    };
                    self.log(step, &bytes, Some(to)).await;
                }
                Frame::Agent(AgentMessage::StepStarted { step, name, at_ms }) => {
                    self.output(step)?.open = true;
                    let name = self.masker.mask_text(&name);
                    self.events
                        .push(TaskEvent::StepStarted { step, name, at_ms });
                }
                Frame::Agent(AgentMessage::StepFinished {
                    step,
                    status,
                    exit_code,
                    reason,
                    at_ms,
                }) => {
                    self.output(step)?.open = false;
                    self.rest(step).await;
                    let reason = reason.map(|reason| self.masker.mask_text(&reason));
                    self.events.push(TaskEvent::StepFinished {
                        step,
                        status,
                        exit_code,
                        reason,
                        at_ms,
                    });
                    self.tell().await;
                }
                Frame::Agent(AgentMessage::Fetch {
                    transfer,
                    what: Fetch::Source,
                }) => {
                    let (inner, claimed) = (Arc::clone(&self.inner), self.claimed);
                    tokio::spawn(transfer_source(
                        inner,
                        claimed,
                        Arc::clone(writer),
                        transfer,
                    ));
                }
                Frame::Agent(AgentMessage::Mask { value }) => self.masker.add(&value),
                Frame::Agent(AgentMessage::Finished { outcome }) => return Ok(Some(outcome)),
                Frame::Runner(_) | Frame::Blob { .. } => {
                    return Err(String::from("a frame that agents do not send"));
                }
            }
        }
        // The agent is busy now, so this is the time to say what it did.
        self.tell().await;
        Ok(None)
    }

    /// Only these steps may be spoken of.
    fn expect(&mut self, steps: u32) {
        self.steps.reserve(steps as usize + 1);
        for step in (STEP_FIRST..STEP_FIRST.saturating_add(steps)).chain([STEP_ENVIRONMENT]) {
            self.steps.insert(step, StepOutput::of(&self.masker));
        }
    }

    fn output(&mut self, step: u32) -> Result<&mut StepOutput, String> {
        self.steps
            .get_mut(&step)
            .ok_or_else(|| format!("there is no step {step}"))
    }

    // ------------------------------------------------------------ the server

    /// Sends the events that wait.
    async fn tell(&mut self) {
        for event in std::mem::take(&mut self.events) {
            self.uplink.event(event).await;
        }
    }

    /// Masks output and sends it on. Events before it go first.
    async fn log(&mut self, step: u32, bytes: &[u8], mut stored: Option<Acknowledge>) {
        self.tell().await;
        let masker = &self.masker;
        let output = self
            .steps
            .entry(step)
            .or_insert_with(|| StepOutput::of(masker));
        let mut masked = Vec::with_capacity(bytes.len() + 64);
        output.mask.push(bytes, &mut masked);
        let (offset, size) = (output.given, masked.len() as u64);
        output.given += size;
        if size > 0 {
            self.uplink
                .log(step, offset, Bytes::from(masked), stored.take())
                .await;
        } else if let Some(stored) = stored {
            // All of it is held back as the possible start of a secret; the agent may go on.
            let _ = stored.to.send((stored.step, stored.offset));
        }
    }

    /// Sends what the mask held back.
    async fn rest(&mut self, step: u32) {
        let Some(output) = self.steps.get_mut(&step) else {
            return;
        };
        let mut masked = Vec::new();
        output.mask.finish(&mut masked);
        let offset = output.given;
        output.given += masked.len() as u64;
        if !masked.is_empty() {
            self.tell().await;
            self.uplink
                .log(step, offset, Bytes::from(masked), None)
                .await;
        }
    }

    async fn step_over(&mut self, step: u32, status: StepStatus, reason: Option<String>) {
        self.rest(step).await;
        let reason = reason.map(|reason| self.masker.mask_text(&reason));
        let exit_code = None;
        self.events.push(TaskEvent::StepFinished {
            step,
            status,
            exit_code,
            reason,
            at_ms: now_ms(),
        });
    }

    /// Output of steps that the agent did not live to end. The server ends the steps themselves by the
    /// outcome of their task.
    async fn finish_all(&mut self) {
        let open: Vec<u32> = self
            .steps
            .iter()
            .filter(|(_, output)| output.open)
            .map(|(step, _)| *step)
            .collect();
        for step in open {
            self.rest(step).await;
        }
    }
}

impl StepOutput {
    fn of(masker: &Masker) -> Self {
        Self {
            mask: masker.stream(),
            taken: 0,
            given: 0,
            open: false,
        }
    }
}

type Writer = Arc<Mutex<std::pin::Pin<Box<dyn tokio::io::AsyncWrite + Send>>>>;

async fn send(writer: &Writer, frame: &Frame) {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    let mut writer = writer.lock().await;
    // An agent that is gone is noticed where its stream is read.
    let _ = writer.write_all(&bytes).await;
    let _ = writer.flush().await;
}

async fn goodbye(writer: &Writer) {
    send(writer, &Frame::Runner(RunnerMessage::Goodbye)).await;
    // Ends the agent's input, also where dropping a writer does not.
    let _ = writer.lock().await.shutdown().await;
}

async fn transfer_source(inner: Arc<Inner>, claimed: Claimed, writer: Writer, transfer: u32) {
    let error = match send_source(&inner, claimed, &writer, transfer).await {
        Ok(()) => None,
        Err(error) => Some(error.to_string()),
    };
    send(
        &writer,
        &Frame::Runner(RunnerMessage::TransferDone { transfer, error }),
    )
    .await;
}

async fn send_source(
    inner: &Inner,
    claimed: Claimed,
    writer: &Writer,
    transfer: u32,
) -> Result<(), capstan_client::CallError> {
    let mut source = inner.api.source(claimed.task, claimed.lease_epoch).await?;
    let mut offset = 0;
    while let Some(bytes) = source.next().await? {
        for part in bytes.chunks(SOURCE_PART) {
            send(
                writer,
                &Frame::Blob {
                    transfer,
                    offset,
                    bytes: part.to_vec(),
                },
            )
            .await;
            offset += part.len() as u64;
        }
    }
    Ok(())
}

/// Waits until the server wants something, and something else than is known.
async fn wished(wishes: &mut watch::Receiver<Wish>, known: Wish) -> Wish {
    let new = |wish: &Wish| *wish != Wish::Go && *wish != known;
    let wish = wishes.wait_for(new).await.map(|wish| *wish);
    match wish {
        Ok(wish) => wish,
        // Nobody is left to wish for anything.
        Err(_) => std::future::pending().await,
    }
}

fn canceled(wish: Wish) -> End {
    (wish == Wish::Cancel).then_some(TaskOutcome::Canceled)
}

async fn lost(place: &mut Option<Box<dyn Place>>) -> TaskOutcome {
    let cause = match place {
        Some(place) => match tokio::time::timeout(CAUSE, place.watch()).await {
            Ok(exit) if exit.by_job => return TaskOutcome::Failed,
            Ok(exit) if exit.out_of_memory => format!("{}: out of memory", exit.cause),
            Ok(exit) => exit.cause,
            Err(_) => String::from("the agent closed its stream"),
        },
        None => String::from("the place is gone"),
    };
    TaskOutcome::InfrastructureFail(cause)
}

async fn sleep_until(limit: Option<tokio::time::Instant>) {
    match limit {
        Some(limit) => tokio::time::sleep_until(limit).await,
        None => std::future::pending().await,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
