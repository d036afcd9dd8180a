//! When the writer begins a commit: a commit of one decision costs five times as much as a share of a commit of many,
//! and writes the same pages of the log again.

use std::time::Duration;

use crate::clock::Stopwatch;

/// The least time from one commit's beginning to the next one's, while others join meanwhile.
const LEAST: Duration = Duration::from_micros(500);
/// Commits that are not held up after one for which nobody else came: whoever is alone waits for others in vain.
const ALONE: u32 = 16;

/// The pace of commits.
pub(super) struct Pace {
    begun: Stopwatch,
    /// Commits still to come that are not held up.
    at_once: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { begun: Stopwatch::new(), at_once: 0 }
    }

    /// Lets others queue for the commit that is about to begin; whether it was held up.
    pub(super) fn wait(&mut self) -> bool {
        let pause = LEAST.saturating_sub(self.begun.elapsed());
        if pause.is_zero() || self.at_once > 0 {
            self.at_once = self.at_once.saturating_sub(1);
            // The first of several decisions wakes this thread, and the others are still being made. Where
            // a core is free, this returns at once.
            std::thread::yield_now();
            return false;
        }
        std::thread::sleep(pause);
        true
    }

    /// A commit of `jobs` begins. `waited` says whether it was held up.
    pub(super) fn begin(&mut self, waited: bool, jobs: usize) {
        if waited && jobs == 1 {
            self.at_once = ALONE;
        }
        self.begun.lap_us();
    }
}

#[cfg(test)]
mod tests {
    use super::{ALONE, Pace};

    #[test]
    fn who_is_alone_is_not_held_up_again() {
        let mut pace = Pace::new();
        pace.begin(true, 1);
        for commit in 0..ALONE {
            let waited = pace.wait();
            assert!(!waited, "commit {commit}");
            pace.begin(waited, 1);
        }
        assert_eq!(pace.at_once, 0, "then it is tried again");
        pace.begin(true, 2);
        assert_eq!(pace.at_once, 0, "others came");
    }
}
