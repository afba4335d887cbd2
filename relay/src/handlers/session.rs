//! `/v1/relay/session`: the token that opens a WebSocket.

use std::sync::Arc;

use axum::extract::State;
use felund_core::{
    config::TOKEN_TTL_S,
    relay_api::{SessionResponse, path},
};

use super::{Answer, ok};
use crate::{
    app::App,
    auth::{NoBody, NoQuery, Signed},
    clock,
};

/// A token that opens one socket, or attaches a circle to an open one; bound to the caller and its circle.
#[utoipa::path(post, operation_id = "openSession", path = "/v1/relay/session", tag = "socket",
    responses((status = 200, description = "a token for one socket", body = SessionResponse), crate::error::Refused))]
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    Signed { caller, .. }: Signed<NoQuery, NoBody>,
) -> Answer<SessionResponse> {
    let token = app.tokens.grant(caller.circle, caller.node)?;
    let now = clock::unix_seconds();
    ok(SessionResponse {
        ok: true,
        relay_url: socket_url(app.config.public_url.as_deref()),
        session_id: token[..8].into(),
        token,
        expires_at: now + TOKEN_TTL_S,
        server_time: now,
    })
}

/// A path on the same origin, or the public address with its scheme's WebSocket form.
fn socket_url(public: Option<&str>) -> String {
    let Some(public) = public else { return path::SOCKET.into() };
    let public = public.trim_end_matches('/');
    let socket = public
        .strip_prefix("https://")
        .map(|rest| format!("wss://{rest}"))
        .or_else(|| public.strip_prefix("http://").map(|rest| format!("ws://{rest}")));
    format!("{}{}", socket.as_deref().unwrap_or(""), path::SOCKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_where_the_public_address_is() {
        assert_eq!(socket_url(None), "/v1/relay/ws");
        assert_eq!(socket_url(Some("https://relay.example/")), "wss://relay.example/v1/relay/ws");
        assert_eq!(socket_url(Some("http://localhost:8080")), "ws://localhost:8080/v1/relay/ws");
    }
}
