//! How long to wait before a call is tried again: longer each time, somewhere at random, and no less than
//! the server asked for (safety rule 19).

use std::time::Duration;

/// The first pause is at most this long; each later one may be twice as long.
const FIRST: Duration = Duration::from_millis(50);
/// No pause of ours may be longer.
const LONGEST: Duration = Duration::from_secs(5);
/// What a server may ask for at most.
const ASKED_MAX: Duration = Duration::from_secs(300);

/// The pauses between the attempts at one thing.
#[derive(Debug)]
pub(crate) struct Backoff {
    limit: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { limit: FIRST }
    }
}

impl Backoff {
    /// The next pause.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let (bits, _) = uuid::Uuid::new_v4().as_u64_pair();
        // Anywhere between nothing and the whole limit, so that many do not come back at once.
        let share = (bits >> 11) as f64 / (1u64 << 53) as f64;
        let pause = self.limit.mul_f64(share);
        self.limit = (self.limit * 2).min(LONGEST);
        asked.unwrap_or_default().min(ASKED_MAX) + pause
    }

    /// Waits for the next pause.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) {
        tokio::time::sleep(self.next(asked)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_differ() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..40).map(|_| backoff.next(None)).collect();
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        assert!(pauses.first().is_some_and(|pause| *pause <= FIRST));
        // Thirty draws between nothing and five seconds that all lie below one do not happen.
        assert!(pauses.iter().any(|pause| *pause > Duration::from_secs(1)));
        let distinct: std::collections::BTreeSet<_> = pauses.iter().collect();
        assert!(distinct.len() > 30, "{distinct:?}");
    }

    #[test]
    fn what_the_server_asks_for_is_waited_at_least_and_not_for_ever() {
        let asked = Duration::from_secs(7);
        for _ in 0..20 {
            let pause = Backoff::default().next(Some(asked));
            assert!((asked..=asked + FIRST).contains(&pause), "{pause:?}");
        }
        assert!(Backoff::default().next(Some(Duration::MAX)) <= ASKED_MAX + FIRST);
    }
}
