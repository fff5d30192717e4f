//! SLIM: sparse linear weights between items, none of them negative.

use std::num::NonZeroU32;

use forecart_data::{History, ItemIdx};
use serde::{Deserialize, Serialize};

use super::contract::FitContext;
use super::interactions::Interactions;
use super::neighbors::Weighting;
use super::related_items::{RelatedItems, RelatedItemsConfig, Speaking, newest_of_each};
use super::search_space::Parameter;
use super::sparse::{Accumulator, ItemMatrix};
use super::view::TrainingView;
use crate::error::ModelError;

/// SLIM with its hyperparameters.
///
/// With `A` the users' choices as ones, each column `j` of the weights `W` minimizes
/// `½ |a_j - A w_j|² + ½ l2 |w_j|² + l1 |w_j|₁` over `w_j ≥ 0` with `w_jj = 0`, by coordinate descent on `Aᵀ A`. The score of item `j` is the
/// sum of `W_ij` over the distinct items `i` of the history.
///
/// Only items that a user chose together with `j` can have a weight, since no product in `Aᵀ A` is negative; others are never
/// looked at, which changes nothing.
///
/// Source: Ning and Karypis, ICDM 2011; coordinate descent as in Friedman, Hastie and Tibshirani, J. Stat. Softw. 33(1), 2010,
/// section 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SlimConfig {
    /// Weights to pull to exactly 0, in users: items that share fewer with another than this have no weight.
    pub l1: f64,
    /// Regularization, in users.
    pub l2: f64,
    /// Passes over the weights of an item, at most.
    pub max_passes: NonZeroU32,
    /// A pass in which no weight moves by more is the last.
    pub tolerance: f64,
}

impl Default for SlimConfig {
    fn default() -> Self {
        let max_passes = NonZeroU32::new(100).expect("100 is not 0");
        Self { l1: 1.0, l2: 10.0, max_passes, tolerance: 1e-4 }
    }
}

/// The weights of every item.
pub type Slim = RelatedItems<SlimConfig>;

/// What the weights of one item are found in.
struct Scratch {
    /// `a_i · (a_j - A w)` of each item `i`; meaningful for candidates alone.
    rest: Vec<f64>,
    weights: Vec<f64>,
}

impl SlimConfig {
    /// The column of weights of `item`, ascending by item.
    fn weights(
        &self,
        products: &ItemMatrix,
        squares: &[f64],
        item: ItemIdx,
        scratch: &mut Scratch,
        output: &mut Vec<(u32, f32)>,
    ) {
        let (cols, values) = products.row(item);
        let pairs = cols.iter().zip(values);
        // A weight begins with a step of (product - l1), and later ones are smaller.
        let pairs =
            pairs.filter(|(col, product)| **col != item.0 && f64::from(**product) > self.l1);
        let candidates: Vec<(u32, f32)> = pairs.map(|(col, product)| (*col, *product)).collect();
        let Scratch { rest, weights } = scratch;
        weights.clear();
        weights.resize(candidates.len(), 0.0);
        for (candidate, product) in &candidates {
            rest[*candidate as usize] = f64::from(*product);
        }
        // Every other pass is over the weights that are not 0 alone, until those stand.
        let mut pass = |only_active: bool, weights: &mut [f64]| {
            let mut largest_move = 0.0_f64;
            for (weight, (candidate, _)) in weights.iter_mut().zip(&candidates) {
                if only_active && *weight == 0.0 {
                    continue;
                }
                let square = squares[*candidate as usize];
                let without = rest[*candidate as usize] + square * *weight;
                let next = (without - self.l1).max(0.0) / (square + self.l2);
                let step = next - *weight;
                if step != 0.0 {
                    let (cols, values) = products.row(ItemIdx(*candidate));
                    for (col, product) in cols.iter().zip(values) {
                        rest[*col as usize] -= step * f64::from(*product);
                    }
                    *weight = next;
                    largest_move = largest_move.max(step.abs());
                }
            }
            largest_move
        };
        let mut n_passes = 0;
        while n_passes < self.max_passes.get() {
            n_passes += 1;
            if pass(false, weights) <= self.tolerance {
                break;
            }
            while n_passes < self.max_passes.get() {
                n_passes += 1;
                if pass(true, weights) <= self.tolerance {
                    break;
                }
            }
        }
        let pairs = candidates.iter().zip(weights.iter());
        let pairs = pairs.filter(|(_, weight)| **weight > 0.0);
        output.extend(pairs.map(|((candidate, _), weight)| (*candidate, *weight as f32)));
    }
}

impl RelatedItemsConfig for SlimConfig {
    const NAME: &'static str = "slim";
    const SEARCH_SPACE: &'static [Parameter] =
        &[Parameter::log("l1", 0.01, 10.0), Parameter::log("l2", 0.1, 1000.0)];
    const PHASE: &'static str = "weights";
    const IF_TOO_LARGE: &'static str = "it holds all pairs of items that a user chose both of: drop the users with the longest histories, or take `item-knn`";

