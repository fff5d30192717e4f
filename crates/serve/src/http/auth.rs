//! Keys of requests: `Authorization: Bearer …` or `X-API-Key: …`; and how often who holds one may ask.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use crate::app::App;
use crate::clock::now_ms;
use crate::keys::Refused;
use crate::limits::{Client, counted};
use crate::metrics::ReasonLabels;
use crate::store::Scope;

/// What a group of routes needs.
#[derive(Debug, Clone)]
pub(crate) struct Needs {
    pub(crate) app: Arc<App>,
    pub(crate) scope: Scope,
}

/// Read however often: what watches the server must not be shut out when there is most to see.
pub(crate) const UNLIMITED: &str = "/metrics";

/// Lets a request through if its key may do what the route needs, and has not asked too often.
///
/// A key is its own client, wherever it is used. Requests without a key that would do are counted by their address, apart from others: who guesses
/// keys is slowed down, and shuts nobody out who has one, also behind the same proxy. That a right guess passes does no harm: keys have 256 random bits.
pub(crate) async fn check(State(needs): State<Needs>, request: Request, next: Next) -> Response {
    let app = &needs.app;
    let checked = app.keys.check(token(request.headers()), needs.scope, now_ms());
    let is_unlimited = checked.is_ok()
        && request.extensions().get::<MatchedPath>().is_some_and(|path| path.as_str() == UNLIMITED);
    if let Some(limits) = app.limits.as_ref().filter(|_| !is_unlimited) {
        let client = match &checked {
            Ok(Some(key_id)) => Client::Key(key_id.clone()),
            Ok(None) => Client::Address(counted(address(&request))),
            Err(_) => Client::Refused(counted(address(&request))),
        };
        if let Err(secs) = limits.count(&client) {
            let reason = client.kind().to_owned();
            app.memory.metrics.limited.get_or_create(&ReasonLabels { reason }).inc();
            let message =
                "more requests came than serve.rate_per_second and serve.rate_burst allow";
            return ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
                .hint("send it again after the seconds that Retry-After says, or many rows in one request")
                .retry_after(secs)
                .into_response();
        }
    }
    match checked {
        Ok(_) => next.run(request).await,
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

/// Where a request comes from; requests that came through no socket are from one place.
fn address(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip())
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
}
