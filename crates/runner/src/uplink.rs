//! Everything a task says to the server, in order, with a bound on what is under way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use capstan_client::CallError;
use capstan_model::TaskId;
use capstan_model::wire::{Directive, TaskEvent, TaskReport, Want};
use tokio::sync::{mpsc, oneshot, watch};

use crate::Inner;

/// Chunks under way at once; each is at most as large as a frame.
const WINDOW: usize = 4;
/// First pause after a failed call; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the server wants of the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Go on.
    Go,
    /// Cancel it.
    Cancel,
    /// It belongs to somebody else: stop it, say nothing.
    Drop,
}

pub(crate) enum Item {
    Event(TaskEvent),
    Log {
        step: u32,
        offset: u64,
        bytes: Bytes,
        /// Told when the bytes are stored.
        stored: Option<Acknowledge>,
    },
    /// Answered when everything before it is stored.
    Flush(oneshot::Sender<()>),
}

/// Tells the agent that its output below an offset is stored.
pub(crate) struct Acknowledge {
    pub(crate) step: u32,
    pub(crate) offset: u64,
    pub(crate) to: mpsc::UnboundedSender<(u32, u64)>,
}

/// The way to the server. Sending waits when too much is under way.
#[derive(Clone)]
pub(crate) struct Uplink {
    items: mpsc::Sender<Item>,
}

/// Who speaks: sent with every message.
#[derive(Clone, Copy)]
pub(crate) struct Claimed {
    pub(crate) task: TaskId,
    pub(crate) lease_epoch: u64,
}

impl Uplink {
    pub(crate) fn open(inner: Arc<Inner>, claimed: Claimed, wish: watch::Sender<Wish>) -> Self {
        let (items, inbox) = mpsc::channel(WINDOW);
        tokio::spawn(carry(inner, claimed, wish, inbox));
        Self { items }
    }

    pub(crate) async fn event(&self, event: TaskEvent) {
        // The carrier ends early only when the task is not ours any more.
        let _ = self.items.send(Item::Event(event)).await;
    }

    pub(crate) async fn log(
        &self,
        step: u32,
        offset: u64,
        bytes: Bytes,
        stored: Option<Acknowledge>,
    ) {
        let _ = self
            .items
            .send(Item::Log {
                step,
                offset,
                bytes,
                stored,
            })
            .await;
    }

    /// Waits until everything said so far is stored, or never will be.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.items.send(Item::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

async fn carry(
    inner: Arc<Inner>,
    claimed: Claimed,
    wish: watch::Sender<Wish>,
    mut inbox: mpsc::Receiver<Item>,
) {
    let mut next = None;
    loop {
        let Some(item) = (match next.take() {
            Some(item) => Some(item),
            None => inbox.recv().await,
        }) else {
            return;
        };
        let answer = match item {
            Item::Flush(done) => {
                // Whoever waited may have given up.
                let _ = done.send(());
                continue;
            }
            Item::Event(event) => {
                // Neighbouring events share a request; nobody waits for more of them.
                let mut events = vec![event];
                while let Ok(item) = inbox.try_recv() {
                    match item {
                        Item::Event(event) => events.push(event),
                        other => {
                            next = Some(other);
                            break;
                        }
                    }
                }
                let report = TaskReport {
                    lease_epoch: claimed.lease_epoch,
                    events,
                };
                insist(&wish, || inner.api.report(claimed.task, &report)).await
            }
            Item::Log {
                step,
                offset,
                bytes,
                stored,
            } => {
                let (task, epoch) = (claimed.task, claimed.lease_epoch);
                let answer = insist(&wish, || {
                    inner.api.log(task, epoch, step, offset, bytes.clone())
                })
                .await;
                if let (Some(_), Some(stored)) = (&answer, stored) {
                    let _ = stored.to.send((stored.step, stored.offset));
                }
                answer
            }
        };
        match answer {
            Some(directive) if directive.want == Want::Cancel => hear(&wish, Wish::Cancel),
            Some(_) => {}
            None => return,
        }
    }
}

/// Calls until there is an answer; `None` when the task is not ours any more.
async fn insist<F>(wish: &watch::Sender<Wish>, call: impl Fn() -> F) -> Option<Directive>
where
    F: Future<Output = Result<Directive, CallError>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match call().await {
            Ok(directive) => return Some(directive),
            // A refusal will not change by being asked again.
            Err(CallError::Stale(_) | CallError::Refused { .. }) => {
                hear(wish, Wish::Drop);
                return None;
            }
            Err(CallError::Unreachable(_)) => {
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Somewhere between nothing and the whole pause, so that many do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let (bits, _) = uuid::Uuid::new_v4().as_u64_pair();
    pause.mul_f64((bits >> 11) as f64 / (1u64 << 53) as f64)
}

/// A wish never becomes weaker.
pub(crate) fn hear(wish: &watch::Sender<Wish>, what: Wish) {
    wish.send_if_modified(|wish| {
        let stronger = matches!(
            (*wish, what),
            (Wish::Go, Wish::Cancel | Wish::Drop) | (Wish::Cancel, Wish::Drop)
        );
        if stronger {
            *wish = what;
        }
        stronger
    });
}
