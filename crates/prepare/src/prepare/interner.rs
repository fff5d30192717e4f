//! Strings to dense numbers, in the order of their first appearance.

use std::hash::BuildHasher;

use forecart_data::TextTable;
use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::PrepareError;

/// Distinct strings and their numbers from 0.
///
/// # Cost
/// About 24 bytes and the text for each string.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: TextTable,
    /// Number and hash: growing the table reads no texts, and few are compared in vain.
    table: HashTable<(u32, u32)>,
}

impl Interner {
    /// The number of `text`, a new one if it was not seen before.
    pub(super) fn intern(&mut self, text: &str) -> Result<u32, PrepareError> {
        let hash = FxBuildHasher.hash_one(text);
        let short = hash as u32;
        let texts = &self.texts;
        let found = self
            .table
            .find(spread(short), |(index, h)| *h == short && texts.get(*index as usize) == text);
        if let Some((index, _)) = found {
            return Ok(*index);
        }
        let index = u32::try_from(self.texts.len())
            .ok()
            .filter(|index| *index < u32::MAX - 1)
            .ok_or(forecart_data::DataError::TooMany { what: "users or items" })?;
        self.texts.push(text);
        self.table.insert_unique(spread(short), (index, short), |(_, h)| spread(*h));
        Ok(index)
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn text(&self, index: u32) -> &str {
        self.texts.get(index as usize)
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let short = FxBuildHasher.hash_one(text) as u32;
        let found = self.table.find(spread(short), |(index, h)| {
            *h == short && self.texts.get(*index as usize) == text
        });
        found.map(|(index, _)| *index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        (0..self.len()).map(|index| self.texts.get(index))
    }
}

/// The table takes its tags from the high bits: 32 bits of hash are spread over 64.
fn spread(short: u32) -> u64 {
    u64::from(short).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_first_appearance() {
        let mut interner = Interner::default();
        let numbers: Vec<_> =
            ["b", "a", "b", "", "杯"].map(|text| interner.intern(text).unwrap()).into();
        assert_eq!(numbers, [0, 1, 0, 2, 3]);
        assert_eq!(
            (interner.text(3), interner.find("a"), interner.find("x")),
            ("杯", Some(1), None)
        );
        for i in 0..10_000 {
            assert_eq!(interner.intern(&format!("u{i}")).unwrap(), i + 4);
        }
        assert_eq!(interner.find("u9999"), Some(10_003));
    }
}
