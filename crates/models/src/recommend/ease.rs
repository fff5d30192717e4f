//! EASE: linear weights between all items, in closed form.

use std::sync::atomic::{AtomicU64, Ordering};

use forecart_data::{History, ItemIdx};
use forecart_nn::{Matrix, invert};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::contract::FitContext;
use super::interactions::Interactions;
use super::neighbors::Weighting;
use super::related_items::{RelatedItems, RelatedItemsConfig, Speaking, newest_of_each};
use super::search_space::Parameter;
use super::sparse::ItemMatrix;
use super::view::TrainingView;
use crate::error::ModelError;

/// EASE with its hyperparameters.
///
/// With `X` the users' choices as ones, `[n_users, n_items]`, the weights `B` minimize `|X - X B|² + l2 |B|²` with a diagonal of
/// zeros: with `P = (Xᵀ X + l2 I)⁻¹`, `B_ij = -P_ij / P_jj`. The score of item `j` is the sum of `B_ij` over the distinct items `i`
/// of the history; it may be negative.
///
/// Fitting takes `n_items³` operations and two matrices of `n_items²` values of 4 bytes: for 12,101 items 1.2 GB and some ten seconds of
/// two cores, for 50,000 items 20 GB.
///
/// Source: Steck, WWW 2019. We differ: of each item the `n_weights` largest weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EaseConfig {
    /// Regularization, in users: a pair of items that far fewer users share counts little.
    pub l2: f64,
    /// Weights kept of each item of a history, those of the largest magnitude; 0 for all. A weight takes 8 bytes. 1,000 of 12,101 on Amazon
    /// Beauty: NDCG@10 is that of all weights to four digits, HR@10 .0762 in place of .0764.
    pub n_weights: u32,
}

impl Default for EaseConfig {
    fn default() -> Self {
        Self { l2: 500.0, n_weights: 1000 }
    }
}

/// The weights of every item.
pub type Ease = RelatedItems<EaseConfig>;

impl EaseConfig {
    fn n_kept(&self, n_items: usize) -> usize {
        if self.n_weights == 0 { n_items } else { n_items.min(self.n_weights as usize) }
    }

    /// `(Xᵀ X + l2 I)⁻¹` over the known items.
    fn inverse(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<Matrix, ModelError> {
        let n_items = view.n_item_rows() - 1;
        let by_user = Interactions::of(view, Weighting::Binary);
        let by_item = by_user.transposed(view.n_item_rows());
        let mut gram = Matrix::zeros(n_items, n_items);
        let rows = gram.as_mut_slice().par_chunks_mut(n_items.max(1)).enumerate();
        rows.for_each(|(row, sums)| {
            for user in by_item.row(row + 1).0 {
                by_user
                    .row(*user as usize)
                    .0
                    .iter()
                    .for_each(|item| sums[*item as usize - 1] += 1.0);
            }
            sums[row] += self.l2 as f32;
        });
        drop((by_user, by_item));
        // What `invert` tells, in rows of the progress bar.
        let n_done = AtomicU64::new(0);
        let total = (n_items as f64).powi(3) / 2.0;
        let rows = |n_done: u64| (n_done as f64 / total * n_items as f64) as u64;
        let go_on = |n: u64| {
            let before = n_done.fetch_add(n, Ordering::Relaxed);
            context.progress.advance(rows(before + n) - rows(before));
            !context.progress.is_cancelled()
        };
        let inverse = invert(gram, &go_on).map_err(ModelError::training(Self::NAME, None))?;
        inverse.ok_or(ModelError::Cancelled { checkpoint: None })
    }
}

impl RelatedItemsConfig for EaseConfig {
    const NAME: &'static str = "ease";
    const SEARCH_SPACE: &'static [Parameter] = &[Parameter::log("l2", 1.0, 10_000.0)];
    const PHASE: &'static str = "weights";
    const IF_TOO_LARGE: &'static str = "it holds two matrices of all pairs of items: drop rare items (`[prepare] min_item_events`), or take \
         `slim` or `item-knn`, which hold the pairs that occur";
    const SPEAKS_OF_ALL: bool = true;

    fn check(&self) -> Result<(), ModelError> {
        if !(self.l2 as f32 > 0.0 && (self.l2 as f32).is_finite()) {
            let reason = format!("{} is not a positive number", self.l2);
            return Err(ModelError::hyperparameter(Self::NAME, "l2", reason));
        }
        Ok(())
    }

    /// Two matrices over the items, or one and the weights twice.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let n_items = view.n_item_rows() as u64;
        let matrix = n_items.saturating_mul(n_items).saturating_mul(4);
        let weights = n_items.saturating_mul(self.n_kept(view.n_item_rows()) as u64 * 16);
        Interactions::needed_bytes(view, Weighting::Binary)
            .saturating_add(matrix)
            .saturating_add(matrix.max(weights))
    }

