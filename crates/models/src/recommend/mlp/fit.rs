//! Training on batches of events.

use std::num::NonZeroUsize;
use std::ops::Range;

use forecart_data::{History, ItemIdx};
use forecart_nn::loss::{
    FullSoftmaxGradients, FullSoftmaxWorkspace, LogQ, SampledSoftmax, SampledSoftmaxGradients,
    SampledSoftmaxWorkspace, full_softmax, sampled_softmax,
};
use forecart_nn::{DataParallel, DropoutKey, Matrix, NnError, Optimizer, Pass};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Mlp;
use super::config::{MlpConfig, NAME};
use super::gradients::NetworkGradients;
use super::network::{Network, Workspace, backward, forward};
use crate::error::ModelError;
use crate::recommend::asked_events::AskedEvents;
use crate::recommend::contract::{FitContext, FitRecord};
use crate::recommend::early_stopping::Validation;
use crate::recommend::item_table::ItemGradients;
use crate::recommend::popularity::ItemCounts;
use crate::recommend::vector_model::Screen;
use crate::recommend::view::TrainingView;
use crate::training::{self, BatchLoss, Learner, Parts, Plan};

/// Rows of a batch that one thread works on at a time; not to be changed without notice, since
/// results depend on it in the last bits.
pub(super) const TILE_ROWS: usize = 64;

pub(super) fn fit(
    config: &MlpConfig,
    view: &TrainingView<'_>,
    context: &FitContext<'_>,
) -> Result<(Mlp, FitRecord), ModelError> {
    let counts = ItemCounts::of(view, NAME)?;
    let mut rng = ChaCha8Rng::seed_from_u64(context.seed);
    let network = Network::new(config, view.item_features(), view.n_item_rows(), &mut rng);
    let mut network = network.map_err(ModelError::training(NAME, None))?;
    network.refresh().map_err(ModelError::training(NAME, None))?;
    let mut trainer = Trainer::new(config, view, network)?;
    let plan = Plan {
        model: NAME,
        run: view.run(config, context.seed),
        n_epochs: config.n_epochs,
        batch_size: config.batch_size,
        patience: config.patience,
        optimizer: config.optimizer(),
    };
    let record = training::run(&mut trainer, &plan, context)?;
    let network = trainer.network;
    let vectors = network.vectors().clone(); // features included
    Ok((
        Mlp {
            config: config.clone(),
            vectors,
            layers: network.layers,
            counts,
            screen: Screen::default(),
        },
        record,
    ))
}

struct Trainer<'a> {
    config: &'a MlpConfig,
    network: Network,
    optimizer: Optimizer,
    parallel: DataParallel<TileWorkspace, NetworkGradients>,
    is_full: bool,
    asked: AskedEvents,
    /// Logarithm of the share of each item among the labels, `[n_item_rows]`.
    log_q: Vec<f32>,
    validation: Option<Validation<'a>>,
    batch: Vec<usize>,
}

#[derive(Debug, Default)]
struct TileWorkspace {
    network: Workspace,
    full: FullSoftmaxWorkspace,
    sampled: SampledSoftmaxWorkspace,
}

impl<'a> Trainer<'a> {
    fn new(
        config: &'a MlpConfig,
        view: &TrainingView<'a>,
        network: Network,
    ) -> Result<Self, ModelError> {
        let max_history = config.max_history.get() as usize;
        let asked = AskedEvents::of(view, max_history, NAME)?;
        let n_examples = asked.len() as f64;
        // Items that are no label are never drawn, so their value is never read.
        let n_labels = asked.n_labels(view.n_item_rows());
        let log_q = n_labels.into_iter().map(|count| (count.max(1) as f64 / n_examples).ln());
        let optimizer = config.optimizer().build(NAME)?;
        let is_full = config.is_full(asked.len() as u64, view.n_item_rows() as u64);
        let tile_rows = NonZeroUsize::new(TILE_ROWS).expect("64 is not 0");
        let parallel = DataParallel::new(tile_rows, network.gradients(is_full));
        Ok(Self {
            config,
            network,
            optimizer,
            parallel,
            is_full,
            log_q: log_q.map(|value| value as f32).collect(),
            asked,
            validation: Validation::of(view, max_history),
            batch: Vec::new(),
        })
    }

