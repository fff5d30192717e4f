//! `POST /v1/predict/{task}`: probabilities of a click, a conversion, a purchase.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use forecart_models::ads::Positions;
use forecart_models::calibration::CalibrationMethod;
use forecart_models::model_file::OutcomeModelFile;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::{Body, InPath};
use super::error::{ApiError, ErrorBody};
use crate::app::App;

/// Most rows of one request.
const MAX_ROWS: usize = 10_000;

/// Rows to predict.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PredictBody {
    /// Each with the columns that the model learned from; what is missing is taken as missing.
    #[schema(value_type = Vec<std::collections::BTreeMap<String, Value>>)]
    rows: Vec<Map<String, Value>>,
    /// Whether positions are taken as they are sent; usually every row is asked about as if it stood at the same place.
    #[serde(default)]
    as_logged: bool,
}

/// A probability.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Predicted {
    /// In 0..1.
    p: f64,
    /// Whether it was calibrated on rows that the model has not learned from.
    calibrated: bool,
    /// Of models that know of conversions: of a conversion if there is a click.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversion_given_click: Option<f64>,
    /// Of models that know of conversions: of a click and a conversion.
    #[serde(skip_serializing_if = "Option::is_none")]
    click_and_conversion: Option<f64>,
}

/// Probabilities, in the order of the rows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Predictions {
    request_id: String,
    model: String,
    model_version: String,
    predictions: Vec<Predicted>,
    took_ms: f64,
}

/// How probable a click, a conversion or a purchase is, for each row of a batch.
#[utoipa::path(post, path = "/v1/predict/{task}", tag = "predict", params(("task" = String, Path, description = "click, conversion or purchase")), request_body = PredictBody,
    responses((status = 200, body = Predictions), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody, description = "No such task, or no model of it is served"), (status = 413, body = ErrorBody),
        (status = 422, body = ErrorBody), (status = 503, body = ErrorBody, description = "Too many requests wait")))]
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    InPath(task): InPath,
    Body(body): Body<PredictBody>,
) -> Result<Json<Predictions>, ApiError> {
    if !matches!(task.as_str(), "click" | "conversion" | "purchase") {
        let message = format!("{task:?} is none of click, conversion, purchase, demand");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_task", message).field("task"));
    }
    if body.rows.len() > MAX_ROWS {
        let message = format!("at most {MAX_ROWS} rows are predicted at once");
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_rows", message);
        return Err(error.field("rows").hint("send them in parts"));
    }
    let file = app.models.live().outcomes.get(&task).cloned();
    let file = file.ok_or_else(|| ApiError::no_model(&task))?;
    let started = std::time::Instant::now();
    let model = file.clone();
    let predictions = app.workers.run(move || predict(&model, &body)).await??;
    let header = file.header();
    Ok(Json(Predictions {
        request_id: super::new_id(),
        model: header.model.clone(),
        model_version: header.content_hash.clone(),
        predictions,
        took_ms: started.elapsed().as_secs_f64() * 1e3,
    }))
}

fn predict(file: &OutcomeModelFile, body: &PredictBody) -> Result<Vec<Predicted>, ApiError> {
    let positions = if body.as_logged { Positions::AsLogged } else { Positions::Neutral };
    let predictor = file.predictor();
    let calibrated = predictor.serving().calibrator.method() != CalibrationMethod::None;
    let predictions = predictor.predict(body.rows.iter(), positions)?;
    let predicted = |own: forecart_models::ads::Prediction| Predicted {
        p: own.probability,
        calibrated,
        conversion_given_click: own.conversion.map(|conversion| conversion.given_click),
        click_and_conversion: own.conversion.map(|conversion| conversion.with_click),
    };
    Ok(predictions.into_iter().map(predicted).collect())
}
