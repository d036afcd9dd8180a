//! How groups of people fare, and goals by segment.

use serde::{Deserialize, Serialize};
use serin_core::analysis::{FairnessResult, Observed, SegmentResult};
use serin_core::experiment::Experiment;

use super::metrics::is_share;

/// A group in an arm, against the reference group in the same arm.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportedFairness {
    /// What people are grouped by.
    pub attribute: String,
    /// The arm.
    pub arm: String,
    /// The group.
    pub group: String,
    /// The group that it is compared with.
    pub reference: String,
    /// The rate: `selection` (none of the adverse actions), or a goal's name.
    pub rate: String,
    /// Units of both.
    pub units: [u64; 2],
    /// The well-treated of both, as shares.
    pub rates: [Option<f64>; 2],
    /// The first share by the second.
    pub ratio: Option<f64>,
    /// Bounds of the ratio, valid however often they are looked at; none above where there is none.
    pub interval: (f64, Option<f64>),
    /// The smallest ratio that is allowed.
    pub min_ratio: f64,
    /// harm, holds or inconclusive.
    pub state: String,
    /// The arm is control: it is shown, and stops nothing.
    #[serde(default)]
    pub control: bool,
    /// Why it says no more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
}

impl ReportedFairness {
    pub(super) fn of(found: &FairnessResult, observed: &Observed) -> Self {
        let fairness = &observed.spec.fairness[found.fairness];
        Self {
            attribute: fairness.attribute.to_string(),
            arm: found.arm.to_string(),
            group: found.group.to_string(),
            reference: fairness.reference.to_string(),
            rate: found.rate.to_string(),
            units: found.units,
            rates: found.rates,
            ratio: found.ratio,
            interval: (found.low, Some(found.high).filter(|high| high.is_finite())),
            min_ratio: fairness.min_ratio,
            state: found.status.as_str().to_owned(),
            control: !found.is_new,
            why: found.why.clone(),
        }
    }
}

/// A goal in an arm, among the units of one segment.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportedSegment {
    /// The attribute.
    pub attribute: String,
    /// Its value; none for those of whom it is not known.
    pub value: Option<String>,
    /// The goal.
    pub metric: String,
    /// The arm.
    pub arm: String,
    /// Mature units in control and in the arm.
    pub units: [u64; 2],
    /// The difference of the means.
    pub difference: Option<f64>,
    /// Its interval, by itself.
    pub interval: Option<[f64; 2]>,
    /// Its p, by itself.
    pub p: Option<f64>,
    /// Its p among all segments that are shown (Benjamini and Hochberg).
    pub adjusted_p: Option<f64>,
    /// Error rate of the interval, which the adjusted p is to be compared with, too; 0 in reports of
    /// older hosts.
    #[serde(default)]
    pub alpha: f64,
    /// The goal's means are shares of units.
    #[serde(default)]
    pub is_share: bool,
    /// Why nothing can be said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_enough: Option<String>,
}

impl ReportedSegment {
    pub(super) fn of(found: &SegmentResult, spec: &Experiment) -> Self {
        let (said, metric) = (found.found.as_ref().ok(), &spec.metrics[found.metric]);
        Self {
            attribute: found.attribute.clone(),
            value: found.value.as_ref().map(ToString::to_string),
            metric: metric.name.to_string(),
            arm: found.arm.to_string(),
            units: found.units,
            difference: said.map(|f| f.estimate.difference),
            interval: said.map(|f| [f.interval.low, f.interval.high]),
            p: said.map(|f| f.interval.p),
            adjusted_p: found.adjusted_p,
            alpha: metric.alpha,
            is_share: is_share(metric),
            not_enough: found.found.as_ref().err().map(ToString::to_string),
        }
    }
}
