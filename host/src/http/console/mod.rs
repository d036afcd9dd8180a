//! The console: pages of the admin listener, drawn from the same values as its JSON answers. They work
//! without a script; with it they change as the host does.

mod assets;
mod command_pages;
mod cookie;
mod decision;
mod decisions;
mod difference;
mod door;
mod experiment;
mod freeze;
mod inventory;
mod listing;
mod live;
mod masked;
mod needs;
mod nowhere;
mod overview;
mod page;
mod preview;
mod shelf;
mod signing;
mod subject;
mod views;
mod visitor;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub(super) use nowhere::{answer as nowhere, pages};
pub(super) use preview::{Effect, show as preview};
pub(super) use shelf::Live;

use super::access::authorize;
use super::{Service, admin, consequences, experiments, masked as summary};

/// The pages. Their roles are in the table of `access`.
pub(super) fn routes(service: &Arc<Service>) -> Router<Arc<Service>> {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(live::keep_counters(Arc::downgrade(service)));
    }
    Router::new()
        .route("/", get(views::overview))
        .route("/attention", get(views::attention))
        .route("/experiments", get(views::experiments))
        .route("/experiments/{id}", get(views::experiment))
        .route("/experiments/{id}/{command}", get(command_pages::confirm).post(command_pages::carry))
        .route("/freeze", get(freeze::confirm).post(freeze::carry))
        .route("/decisions", get(decisions::search))
        .route("/decisions/{id}", get(decisions::show))
        .route("/decisions/{id}/replay", post(decisions::replay))
        .route("/plugins", get(views::plugins))
        .route("/models", get(views::models))
        .route("/features", get(views::features))
        .route("/sign-in", get(signing::form).post(signing::sign_in))
        .route("/sign-out", post(signing::sign_out))
        .route("/console/live", get(live::stream))
        .route("/console/{file}", get(assets::serve))
        // What pages link to of the JSON API: a link that is followed has the session, which the API does not take.
        .route("/console/v1/experiments/{id}", get(experiments::show))
        .route("/console/v1/experiments/{id}/report", get(experiments::report))
        .route("/console/v1/decisions/{id}", get(admin::decision))
        .route("/console/v1/decisions/{id}/outcomes", get(consequences::show))
        .route("/console/v1/decisions/{id}/summary", get(summary::show))
        .route_layer(from_fn_with_state(Arc::clone(service), authorize))
        .route_layer(from_fn_with_state(Arc::clone(service), door::door))
}
