//! Splits that are as they should be, and splits that aren't.

use super::draw::{Draw, most, share};
use crate::stats::*;

const EVEN: [f64; 2] = [0.5, 0.5];

/// Units fall to two arms, the first with probability `first`; the split is looked at after every
/// 64 of them. Says whether a look made an end of it.
fn split(draw: &mut Draw, first: f64, units: u64, mut look: impl FnMut([u64; 2]) -> bool) -> bool {
    let mut counts = [0, 0];
    for _ in 0..units / 64 {
        let ones = u64::from(draw.mask(first).count_ones());
        counts = [counts[0] + ones, counts[1] + 64 - ones];
        if look(counts) {
            return true;
        }
    }
    false
}

/// χ² at the end, at the level 0.001, against the weights.
fn at_the_end(first: f64, weights: [f64; 2]) -> f64 {
    let run = |draw: &mut Draw| {
        let mut last = [0, 0];
        split(draw, first, 20_000, |counts| {
            last = counts;
            false
        });
        chi_squared(&last, &weights).expect("enough") < 0.001
    };
    share(2000, run)
}

#[test]
fn one_look_finds_a_mismatch_and_seldom_another() {
    let (balanced, off) = (at_the_end(0.5, EVEN), at_the_end(0.52, EVEN));
    assert!(balanced * 2000.0 <= 7.5, "{balanced}");
    assert!(off >= 0.98, "{off}");
    // Against weights that weren't logged: neither bound holds.
    let (balanced, off) = (at_the_end(0.5, [0.51, 0.49]), at_the_end(0.52, [0.52, 0.48]));
    assert!(balanced * 2000.0 > 7.5 && off < 0.98, "{balanced} {off}");
}

/// The share of splits that are ever called off, at the level 0.01, with looks all the time.
fn ever(runs: u64, first: f64, p: fn([u64; 2], &mut Sequential) -> f64) -> f64 {
    let run = |draw: &mut Draw| {
        let mut sequential = Sequential::default();
        split(draw, first, 20_000, |counts| p(counts, &mut sequential) <= 0.01)
    };
    share(runs, run)
}

#[test]
fn continuous_looks_find_a_mismatch_and_seldom_another() {
    let factor = |counts: [u64; 2], seen: &mut Sequential| seen.observe(log_bayes_factor(&counts, &EVEN, 100.0));
    let (balanced, off) = (ever(1000, 0.5, factor), ever(1000, 0.52, factor));
    assert!(balanced <= most(0.01, 1000), "{balanced}");
    assert!(off >= 0.96, "{off}");
    let peeked = ever(300, 0.5, |counts, _| chi_squared(&counts, &EVEN).unwrap_or(1.0));
    let never = ever(300, 0.52, |counts, seen| seen.observe(log_bayes_factor(&counts, &[0.52, 0.48], 100.0)));
    assert!(peeked > most(0.01, 300) && never < 0.96, "{peeked} {never}");
}
