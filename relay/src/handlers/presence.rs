//! `/v1/register` and `/v1/peers`: who is there.

use std::{net::SocketAddr, sync::Arc};

use axum::{Extension, extract::State, response::Response};
use felund_core::{
    config::{PRESENCE_TTL_MAX_S, PRESENCE_TTL_MIN_S},
    relay_api::{Peer, PeersResponse, RegisterRequest, RegisterResponse},
};
use serde::{Deserialize, Serialize};

use super::{Answer, ok, ok_held};
use crate::{
    app::App,
    auth::{JsonBody, NoBody, NoQuery, PeerAddress, Signed},
    clock,
    error::ApiError,
};

const MAX_ENDPOINTS: usize = 16;
const MAX_ENDPOINT_LEN: usize = 128;
const MAX_PEERS: usize = 1_024;

/// Presence for `ttl_s` seconds, and the circle's key on first contact.
#[utoipa::path(post, operation_id = "register", path = "/v1/register", tag = "presence", request_body = RegisterRequest,
    responses((status = 200, description = "registered", body = RegisterResponse), crate::error::Refused))]
pub(crate) async fn register(
    State(app): State<Arc<App>>,
    Extension(PeerAddress(address)): Extension<PeerAddress>,
    Signed { caller, body: JsonBody(request), .. }: Signed<NoQuery, JsonBody<RegisterRequest>>,
) -> Answer<RegisterResponse> {
    if request.node_id != caller.node || request.circle_hint != caller.circle.hint {
        return Err(ApiError::invalid_signature(
            "node_id and circle_hint must be those of the signed headers",
        ));
    }
    if request.signing_key.hint() != caller.circle.hint {
        return Err(ApiError::invalid_signature("signing_key does not hash to the circle hint"));
    }
    if request.endpoints.len() > MAX_ENDPOINTS || request.endpoints.iter().any(|e| e.len() > MAX_ENDPOINT_LEN)
    {
        return Err(ApiError::bad_request(format!(
            "at most {MAX_ENDPOINTS} endpoints of at most {MAX_ENDPOINT_LEN} bytes; nothing was registered"
        )));
    }
    let now = clock::unix_seconds();
    let expires_at = now + request.ttl_s.clamp(PRESENCE_TTL_MIN_S, PRESENCE_TTL_MAX_S);
    let peer = Peer {
        node_id: caller.node,
        endpoints: request.endpoints,
        capabilities: request.capabilities,
        observed_at: now,
    };
    app.hub.with(&caller.circle.hint, |room| room.register(peer, expires_at));
    ok(RegisterResponse { ok: true, server_time: now, expires_at, observed_endpoint: endpoint(address) })
}

fn endpoint(address: SocketAddr) -> String {
    // A proxy's header carries no port.
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

/// Answer to a call that has nothing to say but that it was done.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Done {
    /// Always true.
    ok: bool,
}

/// Ends the caller's presence.
#[utoipa::path(delete, operation_id = "unregister", path = "/v1/register", tag = "presence",
    responses((status = 200, description = "gone", body = Done), crate::error::Refused))]
pub(crate) async fn unregister(
    State(app): State<Arc<App>>,
    Signed { caller, .. }: Signed<NoQuery, NoBody>,
) -> Answer<Done> {
    app.hub.with_existing(&caller.circle.hint, |room| room.unregister(&caller.node));
    ok(Done { ok: true })
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PeersQuery {
    /// How many at most. More than 1,024 count as 1,024.
    #[param(value_type = Option<usize>, maximum = 4_294_967_295_u32, default = 1_024)]
    limit: Option<u32>,
}

/// Live members of the circle, not the caller.
#[utoipa::path(get, operation_id = "listPeers", path = "/v1/peers", tag = "presence", params(PeersQuery),
    responses((status = 200, description = "members seen lately", body = PeersResponse), crate::error::Refused))]
pub(crate) async fn peers(
    State(app): State<Arc<App>>,
    Signed { caller, query, held, .. }: Signed<PeersQuery, NoBody>,
) -> Result<Response, ApiError> {
    let mut peers = app
        .hub
        .with_existing(&caller.circle.hint, |room| {
            room.expire(clock::unix_seconds());
            room.peers(&caller.node)
        })
        .unwrap_or_default();
    peers.truncate(query.limit.map_or(MAX_PEERS, |limit| limit as usize).min(MAX_PEERS));
    ok_held(held, &PeersResponse { ok: true, peers })
}
