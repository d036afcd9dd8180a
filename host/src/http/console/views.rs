//! The pages with live parts: the frame around what a subject draws.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::page::{Page, parts};
use super::subject::Subject;
use super::visitor::Visitor;
use super::{listing, needs};
use crate::http::wire::{InPath, unfit_query};
use crate::http::{Problem, Service};

async fn drawn(
    service: &Arc<Service>,
    visitor: &Visitor,
    subject: &Subject,
    (title, place): (&str, &str),
    above: Markup,
) -> Result<Response, Problem> {
    let shown = subject.shown(service, &visitor.caller).await?;
    let live = subject.address();
    let body = html! { (above) (parts(&shown.parts)) };
    Ok(Page { status: StatusCode::OK, title, place, visitor, live: Some(&live), body }.answer())
}

fn title(text: &str) -> Markup {
    html! { h1 { (text) } }
}

/// `GET /`.
pub async fn overview(State(service): State<Arc<Service>>, visitor: Visitor) -> Result<Response, Problem> {
    let above = html! { h1.hidden { "Overview" } };
    drawn(&service, &visitor, &Subject::Overview, ("Overview", "/"), above).await
}

/// `GET /attention`.
pub async fn attention(
    State(service): State<Arc<Service>>,
    visitor: Visitor,
    query: Result<Query<needs::Query>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| unfit_query(&e))?;
    let above = html! { (title("What needs a person")) (needs::search(&query)) };
    drawn(&service, &visitor, &Subject::Attention(query), ("What needs a person", "/"), above).await
}

/// `GET /experiments`.
pub async fn experiments(
    State(service): State<Arc<Service>>,
    visitor: Visitor,
    query: Result<Query<listing::Query>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|e| unfit_query(&e))?;
    let above = html! { (title("Experiments")) (listing::search(&query)) };
    drawn(&service, &visitor, &Subject::Experiments(query), ("Experiments", "/experiments"), above).await
}

/// `GET /experiments/{id}`.
pub async fn experiment(
    State(service): State<Arc<Service>>,
    visitor: Visitor,
    InPath(id): InPath<String>,
) -> Result<Response, Problem> {
    let subject = Subject::Experiment(id.clone());
    drawn(&service, &visitor, &subject, (&id, "/experiments"), html! {}).await
}

/// `GET /plugins`.
pub async fn plugins(State(service): State<Arc<Service>>, visitor: Visitor) -> Result<Response, Problem> {
    drawn(&service, &visitor, &Subject::Plugins, ("Plugins", "/plugins"), title("Plugins")).await
}

/// `GET /models`.
pub async fn models(State(service): State<Arc<Service>>, visitor: Visitor) -> Result<Response, Problem> {
    drawn(&service, &visitor, &Subject::Models, ("Models", "/models"), title("Models")).await
}

/// `GET /features`.
pub async fn features(State(service): State<Arc<Service>>, visitor: Visitor) -> Result<Response, Problem> {
    drawn(&service, &visitor, &Subject::Features, ("Feature views", "/features"), title("Feature views")).await
}
