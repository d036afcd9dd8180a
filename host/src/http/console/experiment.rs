//! An experiment: its report, in the report's order, with what can be done.

use maud::{Markup, html};
use serin_core::experiment::{State, Status, without_addresses};

use super::preview::{extrapolated, unit_of};
use super::shelf::Part;
use super::words::{self, counted, digest, grouped, percent, rounded, when};
use super::{listing, needs};
use crate::experiments::{ExperimentState, ExperimentStatus};
use crate::http::access::Caller;
use crate::http::agreement::approvals;
use crate::http::at_its_end::at_its_end;
use crate::http::attention::{self, Matter};
use crate::http::commands::without_file;
use crate::http::experiments::{find, report_of, why};
use crate::http::summary::{Summary, summary};
use crate::http::{Problem, Service};
use crate::ledger::{LedgerReader, Reads as _, TransitionRow};

/// Changes that are listed.
const MOST_CHANGES: usize = 100;

/// The page's parts.
pub fn parts(service: &Service, ledger: &LedgerReader, id: &str, caller: &Caller) -> Result<Vec<Part>, Problem> {
    let experiment = find(service, caller, id)?;
    let lacks = match &experiment.spec {
        Some(spec) => approvals(service, ledger, (spec, &experiment.status))?.1,
        None => None,
    };
    let changes = ledger.transitions(id)?;
    let known = match experiment.status.state.is_ended() {
        true => at_its_end(ledger, id)?,
        false => summary(service, &experiment.id),
    };
    let report = report_of(service, ledger, id, &experiment.status, false);
    // All over the page they are as of the same moment.
    let units = match &report {
        Ok(report) => Some([report.units.in_arms(), report.units.mature]),
        Err(_) => known.as_ref().map(|known| [known.units, known.mature]),
    };
    let matters = attention::of_experiment(service, ledger, &experiment, known.as_ref())?;
    let mut parts = vec![
        Part::new("head", head(service, &experiment, (known.as_ref(), units), &matters)),
        Part::new("commands", commands(&experiment, lacks.is_some(), caller)),
    ];
    match report {
        Ok(report) => parts.extend(report.sections().into_iter().map(|(name, drawn)| Part::new(name, drawn))),
        Err(problem) => parts.push(Part::new("verdict", not_reported(&experiment, &problem))),
    }
    parts.push(Part::new("changes", history(&changes)));
    Ok(parts)
}

/// The name, the state, and what a reader has to know before the numbers.
fn head(
    service: &Service,
    experiment: &ExperimentStatus,
    (known, units): (Option<&Summary>, Option<[u64; 2]>),
    matters: &[Matter],
) -> Markup {
    let (spec, why, unit) = (experiment.spec.as_deref(), why(service, experiment), unit_of(service, experiment));
    let is_said = experiment.error.as_ref().is_some_and(|error| why.contains(error.as_str()))
        || matters.iter().any(|matter| matter.says == why);
    html! {
        h1 { (experiment.id) " " (listing::state(experiment)) }
        @if let Some(text) = spec.map(|spec| &spec.description).filter(|text| !text.is_empty()) { p { (text) } }
        p.facts {
            @if experiment.status.phase > 0 {
                span { "phase " b { (experiment.status.phase) } } " "
                @if !experiment.status.state.is_ended() { span { b { (percent(experiment.status.applied)) } " of its slot" } " " }
            }
            @if let Some([units, mature]) = units {
                span { b { (counted(units, &unit)) } ", " (grouped(mature)) " mature" } " "
            }
            @if let Some(known) = known {
                @if let Some((about, of)) = pace(known, &unit) { span { "about " b { (about) } " a day" (of) } " " }
            }
            @if let Some(started_ms) = experiment.status.started_ms { span { "started " (when(started_ms)) } " " }
            @if let Some(ended_ms) = experiment.status.ended_ms { span { "ended " (when(ended_ms)) } " " }
            @if let Some(spec) = spec {
                span { "at " (spec.decision_point) } " "
                @if !spec.owner.is_empty() { span { "owner " b { (spec.owner) } } " " }
                span { "file " (digest(&spec.digest)) }
            }
        }
        @if !is_said { p { (words::lines(&words::on_page(&why, &experiment.id))) } }
        (needs::draw_here(matters))
        @if let Some(says) = still_serves(experiment, known, &unit) { p.still-serves { b { (says) } } }
    }
}

