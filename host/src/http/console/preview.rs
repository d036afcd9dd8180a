//! What a command will do, before it is given: in words and numbers.

use serin_core::experiment::{Experiment, Gate, Status};

use super::words::{grouped, percent, span};
use crate::experiments::{CommandError, ExperimentStatus};
use crate::http::commands::{Request, parse};
use crate::http::summary::summary;
use crate::http::{Problem, Service};

/// What a command will do.
pub struct Effect {
    /// It in a few words, like "promote: coverage 10 % to 50 %".
    pub headline: String,
    /// What follows, in sentences.
    pub follows: Vec<String>,
    /// Why it will be refused as things are; none where nothing speaks against it.
    pub refused: Option<String>,
}

/// What a command of this name will do. A winner is chosen later, so control stands in its place.
pub fn effect(service: &Service, experiment: &ExperimentStatus, name: &str) -> Result<Effect, Problem> {
    let Some(spec) = &experiment.spec else {
        let why = experiment.error.as_deref().unwrap_or(&experiment.why);
        let refused = Some(format!("its file is not applied: {why}"));
        return Ok(Effect { headline: name.to_owned(), follows: Vec::new(), refused });
    };
    let winner = (name == "conclude").then(|| spec.control.to_string());
    let Request::Command(command) = parse(name, winner)? else {
        return Ok(of_file(experiment, name));
    };
    let (now, pace) = (&experiment.status, Pace::of(service, experiment));
    let next = now.after(&command, spec, service.clock.now_ms());
    let refused = next.as_ref().err().map(|error| CommandError::from(error.clone()).to_string());
    let next = next.unwrap_or_else(|_| now.clone());
    let pin = pin(service, spec);
    let (headline, follows) = match name {
        "start" => start(spec, &next, &pace),
        "promote" => promote(spec, now, &next, &pace),
        "pause" => pause(now, &pace),
        "resume" => resume(spec, now, &next, &pace),
        "abort" => abort(now, &pace, &pin),
        _ => conclude(now, &pace, &pin),
    };
    Ok(Effect { headline, follows, refused })
}

