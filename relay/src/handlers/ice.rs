//! `/v1/ice`: the operator's STUN and TURN servers, with credentials that end by themselves.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, Uri, header::HOST, uri::Authority},
};
use base64::Engine as _;
use felund_core::relay_api::{IceResponse, IceServer};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::{Answer, ok};
use crate::{
    app::App,
    auth::{NoBody, NoQuery, Signed},
    clock,
    config::Config,
    stun,
};

/// STUN and TURN servers.
#[utoipa::path(get, operation_id = "listIceServers", path = "/v1/ice", tag = "signaling",
    responses((status = 200, description = "STUN and TURN servers", body = IceResponse), crate::error::Refused))]
pub(crate) async fn servers(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Signed { caller, .. }: Signed<NoQuery, NoBody>,
) -> Answer<IceResponse> {
    let mut ice_servers = configured(&app.config, &caller.node.short(), clock::unix_seconds());
    if let Some(own) = own(&app, &headers) {
        ice_servers.insert(0, IceServer { urls: vec![own], username: None, credential: None });
    }
    ok(IceResponse { ok: true, ice_servers, ttl_s: app.config.turn_ttl })
}

/// The relay's own STUN server, at the host of its public address or else the one that was asked for.
fn own(app: &App, headers: &HeaderMap) -> Option<String> {
    let port = app.stun_port?;
    let public = app.config.public_url.as_ref().and_then(|url| url.parse::<Uri>().ok());
    let host = match public.as_ref().and_then(Uri::host) {
        Some(host) => host.to_owned(),
        None => headers.get(HOST)?.to_str().ok()?.parse::<Authority>().ok()?.host().to_owned(),
    };
    Some(stun::uri(&host, port))
}

fn configured(config: &Config, node: &str, now: u64) -> Vec<IceServer> {
    let mut servers = Vec::new();
    if !config.stun.is_empty() {
        servers.push(IceServer { urls: config.stun.clone(), username: None, credential: None });
    }
    if let Some(secret) = &config.turn_secret
        && !config.turn.is_empty()
    {
        let username = format!("{}:{node}", now + config.turn_ttl);
        let credential = credential(secret.as_bytes(), &username);
        servers.push(IceServer {
            urls: config.turn.clone(),
            username: Some(username),
            credential: Some(credential),
        });
    }
    servers
}

/// coturn's `use-auth-secret`: base64(HMAC-SHA1(secret, user name)).
fn credential(secret: &[u8], username: &str) -> String {
    // HMAC takes keys of any length (RFC 2104), so this cannot fail.
    let mut hmac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes keys of any length");
    hmac.update(username.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(hmac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_hmac_sha1_as_in_rfc_2202() {
        // RFC 2202, case 2, as base64.
        assert_eq!(credential(b"Jefe", "what do ya want for nothing?"), "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    }
}
