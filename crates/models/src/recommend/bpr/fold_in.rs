//! The factors of a history for fixed items.

use forecart_nn::{Activation, Matrix, dot};

use super::config::BprConfig;

/// Finds the factors of one history after the other in the same memory.
#[derive(Debug, Default)]
pub(super) struct FoldIn {
    /// Factors of the items of the history, then of the reference items: `[n_chosen + n_reference, n_factors]`.
    rows: Matrix,
    /// Their biases.
    biases: Vec<f32>,
    /// Where the gradient is taken.
    point: Vec<f32>,
    before: Vec<f32>,
    gradient: Vec<f32>,
    scores: Vec<f32>,
    /// What each row has of the gradient.
    weights: Vec<f32>,
    /// `s_j - s_i`, and its sigmoid: `[n_chosen, n_reference]`.
    lacks: Matrix,
    missing: Matrix,
    ones: Vec<f32>,
}

impl FoldIn {
    /// Writes the factors and 1, which the bias of an item is multiplied with; factors of 0 for no items.
    ///
    /// # Panics
    /// If an item is past the table, or `user` is not as long as its rows.
    pub(super) fn write(
        &mut self,
        config: &BprConfig,
        vectors: &Matrix,
        reference: &[u32],
        items: &[u32],
        user: &mut [f32],
    ) {
        let d = vectors.cols() - 1;
        let (w, one) = user.split_at_mut(d);
        w.fill(0.0);
        one.fill(1.0);
        if items.is_empty() {
            return;
        }
        self.load(vectors, items, reference);
        let l2 = config.fold_in_l2 as f32;
        // The second derivative of -ln σ is at most a quarter, so this step overshoots in no direction.
        let step = 1.0 / (l2 + 0.25 * self.mean_square_distance(items.len()));
        self.point.clear();
        self.point.resize(d, 0.0);
        let mut momentum = 1.0_f32;
        for _ in 0..config.fold_in_steps.get() {
            self.take_gradient(items.len());
            self.before.clear();
            self.before.extend_from_slice(w);
            for ((value, point), slope) in w.iter_mut().zip(&self.point).zip(&self.gradient) {
                *value = point - step * (slope + l2 * point);
            }
            let next = (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt()) / 2.0;
            let ahead = (momentum - 1.0) / next;
            momentum = next;
            for ((point, value), before) in self.point.iter_mut().zip(&*w).zip(&self.before) {
                *point = value + ahead * (value - before);
            }
        }
        if w.iter().any(|value| !value.is_finite()) {
            // No fit gives factors that overflow; a file could.
            w.fill(0.0);
        }
    }

    fn load(&mut self, vectors: &Matrix, items: &[u32], reference: &[u32]) {
        let d = vectors.cols() - 1;
        self.rows.reshape(items.len() + reference.len(), d);
        self.biases.clear();
        for (row, item) in items.iter().chain(reference).enumerate() {
            let (factors, bias) = vectors.row(*item as usize).split_at(d);
            self.rows.row_mut(row).copy_from_slice(factors);
            self.biases.push(bias[0]);
        }
        self.lacks.reshape(items.len(), reference.len());
        self.ones.clear();
        self.ones.resize(reference.len(), 1.0);
    }

    /// The gradient of the mean of `-ln σ(s_i - s_j)` at `point`.
    fn take_gradient(&mut self, n_chosen: usize) {
        self.scores.resize(self.rows.rows(), 0.0);
        self.rows.dot_rows(&self.point, &mut self.scores);
        self.scores.iter_mut().zip(&self.biases).for_each(|(score, bias)| *score += bias);
        let (chosen, others) = self.scores.split_at(n_chosen);
        for (row, score) in chosen.iter().enumerate() {
            let lacks = self.lacks.row_mut(row).iter_mut().zip(others);
            lacks.for_each(|(lack, other)| *lack = other - score);
        }
        Activation::Sigmoid.forward(&self.lacks, &mut self.missing);
        let scale = 1.0 / (n_chosen as f32 * others.len() as f32);
        self.weights.clear();
        let pulls = (0..n_chosen).map(|row| -scale * dot(self.missing.row(row), &self.ones));
        self.weights.extend(pulls);
        self.weights.resize(self.rows.rows(), 0.0);
        let scales = std::iter::repeat_n(scale, n_chosen);
        self.missing.add_weighted_rows(scales, &mut self.weights[n_chosen..]);
        self.gradient.clear();
        self.gradient.resize(self.point.len(), 0.0);
        self.rows.add_weighted_rows(self.weights.iter().copied(), &mut self.gradient);
    }

    /// The mean of `|h_i - h_j|²` over items and reference items.
    fn mean_square_distance(&self, n_chosen: usize) -> f32 {
        let moments = |rows: std::ops::Range<usize>| {
            let (mut mean, mut square) = (vec![0.0_f32; self.rows.cols()], 0.0_f32);
            let n = rows.len() as f32;
            for row in rows.map(|row| self.rows.row(row)) {
                mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                square += dot(row, row);
            }
            mean.iter_mut().for_each(|sum| *sum /= n);
            (mean, square / n)
        };
        let ((mean, square), (other_mean, other_square)) =
            (moments(0..n_chosen), moments(n_chosen..self.rows.rows()));
        (square + other_square - 2.0 * dot(&mean, &other_mean)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// At the minimum the slope is 0 in every direction, by finite differences of the definition in f64.
    #[test]
    fn many_steps_come_to_the_minimum() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let values = (0..30 * 5).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect();
        let vectors = Matrix::from_vec(30, 5, values).unwrap();
        let fold_in_steps = NonZeroU32::new(400).unwrap();
        let config = BprConfig { fold_in_l2: 0.05, fold_in_steps, ..BprConfig::default() };
        let (items, reference) = ([3, 7, 8], [1, 2, 3, 20, 21, 22, 29]);
        let mut user = vec![0.0; 5];
        FoldIn::default().write(&config, &vectors, &reference, &items, &mut user);
        assert_eq!(user[4], 1.0);
        let loss = |w: &[f64]| {
            let score = |item: u32| -> f64 {
                let row = vectors.row(item as usize);
                w.iter().zip(row).map(|(a, b)| a * f64::from(*b)).sum::<f64>() + f64::from(row[4])
            };
            let pairs = items.iter().flat_map(|i| reference.iter().map(move |j| (*i, *j)));
            let mean = pairs.map(|(i, j)| (score(j) - score(i)).exp().ln_1p()).sum::<f64>() / 21.0;
            mean + 0.025 * w.iter().map(|value| value * value).sum::<f64>()
        };
        let w: Vec<f64> = user[..4].iter().map(|value| f64::from(*value)).collect();
        for direction in 0..4 {
            let at = |step: f64| {
                let mut w = w.clone();
                w[direction] += step;
                loss(&w)
            };
            let slope = (at(1e-4) - at(-1e-4)) / 2e-4;
            assert!(slope.abs() < 1e-4, "{direction}: {slope}");
        }
    }
}
