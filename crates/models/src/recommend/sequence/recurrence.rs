//! A recurrent layer in the place of attention.

use forecart_nn::{Direction, Dropout, Gru, Init, Matrix, NnError, RecurrentWorkspace};
use rand_chacha::ChaCha8Rng;

use super::block::{Context, Dropped};
use super::config::SequenceConfig;

/// `dropout(GRU(x))`, without a residual or a norm: the state itself is what is carried on.
#[derive(Debug, Clone)]
pub(super) struct Recurrence {
    gru: Gru,
    dropout: Dropout,
}

forecart_nn::trainable!(
    Recurrence,
    /// Gradients of a [`Recurrence`].
    pub(super) struct RecurrenceGradients {
        gru: Gru,
    }
);

impl Recurrence {
    pub(super) fn new(config: &SequenceConfig, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let d = config.d_model.get() as usize;
        Ok(Self {
            gru: Gru::new(d, d, Direction::Forward, Init::Xavier, rng)?,
            dropout: Dropout::new(config.dropout as f32)?,
        })
    }

    /// Writes `y: [n, d]` for `x: [n, d]`.
    pub(super) fn forward(
        &self,
        x: &Matrix,
        y: &mut Matrix,
        context: Context<'_>,
        ws: &mut RecurrentWorkspace,
    ) -> Result<(), NnError> {
        y.copy_from(self.gru.forward(x, context.batch, ws)?); // [n, d]
        context.drop(self.dropout, Dropped::Branch, y);
        Ok(())
    }

    /// Turns `dy` into `dx` in place and adds to `gradients`; `scratch` takes any shape.
    pub(super) fn backward(
        &self,
        d: &mut Matrix,
        context: Context<'_>,
        scratch: &mut Matrix,
        ws: &mut RecurrentWorkspace,
        gradients: &mut RecurrenceGradients,
    ) -> Result<(), NnError> {
        context.drop(self.dropout, Dropped::Branch, d);
        self.gru.backward(d, Some(scratch), ws, &mut gradients.gru)?;
        std::mem::swap(d, scratch);
        Ok(())
    }
}
