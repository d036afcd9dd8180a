//! What is answered at the edges: too little data, nothing that varies, numbers that make no sense.

use crate::stats::rare::{bounds, difference_bounds, harm};
use crate::stats::*;

fn counts(units: u64, events: u64) -> Counts {
    Counts { units, events }
}

#[test]
fn too_little_data_is_no_p_value() {
    let (one, ten) = (Moments::from_counts(1, 1), Moments::from_counts(10, 4));
    let (same, empty) = (Moments::from_counts(10, 10), Moments::default());
    for kind in [Kind::Proportion, Kind::Mean] {
        assert_eq!(difference(&one, &ten, kind), Err(NotEnough::Units { have: 1, need: 2 }));
        assert_eq!(difference(&ten, &empty, kind), Err(NotEnough::Units { have: 0, need: 2 }));
        assert_eq!(difference(&same, &same, kind), Err(NotEnough::Variance));
        assert!(difference(&ten, &same, kind).is_ok(), "one arm varies");
    }
    let infinite: Moments = [1.0, f64::INFINITY, 2.0].into_iter().collect();
    assert_eq!(difference(&ten, &infinite, Kind::Mean), Err(NotEnough::Variance));
    assert_eq!((one.variance(), empty.population_variance()), (None, None));
    assert_eq!(NotEnough::Units { have: 1, need: 2 }.to_string(), "an arm has 1 units, and 2 are needed");
}

#[test]
fn ratios_and_covariates_say_what_they_lack() {
    let joint = |pairs: &[(f64, f64)]| pairs.iter().copied().collect::<Joint>();
    let (one, good) = (joint(&[(1.0, 2.0)]), joint(&[(1.0, 2.0), (0.0, 3.0), (2.0, 5.0)]));
    let nothing = joint(&[(1.0, 0.0), (2.0, 0.0)]);
    for method in [ratio_difference, cuped] {
        assert_eq!(method(&good, &one), Err(NotEnough::Units { have: 1, need: 2 }));
        assert!(method(&good, &good).is_ok());
    }
    assert_eq!(ratio_difference(&good, &nothing), Err(NotEnough::Denominator));
    assert_eq!(cuped(&nothing, &nothing), Err(NotEnough::Variance), "a covariate that doesn't vary");
    // Always the same ratio, but for rounding.
    let proportional: Joint = (1..40).map(|i| f64::from(i * i) / 7.0).map(|x| (0.1 * x, x)).collect();
    assert_eq!(ratio_difference(&proportional, &proportional), Err(NotEnough::Variance));
    assert_eq!(cuped(&proportional, &proportional), Err(NotEnough::Variance), "the covariate is the outcome");
    assert_eq!(one.covariance(), None);
}

#[test]
fn a_sequence_speaks_when_there_is_enough() {
    let moments = |units, events| Counts { units, events };
    let expected = |a: Counts, b: Counts| match may_speak(a, b, Kind::Proportion, true) {
        Err(NotEnough::Events { have, need: 20.0 }) => (have * 1e6).round() / 1e6,
        other => panic!("{other:?}"),
    };
    // 50 events in 1000 units: 2.5 are expected in the arm of 50, whichever it is.
    assert_eq!(expected(moments(950, 0), moments(50, 50)), 2.5);
    assert_eq!(expected(moments(50, 50), moments(950, 0)), 2.5);
    // Nor is it enough where almost all units have it.
    assert_eq!(expected(moments(950, 950), moments(50, 0)), 2.5);
    let (half, third) = (moments(40, 20), moments(960, 480));
    assert_eq!(may_speak(half, third, Kind::Proportion, true), Ok(()));
    assert_eq!(may_speak(half, third, Kind::Mean, true), Err(NotEnough::Units { have: 40, need: 500 }));
    let (enough, short) = (moments(500, 30), moments(499, 30));
    assert_eq!(may_speak(enough, enough, Kind::Mean, true), Ok(()));
    assert_eq!(may_speak(enough, enough, Kind::Mean, false), Err(NotEnough::Unlimited));
    assert_eq!(may_speak(enough, short, Kind::Mean, true), Err(NotEnough::Units { have: 499, need: 500 }));
    let none = may_speak(moments(10_485, 19), moments(515, 0), Kind::Mean, true);
    assert!(matches!(none, Err(NotEnough::Events { have, .. }) if have < 1.0), "{none:?}");
    // Nearly all units with a number is no trouble where it is not always the same one.
    assert_eq!(may_speak(moments(600, 600), moments(600, 600), Kind::Mean, true), Ok(()));
    let empty = Counts::default();
    assert_eq!(may_speak(enough, empty, Kind::Proportion, true), Err(NotEnough::Units { have: 0, need: 1 }));
}

#[test]
fn what_is_undefined_rules_nothing_out() {
    let estimate =
        Estimate { difference: 1.0, se: 0.1, n: 9000, control: 0.0, treatment: 1.0, df: 8998.0, ..Estimate::default() };
    for alpha in [0.0, 1.0, 1.5, -0.1, f64::NAN] {
        let all = Interval { low: f64::NEG_INFINITY, high: f64::INFINITY, p: 1.0 };
        assert_eq!(two_sided(&estimate, alpha, 5000), all, "{alpha}");
        assert_eq!(lower(&estimate, alpha, 5000), f64::NEG_INFINITY, "{alpha}");
        assert_eq!(upper(&estimate, alpha, 5000), f64::INFINITY, "{alpha}");
    }
    assert_eq!(lower(&estimate, 0.5, 5000), f64::NEG_INFINITY);
    assert!(two_sided(&estimate, 0.05, 0).low.is_finite(), "no plan is a plan of one unit");
    assert_eq!(welch(&estimate, 0.0).high, f64::INFINITY);
}

