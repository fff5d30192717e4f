//! The whole history: attention over its events, with the objects and the time between them, and a logit of each intent at every moment.

use std::num::NonZeroU32;

use forecart_data::{History, Part, Questions};
use forecart_nn::{DataParallel, DropoutKey, NnError, Optimizer, Pass, Trainable};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{QuestionModel, QuestionSpec};
use super::examples::{Example, TILE_TOKENS, fill, tiles};
use super::labels::{logit, training_rates};
use super::network::{Network, NetworkGradients, Workspace};
use super::windows::{Windows, window_start};
use crate::error::ModelError;
use crate::recommend::registry::parse_keys;
use crate::recommend::{self, FeedForwardKind, Mixer, Objective, Parameter, Preset};
use crate::tensors::Tensors;
use crate::training::{
    self, BatchLoss, FitContext, FitRecord, Learner, LearningRateSchedule, Measure,
    OptimizerConfig, Parts, Plan, RunIdentity,
};

/// The name in the registry.
pub(super) const NAME: &str = "sequence";

/// Keys of what is left out of a step's objects, and of its behaviors.
const OBJECTS: usize = 7_000;
const BEHAVIORS: usize = 7_001;

/// Hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceConfig {
    /// Columns of an object's vector and of all that passes between layers.
    pub d_model: NonZeroU32,
    /// Layers.
    pub n_layers: NonZeroU32,
    /// Heads of each attention; `d_model` is a multiple.
    pub n_heads: NonZeroU32,
    /// Columns inside of the feed-forward network; 0 leaves it out.
    pub d_ff: u32,
    /// How an event learns of those before it: `attention` or `gru`, which does not see times.
    pub mixer: Mixer,
    /// Newest events that the model sees, at most: see [`SequenceSpec`].
    pub max_history: NonZeroU32,
    /// Share of values that are left out at random while training, in `0.0..1.0`.
    pub dropout: f64,
    /// An object with the share `s` of the training events is taken for the unknown one in `object_dropout / (object_dropout + s)` of its events
    /// while training (Kiperwasser and Goldberg, TACL 4, 2016, for words, with counts): rare objects tell users apart, not what they ask.
    pub object_dropout: f64,
    /// Share of the behaviors that are left out while training, at most, in `0.0..=1.0`: each event with its object, wherever it comes in a window, with one probability of the window,
    /// which is drawn from 0 to this. So that the answer to a history without one, which [explanations](super::explain) ask for, is learned and not guessed.
    pub behavior_dropout: f64,
    /// Step size of Adam.
    pub learning_rate: f64,
    /// Decoupled weight decay (AdamW).
    pub weight_decay: f64,
    /// How the learning rate goes on after the warm-up.
    pub schedule: LearningRateSchedule,
    /// Steps over which the learning rate rises from 0 in a line.
    pub warmup_steps: u32,
    /// Gradients whose norm over all weights is larger are scaled down to it; 0 for never.
    pub max_grad_norm: f64,
    /// Windows a step.
    pub batch_size: NonZeroU32,
    /// Passes over the training windows, at most where validation may stop them.
    pub n_epochs: NonZeroU32,
    /// Epochs without a better log loss on validation, of 1,000 steps in all at least, before training stops.
    pub patience: NonZeroU32,
}

impl Default for SequenceConfig {
    fn default() -> Self {
        let positive = |n: u32| NonZeroU32::new(n).expect("the defaults are not 0");
        Self {
            d_model: positive(64),
            n_layers: positive(2),
            n_heads: positive(4),
            d_ff: 128,
            mixer: Mixer::Attention,
            max_history: positive(128),
            dropout: 0.1,
            object_dropout: 0.03, // on the validation part of a generated log, before .001 and .01
            behavior_dropout: 0.2, // likewise, with 20 epochs in place of 10
            learning_rate: 2e-3,
            weight_decay: 0.01,
            schedule: LearningRateSchedule::Cosine,
            warmup_steps: 100,
            max_grad_norm: 1.0,
            batch_size: positive(32),
            n_epochs: positive(20),
            patience: positive(3),
        }
    }
}

