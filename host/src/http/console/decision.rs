//! One decision: what was known, how it was routed, what was drawn and why, and what came of it.

use maud::{Markup, html};
use serin_core::record::{Attempt, Candidate, FeatureRow, Outcome, Record, Role, RowStatus, ScoreRecord, ServedBy};

use super::words::{self, Tone, badge, digest, percent, served_by, span, value, when};
use crate::http::Problem;
use crate::http::admin::WireReplay;
use crate::http::masked::{MaskedRouting, column_status};
use crate::ledger::Consequences;

/// The page but for the unit's other decisions.
pub fn drawn(record: &Record, replay: &Markup, came_of_it: &Consequences) -> Markup {
    html! {
        (answer(record))
        section { h2 { "Replay" } (replay) }
        (known(record))
        (routing(record))
        section {
            h2 { "What the strategies proposed" }
            @if record.attempts.is_empty() { p { "None ran." } }
            @for attempt in &record.attempts { (attempted(record, attempt)) }
        }
        (consequences(came_of_it))
        section {
            h2 { "In full" }
            p { a href=(words::json("decisions", &record.decision_id, "")) { "The record as JSON" } ", "
                a href=(words::json("decisions", &record.decision_id, "/outcomes")) { "what came of it" } "." }
        }
    }
}

fn answer(record: &Record) -> Markup {
    let answer = &record.answer;
    let tried = record.attempts.iter().map(|attempt| {
        let strategy = format!("{}@{}", attempt.strategy.name, attempt.strategy.version);
        (strategy, attempt.outcome.label())
    });
    html! {
        h1 { (answer.action)
            @if let Some(unit) = record.unit() { " for " (unit.kind) " " bdi { (unit.id) } }
        }
        p.facts {
            span { (when(record.time_ms)) } " " span { "at " b { (record.decision_point) } } " "
            span { "served by " (served_by(answer.served_by)) } " "
            @if let Some(strategy) = &answer.strategy { span { (strategy.name) "@" (strategy.version) " " (digest(&strategy.digest)) } " " }
            span { "drawn with probability " b { (percent(answer.propensity)) } } " "
            span { "id " code { (record.decision_id) } }
        }
        @if let Some(why) = instead(answer.served_by, tried) { p { b { (why) } } }
        section.reasons {
            h2 { "Why, as it can be told" }
            @if answer.reasons.is_empty() {
                @if let Some(why) = &record.routing.excluded { p { "No strategy decides about this one: " (why) "." } }
                @else { p { "The strategy gave no reasons." } }
            }
            ul { @for reason in &answer.reasons { li { bdi { (reason.text) } " " span.small { (reason.code) ", weight " (format!("{:.2}", reason.weight)) } } } }
            @if !answer.parameters.is_empty() {
                p { "With " @for (at, (name, set)) in answer.parameters.iter().enumerate() { @if at > 0 { ", " } code { (name) } " = " (value(set)) } "." }
            }
            @if !answer.degraded.is_empty() {
                p { (badge(Tone::Warn, "degraded")) " " @for (at, what) in answer.degraded.iter().enumerate() { @if at > 0 { ", " } code { (what) } } }
            }
        }
    }
}

