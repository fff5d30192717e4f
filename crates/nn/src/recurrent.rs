//! What all recurrent layers share: weights, batches and backpropagation through time.
//!
//! The cells are in `gru.rs` and `lstm.rs`, the order of the tokens in `time_steps.rs`.

use std::marker::PhantomData;

use rand_chacha::ChaCha8Rng;

use crate::{
    Gradient, Gradients, Init, Matrix, Name, NnError, Parameters, Ragged, Trainable,
    error::{check_range, check_shape},
    kernels::{Operand, matmul},
    time_steps::{TimeSteps, gather, scatter},
};

/// One step of one sequence: what makes a [`Recurrent`] layer a GRU or an LSTM.
///
/// The layer computes the products `x W_ihᵀ + b_ih` and `h W_hhᵀ + b_hh`; a cell is what happens to each unit between
/// them. Vectors of gates hold `N_GATES` blocks of `n_hidden` values.
pub trait RecurrentCell {
    /// Blocks of `n_hidden` rows in the weights.
    const N_GATES: usize;

    /// The bias that a gate starts with.
    fn initial_bias(_gate: usize) -> f32 {
        0.0
    }

    /// Turns `gates`, which hold the product of the input, into what backward will read, and writes the state `now`.
    fn forward(gates: &mut [f32], recurrent: &[f32], before: CellState<'_>, now: CellStateMut<'_>);

    /// The derivatives of [`Self::forward`], given what it read and wrote and the gradient `d_now` of its state.
    fn backward(
        gates: &[f32],
        before: CellState<'_>,
        now: CellState<'_>,
        d_now: CellState<'_>,
        gradients: CellGradients<'_>,
    );
}

/// The state of one sequence after a step, `[n_hidden]` each.
#[derive(Debug, Clone, Copy)]
pub struct CellState<'a> {
    /// The output.
    pub hidden: &'a [f32],
    /// What else the cell carries or keeps for its backward pass.
    pub memory: &'a [f32],
}

/// A [`CellState`] to write.
#[derive(Debug)]
pub struct CellStateMut<'a> {
    /// As [`CellState::hidden`].
    pub hidden: &'a mut [f32],
    /// As [`CellState::memory`].
    pub memory: &'a mut [f32],
}

/// Where a cell's backward pass writes.
#[derive(Debug)]
pub struct CellGradients<'a> {
    /// To add to: the gradient of the state before, without the way through the recurrent product.
    pub d_before: CellStateMut<'a>,
    /// To overwrite: the gradient of the input's product, `[N_GATES * n_hidden]`.
    pub d_gates: &'a mut [f32],
    /// To overwrite: the gradient of the recurrent product, `[N_GATES * n_hidden]`.
    pub d_recurrent: &'a mut [f32],
}

/// The way a sequence is read. A bidirectional layer is one of each, side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest token first: a state knows its token and all older ones.
    Forward,
    /// Newest token first: a state knows its token and all newer ones.
    Reverse,
}

/// A recurrent layer over ragged sequences; the state before the first token is zero.
///
/// # Shapes
/// `x: [n_tokens, n_in]`, hidden states `[n_tokens, n_hidden]`, both with the oldest token of a sequence first, whatever
/// the direction; weights as in [`RecurrentWeights`].
///
/// The product of the inputs is one for all tokens. The recurrent one is of all sequences that are still running at a time
/// step; they are sorted by length, longest first, so these are always the first rows and nothing is padded.
///
/// Source: backpropagation through time, Werbos, Proceedings of the IEEE 78(10), 1990.
#[derive(Debug, Clone)]
pub struct Recurrent<C> {
    weights: RecurrentWeights,
    direction: Direction,
    cell: PhantomData<C>,
}

