//! The training loop: batches, loss, early stopping.

use std::num::NonZeroUsize;
use std::ops::Range;

use forecart_data::{History, ItemIdx};
use forecart_nn::loss::{
    FullSoftmaxGradients, FullSoftmaxWorkspace, LogQ, SampledSoftmax, SampledSoftmaxGradients,
    SampledSoftmaxWorkspace, full_softmax, sampled_softmax,
};
use forecart_nn::{Adam, DataParallel, DropoutKey, Matrix, NnError, Optimizer, Pass};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Mlp;
use super::config::{MlpConfig, NAME};
use super::gradients::NetworkGradients;
use super::network::{Network, Workspace, backward, forward};
use crate::error::ModelError;
use crate::recommend::contract::{EpochRecord, FitContext, FitRecord};
use crate::recommend::early_stopping::Validation;
use crate::recommend::item_table::ItemGradients;
use crate::recommend::popularity::ItemCounts;
use crate::recommend::view::TrainingView;

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
    let setup = ModelError::training(NAME, None);
    let network = Network::new(config, view.item_features(), view.n_item_rows(), &mut rng);
    let mut trainer = Trainer::new(config, view, network.map_err(setup)?)?;
    let validation = Validation::of(view, config.max_history.get() as usize);

    let mut record = FitRecord::default();
    let mut best: Option<(f64, Network)> = None;
    let n_epochs = config.n_epochs.get() as usize;
    let n_steps = trainer.examples.len() * n_epochs;
    context.progress.begin("training mlp", Some(n_steps as u64));
    for epoch in 1..=n_epochs {
        let train_loss = trainer.epoch(epoch, &mut rng, context)?;
        let failed = ModelError::training(NAME, epoch);
        trainer.network.refresh().map_err(failed)?;
        let network = &trainer.network;
        let encode = |histories: &[History<'_>], workspace: &mut Workspace, hidden: &mut Matrix| {
            let histories: Vec<&[ItemIdx]> =
                histories.iter().map(|history| history.items).collect();
            let parts = (network.vectors(), &network.layers, config);
            forward(parts, &histories, Pass::Inference, workspace)?;
            hidden.copy_from(&workspace.hidden);
            Ok(())
        };
        let ndcg = validation.as_ref().map(|part| part.ndcg(network.vectors(), encode));
        let ndcg = ndcg.transpose().map_err(ModelError::training(NAME, epoch))?;
        record.curve.push(EpochRecord::new(epoch, train_loss, ndcg));
        context.progress.note(&note(epoch, train_loss, ndcg));
        let Some(ndcg) = ndcg else {
            record.chosen_epoch = Some(epoch);
            continue;
        };
        if best.as_ref().is_none_or(|(best, _)| ndcg > *best) {
            best = Some((ndcg, trainer.network.clone()));
            record.chosen_epoch = Some(epoch);
        }
        if epoch - record.chosen_epoch.unwrap_or(0) >= config.patience.get() as usize {
            break;
        }
    }
    let network = best.map_or(trainer.network, |(_, network)| network);
    let vectors = network.vectors().clone(); // features included
    Ok((Mlp { config: config.clone(), vectors, layers: network.layers, counts }, record))
}

fn note(epoch: usize, loss: f64, ndcg: Option<f64>) -> String {
    let validation = ndcg.map(|ndcg| format!(", validation NDCG@10 {ndcg:.4}")).unwrap_or_default();
    format!("epoch {epoch}: loss {loss:.4}{validation}")
}

/// An event to predict: where it stands and where its sequence begins.
#[derive(Debug, Clone, Copy)]
struct Example {
    start: usize,
    place: usize,
}

