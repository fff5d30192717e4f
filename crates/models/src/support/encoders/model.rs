//! The networks as models of intents.

use forecart_text::Analyzed;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::super::contract::{IntentModel, IntentSpec, IntentTexts};
use super::config::EncoderSpec;
use super::fit::{N_BUFFERS, TextLearner};
use super::input::{Input, Reading};
use super::network::{TextNetwork, Workspace};
use super::targets::Targets;
use super::texts::BaggedTexts;
use crate::error::ModelError;
use crate::recommend::Parameter;
use crate::tensors::Tensors;
use crate::training::{self, FitContext, FitRecord, Plan, RunIdentity};

impl IntentSpec for EncoderSpec {
    fn name(&self) -> &'static str {
        self.encoder.model()
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers in a struct are JSON")
    }

    fn search_space(&self) -> &'static [Parameter] {
        self.search_space()
    }

    /// Embeddings with two moments, a checkpoint's and the gradients of the tiles, for as many pieces as there can be; the pieces of all texts; and the
    /// dense layers with theirs.
    fn needed_bytes(&self, train: IntentTexts<'_>) -> u64 {
        let n_bytes: u64 = train.texts.iter().map(|text| text.text().len() as u64).sum();
        let (lengths, distinct) = match self.encoder.reading() {
            Reading::Weighted => (7, 4),
            Reading::Whole | Reading::ByWord => (4, 8),
        };
        let n_pieces = n_bytes * lengths;
        let sizes = self.sizes(0, train.n_intents);
        let n_dense = sizes.n_dense() as u64;
        n_pieces * 16
            + (n_pieces / distinct)
                .min(self.config.max_features.get().into())
                .saturating_mul(5 * 4 * sizes.n_dims as u64)
            + n_dense.saturating_mul(4 * (5 + N_BUFFERS as u64))
    }

    /// Learns for a number of steps that is settled before, with a step size that falls to 0: no epoch is chosen, and `validation` is not looked at.
    fn fit(
        &self,
        train: IntentTexts<'_>,
        _validation: IntentTexts<'_>,
        identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn IntentModel>, FitRecord), ModelError> {
        let hint = "lower `n_dims`, or raise `min_count`";
        context.check_memory(self.name(), self.needed_bytes(train), hint)?;
        let smoothing = self.config.label_smoothing as f32;
        let targets = Targets::Labels { labels: train.labels.to_vec(), smoothing };
        let texts = (train.texts, train.texts);
        let (model, record) = self.train(texts, train.n_intents, &targets, identity, context)?;
        Ok((Box::new(model), record))
    }

    fn for_refit(&self, _record: &FitRecord) -> Box<dyn IntentSpec> {
        Box::new(self.clone())
    }
}

impl EncoderSpec {
    /// Learns to say of texts what another model says: its logits, `[n_texts][n_intents]`, at a temperature. The first `n_known` texts are those whose pieces are
    /// known.
    pub(in super::super) fn imitate(
        &self,
        (texts, n_known): (&[Analyzed], usize),
        (logits, temperature): (&[Vec<f32>], f64),
        identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(EncoderModel, FitRecord), ModelError> {
        let targets = Targets::soft(logits, temperature as f32);
        let n_intents = logits.first().map_or(0, Vec::len);
        self.train((&texts[..n_known], texts), n_intents, &targets, identity, context)
    }

    /// Learns from `texts`, which are read by the pieces of those that are known.
    fn train(
        &self,
        (known, texts): (&[Analyzed], &[Analyzed]),
        n_intents: usize,
        targets: &Targets,
        identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(EncoderModel, FitRecord), ModelError> {
        context
            .on_threads(|| self.train_here((known, texts), n_intents, targets, identity, context))
    }

    fn train_here(
        &self,
        (known, texts): (&[Analyzed], &[Analyzed]),
        n_intents: usize,
        targets: &Targets,
        identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(EncoderModel, FitRecord), ModelError> {
        let name = self.encoder.model();
        let input = Input::fit(known, self.encoder.reading(), self.limits());
        let texts = input.read(texts);
        let mut rng = ChaCha8Rng::seed_from_u64(context.seed);
        let sizes = self.sizes(input.n_rows(), n_intents);
        let network =
            TextNetwork::new(&sizes, &mut rng).map_err(ModelError::training(name, None))?;
        let optimizer = self.optimizer().build(name)?;
        let mut learner = TextLearner::new(network, optimizer, (&texts, targets), self.left_out());
        // As many passes over the copies of texts as over the texts alone: steps in as many directions need to be more.
        let n_epochs = self.n_epochs(known.len());
        let plan = Plan {
            model: name,
            run: RunIdentity::new(name, &self.hyperparameters(), context.seed)
                .with("texts", identity),
            n_epochs,
            batch_size: self.config.batch_size,
            patience: n_epochs,
            optimizer: self.optimizer(),
        };
        let record = training::run(&mut learner, &plan, context)?;
        let model = EncoderModel { spec: self.clone(), input, network: learner.network };
        Ok((model, record))
    }
}

/// A fitted network.
#[derive(Debug, Clone)]
pub struct EncoderModel {
    spec: EncoderSpec,
    input: Input,
    network: TextNetwork,
}

impl EncoderModel {
    /// From what [`IntentModel::tensors`] gave.
    ///
    /// # Errors
    /// [`ModelError::Damaged`].
    pub(in super::super) fn load(
        spec: EncoderSpec,
        tensors: &mut Tensors,
        n_intents: usize,
    ) -> Result<Self, ModelError> {
        let input = Input::load(spec.encoder.reading(), spec.limits(), tensors)?;
        let sizes = spec.sizes(input.n_rows(), n_intents);
        let name = spec.encoder.model();
        // Against the bytes that are there, before a network of this size is made.
        if sizes.n_values() != tensors.n_values() {
            return Err(ModelError::damaged(format!(
                "its weights are {}, not the {} of its hyperparameters",
                tensors.n_values(),
                sizes.n_values()
            )));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut network =
            TextNetwork::new(&sizes, &mut rng).map_err(ModelError::training(name, None))?;
        tensors.take_parameters(&mut network, name)?;
        Ok(Self { spec, input, network })
    }
}

impl IntentModel for EncoderModel {
    fn name(&self) -> &'static str {
        self.spec.name()
    }

    fn hyperparameters(&self) -> Value {
        self.spec.hyperparameters()
    }

    fn logits(&self, text: &Analyzed) -> Result<Vec<f32>, ModelError> {
        let mut texts = BaggedTexts::new();
        self.input.push(text, &mut texts);
        let mut ws = Workspace::default();
        let logits = self.network.forward(&texts, 0..1, forecart_nn::Pass::Inference, &mut ws);
        Ok(logits.map_err(ModelError::training(self.name(), None))?.row(0).to_vec())
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.input.tensors(&mut tensors);
        tensors.insert_parameters(&self.network);
        tensors
    }
}
