//! What the runner says to an agent. One task writes; nobody who says something waits for an agent that
//! does not read, but for a transfer, which goes as fast as the agent takes it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use capstan_model::wire::{Frame, RunnerMessage};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Parts of transfers that may wait for the agent.
const PARTS: usize = 4;

/// How far the output of each step is stored. Only the newest word of each is kept.
#[derive(Default)]
pub(crate) struct Acks {
    stored: Mutex<BTreeMap<u32, u64>>,
    news: Notify,
}

impl Acks {
    /// Everything of a step below this offset is stored.
    pub(crate) fn stored(&self, step: u32, offset: u64) {
        self.lock().insert(step, offset);
        self.news.notify_one();
    }

    fn take(&self) -> BTreeMap<u32, u64> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, u64>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Writer = std::pin::Pin<Box<dyn AsyncWrite + Send>>;

/// The way to an agent. Its input ends once this is dropped and what was said before is written.
pub(super) struct Line {
    urgent: mpsc::UnboundedSender<RunnerMessage>,
    parts: mpsc::Sender<Frame>,
    writing: JoinHandle<()>,
}

impl Line {
    pub(super) fn open(writer: Writer, acks: std::sync::Arc<Acks>) -> Self {
        let (urgent, messages) = mpsc::unbounded_channel();
        let (parts, waiting) = mpsc::channel(PARTS);
        let writing = tokio::spawn(async move { write(writer, messages, waiting, &acks).await });
        Self {
            urgent,
            parts,
            writing,
        }
    }

    /// Says something of which the protocol allows only so many.
    pub(super) fn say(&self, message: RunnerMessage) {
        // An agent that is gone is noticed where its stream is read.
        let _ = self.urgent.send(message);
    }

    /// Where a transfer puts its parts.
    pub(super) fn parts(&self) -> mpsc::Sender<Frame> {
        self.parts.clone()
    }

    /// Says the last word to an agent that has finished, and ends its input.
    pub(super) async fn goodbye(self, patience: Duration) {
        self.say(RunnerMessage::Goodbye);
        self.hang_up(patience).await;
    }

    /// Ends the agent's input, which ends an agent that has not finished, and all of its job. One that does
    /// not read is not waited for: its place ends it.
    pub(super) async fn hang_up(self, patience: Duration) {
        let Self {
            urgent,
            parts,
            mut writing,
        } = self;
        drop((urgent, parts));
        if tokio::time::timeout(patience, &mut writing).await.is_err() {
            writing.abort();
        }
    }
}

async fn write(
    mut writer: Writer,
    mut messages: mpsc::UnboundedReceiver<RunnerMessage>,
    mut parts: mpsc::Receiver<Frame>,
    acks: &Acks,
) {
    let mut bytes = Vec::new();
    let mut last = false;
    while !last {
        tokio::select! {
            biased;
            message = messages.recv() => {
                let Some(message) = message else { break };
                last = message == RunnerMessage::Goodbye;
                Frame::Runner(message).encode(&mut bytes);
            }
            () = acks.news.notified() => {
                for (step, offset) in acks.take() {
                    Frame::Runner(RunnerMessage::LogAcknowledged { step, offset }).encode(&mut bytes);
                }
            }
            Some(part) = parts.recv() => part.encode(&mut bytes),
        }
        let written = writer.write_all(&bytes).await;
        if written.is_err() || writer.flush().await.is_err() {
            break;
        }
        bytes.clear();
    }
    // Ends the agent's input, also where dropping a writer does not.
    let _ = writer.shutdown().await;
}