struct Trainer<'a> {
    config: &'a MlpConfig,
    network: Network,
    optimizer: Optimizer,
    parallel: DataParallel<TileWorkspace, NetworkGradients>,
    is_full: bool,
    /// All sequences end to end.
    items: Vec<ItemIdx>,
    examples: Vec<Example>,
    /// Logarithm of the share of each item among the labels, `[n_item_rows]`.
    log_q: Vec<f32>,
    n_steps: u64,
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
        view: &TrainingView<'_>,
        network: Network,
    ) -> Result<Self, ModelError> {
        let (mut items, mut examples) = (Vec::new(), Vec::new());
        for user in view.users() {
            let start = items.len();
            items.extend_from_slice(view.history(user).items);
            let places = (start + 1)..items.len();
            let examples_of = places.filter(|place| items[*place].is_known());
            examples.extend(examples_of.map(|place| Example { start, place }));
        }
        if examples.is_empty() {
            return Err(ModelError::NoEvents { model: NAME });
        }
        let mut counts = vec![0_u64; view.n_item_rows()];
        for example in &examples {
            counts[items[example.place].row()] += 1;
        }
        let n_examples = examples.len() as f64;
        // Items that are no label are never drawn, so their value is never read.
        let log_q = counts.iter().map(|count| (count.max(&1).to_owned() as f64 / n_examples).ln());
        let rule = Adam {
            learning_rate: config.learning_rate as f32,
            weight_decay: config.weight_decay as f32,
            ..Adam::default()
        };
        let optimizer = Optimizer::new(rule).map_err(ModelError::training(NAME, None))?;
        let is_full = config.is_full(examples.len() as u64, view.n_item_rows() as u64);
        let tile_rows = NonZeroUsize::new(TILE_ROWS).expect("64 is not 0");
        let parallel = DataParallel::new(tile_rows, network.gradients(is_full));
        Ok(Self {
            config,
            network,
            optimizer,
            parallel,
            is_full,
            items,
            log_q: log_q.map(|value| value as f32).collect(),
            examples,
            n_steps: 0,
        })
    }

    /// One pass over the examples in a new order; the mean loss.
    fn epoch(
        &mut self,
        epoch: usize,
        rng: &mut ChaCha8Rng,
        context: &FitContext<'_>,
    ) -> Result<f64, ModelError> {
        self.examples.shuffle(rng);
        let mut examples = std::mem::take(&mut self.examples);
        let mut sum = 0.0;
        for batch in examples.chunks(self.config.batch_size.get() as usize) {
            context.check_cancelled()?;
            let negatives: Vec<u32> = match self.is_full {
                true => Vec::new(),
                false => (0..self.config.n_negatives.get())
                    .map(|_| self.items[examples[rng.random_range(0..examples.len())].place].0)
                    .collect(),
            };
            let loss = self.step(batch, &negatives, context.seed);
            sum += loss.map_err(ModelError::training(NAME, epoch))? * batch.len() as f64;
            context.progress.advance(batch.len() as u64);
        }
        std::mem::swap(&mut self.examples, &mut examples);
        Ok(sum / self.examples.len() as f64)
    }

    /// One step of the optimizer; the mean loss of the batch.
    fn step(&mut self, batch: &[Example], negatives: &[u32], seed: u64) -> Result<f64, NnError> {
        self.n_steps += 1;
        self.network.refresh()?;
        let key = DropoutKey::new(seed, self.n_steps);
        let (network, config, items) = (&self.network, self.config, &self.items);
        let (log_q, is_full) = (&self.log_q, self.is_full);
        let new_gradients = || network.gradients(is_full);
        let tile = |rows: Range<usize>,
                    ws: &mut TileWorkspace,
                    gradients: &mut NetworkGradients| {
            let pass = Pass::Training { key, first_row: rows.start };
            let rows = &batch[rows];
            let max_history = config.max_history.get() as usize;
            let histories: Vec<&[ItemIdx]> = rows
                .iter()
                .map(|row| &items[row.start.max(row.place.saturating_sub(max_history))..row.place])
                .collect();
            let labels: Vec<u32> = rows.iter().map(|row| items[row.place].0).collect();
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
        Ok(loss)
    }
}
