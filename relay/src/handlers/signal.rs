//! `/v1/signal`: sealed signaling for clients without a socket.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use felund_core::{
    ids::Cursor,
    relay_api::{SignalAccepted, SignalRequest, SignalsResponse},
};
use serde::Deserialize;

use super::{Answer, ok, ok_held};
use crate::{
    app::{App, check_session_id},
    auth::{JsonBody, NoBody, NoQuery, Signed},
    clock,
    error::ApiError,
};

/// Hands a sealed signaling message to a member; it waits up to two minutes.
#[utoipa::path(post, operation_id = "sendSignal", path = "/v1/signal", tag = "signaling", request_body = SignalRequest,
    responses((status = 200, description = "kept for its recipient", body = SignalAccepted), crate::error::Refused))]
pub(crate) async fn send(
    State(app): State<Arc<App>>,
    Signed { caller, body: JsonBody(request), .. }: Signed<NoQuery, JsonBody<SignalRequest>>,
) -> Answer<SignalAccepted> {
    ok(app.take_signal(caller.circle.hint, caller.node, request)?)
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SignalsQuery {
    /// Only this session's; all sessions' without it.
    #[param(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    session_id: Option<String>,
    /// The last cursor the caller holds.
    after: Option<Cursor>,
}

/// Signaling messages addressed to the caller.
#[utoipa::path(get, operation_id = "listSignals", path = "/v1/signal", tag = "signaling", params(SignalsQuery),
    responses((status = 200, description = "signals for the caller", body = SignalsResponse), crate::error::Refused))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Signed { caller, query, held, .. }: Signed<SignalsQuery, NoBody>,
) -> Result<Response, ApiError> {
    if let Some(session) = &query.session_id {
        check_session_id(session)?;
    }
    let after = query.after.unwrap_or_default();
    let signals = app
        .hub
        .with_existing(&caller.circle.hint, |room| {
            room.signals_for(&caller.node, query.session_id.as_deref(), after.0, clock::unix_seconds())
        })
        .unwrap_or_default();
    let next = signals.last().map_or(after, |signal| signal.cursor);
    ok_held(held, &SignalsResponse { ok: true, signals, next })
}
