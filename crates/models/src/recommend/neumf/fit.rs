//! Training on batches of pairs.

use std::num::NonZeroUsize;
use std::ops::Range;

use forecart_data::History;
use forecart_nn::{DataParallel, DropoutKey, NnError, Optimizer, Pass, Trainable};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::{NAME, NeuMfConfig};
use super::fold_in::{FoldIn, Prior};
use super::network::{Example, Network, NetworkGradients, Workspace};
use super::scorer::Scorer;
use super::{NeuMf, items_of};
use crate::error::ModelError;
use crate::recommend::choices::Choices;
use crate::recommend::contract::{FitContext, FitRecord};
use crate::recommend::early_stopping::Validation;
use crate::recommend::popularity::ItemCounts;
use crate::recommend::view::TrainingView;
use crate::training::{self, BatchLoss, Learner, Parts, Plan};

/// Examples that one thread works on at a time; not to be changed without notice, since results depend on it in the last bits.
pub(super) const TILE_ROWS: usize = 256;
/// Tiles whose buffers are held at a time.
pub(super) const N_BUFFERS: usize = 16;
/// Users of the validation part that are looked at after each epoch: each costs a fold-in.
const MAX_VALIDATION_USERS: usize = 3_000;

pub(super) fn fit(
    config: &NeuMfConfig,
    view: &TrainingView<'_>,
    context: &FitContext<'_>,
) -> Result<(NeuMf, FitRecord), ModelError> {
    let counts = ItemCounts::of(view, NAME)?;
    let mut rng = ChaCha8Rng::seed_from_u64(context.seed);
    let choices = Choices::of(view, &counts, NAME)?;
    let (known, n_users) = (&choices.known, choices.by_user.n_rows());
    let reference: Vec<u32> =
        (0..config.n_reference.get()).map(|_| known[rng.random_range(0..known.len())]).collect();
    let failed = ModelError::training(NAME, None);
    let network = Network::new(config, n_users, view.n_item_rows(), &mut rng);
    let network = network.map_err(failed)?;
    let mut trainer = Trainer::new(config, view, network, &choices, &reference)?;
    let plan = Plan {
        model: NAME,
        run: view.run(config, context.seed),
        n_epochs: config.n_epochs,
        batch_size: config.batch_size,
        patience: config.patience,
        optimizer: config.optimizer(),
    };
    let record = training::run(&mut trainer, &plan, context)?;
    let (network, chose) = (trainer.network, trainer.chose);
    let prior = Prior::of(network.users.table(), &chose);
    let model = NeuMf::new(config.clone(), network, prior, reference, counts);
    Ok((model.map_err(ModelError::training(NAME, None))?, record))
}

struct Trainer<'a> {
    config: &'a NeuMfConfig,
    network: Network,
    optimizer: Optimizer,
    parallel: DataParallel<Workspace, NetworkGradients>,
    choices: &'a Choices,
    /// Users who chose anything: the vectors of others are as they were drawn.
    chose: Vec<u32>,
    reference: &'a [u32],
    validation: Option<Validation<'a>>,
}

impl<'a> Trainer<'a> {
    fn new(
        config: &'a NeuMfConfig,
        view: &TrainingView<'a>,
        network: Network,
        choices: &'a Choices,
        reference: &'a [u32],
    ) -> Result<Self, ModelError> {
        let by_user = &choices.by_user;
        let chose = (0..by_user.n_rows()).filter(|user| !by_user.row(*user).0.is_empty());
        let tile_rows = NonZeroUsize::new(TILE_ROWS).expect("256 is not 0");
        let parallel = DataParallel::new(tile_rows, network.new_gradients());
        let max_history = config.max_history.get() as usize;
        Ok(Self {
            config,
            network,
            optimizer: config.optimizer().build(NAME)?,
            parallel,
            choices,
            chose: chose.map(|user| user as u32).collect(),
            reference,
            validation: Validation::of_at_most(view, max_history, MAX_VALIDATION_USERS),
        })
    }

    /// The pairs of a batch, each followed by items that the user did not choose.
    fn examples(&self, batch: &[u32], key: DropoutKey) -> Vec<Example> {
        let mut rng = ChaCha8Rng::seed_from_u64(key.to_seed());
        let n_negatives = self.config.n_negatives.get() as usize;
        let mut examples = Vec::with_capacity(batch.len() * (1 + n_negatives));
        for place in batch {
            let (user, item) = self.choices.pairs[*place as usize];
            examples.push(Example { user, item, target: 1.0 });
            for _ in 0..n_negatives {
                let item = self.choices.draw_other(user, &self.choices.known, &mut rng);
                examples.push(Example { user, item, target: 0.0 });
            }
        }
        examples
    }
}

impl Learner for Trainer<'_> {
    type Network = Network;

    fn n_examples(&self) -> usize {
        self.choices.pairs.len()
    }

    fn state(&self) -> (&Network, &Optimizer) {
        (&self.network, &self.optimizer)
    }

    fn parts(&mut self) -> Parts<'_, Network> {
        let Self { network, optimizer, parallel, .. } = self;
        Parts { network, optimizer, gradients: parallel.total() }
    }

    fn step(&mut self, batch: &[u32], key: DropoutKey) -> Result<BatchLoss, NnError> {
        let examples = self.examples(batch, key);
        let Self { network, optimizer, parallel, .. } = self;
        let mean = step(network, optimizer, parallel, &examples, key)?;
        Ok(BatchLoss { mean, n_labels: examples.len() })
    }

    fn validate(&mut self) -> Result<Option<f64>, NnError> {
        let Some(part) = &self.validation else { return Ok(None) };
        let (config, reference) = (self.config, self.reference);
        let scorer = Scorer::new(config, &self.network)?;
        let prior = Prior::of(self.network.users.table(), &self.chose);
        let n_item_rows = scorer.n_item_rows();
        let buffers = || (FoldIn::default(), vec![0.0; config.n_cols()]);
        let prepare = |history: History<'_>, (fold_in, user): &mut (FoldIn, Vec<f32>)| {
            let items = items_of(history.newest(config.max_history.get() as usize), n_item_rows);
            fold_in
                .write(config, (&scorer, &prior), reference, &items, user)
                .expect("the sizes are those of the network");
        };
        let score = |_, (fold_in, user): &mut (FoldIn, Vec<f32>), scores: &mut [f32]| {
            scorer
                .score_all(user, scores, &mut fold_in.scorer)
                .expect("the sizes are those of the network");
        };
        let ndcg = part.ndcg_of_variants(1, n_item_rows, buffers, prepare, score);
        Ok(ndcg.first().copied())
    }
}

/// One step of the optimizer on `examples`, those of one pair together; their mean loss.
pub(super) fn step(
    network: &mut Network,
    optimizer: &mut Optimizer,
    parallel: &mut DataParallel<Workspace, NetworkGradients>,
    examples: &[Example],
    key: DropoutKey,
) -> Result<f64, NnError> {
    let weights = &*network;
    let tile = |rows: Range<usize>, ws: &mut Workspace, gradients: &mut NetworkGradients| {
        let pass = Pass::Training { key, first_row: rows.start };
        weights.learn(&examples[rows], examples.len(), pass, ws, gradients)
    };
    let new_gradients = || weights.new_gradients();
    let (loss, gradients) = parallel.run(examples.len(), new_gradients, tile)?;
    optimizer.step(network, gradients)?;
    Ok(loss)
}
