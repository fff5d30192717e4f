//! The narrow form of the log: dense numbers in place of strings, sorted by the engine.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, Int64Array, RecordBatch,
    UInt8Array, UInt32Array, UInt64Array,
};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Field, Float32Type, Float64Type, Int64Type, Schema, SchemaRef,
    UInt8Type, UInt32Type, UInt64Type,
};

use super::config::Unit;
use crate::PrepareError;

/// Name of the sort key's column.
pub(super) const KEY: &str = "key";

const ROW_BITS: u32 = 46;
const TIME_BITS: u32 = 48;
/// Moments are kept as an offset from here, 4,459 years before 1970, so that they are unsigned.
const TIME_ORIGIN_MS: i64 = -(1 << (TIME_BITS - 1));

/// What a sequence is, and which columns the narrow form has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) unit: Unit,
    /// Whether lines are ordered by time; else by their position alone, and the time is beside.
    pub(super) by_time: bool,
    pub(super) has_session: bool,
    pub(super) has_order: bool,
    pub(super) has_quantity: bool,
    /// Whether there are columns beside those of [`Line`] that duplicates must agree in.
    pub(super) has_rest: bool,
}

/// One line of the log. Users, items and events are numbers in the order of first appearance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) user: u32,
    pub(super) timestamp_ms: i64,
    /// Position in the input.
    pub(super) row: u64,
    pub(super) item: u32,
    pub(super) event: u8,
    /// The log's value; where it has none, the units; else 1.
    pub(super) value: f32,
    /// Hash of the tracker's session id; 0 where there is none.
    pub(super) session: u64,
    /// Hash of the order id; 0 where there is none.
    pub(super) order: u64,
    /// Units, negative in a refund; NaN where the log has none or nothing is cancelled.
    pub(super) quantity: f64,
    /// 128-bit hash of all further columns.
    pub(super) rest: u128,
}

impl Line {
    /// User, time and position in one number, so that the engine sorts by one fixed-width column.
    fn key(&self, by_time: bool) -> Result<i128, PrepareError> {
        let time = if by_time { self.timestamp_ms.wrapping_sub(TIME_ORIGIN_MS) } else { 0 };
        if !(0..1 << TIME_BITS).contains(&time) || self.row >= 1 << ROW_BITS {
            return Err(PrepareError::Unusable {
                step: "prepare",
                reason: format!(
                    "row {} has the time {} ms, which is more than 4,459 years from 1970; \
                     import the log again",
                    self.row, self.timestamp_ms
                ),
            });
        }
        let user = i128::from(self.user) << (TIME_BITS + ROW_BITS);
        Ok(user | i128::from(time) << ROW_BITS | i128::from(self.row))
    }
}

impl Layout {
    pub(super) fn schema(self) -> SchemaRef {
        let field = |name: &str, data_type| Field::new(name, data_type, false);
        let mut fields = vec![
            field(KEY, DataType::Decimal128(38, 0)),
            field("item", DataType::UInt32),
            field("event", DataType::UInt8),
            field("value", DataType::Float32),
        ];
        if !self.by_time {
            fields.push(field("timestamp", DataType::Int64));
        }
        if self.has_session {
            fields.push(field("session", DataType::UInt64));
        }
        if self.has_order {
            fields.push(field("order", DataType::UInt64));
        }
        if self.has_quantity {
            fields.push(field("quantity", DataType::Float64));
        }
        if self.has_rest {
            fields.push(field("rest_high", DataType::UInt64));
            fields.push(field("rest_low", DataType::UInt64));
        }
        Arc::new(Schema::new(fields))
    }

