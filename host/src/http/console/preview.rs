//! What a command will do, before it is given: in words and numbers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serin_core::experiment::{Experiment, Gate, Status};
use utoipa::ToSchema;

use super::words::{counted, percent, rounded, several, span};
use crate::experiments::{CommandError, ExperimentStatus};
use crate::http::access::Caller;
use crate::http::admin::read;
use crate::http::agreement::nothing_left;
use crate::http::commands::{Request, parse, without_file};
use crate::http::experiments::find;
use crate::http::summary::{at_point, summary};
use crate::http::wire::InPath;
use crate::http::{Problem, Service};
use crate::ledger::LedgerReader;

/// A day, in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// What a command will do.
#[derive(Serialize, ToSchema)]
pub struct Effect {
    /// It in a few words, like "promote: coverage 10 % to 50 %".
    pub headline: String,
    /// What follows, in sentences.
    pub follows: Vec<String>,
    /// Why it will be refused as things are; none where nothing speaks against it.
    #[schema(required)]
    pub refused: Option<String>,
}

/// `GET /v1/experiments/{id}/{command}`.
pub async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    InPath((id, name)): InPath<(String, String)>,
) -> Result<Json<Effect>, Problem> {
    parse(&name, (name == "conclude").then(String::new))?;
    let experiment = find(&service, &caller, &id)?;
    let effect = read(&service, move |service, budget| {
        let by = caller.name();
        service.ledger.bounded(budget, |ledger| Ok(effect(service, ledger, &experiment, &name, by.as_deref())))
    });
    Ok(Json(effect.await???))
}

/// What a command of this name will do, given by somebody. A winner is chosen later, so control stands in its place.
pub fn effect(
    service: &Service,
    ledger: &LedgerReader,
    experiment: &ExperimentStatus,
    name: &str,
    by: Option<&str>,
) -> Result<Effect, Problem> {
    let Some(spec) = &experiment.spec else {
        let why = experiment.error.as_deref().unwrap_or(&experiment.why);
        let refused = Some(format!("its file is not applied: {why}"));
        return Ok(Effect { headline: name.to_owned(), follows: Vec::new(), refused });
    };
    let winner = (name == "conclude").then(|| spec.control.to_string());
    let Request::Command(command) = parse(name, winner)? else {
        return Ok(of_file(service, experiment, name, by));
    };
    let (now, pace) = (&experiment.status, Pace::of(service, experiment));
    let next = now.after(&command, spec, service.clock.now_ms());
    let refused = match &next {
        Err(error) => Some(CommandError::from(error.clone()).to_string()),
        Ok(_) => {
            let lacks = service.controller.lacking(ledger, (spec, &command, now))?;
            let lacks = lacks.map(|lacks| CommandError::NotApproved(lacks).to_string());
            without_file(experiment.state, &experiment.why, name).or(lacks)
        }
    };
    let next = next.unwrap_or_else(|_| now.clone());
    let pin = pin(service, spec);
    let (headline, follows) = match name {
        "start" => {
            start(spec, &next, &Pace { paced_ms: None, per_day: None, ..pace }, at_point(service, ledger, spec)?)
        }
        "promote" => promote(spec, now, &next, &pace),
        "pause" => pause(spec, now, &pace),
        "resume" => resume(spec, now, &next, &pace),
        "abort" => abort(now, &pace, &pin),
        _ => conclude(now, &pace, &pin),
    };
    Ok(Effect { headline, follows, refused })
}

/// What an approval, or a decision on an edit, will do.
fn of_file(service: &Service, experiment: &ExperimentStatus, name: &str, by: Option<&str>) -> Effect {
    if name == "approve" {
        let refused = || service.controller.may_approve(by).err().map(|error| error.to_string());
        let refused = nothing_left(&experiment.status).or_else(refused);
        let follows = "Your approval is of exactly the file below: an edit of it needs new ones. Once there are enough, what \
                       waits for them is carried out.";
        return Effect { headline: "approve this file".to_owned(), follows: vec![follows.to_owned()], refused };
    }
    let refused = experiment.pending.is_none().then(|| {
        "no edit of its file waits for a decision: edit the file first, and look at the experiment's page".to_owned()
    });
    let follows = "The edited file is applied although it loosens the rule that units entered under. The change and your \
                   reason are recorded, and reports show both.";
    Effect { headline: "amend: apply the edited file".to_owned(), follows: vec![follows.to_owned()], refused }
}

