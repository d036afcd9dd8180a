//! Commands of people: a page that says what one will do and asks for a reason, and the form that it sends.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serin_core::experiment::{Experiment, without_addresses};

use super::difference;
use super::door::holders;
use super::experiment::{capital, said};
use super::page::{Page, see};
use super::preview::{Effect, effect};
use super::visitor::{Form, Sent, Visitor};
use super::words::{digest, encoded, lines, on_page, when};
use crate::access::Role;
use crate::experiments::ExperimentStatus;
use crate::http::admin::read;
use crate::http::agreement::approvals as agreement;
use crate::http::commands::{MAX_TEXT, Order, carry_out, motive, parse, role_of};
use crate::http::experiments::{find, found, report_of};
use crate::http::wire::InPath;
use crate::http::{Problem, Service};
use crate::ledger::{Approval, LedgerReader, Reads as _, TransitionRow};

/// What a confirmation rests on.
struct Seen {
    experiment: ExperimentStatus,
    effect: Effect,
    approvals: Vec<Approval>,
    lacks: Option<String>,
    /// The file that was approved last before this one, where one was and the archive has it.
    approved: Option<Arc<Experiment>>,
    /// The verdict in words, where it has begun, and what it rests on.
    evidence: Option<(String, Markup)>,
    /// Changes since the page that was sent.
    since: Vec<TransitionRow>,
}

impl Seen {
    /// Reads the ledger, so not on an async worker.
    fn read(
        service: &Service,
        ledger: &LedgerReader,
        id: &str,
        name: &str,
        (by, judged): (Option<&str>, Option<u64>),
    ) -> Result<Self, Problem> {
        let experiment = found(service, id)?;
        let effect = effect(service, ledger, &experiment, name, by)?;
        let spec = experiment.pending.as_ref().map(|pending| &pending.spec).or(experiment.spec.as_ref());
        let (approvals, lacks) = match spec {
            Some(spec) => agreement(service, ledger, (spec, &experiment.status))?,
            None => Default::default(),
        };
        let approved = match spec.filter(|_| is_of_file(name)) {
            Some(spec) => approved_before(service, ledger, spec, &approvals)?,
            None => None,
        };
        let report = report_of(service, ledger, id, &experiment.status, false).ok();
        let evidence = report.map(|report| {
            let verdict = format!("{}: {}", report.verdict.decision.to_uppercase(), report.verdict.why);
            (verdict, report.evidence())
        });
        let mut since = match judged {
            Some(_) => ledger.transitions(id)?,
            None => Vec::new(),
        };
        since.retain(|change| judged.is_some_and(|judged| change.generation > judged));
        Ok(Self { experiment, effect, approvals, lacks, approved, evidence, since })
    }

    /// The digest of the file that a command of this name is decided on.
    fn file(&self, name: &str) -> Option<&str> {
        let pending = self.experiment.pending.as_ref().filter(|_| is_of_file(name)).map(|pending| &pending.spec);
        pending.or(self.experiment.spec.as_ref()).map(|spec| &*spec.digest)
    }
}

async fn seen(
    service: &Arc<Service>,
    visitor: &Visitor,
    id: &str,
    name: &str,
    judged: Option<u64>,
) -> Result<Seen, Problem> {
    let (id, name, by) = (id.to_owned(), name.to_owned(), visitor.name.clone());
    let seen = read(service, move |service, budget| {
        service.ledger.bounded(budget, |ledger| Ok(Seen::read(service, ledger, &id, &name, (by.as_deref(), judged))))
    });
    seen.await??
}

/// `GET /experiments/{id}/{command}`.
pub async fn confirm(
    State(service): State<Arc<Service>>,
    visitor: Visitor,
    InPath((id, name)): InPath<(String, String)>,
    Query(kept): Query<Kept>,
) -> Result<Response, Problem> {
    parse(&name, (name == "conclude").then(String::new))?;
    visitor.caller.has(role_of(&name))?;
    find(&service, &visitor.caller, &id)?;
    let seen = seen(&service, &visitor, &id, &name, None).await?;
    let typed = Typed { reason: kept.reason, ..Typed::default() };
    Ok(drawn(&service, &visitor, &seen, &name, &typed, None))
}

/// What a person had typed into a form whose session had ended. They send it themselves.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Why.
    pub reason: String,
}

/// What a person had typed.
#[derive(Default)]
struct Typed {
    reason: String,
    by: String,
    winner: String,
}

impl Typed {
    fn of(form: &Form) -> Self {
        let text = |key: &str| form.text(key).to_owned();
        Self { reason: text("reason"), by: text("by"), winner: text("winner") }
    }
}

