//! The OpenAPI documents of the listeners. That of the public one is made from the handlers and wire
//! types.

use axum::Json;
use utoipa::OpenApi;

use super::admin_openapi::AdminDocument;
use super::openapi_access::Credentials;
use super::{Problem, batch, decisions, events, features, ofrep, service, wire};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Serin",
        description = "Decisions by strategies compiled to WebAssembly.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        decisions::decide_public,
        batch::decide_batch,
        events::outcomes,
        events::watermarks,
        events::exposures,
        features::push,
        ofrep::evaluate,
        ofrep::evaluate_all,
        service::healthz,
        service::readyz,
    ),
    components(schemas(Problem, wire::WireRequest, wire::WireForce, wire::WireValue)),
    modifiers(&Credentials)
)]
struct Document;

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The document of the admin listener.
pub fn admin_document() -> utoipa::openapi::OpenApi {
    AdminDocument::openapi()
}

/// Serves the document of the admin listener.
pub(super) async fn serve_admin() -> Json<utoipa::openapi::OpenApi> {
    Json(admin_document())
}

/// Serves the document.
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
