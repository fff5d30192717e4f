//! From an event log to an order table: what was bought of each item in each period, order by order.
//!
//! The engine sorts the log's purchases and refunds by item under its memory limit; one item at a time is in memory, beside
//! the ids of all. Start at [`prepare_orders`].

mod config;
mod item;

use std::path::Path;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::logical_expr::cast;
use datafusion::prelude::{DataFrame, Expr, col, lit};
use datafusion::scalar::ScalarValue;
use forecart_data::dataset::Reason;
use forecart_data::event::columns;
use forecart_data::orders::{OrderDescription, OrderManifest};
use forecart_data::{OrderWriter, Progress};

pub use config::{DemandConfig, RawDemandConfig};

use self::item::{Item, Line};
use crate::prepare::PrepareConfig;
use crate::session::Session;
use crate::{LogManifest, PrepareError, Resources};

const DAY_MS: i64 = 86_400_000;

/// Periods of equal length, the last of which ends with the last day of the log.
#[derive(Debug, Clone, Copy)]
struct Calendar {
    start_ms: i64,
    period_ms: i64,
    n_periods: u32,
}

impl Calendar {
    /// As many periods as the days from the first event to the last hold whole; days are those of UTC.
    fn new((first_ms, last_ms): (i64, i64), period_days: u32) -> Option<Self> {
        let period_ms = i64::from(period_days) * DAY_MS;
        let first_day = first_ms.div_euclid(DAY_MS);
        let end_day = last_ms.div_euclid(DAY_MS) + 1;
        let n_periods = (end_day - first_day) / i64::from(period_days);
        let start_ms = (end_day - n_periods * i64::from(period_days)) * DAY_MS;
        let n_periods = u32::try_from(n_periods).ok()?;
        (n_periods > 0).then_some(Self { start_ms, period_ms, n_periods })
    }

    /// The period of a moment; `None` before the first.
    fn period(self, time_ms: i64) -> Option<u32> {
        let period = (time_ms - self.start_ms).div_euclid(self.period_ms);
        u32::try_from(period).ok().filter(|period| *period < self.n_periods)
    }
}

/// Makes an order table in the folder `out` from the event log in `log`.
///
/// An order of an item is all that one order id, or without order ids one user at one moment, bought of it; rows without a quantity are of
/// one unit. With `prepare.cancellations`, a purchase that the same user takes back whole in the same period is no order: at the
/// end of the period that was known. Later refunds are a matter of the warehouse, not of demand. Items that are no
/// products (`prepare.non_product_codes`) are left out. Guests' purchases count.
///
/// The same log and settings give the same bytes, whatever the resources.
///
/// # Errors
/// [`PrepareError::NotALog`] or [`PrepareError::Data`] if the log cannot be read, [`PrepareError::Unusable`] if it has no times, no purchase or
/// not one whole period, [`PrepareError::Cancelled`] and [`PrepareError::Engine`].
pub fn prepare_orders(
    log: &Path,
    prepare: &PrepareConfig,
    config: &DemandConfig,
    out: &Path,
    resources: &Resources,
    progress: &dyn Progress,
) -> Result<OrderManifest, PrepareError> {
    let manifest = LogManifest::read(log)?;
    let unusable = |reason: String| PrepareError::Unusable { step: "prepare demand", reason };
    let range = manifest.time_range_ms.filter(|_| manifest.has_time);
    let range = range.ok_or_else(|| {
        unusable(
            "the log has no times, and demand is forecast for periods; import it with its times"
                .into(),
        )
    })?;
    let days = config.raw.period_days.get();
    let calendar = Calendar::new(range, days).ok_or_else(|| {
        unusable(format!("the log spans less than {days} days; lower demand.period_days"))
    })?;
    let session = Session::new(resources)?;
    session.register_events(log)?;
    let events = session.table("events")?;
    let has = |column: &str| events.schema().fields().iter().any(|field| field.name() == column);
    let has_order_lines = has(columns::ORDER_ID) && has(columns::QUANTITY);
    let purchases = purchases(&session)?;
    let ids = ids(&session, purchases)?;
    if ids.is_empty() {
        let found: Vec<&str> = manifest.events.iter().map(|event| event.name.as_str()).collect();
        let found = found.join(", ");
        return Err(unusable(format!(
            "the log has no event \"purchase\", its events are {found}; name the event of a purchase in [events]"
        )));
    }
    let flags = prepare.codes.flags(ids.iter().map(String::as_str), has_order_lines);
    let mut table = Table {
        calendar,
        cancels: prepare.raw.cancellations,
        ids: &ids,
        is_no_product: &flags,
        at: 0,
        item: Item::default(),
        orders: Vec::new(),
        writer: OrderWriter::new(out)?,
        left_out: [0; REASONS.len()],
        progress,
    };
    progress.begin("orders", Some(manifest.n_rows));
    session.for_each(lines(&session, &has)?, |batch| table.add(&batch))?;
    table.end_item()?;
    let Table { writer, left_out, .. } = table;
    if writer.n_items() == 0 {
        return Err(unusable("no purchase is left within whole periods".into()));
    }
    let mut left_out: Vec<Reason> = REASONS
        .iter()
        .zip(left_out)
        .filter(|(_, n_rows)| *n_rows > 0)
        .map(|(reason, n_rows)| Reason { reason: (*reason).to_owned(), n_rows })
        .collect();
    left_out.sort_by(|a, b| b.n_rows.cmp(&a.n_rows).then(a.reason.cmp(&b.reason)));
    Ok(writer.finish(OrderDescription {
        period_days: days,
        start_ms: calendar.start_ms,
        n_periods: calendar.n_periods,
        data_hash: manifest.data_hash,
        config: serde_json::json!({
            "demand": config.raw,
            "prepare": {
                "cancellations": prepare.raw.cancellations,
                "non_product_codes": prepare.raw.non_product_codes,
            },
        }),
        left_out,
    })?)
}

