//! Decisions: searching them, and one with all that was known.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serin_core::record::Record;

use super::decision;
use super::door::holders;
use super::page::{Page, see};
use super::visitor::{Sent, Visitor};
use super::words::{self, Tone, badge, encoded, grouped, served_by, when};
use crate::access::Role;
use crate::http::admin::{TIMES, find, older_than, parse_time, read, run_again};
use crate::http::consequences::consequences;
use crate::http::masked::masked;
use crate::http::wire::{InPath, unfit_query};
use crate::http::{Problem, Service};
use crate::ledger::{DecisionFilter, RecordError, StoredRecord};

/// Decisions of a page.
const PAGE: usize = 50;
/// Other decisions about the unit that are listed with one.
const OTHERS: usize = 10;

/// What is searched for.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Search {
    /// A decision's id.
    id: String,
    /// A unit's id.
    unit: String,
    point: String,
    since: String,
    before: String,
}

impl Search {
    /// Whether nothing is searched for.
    fn is_empty(&self) -> bool {
        [&self.unit, &self.point, &self.since].iter().all(|text| text.is_empty())
    }
}

type Read = (String, Result<Record, RecordError>);

fn parsed(stored: &StoredRecord) -> Read {
    (stored.decision_id.clone(), stored.parse())
}

/// `GET /decisions`.
pub async fn search(
    State(service): State<Arc<Service>>,
    visitor: Visitor,
    search: Result<Query<Search>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(mut search) = search.map_err(|e| unfit_query(&e))?;
    for text in [&mut search.id, &mut search.unit, &mut search.point, &mut search.since, &mut search.before] {
        *text = text.trim().to_owned();
    }
    if !search.id.is_empty() {
        return Ok(see(&format!("/decisions/{}", encoded(&search.id))));
    }
    if let Err(lacks) = visitor.caller.has(Role::Audit) {
        // Whether there are decisions about somebody is personal data already.
        return if search.is_empty() { Ok(by_id_alone(&service, &visitor)) } else { Err(lacks) };
    }
    let points: Vec<String> = points(&service, &visitor);
    if search.point.is_empty() && visitor.caller.reaches_all("reading decisions of all points").is_err() {
        search.point = points.first().cloned().unwrap_or_default();
    }
    if !search.point.is_empty() {
        visitor.caller.reaches(&search.point)?;
    }
    let is_asked = !search.is_empty();
    let (found, next) = match is_asked {
        true => newest(&service, &search).await?,
        false => Default::default(),
    };
    let body = html! {
        h1 { "Decisions" }
        p { "Why was it decided so? Search for the decision's id, which every answer has, or for the unit: the id of whom it is about." }
        (form(&search, &points))
        @if is_asked {
            p role="status" { (grouped(found.len() as u64)) @if next.is_some() { " newest" } @if found.len() == 1 { " decision" } @else { " decisions" } }
            (list(&found))
            @if let Some(next) = next {
                nav.pages aria-label="Pages of the list" {
                    a rel="next" href={ "/decisions?unit=" (encoded(&search.unit)) "&point=" (encoded(&search.point)) "&since=" (encoded(&search.since)) "&before=" (encoded(&next)) } { "Older" }
                }
            }
        }
    };
    Ok(Page { status: StatusCode::OK, title: "Decisions", place: "/decisions", visitor: &visitor, live: None, body }
        .answer())
}

/// The search of who may see masked decisions: by the id that an answer had.
fn by_id_alone(service: &Service, visitor: &Visitor) -> Response {
    let body = html! {
        h1 { "Decisions" }
        p { "Why was it decided so? Open the decision by its id, which every answer has. Without the role "
            b { (Role::Audit.as_str()) } " it is shown masked, and decisions are not searched by unit: that there are any says \
             something of a person. " (holders(service, Role::Audit, None)) }
        form.search method="get" action="/decisions" role="search" {
            label { "Decision id " input name="id" maxlength="64" spellcheck="false" required; }
            button.primary { "Open" }
        }
    };
    Page { status: StatusCode::OK, title: "Decisions", place: "/decisions", visitor, live: None, body }.answer()
}

fn points(service: &Service, visitor: &Visitor) -> Vec<String> {
    let deployment = service.deployment.load();
    let reached = deployment.points.keys().filter(|point| visitor.caller.reaches(point).is_ok());
    let mut points: Vec<String> = reached.map(ToString::to_string).collect();
    points.sort_unstable();
    points
}

async fn newest(service: &Arc<Service>, search: &Search) -> Result<(Vec<Read>, Option<String>), Problem> {
    let since_ms = match search.since.as_str() {
        "" => None,
        since => Some(
            parse_time(since, service.clock.now_ms())
                .ok_or_else(|| Problem::invalid("since", format!("since: valid: {TIMES}")))?,
        ),
    };
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let filter = DecisionFilter { unit: text(&search.unit), point: text(&search.point), since_ms, until_ms: None };
    let before = older_than(text(&search.before))?;
    page(service, filter, before, PAGE).await
}

async fn page(
    service: &Arc<Service>,
    filter: DecisionFilter,
    before: Option<String>,
    most: usize,
) -> Result<(Vec<Read>, Option<String>), Problem> {
    let found = read(service, move |service, budget| {
        service.ledger.bounded(budget, |ledger| {
            let (mut found, mut is_more) = (Vec::new(), false);
            ledger.newest(&filter, before.as_deref(), |stored| {
                is_more = found.len() == most;
                if !is_more {
                    found.push(parsed(&stored));
                }
                !is_more
            })?;
            let next = found.last().filter(|_| is_more).map(|(id, _): &Read| id.clone());
            Ok((found, next))
        })
    });
    Ok(found.await??)
}

