//! Everything a task says to the server, in order. Saying never waits; what keeps memory bounded is that
//! nobody reads more of the job's output than there is [`Uplink::room`] for. So a server that is away
//! for a while costs nothing but time: what was said waits here, and the job's output waits in its agent,
//! which stops reading its children, which stop writing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use capstan_client::CallError;
use capstan_model::TaskId;
use capstan_model::wire::{Directive, TaskEvent, TaskReport, Want};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::Inner;
use crate::backoff::Backoff;
use crate::relay::Acks;

/// How long what was said waits for company, so that a short job needs few requests.
const LINGER: Duration = Duration::from_millis(20);
/// Output that does not wait for more.
const ENOUGH: usize = 64 << 10;
/// Output that may wait before there is no more room.
const WAITING_MAX: usize = 1 << 20;
/// What output costs beside its bytes, so that many crumbs count for what they are.
const CRUMB: usize = 256;
/// Output of one request; the server takes four times as much.
const REQUEST_MAX: usize = 1 << 20;
/// Output up to this size rides with the events around it.
const SMALL: usize = 16 << 10;
/// Events of one request, and bytes of text in them.
const EVENTS_MAX: usize = 256;
const TEXT_MAX: usize = 256 << 10;

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

/// Who speaks: sent with every message.
#[derive(Clone, Copy)]
pub(crate) struct Claimed {
    pub(crate) task: TaskId,
    pub(crate) lease_epoch: u64,
}

/// Masked output of one step.
pub(crate) struct Output {
    pub(crate) step: u32,
    /// Where it stands in the step's masked output.
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// So much of what the agent sent of the step is decided with it; the agent is told when it is stored.
    pub(crate) taken: u64,
}

/// The way to the server. Closed when dropped.
pub(crate) struct Uplink {
    queue: Arc<Queue>,
    carrier: AbortHandle,
}

impl Uplink {
    pub(crate) fn open(
        inner: Arc<Inner>,
        claimed: Claimed,
        wish: watch::Sender<Wish>,
        acks: Arc<Acks>,
    ) -> Self {
        let queue = Arc::<Queue>::default();
        let carrier = Carrier {
            inner,
            claimed,
            wish,
            acks,
            queue: Arc::clone(&queue),
        };
        let carrier = tokio::spawn(carrier.run()).abort_handle();
        Self { queue, carrier }
    }

    pub(crate) fn event(&self, event: TaskEvent) {
        self.queue.push(Item::Event(event));
    }

    pub(crate) fn output(&self, output: Output) {
        self.queue.push(Item::Output(output));
    }

    /// Waits until more output may be read, or until none of it matters any more.
    pub(crate) async fn room(&self) {
        loop {
            let drained = self.queue.drained.notified();
            if self.queue.lock().bytes < WAITING_MAX {
                return;
            }
            drained.await;
        }
    }

    /// Waits until everything said so far is stored, or never will be.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.queue.push(Item::Flush(done));
        // An error means that the task is not ours any more.
        let _ = wait.await;
    }
}

impl Drop for Uplink {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

enum Item {
    Event(TaskEvent),
    Output(Output),
    /// Answered when everything before it is stored.
    Flush(oneshot::Sender<()>),
}

/// What waits to be carried.
#[derive(Default)]
struct Queue {
    items: Mutex<Items>,
    filled: Notify,
    drained: Notify,
}

#[derive(Default)]
struct Items {
    waiting: VecDeque<Item>,
    /// What the output among them costs, in bytes.
    bytes: usize,
    /// What waits has waited long enough, or somebody waits for it.
    due: bool,
    /// Nothing will be sent any more.
    closed: bool,
}

/// What goes to the server at once.
enum Request {
    /// Events, small output among them, and what is stored of each step with them.
    Report(Vec<TaskEvent>, Vec<(u32, u64)>),
    Output(Output),
    Flush(oneshot::Sender<()>),
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Items> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: Item) {
        let mut items = self.lock();
        if items.closed {
            return;
        }
        let wake = items.waiting.is_empty();
        let wake = items.push(item) || wake;
        drop(items);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Nothing more is sent. Dropping what waits answers those who wait for it.
    fn close(&self) {
        *self.lock() = Items {
            closed: true,
            ..Items::default()
        };
        self.drained.notify_waiters();
    }

    async fn next(&self) -> Request {
        let mut until = None;
        loop {
            let empty = {
                let mut items = self.lock();
                items.due |= until.is_some_and(|until| Instant::now() >= until);
                if items.is_due()
                    && let Some(request) = items.take()
                {
                    drop(items);
                    self.drained.notify_waiters();
                    return request;
                }
                items.waiting.is_empty()
            };
            if empty {
                self.filled.notified().await;
            } else {
                let until = *until.get_or_insert_with(|| Instant::now() + LINGER);
                // Woken early by what is in a hurry; when not, it is due now.
                let _ = timeout_at(until, self.filled.notified()).await;
            }
        }
    }
}

impl Items {
    /// Adds an item; whether the carrier should look at once.
    fn push(&mut self, item: Item) -> bool {
        match item {
            Item::Output(output) => self.join(output),
            Item::Flush(done) => {
                self.due = true;
                self.waiting.push_back(Item::Flush(done));
            }
            Item::Event(event) => {
                // Stored while the first step runs: the end of a short job would wait for it.
                self.due |= matches!(event, TaskEvent::Started { .. });
                self.waiting.push_back(Item::Event(event));
            }
        }
        self.is_due()
    }

