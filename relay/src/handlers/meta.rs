//! `/v1/health`, `/v1/openapi.json` and `/v1/metrics`: unsigned.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use felund_core::relay_api::HealthResponse;
use utoipa::OpenApi;

use super::{ice, messages, presence, session, signal};
use crate::{app::App, clock, error::ApiError, metrics::METRICS, socket};

/// Whether the relay runs, its version and its clock.
#[utoipa::path(get, path = "/v1/health", tag = "meta", responses((status = 200, body = HealthResponse)))]
pub(crate) async fn health() -> Json<HealthResponse> {
    Json(HealthResponse { ok: true, version: env!("CARGO_PKG_VERSION").into(), time: clock::unix_seconds() })
}

/// Prometheus metrics, if the operator allows them.
#[utoipa::path(get, path = "/v1/metrics", tag = "meta",
    responses((status = 200, content_type = "text/plain", body = String)))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    if !app.config.metrics_enabled() {
        return ApiError::not_found(
            "metrics are off on this relay; its operator can start it with --metrics",
        )
        .into_response();
    }
    let mut text = METRICS.render();
    text.push_str("# HELP felund_relay_circles Registered circles.\n# TYPE felund_relay_circles gauge\n");
    text.push_str(&format!("felund_relay_circles {}\n", app.store.circle_count()));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The API as OpenAPI, generated from the types the relay runs on.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Felund relay",
        description = "A blind relay: it stores and forwards sealed envelopes. Every call but health, openapi.json \
                       and metrics is signed with the X-Felund headers; docs/protocol.md says how.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        health,
        metrics,
        presence::register,
        presence::unregister,
        presence::peers,
        messages::post,
        messages::list,
        signal::send,
        signal::list,
        session::open,
        ice::servers,
        socket::upgrade
    ),
    components(schemas(felund_core::relay_api::ErrorBody))
)]
struct Api;

/// `GET /v1/openapi.json`.
pub(crate) async fn openapi() -> Response {
    Json(Api::openapi()).into_response()
}
