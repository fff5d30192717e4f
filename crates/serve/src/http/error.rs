//! Every error has one shape: `{"error": {"code", "message", "field", "hint"}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forecart_models::ModelError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::arrivals::{self, BrokenRow};
use crate::consent::ConsentError;
use crate::event::EventError;
use crate::intake::IntakeError;
use crate::models::ServedModelError;
use crate::store::StoreError;
use crate::workers::WorkError;

/// What is wrong, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ErrorFacts {
    /// For programs: `bad_request`.
    pub(crate) code: String,
    /// For people.
    pub(crate) message: String,
    /// The field that it is about, if about one.
    pub(crate) field: Option<String>,
    /// What helps.
    pub(crate) hint: Option<String>,
}

/// The body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What is wrong.
    pub(crate) error: ErrorFacts,
}

/// An answer that is an error.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) facts: ErrorFacts,
    retry_after_secs: Option<u32>,
}

/// An error in the document of the interface.
pub(crate) fn described(description: &str) -> utoipa::openapi::Response {
    let body = utoipa::openapi::Ref::from_schema_name(ErrorBody::name());
    let content = utoipa::openapi::ContentBuilder::new().schema(Some(body)).build();
    utoipa::openapi::ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
        .build()
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let facts =
            ErrorFacts { code: code.to_owned(), message: message.into(), field: None, hint: None };
        Self { status, facts, retry_after_secs: None }
    }

    pub(crate) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn unprocessable(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    pub(crate) fn unavailable(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(1)
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.facts.field = Some(field.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.facts.hint = Some(hint.into());
        self
    }

    pub(crate) fn retry_after(mut self, secs: u32) -> Self {
        self.retry_after_secs = Some(secs);
        self
    }

    /// No model in a slot.
    pub(crate) fn no_model(slot: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_model", format!("no model for {slot:?} is served"))
            .hint("train one, put its file where `serve.models` says, and POST /v1/models/refresh")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: self.facts })).into_response();
        if let Some(secs) = self.retry_after_secs {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

impl From<EventError> for ApiError {
    fn from(error: EventError) -> Self {
        let EventError { code, field, message } = error;
        let status = match code {
            arrivals::NOT_JSON => StatusCode::BAD_REQUEST,
            arrivals::TOO_MANY_ROWS => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let error = Self::new(status, code, message);
        if field.is_empty() { error } else { error.field(field) }
    }
}

impl From<BrokenRow<'_>> for ApiError {
    fn from(row: BrokenRow<'_>) -> Self {
        row.error.into()
    }
}

impl From<ConsentError> for ApiError {
    fn from(error: ConsentError) -> Self {
        Self::unprocessable("bad_consent", error.message).field(error.field)
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        let message = error.to_string();
        match error {
            IntakeError::Full { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message).retry_after(1)
            }
            IntakeError::TooMany { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_events", message)
            }
            IntakeError::Store(error) => Self::from_store(&error),
            IntakeError::Closing => Self::unavailable("shutting_down", message),
        }
    }
}

impl ApiError {
    fn from_store(error: &StoreError) -> Self {
        if error.is_full() {
            let message = "the disk of the store is full; nothing was changed";
            return Self::unavailable("store_full", message).retry_after(5).hint(
                "make room on the disk of the store; writes go on by themselves, and lists are answered meanwhile",
            );
        }
        if matches!(error, StoreError::Away) {
            // The log has had it once.
            return Self::unavailable(
                "store_unavailable",
                "the store does not answer; nothing was changed",
            )
            .hint(
                "send it again: the store is tried all the time, GET /health/ready says how it is",
            );
        }
        // What a database says may name tables and addresses: that is for the log.
        tracing::error!(%error, "the store does not do what it should");
        Self::unavailable(
            "store_unavailable",
            "the store does not answer or refuses",
        )
        .hint("send it again, with the same event_id of each event: what was written is there once; see the log of the server and GET /health/ready")
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::from_store(&error)
    }
}

impl From<WorkError> for ApiError {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Overloaded => Self::unavailable("overloaded", error.to_string()),
            WorkError::Failed => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the answer could not be computed",
            ),
        }
    }
}

impl From<ServedModelError> for ApiError {
    fn from(error: ServedModelError) -> Self {
        let message = error.to_string();
        match error {
            ServedModelError::Store(error) => error.into(),
            ServedModelError::UnknownVersion { .. } => {
                Self::new(StatusCode::NOT_FOUND, "unknown_version", message).field("version")
            }
            ServedModelError::Ambiguous { .. } => {
                Self::bad_request("ambiguous_version", message).field("version")
            }
            ServedModelError::NothingEarlier { .. } => {
                Self::new(StatusCode::CONFLICT, "nothing_earlier", message)
            }
            ServedModelError::Refused { .. }
            | ServedModelError::Model(ModelError::Refused { .. }) => Self::new(
                StatusCode::CONFLICT,
                "model_refused",
                message,
            )
            .hint(
                "serve.trusted_keys says whose models are served; what answered before still does",
            ),
            ServedModelError::Model(_) | ServedModelError::Folder { .. } => {
                Self::new(StatusCode::CONFLICT, "model_not_loaded", message)
            }
        }
    }
}

impl From<ModelError> for ApiError {
    fn from(error: ModelError) -> Self {
        tracing::error!(%error, "a model does not answer");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the model does not answer")
    }
}
