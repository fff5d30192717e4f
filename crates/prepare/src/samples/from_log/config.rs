//! The `[samples.log]` section of the configuration: as written, and as checked.

use serde::{Deserialize, Serialize};

use crate::PrepareError;
use crate::prepare::DAY_MS;

const MINUTE_MS: i64 = 60_000;

/// `[samples.log]` as it stands in a file: how samples are made from an event log. Every key is optional.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLogSamplesConfig {
    /// Events that show an item: the samples of `click`.
    pub impressions: Vec<String>,
    /// Events that answer an impression: the samples of `conversion`.
    pub clicks: Vec<String>,
    /// Events that buy an item.
    pub purchases: Vec<String>,
    /// Events that a history and the mean price are made of.
    pub history: Vec<String>,
    /// A click this long after its impression is still its answer.
    pub click_window_minutes: u32,
    /// A purchase this long after a click is still its conversion.
    pub conversion_window_days: u32,
    /// `item`: a click leads to purchases of its item; `any`: of any item.
    pub conversion_of: String,
    /// `leave-out`: samples whose window is open at the end of their part are in no part; `correct`: of training and validation they are
    /// kept, with a weight for what comes late.
    #[serde(skip_serializing_if = "is_leave_out")]
    pub open_windows: String,
    /// Whether a table of clicks has a second label, `converted`.
    pub converted: bool,
    /// `session`: a row of `purchase` is a session, and its label that anything is bought in it; `item`: a user and an item on a day, and its
    /// label that the user buys this item in the next days.
    #[serde(skip_serializing_if = "is_session")]
    pub purchase_of: String,
    /// With `purchase_of = "item"`, how many days these are.
    #[serde(skip_serializing_if = "is_default_window")]
    pub purchase_window_days: u32,
    /// The event of a session at which its purchase is predicted, from 2.
    pub session_event: u32,
    /// A longer pause begins a new session, where the log has no session ids.
    pub session_gap_minutes: u32,
    /// Items of a history, at most; 0 for none.
    pub history_length: u32,
    /// The column of the catalog, or of the log, that says of which category an item is.
    pub category: String,
    /// Events that the share of all users or items counts as in a smoothed share.
    pub prior_events: f64,
    /// What the shop's clock is ahead of UTC.
    pub utc_offset_minutes: i32,
}

const LEAVE_OUT: &str = "leave-out";
const CORRECT: &str = "correct";

const SESSION: &str = "session";
const ITEM: &str = "item";
const PURCHASE_WINDOW_DAYS: u32 = 7;

// Tables of older programs say nothing of these.

fn is_leave_out(open_windows: &String) -> bool {
    open_windows == LEAVE_OUT
}

fn is_session(purchase_of: &String) -> bool {
    purchase_of == SESSION
}

fn is_default_window(days: &u32) -> bool {
    *days == PURCHASE_WINDOW_DAYS
}

impl Default for RawLogSamplesConfig {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            impressions: names(&["view_promotion"]),
            clicks: names(&["select_promotion"]),
            purchases: names(&["purchase"]),
            history: names(&[
                "view_item",
                "select_item",
                "select_promotion",
                "add_to_cart",
                "add_to_wishlist",
                "purchase",
            ]),
            click_window_minutes: 30,
            conversion_window_days: 7,
            conversion_of: "item".into(),
            open_windows: LEAVE_OUT.into(),
            converted: false,
            purchase_of: SESSION.into(),
            purchase_window_days: PURCHASE_WINDOW_DAYS,
            session_event: 3,
            session_gap_minutes: 30,
            history_length: 20,
            category: "category".into(),
            prior_events: 20.0,
            utc_offset_minutes: 0,
        }
    }
}

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Click,
    Conversion,
    /// Whether anything is bought in a session.
    SessionPurchase,
    /// Whether a user who met an item buys it in the next days.
    ItemPurchase,
}

/// Checked settings.
#[derive(Debug, Clone)]
pub(super) struct LogConfig {
    pub(super) raw: RawLogSamplesConfig,
    pub(super) task: Task,
    pub(super) click_window_ms: i64,
    pub(super) conversion_window_ms: i64,
    pub(super) purchase_window_ms: i64,
    /// Whether a purchase of any item is the conversion of a click.
    pub(super) of_any_item: bool,
    /// Whether samples whose window is open at the end of their part are kept with a weight.
    pub(super) corrects: bool,
    pub(super) session_gap_ms: i64,
    pub(super) utc_offset_ms: i64,
}

