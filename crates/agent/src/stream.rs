//! The byte stream to the runner: frames out under one lock, frames in on a thread of their own.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use capstan_model::trigger::ParameterValue;
use capstan_model::wire::{AgentMessage, Fetch, Frame, FrameReader, RunnerMessage, log_head};
use rustix::fd::OwnedFd;

use crate::os;

/// A config goes out in frames of this size.
const PART: usize = 256 << 10;
/// The most unacknowledged output in bytes; beyond it children are not read any more.
const WINDOW: u64 = 4 << 20;

/// Messages that the main thread has not taken yet; a task needs three in all.
const INBOX: usize = 16;
/// No grace is longer, whatever the runner says: an hour is more than any job needs to end.
const GRACE_MAX: Duration = Duration::from_secs(3600);
/// How often a transfer that does not come looks whether it is still wanted.
const LOOK_AFTER: Duration = Duration::from_millis(50);

/// Where frames go out, and what is known of those that came in. Shared by all threads.
pub(crate) struct Link {
    out: Mutex<File>,
    flow: Mutex<Flow>,
    acknowledged: Condvar,
    transfers: Mutex<Transfers>,
    /// When the grace is over, once the runner wants a cancel.
    cancel: OnceLock<Instant>,
    /// A pipe that becomes readable when the runner wants a cancel.
    wake: (OwnedFd, OwnedFd),
    /// The end was told: a goodbye is in order.
    finished: AtomicBool,
}

#[derive(Default)]
struct Flow {
    /// Bytes sent less bytes acknowledged, over all steps.
    open: u64,
    /// First byte of each step that is not acknowledged.
    stored: HashMap<u32, u64>,
}

#[derive(Default)]
struct Transfers {
    next: u32,
    open: HashMap<u32, SyncSender<Part>>,
}

/// How the stream ended.
enum End {
    /// After the last word.
    Dismissed,
    /// In the middle.
    Lost,
}

/// Part of a transfer, or its end.
type Part = Result<Vec<u8>, Option<String>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Messages for the main thread.
pub(crate) type Inbox = Receiver<RunnerMessage>;

/// Starts reading. `lost` is called once, when the stream ends or breaks; it does not come back when
/// the program is to end by it.
pub(crate) fn open(lost: impl Fn() + Send + 'static) -> io::Result<(Arc<Link>, Inbox)> {
    let (read, write) = os::pipe()?;
    // In a container it is a pipe to the engine, which passes it on in as large pieces as it finds.
    os::widen(io::stdout());
    let link = Arc::new(Link {
        out: Mutex::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        flow: Mutex::default(),
        acknowledged: Condvar::new(),
        transfers: Mutex::default(),
        cancel: OnceLock::new(),
        wake: (read, write),
        finished: AtomicBool::new(false),
    });
    let (sender, inbox) = sync_channel(INBOX);
    let reader = Arc::clone(&link);
    std::thread::Builder::new()
        .name(String::from("stream"))
        .spawn(move || {
            match reader.read(&sender) {
                Ok(End::Dismissed) => return,
                Ok(End::Lost) => {}
                // The runner is not going to hear of it; whoever looks at the agent may.
                Err(error) => eprintln!("capstan-agent: the stream is broken: {error}"),
            }
            lost();
        })?;
    Ok((link, inbox))
}

impl Link {
    /// Sends a message. A stream that is gone is noticed by the reading thread, which ends the program.
    pub(crate) fn send(&self, message: AgentMessage) {
        if matches!(message, AgentMessage::Finished { .. }) {
            self.finished.store(true, Ordering::SeqCst);
        }
        self.write(&Frame::Agent(message));
    }

    /// Sends output, once the runner has room for it. A cancel does not wait for room: its processes have
    /// to be ended now, and what they say meanwhile is little.
    pub(crate) fn log(&self, step: u32, offset: u64, bytes: &[u8]) {
        let size = bytes.len() as u64;
        let mut flow = lock(&self.flow);
        while flow.open > WINDOW && !self.is_canceled() {
            flow = self
                .acknowledged
                .wait(flow)
                .unwrap_or_else(PoisonError::into_inner);
        }
        flow.open += size;
        flow.stored.entry(step).or_insert(0);
        drop(flow);
        let mut out = lock(&self.out);
        let _ = out
            .write_all(&log_head(step, offset, bytes.len()))
            .and_then(|()| out.write_all(bytes))
            .and_then(|()| out.flush());
    }

    fn write(&self, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        let mut out = lock(&self.out);
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
    }

    /// Asks for bytes; the answer is read as they come, until the job's time is over or it is canceled.
    pub(crate) fn fetch(self: &Arc<Self>, what: Fetch, deadline: Instant) -> Incoming {
        let (transfer, incoming) = self.transfer(deadline);
        self.send(AgentMessage::Fetch { transfer, what });
        incoming
    }