/// The weights of a recurrent layer or, in the same shapes, their gradients; names and layout are PyTorch's.
#[derive(Debug, Clone)]
pub struct RecurrentWeights {
    /// `[N_GATES * n_hidden, n_in]`.
    pub weight_ih: Matrix,
    /// `[N_GATES * n_hidden, n_hidden]`.
    pub weight_hh: Matrix,
    /// `[1, N_GATES * n_hidden]`.
    pub bias_ih: Matrix,
    /// `[1, N_GATES * n_hidden]`.
    pub bias_hh: Matrix,
}

/// Buffers of one forward and backward pass, reused between steps. One for each tile that runs at a time.
///
/// All but the output are in the order of time steps; matrices of states begin with the zero states before the first step.
#[derive(Debug, Clone, Default)]
pub struct RecurrentWorkspace {
    steps: TimeSteps,
    x: Matrix,
    gates: Matrix,
    /// Of one step.
    recurrent: Vec<f32>,
    hidden: Matrix,
    memory: Matrix,
    y: Matrix,
    d_gates: Matrix,
    d_recurrent: Matrix,
    d_hidden: Matrix,
    d_memory: Matrix,
    /// The hidden state before each token but the first ones.
    hidden_before: Vec<f32>,
    d_x: Vec<f32>,
}

fn fill_rows(values: &mut [f32], row: &Matrix) {
    for values in values.chunks_exact_mut(row.cols().max(1)) {
        values.copy_from_slice(row.as_slice());
    }
}

fn add_rows(rows: &Matrix, sums: &mut Matrix) {
    for row in rows.as_slice().chunks_exact(rows.cols().max(1)) {
        for (sum, value) in sums.as_mut_slice().iter_mut().zip(row) {
            *sum += value;
        }
    }
}

impl<C: RecurrentCell> Recurrent<C> {
    /// A layer with weights drawn for each gate on its own, so that [`Init::Xavier`] counts `n_hidden` outputs, and with
    /// the cell's biases.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] for a size of zero, and those of [`Init::matrix`].
    pub fn new(
        n_in: usize,
        n_hidden: usize,
        direction: Direction,
        init: Init,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        check_range("n_in", n_in as f64, n_in > 0, "positive")?;
        check_range("n_hidden", n_hidden as f64, n_hidden > 0, "positive")?;
        let mut draw = |n_cols| {
            let mut values = Vec::new();
            for _ in 0..C::N_GATES {
                values.extend_from_slice(init.matrix(n_hidden, n_cols, rng)?.as_slice());
            }
            Matrix::from_vec(C::N_GATES * n_hidden, n_cols, values)
        };
        let (weight_ih, weight_hh) = (draw(n_in)?, draw(n_hidden)?);
        let mut bias_ih = Matrix::zeros(1, C::N_GATES * n_hidden);
        for (gate, bias) in bias_ih.as_mut_slice().chunks_exact_mut(n_hidden).enumerate() {
            bias.fill(C::initial_bias(gate));
        }
        let bias_hh = Matrix::zeros(1, C::N_GATES * n_hidden);
        let weights = RecurrentWeights { weight_ih, weight_hh, bias_ih, bias_hh };
        Self::from_weights(weights, direction)
    }

    /// A layer from given weights.
    ///
    /// # Errors
    /// [`NnError::Shape`] if they do not fit each other and the cell, [`NnError::OutOfRange`] if they are empty.
    pub fn from_weights(weights: RecurrentWeights, direction: Direction) -> Result<Self, NnError> {
        let (n_in, n_hidden) = (weights.weight_ih.cols(), weights.weight_hh.cols());
        check_range("n_in", n_in as f64, n_in > 0, "positive")?;
        check_range("n_hidden", n_hidden as f64, n_hidden > 0, "positive")?;
        weights.check_shapes(C::N_GATES * n_hidden, n_in, n_hidden)?;
        Ok(Self { weights, direction, cell: PhantomData })
    }

    /// Columns of the input.
    pub fn n_in(&self) -> usize {
        self.weights.weight_ih.cols()
    }

    /// Columns of the hidden states.
    pub fn n_hidden(&self) -> usize {
        self.weights.weight_hh.cols()
    }

