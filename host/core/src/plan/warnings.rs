//! Warnings about a plan, as sentences.

use super::entries::Entries;
use super::model::{self, is_share};
use super::{Assumed, Baseline, DAY, Scenario, Traffic};
use crate::experiment::{Aggregate, Experiment, Margin, Method, Metric, Quantity, Role, Watched};
use crate::stats::{Counts, Kind, may_speak};

/// The share of runs that may ship wrongly on broken data without a warning.
const WRONG: f64 = 0.05;
/// The largest factor between `planned_units` and the units that are expected.
const FAR: f64 = 3.0;

/// Warnings that follow from the spec and the traffic, without simulation.
pub(super) fn of(spec: &Experiment, traffic: &Traffic, effect: f64, entries: &Entries, days: u32) -> Vec<String> {
    let mut all = Vec::new();
    if spec.arms.len() < 2 {
        all.push("there is no arm to compare with control: nothing was simulated".to_owned());
    }
    let goals = spec.metrics.iter().filter(|metric| metric.role == Role::Goal).count();
    match goals {
        0 => all.push("there is no goal, so that nothing can win".to_owned()),
        1 => {}
        many => all.push(format!("each of {many} goals is taken to be better by the same number, {effect}")),
    }
    if spec.arms.len() > 2 {
        all.push("only one arm is taken to differ from control; the others share the error rate with it".to_owned());
    }
    if effect.is_nan() || effect <= 0.0 {
        all.push(format!("effect = {effect}: give how much better a goal has to be, above 0"));
    }
    let ran = f64::from(days) * DAY as f64;
    if (spec.min_duration_ms as f64) > ran {
        let least = spec.min_duration_ms as f64 / DAY as f64;
        all.push(format!("min_duration is {least} days: nothing can win in {days}"));
    }
    for (at, metric) in spec.metrics.iter().enumerate() {
        match traffic.baselines.get(at) {
            Some(baseline) => all.extend(of_metric(spec, at, *baseline, effect, entries, days)),
            None => all.push(format!("metric '{}' has no baseline: it is taken never to happen", metric.name)),
        }
    }
    all.extend(shared_rows(spec, traffic));
    for guardrail in &spec.guardrails {
        let units = match guardrail.watched {
            Watched::Metric(at) => entries.mature(&spec.metrics[at]),
            _ => entries.all(),
        };
        let (have, need) = ((units * smaller(spec)).floor(), guardrail.min_units);
        if have < need as f64 && !matches!(guardrail.margin, Margin::Count(_)) {
            all.push(format!(
                "guardrail '{}' never speaks: {have} units in the smaller arm after {days} days, and min_units is {need}",
                guardrail.name
            ));
        }
    }
    if !spec.fairness.is_empty() {
        all.push("fairness is not simulated: nothing is known of groups beforehand".to_owned());
    }
    if spec.allocation.is_some() {
        all.push(
            "shares follow from what is seen: each unit is decided about once, and no more than one batch a day is simulated"
                .to_owned(),
        );
    }
    all
}

fn of_metric(
    spec: &Experiment,
    position: usize,
    baseline: Baseline,
    effect: f64,
    entries: &Entries,
    days: u32,
) -> Vec<String> {
    let metric = &spec.metrics[position];
    let (mut all, is_goal) = (Vec::new(), metric.role == Role::Goal);
    let mut say = |text: String| all.push(format!("metric '{}': {text}", metric.name));
    let is_share = is_share(metric, &baseline);
    if is_share && is_goal {
        let raised = if metric.more_is_better { baseline.mean + effect } else { baseline.mean - effect };
        if !(0.0..=1.0).contains(&raised) {
            say(format!("a share of {} that is better by {effect} is none; it stops at 0 and 1", baseline.mean));
        }
    }
    if !is_share && baseline.sd.is_none() {
        say("it is no share, and has no standard deviation: it is taken to vary as a count does".to_owned());
    }
    if !metric.cuped.is_empty() {
        say("its covariates are not simulated: with them it takes fewer units".to_owned());
    }
    let waits = metric.mature_ms(0) as f64 / DAY as f64;
    if f64::from(days) <= waits {
        say(format!("{days} days are not longer than its window and lag, {waits}: no unit is mature"));
        return all;
    }
    let mature = entries.mature(metric);
    let (units, pair) = ((mature * smaller(spec)) as u64, mature * compared(spec));
    let (kind, arm) = match &metric.quantity {
        Quantity::Mean(_) if is_share => (Kind::Proportion, (units as f64 * baseline.mean.clamp(0.0, 1.0)) as u64),
        // A count of rare rows is about the number of units with one.
        Quantity::Mean(measure) if measure.aggregate == Aggregate::Count => {
            (Kind::Mean, (units as f64 * baseline.mean.clamp(0.0, 1.0)) as u64)
        }
        _ => (Kind::Mean, units),
    };
    let arm = Counts { units, events: arm };
    let is_watched = spec.guardrails.iter().any(|rail| rail.watched == Watched::Metric(position));
    if let Err(why) = may_speak(arm, arm, kind, metric.is_limited()).map_err(|why| why.to_string())
        && (is_goal || is_watched)
    {
        say(format!("it never speaks in {days} days: {why}"));
    }
    let planned = metric.planned_units as f64;
    let is_fixed = is_goal && metric.method == Method::Fixed;
    if is_fixed && pair < planned {
        say(format!("with method fixed it decides at {planned} units, and {pair:.0} are mature after {days} days"));
    }
    let has_sequence = is_watched || (is_goal && !is_fixed);
    if has_sequence && !(planned / FAR..=planned * FAR).contains(&pair) {
        say(format!(
            "planned_units = {planned}, and {pair:.0} units are mature after {days} days: its interval is tightest elsewhere"
        ));
    }
    all
}

