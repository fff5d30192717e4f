//! Many short strings in two buffers: item titles, vocabulary entries.

use std::path::Path;

use crate::error::DataError;

const MAGIC: &[u8; 8] = b"FCTEXTS1";

/// A table of strings, row by row; rows may be empty or equal.
///
/// On disk: magic, number of rows (u64), end of each row in bytes (u64), then the texts; little
/// endian.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TextTable {
    /// Row `i` is `texts[ends[i - 1]..ends[i]]`, with `ends[-1] = 0`.
    ends: Vec<u64>,
    texts: String,
}

impl TextTable {
    /// Appends a row.
    pub fn push(&mut self, text: &str) {
        self.texts.push_str(text);
        self.ends.push(self.texts.len() as u64);
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text of row `row`; empty past the end.
    pub fn get(&self, row: usize) -> &str {
        let Some(end) = self.ends.get(row) else { return "" };
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.texts[start as usize..*end as usize]
    }

    /// Rows in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|row| self.get(row))
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.ends.len() * 8 + self.texts.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(self.len() as u64).to_le_bytes());
        for end in &self.ends {
            bytes.extend_from_slice(&end.to_le_bytes());
        }
        bytes.extend_from_slice(self.texts.as_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote. `path` is for the error alone.
    ///
    /// # Errors
    /// [`DataError::Damaged`] for anything that `to_bytes` cannot have written: every length is
    /// checked against the bytes that are there before anything is allocated by it.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, DataError> {
        let damaged = |reason: &str| DataError::damaged(path, reason);
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("not a table of texts"))?;
        let (n_rows, rest) =
            rest.split_first_chunk::<8>().ok_or_else(|| damaged("header is cut short"))?;
        let n_rows = usize::try_from(u64::from_le_bytes(*n_rows))
            .ok()
            .filter(|n| *n <= rest.len() / 8)
            .ok_or_else(|| damaged("number of rows does not fit the file"))?;
        let (ends, texts) = rest.split_at(n_rows * 8);
        let ends: Vec<u64> =
            ends.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
        let texts = std::str::from_utf8(texts).map_err(|_| damaged("texts are not UTF-8"))?;
        if ends.last().copied().unwrap_or(0) != texts.len() as u64 {
            return Err(damaged("texts are cut short"));
        }
        let mut start = 0;
        for end in &ends {
            // `get` refuses reversed ranges and positions inside a character.
            if texts.get(start..*end as usize).is_none() {
                return Err(damaged("a row is reversed or cuts a character"));
            }
            start = *end as usize;
        }
        Ok(Self { ends, texts: texts.to_owned() })
    }
}

impl<T: AsRef<str>> FromIterator<T> for TextTable {
    fn from_iter<I: IntoIterator<Item = T>>(rows: I) -> Self {
        let mut table = Self::default();
        for row in rows {
            table.push(row.as_ref());
        }
        table
    }
}

impl std::fmt::Debug for TextTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextTable").field("n_rows", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn survives_a_round_trip(rows in prop::collection::vec("\\PC{0,9}", 0..30)) {
            let table: TextTable = rows.iter().collect();
            let back = TextTable::from_bytes(&table.to_bytes(), Path::new("t")).unwrap();
            prop_assert!(back.iter().eq(rows.iter().map(String::as_str)));
        }

        #[test]
        fn damaged_bytes_never_panic(position in 0usize..90, byte: u8, cut in 0usize..90) {
            let mut bytes = ["a", "", "杯子"].iter().collect::<TextTable>().to_bytes();
            let n = bytes.len();
            bytes[position % n] = byte;
            bytes.truncate(n - cut % n);
            if let Ok(table) = TextTable::from_bytes(&bytes, Path::new("t")) {
                let _ = table.iter().map(str::len).sum::<usize>();
            }
        }
    }
}
