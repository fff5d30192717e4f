//! Objects and events of a history to a logit of each intent at each of its moments.

use forecart_data::History;
use forecart_nn::loss::bce_with_logits;
use forecart_nn::{Init, Linear, Matrix, NnError, Pass};
use rand_chacha::ChaCha8Rng;

use super::tokens::{TokenGradients, TokenVectors, Tokens};
use crate::recommend::SequenceConfig;
use crate::recommend::sequence::encoder::{Encoder, EncoderGradients, Tile};

/// `logits = W h + b` at each moment, where `h` is what the encoder gives for its event.
#[derive(Debug, Clone)]
pub(super) struct Network {
    tokens: TokenVectors,
    encoder: Encoder,
    /// `[n_intents, d]` and a bias.
    head: Linear,
}

forecart_nn::trainable!(
    Network,
    /// Gradients of a [`Network`].
    pub(super) struct NetworkGradients {
        tokens: TokenVectors,
        encoder: Encoder,
        head: Linear,
    }
);

/// Some windows of histories with their moments, and the buffers of one tile.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    tile: Tile,
    tokens: Tokens,
    /// What the encoder reads, `[n_tokens, d]`.
    vectors: Matrix,
    /// Rows of the tile that are moments, and what came true at each, `[n_moments, n_intents]`.
    rows: Vec<usize>,
    targets: Vec<f32>,
    hidden: Matrix,
    d_hidden: Matrix,
    logits: Matrix,
    d_logits: Matrix,
}

impl Workspace {
    /// Empties it for other windows.
    pub(super) fn clear(&mut self) {
        self.tile.clear();
        self.tokens.clear();
        self.rows.clear();
        self.targets.clear();
    }
}

impl Network {
    /// A new network for so many rows of objects and events, whose logits begin at `logits`, `[n_intents]`.
    pub(super) fn new(
        config: &SequenceConfig,
        n_rows: [usize; 2],
        logits: &[f32],
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let d = config.d_model.get() as usize;
        let tokens = TokenVectors::new(n_rows, d, rng)?;
        let encoder = Encoder::new(config, true, n_rows[1], rng)?;
        let head = Linear::new(d, logits.len(), Init::Xavier, rng)?;
        let mut bias = Matrix::zeros(1, logits.len());
        bias.as_mut_slice().copy_from_slice(logits);
        let head = Linear::from_parts(head.weight().clone(), Some(bias))?;
        Ok(Self { tokens, encoder, head })
    }

    pub(super) fn n_intents(&self) -> usize {
        self.head.n_out()
    }

    /// Adds a window; each of its moments is a place in it and the intents that came true there. `keep` says which objects are read.
    pub(super) fn push<'m>(
        &self,
        window: History<'_>,
        moments: impl Iterator<Item = (usize, &'m [u32])>,
        keep: impl FnMut(u32) -> bool,
        ws: &mut Workspace,
    ) {
        let first = ws.tile.n_tokens();
        ws.tile.push(window, usize::MAX, 0, false);
        ws.tokens.push(window, keep);
        for (place, asked) in moments {
            let target = ws.targets.len();
            ws.targets.resize(target + self.n_intents(), 0.0);
            asked.iter().for_each(|intent| ws.targets[target + *intent as usize] = 1.0);
            ws.rows.push(first + place);
        }
    }

    /// The logits of all moments that were pushed, in their order, `[n_moments, n_intents]`.
    pub(super) fn forward<'w>(
        &self,
        pass: Pass,
        ws: &'w mut Workspace,
    ) -> Result<&'w Matrix, NnError> {
        let Workspace { tile, tokens, vectors, rows, hidden, logits, .. } = ws;
        self.tokens.forward(tokens, vectors);
        // Each token has a vector of its own.
        tile.items.iter_mut().zip(0..).for_each(|(item, token)| *item = token);
        self.encoder.forward(vectors, pass, tile)?;
        hidden.reshape(rows.len(), tile.hidden.cols());
        for (to, row) in rows.iter().enumerate() {
            hidden.row_mut(to).copy_from_slice(tile.hidden.row(*row));
        }
        self.head.forward(hidden, logits)?; // [n_moments, n_intents]
        Ok(logits)
    }

    /// The part of the pushed moments in a mean of binary cross-entropies over `mean_over` moments and intents.
    pub(super) fn loss(
        &self,
        pass: Pass,
        mean_over: f64,
        ws: &mut Workspace,
    ) -> Result<f64, NnError> {
        self.forward(pass, ws)?;
        bce_with_logits(&ws.logits, &ws.targets, None, mean_over, &mut ws.d_logits)
    }

    /// The same, and adds to `gradients`, whose sum is to be [finished](Self::finish).
    pub(super) fn learn(
        &self,
        pass: Pass,
        mean_over: f64,
        ws: &mut Workspace,
        gradients: &mut NetworkGradients,
    ) -> Result<f64, NnError> {
        let loss = self.loss(pass, mean_over, ws)?;
        let Workspace { tile, tokens, rows, hidden, d_hidden, d_logits, .. } = ws;
        self.head.backward(hidden, d_logits, Some(d_hidden), &mut gradients.head)?;
        tile.d_hidden.reset(tile.n_tokens(), hidden.cols());
        for (from, row) in rows.iter().enumerate() {
            tile.d_hidden.row_mut(*row).copy_from_slice(d_hidden.row(from));
        }
        let (of_tokens, of_encoder): (&mut TokenGradients, &mut EncoderGradients) =
            (&mut gradients.tokens, &mut gradients.encoder);
        self.encoder.backward(pass, tile, of_encoder, |token, d_vector, scale| {
            TokenVectors::add_gradient(tokens, token as usize, d_vector, scale, of_tokens);
        })?;
        Ok(loss)
    }

    /// Turns summed gradients into those of the parameters.
    pub(super) fn finish(&self, gradients: &mut NetworkGradients) -> Result<(), NnError> {
        self.encoder.finish(&mut gradients.encoder)
    }
}

