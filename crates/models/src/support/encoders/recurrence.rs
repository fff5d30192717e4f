//! A recurrent layer either way, pooled by learned attention and by the largest values.

use forecart_nn::{
    Activation, Direction, Gradient, Gru, Init, Linear, Lstm, Matrix, Name, NnError, Parameters,
    Pass, Ragged, RecurrentWeights, RecurrentWorkspace, Trainable,
};
use rand_chacha::ChaCha8Rng;

use super::encoder::{Encoder, max_backward, max_over_rows};

/// Which unit a layer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    Gru,
    Lstm,
}

impl Cell {
    pub(super) const fn n_gates(self) -> usize {
        match self {
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }
}

/// A layer of one direction.
#[derive(Debug, Clone)]
enum Layer {
    Gru(Gru),
    Lstm(Lstm),
}

/// The same of whichever layer it is.
macro_rules! of_each {
    ($layer:expr, $inner:ident => $result:expr) => {
        match $layer {
            Layer::Gru($inner) => $result,
            Layer::Lstm($inner) => $result,
        }
    };
}

impl Layer {
    fn new(
        cell: Cell,
        n_in: usize,
        n_hidden: usize,
        direction: Direction,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let init = Init::Xavier;
        Ok(match cell {
            Cell::Gru => Self::Gru(Gru::new(n_in, n_hidden, direction, init, rng)?),
            Cell::Lstm => Self::Lstm(Lstm::new(n_in, n_hidden, direction, init, rng)?),
        })
    }

    fn n_hidden(&self) -> usize {
        of_each!(self, layer => layer.n_hidden())
    }

    fn forward<'w>(
        &self,
        x: &Matrix,
        texts: Ragged<'_>,
        ws: &'w mut RecurrentWorkspace,
    ) -> Result<&'w Matrix, NnError> {
        of_each!(self, layer => layer.forward(x, texts, ws))
    }

    fn backward(
        &self,
        d_states: &Matrix,
        dx: &mut Matrix,
        ws: &mut RecurrentWorkspace,
        gradients: &mut RecurrentWeights,
    ) -> Result<(), NnError> {
        of_each!(self, layer => layer.backward(d_states, Some(dx), ws, gradients))
    }
}

impl Parameters for Layer {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        of_each!(self, layer => layer.visit(name, visit));
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        of_each!(self, layer => layer.visit_mut(name, visit))
    }
}

impl Trainable for Layer {
    type Gradients = RecurrentWeights;

    fn new_gradients(&self) -> RecurrentWeights {
        of_each!(self, layer => layer.new_gradients())
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &RecurrentWeights,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        of_each!(self, layer => layer.visit_with_gradients(gradients, name, visit))
    }
}

/// States `h` of a layer forward and one in reverse, side by side; of each text, for each of `n_heads` heads `k`,
/// `Σ_i a_ik h_i` with `a_k = softmax_i(v_k · tanh(h_i) + c_k)`, then `max_i h_i`.
///
/// Source: pooling by attention as in Lin et al., ICLR 2017, equations 5 to 7, without its inner product `W_s1` and its penalty; the largest
/// values as in Conneau et al., EMNLP 2017, section 3.2.
#[derive(Debug, Clone)]
pub(super) struct Recurrence {
    forward: Layer,
    reverse: Layer,
    /// `v` and `c`: `[n_heads, 2 n_hidden]`.
    attention: Linear,
}

forecart_nn::trainable!(
    Recurrence,
    /// Gradients of a [`Recurrence`].
    pub(super) struct RecurrenceGradients {
        forward: Gru,
        reverse: Gru,
        attention: Linear,
    }
);

/// Buffers of a [`Recurrence`].
#[derive(Debug, Default)]
pub(super) struct RecurrenceWorkspace {
    forward: RecurrentWorkspace,
    reverse: RecurrentWorkspace,
    /// `h`, `[n_rows, 2 n_hidden]`, and its tanh.
    states: Matrix,
    bent: Matrix,
    /// `a`, `[n_rows, n_heads]`.
    weights: Matrix,
    winners: Vec<usize>,
    d_states: Matrix,
    d_bent: Matrix,
    d_weights: Matrix,
    d_one_way: Matrix,
    d_x: Matrix,
}

impl Recurrence {
    pub(super) fn new(
        cell: Cell,
        n_in: usize,
        n_hidden: usize,
        n_heads: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        Ok(Self {
            forward: Layer::new(cell, n_in, n_hidden, Direction::Forward, rng)?,
            reverse: Layer::new(cell, n_in, n_hidden, Direction::Reverse, rng)?,
            attention: Linear::new(2 * n_hidden, n_heads, Init::Xavier, rng)?,
        })
    }

    fn n_states(&self) -> usize {
        2 * self.forward.n_hidden()
    }
}

/// The columns of one direction, from `first_col`.
fn one_way(states: &Matrix, first_col: usize, out: &mut Matrix) {
    let n_hidden = states.cols() / 2;
    out.reshape(states.rows(), n_hidden);
    for row in 0..states.rows() {
        out.row_mut(row).copy_from_slice(&states.row(row)[first_col..first_col + n_hidden]);
    }
}

/// Turns scores into weights that sum to 1 over the rows of each text, head by head.
fn softmax_over_rows(scores: &mut Matrix, texts: Ragged<'_>) {
    for rows in texts.sequences() {
        for head in 0..scores.cols() {
            let column = rows.clone().map(|row| scores.row(row)[head]);
            let max = column.fold(f32::NEG_INFINITY, f32::max);
            let mut total = 0.0_f32;
            for row in rows.clone() {
                let value = &mut scores.row_mut(row)[head];
                *value = (*value - max).exp();
                total += *value;
            }
            rows.clone().for_each(|row| scores.row_mut(row)[head] /= total);
        }
    }
}

