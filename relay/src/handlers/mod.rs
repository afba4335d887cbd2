//! The endpoints under `/v1`, by domain.

pub(crate) mod ice;
pub(crate) mod messages;
pub(crate) mod meta;
pub(crate) mod presence;
pub(crate) mod session;
pub(crate) mod signal;

use axum::{
    Json,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{error::ApiError, memory::Buffered};

/// What every handler answers.
pub(crate) type Answer<T> = Result<Json<T>, ApiError>;

pub(crate) fn ok<T: Serialize>(value: T) -> Answer<T> {
    Ok(Json(value))
}

/// An answer that may be large: whoever asks for much and reads nothing of it must not fill the memory.
pub(crate) fn ok_held<T: Serialize>(held: Buffered, value: &T) -> Result<Response, ApiError> {
    let answer = serde_json::to_vec(value);
    let answer = answer.map_err(|e| ApiError::unavailable(format!("the answer cannot be written: {e}")))?;
    Ok(([(CONTENT_TYPE, "application/json")], held.body(answer)?).into_response())
}

/// For paths under `/v1` that lead nowhere.
pub(crate) async fn not_found() -> Response {
    ApiError::not_found("there is no such endpoint; /v1/openapi.json lists them").into_response()
}

/// For endpoints asked with a method they do not take.
pub(crate) async fn method_not_allowed() -> Response {
    ApiError::method_not_allowed().into_response()
}
