//! The `[data]` and `[events]` sections of the configuration: as written, and as checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forecart_data::event::{self, columns};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::PrepareError;

/// The `[data]` section as it stands in the file; every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDataConfig {
    /// `auto`, `csv`, `jsonl`, `parquet`, `recbole`, `pairs`, `sequences` or `item-sequences`; for sample tables also
    /// `libsvm`, `libffm` and `vw`.
    pub format: Option<String>,
    /// One character, several marks (`::`), `tab`, `whitespace` (runs of blanks and tabs) or `auto`.
    pub delimiter: Option<String>,
    /// One character, or empty where quotes have no meaning.
    pub quote: Option<String>,
    /// Whether the first line names the columns; looked for if not given.
    pub header: Option<bool>,
    /// Names of the columns of a file without a header line, in its order.
    pub names: Option<Vec<String>>,
    /// Our column = the file's column.
    pub columns: BTreeMap<String, String>,
    /// Columns of the file that are not kept.
    pub ignore: Vec<String>,
    /// Texts that mean "no value", beside the empty one.
    pub null_values: Vec<String>,
    /// Item of every row of a file that has no item column.
    pub default_item: Option<String>,
    /// Whether each line is a line of an order; `true` if an order and a quantity are found.
    pub order_lines: Option<bool>,
    /// `auto`, `s`, `ms`, `us` or `ns`.
    pub time_unit: Option<String>,
    /// IANA name of the zone of times that state none, such as `Europe/London`.
    pub time_zone: Option<String>,
    /// `strptime` pattern of times that are not ISO 8601, such as `%m/%d/%Y %H:%M`.
    pub time_format: Option<String>,
    /// Later times are bad rows; ISO 8601.
    pub latest_time: Option<String>,
    /// Whether the order of the file stands for the time.
    pub order_only: bool,
    /// `reject` or `keep` rows without a user.
    pub missing_user: Option<String>,
    /// Share of bad rows past which the import fails.
    pub max_bad_rows: Option<f64>,
    /// A longer line ends the import with an error.
    pub max_line_bytes: Option<usize>,
    /// A table of items to make the catalog from.
    pub items: Option<PathBuf>,
    /// A table of users.
    pub users: Option<PathBuf>,
}

/// The `[events]` section as it stands in the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawEventsConfig {
    /// Event of a row that names none.
    pub default: Option<String>,
    /// The file's event name = ours.
    pub names: BTreeMap<String, String>,
    /// Our names of events that may have no item, beside `ask` and `search`.
    pub without_item: Vec<String>,
}

/// Layout of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Delimited text.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
    /// RecBole's atomic files: tab-separated, `name:type` in the header.
    RecBole,
    /// `user item` a line, in time order.
    Pairs,
    /// `user item item ...` a line.
    Sequences,
    /// `item item ...` a line; the line is the user.
    ItemSequences,
    /// `label index:value ...` a line, for sample tables.
    LibSvm,
    /// `label field:index:value ...` a line, for sample tables.
    LibFfm,
    /// The text format of Vowpal Wabbit, for sample tables.
    Vw,
}

impl Format {
    /// The format's name in the configuration and in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
            Self::RecBole => "recbole",
            Self::Pairs => "pairs",
            Self::Sequences => "sequences",
            Self::ItemSequences => "item-sequences",
            Self::LibSvm => "libsvm",
            Self::LibFfm => "libffm",
            Self::Vw => "vw",
        }
    }

    /// Whether a line is a row of columns; else a sequence or features.
    pub(crate) const fn has_columns(self) -> bool {
        matches!(self, Self::Csv | Self::Jsonl | Self::Parquet | Self::RecBole | Self::Pairs)
    }

    /// Whether a line is a label and features.
    pub(crate) const fn is_sparse(self) -> bool {
        matches!(self, Self::LibSvm | Self::LibFfm | Self::Vw)
    }

    const ALL: [Self; 10] = [
        Self::Csv,
        Self::Jsonl,
        Self::Parquet,
        Self::RecBole,
        Self::Pairs,
        Self::Sequences,
        Self::ItemSequences,
        Self::LibSvm,
        Self::LibFfm,
        Self::Vw,
    ];
}

