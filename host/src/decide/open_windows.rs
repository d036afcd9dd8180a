//! Units whose reward's window is open. With adaptive allocation a unit keeps its batch, and so its
//! arm, until then: an outcome belongs to one entry. The ledger's decisions are the durable form.
//!
//! When a window closes depends on when the unit entered, which ids and salts do not say. So unlike
//! any other part of an assignment, the batch of a unit is remembered. It is in the record, so the
//! arm can be recomputed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

/// The batch by which a unit's arm is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitBatch {
    /// The batch.
    pub batch: u32,
    /// The arms' shares in it, in the spec's order.
    pub shares: Arc<[f64]>,
    /// When the unit entered in it, in milliseconds since the Unix epoch; none in older records.
    pub entered_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    batch: u32,
    at_ms: u64,
}

#[derive(Default)]
struct Remembered {
    /// The shares of each batch.
    shares: Vec<Arc<[f64]>>,
    units: HashMap<Arc<str>, Entry>,
    /// Entries in the order in which they were made, to drop closed ones.
    order: VecDeque<(Arc<str>, Entry)>,
}

/// The units of an experiment whose window is open, and those of the current batch, which would be
/// drawn into it again.
#[derive(Default)]
pub struct OpenWindows(Mutex<Remembered>);

/// Closed entries that are dropped for each new one.
const DROPPED: usize = 4;

impl OpenWindows {
    /// Takes over the shares of all batches so far.
    pub fn know(&self, batches: &[Vec<f64>]) {
        let mut remembered = self.0.lock();
        let known = remembered.shares.len();
        remembered.shares.extend(batches.iter().skip(known).map(|shares| Arc::from(&shares[..])));
    }

    /// Takes over a decision from the ledger, in commit order. The first one of a batch is the
    /// unit's entry.
    pub fn restore(&self, unit: &str, batch: u32, at_ms: u64) {
        let mut remembered = self.0.lock();
        if remembered.units.get(unit).is_none_or(|known| known.batch < batch) {
            remembered.insert(unit, Entry { batch, at_ms });
        }
    }

    /// The batch of a unit that has a decision at `now_ms`, where batch `current` is in force and
    /// windows last `window_ms`: that of its entry until its window has closed, then the current one.
    /// With `enters`, the unit is remembered from now on. `None` if no such batch is known.
    pub fn batch_of(&self, unit: &str, now_ms: u64, current: u32, window_ms: u64, enters: bool) -> Option<UnitBatch> {
        let mut remembered = self.0.lock();
        let is_over = |entry: &Entry| entry.batch < current && entry.is_closed(now_ms, window_ms);
        let known = remembered.units.get(unit).copied().filter(|entry| !is_over(entry));
        let entry = known.unwrap_or_else(|| {
            let entry = Entry { batch: current, at_ms: now_ms };
            if enters {
                remembered.drop_some(is_over);
                remembered.insert(unit, entry);
            }
            entry
        });
        let shares = Arc::clone(remembered.shares.get(entry.batch as usize)?);
        Some(UnitBatch { batch: entry.batch, shares, entered_ms: Some(entry.at_ms) })
    }

    /// How many units are remembered.
    pub fn len(&self) -> usize {
        self.0.lock().units.len()
    }

    /// Whether no unit is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Entry {
    fn is_closed(&self, now_ms: u64, window_ms: u64) -> bool {
        now_ms >= self.at_ms.saturating_add(window_ms)
    }
}

impl Remembered {
    fn insert(&mut self, unit: &str, entry: Entry) {
        let unit: Arc<str> = unit.into();
        self.units.insert(Arc::clone(&unit), entry);
        self.order.push_back((unit, entry));
    }

    /// Drops the oldest entries that are over, or that a newer one has replaced.
    fn drop_some(&mut self, is_over: impl Fn(&Entry) -> bool) {
        for _ in 0..DROPPED {
            let Some((unit, entry)) = self.order.front() else { return };
            let is_newest = self.units.get(unit) == Some(entry);
            if is_newest && !is_over(entry) {
                return;
            }
            if is_newest {
                self.units.remove(unit);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(batches: usize) -> OpenWindows {
        let windows = OpenWindows::default();
        windows.know(&vec![vec![0.5, 0.5]; batches]);
        windows
    }

    fn batch(windows: &OpenWindows, unit: &str, now_ms: u64, current: u32) -> (u32, u64) {
        let found = windows.batch_of(unit, now_ms, current, 100, true).expect("a batch");
        (found.batch, found.entered_ms.expect("a time"))
    }

    #[test]
    fn a_unit_keeps_its_batch_until_its_window_has_closed() {
        let windows = windows(4);
        assert_eq!(batch(&windows, "a", 1000, 0), (0, 1000));
        assert_eq!(batch(&windows, "a", 1099, 2), (0, 1000));
        assert_eq!(batch(&windows, "a", 1100, 2), (2, 1100), "closed: drawn anew");
        // In one batch it is one entry, also once the window has closed.
        assert_eq!(batch(&windows, "a", 5000, 2), (2, 1100));
        // A thread with an older deployment follows the one that was first.
        assert_eq!(batch(&windows, "a", 5001, 3), (3, 5001));
        assert_eq!(batch(&windows, "a", 5001, 2), (3, 5001));
        assert_eq!(windows.batch_of("b", 1, 9, 100, true), None, "no shares of that batch are known");
    }

    #[test]
    fn what_does_not_enter_is_not_remembered() {
        let windows = windows(2);
        assert_eq!(windows.batch_of("a", 1000, 0, 100, false).map(|found| found.batch), Some(0));
        assert!(windows.is_empty());
        assert_eq!(batch(&windows, "a", 1050, 1), (1, 1050));
    }

    #[test]
    fn a_ledger_gives_what_was_remembered() {
        let (windows, restored) = (windows(3), windows(3));
        for (unit, now, current) in [("a", 1000, 0), ("b", 1010, 0), ("a", 1050, 1), ("a", 1120, 1), ("b", 1130, 2)] {
            let found = batch(&windows, unit, now, current);
            restored.restore(unit, found.0, now);
        }
        for (unit, now) in [("a", 1219), ("b", 1229), ("a", 1220), ("b", 1230)] {
            assert_eq!(batch(&windows, unit, now, 2), batch(&restored, unit, now, 2), "{unit} at {now}");
        }
    }

    #[test]
    fn closed_windows_are_dropped() {
        let windows = windows(100);
        for i in 0..10_000_u64 {
            batch(&windows, &format!("u-{i}"), 10 * i, (i / 100) as u32);
            // Ten units have an open window, and at most a hundred are of the current batch.
            assert!(windows.len() <= 120, "{} after {i}", windows.len());
        }
    }
}
