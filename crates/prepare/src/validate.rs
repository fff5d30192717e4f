//! What an event log is: counts and checks, each with its number, its threshold and what to do.

use std::fmt;
use std::path::Path;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::functions_aggregate::count::{count_all, count_distinct};
use datafusion::functions_aggregate::expr_fn::{count, max, min, sum};
use datafusion::prelude::{DataFrame, Expr, col, ident, lit, when};
use forecart_data::event::{STANDARD_EVENTS, columns};
use serde::Serialize;

use crate::session::Session;
use crate::{LogManifest, PrepareError, Resources};

/// Thresholds of the checks.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidateConfig {
    /// A user with more events on one day (UTC) is implausible; without times, in the whole log.
    pub max_user_events: u64,
    /// A longer stretch of days without any event is a gap.
    pub max_gap_days: i64,
    /// Share of rows that repeat another row in every column.
    pub max_duplicates: f64,
    /// Share of rows that are refunds.
    pub max_refunds: f64,
    /// Share of users, and of items, that have a single event.
    pub max_single: f64,
    /// Times after this moment lie in the future; `None` is a day from now.
    pub now_ms: Option<i64>,
}

impl Default for ValidateConfig {
    fn default() -> Self {
        Self {
            max_user_events: 1000,
            max_gap_days: 7,
            max_duplicates: 0.01,
            max_refunds: 0.1,
            max_single: 0.5,
            now_ms: None,
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// As it should be, or for information.
    Pass,
    /// Worth a look; results may suffer.
    Warn,
    /// The log is not fit for use.
    Fail,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Short stable name, such as `exact_duplicates`.
    pub name: String,
    /// How it ended.
    pub level: Level,
    /// What was found.
    pub value: String,
    /// The threshold, and what to do.
    pub detail: String,
}

/// What the log is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValidationReport {
    /// Events.
    pub n_rows: u64,
    /// Different users.
    pub n_users: u64,
    /// Different items.
    pub n_items: u64,
    /// Events over all pairs of a user and an item.
    pub density: f64,
    /// First and last time in milliseconds UTC, where the log has times.
    pub time_range_ms: Option<(i64, i64)>,
    /// Events by name, the most frequent first.
    pub events: Vec<(String, u64)>,
    /// The checks.
    pub checks: Vec<Check>,
}

impl ValidationReport {
    /// How many checks failed.
    pub fn n_failed(&self) -> usize {
        self.checks.iter().filter(|check| check.level == Level::Fail).count()
    }
}

/// Counts and checks an event log.
///
/// # Errors
/// [`PrepareError::NotALog`] if `log` is no log folder, [`PrepareError::Engine`] if its files
/// cannot be read.
pub fn validate(
    log: &Path,
    config: &ValidateConfig,
    resources: &Resources,
) -> Result<ValidationReport, PrepareError> {
    let manifest = LogManifest::read(log)?;
    let session = Session::new(resources)?;
    session.register_events(log)?;
    let queries = Queries { session, manifest, config };
    let [n_rows, n_users, n_items, n_not_guests, first, last, n_refunds] = queries.of_all([
        count_all(),
        count_distinct(col(columns::USER_ID)),
        count_distinct(col(columns::ITEM_ID)),
        count(col(columns::USER_ID)),
        min(col(columns::TIMESTAMP)),
        max(col(columns::TIMESTAMP)),
        count_where(col(columns::EVENT).eq(lit("refund")))?,
    ])?;
    let n_guests = n_rows - n_not_guests;
    let pairs = (n_users as f64 * n_items as f64).max(1.0);
    let mut checks = Checks(Vec::new());
    queries.sizes(&mut checks, n_rows, n_users, n_items);
    queries.rejected(&mut checks);
    queries.duplicates(&mut checks, n_rows)?;
    let events = queries.events(&mut checks)?;
    queries.users(&mut checks, n_users)?;
    queries.single(&mut checks, "user", n_users)?;
    queries.single(&mut checks, "item", n_items)?;
    let guests = share(n_guests, n_rows);
    let level = if n_guests > 0 { Level::Warn } else { Level::Pass };
    let detail = "events without a user; prepare leaves them out of histories";
    checks.add("guests", level, shown(n_guests, guests), detail);
    let refunds = share(n_refunds, n_rows);
    let level = if refunds > config.max_refunds { Level::Warn } else { Level::Pass };
    let detail = format!(
        "refunds, at most {:.0} %; prepare sets them against their orders",
        config.max_refunds * 100.0
    );
    checks.add("cancellations", level, shown(n_refunds, refunds), detail);
    let has_time = queries.manifest.has_time;
    if has_time {
        queries.times(&mut checks, first, last)?;
    } else {
        let detail = "the file's order stands for the time; protocols by time do not apply";
        checks.add("time_range", Level::Pass, "no times", detail);
    }
    Ok(ValidationReport {
        n_rows: unsigned(n_rows),
        n_users: unsigned(n_users),
        n_items: unsigned(n_items),
        density: n_rows as f64 / pairs,
        time_range_ms: has_time.then_some((first, last)),
        events,
        checks: checks.0,
    })
}

struct Checks(Vec<Check>);

impl Checks {
    fn add(
        &mut self,
        name: &str,
        level: Level,
        value: impl Into<String>,
        detail: impl Into<String>,
    ) {
        let (value, detail) = (value.into(), detail.into());
        self.0.push(Check { name: name.to_owned(), level, value, detail });
    }
}

struct Queries<'a> {
    session: Session,
    manifest: LogManifest,
    config: &'a ValidateConfig,
}