/// `POST /experiments/{id}/{command}`.
pub async fn carry(
    State(service): State<Arc<Service>>,
    InPath((id, name)): InPath<(String, String)>,
    Sent { visitor, form }: Sent,
) -> Result<Response, Problem> {
    // By the name as it is carried out: a path can be written in several ways.
    visitor.caller.has(role_of(&name))?;
    find(&service, &visitor.caller, &id)?;
    let (typed, judged) = (Typed::of(&form), form.number("generation"));
    let done = match order(&visitor, &name, &typed, &form) {
        Ok(order) => carry_out(&service, &visitor.caller, id.clone(), order).await,
        Err(problem) => Err(problem),
    };
    // Whoever sent it looks at it next.
    service.live.forget();
    let problem = match done {
        Ok(_) => return Ok(see(&format!("/experiments/{}", encoded(&id)))),
        Err(problem) => problem,
    };
    let seen = seen(&service, &visitor, &id, &name, judged).await?;
    let mut page = drawn(&service, &visitor, &seen, &name, &typed, Some(&problem));
    page.extensions_mut().insert(crate::http::error::ProblemType(problem.reason().to_owned()));
    Ok(page)
}

/// What a form asks for. It holds what its page showed: what has changed meanwhile is not decided on.
fn order(visitor: &Visitor, name: &str, typed: &Typed, form: &Form) -> Result<Order, Problem> {
    let judged = form.number("generation");
    if judged.is_none() {
        return Err(Problem::invalid("generation", "generation: the form has to say which status it was decided on"));
    }
    let seen = Some(form.text("file")).filter(|file| !file.is_empty()).map(str::to_owned);
    if seen.is_none() {
        return Err(Problem::invalid("file", "file: the form has to say which file it was decided on"));
    }
    let winner = (name == "conclude").then(|| typed.winner.clone());
    let request = parse(name, winner)?;
    let by = Some(typed.by.clone()).filter(|by| !by.is_empty());
    let motive = motive(&visitor.caller, typed.reason.clone(), by)?;
    Ok(Order { request, motive, judged, seen })
}

fn drawn(
    service: &Service,
    visitor: &Visitor,
    seen: &Seen,
    name: &str,
    typed: &Typed,
    problem: Option<&Problem>,
) -> Response {
    let status = problem.map_or(StatusCode::OK, Problem::status);
    let (id, effect) = (&seen.experiment.id, &seen.effect);
    let title = format!("{} {id}", capital(name));
    let body = html! {
        p { a href={ "/experiments/" (encoded(id)) } { "\u{2190} " (id) } }
        h1 { (title) }
        @if let Some(problem) = problem { (refused(problem, seen)) }
        // What is not possible has no form, and nothing is told of what it would do.
        @if let Some(why) = &effect.refused {
            @if problem.is_none_or(|problem| !problem.detail.contains(why.as_str())) {
                p.refused role="alert" { b { "Not possible as it stands: " } (lines(&on_page(why, id))) }
            }
            @if seen.lacks.is_some() && !is_of_file(name) { (who_approves(service, visitor, seen)) }
            p { a.button href={ "/experiments/" (encoded(id)) } { "Back to the experiment" } }
        } @else {
            section.effect {
                p.headline { (effect.headline) }
                ul { @for line in &effect.follows { li { (line) } } }
                @if let Some((verdict, _)) = &seen.evidence { p { "The evidence now: " (verdict) } }
                @if let Some(lacks) = &seen.lacks { p { "Approvals: " (lacks) } }
            }
            (form(visitor, seen, name, typed))
            @if is_of_file(name) { (approvals(&seen.approvals)) (file(seen)) }
            @if let Some((_, evidence)) = &seen.evidence { (evidence) }
        }
    };
    Page { status, title: &title, place: "/experiments", visitor, live: None, body }.answer()
}

/// Whether a command is about the file itself, and about its edit where one waits.
fn is_of_file(name: &str) -> bool {
    matches!(name, "approve" | "amend")
}

/// Why it was refused, in the words of the JSON API; or what has changed meanwhile, by whom.
fn refused(problem: &Problem, seen: &Seen) -> Markup {
    let since = &seen.since;
    html! {
        section.refused role="alert" {
            @if problem.status == 412 && !since.is_empty() {
                p { b { (problem.title) ": " } "somebody was faster, and nothing of yours was done. Since you looked:" }
                ul { @for change in since { li { (said(change)) } } }
                p { "It is " b { (seen.experiment.state.as_str().replace('_', " ")) } " now."
                    @if seen.effect.refused.is_none() { " What yours would do now is below." } }
            } @else {
                p { b { (problem.title) ": " } (lines(&on_page(&problem.detail, &seen.experiment.id))) }
                @if problem.status == 412 && seen.effect.refused.is_none() { p { "Nothing was done. What yours would do now is below." } }
            }
        }
    }
}

/// The way to the approval that is missing, or who has it.
fn who_approves(service: &Service, visitor: &Visitor, seen: &Seen) -> Markup {
    let id = encoded(&seen.experiment.id);
    let point = seen.experiment.spec.as_ref().map(|spec| &*spec.decision_point);
    html! {
        @if visitor.caller.has(Role::Approve).is_ok() {
            p { a.button.primary href={ "/experiments/" (id) "/approve" } { "Review and approve\u{2026}" } }
        } @else { p { "It is approved with the role " b { (Role::Approve.as_str()) } ". " (holders(service, Role::Approve, point)) } }
    }
}

