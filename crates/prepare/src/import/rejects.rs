//! Bad rows: counted by reason, the first few of each kept to be shown.

use std::collections::BTreeMap;

use crate::log::{Rejected, RejectedRow};

/// Why a row is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Code {
    FieldCount,
    NotUtf8,
    BadJson,
    MissingUser,
    MissingItem,
    MissingEvent,
    MissingTime,
    BadId,
    BadTime,
    NegativeTime,
    LateTime,
    BadNumber,
    NotFinite,
    RepeatedId,
    BadLabel,
    BadWeight,
    BadFeature,
    NoBar,
}

impl Code {
    /// Short stable name, reason in words, and what to do.
    const fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::FieldCount => (
                "wrong_field_count",
                "not as many fields as the first line",
                "check delimiter and quotes of these lines",
            ),
            Self::NotUtf8 => (
                "not_utf8",
                "not UTF-8",
                "convert the file to UTF-8, as with `iconv -f latin1 -t utf-8`",
            ),
            Self::BadJson => ("bad_json", "not a JSON object", "write one whole object a line"),
            Self::MissingUser => (
                "missing_user",
                "no user",
                "set `data.missing_user = \"keep\"` to keep rows of guests",
            ),
            Self::MissingItem => ("missing_item", "no item", "remove the rows or fill in the item"),
            Self::MissingEvent => {
                ("missing_event", "no event", "set `events.default` to an event's name")
            }
            Self::MissingTime => ("missing_time", "no time", "remove the rows or fill in the time"),
            Self::BadId => (
                "bad_id",
                "an id with a NUL, of more than 1,024 bytes, or not a whole number",
                "check that the column holds ids",
            ),
            Self::BadTime => (
                "bad_time",
                "not a time of the form that the column has",
                "set `data.time_unit`, `data.time_format` or `data.time_zone`, or mend the rows",
            ),
            Self::NegativeTime => {
                ("negative_time", "a time before 1970", "mend the rows, or set `data.time_unit`")
            }
            Self::LateTime => (
                "late_time",
                "a time after `data.latest_time`",
                "set `data.time_unit` if the unit was guessed wrong, or raise `data.latest_time`",
            ),
            Self::BadNumber => (
                "bad_number",
                "not a number",
                "write 1234.5: a decimal point, no thousands separators, no currency sign",
            ),
            Self::NotFinite => {
                ("not_finite", "NaN or infinite", "leave the field empty where there is no number")
            }
            Self::RepeatedId => {
                ("repeated_id", "an id that an earlier row has", "the first row is kept")
            }
            Self::BadLabel => (
                "bad_label",
                "a label that is neither 0 nor 1",
                "mend the rows, leave the label empty where it is not known, or set \
                 `samples.positive` to the texts that mean 1",
            ),
            Self::BadWeight => (
                "bad_weight",
                "a weight that is no number of 0 or more",
                "mend the rows, or leave `samples.weight` out",
            ),
            Self::BadFeature => (
                "bad_feature",
                "a feature that is not written as its format says",
                "write `index:value` (libsvm), `field:index:value` (libffm), or `name` or \
                 `name:value` (vw), with whole numbers from 0 as indices and fields",
            ),
            Self::NoBar => (
                "no_bar",
                "a line without a bar before its features",
                "write `label |namespace feature feature:value`",
            ),
        }
    }
}

/// What is wrong with one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    /// Position of the input's column, if it is about one.
    pub(crate) column: Option<usize>,
    pub(crate) found: String,
}

const N_EXAMPLES: usize = 5;
const N_SHOWN: usize = 60;

/// Bad rows of a part of the input.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rejects {
    groups: BTreeMap<Code, (u64, Vec<RejectedRow>)>,
}

impl Rejects {
    /// Counts a bad row; `names` are the input's columns.
    pub(crate) fn add(&mut self, file: &str, line: u64, names: &[String], fault: &Fault) {
        let (n_rows, examples) = self.groups.entry(fault.code).or_default();
        *n_rows += 1;
        if examples.len() < N_EXAMPLES {
            let field = fault.column.and_then(|column| names.get(column)).cloned();
            examples.push(RejectedRow {
                file: file.to_owned(),
                line,
                field: field.unwrap_or_default(),
                found: cut(&fault.found),
            });
        }
    }

    /// Adds those of the part that follows.
    pub(crate) fn append(&mut self, other: Self) {
        for (code, (n_other, others)) in other.groups {
            let (n_rows, examples) = self.groups.entry(code).or_default();
            *n_rows += n_other;
            examples.extend(others);
            examples.truncate(N_EXAMPLES);
        }
    }

    pub(crate) fn n_rows(&self) -> u64 {
        self.groups.values().map(|(n_rows, _)| n_rows).sum()
    }

    pub(crate) fn into_report(self) -> Vec<Rejected> {
        let groups = self.groups.into_iter().map(|(code, (n_rows, examples))| {
            let (name, reason, fix) = code.texts();
            let [code, reason, fix] = [name, reason, fix].map(str::to_owned);
            Rejected { code, reason, fix, n_rows, examples }
        });
        groups.collect()
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(N_SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