/// What separates fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delimiter {
    /// One ASCII character.
    Byte(u8),
    /// Two to eight ASCII marks, as the `::` of MovieLens.
    Marks(Marks),
    /// Runs of blanks and tabs; those at the ends of a line mean nothing.
    Whitespace,
}

/// A delimiter of several characters: punctuation and blanks, so that a mistyped word is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl Marks {
    const MAX: usize = 8;

    /// `None` if `text` has not two to eight ASCII marks.
    pub fn new(text: &str) -> Option<Self> {
        let is_mark = |byte: u8| byte.is_ascii_punctuation() || matches!(byte, b' ' | b'\t');
        if !(2..=Self::MAX).contains(&text.len()) || !text.bytes().all(is_mark) {
            return None;
        }
        let mut bytes = [0; Self::MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { bytes, len: text.len() as u8 })
    }
}

impl Delimiter {
    /// The delimiter's bytes; none for [`Delimiter::Whitespace`].
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Byte(byte) => std::slice::from_ref(byte),
            Self::Marks(marks) => &marks.bytes[..usize::from(marks.len)],
            Self::Whitespace => &[],
        }
    }
}

/// What a number that is a time counts, since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds, possibly with a fraction.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

/// What to do with a row that names no user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingUser {
    /// A bad row.
    Reject,
    /// Kept with a null user, and counted.
    Keep,
}

/// A checked configuration of import. `None` means: look at the data.
#[derive(Debug, Clone)]
pub struct DataConfig {
    /// Layout of the inputs.
    pub format: Option<Format>,
    /// What separates fields.
    pub delimiter: Option<Delimiter>,
    /// The quote; `Some(None)` where quotes have no meaning.
    pub quote: Option<Option<u8>>,
    /// Whether there is a header line.
    pub header: Option<bool>,
    /// Names of the columns where there is no header line.
    pub names: Option<Vec<String>>,
    /// Our column to the file's column.
    pub columns: BTreeMap<String, String>,
    /// Columns that are not kept.
    pub ignore: Vec<String>,
    /// Texts that mean "no value", beside the empty one.
    pub null_values: Vec<String>,
    /// Item of every row of a file without an item column.
    pub default_item: Option<String>,
    /// Whether lines are lines of orders.
    pub order_lines: Option<bool>,
    /// Unit of numeric times.
    pub time_unit: Option<TimeUnit>,
    /// Zone of times that state none.
    pub time_zone: Option<TimeZone>,
    /// `strptime` pattern of times.
    pub time_format: Option<String>,
    /// Later times are bad rows; milliseconds.
    pub latest_time_ms: i64,
    /// Whether the file's order stands for the time.
    pub order_only: bool,
    /// What to do with a row without a user; `None` keeps order lines and rejects others.
    pub missing_user: Option<MissingUser>,
    /// Share of bad rows past which the import fails.
    pub max_bad_rows: f64,
    /// A longer line is an error.
    pub max_line_bytes: usize,
    /// Bytes of text that one task parses. The log does not depend on it.
    pub block_bytes: usize,
    /// A table of items.
    pub items: Option<PathBuf>,
    /// A table of users.
    pub users: Option<PathBuf>,
    /// Event of a row that names none.
    pub default_event: Option<String>,
    /// The file's event name to ours.
    pub event_names: BTreeMap<String, String>,
    /// Our names of events that may have no item.
    pub without_item: Vec<String>,
}

/// Events that may always have no item.
const EVENTS_WITHOUT_ITEM: [&str; 2] = ["ask", "search"];
/// Default of `data.latest_time`: a fixed date, so that the same file gives the same log next year.
pub const LATEST_TIME: &str = "2100-01-01T00:00:00Z";
/// Default of `data.max_bad_rows`.
pub const MAX_BAD_ROWS: f64 = 0.01;
/// Default of `data.max_line_bytes`.
pub const MAX_LINE_BYTES: usize = 8 << 20;
const BLOCK_BYTES: usize = 4 << 20;

impl Default for DataConfig {
    fn default() -> Self {
        Self::try_from((RawDataConfig::default(), RawEventsConfig::default()))
            .expect("the defaults are valid")
    }
}

impl TryFrom<(RawDataConfig, RawEventsConfig)> for DataConfig {
    type Error = PrepareError;

