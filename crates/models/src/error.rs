//! The one error type of this crate.

use std::path::PathBuf;

use forecart_data::DataError;
use forecart_nn::NnError;
use forecart_text::TextError;

use crate::model_file::Distrust;
use crate::training::Divergence;

/// What can go wrong when a model is chosen, fitted, stored or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A dataset or a file could not be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A layer, a loss or an optimizer refused its input.
    #[error("training of {model} failed{}", at_epoch(*.epoch))]
    Training {
        /// Name of the model.
        model: &'static str,
        /// The epoch, from 1, if training had begun.
        epoch: Option<usize>,
        /// What was refused.
        source: NnError,
    },
    /// A loss or a gradient is not finite, or the loss grew past that of untrained weights. The same run diverges
    /// again; nothing of it was kept.
    #[error("training of {model} diverged {divergence}")]
    Diverged {
        /// Name of the model.
        model: &'static str,
        /// Where, and what is known of why.
        divergence: Box<Divergence>,
    },
    /// There are more examples than can be counted.
    #[error("{n_examples} training examples of model {model} are more than {}", u32::MAX)]
    TooManyExamples {
        /// Name of the model.
        model: &'static str,
        /// How many there are.
        n_examples: usize,
    },
    /// A checkpoint belongs to a run that would have another result.
    #[error(
        "the checkpoint {path:?} is of another run: {}; train as then to go on from it, or delete it (`--restart`) \
         to train from the beginning", .differences.join(", ")
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs, with both values.
        differences: Vec<String>,
    },
    /// Bytes that are not a checkpoint, or a damaged one.
    #[error(
        "{path:?} is not a whole checkpoint: {reason}; delete it (`--restart`) to train from the beginning"
    )]
    DamagedCheckpoint {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// No model has this name.
    #[error("unknown model {name:?}{}; known models: {}", did_you_mean(.suggestion), .known.join(", "))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The known name nearest to it.
        suggestion: Option<String>,
        /// All names.
        known: Vec<&'static str>,
    },
    /// A model has no hyperparameter of this name.
    #[error("model {model} has no hyperparameter {key:?}{}; it has: {}",
        did_you_mean(.suggestion), list_or_none(.known))]
    UnknownKey {
        /// Name of the model.
        model: &'static str,
        /// The key found.
        key: String,
        /// The known key nearest to it.
        suggestion: Option<String>,
        /// All keys of the model.
        known: Vec<String>,
    },
    /// A hyperparameter has a value that the model cannot work with.
    #[error("hyperparameter {name} of model {model}: {reason}")]
    Hyperparameter {
        /// Name of the model.
        model: &'static str,
        /// Name of the hyperparameter; empty if the value as a whole is at fault.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// A model that counts days was asked to learn from a log without times.
    #[error(
        "model {model} counts days back from the newest event, but this dataset has an order and no \
         times; use `popularity`, or prepare the dataset from a log with a timestamp column"
    )]
    NeedsTime {
        /// Name of the model.
        model: &'static str,
    },
    /// A model that compares what the catalog says was asked to learn from a dataset without one.
    #[error(
        "model {model} compares titles and categorical attributes of the items, but this dataset has none; \
         import the log with an item catalog (`data.items`) and prepare it again"
    )]
    NeedsCatalog {
        /// Name of the model.
        model: &'static str,
    },
    /// There is nothing to learn from.
    #[error(
        "the part of the dataset that model {model} may learn from has no event of a known item"
    )]
    NoEvents {
        /// Name of the model.
        model: &'static str,
    },
    /// All samples that a model may learn from have one label.
    #[error(
        "model {model} has nothing to tell apart: of {n_rows} training samples {n_positive} are positive; check the label column and the split"
    )]
    NoLabels {
        /// Name of the model.
        model: &'static str,
        /// Training samples.
        n_rows: usize,
        /// Those whose label is 1.
        n_positive: usize,
    },
    /// No column of a sample table can be learned from.
    #[error("model {model} has nothing to learn from: no column of the samples is a feature")]
    NoFeatures {
        /// Name of the model.
        model: &'static str,
    },
    /// A sample table has not the columns that a model is for.
    #[error("model {model} is not for this table: {reason}")]
    NotForTable {
        /// Name of the model.
        model: &'static str,
        /// What is missing, and what would do.
        reason: String,
    },
    /// A model that reads its samples several times in any order was asked to learn from a stream.
    #[error(
        "model {model} learns from a sample table: make one with `forecart prepare --samples`, or train `ftrl`, which learns from rows \
         as they come"
    )]
    NeedsTable {
        /// Name of the model.
        model: String,
    },
    /// Rows that no probabilities can be fitted to, or a fit that is none.
    #[error("probabilities cannot be calibrated: {reason}")]
    Calibration {
        /// What does not fit.
        reason: String,
    },
    /// Units sold that no demand can be forecast from.
    #[error("demand cannot be forecast: {reason}")]
    Demand {
        /// What does not fit.
        reason: String,
    },
    /// Texts that no intents can be learned from.
    #[error("intents cannot be learned: {reason}")]
    Intents {
        /// What does not fit, and what would do.
        reason: String,
    },
    /// A question table that nothing can be learned from.
    #[error("questions cannot be learned: {reason}")]
    Questions {
        /// What is missing, and what would do.
        reason: String,
    },
    /// A pipeline of texts cannot be made.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Training would need more memory than it may use.
    #[error(
        "training {model} needs about {needed_mb} MB, the memory limit is {limit_mb} MB; {hint}"
    )]
    Memory {
        /// Name of the model.
        model: &'static str,
        /// The estimate, in MB of 10^6 bytes.
        needed_mb: u64,
        /// The limit, in MB of 10^6 bytes.
        limit_mb: u64,
        /// Which hyperparameters lower the need.
        hint: &'static str,
    },
    /// The user asked to stop.
    #[error("training was cancelled; {}", kept(.checkpoint))]
    Cancelled {
        /// Where the run saved itself, if it did: it goes on from there.
        checkpoint: Option<PathBuf>,
    },
    /// A thread pool could not be made.
    #[error("cannot start {n_threads} threads: {reason}")]
    Threads {
        /// How many were asked for.
        n_threads: usize,
        /// What the system said.
        reason: String,
    },
    /// An id that has to be known is not.
    #[error("item {id:?} is not in the vocabulary of this model")]
    UnknownItem {
        /// The external id.
        id: String,
    },
    /// Bytes that are not a model file, or a damaged one.
    #[error("{path:?} is not a whole model file: {reason}")]
    Damaged {
        /// The file, or `model file` for bytes in memory.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A model file is not of who is trusted.
    #[error("{path:?} is refused: {reason}")]
    Refused {
        /// The file, or `model file` for bytes in memory.
        path: PathBuf,
        /// Why, and what would do.
        reason: Distrust,
    },
    /// A text or a file that should be a key of signatures and is none.
    #[error("{source_of} is no key: {reason}")]
    Key {
        /// Where it stands. The text itself is not here: it could be a secret.
        source_of: String,
        /// What does not fit, and what would do.
        reason: String,
    },
    /// A model file is for another task than is asked of it.
    #[error("{path:?} is a model for the task {found:?}, this needs one for {expected}")]
    OtherTask {
        /// The file.
        path: PathBuf,
        /// Its task.
        found: String,
        /// The tasks that would do.
        expected: &'static str,
    },
    /// A model file was written by a version that this program does not read.
    #[error(
        "{path:?} has model format version {found} (written by forecart {forecart_version}), this \
         program reads up to {supported}; use that version of forecart or a newer one, or train again"
    )]
    FormatVersion {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
        /// The program that wrote it.
        forecart_version: String,
    },
}

