//! The host's own actions, once a second: it stops experiments that do harm, promotes, ships and
//! concludes.

use std::sync::Arc;

use serde_json::{Value, json};
use serin_core::Name;
use serin_core::analysis::{
    Analysis, Course, Decide, FairnessResult, GuardrailResult, HarmStatus, Observed, SRM_ALPHA, next_shares, warnings,
};
use serin_core::experiment::{Command, Experiment, Next, OnBreach, State, Status};

use super::controller::{CommandError, Controller, HOST, Motive};
use super::observer::Observer;

/// A guardrail's evidence, stored with the change that it causes.
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

/// The evidence of a fairness guardrail that shows harm.
fn unfair(found: &FairnessResult, observed: &Observed) -> Value {
    let fairness = &observed.spec.fairness[found.fairness];
    json!({
        "fairness": fairness.attribute.to_string(), "arm": &*found.arm, "group": &*found.group,
        "reference": &*fairness.reference, "rate": &*found.rate, "units": found.units, "rates": found.rates,
        "ratio": found.ratio, "ratio_above": found.low, "ratio_below": found.high, "min_ratio": fairness.min_ratio,
    })
}

/// The most batches of an experiment; each is stored in its status.
pub const MAX_BATCHES: usize = 1000;

/// Harm in a new arm: what follows, the reason, and the evidence.
struct Harm {
    on_breach: OnBreach,
    arm: Name,
    why: String,
    evidence: Value,
}

/// The harm that something follows from. What pauses has done all that it does once the experiment is
/// paused, and must not hide what drops an arm.
fn harm(observed: &Observed, analysis: &Analysis, state: State) -> Option<Harm> {
    let spec = &observed.spec;
    let rails = analysis.guardrails.iter().filter(|g| g.status == HarmStatus::Harm);
    let rails = rails.map(|g| Harm {
        on_breach: spec.guardrails[g.guardrail].on_breach,
        arm: g.arm.clone(),
        why: g.describe(observed),
        evidence: evidence(g, observed),
    });
    let fair = analysis.fairness.iter().filter(|f| f.is_new && f.status == HarmStatus::Harm);
    let fair = fair.map(|f| Harm {
        on_breach: if spec.fairness[f.fairness].pauses { OnBreach::Pause } else { OnBreach::Abort },
        arm: f.arm.clone(),
        why: f.describe(observed),
        evidence: unfair(f, observed),
    });
    // What aborts comes before what pauses, and that before what drops an arm.
    let is_done = |harm: &Harm| harm.on_breach == OnBreach::Pause && state == State::Paused;
    rails.chain(fair).filter(|harm| !is_done(harm)).min_by_key(|harm| harm.on_breach)
}

/// The command that follows from an analysis, with its motive.
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
        // It takes no units, and a person decides what follows.
        return None;
    }
    if let Some(Harm { on_breach, arm, why, evidence }) = harm(observed, analysis, status.state) {
        let is_only =
            spec.arms.iter().all(|a| a.name == arm || a.name == spec.control || status.dropped.contains(&a.name));
        return match on_breach {
            _ if shipped => say(Command::Reopen, why, evidence),
            OnBreach::Pause => say(Command::Pause, why, evidence),
            // Without another arm nothing is left to compare.
            OnBreach::DropArm if !is_only => say(Command::Drop { arm }, why, evidence),
            OnBreach::Abort | OnBreach::DropArm => say(Command::Abort, why, evidence),
        };
    }
    if analysis.srm_sequential_p < SRM_ALPHA && status.state == State::Running {
        let evidence = json!({ "srm": { "counts": analysis.counts, "sequential_p": analysis.srm_sequential_p } });
        return say(Command::Pause, analysis.verdict.why.clone(), evidence);
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
        && status.state == State::Running
        && !analysis.is_unreadable
        && analysis.silent_feed().is_none()
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

/// A command that follows from an analysis, and the generation it was judged on.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The spec.
    pub spec: Arc<Experiment>,
    /// The command.
    pub command: Command,
    /// Why.
    pub motive: Motive,
    /// The generation of the status it was judged on.
    pub judged: u64,
}

/// Judges every experiment that takes units and whose units are known up to the ledger's end.
pub fn judge(controller: &Controller, observer: &Observer, now_ms: u64) -> Vec<Proposal> {
    observer.each(|followed, in_force| {
        let status = controller.stood.as_held(&in_force.spec.id, controller.status(&in_force.spec.id), now_ms);
        let spec = Arc::clone(&in_force.spec);
        let course = Course::of(&status, &in_force.course.unit);
        if !status.state.takes_units() || !course.runs_as(&followed.subject.course) {
            // It has ended, or its course differs from the analysed one.
            return None;
        }
        let is_edited = spec.digest != followed.subject.spec.digest;
        let (observed, analysis, is_new) = followed.analysis(now_ms);
        if is_new {
            // The plots are of the evidence that ships.
            if !observed.is_against_held_back() {
                controller.keep_history(observed, analysis, &status, now_ms);
            }
            controller.warn(&spec.id, warnings(observed, analysis));
        }
        if !observed.is_against_held_back() || analysis.verdict.decision == Decide::Stop {
            controller.verdict(&spec, &analysis.verdict);
        }
        let (command, motive) = follows(observed, analysis, &status, &in_force.pin, now_ms)?;
        // While the facts for an edited spec are still being read, the previous spec may only stop
        // the experiment. While its file is gone, nothing goes on.
        let protects = matches!(command, Command::Abort | Command::Pause | Command::Reopen | Command::Drop { .. });
        let ends = matches!(command, Command::Conclude { .. }) && !is_edited;
        let goes_on = !is_edited && !controller.stood.stands_still(&spec.id);
        (protects || ends || goes_on).then(|| Proposal { spec, command, motive, judged: status.generation })
    })
}

/// Carries out proposals whose status has not changed since. Says whether any status has changed.
pub fn carry_out(controller: &Controller, proposals: Vec<Proposal>) -> bool {
    let mut changed = false;
    for Proposal { spec, command, motive, judged } in proposals {
        match controller.command(&spec, &command, motive, Some(judged)) {
            Ok(_) => changed = true,
            // A person changed the status first: it is judged again at the next tick. Or approvals
            // or a confirmed clock are missing, which is shown.
            Err(
                CommandError::Changed { .. }
                | CommandError::NotPossible(_)
                | CommandError::NotApproved(_)
                | CommandError::ClockDoubted(_),
            ) => {}
            Err(error) => {
                tracing::error!(%error, experiment = %spec.id, command = command.as_str(), "it could not be recorded");
            }
        }
    }
    changed
}

/// Evaluates every experiment that takes units. Says whether any status has changed. Reads and
/// writes that fail are retried at the next tick.
pub fn tick(controller: &Controller, observer: &Observer, now_ms: u64) -> bool {
    if let Err(error) = observer.read() {
        crate::telemetry::log_limited!(error, %error, "the experiments could not be looked at");
        return false;
    }
    let proposals = judge(controller, observer, now_ms);
    controller.looked();
    carry_out(controller, proposals)
}
