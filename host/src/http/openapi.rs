//! The OpenAPI document of the public listener, made from the handlers and wire types.

use axum::Json;
use utoipa::OpenApi;

use super::{Problem, batch, decisions, events, features, service, wire};

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
        service::healthz,
        service::readyz,
    ),
    components(schemas(Problem, wire::WireRequest, wire::WireForce, wire::WireValue))
)]
struct Document;

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Serves the document.
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
