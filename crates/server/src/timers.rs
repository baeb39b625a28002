//! Timers of tasks. A lease is pushed ahead by every sign of life and goes off only when there was none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use capstan_engine::event::Timer;
use capstan_model::TaskId;
use tokio::task::AbortHandle;
use tokio::time::Instant;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Lease,
    Grace,
}

#[derive(Default)]
pub(crate) struct Timers {
    armed: Mutex<HashMap<(TaskId, Kind), Armed>>,
}

struct Armed {
    deadline: Arc<Mutex<Instant>>,
    waiting: AbortHandle,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Timers {
    /// Calls `fire` once after `wait`, unless moved or dropped before.
    pub(crate) fn arm<F>(&self, timer: &Timer, wait: Duration, fire: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let deadline = Arc::new(Mutex::new(Instant::now() + wait));
        let watched = Arc::clone(&deadline);
        let waiting = tokio::spawn(async move {
            loop {
                let until = *lock(&watched);
                if Instant::now() >= until {
                    break;
                }
                tokio::time::sleep_until(until).await;
            }
            // On its own: firing may end with this timer being dropped, which must not stop it.
            tokio::spawn(fire);
        })
        .abort_handle();
        let old = lock(&self.armed).insert(key(timer), Armed { deadline, waiting });
        if let Some(old) = old {
            old.waiting.abort();
        }
    }

    /// A sign of life: the lease lasts this long from now.
    pub(crate) fn renew(&self, task: TaskId, wait: Duration) {
        if let Some(armed) = lock(&self.armed).get(&(task, Kind::Lease)) {
            *lock(&armed.deadline) = Instant::now() + wait;
        }
    }

    /// Forgets the timers of a task.
    pub(crate) fn drop_task(&self, task: TaskId) {
        let mut armed = lock(&self.armed);
        for kind in [Kind::Lease, Kind::Grace] {
            if let Some(old) = armed.remove(&(task, kind)) {
                old.waiting.abort();
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for (_, old) in lock(&self.armed).drain() {
            old.waiting.abort();
        }
    }
}

fn key(timer: &Timer) -> (TaskId, Kind) {
    match timer {
        Timer::Lease { task, .. } => (*task, Kind::Lease),
        Timer::CancelGrace { task, .. } => (*task, Kind::Grace),
    }
}
