//! Convolution over time with max pooling.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::{
    Init, Linear, Matrix, NnError, Ragged,
    error::{check_length, check_range, check_shape},
    kernels::add_scaled,
};

/// Where the windows of a filter may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Inside the sequence. A sequence shorter than the filter is one window, with zeros after its end.
    Valid,
    /// One window a token, with zeros around the sequence; an even filter reaches one token further ahead.
    Same,
}

/// Sizes of a [`Conv1dMaxPool`].
#[derive(Debug, Clone, PartialEq)]
pub struct Conv1dConfig {
    /// Columns of the input.
    pub n_in: usize,
    /// Filters of each width.
    pub n_filters: usize,
    /// Tokens that a filter sees; 3, 4 and 5 in the paper.
    pub widths: Vec<usize>,
    /// Where the windows may lie.
    pub padding: Padding,
}

/// Filters of several widths over ragged sequences, and of each its largest answer in the sequence:
/// `y_f = max_i (w_f · x_{i..i + width} + b_f)`.
///
/// # Shapes
/// `x: [n_tokens, n_in]`, `y: [n_sequences, widths.len() * n_filters]`, width by width. The filters of one width are a
/// [`Linear`] layer over a window laid flat: weight `[n_filters, width * n_in]`, oldest token first, which is how PyTorch's
/// `Conv2d(1, n_filters, (width, n_in))` lies in memory.
///
/// There is no function on the answers: ReLU, sigmoid and tanh grow with their input and may as well be applied to `y`.
/// Of equal answers the oldest window counts. A sequence without tokens gives zeros.
///
/// Backward goes through the window that won, so it costs as much as one window a filter and sequence.
///
/// Source: Kim, EMNLP 2014, equations 2 and 3.
#[derive(Debug, Clone)]
pub struct Conv1dMaxPool {
    /// The filters of each width.
    convs: Vec<Linear>,
    widths: Vec<usize>,
    padding: Padding,
}

crate::trainable!(
    Conv1dMaxPool,
    /// Gradients of a [`Conv1dMaxPool`].
    pub struct Conv1dGradients {
        convs: Vec<Linear>,
    }
);

/// Buffers of one forward and backward pass, reused between steps. One for each tile that runs at a time.
#[derive(Debug, Clone, Default)]
pub struct Conv1dWorkspace {
    /// Of one width, `[n_windows, width * n_in]`.
    windows: Matrix,
    /// Of one width, `[n_windows, n_filters]`.
    answers: Matrix,
    y: Matrix,
    /// The window of the sequence that won, in the layout of `y`.
    winners: Vec<usize>,
}

impl Padding {
    fn n_windows(self, width: usize, len: usize) -> usize {
        match self {
            Self::Valid if len > 0 => len.max(width) - width + 1,
            Self::Valid => 0,
            Self::Same => len,
        }
    }

    /// The tokens of a sequence that a window sees, and how many zeros stand before them.
    fn window(self, window: usize, width: usize, len: usize) -> (Range<usize>, usize) {
        let n_left = match self {
            Self::Valid => 0,
            Self::Same => (width - 1) / 2,
        };
        let tokens = window.saturating_sub(n_left)..(window + width - n_left).min(len);
        (tokens, n_left.saturating_sub(window))
    }
}

impl Conv1dMaxPool {
    /// A layer with weights by [`Init::Xavier`] and zero bias.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] if a size is zero, [`NnError::Length`] if there is no width.
    pub fn new(config: &Conv1dConfig, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let &Conv1dConfig { n_in, n_filters, ref widths, padding } = config;
        check_range("n_in", n_in as f64, n_in > 0, "positive")?;
        check_range("n_filters", n_filters as f64, n_filters > 0, "positive")?;
        let filters = widths.iter().map(|&width| {
            check_range("widths", width as f64, width > 0, "positive")?;
            Ok((width, Linear::new(width * n_in, n_filters, Init::Xavier, rng)?))
        });
        Self::from_filters(filters.collect::<Result<_, NnError>>()?, padding)
    }

    /// A layer from given filters and their widths.
    ///
    /// # Errors
    /// [`NnError::Length`] if there is none, [`NnError::OutOfRange`] if a width is zero, [`NnError::Shape`] if the
    /// filters are for other inputs or not as many for each width.
    pub fn from_filters(filters: Vec<(usize, Linear)>, padding: Padding) -> Result<Self, NnError> {
        let Some((width, first)) = filters.first() else {
            return Err(NnError::Length { what: "filters", expected: 1, found: 0 });
        };
        let (n_in, n_filters) = (first.n_in() / (*width).max(1), first.n_out());
        for (width, filters) in &filters {
            check_range("widths", *width as f64, *width > 0, "positive")?;
            check_shape("filters", [n_filters, width * n_in], filters.weight().shape())?;
        }
        let (widths, convs) = filters.into_iter().unzip();
        Ok(Self { convs, widths, padding })
    }

