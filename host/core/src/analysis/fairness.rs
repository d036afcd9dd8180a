//! Fairness guardrails: each group's share of well-treated units is compared with the reference
//! group's, with bounds that are valid after every decision.
//!
//! A unit is well treated if it had none of the adverse actions (the rate `selection`) or, for each
//! yes-or-no goal, if the goal was reached for it. Thresholds are monitors that somebody chose, not
//! a finding of law. Each group is compared separately, and all share the error rate, because the
//! smallest of several ratios tends to be small by chance.

use super::fairness_tally::goals;
use super::guardrails::HarmStatus;
use super::observed::Observed;
use crate::Name;
use crate::numbers::grouped;
use crate::stats::rare::{Counts, bounds};

/// Error rate of all of an experiment's fairness alarms together.
pub const FAIRNESS_ALPHA: f64 = 0.05;

/// A group in an arm, against the reference group in the same arm.
#[derive(Debug, Clone)]
pub struct FairnessResult {
    /// Position in the spec.
    pub fairness: usize,
    /// The arm.
    pub arm: Name,
    /// Whether the arm can stop the experiment. Control cannot: it shows the state before the
    /// experiment.
    pub is_new: bool,
    /// The group.
    pub group: Box<str>,
    /// The rate that is compared: `selection`, or a goal's name.
    pub rate: Name,
    /// Units of the group and of the reference.
    pub units: [u64; 2],
    /// The shares of well-treated units in both.
    pub rates: [Option<f64>; 2],
    /// The first share divided by the second; none if that is not defined.
    pub ratio: Option<f64>,
    /// Lower bound of the ratio, valid at any time.
    pub low: f64,
    /// Upper bound of the ratio, valid at any time.
    pub high: f64,
    /// The result: harm is an upper bound below the smallest allowed ratio.
    pub status: HarmStatus,
    /// Why it is inconclusive.
    pub why: Option<String>,
}

/// Every group of every fairness guardrail, in every arm that was not dropped: the units of those are
/// treated by control's strategy.
pub(super) fn judge(observed: &Observed, now_ms: u64) -> Vec<FairnessResult> {
    (0..observed.spec.fairness.len()).flat_map(|at| judge_one(observed, at, now_ms)).collect()
}

fn judge_one(observed: &Observed, at: usize, now_ms: u64) -> Vec<FairnessResult> {
    let spec = &observed.spec;
    let fairness = &spec.fairness[at];
    let Some((_, groups)) = observed.attributes.grouping(&fairness.attribute) else { return Vec::new() };
    let Some(reference) = groups.iter().position(|group| **group == *fairness.reference) else { return Vec::new() };
    let rates = rates(observed, at, groups.len(), now_ms);
    let comparisons = (groups.len() - 1) * spec.arms.len() * rates.len() * observed.course.fairness_alarms(spec, at);
    let alpha = FAIRNESS_ALPHA / comparisons.max(1) as f64;
    let control = spec.control_at();
    let mut results = Vec::new();
    for (rate, counts) in rates {
        for (arm, of_arm) in counts.iter().enumerate().filter(|(arm, _)| !observed.is_dropped(*arm)) {
            for (group, counts) in of_arm.iter().enumerate().filter(|(group, _)| *group != reference) {
                let base = of_arm[reference];
                // Half of alpha for each of the two rates.
                let ((low, high), (base_low, base_high)) = (bounds(*counts, alpha / 2.0), bounds(base, alpha / 2.0));
                let by = |a: f64, b: f64| if b > 0.0 { a / b } else { f64::INFINITY };
                let (low, high) = (by(low, base_high), by(high, base_low));
                let share = |counts: Counts| (counts.units > 0).then(|| counts.events as f64 / counts.units as f64);
                let shares = [share(*counts), share(base)];
                let fewest = counts.units.min(base.units);
                let enough = fewest >= fairness.min_units;
                let status = match () {
                    () if enough && high < fairness.min_ratio => HarmStatus::Harm,
                    () if enough && low >= fairness.min_ratio => HarmStatus::Holds,
                    () => HarmStatus::Inconclusive,
                };
                let why = match status {
                    HarmStatus::Holds | HarmStatus::Harm => None,
                    HarmStatus::Inconclusive if !enough => {
                        let [fewest, needed] = [fewest, fairness.min_units].map(grouped);
                        Some(format!("{fewest} units in the smaller group; {needed} are needed"))
                    }
                    HarmStatus::Inconclusive => {
                        Some(format!("{} lies within the bounds of the ratio", fairness.min_ratio))
                    }
                };
                results.push(FairnessResult {
                    fairness: at,
                    arm: spec.arms[arm].name.clone(),
                    is_new: arm != control,
                    group: groups[group].clone(),
                    rate: rate.clone(),
                    units: [counts.units, base.units],
                    rates: shares,
                    ratio: shares[0].zip(shares[1]).filter(|(_, base)| *base > 0.0).map(|(rate, base)| rate / base),
                    low,
                    high,
                    status,
                    why,
                });
            }
        }
    }
    results
}

/// Units and well-treated units, by rate, arm and group.
fn rates(observed: &Observed, at: usize, groups: usize, now_ms: u64) -> Vec<(Name, Vec<Vec<Counts>>)> {
    let spec = &observed.spec;
    let names = std::iter::once("selection".into()).chain(goals(observed).map(|goal| spec.metrics[goal].name.clone()));
    let mut rates: Vec<(Name, Vec<Vec<Counts>>)> =
        names.map(|name| (name, vec![vec![Counts::default(); groups]; spec.arms.len()])).collect();
    observed.with_blocks(now_ms, |blocks| {
        for block in blocks.iter().flatten() {
            for ((_, arms), of_block) in rates.iter_mut().zip(&block.fairness[at]) {
                for (groups, of_block) in arms.iter_mut().zip(of_block) {
                    // Tallies made before a group first occurred do not contain it.
                    for (sum, of_block) in groups.iter_mut().zip(of_block) {
                        *sum = *sum + *of_block;
                    }
                }
            }
        }
    });
    rates
}
