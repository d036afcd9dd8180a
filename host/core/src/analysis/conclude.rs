//! One rule for concluding: a verdict for each arm, and the experiment's that follows from them.

use super::fairness::FairnessResult;
use super::guardrails::{GuardrailResult, HarmStatus};
use super::metrics::{Comparison, MetricResult};
use super::observed::Observed;
use super::wording::rounded;
use super::{Analysis, SRM_ALPHA};
use crate::Name;
use crate::experiment::{Aggregate, Experiment, Metric, OnBreach, Quantity, Role, Watched};
use crate::numbers::{grouped, p_is, shares};

/// A verdict.
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
    /// There is a winner.
    Ship,
    /// Continue.
    Hold,
    /// Harm, or a sample ratio mismatch.
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

/// The verdict on an arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmVerdict {
    /// The arm.
    pub arm: Name,
    /// Ship: it qualifies. Stop: it does harm, or was dropped.
    pub decision: Decide,
    /// Why.
    pub why: String,
}

/// The conclusions of an analysis.
#[derive(Debug, Clone, Default)]
pub(super) struct Conclusion {
    pub arms: Vec<ArmVerdict>,
    /// What forbids shipping, whatever the arms show.
    pub forbids: Vec<String>,
    pub winner: Option<Name>,
    pub verdict: Option<Verdict>,
}

/// Concludes from everything else in `analysis`.
///
/// An arm ships if it is better at a goal, every guardrail holds for it, it is worse at no metric
/// that no guardrail bounds, and not worse by more than `tolerate` where a metric says so. Of several
/// such arms the one with the highest lower bound of the first goal ships. Nothing ships while the
/// data themselves are in doubt.
pub(super) fn conclude(observed: &Observed, analysis: &Analysis, now_ms: u64) -> Conclusion {
    let spec = &observed.spec;
    let tried = spec.arms.iter().filter(|arm| arm.name != spec.control);
    let of_arm = |arm: &Name| ArmEvidence { observed, analysis, arm, now_ms }.verdict();
    let mut arms: Vec<ArmVerdict> = tried.map(|arm| of_arm(&arm.name)).collect();
    let forbids = forbids(observed, analysis);
    let is_unbalanced = analysis.srm_sequential_p < SRM_ALPHA;
    let in_doubt = is_unbalanced.then(|| unbalanced(spec, analysis)).or_else(|| forbids.first().cloned());
    // No arm qualifies while the data are in doubt.
    if let Some(doubt) = &in_doubt {
        for arm in arms.iter_mut().filter(|arm| arm.decision == Decide::Ship) {
            (arm.decision, arm.why) = (Decide::Hold, format!("{}, but {doubt}", arm.why));
        }
    }
    let say = |decision, why: String, winner| Conclusion {
        arms: arms.clone(),
        forbids: forbids.clone(),
        winner,
        verdict: Some(Verdict { decision, why }),
    };
    if is_unbalanced {
        return say(Decide::Stop, unbalanced(spec, analysis), None);
    }
    if let Some(why) = harm(observed, analysis) {
        return say(Decide::Stop, why, None);
    }
    let is_left = |arm: &&ArmVerdict| !observed.course.dropped.contains(&arm.arm);
    if !arms.is_empty() && !arms.iter().any(|arm| is_left(&arm)) {
        return say(Decide::Stop, "every arm beside control was dropped".to_owned(), None);
    }
    let qualified = arms.iter().filter(|arm| arm.decision == Decide::Ship);
    let best = qualified.max_by(|one, other| {
        let bound = |arm: &ArmVerdict| first_goal_bound(observed, analysis, &arm.arm);
        bound(one).total_cmp(&bound(other))
    });
    match (best, forbids.first()) {
        (_, Some(why)) => say(Decide::Hold, why.clone(), None),
        (Some(best), None) => say(Decide::Ship, best.why.clone(), Some(best.arm.clone())),
        (None, None) => say(Decide::Hold, waits_for(observed, analysis, &arms), None),
    }
}

/// The lower bound of the improvement at the file's first goal.
fn first_goal_bound(observed: &Observed, analysis: &Analysis, arm: &str) -> f64 {
    let spec = &observed.spec;
    let goal = analysis.metrics.iter().find(|metric| observed.course.is_goal(&spec.metrics[metric.metric]));
    let Some((goal, comparison)) = goal.and_then(|goal| Some((goal, goal.of_arm(arm)?))) else {
        return f64::NEG_INFINITY;
    };
    let bound = |found: &super::Found| {
        if spec.metrics[goal.metric].more_is_better { found.interval.low } else { -found.interval.high }
    };
    comparison.found.as_ref().map_or(f64::NEG_INFINITY, bound)
}

