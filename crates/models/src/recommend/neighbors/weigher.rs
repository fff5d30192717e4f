//! From ratings to weights: what stands in a row when it is compared.

use super::Interactions;
use super::keys::{NeighborKeys, Similarity, Weighting};

/// What is known of all rows that decides about the weights of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Weigher {
    keys: NeighborKeys,
    /// Of each feature, `[n_features]`: its `idf` under TF-IDF and BM25, its mean rating under adjusted cosine, else
    /// empty.
    of_features: Vec<f64>,
    /// Mean over the rows of the sum of a row's ratings, for BM25.
    mean_length: f64,
}

impl Weigher {
    /// Of `ratings`, rows over `n_features`.
    pub(super) fn of(keys: NeighborKeys, ratings: &Interactions, n_features: usize) -> Self {
        let mut counts = vec![0.0_f64; n_features];
        let mut sums = vec![0.0_f64; n_features];
        for (place, feature) in ratings.cols.iter().enumerate() {
            counts[*feature as usize] += 1.0;
            sums[*feature as usize] += ratings.values.get(place).map_or(1.0, |x| f64::from(*x));
        }
        let n_rows = (0..ratings.n_rows()).filter(|row| !ratings.row(*row).0.is_empty()).count();
        let n_rows = (n_rows as f64).max(1.0);
        let mean_length = sums.iter().sum::<f64>() / n_rows;
        let of_features = match (keys.weighting, keys.similarity) {
            (Weighting::TfIdf | Weighting::Bm25, _) => {
                counts.iter().map(|count| n_rows.ln() - count.ln_1p()).collect()
            }
            (_, Similarity::AdjustedCosine) => {
                counts.iter().zip(&sums).map(|(count, sum)| sum / count.max(1.0)).collect()
            }
            _ => Vec::new(),
        };
        Self { keys, of_features, mean_length }
    }

    /// Whether all weights are 1.
    pub(super) fn is_binary(&self) -> bool {
        self.keys.weighting == Weighting::Binary
    }

    /// The weights of a row with these features and ratings, all 1 where there are none.
    pub(super) fn weigh(&self, features: &[u32], ratings: &[f32], weights: &mut Vec<f32>) {
        let rating = |place: usize| ratings.get(place).map_or(1.0, |rating| f64::from(*rating));
        let length: f64 = (0..features.len()).map(rating).sum();
        let mean = length / features.len().max(1) as f64;
        let NeighborKeys { bm25_k1: k1, bm25_b: b, .. } = self.keys;
        let k = k1 * (1.0 - b + b * length / self.mean_length.max(f64::MIN_POSITIVE));
        weights.clear();
        weights.extend(features.iter().enumerate().map(|(place, feature)| {
            let rating = rating(place);
            let of_feature = || self.of_features[*feature as usize];
            let weight = match (self.keys.weighting, self.keys.similarity) {
                (Weighting::Binary, _) => 1.0,
                (Weighting::TfIdf, _) => rating.sqrt() * of_feature().max(0.0),
                (Weighting::Bm25, _) => rating * (k1 + 1.0) / (k + rating) * of_feature().max(0.0),
                (_, Similarity::Pearson) => rating - mean,
                (_, Similarity::AdjustedCosine) => rating - of_feature(),
                _ => rating,
            };
            weight as f32
        }));
    }

    /// The weights of all rows.
    pub(super) fn weigh_all(&self, mut ratings: Interactions) -> Interactions {
        if self.is_binary() {
            return ratings;
        }
        let mut all = Vec::with_capacity(ratings.cols.len());
        let mut weights = Vec::new();
        for row in 0..ratings.n_rows() {
            let (features, of_row) = ratings.row(row);
            self.weigh(features, of_row, &mut weights);
            all.extend_from_slice(&weights);
        }
        ratings.values = all;
        ratings
    }
}