/// How many units enter, and what they are called.
struct Pace {
    unit: String,
    units: u64,
    per_day: Option<f64>,
    /// The time that this is of.
    paced_ms: Option<u64>,
}

/// What time a pace is of, where it is less than a day, as the end of a sentence.
pub fn extrapolated(paced_ms: Option<u64>) -> String {
    let of = paced_ms.filter(|ms| *ms < DAY_MS);
    of.map_or_else(String::new, |ms| format!(", extrapolated from the last {}", span(ms)))
}

/// What the units of an experiment are called.
pub fn unit_of(service: &Service, experiment: &ExperimentStatus) -> String {
    let deployment = service.deployment.load();
    let point = experiment.spec.as_ref().and_then(|spec| deployment.points.get(&spec.decision_point));
    point.map_or_else(|| "unit".to_owned(), |point| point.routing.layer.unit.to_string())
}

impl Pace {
    fn of(service: &Service, experiment: &ExperimentStatus) -> Self {
        let known = summary(service, &experiment.id);
        Self {
            unit: unit_of(service, experiment),
            units: known.as_ref().map_or(0, |known| known.units),
            per_day: known.as_ref().and_then(|known| known.units_per_day),
            paced_ms: known.and_then(|known| known.paced_ms),
        }
    }

    /// About how many enter a day at another coverage.
    fn at(&self, from: f64, to: f64) -> Option<String> {
        let per_day = self.per_day.filter(|_| from > 0.0)? * to / from;
        Some(format!("about {} a day", counted(rounded(per_day), &self.unit)))
    }

    /// The same, with what time it is of.
    fn at_with_time(&self, from: f64, to: f64) -> Option<String> {
        Some(self.at(from, to)? + &extrapolated(self.paced_ms))
    }

    /// How many have entered, as the beginning of a sentence with this verb, in its forms for one and for several.
    fn entered(&self, [one, many]: [&str; 2]) -> String {
        format!("{} {}", counted(self.units, &self.unit), if self.units == 1 { one } else { many })
    }
}

fn pin(service: &Service, spec: &Experiment) -> String {
    let deployment = service.deployment.load();
    deployment
        .points
        .get(&spec.decision_point)
        .map_or_else(|| "the pinned strategy".to_owned(), |point| point.pin.to_string())
}

fn start(spec: &Experiment, next: &Status, pace: &Pace, came: Option<(f64, u64)>) -> (String, Vec<String>) {
    let slot = spec.slot[1] - spec.slot[0];
    let about = came.map_or_else(String::new, |(per_day, of_ms)| {
        let about = counted(rounded(per_day * slot * next.applied), &pace.unit);
        // The first of them came some time after the day began.
        let of_ms = Some(of_ms).filter(|of_ms| *of_ms < DAY_MS / 24 * 23);
        let of_those = if spec.eligible.is_some() { " of whom those who are eligible enter" } else { "" };
        format!(", about {about} a day{of_those}{}", extrapolated(of_ms))
    });
    let arms: Vec<String> =
        spec.arms.iter().map(|arm| format!("{} ({}, {})", arm.name, arm.strategy, percent(arm.weight))).collect();
    let follows = vec![
        format!(
            "{} of its slot, which is {} of the layer's {}, enter from the next decision on.",
            percent(next.applied),
            percent(slot),
            several(&pace.unit)
        ),
        format!("Arms: {}.", arms.join(", ")),
        "From then on its unit, slot, salt, arms and weights are fixed.".to_owned(),
    ];
    (format!("start: coverage {}{about}", percent(next.applied)), follows)
}

