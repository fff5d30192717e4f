//! The one error type of this crate.

use std::io;
use std::path::PathBuf;

/// What can go wrong with a dataset folder, a vocabulary or an encoder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or folder could not be read, written or renamed.
    #[error("cannot {action} {path:?}")]
    Io {
        /// What was tried, as a verb: `read`, `write`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that we read back is not what its manifest or its own header says.
    #[error("{path:?} is damaged: {reason}; prepare the dataset again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A line of a journal that is not its last one is not what was written.
    #[error("line {line} of {path:?} is not what was written; move the file away to begin again")]
    DamagedJournal {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A file was written by a version that this program does not read.
    #[error(
        "{path:?} has format version {found}, this program reads up to {supported}; \
         use a newer forecart or prepare the dataset again"
    )]
    FormatVersion {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// A folder is not a dataset.
    #[error(
        "{path:?} is not a forecart dataset (no manifest.json); make one with `forecart prepare`"
    )]
    NotADataset {
        /// The folder.
        path: PathBuf,
    },
    /// A folder is not a sample table.
    #[error(
        "{path:?} is not a forecart sample table (no manifest.json); make one with `forecart prepare --samples`"
    )]
    NotASampleTable {
        /// The folder.
        path: PathBuf,
    },
    /// A folder is not an order table.
    #[error(
        "{path:?} is not a forecart order table (no manifest.json); make one with `forecart prepare --task demand`"
    )]
    NotAnOrderTable {
        /// The folder.
        path: PathBuf,
    },
    /// A folder is not an intent table.
    #[error(
        "{path:?} is not a forecart intent table (no manifest.json); make one with `forecart prepare --task support`"
    )]
    NotAnIntentTable {
        /// The folder.
        path: PathBuf,
    },
    /// A folder is not a question table.
    #[error(
        "{path:?} is not a forecart question table (no manifest.json); make one with `forecart prepare --task question`"
    )]
    NotAQuestionTable {
        /// The folder.
        path: PathBuf,
    },
    /// More entries than a 32-bit index can name.
    #[error("{what} has more than 4,294,967,294 entries")]
    TooMany {
        /// What was counted.
        what: &'static str,
    },
    /// An encoder was asked for something its specification does not allow.
    #[error("encoder of column {column:?}: {reason}")]
    Encoder {
        /// The column.
        column: String,
        /// What does not fit, and the fix.
        reason: String,
    },
    /// Parts of a dataset that is being written do not fit each other.
    #[error("dataset parts do not fit: {reason}")]
    Inconsistent {
        /// Which parts, and how.
        reason: String,
    },
}

impl DataError {
    /// An [`DataError::Io`] builder for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// A [`DataError::Damaged`] for a file that cannot be trusted.
    pub fn damaged(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), reason: reason.into() }
    }
}
