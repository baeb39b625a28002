//! A task from its claim to its end: place, agent, output. What comes from the agent is not believed
//! before it is checked.

mod continuation;
mod line;
mod steps;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use capstan_client::CallError;
use capstan_model::wire::{
    AgentMessage, Assignment, Fetch, Frame, FrameReader, PROTO, PROTO_MIN, PinnedImage, Renew,
    RunnerMessage, STEP_ENVIRONMENT, STEP_FIRST, STEP_SPIN_UP, TaskEvent, Want,
};
use capstan_model::{StepStatus, TaskOutcome};
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Inner;
use crate::backoff::Backoff;
use crate::executor::{AgentStream, Place, PlaceError, PlaceRequest, SpinUpLog};
use crate::mask::Masker;
use crate::uplink::{Claimed, Output, Uplink, Wish, hear};
use continuation::{Arriving, Said};
use line::Line;
use steps::{Masked, Steps};

pub(crate) use line::Acks;

/// How long the server may hold a renewal open.
const RENEW_WAIT_MS: u64 = 10_000;
/// The least time between two renewals.
const RENEW_PAUSE: Duration = Duration::from_secs(1);
/// What an agent has beyond its grace to end after a cancel.
const CANCEL_SLACK: Duration = Duration::from_secs(5);
/// How long to wait for the cause when an agent's stream has ended.
const CAUSE: Duration = Duration::from_secs(5);
/// How long an agent may take to read the last word.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long an agent may take to say hello.
const HELLO: Duration = Duration::from_secs(60);
/// Bytes read from an agent at once.
const READ: usize = 256 << 10;
/// Sources go to the agent in frames of this size.
const SOURCE_PART: usize = 256 << 10;
/// What an agent may ask for in one task: more than one fetch a step makes no sense.
const FETCHES_MAX: usize = 1024;
/// Values an agent may want masked in one task, and their bytes: each makes every later byte dearer.
const MASKS_MAX: usize = 256;
const MASK_BYTES_MAX: usize = 64 << 10;
/// The longest text of an agent that is kept: a step's title, a reason, a cause.
const TEXT_MAX: usize = 4 << 10;

/// What is left of a task at its end: an agent to be dismissed and a place to be freed.
#[derive(Default)]
struct Leavings {
    line: Option<Line>,
    place: Option<Box<dyn Place>>,
    /// The agent said itself that everything ended.
    finished: bool,
}

impl Leavings {
    /// Frees the place.
    async fn clear(self) {
        match self.line {
            Some(line) if self.finished => line.goodbye(GOODBYE).await,
            Some(line) => line.hang_up(GOODBYE).await,
            None => {}
        }
        if let Some(place) = self.place {
            place.stop().await;
        }
    }
}

