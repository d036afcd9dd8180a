//! What the host does by itself: it stops what does harm, and goes on with a ramp that has shown
//! what it has to.

use serde_json::{Value, json};
use serin_core::analysis::{Analysis, GuardrailResult, Observed, SRM_ALPHA, Standing, analyse};
use serin_core::experiment::{Command, Next, State};

use super::controller::{CommandError, Controller, HOST, Motive};
use super::observer::{Observer, Subject};

/// A guardrail's numbers, as they are kept with a change that rests on them.
pub fn evidence(found: &GuardrailResult, observed: &Observed) -> Value {
    let guardrail = &observed.spec.guardrails[found.guardrail];
    json!({
        "guardrail": &*guardrail.name,
        "arm": &*found.arm,
        "control_units": found.units[0],
        "arm_units": found.units[1],
        "control_mean": found.means[0],
        "arm_mean": found.means[1],
        "p": found.p,
        "increase_above": found.lower,
        "increase_below": found.upper,
        "margin": found.margin,
        "alpha": guardrail.alpha,
    })
}

/// The command that follows from an analysis, and why.
fn follows(
    observed: &Observed,
    analysis: &Analysis,
    controller: &Controller,
    now_ms: u64,
) -> Option<(Command, Motive)> {
    let spec = &observed.spec;
    let status = controller.status(&spec.id);
    let say = |command, reason, evidence| Some((command, Motive { by: HOST.to_owned(), reason, evidence }));
    let mut harms: Vec<_> = analysis.guardrails.iter().filter(|g| g.standing == Standing::Harm).collect();
    // One that aborts comes before one that pauses.
    harms.sort_by_key(|harm| spec.guardrails[harm.guardrail].pauses);
    if let Some(harm) = harms.first() {
        let pauses = spec.guardrails[harm.guardrail].pauses;
        return match (pauses, status.state) {
            (true, State::Paused) => None,
            (true, _) => say(Command::Pause, harm.describe(observed), evidence(harm, observed)),
            (false, _) => say(Command::Abort, harm.describe(observed), evidence(harm, observed)),
        };
    }
    if analysis.srm_sequential_p < SRM_ALPHA {
        let evidence = json!({ "srm": { "counts": analysis.counts, "sequential_p": analysis.srm_sequential_p } });
        let running = status.state == State::Running;
        return if running { say(Command::Pause, analysis.verdict.why.clone(), evidence) } else { None };
    }
    match status.next(spec, &analysis.evidence(), now_ms) {
        Next::Promote(why) => say(Command::Promote, why, json!({ "units": analysis.entered })),
        Next::Stay | Next::Wait(_) => None,
    }
}

/// Looks at every experiment that takes units; says whether any status has changed. What cannot
/// be read or recorded now is tried again the next time.
pub fn tick(controller: &Controller, observer: &Observer, subjects: &[Subject], now_ms: u64) -> bool {
    let decided = observer.look(subjects, |observations| {
        let of = |subject: &Subject| {
            if !controller.status(&subject.spec.id).state.takes_units() {
                return None;
            }
            let observed = observations.get(&subject.spec.id)?;
            let analysis = analyse(observed, now_ms);
            controller.verdict(&subject.spec, &analysis.verdict);
            follows(observed, &analysis, controller, now_ms)
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
    let mut changed = false;
    for (spec, (command, motive)) in decided {
        match controller.command(&spec, &command, motive) {
            Ok(_) => changed = true,
            // A person was quicker: looked at again the next time.
            Err(CommandError::Changed | CommandError::NotPossible(_)) => {}
            Err(error @ CommandError::Ledger(_)) => {
                tracing::error!(%error, experiment = %spec.id, command = command.as_str(), "it could not be recorded");
            }
        }
    }
    changed
}
