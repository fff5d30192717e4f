//! Vocabularies: external id to dense index and back, with an explicit unknown bucket.

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;
use std::path::Path;

use crate::error::DataError;
use crate::texts::TextTable;

/// Distinct strings with dense indices, and how often each was seen in the training part.
///
/// Index 0 is the unknown bucket: it stands for everything that is not in the vocabulary, its text
/// is empty, and its count is the number of training occurrences that fell into it (entries below
/// the minimum count, for example). Real entries are `1..len()`.
///
/// On disk: the number of rows (u64), the counts (u64), little endian, then a [`TextTable`].
///
/// ```
/// use forecart_data::Vocabulary;
///
/// let vocabulary = Vocabulary::from_entries([("lamp", 5), ("mug", 2)], 1).unwrap();
/// assert_eq!(vocabulary.index("mug"), Some(2));
/// assert_eq!(vocabulary.index_or_unknown("no such thing"), 0);
/// assert_eq!(vocabulary.text(1), "lamp");
/// assert_eq!(vocabulary.n_known(), 2);
/// ```
#[derive(Clone)]
pub struct Vocabulary {
    texts: TextTable,
    counts: Vec<u64>,
    table: HashTable<u32>,
}

impl Vocabulary {
    /// An empty vocabulary: the unknown bucket alone.
    pub fn new() -> Self {
        Self { texts: [""].iter().collect(), counts: vec![0], table: HashTable::new() }
    }

    /// A vocabulary of `(text, count)` entries in the order given, with `n_unknown` training
    /// occurrences in the unknown bucket.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if a text is empty or stands twice; [`DataError::TooMany`] past
    /// the 32-bit range.
    pub fn from_entries<T: AsRef<str>>(
        entries: impl IntoIterator<Item = (T, u64)>,
        n_unknown: u64,
    ) -> Result<Self, DataError> {
        let mut vocabulary = Self::new();
        vocabulary.counts[0] = n_unknown;
        for (text, count) in entries {
            let text = text.as_ref();
            let index = u32::try_from(vocabulary.len())
                .ok()
                .filter(|index| *index < u32::MAX)
                .ok_or(DataError::TooMany { what: "a vocabulary" })?;
            vocabulary.texts.push(text);
            vocabulary.counts.push(count);
            if !vocabulary.link(index) {
                return Err(DataError::Inconsistent {
                    reason: format!("vocabulary entry {text:?} is empty or stands twice"),
                });
            }
        }
        Ok(vocabulary)
    }

    /// Makes entry `index` findable; false if its text is empty or already findable.
    fn link(&mut self, index: u32) -> bool {
        let text = self.texts.get(index as usize);
        if text.is_empty() || self.index(text).is_some() {
            return false;
        }
        let texts = &self.texts;
        self.table.insert_unique(hash(text), index, |other| hash(texts.get(*other as usize)));
        true
    }

    /// The number of rows of a table over this vocabulary: known entries and the unknown bucket.
    #[expect(clippy::len_without_is_empty, reason = "never empty: row 0 is the unknown bucket")]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// The number of real entries, the unknown bucket not counted.
    pub fn n_known(&self) -> usize {
        self.len() - 1
    }

    /// The index of `text`, or `None` if the vocabulary does not hold it.
    pub fn index(&self, text: &str) -> Option<u32> {
        self.table.find(hash(text), |other| self.texts.get(*other as usize) == text).copied()
    }

    /// The index of `text`, or 0, the unknown bucket.
    pub fn index_or_unknown(&self, text: &str) -> u32 {
        self.index(text).unwrap_or(0)
    }

    /// The text of entry `index`; empty for the unknown bucket and for indices past the end.
    pub fn text(&self, index: u32) -> &str {
        self.texts.get(index as usize)
    }

    /// How often entry `index` occurred in the training part.
    pub fn count(&self, index: u32) -> u64 {
        self.counts.get(index as usize).copied().unwrap_or(0)
    }

    /// Known entries in index order: `(index, text, count)`.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str, u64)> {
        (1..self.len() as u32).map(|index| (index, self.text(index), self.count(index)))
    }

    /// The bytes of the vocabulary file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = (self.len() as u64).to_le_bytes().to_vec();
        for count in &self.counts {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        bytes.extend_from_slice(&self.texts.to_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote. `path` is for the error alone.
    ///
    /// # Errors
    /// [`DataError::Damaged`] for anything that `to_bytes` cannot have written: every length is
    /// checked against the bytes that are there before anything is allocated by it.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, DataError> {
        let damaged = |reason: &str| DataError::damaged(path, reason);
        let (n_rows, rest) =
            bytes.split_first_chunk::<8>().ok_or_else(|| damaged("header is cut short"))?;
        let n_rows = usize::try_from(u64::from_le_bytes(*n_rows))
            .ok()
            .filter(|n| *n >= 1 && *n < u32::MAX as usize && *n <= rest.len() / 8)
            .ok_or_else(|| damaged("number of entries does not fit the file"))?;
        let (counts, texts) = rest.split_at(n_rows * 8);
        let counts =
            counts.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
        let texts = TextTable::from_bytes(texts, path)?;
        if texts.len() != n_rows || !texts.get(0).is_empty() {
            return Err(damaged("texts and counts do not fit each other"));
        }
        let mut vocabulary = Self { texts, counts, table: HashTable::with_capacity(n_rows) };
        for index in 1..n_rows as u32 {
            if !vocabulary.link(index) {
                return Err(damaged("an entry is empty or stands twice"));
            }
        }
        Ok(vocabulary)
    }
}

fn hash(text: &str) -> u64 {
    FxBuildHasher.hash_one(text)
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Vocabulary {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts && self.counts == other.counts
    }
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocabulary").field("n_known", &self.n_known()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_empty_and_repeated_entries() {
        assert!(Vocabulary::from_entries([("", 1)], 0).is_err());
        assert!(Vocabulary::from_entries([("a", 1), ("a", 1)], 0).is_err());
    }

    proptest! {
        #[test]
        fn survives_a_round_trip(
            texts in prop::collection::btree_set("\\PC{1,12}", 0..40), unknown in 0u64..9,
        ) {
            let entries: Vec<_> = texts.iter().enumerate().map(|(i, t)| (t, i as u64)).collect();
            let vocabulary = Vocabulary::from_entries(entries, unknown).unwrap();
            let back = Vocabulary::from_bytes(&vocabulary.to_bytes(), Path::new("v")).unwrap();
            prop_assert_eq!(&back, &vocabulary);
            for (index, text, count) in vocabulary.iter() {
                prop_assert_eq!(back.index(text), Some(index));
                prop_assert_eq!(back.count(index), count);
            }
        }

        #[test]
        fn damaged_bytes_are_an_error_or_a_vocabulary_never_a_panic(
            position in 0usize..200, byte: u8, cut in 0usize..200,
        ) {
            let vocabulary =
                Vocabulary::from_entries([("lamp", 3), ("杯子", 2), ("🧦", 1)], 7).unwrap();
            let mut bytes = vocabulary.to_bytes();
            let n = bytes.len();
            bytes[position % n] = byte;
            bytes.truncate(n - cut % n);
            if let Ok(read) = Vocabulary::from_bytes(&bytes, Path::new("v")) {
                for (index, text, _) in read.iter() {
                    prop_assert_eq!(read.index(text), Some(index));
                }
            }
        }
    }
}
