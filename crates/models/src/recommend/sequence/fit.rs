//! Training on batches of whole sequences.

use forecart_data::History;
use forecart_nn::{DropoutKey, NnError, Optimizer};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::encoder::Tile;
use super::network::Network;
use super::spec::SequenceSpec;
use super::step::Stepper;
use super::{Sequence, encode_newest};
use crate::error::ModelError;
use crate::recommend::contract::{FitContext, FitRecord};
use crate::recommend::early_stopping::Validation;
use crate::recommend::popularity::ItemCounts;
use crate::recommend::view::TrainingView;
use crate::training::{self, BatchLoss, Learner, Parts, Plan};

pub(super) fn fit(
    spec: &SequenceSpec,
    view: &TrainingView<'_>,
    context: &FitContext<'_>,
) -> Result<(Sequence, FitRecord), ModelError> {
    let (name, config) = (spec.preset.name(), &spec.config);
    let counts = ItemCounts::of(view, name)?;
    let max_history = config.max_history as usize;
    // One token more than the model sees: the first input has no label before it, the last label no input.
    let histories = view.users().map(|user| view.history(user).newest(max_history + 1));
    let histories: Vec<History<'_>> = histories.filter(|history| history.items.len() > 1).collect();
    if histories.is_empty() {
        return Err(ModelError::NoEvents { model: name });
    }
    if !forecart_nn::Precision::from(config.precision).is_fast() {
        context.progress.note(
            "precision bf16: this processor has no instructions for it, so products are those of the same rounded values at \
             the speed of f32 or below; f32 would be faster",
        );
    }
    let rng = &mut ChaCha8Rng::seed_from_u64(context.seed);
    let features = config.features(view);
    let network = Network::new(
        config,
        view.n_item_rows(),
        view.has_time(),
        view.n_event_rows(),
        features,
        rng,
    );
    let network = network.map_err(ModelError::training(name, None))?;
    let optimizer = config.optimizer();
    let mut learning = Learning {
        stepper: Stepper::new(config, network, optimizer.build(name)?).with_popularity(&counts),
        validation: Validation::of(view, max_history),
        histories,
        batch: Vec::new(),
    };
    let plan = Plan {
        model: name,
        run: view.run(spec, context.seed),
        n_epochs: config.n_epochs,
        batch_size: config.batch_size,
        patience: config.patience,
        optimizer,
    };
    let record = training::run(&mut learning, &plan, context)?;
    Ok((Sequence::new(spec.clone(), learning.stepper.network, counts), record))
}

/// Examples are sequences.
struct Learning<'a> {
    stepper: Stepper,
    histories: Vec<History<'a>>,
    validation: Option<Validation<'a>>,
    batch: Vec<History<'a>>,
}

impl Learner for Learning<'_> {
    type Network = Network;

    fn n_examples(&self) -> usize {
        self.histories.len()
    }

    fn state(&self) -> (&Network, &Optimizer) {
        (&self.stepper.network, &self.stepper.optimizer)
    }

    fn parts(&mut self) -> Parts<'_, Network> {
        let Stepper { network, optimizer, total, .. } = &mut self.stepper;
        Parts { network, optimizer, gradients: total }
    }

    fn step(&mut self, batch: &[u32], key: DropoutKey) -> Result<BatchLoss, NnError> {
        self.batch.clear();
        self.batch.extend(batch.iter().map(|place| self.histories[*place as usize]));
        let (mean, n_labels) = self.stepper.step(key, &self.batch)?;
        Ok(BatchLoss { mean, n_labels })
    }

    fn refresh(&mut self) -> Result<(), NnError> {
        self.stepper.network.outdate();
        Ok(())
    }

    fn validate(&mut self) -> Result<Option<f64>, NnError> {
        self.stepper.network.compose_all();
        let network = &self.stepper.network;
        let encode = |histories: &[History<'_>], tile: &mut Tile, hidden: &mut _| {
            encode_newest(network, histories, tile, hidden)
        };
        let ndcg = |part: &Validation<'_>| part.ndcg(network.vectors(), encode);
        self.validation.as_ref().map(ndcg).transpose()
    }
}
