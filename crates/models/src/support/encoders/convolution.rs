//! Convolutions of several widths, each filter's largest answer, ReLU.

use forecart_nn::{
    Activation, Conv1dConfig, Conv1dMaxPool, Conv1dWorkspace, Matrix, NnError, Padding, Pass,
    Ragged,
};
use rand_chacha::ChaCha8Rng;

use super::encoder::Encoder;

/// `z = ReLU(max_i (w_f · x_{i..i + width} + b_f))` for each filter `f` (Kim, EMNLP 2014, equations 2 and 3).
#[derive(Debug, Clone)]
pub(super) struct Convolution {
    conv: Conv1dMaxPool,
}

forecart_nn::trainable!(
    Convolution,
    /// Gradients of a [`Convolution`].
    pub(super) struct ConvolutionGradients {
        conv: Conv1dMaxPool,
    }
);

/// Buffers of a [`Convolution`].
#[derive(Debug, Default)]
pub(super) struct ConvolutionWorkspace {
    conv: Conv1dWorkspace,
    z: Matrix,
}

impl Convolution {
    /// `n_filters` of each width, with one window a row.
    pub(super) fn new(
        n_in: usize,
        n_filters: usize,
        widths: Vec<usize>,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let config = Conv1dConfig { n_in, n_filters, widths, padding: Padding::Same };
        Ok(Self { conv: Conv1dMaxPool::new(&config, rng)? })
    }
}

impl Encoder for Convolution {
    type Workspace = ConvolutionWorkspace;

    fn n_out(&self) -> usize {
        self.conv.n_out()
    }

    fn forward(
        &self,
        x: &Matrix,
        texts: Ragged<'_>,
        _: Pass,
        ws: &mut ConvolutionWorkspace,
        z: &mut Matrix,
    ) -> Result<(), NnError> {
        let y = self.conv.forward(x, texts, &mut ws.conv)?; // [n_texts, n_out]
        Activation::Relu.forward(y, z);
        ws.z.copy_from(z);
        Ok(())
    }

    fn backward(
        &self,
        x: &Matrix,
        texts: Ragged<'_>,
        _: Pass,
        dz: &mut Matrix,
        dx: &mut Matrix,
        ws: &mut ConvolutionWorkspace,
        gradients: &mut ConvolutionGradients,
    ) -> Result<(), NnError> {
        Activation::Relu.backward(&ws.z, dz)?; // positive where its input is
        self.conv.backward(x, texts, dz, Some(dx), &ws.conv, &mut gradients.conv)
    }
}

#[cfg(test)]
mod tests {
    use super::super::encoder::check;
    use super::*;
    use rand::SeedableRng;

    fn encoder() -> Convolution {
        Convolution::new(4, 3, vec![1, 2, 3], &mut ChaCha8Rng::seed_from_u64(5)).unwrap()
    }

    #[test]
    fn gradients_agree_with_differences() {
        // Steps short enough that no window loses its place.
        check::gradients_agree(encoder(), 4, 2e-3);
    }

    #[test]
    fn texts_do_not_see_each_other() {
        check::texts_do_not_see_each_other(&encoder(), 4);
    }
}
