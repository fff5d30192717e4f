//! Features by their hash: one table of slots for all columns, and nothing that is fitted.
//!
//! A feature is a name within a space, with a value. A text of a column is the feature `text` of the space `column` with the value 1;
//! so is each text of a list. A number of the column `space:name` is the feature `name` of `space`, with the number as its
//! value; one of a column without a colon is of the space [`FEATURES`]. That is how sample tables name what libsvm, libffm and Vowpal
//! Wabbit files hold, so that a row has the same slots whichever way it is written.
//!
//! The slot is the low `bits` bits of the 64-bit XXH3 hash of the name, with the XXH3 hash of the space as its seed: a published
//! function, the same on every machine, and part of the format of model files. Features that share a slot share a weight.
//!
//! Source: Weinberger et al., ICML 2009. We differ: without the sign of a second hash.

use serde::{Deserialize, Serialize};

use super::name_hash::xxh3;
use super::program::EncodedRow;
use super::value::Row;

/// The space of features that name none.
pub const FEATURES: &str = "features";

/// The most bits of a slot.
pub const MAX_BITS: u32 = 28;

/// Values are kept within this magnitude, so that no square or sum overflows an `f32`.
const MAX_VALUE: f64 = 1e9;

/// What becomes of the value of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashedNumbers {
    /// `sign(x) log2(1 + |x|)`: amounts and counts on a scale that steps of one size suit. It leaves 0 and 1 as they are, and
    /// with them the features that are there or not.
    Log,
    /// The number itself, within 1e9.
    AsTheyAre,
}

impl HashedNumbers {
    /// The value of a feature.
    #[inline(always)]
    pub fn apply(self, value: f64) -> f32 {
        let value = match self {
            Self::Log => value.signum() * (1.0 + value.abs()).log2(),
            Self::AsTheyAre => value,
        };
        value.clamp(-MAX_VALUE, MAX_VALUE) as f32
    }
}

/// The seed of the names of a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceSeed(u64);

impl SpaceSeed {
    /// That of this space.
    #[inline(always)]
    pub fn new(space: &[u8]) -> Self {
        Self(xxh3(space, 0))
    }
}

/// How many slots there are, and what becomes of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashSpace {
    /// There are `2^bits` slots, `1..=28` bits.
    pub bits: u32,
    /// What becomes of values.
    pub numbers: HashedNumbers,
}

impl HashSpace {
    /// Number of slots.
    pub fn n_slots(&self) -> usize {
        1 << self.bits
    }

    /// The slot of a feature.
    #[inline(always)]
    pub fn slot(&self, space: SpaceSeed, name: &[u8]) -> u32 {
        (xxh3(name, space.0) & ((1 << self.bits) - 1)) as u32
    }

    /// The slot of a column of numbers.
    pub fn slot_of_numbers(&self, column: &str) -> u32 {
        let (space, name) = column.split_once(':').unwrap_or((FEATURES, column));
        self.slot(SpaceSeed::new(space.as_bytes()), name.as_bytes())
    }

    /// The feature that a number is, by the slot of its column; 0 is no feature.
    #[inline]
    pub fn number(&self, slot: u32, number: f64) -> Option<HashedFeature> {
        (number != 0.0).then(|| HashedFeature { slot, value: self.numbers.apply(number) })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match (1..=MAX_BITS).contains(&self.bits) {
            true => Ok(()),
            false => Err(format!("bits = {} is not in 1..={MAX_BITS}", self.bits)),
        }
    }
}

/// A column whose values are features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HashedColumn {
    /// Its name.
    pub name: String,
    /// Whether its values are numbers; else they are texts.
    pub is_number: bool,
}

