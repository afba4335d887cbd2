//! `/v1/health`, `/v1/openapi.json` and `/v1/metrics`: unsigned.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use felund_core::relay_api::{
    HealthResponse,
    signing::{HEADER_CIRCLE, HEADER_NODE, HEADER_NODE_SIGNATURE, HEADER_NONCE, HEADER_SIGNATURE, HEADER_TS},
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme},
};

use super::{ice, messages, presence, session, signal};
use crate::{app::App, clock, error::ApiError, metrics::METRICS, socket};

/// Whether the relay runs, its version and its clock.
#[utoipa::path(get, path = "/v1/health", tag = "meta", security(()),
    responses((status = 200, description = "the relay runs", body = HealthResponse), crate::error::Refused))]
pub(crate) async fn health() -> Json<HealthResponse> {
    Json(HealthResponse { ok: true, version: env!("CARGO_PKG_VERSION").into(), time: clock::unix_seconds() })
}

/// Prometheus metrics, if the operator allows them.
#[utoipa::path(get, path = "/v1/metrics", tag = "meta", security(()),
    responses((status = 200, description = "text exposition format", content_type = "text/plain", body = String),
        (status = 404, description = "metrics are off", body = felund_core::relay_api::ErrorBody), crate::error::Refused))]
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
        openapi,
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
    components(schemas(felund_core::relay_api::ErrorBody)),
    modifiers(&Signature)
)]
struct Api;

/// The six headers of a signed request; all of them belong to every call that says nothing else.
struct Signature;

impl Modify for Signature {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let headers = [
            (HEADER_NODE, "The caller's node id, in hex"),
            (HEADER_CIRCLE, "The circle hint, in hex"),
            (HEADER_TS, "Unix seconds, by a clock corrected by `server_time`"),
            (HEADER_NONCE, "32 hex digits, good once"),
            (
                HEADER_SIGNATURE,
                "HMAC-SHA-256 by the circle's API signing key over the canonical request, in hex",
            ),
            (HEADER_NODE_SIGNATURE, "Ed25519 signature by the node over the canonical request, in hex"),
        ];
        let mut all = SecurityRequirement::default();
        let components = api.components.get_or_insert_default();
        for (header, what) in headers {
            let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(header, what)));
            components.add_security_scheme(header, key);
            all = all.add::<_, [&str; 0], &str>(header, []);
        }
        api.security = Some(vec![all]);
    }
}

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "meta", security(()),
    responses((status = 200, description = "an OpenAPI 3.1 document", body = serde_json::Value), crate::error::Refused))]
pub(crate) async fn openapi() -> Response {
    Json(Api::openapi()).into_response()
}
