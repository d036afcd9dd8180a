//! The sample size of a goal, by a formula and without simulation.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF as _, Normal};

use super::{DAY, Traffic, model};
use crate::experiment::{Experiment, Method, Role};
use crate::stats::{Estimate, multiplier, two_sided};

/// The power that sample sizes are computed for.
pub const POWER: f64 = 0.8;

/// The sample size for the first goal, between control and the first other arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Needs {
    /// Position of the goal.
    pub metric: usize,
    /// Its error rate, after sharing it between goals and arms.
    pub alpha: f64,
    /// For Welch's test, one look, with a power of [`POWER`].
    pub fixed: Needed,
    /// Until the half-width of the confidence sequence equals the effect. Half of all experiments
    /// have found the effect by then.
    pub sequence: Needed,
    /// The smallest effect that Welch's test finds with a power of [`POWER`] in `planned_units`, in
    /// the metric's own unit.
    pub detectable: f64,
}

/// Units, and the time until they have entered and are mature.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Needed {
    /// Mature units of both arms that are compared.
    pub units: f64,
    /// Units of all arms.
    pub entered: f64,
    /// Days at the ramp's last coverage until these have entered and are mature; infinite if no
    /// unit enters.
    pub days: f64,
}

/// The default effect of a plan: the smallest one that Welch's test finds with a power of [`POWER`]
/// in the first goal's `planned_units`. `None` without a goal or a treatment arm.
pub fn detectable(spec: &Experiment, traffic: &Traffic) -> Option<f64> {
    let control = spec.control_at();
    let tried = (0..spec.arms.len()).find(|arm| *arm != control && spec.arms[*arm].weight > 0.0)?;
    needs(spec, traffic, tried, 0.0).map(|needs| needs.detectable)
}

/// The smallest effect that the first goal's own method finds with a power of [`POWER`] at its
/// `planned_units`, in the metric's unit. A confidence sequence is wider there than one look, so its
/// effect is larger than [`detectable`]. `None` without a goal or a treatment arm.
pub fn detectable_as_analysed(spec: &Experiment, traffic: &Traffic) -> Option<f64> {
    let control = spec.control_at();
    let tried = (0..spec.arms.len()).find(|arm| *arm != control && spec.arms[*arm].weight > 0.0)?;
    let needs = needs(spec, traffic, tried, 0.0)?;
    let metric = &spec.metrics[needs.metric];
    let normal = Normal::standard();
    let (one_look, power) = (normal.inverse_cdf(1.0 - needs.alpha / 2.0), normal.inverse_cdf(POWER));
    let width = match metric.method {
        Method::Fixed => one_look,
        Method::AsymptoticCs => {
            let at_plan = Estimate { n: metric.planned_units, ..Estimate::default() };
            multiplier(&at_plan, needs.alpha, metric.planned_units)
        }
    };
    Some(needs.detectable * (width + power) / (one_look + power))
}

pub(super) fn needs(spec: &Experiment, traffic: &Traffic, tried: usize, effect: f64) -> Option<Needs> {
    let at = spec.metrics.iter().position(|metric| metric.role == Role::Goal)?;
    let (metric, baseline) = (&spec.metrics[at], traffic.baselines.get(at)?);
    let goals = spec.metrics.iter().filter(|metric| metric.role == Role::Goal).count();
    let alpha = metric.alpha / (goals * (spec.arms.len() - 1).max(1)) as f64;
    let (of_control, of_arm) = (spec.arms[spec.control_at()].weight, spec.arms[tried].weight);
    let share = of_arm / (of_control + of_arm);
    let wanted = if metric.more_is_better { effect } else { -effect };
    // Variance of the difference for one unit in both arms together.
    let variance = |arm_mean: f64| {
        let of = |mean: f64| model::sd(metric, baseline, mean).powi(2);
        of(baseline.mean) / (1.0 - share) + of(arm_mean) / share
    };
    let raised = variance(baseline.mean + wanted);
    let normal = Normal::standard();
    let reach = normal.inverse_cdf(1.0 - alpha / 2.0) + normal.inverse_cdf(POWER);
    let is_wide = |n: f64| {
        let (se, n) = ((raised / n).sqrt(), n as u64);
        let estimate =
            Estimate { difference: 0.0, se, n, control: 0.0, treatment: 0.0, df: n as f64, ..Estimate::default() };
        two_sided(&estimate, alpha, metric.planned_units).high > effect.abs()
    };
    let (mut low, mut high) = (2.0_f64, 1e15_f64);
    for _ in 0..100 {
        let middle = (low * high).sqrt();
        if is_wide(middle) { low = middle } else { high = middle }
    }
    let last = spec.ramp.last().map_or(0.0, |step| step.coverage);
    let a_day = traffic.units_per_day * (spec.slot[1] - spec.slot[0]) * last;
    let needed = |units: f64| {
        let (units, entered) = (units.ceil(), (units / (of_control + of_arm)).ceil());
        Needed { units, entered, days: entered / a_day + metric.mature_ms(0) as f64 / DAY as f64 }
    };
    Some(Needs {
        metric: at,
        alpha,
        fixed: needed(reach * reach * raised / (effect * effect)),
        sequence: needed(high),
        detectable: reach * (variance(baseline.mean) / metric.planned_units as f64).sqrt(),
    })
}
