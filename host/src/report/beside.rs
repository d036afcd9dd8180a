//! What a report says beside the comparison of arms: groups of people, segments, shadow arms.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serin_core::analysis::{FairnessResult, Observed, SegmentResult};
use serin_core::experiment::Experiment;

use crate::ledger::{LedgerError, ShadowCount, ShadowLatency};

/// A group in an arm, against the reference group in the same arm.
#[derive(Debug, Serialize, Deserialize)]
pub struct Fairness {
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

impl Fairness {
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
pub struct Segment {
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
    /// Why nothing can be said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_enough: Option<String>,
}

impl Segment {
    pub(super) fn of(found: &SegmentResult, spec: &Experiment) -> Self {
        let said = found.found.as_ref().ok();
        Self {
            attribute: found.attribute.clone(),
            value: found.value.as_ref().map(ToString::to_string),
            metric: spec.metrics[found.metric].name.to_string(),
            arm: found.arm.to_string(),
            units: found.units,
            difference: said.map(|f| f.estimate.difference),
            interval: said.map(|f| [f.interval.low, f.interval.high]),
            p: said.map(|f| f.interval.p),
            adjusted_p: found.adjusted_p,
            not_enough: found.found.as_ref().err().map(ToString::to_string),
        }
    }
}

/// What a shadow arm would have done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Shadow {
    /// The arm.
    pub arm: String,
    /// Decisions that it was run on.
    pub decisions: u64,
    /// The share of them where it would have had the same action served.
    pub agreement: f64,
    /// Runs without an answer, by what came of them.
    pub failures: IndexMap<String, u64>,
    /// Runs that were dropped, since decisions came first.
    pub dropped: u64,
    /// Decisions by the action that was served, then by the shadow's.
    pub matrix: IndexMap<String, IndexMap<String, u64>>,
    /// Microseconds a run, p50 and p99.
    pub took_us: [u64; 2],
    /// The same of the runs that served.
    pub served_us: [u64; 2],
}

/// The name in a matrix of a run that gave no answer.
const NO_ANSWER: &str = "(no answer)";

/// What an experiment's shadows would have done, from counts, and `latency` by arm.
///
/// # Errors
/// What `latency` says.
pub fn shadows(
    counts: Vec<ShadowCount>,
    latency: impl Fn(&str) -> Result<Option<ShadowLatency>, LedgerError>,
) -> Result<Vec<Shadow>, LedgerError> {
    let mut shadows: IndexMap<String, (Shadow, u64)> = IndexMap::new();
    for count in counts {
        let empty = || Shadow {
            arm: count.arm.clone(),
            decisions: 0,
            agreement: 0.0,
            failures: IndexMap::new(),
            dropped: 0,
            matrix: IndexMap::new(),
            took_us: [0; 2],
            served_us: [0; 2],
        };
        let (shadow, agreed) = shadows.entry(count.arm.clone()).or_insert_with(|| (empty(), 0));
        shadow.decisions += count.decisions;
        shadow.dropped += count.dropped;
        if count.action.as_ref() == Some(&count.served) {
            *agreed += count.decisions;
        }
        if count.outcome != "answer" {
            *shadow.failures.entry(count.outcome).or_default() += count.decisions;
        }
        let action = count.action.unwrap_or_else(|| NO_ANSWER.to_owned());
        *shadow.matrix.entry(count.served).or_default().entry(action).or_default() += count.decisions;
    }
    let finish = |(mut shadow, agreed): (Shadow, u64)| {
        shadow.agreement = agreed as f64 / shadow.decisions.max(1) as f64;
        if let Some(took) = latency(&shadow.arm)? {
            shadow.took_us = [took.p50_us, took.p99_us];
            shadow.served_us = [took.served_p50_us, took.served_p99_us];
        }
        Ok(shadow)
    };
    shadows.into_values().map(finish).collect()
}