#[cfg(test)]
mod tests {
    use forecart_data::ItemIdx;
    use forecart_nn::{Trainable, gradient_check};
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::recommend::{FeedForwardKind, Mixer, Preset};
    use crate::testing::networks::{analytic, key, set, values};

    fn configs() -> [SequenceConfig; 3] {
        let positive = |n: u32| std::num::NonZeroU32::new(n).unwrap();
        let config = |mixer, n_heads| SequenceConfig {
            d_model: positive(4),
            n_layers: positive(2),
            n_heads: positive(n_heads),
            d_ff: 5,
            feed_forward: FeedForwardKind::Gelu,
            mixer,
            positions: false,
            relative_bias: mixer == Mixer::Attention,
            input_scale: 1.5,
            max_history: 9,
            dropout: Some(0.2),
            ..SequenceConfig::preset(Preset::SasRec)
        };
        [config(Mixer::Attention, 2), config(Mixer::Attention, 1), config(Mixer::Gru, 1)]
    }

    /// Two windows, with moments at some of their places.
    fn push(network: &Network, ws: &mut Workspace) {
        let objects = [3, 1, 0, 4, 2, 1].map(ItemIdx);
        let history = History {
            items: &objects,
            timestamps_ms: &[0, 40, 41, 900, 5_000, 70_000],
            events: &[1, 2, 1, 3, 0, 2],
            values: &[],
        };
        ws.clear();
        let moments: [(usize, &[u32]); 3] = [(0, &[]), (2, &[1]), (3, &[0, 2])];
        network.push(history.first(4), moments.into_iter(), |object| object != 2, ws);
        let moments: [(usize, &[u32]); 2] = [(3, &[2]), (4, &[])];
        network.push(history.slice(1..6), moments.into_iter(), |_| true, ws);
    }

    #[test]
    fn gradients_of_head_and_encoder_agree_with_differences() {
        for config in configs() {
            let rng = &mut ChaCha8Rng::seed_from_u64(2);
            let mut network = Network::new(&config, [5, 4], &[-1.0, 0.5, 0.0], rng).unwrap();
            // Values as small as new ones are would leave gradients that a check cannot see.
            let moved: Vec<f32> =
                values(&network).iter().map(|value| value + rng.random::<f32>() - 0.5).collect();
            set(&mut network, &moved);
            let loss = |network: &Network, gradients: &mut NetworkGradients| {
                let mut ws = Workspace::default();
                push(network, &mut ws);
                let pass = Pass::Training { key: key(), first_row: 0 };
                let loss = network.learn(pass, 15.0, &mut ws, gradients).unwrap();
                network.finish(gradients).unwrap();
                loss
            };
            let mut gradients = network.new_gradients();
            loss(&network, &mut gradients);
            let analytic = analytic(&mut network, &mut gradients);
            // Most rows of the tables are those of other gaps.
            assert!(analytic.iter().filter(|slope| slope.abs() > 1e-3).count() > 150);
            let mut point = values(&network);
            let report = gradient_check(&mut point, &analytic, 5e-3, 0.01, |point| {
                set(&mut network, point);
                loss(&network, &mut network.new_gradients())
            });
            assert!(report.error < 0.01, "{config:?}: {report:?}");
        }
    }

    #[test]
    fn logits_begin_at_the_rates() {
        let rng = &mut ChaCha8Rng::seed_from_u64(2);
        let [config, ..] = configs();
        let network = Network::new(&config, [5, 4], &[-1.0, 0.5, 0.0], rng).unwrap();
        assert_eq!(network.head.bias().unwrap().as_slice(), [-1.0, 0.5, 0.0]);
        let mut gradients = network.new_gradients();
        let mut ws = Workspace::default();
        push(&network, &mut ws);
        let loss = network.learn(Pass::Inference, 15.0, &mut ws, &mut gradients).unwrap();
        assert!(loss > 0.0);
    }
}
