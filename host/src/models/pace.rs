//! How long a model's runs take: it says on which thread they are made.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Up to this time a run is made on the thread that asks, in microseconds. Handing it over to
/// another thread and back costs 3 to 6 µs where both are awake, and more on a busy machine: a
/// large part of a short run, and nothing to a long one.
const QUICK_US: f64 = 1_000.0;
/// Up to this time it is made on a thread of the listener.
const BRIEF_US: f64 = 100.0;
/// A run that takes longer than this of a processor, and ten times as long as expected, is slow.
const SLOW_US: f64 = 10_000.0;
/// One that has been under way for longer than this is taken for slow before it ends: others may have kept the
/// processors from it for a while, but hardly for so long.
const STUCK_US: f64 = 100_000.0;
/// Quick runs in a row after which a model that was slow is trusted again.
const PROBATION: u32 = 1_000;

/// The pace of one model.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Microseconds for one row, and for each more, as measured on its golden rows.
    measured: OnceLock<(f64, f64)>,
    /// Quick runs that are still to be seen before runs are made on the asking thread again.
    probation: AtomicU32,
}

impl Pace {
    /// For how long a run may hold a thread of the listener: twice what is slow, since it can be kept from running.
    pub const HELD: Duration = Duration::from_micros(2 * SLOW_US as u64);
    /// From this wall time on it matters how much of it was CPU time.
    pub const QUICK: Duration = Duration::from_micros(QUICK_US as u64);

    /// Sets what was measured at loading: microseconds for one row, and for each more. The first
    /// measurement counts.
    pub fn set(&self, first_us: f64, more_us: f64) {
        let _ = self.measured.set((first_us, more_us.max(0.0)));
    }

    /// Without an end before it was measured.
    fn expected_us(&self, rows: usize) -> f64 {
        let measured = self.measured.get();
        measured.map_or(f64::INFINITY, |(first, more)| first + more * rows.saturating_sub(1) as f64)
    }

    /// Whether a run of `rows` rows is short enough for the thread that asks.
    pub fn is_quick(&self, rows: usize) -> bool {
        self.expected_us(rows) <= QUICK_US && self.probation.load(Ordering::Relaxed) == 0
    }

    /// Whether a run of `rows` rows is short enough for a thread of the listener.
    pub fn is_brief(&self, rows: usize) -> bool {
        self.expected_us(rows) <= BRIEF_US && self.probation.load(Ordering::Relaxed) == 0
    }

    /// Whether a run of one row may keep who asks waiting.
    pub fn is_slow(&self) -> bool {
        !self.is_quick(1)
    }

    /// Notes for how many microseconds a run has been under way.
    pub fn note_so_far(&self, rows: usize, us: u64) {
        if us as f64 > STUCK_US.max(10.0 * self.expected_us(rows)) {
            self.probation.store(PROBATION, Ordering::Relaxed);
        }
    }

    /// Notes how much CPU time a run took, in microseconds.
    pub fn note(&self, rows: usize, took_us: u64) {
        let (took, expected) = (took_us as f64, self.expected_us(rows));
        if took > SLOW_US.max(10.0 * expected) {
            self.probation.store(PROBATION, Ordering::Relaxed);
            return;
        }
        let left = self.probation.load(Ordering::Relaxed);
        if left > 0 {
            let left = if took <= QUICK_US.max(expected) { left - 1 } else { PROBATION };
            self.probation.store(left, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(first_us: f64, more_us: f64) -> Pace {
        let pace = Pace::default();
        assert!(pace.is_slow(), "nothing is known of it");
        pace.set(first_us, more_us);
        pace
    }

    #[test]
    fn short_runs_stay_and_long_ones_are_handed_over() {
        let pace = measured(30.0, 4.0);
        assert!(pace.is_quick(1) && pace.is_quick(200) && !pace.is_quick(500));
        assert!(measured(1_500.0, 0.0).is_slow());
    }

    #[test]
    fn a_slow_run_is_remembered_until_many_were_quick() {
        let pace = measured(30.0, 4.0);
        pace.note(1, 9_000);
        assert!(!pace.is_slow(), "a busy machine does that");
        pace.note(1, 11_000);
        assert!(pace.is_slow());
        (1..PROBATION).for_each(|_| pace.note(1, 40));
        assert!(pace.is_slow());
        pace.note(1, 2_000);
        (1..PROBATION).for_each(|_| pace.note(1, 40));
        assert!(pace.is_slow(), "one that was not quick begins the row anew");
        pace.note(1, 40);
        assert!(!pace.is_slow());
        pace.note(10_000, 60_000);
        assert!(!pace.is_slow(), "many rows take long");
        pace.note_so_far(1, 50_000);
        assert!(!pace.is_slow(), "others may have kept the processors from it");
        pace.note_so_far(1, 110_000);
        assert!(pace.is_slow(), "not for so long");
    }
}
