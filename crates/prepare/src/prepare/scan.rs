//! The one pass over the log's strings: users, items and events become numbers, and what is not
//! wanted is dropped before anything is sorted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::functions_aggregate::count::count_all;
use datafusion::functions_aggregate::expr_fn::min;
use datafusion::prelude::{col, lit};
use forecart_data::Progress;
use forecart_data::event::columns;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc::Sender;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::config::{DAY_MS, PrepareConfig, Unit};
use super::interner::Interner;
use super::line::{Layout, Line};
use super::report::{Reached, Step};
use crate::PrepareError;
use crate::log::{self, LogManifest};
use crate::session::Session;

/// Rows of a batch on its way to the sort.
const BATCH_ROWS: usize = 1 << 15;

/// Columns that [`Line`] holds exactly or that duplicates may differ in.
const NOT_HASHED: &[&str] =
    &[columns::USER_ID, columns::ITEM_ID, columns::EVENT, columns::TIMESTAMP, columns::ROW_NUMBER];

/// A log that is read.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) manifest: LogManifest,
    files: Vec<PathBuf>,
    columns: Vec<String>,
    /// Repeated event ids, by their hash: the row that stays.
    repeated_ids: FxHashMap<u128, i64>,
}

impl Source {
    pub(super) fn open(log: &Path) -> Result<Self, PrepareError> {
        let manifest = LogManifest::read(log)?;
        let files = log::event_files(log)?;
        let columns = match files.first() {
            Some(file) => {
                let schema = reader(file)?.schema().clone();
                schema.fields().iter().map(|field| field.name().clone()).collect()
            }
            None => Vec::new(),
        };
        Ok(Self { manifest, files, columns, repeated_ids: FxHashMap::default() })
    }

    pub(super) fn has_column(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }

    /// Whether rows are lines of orders.
    pub(super) fn has_order_lines(&self) -> bool {
        self.has_column(columns::ORDER_ID) && self.has_column(columns::QUANTITY)
    }

    /// False if the manifest's count of events says that there are none.
    fn may_have_refunds(&self) -> bool {
        let events = &self.manifest.events;
        events.is_empty() || events.iter().any(|event| event.name == "refund")
    }

    /// Finds event ids that stand twice. Memory grows with the number of such ids alone.
    pub(super) fn find_repeated_ids(
        &mut self,
        session: &Session,
        log: &Path,
        table: &str,
    ) -> Result<(), PrepareError> {
        if !self.has_column(columns::EVENT_ID) {
            return Ok(());
        }
        session.register_parquet(table, &log::events_folder(log))?;
        let id = || col(columns::EVENT_ID);
        let rows = vec![min(col(columns::ROW_NUMBER)).alias("kept"), count_all().alias("n")];
        let frame = session
            .table(table)?
            .filter(id().is_not_null().and(id().not_eq(lit(""))))?
            .aggregate(vec![id()], rows)?
            .filter(col("n").gt(lit(1i64)))?
            .select(vec![id(), col("kept")])?;
        let repeated = &mut self.repeated_ids;
        session.for_each(frame, |batch| {
            let ids = text(batch.column(0))?;
            let rows = batch.column(1).as_primitive::<Int64Type>();
            for (id, row) in ids.iter().zip(rows.values()) {
                repeated.insert(xxh3_128(id.unwrap_or_default().as_bytes()), *row);
            }
            Ok(())
        })
    }

    pub(super) fn has_session_ids(&self) -> bool {
        self.has_column(columns::SESSION_ID)
    }

    /// Columns that must be read.
    fn projection(&self, layout: Layout) -> Vec<String> {
        let wanted = |name: &str| {
            NOT_HASHED.contains(&name)
                || layout.has_rest
                || name == columns::VALUE
                || name == columns::SESSION_ID
                || (name == columns::ORDER_ID && layout.has_order)
                || name == columns::QUANTITY
                || (name == columns::EVENT_ID && !self.repeated_ids.is_empty())
        };
        self.columns.iter().filter(|name| wanted(name)).cloned().collect()
    }
}

