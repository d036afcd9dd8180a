//! Units that go where rewards were: how they are split, and what is true of the arms afterwards.

use super::draw::Draw;
use crate::stats::bandit::thompson_of;
use crate::stats::*;

/// The moments of so many units around a mean, with the variance 1.
fn around(n: u64, mean: f64) -> Moments {
    Moments { n, mean, m2: (n - 1) as f64 }
}

fn sums_to(shares: &[f64], share: f64) -> bool {
    (shares.iter().sum::<f64>() - share).abs() < 1e-12
}

#[test]
fn the_better_arm_gets_more() {
    let counts = Moments::from_counts;
    let proportions = [counts(200, 60), counts(200, 70), counts(200, 40)];
    let means = [around(200, 1e6), around(200, 1e6 + 0.1), around(200, 1e6 - 0.2)];
    for (arms, kind) in [(proportions, Kind::Proportion), (means, Kind::Mean)] {
        let shares = thompson(&arms, kind, true, 1.0, 0.02, 1);
        assert!(shares[1] > 0.7 && shares[0] > 0.1 && shares[2] == 0.02, "{shares:?}");
        assert!(sums_to(&shares, 1.0), "{shares:?}");
        let shares = thompson(&arms, kind, false, 0.8, 0.02, 1);
        assert!(shares[2] > 0.7 && sums_to(&shares, 0.8), "less is better: {shares:?}");
    }
}

#[test]
fn a_share_is_the_probability_to_be_the_best() {
    // Beta(3, 1) is above Beta(1, 3) in 95 %, and two means of a thousand are apart by 1.118
    // standard errors. Four standard errors of 4,000 draws are at most 0.032.
    let few = [Moments::from_counts(2, 2), Moments::from_counts(2, 0)];
    let many = [around(1000, 0.05), around(1000, 0.0)];
    for seed in 0..20 {
        let best = thompson(&few, Kind::Proportion, true, 1.0, 0.0, seed)[0];
        assert!((best - 0.95).abs() < 0.014, "{best}");
        let best = thompson(&many, Kind::Mean, true, 1.0, 0.0, seed)[0];
        assert!((best - 0.868).abs() < 0.022, "{best}");
    }
    // Three equal rewards are no reason to be certain of anything.
    let constant = [Moments { n: 3, mean: 0.0, m2: 0.0 }, around(500, 0.5)];
    let shares = thompson(&constant, Kind::Mean, true, 1.0, 0.0, 1);
    assert!(shares[0] > 0.1 && shares[0] < 0.4, "{shares:?}");
}

#[test]
fn no_arm_is_below_the_floor() {
    let arms: Vec<Moments> = [100, 300, 310, 320, 330].map(|events| Moments::from_counts(1000, events)).to_vec();
    for (share, floor) in [(1.0, 0.0), (1.0, 0.05), (0.8, 0.1), (0.7, 0.139), (0.3, 0.01)] {
        for seed in 0..5 {
            let shares = thompson(&arms, Kind::Proportion, true, share, floor, seed);
            assert!(shares.iter().all(|share| *share >= floor) && sums_to(&shares, share), "{floor}: {shares:?}");
            assert!(shares[4] > shares[2], "{shares:?}");
            assert_eq!(shares, thompson(&arms, Kind::Proportion, true, share, floor, seed));
        }
    }
    let other = |seed| thompson(&arms, Kind::Proportion, true, 1.0, 0.0, seed);
    assert_ne!(other(1), other(2));
}

#[test]
fn where_nothing_is_known_shares_are_equal() {
    let (none, one, some) = (Moments::default(), Moments::from_counts(1, 1), Moments::from_counts(9, 4));
    let nan = Moments { n: 9, mean: f64::NAN, m2: 1.0 };
    let same = Moments { n: 9, mean: 4.0, m2: 0.0 };
    for kind in [Kind::Proportion, Kind::Mean] {
        for arms in [[none, none, none], [some, some, one], [nan, some, some], [same, same, same]] {
            assert_eq!(thompson(&arms, kind, true, 0.9, 0.05, 3), [0.9 / 3.0; 3]);
        }
        assert_eq!(thompson(&[some, some], kind, true, 0.5, 0.3, 3), [0.25; 2], "no room for the floor");
        assert!(thompson(&[], kind, true, 0.5, 0.3, 3).is_empty());
        // Rewards that are no proportion at all end, too.
        let wild = [Moments { n: 9, mean: -50.0, m2: 3.0 }, Moments { n: 9, mean: 50.0, m2: 3.0 }];
        assert!(thompson(&wild, kind, true, 1.0, 0.0, 3)[1] > 0.9);
    }
}