    fn check(&self) -> Result<(), ModelError> {
        for (name, value) in [("l1", self.l1), ("l2", self.l2), ("tolerance", self.tolerance)] {
            if !(value >= 0.0 && value.is_finite()) {
                let reason = format!("{value} is not a number from 0 up");
                return Err(ModelError::hyperparameter(Self::NAME, name, reason));
            }
        }
        Ok(())
    }

    /// The pairs twice while they are put together, the weights that may come of them, and a row for each of 64 threads.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let n_items = view.n_item_rows() as u64;
        let squares = view.users().map(|user| (view.history(user).items.len() as u64).pow(2));
        let n_pairs = squares.sum::<u64>().min(n_items.saturating_mul(n_items));
        Interactions::needed_bytes(view, Weighting::Binary)
            .saturating_add(n_pairs.saturating_mul(8 * 4))
            .saturating_add(n_items * 64 * 16)
    }

    fn relate(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<ItemMatrix, ModelError> {
        let n_item_rows = view.n_item_rows();
        let by_user = Interactions::of(view, Weighting::Binary);
        let by_item = by_user.transposed(n_item_rows);
        let together = |item: ItemIdx, sums: &mut Accumulator, output: &mut Vec<(u32, f32)>| {
            for user in by_item.row(item.row()).0 {
                by_user.row(*user as usize).0.iter().for_each(|other| sums.add(*other, 1.0));
            }
            sums.drain(|other, n_users| output.push((other, n_users as f32)));
            output.sort_unstable_by_key(|(other, _)| *other);
        };
        let new_sums = || Accumulator::new(n_item_rows);
        let products = ItemMatrix::build(n_item_rows, new_sums, together, |_| ());
        let squares: Vec<f64> =
            (0..n_item_rows).map(|item| by_item.row(item).0.len() as f64).collect();
        drop((by_user, by_item));
        let new_scratch = || Scratch { rest: vec![0.0; n_item_rows], weights: Vec::new() };
        let columns = ItemMatrix::build(
            n_item_rows,
            new_scratch,
            |item, scratch, output| {
                if !context.progress.is_cancelled() {
                    self.weights(&products, &squares, item, scratch, output);
                }
            },
            |n| context.progress.advance(n),
        );
        Ok(columns.transposed())
    }

    /// Each distinct item once, at its newest event.
    fn speaking(&self, history: History<'_>) -> Vec<Speaking> {
        newest_of_each(history, usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_items_by_hand() {
        // Of item 2 (2 users) from item 1 (3 users, 2 of them with 2): w = (2 - 0.5) / (3 + 1).
        let config = SlimConfig { l1: 0.5, l2: 1.0, ..SlimConfig::default() };
        let model = Slim::of_users(config, 2, &[&[1, 2], &[2, 1, 1], &[1]]);
        assert_eq!(model.related.get(ItemIdx(1), ItemIdx(2)), 0.375);
        assert_eq!(model.related.get(ItemIdx(2), ItemIdx(1)), 0.5);
        assert_eq!(model.related.get(ItemIdx(1), ItemIdx(1)), 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// The conditions that hold at the minimum and nowhere else: the slope is 0 where there is a weight, not negative where not.
        #[test]
        fn weights_are_at_the_minimum(
            users in prop::collection::vec(prop::collection::vec(1u32..8, 1..9), 2..12),
            l1 in 0.0..1.5,
            l2 in 0.1..5.0,
        ) {
            let max_passes = NonZeroU32::new(10_000).unwrap();
            let config = SlimConfig { l1, l2, max_passes, tolerance: 1e-9 };
            let borrowed: Vec<&[u32]> = users.iter().map(Vec::as_slice).collect();
            let model = Slim::of_users(config, 7, &borrowed);
            let chose = |user: usize, item: u32| f64::from(u8::from(users[user].contains(&item)));
            let weight = |from: u32, to: u32| f64::from(model.related.get(ItemIdx(from), ItemIdx(to)));
            for to in 1..8 {
                for from in (1..8).filter(|from| *from != to) {
                    let slope: f64 = (0..users.len()).map(|user| {
                        let sum: f64 = (1..8).map(|item| weight(item, to) * chose(user, item)).sum();
                        -chose(user, from) * (chose(user, to) - sum)
                    }).sum::<f64>() + l2 * weight(from, to) + l1;
                    let is_zero = weight(from, to) == 0.0;
                    prop_assert!(weight(from, to) >= 0.0);
                    prop_assert!(if is_zero { slope > -1e-5 } else { slope.abs() < 1e-5 }, "{from} {to} {slope}");
                }
            }
        }
    }
}
