//! How long a version's runs take: it says on which thread they are made.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The CPU time of a run on a thread of the listener. Most take a hundredth of it; one that takes
/// longer is given up, and begun anew on a deciding thread.
pub const BRIEF: Duration = Duration::from_millis(2);
/// For how long such a run may hold its thread. On a busy machine it can be kept from running for many milliseconds.
pub const HELD: Duration = Duration::from_millis(20);

/// What one such run counts, against brief ones that count one each.
const LONG: u32 = 100;
/// The count from which on a version's runs are made on deciding threads only: of many runs, one in a
/// hundred may take long.
const MOST: u32 = 250;
/// How long that goes on, in milliseconds, until it is tried again.
const APART_MS: u64 = 10_000;

/// The pace of one version.
#[derive(Debug, Default)]
pub struct RunPace {
    count: AtomicU32,
    apart_until_ms: AtomicU64,
}

impl RunPace {
    /// Whether the next run is likely to be brief.
    pub fn is_brief(&self, now_ms: u64) -> bool {
        now_ms >= self.apart_until_ms.load(Ordering::Relaxed)
    }

    /// Notes a run on the listener's thread that ended by itself.
    pub fn note_brief(&self) {
        let count = self.count.load(Ordering::Relaxed);
        // Mostly there is nothing to write. One that is lost beside another thread's is no loss.
        if count > 0 {
            self.count.store(count - 1, Ordering::Relaxed);
        }
    }

    /// Notes a run on the listener's thread that was given up.
    pub fn note_long(&self, now_ms: u64) {
        let count = self.count.load(Ordering::Relaxed) + LONG;
        if count > MOST {
            self.apart_until_ms.store(now_ms + APART_MS, Ordering::Relaxed);
        }
        // The first one after that decides.
        self.count.store(count.min(MOST), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_takes_long_again_and_again_is_kept_apart_for_a_while() {
        let pace = RunPace::default();
        for _ in 0..2 {
            pace.note_long(1_000);
            assert!(pace.is_brief(1_000));
        }
        pace.note_long(1_000);
        assert!(!pace.is_brief(1_000) && !pace.is_brief(10_999));
        assert!(pace.is_brief(11_000), "tried again");
        pace.note_long(11_000);
        assert!(!pace.is_brief(11_000), "once is enough now");
    }

    #[test]
    fn one_in_two_hundred_is_as_good_as_brief() {
        let pace = RunPace::default();
        for _ in 0..100 {
            (0..200).for_each(|_| pace.note_brief());
            pace.note_long(0);
            assert!(pace.is_brief(0));
        }
    }
}
