//! Training of a network on texts, by the loop of all trained models.

use std::num::NonZeroUsize;
use std::ops::Range;

use forecart_nn::{DataParallel, DropoutKey, NnError, Optimizer, Pass, Trainable};

use super::network::{TextNetwork, TextNetworkGradients, Workspace};
use super::targets::Targets;
use super::texts::{BaggedTexts, LeftOut};
use crate::training::{BatchLoss, Learner, Parts};

/// Texts of a tile; not to be changed without notice, since results depend on it in the last bits.
pub(super) const TILE_TEXTS: usize = 16;

/// Tiles whose buffers are held at a time.
pub(super) const N_BUFFERS: usize = 16;

/// A network in training.
pub(super) struct TextLearner<'a> {
    pub(super) network: TextNetwork,
    pub(super) optimizer: Optimizer,
    parallel: DataParallel<Workspace, TextNetworkGradients>,
    texts: &'a BaggedTexts,
    targets: &'a Targets,
    left_out: LeftOut,
    /// The texts and targets of the step.
    batch: (BaggedTexts, Targets),
}

impl<'a> TextLearner<'a> {
    pub(super) fn new(
        network: TextNetwork,
        optimizer: Optimizer,
        (texts, targets): (&'a BaggedTexts, &'a Targets),
        left_out: LeftOut,
    ) -> Self {
        let tile = NonZeroUsize::new(TILE_TEXTS).expect("16 is not 0");
        let parallel = DataParallel::new(tile, network.new_gradients());
        let batch = (BaggedTexts::new(), targets.empty());
        Self { network, optimizer, parallel, texts, targets, left_out, batch }
    }
}

impl Learner for TextLearner<'_> {
    type Network = TextNetwork;

    fn n_examples(&self) -> usize {
        self.texts.len()
    }

    fn state(&self) -> (&TextNetwork, &Optimizer) {
        (&self.network, &self.optimizer)
    }

    fn parts(&mut self) -> Parts<'_, TextNetwork> {
        let Self { network, optimizer, parallel, .. } = self;
        Parts { network, optimizer, gradients: parallel.total() }
    }

    fn step(&mut self, batch: &[u32], key: DropoutKey) -> Result<BatchLoss, NnError> {
        let Self { network, optimizer, parallel, batch: (texts, targets), .. } = self;
        self.texts.gather(batch, Some((self.left_out, key)), texts);
        self.targets.gather(batch, targets);
        let (texts, targets, weights) = (&*texts, &*targets, &*network);
        let tile =
            |rows: Range<usize>, ws: &mut Workspace, gradients: &mut TextNetworkGradients| {
                let pass = Pass::Training { key, first_row: rows.start };
                weights.learn(texts, targets, rows, batch.len(), pass, ws, gradients)
            };
        let (mean, gradients) = parallel.run(texts.len(), || weights.new_gradients(), tile)?;
        optimizer.step(network, gradients)?;
        Ok(BatchLoss { mean, n_labels: batch.len() })
    }

    /// Nothing is chosen by validation.
    fn validate(&mut self) -> Result<Option<f64>, NnError> {
        Ok(None)
    }
}