/// 20 batches of 200 units, split by what is known when each begins. Rewards are 0 or 1, with
/// these rates of the latter. The arm at 0 has a fixed share where there is one. How many draws
/// a split takes doesn't matter for what it is worth afterwards: 100 are quick.
fn experiment(draw: &mut Draw, rates: &[f64], fixed: Option<f64>, floor: f64) -> Vec<Batch> {
    let mut known = vec![Moments::default(); rates.len()];
    let split = |known: &[Moments], share, seed| thompson_of(100, known, Kind::Proportion, true, (share, floor), seed);
    let batch = |_| {
        let weights: Vec<f64> = match fixed {
            Some(fixed) => std::iter::once(fixed).chain(split(&known[1..], 1.0 - fixed, draw.bits())).collect(),
            None => split(&known, 1.0, draw.bits()),
        };
        let mut arms = vec![Moments::default(); rates.len()];
        for _ in 0..200 {
            let (mut arm, mut at) = (0, draw.number());
            while arm + 1 < rates.len() && at >= weights[arm] {
                at -= weights[arm];
                arm += 1;
            }
            arms[arm].push(if draw.number() < rates[arm] { 1.0 } else { 0.0 });
        }
        known.iter_mut().zip(&arms).for_each(|(known, arm)| *known += *arm);
        Batch { weights, arms }
    };
    (0..20).map(batch).collect()
}

fn pooled(batches: &[Batch], arm: usize) -> Moments {
    batches.iter().fold(Moments::default(), |sum, batch| sum + batch.arms[arm])
}

/// Of many experiments, the shares of normal 95 % intervals that hold the truth, and means' biases.
#[derive(Debug, Default)]
struct Found {
    values: [f64; 3],
    differences: [f64; 2],
    plain_values: [f64; 3],
    plain_differences: [f64; 2],
    bias: [f64; 3],
    plain_bias: [f64; 3],
}

const RUNS: u64 = 2000;

fn simulate(rates: [f64; 3], fixed: Option<f64>, floor: f64) -> Found {
    let mut found = Found::default();
    let holds = |mean: f64, se: f64, truth: f64| f64::from(u8::from((mean - truth).abs() <= 1.96 * se)) / RUNS as f64;
    for seed in 0..RUNS {
        let batches = experiment(&mut Draw(seed.wrapping_mul(0xD1B5_4A32_D192_ED03)), &rates, fixed, floor);
        let plain = [0, 1, 2].map(|arm| pooled(&batches, arm));
        for (arm, rate) in rates.into_iter().enumerate() {
            let weighted = value(&batches, arm).expect("enough");
            let se = (plain[arm].variance().expect("enough") / plain[arm].n as f64).sqrt();
            found.values[arm] += holds(weighted.mean, weighted.se, rate);
            found.plain_values[arm] += holds(plain[arm].mean, se, rate);
            found.bias[arm] += (weighted.mean - rate) / RUNS as f64;
            found.plain_bias[arm] += (plain[arm].mean - rate) / RUNS as f64;
        }
        for arm in 1..3 {
            let truth = rates[arm] - rates[0];
            let weighted = value_difference(&batches, 0, arm).expect("enough");
            let simple = difference(&plain[0], &plain[arm], Kind::Proportion).expect("enough");
            found.differences[arm - 1] += holds(weighted.difference, weighted.se, truth);
            found.plain_differences[arm - 1] += holds(simple.difference, simple.se, truth);
        }
    }
    found
}

/// 93.5 %, less three standard errors of as many runs: no more than slack for the simulation.
fn least() -> f64 {
    0.935 - 3.0 * (0.935 * 0.065 / RUNS as f64).sqrt()
}

impl Found {
    fn covers(&self) -> bool {
        self.values.iter().chain(&self.differences).all(|covered| *covered >= least())
    }
}

#[test]
fn weighted_intervals_cover_without_an_effect() {
    let found = simulate([0.3; 3], None, 0.05);
    assert!(found.covers(), "{found:?}");
    // An arm that was unlucky has few units later on that could make up for it.
    for (bias, plain) in found.bias.iter().zip(&found.plain_bias) {
        assert!(*plain < -0.005 && bias.abs() < 0.7 * plain.abs(), "{found:?}");
    }
}

#[test]
fn weighted_intervals_cover_with_an_effect() {
    for fixed in [None, Some(0.2)] {
        let found = simulate([0.3, 0.35, 0.25], fixed, 0.05);
        assert!(found.covers(), "{fixed:?}: {found:?}");
    }
}