/// Runs a task to its end, and tells the server. What comes back is the freeing of its place, which goes on
/// while the server is told and after it.
pub(crate) async fn run(
    inner: &Arc<Inner>,
    assignment: Assignment,
    mut stop: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let claimed = Claimed {
        task: assignment.task,
        lease_epoch: assignment.lease_epoch,
    };
    let (wish, wishes) = watch::channel(Wish::Go);
    let heartbeat = AbortOnDrop(tokio::spawn(heartbeat(
        Arc::clone(inner),
        claimed,
        wish.clone(),
    )));
    let stopped = wish.clone();
    let acks = Arc::<Acks>::default();
    let uplink = Uplink::open(Arc::clone(inner), claimed, wish, Arc::clone(&acks));
    let relay = Relay {
        inner: Arc::clone(inner),
        masker: Masker::new(&assignment.mask),
        assignment,
        claimed,
        uplink,
        acks,
        steps: Steps::default(),
        greeted: false,
        transfer: None,
        fetches: 0,
        arriving: None,
        masks: (0, 0),
    };
    // The runner stops: whatever is under way ends with its place, and nobody is told.
    let stopping = AbortOnDrop(tokio::spawn(async move {
        let _ = stop.wait_for(|stop| *stop).await;
        hear(&stopped, Wish::Drop);
    }));
    let clearing = relay.run(wishes).await;
    drop((stopping, heartbeat));
    clearing
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps the lease on a task of its own, so that a busy relay cannot lose it.
async fn heartbeat(inner: Arc<Inner>, claimed: Claimed, wish: watch::Sender<Wish>) {
    let renew = Renew {
        lease_epoch: claimed.lease_epoch,
        wait_ms: RENEW_WAIT_MS,
    };
    let mut backoff = Backoff::default();
    loop {
        let asked = Instant::now();
        match inner.api.renew(claimed.task, &renew).await {
            Ok(directive) => {
                backoff = Backoff::default();
                let pause = if directive.want == Want::Cancel {
                    hear(&wish, Wish::Cancel);
                    Duration::from_millis(RENEW_WAIT_MS)
                } else {
                    RENEW_PAUSE
                };
                // A server that answers at once is not asked at once again.
                tokio::time::sleep_until(asked + pause).await;
            }
            Err(error) if error.is_final() => {
                hear(&wish, Wish::Drop);
                return;
            }
            Err(error) => backoff.wait(error.retry_after()).await,
        }
    }
}

struct Relay {
    inner: Arc<Inner>,
    assignment: Assignment,
    claimed: Claimed,
    masker: Masker,
    uplink: Uplink,
    acks: Arc<Acks>,
    steps: Steps,
    greeted: bool,
    /// The transfer under way, if there is one.
    transfer: Option<AbortOnDrop>,
    fetches: usize,
    /// The config that the agent is sending, if there is one.
    arriving: Option<Arriving>,
    /// Values the agent wanted masked, and their bytes.
    masks: (usize, usize),
}

/// How a task ended; `None` when nobody is to be told.
type End = Option<TaskOutcome>;

impl Relay {
    async fn run(mut self, mut wishes: watch::Receiver<Wish>) -> JoinHandle<()> {
        let mut left = Leavings::default();
        let spun_up = tokio::select! {
            spun_up = self.spin_up(&mut left.place) => spun_up,
            wish = wished(&mut wishes, Wish::Go) => Err(canceled(wish)),
        };
        let end = match spun_up {
            Ok(stream) => self.work(stream, &mut left, &mut wishes).await,
            Err(end) => end,
        };
        if let Some(outcome) = end {
            self.finish(outcome);
        }
        // What the agent said is here, and it says no more; it would die with this process anyway.
        let clearing = tokio::spawn(left.clear());
        tokio::select! {
            biased;
            // Only that the task is somebody else's ends the wait for a server that is away.
            _ = wished(&mut wishes, Wish::Cancel) => {}
            () = self.uplink.flush() => {}
        }
        clearing
    }

    /// Says how the task ended, after everything that is still held.
    fn finish(&mut self, outcome: TaskOutcome) {
        // Steps that the agent did not live to end. The server ends the steps themselves by the outcome
        // of their task.
        for (step, masked) in self.steps.cut_off() {
            self.output(step, Some(masked));
        }
        let outcome = match outcome {
            TaskOutcome::InfrastructureFail(cause) => {
                TaskOutcome::InfrastructureFail(self.text(&cause))
            }
            other => other,
        };
        self.uplink.event(TaskEvent::Finished {
            outcome,
            at_ms: now_ms(),
        });
    }

    // ------------------------------------------------------------ the place

    /// Prepares a place and starts the agent in it, as the step "Spin up environment".
    async fn spin_up(&mut self, slot: &mut Option<Box<dyn Place>>) -> Result<AgentStream, End> {
        self.steps.expect(&self.masker, [STEP_SPIN_UP]);
        // A step that was made a line ago is there, and has not begun.
        let _ = self.step_started(STEP_SPIN_UP, "Spin up environment", now_ms());
        match self.place(slot).await {
            Ok((stream, images)) => {
                self.step_over(STEP_SPIN_UP, StepStatus::Success, None);
                let images = images
                    .into_iter()
                    .map(|image| PinnedImage {
                        // A reference may hold a variable of a context.
                        reference: self.text(&image.reference),
                        digest: image.digest,
                    })
                    .collect();
                self.uplink.event(TaskEvent::Started {
                    at_ms: now_ms(),
                    images,
                });
                Ok(stream)
            }
            Err(error) => {
                let why = error.to_string();
                self.line(STEP_SPIN_UP, &why);
                let (status, outcome) = match error {
                    PlaceError::Job(_) => (StepStatus::Failed, TaskOutcome::Failed),
                    PlaceError::Infrastructure(_) => {
                        let outcome = TaskOutcome::InfrastructureFail(why.clone());
                        (StepStatus::InfrastructureFail, outcome)
                    }
                };
                self.step_over(STEP_SPIN_UP, status, Some(why));
                Err(Some(outcome))
            }
        }
    }

    async fn place(
        &mut self,
        slot: &mut Option<Box<dyn Place>>,
    ) -> Result<(AgentStream, Vec<PinnedImage>), PlaceError> {
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
                    Some(line) = said.recv() => self.line(STEP_SPIN_UP, &line),
                }
            }
        };
        while let Ok(line) = said.try_recv() {
            self.line(STEP_SPIN_UP, &line);
        }
        let place = slot.insert(prepared?);
        let stream = place.start().await?;
        Ok((stream, place.images()))
    }

    // ------------------------------------------------------------ the agent

    async fn work(
        &mut self,
        stream: AgentStream,
        left: &mut Leavings,
        wishes: &mut watch::Receiver<Wish>,
    ) -> End {
        let line = left
            .line
            .insert(Line::open(stream.writer, Arc::clone(&self.acks)));
        let mut deadline = None;
        let mut known = Wish::Go;
        let mut reader = stream.reader;
        let mut frames = FrameReader::default();
        let hello = Instant::now() + HELLO;
        loop {
            let limit = deadline.or((!self.greeted).then_some(hello));
            // What cannot be handed on is not read: the agent waits, and with it the job.
            let read = async {
                self.uplink.room().await;
                let mut part = (&mut reader).take(READ as u64);
                part.read_buf(frames.space(READ)).await
            };
            tokio::select! {
                read = read => {
                    if !read.is_ok_and(|count| count > 0) {
                        return Some(lost(&mut left.place).await);
                    }
                    match self.take_all(&mut frames, line) {
                        Ok(Some(outcome)) => {
                            left.finished = true;
                            return Some(outcome);
                        }
                        Ok(None) => {}
                        Err(why) => {
                            let why = format!("agent broke the protocol: {why}");
                            return Some(TaskOutcome::InfrastructureFail(why));
                        }
                    }
                }
                wish = wished(wishes, known) => {
                    if wish == Wish::Drop {
                        return None;
                    }
                    known = wish;
                    let grace_ms = self.inner.settings.cancel_grace_ms;
                    deadline = Some(Instant::now() + Duration::from_millis(grace_ms) + CANCEL_SLACK);
                    line.say(RunnerMessage::Cancel { grace_ms });
                }
                () = sleep_until(limit) => {
                    return Some(match deadline {
                        Some(_) => TaskOutcome::Canceled,
                        None => TaskOutcome::InfrastructureFail(String::from("the agent did not say hello")),
                    });
                }
            }
        }
    }

    /// Takes every whole frame. `Some` is the end of the task.
    fn take_all(
        &mut self,
        frames: &mut FrameReader,
        line: &Line,
    ) -> Result<Option<TaskOutcome>, String> {
        while let Some(frame) = frames.next_frame().map_err(|error| error.to_string())? {
            match frame {
                Frame::Agent(AgentMessage::Hello { proto, min, .. }) => {
                    self.hello(proto, min, line)?;
                }
                _ if !self.greeted => return Err(String::from("no hello")),
                Frame::Agent(AgentMessage::Finished { outcome }) => return Ok(Some(outcome)),
                Frame::Agent(message) => self.take(message, line)?,
                Frame::Log {
                    step,
                    offset,
                    bytes,
                } => {
                    let masked = self.steps.take(step, offset, &bytes)?;
                    self.output(step, masked);
                }
                Frame::Blob {
                    transfer,
                    offset,
                    bytes,
                } => {
                    let arriving = self.arriving.as_mut();
                    let arriving = arriving.ok_or("bytes that nobody asked for")?;
                    arriving.take(transfer, offset, &bytes)?;
                    self.arrived(line);
                }
                Frame::Runner(_) => {
                    return Err(String::from("a frame that agents do not send"));
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, message: AgentMessage, line: &Line) -> Result<(), String> {
        match message {
            AgentMessage::StepStarted { step, name, at_ms } => {
                self.step_started(step, &name, at_ms)?;
                if step == STEP_ENVIRONMENT {
                    for note in std::mem::take(&mut self.assignment.notes) {
                        self.line(step, &note);
                    }
                }
            }
            AgentMessage::StepFinished {
                step,
                status,
                exit_code,
                reason,
                at_ms,
            } => {
                let rest = self.steps.end(step)?;
                self.output(step, rest);
                let reason = reason.map(|reason| self.text(&reason));
                self.uplink.event(TaskEvent::StepFinished {
                    step,
                    status,
                    exit_code,
                    reason,
                    at_ms,
                });
            }
            AgentMessage::Fetch { transfer, what } => self.fetch(transfer, what, line)?,
            AgentMessage::Continue {
                transfer,
                bytes,
                name,
                parameters,
            } => {
                let said = Said { name, parameters };
                self.arriving = Some(Arriving::begin(
                    self.arriving.as_ref(),
                    transfer,
                    bytes,
                    said,
                )?);
                self.arrived(line);
            }
            AgentMessage::Mask { value } => self.mask(&value)?,
            // Taken by the caller.
            AgentMessage::Hello { .. } | AgentMessage::Finished { .. } => {}
        }
        Ok(())
    }

    fn hello(&mut self, proto: u32, min: u32, line: &Line) -> Result<(), String> {
        if self.greeted {
            return Err(String::from("a second hello"));
        }
        if min > PROTO || proto < PROTO_MIN {
            return Err(format!(
                "it speaks versions {min} to {proto}, this is {PROTO}"
            ));
        }
        self.greeted = true;
        line.say(RunnerMessage::Welcome {
            proto: proto.min(PROTO),
        });
        let spec = Box::new(std::mem::take(&mut self.assignment.spec));
        let count = u32::try_from(spec.steps.len()).unwrap_or(u32::MAX);
        let configured = STEP_FIRST..STEP_FIRST.saturating_add(count);
        self.steps
            .expect(&self.masker, configured.chain([STEP_ENVIRONMENT]));
        line.say(RunnerMessage::Task(spec));
        Ok(())
    }

    /// One transfer at a time, and not for ever.
    fn fetch(&mut self, transfer: u32, what: Fetch, line: &Line) -> Result<(), String> {
        self.fetches += 1;
        if self.fetches > FETCHES_MAX {
            return Err(format!("it fetched more than {FETCHES_MAX} times"));
        }
        if self
            .transfer
            .as_ref()
            .is_some_and(|old| !old.0.is_finished())
        {
            let error = Some(String::from("another transfer is still under way"));
            line.say(RunnerMessage::TransferDone { transfer, error });
            return Ok(());
        }
        let Fetch::Source = what;
        let (inner, claimed) = (Arc::clone(&self.inner), self.claimed);
        let parts = line.parts();
        self.transfer = Some(AbortOnDrop(tokio::spawn(async move {
            let error = send_source(&inner, claimed, &parts, transfer).await.err();
            let error = error.map(|error| error.to_string());
            let done = Frame::Runner(RunnerMessage::TransferDone { transfer, error });
            // An agent that is gone needs no word.
            let _ = parts.send(done).await;
        })));
        Ok(())
    }

    /// Hands on the config that was arriving, once it is whole.
    fn arrived(&mut self, line: &Line) {
        let Some(whole) = self.arriving.take_if(|arriving| arriving.is_whole()) else {
            return;
        };
        let (inner, claimed) = (Arc::clone(&self.inner), self.claimed);
        let (parts, masker, transfer) = (line.parts(), self.masker.clone(), whole.transfer);
        tokio::spawn(async move {
            let error = whole.deliver(inner, claimed).await;
            let error = error.map(|error| masker.mask_text(&error));
            let done = Frame::Runner(RunnerMessage::TransferDone { transfer, error });
            // An agent that is gone needs no word.
            let _ = parts.send(done).await;
        });
    }

    fn mask(&mut self, value: &str) -> Result<(), String> {
        self.masks.0 += 1;
        self.masks.1 = self.masks.1.saturating_add(value.len());
        if self.masks.0 > MASKS_MAX || self.masks.1 > MASK_BYTES_MAX {
            return Err(format!(
                "it wants more than {MASKS_MAX} values or {MASK_BYTES_MAX} bytes masked"
            ));
        }
        self.masker.add(value);
        self.steps.mask_by(&self.masker);
        Ok(())
    }

    // ------------------------------------------------------------ the server

    fn step_started(&mut self, step: u32, name: &str, at_ms: i64) -> Result<(), String> {
        self.steps.begin(step)?;
        let name = self.text(name);
        self.uplink
            .event(TaskEvent::StepStarted { step, name, at_ms });
        Ok(())
    }

    fn step_over(&mut self, step: u32, status: StepStatus, reason: Option<String>) {
        let rest = self.steps.end(step).ok().flatten();
        self.output(step, rest);
        let reason = reason.map(|reason| self.text(&reason));
        self.uplink.event(TaskEvent::StepFinished {
            step,
            status,
            exit_code: None,
            reason,
            at_ms: now_ms(),
        });
    }

    /// A line of ours in a step that runs.
    fn line(&mut self, step: u32, text: &str) {
        // A step that is over takes no more lines.
        let masked = self.steps.insert(step, &format!("{text}\n"));
        self.output(step, masked.ok().flatten());
    }

    fn output(&self, step: u32, masked: Option<Masked>) {
        let Some(Masked {
            offset,
            bytes,
            taken,
        }) = masked
        else {
            return;
        };
        self.uplink.output(Output {
            step,
            offset,
            bytes,
            taken,
        });
    }

    /// A text as it may be stored: masked as a whole, then cut.
    fn text(&self, text: &str) -> String {
        let mut text = self.masker.mask_text(text);
        if text.len() > TEXT_MAX {
            let end = (0..=TEXT_MAX).rev().find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
            text.push('…');
        }
        text
    }
}

async fn send_source(
    inner: &Inner,
    claimed: Claimed,
    parts: &mpsc::Sender<Frame>,
    transfer: u32,
) -> Result<(), CallError> {
    let mut source = inner.api.source(claimed.task, claimed.lease_epoch).await?;
    let mut offset = 0;
    while let Some(bytes) = source.next().await? {
        for part in bytes.chunks(SOURCE_PART) {
            let bytes = part.to_vec();
            let frame = Frame::Blob {
                transfer,
                offset,
                bytes,
            };
            offset += part.len() as u64;
            if parts.send(frame).await.is_err() {
                // Nobody is left to read it.
                return Ok(());
            }
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

async fn sleep_until(limit: Option<Instant>) {
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
