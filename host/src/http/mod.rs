//! HTTP: wire types, status codes, and nothing that decides.

mod access;
mod addresses;
mod admin;
mod admin_openapi;
mod agreement;
mod at_its_end;
mod attention;
mod audit;
mod audit_target;
mod batch;
mod body;
mod bytes;
mod came_of;
mod cloudevents;
mod commands;
mod compress;
mod consequences;
mod console;
mod decisions;
mod error;
mod event_bodies;
mod events;
mod experiments;
mod feature_views;
mod features;
mod guard;
mod idempotency;
mod key_locks;
mod lanes;
mod listener;
mod masked;
mod models;
mod ofrep;
mod openapi;
mod openapi_access;
mod refusals;
mod rejudged;
mod resolution;
mod schemas;
mod service;
mod session_file;
mod summary;
mod trace;
mod traffic;
mod unread;
mod usage;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

pub use admin::{TIMES, parse_time};
pub use audit::KINDS as AUDIT_KINDS;
pub use error::Problem;
use listener::EndsConnection;
pub use listener::{Drain, Listener, Peer, ServerSettings};
pub use openapi::{admin_document, document};
pub use service::{Service, ServiceParts};

/// The public listener, which is bound to an address.
pub fn public(service: Arc<Service>, bound: IpAddr) -> Router {
    // Around what can be long, and around nothing that a single decision passes through.
    let compressed = || axum::middleware::from_fn_with_state(Arc::clone(&service), compress::compress);
    let guard = (guard::HostNames::new(bound, Vec::new()), Arc::clone(&service));
    Router::new()
        .route("/v1/decisions", post(decisions::decide_public))
        .route("/v1/decisions/batch", post(batch::decide_batch).layer(compressed()))
        .route("/v1/exposures", post(events::exposures))
        .route("/v1/outcomes", post(events::outcomes))
        .route("/v1/outcomes/watermarks", post(events::watermarks))
        .route("/v1/features/{view}", post(features::push))
        .route("/ofrep/v1/evaluate/flags", post(ofrep::evaluate_all))
        .route("/ofrep/v1/evaluate/flags/{key}", post(ofrep::evaluate))
        .route("/healthz", get(service::healthz))
        .route("/readyz", get(service::readyz))
        .route("/openapi.json", get(openapi::serve).layer(compressed()))
        .route_layer(axum::middleware::from_fn_with_state(Arc::clone(&service), access::authorize))
        .fallback(ofrep::nowhere)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(guard, guard::guard_public))
        .with_state(service)
}

/// The admin listener, which is bound to an address.
pub fn admin(service: Arc<Service>, bound: IpAddr) -> Router {
    let guard = guard::HostNames::new(bound, service.settings.admin_hosts.clone());
    Router::new()
        .route("/v1/plugins", get(admin::plugins))
        .route("/v1/experiments", get(experiments::list))
        .route("/v1/experiments/{id}", get(experiments::show))
        .route("/v1/freeze", post(commands::freeze))
        .route("/v1/clock/confirm", post(commands::confirm_clock))
        .route("/v1/experiments/{id}/affected", get(experiments::affected))
        .route("/v1/experiments/{id}/report", get(experiments::report))
        .route("/v1/experiments/{id}/{command}", get(console::preview).post(commands::command))
        .route("/v1/deployment", get(admin::deployment))
        .route("/v1/attention", get(attention::list))
        .route("/v1/models", get(models::list))
        .route("/v1/decisions", get(admin::decisions).post(decisions::decide_admin))
        .route("/v1/decisions/{id}", get(admin::decision))
        .route("/v1/decisions/{id}/replay", post(admin::replay))
        .route("/v1/decisions/{id}/outcomes", get(consequences::show))
        .route("/v1/decisions/{id}/summary", get(masked::show))
        .route("/v1/outcomes", post(events::outcomes))
        .route("/v1/outcomes/watermarks", post(events::watermarks))
        .route("/v1/features", get(feature_views::list))
        .route("/v1/features/{view}/{entity}", get(features::show))
        .route("/metrics", get(admin::metrics))
        .route("/healthz", get(service::healthz))
        .route("/readyz", get(service::readyz))
        .route("/v1/audit", get(audit::list))
        .route("/openapi.json", get(openapi::serve_admin))
        .route_layer(axum::middleware::from_fn_with_state(Arc::clone(&service), access::authorize))
        .merge(console::routes(&service))
        .fallback(console::nowhere)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(guard, guard::guard))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&service), console::pages))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&service), compress::compress))
        .with_state(service)
}
