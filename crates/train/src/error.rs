//! The one error type of this crate.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use forecart_data::DataError;
use forecart_eval::EvalError;
use forecart_models::ModelError;

/// What can go wrong between a dataset and a measured model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A model could not be chosen, fitted or read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model could not be measured.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A trained model was to be measured on a dataset that is not the one it learned from.
    #[error(
        "model {model} was trained on the dataset {trained_on:.12}, not on {measured_on:.12}: what it \
         learned from may be what it would be tested on; train it again on this dataset"
    )]
    OtherDataset {
        /// The model's name.
        model: String,
        /// Content hash in the model file.
        trained_on: String,
        /// Content hash of the dataset at hand.
        measured_on: String,
    },
    /// A trained model was to be measured on the validation part, which it has learned from.
    #[error(
        "{model} has learned from the validation part, and there is no other to measure it on: prepare the texts again with a test part, or train with \
         --fit-on train"
    )]
    LearnedFrom {
        /// The model's name.
        model: String,
    },
    /// Impressions from which no other policy can be judged.
    #[error("the impressions cannot be used: {reason}")]
    Impressions {
        /// What is wrong.
        reason: String,
    },
    /// A model whose training cannot be put against the operations that it takes.
    #[error(
        "nobody counts the operations of training {model}; choose a sequence model, such as sasrec"
    )]
    NotCounted {
        /// The model's name.
        model: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A model that has nothing to tune.
    #[error("{model} has no hyperparameters to search; {instead}")]
    NothingToTune {
        /// The model's name.
        model: &'static str,
        /// What to do.
        instead: String,
    },
    /// The journal of a search is that of another one.
    #[error(
        "{path:?} holds another search: {reason}; choose another folder, or start again with --restart"
    )]
    OtherSearch {
        /// The journal.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// The user asked a search to stop.
    #[error(
        "stopped; the finished trials stand in {path:?}, and the same command goes on from there"
    )]
    SearchStopped {
        /// The journal.
        path: PathBuf,
    },
    /// A search cannot go on.
    #[error("the search: {reason}")]
    Search {
        /// Why.
        reason: String,
    },
    /// The threads could not be started.
    #[error("cannot start {n_threads} threads: {reason}")]
    Threads {
        /// How many were asked for.
        n_threads: NonZeroUsize,
        /// What the system said.
        reason: String,
    },
}
