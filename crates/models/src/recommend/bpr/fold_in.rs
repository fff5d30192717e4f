//! The factors of a history for fixed items.

use forecart_nn::{Matrix, dot, sigmoid};

use super::config::BprConfig;

/// Finds the factors of one history after the other in the same memory.
#[derive(Debug, Default)]
pub(super) struct FoldIn {
    /// Where the gradient is taken, without the last column.
    point: Vec<f32>,
    before: Vec<f32>,
    gradient: Vec<f32>,
    /// Scores of the items of the history, and how strongly they pull.
    chosen: Vec<f32>,
    pulls: Vec<f32>,
    others: Vec<f32>,
    pushes: Vec<f32>,
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
        let l2 = config.fold_in_l2 as f32;
        // The second derivative of -ln σ is at most a quarter, so this step overshoots in no direction.
        let step = 1.0 / (l2 + 0.25 * mean_square_distance(vectors, items, reference));
        self.point.clear();
        self.point.resize(d, 0.0);
        let mut momentum = 1.0_f32;
        for _ in 0..config.fold_in_steps.get() {
            self.take_gradient(vectors, items, reference);
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

    /// The gradient of the mean of `-ln σ(s_i - s_j)` at `point`.
    fn take_gradient(&mut self, vectors: &Matrix, items: &[u32], reference: &[u32]) {
        let d = self.point.len();
        let point = &self.point;
        let score = |item: &u32| {
            let row = vectors.row(*item as usize);
            dot(&row[..d], point) + row[d]
        };
        self.chosen.clear();
        self.chosen.extend(items.iter().map(score));
        self.others.clear();
        self.others.extend(reference.iter().map(score));
        self.pulls.clear();
        self.pulls.resize(items.len(), 0.0);
        self.pushes.clear();
        self.pushes.resize(reference.len(), 0.0);
        for (chosen, pull) in self.chosen.iter().zip(&mut self.pulls) {
            for (other, push) in self.others.iter().zip(&mut self.pushes) {
                let missing = sigmoid(other - chosen);
                *pull += missing;
                *push += missing;
            }
        }
        let scale = 1.0 / (items.len() as f32 * reference.len() as f32);
        self.gradient.clear();
        self.gradient.resize(d, 0.0);
        let pulled = items.iter().zip(&self.pulls).map(|(item, pull)| (*item, -pull * scale));
        let pushed = reference.iter().zip(&self.pushes).map(|(item, push)| (*item, push * scale));
        for (item, weight) in pulled.chain(pushed) {
            let row = &vectors.row(item as usize)[..d];
            self.gradient.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
    }
}

/// The mean of `|h_i - h_j|²` over items and reference items.
fn mean_square_distance(vectors: &Matrix, items: &[u32], reference: &[u32]) -> f32 {
    let d = vectors.cols() - 1;
    let moments = |rows: &[u32]| {
        let (mut mean, mut square) = (vec![0.0_f32; d], 0.0_f32);
        for row in rows {
            let row = &vectors.row(*row as usize)[..d];
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            square += dot(row, row);
        }
        let n = rows.len() as f32;
        mean.iter_mut().for_each(|sum| *sum /= n);
        (mean, square / n)
    };
    let ((mean, square), (other_mean, other_square)) = (moments(items), moments(reference));
    (square + other_square - 2.0 * dot(&mean, &other_mean)).max(0.0)
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
