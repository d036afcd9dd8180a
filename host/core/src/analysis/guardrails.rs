//! Guardrails: harm, holds, or inconclusive. Each test is one-sided, by unit, and valid after every
//! decision.

use super::feeds::FeedResult;
use super::metrics::Summed;
use super::observed::Observed;
use super::pair::Pair;
use crate::Name;
use crate::experiment::{Aggregate, Guardrail, Margin, PLANNED_UNITS, Quantity, Watched};
use crate::numbers::{grouped, p_is, share_decimals};
use crate::stats::rare::{Counts, difference_bounds};
use crate::stats::{NotEnough, conditional};

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
    /// Units with an event so far, mature or not, of control and of the arm, where `p` is of them.
    pub so_far: Option<[u64; 2]>,
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
    // Every guardrail and arm may raise an alarm, so they share the error rate of false alarms,
    // whichever arms are dropped. `holds` needs no such correction, because each has to show it alone.
    let candidates = spec.arms.len().saturating_sub(1).max(1);
    let alarm_alpha = guardrail.alpha / (observed.course.alarms(spec, position) * candidates) as f64;
    let arms = (0..spec.arms.len()).filter(|arm| *arm != control && !observed.is_dropped(*arm));
    let summed = match guardrail.watched {
        Watched::Metric(metric) => Some(Summed::of(observed, metric, now_ms)),
        _ => None,
    };
    let counts = match &summed {
        None => hits(observed, position, now_ms),
        Some(_) => Vec::new(),
    };
    let judge = |arm: usize| {
        let mut result = GuardrailResult::nothing(position, guardrail, &spec.arms[arm].name, alarm_alpha);
        let arms = [control, arm];
        match &summed {
            None if guardrail.watched == Watched::ActionMix => {
                by_mix(&mut result, guardrail, observed, arms, now_ms);
            }
            None => by_counts(&mut result, guardrail, observed, arms, arms.map(|arm| counts[arm])),
            Some(summed) => by_metric(&mut result, guardrail, summed, arms, observed),
        }
        blind(&mut result, guardrail, observed);
        deaf(&mut result, guardrail, observed, now_ms);
        result
    };
    arms.map(judge).collect()
}

impl GuardrailResult {
    fn nothing(position: usize, guardrail: &Guardrail, arm: &Name, alarm_alpha: f64) -> Self {
        Self {
            guardrail: position,
            arm: arm.clone(),
            kind: kind(guardrail),
            status: HarmStatus::Inconclusive,
            units: [0; 2],
            means: [None; 2],
            action: None,
            count: None,
            p: None,
            so_far: None,
            lower: None,
            upper: None,
            alarm: None,
            alarm_alpha,
            margin: None,
            is_blind: false,
            why: None,
        }
    }
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

/// The part of an alarm's error rate that the conditional test of the events has, where it applies.
/// It speaks first: it needs neither maturity nor an estimate of a rate.
const CONDITIONAL: f64 = 0.75;

/// The arm's share of the units of both arms. None with adaptive shares: then the arm of an event
/// has no fixed probability.
fn share(observed: &Observed, [control, arm]: [usize; 2]) -> Option<f64> {
    let [of_control, of_arm] = [control, arm].map(|arm| observed.spec.arms[arm].weight);
    let share = of_arm / (of_control + of_arm);
    (observed.course.batches.is_empty() && share > 0.0 && share < 1.0).then_some(share)
}

fn by_counts(
    result: &mut GuardrailResult,
    guardrail: &Guardrail,
    observed: &Observed,
    arms: [usize; 2],
    counts: [Counts; 2],
) {
    let rate = |counts: Counts| (counts.units > 0).then(|| counts.events as f64 / counts.units as f64);
    result.units = counts.map(|counts| counts.units);
    result.means = counts.map(rate);
    if let Margin::Count(most) = guardrail.margin {
        return count(result, counts[1].events, most);
    }
    let events = counts.map(|counts| counts.events);
    judge_pair(result, guardrail, &Pair::of_counts(counts, PLANNED_UNITS), share(observed, arms).map(|w| (events, w)));
}

/// Judges a difference. `events` are the units with an event so far, mature or not, of control and
/// of the arm, with the arm's share of units; none if events cannot be tested by themselves.
fn judge_pair(result: &mut GuardrailResult, guardrail: &Guardrail, pair: &Pair, events: Option<([u64; 2], f64)>) {
    let Margin::Difference { margin, is_relative, more_is_harm, alarm } = guardrail.margin else { return };
    // Any increase is harm: the events alone show it, from the first unit on. Of a decrease they show
    // nothing before the units are mature: an arm whose events come later looks the same until then.
    let events = events.filter(|_| alarm == 0.0 && more_is_harm);
    let conditional = events.map(|([control, arm], share)| conditional::p(control, arm, share));
    result.so_far = events.map(|(events, _)| events);
    let rest = if conditional.is_some() { 1.0 - CONDITIONAL } else { 1.0 };
    result.p = conditional.map(|p| (p / CONDITIONAL).min(1.0));
    let by_events = result.p.is_some_and(|p| p <= result.alarm_alpha);
    let bounds = pair.worse([result.alarm_alpha * rest, guardrail.alpha], more_is_harm);
    let margin = scaled(margin, is_relative, result.means[0]);
    (result.margin, result.alarm) = (Some(margin), Some(alarm));
    match bounds {
        Err(_) if by_events => result.status = HarmStatus::Harm,
        Err(why) => result.why = Some(why.to_string()),
        Ok([low, high]) => {
            let is_harm = by_events || low > alarm;
            let low = if by_events { low.max(0.0) } else { low };
            let high = match (is_relative, result.means[0]) {
                (true, Some(mean)) => {
                    pair.relatively_worse(guardrail.alpha, more_is_harm).map(|share| share * mean.abs())
                }
                _ => Some(high),
            };
            conclude(result, guardrail, is_harm, low, high);
        }
    }
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
    (result.margin, result.alarm) = (Some(margin), Some(alarm));
    conclude(result, guardrail, low > alarm, low, Some(high));
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
    if let Margin::Count(most) = guardrail.margin {
        return count(result, summed.so_far(arm), most);
    }
    let metric = &observed.spec.metrics[position];
    let pair = Pair::of_metric(summed, metric, control, arm);
    let are_events = matches!(&metric.quantity, Quantity::Mean(measure) if measure.aggregate != Aggregate::Sum);
    let share = share(observed, [control, arm]).filter(|_| are_events);
    judge_pair(
        result,
        guardrail,
        &pair,
        share.map(|share| ([control, arm].map(|arm| summed.events_so_far(arm)), share)),
    );
    // Without a limit the absence of events bounds nothing.
    if matches!(pair.estimate, Err(NotEnough::Events { .. })) && metric.limits().is_none() {
        let why = result.why.as_mut().filter(|_| !matches!(metric.quantity, Quantity::Ratio(..)));
        why.into_iter().for_each(|why| why.push_str("; with a declared max few events show that it holds, too"));
    }
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
        let [fewest, needed] = [fewest, guardrail.min_units].map(grouped);
        result.why = Some(format!("{fewest} units in the smaller arm; {needed} are needed"));
    }
    fewest >= guardrail.min_units
}