/// The narrow form that suits the logs and the settings.
pub(super) fn layout(
    sources: &[Source],
    config: &PrepareConfig,
    unit: Unit,
    by_time: bool,
) -> Layout {
    let any = |column: &str| sources.iter().any(|source| source.has_column(column));
    let has_time = sources.iter().all(|source| source.manifest.has_time);
    Layout {
        unit,
        by_time,
        has_session: unit == Unit::User && any(columns::SESSION_ID),
        has_order: config.raw.merge_order_lines && any(columns::ORDER_ID),
        has_quantity: cancels(config)
            && sources.iter().any(Source::may_have_refunds)
            && any(columns::QUANTITY),
        // Without times a row's position is all that says when: no two rows are the same event.
        has_rest: config.raw.drop_duplicates
            && has_time
            && sources.iter().any(|source| {
                source.columns.iter().any(|name| !NOT_HASHED.contains(&name.as_str()))
            }),
    }
}

/// Whether refunds are set against purchases.
pub(super) fn cancels(config: &PrepareConfig) -> bool {
    config.raw.cancellations
        && config.events.contains("purchase")
        && !config.events.contains("refund")
}

/// What the pass found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) unit: Unit,
    /// Users (sessions, where these are the users); those of a test log come after the others.
    pub(super) users: Interner,
    pub(super) test_users: Interner,
    pub(super) items: Interner,
    pub(super) events: Vec<String>,
    pub(super) n_read: u64,
    pub(super) outside_window: u64,
    pub(super) other_events: BTreeMap<String, u64>,
    pub(super) missing_items: u64,
    pub(super) missing_users: u64,
    pub(super) repeated_ids: u64,
    pub(super) reached: Reached,
}

impl Scan {
    /// The number of the target event.
    pub(super) fn target_number(&self, name: &str) -> Result<u32, PrepareError> {
        let number = self.events.iter().position(|event| event == name);
        number.map(|number| number as u32).ok_or_else(|| {
            let reason =
                format!("the log has no {name:?}; its events are {}", self.events.join(", "));
            PrepareError::config("split.target_event", reason)
        })
    }

    /// The id of a sequence. A session by gap is its user's id and its number from 1, those of a
    /// test log apart (`u#test-1`): no two are alike, as the last `#` ends the user's id.
    pub(super) fn sequence_id(&self, user: u32, session: u32) -> Cow<'_, str> {
        let (id, mark) = match (user as usize).checked_sub(self.users.len()) {
            Some(test_user) => (self.test_users.text(test_user as u32), "test-"),
            None => (self.users.text(user), ""),
        };
        match self.unit {
            Unit::SessionByGap => Cow::Owned(format!("{id}#{mark}{}", session + 1)),
            Unit::User | Unit::SessionById => Cow::Borrowed(id),
        }
    }
}

/// Reads every source and sends narrow batches to the sort's partitions in turn.
///
/// Returns `None` if the receiving side is gone: it has an error of its own.
pub(super) fn scan(
    sources: &[Source],
    config: &PrepareConfig,
    layout: Layout,
    senders: &[Sender<RecordBatch>],
    progress: &dyn Progress,
) -> Result<Option<Scan>, PrepareError> {
    let key_column = match layout.unit {
        Unit::SessionById => columns::SESSION_ID,
        Unit::User | Unit::SessionByGap => columns::USER_ID,
    };
    let mut scanner = Scanner {
        config,
        layout,
        window_ms: config.window_ms,
        scan: Scan { unit: layout.unit, ..Scan::default() },
        lines: Vec::with_capacity(BATCH_ROWS),
        first_row: 0,
    };
    let mut turn = 0;
    for (number, source) in sources.iter().enumerate() {
        let is_test = number > 0;
        scanner.begin(source, is_test);
        let wanted = source.projection(layout);
        // The users of a test log are numbered after the others.
        let (mut known, first) = match is_test {
            true => (std::mem::take(&mut scanner.scan.test_users), scanner.scan.users.len() as u32),
            false => (std::mem::take(&mut scanner.scan.users), 0),
        };
        let mut users =
            Users { column: key_column, window_ms: scanner.window_ms, known: &mut known, first };
        let done = std::thread::scope(|scope| {
            let (sender, batches) = sync_channel(2);
            let decode = scope.spawn(move || {
                for file in &source.files {
                    for batch in batches_of(file, &wanted)? {
                        if sender.send(users.number(batch?)?).is_err() {
                            return Ok(());
                        }
                    }
                }
                Ok(())
            });
            let done = scanner.drain(source, batches, senders, &mut turn, progress);
            let decoded: Result<(), PrepareError> =
                decode.join().expect("reading Parquet does not panic");
            decoded.and(done)
        })?;
        if !done {
            return Ok(None);
        }
        match is_test {
            true => scanner.scan.test_users = known,
            false => scanner.scan.users = known,
        }
    }
    let Scanner { scan, .. } = scanner;
    // A user may be in both logs, a session must not.
    if layout.unit == Unit::SessionById
        && let Some(twice) = scan.test_users.iter().find(|id| scan.users.find(id).is_some())
    {
        return Err(PrepareError::Unusable {
            step: "prepare split",
            reason: format!(
                "session {twice:?} is in the log and in the test log; sessions must be whole"
            ),
        });
    }
    Ok(Some(scan))
}

