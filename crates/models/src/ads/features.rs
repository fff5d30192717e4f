//! Which encoders a model wants for the columns that there are.

use forecart_data::encode::{
    BucketEncoding, ColumnSpec, FeatureSpec, Fill, HistorySpec, NumericStep, TimePart,
};
use forecart_data::samples::{ColumnKind, Role, SampleColumn};
use serde::{Deserialize, Serialize};

/// What becomes of a column of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Numbers {
    /// One number: `sign(x) ln(1 + |x|)`, standardized.
    Standardized,
    /// A field of buckets that hold about equally many training rows each.
    Buckets,
    /// Both.
    Both,
    /// The number itself, for models that ask whether it is above a value.
    AsTheyAre,
}

const DAY_MS: i64 = 86_400_000;

/// How columns become numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Encoding {
    pub(super) numbers: Numbers,
    pub(super) n_buckets: u32,
    /// Texts in fewer training rows are unknown ones.
    pub(super) min_count: u64,
    /// The newest values of a history that are kept, for models that read histories; others have them as lists like any other.
    pub(super) max_history: Option<u32>,
}

/// Whether models may learn from the column.
fn is_read(column: &SampleColumn) -> bool {
    matches!(column.role, Role::Feature | Role::Position | Role::Time)
}

/// The columns that are histories of a column that models may learn from, with that column's name.
pub(super) fn histories(columns: &[SampleColumn]) -> impl Iterator<Item = (&SampleColumn, &str)> {
    columns.iter().filter(|column| is_read(column)).filter_map(|column| {
        let of = column.history_of.as_deref()?;
        columns.iter().any(|column| column.name == of && is_read(column)).then_some((column, of))
    })
}

impl Encoding {
    /// Encoders of the columns that models may learn from, in their order. Moments become where they stand in the day, and in the
    /// week, where the training rows span it twice: of a cycle that was seen once or in part nothing can be known.
    pub(super) fn spec(&self, columns: &[SampleColumn], span_ms: i64) -> FeatureSpec {
        let cycles = [(TimePart::HourOfDay, 2 * DAY_MS), (TimePart::DayOfWeek, 14 * DAY_MS)];
        let parts: Vec<TimePart> = cycles
            .into_iter()
            .filter(|(_, least)| span_ms >= *least)
            .map(|(part, _)| part)
            .collect();
        let histories: Vec<HistorySpec> = match self.max_history {
            Some(max_len) => histories(columns)
                .map(|(column, of)| HistorySpec {
                    column: column.name.clone(),
                    of: of.to_owned(),
                    max_len,
                })
                .collect(),
            None => Vec::new(),
        };
        let mut specs = Vec::new();
        for column in columns {
            let is_history = histories.iter().any(|history| history.column == column.name);
            match column.kind {
                _ if !is_read(column) || is_history => {}
                ColumnKind::Number => self.push_number(&column.name, &mut specs),
                ColumnKind::Category => {
                    specs.push(ColumnSpec::one_hot(&column.name, self.min_count))
                }
                ColumnKind::List => specs.push(ColumnSpec::MultiHot {
                    column: column.name.clone(),
                    separator: None,
                    min_count: self.min_count,
                    max_entries: None,
                }),
                ColumnKind::Time if parts.is_empty() => {}
                ColumnKind::Time => specs.push(ColumnSpec::Time {
                    column: column.name.clone(),
                    parts: parts.clone(),
                    utc_offset_minutes: 0,
                }),
            }
        }
        FeatureSpec { columns: specs, histories }
    }

    fn push_number(&self, name: &str, specs: &mut Vec<ColumnSpec>) {
        let (is_dense, has_buckets) = match self.numbers {
            Numbers::Standardized | Numbers::AsTheyAre => (true, false),
            Numbers::Buckets => (false, true),
            Numbers::Both => (true, true),
        };
        if is_dense {
            let steps = match self.numbers {
                Numbers::AsTheyAre => Vec::new(),
                _ => vec![NumericStep::Log1p, NumericStep::Standardize],
            };
            specs.push(ColumnSpec::Numeric {
                column: name.to_owned(),
                steps,
                fill: Fill::Mean,
                indicator: true,
            });
        }
        if has_buckets {
            let buckets = NumericStep::Buckets {
                n_buckets: self.n_buckets,
                encoding: BucketEncoding::OneHot,
            };
            specs.push(ColumnSpec::numeric(name, vec![buckets]));
        }
    }
}
