//! One look at a fixed time: intervals that cover, units that are counted once, covariates.

use super::draw::{Draw, most, share};
use crate::stats::*;

#[test]
fn welch_covers_as_often_as_it_says() {
    // The small arm varies most: a pooled variance would miss often, a normal interval too.
    let run = |draw: &mut Draw, covers: fn(&Estimate) -> bool| {
        let control: Moments = (0..20).map(|_| 1.0 + draw.normals().0).collect();
        let treatment: Moments = (0..7).map(|_| 3.0 + 4.0 * draw.normals().0).collect();
        covers(&difference(&control, &treatment, Kind::Mean).expect("enough"))
    };
    let holds = |found: &Estimate| {
        let interval = welch(found, 0.05);
        interval.low <= 2.0 && 2.0 <= interval.high
    };
    let covered = share(4000, |draw| run(draw, holds));
    let normal = share(4000, |draw| run(draw, |found| (found.difference - 2.0).abs() <= 1.96 * found.se));
    assert!((0.935..=0.965).contains(&covered), "{covered}");
    assert!(normal < 0.935, "{normal}");
}

/// Units that are decided about five to thirteen times. A tenth of them is fragile: their
/// decisions fail eight times in twenty, all others' once in a hundred.
fn failures(draw: &mut Draw, units: u32) -> Joint {
    let unit = |_| {
        let decisions = 5 + draw.bits() % 9;
        let rate = if draw.number() < 0.1 { 0.4 } else { 0.01 };
        let failed = (draw.mask(rate) & ((1 << decisions) - 1)).count_ones();
        (f64::from(failed), decisions as f64)
    };
    (0..units).map(unit).collect()
}

#[test]
fn a_unit_decided_about_often_is_one_observation() {
    let by_unit = |draw: &mut Draw| {
        let found = ratio_difference(&failures(draw, 300), &failures(draw, 300)).expect("enough");
        welch(&found, 0.05).p < 0.05
    };
    let by_decision = |draw: &mut Draw| {
        let arm = |sums: Joint| Moments::from_counts(sums.x().sum().round() as u64, sums.y().sum().round() as u64);
        let (control, treatment) = (arm(failures(draw, 300)), arm(failures(draw, 300)));
        welch(&difference(&control, &treatment, Kind::Proportion).expect("enough"), 0.05).p < 0.05
    };
    let (units, decisions) = (share(2000, by_unit), share(200, by_decision));
    assert!(units <= most(0.05, 2000) && units > 0.03, "{units}");
    assert!(decisions > 0.15, "{decisions}");
}

/// The variance of the adjusted difference over many experiments, by the plain one's.
fn variance_ratio(rho: f64) -> (f64, f64) {
    let (mut plain, mut adjusted, mut covered) = (Moments::default(), Moments::default(), 0);
    for seed in 0..2000 {
        let mut draw = Draw(seed << 20);
        let mut arm = |effect: f64| -> Joint {
            let mut unit = |_| {
                let (x, noise) = draw.normals();
                (effect + rho * x + (1.0 - rho * rho).sqrt() * noise, x)
            };
            (0..100).map(&mut unit).collect()
        };
        let (control, treatment) = (arm(0.0), arm(0.3));
        plain.push(difference(&control.y(), &treatment.y(), Kind::Mean).expect("enough").difference);
        let found = cuped(&control, &treatment).expect("enough");
        adjusted.push(found.difference);
        covered += u32::from((found.difference - 0.3).abs() < 1.96 * found.se);
    }
    let ratio = adjusted.variance().expect("enough") / plain.variance().expect("enough");
    (ratio, f64::from(covered) / 2000.0)
}

#[test]
fn a_covariate_takes_its_share_of_the_variance() {
    let (ratio, covered) = variance_ratio(0.7);
    assert!((ratio - 0.51).abs() <= 0.04, "{ratio}");
    assert!((0.93..=0.97).contains(&covered), "{covered}");
    // A covariate that foretells nothing takes nothing.
    let (ratio, _) = variance_ratio(0.0);
    assert!((ratio - 1.0).abs() <= 0.04, "{ratio}");
}
