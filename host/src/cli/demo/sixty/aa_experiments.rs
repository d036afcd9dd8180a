//! Two hundred experiments in which nothing is different, looked at all the time: by somebody
//! with a t-test, and by Serin.

use serin_core::allocation::{Purpose, pick, place};
use serin_core::stats::{Counts, Kind, Moments, difference, may_speak, two_sided};

use super::super::data::Seeded;

/// Experiments.
pub(super) const RUNS: u64 = 200;
/// Units of each.
pub(super) const UNITS: u64 = 20_000;
/// A look after so many units.
const EVERY: u64 = 10;
/// Nobody tests before there are this many.
const FIRST: u64 = 100;

/// Experiments that a t-test at 5 % ever called, and those that Serin's sequence did.
pub(super) fn winners(seed: u64) -> [u64; 2] {
    let mut called = [0, 0];
    for run in 0..RUNS {
        let random = Seeded::new(seed.wrapping_mul(1_000_003).wrapping_add(run));
        let mut arms = [Moments::default(); 2];
        let mut is_called = [false, false];
        let salt = format!("a-a-{seed}-{run}");
        for n in 0..UNITS {
            let drawn = place(Purpose::Arm, &salt, "borrower", &format!("b-{n}"));
            let arm = pick(drawn, [0.5, 0.5].into_iter()).unwrap_or(0);
            arms[arm].push(f64::from(u8::from(random.unit() < 0.31)));
            if n < FIRST || n % EVERY != 0 {
                continue;
            }
            let Ok(estimate) = difference(&arms[0], &arms[1], Kind::Proportion) else { continue };
            is_called[0] |= estimate.difference.abs() > 1.96 * estimate.se;
            let events = |arm: &Moments| Counts { units: arm.n, events: arm.sum().round() as u64 };
            if may_speak(events(&arms[0]), events(&arms[1]), Kind::Proportion, true).is_ok() {
                let interval = two_sided(&estimate, 0.05, UNITS);
                is_called[1] |= interval.low > 0.0 || interval.high < 0.0;
            }
        }
        for (called, is_called) in called.iter_mut().zip(is_called) {
            *called += u64::from(is_called);
        }
    }
    called
}
