//! Reports: what an experiment has shown, in the form that people and programs read. Each number
//! says its method, its n and what it leaves out.

mod allocation;
mod changes;
mod charts;
mod feeds;
mod formatting;
mod frozen;
mod groups;
mod html;
mod metrics;
mod outlook;
mod overview;
mod plots;
mod rounding;
mod scorecard;
mod shadow_arms;
mod since_end;
mod since_ship;
mod tables;
mod text;
mod versions;

pub use allocation::Allocation;
pub use changes::Change;
pub use feeds::ReportedFeed;
pub use groups::{ReportedFairness, ReportedSegment};
pub use html::{STYLE, page_policy};
pub use metrics::{ReportedArm, ReportedComparison, ReportedMetric, Shrunken, is_share};
pub use outlook::{Check, NextStep, Outlook, Progress, Ramp, RampStep};
pub use scorecard::Scale;
pub use shadow_arms::{ReportedShadow, shadows};
pub use since_end::{Difference, SinceEnd};
pub use since_ship::SinceShip;
pub use versions::Version;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serin_core::analysis::{Analysis, ArmVerdict, Decide, GuardrailResult, Observed, analyse, by_segment, warnings};
use serin_core::experiment::{Experiment, Status, Watched, without_addresses};

use metrics::metric;

use crate::experiments::{HOST, HistoryPoint, counts, evidence};
use crate::ledger::{LedgerError, Reads, TransitionRow};

/// A report.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The experiment.
    pub experiment: String,
    /// Its state.
    pub state: String,
    /// Its phase.
    pub phase: u32,
    /// What it is about.
    #[serde(default)]
    pub description: String,
    /// Who answers for it.
    #[serde(default)]
    pub owner: String,
    /// What is tried against what.
    #[serde(default)]
    pub versions: Vec<Version>,
    /// When it was analysed.
    pub as_of: String,
    /// SHA-256 of the spec that it was analysed by.
    pub spec_digest: String,
    /// The text of that spec, without the paths of its webhooks' addresses; empty in reports of older hosts.
    #[serde(default)]
    pub spec_text: String,
    /// The guardrail that the host stopped it for.
    pub stopped_by: Option<String>,
    /// The arm that serves, or that was chosen at its end; none while there is none, and in reports of older hosts.
    #[serde(default)]
    pub winner: Option<String>,
    /// What happened, oldest first; the latest ones, where there are many.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// Changes before those that are listed.
    #[serde(default)]
    pub changes_before: u64,
    /// Times that an allocation drew other shares; they are not listed.
    #[serde(default)]
    pub allocations: u64,
    /// A winner has shipped: units, metrics and guardrails are as of then, and `since_ship` has the
    /// units that entered since.
    #[serde(default)]
    pub against_held_back: bool,
    /// Units, and why some are not in the metrics yet.
    pub units: Units,
    /// Outcomes that metrics name and that happened before their unit entered, by arm: they count
    /// for nothing.
    #[serde(default)]
    pub before_entry: IndexMap<String, u64>,
    /// Rows that happened within a metric's window and were posted after its lag, by arm: they count for
    /// nothing.
    #[serde(default)]
    pub too_late: IndexMap<String, u64>,
    /// The feeds of the outcomes that metrics name.
    #[serde(default)]
    pub feeds: Vec<ReportedFeed>,
    /// Units that the decision point excluded since they entered, by arm: they stay counted.
    #[serde(default)]
    pub excluded: IndexMap<String, Excluded>,
    /// Whether units fall to the arms as the weights say.
    pub srm: Srm,
    /// The metrics.
    pub metrics: Vec<ReportedMetric>,
    /// The guardrails, arm by arm.
    pub guardrails: Vec<ReportedGuardrail>,
    /// How groups of people fare, arm by arm; monitors, not law.
    pub fairness: Vec<ReportedFairness>,
    /// Goals by segment: exploratory.
    pub segments: Vec<ReportedSegment>,
    /// What shadow arms would have done.
    pub shadows: Vec<ReportedShadow>,
    /// Decisions by action, by arm.
    pub actions: IndexMap<String, IndexMap<String, u64>>,
    /// What was known before, oldest first.
    pub history: Vec<HistoryPoint>,
    /// What a reader has to know.
    pub warnings: Vec<String>,
    /// What follows.
    pub verdict: ReportedVerdict,
    /// The verdict on each arm but control.
    #[serde(default)]
    pub arms: Vec<ReportedArmVerdict>,
    /// What forbids shipping, whatever the arms show; in sentences.
    #[serde(default)]
    pub forbids: Vec<String>,
    /// What follows and when, the ramp, the progress, and the checks of the data.
    #[serde(flatten)]
    pub outlook: Outlook,
    /// What has changed since the experiment ended, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since_end: Option<SinceEnd>,
    /// What units that entered since a winner shipped show.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since_ship: Option<SinceShip>,
}

