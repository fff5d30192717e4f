//! The factors of one user for fixed items, or of one item for fixed users.
//!
//! With the fixed factors `h_i` of the chosen ones as rows of `X`, the minimum is at
//!
//! `w = (D + Xᵀ C X)⁻¹ Xᵀ C 1`, `D = α G + λ_u I`, `G = Hᵀ H`.
//!
//! `G` is the same for all users of a sweep. Its eigenvectors are a basis in which `D` is diagonal ([`Basis`]), found once a
//! sweep; scores do not change if users and items change their basis together. What that saves:
//!
//! - a user with fewer choices than factors has a system of the choices instead,
//!   `w = D⁻¹ Xᵀ y` with `(C⁻¹ + X D⁻¹ Xᵀ) y = 1`: most users of a shop have a handful of choices and tens or hundreds of factors;
//! - a step of the conjugate gradient costs one pass over `X`, not one over `G`.

use forecart_nn::{
    ConjugateGradient, Matrix, NnError, PositiveDefinite, WeightedRows, gram, multiply,
};
use nalgebra::DMatrix;

use super::config::IalsConfig;

/// What a system that cannot be solved is for, and what to do.
const UNBOUNDED: &str = "a factor (a larger `l2` bounds it)";

/// The error of a system that is not positive definite: of factors, or of products of them, that are too large for f32.
fn unbounded(error: NnError) -> NnError {
    match error {
        NnError::OutOfRange { .. } => NnError::NonFinite { what: UNBOUNDED, value: f64::INFINITY },
        other => other,
    }
}

/// Factors in the basis of the eigenvectors of their Gram matrix.
#[derive(Debug, Clone, Default)]
pub(super) struct Basis {
    /// `[n, n_factors]`.
    pub(super) vectors: Matrix,
    /// The eigenvalues: what is on the diagonal of the Gram matrix, `[n_factors]`.
    pub(super) spectrum: Vec<f32>,
}

impl Basis {
    /// Becomes the basis of `vectors`, in the memory that it has; returns its eigenvectors as columns, `[n_factors, n_factors]`.
    pub(super) fn become_of(&mut self, vectors: &Matrix) -> Result<Matrix, NnError> {
        let k = vectors.cols();
        // f64: the small eigenvalues are lost in the rounding of the large ones otherwise.
        let mut products = DMatrix::from_vec(k, k, gram(vectors));
        // As much as rounding leaves unknown of the eigenvalues. Where all users are alike there is one factor, and the others
        // are rounding of rounding, smaller in each sweep, until rotations by them divide 0 by 0.
        let shift = f64::EPSILON * products.trace();
        if !shift.is_finite() {
            return Err(NnError::NonFinite { what: UNBOUNDED, value: shift });
        }
        (0..k).for_each(|at| products[(at, at)] += shift);
        let eigen = products.symmetric_eigen();
        self.spectrum.clear();
        let of_products = eigen.eigenvalues.iter().map(|value| (value - shift).max(0.0));
        self.spectrum.extend(of_products.map(|value| value as f32));
        let mut turn = Matrix::zeros(k, k);
        for row in 0..k {
            for (col, value) in turn.row_mut(row).iter_mut().enumerate() {
                *value = eigen.eigenvectors[(row, col)] as f32;
            }
        }
        multiply(vectors, &turn, &mut self.vectors)?;
        Ok(turn)
    }
}

/// What is fixed while all users, or all items, are solved.
#[derive(Debug)]
pub(super) struct Side<'a> {
    config: &'a IalsConfig,
    fixed: &'a Basis,
    /// Of the fixed ones, those that could be chosen.
    n_others: usize,
    /// `α` times the spectrum.
    unobserved: Vec<f32>,
}

impl<'a> Side<'a> {
    pub(super) fn new(config: &'a IalsConfig, fixed: &'a Basis, n_others: usize) -> Self {
        let weight = config.unobserved_weight as f32;
        let unobserved = fixed.spectrum.iter().map(|value| weight * value).collect();
        Self { config, fixed, n_others, unobserved }
    }

    /// The diagonal of `D` for a user with so many choices.
    fn diagonal(&self, n_chosen: usize) -> impl Iterator<Item = f32> {
        let l2 = self.config.l2_of(n_chosen, self.n_others);
        self.unobserved.iter().map(move |value| value + l2)
    }
}

/// Solves one user or item after the other in the same memory.
#[derive(Debug, Default)]
pub(super) struct RowSolver {
    system: PositiveDefinite,
    /// Rows of the chosen ones.
    chosen: Matrix,
    diagonal: Vec<f32>,
    right: Vec<f32>,
    gradient: ConjugateGradient,
}

impl RowSolver {
    /// Writes the minimum to `solution`; zeros where nothing was chosen. Returns what the choices add to the loss.
    ///
    /// # Errors
    /// [`NnError::NonFinite`] if values overflow.
    ///
    /// # Panics
    /// If a column is past the fixed ones.
    pub(super) fn solve_exactly(
        &mut self,
        side: &Side<'_>,
        cols: &[u32],
        counts: &[f32],
        solution: &mut [f32],
    ) -> Result<f64, NnError> {
        solution.fill(0.0);
        match cols.len() {
            0 => Ok(0.0),
            n if n <= solution.len() => self.solve_by_choices(side, cols, counts, solution),
            _ => self.solve_by_factors(side, cols, counts, solution),
        }
    }