/// Why a row is in no order; places in [`Table::left_out`].
const REASONS: [&str; 5] = [
    "of an item that is no product",
    "before the first whole period",
    "purchase of no units",
    "purchase that was taken back in its period",
    "refund",
];
const NO_PRODUCT: usize = 0;
const TOO_EARLY: usize = 1;
const NO_UNITS: usize = 2;
const TAKEN_BACK: usize = 3;
const REFUND: usize = 4;

/// Rows on their way into the table, item by item.
struct Table<'a> {
    calendar: Calendar,
    cancels: bool,
    ids: &'a [String],
    is_no_product: &'a [bool],
    /// The item at hand.
    at: usize,
    item: Item,
    orders: Vec<(u32, f64)>,
    writer: OrderWriter,
    left_out: [u64; REASONS.len()],
    progress: &'a dyn Progress,
}

impl Table<'_> {
    /// Takes rows that are sorted by item.
    fn add(&mut self, batch: &RecordBatch) -> Result<(), PrepareError> {
        let [items, users, orders, events] =
            [0, 1, 2, 3].map(|at| batch.column(at).as_string::<i32>());
        let times = batch.column(4).as_primitive::<Int64Type>();
        let quantities = batch.column(5).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let id = items.value(row);
            if self.ids.get(self.at).is_none_or(|current| current != id) {
                self.end_item()?;
                // The ids came from the same rows in the same order; refunds of what was never bought are of none.
                while self.ids.get(self.at).is_some_and(|current| current.as_str() < id) {
                    self.at += 1;
                }
            }
            let is_refund = events.value(row) == "refund";
            if self.ids.get(self.at).is_none_or(|current| current != id) {
                self.left_out[REFUND] += 1;
                continue;
            }
            if self.is_no_product[self.at] {
                self.left_out[NO_PRODUCT] += 1;
                continue;
            }
            let Some(period) = self.calendar.period(times.value(row)) else {
                self.left_out[TOO_EARLY] += 1;
                continue;
            };
            let units = if quantities.is_null(row) { 1.0 } else { quantities.value(row) };
            let text = |column: &datafusion::arrow::array::StringArray| {
                (!column.is_null(row) && !column.value(row).is_empty())
                    .then(|| column.value(row).to_owned())
            };
            let line = Line {
                period,
                time_ms: times.value(row),
                user: text(users),
                order: text(orders),
                units,
            };
            if is_refund {
                self.left_out[REFUND] += 1;
                self.item.refunds.push(line);
            } else if units > 0.0 && units.is_finite() {
                self.item.purchases.push(line);
            } else {
                self.left_out[NO_UNITS] += 1;
            }
        }
        self.progress.advance(batch.num_rows() as u64);
        match self.progress.is_cancelled() {
            true => Err(PrepareError::Cancelled),
            false => Ok(()),
        }
    }

    fn end_item(&mut self) -> Result<(), PrepareError> {
        if self.item.purchases.is_empty() {
            self.item = Item::default();
            return Ok(());
        }
        if self.cancels {
            self.left_out[TAKEN_BACK] += self.item.cancel();
        }
        self.item.orders(&mut self.orders);
        if !self.orders.is_empty() {
            self.writer.push(&self.ids[self.at], &mut self.orders)?;
        }
        self.item = Item::default();
        Ok(())
    }
}

