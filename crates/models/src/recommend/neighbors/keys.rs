//! The hyperparameters that item-kNN and user-kNN share.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// How alike two rows `a` and `b` are: items over the users, or users over the items. An entry that is not there is 0;
/// `s` is the shrinkage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Similarity {
    /// `a · b / (|a| |b| + s)`. Source: Sarwar et al., WWW 2001, section 3.1.1.
    #[default]
    Cosine,
    /// `a · b`: for weights that carry their own normalization, such as BM25.
    Dot,
    /// `a · b / (|a|² + |b|² - a · b + s)`; of binary rows `|a ∩ b| / (|a ∪ b| + s)`.
    /// Source: Jaccard 1901; for weights Tanimoto, IBM Technical Report, 1958.
    Jaccard,
    /// `Σ (a - ā)(b - b̄) / (√Σ (a - ā)² √Σ (b - b̄)² + s)`, sums over the features that both have, `ā` the mean of what
    /// `a` has. Source: Sarwar et al., WWW 2001, section 3.1.2; of users Resnick et al., CSCW 1994.
    Pearson,
    /// The same with the mean of the feature in place of that of the row: of items each user's mean rating, of users each
    /// item's. Source: Sarwar et al., WWW 2001, section 3.1.3.
    AdjustedCosine,
}

impl Similarity {
    /// Whether means are taken off and both norms are of the shared features alone.
    pub(super) fn is_centered(self) -> bool {
        matches!(self, Self::Pearson | Self::AdjustedCosine)
    }
}

/// What stands in a row. The rating of a user and an item is 1, or the number of their events, or the sum of the values
/// of these (1 in a log without values).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// 1, however often.
    #[default]
    Binary,
    /// How often the user chose the item.
    Count,
    /// The sum of the values of the events: a rating, or units bought.
    Value,
    /// `√n · idf`, with `n` the count and `idf = ln N - ln(1 + N_f)`, where `N_f` of the `N` rows have feature `f`.
    TfIdf,
    /// `n (k1 + 1) / (k1 (1 - b + b L / L̄) + n) · idf`, with `L` the sum of the row's counts and `L̄` the mean of these.
    /// Source: Robertson and Zaragoza, FnTIR 3(4), 2009, equation 3.15; `idf` as above.
    Bm25,
}

/// What decides about neighbors.
///
/// Each thing keeps its `n_neighbors` most similar ones of a similarity above 0 (equal ones: the smaller index).
/// Weights whose `idf` is not above 0 (a feature that nearly all rows have) are left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NeighborKeys {
    /// Neighbors kept for each row.
    pub n_neighbors: NonZeroU32,
    /// How rows are compared. `pearson` and `adjusted-cosine` need ratings that differ: `weighting` must be `count` or
    /// `value`. With few features in common they are near 1 or -1 by chance: a shrinkage is in place.
    pub similarity: Similarity,
    /// What counts. Binary: how often somebody bought a thing says little about what else they
    /// want.
    pub weighting: Weighting,
    /// Added to the denominator; pulls down pairs that few features support. 0 is off. `dot` has no denominator.
    pub shrinkage: f64,
    /// How slowly repeats saturate in `bm25`. Source of both defaults: Manning et al., Introduction to Information
    /// Retrieval, 2008, section 11.4.3.
    pub bm25_k1: f64,
    /// How much a long row is held against it in `bm25`, in `0.0..=1.0`.
    pub bm25_b: f64,
}

impl Default for NeighborKeys {
    fn default() -> Self {
        Self {
            n_neighbors: NonZeroU32::new(100).expect("100 is not 0"),
            similarity: Similarity::Cosine,
            weighting: Weighting::Binary,
            shrinkage: 0.0,
            bm25_k1: 1.2,
            bm25_b: 0.75,
        }
    }
}

impl NeighborKeys {
    /// Refuses values outside of their ranges, for `model`.
    pub(super) fn check(&self, model: &'static str) -> Result<(), ModelError> {
        let refuse =
            |key: &str, reason: String| Err(ModelError::hyperparameter(model, key, reason));
        for (key, value) in [("shrinkage", self.shrinkage), ("bm25_k1", self.bm25_k1)] {
            if !(value >= 0.0 && value.is_finite()) {
                return refuse(key, format!("{value} is not a number from 0 up"));
            }
        }
        if !(0.0..=1.0).contains(&self.bm25_b) {
            return refuse("bm25_b", format!("{} is not in 0.0..=1.0", self.bm25_b));
        }
        if self.similarity == Similarity::Dot && self.shrinkage > 0.0 {
            return refuse("shrinkage", "similarity dot has no denominator to add it to".into());
        }
        let has_ratings = matches!(self.weighting, Weighting::Count | Weighting::Value);
        if self.similarity.is_centered() && !has_ratings {
            let reason =
                "pearson and adjusted-cosine compare ratings that differ; set weighting to \
                          count or value"
                    .into();
            return refuse("similarity", reason);
        }
        Ok(())
    }

    /// Bytes of an entry of the rows and of one of their transpose.
    pub(super) fn bytes_per_event(&self) -> u64 {
        if self.weighting == Weighting::Binary { 8 } else { 20 }
    }

    /// Bytes that threads hold for each row that is compared: 16 threads, or fewer with larger sums.
    pub(super) fn scratch_bytes_per_row(&self) -> u64 {
        if self.weighting == Weighting::Binary { 8 * 16 } else { 20 * 16 }
    }
}
