//! Rare events, looked at all the time.

use super::draw::{Trial, most, share};
use crate::stats::Counts;
use crate::stats::rare::{bounds, difference_bounds, harm};

/// A one-sided normal test for one look.
fn fixed_harm(control: Counts, treatment: Counts, alarm: f64) -> bool {
    let rate = |arm: Counts| (arm.events as f64 + 0.5) / (arm.units as f64 + 1.0);
    let (p, q) = (rate(control), rate(treatment));
    let se = (p * (1.0 - p) / (control.units as f64 + 1.0) + q * (1.0 - q) / (treatment.units as f64 + 1.0)).sqrt();
    q - p - alarm > 1.645 * se
}

#[test]
fn false_alarms_are_as_rare_as_promised() {
    for (treated, control, alarm) in [(0.5, 0.001, 0.01), (0.05, 0.001, 0.01), (0.5, 0.01, 0.0), (0.05, 0.2, 0.0)] {
        let trial = Trial { share: treated, control, treatment: control + alarm, units: 10_000 };
        let alarms = share(500, |draw| trial.run(draw, |c, t| harm(c, t, alarm, 0.05)));
        let fixed = share(200, |draw| trial.run(draw, |c, t| fixed_harm(c, t, alarm)));
        assert!(alarms <= most(0.05, 500), "{alarms}");
        assert!(fixed > most(0.05, 200), "{fixed}");
    }
}

#[test]
fn harm_is_caught() {
    let trial = Trial { share: 0.5, control: 0.001, treatment: 0.021, units: 10_000 };
    let caught = |alarm, alpha| share(300, |draw| trial.run(draw, |c, t| harm(c, t, alarm, alpha)));
    let (by_any, by_a_percent, never) = (caught(0.0, 0.01), caught(0.01, 0.01), caught(0.0, 0.0));
    assert!(by_any >= 0.9 && by_a_percent >= 0.7, "{by_any} {by_a_percent}");
    assert!(never < 0.9, "infinitely wide bounds catch nothing");
}

#[test]
fn bounds_hold_at_all_times() {
    for rate in [0.002, 0.3] {
        let trial = Trial { share: 0.5, control: rate, treatment: rate, units: 4000 };
        let missed = share(200, |draw| {
            trial.run(draw, |arm, _| {
                let (low, high) = bounds(arm, 0.1);
                rate < low || high < rate
            })
        });
        // Each of these is found by thousands of steps, so that fewer are looked at.
        let misses = |(low, high): (f64, f64)| 0.0 < low || high < 0.0;
        let both = share(100, |draw| {
            trial.run(draw, |c, t| (c.units + t.units).is_multiple_of(512) && misses(difference_bounds(c, t, 0.1)))
        });
        assert!(missed <= most(0.1, 200) && both <= most(0.1, 100), "{missed} {both}");
    }
}
