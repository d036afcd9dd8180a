//! Freezing everything: one page, one button.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::html;
use serin_core::experiment::State as Life;

use super::command_pages::{Kept, who_and_why};
use super::page::{Page, see};
use super::visitor::{Sent, Visitor};
use super::words;
use crate::access::Role;
use crate::http::commands::{freeze_all, motive};
use crate::http::{Problem, Service};

/// `GET /freeze`.
pub async fn confirm(
    State(service): State<Arc<Service>>,
    visitor: Visitor,
    Query(kept): Query<Kept>,
) -> Result<Response, Problem> {
    visitor.caller.has(Role::Operate)?;
    visitor.caller.reaches_all("freezing all experiments")?;
    Ok(drawn(&service, &visitor, ["", &kept.reason], None))
}

/// `POST /freeze`.
pub async fn carry(State(service): State<Arc<Service>>, Sent { visitor, form }: Sent) -> Result<Response, Problem> {
    let [by, reason] = ["by", "reason"].map(|key| form.text(key).to_owned());
    let asked = motive(&visitor.caller, reason.clone(), Some(by.clone()).filter(|by| !by.is_empty()));
    let done = match asked {
        Ok(motive) => freeze_all(&service, &visitor.caller, motive).await,
        Err(problem) => Err(problem),
    };
    service.live.forget();
    match done {
        Ok(_) => Ok(see("/experiments?state=paused")),
        Err(problem) => {
            let mut page = drawn(&service, &visitor, [&by, &reason], Some(&problem));
            page.extensions_mut().insert(crate::http::error::ProblemType(problem.reason().to_owned()));
            Ok(page)
        }
    }
}

fn drawn(service: &Service, visitor: &Visitor, [by, reason]: [&str; 2], problem: Option<&Problem>) -> Response {
    let status = service.status.load();
    let running: Vec<_> = status.experiments.iter().filter(|known| known.status.state == Life::Running).collect();
    let body = html! {
        h1 { "Freeze all experiments" }
        @if let Some(problem) = problem { section.refused role="alert" { p { b { (problem.title) ": " } (problem.detail) } } }
        @if running.is_empty() {
            p { "No experiment is running, so there is nothing to freeze. " a href="/" { "Back to the overview" } }
        } @else {
        section.effect {
            p.headline { "freeze: pauses " (words::counted(running.len() as u64, "running experiment")) }
            ul {
                li { "Every ramp stands still where it is. Who has entered stays in their arm, and others still enter at today's coverage." }
                li { "Each is resumed by itself. To take everybody out of one, abort it." }
            }
            p { @for (at, known) in running.iter().enumerate() { @if at > 0 { ", " } (words::experiment(&known.id)) } }
        }
        form.command method="post" action="/freeze" {
            input type="hidden" name="form_key" value=(visitor.form_key);
            (who_and_why(visitor, by, reason))
            p { button.primary { "Freeze all" } " " a.button href="/" { "Cancel" } }
        }
        }
    };
    let status = problem.map_or(StatusCode::OK, Problem::status);
    Page { status, title: "Freeze all experiments", place: "", visitor, live: None, body }.answer()
}
