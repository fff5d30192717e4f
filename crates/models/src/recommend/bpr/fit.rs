//! Training on batches of pairs.

use std::num::NonZeroUsize;
use std::ops::Range;

use forecart_data::History;
use forecart_nn::{
    DataParallel, DropoutKey, Embedding, Init, Matrix, NnError, Optimizer, Trainable, dot, sigmoid,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Bpr;
use super::config::{BprConfig, BprNegatives, BprOptimizer, NAME};
use super::fold_in::FoldIn;
use crate::error::ModelError;
use crate::recommend::choices::Choices;
use crate::recommend::contract::{FitContext, FitRecord};
use crate::recommend::early_stopping::Validation;
use crate::recommend::interactions::distinct_items;
use crate::recommend::popularity::ItemCounts;
use crate::recommend::vector_model::Screen;
use crate::recommend::view::TrainingView;
use crate::training::{self, BatchLoss, Learner, Parts, Plan};

/// Pairs that one thread works on at a time; not to be changed without notice, since results depend on it in the last bits.
const TILE_ROWS: usize = 128;

pub(super) fn fit(
    config: &BprConfig,
    view: &TrainingView<'_>,
    context: &FitContext<'_>,
) -> Result<(Bpr, FitRecord), ModelError> {
    let counts = ItemCounts::of(view, NAME)?;
    let mut rng = ChaCha8Rng::seed_from_u64(context.seed);
    let choices = Choices::of(view, &counts, NAME)?;
    let pool = match config.negatives {
        BprNegatives::Uniform => &choices.known,
        BprNegatives::Popularity => &choices.by_user.cols,
    };
    let reference: Vec<u32> =
        (0..config.n_reference.get()).map(|_| pool[rng.random_range(0..pool.len())]).collect();
    let network = Factors::new(config, choices.by_user.n_rows(), view.n_item_rows(), &mut rng)
        .map_err(ModelError::training(NAME, None))?;
    let mut trainer = Trainer::new(config, view, network, &choices, pool, &reference)?;
    let plan = Plan {
        model: NAME,
        run: view.run(config, context.seed),
        n_epochs: config.n_epochs,
        batch_size: config.batch_size,
        patience: config.patience,
        optimizer: config.optimizer(),
    };
    let record = training::run(&mut trainer, &plan, context)?;
    let vectors = trainer.network.items.table().clone();
    Ok((Bpr { config: *config, vectors, reference, counts, screen: Screen::default() }, record))
}

/// The factors of users, and of items with a bias as the last column.
#[derive(Debug, Clone)]
struct Factors {
    users: Embedding,
    items: Embedding,
}

forecart_nn::trainable!(
    Factors,
    struct FactorGradients {
        users: Embedding,
        items: Embedding,
    }
);

impl Factors {
    fn new(
        config: &BprConfig,
        n_users: usize,
        n_item_rows: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let d = config.n_factors.get() as usize;
        let init = Init::TruncatedNormal { std_dev: 0.1 / (d as f32).sqrt() };
        let users = Embedding::new(n_users, d, init, rng)?;
        let mut items = init.matrix(n_item_rows, d + 1, rng)?;
        for item in 0..n_item_rows {
            items.row_mut(item)[d] = 0.0;
        }
        Ok(Self { users, items: Embedding::from_table(items)? })
    }
}

/// A user, an item that the user chose, and one that not.
#[derive(Debug, Clone, Copy)]
struct Triple {
    user: u32,
    chosen: u32,
    other: u32,
}

struct Trainer<'a> {
    config: &'a BprConfig,
    network: Factors,
    optimizer: Optimizer,
    parallel: DataParallel<(), FactorGradients>,
    choices: &'a Choices,
    /// What negatives are drawn from.
    pool: &'a [u32],
    reference: &'a [u32],
    validation: Option<Validation<'a>>,
}

impl<'a> Trainer<'a> {
    fn new(
        config: &'a BprConfig,
        view: &TrainingView<'a>,
        network: Factors,
        choices: &'a Choices,
        pool: &'a [u32],
        reference: &'a [u32],
    ) -> Result<Self, ModelError> {
        let tile_rows = NonZeroUsize::new(TILE_ROWS).expect("128 is not 0");
        let parallel = DataParallel::new(tile_rows, network.new_gradients());
        Ok(Self {
            config,
            network,
            optimizer: config.new_optimizer()?,
            parallel,
            choices,
            pool,
            reference,
            validation: Validation::of(view, config.max_history.get() as usize),
        })
    }