fn form(search: &Search, points: &[String]) -> Markup {
    html! {
        form.search method="get" action="/decisions" role="search" {
            label { "Decision id " input name="id" maxlength="64" spellcheck="false"; }
            label { "or unit " input name="unit" value=(search.unit) maxlength="256" spellcheck="false"; }
            label { "Decision point "
                select name="point" {
                    option value="" { "all" }
                    @for point in points { option value=(point) selected[*point == search.point] { (point) } }
                }
            }
            label { "Since " input name="since" value=(search.since) placeholder="7d, or 2026-11-23T07:00:00Z" maxlength="40"; }
            button.primary { "Search" }
        }
    }
}

fn list(found: &[Read]) -> Markup {
    html! {
        @if !found.is_empty() {
            div.wide { table.cards.stack {
                thead { tr {
                    th scope="col" { "when" } th scope="col" { "action" } th scope="col" { "unit" } th scope="col" { "at" }
                    th scope="col" { "served by" } th scope="col" { "experiment" } th scope="col" { "degraded" }
                } }
                tbody { @for (id, record) in found { (row(id, record)) } }
            } }
        }
    }
}

fn row(id: &str, record: &Result<Record, RecordError>) -> Markup {
    let path = format!("/decisions/{}", encoded(id));
    html! {
        tr {
            @match record {
                Err(error) => { th scope="row" { a href=(path) { (id) } } td colspan="6" { (badge(Tone::Bad, "not readable")) " " (error) } }
                Ok(record) => {
                    th scope="row" { a href=(path) { (when(record.time_ms)) } }
                    td data-label="action" { b { (record.answer.action) } }
                    td data-label="unit" { @if let Some(unit) = record.unit() { (unit.kind) " " (unit.id) } @else { "-" } }
                    td data-label="at" { (record.decision_point) }
                    td data-label="served by" { (served_by(record.answer.served_by)) }
                    td data-label="experiment" {
                        @if let Some(assignment) = &record.routing.assignment { (words::experiment(&assignment.experiment)) " " span.small { (assignment.arm) } } @else { "-" }
                    }
                    td data-label="degraded" { @if record.answer.degraded.is_empty() { "-" } @else { (record.answer.degraded.len()) } }
                }
            }
        }
    }
}

/// `GET /decisions/{id}`.
pub async fn show(
    State(service): State<Arc<Service>>,
    visitor: Visitor,
    InPath(id): InPath<String>,
) -> Result<Response, Problem> {
    let stored = find(&service, &visitor.caller, id).await?;
    if visitor.caller.has(Role::Audit).is_err() {
        return Ok(super::masked::page(&service, &visitor, &masked(&service, stored).await?));
    }
    drawn(&service, &visitor, &stored, &html! {}).await
}

/// `POST /decisions/{id}/replay`.
pub async fn replay(
    State(service): State<Arc<Service>>,
    InPath(id): InPath<String>,
    Sent { visitor, .. }: Sent,
) -> Result<Response, Problem> {
    let stored = find(&service, &visitor.caller, id).await?;
    let result = run_again(&service, stored.clone()).await;
    drawn(&service, &visitor, &stored, &decision::replayed(&result)).await
}

async fn drawn(
    service: &Arc<Service>,
    visitor: &Visitor,
    stored: &StoredRecord,
    replayed: &Markup,
) -> Result<Response, Problem> {
    let record = stored.parse()?;
    let came_of_it = consequences(service, &record).await?;
    let others = match record.unit() {
        None => Vec::new(),
        Some(unit) => {
            // Of this decision point alone where the reader may not read all.
            let point = visitor.caller.is_limited().then(|| record.decision_point.to_string());
            let filter = DecisionFilter { unit: Some(unit.id.clone()), point, since_ms: None, until_ms: None };
            page(service, filter, None, OTHERS + 1).await?.0
        }
    };
    let others: Vec<Read> = others.into_iter().filter(|(id, _)| *id != record.decision_id).take(OTHERS).collect();
    let is_limited = visitor.caller.is_limited();
    let replay = html! {
        form.inline method="post" action={ "/decisions/" (encoded(&record.decision_id)) "/replay" } {
            input type="hidden" name="form_key" value=(visitor.form_key);
            button { "Replay" } " "
            span.small { "Runs it again on the recorded artifact, and compares byte for byte." }
        }
        (replayed)
    };
    let body = html! {
        (decision::drawn(&record, &replay, &came_of_it))
        @if let Some(unit) = record.unit() {
            section {
                h2 { "Other decisions about " (unit.kind) " " (unit.id) @if is_limited { " here" } }
                @if others.is_empty() { p { "None is recorded." } } @else { (list(&others)) }
                p { a href={ "/decisions?unit=" (encoded(&unit.id)) @if is_limited { "&point=" (encoded(&record.decision_point)) } } { "All of them" } }
            }
        }
    };
    let title = format!("{} for {}", record.answer.action, record.unit().map_or("nobody", |unit| &unit.id));
    Ok(Page { status: StatusCode::OK, title: &title, place: "/decisions", visitor, live: None, body }.answer())
}