/// What a report shows beside the analysis.
#[derive(Debug, Default)]
pub struct ReportContext {
    /// The changes of the experiment's status.
    pub changes: Vec<TransitionRow>,
    /// What was known before, as JSON.
    pub history: Vec<String>,
    /// What shadow arms would have done.
    pub shadows: Vec<ReportedShadow>,
}

impl ReportContext {
    /// What a host's ledger has of an experiment.
    ///
    /// # Errors
    /// The ledger's error.
    pub fn of(ledger: &impl Reads, id: &str) -> Result<Self, LedgerError> {
        Ok(Self {
            changes: ledger.transitions(id)?,
            history: ledger.history(id)?,
            shadows: shadows(ledger.shadow_counts(id)?, |arm| ledger.shadow_latency(id, arm))?,
        })
    }
}

/// Units: entered = mature + everything left out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Units {
    /// Units with a decision in the experiment.
    pub entered: u64,
    /// Those that every metric has waited for.
    pub mature: u64,
    /// The others.
    pub left_out: LeftOut,
}

/// Units that are left out, and why.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// A metric's window and lag have not passed, or a feed has not been heard of since.
    pub not_mature: u64,
    /// They were decided about by hand only.
    pub forced: u64,
    /// They left their arm when the winner shipped.
    #[serde(default)]
    pub moved: u64,
    /// Their arm was dropped. These have entered, too.
    #[serde(default)]
    pub dropped: u64,
}

/// Units that were excluded after they had entered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Excluded {
    /// Units.
    pub units: u64,
    /// Their decisions since then that the constraint served.
    pub decisions: u64,
}

/// Sample ratio mismatch.
#[derive(Debug, Serialize, Deserialize)]
pub struct Srm {
    /// Chi-squared, looked at once; none where there is too little.
    pub p: Option<f64>,
    /// Valid however often it is looked at.
    pub sequential_p: f64,
    /// Units by arm.
    pub counts: IndexMap<String, u64>,
    /// Weights by arm.
    pub expected: IndexMap<String, f64>,
}

/// A guardrail in one arm.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportedGuardrail {
    /// What it watches.
    pub metric: String,
    /// The arm.
    pub arm: String,
    /// harm, holds or inconclusive.
    pub state: String,
    /// What that rests on.
    pub evidence: Value,
    /// What it stops at and what it lets ship; empty in reports of older hosts.
    #[serde(default)]
    pub rule: String,
    /// What it watches is a share of units.
    #[serde(default)]
    pub is_share: bool,
    /// Why it says no more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
}

/// The verdict on an arm.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportedArmVerdict {
    /// The arm.
    pub arm: String,
    /// ship, hold or stop.
    pub decision: String,
    /// Why.
    pub why: String,
    /// Of an arm that ships: where it is worse, and its file tolerates that; in sentences.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tolerated: Vec<String>,
}

/// What follows.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportedVerdict {
    /// ship, hold or stop.
    pub decision: String,
    /// Why.
    pub why: String,
}

impl Units {
    /// Units that entered and stayed in an arm by its draw.
    pub fn in_arms(&self) -> u64 {
        self.entered.saturating_sub(self.left_out.forced + self.left_out.moved)
    }

    fn of(analysis: &Analysis, dropped: u64) -> Self {
        let (forced, moved) = (analysis.forced, analysis.moved);
        Self {
            entered: analysis.entered + forced + moved,
            mature: analysis.mature,
            left_out: LeftOut { not_mature: analysis.entered - analysis.mature, forced, moved, dropped },
        }
    }
}

impl ReportedArmVerdict {
    fn of(verdict: &ArmVerdict, metrics: &[ReportedMetric]) -> Self {
        let ArmVerdict { arm, decision, why } = verdict;
        let metrics = metrics.iter().filter(|_| *decision == Decide::Ship);
        let tolerated = metrics.filter_map(|metric| metric.tolerated(arm)).collect();
        Self { arm: arm.to_string(), decision: decision.as_str().to_owned(), why: why.clone(), tolerated }
    }
}

impl Srm {
    fn of(spec: &Experiment, analysis: &Analysis) -> Self {
        let names = || spec.arms.iter().map(|arm| arm.name.to_string());
        Self {
            p: analysis.srm_p.as_ref().ok().copied(),
            sequential_p: analysis.srm_sequential_p,
            counts: names().zip(analysis.counts.iter().copied()).collect(),
            expected: names().zip(analysis.expected.iter().copied()).collect(),
        }
    }
}

impl Excluded {
    fn of([units, decisions]: &[u64; 2]) -> Self {
        Self { units: *units, decisions: *decisions }
    }
}

