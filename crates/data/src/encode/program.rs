//! The fitted encoders: any row in, dense numbers and active sparse columns out.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::categories::{Categories, hash_bucket};
use super::hashed::{self, HashSpace, HashedColumn};
use super::numeric::{FittedStep, apply_all, bucket};
use super::spec::{BucketEncoding, HistorySpec};
use super::time::TimePart;
use super::value::{Row, Value};
use crate::features::FeatureNames;

/// The fitted encoders of a table. The same object encodes training rows and requests.
///
/// As JSON it holds finite numbers only and can be read by people; what no fitting could have
/// given (a scale of zero, a category that stands twice) does not load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct FeatureProgram {
    encoders: Vec<Encoder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    histories: Vec<History>,
}

/// A list in the entries of an encoder, see [`HistorySpec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct History {
    column: String,
    of: String,
    max_len: u32,
}

impl From<HistorySpec> for History {
    fn from(HistorySpec { column, of, max_len }: HistorySpec) -> Self {
        Self { column, of, max_len }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    #[serde(default)]
    encoders: Vec<Encoder>,
    #[serde(default)]
    histories: Vec<History>,
}

impl TryFrom<Unchecked> for FeatureProgram {
    type Error = String;

    fn try_from(unchecked: Unchecked) -> Result<Self, String> {
        let program = Self { encoders: unchecked.encoders, histories: unchecked.histories };
        program.encoders.iter().try_for_each(Encoder::check)?;
        for history in &program.histories {
            if history.max_len == 0 || program.entries(&history.of).is_none() {
                return Err(format!("{:?} is a history of no entries", history.column));
            }
        }
        let is_hashed = |encoder: &Encoder| matches!(encoder, Encoder::Hashed { .. });
        if program.encoders.len() > 1 && program.encoders.iter().any(is_hashed) {
            return Err("hashed columns stand beside others".into());
        }
        // Every sparse index must fit its type.
        let n_sparse = program.encoders.iter().map(|e| e.n_sparse() as u64).sum::<u64>();
        if n_sparse > u64::from(u32::MAX) {
            return Err(format!("{n_sparse} sparse columns are more than an index can name"));
        }
        Ok(program)
    }
}

/// One encoded row. Dense numbers are finite; sparse columns ascend without repeats, but for those of histories.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodedRow {
    /// `[n_dense]`
    pub dense: Vec<f32>,
    /// Active sparse columns, each below `n_sparse`.
    pub sparse: Vec<u32>,
    /// The texts of each history, oldest first and as often as they stand there, as sparse columns of the column that it is of.
    pub histories: Vec<Vec<u32>>,
    /// The value of each active sparse column; empty where all of them are 1. Only hashed columns have others, and these are in
    /// the order of the row and may repeat.
    pub values: Vec<f32>,
}

/// One fitted encoder. Sparse blocks begin with their special columns: `<missing>` first, then,
/// for entries, `<unknown>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Encoder {
    Numeric { column: String, steps: Vec<FittedStep>, fill: f64, indicator: bool },
    Buckets { column: String, steps: Vec<FittedStep>, boundaries: Vec<f64> },
    Entries { column: String, separator: Option<String>, categories: Categories },
    Hash { column: String, separator: Option<String>, n_buckets: u32, seed: u64 },
    Time { column: String, parts: Vec<TimePart>, utc_offset_minutes: i32 },
    Hashed { columns: Vec<HashedColumn>, space: HashSpace },
}

/// Which column of the table each output of a program is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputColumns {
    /// The columns that are read, in the order of their first encoder.
    pub names: Vec<String>,
    /// The place in `names` of each dense number's column, `[n_dense]`.
    pub dense: Vec<usize>,
    /// Of each field of [`FeatureProgram::sparse_fields`].
    pub fields: Vec<usize>,
    /// Of each history.
    pub histories: Vec<usize>,
}

impl InputColumns {
    fn place(&mut self, column: &str) -> usize {
        self.names.iter().position(|name| name == column).unwrap_or_else(|| {
            self.names.push(column.to_owned());
            self.names.len() - 1
        })
    }
}

const MISSING: u32 = 0;
const UNKNOWN: u32 = 1;