/// Metrics of the same outcome are computed from one draw.
fn shared_rows(spec: &Experiment, traffic: &Traffic) -> Vec<String> {
    let (mut numbers, mut all) = (Vec::<(&Metric, _)>::new(), Vec::new());
    for (metric, baseline) in spec.metrics.iter().zip(&traffic.baselines) {
        let rows = (model::of(metric).source, &model::of(metric).outcome);
        if is_share(metric, baseline) {
            continue;
        }
        match numbers.iter().find(|(_, known)| *known == rows) {
            Some((first, _)) => all.push(format!(
                "metric '{}': it is of the same rows as '{}', and comes to what they say; its own baseline is not used",
                metric.name, first.name
            )),
            None => numbers.push((metric, rows)),
        }
    }
    all
}

/// The share of units in the smallest arm.
fn smaller(spec: &Experiment) -> f64 {
    let weights = spec.arms.iter().map(|arm| arm.weight).filter(|weight| *weight > 0.0);
    weights.fold(1.0, f64::min)
}

/// The share of units in control and the treatment arm.
fn compared(spec: &Experiment) -> f64 {
    let control = spec.control_at();
    let arm = spec.arms.iter().enumerate().find(|(at, arm)| *at != control && arm.weight > 0.0);
    spec.arms[control].weight + arm.map_or(0.0, |(_, arm)| arm.weight)
}

/// Warnings that follow from the simulation.
pub(super) fn after(spec: &Experiment, scenarios: &[Scenario]) -> Vec<String> {
    let mut all = Vec::new();
    for scenario in scenarios {
        let surely_above = |share: f64, bound: f64| scenario.bounds(share)[0] > bound;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        match scenario.assumed {
            Assumed::Nothing => {
                let goals = spec.metrics.iter().filter(|metric| metric.role == Role::Goal);
                let alpha = goals.map(|goal| goal.alpha).fold(0.0, f64::max);
                if surely_above(scenario.false_wins, alpha) {
                    let found = percent(scenario.false_wins);
                    all.push(format!("without any effect {found} of runs ship an arm, and alpha is {alpha}"));
                }
                let alpha = spec.guardrails.iter().map(|rail| rail.alpha).fold(0.0, f64::max);
                if surely_above(scenario.stopped, alpha) {
                    let found = percent(scenario.stopped);
                    all.push(format!(
                        "without any effect {found} of runs are stopped, and the guardrails' alpha is {alpha}"
                    ));
                }
            }
            Assumed::Effect if scenario.stuck > 0.5 => {
                let found = percent(scenario.stuck);
                all.push(format!(
                    "{found} of runs never come to the ramp's last step: look at its gates and min_units"
                ));
            }
            Assumed::Conflict { metric, .. } if surely_above(scenario.false_wins, WRONG) => {
                let found = percent(scenario.false_wins);
                let name = &spec.metrics[metric].name;
                all.push(format!(
                    "{found} of runs ship an arm that is worse at '{name}': give it a guardrail, or `tolerate`"
                ));
            }
            Assumed::HalfMissing if surely_above(scenario.false_wins, WRONG) => {
                let found = percent(scenario.false_wins);
                all.push(format!(
                    "if half of the treatment's outcomes are lost on their way, {found} of runs ship it: fewer events \
                     look like a success; compare what is posted with what happened"
                ));
            }
            Assumed::BrokenSplit if scenario.right < 0.5 => {
                let missed = percent(1.0 - scenario.right);
                all.push(format!("if one in five of the treatment's units is lost, {missed} of runs do not notice"));
            }
            _ => {}
        }
    }
    all
}
