//! Whose files are loaded.

use std::fs::File;
use std::path::{Path, PathBuf};

use forecart_data::DataError;

use super::keys::{KeyId, VerifyingKey};
use super::signature;
use crate::error::ModelError;

/// Why a model file is refused though it may be whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// It has no signature.
    #[error("it is not signed; sign it by `forecart model sign FILE --key KEY`")]
    Unsigned,
    /// What stands in the place of its signature is none.
    #[error(
        "its signature cannot be read, so it was altered; take the original, or train and sign again"
    )]
    Illegible,
    /// It is signed by a key that is not trusted.
    #[error(
        "it is signed by the key {key_id}, which is not trusted; sign it by a trusted key, or trust the public key of {key_id}"
    )]
    UnknownKey {
        /// The key that it names.
        key_id: KeyId,
    },
    /// Its signature is not of its content.
    #[error(
        "its signature by the key {key_id} is not of its content, so it was altered after it was signed; take the original, or train and sign again"
    )]
    Altered {
        /// The key that it names.
        key_id: KeyId,
    },
}

/// Whose files are loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Everybody's, signed or not: signatures are not looked at.
    #[default]
    Any,
    /// Those that are signed by one of these keys.
    Keys(Vec<VerifyingKey>),
}

impl Trust {
    /// Only files of these keys; where there is none, everybody's.
    pub fn of(keys: Vec<VerifyingKey>) -> Self {
        if keys.is_empty() { Self::Any } else { Self::Keys(keys) }
    }

    /// The key that has signed the bytes of a file; `None` where everybody is trusted.
    ///
    /// # Errors
    /// [`ModelError::Refused`].
    pub fn check(&self, bytes: &[u8]) -> Result<Option<KeyId>, ModelError> {
        let Self::Keys(keys) = self else { return Ok(None) };
        let mut bytes = bytes;
        let verified = signature::verified(&mut bytes, keys).expect("bytes in memory can be read");
        verified
            .map(Some)
            .map_err(|reason| ModelError::Refused { path: PathBuf::from("model file"), reason })
    }

    /// The same of a file, which is read in pieces. What is loaded afterwards may be another file: loading checks the bytes that it loads.
    ///
    /// # Errors
    /// [`ModelError::Refused`]; [`ModelError::Data`] if it cannot be read.
    pub fn check_file(&self, path: &Path) -> Result<Option<KeyId>, ModelError> {
        let Self::Keys(keys) = self else { return Ok(None) };
        let io = |error| DataError::io("read", path)(error);
        let mut file = File::open(path).map_err(io)?;
        let verified = signature::verified(&mut file, keys).map_err(io)?;
        verified.map(Some).map_err(|reason| ModelError::Refused { path: path.to_owned(), reason })
    }
}