    /// The weights.
    pub fn weights(&self) -> &RecurrentWeights {
        &self.weights
    }

    /// Returns the hidden state after each token, `[n_tokens, n_hidden]`, which stays in `workspace`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` is not `[batch.n_tokens(), n_in]`.
    pub fn forward<'w>(
        &self,
        x: &Matrix,
        batch: Ragged<'_>,
        workspace: &'w mut RecurrentWorkspace,
    ) -> Result<&'w Matrix, NnError> {
        let (n_tokens, n_in, n_hidden) = (batch.n_tokens(), self.n_in(), self.n_hidden());
        let n_gates = C::N_GATES * n_hidden;
        check_shape("recurrent input", [n_tokens, n_in], x.shape())?;
        let RecurrentWorkspace { steps, gates, recurrent, hidden, memory, .. } = workspace;
        steps.lay_out(batch, self.direction);
        workspace.x.reshape(n_tokens, n_in);
        gather(x, &steps.tokens, workspace.x.as_mut_slice());
        gates.reshape(n_tokens, n_gates);
        fill_rows(gates.as_mut_slice(), &self.weights.bias_ih);
        let input = Operand::new(workspace.x.as_slice(), n_tokens, n_in);
        let weight_ih = Operand::new(self.weights.weight_ih.as_slice(), n_gates, n_in);
        matmul(input, weight_ih.transposed(), gates.as_mut_slice(), true); // [n_tokens, n_gates]

        let n_first = steps.n_first();
        recurrent.resize(n_first * n_gates, 0.0);
        for states in [&mut *hidden, &mut *memory] {
            states.reshape(n_first + n_tokens, n_hidden);
            states.as_mut_slice()[..n_first * n_hidden].fill(0.0);
        }
        let weight_hh = Operand::new(self.weights.weight_hh.as_slice(), n_gates, n_hidden);
        for step in 0..steps.n_steps() {
            let (rows, before) = (steps.rows(step), steps.before(step) * n_hidden);
            let now = (n_first + rows.start) * n_hidden;
            let (hidden_before, hidden) = hidden.as_mut_slice().split_at_mut(now);
            let (memory_before, memory) = memory.as_mut_slice().split_at_mut(now);
            let hidden_before = &hidden_before[before..][..rows.len() * n_hidden];
            let memory_before = &memory_before[before..];
            let recurrent = &mut recurrent[..rows.len() * n_gates];
            fill_rows(recurrent, &self.weights.bias_hh);
            if step > 0 {
                let states = Operand::new(hidden_before, rows.len(), n_hidden);
                matmul(states, weight_hh.transposed(), recurrent, true); // [n_running, n_gates]
            }
            for (position, row) in rows.enumerate() {
                let unit = position * n_hidden..(position + 1) * n_hidden;
                let recurrent = &recurrent[position * n_gates..(position + 1) * n_gates];
                let before = CellState {
                    hidden: &hidden_before[unit.clone()],
                    memory: &memory_before[unit.clone()],
                };
                let now =
                    CellStateMut { hidden: &mut hidden[unit.clone()], memory: &mut memory[unit] };
                C::forward(gates.row_mut(row), recurrent, before, now);
            }
        }
        workspace.y.reshape(n_tokens, n_hidden);
        scatter(&hidden.as_slice()[n_first * n_hidden..], &steps.tokens, &mut workspace.y);
        Ok(&workspace.y)
    }

    /// Adds to `gradients` and, where a `dx` is wanted, overwrites it with `[n_tokens, n_in]`.
    ///
    /// `workspace` is that of the forward pass that came before, `dy: [n_tokens, n_hidden]` the gradient of its output.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `dy`, `workspace` or `gradients` do not fit.
    pub fn backward(
        &self,
        dy: &Matrix,
        dx: Option<&mut Matrix>,
        workspace: &mut RecurrentWorkspace,
        gradients: &mut RecurrentWeights,
    ) -> Result<(), NnError> {
        let (n_tokens, n_in, n_hidden) = (dy.rows(), self.n_in(), self.n_hidden());
        let n_gates = C::N_GATES * n_hidden;
        check_shape("gradient of hidden states", [n_tokens, n_hidden], dy.shape())?;
        check_shape("input in a recurrent workspace", [n_tokens, n_in], workspace.x.shape())?;
        check_shape(
            "gates in a recurrent workspace",
            [n_tokens, n_gates],
            workspace.gates.shape(),
        )?;
        gradients.check_shapes(n_gates, n_in, n_hidden)?;
        self.backward_through_time(dy, workspace);

        let RecurrentWorkspace { steps, x, hidden, d_gates, d_recurrent, .. } = workspace;
        let (x, d_product) = (
            Operand::new(x.as_slice(), n_tokens, n_in),
            Operand::new(d_gates.as_slice(), n_tokens, n_gates),
        );
        matmul(d_product.transposed(), x, gradients.weight_ih.as_mut_slice(), true); // [n_gates, n_in]
        add_rows(d_gates, &mut gradients.bias_ih);
        add_rows(d_recurrent, &mut gradients.bias_hh);

        // The first steps have no part in this one: the states before them are zero.
        let before = &mut workspace.hidden_before;
        before.clear();
        for step in 1..steps.n_steps() {
            let states = &hidden.as_slice()[steps.before(step) * n_hidden..];
            before.extend_from_slice(&states[..steps.rows(step).len() * n_hidden]);
        }
        let (n_first, n_later) = (steps.n_first(), n_tokens - steps.n_first());
        let before = Operand::new(before, n_later, n_hidden);
        let d_recurrent = &d_recurrent.as_slice()[n_first * n_gates..];
        let d_recurrent = Operand::new(d_recurrent, n_later, n_gates);
        matmul(d_recurrent.transposed(), before, gradients.weight_hh.as_mut_slice(), true); // [n_gates, n_hidden]

        if let Some(dx) = dx {
            let weight = Operand::new(self.weights.weight_ih.as_slice(), n_gates, n_in);
            workspace.d_x.resize(n_tokens * n_in, 0.0);
            matmul(d_product, weight, &mut workspace.d_x, false); // [n_tokens, n_in]
            dx.reshape(n_tokens, n_in);
            scatter(&workspace.d_x, &steps.tokens, dx);
        }
        Ok(())
    }

    /// Fills `d_gates` and `d_recurrent`, from the last step to the first.
    fn backward_through_time(&self, dy: &Matrix, workspace: &mut RecurrentWorkspace) {
        let [n_tokens, n_hidden] = dy.shape();
        let n_gates = C::N_GATES * n_hidden;
        let RecurrentWorkspace { steps, gates, hidden, memory, .. } = workspace;
        let RecurrentWorkspace { d_gates, d_recurrent, d_hidden, d_memory, .. } = workspace;
        let n_first = steps.n_first();
        d_gates.reshape(n_tokens, n_gates);
        d_recurrent.reshape(n_tokens, n_gates);
        d_memory.reset(n_first + n_tokens, n_hidden);
        d_hidden.reset(n_first + n_tokens, n_hidden);
        gather(dy, &steps.tokens, &mut d_hidden.as_mut_slice()[n_first * n_hidden..]);
        let weight_hh = Operand::new(self.weights.weight_hh.as_slice(), n_gates, n_hidden);
        for step in (0..steps.n_steps()).rev() {
            let (rows, before) = (steps.rows(step), steps.before(step));
            let now = (n_first + rows.start) * n_hidden;
            let (d_hidden_before, d_hidden) = d_hidden.as_mut_slice().split_at_mut(now);
            let (d_memory_before, d_memory) = d_memory.as_mut_slice().split_at_mut(now);
            let d_hidden_before = &mut d_hidden_before[before * n_hidden..];
            let d_memory_before = &mut d_memory_before[before * n_hidden..];
            for (position, row) in rows.clone().enumerate() {
                let unit = position * n_hidden..(position + 1) * n_hidden;
                let state = |row| CellState { hidden: hidden.row(row), memory: memory.row(row) };
                let d_now =
                    CellState { hidden: &d_hidden[unit.clone()], memory: &d_memory[unit.clone()] };
                let gradients = CellGradients {
                    d_before: CellStateMut {
                        hidden: &mut d_hidden_before[unit.clone()],
                        memory: &mut d_memory_before[unit],
                    },
                    d_gates: d_gates.row_mut(row),
                    d_recurrent: d_recurrent.row_mut(row),
                };
                let (before, now) = (state(before + position), state(n_first + row));
                C::backward(gates.row(row), before, now, d_now, gradients);
            }
            if step > 0 {
                let n_running = rows.len();
                let d_product = &d_recurrent.as_slice()[rows.start * n_gates..rows.end * n_gates];
                let d_product = Operand::new(d_product, n_running, n_gates);
                let d_states = &mut d_hidden_before[..n_running * n_hidden];
                matmul(d_product, weight_hh, d_states, true); // [n_running, n_hidden]
            }
        }
    }
}