impl SequenceConfig {
    fn check(&self) -> Result<(), ModelError> {
        let refuse = |key: &str, reason: String| Err(ModelError::hyperparameter(NAME, key, reason));
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", format!("{} is not in 0.0..1.0", self.dropout));
        }
        if !(self.object_dropout >= 0.0 && self.object_dropout.is_finite()) {
            return refuse("object_dropout", format!("{} is below 0", self.object_dropout));
        }
        if !(0.0..=1.0).contains(&self.behavior_dropout) {
            let reason = format!("{} is not in 0.0..=1.0", self.behavior_dropout);
            return refuse("behavior_dropout", reason);
        }
        if self.mixer == Mixer::Hstu {
            let reason = "its weights are divided by the length of the window, so that what comes later would play a part; take `attention`";
            return refuse("mixer", reason.into());
        }
        if self.mixer == Mixer::Attention && !self.d_model.get().is_multiple_of(self.n_heads.get())
        {
            return refuse("d_model", format!("{} is not a multiple of n_heads", self.d_model));
        }
        self.optimizer().check(NAME)
    }

    fn optimizer(&self) -> OptimizerConfig {
        OptimizerConfig {
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            decay_epochs: 0,
            max_grad_norm: self.max_grad_norm,
        }
    }

    /// The encoder: that of the recommenders over sequences. Positions count back from the newest event, which is another at each moment, so the
    /// order is told by distances between events instead.
    fn encoder(&self) -> recommend::SequenceConfig {
        recommend::SequenceConfig {
            d_model: self.d_model,
            n_layers: self.n_layers,
            n_heads: self.n_heads,
            d_ff: self.d_ff,
            feed_forward: FeedForwardKind::Gelu,
            mixer: self.mixer,
            positions: false,
            relative_bias: self.mixer == Mixer::Attention,
            input_scale: f64::from(self.d_model.get()).sqrt(),
            events: true,
            asked_event: 0,
            objective: Objective::Next,
            max_history: self.max_history.get(),
            dropout: Some(self.dropout),
            ..recommend::SequenceConfig::preset(Preset::SasRec)
        }
    }
}

/// The vectors of an event's name, of its object and of how it stands to earlier events of the same object, layers of causal attention with a learned bias for each distance in events and in time
/// (powers of two), and a linear layer from the state at an event to a logit of each intent.
///
/// Trained by the mean binary cross-entropy of all intents at all moments of the training part, a window of a history at a time: a moment sees
/// between half of `max_history` and all of it, and nothing of what comes after it. The epoch with the best log loss on validation is kept.
///
/// Source: Kang and McAuley, ICDM 2018, for the encoder; the biases are those of Zhai et al., ICML 2024. We differ: there is no position that
/// counts from the end, and what is predicted are several binary outcomes, not the next item.
#[derive(Debug, Clone)]
pub struct SequenceSpec {
    config: SequenceConfig,
}

const SEARCH_SPACE: &[Parameter] = &[
    Parameter::choice("d_model", &["32", "64", "128"]),
    Parameter::int("n_layers", 1, 3),
    Parameter::log("learning_rate", 3e-4, 1e-2),
    Parameter::float("dropout", 0.0, 0.5),
    Parameter::log_int("batch_size", 8, 128),
];

impl SequenceSpec {
    pub(super) fn from_keys(keys: &Value) -> Result<Self, ModelError> {
        let config: SequenceConfig = parse_keys(NAME, keys)?;
        config.check()?;
        Ok(Self { config })
    }

    /// The weights six times (values, two moments, best epoch, a checkpoint, a sum of gradients), gradients and activations of the tiles that are worked on
    /// at a time, and the moments.
    fn needed_bytes(&self, n_rows: [usize; 2], n_intents: usize, n_moments: usize) -> u64 {
        let SequenceConfig { d_model, n_layers, d_ff, max_history, .. } = self.config;
        let (d, n_layers) = (u64::from(d_model.get()), u64::from(n_layers.get()));
        let d_ff = u64::from(d_ff);
        let in_layers = n_layers * d * (6 * d + 2 * d_ff);
        let tables = (n_rows[0] + 2 * n_rows[1] + n_intents + 106) as u64 * d;
        let n_tokens = u64::from(max_history.get()).max(TILE_TOKENS as u64);
        let a_token = n_layers * (26 * d + 4 * d_ff + n_tokens * 4) + 8 * d + 4 * n_intents as u64;
        let n_tiles = 16.max(2 * rayon::current_num_threads() as u64);
        let in_tiles = n_tiles * (in_layers + n_tokens * (a_token + d));
        4 * (6 * (tables + in_layers) + in_tiles) + 16 * n_moments as u64
    }

