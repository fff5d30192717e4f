//! Implicit alternating least squares: factors of users and items from who chose what.
//!
//! Start at [`IalsConfig`], which says what is minimized; then `solve` (one user or item) and `fit` (the sweeps).

mod config;
mod fit;
mod solve;

use forecart_data::{History, ItemIdx};
use forecart_nn::Matrix;
use serde_json::Value;

pub use config::{Confidence, IalsConfig, IalsSolver};

use self::config::NAME;
use self::solve::{Basis, RowSolver, Side};
use super::contract::{ModelSpec, ScoreScale};
use super::interactions::distinct_items;
use super::popularity::ItemCounts;
use super::vector_model::{Screen, VectorModel};
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// The fitted factors of the items. A user's factors are found from the history when they are asked for.
#[derive(Debug, Clone)]
pub struct Ials {
    config: IalsConfig,
    /// `[n_item_rows, n_factors]`, in the basis in which their Gram matrix is diagonal; zeros for items that nobody chose.
    basis: Basis,
    counts: ItemCounts,
    screen: Screen,
}

impl Ials {
    /// Reads what [`VectorModel::tensors`] gave.
    pub(super) fn load(
        config: IalsConfig,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let n_factors = config.n_factors.get() as usize;
        let vectors = tensors.take_matrix("vectors", n_item_rows, n_factors)?;
        let vectors = Matrix::from_vec(n_item_rows, n_factors, vectors)
            .map_err(ModelError::training(NAME, None))?;
        let spectrum = tensors.take_f32("spectrum", Some(n_factors))?;
        if spectrum.iter().any(|value| *value < 0.0) {
            return Err(ModelError::damaged("the spectrum of a Gram matrix has no negative value"));
        }
        let counts = ItemCounts::load(tensors, n_item_rows)?;
        Ok(Self { config, basis: Basis { vectors, spectrum }, counts, screen: Screen::default() })
    }

    fn side(&self) -> Side<'_> {
        Side::new(&self.config, &self.basis, self.basis.vectors.rows() - 1)
    }

    /// The distinct items of a history with their confidences.
    fn row_of(&self, history: History<'_>) -> (Vec<u32>, Vec<f32>) {
        distinct_items(history, self.basis.vectors.rows()).into_iter().unzip()
    }
}

impl VectorModel for Ials {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn vectors(&self) -> &Matrix {
        &self.basis.vectors
    }

    fn screen(&self) -> &Screen {
        &self.screen
    }

    fn n_dims(&self) -> usize {
        self.basis.vectors.cols()
    }

    fn counts(&self) -> &ItemCounts {
        &self.counts
    }

    fn max_history(&self) -> usize {
        usize::MAX
    }

    /// Estimates of 1 for what is chosen and 0 for the rest, which add up; they are no logarithms.
    fn score_scale(&self) -> ScoreScale {
        ScoreScale::Weight
    }

    fn knows(&self, item: ItemIdx) -> bool {
        let row = item.row();
        item.is_known()
            && row < self.basis.vectors.rows()
            && self.basis.vectors.row(row).iter().any(|value| *value != 0.0)
    }

    /// One step of the sweep over the users: the solution is exact, whatever the solver of the fit.
    fn encode(&self, history: History<'_>) -> Vec<f32> {
        let (items, counts) = self.row_of(history);
        let mut user = vec![0.0; self.n_dims()];
        let solved = RowSolver::default().solve_exactly(&self.side(), &items, &counts, &mut user);
        if solved.is_err() || user.iter().any(|value| !value.is_finite()) {
            // No fit gives factors of which a system overflows; a file could.
            user.fill(0.0);
        }
        user
    }