/// The sentence on a sample ratio mismatch, with its numbers.
fn unbalanced(spec: &Experiment, analysis: &Analysis) -> String {
    let total: u64 = analysis.counts.iter().sum();
    let arms = spec.arms.iter().zip(&analysis.counts).zip(&analysis.expected);
    let named = arms.map(|((arm, units), share)| {
        let expected = (share * total as f64).round() as u64;
        format!("{} in '{}' for {}", grouped(*units), arm.name, grouped(expected))
    });
    format!(
        "units do not fall to the arms as the weights say: {} (sequential {}); nothing else can be trusted",
        named.collect::<Vec<_>>().join(", "),
        p_is(Some(analysis.srm_sequential_p))
    )
}

/// Harm that stops the experiment. An arm that is dropped for harm stops alone.
fn harm(observed: &Observed, analysis: &Analysis) -> Option<String> {
    let stops = |rail: &&GuardrailResult| {
        let spec = &observed.spec.guardrails[rail.guardrail];
        rail.status == HarmStatus::Harm && spec.on_breach != OnBreach::DropArm
    };
    let rail = analysis.guardrails.iter().find(stops).map(|rail| rail.describe(observed));
    rail.or_else(|| analysis.unfair().map(|unfair| unfair.describe(observed)))
}

/// What puts the data themselves in doubt.
fn forbids(observed: &Observed, analysis: &Analysis) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(observed.unreadable_rows().map(super::facts::Unreadable::describe));
    all.extend(analysis.silent_feed().map(super::FeedResult::describe));
    for found in analysis.metrics.iter().filter(|found| !found.exploratory) {
        let metric = &observed.spec.metrics[found.metric];
        let is_declared = metric.role == Role::Goal || is_guarded(&observed.spec, found.metric);
        if let Some(never) = observed.never_posted_of(metric).filter(|_| is_declared) {
            all.push(format!("metric '{}': {}", metric.name, never.describe()));
        }
        all.extend(found.lopsided.iter().cloned());
    }
    all
}

/// Whether a guardrail watches a metric.
fn is_guarded(spec: &Experiment, metric: usize) -> bool {
    spec.guardrails.iter().any(|rail| rail.watched == Watched::Metric(metric))
}

/// What the experiment waits for, where no arm qualifies.
fn waits_for(observed: &Observed, analysis: &Analysis, arms: &[ArmVerdict]) -> String {
    let goals = || analysis.metrics.iter().filter(|m| observed.course.is_goal(&observed.spec.metrics[m.metric]));
    if goals().next().is_none() {
        return NO_GOAL.to_owned();
    }
    let has_won = |arm: &&ArmVerdict| goals().filter_map(|goal| goal.of_arm(&arm.arm)).any(Comparison::is_better);
    match arms.iter().find(has_won).or_else(|| arms.first().filter(|_| arms.len() == 1)) {
        Some(arm) => arm.why.clone(),
        None => not_yet(analysis),
    }
}

/// The verdict of an experiment without a goal.
const NO_GOAL: &str = "guardrails only: there is no goal, so nothing ships by itself";

fn not_yet(analysis: &Analysis) -> String {
    let [mature, entered] = [analysis.mature, analysis.entered].map(grouped);
    format!("no goal is significantly better yet, with {mature} of {entered} units mature")
}

/// What is known of one arm.
struct ArmEvidence<'a> {
    observed: &'a Observed,
    analysis: &'a Analysis,
    arm: &'a Name,
    now_ms: u64,
}

