//! One rule for speaking: what may be said of an arm against control, and with which bounds. Reports,
//! guardrails, gates, verdicts and plans all ask here.
//!
//! Two methods bound a difference. The *sequence* is asymptotic, so it speaks once enough events are
//! expected ([`may_speak`]). *Exact* bounds approximate nothing and speak from the first unit on, for
//! numbers with two limits: `any`, and counts and sums with a declared `max`. Where both apply each
//! has a part of the error rate from the beginning, and the tighter one counts, so that no choice
//! between them depends on the data.

use super::metrics::{Found, Summed};
use crate::experiment::{Method, Metric};
use crate::stats::rare::{difference_lower, difference_upper, log_e_value, ratio_lower, ratio_upper};
use crate::stats::{
    BoundedSum, Counts, Estimate, Interval, Kind, Moments, NotEnough, difference, may_speak, multiplier, one_look,
    one_sided_multiplier, two_sided, welch, welch_multiplier,
};

/// The part of a guardrail's error rate that the exact bounds have; the sequence has the rest.
const EXACT: f64 = 0.5;
/// The same for a metric's interval, whose units are planned for the sequence. It is wider by 1.5 %
/// for it.
const EXACT_OF_INTERVAL: f64 = 0.1;

/// Control and an arm, in mature units.
pub(super) struct Pair {
    /// Their numbers, scaled to between 0 and 1, and the scale; none without two limits, or with
    /// adaptive shares.
    exact: Option<([BoundedSum; 2], Scale)>,
    /// The asymptotic estimate, if there is enough for it.
    pub estimate: Result<Estimate, NotEnough>,
    /// Means of control and of the arm.
    means: [f64; 2],
    /// Their units.
    units: [u64; 2],
    planned: u64,
}

/// How numbers were scaled to between 0 and 1.
#[derive(Clone, Copy)]
struct Scale {
    least: f64,
    span: f64,
}

/// Bounds of the change for the worse: the lower one at the first error rate, the upper one at the
/// second.
pub(super) type Bounds = [f64; 2];

impl Pair {
    /// Units, and those of them with an event.
    pub fn of_counts([control, arm]: [Counts; 2], planned: u64) -> Self {
        let moments = |counts: Counts| Moments::from_counts(counts.units, counts.events);
        let estimate = may_speak(control, arm, Kind::Proportion, true)
            .and_then(|()| difference(&moments(control), &moments(arm), Kind::Proportion));
        Self {
            exact: Some(([control.into(), arm.into()], Scale { least: 0.0, span: 1.0 })),
            estimate,
            means: [control, arm].map(|counts| moments(counts).mean),
            units: [control.units, arm.units],
            planned,
        }
    }

    /// A metric.
    pub fn of_metric(summed: &Summed, metric: &Metric, control: usize, arm: usize) -> Self {
        let limits = metric.limits().filter(|_| !summed.is_by_batches());
        let scaled = |[least, most]: [f64; 2]| {
            let of = |moments: Moments| {
                let sum = (moments.mean - least) / (most - least) * moments.n as f64;
                BoundedSum { units: moments.n as f64, sum: sum.clamp(0.0, moments.n as f64) }
            };
            let scale = Scale { least, span: most - least };
            ([control, arm].map(|arm| of(summed.moments(arm))), scale)
        };
        let of = [control, arm].map(|arm| summed.arm(arm));
        Self {
            exact: limits.map(scaled),
            estimate: summed.estimate(control, arm),
            means: of.map(|arm| arm.mean.unwrap_or_default()),
            units: of.map(|arm| arm.units),
            planned: metric.planned_units,
        }
    }

    /// Bounds of the change for the worse.
    ///
    /// # Errors
    /// Why neither method speaks.
    pub fn worse(&self, alphas: [f64; 2], more_is_harm: bool) -> Result<Bounds, NotEnough> {
        let [exact, sequence] = self.parts(EXACT);
        let by_exact = self.exact.map(|([control, arm], scale)| {
            let (control, arm) = if more_is_harm { (control, arm) } else { (arm, control) };
            let [low, high] = alphas.map(|alpha| alpha * exact);
            [difference_lower(control, arm, low) * scale.span, difference_upper(control, arm, high) * scale.span]
        });
        let by_sequence = self.estimate.map(|estimate| {
            let change = if more_is_harm { estimate.difference } else { -estimate.difference };
            let reach = |alpha| estimate.se * one_sided_multiplier(&estimate, alpha * sequence, self.planned);
            [change - reach(alphas[0]), change + reach(alphas[1])]
        });
        tighter(by_exact, by_sequence)
    }