struct Scanner<'c> {
    config: &'c PrepareConfig,
    layout: Layout,
    window_ms: (i64, i64),
    scan: Scan,
    lines: Vec<Line>,
    /// Positions of a second log follow those of the first.
    first_row: u64,
}

/// The half of the pass that numbers users, on the thread that decodes.
struct Users<'u> {
    column: &'static str,
    window_ms: (i64, i64),
    known: &'u mut Interner,
    /// Number of the first.
    first: u32,
}

/// A batch with the number of each row's user; `None` for a guest, or outside the time window.
struct Numbered {
    batch: RecordBatch,
    users: Vec<Option<u32>>,
}

impl Users<'_> {
    fn number(&mut self, batch: RecordBatch) -> Result<Numbered, PrepareError> {
        let (ids, times) = (texts(&batch, self.column)?, integers(&batch, columns::TIMESTAMP)?);
        let (ids, times) = (ids.as_string::<i32>(), times.as_primitive::<Int64Type>());
        let number = |(id, time): (Option<&str>, &i64)| {
            let is_in = *time >= self.window_ms.0 && *time <= self.window_ms.1;
            match id {
                Some(id) if is_in && !id.is_empty() => {
                    Ok(Some(self.first + self.known.intern(id)?))
                }
                _ => Ok(None),
            }
        };
        let users = ids.iter().zip(times.values()).map(number).collect::<Result<_, PrepareError>>();
        Ok(Numbered { users: users?, batch })
    }
}

/// A column that every log has.
fn required(
    batch: &RecordBatch,
    name: &'static str,
    data_type: &DataType,
) -> Result<ArrayRef, PrepareError> {
    column(batch, name, data_type)?.ok_or_else(|| PrepareError::Unusable {
        step: "prepare",
        reason: format!("the log has no column {name:?}; import it again"),
    })
}

fn texts(batch: &RecordBatch, name: &'static str) -> Result<ArrayRef, PrepareError> {
    required(batch, name, &DataType::Utf8)
}

fn integers(batch: &RecordBatch, name: &'static str) -> Result<ArrayRef, PrepareError> {
    required(batch, name, &DataType::Int64)
}