/// Why somebody else decided than was to, in a sentence; none where nobody did. `tried` are the strategies that ran, each
/// with what came of it.
pub fn instead(served_by: ServedBy, tried: impl Iterator<Item = (String, &'static str)>) -> Option<String> {
    let what = |outcome: &str| match outcome {
        "answer" => "decided".to_owned(),
        "refusal" => "declined".to_owned(),
        failure => format!("failed ({})", failure.replace('_', " ")),
    };
    let tried: Vec<(String, String)> = tried.map(|(strategy, outcome)| (strategy, what(outcome))).collect();
    match (served_by, &tried[..]) {
        (ServedBy::FallbackStrategy, [(new, outcome), .., (pinned, _)]) => Some(format!(
            "The version that the experiment tries, {new}, {outcome}, so the pinned version, {pinned}, decided in its place."
        )),
        (ServedBy::FallbackAction, []) => {
            Some("No strategy was there to decide, so the decision point's fallback action was taken.".to_owned())
        }
        (ServedBy::FallbackAction, tried) => {
            let tried: Vec<String> = tried.iter().map(|(strategy, outcome)| format!("{strategy} {outcome}")).collect();
            Some(format!("{}, so the decision point's fallback action was taken.", tried.join(", and ")))
        }
        _ => None,
    }
}

fn known(record: &Record) -> Markup {
    html! {
        section {
            h2 { "What was known" }
            table.cards.stack {
                thead { tr { th scope="col" { "input" } th scope="col" { "value" } th scope="col" { "status" } th scope="col" { "age" } } }
                tbody {
                    @for (kind, id) in &record.entities { tr { th scope="row" { code { "entities." (kind) } } td data-label="value" { (id) } td data-label="status" { "of the request" } td data-label="age" {} } }
                    @for (name, set) in &record.context { tr { th scope="row" { code { "context." (name) } } td data-label="value" { (value(set)) } td data-label="status" { "of the request" } td data-label="age" {} } }
                    @for (view, row) in &record.features { (features(record, view, row)) }
                }
            }
        }
    }
}

fn features(record: &Record, view: &str, row: &FeatureRow) -> Markup {
    html! {
        @for (column, known) in row.values.iter() {
            @let status = column_status(row, column, known);
            tr {
                th scope="row" { code { (view) "." wbr; (column) } }
                td data-label="value" { (value(known)) @if status == RowStatus::Stale { span.small { " (not used)" } } }
                td data-label="status" { (row_status(status)) }
                td data-label="age" {
                    @if let Some(at_ms) = row.event_time_of(column) { (span(record.time_ms.saturating_sub(at_ms))) }
                }
            }
        }
        @if row.values.iter().len() == 0 { tr { th scope="row" { code { (view) } } td data-label="value" {} td data-label="status" { (row_status(row.status)) } td data-label="age" {} } }
    }
}

/// The status of a feature, as a badge.
pub fn row_status(status: RowStatus) -> Markup {
    match status {
        RowStatus::Present => badge(Tone::Good, "present"),
        RowStatus::Missing => badge(Tone::Warn, "missing"),
        RowStatus::Stale => badge(Tone::Warn, "stale"),
        RowStatus::Error => badge(Tone::Bad, "not read"),
    }
}

/// Which holdout kept the unit out, for the whole decision's page and the masked one.
pub fn held_out(routing: &MaskedRouting) -> Markup {
    html! {
        @if routing.held_out {
            p { (badge(Tone::Open, "held out")) " " @if routing.held_out_globally { "by the holdout of all layers" } @else { "by the layer's holdout" } ": in no experiment." }
        }
    }
}

/// The unit's experiment and arm, for both pages.
pub fn assigned(routing: &MaskedRouting) -> Markup {
    html! {
        @match &routing.assignment {
            Some(assignment) => {
                p { "Experiment " (words::experiment(&assignment.experiment)) ", arm " b { (assignment.arm) } ", which has a share of "
                    (percent(assignment.propensity)) "; phase " (assignment.phase) ", coverage " (percent(assignment.coverage)) " of its slot"
                    @if let Some(batch) = assignment.batch { ", batch " (batch) } "."
                    @if assignment.forced { " " (badge(Tone::Warn, "forced")) " by hand: in no analysis." }
                    @if assignment.shipped { " A winner had shipped." }
                    @if assignment.dropped { " The arm was dropped: the unit had control's strategy." }
                }
            }
            None => { @if routing.excluded.is_none() { p { "No experiment: the pinned strategy." } } }
        }
    }
}

fn routing(record: &Record) -> Markup {
    let routing = &record.routing;
    let shown = MaskedRouting::of(routing);
    html! {
        section {
            h2 { "How it was routed" }
            @if let Some(why) = &routing.excluded { p { (badge(Tone::Open, "excluded")) " " (why) } }
            @if let Some(unit) = &routing.unit {
                p { (unit.kind) " " b { (unit.id) } " in layer " b { (routing.layer) }
                    @if let Some(place) = routing.place { ", at place " (format!("{place:.4}")) " of 0 to 1" } "." }
            } @else { p { "The request names no unit of layer " (routing.layer) ", so no experiment applies." } }
            (held_out(&shown))
            @if let Some(not) = &routing.not_enrolled {
                p { "In the slot of " (words::experiment(&not.experiment)) " and not enrolled: " (not.why) "." }
            }
            (assigned(&shown))
        }
    }
}

fn attempted(record: &Record, attempt: &Attempt) -> Markup {
    let served = record.answer.strategy.as_ref() == Some(&attempt.strategy);
    html! {
        h3 { (attempt.strategy.name) "@" (attempt.strategy.version) " "
            span.small { (role(attempt.role)) ", " (words::grouped(attempt.time_us)) " \u{b5}s, fuel " (words::grouped(attempt.fuel)) } }
        (scores(&attempt.scores))
        @match &attempt.outcome {
            Outcome::Candidates(candidates) => { (proposed(record, candidates, served)) }
            Outcome::Refusal { code, message } => { p { (badge(Tone::Open, "declined")) " " code { (code) } " " bdi { (message) } } }
            Outcome::Failure { kind, detail } => { p { (badge(Tone::Bad, kind.as_str())) " " (detail) } }
        }
        @if !attempt.logs.is_empty() {
            details { summary { "Log (" (words::grouped(attempt.logs.len() as u64)) ")" }
                ul { @for line in &attempt.logs { li { code { (line.level) } " " (line.message) } } } }
        }
    }
}

/// What a strategy ran as.
pub fn role(role: Role) -> &'static str {
    match role {
        Role::Arm => "the arm",
        Role::Strategy => "the pinned strategy",
        Role::FallbackStrategy => "the pinned strategy, in place of the arm",
        Role::Shadow => "a shadow arm",
    }
}