#[test]
fn plain_intervals_miss_where_an_arm_may_starve() {
    let found = simulate([0.3; 3], None, 0.01);
    assert!(found.covers(), "{found:?}");
    assert!(found.plain_differences.iter().all(|covered| *covered < least()), "{found:?}");
    assert!(found.plain_values.iter().all(|covered| *covered < 0.935), "{found:?}");
}

/// The value and its standard error, unit by unit.
fn by_unit(units: &[(usize, f64, f64, f64)], arm: usize) -> (f64, f64) {
    let score = |&(drawn, y, weight, before): &(usize, f64, f64, f64)| {
        let away = if drawn == arm { (y - before) / weight } else { 0.0 };
        (weight.sqrt(), before + away)
    };
    let scores: Vec<(f64, f64)> = units.iter().map(score).collect();
    let total: f64 = scores.iter().map(|(h, _)| h).sum();
    let mean = scores.iter().map(|(h, score)| h * score).sum::<f64>() / total;
    let squares: f64 = scores.iter().map(|(h, score)| (h * (score - mean)).powi(2)).sum();
    (mean, squares.sqrt() / total)
}

#[test]
fn batches_sum_up_to_what_their_units_say() {
    let rewards: [[&[f64]; 2]; 3] = [[&[1.0, 4.0], &[2.0, 0.0]], [&[3.0], &[5.0, 1.0, 1.5]], [&[2.5, 2.0, 7.0], &[]]];
    for origin in [0.0, 1e6] {
        let (mut batches, mut units, mut before) = (Vec::new(), Vec::new(), 2.5 + origin);
        for (weight, arms) in [0.5, 0.3, 0.8].into_iter().zip(rewards) {
            let moments = arms.map(|arm| arm.iter().map(|y| y + origin).collect::<Moments>());
            for (arm, rewards) in arms.iter().enumerate() {
                units.extend(rewards.iter().map(|y| (arm, y + origin, weight, before)));
            }
            batches.push(Batch { weights: vec![weight, 1.0 - weight], arms: moments.to_vec() });
            before = pooled(&batches, 0).mean;
        }
        // The first batch's variance is over n − 1: 9 instead of 4.5, with 1 / e² and h².
        let (mean, se) = by_unit(&units, 0);
        let total: f64 = units.iter().map(|unit| unit.2.sqrt()).sum();
        let expected = (se * se + (9.0 - 4.5) * 4.0 * 0.5 / (total * total)).sqrt();
        let found = value(&batches, 0).expect("enough");
        assert_eq!(found.units, 6);
        assert!((found.mean - mean).abs() < 1e-9 && (found.se / expected - 1.0).abs() < 1e-9, "{found:?}");
        // Where nothing was known of the arm, nothing is said.
        let idle = Batch { weights: vec![0.0, 1.0], arms: vec![Moments::default(), around(9, 3.0)] };
        let starved = Batch { weights: vec![0.1, 0.9], ..idle.clone() };
        let later: Vec<Batch> = [idle, starved].into_iter().chain(batches.clone()).collect();
        assert_eq!(value(&later, 0), Ok(found));
        let apart = value_difference(&batches, 1, 0).expect("enough");
        let other = value(&batches, 1).expect("enough");
        assert_eq!((apart.difference, apart.n, apart.df), (found.mean - other.mean, 11, f64::INFINITY));
        assert!((apart.se.powi(2) - found.se.powi(2) - other.se.powi(2)).abs() < 1e-12);
        assert!((welch(&apart, 0.05).high - apart.difference - 1.959964 * apart.se).abs() < 1e-6);
    }
}

#[test]
fn values_say_what_they_lack() {
    let batch = |weight: f64, arm: Moments| Batch { weights: vec![weight, 1.0 - weight], arms: vec![arm, arm] };
    let (one, same) = (Moments::from_counts(1, 1), Moments::from_counts(9, 9));
    assert_eq!(value(&[], 0), Err(NotEnough::Units { have: 0, need: 2 }));
    assert_eq!(value(&[batch(0.5, one)], 1), Err(NotEnough::Units { have: 1, need: 2 }));
    assert_eq!(value(&[batch(0.5, same), batch(0.4, same)], 0), Err(NotEnough::Variance));
    let infinite = Moments { n: 3, mean: f64::INFINITY, m2: 1.0 };
    for bad in [batch(0.0, around(9, 1.0)), batch(f64::NAN, around(9, 1.0)), batch(0.5, infinite)] {
        let bad = [bad];
        assert_eq!(value(&bad, 0), Err(NotEnough::Variance));
        assert_eq!(value_difference(&bad, 1, 0), Err(NotEnough::Variance));
    }
}
