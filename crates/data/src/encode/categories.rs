//! Categories: a table of entries with unknown and missing buckets, and feature hashing.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// The entries of a categorical column, the most frequent first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Categories {
    entries: Vec<String>,
    positions: HashMap<String, u32>,
}

impl Categories {
    /// Entries in the order given.
    ///
    /// # Errors
    /// Says which entry is empty or stands twice.
    pub fn new(entries: Vec<String>) -> Result<Self, String> {
        let mut positions = HashMap::with_capacity(entries.len());
        for (position, entry) in (0u32..).zip(&entries) {
            if entry.is_empty() || positions.insert(entry.clone(), position).is_some() {
                return Err(format!("category {entry:?} is empty or stands twice"));
            }
        }
        Ok(Self { entries, positions })
    }

    /// Where `entry` stands, from 0, if it is known.
    pub fn position(&self, entry: &str) -> Option<u32> {
        self.positions.get(entry).copied()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(String::as_str)
    }
}

impl PartialEq for Categories {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl TryFrom<Vec<String>> for Categories {
    type Error = String;

    fn try_from(entries: Vec<String>) -> Result<Self, String> {
        Self::new(entries)
    }
}

impl From<Categories> for Vec<String> {
    fn from(categories: Categories) -> Self {
        categories.entries
    }
}

/// Counts entries over training rows. Memory grows with the number of different entries.
#[derive(Debug, Default)]
pub(super) struct CategoryFitter {
    counts: HashMap<String, u64>,
}

impl CategoryFitter {
    /// Counts one row's entries, each once.
    pub(super) fn add(&mut self, entries: &mut Vec<String>) {
        entries.sort_unstable();
        entries.dedup();
        for entry in entries.drain(..) {
            *self.counts.entry(entry).or_default() += 1;
        }
    }

    /// Entries with at least `min_count` rows, the most frequent first, equal ones by their text.
    pub(super) fn finish(self, min_count: u64, max_entries: Option<u32>) -> Categories {
        let mut entries: Vec<_> =
            self.counts.into_iter().filter(|(_, count)| *count >= min_count).collect();
        entries.sort_unstable_by(|(a, n_a), (b, n_b)| n_b.cmp(n_a).then_with(|| a.cmp(b)));
        entries.truncate(max_entries.map_or(usize::MAX, |max| max as usize));
        Categories::new(entries.into_iter().map(|(entry, _)| entry).collect())
            .expect("keys of a map are distinct; empty texts are never counted")
    }
}

/// The bucket of `text` in `0..n_buckets`: FNV-1a over its bytes, then MurmurHash3's finalizer,
/// so that the high and the low bits are equally good. The same on every machine and in every
/// version. `n_buckets` is at least 1.
pub fn hash_bucket(text: &str, seed: u64, n_buckets: u32) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    (hash % u64::from(n_buckets.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_ordered_by_count_then_text_and_cut_at_min_count() {
        let mut fitter = CategoryFitter::default();
        for row in [vec!["b", "a"], vec!["c", "c", "a"], vec!["b"], vec!["d"]] {
            fitter.add(&mut row.into_iter().map(str::to_owned).collect());
        }
        let categories = fitter.finish(1, Some(3));
        assert_eq!(categories.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(categories.position("d"), None);
    }

    #[test]
    fn the_hash_never_changes_and_spreads() {
        // Fixed for good: models on disk rely on it. Worked out by a second program in Python.
        let buckets = ["", "lamp", "杯子"].map(|text| hash_bucket(text, 0, 1 << 20));
        assert_eq!(buckets, [600358, 709990, 122496]);
        let mut counts = [0u32; 16];
        for i in 0..16_000 {
            counts[hash_bucket(&i.to_string(), 7, 16) as usize] += 1;
        }
        // Binomial: 1000 +- 30.6; six standard deviations.
        assert!(counts.iter().all(|n| n.abs_diff(1000) < 184), "{counts:?}");
    }
}