impl LogConfig {
    /// Checks the section for one task.
    pub(super) fn new(raw: &RawLogSamplesConfig, task: &str) -> Result<Self, PrepareError> {
        let refuse = |key: &str, reason: &str| {
            Err(PrepareError::config(format!("samples.log.{key}"), reason))
        };
        let task = match task {
            "click" => Task::Click,
            "conversion" => Task::Conversion,
            _ => match raw.purchase_of.as_str() {
                SESSION => Task::SessionPurchase,
                ITEM => Task::ItemPurchase,
                _ => return refuse("purchase_of", "give \"session\" or \"item\""),
            },
        };
        for (key, names) in [
            ("impressions", &raw.impressions),
            ("clicks", &raw.clicks),
            ("purchases", &raw.purchases),
            ("history", &raw.history),
        ] {
            // Only rows of a user and an item need a history.
            if key == "history" && task != Task::ItemPurchase {
                continue;
            }
            if names.is_empty() || names.iter().any(String::is_empty) {
                return refuse(key, "name at least one event of the log");
            }
        }
        let of_any_item = match raw.conversion_of.as_str() {
            "item" => false,
            "any" => true,
            _ => return refuse("conversion_of", "give \"item\" or \"any\""),
        };
        let corrects = match raw.open_windows.as_str() {
            LEAVE_OUT => false,
            CORRECT if task == Task::SessionPurchase => {
                return refuse(
                    "open_windows",
                    "a session's window has no fixed length; give \"leave-out\"",
                );
            }
            CORRECT => true,
            _ => return refuse("open_windows", "give \"leave-out\" or \"correct\""),
        };
        if raw.click_window_minutes == 0 {
            return refuse("click_window_minutes", "give at least 1");
        }
        if raw.conversion_window_days == 0 {
            return refuse("conversion_window_days", "give at least 1");
        }
        if raw.purchase_window_days == 0 {
            return refuse("purchase_window_days", "give at least 1");
        }
        if raw.session_gap_minutes == 0 {
            return refuse("session_gap_minutes", "give at least 1");
        }
        if raw.session_event < 2 {
            return refuse(
                "session_event",
                "nothing is known before the first event; give 2 or more",
            );
        }
        if raw.history_length > 1000 {
            return refuse("history_length", "give 0 to 1000");
        }
        if !(raw.prior_events > 0.0 && raw.prior_events.is_finite()) {
            return refuse("prior_events", "give a number above 0");
        }
        if raw.utc_offset_minutes.abs() > 24 * 60 {
            return refuse("utc_offset_minutes", "give -1440 to 1440");
        }
        if raw.converted && task != Task::Click {
            return refuse("converted", "only a table of clicks has a second label; leave it out");
        }
        Ok(Self {
            task,
            click_window_ms: i64::from(raw.click_window_minutes) * MINUTE_MS,
            conversion_window_ms: i64::from(raw.conversion_window_days) * DAY_MS,
            purchase_window_ms: i64::from(raw.purchase_window_days) * DAY_MS,
            of_any_item,
            corrects,
            session_gap_ms: i64::from(raw.session_gap_minutes) * MINUTE_MS,
            utc_offset_ms: i64::from(raw.utc_offset_minutes) * MINUTE_MS,
            raw: raw.clone(),
        })
    }

    /// Name of the label's column.
    pub(super) fn label(&self) -> &'static str {
        match self.task {
            Task::Click => "clicked",
            Task::Conversion => CONVERTED,
            Task::SessionPurchase | Task::ItemPurchase => "purchased",
        }
    }
}

/// The label of conversions: of clicks, and the second one of impressions.
pub(super) const CONVERTED: &str = "converted";

/// The column of what a row counts.
pub(super) const WEIGHT: &str = "weight";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused_with_their_key() {
        let refused = |text: &str, task: &str| {
            let raw: RawLogSamplesConfig = toml::from_str(text).unwrap();
            LogConfig::new(&raw, task).unwrap_err().to_string()
        };
        for (text, task) in [
            ("impressions = []", "click"),
            ("clicks = [\"\"]", "click"),
            ("click_window_minutes = 0", "click"),
            ("conversion_window_days = 0", "conversion"),
            ("conversion_of = \"shop\"", "conversion"),
            ("open_windows = \"negative\"", "conversion"),
            ("open_windows = \"correct\"", "purchase"),
            ("purchase_of = \"basket\"", "purchase"),
            ("purchase_window_days = 0", "purchase"),
            ("session_event = 1", "purchase"),
            ("session_gap_minutes = 0", "purchase"),
            ("history_length = 2000", "click"),
            ("prior_events = 0.0", "click"),
            ("prior_events = inf", "click"),
            ("utc_offset_minutes = 2000", "click"),
            ("converted = true", "conversion"),
        ] {
            let key = text.split_once(' ').unwrap().0;
            assert!(refused(text, task).contains(&format!("samples.log.{key}")), "{text}");
        }
        let nothing_met = "history = []\npurchase_of = \"item\"";
        assert!(refused(nothing_met, "purchase").contains("samples.log.history"));
        toml::from_str::<RawLogSamplesConfig>("click = []").unwrap_err();
    }
}
