//! Settings of [`prepare`](super::prepare): as written, and checked.

use std::collections::BTreeSet;
use std::path::PathBuf;

use forecart_data::encode::FeatureSpec;
use forecart_data::{EventOrder, SeenItems};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::codes::CodeRule;
use crate::PrepareError;

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// `[prepare]` as it stands in a file. Every key is optional.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawPrepareConfig {
    /// Events that count as interactions. Empty: all but `refund`, `remove_from_cart`, `dislike`,
    /// `hide`, `search`, `ask`, `view_item_list` and `view_promotion`, which are no sign that the
    /// user wants the item.
    pub events: Vec<String>,
    /// First day (`2011-03-01`, UTC) or moment (ISO 8601) that is kept.
    pub from: Option<String>,
    /// Last day (the whole of it, UTC) or last moment that is kept.
    pub to: Option<String>,
    /// Only the newest days of the log, counted back from its last moment.
    pub last_days: Option<u32>,
    /// Removes lines that are equal in every column, and repeated event ids.
    pub drop_duplicates: bool,
    /// Sets `refund` lines against the purchases that they cancel.
    pub cancellations: bool,
    /// Item ids that are no products: `"auto"` (our list, for order-line data alone), `"none"`, or
    /// a list of ids in which `*` stands for any characters.
    pub non_product_codes: NonProductCodes,
    /// Several lines of an item in one order are one event, the first.
    pub merge_order_lines: bool,
    /// The same item by the same event several times in a row is one event, the first.
    pub merge_consecutive: bool,
    /// Users with more events are implausible (bots, wholesalers); no cap if absent.
    pub max_user_events: Option<u32>,
    /// What happens to users above the cap.
    pub over_cap: OverCap,
    /// k-core: users with fewer events are removed.
    pub min_user_events: u32,
    /// k-core: items with fewer events are removed.
    pub min_item_events: u32,
    /// Which events the k-core counts and removes; `all` for `loo-full`, else `train`, if absent.
    pub k_core_on: Option<KCoreOn>,
    /// A pause longer than this starts a new session, where the log has no session ids. With
    /// `split.kind = "session"`, sessions made so are named `user#1`, `user#2`...
    pub session_gap_minutes: u32,
    /// Items with fewer training events fall into the unknown bucket. 0 for `loo-full` (all items
    /// of the log are ranked), else 1, if absent.
    pub min_count: Option<u64>,
    /// Items of the catalog belong to the dataset whether or not they have training events, so that a model of the
    /// catalog can recommend them; those that [`Self::non_product_codes`] names do not.
    pub new_items: bool,
    /// Whether items that a user has acted on may come again: `keep` for sessions, `exclude_target` with
    /// `split.target_event`, else `exclude`, if absent.
    pub seen: Option<SeenRule>,
    /// Encoders of the catalog's columns. Absent: `price`, `category`, `brand` and columns like
    /// them, as far as the catalog has them.
    pub item_features: Option<FeatureSpec>,
}

impl Default for RawPrepareConfig {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            from: None,
            to: None,
            last_days: None,
            drop_duplicates: true,
            cancellations: true,
            non_product_codes: NonProductCodes::Named(NamedCodes::Auto),
            merge_order_lines: true,
            merge_consecutive: false,
            max_user_events: None,
            over_cap: OverCap::Drop,
            min_user_events: 1,
            min_item_events: 1,
            k_core_on: None,
            session_gap_minutes: 30,
            min_count: None,
            new_items: false,
            seen: None,
            item_features: None,
        }
    }
}

/// Which items of a user's history are left out of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenRule {
    /// All of them.
    Exclude,
    /// Those of `split.target_event`.
    ExcludeTarget,
    /// None.
    Keep,
}

impl SeenRule {
    /// `target`: the index of the target event.
    pub(super) fn of(self, target: Option<u8>) -> SeenItems {
        match (self, target) {
            (Self::Keep, _) => SeenItems::Keep,
            (Self::ExcludeTarget, Some(event)) => SeenItems::ExcludeEvent(event),
            _ => SeenItems::Exclude,
        }
    }
}

