//! Experiments as a list, and the archive that can be searched.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serin_core::Name;
use serin_core::experiment::State;

use super::shelf::Part;
use super::words::{self, Tone, badge, grouped, percent, signed_percent};
use crate::experiments::{ExperimentState, ExperimentStatus};
use crate::http::access::Caller;
use crate::http::at_its_end::at_its_end;
use crate::http::attention::{self, Matter};
use crate::http::experiments::{reaches, why};
use crate::http::summary::{GoalSummary, RailSummary, Summary, summaries};
use crate::http::{Problem, Service};
use crate::ledger::LedgerReader;
use crate::report::Scale;

/// Rows of a page, and of the overview.
pub const PAGE: usize = 50;

/// Which experiments to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Words in an id, an owner, a description or a decision point.
    pub q: String,
    /// A state, or `ended`, or `current`; empty: all.
    pub state: String,
    /// The page, from 0.
    pub page: usize,
}

/// The states that can be asked for.
const STATES: [&str; 11] = [
    "current",
    "ended",
    "draft",
    "running",
    "paused",
    "aborted",
    "shipped",
    "concluded",
    "waiting",
    "invalid",
    "spec_missing",
];

/// A row of the list.
pub struct Row<'a> {
    experiment: &'a ExperimentStatus,
    known: Option<&'a Summary>,
    verdict: (Tone, String),
    day: Option<u64>,
}

/// Sorts experiments by what they need: first those in the list of what needs a person, the urgent before the others;
/// then those that run or have shipped; then those that wait, are drafts or are paused; each by name. Those that have
/// ended come last, the newest first.
pub fn sort(experiments: &mut [&ExperimentStatus], matters: &[Matter]) {
    let urgencies = attention::urgencies(matters);
    let runs = |experiment: &ExperimentStatus| {
        matches!(experiment.state, ExperimentState::Life(State::Running | State::Shipped))
    };
    experiments.sort_by_key(|experiment| {
        let (ended_ms, urgency) = (experiment.status.ended_ms, urgencies.get(&*experiment.id));
        let needed = (urgency.is_none(), urgency, !runs(experiment));
        let needed = Some(needed).filter(|_| ended_ms.is_none());
        (ended_ms.is_some(), needed, std::cmp::Reverse(ended_ms), &experiment.id)
    });
}

/// The rows of these experiments.
pub fn rows<'a>(
    service: &Service,
    experiments: &[&'a ExperimentStatus],
    known: &'a BTreeMap<Name, Summary>,
) -> Vec<Row<'a>> {
    let now_ms = service.clock.now_ms();
    let row = |experiment: &&'a ExperimentStatus| {
        let known = known.get(&*experiment.id);
        let end_ms = experiment.status.ended_ms.unwrap_or(now_ms);
        let day = experiment.status.started_ms.map(|started_ms| end_ms.saturating_sub(started_ms) / 86_400_000 + 1);
        Row { experiment, known, verdict: verdict(service, experiment, known), day }
    };
    experiments.iter().map(row).collect()
}

/// The verdict in words: what the evidence says while it takes units, else why it is in its state.
fn verdict(service: &Service, experiment: &ExperimentStatus, known: Option<&Summary>) -> (Tone, String) {
    match known.filter(|_| matches!(experiment.status.state, State::Running | State::Paused)) {
        Some(known) if known.stops() => (Tone::Bad, format!("stop: {}", known.verdict_why)),
        Some(known) if known.verdict == "ship" => (Tone::Good, format!("ship: {}", known.verdict_why)),
        Some(known) => (Tone::Open, format!("hold: {}", known.verdict_why)),
        None => (Tone::Open, words::on_page(&why(service, experiment), &experiment.id)),
    }
}

/// How a state is shown.
pub fn state(experiment: &ExperimentStatus) -> Markup {
    let tone = match experiment.state {
        ExperimentState::Life(State::Running | State::Shipped) => Tone::Good,
        ExperimentState::Life(State::Paused) | ExperimentState::Waiting => Tone::Warn,
        ExperimentState::Life(State::Aborted) | ExperimentState::Invalid | ExperimentState::SpecMissing => Tone::Bad,
        ExperimentState::Life(State::Draft | State::Concluded) => Tone::Open,
    };
    badge(tone, state_name(experiment.state.as_str()))
}

