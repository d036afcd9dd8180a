//! The outcome model of an arm: a unit's outcomes are drawn once, when it enters.

use super::draw::Draw;
use super::{Baseline, Traffic};
use crate::Name;
use crate::experiment::{Aggregate, Experiment, Measure, Metric, Missing, Quantity, Source, Watched};

const DAY: f64 = 86_400_000.0;

/// How a treatment arm differs from control.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth {
    /// By metric: how much its mean is above control's.
    pub effects: Vec<f64>,
    /// The additional share of units with a decision that a guardrail counts.
    pub hits: Option<(Watched, f64)>,
}

/// The rows of one name. Several metrics may be computed from them.
pub(super) struct Rows {
    pub source: Source,
    pub name: Option<Name>,
    /// The delay from event to posting, in milliseconds.
    pub lag_ms: u64,
    /// The cumulative share of units with any row by the end of each window, in increasing order.
    ladder: Vec<(u64, f64)>,
    number: Option<Number>,
    /// Units without rows get a row of value 0, for metrics that drop units without a row.
    zeros: bool,
}

#[derive(Clone, Copy)]
struct Number {
    mean: f64,
    sd: f64,
    window_ms: u64,
    /// Whether the metric is the number of rows, not their value.
    is_count: bool,
    /// Whether the mean is over units with any row, not over all units.
    of_some: bool,
}

/// An arm.
pub(super) struct OutcomeModel {
    pub rows: Vec<Rows>,
    /// The guardrail events of decisions, and the share of units for each.
    pub hits: Vec<(Watched, f64)>,
    /// The share of units with the second of two actions.
    pub second: f64,
    /// Whether every unit is exposed at its entry, because no metric gives the share.
    pub exposes: bool,
    /// Whether [`OutcomeModel::rows`] contains every decision except the first.
    pub counts_decisions: bool,
}

impl OutcomeModel {
    pub fn of(spec: &Experiment, traffic: &Traffic, truth: &Truth) -> Self {
        let mut hits: Vec<(Watched, f64)> = vec![(Watched::Failures, traffic.failures)];
        let mut second = 0.5;
        match &truth.hits {
            Some((Watched::ActionMix, more)) => second = (second + more).min(1.0),
            Some((Watched::Failures, more)) => hits[0].1 += more,
            Some(other) => hits.push(other.clone()),
            None => {}
        }
        hits.retain(|(_, share)| *share > 0.0);
        let mut rows: Vec<Rows> = Vec::new();
        for (position, metric) in spec.metrics.iter().enumerate() {
            let Some(baseline) = traffic.baselines.get(position) else { continue };
            let effect = truth.effects.get(position).copied().unwrap_or(0.0);
            let scale = match &metric.quantity {
                Quantity::Mean(_) => 1.0,
                Quantity::Ratio(over, under) => under_of(over, under, metric, spec, traffic),
            };
            rows_of(&mut rows, of(metric), metric).take(metric, baseline, effect, scale);
        }
        // The denominator of a ratio is 1 if no metric describes it.
        for metric in &spec.metrics {
            if let Quantity::Ratio(_, under) = &metric.quantity
                && (under.source != Source::Decisions || under.outcome.is_some())
            {
                let rows = rows_of(&mut rows, under, metric);
                if rows.ladder.is_empty() && rows.number.is_none() {
                    rows.ladder.push((metric.window_ms, 1.0));
                }
            }
        }
        rows.iter_mut().for_each(Rows::order);
        let has = |source| rows.iter().any(|rows| rows.source == source && rows.name.is_none());
        let (exposes, counts_decisions) = (!has(Source::Exposures), has(Source::Decisions));
        Self { rows, hits, second, exposes, counts_decisions }
    }
}

/// Whether a metric is yes or no.
pub(super) fn is_share(metric: &Metric, baseline: &Baseline) -> bool {
    let is_any = of(metric).aggregate == Aggregate::Any;
    is_any || (baseline.sd.is_none() && (0.0..=1.0).contains(&baseline.mean))
}

/// Whether a metric counts rows.
pub(super) fn is_count(metric: &Metric) -> bool {
    of(metric).aggregate == Aggregate::Count
}

/// The measure of a metric; for a ratio, its numerator.
pub(super) fn of(metric: &Metric) -> &Measure {
    match &metric.quantity {
        Quantity::Mean(measure) | Quantity::Ratio(measure, _) => measure,
    }
}

/// The standard deviation of a unit's number if its mean is `mean`. Without a given one, and if it
/// is not a share, that of a count of independent events.
pub(super) fn sd(metric: &Metric, baseline: &Baseline, mean: f64) -> f64 {
    if is_share(metric, baseline) {
        let p = mean.clamp(0.0, 1.0);
        return (p * (1.0 - p)).sqrt();
    }
    baseline.sd.unwrap_or_else(|| mean.abs().sqrt())
}