    fn relate(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<ItemMatrix, ModelError> {
        let inverse = self.inverse(view, context)?;
        let diagonal: Vec<f32> = (0..inverse.rows()).map(|item| inverse.row(item)[item]).collect();
        let n_kept = self.n_kept(diagonal.len());
        let row = |item: ItemIdx, (): &mut (), weights: &mut Vec<(u32, f32)>| {
            if !item.is_known() {
                return;
            }
            let row = inverse.row(item.row() - 1).iter().zip(&diagonal).zip(1_u32..);
            let others = row.filter(|(_, other)| *other != item.0);
            let of_others = others.map(|((value, diagonal), other)| (other, -value / diagonal));
            weights.extend(of_others.filter(|(_, weight)| *weight != 0.0));
            keep_largest(weights, n_kept);
        };
        Ok(ItemMatrix::build(view.n_item_rows(), || (), row, |_| ()))
    }

    /// Each distinct item once, at its newest event.
    fn speaking(&self, history: History<'_>) -> Vec<Speaking> {
        newest_of_each(history, usize::MAX)
    }
}

/// Keeps the `n` values of the largest magnitude, equal ones by the smaller column, ascending by column.
fn keep_largest(weights: &mut Vec<(u32, f32)>, n: usize) {
    if weights.len() > n {
        weights
            .select_nth_unstable_by(n, |a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        weights.truncate(n);
        weights.sort_unstable_by_key(|(item, _)| *item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::FitOn;
    use crate::testing::{Log, dataset, one_thread, scores};

    #[test]
    fn two_items_by_hand() {
        // XᵀX of items 1 and 2 is [[3, 2], [2, 2]]; with 1 added P = 1/8 [[3, -2], [-2, 4]]: B_12 = 1/2, B_21 = 2/3.
        let config = EaseConfig { l2: 1.0, n_weights: 0 };
        let model = Ease::of_users(config, 4, &[&[1, 2], &[2, 1, 1], &[1], &[3]]);
        let close = |got: f32, want: f32| assert!((got - want).abs() < 1e-6, "{got} {want}");
        close(scores(&model, &[1])[2], 0.5);
        close(scores(&model, &[2, 2])[1], 2.0 / 3.0);
        assert_eq!(scores(&model, &[1])[1], 0.0);
    }

    #[derive(Deserialize)]
    struct Fixture {
        n_items: u32,
        users: Vec<Vec<u32>>,
        ease: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        l2: f64,
        /// `[n_items, n_items]`.
        weights: Vec<f32>,
    }

    /// By `tests/fixtures/make_factors.py`.
    #[test]
    fn weights_equal_the_dense_definition() {
        let fixture = include_str!("../../tests/fixtures/factors.json");
        let fixture: Fixture = serde_json::from_str(fixture).unwrap();
        let users: Vec<&[u32]> = fixture.users.iter().map(Vec::as_slice).collect();
        let (_folder, dataset) = dataset(&Log::new(fixture.n_items, &users).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        for case in fixture.ease {
            let config = EaseConfig { l2: case.l2, n_weights: 0 };
            let model = Ease::fit(config, &view, &one_thread()).unwrap();
            let n_items = fixture.n_items as usize;
            for (place, want) in case.weights.iter().enumerate() {
                let [from, to] =
                    [place / n_items, place % n_items].map(|item| ItemIdx(item as u32 + 1));
                let got = model.related.get(from, to);
                // f32 against f64; the condition number is below 100.
                assert!((got - want).abs() < 1e-5, "{from:?} {to:?}: {got} {want}");
            }
        }
    }

    #[test]
    fn the_largest_weights_are_kept_whatever_their_sign() {
        let users: &[&[u32]] = &[&[1, 2, 3], &[1, 2], &[1, 3, 4], &[2, 4], &[3, 4], &[1, 2, 4]];
        let all = Ease::of_users(EaseConfig { l2: 0.1, n_weights: 0 }, 4, users);
        let one = Ease::of_users(EaseConfig { l2: 0.1, n_weights: 1 }, 4, users);
        for item in 1..=4 {
            let (cols, values) = one.related.row(ItemIdx(item));
            let (all_cols, all_values) = all.related.row(ItemIdx(item));
            assert_eq!((cols.len(), all_cols.len()), (1, 3));
            let largest = all_values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            assert_eq!(values[0].abs(), largest);
        }
        assert!(all.related.iter().any(|(_, _, value)| value < 0.0));
    }
}
