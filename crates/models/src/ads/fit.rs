//! Training of a model over fields, by the loop of all trained models.

use forecart_nn::loss::EntireSpace;
use forecart_nn::{DropoutKey, Matrix, NnError, Optimizer};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::config::FieldSpec;
use super::contract::OutcomeSpec;
use super::network::FieldNetwork;
use super::samples::EncodedSamples;
use super::trainer::FieldTrainer;
use crate::error::ModelError;
use crate::training::{
    self, BatchLoss, FitContext, FitRecord, Learner, Measure, Parts, Plan, RunIdentity,
};

pub(super) fn fit(
    spec: &FieldSpec,
    train: &EncodedSamples,
    validation: &EncodedSamples,
    identity: &str,
    context: &FitContext<'_>,
) -> Result<(FieldNetwork, FitRecord), ModelError> {
    let model = spec.name();
    let mut rng = ChaCha8Rng::seed_from_u64(context.seed);
    let sizes = spec.network(train.layout());
    let network = FieldNetwork::new(&sizes, &mut rng).map_err(ModelError::training(model, None))?;
    let mut learner = FieldLearner {
        trainer: FieldTrainer::new(network, spec.optimizer().build(model)?),
        train,
        validation,
        batch: EncodedSamples::new(train.layout()),
    };
    let run = RunIdentity::new(model, &spec.hyperparameters(), context.seed);
    let plan = Plan {
        model,
        run: run.with("samples", identity),
        n_epochs: spec.config.n_epochs,
        batch_size: spec.config.batch_size,
        patience: spec.config.patience,
        optimizer: spec.optimizer(),
    };
    let record = training::run(&mut learner, &plan, context)?;
    Ok((learner.trainer.network, record))
}

struct FieldLearner<'a> {
    trainer: FieldTrainer,
    train: &'a EncodedSamples,
    validation: &'a EncodedSamples,
    batch: EncodedSamples,
}

impl Learner for FieldLearner<'_> {
    type Network = FieldNetwork;

    const MEASURE: Measure = Measure::LogLoss;

    fn n_examples(&self) -> usize {
        self.train.len()
    }

    fn state(&self) -> (&FieldNetwork, &Optimizer) {
        (&self.trainer.network, &self.trainer.optimizer)
    }

    fn parts(&mut self) -> Parts<'_, FieldNetwork> {
        let FieldTrainer { network, optimizer, total, .. } = &mut self.trainer;
        Parts { network, optimizer, gradients: total }
    }

    fn step(&mut self, batch: &[u32], key: DropoutKey) -> Result<BatchLoss, NnError> {
        self.train.gather(batch, &mut self.batch);
        let mean = self.trainer.step(self.batch.as_rows(), key)?;
        Ok(BatchLoss { mean, n_labels: batch.len() })
    }

    fn validate(&mut self) -> Result<Option<f64>, NnError> {
        let samples = self.validation.as_rows();
        if samples.total_weight() == 0.0 {
            return Ok(None);
        }
        let (logits, conversions) = self.trainer.network.answers(samples)?;
        let loss = match conversions {
            None => mean_log_loss(logits.as_slice(), samples.labels, samples.weights),
            Some(conversions) => {
                let clicks = samples.labels;
                let weights = samples.weights_of(0..clicks.len());
                let space = EntireSpace { clicks, conversions: samples.conversions, weights };
                let [mut d_clicks, mut d_conversions] = [(); 2].map(|()| Matrix::default());
                let d_logits = [&mut d_clicks, &mut d_conversions];
                Some(space.loss([&logits, &conversions], samples.total_weight(), d_logits)?)
            }
        };
        Ok(loss.map(|loss| -loss))
    }
}

/// Mean over the samples of `ln(1 + e^z) - y z` for logits `z` and labels `y`, in nats; by `weights` where there are some. `None` where nothing
/// counts.
pub(super) fn mean_log_loss(logits: &[f32], labels: &[f32], weights: &[f32]) -> Option<f64> {
    let losses = logits.iter().zip(labels).enumerate().map(|(sample, (logit, label))| {
        let (z, y) = (f64::from(*logit), f64::from(*label));
        let loss = z.max(0.0) - z * y + (-z.abs()).exp().ln_1p();
        weights.get(sample).map_or(loss, |weight| f64::from(*weight) * loss)
    });
    let total = match weights {
        [] => labels.len() as f64,
        weights => weights.iter().map(|weight| f64::from(*weight)).sum(),
    };
    (total > 0.0).then(|| losses.sum::<f64>() / total)
}