impl Scanner<'_> {
    fn begin(&mut self, source: &Source, is_test: bool) {
        self.window_ms = self.config.window_ms;
        if let (Some(days), Some((_, end))) =
            (self.config.raw.last_days, source.manifest.time_range_ms)
        {
            self.window_ms.0 = end.saturating_sub(i64::from(days) * DAY_MS).saturating_add(1);
        }
        if is_test {
            self.first_row = 1 << 45;
        }
    }

    /// False if nobody receives.
    fn drain(
        &mut self,
        source: &Source,
        batches: Receiver<Numbered>,
        senders: &[Sender<RecordBatch>],
        turn: &mut usize,
        progress: &dyn Progress,
    ) -> Result<bool, PrepareError> {
        for numbered in batches {
            if progress.is_cancelled() {
                return Err(PrepareError::Cancelled);
            }
            self.take(source, &numbered)?;
            progress.advance(numbered.batch.num_rows() as u64);
            let narrow = self.layout.batch(&self.lines)?;
            self.lines.clear();
            if narrow.num_rows() == 0 {
                continue;
            }
            if senders[*turn % senders.len()].blocking_send(narrow).is_err() {
                return Ok(false);
            }
            *turn += 1;
        }
        Ok(true)
    }

    fn take(&mut self, source: &Source, numbered: &Numbered) -> Result<(), PrepareError> {
        let Numbered { batch, users } = numbered;
        let (items, events) = (texts(batch, columns::ITEM_ID)?, texts(batch, columns::EVENT)?);
        let (items, events) = (items.as_string::<i32>(), events.as_string::<i32>());
        let times = integers(batch, columns::TIMESTAMP)?;
        let rows = integers(batch, columns::ROW_NUMBER)?;
        let (times, rows) = (times.as_primitive::<Int64Type>(), rows.as_primitive::<Int64Type>());
        let texts = |is_wanted: bool, name| match is_wanted {
            true => column(batch, name, &DataType::Utf8),
            false => Ok(None),
        };
        let sessions = texts(self.layout.has_session, columns::SESSION_ID)?;
        let orders = texts(self.layout.has_order, columns::ORDER_ID)?;
        let ids = texts(!source.repeated_ids.is_empty(), columns::EVENT_ID)?;
        let values = column(batch, columns::VALUE, &DataType::Float64)?;
        let quantities = column(batch, columns::QUANTITY, &DataType::Float64)?;
        let rest = if self.layout.has_rest { Some(hashes_of_rest(batch)?) } else { None };
        let number = |array: &Option<ArrayRef>, i: usize| {
            let array = array.as_ref()?.as_primitive::<Float64Type>();
            array.is_valid(i).then(|| array.value(i)).filter(|x| x.is_finite())
        };
        let hash = |array: &Option<ArrayRef>, i: usize| match array {
            // 0 says that there is none.
            Some(array) if array.is_valid(i) => {
                xxh3_64(array.as_string::<i32>().value(i).as_bytes()).max(1)
            }
            _ => 0,
        };
        let cancels = cancels(self.config);
        // Neighboring lines mostly share their event.
        let mut last_event: Option<(&str, Option<u8>)> = None;
        self.scan.n_read += batch.num_rows() as u64;
        for i in 0..batch.num_rows() {
            let (time, row) = (times.value(i), rows.value(i));
            if time < self.window_ms.0 || time > self.window_ms.1 {
                self.scan.outside_window += 1;
                continue;
            }
            let event = events.value(i);
            let code = match last_event {
                Some((name, code)) if name == event => code,
                _ => {
                    let is_wanted = self.config.events.contains(event);
                    let code = match is_wanted || (cancels && event == "refund") {
                        true => Some(self.event_code(event)?),
                        false => None,
                    };
                    last_event = Some((event, code));
                    code
                }
            };
            let user = users[i];
            let item = match items.is_valid(i) {
                true => Some(self.scan.items.intern(items.value(i))?),
                false => None,
            };
            let Some(event) = code else {
                let counted = self.scan.other_events.get_mut(event);
                match counted {
                    Some(n) => *n += 1,
                    None => {
                        self.scan.other_events.insert(event.to_owned(), 1);
                    }
                }
                self.scan.reached.mark(user, item, Step::Window);
                continue;
            };
            let Some(item) = item else {
                self.scan.missing_items += 1;
                self.scan.reached.mark(user, None, Step::Window);
                continue;
            };
            let Some(user) = user else {
                self.scan.missing_users += 1;
                self.scan.reached.mark(user, Some(item), Step::Events);
                continue;
            };
            if let Some(ids) = &ids
                && ids.is_valid(i)
                && let id = ids.as_string::<i32>().value(i)
                && source
                    .repeated_ids
                    .get(&xxh3_128(id.as_bytes()))
                    .is_some_and(|kept| *kept != row)
            {
                self.scan.repeated_ids += 1;
                self.scan.reached.mark(Some(user), Some(item), Step::Users);
                continue;
            }
            self.scan.reached.mark(Some(user), Some(item), Step::Duplicates);
            let quantity = number(&quantities, i);
            let units = || quantity.map(f64::abs).filter(|units| *units > 0.0);
            self.lines.push(Line {
                user,
                timestamp_ms: time,
                row: self.first_row + row.max(0) as u64,
                item,
                event,
                value: number(&values, i).or_else(units).map_or(1.0, |x| x as f32),
                session: hash(&sessions, i),
                order: hash(&orders, i),
                quantity: quantity.unwrap_or(f64::NAN),
                rest: rest.as_ref().map_or(0, |rest| rest[i]),
            });
        }
        Ok(())
    }

    fn event_code(&mut self, event: &str) -> Result<u8, PrepareError> {
        if let Some(code) = self.scan.events.iter().position(|name| name == event) {
            return Ok(code as u8);
        }
        if self.scan.events.len() == 255 {
            let reason = "the log has more than 255 different events; name those that count";
            return Err(PrepareError::config("prepare.events", reason));
        }
        self.scan.events.push(event.to_owned());
        Ok((self.scan.events.len() - 1) as u8)
    }
}