/// Purchases of a known item.
fn purchases(session: &Session) -> Result<DataFrame, PrepareError> {
    let is_purchase = col(columns::EVENT).eq(lit("purchase"));
    Ok(session.table("events")?.filter(is_purchase.and(has_item()))?)
}

fn has_item() -> Expr {
    col(columns::ITEM_ID).is_not_null().and(col(columns::ITEM_ID).not_eq(lit("")))
}

/// The ids of all items that were bought, ascending.
fn ids(session: &Session, purchases: DataFrame) -> Result<Vec<String>, PrepareError> {
    let frame = purchases
        .aggregate(vec![cast(col(columns::ITEM_ID), DataType::Utf8).alias("item")], Vec::new())?
        .sort(vec![col("item").sort(true, false)])?;
    let mut ids = Vec::new();
    session.for_each(frame, |batch| {
        ids.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
        Ok(())
    })?;
    Ok(ids)
}

/// Purchases and refunds by item and time: item, user, order, event, time and quantity.
fn lines(session: &Session, has: &dyn Fn(&str) -> bool) -> Result<DataFrame, PrepareError> {
    let is_line = col(columns::EVENT).eq(lit("purchase")).or(col(columns::EVENT).eq(lit("refund")));
    let typed = |column: &str, data_type: DataType, none: ScalarValue| match has(column) {
        true => cast(col(column), data_type).alias(column),
        false => lit(none).alias(column),
    };
    let text = |column: &str| typed(column, DataType::Utf8, ScalarValue::Utf8(None));
    let by = |column: &str| col(column).sort(true, false);
    let frame = session.table("events")?.filter(is_line.and(has_item()))?.select(vec![
        text(columns::ITEM_ID),
        text(columns::USER_ID),
        text(columns::ORDER_ID),
        text(columns::EVENT),
        typed(columns::TIMESTAMP, DataType::Int64, ScalarValue::Int64(None)),
        typed(columns::QUANTITY, DataType::Float64, ScalarValue::Float64(None)),
        col(columns::ROW_NUMBER),
    ])?;
    let order = [columns::ITEM_ID, columns::TIMESTAMP, columns::ROW_NUMBER];
    Ok(frame.sort(order.map(by).to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_whole_and_end_with_the_last_day() {
        // From noon of day 0 to the morning of day 16: 17 days, two weeks and three days before them.
        let calendar = Calendar::new((DAY_MS / 2, 16 * DAY_MS + 5), 7).unwrap();
        assert_eq!((calendar.n_periods, calendar.start_ms), (2, 3 * DAY_MS));
        assert_eq!(calendar.period(3 * DAY_MS - 1), None);
        assert_eq!(calendar.period(3 * DAY_MS), Some(0));
        assert_eq!(calendar.period(10 * DAY_MS - 1), Some(0));
        assert_eq!(calendar.period(16 * DAY_MS + 5), Some(1));
        assert_eq!(calendar.period(17 * DAY_MS), None);
        assert!(Calendar::new((0, 5 * DAY_MS), 7).is_none());
        assert_eq!(Calendar::new((0, 6 * DAY_MS), 7).unwrap().n_periods, 1);
        // Before 1970 too.
        assert_eq!(Calendar::new((-14 * DAY_MS, -1), 7).unwrap().n_periods, 2);
    }
}