impl Report {
    /// Analyses what is known at `now_ms`. Once a winner has shipped, the evidence that shipped is as of
    /// then, and units that entered since are apart.
    pub fn new(observed: &Observed, status: &Status, context: ReportContext, now_ms: u64) -> Self {
        let Some((before, shipped_ms)) = observed.at_ship() else {
            return Self::of(observed, status, context, [now_ms, now_ms]);
        };
        let mut report = Self::of(before, status, context, [shipped_ms, now_ms]);
        report.against_held_back = true;
        if let Some((since, analysis)) = SinceShip::of(observed, now_ms) {
            let known = std::mem::take(&mut report.warnings);
            let new = warnings(observed, &analysis).into_iter().filter(|warning| !known.contains(warning));
            report.warnings = known.iter().cloned().chain(new).collect();
            if analysis.verdict.decision == Decide::Stop {
                report.verdict = ReportedVerdict {
                    decision: since.verdict.decision.clone(),
                    why: format!("among units that entered since it shipped: {}", since.verdict.why),
                };
            }
            report.since_ship = Some(since);
        }
        report
    }

    /// The report of what is known at the first of two times, made at the second.
    fn of(observed: &Observed, status: &Status, context: ReportContext, [known_ms, now_ms]: [u64; 2]) -> Self {
        let (spec, analysis) = (&observed.spec, analyse(observed, known_ms));
        let (changes, changes_before, allocations) = Change::listed(&context.changes);
        let names = || spec.arms.iter().map(|arm| arm.name.to_string());
        let outlook = Outlook::of(observed, &analysis, status, now_ms);
        let metrics: Vec<ReportedMetric> =
            analysis.metrics.iter().map(|found| metric(spec, found, status.served.is_some())).collect();
        Self {
            experiment: spec.id.to_string(),
            state: status.state.as_str().to_owned(),
            phase: status.phase,
            description: spec.description.clone(),
            owner: spec.owner.clone(),
            versions: Version::all(spec),
            as_of: rfc3339(now_ms),
            spec_digest: spec.digest.to_string(),
            spec_text: without_addresses(&spec.text),
            stopped_by: stopped_by(&context.changes),
            winner: status.winner.as_ref().map(ToString::to_string),
            changes,
            changes_before,
            allocations,
            against_held_back: observed.is_against_held_back(),
            units: Units::of(&analysis, observed.dropped()),
            before_entry: names().zip(observed.before_entry().iter().copied()).collect(),
            too_late: names().zip(observed.too_late().iter().copied()).collect(),
            feeds: analysis.feeds.iter().map(ReportedFeed::of).collect(),
            excluded: names().zip(observed.excluded().iter().map(Excluded::of)).collect(),
            srm: Srm::of(spec, &analysis),
            guardrails: analysis.guardrails.iter().map(|found| reported(found, observed)).collect(),
            fairness: analysis.fairness.iter().map(|found| ReportedFairness::of(found, observed)).collect(),
            segments: by_segment(observed, known_ms).iter().map(|found| ReportedSegment::of(found, spec)).collect(),
            shadows: context.shadows,
            actions: names().zip(observed.actions.iter().map(counts)).collect(),
            // A moment of another shape than today's is not shown.
            history: context.history.iter().filter_map(|json| serde_json::from_str(json).ok()).collect(),
            warnings: warnings(observed, &analysis),
            arms: analysis.arms.iter().map(|verdict| ReportedArmVerdict::of(verdict, &metrics)).collect(),
            metrics,
            forbids: analysis.forbids.clone(),
            verdict: ReportedVerdict {
                decision: analysis.verdict.decision.as_str().to_owned(),
                why: analysis.verdict.why,
            },
            outlook,
            since_end: None,
            since_ship: None,
        }
    }
}

fn reported(found: &GuardrailResult, observed: &Observed) -> ReportedGuardrail {
    let spec = &observed.spec;
    let guardrail = &spec.guardrails[found.guardrail];
    let is_share = match guardrail.watched {
        Watched::Metric(at) => is_share(&spec.metrics[at]),
        _ => true,
    };
    ReportedGuardrail {
        metric: guardrail.name.to_string(),
        arm: found.arm.to_string(),
        state: found.status.as_str().to_owned(),
        evidence: evidence(found, observed),
        rule: guardrail.meaning(spec),
        is_share,
        why: found.why.clone(),
    }
}

fn rfc3339(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}

/// The guardrail in the evidence of the host's own last stop.
fn stopped_by(history: &[TransitionRow]) -> Option<String> {
    let last = history.iter().rev().find(|change| matches!(change.to.as_str(), "aborted" | "paused"))?;
    let evidence = Some(&last.evidence).filter(|_| last.by == HOST)?;
    let named = evidence["guardrail"].as_str().or(evidence["fairness"].as_str());
    named.or(evidence.get("srm").map(|_| "srm")).map(str::to_owned)
}

#[cfg(test)]
mod page_tests;
