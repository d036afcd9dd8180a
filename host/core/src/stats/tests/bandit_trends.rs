//! Adaptive allocation while rewards change over time: what a winner is worth, and what is found.

use super::draw::{Draw, most, share};
use super::separate_weights::value_difference;
use crate::stats::bandit::{Batch, batch_difference, compared, detrended, thompson_of};
use crate::stats::*;

/// Control and three candidates.
const ARMS: usize = 4;
const CONTROL: f64 = 0.2;
const PLANNED: u64 = 10_000;

/// A bandit whose arms have a common rate, which depends on the time from 0 to 1, plus an effect.
#[derive(Clone, Copy)]
struct Bandit {
    rate: fn(f64) -> f64,
    effects: [f64; ARMS],
    batches: usize,
    units: u64,
    /// The smallest share of a candidate.
    floor: f64,
    /// Batches that begin before a batch's rewards are known.
    delay: usize,
    rewards: fn(&[Batch]) -> Vec<Moments>,
}

const CONSTANT: Bandit =
    Bandit { rate: |_| 0.3, effects: [0.0; ARMS], batches: 30, units: 400, floor: 0.05, delay: 0, rewards: detrended };
const DRIFT: Bandit = Bandit { rate: drift, ..CONSTANT };

fn drift(time: f64) -> f64 {
    0.1 + 0.6 * time
}

/// Four weeks of a year's rise, with weekends.
fn season(time: f64) -> f64 {
    let day = (28.0 * time).floor();
    if day % 7.0 < 2.0 { 0.15 } else { 0.45 + 0.1 * (time * std::f64::consts::TAU).sin() }
}

/// The rewards of all batches as if they were one.
fn pooled(batches: &[Batch]) -> Vec<Moments> {
    (0..ARMS).map(|arm| batches.iter().fold(Moments::default(), |sum, batch| sum + batch.arms[arm])).collect()
}

fn binomial(draw: &mut Draw, units: u64, p: f64) -> u64 {
    let of_64 = |left: u64| u64::from((draw.mask(p) & (u64::MAX >> (64 - left.min(64)))).count_ones());
    (0..units.div_ceil(64)).map(|word| units - 64 * word).map(of_64).sum()
}

impl Bandit {
    /// Runs the bandit, and looks at the end of each batch at all that is known. Says whether a
    /// look made an end of it.
    fn run(&self, draw: &mut Draw, mut look: impl FnMut(&[Batch]) -> bool) -> bool {
        let mut batches: Vec<Batch> = Vec::new();
        for at in 0..self.batches {
            let known = &batches[..at.saturating_sub(self.delay)];
            let weights = match known {
                [] => vec![(1.0 - CONTROL) / 3.0; 3],
                known => {
                    let rewards = (self.rewards)(known);
                    // How many draws it takes doesn't matter for what the split is worth afterwards.
                    thompson_of(40, &rewards[1..], Kind::Proportion, true, (1.0 - CONTROL, self.floor), draw.bits())
                }
            };
            let weights: Vec<f64> = std::iter::once(CONTROL).chain(weights).collect();
            let rate = (self.rate)(at as f64 / self.batches as f64);
            let (mut left, mut share) = (self.units, 1.0);
            let mut arms = Vec::new();
            for (weight, effect) in weights.iter().zip(self.effects) {
                let units = binomial(draw, left, (weight / share).min(1.0));
                (left, share) = (left - units, share - weight);
                arms.push(Moments::from_counts(units, binomial(draw, units, rate + effect)));
            }
            batches.push(Batch { weights, arms });
            if look(&batches[..(at + 1).saturating_sub(self.delay)]) {
                return true;
            }
        }
        false
    }

    /// All batches of a run.
    fn whole(&self, draw: &mut Draw) -> Vec<Batch> {
        let mut batches = Vec::new();
        self.run(draw, |known| {
            batches = known.to_vec();
            false
        });
        batches
    }
}

type Method = fn(&[Batch], usize, usize) -> Result<Estimate, NotEnough>;

/// The interval of each candidate against control that may be evaluated now.
fn intervals(batches: &[Batch], method: Method) -> impl Iterator<Item = Interval> {
    (1..ARMS).filter_map(move |arm| {
        let counts = |arm: Moments| Counts { units: arm.n, events: arm.sum().round() as u64 };
        let [control, treatment] = compared(batches, 0, arm).map(counts);
        may_speak(control, treatment, Kind::Proportion, true).ok()?;
        Some(two_sided(&method(batches, 0, arm).ok()?, 0.05 / 3.0, PLANNED))
    })
}