/// Which item ids are no products.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NonProductCodes {
    /// One of the named rules.
    Named(NamedCodes),
    /// These ids; `*` stands for any characters.
    Patterns(Vec<String>),
}

/// Named rules for item ids that are no products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedCodes {
    /// Our list where the log has order lines, nothing else.
    Auto,
    /// Every id is a product.
    None,
}

/// What happens to users above the cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverCap {
    /// All of their events go.
    #[default]
    Drop,
    /// The newest events stay, as many as the cap allows.
    Newest,
}

/// Which events the k-core counts and removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KCoreOn {
    /// Training events alone. Validation and test stay whole: their items may be unknown and
    /// their users cold, as they would be in a shop.
    Train,
    /// All events, as in published k-core sets. This looks at the test part: an item is kept
    /// because people came to it later. Fine for comparing with published numbers.
    All,
}

/// `[split]` as it stands in a file. Every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSplitConfig {
    /// Which protocol.
    pub kind: SplitKind,
    /// The one event that is predicted and measured, such as `purchase`; others are known of a user, but not asked for.
    /// `loo-full` then takes each user's last such event for test and the last but one for validation, each after all that
    /// came before it; `time` asks for those of its parts. Any event if absent.
    pub target_event: Option<String>,
    /// What orders a user's events: `time` (then the position in the input), or `file` (the
    /// position alone). `time` where the log has times, if absent.
    pub order: Option<EventOrder>,
    /// `time`: this many days before the last moment are for test. `session`: sessions that end
    /// in them (1 if absent and there is no `test_log`).
    pub test_days: Option<u32>,
    /// Days before the test part that are for validation. As many as `test_days` for `time`, 1
    /// for `session`, if absent.
    pub validation_days: Option<u32>,
    /// `time`: first day or moment of validation.
    pub validation_start: Option<String>,
    /// `time`: first day or moment of test.
    pub test_start: Option<String>,
    /// `time`: shares of training, validation and test, cut at quantiles of the events' times.
    /// `[0.8, 0.1, 0.1]` if neither days nor moments are given.
    pub ratio: Option<[f64; 3]>,
    /// `session`: the log whose sessions are the test part.
    #[serde(skip_serializing)]
    pub test_log: Option<PathBuf>,
}

/// How parts are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitKind {
    /// Last event of each user for test, last but one for validation.
    LooFull,
    /// Two moments for everybody.
    #[default]
    Time,
    /// Whole sessions: by their ids, or by pauses where the log has none.
    Session,
}

/// Checked settings; made by [`PrepareConfig::new`].
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareConfig {
    pub(crate) raw: RawPrepareConfig,
    pub(super) raw_split: RawSplitConfig,
    pub(super) events: Events,
    /// First and last moment that are kept.
    pub(super) window_ms: (i64, i64),
    pub(crate) codes: CodeRule,
    pub(super) k_core_on: KCoreOn,
    pub(super) min_count: u64,
    pub(super) seen: SeenRule,
    pub(super) split: SplitRule,
}

/// Which events are interactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Events {
    AllBut(&'static [&'static str]),
    Only(BTreeSet<String>),
}

const NO_INTEREST: &[&str] = &[
    "refund",
    "remove_from_cart",
    "dislike",
    "hide",
    "search",
    "ask",
    "view_item_list",
    "view_promotion",
];

impl Events {
    pub(super) fn contains(&self, event: &str) -> bool {
        match self {
            Self::AllBut(names) => !names.contains(&event),
            Self::Only(names) => names.contains(event),
        }
    }
}

/// What one sequence of the dataset is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Unit {
    /// All events of a user.
    #[default]
    User,
    /// A session that has an id.
    SessionById,
    /// A stretch of a user's events without a pause above the gap.
    SessionByGap,
}

