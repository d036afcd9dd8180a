//! Seeds of simulations: those that are played each time, and those that somebody asks for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serin::clock::{Clock as _, SimulatedClock, SystemClock};

/// Plays what `SERIN_SEEDS` asks for: one seed as `17`, some as `17..40`, or as many from a random
/// one on as there is time for, as `90s`. Nothing where it is not set.
pub fn play_asked_for(play: impl Fn(u64)) {
    let Ok(asked) = std::env::var("SERIN_SEEDS") else { return };
    let number = |text: &str| text.parse::<u64>().expect("SERIN_SEEDS: 17, 17..40 or 90s");
    if let Some(seconds) = asked.strip_suffix('s') {
        let (end, first) = (Instant::now() + Duration::from_secs(number(seconds)), SystemClock.entropy() >> 16);
        let played = (first..).take_while(|_| Instant::now() < end).inspect(|seed| play(*seed)).count();
        println!("{played} seeds from {first} on");
    } else if let Some((from, to)) = asked.split_once("..") {
        (number(from)..number(to)).for_each(play);
    } else {
        play(number(&asked));
    }
}

/// Says how a seed that failed is repeated.
pub fn say_how_to_repeat(seed: u64, module: &str) {
    eprintln!(
        "seed {seed} failed; repeat it: SERIN_SEEDS={seed} cargo nextest run --workspace --no-capture \
         -E 'test({module}::seeds_that_are_asked_for)'"
    );
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