    /// Lines as a batch of the schema.
    pub(super) fn batch(self, lines: &[Line]) -> Result<RecordBatch, PrepareError> {
        let keys: Vec<i128> =
            lines.iter().map(|line| line.key(self.by_time)).collect::<Result<_, _>>()?;
        let keys = Decimal128Array::from(keys).with_precision_and_scale(38, 0)?;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(keys),
            Arc::new(UInt32Array::from_iter_values(lines.iter().map(|line| line.item))),
            Arc::new(UInt8Array::from_iter_values(lines.iter().map(|line| line.event))),
            Arc::new(Float32Array::from_iter_values(lines.iter().map(|line| line.value))),
        ];
        let hashes = |of: fn(&Line) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(lines.iter().map(of)))
        };
        if !self.by_time {
            let times = lines.iter().map(|line| line.timestamp_ms);
            columns.push(Arc::new(Int64Array::from_iter_values(times)));
        }
        if self.has_session {
            columns.push(hashes(|line| line.session));
        }
        if self.has_order {
            columns.push(hashes(|line| line.order));
        }
        if self.has_quantity {
            let quantities = lines.iter().map(|line| line.quantity);
            columns.push(Arc::new(Float64Array::from_iter_values(quantities)));
        }
        if self.has_rest {
            columns.push(hashes(|line| (line.rest >> 64) as u64));
            columns.push(hashes(|line| line.rest as u64));
        }
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }

    /// Calls `each` with every line of a batch that [`Self::batch`] made.
    pub(super) fn for_each_line(
        self,
        batch: &RecordBatch,
        mut each: impl FnMut(Line) -> Result<(), PrepareError>,
    ) -> Result<(), PrepareError> {
        let keys = batch.column(0).as_primitive::<Decimal128Type>().values();
        let items = batch.column(1).as_primitive::<UInt32Type>().values();
        let events = batch.column(2).as_primitive::<UInt8Type>().values();
        let values = batch.column(3).as_primitive::<Float32Type>().values();
        let mut next = 4;
        let mut optional = |is_there: bool, n: usize| {
            let at = next;
            next += if is_there { n } else { 0 };
            is_there.then_some(at)
        };
        let hashes = |at: usize| batch.column(at).as_primitive::<UInt64Type>().values();
        let times = optional(!self.by_time, 1)
            .map(|at| batch.column(at).as_primitive::<Int64Type>().values());
        let sessions = optional(self.has_session, 1).map(hashes);
        let orders = optional(self.has_order, 1).map(hashes);
        let quantities = optional(self.has_quantity, 1)
            .map(|at| batch.column(at).as_primitive::<Float64Type>().values());
        let rest = optional(self.has_rest, 2).map(|at| (hashes(at), hashes(at + 1)));
        for (i, key) in keys.iter().enumerate() {
            let time = (key >> ROW_BITS) as i64 & ((1 << TIME_BITS) - 1);
            each(Line {
                user: (key >> (TIME_BITS + ROW_BITS)) as u32,
                timestamp_ms: times.map_or(time + TIME_ORIGIN_MS, |times| times[i]),
                row: *key as u64 & ((1 << ROW_BITS) - 1),
                item: items[i],
                event: events[i],
                value: values[i],
                session: sessions.map_or(0, |sessions| sessions[i]),
                order: orders.map_or(0, |orders| orders[i]),
                quantity: quantities.map_or(f64::NAN, |quantities| quantities[i]),
                rest: rest.map_or(0, |(high, low)| u128::from(high[i]) << 64 | u128::from(low[i])),
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_survive_a_batch_and_keys_sort_by_user_time_and_row(
            raw in prop::collection::vec(
                (0..u32::MAX, -140_000_000_000_000i64..140_000_000_000_000, 0u64..1 << 46, any::<u32>(), any::<u128>()), 1..20,
            ),
            flags in any::<[bool; 5]>(),
        ) {
            let [by_time, has_session, has_order, has_quantity, has_rest] = flags;
            let layout = Layout { unit: Unit::User, by_time, has_session, has_order, has_quantity, has_rest };
            let lines: Vec<Line> = raw.into_iter().map(|(user, timestamp_ms, row, item, rest)| Line {
                user, timestamp_ms, row, item, event: row as u8, value: 0.5,
                session: if has_session { row * 3 } else { 0 },
                order: if has_order { row * 7 } else { 0 },
                quantity: if has_quantity { -2.5 } else { 0.0 },
                rest: if has_rest { rest } else { 0 },
            }).collect();
            let batch = layout.batch(&lines).unwrap();
            let mut back = Vec::new();
            layout.for_each_line(&batch, |line| { back.push(line); Ok(()) }).unwrap();
            if !has_quantity {
                back.iter_mut().for_each(|line| line.quantity = 0.0);
            }
            prop_assert_eq!(&back, &lines);
            let mut by_key = lines.clone();
            by_key.sort_by_key(|line| line.key(by_time).unwrap());
            let mut by_fields = lines;
            by_fields.sort_by_key(|l| (l.user, if by_time { l.timestamp_ms } else { 0 }, l.row));
            prop_assert_eq!(by_key, by_fields);
        }
    }

    #[test]
    fn a_time_that_does_not_fit_is_an_error() {
        let line = Line {
            user: 0,
            timestamp_ms: i64::MAX,
            row: 0,
            item: 0,
            event: 0,
            value: 1.0,
            session: 0,
            order: 0,
            quantity: f64::NAN,
            rest: 0,
        };
        assert!(line.key(true).is_err());
        assert!(line.key(false).is_ok());
    }
}