impl Encoder {
    /// The columns that are read.
    fn columns(&self) -> Vec<&str> {
        match self {
            Self::Numeric { column, .. }
            | Self::Buckets { column, .. }
            | Self::Entries { column, .. }
            | Self::Hash { column, .. }
            | Self::Time { column, .. } => vec![column],
            Self::Hashed { columns, .. } => {
                columns.iter().map(|column| column.name.as_str()).collect()
            }
        }
    }

    fn n_dense(&self) -> usize {
        match self {
            Self::Numeric { indicator, .. } => 1 + usize::from(*indicator),
            Self::Time { parts, .. } => 2 * parts.len(),
            Self::Buckets { .. }
            | Self::Entries { .. }
            | Self::Hash { .. }
            | Self::Hashed { .. } => 0,
        }
    }

    fn n_sparse(&self) -> usize {
        match self {
            Self::Numeric { .. } | Self::Time { .. } => 0,
            Self::Buckets { boundaries, .. } => 2 + boundaries.len(),
            Self::Entries { categories, .. } => 2 + categories.len(),
            Self::Hash { n_buckets, .. } => 1 + *n_buckets as usize,
            Self::Hashed { space, .. } => space.n_slots(),
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Numeric { steps, fill, .. } => {
                if !fill.is_finite() {
                    return Err(format!("fill {fill} is not finite"));
                }
                let one_hot = |step: &FittedStep| {
                    matches!(step, FittedStep::Buckets { encoding: BucketEncoding::OneHot, .. })
                };
                if steps.iter().any(one_hot) {
                    return Err("one-hot buckets stand inside a dense chain".into());
                }
                steps.iter().try_for_each(FittedStep::check)
            }
            Self::Buckets { steps, boundaries, .. } => {
                let last = FittedStep::Buckets {
                    boundaries: boundaries.clone(),
                    encoding: BucketEncoding::OneHot,
                };
                steps.iter().chain([&last]).try_for_each(FittedStep::check)
            }
            Self::Hash { n_buckets, .. } if !(1..=1 << 24).contains(n_buckets) => {
                Err(format!("{n_buckets} hash buckets"))
            }
            Self::Hashed { space, .. } => space.check(),
            Self::Entries { .. } | Self::Hash { .. } | Self::Time { .. } => Ok(()),
        }
    }

    /// Pushes the row's dense values and its sparse columns, counted from `first_sparse`.
    fn encode<R: Row + ?Sized>(&self, row: &R, first_sparse: u32, out: &mut EncodedRow) {
        match self {
            Self::Numeric { column, steps, fill, indicator } => {
                let number = row.value(column).number();
                out.dense.push(apply_all(steps, number.unwrap_or(*fill)) as f32);
                if *indicator {
                    out.dense.push(if number.is_none() { 1.0 } else { 0.0 });
                }
            }
            Self::Buckets { column, steps, boundaries } => {
                let of = |x| 1 + bucket(boundaries, apply_all(steps, x)) as u32;
                let active = row.value(column).number().map_or(MISSING, of);
                out.sparse.push(first_sparse + active);
            }
            Self::Entries { column, separator, categories } => {
                let of = |text: &str| categories.position(text).map_or(UNKNOWN, |at| at + 2);
                texts(&row.value(column), separator.as_deref(), first_sparse, of, out);
            }
            Self::Hash { column, separator, n_buckets, seed } => {
                let of = |text: &str| 1 + hash_bucket(text, *seed, *n_buckets);
                texts(&row.value(column), separator.as_deref(), first_sparse, of, out);
            }
            Self::Time { column, parts, utc_offset_minutes } => {
                let offset_ms = f64::from(*utc_offset_minutes) * 60_000.0;
                let time_ms = row.value(column).number().map(|time| time + offset_ms);
                for part in parts {
                    let (sin, cos) = part.sin_cos(time_ms);
                    out.dense.extend([sin, cos]);
                }
            }
            Self::Hashed { columns, space } => {
                hashed::encode(columns, *space, row, first_sparse, out);
            }
        }
    }

