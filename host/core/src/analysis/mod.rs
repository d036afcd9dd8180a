//! What an experiment has shown, by its units: pure, so that a live host, a stopped one's ledger
//! and a simulation are analysed by the same code.

mod guardrails;
mod metrics;
mod observed;

pub use guardrails::{GuardrailResult, Standing};
pub use metrics::{ArmResult, Comparison, Found, MetricResult};
pub use observed::{Decision, Observed, Total, Unit};

use crate::experiment::{Evidence, Role};
use crate::stats::{NotEnough, chi_squared};

/// Below this, units did not fall to the arms as the weights say, and nothing else counts.
pub const SRM_ALPHA: f64 = 0.01;

/// What an experiment has shown.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// Units whose decisions are analysed.
    pub entered: u64,
    /// Of them, those that every metric has waited for.
    pub mature: u64,
    /// Units that were only decided about by hand.
    pub forced: u64,
    /// Units by arm.
    pub counts: Vec<u64>,
    /// p of the counts under the weights, looked at once.
    pub srm_p: Result<f64, NotEnough>,
    /// The same, valid however often it was looked at.
    pub srm_sequential_p: f64,
    /// The metrics.
    pub metrics: Vec<MetricResult>,
    /// The guardrails, arm by arm.
    pub guardrails: Vec<GuardrailResult>,
    /// What follows.
    pub verdict: Verdict,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub decision: Decide,
    /// Why.
    pub why: String,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decide {
    /// A goal is reached, and nothing got worse.
    Ship,
    /// Go on as it is.
    Hold,
    /// Something got worse.
    Stop,
}

impl Decide {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ship => "ship",
            Self::Hold => "hold",
            Self::Stop => "stop",
        }
    }
}

/// Analyses what is known at `now_ms`.
pub fn analyse(observed: &Observed, now_ms: u64) -> Analysis {
    let spec = &observed.spec;
    let control = spec.arms.iter().position(|arm| arm.name == spec.control).unwrap_or(0);
    let weights: Vec<f64> = spec.arms.iter().map(|arm| arm.weight).collect();
    let metrics: Vec<_> =
        (0..spec.metrics.len()).map(|metric| metrics::measure(observed, metric, control, now_ms)).collect();
    let guardrails: Vec<_> = (0..spec.guardrails.len())
        .flat_map(|guardrail| guardrails::judge(observed, guardrail, control, now_ms))
        .collect();
    let is_mature = |unit: &&Unit| spec.metrics.iter().all(|metric| metric.mature_ms(unit.entry_ms) <= now_ms);
    let mut analysis = Analysis {
        entered: observed.units.len() as u64,
        mature: observed.units.values().filter(is_mature).count() as u64,
        forced: observed.forced.len() as u64,
        counts: observed.entered().to_vec(),
        srm_p: chi_squared(observed.entered(), &weights),
        srm_sequential_p: observed.srm.p(),
        metrics,
        guardrails,
        verdict: Verdict { decision: Decide::Hold, why: String::new() },
    };
    analysis.verdict = verdict(observed, &analysis);
    analysis
}

/// Ship: at least one goal is significantly better, and every guardrail holds. What is
/// inconclusive holds.
fn verdict(observed: &Observed, analysis: &Analysis) -> Verdict {
    let spec = &observed.spec;
    let say = |decision, why| Verdict { decision, why };
    if analysis.srm_sequential_p < SRM_ALPHA {
        let why = format!(
            "units do not fall to the arms as the weights say (sequential p = {:.2e}): nothing else can be trusted",
            analysis.srm_sequential_p
        );
        return say(Decide::Stop, why);
    }
    if let Some(harm) = analysis.guardrails.iter().find(|g| g.standing == Standing::Harm) {
        return say(Decide::Stop, harm.describe(observed));
    }
    let goals = || analysis.metrics.iter().filter(|m| spec.metrics[m.metric].role == Role::Goal);
    let won = goals().find_map(|metric| {
        let better = |comparison: &&Comparison| comparison.found.as_ref().is_ok_and(|found| found.better);
        metric.comparisons.iter().find(better).map(|comparison| (metric, comparison))
    });
    let Some((metric, comparison)) = won else {
        return say(
            Decide::Hold,
            if goals().next().is_none() {
                "there is no goal to reach".to_owned()
            } else {
                format!(
                    "no goal is significantly better yet, with {} of {} units mature",
                    analysis.mature, analysis.entered
                )
            },
        );
    };
    let won = format!("'{}' is better in arm '{}'", spec.metrics[metric.metric].name, comparison.arm);
    match analysis.guardrails.iter().find(|g| g.standing != Standing::Holds) {
        Some(open) => say(Decide::Hold, format!("{won}, and {}", open.describe(observed))),
        None if spec.guardrails.is_empty() => say(Decide::Ship, format!("{won}; no guardrail is declared")),
        None => say(Decide::Ship, format!("{won}, and every guardrail holds")),
    }
}

impl GuardrailResult {
    /// What it says, in a sentence.
    pub fn describe(&self, observed: &Observed) -> String {
        let name = &observed.spec.guardrails[self.guardrail].name;
        let mean = |at: usize| self.means[at].map_or_else(|| "-".to_owned(), |mean| format!("{mean:.4}"));
        let seen = format!("{} in arm '{}', {} in control", mean(1), self.arm, mean(0));
        match (self.standing, &self.why) {
            (Standing::Harm, _) => format!("guardrail '{name}' shows harm: {seen}"),
            (Standing::Holds, _) => format!("guardrail '{name}' holds: {seen}"),
            (Standing::Inconclusive, Some(why)) => format!("guardrail '{name}' is inconclusive: {why}"),
            (Standing::Inconclusive, None) => format!("guardrail '{name}' is inconclusive"),
        }
    }
}

impl Analysis {
    /// What a ramp's step is judged by.
    pub fn evidence(&self) -> Evidence {
        let sound = self.srm_sequential_p >= SRM_ALPHA;
        Evidence {
            units: self.entered,
            no_harm: sound && self.guardrails.iter().all(|g| g.standing != Standing::Harm),
            non_inferior: sound && self.guardrails.iter().all(|g| g.standing == Standing::Holds),
        }
    }
}
