//! Guardrails: harm, holds, or inconclusive. Each is tested in one direction, by unit, and may
//! be looked at after every decision.

use super::metrics::Summed;
use super::observed::Observed;
use crate::Name;
use crate::experiment::{Guardrail, Margin, Watched};
use crate::stats::conditional;
use crate::stats::rare::{Counts, difference_bounds};
use crate::stats::{Estimate, lower, upper};

/// What a guardrail says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HarmStatus {
    /// The new arm is not worse by the margin.
    Holds,
    /// Neither is shown.
    Inconclusive,
    /// The new arm is worse.
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

/// What a guardrail takes for harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HarmKind {
    /// It happened too often; nothing is tested.
    Count,
    /// More of it than in control.
    Increase,
    /// Less of it than in control.
    Decrease,
    /// Another share of some action than in control.
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

    /// What is bounded, and has to stay small.
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
    /// What it says.
    pub status: HarmStatus,
    /// Units in control and in the arm.
    pub units: [u64; 2],
    /// Their means or rates; none where there is none.
    pub means: [Option<f64>; 2],
    /// The action whose share differs most, where the mix of actions is watched: the means are its.
    pub action: Option<Box<str>>,
    /// How often it happened in the arm, and how often it may, where that is all that is asked.
    pub count: Option<[u64; 2]>,
    /// p of "no increase", valid at any time, where events are counted and the alarm is at 0.
    pub p: Option<f64>,
    /// The change for the worse is above this, at the alarm's share of alpha.
    pub lower: Option<f64>,
    /// The change for the worse is below this, at alpha.
    pub upper: Option<f64>,
    /// Harm is a lower bound above this.
    pub alarm: Option<f64>,
    /// The alarm's share of alpha.
    pub alarm_alpha: f64,
    /// What the upper bound has to stay under.
    pub margin: Option<f64>,
    /// Nothing that it watches was ever posted: it can show neither harm nor that there is none.
    pub is_blind: bool,
    /// Why it cannot say more yet.
    pub why: Option<String>,
}

/// A guardrail in each arm but control.
pub(super) fn judge(observed: &Observed, position: usize, control: usize, now_ms: u64) -> Vec<GuardrailResult> {
    let spec = &observed.spec;
    let guardrail = &spec.guardrails[position];
    let arms: Vec<usize> = (0..spec.arms.len()).filter(|arm| *arm != control).collect();
    // Each of them may raise an alarm, so they share the rate of false ones. That all hold has
    // to be shown by each alone.
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
                // Shares that change tell nothing of where an event falls: then each arm's rate
                // is bounded by itself.
                let is_fixed = observed.course.batches.is_empty();
                let share = if is_fixed { weight / (weight + of_control) } else { 0.0 };
                let bounds = |alphas| observed.bounds((position, arm), [counts[control], counts[arm]], alphas);
                by_counts(&mut result, guardrail, [counts[control], counts[arm]], share, bounds);
            }
            Some(summed) => by_metric(&mut result, guardrail, summed, [control, arm], observed),
        }
        blind(&mut result, guardrail, observed);
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

/// Units, and those that count, by arm.
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

/// `share` is the arm's part of the units that fall to it or to control; `bounds` gives the lower bound
/// of the difference of rates and the upper one, each at its error rate.
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
        // Any increase is harm: the events alone tell, and sooner than two bounds of which each
        // has to allow for its own arm's luck.
        let p = conditional::p(control.events, arm.events, share);
        result.p = Some(p);
        let is_harm = p <= result.alarm_alpha;
        low = if is_harm { low.max(0.0) } else { low.min(0.0) };
        return conclude(result, is_harm, [low, high], margin, alarm);
    }
    conclude(result, low > alarm, [low, high], margin, alarm);
}

/// The share of units with each action at their entry. It may differ either way, and every action
/// has a part of the error rate.
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
        // Harm is less of it: everything is looked at from the other side.
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

/// Of what was never posted nothing can be shown: the name may be misspelt.
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

fn scaled(margin: f64, is_relative: bool, control: Option<f64>) -> f64 {
    if is_relative { margin * control.unwrap_or(0.0).abs() } else { margin }
}

/// One more than allowed is enough: there is nothing to test.
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
    /// What it says, in a sentence.
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
