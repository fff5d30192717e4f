//! Training on batches of events.

use forecart_data::{History, ItemIdx};
use forecart_nn::{
    DropoutKey, Gradients, Matrix, Mlp, NnError, Optimizer, RowGradients, Trainable,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::{NAME, TwoTowerConfig};
use super::network::{Examples, Network, NetworkGradients, Workspace, write_user};
use super::tower::TowerPass;
use super::{TwoTower, known_or_unknown};
use crate::error::ModelError;
use crate::recommend::asked_events::AskedEvents;
use crate::recommend::candidates::Candidates;
use crate::recommend::contract::{FitContext, FitRecord};
use crate::recommend::early_stopping::Validation;
use crate::recommend::popularity::ItemCounts;
use crate::recommend::view::TrainingView;
use crate::training::{self, BatchLoss, Learner, Parts, Plan};

pub(super) fn fit(
    config: &TwoTowerConfig,
    view: &TrainingView<'_>,
    context: &FitContext<'_>,
) -> Result<(TwoTower, FitRecord), ModelError> {
    let counts = ItemCounts::of(view, NAME)?;
    let mut rng = ChaCha8Rng::seed_from_u64(context.seed);
    let has_event: Vec<bool> =
        (0..view.n_item_rows()).map(|row| counts.get(ItemIdx(row as u32)) > 0.0).collect();
    let network = Network::new(config, view.item_features(), &has_event, &mut rng);
    let mut network = network.map_err(ModelError::training(NAME, None))?;
    network.refresh();
    let mut trainer = Trainer::new(config, view, network, &has_event)?;
    let plan = Plan {
        model: NAME,
        run: view.run(config, context.seed),
        n_epochs: config.n_epochs,
        batch_size: config.batch_size,
        patience: config.patience,
        optimizer: config.optimizer(),
    };
    let record = training::run(&mut trainer, &plan, context)?;
    let mut network = trainer.stepper.network;
    network.refresh();
    let model = TwoTower::new(config.clone(), &network, counts);
    Ok((model.map_err(ModelError::training(NAME, None))?, record))
}

struct Trainer<'a> {
    config: &'a TwoTowerConfig,
    stepper: Stepper,
    asked: AskedEvents,
    candidates: Candidates,
    /// Items with an event.
    known: Vec<u32>,
    validation: Option<Validation<'a>>,
}

impl<'a> Trainer<'a> {
    fn new(
        config: &'a TwoTowerConfig,
        view: &TrainingView<'a>,
        network: Network,
        has_event: &[bool],
    ) -> Result<Self, ModelError> {
        let max_history = config.max_history.get() as usize;
        let asked = AskedEvents::of(view, max_history, NAME)?;
        let known = (0..has_event.len() as u32).filter(|row| has_event[*row as usize]);
        Ok(Self {
            config,
            stepper: Stepper::new(network, config.optimizer().build(NAME)?),
            candidates: Candidates::of_labels(&asked.n_labels(view.n_item_rows())),
            asked,
            known: known.collect(),
            validation: Validation::of(view, max_history),
        })
    }
}

