//! The gated recurrent unit.

use crate::{
    Recurrent,
    recurrent::{CellGradients, CellState, CellStateMut, RecurrentCell},
    sigmoid,
};

/// A gated recurrent unit over ragged sequences.
///
/// ```text
/// r = σ(W_ir x + b_ir + W_hr h + b_hr)
/// z = σ(W_iz x + b_iz + W_hz h + b_hz)
/// n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))
/// h' = (1 - z) ⊙ n + z ⊙ h
/// ```
///
/// Weights hold the gates in the order r, z, n, as PyTorch does. Shapes, passes and parameter names are those of
/// [`Recurrent`].
///
/// Source: Cho et al., EMNLP 2014, equations 5 to 8. We differ as PyTorch and cuDNN do: the reset gate acts after the recurrent
/// product, which makes it one product for all gates.
///
/// ```
/// use forecart_nn::{Direction, Gru, Init, Matrix, Ragged, RecurrentWorkspace};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let gru = Gru::new(2, 8, Direction::Forward, Init::Xavier, &mut ChaCha8Rng::seed_from_u64(7))?;
/// let tokens = Matrix::from_rows(&[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
/// let offsets = [0, 2, 3];
/// let mut workspace = RecurrentWorkspace::default();
/// let hidden = gru.forward(&tokens, Ragged::new(&offsets)?, &mut workspace)?;
/// assert_eq!(hidden.shape(), [3, 8]);
/// # Ok::<(), forecart_nn::NnError>(())
/// ```
pub type Gru = Recurrent<GruCell>;

/// The step of a [`Gru`]. Its memory is `W_hn h + b_hn`, for the backward pass.
#[derive(Debug, Clone, Copy)]
pub struct GruCell;

impl RecurrentCell for GruCell {
    const N_GATES: usize = 3;

    fn forward(gates: &mut [f32], recurrent: &[f32], before: CellState<'_>, now: CellStateMut<'_>) {
        let n_hidden = now.hidden.len();
        let (reset_update, candidate) = gates.split_at_mut(2 * n_hidden);
        let (recurrent, memory) = recurrent.split_at(2 * n_hidden);
        for (gate, product) in reset_update.iter_mut().zip(recurrent) {
            *gate = sigmoid(*gate + product);
        }
        let (reset, update) = reset_update.split_at(n_hidden);
        now.memory.copy_from_slice(memory);
        for (unit, hidden) in now.hidden.iter_mut().enumerate() {
            let n = (candidate[unit] + reset[unit] * memory[unit]).tanh();
            *hidden = n + update[unit] * (before.hidden[unit] - n);
            candidate[unit] = n;
        }
    }

    fn backward(
        gates: &[f32],
        before: CellState<'_>,
        now: CellState<'_>,
        d_now: CellState<'_>,
        gradients: CellGradients<'_>,
    ) {
        let n_hidden = d_now.hidden.len();
        let CellGradients { d_before, d_gates, d_recurrent } = gradients;
        let [reset, update, candidate] =
            [0, 1, 2].map(|gate| &gates[gate * n_hidden..][..n_hidden]);
        let (d_reset, d_rest) = d_gates.split_at_mut(n_hidden);
        let (d_update, d_candidate) = d_rest.split_at_mut(n_hidden);
        for (unit, &dh) in d_now.hidden.iter().enumerate() {
            let (r, z, n) = (reset[unit], update[unit], candidate[unit]);
            d_before.hidden[unit] += dh * z;
            d_update[unit] = dh * (before.hidden[unit] - n) * z * (1.0 - z);
            d_candidate[unit] = dh * (1.0 - z) * (1.0 - n * n);
            d_reset[unit] = d_candidate[unit] * now.memory[unit] * r * (1.0 - r);
        }
        d_recurrent.copy_from_slice(d_gates);
        for (d_product, r) in d_recurrent[2 * n_hidden..].iter_mut().zip(reset) {
            *d_product *= r;
        }
    }
}
