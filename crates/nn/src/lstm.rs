//! Long short-term memory.

use crate::{
    Recurrent,
    recurrent::{CellGradients, CellState, CellStateMut, RecurrentCell},
    sigmoid,
};

/// Long short-term memory over ragged sequences.
///
/// ```text
/// i = σ(W_ii x + b_ii + W_hi h + b_hi)        f = σ(W_if x + b_if + W_hf h + b_hf)
/// g = tanh(W_ig x + b_ig + W_hg h + b_hg)     o = σ(W_io x + b_io + W_ho h + b_ho)
/// c' = f ⊙ c + i ⊙ g                          h' = o ⊙ tanh(c')
/// ```
///
/// Weights hold the gates in the order i, f, g, o, as PyTorch does. Shapes, passes and parameter names are those of
/// [`Recurrent`]. A new layer forgets nothing at first: the bias of f starts at 1, not at 0 as in PyTorch.
///
/// Source: Hochreiter and Schmidhuber, Neural Computation 9(8), 1997, with the forget gate of Gers, Schmidhuber and Cummins, Neural
/// Computation 12(10), 2000; the bias by Jozefowicz et al., ICML 2015, section 5.
pub type Lstm = Recurrent<LstmCell>;

/// The step of an [`Lstm`]. Its memory is the cell state `c`.
#[derive(Debug, Clone, Copy)]
pub struct LstmCell;

impl RecurrentCell for LstmCell {
    const N_GATES: usize = 4;

    fn initial_bias(gate: usize) -> f32 {
        if gate == 1 { 1.0 } else { 0.0 }
    }

    fn forward(gates: &mut [f32], recurrent: &[f32], before: CellState<'_>, now: CellStateMut<'_>) {
        let n_hidden = now.hidden.len();
        for (gate, product) in gates.iter_mut().zip(recurrent) {
            *gate += product;
        }
        let (input_forget, rest) = gates.split_at_mut(2 * n_hidden);
        let (candidate, output) = rest.split_at_mut(n_hidden);
        input_forget.iter_mut().for_each(|gate| *gate = sigmoid(*gate));
        candidate.iter_mut().for_each(|gate| *gate = gate.tanh());
        output.iter_mut().for_each(|gate| *gate = sigmoid(*gate));
        let (input, forget) = input_forget.split_at(n_hidden);
        for (unit, cell) in now.memory.iter_mut().enumerate() {
            *cell = forget[unit] * before.memory[unit] + input[unit] * candidate[unit];
        }
        for ((hidden, cell), output) in now.hidden.iter_mut().zip(&*now.memory).zip(&*output) {
            *hidden = output * cell.tanh();
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
        let [input, forget, candidate, output] =
            [0, 1, 2, 3].map(|gate| &gates[gate * n_hidden..][..n_hidden]);
        let (d_input_forget, d_rest) = d_gates.split_at_mut(2 * n_hidden);
        let (d_input, d_forget) = d_input_forget.split_at_mut(n_hidden);
        let (d_candidate, d_output) = d_rest.split_at_mut(n_hidden);
        for (unit, &dh) in d_now.hidden.iter().enumerate() {
            let (i, f, g, o) = (input[unit], forget[unit], candidate[unit], output[unit]);
            let t = now.memory[unit].tanh();
            let dc = d_now.memory[unit] + dh * o * (1.0 - t * t);
            d_before.memory[unit] += dc * f;
            d_input[unit] = dc * g * i * (1.0 - i);
            d_forget[unit] = dc * before.memory[unit] * f * (1.0 - f);
            d_candidate[unit] = dc * i * (1.0 - g * g);
            d_output[unit] = dh * t * o * (1.0 - o);
        }
        // The products are summed before anything else, so they share their gradient.
        d_recurrent.copy_from_slice(d_gates);
    }
}
