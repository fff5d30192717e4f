//! The mean of the rows of a text, with a bias and a function on it.

use forecart_nn::{Activation, Matrix, NnError, Pass, Ragged};

use super::encoder::{Encoder, add_mean_over_rows, mean_backward};

/// `z = f(mean of x + b)`. With the identity and without learned bias this is fastText (Joulin et al., EACL 2017); with ReLU, the hidden layer of
/// a perceptron on the n-grams of a text.
#[derive(Debug, Clone)]
pub(super) struct Bag {
    /// `[1, n_in]`.
    bias: Matrix,
    activation: Activation,
}

forecart_nn::trainable!(
    Bag,
    /// Gradients of a [`Bag`].
    pub(super) struct BagGradients {
        bias: Matrix,
    }
);

/// Buffers of a [`Bag`].
#[derive(Debug, Default)]
pub(super) struct BagWorkspace {
    mean: Matrix,
}

impl Bag {
    pub(super) fn new(n_in: usize, activation: Activation) -> Self {
        Self { bias: Matrix::zeros(1, n_in), activation }
    }
}

impl Encoder for Bag {
    type Workspace = BagWorkspace;

    fn n_out(&self) -> usize {
        self.bias.cols()
    }

    fn forward(
        &self,
        x: &Matrix,
        texts: Ragged<'_>,
        _: Pass,
        ws: &mut BagWorkspace,
        z: &mut Matrix,
    ) -> Result<(), NnError> {
        ws.mean.reshape(texts.n_sequences(), x.cols());
        for text in 0..texts.n_sequences() {
            ws.mean.row_mut(text).copy_from_slice(self.bias.as_slice());
        }
        add_mean_over_rows(x, texts, &mut ws.mean);
        self.activation.forward(&ws.mean, z);
        Ok(())
    }

    fn backward(
        &self,
        x: &Matrix,
        texts: Ragged<'_>,
        _: Pass,
        dz: &mut Matrix,
        dx: &mut Matrix,
        ws: &mut BagWorkspace,
        gradients: &mut BagGradients,
    ) -> Result<(), NnError> {
        self.activation.backward(&ws.mean, dz)?;
        for text in 0..dz.rows() {
            let d_bias = gradients.bias.as_mut_slice();
            d_bias.iter_mut().zip(dz.row(text)).for_each(|(sum, value)| *sum += value);
        }
        mean_backward(dz, texts, x.cols(), dx);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::encoder::check;
    use super::*;

    #[test]
    fn gradients_agree_with_differences() {
        check::gradients_agree(Bag::new(5, Activation::Tanh), 5, 1e-2);
        check::gradients_agree(Bag::new(5, Activation::Relu), 5, 1e-3);
    }

    #[test]
    fn texts_do_not_see_each_other() {
        check::texts_do_not_see_each_other(&Bag::new(5, Activation::Relu), 5);
    }
}
