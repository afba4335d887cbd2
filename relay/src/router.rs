//! Which request goes where, and the headers every answer carries.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY,
            REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use felund_core::relay_api::path;

use crate::{
    app::App,
    auth::{self, PeerAddress},
    handlers::{self, ice, messages, meta, presence, session, signal},
    metrics::METRICS,
    policy::WITHOUT_PAGE,
    socket, web,
};

const CORS_HEADERS: &str = "content-type, x-felund-node, x-felund-circle, x-felund-ts, x-felund-nonce, \
    x-felund-signature, x-felund-node-signature";

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// The relay's routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .route(path::HEALTH, get(meta::health))
        .route(path::REGISTER, post(presence::register).delete(presence::unregister))
        .route(path::PEERS, get(presence::peers))
        .route(path::MESSAGES, post(messages::post).get(messages::list))
        .route(path::SIGNAL, post(signal::send).get(signal::list))
        .route(path::SESSION, post(session::open))
        .route(path::SOCKET, get(socket::upgrade))
        .route(path::ICE, get(ice::servers))
        .route(path::OPENAPI, get(meta::openapi))
        .route(path::METRICS, get(meta::metrics))
        .route("/v1", axum::routing::any(handlers::not_found))
        .route("/v1/", axum::routing::any(handlers::not_found))
        .route("/v1/{*rest}", axum::routing::any(handlers::not_found))
        .method_not_allowed_fallback(handlers::method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), api_layer));
    Router::new().merge(api).fallback(web::serve).layer(middleware::from_fn(common_headers)).with_state(app)
}

/// Everything under `/v1`: the caller's address, its rate limit, CORS.
async fn api_layer(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    METRICS.requests.add(1);
    let mut response = if request.method() == Method::OPTIONS {
        preflight()
    } else {
        let address = caller_address(&app, &request);
        request.extensions_mut().insert(PeerAddress(address));
        match app.limits.address(address.ip()) {
            Ok(()) => next.run(request).await,
            Err(error) => {
                // Else whoever is still sending sees a broken connection and not the answer.
                auth::discard(request.into_body()).await;
                error.into_response()
            }
        }
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        METRICS.refused.add(1);
    }
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Any web app may use a relay it can sign for; no cookie or other ambient right exists that this could expose.
fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(CORS_HEADERS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// The connection's address, or what a trusted proxy says about it.
fn caller_address(app: &App, request: &Request) -> SocketAddr {
    let peer = PeerAddress::of(request.extensions());
    if app.config.trust_forwarded_for {
        forwarded_for(request.headers()).map_or(peer, |ip| SocketAddr::new(ip, 0))
    } else {
        peer
    }
}

/// The last entry is the proxy's own word; what stands before it came from the client.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    let last = value.rsplit(',').next()?.trim();
    // Some proxies name the port as well.
    last.parse().ok().or_else(|| Some(last.parse::<SocketAddr>().ok()?.ip()))
}

async fn common_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // A page brings one of its own.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert_with(|| WITHOUT_PAGE.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(
        PERMISSIONS_POLICY,
        HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self), geolocation=()"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_proxys_own_entry_counts() {
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::from_static("10.0.0.1"));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("203.0.113.9, 198.51.100.7"));
        assert_eq!(forwarded_for(&headers), Some("198.51.100.7".parse().unwrap()));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("203.0.113.9:4711"));
        assert_eq!(forwarded_for(&headers), Some("203.0.113.9".parse().unwrap()));
        headers.append(FORWARDED_FOR, HeaderValue::from_static("[2001:db8::1]:443"));
        assert_eq!(forwarded_for(&headers), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(forwarded_for(&HeaderMap::new()), None);
    }
}