    /// Upper bound of the change for the worse as a share of control's mean, whose uncertainty it
    /// includes; none where control's mean is not clearly different from 0.
    pub fn relatively_worse(&self, alpha: f64, more_is_harm: bool) -> Option<f64> {
        let [exact, sequence] = self.parts(EXACT);
        let by_exact =
            self.exact.filter(|(_, scale)| scale.least == 0.0).map(|([control, arm], _)| match more_is_harm {
                true => ratio_upper(control, arm, alpha * exact) - 1.0,
                false => 1.0 - ratio_lower(control, arm, alpha * exact),
            });
        let by_sequence = self.estimate.ok().and_then(|estimate| {
            let lift = estimate.relative_lift(one_sided_multiplier(&estimate, alpha * sequence, self.planned))?;
            Some(if more_is_harm { lift[1] } else { -lift[0] })
        });
        let known = by_exact.into_iter().chain(by_sequence).filter(|bound| bound.is_finite());
        known.reduce(f64::min)
    }

    /// The difference with its interval at `alpha`. A fixed method's is provisional until its time.
    ///
    /// # Errors
    /// Why no method speaks.
    pub fn interval(&self, metric: &Metric, alpha: f64, is_time: bool) -> Result<Found, NotEnough> {
        let is_fixed = metric.method == Method::Fixed;
        let [exact, sequence] = if is_fixed { [1.0, 1.0] } else { self.parts(EXACT_OF_INTERVAL) };
        let by_sequence = self.estimate.map(|estimate| match is_fixed {
            true => (welch(&estimate, alpha), welch_multiplier(&estimate, alpha)),
            false => {
                let interval = two_sided(&estimate, alpha * sequence, self.planned);
                let p = (interval.p / sequence).min(1.0);
                (Interval { p, ..interval }, multiplier(&estimate, alpha * sequence, self.planned))
            }
        });
        // One look needs the exact bounds only where the other does not speak.
        let by_exact = self.exact.filter(|_| !is_fixed || self.estimate.is_err()).map(|(arms, scale)| {
            if is_fixed { one_look_of(arms, scale, alpha) } else { always(arms, scale, alpha, exact) }
        });
        let interval = match (by_sequence, by_exact) {
            (Ok((one, _)), Some(other)) => {
                Interval { low: one.low.max(other.low), high: one.high.min(other.high), p: one.p.min(other.p) }
            }
            (Ok((one, _)), None) => one,
            // Without a unit in either arm there is nothing to compare.
            (Err(_), Some(other)) if self.units.iter().all(|units| *units > 0) => other,
            (Err(why), _) => return Err(why),
        };
        let estimate = self.estimate.unwrap_or_else(|_| self.plain());
        let speaks = !is_fixed || is_time;
        let significant = speaks && (interval.low > 0.0 || interval.high < 0.0);
        let better = significant && (interval.low > 0.0) == metric.more_is_better;
        let lift = by_sequence.ok().and_then(|(_, reach)| estimate.relative_lift(reach));
        Ok(Found { estimate, interval, lift, significant, better, is_final: speaks })
    }

    /// What is seen, without its uncertainty.
    fn plain(&self) -> Estimate {
        let [control, treatment] = self.means;
        Estimate {
            difference: treatment - control,
            n: self.units.iter().sum(),
            control,
            treatment,
            ..Estimate::default()
        }
    }

    /// The parts of an error rate that the exact bounds and the sequence have.
    fn parts(&self, exact: f64) -> [f64; 2] {
        if self.exact.is_some() { [exact, 1.0 - exact] } else { [0.0, 1.0] }
    }
}

fn tighter(by_exact: Option<Bounds>, by_sequence: Result<Bounds, NotEnough>) -> Result<Bounds, NotEnough> {
    match (by_exact, by_sequence) {
        (Some(one), Ok(other)) => Ok([one[0].max(other[0]), one[1].min(other[1])]),
        (Some(one), Err(_)) => Ok(one),
        (None, other) => other,
    }
}

/// Exact bounds that hold at all times; each side has half of the error rate.
fn always([control, arm]: [BoundedSum; 2], scale: Scale, alpha: f64, part: f64) -> Interval {
    let side = alpha * part / 2.0;
    let e = log_e_value(control, arm, 0.0).max(log_e_value(arm, control, 0.0));
    Interval {
        low: difference_lower(control, arm, side) * scale.span,
        high: difference_upper(control, arm, side) * scale.span,
        p: ((-e).exp() * 2.0 / part).min(1.0),
    }
}

fn one_look_of(arms: [BoundedSum; 2], scale: Scale, alpha: f64) -> Interval {
    let Interval { low, high, p } = one_look(arms, alpha);
    Interval { low: low * scale.span, high: high * scale.span, p }
}

#[cfg(test)]
#[path = "pair_tests.rs"]
mod tests;