impl RecurrentWeights {
    fn each(&self) -> [&Matrix; 4] {
        [&self.weight_ih, &self.weight_hh, &self.bias_ih, &self.bias_hh]
    }

    fn each_mut(&mut self) -> [&mut Matrix; 4] {
        [&mut self.weight_ih, &mut self.weight_hh, &mut self.bias_ih, &mut self.bias_hh]
    }

    fn check_shapes(&self, n_gates: usize, n_in: usize, n_hidden: usize) -> Result<(), NnError> {
        check_shape("weight_ih", [n_gates, n_in], self.weight_ih.shape())?;
        check_shape("weight_hh", [n_gates, n_hidden], self.weight_hh.shape())?;
        check_shape("bias_ih", [1, n_gates], self.bias_ih.shape())?;
        check_shape("bias_hh", [1, n_gates], self.bias_hh.shape())
    }
}

/// Names of [`RecurrentWeights::each`]. Those of the two directions differ, so that both fit under one name.
fn names(direction: Direction) -> [&'static str; 4] {
    match direction {
        Direction::Forward => ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"],
        Direction::Reverse => [
            "weight_ih_l0_reverse",
            "weight_hh_l0_reverse",
            "bias_ih_l0_reverse",
            "bias_hh_l0_reverse",
        ],
    }
}

