//! The routes of `/v1`, health, metrics, and the document that describes them.

mod auth;
mod body;
mod compatible;
mod demand;
mod error;
mod events;
mod experiments;
mod items;
mod jobs;
mod ops;
mod predict;
mod recommend;
mod texts;
mod users;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::app::App;
use crate::ids::new_id;
use crate::metrics::RequestLabels;
use crate::store::Scope;
use crate::telemetry;
use auth::Needs;
use error::ApiError;

#[derive(OpenApi)]
#[openapi(info(
    title = "forecart",
    description = "What the users of a shop do next. Every error is `{\"error\": {\"code\", \"message\", \"field\", \"hint\"}}`; an unknown user is answered with what is popular, never with an error.",
))]
struct Document;

/// Does something to its end, even if the client goes meanwhile.
async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let working = tokio::spawn(work);
    working.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// The routes, and what a key must be allowed for them; `None` where none is needed.
fn groups() -> [(OpenApiRouter<Arc<App>>, Option<Scope>); 4] {
    let open = OpenApiRouter::new()
        .routes(routes!(ops::live))
        .routes(routes!(ops::ready))
        .routes(routes!(ops::version));
    let read = OpenApiRouter::new()
        .routes(routes!(recommend::get))
        .routes(routes!(recommend::post))
        .routes(routes!(recommend::similar))
        .routes(routes!(recommend::together))
        .routes(routes!(recommend::rank))
        .routes(routes!(recommend::trace))
        .routes(routes!(predict::post))
        .routes(routes!(demand::post))
        .routes(routes!(texts::classify))
        .routes(routes!(texts::questions))
        .routes(routes!(items::get))
        .routes(routes!(experiments::list))
        .routes(routes!(experiments::get))
        .routes(routes!(ops::models))
        .routes(routes!(ops::metrics));
    let write = stored(
        OpenApiRouter::new()
            .routes(routes!(events::post))
            .routes(routes!(items::post))
            .routes(routes!(items::put, items::patch, items::delete))
            .routes(routes!(users::post))
            .routes(routes!(users::put, users::patch)),
    );
    let admin = stored(
        OpenApiRouter::new()
            .routes(routes!(users::get, users::delete))
            .routes(routes!(users::export))
            .routes(routes!(users::receipt))
            .routes(routes!(ops::promote))
            .routes(routes!(ops::roll_back))
            .routes(routes!(ops::refresh)),
    )
    .routes(routes!(jobs::train))
    .routes(routes!(jobs::all))
    .routes(routes!(jobs::get));
    [
        (open, None),
        (read, Some(Scope::Read)),
        (write, Some(Scope::Write)),
        (admin, Some(Scope::Admin)),
    ]
    .map(|(routes, scope)| (if scope.is_some() { limited(routes) } else { routes }, scope))
}

/// Says of every route whose requests are counted that there may be too many.
fn limited(routes: OpenApiRouter<Arc<App>>) -> OpenApiRouter<Arc<App>> {
    let too_many = "Too many requests of this client: Retry-After says when to send it again";
    described(routes, StatusCode::TOO_MANY_REQUESTS, too_many, |path| path != auth::UNLIMITED)
}

/// Says of every route that the store may refuse.
fn stored(routes: OpenApiRouter<Arc<App>>) -> OpenApiRouter<Arc<App>> {
    let refused = "The store does not answer (`store_unavailable`), or its disk is full (`store_full`): Retry-After says when to send it again";
    described(routes, StatusCode::SERVICE_UNAVAILABLE, refused, |_| true)
}

/// Describes an answer of the routes of some paths that do not describe it themselves.
fn described(
    mut routes: OpenApiRouter<Arc<App>>,
    status: StatusCode,
    description: &str,
    is_of: impl Fn(&str) -> bool,
) -> OpenApiRouter<Arc<App>> {
    for (_, item) in routes.get_openapi_mut().paths.paths.iter_mut().filter(|(path, _)| is_of(path))
    {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let described = operation.responses.responses.entry(status.as_str().to_owned());
            described.or_insert_with(|| utoipa::openapi::RefOr::T(error::described(description)));
        }
    }
    routes
}

/// All routes, as a service that needs no socket.
pub fn router(app: Arc<App>) -> Router {
    let mut all = OpenApiRouter::with_openapi(Document::openapi());
    for (routes, scope) in groups() {
        all = all.merge(match scope {
            Some(scope) => {
                let needs = Needs { app: app.clone(), scope };
                routes.route_layer(from_fn_with_state(needs, auth::check))
            }
            None => routes,
        });
    }
    let (mut router, document) = all.split_for_parts();
    if app.config.is_compatible {
        let needs = |scope| from_fn_with_state(Needs { app: app.clone(), scope }, auth::check);
        router = router
            .merge(compatible::open())
            .merge(compatible::reading().route_layer(needs(Scope::Read)))
            .merge(compatible::writing().route_layer(needs(Scope::Write)));
    }
    let on_panic = |_: Box<dyn std::any::Any + Send>| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request failed inside")
            .into_response()
    };
    router
        .with_state(app.clone())
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(DefaultBodyLimit::max(app.config.max_body_bytes))
        .layer(from_fn_with_state(app, watched))
}

/// The document that describes the routes, for programs, as JSON.
pub fn document() -> String {
    let all = OpenApiRouter::with_openapi(Document::openapi());
    let all = groups().into_iter().fold(all, |all, (routes, _)| all.merge(routes));
    all.into_openapi().to_pretty_json().expect("a document is JSON")
}

async fn unknown_path(request: Request) -> ApiError {
    let message = format!("there is nothing at {}", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "unknown_path", message)
        .hint("GET /docs lists what there is")
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
        .hint("GET /docs lists what there is")
}

/// Around every request: its id, its time, its end after too long a time, its line in the log.
async fn watched(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = new_id();
    // Labels of metrics are few, whatever clients send.
    let method = match request.method().as_str() {
        own @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => own,
        _ => "other",
    };
    let method = method.to_owned();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        request_id = id,
    );
    telemetry::follow(&span, request.headers());
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let announced: Option<u64> = announced.and_then(|text| text.parse().ok());
    let mut response = if announced.is_some_and(|n| n > app.config.max_body_bytes as u64) {
        // Nothing of it is waited for.
        body::too_large().into_response()
    } else if route.starts_with("/v1/models") {
        // A large model takes as long to load as it takes.
        next.run(request).instrument(span.clone()).await
    } else {
        let answering = next.run(request).instrument(span.clone());
        match tokio::time::timeout(app.config.timeout, answering).await {
            Ok(response) => response,
            Err(_) => {
                let message = "the request took longer than it may";
                ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message).into_response()
            }
        }
    };
    let took = started.elapsed();
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        app.memory.metrics.failures.inc();
    }
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    let took_ms = took.as_secs_f64() * 1e3;
    if status >= 500 || took >= app.config.slow {
        tracing::warn!(request_id = id, method, route, status, took_ms, "slow or failed request");
    } else {
        tracing::debug!(request_id = id, method, route, status, took_ms, "request");
    }
    let labels = RequestLabels { route, method, status };
    app.memory.metrics.requests.get_or_create(&labels).observe(took.as_secs_f64());
    response
}
