//! A decision for who may `read` and not `audit`: how it came about, without whom it is about. Drawn from the masked
//! decision alone, so it cannot show more than its JSON.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serin_core::record::RowStatus;

use super::decision::{assigned, held_out, instead, role, row_status, taken_back};
use super::door::holders;
use super::page::Page;
use super::visitor::Visitor;
use super::words::{self, Tone, badge, digest, grouped, served_by, span, when};
use crate::access::Role;
use crate::http::Service;
use crate::http::masked::{MaskedAttempt, MaskedDecision, MaskedRouting};

/// What stands in an id's place.
const MASK: &str = "\u{2026}";

/// The page.
pub fn page(service: &Service, visitor: &Visitor, decision: &MaskedDecision) -> Response {
    let about = decision.routing.unit.as_deref().map_or("nobody", |unit| unit);
    let title = format!("{} for {about} {MASK}", decision.answer.action);
    let json = words::json("decisions", &decision.decision_id, "/summary");
    let body = html! {
        (head(decision))
        section.masked {
            p { (badge(Tone::Open, "masked")) " Ids, values, scores and candidates are left out. Who has the role "
                b { (Role::Audit.as_str()) } " sees the whole record. " (holders(service, Role::Audit, Some(&decision.decision_point))) }
        }
        (reasons(decision))
        (known(decision))
        (routing(&decision.routing))
        section {
            h2 { "What ran" }
            @if decision.attempts.is_empty() { p { "No strategy ran." } }
            @for attempt in &decision.attempts { (attempted(attempt)) }
        }
        (outcomes(decision))
        section { h2 { "In full" } p { a href=(json) { "This view as JSON" } "." } }
    };
    Page { status: StatusCode::OK, title: &title, place: "/decisions", visitor, live: None, body }.answer()
}

fn head(decision: &MaskedDecision) -> Markup {
    let answer = &decision.answer;
    let tried = decision.attempts.iter().map(|attempt| {
        let strategy = format!("{}@{}", attempt.strategy.name, attempt.strategy.version);
        (strategy, attempt.outcome)
    });
    html! {
        h1 { (answer.action) @if let Some(unit) = &decision.routing.unit { " for " (unit) " " (MASK) } }
        p.facts {
            span { (when(decision.time_ms)) } " " span { "at " b { (decision.decision_point) } } " "
            span { "served by " (served_by(answer.served_by)) } " "
            @if let Some(strategy) = &answer.strategy { span { (strategy.name) "@" (strategy.version) " " (digest(&strategy.digest)) } " " }
            span { "id " code { (decision.decision_id) } }
        }
        @if let Some(why) = instead(answer.served_by, tried) { p { b { (why) } } }
    }
}

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> Markup {
    html! { @for (at, name) in names.into_iter().enumerate() { @if at > 0 { ", " } code { (name) } } }
}

fn reasons(decision: &MaskedDecision) -> Markup {
    let answer = &decision.answer;
    html! {
        section.reasons {
            h2 { "Why, as it can be told" }
            @if answer.reasons.is_empty() {
                @match &decision.routing.excluded {
                    Some(why) => { p { "No strategy decides about this one: " (why) "." } }
                    None => { p { "The strategy gave no reasons." } }
                }
            }
            ul { @for reason in &answer.reasons { li { bdi { (reason.text) } " " span.small { (reason.code) } } } }
            @if !answer.parameters.is_empty() { p { "With " (listed(&answer.parameters)) ", whose values are masked." } }
            @if !answer.degraded.is_empty() { p { (badge(Tone::Warn, "degraded")) " " (listed(&answer.degraded)) } }
        }
    }
}

fn known(decision: &MaskedDecision) -> Markup {
    let asked = decision.entities.iter().map(|kind| format!("entities.{kind}"));
    let asked = asked.chain(decision.context.iter().map(|name| format!("context.{name}")));
    html! {
        section {
            h2 { "What was known" }
            table.cards.stack {
                thead { tr { th scope="col" { "input" } th scope="col" { "value" } th scope="col" { "status" } th scope="col" { "age" } } }
                tbody {
                    @for name in asked { tr { th scope="row" { code { (name) } } td data-label="value" { (MASK) } td data-label="status" { "of the request" } td data-label="age" {} } }
                    @for feature in &decision.features {
                        tr {
                            th scope="row" { code { (feature.view) @if let Some(name) = &feature.name { "." wbr; (name) } } }
                            // Where nothing is known, nothing is masked.
                            td data-label="value" {
                                @if matches!(feature.status, RowStatus::Present | RowStatus::Stale) { (MASK) } @else { span.small { "none" } }
                            }
                            td data-label="status" { (row_status(feature.status)) }
                            td data-label="age" { @if let Some(age_ms) = feature.age_ms { (span(age_ms)) } }
                        }
                    }
                }
            }
        }
    }
}

fn routing(routing: &MaskedRouting) -> Markup {
    html! {
        section {
            h2 { "How it was routed" }
            @if let Some(why) = &routing.excluded { p { (badge(Tone::Open, "excluded")) " " (why) } }
            @match &routing.unit {
                Some(unit) => { p { (unit) " " (MASK) " in layer " b { (routing.layer) } "." } }
                None => { p { "The request names no unit of layer " (routing.layer) ", so no experiment applies." } }
            }
            (held_out(routing))
            @if let Some(not) = &routing.not_enrolled {
                p { "In the slot of " (words::experiment(&not.experiment)) " and not enrolled: " (not.why) "." }
            }
            (assigned(routing))
        }
    }
}

fn attempted(attempt: &MaskedAttempt) -> Markup {
    let tone = match attempt.outcome {
        "answer" => Tone::Good,
        "refusal" => Tone::Open,
        _ => Tone::Bad,
    };
    html! {
        h3 { (attempt.strategy.name) "@" (attempt.strategy.version) " "
            span.small { (role(attempt.role)) ", " (grouped(attempt.time_us)) " \u{b5}s" } }
        p { (badge(tone, attempt.outcome)) @if let Some(code) = &attempt.refusal { " " code { (code) } } }
        @for score in &attempt.scores {
            p { "Score of " b { (score.model) } ": "
                @match &score.error {
                    None => { (badge(Tone::Good, "computed")) }
                    Some(why) => { (badge(Tone::Warn, why)) }
                }
            }
        }
    }
}

fn outcomes(decision: &MaskedDecision) -> Markup {
    html! {
        section {
            h2 { "What came of it" }
            p { @match decision.exposed_ms { Some(at_ms) => { "Its result was seen on " (when(at_ms)) "." } None => { "No exposure was posted." } } }
            @if decision.outcomes.is_empty() { p { "No outcome was posted about it, or about its entities since." } }
            @else {
                table.cards.stack {
                    thead { tr { th scope="col" { "outcome" } th.n scope="col" { "value" } th scope="col" { "when" } th scope="col" { "about" } } }
                    tbody {
                        @for outcome in &decision.outcomes {
                            tr {
                                th scope="row" { (outcome.name) @if outcome.takes_back { " " (badge(Tone::Warn, "takes another back")) }
                                    @if outcome.is_taken_back { " " (taken_back(outcome.taken_back_ms)) } }
                                td.n data-label="value" { (MASK) }
                                td data-label="when" { @if let Some(at_ms) = outcome.at_ms { (when(at_ms)) } @else { "-" } }
                                td data-label="about" { (outcome.entity.as_deref().unwrap_or("this decision")) }
                            }
                        }
                    }
                }
                @if decision.is_cut { p.small { "And more, which are not listed." } }
            }
        }
    }
}