/// How many units enter a day, to what is known of it; and of what time that is, where it is less than a day.
fn pace(known: &Summary, unit: &str) -> Option<(String, String)> {
    let about = counted(rounded(known.units_per_day?), &format!("new {unit}"));
    Some((about, extrapolated(known.paced_ms)))
}

/// What a pause does not stop; none where nothing is served.
fn still_serves(experiment: &ExperimentStatus, known: Option<&Summary>, unit: &str) -> Option<String> {
    let status = &experiment.status;
    let serves = status.state == State::Paused
        && status.applied > 0.0
        && experiment.state == ExperimentState::Life(State::Paused);
    let enter = match known.and_then(|known| pace(known, unit)) {
        Some((about, of)) => format!(": about {about} a day enter{of}"),
        None => String::new(),
    };
    serves.then(|| {
        format!(
            "Paused, it still serves its arms to {} of its slot{enter}. To stop that, abort it.",
            percent(status.applied)
        )
    })
}

/// The commands that the status allows, each with a page that says what it will do.
fn commands(experiment: &ExperimentStatus, lacks: bool, caller: &Caller) -> Markup {
    let path = format!("/experiments/{}", words::encoded(&experiment.id));
    let may = |role| caller.has(role).is_ok();
    let (operate, approve) = (may(crate::access::Role::Operate), may(crate::access::Role::Approve));
    let names = possible(experiment);
    html! {
        @if operate || approve {
            p.commands {
                @if lacks && approve { a.button.primary href={ (path) "/approve" } { "Review and approve\u{2026}" } " " }
                @if experiment.pending.is_some() && operate { a.button.primary href={ (path) "/amend" } { "Review the edit\u{2026}" } " " }
                @if operate {
                    @for name in names { a.button href={ (path) "/" (name) } { (capital(name)) "\u{2026}" } " " }
                }
            }
        }
        p.small {
            a href=(words::json("experiments", &experiment.id, "")) { "as JSON" }
            @if experiment.status.started_ms.is_some() {
                ", " a href=(words::json("experiments", &experiment.id, "/report?format=html")) { "the report alone" }
            }
        }
    }
}

/// The commands that the status and its file allow, by name.
fn possible(experiment: &ExperimentStatus) -> Vec<&'static str> {
    let Some(spec) = &experiment.spec else { return Vec::new() };
    let is_there = |name: &&str| without_file(experiment.state, &experiment.why, name).is_none();
    experiment.status.possible(spec).into_iter().filter(is_there).collect()
}

/// A command's name as a label begins.
pub fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// What is shown in the report's place.
fn not_reported(experiment: &ExperimentStatus, problem: &Problem) -> Markup {
    let is_draft = matches!(experiment.status, Status { state: State::Draft, .. });
    html! {
        section id="verdict" {
            p { @if is_draft { "It has not begun: there is nothing to report yet." } @else { (words::lines(&problem.detail)) } }
            @if let Some(source) = &experiment.source {
                details open { summary { h2 { "Experiment file" } } pre { (without_addresses(source)) } }
            }
        }
    }
}

/// Every change of its status, the newest first.
fn history(changes: &[TransitionRow]) -> Markup {
    html! {
        @if !changes.is_empty() {
            details {
                summary { h2 { "Commands and changes (" (grouped(changes.len() as u64)) ")" } }
                ol.changes {
                    @for change in changes.iter().rev().take(MOST_CHANGES) {
                        li { (said(change)) }
                    }
                }
                @if changes.len() > MOST_CHANGES { p.small { "and " (grouped((changes.len() - MOST_CHANGES) as u64)) " before them" } }
            }
        }
    }
}

/// A change as a line.
pub fn said(change: &TransitionRow) -> Markup {
    html! {
        (when(change.time_ms)) " " b { (change.command) } " by " b { (change.by) } ": \u{201c}" bdi { (change.reason) } "\u{201d} "
        span.small { (change.from) " \u{2192} " (change.to) ", phase " (change.phase) }
    }
}