/// A state in words: what has no file is called that, wherever it is told.
fn state_name(state: &str) -> &str {
    if state == ExperimentState::SpecMissing.as_str() { "file gone" } else { state }
}

/// The list.
pub fn table(rows: &[Row<'_>]) -> Markup {
    let lifts = rows.iter().filter_map(|row| row.known?.goal.as_ref()?.relative_interval);
    let scale = Scale::of_lifts(&lifts.collect::<Vec<_>>());
    html! {
        div.wide {
            table.cards.stack.experiments {
                thead { tr {
                    th scope="col" { "experiment" } th scope="col" { "state" } th scope="col" { "phase" }
                    th.n scope="col" { "units" } th scope="col" { "goal" } th scope="col" { "nearest guardrail" }
                    th scope="col" { "verdict" }
                } }
                tbody { @for row in rows { (drawn(row, scale)) } }
            }
        }
        @if rows.iter().any(|row| row.known.is_some_and(|known| known.guardrail.is_some())) {
            p.small {
                "Nearest guardrail: how much of the allowed change for the worse the arm may have used, by the upper bound of \
                 its interval. With few units that bound is far from 0, even where nothing has happened yet."
            }
        }
    }
}

fn drawn(row: &Row<'_>, scale: Scale) -> Markup {
    let Row { experiment, known, verdict, day } = row;
    let point = experiment.spec.as_ref().map(|spec| &*spec.decision_point);
    let step = experiment.spec.as_ref().filter(|spec| spec.ramp.len() > 1).map(|spec| spec.ramp.len());
    html! {
        tr {
            th scope="row" {
                (words::experiment(&experiment.id))
                @if let Some(point) = point { br; span.small { (point) } }
            }
            td data-label="state" { (state(experiment)) }
            td data-label="phase" {
                @if experiment.status.phase > 0 {
                    (grouped(experiment.status.phase.into()))
                    // What has ended takes no units, whatever its last step was.
                    @if experiment.status.state.is_ended() { span.small { ", takes no units" } }
                    @else { span.small { ", " (percent(experiment.status.applied)) " of its slot" } }
                    @if let Some(steps) = step { span.small { ", step " (experiment.status.step + 1) " of " (steps) } }
                    @if let Some(day) = day { br; span.small { "day " (grouped(*day)) } }
                } @else { "-" }
            }
            td.n data-label="units" {
                @if let Some(known) = known {
                    (grouped(known.units)) br; span.small { (grouped(known.mature)) " mature" }
                } @else { "-" }
            }
            td.picture data-label="goal" {
                @match known.and_then(|known| known.goal.as_ref()) {
                    Some(goal) => { (picture(goal, scale)) }
                    None => { "-" }
                }
            }
            td.picture data-label="nearest guardrail" {
                @match known.and_then(|known| known.guardrail.as_ref()) {
                    Some(rail) => { (guardrail(rail)) }
                    None => { "-" }
                }
            }
            td.words data-label="verdict" {
                @let said = words::lines(&serin_core::clipped(&verdict.1, 160));
                @if verdict.0 == Tone::Open { (said) }
                @else { b class=(if verdict.0 == Tone::Bad { "is-bad" } else { "is-good" }) { (said) } }
            }
        }
    }
}

/// A goal's interval on the scale of the list.
fn picture(goal: &GoalSummary, scale: Scale) -> Markup {
    let said = match (goal.relative, goal.difference) {
        (Some(lift), _) => signed_percent(lift, " %"),
        (None, Some(difference)) if goal.is_share => signed_percent(difference, " pp"),
        (None, Some(difference)) => format!("{difference:+.3}"),
        (None, None) => "too early".to_owned(),
    };
    html! {
        span.small { (goal.metric) " " b { (said) } @if goal.state != "open" && goal.state != said { ", " (goal.state) } }
        @match (goal.relative_interval, goal.interval) {
            (Some(ends), _) => { (scale.draw(ends, goal.relative, &[0.0])) }
            // A lift needs a mean of control that is surely not 0.
            (None, Some(ends)) => { (Scale::of_lifts(&[ends]).draw(ends, goal.difference, &[0.0])) " " span.small { "on a scale of its own" } }
            (None, None) => {}
        }
    }
}

/// A guardrail as what is used of what it allows.
fn guardrail(rail: &RailSummary) -> Markup {
    /// The bar's width; its last fifth is beyond the limit.
    const WIDTH: f64 = 120.0;
    let used = rail.used.map(|used| used.clamp(0.0, 1.25));
    let tone = match rail.state {
        "harm" => "bad",
        "holds" => "good",
        _ => "open",
    };
    html! {
        span.small { (rail.metric) " " b { (rail.state) }
            @if let Some(used) = rail.used.filter(|used| *used >= 0.0) { ", up to " (percent(used)) " of what is allowed" }
        }
        @if let Some(used) = used {
            svg class={ "limit " (tone) } viewBox="0 0 120 8" role="img" aria-label="how much of what is allowed may be used" {
                rect.track width="120" height="8" {}
                rect.used width=(format!("{:.1}", used / 1.25 * WIDTH)) height="8" {}
                line.mark x1="96" x2="96" y1="0" y2="8" {}
            }
        }
    }
}

impl Query {
    /// Its address.
    pub fn address(&self, page: usize) -> String {
        let (q, state) = (words::encoded(&self.q), words::encoded(&self.state));
        format!("/experiments?q={q}&state={state}&page={page}")
    }

    fn admits(&self, experiment: &ExperimentStatus) -> bool {
        let is_ended = experiment.status.state.is_ended();
        let in_state = match self.state.as_str() {
            "" => true,
            "current" => !is_ended,
            "ended" => is_ended,
            state => experiment.state.as_str() == state,
        };
        let texts = experiment.spec.as_ref().map(|spec| [&*spec.owner, &*spec.description, &*spec.decision_point]);
        let all = texts.iter().flatten().copied().chain([&*experiment.id, &*experiment.file]);
        let all = all.collect::<Vec<_>>().join("\n").to_lowercase();
        in_state && self.q.to_lowercase().split_whitespace().all(|word| all.contains(word))
    }
}

/// The form that searches. It keeps what a person is typing, so it is in no live part.
pub fn search(query: &Query) -> Markup {
    html! {
        form.search method="get" action="/experiments" role="search" {
            label { "Words in an id, owner, description or decision point "
                input type="search" name="q" value=(query.q) maxlength="200"; }
            label { "State "
                select name="state" {
                    option value="" selected[query.state.is_empty()] { "all" }
                    @for state in STATES {
                        option value=(state) selected[query.state == state] { (state_name(state).replace('_', " ")) }
                    }
                }
            }
            button { "Search" }
        }
    }
}

/// The list's parts.
pub fn parts(service: &Service, ledger: &LedgerReader, query: &Query, caller: &Caller) -> Result<Vec<Part>, Problem> {
    let mut known = summaries(service);
    let status = service.status.load();
    let reached = status.every_experiment().filter(|experiment| reaches(caller, experiment).is_ok());
    let mut found: Vec<&ExperimentStatus> = reached.filter(|experiment| query.admits(experiment)).collect();
    sort(&mut found, &attention::matters(service, ledger, caller, &known)?);
    let total = found.len();
    let from = query.page.saturating_mul(PAGE).min(total);
    let shown = &found[from..total.min(from + PAGE)];
    for ended in shown.iter().filter(|experiment| experiment.status.state.is_ended()) {
        // The host's last look is none at its end.
        known.remove(&*ended.id);
        let summary = at_its_end(ledger, &ended.id)?;
        known.extend(summary.map(|summary| (Name::from(ended.id.as_str()), summary)));
    }
    let mut rows = rows(service, shown, &known);
    for row in rows.iter_mut().filter(|row| row.experiment.status.state.is_ended()) {
        if let Some(known) = row.known {
            let said = format!("{}; verdict at its end: {}: {}", row.verdict.1, known.verdict, known.verdict_why);
            row.verdict = (Tone::Open, said);
        }
    }
    let list = html! {
        p role="status" { (grouped(total as u64)) @if total == 1 { " experiment" } @else { " experiments" } }
        @if !rows.is_empty() { (table(&rows)) }
        nav.pages aria-label="Pages of the list" {
            @if query.page > 0 { a href=(query.address(query.page - 1)) rel="prev" { "Previous" } }
            @if from + PAGE < total { a href=(query.address(query.page + 1)) rel="next" { "Next" } }
        }
    };
    Ok(vec![Part::new("list", list)])
}
