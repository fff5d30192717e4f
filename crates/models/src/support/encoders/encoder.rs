//! What makes one vector of the rows of a text.

use std::fmt::Debug;

use forecart_nn::{Matrix, NnError, Pass, Ragged, Trainable};

/// Rows of a text to one vector. A text has at least one row.
///
/// # Shapes
/// `x: [n_rows, n_in]`, one row a word; `z: [n_texts, n_out]`.
pub(super) trait Encoder: Trainable<Gradients: Debug> + Debug + Clone + Sync {
    /// Buffers between the passes.
    type Workspace: Default + Send + Debug;

    /// Columns of `z`.
    fn n_out(&self) -> usize;

    /// Writes `z`.
    ///
    /// # Errors
    /// Those of the layers.
    fn forward(
        &self,
        x: &Matrix,
        texts: Ragged<'_>,
        pass: Pass,
        ws: &mut Self::Workspace,
        z: &mut Matrix,
    ) -> Result<(), NnError>;

    /// Writes `dx` and adds to `gradients`; `dz` may be changed. All else is that of the forward pass before.
    ///
    /// # Errors
    /// Those of the layers.
    #[expect(clippy::too_many_arguments, reason = "both ends of a layer")]
    fn backward(
        &self,
        x: &Matrix,
        texts: Ragged<'_>,
        pass: Pass,
        dz: &mut Matrix,
        dx: &mut Matrix,
        ws: &mut Self::Workspace,
        gradients: &mut Self::Gradients,
    ) -> Result<(), NnError>;
}

/// Adds the mean of each column over the rows of each text to the first columns of `z`.
pub(super) fn add_mean_over_rows(x: &Matrix, texts: Ragged<'_>, z: &mut Matrix) {
    for (text, rows) in texts.sequences().enumerate() {
        let share = 1.0 / rows.len() as f32;
        for row in rows {
            let sums = z.row_mut(text).iter_mut();
            sums.zip(x.row(row)).for_each(|(sum, value)| *sum += share * value);
        }
    }
}

/// Writes the gradient of [`add_mean_over_rows`] by `x` to `dx`, `[n_rows, n_cols]`.
pub(super) fn mean_backward(dz: &Matrix, texts: Ragged<'_>, n_cols: usize, dx: &mut Matrix) {
    dx.reshape(texts.n_tokens(), n_cols);
    for (text, rows) in texts.sequences().enumerate() {
        let share = 1.0 / rows.len() as f32;
        for row in rows {
            let d_row = dx.row_mut(row).iter_mut();
            d_row.zip(dz.row(text)).for_each(|(to, value)| *to = share * value);
        }
    }
}

/// The largest value of each column over the rows of each text, into columns from `first_col` of `z`; and where it stood.
pub(super) fn max_over_rows(
    x: &Matrix,
    texts: Ragged<'_>,
    first_col: usize,
    z: &mut Matrix,
    winners: &mut Vec<usize>,
) {
    let n_cols = x.cols();
    winners.clear();
    for (text, rows) in texts.sequences().enumerate() {
        let best = &mut z.row_mut(text)[first_col..first_col + n_cols];
        let first = winners.len();
        winners.resize(first + n_cols, rows.start);
        best.copy_from_slice(x.row(rows.start));
        for row in rows.skip(1) {
            for (col, value) in x.row(row).iter().enumerate() {
                // NaN wins and stays, so that a diverged run is seen.
                if *value > best[col] || value.is_nan() {
                    (best[col], winners[first + col]) = (*value, row);
                }
            }
        }
    }
}

/// Adds the gradient of [`max_over_rows`] to `dx`.
pub(super) fn max_backward(dz: &Matrix, first_col: usize, winners: &[usize], dx: &mut Matrix) {
    let n_cols = dx.cols();
    for (text, winners) in winners.chunks_exact(n_cols.max(1)).enumerate() {
        for (col, row) in winners.iter().enumerate() {
            dx.row_mut(*row)[col] += dz.row(text)[first_col + col];
        }
    }
}

#[cfg(test)]
pub(super) mod check {
    //! Finite differences of an encoder.

    use super::*;
    use crate::testing::networks::{largest_gradient_error, set, values};
    use forecart_nn::{DropoutKey, Gradients, gradient_check};

    const TEXTS: [usize; 4] = [0, 3, 4, 8];

    fn wave(rows: usize, cols: usize, speed: f32) -> Matrix {
        let values = (0..rows * cols).map(|at| (at as f32 * speed + 0.3).sin()).collect();
        Matrix::from_vec(rows, cols, values).unwrap()
    }

    /// Gradients of all parameters and of the input agree with differences of `Σ z w`, with dropout.
    pub(in super::super) fn gradients_agree<E: Encoder>(mut encoder: E, n_in: usize, step: f32) {
        let point: Vec<f32> = values(&encoder)
            .iter()
            .enumerate()
            .map(|(at, v)| v + 0.1 * (at as f32).cos())
            .collect();
        set(&mut encoder, &point);
        let (x, weights) = (wave(8, n_in, 1.7), wave(3, encoder.n_out(), 0.9));
        let pass = Pass::Training { key: DropoutKey::new(1, 2), first_row: 0 };
        let texts = Ragged::new(&TEXTS).unwrap();
        let run = |encoder: &E, x: &Matrix, gradients: &mut E::Gradients| {
            let (mut ws, mut z, mut dx) =
                (E::Workspace::default(), Matrix::default(), Matrix::default());
            encoder.forward(x, texts, pass, &mut ws, &mut z).unwrap();
            let loss = z.as_slice().iter().zip(weights.as_slice());
            let loss: f64 = loss.map(|(z, w)| f64::from(*z) * f64::from(*w)).sum();
            let mut dz = weights.clone();
            encoder.backward(x, texts, pass, &mut dz, &mut dx, &mut ws, gradients).unwrap();
            (loss, dx)
        };
        let dx = run(&encoder, &x, &mut encoder.new_gradients()).1;
        let mut ignored = encoder.new_gradients();
        let mut at = x.to_host();
        let report = gradient_check(&mut at, dx.as_slice(), step, 0.01, |at| {
            ignored.clear();
            run(&encoder, &Matrix::from_vec(8, n_in, at.to_vec()).unwrap(), &mut ignored).0
        });
        assert!(report.error < 0.03, "of the input: {report:?}");
        if !values(&encoder).is_empty() {
            let error = largest_gradient_error(&mut encoder, step, |encoder, gradients| {
                run(encoder, &x, gradients).0
            });
            assert!(error < 0.03, "of the parameters: {error}");
        }
    }

    /// A text gives the same vector alone and among others, but for the order of sums in products of other sizes.
    pub(in super::super) fn texts_do_not_see_each_other<E: Encoder>(encoder: &E, n_in: usize) {
        let x = wave(8, n_in, 1.7);
        let vector = |x: &Matrix, starts: &[usize]| {
            let (mut ws, mut z) = (E::Workspace::default(), Matrix::default());
            let texts = Ragged::new(starts).unwrap();
            encoder.forward(x, texts, Pass::Inference, &mut ws, &mut z).unwrap();
            z
        };
        let all = vector(&x, &TEXTS);
        for text in 0..3 {
            let (first, last) = (TEXTS[text], TEXTS[text + 1]);
            let mut alone = Matrix::default();
            alone.copy_rows_from(&x, first..last);
            let alone = vector(&alone, &[0, last - first]);
            for (a, b) in alone.row(0).iter().zip(all.row(text)) {
                assert!((a - b).abs() < 1e-5, "{text}: {a} {b}");
            }
        }
    }
}