    /// By the system of the choices.
    fn solve_by_choices(
        &mut self,
        side: &Side<'_>,
        cols: &[u32],
        counts: &[f32],
        w: &mut [f32],
    ) -> Result<f64, NnError> {
        self.load_scaled(side, cols, counts);
        self.right.clear();
        self.right.resize(cols.len(), 1.0);
        self.system.solve(&mut self.right).map_err(unbounded)?;
        // 1 - X w = C⁻¹ y by the system.
        let terms = self.right.iter().zip(side.config.confidences(cols.len(), counts));
        let loss = terms.map(|(y, confidence)| f64::from(*y).powi(2) / f64::from(confidence));
        let loss = loss.sum();
        let weights = self.right.iter().copied();
        self.chosen.add_weighted_rows(weights, w);
        w.iter_mut().zip(&self.diagonal).for_each(|(value, scale)| *value *= scale);
        Ok(loss)
    }

    /// `chosen = X D^-½`, `diagonal = D^-½`, `system = C⁻¹ + X D⁻¹ Xᵀ`.
    fn load_scaled(&mut self, side: &Side<'_>, cols: &[u32], counts: &[f32]) {
        self.diagonal.clear();
        self.diagonal.extend(side.diagonal(cols.len()).map(|value| 1.0 / value.sqrt()));
        self.chosen.reshape(cols.len(), self.diagonal.len());
        for (row, col) in cols.iter().enumerate() {
            let from = side.fixed.vectors.row(*col as usize).iter().zip(&self.diagonal);
            let to = self.chosen.row_mut(row).iter_mut();
            to.zip(from).for_each(|(to, (value, scale))| *to = value * scale);
        }
        self.right.clear();
        self.right.extend(side.config.confidences(cols.len(), counts).map(|value| 1.0 / value));
        self.system.set_diagonal(&self.right);
        self.system.add_outer(&self.chosen);
    }

    /// By the system of the factors.
    fn solve_by_factors(
        &mut self,
        side: &Side<'_>,
        cols: &[u32],
        counts: &[f32],
        w: &mut [f32],
    ) -> Result<f64, NnError> {
        self.load_factors(side, cols, counts);
        let confidences = side.config.confidences(cols.len(), counts).map(f32::sqrt);
        self.chosen.add_weighted_rows(confidences.clone(), w);
        self.system.solve(w).map_err(unbounded)?;
        self.right.resize(cols.len(), 0.0);
        self.chosen.dot_rows(w, &mut self.right);
        let errors = self.right.iter().zip(confidences).map(|(y, root)| f64::from(root - y));
        Ok(errors.map(|error| error * error).sum())
    }

    /// `chosen = C^½ X`, `diagonal = D`.
    fn load(&mut self, side: &Side<'_>, cols: &[u32], counts: &[f32]) {
        self.diagonal.clear();
        self.diagonal.extend(side.diagonal(cols.len()));
        self.chosen.reshape(cols.len(), self.diagonal.len());
        let confidences = side.config.confidences(cols.len(), counts);
        for (row, (col, confidence)) in cols.iter().zip(confidences).enumerate() {
            let to = self.chosen.row_mut(row);
            to.copy_from_slice(side.fixed.vectors.row(*col as usize));
            if confidence != 1.0 {
                to.iter_mut().for_each(|value| *value *= confidence.sqrt());
            }
        }
    }

    /// [`Self::load`] and `system = D + Xᵀ C X`.
    fn load_factors(&mut self, side: &Side<'_>, cols: &[u32], counts: &[f32]) {
        self.load(side, cols, counts);
        self.system.set_diagonal(&self.diagonal);
        self.system.add_gram(&self.chosen);
    }

    /// What each choice adds to the score of `item`: `c_i h_i · (D + Xᵀ C X)⁻¹ item`.
    pub(super) fn contributions(
        &mut self,
        side: &Side<'_>,
        cols: &[u32],
        counts: &[f32],
        item: &[f32],
    ) -> Result<Vec<f32>, NnError> {
        if cols.len() <= item.len() {
            // (C⁻¹ + X D⁻¹ Xᵀ)⁻¹ X D⁻¹ item
            self.load_scaled(side, cols, counts);
            let scaled: Vec<f32> =
                item.iter().zip(&self.diagonal).map(|(value, scale)| value * scale).collect();
            let mut shares = vec![0.0; cols.len()];
            self.chosen.dot_rows(&scaled, &mut shares);
            self.system.solve(&mut shares).map_err(unbounded)?;
            return Ok(shares);
        }
        self.load_factors(side, cols, counts);
        let mut by_factor = item.to_vec();
        self.system.solve(&mut by_factor).map_err(unbounded)?;
        let mut shares = vec![0.0; cols.len()];
        self.chosen.dot_rows(&by_factor, &mut shares);
        let confidences = side.config.confidences(cols.len(), counts).map(f32::sqrt);
        shares.iter_mut().zip(confidences).for_each(|(share, confidence)| *share *= confidence);
        Ok(shares)
    }

    /// Goes `n_steps` of the conjugate gradient, preconditioned by `D`, on from `solution`; zeros where nothing was chosen. Returns what
    /// the choices add to the loss. `ahead` are the columns of the next row.
    pub(super) fn approach(
        &mut self,
        side: &Side<'_>,
        (cols, counts): (&[u32], &[f32]),
        ahead: &[u32],
        n_steps: u32,
        solution: &mut [f32],
    ) -> f64 {
        if cols.is_empty() {
            solution.fill(0.0);
            return 0.0;
        }
        self.diagonal.clear();
        self.diagonal.extend(side.diagonal(cols.len()));
        self.right.clear();
        self.right.extend(side.config.confidences(cols.len(), counts));
        let table = &side.fixed.vectors;
        let terms = WeightedRows { table, rows: cols, weights: &self.right, ahead };
        self.gradient.approach(terms, &self.diagonal, n_steps, solution)
    }
}
