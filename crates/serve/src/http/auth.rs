//! Keys of requests: `Authorization: Bearer …` or `X-API-Key: …`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use crate::app::App;
use crate::clock::now_ms;
use crate::keys::Refused;
use crate::store::Scope;

/// What a group of routes needs.
#[derive(Debug, Clone)]
pub(crate) struct Needs {
    pub(crate) app: Arc<App>,
    pub(crate) scope: Scope,
}

/// Lets a request through if its key may do what the route needs.
pub(crate) async fn check(State(needs): State<Needs>, request: Request, next: Next) -> Response {
    let checked = needs.app.keys.check(token(request.headers()), needs.scope, now_ms());
    match checked {
        Ok(()) => next.run(request).await,
        Err(Refused::NoKey) => {
            let error = ApiError::new(StatusCode::UNAUTHORIZED, "no_key", "a key is needed")
                .hint("send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`");
            let mut response = error.into_response();
            let bearer = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
            response
        }
        Err(Refused::Scope(scope)) => {
            let message = format!("the key may {scope}; this needs one that may {}", needs.scope);
            ApiError::new(StatusCode::FORBIDDEN, "wrong_scope", message).into_response()
        }
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
}
