//! Bodies and queries of requests; what cannot be read is told in the shape of all errors.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// Bytes of a body, as many as may be.
pub(crate) async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            too_large()
        } else {
            ApiError::bad_request("unreadable_body", "the body did not come whole")
        }
    })
}

/// The answer to a body past the limit.
pub(crate) fn too_large() -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is too large")
        .hint("send it in parts, or raise serve.max_body_bytes")
}

/// A body of JSON.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = bytes(request, state).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| unreadable(&error))
    }
}

pub(crate) fn unreadable(error: &serde_json::Error) -> ApiError {
    if error.is_data() {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_fields", error.to_string())
            .hint("GET /docs shows what a body holds")
    } else {
        ApiError::bad_request("not_json", format!("the body is not JSON: {error}"))
    }
}

/// A query of a path.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|error| {
            ApiError::bad_request("bad_query", error.body_text())
                .hint("GET /docs shows what may be asked")
        })
    }
}

/// A part of the path, decoded.
#[derive(Debug)]
pub(crate) struct InPath(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for InPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::<String>::from_request_parts(parts, state).await;
        let text = path.map_err(|error| ApiError::bad_request("bad_path", error.body_text()))?.0;
        crate::event::check_id("id", &text)?;
        Ok(Self(text))
    }
}