    fn try_from((data, events): (RawDataConfig, RawEventsConfig)) -> Result<Self, PrepareError> {
        let max_bad_rows = data.max_bad_rows.unwrap_or(MAX_BAD_ROWS);
        if !(0.0..=1.0).contains(&max_bad_rows) {
            let reason = format!("{max_bad_rows} is not a share; give 0 to 1");
            return Err(PrepareError::config("data.max_bad_rows", reason));
        }
        let max_line_bytes = data.max_line_bytes.unwrap_or(MAX_LINE_BYTES);
        if !(64..=1 << 30).contains(&max_line_bytes) {
            let reason = "give 64 bytes to 1 GiB";
            return Err(PrepareError::config("data.max_line_bytes", reason));
        }
        check_columns(&data)?;
        let time_zone = data.time_zone.as_deref().map(zone).transpose()?;
        let latest = data.latest_time.as_deref().unwrap_or(LATEST_TIME);
        let latest: jiff::Timestamp = latest.parse().map_err(|_| {
            let reason = format!("{latest:?} is not a time such as {LATEST_TIME:?}");
            PrepareError::config("data.latest_time", reason)
        })?;
        for name in events.names.values().chain(&events.default).chain(&events.without_item) {
            if name.is_empty() {
                return Err(PrepareError::config("events", "an event's name is never empty"));
            }
        }
        if data.default_item.as_deref() == Some("") {
            return Err(PrepareError::config("data.default_item", "an item id is never empty"));
        }
        Ok(Self {
            format: chosen(data.format.as_deref(), format)?,
            delimiter: chosen(data.delimiter.as_deref(), delimiter)?,
            quote: data.quote.as_deref().map(quote).transpose()?,
            header: data.header,
            names: data.names,
            columns: data.columns,
            ignore: data.ignore,
            null_values: data.null_values,
            default_item: data.default_item,
            order_lines: data.order_lines,
            time_unit: chosen(data.time_unit.as_deref(), time_unit)?,
            time_zone,
            time_format: data.time_format,
            latest_time_ms: latest.as_millisecond(),
            order_only: data.order_only,
            missing_user: data.missing_user.as_deref().map(missing_user).transpose()?,
            max_bad_rows,
            max_line_bytes,
            block_bytes: BLOCK_BYTES,
            items: data.items,
            users: data.users,
            default_event: events.default,
            event_names: events.names,
            without_item: [EVENTS_WITHOUT_ITEM.map(str::to_owned).to_vec(), events.without_item]
                .concat(),
        })
    }
}

/// Columns of the log that a configuration may name on the left of `[data.columns]`.
pub const MAPPABLE: &[&str] = &[
    columns::USER_ID,
    columns::ITEM_ID,
    columns::EVENT,
    columns::TIMESTAMP,
    columns::EVENT_ID,
    columns::SESSION_ID,
    columns::VALUE,
    columns::QUANTITY,
    columns::PRICE,
    columns::CURRENCY,
    columns::QUERY,
    columns::POSITION,
    columns::REQUEST_ID,
    columns::TEXT,
    columns::INTENT,
    columns::ORDER_ID,
];

fn check_columns(data: &RawDataConfig) -> Result<(), PrepareError> {
    for ours in data.columns.keys() {
        if MAPPABLE.contains(&ours.as_str()) {
            continue;
        }
        let key = format!("data.columns.{ours}");
        let meant = event::canonical_column(ours).or_else(|| closest(ours, MAPPABLE));
        let hint = meant.map_or_else(
            || format!("they are {}", MAPPABLE.join(", ")),
            |name| format!("did you mean {name:?}?"),
        );
        let reason = format!("no such column in the event log; {hint}");
        return Err(PrepareError::config(key, reason));
    }
    let mut seen = BTreeMap::new();
    for (ours, theirs) in &data.columns {
        if let Some(other) = seen.insert(theirs, ours) {
            let reason = format!("column {theirs:?} is given to both {other:?} and {ours:?}");
            return Err(PrepareError::config("data.columns", reason));
        }
    }
    Ok(())
}

/// The candidate that a mistyped name was probably meant to be.
pub fn closest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let name = event::folded(name);
    let scored = candidates.iter().map(|candidate| {
        let folded = event::folded(candidate);
        // Two letters that changed places are one slip, which Jaro does not see in short names.
        let is_slip = strsim::damerau_levenshtein(&name, &folded) == 1;
        let score = strsim::jaro_winkler(&name, &folded);
        (if is_slip { score.max(0.9) } else { score }, *candidate)
    });
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score > 0.8).map(|(_, candidate)| candidate)
}