impl ModelError {
    /// A [`ModelError::Hyperparameter`].
    pub(crate) fn hyperparameter(
        model: &'static str,
        name: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Hyperparameter { model, name: name.into(), reason: reason.into() }
    }

    /// A [`ModelError::Damaged`] of bytes whose file is not known here.
    pub(crate) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged { path: PathBuf::from("model file"), reason: reason.into() }
    }

    /// A builder of [`ModelError::Training`] for `map_err`.
    pub(crate) fn training(
        model: &'static str,
        epoch: impl Into<Option<usize>>,
    ) -> impl FnOnce(NnError) -> Self {
        let epoch = epoch.into();
        move |source| Self::Training { model, epoch, source }
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!(", did you mean {name:?}?")).unwrap_or_default()
}

fn kept(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("the same command goes on from the checkpoint {path:?}"),
        None => "nothing was written".to_owned(),
    }
}

fn list_or_none(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn at_epoch(epoch: Option<usize>) -> String {
    epoch.map(|epoch| format!(" in epoch {epoch}")).unwrap_or_default()
}

/// The candidate nearest to `name`, if any is near enough to be what was meant.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let similar = |candidate: &str| strsim::jaro_winkler(name, candidate);
    let best = candidates
        .into_iter()
        .map(|candidate| (similar(candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)));
    best.filter(|(similarity, _)| *similarity >= 0.75).map(|(_, candidate)| candidate.to_owned())
}
