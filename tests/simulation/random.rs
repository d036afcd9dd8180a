//! Choices that follow from a seed.

use std::sync::Arc;

use serin::clock::{Clock as _, SimulatedClock, SystemClock};

/// A seed that nobody chose.
pub fn of_the_system() -> u64 {
    SystemClock.entropy() >> 16
}

/// A stream of choices.
#[derive(Clone)]
pub struct Random(Arc<SimulatedClock>);

impl Random {
    /// The choices that follow from a seed.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(SimulatedClock::new(0, seed)))
    }

    /// A number below `end`.
    pub fn below(&self, end: usize) -> usize {
        (self.0.entropy() % end as u64) as usize
    }

    /// Whether something that happens once in `n` times happens now.
    pub fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}