#[test]
fn a_p_value_and_its_interval_agree() {
    for step in 0..400 {
        let difference = f64::from(step) * 0.01;
        let estimate = Estimate {
            difference,
            se: 1.0,
            n: 700,
            control: 0.0,
            treatment: difference,
            df: 698.0,
            ..Estimate::default()
        };
        for interval in [welch(&estimate, 0.05), two_sided(&estimate, 0.05, 500)] {
            assert_eq!(interval.p < 0.05, interval.low > 0.0, "{difference}: {interval:?}");
        }
    }
}

#[test]
fn student_becomes_normal_without_a_step() {
    let high = |df| {
        welch(
            &Estimate { difference: 0.0, se: 1.0, n: 9, control: 0.0, treatment: 0.0, df, ..Estimate::default() },
            0.05,
        )
        .high
    };
    // By tables; closed inversions give 1.83 for ten million.
    for (df, known) in [(1.0, 12.7062047), (10.0, 2.2281389), (1e4, 1.9602012), (1e7, 1.9599643), (1e12, 1.9599640)] {
        assert!((high(df) / known - 1.0).abs() < 1e-7, "{df}: {}", high(df));
    }
    assert!((high(0.99e8) - high(1.01e8)).abs() < 1e-6);
}

#[test]
fn splits_that_say_nothing_or_cannot_be_are_told_apart() {
    assert_eq!(chi_squared(&[3, 3], &[0.5, 0.5]), Err(NotEnough::Units { have: 3, need: 5 }));
    assert_eq!(chi_squared(&[0, 0], &[0.5, 0.5]), Err(NotEnough::Units { have: 0, need: 5 }));
    assert_eq!(chi_squared(&[90, 0], &[1.0, 0.0]), Err(NotEnough::Variance));
    assert_eq!(chi_squared(&[500, 499, 1], &[0.5, 0.5, 0.0]), Ok(0.0));
    assert_eq!(log_bayes_factor(&[500, 499, 1], &[0.5, 0.5, 0.0], 100.0), f64::INFINITY);
    // An arm without weight is not a degree of freedom.
    let (with, without) = (chi_squared(&[540, 460, 0], &[1.0, 1.0, 0.0]), chi_squared(&[540, 460], &[0.5, 0.5]));
    assert_eq!(with, without);
    let factor = |counts: &[u64], weights: &[f64]| log_bayes_factor(counts, weights, 100.0);
    assert_eq!(factor(&[540, 460, 0], &[1.0, 1.0, 0.0]), factor(&[540, 460], &[0.5, 0.5]));
    assert_eq!(factor(&[0, 0], &[0.5, 0.5]), 0.0);
    let mut sequential = Sequential::default();
    let seen = [-3.0, 2.0, -1.0, f64::INFINITY, 0.0].map(|log_bf| sequential.observe(log_bf));
    assert_eq!(seen, [1.0, (-2.0_f64).exp(), (-2.0_f64).exp(), 0.0, 0.0]);
}

#[test]
fn bounds_of_rates_agree_with_the_alarm() {
    let pairs =
        [(counts(5000, 5), counts(5000, 105)), (counts(900, 0), counts(50, 2)), (counts(20, 19), counts(30, 1))];
    for (control, treatment) in pairs {
        let (low, high) = difference_bounds(control, treatment, 0.05);
        let rate = |arm: Counts| arm.events as f64 / arm.units as f64;
        let difference = rate(treatment) - rate(control);
        assert!(-1.0 <= low && low < difference && difference < high && high <= 1.0, "{low} {difference} {high}");
        assert!(harm(control, treatment, low - 1e-9, 0.05) && !harm(control, treatment, low + 1e-9, 0.05));
        // Seen from the other arm, less harm than -high would be an alarm.
        assert!(harm(treatment, control, -high - 1e-9, 0.05) && !harm(treatment, control, -high + 1e-9, 0.05));
        assert!(difference_bounds(control, treatment, 0.01).0 < low);
    }
}

#[test]
fn rates_without_data_may_be_anything() {
    assert_eq!(bounds(counts(0, 0), 0.05), (0.0, 1.0));
    assert_eq!(difference_bounds(counts(0, 0), counts(0, 0), 0.05), (-1.0, 1.0));
    assert!(!harm(counts(0, 0), counts(1000, 900), 0.0, 0.05), "the control may be worse");
    assert!(harm(counts(0, 0), counts(1000, 900), -0.5, 0.05), "but not by half");
    let (low, high) = bounds(counts(1000, 0), 0.05);
    assert!(low == 0.0 && high > 0.003 && high < 0.01, "{low} {high}");
    let (low, high) = bounds(counts(50, 50), 0.05);
    assert!(high == 1.0 && low > 0.8, "{low} {high}");
    let (low, high) = bounds(counts(1000, 300), 0.05);
    assert!(low > 0.23 && low < 0.27 && high > 0.33 && high < 0.37, "{low} {high}");
}
