//! `POST /v1/predict/demand`: units that will be sold, and what to order.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use forecart_models::ModelError;
use forecart_models::model_file::DemandModelFile;
use forecart_models::purchase::demand::DemandQuestion;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::error::{ApiError, ErrorBody};
use crate::app::App;
use crate::ids::new_id;

/// Most items of one request.
const MAX_ROWS: usize = 10_000;
/// Most periods of all items of a request together.
const MAX_ANSWERED: usize = 200_000;
/// Most periods ahead.
const MAX_PERIODS: u32 = 366;
/// The median, and an interval that holds eight of ten outcomes.
const ASKED: DemandQuestion<'static> = DemandQuestion { levels: &[0.5], shares: &[0.8] };

/// Items whose demand is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DemandBody {
    rows: Vec<DemandRow>,
    /// Periods ahead [default: 4]; how long one is, is what the model learned from.
    #[serde(default = "periods")]
    #[schema(minimum = 1, maximum = 366)]
    periods: u32,
    /// Periods that an order takes to come: then each row says what to order now.
    #[schema(minimum = 1, maximum = 366)]
    lead_time: Option<u32>,
    /// Share of lead times that should end without the item being out [default: 0.95].
    #[serde(default = "service_level")]
    service_level: f64,
}

fn periods() -> u32 {
    4
}

fn service_level() -> f64 {
    0.95
}

/// An item.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DemandRow {
    item_id: String,
    /// Units in stock.
    #[serde(default)]
    on_hand: f64,
    /// Units that are ordered and have not come.
    #[serde(default)]
    on_order: f64,
}

/// A period of an item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Period {
    /// Its first moment, in milliseconds since 1970.
    start_ms: i64,
    /// The mean, in units.
    expected: f64,
    median: f64,
    /// Eight of ten outcomes are between these.
    low: f64,
    high: f64,
}

/// What to order of an item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reorder {
    /// Units that are sold in the lead time, on average.
    expected: f64,
    /// Units that suffice in the share of lead times.
    needed: f64,
    /// Of these, what is neither in stock nor ordered.
    order: f64,
}

/// The demand of an item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Demand {
    item_id: String,
    /// Empty if the item was not sold before.
    periods: Vec<Period>,
    /// With a `lead_time`; null if the item was not sold before.
    reorder: Option<Reorder>,
}

/// Demand, in the order of the rows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Demands {
    request_id: String,
    model: String,
    model_version: String,
    /// Days of a period.
    period_days: u32,
    predictions: Vec<Demand>,
    took_ms: f64,
}

/// How much of each item will be sold in the next periods, and with a `lead_time` what to order.
#[utoipa::path(post, path = "/v1/predict/demand", tag = "predict", request_body = DemandBody,
    responses((status = 200, body = Demands), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody, description = "No model of demand is served"), (status = 413, body = ErrorBody),
        (status = 422, body = ErrorBody), (status = 503, body = ErrorBody, description = "Too many requests wait")))]
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    Body(body): Body<DemandBody>,
) -> Result<Json<Demands>, ApiError> {
    check(&body)?;
    let file = app.models.live().demand.clone().ok_or_else(|| ApiError::no_model("demand"))?;
    let started = std::time::Instant::now();
    let model = file.clone();
    let predictions = app.workers.run(move || predict(&model, &body)).await?;
    let predictions = predictions.map_err(|error| match error {
        // A method that knows no lead times.
        error @ ModelError::Demand { .. } => {
            ApiError::unprocessable("not_of_this_model", error.to_string()).field("lead_time")
        }
        error => error.into(),
    })?;
    let header = file.header();
    Ok(Json(Demands {
        request_id: new_id(),
        model: header.model.clone(),
        model_version: header.content_hash.clone(),
        period_days: header.orders.period_days,
        predictions,
        took_ms: started.elapsed().as_secs_f64() * 1e3,
    }))
}

fn check(body: &DemandBody) -> Result<(), ApiError> {
    let wrong = |code, message: String, field: &str| {
        Err(ApiError::unprocessable(code, message).field(field))
    };
    if body.rows.len() > MAX_ROWS {
        let message = format!("at most {MAX_ROWS} rows are predicted at once");
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_rows", message);
        return Err(error.field("rows").hint("send them in parts"));
    }
    let asked = [("periods", Some(body.periods)), ("lead_time", body.lead_time)];
    for (field, periods) in asked {
        if periods.is_some_and(|periods| periods == 0 || periods > MAX_PERIODS) {
            return wrong("bad_periods", format!("{field} is in 1..={MAX_PERIODS}"), field);
        }
    }
    if body.rows.len() * body.periods as usize > MAX_ANSWERED {
        let message = format!("rows times periods are at most {MAX_ANSWERED}");
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_rows", message);
        return Err(error.field("periods").hint("send the rows in parts"));
    }
    if !(body.service_level > 0.0 && body.service_level < 1.0) {
        let message = "service_level is a share between 0 and 1, such as 0.95".to_owned();
        return wrong("bad_share", message, "service_level");
    }
    let is_stock = |units: f64| units.is_finite() && units >= 0.0;
    for (index, row) in body.rows.iter().enumerate() {
        if !is_stock(row.on_hand) || !is_stock(row.on_order) {
            let message = "on_hand and on_order are numbers of units".to_owned();
            return wrong("bad_units", message, &format!("rows[{index}]"));
        }
    }
    Ok(())
}

fn predict(file: &DemandModelFile, body: &DemandBody) -> Result<Vec<Demand>, ModelError> {
    let items: std::collections::HashMap<&str, usize> =
        file.items().iter().enumerate().map(|(item, id)| (id, item)).collect();
    let predict = |row: &DemandRow| {
        let none = Demand { item_id: row.item_id.clone(), periods: Vec::new(), reorder: None };
        let Some(&item) = items.get(row.item_id.as_str()) else { return Ok(none) };
        let forecast = file.fitted().forecast(item, body.periods as usize, ASKED)?;
        let Some(forecast) = forecast else { return Ok(none) };
        let period = |(ahead, mean): (usize, &f64)| Period {
            start_ms: file.header().orders.period_start_ms(ahead as u32),
            expected: *mean,
            median: forecast.quantiles[ahead][0],
            low: forecast.intervals[ahead][0].low,
            high: forecast.intervals[ahead][0].high,
        };
        let periods = forecast.mean.iter().enumerate().map(period).collect();
        let reorder = match body.lead_time {
            None => None,
            Some(n) => {
                file.fitted().total(item, n, &[body.service_level])?.map(|(expected, quantiles)| {
                    let needed = quantiles[0].ceil();
                    let order = (needed - row.on_hand - row.on_order).max(0.0).ceil();
                    Reorder { expected, needed, order }
                })
            }
        };
        Ok(Demand { periods, reorder, ..none })
    };
    body.rows.iter().map(predict).collect()
}
