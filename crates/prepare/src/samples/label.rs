//! The label: which column it is, and which of its texts mean 0 and 1.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::RawSamplesConfig;
use super::value::{is_missing, number};
use crate::PrepareError;
use crate::config::{DataConfig, closest};
use crate::error::Place;
use crate::import::cell::Cell;

/// Columns that are the label where none is named.
const NAMES: [&str; 9] =
    ["label", "click", "clicked", "Label", "Revenue", "purchase", "converted", "y", "is_click"];
/// Different texts that are kept, to see what a label says.
const MAX_TEXTS: usize = 1000;

/// The place of a column that the configuration names.
pub(super) fn named(
    path: &Path,
    names: &[String],
    key: &str,
    column: &str,
) -> Result<usize, PrepareError> {
    let known = names.iter().position(|name| name == column);
    known.ok_or_else(|| {
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = closest(column, &all).map(|name| format!("did you mean {name:?}? "));
        let reason = format!("no column {column:?}; found {}", shortened(&all));
        let fix = format!("{}set `samples.{key}` to a column", hint.unwrap_or_default());
        PrepareError::input(Place::file(path).line(1), reason, fix)
    })
}

fn shortened(names: &[&str]) -> String {
    match names.get(..40) {
        Some(first) => format!("{} and {} more", first.join(", "), names.len() - first.len()),
        None => names.join(", "),
    }
}

/// Finds the column of the label.
pub(super) fn find(
    path: &Path,
    names: &[String],
    config: &RawSamplesConfig,
) -> Result<(usize, String), PrepareError> {
    if let Some(label) = &config.label {
        return Ok((named(path, names, "label", label)?, "named".into()));
    }
    let is_label = |name: &String| NAMES.contains(&name.as_str()) && !config.ignore.contains(name);
    let found: Vec<usize> = (0..names.len()).filter(|at| is_label(&names[*at])).collect();
    match found.as_slice() {
        [only] => Ok((*only, "found by its name".into())),
        [] => {
            let all: Vec<&str> = names.iter().map(String::as_str).collect();
            let reason = format!("no column is the label; found {}", shortened(&all));
            let fix = "name it with `samples.label`";
            Err(PrepareError::input(Place::file(path).line(1), reason, fix))
        }
        many => {
            let many: Vec<&str> = many.iter().map(|at| names[*at].as_str()).collect();
            let reason = format!("several columns may be the label: {}", many.join(", "));
            let fix = "name one with `samples.label`, and put those that are not known \
                       beforehand into `samples.ignore`";
            Err(PrepareError::input(Place::file(path).line(1), reason, fix))
        }
    }
}

/// Whether a column's name is that of an outcome.
pub(super) fn is_outcome(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Which texts mean 1.
#[derive(Debug, Clone)]
pub(super) struct LabelRule {
    positive: Option<Vec<String>>,
}

impl LabelRule {
    pub(super) fn new(config: &RawSamplesConfig) -> Self {
        Self { positive: config.positive.clone() }
    }

    /// 0 or 1, NaN where the label is not known yet; `None` for another text.
    pub(super) fn read(&self, cell: &Cell<'_>, data: &DataConfig) -> Option<f64> {
        if is_missing(cell, data) {
            return Some(f64::NAN);
        }
        let shown = cell.shown();
        let text = shown.trim();
        if let Some(positive) = &self.positive {
            return Some(f64::from(u8::from(positive.iter().any(|one| one == text))));
        }
        let is = |words: [&str; 2]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        match number(text) {
            Some(1.0) => Some(1.0),
            Some(0.0 | -1.0) => Some(0.0),
            Some(_) => None,
            None if is(["true", "yes"]) => Some(1.0),
            None if is(["false", "no"]) => Some(0.0),
            None => None,
        }
    }
}

/// What the labels of the first rows say.
#[derive(Debug, Default)]
pub(super) struct LabelLook {
    /// Rows and first line of each text.
    texts: BTreeMap<String, (u64, u64)>,
    n_rows: u64,
}

impl LabelLook {
    pub(super) fn add(&mut self, cell: &Cell<'_>, line: u64, data: &DataConfig) {
        self.n_rows += 1;
        if is_missing(cell, data) {
            return;
        }
        let text = cell.shown().trim().to_owned();
        if self.texts.len() < MAX_TEXTS || self.texts.contains_key(&text) {
            self.texts.entry(text).or_insert((0, line)).0 += 1;
        }
    }

    /// Refuses a column that is no label; says in words how it is read.
    pub(super) fn check(
        &self,
        rule: &LabelRule,
        place: &Place,
        data: &DataConfig,
    ) -> Result<String, PrepareError> {
        let refuse =
            |place: Place, reason: String, fix: &str| Err(PrepareError::input(place, reason, fix));
        if self.texts.is_empty() {
            let reason = format!("no label in the first {} rows", self.n_rows);
            let fix =
                "give rows whose outcome is known, or name another column with `samples.label`";
            return refuse(place.clone(), reason, fix);
        }
        let read = |text: &String| rule.read(&Cell::Text(text), data);
        if let Some(positive) = &rule.positive {
            if !self.texts.keys().any(|text| read(text) == Some(1.0)) {
                let found: Vec<&str> = self.texts.keys().take(5).map(String::as_str).collect();
                let reason = format!(
                    "no label is one of `samples.positive` ({}); found {}",
                    positive.join(", "),
                    found.join(", ")
                );
                return refuse(place.clone(), reason, "give the texts that stand in the column");
            }
            return Ok(format!("label: 1 is {}, 0 any other text", positive.join(" or ")));
        }
        let n: u64 = self.texts.values().map(|(n, _)| n).sum();
        let bad: Vec<_> = self.texts.iter().filter(|(text, _)| read(text).is_none()).collect();
        let n_bad: u64 = bad.iter().map(|(_, (n, _))| n).sum();
        if n_bad as f64 > data.max_bad_rows * n as f64
            && let Some((text, (_, line))) = bad.iter().min_by_key(|(_, (_, line))| *line)
        {
            let reason = format!("label {text:?} is neither 0 nor 1 ({n_bad} of {n} labels)");
            let fix = "set `samples.positive` to the texts that mean 1, or name another column \
                       with `samples.label`";
            return refuse(place.clone().line(*line), reason, fix);
        }
        let with = |wanted: f64| {
            let found = self.texts.keys().find(|text| number(text) == Some(wanted));
            found.map(|text| self.texts[text].1)
        };
        if let (Some(_), Some(line)) = (with(0.0), with(-1.0)) {
            let reason = "labels are 0 in some rows and -1 in others".to_owned();
            let fix = "write one of them, or set `samples.positive` to the texts that mean 1";
            return refuse(place.clone().line(line), reason, fix);
        }
        let of = |wanted: f64| {
            let found = self.texts.keys().filter(|text| read(text) == Some(wanted));
            found.map(String::as_str).collect::<Vec<_>>().join(" or ")
        };
        Ok(match (of(1.0), of(0.0)) {
            (one, zero) if one.is_empty() => format!("label: 0 is {zero}; no row so far is 1"),
            (one, zero) if zero.is_empty() => format!("label: 1 is {one}; no row so far is 0"),
            (one, zero) => format!("label: 1 is {one}, 0 is {zero}"),
        })
    }
}