    /// What each item of the history adds to the score (Hu et al., section 5): the contributions sum to it.
    fn contributions(
        &self,
        history: History<'_>,
        item: ItemIdx,
    ) -> Option<Vec<(usize, ItemIdx, f32)>> {
        let (items, counts) = self.row_of(history);
        let row = self.basis.vectors.row(item.row());
        let shares = RowSolver::default().contributions(&self.side(), &items, &counts, row).ok()?;
        let newest = |because: u32| {
            history.items.iter().rposition(|item| item.0 == because).expect("it is in the history")
        };
        let shares = items.into_iter().zip(shares);
        Some(shares.map(|(item, share)| (newest(item), ItemIdx(item), share)).collect())
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let vectors = &self.basis.vectors;
        tensors.insert_matrix("vectors", vectors.to_host(), vectors.cols());
        tensors.insert("spectrum", TensorData::F32(self.basis.spectrum.clone()));
        self.counts.save(&mut tensors);
        tensors
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use forecart_data::SeenItems;
    use serde::Deserialize;

    use super::*;
    use crate::recommend::interactions::Interactions;
    use crate::recommend::{Fallback, FitOn, Reason, Recommender, TopK, TrainingView};
    use crate::testing::{Log, dataset, one_thread, scores, total_contribution};

    #[derive(Deserialize)]
    struct Fixture {
        n_items: u32,
        users: Vec<Vec<u32>>,
        history: Vec<u32>,
        ials: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        config: IalsConfig,
        /// First values of the items, `[n_items, n_factors]`.
        start: Vec<f32>,
        /// Of each item's factors with each other's after a sweep.
        products: Vec<f64>,
        /// Of each user and of `history`, for the items after the sweep.
        scores: Vec<f64>,
    }

    fn known(items: &[u32]) -> Vec<ItemIdx> {
        items.iter().copied().map(ItemIdx).collect()
    }

    #[track_caller]
    fn assert_close(got: f32, want: f64) {
        // f32 through two systems one after the other.
        assert!((f64::from(got) - want).abs() < 1e-4 * want.abs().max(1.0), "{got} {want}");
    }

    /// By `tests/fixtures/make_factors.py`. Factors have a basis of their own here, so their products are compared.
    #[test]
    fn a_sweep_and_a_fold_in_equal_the_dense_definition() {
        let fixture = include_str!("../../../tests/fixtures/factors.json");
        let fixture: Fixture = serde_json::from_str(fixture).unwrap();
        let n_items = fixture.n_items as usize;
        let borrowed: Vec<&[u32]> = fixture.users.iter().map(Vec::as_slice).collect();
        let (_folder, dataset) = dataset(&Log::new(fixture.n_items, &borrowed).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        for case in fixture.ials {
            let config = case.config;
            let by_user = Interactions::of(&view, config.weighting());
            let by_item = by_user.transposed(n_items + 1);
            let n_factors = config.n_factors.get() as usize;
            let start = [vec![0.0; n_factors], case.start].concat();
            let start = Matrix::from_vec(n_items + 1, n_factors, start).unwrap();
            let mut sweeps = fit::Sweeps::from_items(&config, &by_user, &by_item, start).unwrap();
            sweeps.sweep(&one_thread()).unwrap();
            let counts = ItemCounts::of(&view, NAME).unwrap();
            let model = Ials { config, basis: sweeps.items, counts, screen: Screen::default() };
            let factors = |item: usize| model.basis.vectors.row(item + 1);
            for (place, want) in case.products.iter().enumerate() {
                let [left, right] = [place / n_items, place % n_items].map(factors);
                assert_close(forecart_nn::dot(left, right), *want);
            }
            let histories = fixture.users.iter().chain([&fixture.history]);
            for (history, want) in histories.zip(case.scores.chunks_exact(n_items)) {
                let got = scores(&model, history);
                got[1..].iter().zip(want).for_each(|(got, want)| assert_close(*got, *want));
            }
        }
    }

    fn fitted(config: IalsConfig, n_items: u32, users: &[&[u32]]) -> Ials {
        let (_folder, dataset) = dataset(&Log::new(n_items, users).all_for_training());
        config.fit(&TrainingView::new(&dataset, FitOn::Train), &one_thread()).unwrap().0
    }

    const USERS: &[&[u32]] =
        &[&[1, 2], &[1, 2, 3], &[2, 3, 1], &[4, 5], &[5, 6, 4], &[6, 4], &[1, 3], &[5, 4]];

    #[test]
    fn items_of_one_taste_are_recommended_together_and_every_sweep_lowers_the_loss() {
        let (_folder, dataset) = dataset(&Log::new(7, USERS).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        for solver in [IalsSolver::Cholesky, IalsSolver::Cg] {
            // Two tastes: with as many factors as items, each item would be a taste of its own.
            let n_factors = std::num::NonZeroU32::new(2).unwrap();
            let config = IalsConfig { n_factors, solver, ..IalsConfig::default() };
            let (model, record) = config.fit(&view, &one_thread()).unwrap();
            let losses: Vec<f64> = record.curve.iter().map(|epoch| epoch.train_loss).collect();
            assert_eq!(losses.len(), 20);
            assert!(losses.is_sorted_by(|a, b| a >= b), "{losses:?}");
            let request = TopK::new(NonZeroUsize::new(1).unwrap(), SeenItems::Exclude);
            let first =
                |items: &[u32]| model.recommend(History::of(&known(items)), &request)[0].item;
            assert_eq!(first(&[1, 2]), ItemIdx(3));
            assert_eq!(first(&[6, 5]), ItemIdx(4));
        }
    }

    /// Of fewer choices than factors and of more.
    #[test]
    fn contributions_sum_to_the_score() {
        for n_factors in [2, 64].map(|n| std::num::NonZeroU32::new(n).unwrap()) {
            for confidence in [Confidence::Binary, Confidence::Count] {
                let config = IalsConfig { n_factors, confidence, ..IalsConfig::default() };
                let model = fitted(config, 6, USERS);
                let items = known(&[4, 1, 1, 2, 6]);
                let reasons = model.reasons(History::of(&items), ItemIdx(3), 9);
                let total = total_contribution(&reasons);
                assert!((total - scores(&model, &[4, 1, 1, 2, 6])[3]).abs() < 1e-5);
                assert!(matches!(reasons[0], Reason::Event { position: 2 | 3, .. }), "{reasons:?}");
            }
        }
    }

    /// One item, one user, everybody the same: one factor is all that there is to find. From the fifth sweep on, rounding
    /// made of the others what is not a number, and the fit failed.
    #[test]
    fn a_log_of_users_who_are_alike_is_fitted() {
        const SAME: &[u32] = &[1, 2, 3];
        let logs: [&[&[u32]]; 5] =
            [&[&[1]], &[&[1], &[1], &[1]], &[&[1, 1, 1]], &[SAME], &[SAME; 30]];
        for users in logs {
            for n_factors in [1, 4, 128].map(|n| std::num::NonZeroU32::new(n).unwrap()) {
                for solver in [IalsSolver::Cholesky, IalsSolver::Cg] {
                    let config = IalsConfig { n_factors, solver, ..IalsConfig::default() };
                    let scores = scores(&fitted(config, 3, users), &[1]);
                    let has_others = users[0].contains(&2);
                    assert!((0.5..1.1).contains(&scores[1]), "{users:?} {config:?}: {scores:?}");
                    for other in &scores[2..] {
                        assert!((*other > 0.5) == has_others, "{users:?} {config:?}: {scores:?}");
                    }
                }
            }
        }
    }

    /// Regularization is what bounds factors; where it does not, the error says so.
    #[test]
    fn factors_that_overflow_name_what_bounds_them() {
        let mut model = fitted(IalsConfig::default(), 6, USERS);
        model.basis.vectors.fill(f32::NAN);
        let mut solution = vec![0.0; model.n_dims()];
        let solved = RowSolver::default().solve_exactly(&model.side(), &[1, 2], &[], &mut solution);
        let turned = Basis::default().become_of(&model.basis.vectors).map(|_| 0.0);
        for error in [solved.unwrap_err(), turned.unwrap_err()] {
            assert!(error.to_string().contains("a larger `l2` bounds it"), "{error}");
        }
    }

    #[test]
    fn an_item_that_nobody_chose_says_nothing() {
        let model = fitted(IalsConfig::default(), 7, USERS);
        let history = [ItemIdx(7)];
        assert_eq!(model.fallback(History::of(&history)), Some(Fallback::NothingKnown));
        assert_eq!(scores(&model, &[7]), scores(&model, &[]));
    }

    #[test]
    fn a_file_with_factors_that_overflow_gives_finite_scores() {
        let mut model = fitted(IalsConfig::default(), 6, USERS);
        model.basis.vectors.fill(3e38);
        assert!(scores(&model, &[1, 2]).iter().all(|score| score.is_finite()));
    }
}
