//! Counting while rows stream by, in bounded memory.

use std::collections::BTreeMap;
use std::hash::Hasher;

use rustc_hash::{FxHashSet, FxHasher};

use crate::PrepareError;

/// Number of different ids, by their 64-bit hashes: exact up to 8 million, then an estimate.
///
/// Past the limit only hashes below a threshold that halves are kept, and their number is scaled
/// (Wegman's adaptive sampling; Flajolet, Computing 43, 1990). With at least 4 million hashes kept,
/// the standard error is below 0.06 %.
#[derive(Debug, Default)]
pub(crate) struct DistinctCount {
    hashes: FxHashSet<u64>,
    /// Hashes with this many leading zero bits are kept.
    depth: u32,
}

const MAX_HASHES: usize = 8 << 20;

impl DistinctCount {
    pub(crate) fn add(&mut self, hash: u64) {
        if hash.leading_zeros() < self.depth {
            return;
        }
        self.hashes.insert(hash);
        while self.hashes.len() > MAX_HASHES {
            self.depth += 1;
            let depth = self.depth;
            self.hashes.retain(|hash| hash.leading_zeros() >= depth);
        }
    }

    pub(crate) fn n(&self) -> u64 {
        (self.hashes.len() as u64) << self.depth
    }

    pub(crate) fn is_exact(&self) -> bool {
        self.depth == 0
    }
}

pub(crate) fn hash_id(id: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(id);
    hasher.finish()
}

/// Rows by event name.
#[derive(Debug, Default)]
pub(crate) struct EventCounts(pub(crate) BTreeMap<String, u64>);

const MAX_EVENTS: usize = 10_000;

impl EventCounts {
    pub(crate) fn append(&mut self, other: Self) -> Result<(), PrepareError> {
        for (name, n_rows) in other.0 {
            *self.0.entry(name).or_default() += n_rows;
        }
        if self.0.len() > MAX_EVENTS {
            let reason = format!(
                "more than {MAX_EVENTS} different event names; another column is the event's: \
                 set `data.columns.event`"
            );
            return Err(PrepareError::Unusable { step: "import", reason });
        }
        Ok(())
    }
}