impl Queries<'_> {
    fn frame(&self) -> Result<DataFrame, PrepareError> {
        self.session.table("events")
    }

    /// Integers that sum up all events.
    fn of_all<const N: usize>(&self, aggregates: [Expr; N]) -> Result<[i64; N], PrepareError> {
        self.row(self.frame()?, aggregates)
    }

    /// Integers that sum up the rows of `frame`; null is 0.
    fn row<const N: usize>(
        &self,
        frame: DataFrame,
        aggregates: [Expr; N],
    ) -> Result<[i64; N], PrepareError> {
        // Twice the same expression would be twice the same name.
        let named = aggregates.into_iter().enumerate().map(|(n, e)| e.alias(format!("column_{n}")));
        let batches = self.session.collect(frame.aggregate(vec![], named.collect())?)?;
        let mut values = [0; N];
        if let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) {
            for (value, column) in values.iter_mut().zip(batch.columns()) {
                let column = cast(column, &DataType::Int64)?;
                let column = column.as_primitive::<Int64Type>();
                *value = if column.is_valid(0) { column.value(0) } else { 0 };
            }
        }
        Ok(values)
    }

    fn has(&self, column: &str) -> bool {
        self.columns().is_ok_and(|columns| columns.iter().any(|name| name == column))
    }

    fn columns(&self) -> Result<Vec<String>, PrepareError> {
        let frame = self.frame()?;
        Ok(frame.schema().fields().iter().map(|field| field.name().clone()).collect())
    }

    fn sizes(&self, checks: &mut Checks, n_rows: i64, n_users: i64, n_items: i64) {
        let stated = i64::try_from(self.manifest.n_rows).unwrap_or(i64::MAX);
        let (level, detail) = if n_rows == stated {
            (Level::Pass, "as many as log.json says".to_owned())
        } else {
            (Level::Fail, format!("log.json says {stated}: files are missing; import again"))
        };
        checks.add("rows", level, n_rows.to_string(), detail);
        let of_size = |n: i64| if n < 2 { Level::Fail } else { Level::Pass };
        let detail = "at least 2, or there is nothing to rank";
        checks.add("users", of_size(n_users), n_users.to_string(), detail);
        checks.add("items", of_size(n_items), n_items.to_string(), detail);
        let density = n_rows as f64 / (n_users as f64 * n_items as f64).max(1.0);
        let detail = "events over pairs of a user and an item";
        checks.add("density", Level::Pass, format!("{:.4} %", density * 100.0), detail);
    }

    fn rejected(&self, checks: &mut Checks) {
        let n = self.manifest.n_rejected;
        let share = n as f64 / ((n + self.manifest.n_rows) as f64).max(1.0);
        let level = if n > 0 { Level::Warn } else { Level::Pass };
        let reasons: Vec<String> = self
            .manifest
            .rejected
            .iter()
            .map(|group| format!("{} {}", group.code, group.n_rows))
            .collect();
        let detail = match reasons.join(", ").as_str() {
            "" => "import kept every row".to_owned(),
            reasons => format!("not kept by import: {reasons}"),
        };
        checks.add("rejected", level, format!("{n} ({:.3} %)", share * 100.0), detail);
    }

    fn duplicates(&self, checks: &mut Checks, n_rows: i64) -> Result<(), PrepareError> {
        let has_time = self.manifest.has_time;
        let columns = self.columns()?;
        if has_time {
            let compared = columns.into_iter().filter(|name| *name != columns::ROW_NUMBER);
            let rows =
                self.frame()?.aggregate(compared.map(ident).collect(), vec![n_rows_each()])?;
            let [n] = self.row(rows, [sum(col("n") - lit(1i64))])?;
            let found = share(n, n_rows);
            let limit = self.config.max_duplicates;
            let level = if found > limit { Level::Warn } else { Level::Pass };
            let detail = format!(
                "rows equal to another in every column, at most {:.1} %; prepare drops them",
                limit * 100.0
            );
            checks.add("exact_duplicates", level, shown(n, found), detail);
        }
        if self.has(columns::EVENT_ID) {
            let id = || col(columns::EVENT_ID);
            let [n_with_id, n_ids] = self.of_all([count(id()), count_distinct(id())])?;
            let n = n_with_id - n_ids;
            let level = if n > 0 { Level::Warn } else { Level::Pass };
            let detail = "the same event id again is the same event; prepare keeps the first";
            checks.add("duplicate_event_ids", level, shown(n, share(n, n_rows)), detail);
        }
        Ok(())
    }

    fn events(&self, checks: &mut Checks) -> Result<Vec<(String, u64)>, PrepareError> {
        let mut events = Vec::new();
        let event = || col(columns::EVENT);
        let frame = self
            .frame()?
            .aggregate(vec![event()], vec![n_rows_each()])?
            .sort(vec![col("n").sort(false, false), event().sort(true, false)])?;
        for batch in self.session.collect(frame)? {
            let names = batch.column(0).as_string::<i32>();
            let counts = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                events.push((names.value(row).to_owned(), unsigned(counts.value(row))));
            }
        }
        let listed: Vec<String> = events.iter().map(|(name, n)| format!("{name} {n}")).collect();
        checks.add("events", Level::Pass, listed.join(", "), "rows by event");
        let unknown: Vec<&str> = events
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !STANDARD_EVENTS.contains(name))
            .collect();
        let (level, value) = if unknown.is_empty() {
            (Level::Pass, "none".to_owned())
        } else {
            (Level::Warn, unknown.join(", "))
        };
        let detail = "kept as they are; map them in `[events.names]` if they have a standard name";
        checks.add("unknown_events", level, value, detail);
        Ok(events)
    }

    /// Users with more events than a person makes.
    fn users(&self, checks: &mut Checks, n_users: i64) -> Result<(), PrepareError> {
        let limit = self.config.max_user_events;
        let user = || col(columns::USER_ID);
        let (group, span) = if self.manifest.has_time {
            (vec![user(), day()], "on one day (UTC)")
        } else {
            (vec![user()], "in the log")
        };
        let busy = self
            .frame()?
            .filter(user().is_not_null())?
            .aggregate(group, vec![n_rows_each()])?
            .filter(col("n").gt(lit(i64::try_from(limit).unwrap_or(i64::MAX))))?;
        let [n, most] = self.row(busy, [count_distinct(user()), max(col("n"))])?;
        let level = if n > 0 { Level::Warn } else { Level::Pass };
        let detail = format!(
            "users with more than {limit} events {span}{}; set `prepare.max_user_events`",
            if n > 0 { format!(", at most {most}") } else { String::new() }
        );
        checks.add("bots", level, shown(n, share(n, n_users)), detail);
        Ok(())
    }

    /// Users or items that have one event only.
    fn single(&self, checks: &mut Checks, of: &str, n_of: i64) -> Result<(), PrepareError> {
        let id = || col(format!("{of}_id"));
        let singles = self
            .frame()?
            .filter(id().is_not_null())?
            .aggregate(vec![id()], vec![n_rows_each()])?
            .filter(col("n").eq(lit(1i64)))?;
        let [n] = self.row(singles, [count_all()])?;
        let (found, limit) = (share(n, n_of), self.config.max_single);
        let level = if found > limit { Level::Warn } else { Level::Pass };
        let detail = format!(
            "{of}s with one event, at most {:.0} %; `prepare.min_{of}_events` drops them",
            limit * 100.0
        );
        checks.add(&format!("single_event_{of}s"), level, shown(n, found), detail);
        Ok(())
    }

    fn times(&self, checks: &mut Checks, first: i64, last: i64) -> Result<(), PrepareError> {
        const YEAR_1990: i64 = 631_152_000_000;
        let show = |millis| {
            jiff::Timestamp::from_millisecond(millis)
                .map_or_else(|_| millis.to_string(), |t| t.to_string())
        };
        let now = self
            .config
            .now_ms
            .unwrap_or_else(|| jiff::Timestamp::now().as_millisecond() + 86_400_000);
        let (level, detail) = if last > now {
            (Level::Warn, "the last time lies in the future: check `data.time_unit` and zone")
        } else if first < YEAR_1990 {
            (Level::Warn, "the first time lies before 1990: check `data.time_unit`")
        } else {
            (Level::Pass, "first and last time, UTC")
        };
        checks.add("time_range", level, format!("{} to {}", show(first), show(last)), detail);
        // Days with events are few, even in a long log: they are gone through here.
        let day = day().alias("day");
        let order = vec![col("day").sort(true, false)];
        let days = self.frame()?.select(vec![day])?.distinct()?.sort(order)?;
        let mut longest = (0, 0);
        let mut previous: Option<i64> = None;
        for batch in self.session.collect(days)? {
            for day in batch.column(0).as_primitive::<Int64Type>().values() {
                let gap = previous.map_or(0, |previous| day - previous - 1);
                longest = longest.max((gap, previous.unwrap_or(0)));
                previous = Some(*day);
            }
        }
        let limit = self.config.max_gap_days;
        let (gap, after) = longest;
        let level = if gap > limit { Level::Warn } else { Level::Pass };
        let value = match gap {
            0 => "none".to_owned(),
            _ => format!("{gap} days after {}", &show(after * 86_400_000)[..10]),
        };
        let detail = format!("longest stretch without events, at most {limit} days");
        checks.add("gaps", level, value, detail);
        if self.has(columns::PRICE) {
            let [n] = self.of_all([count_where(col(columns::PRICE).lt(lit(0.0)))?])?;
            let level = if n > 0 { Level::Warn } else { Level::Pass };
            checks.add("negative_prices", level, n.to_string(), "rows with a price below 0");
        }
        Ok(())
    }
}

/// The rows of each group, as column `n`.
fn n_rows_each() -> Expr {
    count_all().alias("n")
}

/// The rows for which `condition` holds.
fn count_where(condition: Expr) -> Result<Expr, PrepareError> {
    Ok(sum(when(condition, lit(1i64)).otherwise(lit(0i64))?))
}

/// Days since 1970, UTC.
fn day() -> Expr {
    col(columns::TIMESTAMP) / lit(86_400_000i64)
}

fn share(n: i64, of: i64) -> f64 {
    n as f64 / (of as f64).max(1.0)
}

fn shown(n: i64, share: f64) -> String {
    format!("{n} ({:.2} %)", share * 100.0)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
