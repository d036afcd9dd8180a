//! Warnings: facts that a reader must know before the numbers of an analysis.

use super::facts::Facts;
use super::{Analysis, SRM_ALPHA};
use crate::clipped;
use crate::experiment::{Arm, Guardrail, Margin, Watched};
use crate::numbers::{counted, grouped};

/// Bytes of an id that are shown.
const MAX_ID: usize = 64;

/// The warnings, one sentence each.
pub fn warnings(facts: &Facts, analysis: &Analysis) -> Vec<String> {
    let mut warnings = Vec::new();
    if analysis.srm_sequential_p < SRM_ALPHA {
        warnings
            .push("units do not fall to the arms as the weights say: no difference below can be trusted".to_owned());
    }
    if let Some(unreadable) = facts.unreadable_rows() {
        warnings.push(format!(
            "{}; what they said is unknown, so the host neither widens nor ships until the ledger is put right",
            unreadable.describe()
        ));
    }
    if facts.astray > 0 {
        warnings.push(format!(
            "{} named an arm that the spec does not have for the unit",
            counted(facts.astray, "decision")
        ));
    }
    for found in &analysis.metrics {
        let metric = &facts.spec.metrics[found.metric];
        if let Some(never) = facts.never_posted_of(metric) {
            warnings.push(format!(
                "metric '{}': {}; correct the name, or set expects_none where none may ever come",
                metric.name,
                never.describe()
            ));
        }
        if metric.is_exposed && found.not_exposed > 0 && found.arms.iter().any(|arm| arm.units == 0) {
            warnings
                .push(format!("metric '{}': an arm has no exposures: who is exposed cannot be compared", metric.name));
        }
    }
    silent(analysis, &mut warnings);
    without_covariates(facts, &mut warnings);
    too_late(facts, &mut warnings);
    excluded(facts, &mut warnings);
    pooled(facts, &mut warnings);
    ids(facts, &mut warnings);
    warnings
}

/// Feeds that have fallen silent: what their units did since is unknown.
fn silent(analysis: &Analysis, warnings: &mut Vec<String>) {
    for feed in analysis.feeds.iter().filter(|feed| feed.is_silent()) {
        let holds = if feed.decides { ", and the host neither widens nor ships" } else { "" };
        warnings.push(format!(
            "{}; units that would have become mature since are left out{holds}; mend the feed, or post a watermark if \
             nothing has happened",
            feed.describe()
        ));
    }
}

/// Covariates that no unit has: an adjustment for them changes nothing.
fn without_covariates(facts: &Facts, warnings: &mut Vec<String>) {
    for metric in facts.spec.metrics.iter().filter(|_| !facts.units().is_empty()) {
        let places = facts.attributes.places(&metric.cuped);
        for (attribute, place) in metric.cuped.iter().zip(places) {
            // Most often the first unit has a value.
            if facts.units().iter().all(|unit| unit.known.number(place).is_nan()) {
                warnings.push(format!(
                    "metric '{}': no unit has a number for the covariate {attribute}, so nothing is adjusted for it",
                    metric.name
                ));
            }
        }
    }
}

/// The share of a metric's rows from which on it is told that they are too late.
const MANY_TOO_LATE: f64 = 0.01;

/// Rows that were posted later than the metric's lag allows.
fn too_late(facts: &Facts, warnings: &mut Vec<String>) {
    for (position, metric) in facts.spec.metrics.iter().enumerate() {
        let (rows, late) = facts.late_rows(position);
        if late as f64 > MANY_TOO_LATE * rows as f64 {
            let [late, rows] = [late, rows].map(grouped);
            warnings.push(format!(
                "metric '{}': {late} of {rows} rows were posted too late and do not count; a longer lag would count them",
                metric.name
            ));
        }
    }
}

/// The share of the units from which on it is told that they were excluded: a few always leave.
const MANY_EXCLUDED: f64 = 0.01;

/// Units that the point's `exclude` keeps from being served by the arm that they are counted in.
fn excluded(facts: &Facts, warnings: &mut Vec<String>) {
    let by_arm = || facts.spec.arms.iter().zip(facts.excluded()).zip(facts.entered());
    let units: u64 = facts.excluded().iter().map(|[units, _]| units).sum();
    let entered: u64 = facts.entered().iter().sum();
    if units as f64 > MANY_EXCLUDED * entered as f64 {
        let arm = |((arm, [units, _]), entered): ((&Arm, &[u64; 2]), &u64)| {
            format!("{} {} of {}", arm.name, grouped(*units), grouped(*entered))
        };
        warnings.push(format!(
            "units that the decision point excludes since they entered, and that are counted in their arms without being \
             served by them: {}",
            by_arm().map(arm).collect::<Vec<_>>().join(", ")
        ));
    }
}

/// Guardrails that count units, while an allocation changes the arms' shares. Their bounds are of each
/// arm's rate over all batches, so a trend that all arms share does not cancel as it does in metrics.
fn pooled(facts: &Facts, warnings: &mut Vec<String>) {
    let is_adapted = facts.course.batches.windows(2).any(|pair| pair[0] != pair[1]);
    let is_rate = |guardrail: &&Guardrail| {
        !matches!(guardrail.watched, Watched::Metric(_)) && !matches!(guardrail.margin, Margin::Count(_))
    };
    let names: Vec<&str> = facts.spec.guardrails.iter().filter(is_rate).map(|guardrail| &*guardrail.name).collect();
    if is_adapted && !names.is_empty() {
        warnings.push(format!(
            "the shares of arms have changed, and these guardrails compare rates over all batches: {}; if a rate changes \
             over time in all arms alike, part of that looks like a difference between them",
            names.join(", ")
        ));
    }
}

/// Ids that stand for nobody, or for many.
fn ids(facts: &Facts, warnings: &mut Vec<String>) {
    let named = |ids: Vec<String>| ids.join(", ");
    let shown = |id: &str| format!("'{}'", clipped(id, MAX_ID).escape_debug());
    let placeholders = facts.placeholders();
    if !placeholders.is_empty() {
        let ids = placeholders.iter().map(|id| shown(id)).collect();
        let what = "units whose id is what a program writes where it has none";
        warnings.push(format!("{what}: {}; each is counted as one unit", named(ids)));
    }
    let decisions: u64 = facts.actions.iter().flat_map(|actions| actions.values()).sum();
    let absurd = facts.busiest(decisions);
    let share =
        |(id, n): (&str, u64)| format!("{} {} ({:.1} %)", shown(id), grouped(n), n as f64 / decisions as f64 * 100.0);
    let absurd: Vec<String> = absurd.map(share).collect();
    if !absurd.is_empty() {
        let what = format!("units with far more of the {} decisions than the others", grouped(decisions));
        warnings.push(format!("{what}: {}; their ids may stand for many", named(absurd)));
    }
}
