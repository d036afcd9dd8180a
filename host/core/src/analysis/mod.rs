//! The analysis of an experiment, by unit. It is pure, so a live host, a stopped host's ledger and
//! a simulation use the same code.

mod allocate;
mod balance;
mod blocks;
mod busiest;
mod conclude;
mod course;
mod entry;
mod facts;
mod fairness;
mod fairness_tally;
mod feeds;
mod guardrails;
mod left_in;
mod metric_summary;
mod metrics;
mod never_posted;
mod observed;
mod pair;
mod row;
mod segments;
mod unit;
mod warnings;
mod wording;

pub use allocate::next_shares;
pub use conclude::{ArmVerdict, Decide, Verdict};
pub use course::Course;
pub use facts::{Facts, Unreadable};
pub use fairness::{FAIRNESS_ALPHA, FairnessResult};
pub use feeds::{Feed, FeedResult, FeedState, Outage};
pub use guardrails::{GuardrailResult, HarmKind, HarmStatus};
pub use metrics::{ArmResult, Comparison, Found, MetricResult, baseline};
pub use never_posted::NeverPosted;
pub use observed::Observed;
pub use row::{Decision, Happened};
pub use segments::{SegmentResult, by_segment};
pub use unit::{Place, Total, Unit};
pub use warnings::warnings;

use conclude::{Conclusion, conclude};

use crate::experiment::Evidence;
use crate::stats::{NotEnough, chi_squared};

/// A sequential p-value below this is a sample ratio mismatch, which overrides every other result.
pub const SRM_ALPHA: f64 = 0.01;

/// The results of an experiment.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// Units whose decisions are analysed.
    pub entered: u64,
    /// Of them, the units that are mature in every metric.
    pub mature: u64,
    /// Units that only have decisions with a forced arm.
    pub forced: u64,
    /// Units that left their arm when a winner shipped.
    pub moved: u64,
    /// Units by arm.
    pub counts: Vec<u64>,
    /// Expected shares of units by arm; with adaptive shares, over all batches.
    pub expected: Vec<f64>,
    /// p-value of the counts under the weights (chi-squared), for one look.
    pub srm_p: Result<f64, NotEnough>,
    /// The same, valid at any number of looks.
    pub srm_sequential_p: f64,
    /// Rows of the ledger cannot be read: what they said is unknown.
    pub is_unreadable: bool,
    /// The feeds of the outcomes that it measures.
    pub feeds: Vec<FeedResult>,
    /// The metrics.
    pub metrics: Vec<MetricResult>,
    /// The guardrails, arm by arm.
    pub guardrails: Vec<GuardrailResult>,
    /// The fairness guardrails, arm by arm.
    pub fairness: Vec<FairnessResult>,
    /// The verdict on each arm but control.
    pub arms: Vec<ArmVerdict>,
    /// What forbids shipping, whatever the arms show; in sentences.
    pub forbids: Vec<String>,
    /// The arm that is to ship.
    pub winner: Option<crate::Name>,
    /// The verdict.
    pub verdict: Verdict,
}

/// Analyses the facts known at `now_ms`, in milliseconds since the Unix epoch.
pub fn analyse(observed: &Observed, now_ms: u64) -> Analysis {
    let spec = &observed.spec;
    let control = spec.control_at();
    let metrics: Vec<_> =
        (0..spec.metrics.len()).map(|metric| metrics::measure(observed, metric, control, now_ms)).collect();
    let guardrails: Vec<_> = (0..spec.guardrails.len())
        .flat_map(|guardrail| guardrails::judge(observed, guardrail, control, now_ms))
        .collect();
    let mut analysis = Analysis {
        entered: observed.units().len() as u64,
        mature: observed.with_blocks(now_ms, |blocks| blocks.iter().flatten().map(|block| block.mature).sum()),
        forced: observed.forced.len() as u64,
        moved: observed.moved.len() as u64,
        counts: observed.entered().to_vec(),
        expected: expected_shares(observed),
        srm_p: chi_squared(observed.entered(), &expected_shares(observed)),
        srm_sequential_p: observed.srm.p(),
        is_unreadable: observed.unreadable_rows().is_some(),
        feeds: observed.feeds(now_ms),
        metrics,
        guardrails,
        fairness: fairness::judge(observed, now_ms),
        arms: Vec::new(),
        forbids: Vec::new(),
        winner: None,
        verdict: Verdict { decision: Decide::Hold, why: String::new() },
    };
    analysis.conclude(observed, now_ms);
    analysis
}