/// Pushes the features of a row, in the order of the columns; a column without a value has none.
pub(super) fn encode<R: Row + ?Sized>(
    columns: &[HashedColumn],
    space: HashSpace,
    row: &R,
    first_sparse: u32,
    out: &mut EncodedRow,
) {
    out.values.resize(out.sparse.len(), 1.0);
    for HashedColumn { name, is_number } in columns {
        let value = row.value(name);
        if *is_number {
            let number = value.number().unwrap_or(0.0);
            if let Some(feature) = space.number(space.slot_of_numbers(name), number) {
                out.sparse.push(first_sparse + feature.slot);
                out.values.push(feature.value);
            }
            continue;
        }
        let seed = SpaceSeed::new(name.as_bytes());
        value.for_each_text(None, |text| {
            out.sparse.push(first_sparse + space.slot(seed, text.as_bytes()));
            out.values.push(1.0);
        });
    }
}

/// A feature of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HashedFeature {
    /// Below `2^bits`.
    pub slot: u32,
    /// Finite.
    pub value: f32,
}

/// Rows as a stream brings them: features by their slots, in the order of the row.
///
/// # Shapes
/// `features: [sum of the rows' features]`; `ends`, `labels`, `importances` and `lines: [n]`.
#[derive(Debug, Clone, Default)]
pub struct HashedRows {
    /// The first `n_features` of them; the others are room.
    features: Vec<HashedFeature>,
    n_features: usize,
    ends: Vec<usize>,
    labels: Vec<f32>,
    importances: Vec<f32>,
    lines: Vec<u64>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HashedRow<'a> {
    /// In the order of the row; a slot may stand several times.
    pub features: &'a [HashedFeature],
    /// 0 or 1, NaN if it is not known.
    pub label: f32,
    /// How much it counts, 1 unless the file says otherwise.
    pub importance: f32,
    /// Of its file, from 1.
    pub line: u64,
}

impl HashedRows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Removes all rows and keeps their memory.
    pub fn clear(&mut self) {
        self.n_features = 0;
        self.ends.clear();
        self.labels.clear();
        self.importances.clear();
        self.lines.clear();
    }

    /// Adds a feature to the row that [`Self::end_row`] will end.
    #[inline]
    pub fn push(&mut self, feature: HashedFeature) {
        self.room(1)[0] = feature;
        self.advance(1);
    }

    /// Room for at least `n` further features of a row, for whoever writes many: [`Self::advance`] says how many were written.
    #[inline]
    pub fn room(&mut self, n: usize) -> &mut [HashedFeature] {
        let needed = self.n_features + n;
        if needed > self.features.len() {
            let nothing = HashedFeature { slot: 0, value: 0.0 };
            self.features.resize(needed.max(2 * self.features.len()), nothing);
        }
        &mut self.features[self.n_features..]
    }

    /// Takes the first `n` features of the room into the row.
    ///
    /// # Panics
    /// If there was not so much room.
    #[inline]
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.features.len() - self.n_features, "no more than there was room for");
        self.n_features += n;
    }

    /// Forgets the features since the last row.
    pub fn abandon_row(&mut self) {
        self.n_features = self.ends.last().copied().unwrap_or(0);
    }

    /// Ends a row.
    #[inline]
    pub fn end_row(&mut self, label: f32, importance: f32, line: u64) {
        self.ends.push(self.n_features);
        self.labels.push(label);
        self.importances.push(importance);
        self.lines.push(line);
    }

    /// Adds a copy of a row.
    pub fn push_row(&mut self, row: HashedRow<'_>) {
        self.abandon_row();
        self.room(row.features.len())[..row.features.len()].copy_from_slice(row.features);
        self.advance(row.features.len());
        self.end_row(row.label, row.importance, row.line);
    }

    /// The features of a row.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn features(&self, row: usize) -> &[HashedFeature] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.features[start..self.ends[row]]
    }

    /// A row.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row(&self, row: usize) -> HashedRow<'_> {
        HashedRow {
            features: self.features(row),
            label: self.labels[row],
            importance: self.importances[row],
            line: self.lines[row],
        }
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = HashedRow<'_>> {
        (0..self.len()).map(|row| self.row(row))
    }
}

