//! The one error type of this crate.

use std::fmt;
use std::io;
use std::path::PathBuf;

use datafusion::error::DataFusionError;
use forecart_data::DataError;

use crate::log::Rejected;

/// What can go wrong between a shop's log and a dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path:?}")]
    Io {
        /// What was tried, as a verb: `read`, `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration contradicts itself or names what does not exist.
    #[error("{key}: {reason}")]
    Config {
        /// The key, as in `data.time_zone`.
        key: String,
        /// What is wrong, and the fix.
        reason: String,
    },
    /// The configuration is not the TOML that this program reads.
    #[error("configuration: {0}")]
    Toml(Box<toml::de::Error>),
    /// An input as a whole cannot be read: not a matter of single rows.
    #[error("{place}: {reason}; {fix}")]
    Input {
        /// Which file, line and field.
        place: Place,
        /// What was found.
        reason: String,
        /// What to do about it.
        fix: String,
    },
    /// More rows were rejected than the configuration allows.
    #[error(
        "{n_rejected} of {n_read} rows are bad, more than the allowed share {allowed} \
         (`data.max_bad_rows`):{}",
        listed(rejected)
    )]
    TooManyBadRows {
        /// Rows that were read.
        n_read: u64,
        /// Rows among them that were rejected.
        n_rejected: u64,
        /// The share that is allowed.
        allowed: f64,
        /// The rejected rows by reason, with examples.
        rejected: Vec<Rejected>,
    },
    /// Data that was read whole does not allow the step that was asked for.
    #[error("{step}: {reason}")]
    Unusable {
        /// The step, as in `prepare split`.
        step: &'static str,
        /// What does not fit, and the fix.
        reason: String,
    },
    /// A folder is not an event log.
    #[error("{path:?} is not an event log (no log.json); make one with `forecart import`")]
    NotALog {
        /// The folder.
        path: PathBuf,
    },
    /// The user asked to stop.
    #[error("stopped; what stood before is unchanged")]
    Cancelled,
    /// A part of a dataset or log could not be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The query engine failed.
    #[error("query engine: {0}")]
    Engine(Box<DataFusionError>),
}

/// Where in the inputs something was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was given.
    pub file: PathBuf,
    /// Line from 1 (row from 1 in Parquet), if it is about one.
    pub line: Option<u64>,
    /// Column, by the file's own name.
    pub field: Option<String>,
}

impl Place {
    /// A file as a whole.
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), line: None, field: None }
    }

    /// The same file at a line.
    #[must_use]
    pub fn line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// The same place in a column.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ", column {field:?}")?;
        }
        Ok(())
    }
}

impl PrepareError {
    /// A [`PrepareError::Io`] builder for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// A [`PrepareError::Config`].
    pub fn config(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { key: key.into(), reason: reason.into() }
    }

    /// A [`PrepareError::Input`].
    pub fn input(place: Place, reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Input { place, reason: reason.into(), fix: fix.into() }
    }

    /// Whether the data is at fault, not the machine, the usage or the program (exit code 3).
    pub fn is_data_invalid(&self) -> bool {
        match self {
            Self::Input { .. } | Self::TooManyBadRows { .. } | Self::Unusable { .. } => true,
            Self::Data(error) => !matches!(error, DataError::Io { .. }),
            _ => false,
        }
    }

    /// Whether the configuration or the command is at fault (exit code 2).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Config { .. } | Self::Toml(_) | Self::NotALog { .. })
    }
}

impl From<DataFusionError> for PrepareError {
    fn from(error: DataFusionError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl From<datafusion::arrow::error::ArrowError> for PrepareError {
    fn from(error: datafusion::arrow::error::ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<parquet::errors::ParquetError> for PrepareError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<toml::de::Error> for PrepareError {
    fn from(error: toml::de::Error) -> Self {
        Self::Toml(Box::new(error))
    }
}

fn listed(rejected: &[Rejected]) -> String {
    let lines = rejected.iter().flat_map(|group| {
        let head = format!("\n  {} x {}; {}", group.n_rows, group.reason, group.fix);
        let examples = group.examples.iter().map(|row| format!("\n    {row}"));
        std::iter::once(head).chain(examples)
    });
    lines.collect()
}