    /// Items for the sampled softmax, drawn by how often each is a label.
    fn negatives(&self, key: DropoutKey) -> Vec<u32> {
        if self.is_full {
            return Vec::new();
        }
        let mut rng = ChaCha8Rng::seed_from_u64(key.layer(usize::MAX).to_seed());
        let draw = |_| self.asked.label(rng.random_range(0..self.asked.len())).0;
        (0..self.config.n_negatives.get()).map(draw).collect()
    }
}

impl Learner for Trainer<'_> {
    type Network = Network;

    fn n_examples(&self) -> usize {
        self.asked.len()
    }

    fn state(&self) -> (&Network, &Optimizer) {
        (&self.network, &self.optimizer)
    }

    fn parts(&mut self) -> Parts<'_, Network> {
        let Self { network, optimizer, parallel, .. } = self;
        Parts { network, optimizer, gradients: parallel.total() }
    }

    fn refresh(&mut self) -> Result<(), NnError> {
        self.network.refresh()
    }

    fn step(&mut self, batch: &[u32], key: DropoutKey) -> Result<BatchLoss, NnError> {
        self.batch.clear();
        self.batch.extend(batch.iter().map(|example| *example as usize));
        let negatives = &self.negatives(key)[..];
        let (network, config, asked) = (&self.network, self.config, &self.asked);
        let (log_q, is_full, batch) = (&self.log_q, self.is_full, &self.batch);
        let new_gradients = || network.gradients(is_full);
        let tile = |rows: Range<usize>,
                    ws: &mut TileWorkspace,
                    gradients: &mut NetworkGradients| {
            let pass = Pass::Training { key, first_row: rows.start };
            let examples = batch[rows].iter();
            let histories: Vec<&[ItemIdx]> =
                examples.clone().map(|example| asked.history(*example)).collect();
            let labels: Vec<u32> = examples.map(|example| asked.label(*example).0).collect();
            let vectors = network.vectors();
            let parts = (vectors, &network.layers, config);
            forward(parts, &histories, pass, &mut ws.network)?;
            let mean_over = batch.len() as f64;
            let Workspace { hidden, d_hidden, .. } = &mut ws.network;
            let loss = match &mut gradients.items {
                ItemGradients::Dense(d_table) => full_softmax(
                    hidden,
                    vectors,
                    &labels,
                    0.0, // no label smoothing
                    mean_over,
                    &mut ws.full,
                    FullSoftmaxGradients { d_hidden, d_table },
                ),
                ItemGradients::Rows(d_table) => sampled_softmax(
                    hidden,
                    vectors,
                    SampledSoftmax { labels: &labels, negatives, log_q: Some(LogQ::Items(log_q)) },
                    mean_over,
                    &mut ws.sampled,
                    SampledSoftmaxGradients { d_hidden, d_table },
                ),
            }?;
            backward((&network.layers, config), &histories, pass, &mut ws.network, gradients)?;
            Ok(loss)
        };
        let (loss, gradients) = self.parallel.run(batch.len(), new_gradients, tile)?;
        self.network.backward_features(gradients)?;
        self.optimizer.step(&mut self.network, gradients)?;
        self.network.refresh()?;
        Ok(BatchLoss { mean: loss, n_labels: batch.len() })
    }

    fn validate(&mut self) -> Result<Option<f64>, NnError> {
        let (network, config) = (&self.network, self.config);
        let encode = |histories: &[History<'_>], workspace: &mut Workspace, hidden: &mut Matrix| {
            let histories: Vec<&[ItemIdx]> =
                histories.iter().map(|history| history.items).collect();
            let parts = (network.vectors(), &network.layers, config);
            forward(parts, &histories, Pass::Inference, workspace)?;
            hidden.copy_from(&workspace.hidden);
            Ok(())
        };
        let ndcg = |part: &Validation<'_>| part.ndcg(network.vectors(), encode);
        self.validation.as_ref().map(ndcg).transpose()
    }
}