impl Learner for Trainer<'_> {
    type Network = Network;

    fn n_examples(&self) -> usize {
        self.asked.len()
    }

    fn state(&self) -> (&Network, &Optimizer) {
        (&self.stepper.network, &self.stepper.optimizer)
    }

    fn parts(&mut self) -> Parts<'_, Network> {
        let Stepper { network, optimizer, gradients, .. } = &mut self.stepper;
        Parts { network, optimizer, gradients }
    }

    fn step(&mut self, batch: &[u32], key: DropoutKey) -> Result<BatchLoss, NnError> {
        let Self { config, asked, candidates, known, .. } = self;
        let examples = batch.iter().map(|example| *example as usize);
        let histories: Vec<&[ItemIdx]> =
            examples.clone().map(|example| asked.history(example)).collect();
        let labels: Vec<u32> = examples.map(|example| asked.label(example).0).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(key.to_seed());
        let drawn: Vec<u32> =
            (0..config.n_negatives).map(|_| known[rng.random_range(0..known.len())]).collect();
        let candidates = candidates.join(&labels, drawn.into_iter(), known.len());
        let is_bare: Vec<bool> = match self.stepper.network.attributes {
            Some(_) => {
                candidates.items.iter().map(|_| rng.random_bool(config.id_dropout)).collect()
            }
            None => Vec::new(),
        };
        let place = |label: &u32| candidates.items.partition_point(|item| item < label) as u32;
        let labels: Vec<u32> = labels.iter().map(place).collect();
        let examples =
            Examples { histories: &histories, labels: &labels, candidates, is_bare: &is_bare };
        let mean = self.stepper.step(config, examples, key)?;
        Ok(BatchLoss { mean, n_labels: labels.len() })
    }

    fn validate(&mut self) -> Result<Option<f64>, NnError> {
        let Some(part) = &self.validation else { return Ok(None) };
        self.stepper.network.refresh();
        let (network, config) = (&self.stepper.network, self.config);
        let vectors = network.vectors(config)?;
        let encode = |histories: &[History<'_>], ws: &mut UserWorkspace, hidden: &mut Matrix| {
            let items = histories.iter().map(|history| {
                history.items.iter().map(|item| known_or_unknown(*item, vectors.rows()))
            });
            let items: Vec<Vec<ItemIdx>> = items.map(Iterator::collect).collect();
            let parts = (network.inputs(), &network.user);
            encode(config, parts, items.iter().map(Vec::as_slice), ws, hidden)
        };
        part.ndcg(&vectors, encode).map(Some)
    }
}

/// A network in training.
pub(super) struct Stepper {
    pub(super) network: Network,
    optimizer: Optimizer,
    pub(super) gradients: NetworkGradients,
    /// Of the items' inputs.
    composed: RowGradients,
    workspace: Workspace,
}

impl Stepper {
    pub(super) fn new(network: Network, optimizer: Optimizer) -> Self {
        let [n_rows, d] = network.items.table().shape();
        Self {
            gradients: network.new_gradients(),
            composed: RowGradients::new(n_rows, d),
            workspace: Workspace::default(),
            network,
            optimizer,
        }
    }

    /// One step of the optimizer; the mean loss.
    pub(super) fn step(
        &mut self,
        config: &TwoTowerConfig,
        examples: Examples<'_>,
        key: DropoutKey,
    ) -> Result<f64, NnError> {
        let Self { network, optimizer, gradients, composed, workspace } = self;
        gradients.clear();
        network.refresh_for(examples.histories, examples.candidates.items);
        let loss = network.learn(config, examples, key, workspace, (gradients, composed))?;
        *composed = network.backward_attributes(std::mem::take(composed), gradients);
        optimizer.step(network, gradients)?;
        Ok(loss)
    }
}

/// Buffers of [`encode`].
#[derive(Debug, Default)]
pub(super) struct UserWorkspace {
    x: Matrix,
    pass: TowerPass,
}

/// Writes one row a history, whose product with a row of the items' vectors is the score.
pub(super) fn encode<'h>(
    config: &TwoTowerConfig,
    (inputs, tower): (&Matrix, &Mlp),
    histories: impl ExactSizeIterator<Item = &'h [ItemIdx]>,
    ws: &mut UserWorkspace,
    hidden: &mut Matrix,
) -> Result<(), NnError> {
    ws.x.reshape(histories.len(), 2 * inputs.cols() + 1);
    for (row, history) in histories.enumerate() {
        write_user(config, inputs, history, ws.x.row_mut(row));
    }
    ws.pass.forward((tower, config.user_shape()), &ws.x, None, hidden)?;
    let scale = 1.0 / config.temperature as f32;
    hidden.as_mut_slice().iter_mut().for_each(|value| *value *= scale);
    Ok(())
}