/// How parts are made, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SplitRule {
    LooFull,
    Days { test_ms: i64, validation_ms: i64 },
    Moments { validation_start_ms: i64, test_start_ms: i64 },
    Ratio { validation_from: f64, test_from: f64 },
    SessionDays { test_ms: i64, validation_ms: i64 },
    SessionLog { test_log: PathBuf, validation_ms: i64 },
}

impl PrepareConfig {
    /// Checks what the two sections say, together.
    ///
    /// # Errors
    /// [`PrepareError::Config`] names the key and the fix.
    pub fn new(raw: RawPrepareConfig, raw_split: RawSplitConfig) -> Result<Self, PrepareError> {
        let is_loo = raw_split.kind == SplitKind::LooFull;
        if raw.last_days == Some(0) {
            return Err(PrepareError::config("prepare.last_days", "must be at least 1"));
        }
        if raw.last_days.is_some() && (raw.from.is_some() || raw.to.is_some()) {
            let reason = "stands beside `from` or `to`; use one or the other";
            return Err(PrepareError::config("prepare.last_days", reason));
        }
        if raw.max_user_events == Some(0) {
            let reason = "must be at least 1; leave it out for no cap";
            return Err(PrepareError::config("prepare.max_user_events", reason));
        }
        let window_ms = (
            moment("prepare.from", raw.from.as_deref(), DayEdge::First)?.unwrap_or(i64::MIN),
            moment("prepare.to", raw.to.as_deref(), DayEdge::Last)?.unwrap_or(i64::MAX),
        );
        if window_ms.0 > window_ms.1 {
            return Err(PrepareError::config("prepare.from", "is after `prepare.to`"));
        }
        if raw.events.iter().any(String::is_empty) {
            return Err(PrepareError::config("prepare.events", "holds an empty name"));
        }
        if let Some(features) = &raw.item_features {
            features
                .check()
                .map_err(|e| PrepareError::config("prepare.item_features", e.to_string()))?;
        }
        let events = match raw.events.is_empty() {
            true => Events::AllBut(NO_INTEREST),
            false => Events::Only(raw.events.iter().cloned().collect()),
        };
        let k_core_on = if is_loo { KCoreOn::All } else { KCoreOn::Train };
        let is_session = raw_split.kind == SplitKind::Session;
        let has_target = raw_split.target_event.is_some();
        let seen = match is_session {
            true => SeenRule::Keep,
            false if has_target => SeenRule::ExcludeTarget,
            false => SeenRule::Exclude,
        };
        if raw.seen == Some(SeenRule::ExcludeTarget) && !has_target {
            let reason = "exclude_target needs `split.target_event`";
            return Err(PrepareError::config("prepare.seen", reason));
        }
        if let Some(target) = &raw_split.target_event
            && !events.contains(target)
        {
            let reason = format!("{target:?} is none of the events that count (prepare.events)");
            return Err(PrepareError::config("split.target_event", reason));
        }
        Ok(Self {
            events,
            window_ms,
            codes: CodeRule::new(&raw.non_product_codes)?,
            k_core_on: raw.k_core_on.unwrap_or(k_core_on),
            min_count: raw.min_count.unwrap_or(u64::from(!is_loo)),
            seen: raw.seen.unwrap_or(seen),
            split: split_rule(&raw_split)?,
            raw,
            raw_split,
        })
    }

    /// The settings after all defaults that do not depend on the data, without paths.
    pub(super) fn effective(&self) -> serde_json::Value {
        let mut prepare = self.raw.clone();
        prepare.k_core_on = Some(self.k_core_on);
        prepare.min_count = Some(self.min_count);
        prepare.seen = Some(self.seen);
        let mut split = self.raw_split.clone();
        match &self.split {
            SplitRule::Ratio { .. } => split.ratio = Some(split.ratio.unwrap_or(DEFAULT_RATIO)),
            SplitRule::Days { test_ms, validation_ms }
            | SplitRule::SessionDays { test_ms, validation_ms } => {
                split.test_days = u32::try_from(test_ms / DAY_MS).ok();
                split.validation_days = u32::try_from(validation_ms / DAY_MS).ok();
            }
            SplitRule::SessionLog { validation_ms, .. } => {
                split.validation_days = u32::try_from(validation_ms / DAY_MS).ok();
            }
            SplitRule::LooFull | SplitRule::Moments { .. } => {}
        }
        serde_json::json!({ "prepare": prepare, "split": split })
    }
}

