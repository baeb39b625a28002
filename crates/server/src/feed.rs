//! The updates of one pipeline: the newest in memory, all but output in the store.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use capstan_model::{PipelineId, TaskId};
use capstan_store::{Store, StoreError, Telemetry};
use tokio::sync::watch;

use crate::error::FollowError;
use crate::live::{Update, UpdateKind};

/// Updates kept in memory; older ones are read from the store.
const KEEP: usize = 8192;
/// Updates of one answer.
const BATCH: usize = 512;

pub(crate) struct Feed {
    pipeline: PipelineId,
    inner: Mutex<Inner>,
    last: watch::Sender<u64>,
}

struct Inner {
    /// Neighbours in `seq`, the newest last.
    recent: VecDeque<Update>,
    next: u64,
    /// The highest position any follower has been given.
    delivered: u64,
    /// Where the newest output of a step stands.
    outputs: HashMap<(TaskId, u32), u64>,
    closed: bool,
}

impl Feed {
    pub(crate) fn new(pipeline: PipelineId, last: u64) -> Self {
        Self {
            pipeline,
            inner: Mutex::new(Inner {
                recent: VecDeque::new(),
                next: last + 1,
                delivered: last,
                outputs: HashMap::new(),
                closed: false,
            }),
            last: watch::Sender::new(last),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes changes; what comes back is to be handed to the store.
    pub(crate) fn publish(&self, at_ms: i64, kinds: Vec<UpdateKind>) -> Vec<Telemetry> {
        if kinds.is_empty() {
            return Vec::new();
        }
        let mut rows = Vec::with_capacity(kinds.len());
        let mut inner = self.lock();
        for kind in kinds {
            if let UpdateKind::StepFinished { task, step, .. } = &kind {
                inner.outputs.remove(&(*task, *step));
            }
            let update = Update {
                seq: inner.next,
                at_ms,
                kind,
            };
            // Updates are plain data, whose JSON cannot fail.
            if let Ok(json) = serde_json::to_string(&update) {
                rows.push(Telemetry::Update {
                    pipeline: self.pipeline,
                    seq: update.seq,
                    json,
                });
            }
            inner.push(update);
        }
        let last = inner.next - 1;
        drop(inner);
        self.last.send_replace(last);
        rows
    }

    /// Tells of new output. While nobody has read the last word about this step, that word is made
    /// longer instead, so a slow follower costs nothing.
    pub(crate) fn output(&self, at_ms: i64, task: TaskId, step: u32, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let mut inner = self.lock();
        let at = inner
            .outputs
            .get(&(task, step))
            .copied()
            .filter(|seq| *seq > inner.delivered);
        if let Some(Update {
            kind: UpdateKind::Output { offset, bytes, .. },
            ..
        }) = at.and_then(|seq| inner.find(seq))
        {
            *bytes = range.end.saturating_sub(*offset);
            return;
        }
        let seq = inner.next;
        inner.outputs.insert((task, step), seq);
        let bytes = range.end - range.start;
        let kind = UpdateKind::Output {
            task,
            step,
            offset: range.start,
            bytes,
        };
        inner.push(Update { seq, at_ms, kind });
        drop(inner);
        self.last.send_replace(seq);
    }

    /// Waits for something after `after` and returns it.
    pub(crate) async fn follow(
        &self,
        store: &Store,
        after: u64,
    ) -> Result<Vec<Update>, FollowError> {
        let mut last = self.last.subscribe();
        loop {
            let newest = *last.borrow_and_update();
            if newest > after {
                if let Some(batch) = self.recent(after) {
                    return Ok(batch);
                }
                let batch = self.past(store, after).await?;
                if !batch.is_empty() {
                    return Ok(batch);
                }
            }
            if self.lock().closed || last.changed().await.is_err() {
                return Err(FollowError::ShuttingDown);
            }
        }
    }

    /// The position of the newest update.
    pub(crate) fn position(&self) -> u64 {
        *self.last.borrow()
    }

    /// Ends every wait.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.last.send_modify(|_| {});
    }

    /// `None` when the answer begins before what is in memory.
    fn recent(&self, after: u64) -> Option<Vec<Update>> {
        let mut inner = self.lock();
        let first = inner.recent.front()?.seq;
        let skip = usize::try_from((after + 1).checked_sub(first)?).ok()?;
        let batch: Vec<Update> = inner
            .recent
            .iter()
            .skip(skip)
            .take(BATCH)
            .cloned()
            .collect();
        let delivered = batch.last()?.seq;
        inner.delivered = inner.delivered.max(delivered);
        Some(batch)
    }

    async fn past(&self, store: &Store, after: u64) -> Result<Vec<Update>, FollowError> {
        // What has left the memory may still be on its way into the store.
        store.flush().await?;
        let limit = u32::try_from(BATCH).unwrap_or(u32::MAX);
        let first = self.lock().recent.front().map(|update| update.seq);
        let mut batch = Vec::new();
        for json in store.updates(self.pipeline, after, limit).await? {
            let update: Update =
                serde_json::from_str(&json).map_err(|error| StoreError::Corrupt {
                    what: String::from("an update"),
                    cause: error.to_string(),
                })?;
            // From here on memory knows more: output is only there.
            if first.is_some_and(|first| update.seq >= first) {
                break;
            }
            batch.push(update);
        }
        if let (true, Some(first)) = (batch.is_empty(), first) {
            // Nothing but output lies between; go on where memory begins.
            return Ok(self.recent(first - 1).unwrap_or_default());
        }
        Ok(batch)
    }
}

impl Inner {
    fn push(&mut self, update: Update) {
        self.next = update.seq + 1;
        self.recent.push_back(update);
        if self.recent.len() > KEEP {
            self.recent.pop_front();
        }
    }

    fn find(&mut self, seq: u64) -> Option<&mut Update> {
        let first = self.recent.front()?.seq;
        self.recent
            .get_mut(usize::try_from(seq.checked_sub(first)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_that_nobody_reads_costs_one_update() {
        let feed = Feed::new(PipelineId(uuid::Uuid::new_v4()), 0);
        let task = TaskId {
            job: capstan_model::JobId(uuid::Uuid::new_v4()),
            node: 0,
            attempt: 1,
        };
        let spans = |feed: &Feed, after| -> Vec<(u64, u64, u64)> {
            let updates = feed.recent(after).unwrap_or_default();
            let span = |update: Update| match update.kind {
                UpdateKind::Output { offset, bytes, .. } => Some((update.seq, offset, bytes)),
                _ => None,
            };
            updates.into_iter().filter_map(span).collect()
        };
        for n in 0..1000 {
            feed.output(1, task, 101, n * 10..(n + 1) * 10);
        }
        assert_eq!(feed.lock().recent.len(), 1);
        assert_eq!(spans(&feed, 0), [(1, 0, 10_000)]);
        // What was read is not changed any more.
        feed.output(1, task, 101, 10_000..10_005);
        feed.output(1, task, 101, 10_005..10_007);
        feed.output(1, task, 101, 10_007..10_007);
        assert_eq!(spans(&feed, 1), [(2, 10_000, 7)]);
        assert_eq!(spans(&feed, 0), [(1, 0, 10_000), (2, 10_000, 7)]);
    }
}
