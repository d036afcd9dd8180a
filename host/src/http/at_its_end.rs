//! How an experiment stood when it ended, in the numbers of one that runs: from its report as of its end.

use serde::Deserialize;

use super::Problem;
use super::summary::{GoalSummary, RailSummary, Summary, nearest_of};
use crate::ledger::{LedgerReader, Reads as _};
use crate::report::{ReportedComparison, ReportedGuardrail, ReportedMetric, ReportedVerdict, Srm, Units};

/// What is read of a report.
#[derive(Deserialize)]
struct AtItsEnd {
    verdict: ReportedVerdict,
    units: Units,
    srm: Srm,
    #[serde(default)]
    metrics: Vec<ReportedMetric>,
    #[serde(default)]
    guardrails: Vec<ReportedGuardrail>,
}

/// How it stood; none without a report as of its end, or with one that cannot be read.
pub(super) fn at_its_end(ledger: &LedgerReader, id: &str) -> Result<Option<Summary>, Problem> {
    let report = ledger.final_report(id)?;
    let ended = report.and_then(|json| serde_json::from_str::<AtItsEnd>(&json).ok());
    Ok(ended.map(|ended| Summary {
        units: ended.units.entered,
        mature: ended.units.mature,
        units_per_day: None,
        paced_ms: None,
        goal: ended.metrics.iter().find(|metric| metric.role == "goal").and_then(goal),
        guardrail: nearest_of(ended.guardrails.iter().map(rail)),
        verdict: known(&ended.verdict.decision, &["ship", "stop"], "hold"),
        verdict_why: ended.verdict.why,
        srm_sequential_p: ended.srm.sequential_p,
        trouble: Vec::new(),
    }))
}

/// The word of these that a report has.
fn known(said: &str, words: &[&'static str], other: &'static str) -> &'static str {
    words.iter().find(|word| **word == said).copied().unwrap_or(other)
}

fn goal(metric: &ReportedMetric) -> Option<GoalSummary> {
    let is_better = |found: &&ReportedComparison| found.better == Some(true);
    let found = metric.comparisons.iter().find(is_better).or(metric.comparisons.first())?;
    Some(GoalSummary {
        metric: metric.name.clone(),
        arm: found.arm.clone(),
        difference: found.difference,
        interval: found.interval,
        relative: found.relative.filter(|_| found.relative_interval.is_some()),
        relative_interval: found.relative_interval,
        is_share: metric.is_share,
        state: match (found.difference, found.better) {
            (None, _) => "too early",
            _ if found.provisional => "provisional",
            (_, Some(true)) => "better",
            (_, Some(false)) => "worse",
            (_, None) => "open",
        },
    })
}

fn rail(found: &ReportedGuardrail) -> RailSummary {
    let number = |key: &str| found.evidence[key].as_f64();
    let counted = number("events").zip(number("most")).map(|(events, most)| events / most.max(1.0));
    let of_margin = |key: &str| Some(number(key)? / number("margin").filter(|margin| *margin > 0.0)?);
    let share = |key: &str| counted.or_else(|| of_margin(key)).filter(|share| share.is_finite());
    RailSummary {
        metric: found.metric.clone(),
        arm: found.arm.clone(),
        state: known(&found.state, &["harm", "holds"], "inconclusive"),
        used: share("increase_below"),
        interval: share("increase_above").zip(share("increase_below")).map(|(low, high)| [low, high]),
    }
}