impl Default for PrepareConfig {
    fn default() -> Self {
        Self::new(RawPrepareConfig::default(), RawSplitConfig::default())
            .expect("the defaults fit each other")
    }
}

const DEFAULT_RATIO: [f64; 3] = [0.8, 0.1, 0.1];

fn split_rule(raw: &RawSplitConfig) -> Result<SplitRule, PrepareError> {
    let refuse = |key: &str, reason: &str| Err(PrepareError::config(key, reason));
    let days = |days: u32| i64::from(days) * DAY_MS;
    let given = [
        ("split.test_days", raw.test_days.is_some()),
        ("split.validation_days", raw.validation_days.is_some()),
        ("split.validation_start", raw.validation_start.is_some()),
        ("split.test_start", raw.test_start.is_some()),
        ("split.ratio", raw.ratio.is_some()),
        ("split.test_log", raw.test_log.is_some()),
        ("split.target_event", raw.target_event.is_some()),
    ];
    let allowed: &[&str] = match raw.kind {
        SplitKind::LooFull => &["split.target_event"],
        SplitKind::Time if raw.ratio.is_some() => &["split.ratio", "split.target_event"],
        SplitKind::Time if raw.test_start.is_some() || raw.validation_start.is_some() => {
            &["split.validation_start", "split.test_start", "split.target_event"]
        }
        SplitKind::Time => &["split.test_days", "split.validation_days", "split.target_event"],
        SplitKind::Session if raw.test_log.is_some() => {
            &["split.validation_days", "split.test_log"]
        }
        SplitKind::Session => &["split.test_days", "split.validation_days"],
    };
    if let Some((key, _)) = given.iter().find(|(key, is)| *is && !allowed.contains(key)) {
        return refuse(key, "does not go with the other keys of [split]; remove it");
    }
    if raw.test_days == Some(0) {
        return refuse("split.test_days", "must be at least 1");
    }
    if raw.kind == SplitKind::Time && raw.order == Some(EventOrder::File) {
        return refuse("split.order", "a split by time needs order = \"time\"");
    }
    Ok(match raw.kind {
        SplitKind::LooFull => SplitRule::LooFull,
        SplitKind::Time if raw.test_start.is_some() || raw.validation_start.is_some() => {
            let test = moment("split.test_start", raw.test_start.as_deref(), DayEdge::First)?;
            let Some(test_start_ms) = test else {
                return refuse("split.test_start", "is needed beside `validation_start`");
            };
            let validation =
                moment("split.validation_start", raw.validation_start.as_deref(), DayEdge::First)?;
            let validation_start_ms = validation.unwrap_or(test_start_ms);
            if validation_start_ms > test_start_ms {
                return refuse("split.validation_start", "is after `split.test_start`");
            }
            SplitRule::Moments { validation_start_ms, test_start_ms }
        }
        SplitKind::Time if raw.test_days.is_some() || raw.validation_days.is_some() => {
            let Some(test) = raw.test_days else {
                return refuse("split.test_days", "is needed beside `validation_days`");
            };
            let validation_ms = days(raw.validation_days.unwrap_or(test));
            SplitRule::Days { test_ms: days(test), validation_ms }
        }
        SplitKind::Time => {
            let ratio = raw.ratio.unwrap_or(DEFAULT_RATIO);
            let sum: f64 = ratio.iter().sum();
            let good = ratio.iter().all(|share| (0.0..1.0).contains(share));
            if !good || ratio[0] == 0.0 || ratio[2] == 0.0 || (sum - 1.0).abs() > 1e-9 {
                return refuse("split.ratio", "three shares that add up to 1 are needed");
            }
            SplitRule::Ratio { validation_from: ratio[0], test_from: 1.0 - ratio[2] }
        }
        SplitKind::Session => {
            let validation_ms = days(raw.validation_days.unwrap_or(1));
            match &raw.test_log {
                Some(log) => SplitRule::SessionLog { test_log: log.clone(), validation_ms },
                None => {
                    let test_ms = days(raw.test_days.unwrap_or(1));
                    SplitRule::SessionDays { test_ms, validation_ms }
                }
            }
        }
    })
}

