//! The events of a log in the order of time, one moment at a time.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::prelude::col;
use forecart_data::Progress;
use forecart_data::event::columns;
use xxhash_rust::xxh3::xxh3_64;

use super::catalog::Catalog;
use super::config::LogConfig;
use crate::PrepareError;
use crate::import::cell::Cell;
use crate::prepare::interner::Interner;
use crate::prepare::scan::column;
use crate::session::Session;

/// The event shows an item.
pub(super) const IMPRESSION: u8 = 1;
/// The event answers an impression.
pub(super) const CLICK: u8 = 2;
/// The event buys an item.
pub(super) const PURCHASE: u8 = 4;
/// The event belongs to a history.
pub(super) const LOOK: u8 = 8;

/// One event. Users, items, categories and names are numbers in the order of first appearance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Event {
    pub(super) user: u32,
    pub(super) item: u32,
    /// Of the item; `None` if it is not known.
    pub(super) category: Option<u32>,
    /// Its name.
    pub(super) name: u32,
    /// [`IMPRESSION`], [`CLICK`], [`PURCHASE`] and [`LOOK`], as far as it is one.
    pub(super) kind: u8,
    pub(super) time_ms: i64,
    /// Position in the input; no two events have the same.
    pub(super) row: i64,
    /// Hash of the session's id; 0 where there is none.
    pub(super) session: u64,
    /// Hash of the request's id; 0 where there is none.
    pub(super) request: u64,
    /// Of the event, else of the catalog; NaN if neither has one.
    pub(super) price: f64,
    /// Where its further columns stand: number of the moment's batch, and row in it.
    pub(super) place: (usize, usize),
}

impl Default for Event {
    fn default() -> Self {
        Self {
            user: 0,
            item: 0,
            category: None,
            name: 0,
            kind: 0,
            time_ms: 0,
            row: 0,
            session: 0,
            request: 0,
            price: f64::NAN,
            place: (0, 0),
        }
    }
}

/// All events of one moment, in the order of the input, without repetitions.
#[derive(Debug, Default)]
pub(super) struct Moment {
    pub(super) events: Vec<Event>,
    batches: Vec<Columns>,
}

impl Moment {
    /// What an event's row has in a column of the log.
    pub(super) fn cell(&self, event: &Event, at: usize) -> Cell<'_> {
        let (batch, row) = event.place;
        self.batches[batch].cell(at, row)
    }
}

/// The columns of a batch that events are read from, and further ones by their place.
#[derive(Debug, Clone)]
struct Columns {
    times: ArrayRef,
    rows: ArrayRef,
    users: ArrayRef,
    items: ArrayRef,
    names: ArrayRef,
    sessions: Option<ArrayRef>,
    requests: Option<ArrayRef>,
    prices: Option<ArrayRef>,
    category: Option<ArrayRef>,
    /// All columns but the position in the input, in the order of [`Log::columns`].
    all: Vec<ArrayRef>,
}

impl Columns {
    fn new(batch: &RecordBatch, log: &Log<'_>) -> Result<Self, PrepareError> {
        let get = |name: &str, data_type: &DataType| column(batch, name, data_type);
        let required = |name: &str, data_type: &DataType| {
            get(name, data_type)?.ok_or_else(|| PrepareError::Unusable {
                step: "prepare samples",
                reason: format!("the log has no column {name:?}; import it again"),
            })
        };
        let (text, whole) = (&DataType::Utf8, &DataType::Int64);
        let all = log.columns.iter().map(|name| {
            let array = required(name, batch.schema().field_with_name(name)?.data_type())?;
            Ok(match array.data_type() {
                DataType::Utf8 | DataType::Int64 | DataType::Float64 => array,
                other if other.is_integer() => required(name, whole)?,
                other if other.is_numeric() => required(name, &DataType::Float64)?,
                _ => required(name, text)?,
            })
        });
        Ok(Self {
            times: required(columns::TIMESTAMP, whole)?,
            rows: required(columns::ROW_NUMBER, whole)?,
            users: required(columns::USER_ID, text)?,
            items: required(columns::ITEM_ID, text)?,
            names: required(columns::EVENT, text)?,
            sessions: get(columns::SESSION_ID, text)?,
            requests: get(columns::REQUEST_ID, text)?,
            prices: get(columns::PRICE, &DataType::Float64)?,
            category: match &log.category {
                Some(name) => get(name, text)?,
                None => None,
            },
            all: all.collect::<Result<_, PrepareError>>()?,
        })
    }

    fn cell(&self, at: usize, row: usize) -> Cell<'_> {
        let array = &self.all[at];
        if array.is_null(row) {
            return Cell::Null;
        }
        if let Some(texts) = array.as_string_opt::<i32>() {
            return Cell::Text(texts.value(row));
        }
        match array.as_primitive_opt::<Int64Type>() {
            Some(numbers) => Cell::Int(numbers.value(row)),
            None => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        }
    }
}

fn text(array: &ArrayRef, row: usize) -> Option<&str> {
    let texts = array.as_string::<i32>();
    (!texts.is_null(row)).then(|| texts.value(row)).filter(|text| !text.is_empty())
}

/// Users, items, categories and names of events by their numbers; the items of the catalog come first, in its order.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) users: Interner,
    pub(super) items: Interner,
    pub(super) categories: Interner,
    pub(super) events: Interner,
}

/// What was passed over.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PassedOver {
    pub(super) n_events: u64,
    pub(super) n_guests: u64,
    pub(super) n_repeated: u64,
}

