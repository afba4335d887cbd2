//! What goes wrong, as clients see it: one status, one code, one sentence about what to do.

use std::time::Duration;

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE},
    },
    response::{IntoResponse, Response},
};
use felund_core::relay_api::{ErrorBody, ErrorCode};

use crate::{clock, socket::VERSION};

/// How the API describes every refusal, for all endpoints alike.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "a description; what is sent is an ErrorBody")]
pub(crate) enum Refused {
    #[response(status = "4XX", description = "refused: `code` and `message` say why")]
    Wrong(ErrorBody),
    #[response(status = 429, description = "over a limit or a quota: nothing was done",
        headers(("Retry-After" = u64, description = "seconds until it may be tried again")))]
    TooMuch(ErrorBody),
    #[response(status = 503, description = "the relay cannot do it at the moment: nothing was stored",
        headers(("Retry-After" = u64, description = "seconds until it may be tried again")))]
    Unable(ErrorBody),
}

/// A refused request. The sentence never contains an id, a key or a header's value.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) retryable: bool,
    pub(crate) retry_after: Option<Duration>,
}

impl ApiError {
    fn new(status: StatusCode, code: ErrorCode, retryable: bool, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retryable, retry_after: None }
    }

    pub(crate) fn invalid_signature(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, ErrorCode::InvalidSignature, false, message)
    }

    pub(crate) fn unknown_circle() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorCode::UnknownCircle,
            true,
            "this relay does not know the circle yet; register first, then repeat the request",
        )
    }

    pub(crate) fn invalid_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorCode::InvalidToken,
            true,
            "the token is unknown, used or expired; ask for a new one with POST /v1/relay/session",
        )
    }

    pub(crate) fn expired_timestamp(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::ExpiredTimestamp, true, message)
    }

    pub(crate) fn nonce_replay() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            ErrorCode::NonceReplay,
            false,
            "this nonce has been used; nothing was done a second time, sign each request with a fresh nonce",
        )
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, false, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, false, message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            ErrorCode::BadRequest,
            false,
            "this endpoint does not take that method; /v1/openapi.json lists what it takes",
        )
    }

    pub(crate) fn upgrade_required() -> Self {
        let message = format!("only WebSocket version {VERSION} is spoken here");
        Self::new(StatusCode::UPGRADE_REQUIRED, ErrorCode::BadRequest, false, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::TooLarge, false, message)
    }

    pub(crate) fn rate_limited(wait: Duration) -> Self {
        let mut error = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::RateLimited,
            true,
            "too many requests; nothing was done, wait as long as Retry-After says and repeat it",
        );
        error.retry_after = Some(wait);
        error
    }

    pub(crate) fn quota(message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::QuotaExceeded, true, message);
        error.retry_after = Some(Duration::from_secs(3600));
        error
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, true, message);
        error.retry_after = Some(Duration::from_secs(5));
        error
    }

    /// The code as it is written in JSON and in `Refused` frames.
    pub(crate) fn code_text(&self) -> &'static str {
        code_text(self.code)
    }

    /// How long to wait before a retry, in milliseconds; 0 when waiting does not help.
    pub(crate) fn retry_after_ms(&self) -> u64 {
        self.retry_after.map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }
}

const fn code_text(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidSignature => "INVALID_SIGNATURE",
        ErrorCode::UnknownCircle => "UNKNOWN_CIRCLE",
        ErrorCode::InvalidToken => "INVALID_TOKEN",
        ErrorCode::ExpiredTimestamp => "EXPIRED_TIMESTAMP",
        ErrorCode::NonceReplay => "NONCE_REPLAY",
        ErrorCode::BadRequest => "BAD_REQUEST",
        ErrorCode::NotFound => "NOT_FOUND",
        ErrorCode::TooLarge => "TOO_LARGE",
        ErrorCode::RateLimited => "RATE_LIMITED",
        ErrorCode::QuotaExceeded => "QUOTA_EXCEEDED",
        ErrorCode::Unavailable => "UNAVAILABLE",
        ErrorCode::Unknown => "UNKNOWN",
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            ok: false,
            code: self.code,
            message: self.message,
            retryable: self.retryable,
            server_time: clock::unix_seconds(),
        };
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_json_spell_a_code_the_same_way() {
        for code in [
            ErrorCode::InvalidSignature,
            ErrorCode::UnknownCircle,
            ErrorCode::InvalidToken,
            ErrorCode::ExpiredTimestamp,
            ErrorCode::NonceReplay,
            ErrorCode::BadRequest,
            ErrorCode::NotFound,
            ErrorCode::TooLarge,
            ErrorCode::RateLimited,
            ErrorCode::QuotaExceeded,
            ErrorCode::Unavailable,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code_text(code));
        }
    }
}