    fn train(
        &self,
        questions: &Questions,
        context: &FitContext<'_>,
    ) -> Result<(Sequence, FitRecord), ModelError> {
        let config = &self.config;
        let rates = training_rates(questions)?.1;
        let max_history = config.max_history.get() as usize;
        let [train, validation] =
            [Part::Train, Part::Validation].map(|part| Windows::of(questions, part, max_history));
        let n_rows = [questions.objects().len(), questions.event_names().len()];
        let n_moments = train.n_moments() + validation.n_moments();
        let needed = self.needed_bytes(n_rows, rates.len(), n_moments);
        context.check_memory(NAME, needed, "lower d_model or max_history")?;
        let logits: Vec<f32> = rates.into_iter().map(logit).collect();
        let rng = &mut ChaCha8Rng::seed_from_u64(context.seed);
        let network = Network::new(&config.encoder(), n_rows, &logits, rng)
            .map_err(ModelError::training(NAME, None))?;
        let one = std::num::NonZeroUsize::MIN;
        let mut learning = Learning {
            parallel: DataParallel::new(one, network.new_gradients()),
            network,
            optimizer: config.optimizer().build(NAME)?,
            left_out: left_out(questions, config.object_dropout),
            behavior_dropout: config.behavior_dropout,
            questions,
            train,
            validation,
        };
        let plan = Plan {
            model: NAME,
            run: RunIdentity::new(NAME, &self.hyperparameters(), context.seed)
                .with("questions", &questions.manifest().content_hash),
            n_epochs: config.n_epochs,
            batch_size: config.batch_size,
            patience: config.patience,
            optimizer: config.optimizer(),
        };
        let record = training::run(&mut learning, &plan, context)?;
        Ok((Sequence { spec: self.clone(), network: learning.network }, record))
    }
}

impl QuestionSpec for SequenceSpec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers and names are JSON")
    }

    fn search_space(&self) -> &'static [Parameter] {
        SEARCH_SPACE
    }

    fn uses_seed(&self) -> bool {
        true
    }

    fn fit(
        &self,
        questions: &Questions,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn QuestionModel>, FitRecord), ModelError> {
        let (model, record) = context.on_threads(|| self.train(questions, context))?;
        Ok((Box::new(model), record))
    }
}

/// A network in training; examples are windows.
struct Learning<'a> {
    network: Network,
    optimizer: Optimizer,
    parallel: DataParallel<Workspace, NetworkGradients>,
    questions: &'a Questions,
    /// How often each object is taken for the unknown one, `[n_object_rows]`.
    left_out: Vec<f64>,
    /// See [`SequenceConfig::behavior_dropout`].
    behavior_dropout: f64,
    train: Windows,
    validation: Windows,
}

/// The share of its events in which each object is taken for the unknown one while training.
fn left_out(questions: &Questions, object_dropout: f64) -> Vec<f64> {
    let objects = questions.objects();
    let n_events: u64 = (0..objects.len() as u32).map(|row| objects.count(row)).sum();
    let weight = object_dropout * n_events as f64;
    let share = |row| match objects.count(row) as f64 + weight {
        0.0 => 0.0,
        n => weight / n,
    };
    (0..objects.len() as u32).map(share).collect()
}

