//! Where a hash puts a user.

use sha2::{Digest as _, Sha256};

/// Independent numbers of a user in an experiment, the same in every process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Assigned {
    /// In 0..1: whether the user is in the experiment.
    pub(super) is_in: f64,
    /// In 0..1: in which variant.
    pub(super) which: f64,
    /// Stands for the user while a read-out is computed, so that no ids are held.
    pub(super) key: u128,
}

impl Assigned {
    /// Parts of the SHA-256 of both names, the length of the first before it, so that no two pairs are one text.
    pub(super) fn new(experiment: &str, user_id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((experiment.len() as u64).to_le_bytes());
        hash.update(experiment);
        hash.update(user_id);
        let hash: [u8; 32] = hash.finalize().into();
        let word = |at: usize| {
            let bytes = hash[at..at + 8].try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        // The upper 53 bits: as many as a float holds.
        let unit = |word: u64| (word >> 11) as f64 / (1_u64 << 53) as f64;
        let key = u128::from(word(16)) | u128::from(word(24)) << 64;
        Self { is_in: unit(word(0)), which: unit(word(8)), key }
    }
}
