//! A fair queue of decisions: one queue for each decision point. A point with slow runs delays only
//! its own queue and gets only its share of the threads.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

struct PointQueue<T> {
    /// The waiting items, each with the time until which the cap applies to it.
    queue: VecDeque<(Instant, T)>,
    running: usize,
    /// When this queue last had its turn.
    turn: u64,
}

/// The queues of all decision points.
pub(super) struct FairQueue<T> {
    queues: HashMap<Arc<str>, PointQueue<T>>,
    waiting: usize,
    turns: u64,
}

/// The next step of a free thread.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// Run this item of this queue.
    Take(Arc<str>, T),
    /// Wait until this time, or until a run ends or an item arrives: every waiting point has its
    /// share of the threads.
    WaitUntil(Instant),
    /// Wait: the queues are empty.
    Wait,
}

impl<T> FairQueue<T> {
    pub fn new() -> Self {
        Self { queues: HashMap::new(), waiting: 0, turns: 0 }
    }

    /// The number of waiting items.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Appends `item` to a queue.
    pub fn push(&mut self, name: &str, patient_until: Instant, item: T) {
        self.waiting += 1;
        if let Some(line) = self.queues.get_mut(name) {
            return line.queue.push_back((patient_until, item));
        }
        // A new queue comes after the waiting ones, so that many new names starve nobody.
        let line = PointQueue { queue: VecDeque::from([(patient_until, item)]), running: 0, turn: self.turns };
        self.queues.insert(name.into(), line);
    }

    /// The next item for a free thread: from the queue whose last turn is longest ago, among those
    /// with fewer concurrent runs than `cap`. An item whose waiting time is over is taken despite
    /// the cap, because being told that no slot is free takes no time.
    pub fn next(&mut self, cap: impl Fn(&str) -> usize, now: Instant) -> Next<T> {
        let mut earliest: Option<Instant> = None;
        let mut chosen: Option<(&Arc<str>, u64)> = None;
        for (name, line) in &self.queues {
            let Some(&(patient_until, _)) = line.queue.front() else { continue };
            if line.running > 0 && patient_until > now && line.running >= cap(name) {
                earliest = Some(earliest.map_or(patient_until, |other| other.min(patient_until)));
            } else if chosen.is_none_or(|(_, turn)| line.turn < turn) {
                chosen = Some((name, line.turn));
            }
        }
        let Some((name, _)) = chosen else {
            return earliest.map_or(Next::Wait, Next::WaitUntil);
        };
        let name = Arc::clone(name);
        let taken = self.queues.get_mut(&name).and_then(|line| {
            let (_, item) = line.queue.pop_front()?;
            self.turns += 1;
            line.turn = self.turns;
            line.running += 1;
            Some(item)
        });
        match taken {
            Some(item) => {
                self.waiting -= 1;
                Next::Take(name, item)
            }
            None => Next::Wait,
        }
    }

    /// Notes that a run of a queue has ended.
    pub fn done(&mut self, name: &str) {
        if let Some(line) = self.queues.get_mut(name) {
            line.running -= 1;
            if line.running == 0 && line.queue.is_empty() {
                self.queues.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(lines: &mut FairQueue<u32>, cap: usize, now: Instant) -> Option<u32> {
        match lines.next(|_| cap, now) {
            Next::Take(_, item) => Some(item),
            _ => None,
        }
    }

    #[test]
    fn lines_take_turns_and_keep_their_order() {
        let (mut lines, now) = (FairQueue::new(), Instant::now());
        (0..3).for_each(|i| lines.push("long", now, i));
        lines.push("short", now, 10);
        let order: Vec<u32> = std::iter::from_fn(|| taken(&mut lines, 8, now)).collect();
        assert_eq!(order.iter().filter(|i| **i < 10).copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert!(order[..2].contains(&10), "the short line waited for the long one: {order:?}");
        assert_eq!(lines.next(|_| 8, now), Next::Wait);
    }

    #[test]
    fn a_line_at_its_cap_waits_until_a_run_ends_or_its_patience_does() {
        let (mut lines, now) = (FairQueue::new(), Instant::now());
        let later = now + Duration::from_secs(1);
        (0..4).for_each(|i| lines.push("slow", later, i));
        assert_eq!([taken(&mut lines, 2, now), taken(&mut lines, 2, now)], [Some(0), Some(1)]);
        assert_eq!(lines.next(|_| 2, now), Next::WaitUntil(later));
        lines.push("other", later, 9);
        assert_eq!(taken(&mut lines, 2, now), Some(9), "another line is not held up");
        lines.done("slow");
        assert_eq!(taken(&mut lines, 2, now), Some(2));
        assert_eq!(taken(&mut lines, 2, now), None);
        assert_eq!(taken(&mut lines, 2, later), Some(3), "patience ends");
        (0..3).for_each(|_| lines.done("slow"));
        lines.done("other");
        assert!(lines.queues.is_empty(), "a line that nobody is in is not kept");
    }

    #[test]
    fn many_new_names_starve_nobody() {
        let (mut lines, now) = (FairQueue::new(), Instant::now());
        lines.push("known", now, 0);
        lines.push("known", now, 1);
        let mut waited = 0;
        assert_eq!(taken(&mut lines, 8, now), Some(0));
        for i in 100.. {
            (0..5).for_each(|j| lines.push(&format!("unknown-{i}-{j}"), now, i));
            if taken(&mut lines, 8, now) == Some(1) {
                break;
            }
            waited += 1;
            assert!(waited < 10, "it still waits");
        }
    }
}
