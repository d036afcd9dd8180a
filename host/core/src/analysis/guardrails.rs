//! Guardrails: harm, holds, or inconclusive. Each test is one-sided, by unit, and valid after every
//! decision.

use super::feeds::FeedResult;
use super::metrics::Summed;
use super::observed::Observed;
use crate::Name;
use crate::experiment::{Guardrail, Margin, Watched};
use crate::stats::conditional;
use crate::stats::rare::{Counts, difference_bounds};
use crate::stats::{Estimate, lower, upper};

/// The result of a guardrail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HarmStatus {
    /// The new arm is worse by less than the margin (non-inferiority).
    Holds,
    /// Neither is significant yet.
    Inconclusive,
    /// The new arm is worse by more than the alarm.
    Harm,
}

impl HarmStatus {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Inconclusive => "inconclusive",
            Self::Harm => "harm",
        }
    }
}

/// The kind of change that is harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HarmKind {
    /// More events than allowed; not a test.
    Count,
    /// More than in control.
    Increase,
    /// Less than in control.
    Decrease,
    /// A different share of some action than in control.
    Mix,
}

impl HarmKind {
    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Increase => "increase",
            Self::Decrease => "decrease",
            Self::Mix => "mix",
        }
    }

    /// The bounded quantity, in words for messages.
    pub fn change(self) -> &'static str {
        match self {
            Self::Count | Self::Increase => "the increase",
            Self::Decrease => "the decrease",
            Self::Mix => "the largest shift of an action's share",
        }
    }
}

/// A guardrail in one arm.
#[derive(Debug, Clone)]
pub struct GuardrailResult {
    /// Position in the spec.
    pub guardrail: usize,
    /// The arm.
    pub arm: Name,
    /// What it takes for harm.
    pub kind: HarmKind,
    /// The result.
    pub status: HarmStatus,
    /// Units in control and in the arm.
    pub units: [u64; 2],
    /// Their means or rates; none without units.
    pub means: [Option<f64>; 2],
    /// For the mix of actions: the action whose share differs most. `means` are its shares.
    pub action: Option<Box<str>>,
    /// For a count: events in the arm, and the most that are allowed.
    pub count: Option<[u64; 2]>,
    /// p-value of "no increase", valid at any time. Only for counted events with an alarm of 0.
    pub p: Option<f64>,
    /// Lower bound of the change for the worse, at `alarm_alpha`.
    pub lower: Option<f64>,
    /// Upper bound of the change for the worse, at the guardrail's alpha.
    pub upper: Option<f64>,
    /// The alarm: harm is a lower bound above this.
    pub alarm: Option<f64>,
    /// The alarm's share of alpha.
    pub alarm_alpha: f64,
    /// The margin: the guardrail holds if the upper bound is below this.
    pub margin: Option<f64>,
    /// Nothing that it watches was ever posted: it can show neither harm nor that there is none.
    pub is_blind: bool,
    /// Why it is inconclusive.
    pub why: Option<String>,
}

/// A guardrail in each arm but control.
pub(super) fn judge(observed: &Observed, position: usize, control: usize, now_ms: u64) -> Vec<GuardrailResult> {
    let spec = &observed.spec;
    let guardrail = &spec.guardrails[position];
    let arms: Vec<usize> = (0..spec.arms.len()).filter(|arm| *arm != control).collect();
    // Every guardrail and arm may raise an alarm, so they share the error rate of false alarms.
    // `holds` needs no such correction, because each has to show it alone.
    let alarm_alpha = guardrail.alpha / (spec.guardrails.len() * arms.len().max(1)) as f64;
    let summed = match guardrail.watched {
        Watched::Metric(metric) => Some(Summed::of(observed, metric, now_ms)),
        _ => None,
    };
    let counts = match &summed {
        None => hits(observed, position, now_ms),
        Some(_) => Vec::new(),
    };
    let judge = |arm: usize| {
        let mut result = GuardrailResult {
            guardrail: position,
            arm: spec.arms[arm].name.clone(),
            kind: kind(guardrail),
            status: HarmStatus::Inconclusive,
            units: [0; 2],
            means: [None; 2],
            action: None,
            count: None,
            p: None,
            lower: None,
            upper: None,
            alarm: None,
            alarm_alpha,
            margin: None,
            is_blind: false,
            why: None,
        };
        match &summed {
            None if guardrail.watched == Watched::ActionMix => {
                by_mix(&mut result, guardrail, observed, [control, arm], now_ms);
            }
            None => {
                let (weight, of_control) = (spec.arms[arm].weight, spec.arms[control].weight);
                // With adaptive shares the arm of an event has no fixed probability. Then each
                // arm's rate is bounded separately.
                let is_fixed = observed.course.batches.is_empty();
                let share = if is_fixed { weight / (weight + of_control) } else { 0.0 };
                let bounds = |alphas| observed.bounds((position, arm), [counts[control], counts[arm]], alphas);
                by_counts(&mut result, guardrail, [counts[control], counts[arm]], share, bounds);
            }
            Some(summed) => by_metric(&mut result, guardrail, summed, [control, arm], observed),
        }
        blind(&mut result, guardrail, observed);
        deaf(&mut result, guardrail, observed, now_ms);
        result
    };
    arms.into_iter().map(judge).collect()
}