impl PartialEq for HashedRows {
    fn eq(&self, other: &Self) -> bool {
        // Bits of labels, since one that is not known is NaN.
        let same = |(a, b): (HashedRow<'_>, HashedRow<'_>)| {
            a.features == b.features
                && a.label.to_bits() == b.label.to_bits()
                && a.importance == b.importance
                && a.line == b.line
        };
        self.len() == other.len() && self.iter().zip(other.iter()).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::{ColumnSpec, FeatureSpec};
    use super::super::value::Value;
    use super::*;

    const SPACE: HashSpace = HashSpace { bits: 20, numbers: HashedNumbers::Log };

    #[test]
    fn slots_are_those_of_the_published_hash() {
        // xxhash 4.1.0 for Python: xxh3_64_intdigest(name, seed=xxh3_64_intdigest(space)) & 0xfffff
        let slot =
            |space: &str, name: &str| SPACE.slot(SpaceSeed::new(space.as_bytes()), name.as_bytes());
        assert_eq!(slot("C1", "68fd1e64"), PYTHON_SLOT_A);
        assert_eq!(slot("features", "price"), PYTHON_SLOT_B);
        assert_eq!(SPACE.slot_of_numbers("price"), PYTHON_SLOT_B);
        assert_eq!(SPACE.slot_of_numbers("I:I1"), slot("I", "I1"));
        assert_eq!(SPACE.slot_of_numbers("I:I1:b"), slot("I", "I1:b"));
    }

    const PYTHON_SLOT_A: u32 = 705086;
    const PYTHON_SLOT_B: u32 = 386659;

    #[test]
    fn zero_and_one_stay_and_no_number_is_too_large() {
        let log = |x| HashedNumbers::Log.apply(x);
        assert_eq!([log(0.0), log(1.0), log(-1.0), log(7.0)], [0.0, 1.0, -1.0, 3.0]);
        assert_eq!(log(-f64::MAX), -1024.0);
        assert_eq!(HashedNumbers::AsTheyAre.apply(-1e300), -1e9);
    }

    #[test]
    fn a_row_of_any_kind_of_values_has_a_feature_for_each() {
        let column = |name: &str, is_number| HashedColumn { name: name.into(), is_number };
        let columns = vec![column("brand", false), column("price", true), column("tags", false)];
        let spec = FeatureSpec {
            columns: vec![ColumnSpec::Hashed { columns, space: SPACE }],
            histories: Vec::new(),
        };
        let program = spec.fit(std::iter::empty::<&[(&str, Value<'_>)]>()).unwrap();
        let encode = |row: &[(&str, Value<'_>)]| program.encode(row);
        let texts = Value::List(vec!["a".into(), " b ".into(), "".into()]);
        let row = [("brand", Value::Text("x")), ("price", Value::Number(3.0)), ("tags", texts)];
        let slot =
            |space: &str, name: &str| SPACE.slot(SpaceSeed::new(space.as_bytes()), name.as_bytes());
        let expected =
            [slot("brand", "x"), slot("features", "price"), slot("tags", "a"), slot("tags", "b")];
        let encoded = encode(&row);
        assert_eq!(
            (encoded.sparse.as_slice(), encoded.values.as_slice()),
            (&expected[..], &[1.0, 2.0, 1.0, 1.0][..])
        );
        // A number that is not there is 0, which counts nothing; a number as a text is that text.
        assert_eq!(encode(&[("brand", Value::Number(5.0))]).sparse, [slot("brand", "5")]);
        assert!(encode(&[("price", Value::Text("much"))]).sparse.is_empty());
        assert_eq!(program.sparse_fields(), std::slice::from_ref(&(0..1 << 20)));
        let json = serde_json::to_string(&program).unwrap();
        let read: super::super::FeatureProgram = serde_json::from_str(&json).unwrap();
        assert_eq!(read, program);
        let damaged = json.replace("\"bits\":20", "\"bits\":40");
        assert!(serde_json::from_str::<super::super::FeatureProgram>(&damaged).is_err());
    }
}