    fn push_names(&self, names: &mut FeatureNames) {
        match self {
            Self::Numeric { column, indicator, .. } => {
                names.dense.push(column.clone());
                if *indicator {
                    names.dense.push(format!("{column}:missing"));
                }
            }
            Self::Buckets { column, boundaries, .. } => {
                names.sparse.push(format!("{column}:<missing>"));
                match (boundaries.first(), boundaries.last()) {
                    (Some(first), Some(last)) => {
                        names.sparse.push(format!("{column}:..{first}"));
                        let between = boundaries.windows(2);
                        names.sparse.extend(
                            between.map(|pair| format!("{column}:{}..{}", pair[0], pair[1])),
                        );
                        names.sparse.push(format!("{column}:{last}.."));
                    }
                    _ => names.sparse.push(format!("{column}:..")),
                }
            }
            Self::Entries { column, categories, .. } => {
                names.sparse.push(format!("{column}=<missing>"));
                names.sparse.push(format!("{column}=<unknown>"));
                names.sparse.extend(categories.iter().map(|entry| format!("{column}={entry}")));
            }
            Self::Hash { column, n_buckets, .. } => {
                names.sparse.push(format!("{column}#<missing>"));
                names.sparse.extend((0..*n_buckets).map(|bucket| format!("{column}#{bucket}")));
            }
            Self::Time { column, parts, .. } => {
                for part in parts {
                    let part = part.name();
                    names.dense.push(format!("{column}:{part}_sin"));
                    names.dense.push(format!("{column}:{part}_cos"));
                }
            }
            Self::Hashed { space, .. } => {
                names.sparse.extend((0..space.n_slots()).map(|slot| format!("#{slot}")));
            }
        }
    }
}

/// Pushes the sparse columns of a value's texts, ascending and each once, or the missing column.
fn texts(
    value: &Value<'_>,
    separator: Option<&str>,
    first_sparse: u32,
    of: impl Fn(&str) -> u32,
    out: &mut EncodedRow,
) {
    let start = out.sparse.len();
    value.for_each_text(separator, |text| out.sparse.push(first_sparse + of(text)));
    if out.sparse.len() == start {
        out.sparse.push(first_sparse + MISSING);
    }
    out.sparse[start..].sort_unstable();
    let mut kept = start;
    for i in start..out.sparse.len() {
        if i == start || out.sparse[i] != out.sparse[kept - 1] {
            out.sparse[kept] = out.sparse[i];
            kept += 1;
        }
    }
    out.sparse.truncate(kept);
}

impl FeatureProgram {
    pub(super) fn new(encoders: Vec<Encoder>, histories: Vec<History>) -> Self {
        Self { encoders, histories }
    }

    /// The entries of a column, with their first sparse column and their field.
    fn entries(&self, name: &str) -> Option<(&Categories, u32, usize)> {
        let (mut first_sparse, mut field) = (0, 0);
        for encoder in &self.encoders {
            if let Encoder::Entries { column, categories, .. } = encoder
                && column == name
            {
                return Some((categories, first_sparse, field));
            }
            let n_sparse = encoder.n_sparse() as u32;
            first_sparse += n_sparse;
            field += usize::from(n_sparse > 0);
        }
        None
    }

    /// The field of [`Self::sparse_fields`] in whose columns each history is.
    pub fn history_fields(&self) -> Vec<usize> {
        let entries = self.histories.iter().filter_map(|history| self.entries(&history.of));
        entries.map(|(_, _, field)| field).collect()
    }

    /// Whether nothing is encoded.
    pub fn is_empty(&self) -> bool {
        self.encoders.is_empty()
    }

    /// The number of dense columns.
    pub fn n_dense(&self) -> usize {
        self.encoders.iter().map(Encoder::n_dense).sum()
    }

    /// The number of sparse columns.
    pub fn n_sparse(&self) -> usize {
        self.encoders.iter().map(Encoder::n_sparse).sum()
    }

    /// The sparse columns of each encoder that has some, in order: the fields of factorization machines, of which a row has one
    /// column active, or several where the column is a list.
    pub fn sparse_fields(&self) -> Vec<Range<u32>> {
        let mut start = 0;
        let ranges = self.encoders.iter().map(|encoder| {
            let end = start + encoder.n_sparse() as u32;
            std::mem::replace(&mut start, end)..end
        });
        ranges.filter(|range| !range.is_empty()).collect()
    }

