//! The sweeps.

use forecart_data::History;
use forecart_nn::{Init, Matrix, NnError, dot, multiply};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::Ials;
use super::config::{IalsConfig, IalsSolver, NAME};
use super::solve::{Basis, RowSolver, Side};
use crate::error::ModelError;
use crate::recommend::contract::{EpochRecord, FitContext, FitRecord};
use crate::recommend::early_stopping::Validation;
use crate::recommend::interactions::{Interactions, distinct_items};
use crate::recommend::popularity::ItemCounts;
use crate::recommend::vector_model::Screen;
use crate::recommend::view::TrainingView;
use crate::training::Measure;

/// Rows that a thread solves at a time.
const PIECE: usize = 32;

pub(super) fn fit(
    config: &IalsConfig,
    view: &TrainingView<'_>,
    context: &FitContext<'_>,
) -> Result<(Ials, FitRecord), ModelError> {
    let counts = ItemCounts::of(view, NAME)?;
    let by_user = Interactions::of(view, config.weighting());
    if by_user.n_stored() == 0 {
        return Err(ModelError::NoEvents { model: NAME });
    }
    let by_item = by_user.transposed(view.n_item_rows());
    let validation = Validation::of(view, usize::MAX);
    let n_epochs = config.n_epochs.get() as usize;
    let n_rows = (by_user.n_rows() + by_item.n_rows()) as u64;
    context.progress.begin(&format!("training {NAME}"), Some(n_rows * n_epochs as u64));

    let failed = |epoch: usize| ModelError::training(NAME, Some(epoch));
    let mut sweeps = Sweeps::new(config, &by_user, &by_item, context.seed).map_err(failed(1))?;
    let mut record = FitRecord::default();
    let mut best: Option<(f64, Basis)> = None;
    for epoch in 1..=n_epochs {
        let loss = sweeps.sweep(context).map_err(failed(epoch))?;
        context.check_cancelled()?;
        if !loss.is_finite() {
            let what = "loss of a sweep (a larger `l2` bounds it)";
            return Err(failed(epoch)(NnError::NonFinite { what, value: loss }));
        }
        let ndcg = match &validation {
            Some(validation) => Some(sweeps.ndcg(validation).map_err(failed(epoch))?),
            None => None,
        };
        record.curve.push(EpochRecord::new(epoch, loss, Measure::Ndcg, ndcg));
        context.progress.epoch_ended(epoch, ndcg);
        let of_validation =
            ndcg.map(|ndcg| format!(", validation NDCG@10 {ndcg:.4}")).unwrap_or_default();
        context
            .progress
            .note(&format!("epoch {epoch} of {n_epochs}: loss {loss:.4}{of_validation}"));
        let is_better = ndcg.is_none_or(|ndcg| best.as_ref().is_none_or(|(best, _)| ndcg > *best));
        if is_better {
            record.chosen_epoch = Some(epoch);
            best = ndcg.map(|ndcg| (ndcg, sweeps.items.clone()));
        } else if epoch - record.chosen_epoch.unwrap_or(epoch) >= config.patience.get() as usize {
            break;
        }
    }
    let basis = best.map_or(sweeps.items, |(_, basis)| basis);
    Ok((Ials { config: *config, basis, counts, screen: Screen::default() }, record))
}

/// The factors between two sweeps.
pub(super) struct Sweeps<'a> {
    config: &'a IalsConfig,
    by_user: &'a Interactions,
    by_item: &'a Interactions,
    /// Users with a choice.
    n_users: usize,
    /// As they were solved.
    users: Matrix,
    /// The same in their basis, for which items are solved.
    users_basis: Basis,
    /// From that basis to the one of the items, in which the next sweep begins.
    turn: Option<Matrix>,
    /// Items as they were solved.
    solved_items: Matrix,
    pub(super) items: Basis,
}

impl<'a> Sweeps<'a> {
    pub(super) fn new(
        config: &'a IalsConfig,
        by_user: &'a Interactions,
        by_item: &'a Interactions,
        seed: u64,
    ) -> Result<Self, NnError> {
        let n_factors = config.n_factors.get() as usize;
        let std_dev = (config.init_scale / (n_factors as f64).sqrt()) as f32;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let items =
            Init::TruncatedNormal { std_dev }.matrix(by_item.n_rows(), n_factors, &mut rng)?;
        Self::from_items(config, by_user, by_item, items)
    }

    /// From first values of the items' factors.
    pub(super) fn from_items(
        config: &'a IalsConfig,
        by_user: &'a Interactions,
        by_item: &'a Interactions,
        mut items: Matrix,
    ) -> Result<Self, NnError> {
        items.row_mut(0).fill(0.0); // the unknown item is no item
        let n_users = (0..by_user.n_rows()).filter(|user| !by_user.row(*user).0.is_empty()).count();
        let mut sweeps = Self {
            config,
            by_user,
            by_item,
            n_users,
            users: Matrix::zeros(by_user.n_rows(), items.cols()),
            users_basis: Basis::default(),
            turn: None,
            items: Basis::default(),
            solved_items: Matrix::default(),
        };
        sweeps.items.become_of(&items)?;
        sweeps.solved_items = items;
        Ok(sweeps)
    }