fn scores(scores: &[ScoreRecord]) -> Markup {
    html! {
        @for score in scores {
            p { "Score of " b { (score.model) } ": "
                @match (&score.value, &score.error) {
                    (Some(value), _) => { b { (format!("{value:.4}")) } }
                    (None, why) => { (badge(Tone::Warn, why.as_deref().unwrap_or("none"))) }
                }
            }
            details { summary { "Its inputs" }
                p { @for (at, (name, value)) in score.inputs.iter().enumerate() { @if at > 0 { ", " } code { (name) } " " (value) } } }
        }
    }
}

fn proposed(record: &Record, candidates: &[Candidate], served: bool) -> Markup {
    let answer = &record.answer;
    let is_drawn = |candidate: &Candidate| {
        served && candidate.action == answer.action && candidate.parameters == answer.parameters
    };
    html! {
        table.cards.stack {
            thead { tr { th scope="col" { "candidate" } th.n scope="col" { "probability" } th scope="col" { "parameters" } th scope="col" { "reasons" } } }
            tbody {
                @for candidate in candidates {
                    tr class=[is_drawn(candidate).then_some("drawn")] {
                        th scope="row" { (candidate.action) @if is_drawn(candidate) { " " (badge(Tone::Good, "drawn")) } }
                        td.n data-label="probability" { (percent(candidate.probability)) }
                        td data-label="parameters" { @for (at, (name, set)) in candidate.parameters.iter().enumerate() { @if at > 0 { ", " } code { (name) } " = " (value(set)) } }
                        td data-label="reasons" { @for (at, reason) in candidate.reasons.iter().enumerate() { @if at > 0 { ", " } (reason.code) " " span.small { (format!("{:.2}", reason.weight)) } } }
                    }
                }
            }
        }
        @if served { p.small { "The host drew one with recorded entropy, " code { (format!("{:016x}", record.entropy.0)) } "." } }
    }
}

/// What a replay found.
pub fn replayed(result: &Result<WireReplay, Problem>) -> Markup {
    html! {
        div.replayed role="status" {
            @match result {
                Ok(replay) if replay.identical => {
                    p { (badge(Tone::Good, "identical")) " It came out the same, byte for byte."
                        @if replay.environmental > 0 { " " (words::grouped(replay.environmental.into())) " outcomes were the environment's, and are not compared." } }
                    @if let Some(why) = &replay.not_recomputed { p.small { (why) } }
                }
                Ok(replay) => {
                    p { (badge(Tone::Bad, "different")) " It came out differently:" }
                    ul { @for difference in &replay.differences { li { code { (difference.field) } ": recorded " code { (difference.recorded) } ", now " code { (difference.replayed) } } } }
                }
                Err(problem) => { p { (badge(Tone::Warn, "not replayed")) " " (problem.detail) } }
            }
        }
    }
}

/// That an outcome counts for nothing any more.
pub fn taken_back(at_ms: Option<u64>) -> Markup {
    html! { (badge(Tone::Warn, "taken back")) @if let Some(at_ms) = at_ms { " on " (when(at_ms)) } }
}

fn consequences(found: &Consequences) -> Markup {
    html! {
        section {
            h2 { "What came of it" }
            p { @match found.exposed_ms { Some(at_ms) => { "Its result was seen on " (when(at_ms)) "." } None => { "No exposure was posted." } } }
            @if found.outcomes.is_empty() { p { "No outcome was posted about it, or about its entities since." } }
            @else {
                table.cards.stack {
                    thead { tr { th scope="col" { "outcome" } th.n scope="col" { "value" } th scope="col" { "when" } th scope="col" { "about" } } }
                    tbody {
                        @for outcome in &found.outcomes {
                            tr {
                                th scope="row" { (outcome.name)
                                    @if let Some(taken) = &outcome.reverses { " " (badge(Tone::Warn, "takes back")) " " (taken) }
                                    @if let Some(taken) = &outcome.taken_back { " " (taken_back(taken.at_ms)) " by " (taken.by) } }
                                td.n data-label="value" {
                                    @match (outcome.value, &outcome.taken_back) {
                                        (Some(value), None) => { (value) }
                                        (Some(value), Some(_)) => { del { (value) } }
                                        (None, _) => { "-" }
                                    }
                                }
                                td data-label="when" { @if let Some(at_ms) = outcome.at_ms { (when(at_ms)) } @else { "-" } }
                                td data-label="about" { (outcome.entity.as_deref().unwrap_or("this decision")) @if let Some(error) = &outcome.error { " " (error) } }
                            }
                        }
                    }
                }
                @if found.is_cut { p.small { "And more, which are not listed." } }
            }
        }
    }
}
