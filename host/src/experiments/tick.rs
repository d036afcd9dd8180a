//! What the host does by itself: it stops what does harm, and goes on with a ramp that has shown
//! what it has to.

use serde_json::{Value, json};
use serin_core::analysis::{
    Analysis, Course, FairnessResult, GuardrailResult, HarmStatus, Observed, SRM_ALPHA, analyse, next_shares,
};
use serin_core::experiment::{Command, Experiment, Next, State, Status};

use super::controller::{CommandError, Controller, HOST, Motive};
use super::observer::{AnalysisSubject, Observer};

/// A guardrail's numbers, as they are kept with a change that rests on them.
pub fn evidence(found: &GuardrailResult, observed: &Observed) -> Value {
    let guardrail = &observed.spec.guardrails[found.guardrail];
    json!({
        "guardrail": &*guardrail.name,
        "arm": &*found.arm,
        "kind": found.kind.as_str(),
        "action": found.action,
        "events": found.count.map(|[events, _]| events),
        "most": found.count.map(|[_, most]| most),
        "control_units": found.units[0],
        "arm_units": found.units[1],
        "control_mean": found.means[0],
        "arm_mean": found.means[1],
        "p": found.p,
        "increase_above": found.lower,
        "increase_below": found.upper,
        "alarm": found.alarm,
        "margin": found.margin,
        "alpha": guardrail.alpha,
        "alarm_alpha": found.alarm_alpha,
    })
}

/// The numbers of a group that fares worse than is allowed.
fn unfair(found: &FairnessResult, observed: &Observed) -> Value {
    let fairness = &observed.spec.fairness[found.fairness];
    json!({
        "fairness": fairness.attribute.to_string(), "arm": &*found.arm, "group": &*found.group,
        "reference": &*fairness.reference, "rate": &*found.rate, "units": found.units, "rates": found.rates,
        "ratio": found.ratio, "ratio_above": found.low, "ratio_below": found.high, "min_ratio": fairness.min_ratio,
    })
}

/// Batches of one experiment: each is a line of its status.
const MAX_BATCHES: usize = 1000;

/// Why a new arm should be taken out, whether a pause is enough, and what that rests on.
fn harm(observed: &Observed, analysis: &Analysis) -> Option<(bool, String, Value)> {
    let spec = &observed.spec;
    let rails = analysis.guardrails.iter().filter(|g| g.status == HarmStatus::Harm);
    let rails = rails.map(|g| (spec.guardrails[g.guardrail].pauses, g.describe(observed), evidence(g, observed)));
    let fair = analysis.fairness.iter().filter(|f| f.is_new && f.status == HarmStatus::Harm);
    let fair = fair.map(|f| (spec.fairness[f.fairness].pauses, f.describe(observed), unfair(f, observed)));
    // One that aborts comes before one that pauses.
    rails.chain(fair).min_by_key(|(pauses, ..)| *pauses)
}

/// The command that follows from an analysis, and why.
fn follows(
    observed: &Observed,
    analysis: &Analysis,
    status: &Status,
    pin: &str,
    now_ms: u64,
) -> Option<(Command, Motive)> {
    let spec = &observed.spec;
    let say = |command, reason, evidence| Some((command, Motive { by: HOST.to_owned(), reason, evidence }));
    let shipped = status.state == State::Shipped;
    if status.withdrawn {
        // Nobody is in it, and what is done about it is a person's to decide.
        return None;
    }
    if let Some((pauses, why, evidence)) = harm(observed, analysis) {
        return match (pauses, status.state) {
            _ if shipped => say(Command::Reopen, why, evidence),
            (true, State::Paused) => None,
            (true, _) => say(Command::Pause, why, evidence),
            (false, _) => say(Command::Abort, why, evidence),
        };
    }
    if analysis.srm_sequential_p < SRM_ALPHA {
        let evidence = json!({ "srm": { "counts": analysis.counts, "sequential_p": analysis.srm_sequential_p } });
        let running = status.state == State::Running;
        return if running { say(Command::Pause, analysis.verdict.why.clone(), evidence) } else { None };
    }
    if shipped {
        return None;
    }
    let ran_ms = now_ms.saturating_sub(status.started_ms.unwrap_or(now_ms));
    let seen = || json!({ "units": analysis.entered, "mature": analysis.mature, "verdict": analysis.verdict.why });
    let is_last = status.step + 1 >= spec.ramp.len();
    if let Some(winner) = analysis.winner.clone().filter(|_| spec.ships && is_last && status.state == State::Running) {
        let why = analysis.verdict.why.clone();
        return say(Command::Ship { winner, pin: pin.to_owned() }, why, seen());
    }
    if spec.max_duration_ms.is_some_and(|most| ran_ms >= most) {
        let winner = analysis.winner.clone().unwrap_or_else(|| spec.control.clone());
        let why = format!("max_duration has passed: {}", analysis.verdict.why);
        return say(Command::Conclude { winner }, why, seen());
    }
    if let Some(allocation) = &spec.allocation
        && now_ms >= status.batch_ms.saturating_add(allocation.update_ms)
        && status.batches.len() < MAX_BATCHES
        && let Some(weights) = next_shares(observed, now_ms)
    {
        let why = format!("batch {}: {}", status.batches.len(), shares(spec, &weights));
        return say(Command::Allocate { weights }, why, seen());
    }
    match status.next(spec, &analysis.evidence(), now_ms) {
        Next::Promote(why) => say(Command::Promote, why, json!({ "units": analysis.entered })),
        Next::Stay | Next::Wait(_) => None,
    }
}

fn shares(spec: &Experiment, weights: &[f64]) -> String {
    let named = spec.arms.iter().zip(weights).map(|(arm, weight)| format!("{} {weight:.3}", arm.name));
    named.collect::<Vec<_>>().join(", ")
}

/// Looks at every experiment that takes units; says whether any status has changed. What cannot
/// be read or recorded now is tried again the next time.
pub fn tick(controller: &Controller, observer: &Observer, subjects: &[AnalysisSubject], now_ms: u64) -> bool {
    let decided = observer.look(subjects, |observations| {
        let of = |subject: &AnalysisSubject| {
            let status = controller.status(&subject.spec.id);
            if !status.state.takes_units() || Course::of(&status, &subject.course.unit) != subject.course {
                // It has ended, or what is read of it is of a course that it has left meanwhile.
                return None;
            }
            let observed = observations.get(&subject.spec.id)?;
            let analysis = analyse(observed, now_ms);
            controller.moment(observed, &analysis, &status, now_ms);
            controller.verdict(&subject.spec, &analysis.verdict);
            follows(observed, &analysis, &status, &subject.pin, now_ms)
        };
        subjects.iter().filter_map(|subject| Some((subject.spec.clone(), of(subject)?))).collect::<Vec<_>>()
    });
    let decided = match decided {
        Ok(decided) => decided,
        Err(error) => {
            tracing::error!(%error, "the experiments could not be looked at");
            return false;
        }
    };
    controller.looked();
    let mut changed = false;
    for (spec, (command, motive)) in decided {
        match controller.command(&spec, &command, motive) {
            Ok(_) => changed = true,
            // A person was quicker: looked at again the next time.
            // Or people have to agree first: what waits for them is shown.
            Err(CommandError::Changed | CommandError::NotPossible(_) | CommandError::NotApproved(_)) => {}
            Err(error @ CommandError::Ledger(_)) => {
                tracing::error!(%error, experiment = %spec.id, command = command.as_str(), "it could not be recorded");
            }
        }
    }
    changed
}