    /// All users for the items as they are, then all items for those users; returns the loss for each choice.
    pub(super) fn sweep(&mut self, context: &FitContext<'_>) -> Result<f64, NnError> {
        let Self { config, by_user, by_item, .. } = *self;
        let n_items = by_item.n_rows() - 1;
        if let Some(turn) = self.turn.take() {
            // Where the conjugate gradient starts from: the users as they were, in the basis of the items.
            multiply(&self.users_basis.vectors, &turn, &mut self.users)?;
        }
        let side = Side::new(config, &self.items, n_items);
        solve_all(config, &side, by_user, &mut self.users, context)?;
        let turn = self.users_basis.become_of(&self.users)?;
        if config.solver == IalsSolver::Cg {
            multiply(&self.items.vectors, &turn, &mut self.solved_items)?;
        }
        let side = Side::new(config, &self.users_basis, self.n_users);
        let of_choices = solve_all(config, &side, by_item, &mut self.solved_items, context)?;
        let loss = (of_choices + self.loss_beside_choices()) / by_user.n_stored() as f64;
        let turn = self.items.become_of(&self.solved_items)?;
        self.turn = (config.solver == IalsSolver::Cg).then_some(turn);
        Ok(loss)
    }

    /// What is minimized, but for the errors at the choices: regularization and the weight of what was not chosen.
    fn loss_beside_choices(&self) -> f64 {
        let (config, by_user, by_item) = (self.config, self.by_user, self.by_item);
        let (users, items) = (&self.users_basis, &self.solved_items);
        let square = |row: &[f32]| f64::from(dot(row, row));
        let n_items = by_item.n_rows() - 1;
        let of_user = |user: usize| {
            let l2 = config.l2_of(by_user.row(user).0.len(), n_items);
            f64::from(l2) * square(users.vectors.row(user))
        };
        let of_users: Vec<f64> = (0..by_user.n_rows()).into_par_iter().map(of_user).collect();
        let of_item = |item: usize| {
            let l2 = config.l2_of(by_item.row(item).0.len(), self.n_users);
            let row = items.row(item);
            // The users' Gram matrix is diagonal in this basis.
            let terms = row.iter().zip(&users.spectrum);
            let of_users = terms.map(|(x, of_users)| f64::from(*x).powi(2) * f64::from(*of_users));
            f64::from(l2) * square(row) + config.unobserved_weight * of_users.sum::<f64>()
        };
        let of_items: Vec<f64> = (1..by_item.n_rows()).into_par_iter().map(of_item).collect();
        of_users.iter().chain(&of_items).sum()
    }

    fn ndcg(&self, validation: &Validation<'_>) -> Result<f64, NnError> {
        let vectors = &self.items.vectors;
        let side = Side::new(self.config, &self.items, vectors.rows() - 1);
        let encode = |histories: &[History<'_>], solver: &mut RowSolver, hidden: &mut Matrix| {
            hidden.reshape(histories.len(), vectors.cols());
            for (row, history) in histories.iter().enumerate() {
                let distinct = distinct_items(*history, vectors.rows());
                let (items, counts): (Vec<u32>, Vec<f32>) = distinct.into_iter().unzip();
                solver.solve_exactly(&side, &items, &counts, hidden.row_mut(row))?;
            }
            Ok(())
        };
        validation.ndcg(vectors, encode)
    }
}

/// Solves each row of `rows` for what is fixed; `solutions` are where the conjugate gradient starts from. Returns what the choices add
/// to the loss.
fn solve_all(
    config: &IalsConfig,
    side: &Side<'_>,
    rows: &Interactions,
    solutions: &mut Matrix,
    context: &FitContext<'_>,
) -> Result<f64, NnError> {
    let k = solutions.cols();
    let pieces = solutions.as_mut_slice().par_chunks_mut(PIECE * k).enumerate();
    let losses = pieces.map_init(RowSolver::default, |solver, (piece, solutions)| {
        if context.progress.is_cancelled() {
            return Ok(0.0);
        }
        let n_rows = solutions.len() / k;
        let solutions = (piece * PIECE..).zip(solutions.chunks_exact_mut(k));
        let losses = solutions.map(|(row, solution)| {
            let (cols, counts) = rows.row(row);
            match config.solver {
                IalsSolver::Cg => {
                    let ahead = if row + 1 < rows.n_rows() { rows.row(row + 1).0 } else { &[] };
                    let n_steps = config.cg_steps.get();
                    Ok(solver.approach(side, (cols, counts), ahead, n_steps, solution))
                }
                _ => solver.solve_exactly(side, cols, counts, solution),
            }
        });
        let loss = losses.sum::<Result<f64, NnError>>()?;
        context.progress.advance(n_rows as u64);
        Ok(loss)
    });
    let losses: Vec<f64> = losses.collect::<Result<_, NnError>>()?;
    Ok(losses.iter().sum())
}
