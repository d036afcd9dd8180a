//! Units that go where rewards were: how they are split, and what is true of the arms afterwards.

use crate::stats::bandit::{compared, detrended, level};
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

fn batch(weights: &[f64], arms: &[&[f64]]) -> Batch {
    Batch { weights: weights.to_vec(), arms: arms.iter().map(|rewards| rewards.iter().copied().collect()).collect() }
}

#[test]
fn a_difference_is_that_of_its_batches() {
    for origin in [0.0, 1e6] {
        let rewards = |rewards: &[f64]| rewards.iter().map(|y| y + origin).collect::<Vec<f64>>();
        let arms: [[&[f64]; 3]; 3] =
            [[&[1.0, 4.0], &[2.0, 0.0, 7.0], &[5.0]], [&[3.0], &[5.0, 1.0], &[]], [&[2.5, 2.0, 7.0], &[], &[1.0, 1.0]]];
        let shares = [[0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.4, 0.2, 0.4]];
        let batches: Vec<Batch> = arms
            .iter()
            .zip(shares)
            .map(|(arms, weights)| {
                let arms = arms.map(rewards);
                batch(&weights, &[&arms[0], &arms[1], &arms[2]])
            })
            .collect();
        // The third batch has no units of the arm. In the second, control has a single one.
        let weights = [6.0_f64 * 2.0 * 3.0 / 5.0, 3.0 * 2.0 / 3.0].map(f64::sqrt);
        let apart = [3.0 - 2.5, 0.0];
        let variances = [[4.5 / 2.0, 13.0 / 3.0], [0.0, 0.0]];
        let total: f64 = weights.iter().sum();
        let difference = (weights[0] * apart[0] + weights[1] * apart[1]) / total;
        let parts = variances.map(|parts| parts[0] + parts[1]);
        let se = (weights[0].powi(2) * parts[0] + weights[1].powi(2) * parts[1]).sqrt() / total;
        let found = batch_difference(&batches, 0, 1).expect("enough");
        assert!((found.difference - difference).abs() < 1e-9 && (found.se / se - 1.0).abs() < 1e-9, "{found:?}");
        let df = (parts[0] * parts[0]) / (variances[0][0].powi(2) + variances[0][1].powi(2) / 2.0);
        assert!((found.df / df - 1.0).abs() < 1e-9, "{found:?}");
        // Both arms' share in the first batch of the nine units in the first two.
        assert_eq!(found.n, 7);
        let mean = (weights[0] * 2.5 + weights[1] * 3.0) / total + origin;
        assert!((found.control - mean).abs() < 1e-9, "{found:?}");
        let known = (6.0 * 2.5 + 3.0 * 3.0 + 5.0 * 11.5 / 3.0) / 14.0 + origin;
        assert!(level(&batches, 0).is_some_and(|level| (level - known).abs() < 1e-9));
        assert_eq!(found.treatment, found.control + found.difference);
        assert_eq!(compared(&batches, 0, 1).map(|arm| arm.n), [3, 5]);
        // A trend that both arms have is no difference.
        let mut later = batches.clone();
        later[0].arms.iter_mut().for_each(|arm| arm.mean += 9.0);
        let shifted = batch_difference(&later, 0, 1).expect("enough");
        assert!((shifted.difference - difference).abs() < 1e-9 && (shifted.se / se - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_single_unit_has_the_variance_of_its_difference() {
    let known = batch(&[0.5, 0.5], &[&[1.0, 3.0], &[4.0, 2.0]]);
    let single = batch(&[0.9, 0.1], &[&[1.0, 3.0], &[7.0]]);
    let found = batch_difference(&[known, single], 0, 1).expect("enough");
    let weights = [4.0_f64 * 1.0, 3.0 * 2.0 / 3.0].map(f64::sqrt);
    let se = (4.0 * 2.0 + 2.0 * 25.0_f64).sqrt() / (weights[0] + weights[1]);
    assert!((found.se - se).abs() < 1e-12, "{found:?} {se}");
}

#[test]
fn differences_say_what_they_lack() {
    let of = |weight: f64, arm: Moments| Batch { weights: vec![weight, 1.0 - weight], arms: vec![arm, arm] };
    let (one, same) = (Moments::from_counts(1, 1), Moments::from_counts(9, 9));
    assert_eq!(batch_difference(&[], 0, 1), Err(NotEnough::Units { have: 0, need: 2 }));
    assert_eq!(batch_difference(&[of(0.5, one)], 0, 1), Err(NotEnough::Units { have: 1, need: 2 }));
    assert_eq!(batch_difference(&[of(0.5, same), of(0.4, same)], 0, 1), Err(NotEnough::Variance));
    // Units of both arms, but never in one batch.
    let apart = [batch(&[0.5, 0.5], &[&[1.0, 2.0], &[]]), batch(&[0.5, 0.5], &[&[], &[1.0, 2.0]])];
    assert_eq!(batch_difference(&apart, 0, 1), Err(NotEnough::Units { have: 0, need: 2 }));
    let infinite = Moments { n: 3, mean: f64::INFINITY, m2: 1.0 };
    for bad in [of(0.0, around(9, 1.0)), of(f64::NAN, around(9, 1.0)), of(0.5, infinite)] {
        assert_eq!(batch_difference(&[bad], 0, 1), Err(NotEnough::Variance));
    }
    assert_eq!(level(&[], 0), None);
}

#[test]
fn an_arm_is_not_better_for_having_had_the_better_times() {
    let counts = Moments::from_counts;
    let (bad, good) = ([counts(500, 50), counts(100, 10)], [counts(100, 70), counts(500, 350)]);
    let batches = [bad, good].map(|arms| Batch { weights: vec![0.5, 0.5], arms: arms.to_vec() });
    let rewards = detrended(&batches);
    assert!((rewards[0].mean - rewards[1].mean).abs() < 1e-5, "{rewards:?}");
    assert!((rewards[0].mean - 0.4).abs() < 1e-5, "the average level: {rewards:?}");
    assert_eq!(rewards.iter().map(|arm| arm.n).collect::<Vec<_>>(), [600, 600]);
    // Within batches, not between them.
    assert!((rewards[0].variance().expect("enough") - (45.0 + 21.0) / 598.0).abs() < 1e-9, "{rewards:?}");
    let better = batches.map(|mut batch| {
        batch.arms[1].mean += 0.05;
        batch
    });
    let rewards = detrended(&better);
    assert!((rewards[1].mean - rewards[0].mean - 0.05).abs() < 1e-5, "{rewards:?}");
    assert_eq!(detrended(&[]), []);
}
