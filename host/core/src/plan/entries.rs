//! How many units enter by each day, if the ramp proceeds without delay.

use super::{DAY, Traffic};
use crate::experiment::{Experiment, Metric};

/// Cumulative units by the end of each day, starting with day 0.
pub(super) struct Entries(Vec<f64>);

impl Entries {
    pub fn of(spec: &Experiment, traffic: &Traffic, days: u32) -> Self {
        let in_slot = traffic.units_per_day.max(0.0) * (spec.slot[1] - spec.slot[0]);
        let (mut step, mut since_ms, mut entered) = (0, 0, vec![0.0]);
        for day in 1..=u64::from(days) {
            let now = entered[entered.len() - 1] + in_slot * spec.ramp.get(step).map_or(0.0, |step| step.coverage);
            entered.push(now);
            let may_go = |step: usize, since_ms: u64| {
                let held = day * DAY - since_ms;
                spec.ramp.get(step).is_some_and(|step| held >= step.hold_ms && now >= step.min_units as f64)
            };
            while step + 1 < spec.ramp.len() && may_go(step, since_ms) {
                (step, since_ms) = (step + 1, day * DAY);
            }
        }
        Self(entered)
    }

    /// By the end of the last day.
    pub fn all(&self) -> f64 {
        self.by((self.0.len() - 1) as f64)
    }

    /// Units mature for a metric at the end of the last day.
    pub fn mature(&self, metric: &Metric) -> f64 {
        self.by((self.0.len() - 1) as f64 - metric.mature_ms(0) as f64 / DAY as f64)
    }

    fn by(&self, day: f64) -> f64 {
        let at = day.max(0.0);
        let (before, part) = (at.floor() as usize, at.fract());
        let of = |day: usize| self.0.get(day).or(self.0.last()).copied().unwrap_or(0.0);
        of(before) + part * (of(before + 1) - of(before))
    }
}