impl Learner for Learning<'_> {
    type Network = Network;

    const MEASURE: Measure = Measure::LogLoss;

    fn n_examples(&self) -> usize {
        self.train.as_slice().len()
    }

    fn state(&self) -> (&Network, &Optimizer) {
        (&self.network, &self.optimizer)
    }

    fn parts(&mut self) -> Parts<'_, Network> {
        let Self { network, optimizer, parallel, .. } = self;
        Parts { network, optimizer, gradients: parallel.total() }
    }

    fn step(&mut self, batch: &[u32], key: DropoutKey) -> Result<BatchLoss, NnError> {
        let Self {
            network, optimizer, parallel, questions, left_out, train, behavior_dropout, ..
        } = self;
        let key_of_behaviors = key.layer(BEHAVIORS);
        let examples = batch.iter().enumerate().map(|(at, place)| {
            let window = &train.as_slice()[*place as usize];
            let key = key_of_behaviors.layer(at);
            Example::thinned(window, questions, *behavior_dropout, key)
        });
        let examples: Vec<Example<'_>> =
            examples.filter(|own| own.moments(train).next().is_some()).collect();
        let n_moments: usize = examples.iter().map(|own| own.moments(train).count()).sum();
        let n_labels = n_moments * network.n_intents();
        let tiles = tiles(examples.into_iter());
        let weights = &*network;
        let (mean, gradients) = parallel.run(
            tiles.len(),
            || weights.new_gradients(),
            |at, ws, gradients| {
                let tile = &tiles[at.start];
                let key_of_tile = key.layer(OBJECTS).layer(tile.first_row);
                let mut rng = ChaCha8Rng::seed_from_u64(key_of_tile.to_seed());
                let keep = |object: u32| rng.random::<f64>() >= left_out[object as usize];
                fill(weights, questions, train, tile, keep, ws);
                let pass = Pass::Training { key, first_row: tile.first_row };
                weights.learn(pass, n_labels as f64, ws, gradients)
            },
        )?;
        weights.finish(gradients)?;
        optimizer.step(network, gradients)?;
        Ok(BatchLoss { mean, n_labels })
    }

    fn validate(&mut self) -> Result<Option<f64>, NnError> {
        let Self { network, questions, validation, .. } = self;
        let n_labels = validation.n_moments() * network.n_intents();
        if n_labels == 0 {
            return Ok(None);
        }
        let tiles = tiles(validation.as_slice().iter().map(Example::whole));
        let losses: Vec<f64> = tiles
            .par_iter()
            .map_init(Workspace::default, |ws, tile| {
                fill(network, questions, validation, tile, |_| true, ws);
                network.loss(Pass::Inference, n_labels as f64, ws)
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(-losses.iter().sum::<f64>()))
    }
}

/// A fitted [`SequenceSpec`].
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    spec: SequenceSpec,
    network: Network,
}

impl Sequence {
    /// Reads what [`QuestionModel::tensors`] gave.
    pub(super) fn load(
        spec: SequenceSpec,
        tensors: &mut Tensors,
        n_intents: usize,
    ) -> Result<Self, ModelError> {
        // Before anything is as large as the header says.
        let rows = |name: &str| tensors.n_rows(name).unwrap_or(0);
        let n_rows = [rows("tokens.objects.weight"), rows("tokens.earlier.weight")];
        let encoder = spec.config.encoder();
        tensors.expect_at_least(encoder.least_weights(n_rows[0] + n_rows[1] + n_intents))?;
        // Weights that are overwritten below: the seed means nothing.
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let network = Network::new(&encoder, n_rows, &vec![0.0; n_intents], rng);
        let mut network = network.map_err(ModelError::training(NAME, None))?;
        tensors.take_parameters(&mut network, NAME)?;
        Ok(Self { spec, network })
    }
}

impl QuestionModel for Sequence {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.spec.hyperparameters()
    }

    fn n_intents(&self) -> usize {
        self.network.n_intents()
    }

    fn logits(&self, history: History<'_>, places: &[usize]) -> Result<Vec<f32>, ModelError> {
        let max_history = self.spec.config.max_history.get() as usize;
        let mut logits = Vec::with_capacity(places.len() * self.n_intents());
        let mut ws = Workspace::default();
        let start = |place: &usize| window_start(place + 1, max_history);
        for same in places.chunk_by(|a, b| start(a) == start(b)) {
            let (Some(first), Some(last)) = (same.first(), same.last()) else { continue };
            let start = start(first);
            ws.clear();
            let moments = same.iter().map(|place| (place - start, &[][..]));
            self.network.push(history.slice(start..last + 1), moments, |_| true, &mut ws);
            let found = self.network.forward(Pass::Inference, &mut ws);
            logits.extend_from_slice(found.map_err(ModelError::training(NAME, None))?.as_slice());
        }
        Ok(logits)
    }

    fn n_seen(&self, n_events: usize) -> usize {
        n_events - window_start(n_events, self.spec.config.max_history.get() as usize)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert_parameters(&self.network);
        tensors
    }
}