/// A 128-bit hash (XXH3) of each row's further columns, nulls apart from empty texts. Two different
/// rows of one user, item, event and moment are taken for equal with a chance of about 2^-128.
fn hashes_of_rest(batch: &RecordBatch) -> Result<Vec<u128>, PrepareError> {
    /// Stands for a null: no text or number has it but by chance.
    const NULL: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let mut rest: Vec<_> =
        names.zip(batch.columns()).filter(|(name, _)| !NOT_HASHED.contains(name)).collect();
    // The order of columns in a file says nothing.
    rest.sort_by_key(|(name, _)| *name);
    let mut hashes = vec![0u128; batch.num_rows()];
    for (_, array) in rest {
        if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
            add(
                &mut hashes,
                numbers.iter().map(|x| x.map_or(NULL, |x| xxh3_128(&x.to_le_bytes()))),
            );
        } else if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
            add(
                &mut hashes,
                numbers.iter().map(|x| x.map_or(NULL, |x| xxh3_128(&x.to_le_bytes()))),
            );
        } else {
            let texts = text(array)?;
            add(&mut hashes, texts.iter().map(|x| x.map_or(NULL, |x| xxh3_128(x.as_bytes()))));
        }
    }
    Ok(hashes)
}

/// Takes one more column into the rows' hashes: a polynomial over the columns, modulo 2^128.
fn add(hashes: &mut [u128], column: impl Iterator<Item = u128>) {
    const FACTOR: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645; // odd
    for (hash, value) in hashes.iter_mut().zip(column) {
        *hash = (*hash ^ value).wrapping_mul(FACTOR).rotate_left(64);
    }
}

fn reader(file: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, PrepareError> {
    let opened = File::open(file).map_err(PrepareError::io("read", file))?;
    Ok(ParquetRecordBatchReaderBuilder::try_new(opened)?)
}

/// Batches of a Parquet file with the columns of `wanted` that it has.
pub(crate) fn batches_of(
    file: &Path,
    wanted: &[String],
) -> Result<impl Iterator<Item = Result<RecordBatch, PrepareError>> + use<>, PrepareError> {
    let reader = reader(file)?;
    let schema = reader.schema().clone();
    let roots = schema.fields().iter().enumerate().filter(|(_, f)| wanted.contains(f.name()));
    let mask = ProjectionMask::roots(reader.parquet_schema(), roots.map(|(at, _)| at));
    let batches = reader.with_projection(mask).with_batch_size(BATCH_ROWS).build()?;
    Ok(batches.map(|batch| batch.map_err(PrepareError::from)))
}

/// A column by name as `data_type`, if the batch has it.
pub(crate) fn column(
    batch: &RecordBatch,
    name: &str,
    data_type: &DataType,
) -> Result<Option<ArrayRef>, PrepareError> {
    let Some(array) = batch.column_by_name(name) else { return Ok(None) };
    if array.data_type() == data_type {
        return Ok(Some(ArrayRef::clone(array)));
    }
    Ok(Some(cast(array, data_type)?))
}

fn text(array: &ArrayRef) -> Result<StringArray, PrepareError> {
    if let Some(texts) = array.as_string_opt::<i32>() {
        return Ok(texts.clone()); // shares the buffers
    }
    Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
}
