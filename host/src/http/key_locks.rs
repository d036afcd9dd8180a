//! A lock for each idempotency key in flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

/// One lock a key in flight, so that of two twins the second waits for the first's answer.
#[derive(Default)]
pub struct KeyLocks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl KeyLocks {
    /// Locks a key. None where it is still held at `end`, or, at a look once in `every`, held `in_vain`: whoever
    /// has it may wait for a commit that does not end, and those who wait behind it hold their places.
    pub(super) async fn lock(
        &self,
        key: &str,
        end: Instant,
        every: Duration,
        in_vain: impl Fn() -> bool,
    ) -> Option<OwnedMutexGuard<()>> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A lock that nobody holds or waits for is only in this map.
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(key.to_owned()).or_default())
        };
        let mut locked = std::pin::pin!(lock.lock_owned());
        loop {
            let look = end.min(Instant::now() + every);
            match tokio::time::timeout_at(look.into(), &mut locked).await {
                Ok(guard) => return Some(guard),
                Err(_) if look == end || in_vain() => return None,
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_waits_for_a_key_gives_up_in_the_end_or_when_it_is_in_vain() {
        let locks = KeyLocks::default();
        let soon = Duration::from_millis(1);
        let first = locks.lock("k", Instant::now(), BOUND, || true).await.expect("a free key needs no wait");
        assert!(locks.lock("k", Instant::now() + soon, BOUND, || false).await.is_none(), "to the end");
        assert!(locks.lock("k", Instant::now() + BOUND, soon, || true).await.is_none(), "in vain");
        assert!(locks.lock("other", Instant::now(), BOUND, || true).await.is_some());
        let waits = locks.lock("k", Instant::now() + BOUND, soon, || false);
        let (second, ()) = tokio::join!(waits, async { drop(first) });
        assert!(second.is_some(), "the first has ended");
    }
}