/// A log that is read in the order of time.
pub(super) struct Log<'a> {
    pub(super) session: &'a Session,
    pub(super) config: &'a LogConfig,
    pub(super) catalog: &'a Catalog,
    /// All columns of the log but the position in the input.
    pub(super) columns: Vec<String>,
    /// The column that says of which category an item is, where the catalog does not.
    pub(super) category: Option<String>,
}

impl Log<'_> {
    /// Hands every moment to `each`, the earliest first. The engine sorts, under its memory limit; memory holds the events of one moment.
    pub(super) fn for_each_moment(
        &self,
        names: &mut Names,
        progress: &dyn Progress,
        mut each: impl FnMut(&Moment, &Names) -> Result<(), PrepareError>,
    ) -> Result<PassedOver, PrepareError> {
        let sorted: Vec<&str> =
            self.columns.iter().map(String::as_str).chain([columns::ROW_NUMBER]).collect();
        let order =
            [columns::TIMESTAMP, columns::ROW_NUMBER].map(|name| col(name).sort(true, false));
        let frame = self.session.table("events")?.select_columns(&sorted)?.sort(order.to_vec())?;
        let (mut moment, mut passed) = (Moment::default(), PassedOver::default());
        self.session.for_each(frame, |batch| {
            if progress.is_cancelled() {
                return Err(PrepareError::Cancelled);
            }
            progress.advance(batch.num_rows() as u64);
            passed.n_events += batch.num_rows() as u64;
            let columns = Columns::new(&batch, self)?;
            let times = columns.times.as_primitive::<Int64Type>().values().clone();
            let mut is_kept = false;
            for (row, time_ms) in times.iter().enumerate() {
                let Some(user) = text(&columns.users, row) else {
                    passed.n_guests += 1;
                    continue;
                };
                if moment.events.first().is_some_and(|first| first.time_ms != *time_ms) {
                    passed.n_repeated += self.drop_repeated(&mut moment);
                    each(&moment, names)?;
                    moment.events.clear();
                    moment.batches.clear();
                    is_kept = false;
                }
                if !is_kept {
                    moment.batches.push(columns.clone());
                    is_kept = true;
                }
                let place = (moment.batches.len() - 1, row);
                let event = self.event(&columns, user, *time_ms, place, names)?;
                moment.events.push(event);
            }
            Ok(())
        })?;
        if !moment.events.is_empty() {
            passed.n_repeated += self.drop_repeated(&mut moment);
            each(&moment, names)?;
        }
        Ok(passed)
    }

    fn event(
        &self,
        columns: &Columns,
        user: &str,
        time_ms: i64,
        place: (usize, usize),
        names: &mut Names,
    ) -> Result<Event, PrepareError> {
        let row = place.1;
        let item = text(&columns.items, row);
        // What has no item shows, answers and looks at none; a purchase is one all the same.
        let possible = if item.is_some() { u8::MAX } else { PURCHASE };
        let item = names.items.intern(item.unwrap_or_default())?;
        let name = text(&columns.names, row).unwrap_or_default();
        let raw = &self.config.raw;
        let kinds = [
            (IMPRESSION, &raw.impressions),
            (CLICK, &raw.clicks),
            (PURCHASE, &raw.purchases),
            (LOOK, &raw.history),
        ];
        let is_one = |wanted: &[String]| wanted.iter().any(|wanted| wanted == name);
        let kinds = kinds.iter().filter(|(_, wanted)| is_one(wanted)).map(|(kind, _)| kind);
        let kind = possible & kinds.sum::<u8>();
        let hash = |array: &Option<ArrayRef>| {
            let id = array.as_ref().and_then(|array| text(array, row));
            id.map_or(0, |id| xxh3_64(id.as_bytes()).max(1))
        };
        let own_price = columns.prices.as_ref().filter(|prices| prices.is_valid(row));
        let own_price = own_price.map(|prices| prices.as_primitive::<Float64Type>().value(row));
        let category = match &columns.category {
            Some(array) => text(array, row).map(|of| names.categories.intern(of)).transpose()?,
            None => self.catalog.category(item),
        };
        Ok(Event {
            user: names.users.intern(user)?,
            item,
            category,
            name: names.events.intern(name)?,
            kind,
            time_ms,
            row: columns.rows.as_primitive::<Int64Type>().value(row),
            session: hash(&columns.sessions),
            request: hash(&columns.requests),
            price: own_price.filter(|price| price.is_finite()).unwrap_or(self.catalog.price(item)),
            place,
        })
    }

    /// Leaves the first of events that are equal in every column.
    fn drop_repeated(&self, moment: &mut Moment) -> u64 {
        let n_before = moment.events.len();
        if n_before < 2 {
            return 0;
        }
        let mut events = std::mem::take(&mut moment.events);
        events.sort_by_key(|event| (event.user, event.item, event.name, event.row));
        let mut kept: Vec<Event> = Vec::with_capacity(n_before);
        let mut first_alike = 0;
        for event in events {
            let is_alike = |other: &Event| {
                (other.user, other.item, other.name) == (event.user, event.item, event.name)
            };
            if kept.get(first_alike).is_none_or(|first| !is_alike(first)) {
                first_alike = kept.len();
            }
            let is_equal = |other: &Event| {
                (0..self.columns.len()).all(|at| moment.cell(other, at) == moment.cell(&event, at))
            };
            if !kept[first_alike..].iter().any(is_equal) {
                kept.push(event);
            }
        }
        kept.sort_by_key(|event| event.row);
        moment.events = kept;
        (n_before - moment.events.len()) as u64
    }
}
