//! Why a model is not served.

use std::path::PathBuf;

use forecart_models::ModelError;

use crate::store::StoreError;

/// Why a model is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServedModelError {
    /// The file cannot be read, or is damaged.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No file has this version.
    #[error("no file holds version {version:?} of {slot:?}; there are: {known}")]
    UnknownVersion {
        /// The slot asked for.
        slot: String,
        /// The version asked for.
        version: String,
        /// Those there are.
        known: String,
    },
    /// Several files begin like this.
    #[error("several versions of {slot:?} begin with {version:?}: write more of it")]
    Ambiguous {
        /// The slot asked for.
        slot: String,
        /// The version asked for.
        version: String,
    },
    /// The version is in a file that is not of who is trusted.
    #[error("{reason}")]
    Refused {
        /// Which file, why, and what would do.
        reason: String,
    },
    /// There is nothing to go back to.
    #[error("{slot:?} has no earlier version to go back to")]
    NothingEarlier {
        /// The slot asked for.
        slot: String,
    },
}