    /// Output that goes on where the last ended makes that longer.
    fn join(&mut self, output: Output) {
        self.bytes += output.bytes.len();
        if let Some(Item::Output(last)) = self.waiting.back_mut()
            && last.step == output.step
            && last.offset + last.bytes.len() as u64 == output.offset
            && last.bytes.len() + output.bytes.len() <= REQUEST_MAX
        {
            last.bytes.extend_from_slice(&output.bytes);
            last.taken = output.taken;
        } else {
            self.bytes += CRUMB;
            self.waiting.push_back(Item::Output(output));
        }
    }

    fn is_due(&self) -> bool {
        self.due || self.bytes >= ENOUGH
    }

    fn take(&mut self) -> Option<Request> {
        let request = match self.waiting.pop_front()? {
            Item::Flush(done) => Request::Flush(done),
            first => {
                self.waiting.push_front(first);
                self.report()
            }
        };
        // The rest goes on without waiting again, until there is none.
        self.due = !self.waiting.is_empty();
        Some(request)
    }

    /// As many events and small outputs as fit; one larger output when that comes first.
    fn report(&mut self) -> Request {
        let (mut events, mut stored, mut size) = (Vec::new(), Vec::new(), 0);
        while events.len() < EVENTS_MAX && size < TEXT_MAX {
            match self.waiting.pop_front() {
                Some(Item::Event(event)) => {
                    size += text_of(&event);
                    events.push(event);
                }
                Some(Item::Output(output)) => {
                    let length = output.bytes.len();
                    match small(output) {
                        Ok((event, taken)) => {
                            self.bytes = self.bytes.saturating_sub(length + CRUMB);
                            size += length;
                            events.push(event);
                            stored.push(taken);
                        }
                        Err(output) if events.is_empty() => {
                            self.bytes = self.bytes.saturating_sub(length + CRUMB);
                            return Request::Output(output);
                        }
                        Err(output) => {
                            self.waiting.push_front(Item::Output(output));
                            break;
                        }
                    }
                }
                Some(flush @ Item::Flush(_)) => {
                    self.waiting.push_front(flush);
                    break;
                }
                None => break,
            }
        }
        Request::Report(events, stored)
    }
}

fn text_of(event: &TaskEvent) -> usize {
    match event {
        TaskEvent::StepStarted { name, .. } => name.len(),
        TaskEvent::StepFinished { reason, .. } => reason.as_ref().map_or(0, String::len),
        TaskEvent::Output { text, .. } => text.len(),
        TaskEvent::Started { .. } | TaskEvent::Finished { .. } => 0,
    }
}

/// Output as an event, and what is stored with it; itself when it is too long or no text.
fn small(output: Output) -> Result<(TaskEvent, (u32, u64)), Output> {
    let Output {
        step,
        offset,
        bytes,
        taken,
    } = output;
    let back = |bytes| Output {
        step,
        offset,
        bytes,
        taken,
    };
    if bytes.len() > SMALL {
        return Err(back(bytes));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((TaskEvent::Output { step, offset, text }, (step, taken))),
        Err(error) => Err(back(error.into_bytes())),
    }
}

/// Brings to the server what waits.
struct Carrier {
    inner: Arc<Inner>,
    claimed: Claimed,
    wish: watch::Sender<Wish>,
    acks: Arc<Acks>,
    queue: Arc<Queue>,
}

impl Carrier {
    async fn run(self) {
        loop {
            let answer = match self.queue.next().await {
                Request::Flush(done) => {
                    // Whoever waited may have given up.
                    let _ = done.send(());
                    continue;
                }
                Request::Report(events, stored) => self.report(events, stored).await,
                Request::Output(output) => self.store(output).await,
            };
            match answer {
                Some(directive) if directive.want == Want::Cancel => hear(&self.wish, Wish::Cancel),
                Some(_) => {}
                None => {
                    hear(&self.wish, Wish::Drop);
                    self.queue.close();
                    return;
                }
            }
        }
    }

    async fn report(&self, events: Vec<TaskEvent>, stored: Vec<(u32, u64)>) -> Option<Directive> {
        let report = TaskReport {
            lease_epoch: self.claimed.lease_epoch,
            events,
        };
        let api = &self.inner.api;
        let answer = insist(|| api.report(self.claimed.task, &report)).await?;
        for (step, taken) in stored {
            self.acks.stored(step, taken);
        }
        Some(answer)
    }

    async fn store(&self, output: Output) -> Option<Directive> {
        let Claimed { task, lease_epoch } = self.claimed;
        let (step, offset, bytes) = (output.step, output.offset, Bytes::from(output.bytes));
        let api = &self.inner.api;
        let answer = insist(|| api.log(task, lease_epoch, step, offset, bytes.clone())).await?;
        self.acks.stored(step, output.taken);
        Some(answer)
    }
}

/// Calls until there is an answer; `None` when the task is not ours any more.
async fn insist<F>(call: impl Fn() -> F) -> Option<Directive>
where
    F: Future<Output = Result<Directive, CallError>>,
{
    let mut backoff = Backoff::default();
    loop {
        match call().await {
            Ok(directive) => return Some(directive),
            // A refusal will not change by being asked again.
            Err(error) if error.is_final() => return None,
            Err(error) => backoff.wait(error.retry_after()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_task_does_not_wait_for_company() {
        let mut items = Items::default();
        let (name, at_ms) = (String::from("Spin up environment"), 1);
        let begun = TaskEvent::StepStarted {
            step: 0,
            name,
            at_ms,
        };
        assert!(!items.push(Item::Event(begun)), "there may be more to say");
        let started = TaskEvent::Started {
            at_ms,
            images: Vec::new(),
        };
        assert!(items.push(Item::Event(started)));
        let Some(Request::Report(events, _)) = items.take() else {
            panic!("nothing goes out");
        };
        assert_eq!(events.len(), 2, "what was said before goes along");
    }
}