/// The share of runs that ever call a candidate different from control.
fn errors(bandit: Bandit, method: Method, runs: u64) -> f64 {
    share(runs, |draw| bandit.run(draw, |known| intervals(known, method).any(|i| i.low > 0.0 || i.high < 0.0)))
}

const RUNS: u64 = 4000;

#[test]
fn identical_arms_differ_in_no_trend() {
    for rewards in [detrended, pooled] {
        let found = errors(Bandit { rewards, ..DRIFT }, batch_difference, RUNS);
        assert!(found <= most(0.05, RUNS), "{found}");
    }
    let mutant = errors(Bandit { rewards: pooled, ..DRIFT }, value_difference, 1000);
    assert!(mutant > 0.1, "separate weights for each arm err in {mutant}");
}

#[test]
fn identical_arms_differ_in_no_season_and_with_no_delay() {
    let falls = |time| drift(1.0 - time);
    for (rate, delay) in [(season as fn(f64) -> f64, 0), (season, 3), (drift, 5), (falls, 2)] {
        let found = errors(Bandit { rate, delay, ..DRIFT }, batch_difference, RUNS);
        assert!(found <= most(0.05, RUNS), "a delay of {delay}: {found}");
    }
    let mutant = errors(Bandit { rate: season, rewards: pooled, ..DRIFT }, value_difference, 1000);
    assert!(mutant > 0.1, "separate weights for each arm err in {mutant}");
}

#[test]
fn batches_with_few_units_of_an_arm_are_no_bias() {
    // An arm at the floor has one unit in a batch, or none.
    let small = Bandit { batches: 150, units: 20, rewards: pooled, ..DRIFT };
    let found = errors(small, batch_difference, 1000);
    assert!(found <= most(0.05, 1000), "{found}");
    let mut scores = [0.0; ARMS];
    for seed in 0..400 {
        let batches = small.whole(&mut Draw(seed));
        for (arm, score) in scores.iter_mut().enumerate().skip(1) {
            let found = batch_difference(&batches, 0, arm).expect("enough");
            *score += found.difference / found.se / 400.0;
        }
    }
    // Three standard errors of a mean of 400.
    assert!(scores.iter().all(|score| score.abs() < 0.15), "{scores:?}");
}

#[test]
fn one_look_at_the_end_covers_too() {
    let runs = 2000_u64;
    let least = 0.935 - 3.0 * (0.935_f64 * 0.065 / runs as f64).sqrt();
    for (rate, effects) in [(drift as fn(f64) -> f64, [0.0; ARMS]), (|_| 0.3, [0.0, 0.05, -0.05, 0.0])] {
        let bandit = Bandit { rate, effects, floor: 0.01, ..CONSTANT };
        let (mut covered, mut plain) = ([0.0; ARMS], [0.0; ARMS]);
        let holds = |found: &Estimate, truth: f64| {
            let interval = welch(found, 0.05);
            f64::from(u8::from(interval.low <= truth && truth <= interval.high)) / runs as f64
        };
        for seed in 0..runs {
            let batches = bandit.whole(&mut Draw(seed.wrapping_mul(0xD1B5_4A32_D192_ED03)));
            let all = pooled(&batches);
            for arm in 1..ARMS {
                covered[arm] += holds(&batch_difference(&batches, 0, arm).expect("enough"), effects[arm]);
                plain[arm] += holds(&difference(&all[0], &all[arm], Kind::Proportion).expect("enough"), effects[arm]);
            }
        }
        assert!(covered[1..].iter().all(|covered| *covered >= least), "{covered:?}");
        let misses = plain[1..].iter().any(|plain| *plain < least);
        assert!(misses || effects[1] > 0.0, "a plain difference: {plain:?}");
    }
}

#[test]
fn an_effect_is_found_as_often_as_by_separate_weights() {
    let bandit = Bandit { effects: [0.0, 0.03, 0.0, 0.0], batches: 60, ..CONSTANT };
    let found = |bandit: Bandit, method| {
        share(RUNS, |draw| bandit.run(draw, |known| intervals(known, method).any(|interval| interval.low > 0.0)))
    };
    let [by_batch, separate] =
        [found(bandit, batch_difference), found(Bandit { rewards: pooled, ..bandit }, value_difference)];
    assert!(by_batch >= 0.9 * separate && separate > 0.4, "{by_batch} of {separate}");
    // A trend hides nothing.
    let drifting = found(Bandit { rate: |time| 0.2 + 0.2 * time, ..bandit }, batch_difference);
    assert!(drifting >= 0.9 * separate, "{drifting} of {separate}");
}
