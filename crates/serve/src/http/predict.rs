//! `POST /v1/predict/{task}`: probabilities of a click, a conversion, a purchase.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use forecart_data::event::{canonical_column, columns};
use forecart_models::ads::Positions;
use forecart_models::calibration::CalibrationMethod;
use forecart_models::model_file::OutcomeModelFile;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::{Body, InPath};
use super::error::{ApiError, ErrorBody};
use crate::app::App;
use crate::consent::Purpose;
use crate::event::id_text;
use crate::ids::new_id;

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
    /// `no_consent`: the row names a user who does not allow it, and nothing that it says was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<&'static str>,
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
    Body(mut body): Body<PredictBody>,
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
    let withheld = withheld(&app, &mut body.rows);
    let predictions = app.workers.run(move || predict(&model, &body, &withheld)).await??;
    let header = file.header();
    Ok(Json(Predictions {
        request_id: new_id(),
        model: header.model.clone(),
        model_version: header.content_hash.clone(),
        predictions,
        took_ms: started.elapsed().as_secs_f64() * 1e3,
    }))
}

/// Empties rows that name a user who does not allow predictions from history or attributes: which columns hold those, only the shop knows. Says
/// which rows they are.
fn withheld(app: &App, rows: &mut [Map<String, Value>]) -> Vec<bool> {
    let is_withheld = |row: &Map<String, Value>| {
        let named = row.iter().filter(|(name, _)| {
            name.as_str() == columns::USER_ID || canonical_column(name) == Some(columns::USER_ID)
        });
        named
            .filter_map(|(name, value)| id_text(name, value).ok())
            .any(|user_id| !app.consents.allows(&user_id, Purpose::Personalization))
    };
    let empty = |row: &mut Map<String, Value>| {
        let is_withheld = is_withheld(row);
        if is_withheld {
            row.clear();
        }
        is_withheld
    };
    rows.iter_mut().map(empty).collect()
}

fn predict(
    file: &OutcomeModelFile,
    body: &PredictBody,
    withheld: &[bool],
) -> Result<Vec<Predicted>, ApiError> {
    let positions = if body.as_logged { Positions::AsLogged } else { Positions::Neutral };
    let predictor = file.predictor();
    let calibrated = predictor.serving().calibrator.method() != CalibrationMethod::None;
    let predictions = predictor.predict(body.rows.iter(), positions)?;
    let predicted = |(own, is_withheld): (forecart_models::ads::Prediction, &bool)| Predicted {
        fallback: is_withheld.then_some("no_consent"),
        p: own.probability,
        calibrated,
        conversion_given_click: own.conversion.map(|conversion| conversion.given_click),
        click_and_conversion: own.conversion.map(|conversion| conversion.with_click),
    };
    Ok(predictions.into_iter().zip(withheld).map(predicted).collect())
}
