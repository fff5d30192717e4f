//! Strings to dense numbers, in the order of their first appearance.

use std::hash::BuildHasher;

use forecart_data::TextTable;
use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::PrepareError;

/// Distinct strings and their numbers from 0.
///
/// # Cost
/// About 50 bytes and the text for each string.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    texts: TextTable,
    table: HashTable<Entry>,
}

/// One string in the table: what is needed to find it without a look elsewhere, if it is short.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The text with its length behind it if it is shorter than 16 bytes, else its first 15 bytes
    /// and [`LONG`].
    head: [u8; 16],
    index: u32,
    /// Growing the table reads no texts.
    hash: u32,
}

/// Ends the head of a text of 16 bytes or more.
const LONG: u8 = u8::MAX;

fn head(text: &str) -> [u8; 16] {
    let bytes = text.as_bytes();
    let mut head = [0; 16];
    if let Some(first) = bytes.first_chunk::<15>()
        && bytes.len() > 15
    {
        head[..15].copy_from_slice(first);
        head[15] = LONG;
    } else {
        head[..bytes.len()].copy_from_slice(bytes);
        head[15] = bytes.len() as u8;
    }
    head
}

impl Interner {
    /// The number of `text`, a new one if it was not seen before.
    pub(crate) fn intern(&mut self, text: &str) -> Result<u32, PrepareError> {
        let (hash, head) = (short_hash(text), head(text));
        if let Some(index) = self.find_hashed(text, hash, head) {
            return Ok(index);
        }
        let index = u32::try_from(self.texts.len())
            .ok()
            .filter(|index| *index < u32::MAX - 1)
            .ok_or(forecart_data::DataError::TooMany { what: "users or items" })?;
        self.texts.push(text);
        let entry = Entry { head, index, hash };
        self.table.insert_unique(spread(hash), entry, |entry| spread(entry.hash));
        Ok(index)
    }

    fn find_hashed(&self, text: &str, hash: u32, head: [u8; 16]) -> Option<u32> {
        let is_equal = |entry: &Entry| {
            entry.head == head && (head[15] != LONG || self.texts.get(entry.index as usize) == text)
        };
        self.table.find(spread(hash), is_equal).map(|entry| entry.index)
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(crate) fn text(&self, index: u32) -> &str {
        self.texts.get(index as usize)
    }

    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        self.find_hashed(text, short_hash(text), head(text))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> + Clone {
        (0..self.len()).map(|index| self.texts.get(index))
    }
}

fn short_hash(text: &str) -> u32 {
    FxBuildHasher.hash_one(text) as u32
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
        let long = ["0123456789abcde", "0123456789abcdef", "0123456789abcdeg", "0123456789abcdef!"];
        let numbers: Vec<_> = long.map(|text| interner.intern(text).unwrap()).into();
        assert_eq!(numbers, [10_004, 10_005, 10_006, 10_007]);
        assert_eq!(long.map(|text| interner.find(text).unwrap()), *numbers);
        assert_eq!(interner.find("0123456789abcd\0"), None);
    }
}