impl<C> Parameters for Recurrent<C> {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        for (part, value) in names(self.direction).into_iter().zip(self.weights.each()) {
            visit(&name.child(part), value);
        }
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        let parts = names(self.direction).into_iter().zip(self.weights.each_mut());
        parts.into_iter().try_for_each(|(part, value)| visit(&name.child(part), value))
    }
}

impl<C> Trainable for Recurrent<C> {
    type Gradients = RecurrentWeights;

    fn new_gradients(&self) -> RecurrentWeights {
        let mut gradients = self.weights.clone();
        gradients.clear();
        gradients
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &RecurrentWeights,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        let parts = names(self.direction).into_iter().zip(self.weights.each_mut());
        parts.zip(gradients.each()).try_for_each(|((part, value), gradient)| {
            visit(&name.child(part), value, Gradient::Dense(gradient))
        })
    }
}

impl Gradients for RecurrentWeights {
    fn clear(&mut self) {
        self.each_mut().into_iter().for_each(Gradients::clear);
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        self.each_mut().into_iter().zip(other.each()).try_for_each(|(sum, other)| sum.add(other))
    }

    fn scale(&mut self, factor: f32) {
        self.each_mut().into_iter().for_each(|gradient| gradient.scale(factor));
    }

    fn squared_norm(&self) -> f64 {
        self.each().into_iter().map(Gradients::squared_norm).sum()
    }
}