/// Harm is told at once. That it holds takes `min_units`, mature, in both arms.
fn conclude(result: &mut GuardrailResult, guardrail: &Guardrail, is_harm: bool, low: f64, high: Option<f64>) {
    (result.lower, result.upper) = (Some(low), high);
    let margin = result.margin.unwrap_or_default();
    if is_harm {
        result.status = HarmStatus::Harm;
        return;
    }
    if !is_enough(result, guardrail) {
        return;
    }
    let change = result.kind.change();
    match high {
        Some(high) if high < margin => result.status = HarmStatus::Holds,
        Some(high) => result.why = Some(format!("{change} lies in [{low:.5}, {high:.5}]; the margin is {margin}")),
        None => {
            result.why = Some(
                "control's mean is not clearly different from 0 yet, so a share of it is no margin; give an absolute one"
                    .to_owned(),
            );
        }
    }
}

impl GuardrailResult {
    /// Where the change of a share lies, in percentage points, as everything else about shares is said.
    fn in_points(&self) -> Option<String> {
        let points = |share: f64| {
            let text = format!("{:.3}", share * 100.0);
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        let [low, high, margin] = [self.lower?, self.upper?, self.margin?].map(points);
        Some(format!("{} lies in [{low}, {high}] percentage points; the margin is {margin}", self.kind.change()))
    }

    /// The result as a sentence.
    pub fn describe(&self, observed: &Observed) -> String {
        let (name, arm) = (&observed.spec.guardrails[self.guardrail].name, &self.arm);
        if let Some([events, most]) = self.count {
            let times = if events == 1 { "time" } else { "times" };
            let [events, most] = [events, most].map(grouped);
            return format!("'{name}' happened {events} {times} in arm '{arm}'; at most {most} are allowed");
        }
        let is_share = match observed.spec.guardrails[self.guardrail].watched {
            Watched::Metric(at) => observed.spec.metrics[at].limits() == Some([0.0, 1.0]),
            _ => true,
        };
        let decimals = |at: usize| share_decimals(self.means[at].unwrap_or_default(), self.units[at]);
        let decimals = decimals(0).max(decimals(1));
        let number = |mean: f64| match is_share {
            true => format!("{:.decimals$} %", mean * 100.0),
            false => format!("{mean:.4}"),
        };
        let mean = |at: usize| self.means[at].map_or_else(|| "no unit".to_owned(), number);
        let share = self.action.as_ref().map(|action| format!("share of '{action}': ")).unwrap_or_default();
        let seen = format!("{share}{} in arm '{arm}', {} in control", mean(1), mean(0));
        let less = if self.kind == HarmKind::Decrease { " by its decrease" } else { "" };
        let by_events = self.so_far.zip(self.p).filter(|(_, p)| *p <= self.alarm_alpha);
        if let (HarmStatus::Harm, Some(([of_control, of_arm], p))) = (self.status, by_events) {
            let [of_control, of_arm] = [of_control, of_arm].map(grouped);
            return format!(
                "guardrail '{name}' shows harm: so far {of_arm} units with it in arm '{arm}', and {of_control} in control \
                 ({})",
                p_is(Some(p))
            );
        }
        match (self.status, &self.why) {
            (HarmStatus::Harm, _) => format!("guardrail '{name}' shows harm{less}: {seen}"),
            (HarmStatus::Holds, _) => format!("guardrail '{name}' holds: {seen}"),
            (HarmStatus::Inconclusive, Some(why)) => {
                let interval = self.in_points().filter(|_| is_share && why.contains(" lies in ["));
                format!("guardrail '{name}' is inconclusive: {}", interval.as_deref().unwrap_or(why))
            }
            (HarmStatus::Inconclusive, None) => format!("guardrail '{name}' is inconclusive"),
        }
    }
}