    /// The pairs of a batch, each with an item that the user did not choose.
    fn triples(&self, batch: &[u32], key: DropoutKey) -> Vec<Triple> {
        let mut rng = ChaCha8Rng::seed_from_u64(key.to_seed());
        let triple = |place: &u32| {
            let (user, chosen) = self.choices.pairs[*place as usize];
            let other = self.choices.draw_other(user, self.pool, &mut rng);
            Triple { user, chosen, other }
        };
        batch.iter().map(triple).collect()
    }
}

impl Learner for Trainer<'_> {
    type Network = Factors;

    fn n_examples(&self) -> usize {
        self.choices.pairs.len()
    }

    fn state(&self) -> (&Factors, &Optimizer) {
        (&self.network, &self.optimizer)
    }

    fn parts(&mut self) -> Parts<'_, Factors> {
        let Self { network, optimizer, parallel, .. } = self;
        Parts { network, optimizer, gradients: parallel.total() }
    }

    fn step(&mut self, batch: &[u32], key: DropoutKey) -> Result<BatchLoss, NnError> {
        let triples = self.triples(batch, key);
        let (users, items) = (self.network.users.table(), self.network.items.table());
        let d = users.cols();
        let network = &self.network;
        // The mean of the batch for Adam; a step of its own for each pair of SGD.
        let share = match self.config.optimizer {
            BprOptimizer::Adam => 1.0 / triples.len() as f32,
            BprOptimizer::Sgd => 1.0,
        };
        let decay = self.config.l2 as f32 * share;
        let tile = |rows: Range<usize>, (): &mut (), gradients: &mut FactorGradients| {
            let mut loss = 0.0;
            let (mut of_user, mut of_item) = (vec![0.0; d], vec![0.0; d + 1]);
            for Triple { user, chosen, other } in &triples[rows] {
                let w = users.row(*user as usize);
                let (chosen_row, other_row) =
                    (items.row(*chosen as usize), items.row(*other as usize));
                let difference = || chosen_row.iter().zip(other_row).map(|(a, b)| a - b);
                of_user.iter_mut().zip(difference()).for_each(|(to, value)| *to = value);
                let margin = dot(w, &of_user) + chosen_row[d] - other_row[d];
                loss += f64::from((-margin.abs()).exp().ln_1p() + (-margin).max(0.0));
                let slope = -sigmoid(-margin) * share;
                for (to, value) in of_user.iter_mut().zip(w) {
                    *to = slope * *to + decay * value;
                }
                gradients.users.add_to_row(*user, &of_user, 1.0);
                for (item, row, slope) in [(chosen, chosen_row, slope), (other, other_row, -slope)]
                {
                    for ((to, w), value) in of_item.iter_mut().zip(w.iter().chain([&1.0])).zip(row)
                    {
                        *to = slope * w + decay * value;
                    }
                    gradients.items.add_to_row(*item, &of_item, 1.0);
                }
            }
            Ok(loss / triples.len() as f64)
        };
        let new_gradients = || network.new_gradients();
        let (loss, gradients) = self.parallel.run(triples.len(), new_gradients, tile)?;
        self.optimizer.step(&mut self.network, gradients)?;
        Ok(BatchLoss { mean: loss, n_labels: batch.len() })
    }

    fn validate(&mut self) -> Result<Option<f64>, NnError> {
        let vectors = self.network.items.table();
        let (config, reference) = (self.config, self.reference);
        let encode = |histories: &[History<'_>], fold_in: &mut FoldIn, hidden: &mut Matrix| {
            hidden.reshape(histories.len(), vectors.cols());
            for (row, history) in histories.iter().enumerate() {
                let items = distinct_items(*history, vectors.rows());
                let items: Vec<u32> = items.into_iter().map(|(item, _)| item).collect();
                fold_in.write(config, vectors, reference, &items, hidden.row_mut(row));
            }
            Ok(())
        };
        self.validation.as_ref().map(|part| part.ndcg(vectors, encode)).transpose()
    }
}