    /// Columns of the input.
    pub fn n_in(&self) -> usize {
        self.convs[0].n_in() / self.widths[0]
    }

    /// Columns of the output.
    pub fn n_out(&self) -> usize {
        self.convs.len() * self.n_filters()
    }

    fn n_filters(&self) -> usize {
        self.convs[0].n_out()
    }

    /// Returns `y: [n_sequences, n_out]`, which stays in `workspace`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` is not `[batch.n_tokens(), n_in]`.
    pub fn forward<'w>(
        &self,
        x: &Matrix,
        batch: Ragged<'_>,
        workspace: &'w mut Conv1dWorkspace,
    ) -> Result<&'w Matrix, NnError> {
        check_shape("input of convolution", [batch.n_tokens(), self.n_in()], x.shape())?;
        let Conv1dWorkspace { windows, answers, y, winners } = workspace;
        y.reset(batch.n_sequences(), self.n_out());
        winners.clear();
        winners.resize(batch.n_sequences() * self.n_out(), 0);
        let n_filters = self.n_filters();
        for (conv_idx, (conv, &width)) in self.convs.iter().zip(&self.widths).enumerate() {
            self.lay_out_windows(width, x, batch, windows);
            conv.forward(windows, answers)?; // [n_windows, n_filters]
            let mut first_window = 0;
            for (sequence, tokens) in batch.sequences().enumerate() {
                let n_windows = self.padding.n_windows(width, tokens.len());
                if n_windows == 0 {
                    continue;
                }
                let filters = conv_idx * n_filters..(conv_idx + 1) * n_filters;
                let best = &mut y.row_mut(sequence)[filters.clone()];
                let winners = &mut winners[sequence * self.n_out()..][filters];
                best.copy_from_slice(answers.row(first_window));
                for window in 1..n_windows {
                    let answers = answers.row(first_window + window);
                    for ((best, winner), &answer) in best.iter_mut().zip(&mut *winners).zip(answers)
                    {
                        // NaN wins and stays, so that a diverged run is seen.
                        let wins = answer > *best || answer.is_nan();
                        *best = if wins { answer } else { *best };
                        *winner = if wins { window } else { *winner };
                    }
                }
                first_window += n_windows;
            }
        }
        Ok(y)
    }

    /// Writes the windows of one width, `[n_windows, width * n_in]`.
    fn lay_out_windows(&self, width: usize, x: &Matrix, batch: Ragged<'_>, windows: &mut Matrix) {
        let n_in = x.cols();
        let counts = batch.sequences().map(|rows| self.padding.n_windows(width, rows.len()));
        windows.reset(counts.sum(), width * n_in);
        let mut rows = windows.as_mut_slice().chunks_exact_mut(width * n_in);
        for tokens in batch.sequences() {
            let values = &x.as_slice()[tokens.start * n_in..tokens.end * n_in];
            let n_windows = self.padding.n_windows(width, tokens.len());
            for (window, row) in rows.by_ref().take(n_windows).enumerate() {
                let (seen, n_zeros) = self.padding.window(window, width, tokens.len());
                let values = &values[seen.start * n_in..seen.end * n_in];
                row[n_zeros * n_in..][..values.len()].copy_from_slice(values);
            }
        }
    }

    /// Adds to `gradients` and, where a `dx` is wanted, overwrites it with `[n_tokens, n_in]`.
    ///
    /// `x`, `batch` and `workspace` are those of the forward pass that came before, `dy: [n_sequences, n_out]` the gradient
    /// of its output.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Length`] if they or `gradients` do not fit.
    pub fn backward(
        &self,
        x: &Matrix,
        batch: Ragged<'_>,
        dy: &Matrix,
        mut dx: Option<&mut Matrix>,
        workspace: &Conv1dWorkspace,
        gradients: &mut Conv1dGradients,
    ) -> Result<(), NnError> {
        let (n_in, n_out, n_filters) = (self.n_in(), self.n_out(), self.n_filters());
        check_shape("input of convolution", [batch.n_tokens(), n_in], x.shape())?;
        check_shape("gradient of convolution", [batch.n_sequences(), n_out], dy.shape())?;
        check_length(
            "winners in a workspace",
            batch.n_sequences() * n_out,
            workspace.winners.len(),
        )?;
        check_length("gradients of filters", self.convs.len(), gradients.convs.len())?;
        if let Some(dx) = &mut dx {
            dx.reset(batch.n_tokens(), n_in);
        }
        let filters = self.convs.iter().zip(&self.widths).zip(&mut gradients.convs);
        for (conv_idx, ((conv, &width), gradients)) in filters.enumerate() {
            check_shape("gradient of filters", conv.weight().shape(), gradients.weight.shape())?;
            for (sequence, tokens) in batch.sequences().enumerate() {
                if tokens.is_empty() {
                    continue;
                }
                for filter in 0..n_filters {
                    let column = conv_idx * n_filters + filter;
                    let d = dy.row(sequence)[column];
                    let winner = workspace.winners[sequence * n_out + column];
                    let (seen, n_zeros) = self.padding.window(winner, width, tokens.len());
                    let seen = (tokens.start + seen.start) * n_in..(tokens.start + seen.end) * n_in;
                    let taps = n_zeros * n_in..n_zeros * n_in + seen.len();
                    if let Some(bias) = &mut gradients.bias {
                        bias.as_mut_slice()[filter] += d;
                    }
                    let d_weight = &mut gradients.weight.row_mut(filter)[taps.clone()];
                    add_scaled(d, &x.as_slice()[seen.clone()], d_weight);
                    if let Some(dx) = &mut dx {
                        let weight = &conv.weight().row(filter)[taps];
                        add_scaled(d, weight, &mut dx.as_mut_slice()[seen]);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Trainable;

    #[test]
    fn windows_lie_where_the_padding_says() {
        let all = |padding: Padding, width, len| -> Vec<_> {
            (0..padding.n_windows(width, len)).map(|i| padding.window(i, width, len)).collect()
        };
        assert_eq!(all(Padding::Valid, 2, 3), [(0..2, 0), (1..3, 0)]);
        assert_eq!(all(Padding::Valid, 3, 2), [(0..2, 0)]);
        assert_eq!(all(Padding::Valid, 3, 0), []);
        assert_eq!(all(Padding::Same, 3, 3), [(0..2, 1), (0..3, 0), (1..3, 0)]);
        assert_eq!(all(Padding::Same, 4, 2), [(0..2, 1), (0..2, 0)]);
        assert_eq!(all(Padding::Same, 5, 1), [(0..1, 2)]);
        assert_eq!(all(Padding::Same, 2, 0), []);
    }

    #[test]
    fn the_oldest_of_equal_windows_wins_and_empty_sequences_are_zero() {
        let filters = Linear::from_parts(
            Matrix::from_rows(&[[1.0, 1.0], [-1.0, 1.0]]),
            Some(Matrix::from_rows(&[[0.5, -9.0]])),
        );
        let layer =
            Conv1dMaxPool::from_filters(vec![(2, filters.unwrap())], Padding::Valid).unwrap();
        let x = Matrix::from_rows(&[[1.0], [2.0], [1.0], [4.0]]);
        let batch = Ragged::new(&[0, 3, 3, 4]).unwrap();
        let mut workspace = Conv1dWorkspace::default();
        let y = layer.forward(&x, batch, &mut workspace).unwrap();
        assert_eq!(y, &Matrix::from_rows(&[[3.5, -8.0], [0.0, 0.0], [4.5, -13.0]]));
        let (mut dx, mut gradients) = (Matrix::default(), layer.new_gradients());
        let dy = Matrix::from_rows(&[[1.0, 0.0], [7.0, 7.0], [0.0, 2.0]]);
        layer.backward(&x, batch, &dy, Some(&mut dx), &workspace, &mut gradients).unwrap();
        assert_eq!(dx, Matrix::from_rows(&[[1.0], [1.0], [0.0], [-2.0]]));
        let d_filters = &gradients.convs[0];
        assert_eq!(d_filters.weight, Matrix::from_rows(&[[1.0, 2.0], [8.0, 0.0]]));
        assert_eq!(d_filters.bias, Some(Matrix::from_rows(&[[1.0, 2.0]])));
    }

    #[test]
    fn nan_is_never_pooled_away() {
        let filters = Linear::from_parts(Matrix::from_rows(&[[1.0]]), None).unwrap();
        let layer = Conv1dMaxPool::from_filters(vec![(1, filters)], Padding::Valid).unwrap();
        for position in 0..3 {
            let mut x = Matrix::zeros(3, 1);
            x.as_mut_slice()[position] = f32::NAN;
            let mut workspace = Conv1dWorkspace::default();
            let batch = Ragged::new(&[0, 3]).unwrap();
            assert!(layer.forward(&x, batch, &mut workspace).unwrap().as_slice()[0].is_nan());
        }
    }

    #[test]
    fn impossible_layers_are_refused() {
        let linear = |n_in| Linear::from_parts(Matrix::zeros(2, n_in), None).unwrap();
        assert!(Conv1dMaxPool::from_filters(vec![], Padding::Same).is_err());
        assert!(Conv1dMaxPool::from_filters(vec![(0, linear(3))], Padding::Same).is_err());
        let filters = vec![(2, linear(6)), (3, linear(8))];
        assert!(Conv1dMaxPool::from_filters(filters, Padding::Same).is_err());
        let filters = vec![(2, linear(6)), (3, linear(9))];
        assert_eq!(Conv1dMaxPool::from_filters(filters, Padding::Same).unwrap().n_out(), 4);
    }
}