fn form(visitor: &Visitor, seen: &Seen, name: &str, typed: &Typed) -> Markup {
    let experiment = &seen.experiment;
    let path = format!("/experiments/{}", encoded(&experiment.id));
    html! {
        form.command method="post" action={ (path) "/" (name) } {
            input type="hidden" name="form_key" value=(visitor.form_key);
            input type="hidden" name="generation" value=(experiment.status.generation);
            @if let Some(file) = seen.file(name) { input type="hidden" name="file" value=(file); }
            @if name == "conclude" {
                label { "Winner "
                    select name="winner" required {
                        option value="" { "choose an arm" }
                        @for arm in experiment.spec.iter().flat_map(|spec| &spec.arms) {
                            option value=(arm.name) selected[*arm.name == *typed.winner] { (arm.name) " (" (arm.strategy) ")" }
                        }
                    }
                }
            }
            (who_and_why(visitor, &typed.by, &typed.reason))
            p { button.primary { (capital(name)) } " " a.button href=(path) { "Cancel" } }
        }
    }
}

/// The fields for who acts and why.
pub fn who_and_why(visitor: &Visitor, by: &str, reason: &str) -> Markup {
    html! {
        @if let Some(name) = &visitor.name { p { "Recorded as done by " b { (name) } "." } }
        @else { label { "Your name, which is recorded " input name="by" value=(by) required maxlength=(MAX_TEXT) autocomplete="username"; } }
        label { "Reason, which is recorded " textarea name="reason" required maxlength=(MAX_TEXT) rows="3" { (reason) } }
    }
}

fn approvals(approvals: &[Approval]) -> Markup {
    html! {
        @if !approvals.is_empty() {
            section {
                h2 { "Approvals so far" }
                ul { @for given in approvals {
                    li { (when(given.time_ms)) " " b { (given.by) } ": \u{201c}" bdi { (given.reason) } "\u{201d}, of file " (digest(&given.spec_digest)) }
                } }
            }
        }
    }
}

/// The file that was approved last before this one: of those with enough approvals, or else with one.
fn approved_before(
    service: &Service,
    ledger: &LedgerReader,
    spec: &Experiment,
    approvals: &[Approval],
) -> Result<Option<Arc<Experiment>>, Problem> {
    let mut seen = BTreeSet::from([&*spec.digest]);
    let mut with_one = None;
    for digest in approvals.iter().rev().map(|approval| approval.spec_digest.as_str()) {
        if !seen.insert(digest) {
            continue;
        }
        let Some(before) = service.versions.spec(digest) else { continue };
        if service.controller.approvals(ledger, &before)?.1.is_none() {
            return Ok(Some(before));
        }
        with_one = with_one.or(Some(before));
    }
    Ok(with_one)
}

/// What differs in the file, from the one that was approved last too; or all of it where there is none before it.
fn file(seen: &Seen) -> Markup {
    let experiment = &seen.experiment;
    let in_force = experiment.spec.as_ref();
    let edited = experiment.pending.as_ref().map(|pending| &pending.spec).or(in_force);
    // An edit that waits is compared with the file in force below.
    let is_other = |before: &&Arc<Experiment>| {
        experiment.pending.is_none() || in_force.is_none_or(|spec| spec.digest != before.digest)
    };
    let approved = seen.approved.as_ref().filter(is_other);
    html! {
        @if let (Some(approved), Some(edited)) = (approved, edited) {
            section {
                h2 { "What differs from the file that was approved last, " (digest(&approved.digest)) }
                (difference::drawn(&approved.text, &edited.text))
            }
        }
        section {
            @if let Some(pending) = &experiment.pending {
                h2 { "What the edit changes" }
                table.cards.stack {
                    thead { tr { th scope="col" { "key" } th scope="col" { "now" } th scope="col" { "edited" } th scope="col" { "effect" } } }
                    tbody {
                        @for change in &pending.changes {
                            @let shown = serde_json::to_value(change).unwrap_or_default();
                            tr {
                                th scope="row" { code { (shown["key"].as_str().unwrap_or_default()) } }
                                td data-label="now" { (shown["old"].as_str().unwrap_or("-")) }
                                td data-label="edited" { (shown["new"].as_str().unwrap_or("-")) }
                                td data-label="effect" { (shown["effect"].as_str().unwrap_or_default()) }
                            }
                        }
                    }
                }
                (difference::drawn(in_force.map_or("", |spec| &spec.text), &pending.spec.text))
            } @else if let Some(spec) = in_force {
                h2 { "The file: " (experiment.file) ", " (digest(&spec.digest)) }
                @if !spec.guardrails.is_empty() {
                    ul { @for rail in &spec.guardrails { li { b { (rail.name) } ": " (rail.meaning(spec)) } } }
                }
                pre { (without_addresses(&spec.text)) }
            }
        }
    }
}