fn kind(guardrail: &Guardrail) -> HarmKind {
    match guardrail.margin {
        Margin::Count(_) => HarmKind::Count,
        Margin::Difference { .. } if guardrail.watched == Watched::ActionMix => HarmKind::Mix,
        Margin::Difference { more_is_harm: true, .. } => HarmKind::Increase,
        Margin::Difference { .. } => HarmKind::Decrease,
    }
}

/// Units, and units with an event, by arm.
fn hits(observed: &Observed, position: usize, now_ms: u64) -> Vec<Counts> {
    let mut counts = vec![Counts::default(); observed.spec.arms.len()];
    observed.with_blocks(now_ms, |blocks| {
        for block in blocks.iter().flatten() {
            for (sum, of_block) in counts.iter_mut().zip(&block.hits[position]) {
                *sum = *sum + *of_block;
            }
        }
    });
    counts
}

/// `share` is the arm's share of the units of both arms. `bounds` returns the lower and the upper
/// bound of the difference of rates, each at its error rate.
fn by_counts(
    result: &mut GuardrailResult,
    guardrail: &Guardrail,
    [control, arm]: [Counts; 2],
    share: f64,
    bounds: impl FnOnce([f64; 2]) -> [f64; 2],
) {
    let rate = |counts: Counts| (counts.units > 0).then(|| counts.events as f64 / counts.units as f64);
    result.units = [control.units, arm.units];
    result.means = [rate(control), rate(arm)];
    let (margin, is_relative, alarm) = match guardrail.margin {
        Margin::Count(most) => return count(result, arm.events, most),
        Margin::Difference { margin, is_relative, alarm, .. } => (margin, is_relative, alarm),
    };
    if !is_enough(result, guardrail) {
        return;
    }
    let [mut low, high] = bounds([result.alarm_alpha, guardrail.alpha]);
    let margin = scaled(margin, is_relative, result.means[0]);
    if alarm == 0.0 && share > 0.0 && share < 1.0 {
        // Any increase is harm. The conditional test of the events alone detects it sooner than two
        // bounds, each of which allows for the noise of its own arm.
        let p = conditional::p(control.events, arm.events, share);
        result.p = Some(p);
        let is_harm = p <= result.alarm_alpha;
        low = if is_harm { low.max(0.0) } else { low.min(0.0) };
        return conclude(result, is_harm, [low, high], margin, alarm);
    }
    conclude(result, low > alarm, [low, high], margin, alarm);
}

/// The share of units with each action at entry. It may differ either way, and the actions share
/// the error rate.
fn by_mix(
    result: &mut GuardrailResult,
    guardrail: &Guardrail,
    observed: &Observed,
    [control, arm]: [usize; 2],
    now_ms: u64,
) {
    let mut counts = vec![[0_u64; 2]; observed.first_actions.len()];
    observed.with_blocks(now_ms, |blocks| {
        for (action, by_arm) in blocks.iter().flatten().flat_map(|block| block.first_actions.iter().enumerate()) {
            counts[action][0] += by_arm[control];
            counts[action][1] += by_arm[arm];
        }
    });
    let units = [0, 1].map(|side| counts.iter().map(|sides| sides[side]).sum::<u64>());
    result.units = units;
    let Margin::Difference { margin, alarm, .. } = guardrail.margin else { return };
    if !is_enough(result, guardrail) {
        return;
    }
    let actions = counts.len().max(1) as f64;
    let side = |at: usize, events: u64| Counts { units: units[at], events };
    let (mut low, mut high) = (0.0_f64, 0.0_f64);
    let mut farthest = 0.0;
    for ([of_control, of_arm], action) in counts.iter().zip(&observed.first_actions) {
        let (of_control, of_arm) = (side(0, *of_control), side(1, *of_arm));
        let (alarm_low, alarm_high) = difference_bounds(of_control, of_arm, result.alarm_alpha / actions);
        let (surely_low, surely_high) = difference_bounds(of_control, of_arm, guardrail.alpha / actions);
        low = low.max(alarm_low).max(-alarm_high);
        high = high.max(surely_high).max(-surely_low);
        let rates = [of_control, of_arm].map(|counts| counts.events as f64 / counts.units as f64);
        if (rates[1] - rates[0]).abs() >= farthest {
            farthest = (rates[1] - rates[0]).abs();
            result.means = rates.map(Some);
            result.action = Some(action.clone());
        }
    }
    conclude(result, low > alarm, [low, high], margin, alarm);
}