impl Encoder for Recurrence {
    type Workspace = RecurrenceWorkspace;

    fn n_out(&self) -> usize {
        (self.attention.n_out() + 1) * self.n_states()
    }

    fn forward(
        &self,
        x: &Matrix,
        texts: Ragged<'_>,
        _: Pass,
        ws: &mut RecurrenceWorkspace,
        z: &mut Matrix,
    ) -> Result<(), NnError> {
        let n_states = self.n_states();
        let RecurrenceWorkspace { forward, reverse, states, bent, weights, winners, .. } = ws;
        let forward = self.forward.forward(x, texts, forward)?; // [n_rows, n_hidden]
        let reverse = self.reverse.forward(x, texts, reverse)?;
        states.reshape(x.rows(), n_states);
        for row in 0..x.rows() {
            let (left, right) = states.row_mut(row).split_at_mut(n_states / 2);
            left.copy_from_slice(forward.row(row));
            right.copy_from_slice(reverse.row(row));
        }
        Activation::Tanh.forward(states, bent);
        self.attention.forward(bent, weights)?; // [n_rows, n_heads]
        softmax_over_rows(weights, texts);
        z.reset(texts.n_sequences(), self.n_out());
        for (text, rows) in texts.sequences().enumerate() {
            let sums = z.row_mut(text).chunks_exact_mut(n_states);
            for (head, sums) in sums.take(weights.cols()).enumerate() {
                for row in rows.clone() {
                    let weight = weights.row(row)[head];
                    let states = states.row(row);
                    sums.iter_mut().zip(states).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
        max_over_rows(states, texts, weights.cols() * n_states, z, winners);
        Ok(())
    }

    fn backward(
        &self,
        x: &Matrix,
        texts: Ragged<'_>,
        _: Pass,
        dz: &mut Matrix,
        dx: &mut Matrix,
        ws: &mut RecurrenceWorkspace,
        gradients: &mut RecurrenceGradients,
    ) -> Result<(), NnError> {
        let (n_states, n_heads) = (self.n_states(), self.attention.n_out());
        let RecurrenceWorkspace { states, bent, weights, winners, .. } = ws;
        let RecurrenceWorkspace { d_states, d_bent, d_weights, d_one_way, d_x, .. } = ws;
        d_states.reset(x.rows(), n_states);
        d_weights.reset(x.rows(), n_heads);
        for (text, rows) in texts.sequences().enumerate() {
            for (head, d) in dz.row(text).chunks_exact(n_states).take(n_heads).enumerate() {
                // Of the softmax: a (d_a - Σ a d_a).
                let mut mean = 0.0_f32;
                for row in rows.clone() {
                    let (weight, states) = (weights.row(row)[head], states.row(row));
                    let d_weight = forecart_nn::dot(d, states);
                    d_weights.row_mut(row)[head] = d_weight;
                    mean += weight * d_weight;
                    let d_states = d_states.row_mut(row).iter_mut();
                    d_states.zip(d).for_each(|(sum, value)| *sum += weight * value);
                }
                for row in rows.clone() {
                    let d_weight = &mut d_weights.row_mut(row)[head];
                    *d_weight = weights.row(row)[head] * (*d_weight - mean);
                }
            }
        }
        max_backward(dz, n_heads * n_states, winners, d_states);
        self.attention.backward(bent, d_weights, Some(d_bent), &mut gradients.attention)?;
        Activation::Tanh.backward(states, d_bent)?;
        let pairs = d_states.as_mut_slice().iter_mut().zip(d_bent.as_slice());
        pairs.for_each(|(sum, value)| *sum += value);

        one_way(d_states, 0, d_one_way);
        self.forward.backward(d_one_way, dx, &mut ws.forward, &mut gradients.forward)?;
        one_way(d_states, n_states / 2, d_one_way);
        self.reverse.backward(d_one_way, d_x, &mut ws.reverse, &mut gradients.reverse)?;
        let pairs = dx.as_mut_slice().iter_mut().zip(d_x.as_slice());
        pairs.for_each(|(sum, value)| *sum += value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::encoder::check;
    use super::*;
    use rand::SeedableRng;

    fn encoders() -> [Recurrence; 2] {
        [Cell::Gru, Cell::Lstm]
            .map(|cell| Recurrence::new(cell, 4, 3, 2, &mut ChaCha8Rng::seed_from_u64(5)).unwrap())
    }

    #[test]
    fn gradients_agree_with_differences() {
        encoders().into_iter().for_each(|encoder| check::gradients_agree(encoder, 4, 3e-3));
    }

    #[test]
    fn texts_do_not_see_each_other() {
        encoders().iter().for_each(|encoder| check::texts_do_not_see_each_other(encoder, 4));
    }

    #[test]
    fn weights_of_a_text_sum_to_one() {
        let mut scores = Matrix::from_rows(&[[0.0, 1000.0], [3.0_f32.ln(), 1000.0], [7.0, -1.0]]);
        softmax_over_rows(&mut scores, Ragged::new(&[0, 2, 3]).unwrap());
        let want = [0.25, 0.5, 0.75, 0.5, 1.0, 1.0];
        for (got, want) in scores.as_slice().iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }
}
