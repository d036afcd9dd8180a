//! What units that entered since a winner shipped show: an estimate of their own, apart from the
//! evidence that shipped.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serin_core::analysis::{Analysis, Decide, Observed, analyse};

use super::{
    ReportedFairness, ReportedGuardrail, ReportedMetric, ReportedVerdict, Srm, Units, formatting, metric, reported,
    rfc3339,
};

/// The results of units that entered since a winner shipped: those that the winner serves, against
/// those held back. Units that entered before are in none of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct SinceShip {
    /// When the winner shipped.
    pub shipped_at: String,
    /// The winner.
    pub winner: String,
    /// Units that entered since. `moved` are those that entered before, and that the winner serves now.
    pub units: Units,
    /// Whether units fall to the winner and the holdback as the file says.
    pub srm: Srm,
    /// The metrics.
    pub metrics: Vec<ReportedMetric>,
    /// The guardrails. Harm takes the winner back.
    pub guardrails: Vec<ReportedGuardrail>,
    /// How groups of people fare.
    pub fairness: Vec<ReportedFairness>,
    /// Decisions by action, by arm.
    pub actions: IndexMap<String, IndexMap<String, u64>>,
    /// What these units show; `stop` takes the winner back.
    pub verdict: ReportedVerdict,
}

impl SinceShip {
    /// None if no winner has shipped.
    pub(super) fn of(observed: &Observed, now_ms: u64) -> Option<(Self, Analysis)> {
        let (_, shipped_ms) = observed.at_ship()?;
        let (spec, analysis) = (&observed.spec, analyse(observed, now_ms));
        let actions = spec.arms.iter().zip(&observed.actions);
        let since = Self {
            shipped_at: rfc3339(shipped_ms),
            winner: observed.course.shipped.as_deref().unwrap_or_default().to_owned(),
            units: Units::of(&analysis, observed.dropped()),
            srm: Srm::of(spec, &analysis),
            metrics: analysis.metrics.iter().map(|found| metric(spec, found, false)).collect(),
            guardrails: analysis.guardrails.iter().map(|found| reported(found, observed)).collect(),
            fairness: analysis.fairness.iter().map(|found| ReportedFairness::of(found, observed)).collect(),
            actions: actions.map(|(arm, of)| (arm.name.to_string(), crate::experiments::counts(of))).collect(),
            verdict: ReportedVerdict {
                decision: analysis.verdict.decision.as_str().to_owned(),
                why: analysis.verdict.why.clone(),
            },
        };
        Some((since, analysis))
    }

    /// It in a sentence.
    pub(super) fn said(&self) -> String {
        let goals = self.metrics.iter().filter(|metric| metric.role == "goal" && !metric.exploratory);
        let goal = |metric: &ReportedMetric| {
            let found = metric.comparisons.first()?;
            Some(format!("; {}: {}", metric.name, formatting::comparison(found, metric.is_share)))
        };
        let goals: String = goals.filter_map(goal).collect();
        let harm = if self.verdict.decision == Decide::Stop.as_str() {
            format!("STOP: {}; ", self.verdict.why)
        } else {
            String::new()
        };
        format!("{harm}{}{goals}", formatting::units(&self.units))
    }
}
