//! The endpoints under `/v1`, by domain.

pub(crate) mod ice;
pub(crate) mod messages;
pub(crate) mod meta;
pub(crate) mod presence;
pub(crate) mod session;
pub(crate) mod signal;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::error::ApiError;

/// What every handler answers.
pub(crate) type Answer<T> = Result<Json<T>, ApiError>;

pub(crate) fn ok<T: Serialize>(value: T) -> Answer<T> {
    Ok(Json(value))
}

/// For paths under `/v1` that lead nowhere.
pub(crate) async fn not_found() -> Response {
    ApiError::not_found("there is no such endpoint; /v1/openapi.json lists them").into_response()
}

/// For endpoints asked with a method they do not take.
pub(crate) async fn method_not_allowed() -> Response {
    ApiError::method_not_allowed().into_response()
}