impl ArmEvidence<'_> {
    fn verdict(&self) -> ArmVerdict {
        let say = |decision, why| ArmVerdict { arm: self.arm.clone(), decision, why };
        if self.observed.course.dropped.contains(self.arm) {
            return say(Decide::Stop, format!("arm '{}' was dropped: its units have control's strategy", self.arm));
        }
        if let Some(why) = self.harm() {
            return say(Decide::Stop, why);
        }
        let Some(won) = self.goals().find(|(_, c)| c.is_better()) else {
            let worse = self.worse();
            let waits = || if self.goals().next().is_none() { NO_GOAL.to_owned() } else { not_yet(self.analysis) };
            return say(Decide::Hold, worse.unwrap_or_else(waits));
        };
        let won = self.told(won, "better");
        let open = self.worse().or_else(|| self.not_tolerated()).or_else(|| self.open_guardrail());
        if let Some(open) = open.or_else(|| self.too_early()) {
            return say(Decide::Hold, format!("{won}, and {open}"));
        }
        let rest = match self.observed.spec.guardrails.is_empty() {
            true => "; no guardrail is declared",
            false => ", and every guardrail holds",
        };
        say(Decide::Ship, format!("{won}{rest}"))
    }

    /// All metrics but those that were added after the first unit: they decide nothing.
    fn all(&self) -> impl Iterator<Item = (&MetricResult, &Comparison)> {
        let declared = self.analysis.metrics.iter().filter(|metric| !metric.exploratory);
        declared.filter_map(|metric| Some((metric, metric.of_arm(self.arm)?)))
    }

    fn goals(&self) -> impl Iterator<Item = (&MetricResult, &Comparison)> {
        self.all().filter(|(metric, _)| self.observed.course.is_goal(&self.observed.spec.metrics[metric.metric]))
    }

    /// "'cured' is better in arm 'b' (0.4 against 0.3)".
    fn told(&self, (metric, comparison): (&MetricResult, &Comparison), how: &str) -> String {
        let spec = &self.observed.spec.metrics[metric.metric];
        let numbers = comparison.found.as_ref().map_or_else(
            |_| String::new(),
            |found| {
                let [arm, control] = shown(spec, [found.estimate.treatment, found.estimate.control], found.estimate.n);
                format!(" ({arm} against {control})")
            },
        );
        format!("'{}' is {how} in arm '{}'{numbers}", spec.name, self.arm)
    }

    fn harm(&self) -> Option<String> {
        let rail = self.analysis.guardrails.iter().find(|g| g.arm == *self.arm && g.status == HarmStatus::Harm);
        let unfair =
            |found: &&FairnessResult| found.is_new && found.arm == *self.arm && found.status == HarmStatus::Harm;
        let rail = rail.map(|rail| rail.describe(self.observed));
        rail.or_else(|| self.analysis.fairness.iter().find(unfair).map(|found| found.describe(self.observed)))
    }

    /// A metric at which the arm is significantly worse, and that nothing bounds.
    fn worse(&self) -> Option<String> {
        let spec = &self.observed.spec;
        let is_bounded = |metric: usize| is_guarded(spec, metric) || spec.metrics[metric].tolerate.is_some();
        let worse = self.all().find(|(metric, comparison)| comparison.is_worse && !is_bounded(metric.metric));
        worse.map(|worse| self.told(worse, "significantly worse"))
    }

    /// A metric at which the arm may be worse by more than its file tolerates.
    fn not_tolerated(&self) -> Option<String> {
        let spec = &self.observed.spec;
        self.all().find_map(|(metric, comparison)| {
            let tolerate = spec.metrics[metric.metric].tolerate?;
            let is_fine = comparison.is_better() || comparison.worse_below.is_some_and(|high| high < tolerate);
            let name = &spec.metrics[metric.metric].name;
            let known =
                comparison.worse_below.map_or_else(String::new, |high| format!(" (it is by up to {})", rounded(high)));
            (!is_fine).then(|| format!("'{name}' may be worse by more than the tolerated {tolerate}{known}"))
        })
    }

    /// A guardrail of this arm that does not hold yet. Another arm's does not keep this one.
    fn open_guardrail(&self) -> Option<String> {
        let open = self.analysis.guardrails.iter().find(|g| g.arm == *self.arm && g.status != HarmStatus::Holds);
        open.map(|open| open.describe(self.observed))
    }

    fn too_early(&self) -> Option<String> {
        let least = self.observed.spec.min_duration_ms;
        let ran_ms = self.observed.course.started_ms.map_or(u64::MAX, |started| self.now_ms.saturating_sub(started));
        let days = |ms: u64| ms as f64 / 86_400_000.0;
        (ran_ms < least).then(|| format!("it has run {:.1} of {:.1} days", days(ran_ms), days(least)))
    }
}

/// A metric's means in two arms, which have so many units together: shares in percent.
fn shown(metric: &Metric, means: [f64; 2], units: u64) -> [String; 2] {
    let is_share = matches!(&metric.quantity, Quantity::Mean(measure) if measure.aggregate == Aggregate::Any);
    if is_share { shares(means, [units / 2; 2]) } else { means.map(rounded) }
}