#[derive(Clone, Copy)]
pub(crate) enum DayEdge {
    First,
    Last,
}

/// A day or a moment in milliseconds UTC; of a day, its first or last millisecond.
pub(crate) fn moment(
    key: &str,
    text: Option<&str>,
    edge: DayEdge,
) -> Result<Option<i64>, PrepareError> {
    let Some(text) = text else { return Ok(None) };
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(Some(moment.as_millisecond()));
    }
    let day = text.parse::<Date>().ok().filter(|_| !text.contains(['T', ':']));
    let start = day.and_then(|day| day.to_zoned_datetime(TimeZone::UTC).ok());
    let Some(start) = start else {
        let reason =
            format!("{text:?} is neither a day (2011-03-01) nor a moment (2011-03-01T12:00:00Z)");
        return Err(PrepareError::config(key, reason));
    };
    let start_ms = start.timestamp().as_millisecond();
    Ok(Some(match edge {
        DayEdge::First => start_ms,
        DayEdge::Last => start_ms + DAY_MS - 1,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(raw: &str) -> Result<SplitRule, PrepareError> {
        split_rule(&toml::from_str(raw).unwrap())
    }

    #[test]
    fn the_defaults_are_what_an_empty_file_gives() {
        let raw: RawPrepareConfig = toml::from_str("").unwrap();
        assert_eq!(raw, RawPrepareConfig::default());
        let config = PrepareConfig::default();
        assert_eq!(config.k_core_on, KCoreOn::Train);
        assert!(config.events.contains("zoom_picture") && !config.events.contains("refund"));
    }

    #[test]
    fn a_split_takes_one_way_of_saying_when() {
        assert_eq!(
            split("test_days = 2").unwrap(),
            SplitRule::Days { test_ms: 2 * DAY_MS, validation_ms: 2 * DAY_MS }
        );
        assert_eq!(
            split("test_start = \"1970-01-03\"\nvalidation_start = \"1970-01-02T00:00:00.5Z\"")
                .unwrap(),
            SplitRule::Moments { validation_start_ms: DAY_MS + 500, test_start_ms: 2 * DAY_MS }
        );
        for bad in [
            "test_days = 0",
            "test_days = 2\nratio = [0.8, 0.1, 0.1]",
            "ratio = [0.8, 0.3, 0.1]",
            "ratio = [nan, 0.5, 0.5]",
            "validation_days = 3",
            "kind = \"loo-full\"\ntest_days = 2",
            "order = \"file\"",
            "test_start = \"yesterday\"",
        ] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn codes_are_a_name_or_a_list() {
        let raw: RawPrepareConfig = toml::from_str("non_product_codes = [\"POST\"]").unwrap();
        assert_eq!(raw.non_product_codes, NonProductCodes::Patterns(vec!["POST".into()]));
        assert!(toml::from_str::<RawPrepareConfig>("non_product_codes = \"atuo\"").is_err());
        assert!(toml::from_str::<RawPrepareConfig>("min_user_event = 5").is_err());
    }

    #[test]
    fn the_last_day_is_kept_to_its_end() {
        let of = |edge| moment("k", Some("1970-01-02"), edge).unwrap();
        assert_eq!(of(DayEdge::First), Some(DAY_MS));
        assert_eq!(of(DayEdge::Last), Some(2 * DAY_MS - 1));
    }
}