fn by_metric(
    result: &mut GuardrailResult,
    guardrail: &Guardrail,
    summed: &Summed,
    [control, arm]: [usize; 2],
    observed: &Observed,
) {
    let Watched::Metric(position) = guardrail.watched else { return };
    let of = |arm: usize| summed.arm(arm);
    result.units = [of(control).units, of(arm).units];
    result.means = [of(control).mean, of(arm).mean];
    let (margin, is_relative, more_is_harm, alarm) = match guardrail.margin {
        Margin::Count(most) => {
            return count(result, summed.so_far(arm), most);
        }
        Margin::Difference { margin, is_relative, more_is_harm, alarm } => (margin, is_relative, more_is_harm, alarm),
    };
    if !is_enough(result, guardrail) {
        return;
    }
    let estimate = match summed.estimate(control, arm) {
        Ok(estimate) if more_is_harm => estimate,
        // Less is harm: the bounds are mirrored.
        Ok(estimate) => Estimate { difference: -estimate.difference, ..estimate },
        Err(why) => {
            result.why = Some(why.to_string());
            return;
        }
    };
    let planned = observed.spec.metrics[position].planned_units;
    let (low, high) = (lower(&estimate, result.alarm_alpha, planned), upper(&estimate, guardrail.alpha, planned));
    conclude(result, low > alarm, [low, high], scaled(margin, is_relative, result.means[0]), alarm);
}

/// An outcome that was never posted shows nothing: its name may be misspelt.
fn blind(result: &mut GuardrailResult, guardrail: &Guardrail, observed: &Observed) {
    let Watched::Metric(position) = guardrail.watched else { return };
    let Some(never) = observed.never_posted_of(&observed.spec.metrics[position]) else { return };
    if result.status != HarmStatus::Harm {
        result.status = HarmStatus::Inconclusive;
        result.is_blind = true;
        result.count = None;
        result.why = Some(never.describe());
    }
}

/// A count of events shows nothing while nobody would post one. Other guardrails rest on the units
/// that were mature before.
fn deaf(result: &mut GuardrailResult, guardrail: &Guardrail, observed: &Observed, now_ms: u64) {
    let Watched::Metric(position) = guardrail.watched else { return };
    let is_counted = result.count.is_some() && result.status == HarmStatus::Holds;
    let silent = |feed: &FeedResult| feed.is_silent() && observed.spec.metrics[position].measures(&feed.feed.name);
    if is_counted && let Some(feed) = observed.feeds(now_ms).into_iter().find(silent) {
        result.status = HarmStatus::Inconclusive;
        result.count = None;
        result.why = Some(feed.describe());
    }
}

fn scaled(margin: f64, is_relative: bool, control: Option<f64>) -> f64 {
    if is_relative { margin * control.unwrap_or(0.0).abs() } else { margin }
}

/// One event more than allowed is harm; no test is needed.
fn count(result: &mut GuardrailResult, events: u64, most: u64) {
    result.status = if events > most { HarmStatus::Harm } else { HarmStatus::Holds };
    result.count = Some([events, most]);
}

fn is_enough(result: &mut GuardrailResult, guardrail: &Guardrail) -> bool {
    let fewest = result.units[0].min(result.units[1]);
    if fewest < guardrail.min_units {
        result.why = Some(format!("{fewest} units in the smaller arm; {} are needed", guardrail.min_units));
    }
    fewest >= guardrail.min_units
}

fn conclude(result: &mut GuardrailResult, is_harm: bool, [low, high]: [f64; 2], margin: f64, alarm: f64) {
    (result.lower, result.upper) = (Some(low), Some(high));
    (result.margin, result.alarm) = (Some(margin), Some(alarm));
    if is_harm {
        result.status = HarmStatus::Harm;
    } else if high < margin {
        result.status = HarmStatus::Holds;
    } else {
        let change = result.kind.change();
        result.why = Some(format!("{change} lies in [{low:.5}, {high:.5}]; the margin is {margin}"));
    }
}

impl GuardrailResult {
    /// The result as a sentence.
    pub fn describe(&self, observed: &Observed) -> String {
        let (name, arm) = (&observed.spec.guardrails[self.guardrail].name, &self.arm);
        if let Some([events, most]) = self.count {
            let times = if events == 1 { "time" } else { "times" };
            return format!("'{name}' happened {events} {times} in arm '{arm}'; at most {most} are allowed");
        }
        let mean = |at: usize| self.means[at].map_or_else(|| "-".to_owned(), |mean| format!("{mean:.4}"));
        let share = self.action.as_ref().map(|action| format!("share of '{action}': ")).unwrap_or_default();
        let seen = format!("{share}{} in arm '{arm}', {} in control", mean(1), mean(0));
        let less = if self.kind == HarmKind::Decrease { " by its decrease" } else { "" };
        match (self.status, &self.why) {
            (HarmStatus::Harm, _) => format!("guardrail '{name}' shows harm{less}: {seen}"),
            (HarmStatus::Holds, _) => format!("guardrail '{name}' holds: {seen}"),
            (HarmStatus::Inconclusive, Some(why)) => format!("guardrail '{name}' is inconclusive: {why}"),
            (HarmStatus::Inconclusive, None) => format!("guardrail '{name}' is inconclusive"),
        }
    }
}