fn promote(spec: &Experiment, now: &Status, next: &Status, pace: &Pace) -> (String, Vec<String>) {
    let mut headline = format!("promote: coverage {} to {}", percent(now.applied), percent(next.applied));
    if let Some(about) = pace.at_with_time(now.applied, next.applied) {
        headline += &format!(", {about}");
    }
    let mut follows = vec![format!(
        "Step {} of {} begins, as a new phase. Nobody who has entered changes arms.",
        next.step + 1,
        spec.ramp.len()
    )];
    follows.extend(
        pace.at(now.applied, now.applied)
            .map(|about| format!("Now it is {about}; {} entered so far.", pace.entered(["has", "have"]))),
    );
    if let Some(step) = spec.ramp.get(now.step) {
        let gate = match step.gate {
            Gate::None => None,
            Gate::Fast => Some("no guardrail shows harm".to_owned()),
            Gate::NonInferior => Some("every guardrail holds".to_owned()),
        };
        let lasted = (step.hold_ms > 0).then(|| format!("this step has lasted {}", span(step.hold_ms)));
        let units = || format!("{} have entered", counted(step.min_units, &pace.unit));
        let units = (step.min_units > 0).then(units);
        let conditions: Vec<String> = [lasted, units, gate].into_iter().flatten().collect();
        follows.push(match conditions.is_empty() {
            true => "Its step asks for nothing: the ramp itself promotes at the host's next look.".to_owned(),
            false => format!(
                "The ramp itself would promote once {}; a person's promote does not wait for that.",
                conditions.join(" and ")
            ),
        });
    }
    (headline, follows)
}

fn pause(spec: &Experiment, now: &Status, pace: &Pace) -> (String, Vec<String>) {
    let promotes = if now.step + 1 < spec.ramp.len() { "promotes, " } else { "" };
    let follows = vec![
        format!(
            "The ramp stands still at {} of the slot until somebody resumes, {promotes}aborts or concludes it.",
            percent(now.applied)
        ),
        format!(
            "{} entered and {} in their {}, and others still enter at this coverage. To take everybody out, abort it.",
            pace.entered(["has", "have"]),
            if pace.units == 1 { "stays" } else { "stay" },
            if pace.units == 1 { "arm" } else { "arms" }
        ),
    ];
    (format!("pause: the ramp stops at {}", percent(now.applied)), follows)
}

fn resume(spec: &Experiment, now: &Status, next: &Status, pace: &Pace) -> (String, Vec<String>) {
    let mut follows = vec![match now.withdrawn {
        true => "Its winner was taken back for harm: it runs again from the ramp's first step, and what was seen before does not count.".to_owned(),
        false => format!("Its ramp goes on from step {} of {}.", next.step + 1, spec.ramp.len()),
    }];
    follows
        .extend(pace.at_with_time(now.applied, next.applied).map(|about| format!("At this coverage it is {about}.")));
    (format!("resume: the ramp goes on at {}", percent(next.applied)), follows)
}

fn abort(now: &Status, pace: &Pace, pin: &str) -> (String, Vec<String>) {
    let follows = vec![
        format!("From the next decision on everybody gets the pinned strategy, {pin}; {} in the experiment now.", pace.entered(["is", "are"])),
        "It has ended then, for good: to try again, start another id. Its slot stays taken until its longest window and lag have passed.".to_owned(),
    ];
    (format!("abort: coverage {} to 0 %", percent(now.applied)), follows)
}

fn conclude(now: &Status, pace: &Pace, pin: &str) -> (String, Vec<String>) {
    let follows = vec![
        format!(
            "It ends with the winner that you name. New decisions use the pinned strategy, {pin}, until serin.toml pins the winner."
        ),
        format!("{} entered. It does not start again: to go on, start another id.", pace.entered(["has", "have"])),
    ];
    (format!("conclude: coverage {} to 0 %, with a winner", percent(now.applied)), follows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_grows_with_coverage_and_is_no_exact_number() {
        let pace = Pace { unit: "borrower".to_owned(), units: 1, per_day: Some(821.0), paced_ms: Some(120_000) };
        assert_eq!(pace.at(0.1, 0.5).as_deref(), Some("about 4,100 borrowers a day"));
        let said = "about 4,100 borrowers a day, extrapolated from the last 2 minutes";
        assert_eq!(pace.at_with_time(0.1, 0.5).as_deref(), Some(said));
        assert_eq!(pace.at(0.0, 0.5), None);
        assert_eq!(pace.entered(["has", "have"]), "1 borrower has");
    }
}