    /// Which column each output is made of.
    pub fn inputs(&self) -> InputColumns {
        let mut inputs = InputColumns::default();
        for encoder in &self.encoders {
            let places: Vec<usize> =
                encoder.columns().into_iter().map(|column| inputs.place(column)).collect();
            // Only a table of slots has several columns, or none: its one field is made of all of them.
            let place = places.first().copied().unwrap_or_default();
            inputs.dense.extend(std::iter::repeat_n(place, encoder.n_dense()));
            inputs.fields.extend((encoder.n_sparse() > 0).then_some(place));
        }
        for history in &self.histories {
            let place = inputs.place(&history.column);
            inputs.histories.push(place);
        }
        inputs
    }

    /// The row that says nothing: no sparse column is active, no history has an entry, moments are nowhere in their cycles, and numbers are
    /// what they are on average: what stands for a missing one where it is taken as it is, 0 after a chain of steps (the mean
    /// if its last one standardizes), and not missing.
    pub fn neutral(&self) -> EncodedRow {
        let mut row = EncodedRow::default();
        for encoder in &self.encoders {
            let start = row.dense.len();
            row.dense.resize(start + encoder.n_dense(), 0.0);
            if let Encoder::Numeric { steps, fill, .. } = encoder
                && steps.is_empty()
            {
                row.dense[start] = *fill as f32;
            }
        }
        row.histories.resize_with(self.histories.len(), Vec::new);
        row
    }

    /// Names of the output columns: `price`, `price:missing`, `brand=acme`, `brand=<unknown>`,
    /// `tags#17`, `price:2.5..4`, `timestamp:month_sin`.
    pub fn names(&self) -> FeatureNames {
        let mut names = FeatureNames::default();
        self.encoders.iter().for_each(|encoder| encoder.push_names(&mut names));
        names
    }

    /// Encodes any row; columns that the row does not have are missing.
    pub fn encode<R: Row + ?Sized>(&self, row: &R) -> EncodedRow {
        let mut out = EncodedRow::default();
        self.encode_into(row, &mut out);
        out
    }

    /// Like [`Self::encode`], in the place of `out`'s old content.
    pub fn encode_into<R: Row + ?Sized>(&self, row: &R, out: &mut EncodedRow) {
        out.dense.clear();
        out.sparse.clear();
        out.values.clear();
        let mut first_sparse = 0;
        for encoder in &self.encoders {
            encoder.encode(row, first_sparse, out);
            first_sparse += encoder.n_sparse() as u32;
        }
        out.histories.resize_with(self.histories.len(), Vec::new);
        for (history, out) in self.histories.iter().zip(&mut out.histories) {
            out.clear();
            let Some((categories, first, _)) = self.entries(&history.of) else { continue };
            row.value(&history.column).for_each_text(None, |text| {
                out.push(first + categories.position(text).map_or(UNKNOWN, |at| at + 2));
            });
            let n_old = out.len().saturating_sub(history.max_len as usize);
            out.drain(..n_old);
        }
    }

    /// The slots, if all columns are hashed into one table: then rows of a stream can be read without their columns.
    pub fn hash_space(&self) -> Option<HashSpace> {
        match self.encoders.as_slice() {
            [Encoder::Hashed { space, .. }] => Some(*space),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_no_fitting_gives_does_not_load() {
        let numeric = |step: &str| {
            format!(
                r#"{{"encoders":[{{"kind":"numeric","column":"p","steps":[{step}],"fill":0.0,"indicator":true}}]}}"#
            )
        };
        let load = |json: &str| serde_json::from_str::<FeatureProgram>(json);
        load(&numeric(r#"{"affine":{"offset":1.0,"scale":2.0}}"#)).unwrap();
        load("{}").unwrap();
        for bad in [
            numeric(r#"{"affine":{"offset":1.0,"scale":0.0}}"#),
            numeric(r#"{"clip":{"low":2.0,"high":1.0}}"#),
            r#"{"encoders":[{"kind":"entries","column":"b","separator":null,"categories":["x","x"]}]}"#.into(),
            r#"{"encoders":[{"kind":"hash","column":"b","separator":null,"n_buckets":0,"seed":1}]}"#.into(),
            r#"{"encoders":[],"histories":[{"column":"h","of":"b","max_len":3}]}"#.into(),
        ] {
            assert!(load(&bad).is_err(), "{bad}");
        }
    }
}
