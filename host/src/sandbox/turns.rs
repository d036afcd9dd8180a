//! Turns: runs that take long share half of the processors among them, so that the other half is there for runs
//! that are brief. The system's scheduler knows no such difference: it gives a version that spins in all of its slots as
//! much as everybody else together, and who waits for a processor then misses a deadline.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::clock::Budget;

/// How many ticks of the epochs a run meets, each about a millisecond of CPU time, before it counts as long.
const BRIEF_TICKS: u32 = 5;
/// How many ticks a turn lasts while others wait for theirs.
const TURN_TICKS: u32 = 5;

/// The turns of all long runs.
pub(super) struct Turns {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    free: usize,
    /// The tickets of who waits, oldest first.
    waiting: VecDeque<u64>,
    next: u64,
}

impl Turns {
    /// Turns of so many runs at once.
    pub fn new(at_once: usize) -> Self {
        let state = State { free: at_once, waiting: VecDeque::new(), next: 0 };
        Self { state: Mutex::new(state), freed: Condvar::new() }
    }

    /// Turns on half of the processors, at least on one.
    pub fn on_half_of_the_processors() -> Self {
        Self::new((std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1))
    }

    /// Waits for a turn, behind those that wait already; whether there was one in time.
    fn take(&self, budget: &Budget) -> bool {
        let mut state = self.state.lock();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back(ticket);
        while state.free == 0 || state.waiting.front() != Some(&ticket) {
            let left = budget.left();
            if left.is_zero() {
                state.waiting.retain(|other| *other != ticket);
                drop(state);
                // It may have been first in the line.
                self.freed.notify_all();
                return false;
            }
            self.freed.wait_for(&mut state, left);
        }
        state.waiting.pop_front();
        state.free -= 1;
        let is_more = state.free > 0 && !state.waiting.is_empty();
        drop(state);
        if is_more {
            self.freed.notify_all();
        }
        true
    }

    fn give_back(&self) {
        self.state.lock().free += 1;
        self.freed.notify_all();
    }

    fn is_wanted(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }
}

/// The part of one run in it: nothing while it is brief.
pub(super) struct Part {
    turns: Arc<Turns>,
    ticks: u32,
    is_held: bool,
}

impl Part {
    /// The part of a run that begins.
    pub fn new(turns: Arc<Turns>) -> Self {
        Self { turns, ticks: 0, is_held: false }
    }

    /// Notes a tick that the run met. A long one waits here until it is its turn, or until the budget is spent.
    pub fn tick(&mut self, budget: &Budget) {
        self.ticks += 1;
        if self.ticks < BRIEF_TICKS {
            return;
        }
        if self.is_held && self.ticks >= BRIEF_TICKS + TURN_TICKS && self.turns.is_wanted() {
            self.release();
        }
        if self.is_held {
            // Whoever waits for this processor goes first.
            std::thread::yield_now();
        } else {
            self.ticks = BRIEF_TICKS;
            self.is_held = self.turns.take(budget);
        }
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.is_held) {
            self.turns.give_back();
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// How long a test waits for what must happen.
    const SOON: Duration = Duration::from_secs(20);

    fn long(turns: &Arc<Turns>) -> Part {
        let mut part = Part::new(Arc::clone(turns));
        let budget = Budget::new(SOON);
        (0..BRIEF_TICKS).for_each(|_| part.tick(&budget));
        part
    }

    #[test]
    fn a_run_that_is_brief_waits_for_nobody() {
        let turns = Arc::new(Turns::new(1));
        let long = long(&turns);
        assert!(long.is_held);
        let mut brief = Part::new(Arc::clone(&turns));
        (1..BRIEF_TICKS).for_each(|_| brief.tick(&Budget::new(SOON)));
        assert!(!brief.is_held);
    }

    #[test]
    fn who_waits_for_a_turn_waits_no_longer_than_its_budget() {
        let turns = Arc::new(Turns::new(1));
        let long = long(&turns);
        let mut late = Part::new(Arc::clone(&turns));
        (0..2 * BRIEF_TICKS).for_each(|_| late.tick(&Budget::new(Duration::from_millis(1))));
        assert!(!late.is_held);
        drop(long);
        late.tick(&Budget::new(SOON));
        assert!(late.is_held, "the turn that ended is there for others");
        assert!(turns.state.lock().waiting.is_empty());
    }

    #[test]
    fn long_runs_take_turns_and_never_more_at_once_than_may() {
        let (turns, running) = (Arc::new(Turns::new(2)), AtomicUsize::new(0));
        let budget = Budget::new(SOON);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let mut part = Part::new(Arc::clone(&turns));
                    for _ in 0..500 {
                        // A tick may give the turn back, so it no longer counts.
                        if part.is_held {
                            running.fetch_sub(1, Ordering::SeqCst);
                        }
                        part.tick(&budget);
                        if part.is_held {
                            assert!(running.fetch_add(1, Ordering::SeqCst) < 2, "more than two at once");
                        }
                    }
                    if part.is_held {
                        running.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        let state = turns.state.lock();
        assert_eq!((state.free, state.waiting.len()), (2, 0), "each turn was given back");
    }
}
