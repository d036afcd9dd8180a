//! A model whose runs end too late, again and again, is left alone for a while: who asks it would
//! only wait.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Runs in a row that have to end too late before the next is not begun.
const LATE: u32 = 5;
/// How long nothing is begun then, in milliseconds; after that one run tries.
const REST_MS: u64 = 5_000;

/// The breaker of one model. A decision with little time left says little about the model, so
/// it keeps out only those that would give a run no more time than the ones that ended it.
#[derive(Debug, Default)]
pub(super) struct ModelBreaker {
    /// How many ended too late in a row, up to [`LATE`]. Apart from the rest, so that a model in
    /// good health costs no lock.
    late: AtomicU32,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    until_ms: u64,
    /// The longest time that was not enough in this row.
    not_enough: Duration,
}

impl ModelBreaker {
    /// Whether runs ended too late again and again.
    pub fn is_open(&self) -> bool {
        self.late.load(Ordering::Relaxed) >= LATE
    }

    /// Whether a run may begin that is given `time`.
    pub fn admits(&self, time: Duration, now_ms: impl FnOnce() -> u64) -> bool {
        if !self.is_open() {
            return true;
        }
        let now_ms = now_ms();
        let mut rest = self.rest.lock();
        if time > rest.not_enough {
            return true;
        }
        if now_ms < rest.until_ms {
            return false;
        }
        // This one tries; the others wait until it is known how it ends.
        rest.until_ms = now_ms + REST_MS;
        true
    }

    /// Notes that a run was given `time` and did not end within it.
    pub fn note_late(&self, time: Duration, now_ms: u64) {
        let mut rest = self.rest.lock();
        let late = (self.late.load(Ordering::Relaxed) + 1).min(LATE);
        self.late.store(late, Ordering::Relaxed);
        rest.not_enough = rest.not_enough.max(time);
        if late == LATE {
            rest.until_ms = rest.until_ms.max(now_ms + REST_MS);
        }
    }

    /// Notes that a run ended in time.
    pub fn note_answer(&self) {
        if self.late.load(Ordering::Relaxed) > 0 {
            let mut rest = self.rest.lock();
            self.late.store(0, Ordering::Relaxed);
            *rest = Rest::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_millis(200);

    #[test]
    fn it_opens_after_late_runs_in_a_row_and_one_tries_after_a_rest() {
        let breaker = ModelBreaker::default();
        (1..LATE).for_each(|_| breaker.note_late(LONG, 0));
        breaker.note_answer();
        (1..LATE).for_each(|_| breaker.note_late(LONG, 0));
        assert!(breaker.admits(LONG, || 0), "an answer begins the row anew");
        breaker.note_late(LONG, 1_000);
        assert!(!breaker.admits(LONG, || 1_000) && !breaker.admits(LONG, || 5_999));
        assert!(breaker.admits(LONG, || 6_000), "one tries");
        assert!(!breaker.admits(LONG, || 6_001), "and no other meanwhile");
        breaker.note_late(LONG, 6_200);
        assert!(!breaker.admits(LONG, || 11_199));
        assert!(breaker.admits(LONG, || 11_200));
        breaker.note_answer();
        assert!(breaker.admits(SHORT, || 11_201), "it answers in time again");
    }

    #[test]
    fn decisions_in_a_hurry_do_not_keep_out_those_with_more_time() {
        let breaker = ModelBreaker::default();
        (0..LATE).for_each(|_| breaker.note_late(SHORT, 0));
        assert!(!breaker.admits(SHORT, || 1));
        assert!(breaker.admits(LONG, || 1));
        breaker.note_late(LONG, 1);
        assert!(!breaker.admits(LONG, || 2));
    }
}
