//! Experiments that are looked at all the time.

use super::draw::{Draw, Trial, most, share};
use crate::stats::*;

const PLANNED: u64 = 10_000;
const UNITS: u64 = 30_000;

/// The proportions' estimate, if there is one and, where asked for, enough of it.
fn estimate(control: Counts, treatment: Counts, gated: bool) -> Option<Estimate> {
    let moments = |arm: Counts| Moments::from_counts(arm.units, arm.events);
    if gated {
        may_speak(control, treatment, Kind::Proportion, true).ok()?;
    }
    let (control, treatment) = (moments(control), moments(treatment));
    difference(&control, &treatment, Kind::Proportion).ok()
}

fn misses(estimate: Estimate, truth: f64) -> bool {
    let interval = two_sided(&estimate, 0.05, PLANNED);
    truth < interval.low || interval.high < truth
}

/// Welch's interval, which is meant for one look. With more than 60 units a normal one.
fn welch_misses(estimate: Estimate, truth: f64) -> bool {
    (estimate.difference - truth).abs() > 1.96 * estimate.se
}

#[test]
fn a_sequence_of_proportions_holds_while_it_is_looked_at() {
    for (treated, control, treatment) in
        [(0.5, 0.3, 0.3), (0.5, 0.02, 0.02), (0.05, 0.3, 0.3), (0.05, 0.02, 0.02), (0.5, 0.3, 0.35), (0.1, 0.04, 0.03)]
    {
        let trial = Trial { share: treated, control, treatment, units: UNITS };
        let truth = treatment - control;
        let errors = |runs, gated, misses: fn(Estimate, f64) -> bool| {
            share(runs, |draw| trial.run(draw, |c, t| estimate(c, t, gated).is_some_and(|found| misses(found, truth))))
        };
        let (sequence, fixed) = (errors(2000, true, misses), errors(200, false, welch_misses));
        assert!(sequence <= most(0.05, 2000), "{treated} {control}: errs in {sequence}");
        assert!(fixed > 0.15, "{treated} {control}: peeked Welch errs in {fixed}");
    }
}

#[test]
fn a_sequence_that_speaks_too_early_errs() {
    let trial = Trial { share: 0.05, control: 0.02, treatment: 0.02, units: UNITS };
    let errors =
        share(500, |draw| trial.run(draw, |c, t| estimate(c, t, false).is_some_and(|found| misses(found, 0.0))));
    assert!(errors > most(0.05, 500), "{errors}");
}

#[test]
fn one_sided_bounds_hold_on_the_tested_boundary() {
    let trial = Trial { share: 0.5, control: 0.3, treatment: 0.32, units: UNITS };
    let crossed = |runs, crosses: fn(Estimate) -> bool| {
        share(runs, |draw| trial.run(draw, |c, t| estimate(c, t, true).is_some_and(crosses)))
    };
    let below = crossed(1000, |found| lower(&found, 0.05, PLANNED) > 0.32 - 0.3);
    let above = crossed(1000, |found| upper(&found, 0.05, PLANNED) < 0.32 - 0.3);
    let fixed = crossed(200, |found| found.difference - 1.645 * found.se > 0.32 - 0.3);
    assert!(below <= most(0.05, 1000) && above <= most(0.05, 1000), "{below} {above}");
    assert!(fixed > 0.15, "{fixed}");
}

#[test]
fn a_difference_is_found() {
    let trial = Trial { share: 0.5, control: 0.3, treatment: 0.33, units: UNITS };
    let found = |reach: fn(&Estimate) -> Interval| {
        share(200, |draw| trial.run(draw, |c, t| estimate(c, t, true).is_some_and(|e| reach(&e).p < 0.05)))
    };
    let sequence = found(|estimate| two_sided(estimate, 0.05, PLANNED));
    let none = found(|_| Interval { low: f64::NEG_INFINITY, high: f64::INFINITY, p: 1.0 });
    assert!(sequence >= 0.9 && none < 0.9, "{sequence} {none}");
}

/// Amounts with a long tail, at 4096 equally likely places, with what is above `cap` of them
/// brought down to it.
fn amounts(cap: f64) -> Vec<f64> {
    use statrs::distribution::{ContinuousCDF as _, Normal};
    let place = |i: u32| (f64::from(i) + 0.5) / 4096.0;
    (0..4096).map(|i| (2.0 * Normal::standard().inverse_cdf(place(i).min(cap))).exp()).collect()
}

/// The share of experiments without an effect on `amounts` that ever show one.
fn errors_of_means(runs: u64, treated: f64, amounts: &[f64], misses: fn(&Moments, &Moments) -> bool) -> f64 {
    let run = |draw: &mut Draw| {
        let mut arms = [Moments::default(); 2];
        for _ in 0..UNITS / 64 {
            let treated = draw.mask(treated);
            let mut bits = 0;
            for unit in 0..64 {
                // Five places out of one draw.
                bits = if unit % 5 == 0 { draw.bits() } else { bits >> 12 };
                arms[(treated >> unit & 1) as usize].push(amounts[(bits & 4095) as usize]);
            }
            if misses(&arms[0], &arms[1]) {
                return true;
            }
        }
        false
    };
    share(runs, run)
}

/// No amount is 0.
fn every(arm: &Moments) -> Counts {
    Counts { units: arm.n, events: arm.n }
}

#[test]
fn a_sequence_of_capped_amounts_holds_while_it_is_looked_at() {
    let capped = amounts(0.99);
    let gated = |control: &Moments, treatment: &Moments| {
        may_speak(every(control), every(treatment), Kind::Mean, true).is_ok()
            && difference(control, treatment, Kind::Mean).is_ok_and(|found| misses(found, 0.0))
    };
    let peeked = |control: &Moments, treatment: &Moments| {
        may_speak(every(control), every(treatment), Kind::Mean, true).is_ok()
            && difference(control, treatment, Kind::Mean).is_ok_and(|found| welch_misses(found, 0.0))
    };
    for treated in [0.5, 0.05] {
        let (sequence, fixed) =
            (errors_of_means(500, treated, &capped, gated), errors_of_means(100, treated, &capped, peeked));
        assert!(sequence <= most(0.05, 500), "{treated}: errs in {sequence}");
        assert!(fixed > most(0.05, 100), "{treated}: peeked Welch errs in {fixed}");
    }
    // Neither capped nor waited for.
    let early = |control: &Moments, treatment: &Moments| {
        difference(control, treatment, Kind::Mean).is_ok_and(|found| misses(found, 0.0))
    };
    let errors = errors_of_means(200, 0.05, &amounts(1.0), early);
    assert!(errors > most(0.05, 200), "{errors}");
}