/// What an approval, or a decision on an edit, will do.
fn of_file(experiment: &ExperimentStatus, name: &str) -> Effect {
    if name == "approve" {
        let follows = "Your approval is of exactly the file below: an edit of it needs new ones. Once there are enough, what \
                       waits for them is carried out.";
        return Effect { headline: "approve this file".to_owned(), follows: vec![follows.to_owned()], refused: None };
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
}

impl Pace {
    fn of(service: &Service, experiment: &ExperimentStatus) -> Self {
        let status = service.status.load();
        let subject = status.subjects.iter().find(|subject| *subject.spec.id == *experiment.id);
        let of_spec = experiment.spec.as_ref().and_then(|spec| spec.unit.as_ref());
        let unit = subject.map(|subject| &subject.course.unit).or(of_spec).map_or("unit", |unit| unit);
        let known = summary(service, &experiment.id);
        Self {
            unit: format!("{unit}s"),
            units: known.as_ref().map_or(0, |known| known.units),
            per_day: known.and_then(|known| known.units_per_day),
        }
    }

    /// About how many enter a day at another coverage.
    fn at(&self, from: f64, to: f64) -> Option<String> {
        let per_day = self.per_day.filter(|_| from > 0.0)? * to / from;
        Some(format!("about {} {} a day", grouped(rounded(per_day)), self.unit))
    }

    fn entered(&self) -> String {
        format!("{} {}", grouped(self.units), self.unit)
    }
}

/// To two digits: it is an estimate.
fn rounded(value: f64) -> u64 {
    let value = value.max(0.0);
    let unit = 10_f64.powf((value.max(1.0).log10().floor() - 1.0).max(0.0));
    ((value / unit).round() * unit) as u64
}

fn pin(service: &Service, spec: &Experiment) -> String {
    let deployment = service.deployment.load();
    deployment
        .points
        .get(&spec.decision_point)
        .map_or_else(|| "the pinned strategy".to_owned(), |point| point.pin.to_string())
}

fn start(spec: &Experiment, next: &Status, pace: &Pace) -> (String, Vec<String>) {
    let slot = spec.slot[1] - spec.slot[0];
    let arms: Vec<String> =
        spec.arms.iter().map(|arm| format!("{} ({}, {})", arm.name, arm.strategy, percent(arm.weight))).collect();
    let follows = vec![
        format!(
            "{} of its slot, which is {} of the layer's {}, enter from the next decision on.",
            percent(next.applied),
            percent(slot),
            pace.unit
        ),
        format!("Arms: {}.", arms.join(", ")),
        "From then on its unit, slot, salt, arms and weights are fixed.".to_owned(),
    ];
    (format!("start: coverage {}", percent(next.applied)), follows)
}

fn promote(spec: &Experiment, now: &Status, next: &Status, pace: &Pace) -> (String, Vec<String>) {
    let mut headline = format!("promote: coverage {} to {}", percent(now.applied), percent(next.applied));
    if let Some(about) = pace.at(now.applied, next.applied) {
        headline += &format!(", {about}");
    }
    let mut follows = vec![format!(
        "Step {} of {} begins, as a new phase. Nobody who has entered changes arms.",
        next.step + 1,
        spec.ramp.len()
    )];
    follows.extend(
        pace.at(now.applied, now.applied)
            .map(|about| format!("Now it is {about}; {} have entered so far.", pace.entered())),
    );
    if let Some(step) = spec.ramp.get(now.step) {
        let gate = match step.gate {
            Gate::None => "",
            Gate::Fast => " and no guardrail shows harm",
            Gate::NonInferior => " and every guardrail holds",
        };
        follows.push(format!(
            "The ramp itself would promote once this step has lasted {} and {} {} have entered{gate}; a person's promote does not wait for that.",
            span(step.hold_ms), grouped(step.min_units), pace.unit
        ));
    }
    (headline, follows)
}

fn pause(now: &Status, pace: &Pace) -> (String, Vec<String>) {
    let follows = vec![
        format!(
            "The ramp stands still at {} of the slot until somebody resumes, promotes, aborts or concludes it.",
            percent(now.applied)
        ),
        format!(
            "The {} that have entered stay in their arms, and others still enter at this coverage. To take everybody out, abort it.",
            pace.entered()
        ),
    ];
    (format!("pause: the ramp stops at {}", percent(now.applied)), follows)
}

fn resume(spec: &Experiment, now: &Status, next: &Status, pace: &Pace) -> (String, Vec<String>) {
    let mut follows = vec![match now.withdrawn {
        true => "Its winner was taken back for harm: it runs again from the ramp's first step, and what was seen before does not count.".to_owned(),
        false => format!("Its ramp goes on from step {} of {}.", next.step + 1, spec.ramp.len()),
    }];
    follows.extend(pace.at(now.applied, next.applied).map(|about| format!("At this coverage it is {about}.")));
    (format!("resume: the ramp goes on at {}", percent(next.applied)), follows)
}

fn abort(now: &Status, pace: &Pace, pin: &str) -> (String, Vec<String>) {
    let follows = vec![
        format!("From the next decision on everybody gets the pinned strategy, {pin}; {} are in the experiment now.", pace.entered()),
        "It has ended then, for good: to try again, start another id. Its slot stays taken until its longest window and lag have passed.".to_owned(),
    ];
    (format!("abort: coverage {} to 0 %", percent(now.applied)), follows)
}

fn conclude(now: &Status, pace: &Pace, pin: &str) -> (String, Vec<String>) {
    let follows = vec![
        format!(
            "It ends with the winner that you name. New decisions use the pinned strategy, {pin}, until serin.toml pins the winner."
        ),
        format!("{} have entered. It does not start again: to go on, start another id.", pace.entered()),
    ];
    (format!("conclude: coverage {} to 0 %, with a winner", percent(now.applied)), follows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_grows_with_coverage_and_is_no_exact_number() {
        let pace = Pace { unit: "borrowers".to_owned(), units: 900, per_day: Some(821.0) };
        assert_eq!(pace.at(0.1, 0.5).as_deref(), Some("about 4,100 borrowers a day"));
        assert_eq!(pace.at(0.0, 0.5), None);
        assert_eq!([0.0, 7.4, 99.0, 12_345.0].map(rounded), [0, 7, 99, 12_000]);
    }
}
