//! Who is left in. A metric over some of the units (those with a row, those exposed) compares two
//! selections. If an arm changes who is selected, the difference is no effect of it.

use crate::experiment::{Experiment, Metric, Missing, Quantity};
use crate::numbers::grouped;
use crate::stats::rare::{Counts, log_e_value_of_equality};

/// Error rate of this test over all metrics and arms, as for a sample ratio mismatch.
const ALPHA: f64 = 0.01;

/// Events that would be expected in an arm without any, from which on it is not taken for chance.
const EXPECTED: f64 = 20.0;

/// A sentence, if an outcome was posted for many units of one arm and for none of the other: rather
/// a sender that knows one arm only than an effect. `arms` are the units of control and of the arm.
pub(super) fn one_sided(spec: &Experiment, metric: &Metric, arm: usize, arms: [Counts; 2]) -> Option<String> {
    let is_posted = metric.needed_outcomes().next().is_some();
    let [of_control, of_arm] = arms;
    let events = (of_control.events + of_arm.events) as f64;
    let units = (of_control.units + of_arm.units) as f64;
    let arm = &spec.arms[arm].name;
    let (with, none, counts, without) = match (of_control.events, of_arm.events) {
        (0, 1..) => (format!("arm '{arm}'"), "control".to_owned(), of_arm, of_control),
        (1.., 0) => ("control".to_owned(), format!("arm '{arm}'"), of_control, of_arm),
        _ => return None,
    };
    (is_posted && events * without.units as f64 / units >= EXPECTED).then(|| {
        format!(
            "metric '{}': its outcome was posted for {} of {} units of {with} and for none of {} of {none}: is it posted \
             for every arm? If it is, expects_none = true says so",
            metric.name,
            grouped(counts.events),
            grouped(counts.units),
            grouped(without.units)
        )
    })
}

/// A sentence, if significantly more of one arm's mature units are in the metric than of control's.
/// `arms` are the mature units of control and of the arm, and those of them that are in the metric.
pub(super) fn lopsided(spec: &Experiment, metric: &Metric, arm: usize, arms: [[u64; 2]; 2]) -> Option<String> {
    let selects =
        metric.is_exposed || metric.missing == Missing::Drop || matches!(metric.quantity, Quantity::Ratio(..));
    if !selects {
        return None;
    }
    let [of_control, of_arm] = arms.map(|[mature, left_in]| Counts { units: mature, events: left_in });
    let tests = spec.metrics.len() * (spec.arms.len() - 1);
    if log_e_value_of_equality(of_control, of_arm) < (tests.max(1) as f64 / ALPHA).ln() {
        return None;
    }
    let share = |counts: Counts| counts.events as f64 / counts.units as f64 * 100.0;
    Some(format!(
        "metric '{}': {} of {} mature units of arm '{}' are in it ({:.1} %), and {} of {} of control ({:.1} %): the arms' \
         selections differ, so their difference says nothing about the effect",
        metric.name,
        grouped(of_arm.events),
        grouped(of_arm.units),
        spec.arms[arm].name,
        share(of_arm),
        grouped(of_control.events),
        grouped(of_control.units),
        share(of_control)
    ))
}