    /// Hands over a config to continue with, and waits for the answer.
    pub(crate) fn continue_with(
        self: &Arc<Self>,
        name: String,
        text: &[u8],
        parameters: BTreeMap<String, ParameterValue>,
        deadline: Instant,
    ) -> Result<(), String> {
        let (transfer, mut answer) = self.transfer(deadline);
        self.send(AgentMessage::Continue {
            transfer,
            bytes: text.len() as u64,
            name,
            parameters,
        });
        let mut offset = 0;
        for part in text.chunks(PART) {
            let bytes = part.to_vec();
            self.write(&Frame::Blob {
                transfer,
                offset,
                bytes,
            });
            offset += part.len() as u64;
        }
        // No bytes come back, only the end of the transfer.
        match io::copy(&mut answer, &mut io::sink()) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A new transfer, and what comes back in it.
    fn transfer(self: &Arc<Self>, deadline: Instant) -> (u32, Incoming) {
        let (sender, parts) = sync_channel(8);
        let transfer = {
            let mut transfers = lock(&self.transfers);
            transfers.next += 1;
            let transfer = transfers.next;
            transfers.open.insert(transfer, sender);
            transfer
        };
        let incoming = Incoming {
            link: Arc::clone(self),
            deadline,
            parts,
            part: Vec::new(),
            at: 0,
            over: None,
        };
        (transfer, incoming)
    }

    /// When the time between TERM and KILL is over, once the runner wants a cancel.
    pub(crate) fn cancel_deadline(&self) -> Option<Instant> {
        self.cancel.get().copied()
    }

    /// Whether the runner wants a cancel.
    pub(crate) fn is_canceled(&self) -> bool {
        self.cancel.get().is_some()
    }

    /// Becomes readable with a cancel, and stays so.
    pub(crate) fn wake(&self) -> &OwnedFd {
        &self.wake.0
    }

    fn read(&self, inbox: &SyncSender<RunnerMessage>) -> io::Result<End> {
        let mut frames = FrameReader::default();
        let mut buffer = vec![0; 64 << 10];
        let mut input = io::stdin().lock();
        loop {
            let count = input.read(&mut buffer)?;
            if count == 0 {
                return Ok(End::Lost);
            }
            frames.push(&buffer[..count]);
            while let Some(frame) = frames.next_frame().map_err(io::Error::other)? {
                let last = frame == Frame::Runner(RunnerMessage::Goodbye);
                self.take(frame, inbox)?;
                if last && self.finished.load(Ordering::SeqCst) {
                    // The stream ends right behind it, which is no loss any more.
                    return Ok(End::Dismissed);
                }
            }
        }
    }

    fn take(&self, frame: Frame, inbox: &SyncSender<RunnerMessage>) -> io::Result<()> {
        match frame {
            Frame::Blob {
                transfer, bytes, ..
            } => self.part(transfer, Ok(bytes)),
            Frame::Runner(RunnerMessage::TransferDone { transfer, error }) => {
                self.part(transfer, Err(error));
                lock(&self.transfers).open.remove(&transfer);
            }
            Frame::Runner(RunnerMessage::LogAcknowledged { step, offset }) => {
                let mut flow = lock(&self.flow);
                if let Some(stored) = flow.stored.get_mut(&step) {
                    let more = offset.saturating_sub(*stored);
                    *stored += more;
                    flow.open = flow.open.saturating_sub(more);
                    self.acknowledged.notify_all();
                }
            }
            Frame::Runner(RunnerMessage::Cancel { grace_ms }) => {
                let grace = Duration::from_millis(grace_ms).min(GRACE_MAX);
                if self.cancel.set(Instant::now() + grace).is_ok() {
                    let _ = rustix::io::write(&self.wake.1, &[1]);
                    // Whoever waits for room is to see it; holding the lock, so that nobody misses it.
                    let _flow = lock(&self.flow);
                    self.acknowledged.notify_all();
                }
            }
            Frame::Runner(message) => {
                // A main thread that is gone needs no message; one that is behind was told too much.
                if let Err(TrySendError::Full(_)) = inbox.try_send(message) {
                    return Err(io::Error::other("more messages than a task has"));
                }
            }
            // Frames of our own kind coming back: a confused peer, and nothing to act on.
            Frame::Agent(_) | Frame::Log { .. } => {}
        }
        Ok(())
    }

    fn part(&self, transfer: u32, part: Part) {
        let sender = lock(&self.transfers).open.get(&transfer).cloned();
        if let Some(sender) = sender {
            // Whoever asked may have given up; then the bytes go nowhere.
            let _ = sender.send(part);
        }
    }
}

/// A transfer, as a reader. Its end is an error when the runner said so, when the job is canceled and when
/// its time is over. Dropping it lets the rest go by.
pub(crate) struct Incoming {
    link: Arc<Link>,
    deadline: Instant,
    parts: Receiver<Part>,
    part: Vec<u8>,
    at: usize,
    over: Option<Option<String>>,
}

impl Read for Incoming {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.part.len() {
            if let Some(end) = &self.over {
                return end.clone().map_or(Ok(0), |why| Err(io::Error::other(why)));
            }
            if self.link.is_canceled() || self.deadline <= Instant::now() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no more is wanted"));
            }
            match self.parts.recv_timeout(LOOK_AFTER) {
                Ok(Ok(bytes)) => (self.part, self.at) = (bytes, 0),
                Ok(Err(end)) => self.over = Some(end),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.over = Some(Some(String::from("the runner is gone")));
                }
            }
        }
        let count = out.len().min(self.part.len() - self.at);
        out[..count].copy_from_slice(&self.part[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