/// A ratio's denominator per unit.
fn under_of(over: &Measure, under: &Measure, metric: &Metric, spec: &Experiment, traffic: &Traffic) -> f64 {
    if (over.source, &over.outcome) == (under.source, &under.outcome) {
        return 1.0;
    }
    let known = spec.metrics.iter().position(|known| known.quantity == Quantity::Mean(under.clone()));
    match known.and_then(|at| traffic.baselines.get(at)) {
        Some(baseline) => baseline.mean,
        None if under.source == Source::Decisions && under.outcome.is_none() => {
            let days = (metric.window_ms as f64 / DAY).ceil();
            if under.aggregate == Aggregate::Any { 1.0 } else { traffic.decisions_per_unit.clamp(1.0, days.max(1.0)) }
        }
        None => 1.0,
    }
}

fn rows_of<'r>(all: &'r mut Vec<Rows>, measure: &Measure, metric: &Metric) -> &'r mut Rows {
    let (source, name) = (measure.source, &measure.outcome);
    let at = all.iter().position(|rows| rows.source == source && rows.name == *name).unwrap_or_else(|| {
        let lag_ms = metric.lag_ms;
        all.push(Rows { source, name: name.clone(), lag_ms, ladder: Vec::new(), number: None, zeros: false });
        all.len() - 1
    });
    // The shortest lag applies.
    all[at].lag_ms = all[at].lag_ms.min(metric.lag_ms);
    &mut all[at]
}

impl Rows {
    fn take(&mut self, metric: &Metric, baseline: &Baseline, effect: f64, scale: f64) {
        let (is_count, mean) = (is_count(metric), (baseline.mean + effect) * scale);
        if is_share(metric, baseline) {
            // The mean of a yes-or-no metric is over the units that have a row.
            let of_some = metric.missing == Missing::Drop
                || matches!(&metric.quantity, Quantity::Ratio(over, under) if over.outcome == under.outcome);
            self.zeros |= of_some && !is_count && self.source == Source::Outcomes;
            self.ladder.push((metric.window_ms, mean.clamp(0.0, 1.0)));
        } else if self.number.is_none() {
            self.number = Some(Number {
                mean,
                sd: sd(metric, baseline, baseline.mean) * scale.abs(),
                window_ms: metric.window_ms,
                is_count,
                of_some: matches!(metric.quantity, Quantity::Ratio(..)),
            });
        }
    }

    /// Longer windows include shorter ones.
    fn order(&mut self) {
        self.ladder.sort_by_key(|(window, _)| *window);
        let mut most = 0.0_f64;
        for (_, share) in &mut self.ladder {
            most = most.max(*share);
            *share = most;
        }
    }

    /// The rows of a unit that enters at `entry_ms`: value and time of each. At a `level` below 1 rows
    /// are as much rarer, or smaller where every unit has one.
    pub fn draw(&self, draw: &mut Draw, entry_ms: u64, level: f64, mut row: impl FnMut(f64, u64)) {
        let span = match (self.ladder.last(), self.number) {
            (None, None) => None,
            (None, Some(number)) => Some((0, number.window_ms, 1.0)),
            (Some((window, most)), _) => {
                let place = draw.number();
                let step = self.ladder.iter().position(|(_, share)| place < *share * level);
                if step.is_none() && self.zeros {
                    row(0.0, draw.between(entry_ms, entry_ms + window));
                }
                let from = |step: usize| step.checked_sub(1).map_or(0, |before| self.ladder[before].0);
                step.map(|step| (from(step), self.ladder[step].0, *most))
            }
        };
        let Some((from, to, share)) = span else { return };
        let (from, to) = (entry_ms + from, entry_ms + to);
        let Some(number) = self.number else {
            return row(1.0, draw.between(from, to));
        };
        let (mean, sd) = number.among(share);
        let size = if self.ladder.is_empty() { level } else { 1.0 };
        let amount = draw.amount(mean * size, sd * size);
        if number.is_count {
            // A unit with any rows has at least one.
            let least = u32::from(!self.ladder.is_empty());
            (0..draw.whole(amount).max(least)).for_each(|_| row(1.0, draw.between(from, to)));
        } else {
            row(amount, draw.between(from, to));
        }
    }
}

impl Number {
    /// The mean and the standard deviation among the units with any row, which are a share of all
    /// units.
    fn among(&self, share: f64) -> (f64, f64) {
        if self.of_some || share >= 1.0 || share <= 0.0 {
            return (self.mean, self.sd);
        }
        let mean = self.mean / share;
        let square = (self.sd * self.sd + self.mean * self.mean) / share;
        (mean, (square - mean * mean).max(0.0).sqrt())
    }
}
