//! A report's metrics: each arm's mean, and its comparison with control.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serin_core::analysis::{Found, MetricResult};
use serin_core::experiment::{Aggregate, Experiment, Metric, Quantity, Role};
use serin_core::stats::shrunken;

use super::rounding::Shown;

/// A metric.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportedMetric {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: String,
    /// It was added after the first unit: it decides nothing.
    #[serde(default)]
    pub exploratory: bool,
    /// How the intervals are made.
    pub method: String,
    /// What else than the plain difference is compared.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub adjustment: Option<String>,
    /// Error rate of each interval.
    pub alpha: f64,
    /// How many tests share the file's alpha; `alpha` is the part of one. 0 in reports of older hosts.
    #[serde(default)]
    pub shared_by: u64,
    /// Its means are shares of units, from 0 to 1.
    #[serde(default)]
    pub is_share: bool,
    /// Units at which the confidence sequence is tightest.
    pub planned_units: u64,
    /// Which way is better: `increase` or `decrease`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub direction: Option<String>,
    /// From a unit's entry, how long its rows count.
    #[serde(default)]
    pub window_ms: u64,
    /// How late a row may be posted.
    #[serde(default)]
    pub lag_ms: u64,
    /// The largest change for the worse that the file tolerates, in the metric's unit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tolerate: Option<f64>,
    /// By arm.
    pub arms: IndexMap<String, ReportedArm>,
    /// Units that are left out here, and why.
    pub left_out: IndexMap<String, u64>,
    /// Mature units that are not in it, by arm: without a row, or not exposed.
    #[serde(default)]
    pub left_out_by_arm: IndexMap<String, u64>,
    /// Each arm against control.
    pub comparisons: Vec<ReportedComparison>,
}

/// A metric in one arm.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportedArm {
    /// Mature units.
    pub units: u64,
    /// Their mean or ratio; where the difference is adjusted, control's plus the difference.
    pub mean: Option<f64>,
}

/// An arm against control.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportedComparison {
    /// The arm.
    pub arm: String,
    /// Control.
    pub against: String,
    /// The difference of the means; none where there is not enough data.
    pub difference: Option<f64>,
    /// As a share of control's.
    pub relative: Option<f64>,
    /// The interval of that share; none where control's mean is not clearly different from 0.
    #[serde(default)]
    pub relative_interval: Option<[f64; 2]>,
    /// Its interval.
    pub interval: Option<[f64; 2]>,
    /// Where the metric declares `prior_sd`, and a winner has shipped: the posterior mean of the
    /// difference, and its standard deviation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shrunken: Option<Shrunken>,
    /// Its p.
    pub p: Option<f64>,
    /// The interval does not hold zero.
    pub significant: bool,
    /// Whether that is the way that is wanted; none where it is not significant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub better: Option<bool>,
    /// Whether it is significantly worse, at the error rate that all metrics share.
    #[serde(default)]
    pub worse: bool,
    /// A fixed method's planned units are not all mature: nothing is concluded from this yet.
    #[serde(default)]
    pub provisional: bool,
    /// Why nothing can be said yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_enough: Option<String>,
}

/// A difference shrunken towards zero, since what shipped was chosen for being large.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shrunken {
    /// The posterior mean, in the metric's unit.
    pub difference: f64,
    /// The posterior standard deviation, in the same unit.
    pub sd: f64,
    /// The prior's standard deviation, from the file.
    pub prior_sd: f64,
}

impl ReportedMetric {
    /// Where an arm is worse, and the file tolerates it: a sentence.
    pub(super) fn tolerated(&self, arm: &str) -> Option<String> {
        let tolerate = self.tolerate?;
        let found = self.comparisons.iter().find(|found| found.arm == arm && found.worse)?;
        let (difference, [low, high]) = (found.difference?, found.interval?);
        let by = Shown::difference(self.is_share).size(difference, high - low);
        Some(format!("worse at '{}' by {by}, which its tolerate = {tolerate} allows", self.name))
    }
}

/// Whether a metric's means are shares of units.
/// Whether a metric's means are shares of units, from 0 to 1.
pub fn is_share(metric: &Metric) -> bool {
    matches!(&metric.quantity, Quantity::Mean(measure) if measure.aggregate == Aggregate::Any)
}

/// A metric; a goal that has shipped with its shrunken estimate.
pub(super) fn metric(spec: &Experiment, found: &MetricResult, has_shipped: bool) -> ReportedMetric {
    let metric = &spec.metrics[found.metric];
    let prior_sd = metric.prior_sd.filter(|_| has_shipped && metric.role == Role::Goal);
    let comparison = |comparison: &serin_core::analysis::Comparison| {
        let said = comparison.found.as_ref().ok();
        let of = |f: fn(&Found) -> f64| said.map(f);
        ReportedComparison {
            arm: comparison.arm.to_string(),
            against: spec.control.to_string(),
            difference: of(|f| f.estimate.difference),
            relative: said
                .filter(|f| f.estimate.control != 0.0)
                .map(|f| f.estimate.difference / f.estimate.control.abs()),
            relative_interval: said.and_then(|f| f.lift),
            interval: said.map(|f| [f.interval.low, f.interval.high]),
            shrunken: said.zip(prior_sd).map(|(found, prior_sd)| {
                let [difference, sd] = shrunken(&found.estimate, prior_sd);
                Shrunken { difference, sd, prior_sd }
            }),
            p: of(|f| f.interval.p),
            significant: said.is_some_and(|f| f.significant),
            better: said.filter(|f| f.significant).map(|f| f.better),
            worse: comparison.is_worse,
            provisional: said.is_some_and(|f| !f.is_final),
            not_enough: comparison.found.as_ref().err().map(ToString::to_string),
        }
    };
    let arms = spec.arms.iter().zip(&found.arms);
    ReportedMetric {
        name: metric.name.to_string(),
        role: metric.role.as_str().to_owned(),
        exploratory: found.exploratory,
        method: metric.method.as_str().to_owned(),
        adjustment: found.adjustment.clone(),
        alpha: found.alpha,
        shared_by: (metric.alpha / found.alpha).round() as u64,
        is_share: is_share(metric),
        planned_units: metric.planned_units,
        direction: Some(if metric.more_is_better { "increase" } else { "decrease" }.to_owned()),
        window_ms: metric.window_ms,
        lag_ms: metric.lag_ms,
        tolerate: metric.tolerate,
        arms: arms.map(|(arm, a)| (arm.name.to_string(), ReportedArm { units: a.units, mean: a.mean })).collect(),
        left_out: [
            ("not_mature", found.not_mature),
            ("no_row", found.no_row),
            ("not_exposed", found.not_exposed),
            ("unplanned", found.unplanned),
        ]
        .map(|(why, n)| (why.to_owned(), n))
        .into(),
        left_out_by_arm: spec.arms.iter().map(|arm| arm.name.to_string()).zip(found.left_out.iter().copied()).collect(),
        comparisons: found.comparisons.iter().map(comparison).collect(),
    }
}