impl Analysis {
    fn conclude(&mut self, observed: &Observed, now_ms: u64) {
        let Conclusion { arms, forbids, winner, verdict } = conclude(observed, self, now_ms);
        (self.arms, self.forbids, self.winner) = (arms, forbids, winner);
        if let Some(verdict) = verdict {
            self.verdict = verdict;
        }
    }
}

/// A cached analysis.
pub struct KeptAnalysis {
    analysis: Analysis,
    version: u64,
    at_ms: u64,
    until_ms: u64,
}

impl KeptAnalysis {
    /// The analysis as it was cached last.
    pub fn last(&self) -> &Analysis {
        &self.analysis
    }

    /// The analysis at `now_ms`: the cached one if no fact was added, no unit has become mature and no
    /// feed has fallen silent since. Also says whether it was computed anew.
    pub fn at<'k>(kept: &'k mut Option<Self>, observed: &Observed, now_ms: u64) -> (&'k Analysis, bool) {
        let is_valid = kept
            .as_ref()
            .is_some_and(|kept| kept.version == observed.version() && kept.at_ms <= now_ms && now_ms < kept.until_ms);
        if !is_valid {
            *kept = None;
        }
        let kept = kept.get_or_insert_with(|| {
            let (version, until_ms) = (observed.version(), observed.valid_until(now_ms));
            Self { analysis: analyse(observed, now_ms), version, at_ms: now_ms, until_ms }
        });
        if is_valid {
            // The verdict also depends on how long the experiment has run.
            kept.analysis.conclude(observed, now_ms);
        }
        (&kept.analysis, !is_valid)
    }
}

/// Expected shares of units by arm; with adaptive shares, over all batches.
fn expected_shares(observed: &Observed) -> Vec<f64> {
    let expected = observed.srm.expected();
    let total: f64 = expected.iter().sum();
    if total > 0.0 {
        expected.iter().map(|units| units / total).collect()
    } else {
        observed.spec.arms.iter().map(|arm| arm.weight).collect()
    }
}

impl FairnessResult {
    /// The result as a sentence.
    pub fn describe(&self, observed: &Observed) -> String {
        let fairness = &observed.spec.fairness[self.fairness];
        let share = |at: usize| self.rates[at].map_or_else(|| "-".to_owned(), |rate| format!("{rate:.4}"));
        format!(
            "fairness by {}: of '{}' in arm '{}' {} are well treated ({}), of '{}' {}; the ratio is below {:.4}, and {} is asked for",
            fairness.attribute,
            self.group,
            self.arm,
            share(0),
            self.rate,
            fairness.reference,
            share(1),
            self.high,
            fairness.min_ratio
        )
    }
}

impl Analysis {
    /// The first group whose ratio in a new arm is significantly below the allowed one.
    pub fn unfair(&self) -> Option<&FairnessResult> {
        self.fairness.iter().find(|found| found.is_new && found.status == HarmStatus::Harm)
    }

    /// The first feed that has fallen silent, and that a goal or a guardrail needs.
    pub fn silent_feed(&self) -> Option<&FeedResult> {
        self.feeds.iter().find(|feed| feed.decides && feed.is_silent())
    }

    /// The evidence for judging a ramp step.
    pub fn evidence(&self) -> Evidence {
        let fair = self.srm_sequential_p >= SRM_ALPHA && self.unfair().is_none();
        Evidence {
            units: self.entered,
            no_harm: fair && self.guardrails.iter().all(|g| g.status != HarmStatus::Harm),
            is_unreadable: self.is_unreadable,
            is_silent: self.silent_feed().is_some(),
            blind: self.guardrails.iter().any(|g| g.is_blind),
            non_inferior: fair && self.guardrails.iter().all(|g| g.status == HarmStatus::Holds),
        }
    }
}

#[cfg(test)]
mod dropped_tests;
#[cfg(test)]
mod feed_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod ship_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verdict_tests;