fn chosen<T>(
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, PrepareError>,
) -> Result<Option<T>, PrepareError> {
    text.filter(|text| *text != "auto").map(parse).transpose()
}

fn format(text: &str) -> Result<Format, PrepareError> {
    let known = Format::ALL.iter().find(|format| format.name() == text).copied();
    known.ok_or_else(|| {
        let names = Format::ALL.map(Format::name);
        let hint = closest(text, &names).map(|name| format!("did you mean {name:?}? "));
        let hint = hint.unwrap_or_default();
        let reason = format!("{text:?} is no format; {hint}they are auto, {}", names.join(", "));
        PrepareError::config("data.format", reason)
    })
}

fn delimiter(text: &str) -> Result<Delimiter, PrepareError> {
    match (text, text.as_bytes()) {
        ("tab" | "\\t", _) => Ok(Delimiter::Byte(b'\t')),
        ("whitespace", _) => Ok(Delimiter::Whitespace),
        (_, [byte]) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => {
            Ok(Delimiter::Byte(*byte))
        }
        _ => Marks::new(text).map(Delimiter::Marks).ok_or_else(|| {
            let reason = format!(
                "{text:?} is not one ASCII character, two to eight marks such as ::, tab, \
                 whitespace or auto"
            );
            PrepareError::config("data.delimiter", reason)
        }),
    }
}

fn quote(text: &str) -> Result<Option<u8>, PrepareError> {
    match text.as_bytes() {
        [] => Ok(None),
        [byte] if byte.is_ascii_graphic() => Ok(Some(*byte)),
        _ => {
            let reason = format!("{text:?} is not one ASCII character or empty");
            Err(PrepareError::config("data.quote", reason))
        }
    }
}

fn time_unit(text: &str) -> Result<TimeUnit, PrepareError> {
    match text {
        "s" => Ok(TimeUnit::Seconds),
        "ms" => Ok(TimeUnit::Millis),
        "us" => Ok(TimeUnit::Micros),
        "ns" => Ok(TimeUnit::Nanos),
        _ => {
            let reason = format!("{text:?} is none of auto, s, ms, us, ns");
            Err(PrepareError::config("data.time_unit", reason))
        }
    }
}

fn zone(name: &str) -> Result<TimeZone, PrepareError> {
    TimeZone::get(name).map_err(|_| {
        let reason = format!("{name:?} is no time zone; give an IANA name such as Europe/London");
        PrepareError::config("data.time_zone", reason)
    })
}

fn missing_user(text: &str) -> Result<MissingUser, PrepareError> {
    match text {
        "reject" => Ok(MissingUser::Reject),
        "keep" => Ok(MissingUser::Keep),
        _ => {
            let reason = format!("{text:?} is neither reject nor keep");
            Err(PrepareError::config("data.missing_user", reason))
        }
    }
}

/// Sections that other parts of the program read; named here so that a mistyped section is found.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFile {
    data: RawDataConfig,
    events: RawEventsConfig,
    #[serde(rename = "prepare")]
    _prepare: toml::Table,
    #[serde(rename = "split")]
    _split: toml::Table,
    #[serde(rename = "samples")]
    _samples: toml::Table,
    #[serde(rename = "models")]
    _models: toml::Table,
    #[serde(rename = "outcome_models")]
    _outcome_models: toml::Table,
    #[serde(rename = "limits")]
    _limits: toml::Table,
}

/// Reads the `[data]` and `[events]` sections of a configuration file.
///
/// ```
/// let config = forecart_prepare::config::parse_toml("[data]\ntime_zone = \"UTC\"\n").unwrap();
/// assert!(config.time_zone.is_some());
/// assert!(forecart_prepare::config::parse_toml("[data]\ntimezone = \"UTC\"\n").is_err());
/// ```
///
/// # Errors
/// [`PrepareError::Toml`] if it is not TOML or has an unknown key, [`PrepareError::Config`] if a
/// value is not valid.
pub fn parse_toml(text: &str) -> Result<DataConfig, PrepareError> {
    let raw: RawFile = toml::from_str(text)?;
    DataConfig::try_from((raw.data, raw.events))
}
