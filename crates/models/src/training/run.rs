//! The loop.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use forecart_nn::{DropoutKey, NnError};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::checkpoint::{Exact, Position, RunIdentity, Writer};
use super::context::FitContext;
use super::divergence;
use super::learner::{BatchLoss, Learner, Parts};
use super::optimizer::OptimizerConfig;
use super::record::{EpochRecord, FitRecord};
use crate::error::ModelError;
use crate::tensors::Tensors;

/// Steps that pass at least without a better validation before training stops: of few examples an epoch is a few steps, and what looks
/// like the end is the time between learning what is popular and learning anything else.
const LEAST_PATIENCE: usize = 1000;

/// How long to train, and in which steps.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The model's name.
    pub(crate) model: &'static str,
    /// All that decides about the result.
    pub(crate) run: RunIdentity,
    /// Passes over the examples, at most where validation may stop them.
    pub(crate) n_epochs: NonZeroU32,
    /// Examples a step.
    pub(crate) batch_size: NonZeroU32,
    /// Epochs without a better validation before training stops, or as many as have [`LEAST_PATIENCE`] steps.
    pub(crate) patience: NonZeroU32,
    /// Learning rate and clipping.
    pub(crate) optimizer: OptimizerConfig,
}

impl Plan {
    fn n_epochs(&self) -> usize {
        self.n_epochs.get() as usize
    }

    fn batch_size(&self) -> usize {
        self.batch_size.get() as usize
    }
}

/// Trains `learner`; it ends with the weights of the best epoch on validation, or of the last one where there is no
/// validation.
///
/// # Errors
/// [`ModelError::Diverged`], [`ModelError::Cancelled`], [`ModelError::OtherRun`] or
/// [`ModelError::DamagedCheckpoint`] of a checkpoint that cannot be gone on from, [`ModelError::Data`] of one that
/// cannot be written, [`ModelError::Training`].
pub(crate) fn run<L: Learner>(
    learner: &mut L,
    plan: &Plan,
    context: &FitContext<'_>,
) -> Result<FitRecord, ModelError> {
    let n_examples = learner.n_examples();
    u32::try_from(n_examples)
        .map_err(|_| ModelError::TooManyExamples { model: plan.model, n_examples })?;
    let mut run = Run {
        learner,
        plan,
        context,
        n_examples,
        writer: context.checkpoint.map(|checkpoint| checkpoint.writer(&plan.run)),
        position: Position {
            epoch: 1,
            n_batches: 0,
            n_steps: 0,
            loss_sum: Exact(0.0),
            n_labels: 0,
            first_loss: None,
            best_validation: None,
            record: FitRecord::default(),
        },
        best: None,
        clock: Clock { since: Instant::now(), first_step: 0 },
    };
    let steps = (n_examples as u64).saturating_mul(u64::from(plan.n_epochs.get()));
    context.progress.begin(&format!("training {}", plan.model), Some(steps));
    run.resume()?;
    run.epochs()?;
    let Run { best, position, .. } = run;
    if let Some(mut best) = best {
        best.take_parameters(learner.parts().network, plan.model)?;
        learner.refresh().map_err(ModelError::training(plan.model, None))?;
    }
    Ok(position.record)
}

struct Run<'a, L> {
    learner: &'a mut L,
    plan: &'a Plan,
    context: &'a FitContext<'a>,
    n_examples: usize,
    writer: Option<Writer<'a>>,
    position: Position,
    /// The weights of the chosen epoch, where validation chose it.
    best: Option<Tensors>,
    clock: Clock,
}

/// When this process began to train, and at which step.
struct Clock {
    since: Instant,
    first_step: u64,
}

impl<L: Learner> Run<'_, L> {
    fn steps_per_epoch(&self) -> usize {
        self.n_examples.div_ceil(self.plan.batch_size())
    }

    /// Goes to where the checkpoint stands, if there is one.
    fn resume(&mut self) -> Result<(), ModelError> {
        let Some(checkpoint) = self.context.checkpoint else { return Ok(()) };
        let size = (self.plan.n_epochs(), self.steps_per_epoch());
        let Some(saved) = checkpoint.read(&self.plan.run, size)? else {
            return if checkpoint.keeps_a_choice() { self.write() } else { Ok(()) };
        };
        let model = self.plan.model;
        let Parts { network, optimizer, .. } = self.learner.parts();
        let (position, best) = saved.restore(checkpoint.path(), (network, optimizer), model)?;
        self.learner.refresh().map_err(ModelError::training(model, None))?;
        let n_done = (position.epoch - 1) as u64 * self.n_examples as u64
            + self.n_examples.min(position.n_batches * self.plan.batch_size()) as u64;
        self.context.progress.skip(n_done);
        self.context.progress.announce(&format!(
            "{model} goes on from {:?}: epoch {}, step {}",
            checkpoint.path(),
            position.epoch,
            position.n_steps
        ));
        self.clock.first_step = position.n_steps;
        (self.position, self.best) = (position, best);
        Ok(())
    }

    fn epochs(&mut self) -> Result<(), ModelError> {
        while self.position.epoch <= self.plan.n_epochs() {
            self.epoch()?;
            let is_better = self.validate()?;
            if is_better {
                self.best = None; // before the next one is made, to hold one at a time
                let mut best = Tensors::default();
                best.insert_parameters(self.learner.state().0);
                self.best = Some(best);
            }
            let Position { epoch, record, .. } = &self.position;
            let n_waited = *epoch - record.chosen_epoch.unwrap_or(*epoch);
            let n_steps = n_waited.saturating_mul(self.steps_per_epoch());
            if n_waited >= self.plan.patience.get() as usize && n_steps >= LEAST_PATIENCE {
                return Ok(());
            }
            self.position.epoch += 1;
            (self.position.n_batches, self.position.n_labels) = (0, 0);
            self.position.loss_sum = Exact(0.0);
        }
        Ok(())
    }

    /// The batches of the epoch that are not done yet.
    fn epoch(&mut self) -> Result<(), ModelError> {
        let order = order(self.context.seed, self.position.epoch, self.n_examples);
        let batches = order.chunks(self.plan.batch_size()).skip(self.position.n_batches);
        for batch in batches {
            self.stop_if_cancelled()?;
            if self.writer.as_ref().is_some_and(Writer::is_due) {
                self.write()?;
            }
            self.step(batch)?;
            self.context.progress.advance(batch.len() as u64);
        }
        Ok(())
    }

    fn step(&mut self, batch: &[u32]) -> Result<(), ModelError> {
        let plan = self.plan;
        let at = self.position.n_steps;
        let rate = plan.optimizer.rate_at(at, plan.n_epochs(), self.steps_per_epoch());
        let failed = ModelError::training(plan.model, self.position.epoch);
        self.learner.parts().optimizer.set_learning_rate(rate).map_err(failed)?;
        let key = DropoutKey::new(self.context.seed, self.position.n_steps + 1);
        let loss = match self.learner.step(batch, key) {
            Ok(loss) => loss,
            Err(error @ NnError::NonFinite { .. }) => {
                return Err(self.diverged(error.to_string(), self.position.n_steps + 1));
            }
            Err(error) => {
                return Err(ModelError::training(plan.model, self.position.epoch)(error));
            }
        };
        let BatchLoss { mean, n_labels } = loss;
        if n_labels > 0 {
            let first = self.position.first_loss.get_or_insert(Exact(mean)).0;
            if let Some(what) = divergence::of_step(loss, first) {
                return Err(self.diverged(what, self.position.n_steps + 1));
            }
        }
        self.position.loss_sum.0 += mean * n_labels as f64;
        self.position.n_labels += n_labels;
        self.position.n_batches += 1;
        self.position.n_steps += 1;
        Ok(())
    }

    /// Records the epoch; whether its weights are the best so far.
    fn validate(&mut self) -> Result<bool, ModelError> {
        let Position { epoch, loss_sum, n_labels, first_loss, best_validation, .. } = self.position;
        let failed = ModelError::training(self.plan.model, epoch);
        let mean_loss = loss_sum.0 / n_labels.max(1) as f64;
        let validation = self.learner.validate().map_err(failed)?;
        let first = first_loss.map_or(mean_loss, |Exact(first)| first);
        if let Some(what) = divergence::of_epoch(mean_loss, (L::MEASURE, validation), first) {
            return Err(self.diverged(what, self.position.n_steps));
        }
        let entry = EpochRecord::new(epoch, mean_loss, L::MEASURE, validation);
        self.position.record.curve.push(entry);
        self.context.progress.note(&self.note(mean_loss, validation));
        self.context.progress.epoch_ended(epoch, validation);
        let is_better =
            validation.is_none_or(|value| best_validation.is_none_or(|Exact(best)| value > best));
        if is_better {
            self.position.record.chosen_epoch = Some(epoch);
            self.position.best_validation = validation.map(Exact);
        }
        Ok(is_better && validation.is_some())
    }

    fn note(&self, loss: f64, validation: Option<f64>) -> String {
        let Position { epoch, n_steps, .. } = self.position;
        let n_epochs = self.plan.n_epochs();
        let validation =
            validation.map(|value| format!(", validation {}", L::MEASURE.shown(value)));
        let validation = validation.unwrap_or_default();
        let n_left = (n_epochs - epoch) * self.steps_per_epoch();
        let n_done = (n_steps - self.clock.first_step).max(1);
        let left = self.clock.since.elapsed().mul_f64(n_left as f64 / n_done as f64);
        let left = match n_left {
            0 => String::new(),
            _ => format!(", at most {} left", in_words(left)),
        };
        format!("epoch {epoch} of {n_epochs}: loss {loss:.4}{validation}{left}")
    }

    fn stop_if_cancelled(&mut self) -> Result<(), ModelError> {
        if !self.context.progress.is_cancelled() {
            return Ok(());
        }
        let checkpoint = self.context.checkpoint.map(|checkpoint| checkpoint.path().to_owned());
        if checkpoint.is_some() {
            self.write()?;
        }
        Err(ModelError::Cancelled { checkpoint })
    }

    fn write(&mut self) -> Result<(), ModelError> {
        let (network, optimizer) = self.learner.state();
        if let Some(what) = divergence::of_state(network, optimizer) {
            return Err(self.diverged(what, self.position.n_steps));
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(&self.position, network, optimizer, self.best.as_ref())
    }

    fn diverged(&mut self, what: String, step: u64) -> ModelError {
        let Position { epoch, record, .. } = &self.position;
        let plan = self.plan;
        let found =
            divergence::explain(self.learner, what, (*epoch, step), &plan.optimizer, record);
        // A run that goes on from a checkpoint before this step comes to the same one.
        if let Some(Err(error)) = self.context.checkpoint.map(|checkpoint| checkpoint.remove()) {
            return error;
        }
        ModelError::Diverged { model: plan.model, divergence: Box::new(found) }
    }
}

/// The order of the examples in an epoch. Stream 0 of the seed is that of the first weights.
fn order(seed: u64, epoch: usize, n_examples: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch as u64);
    let mut order: Vec<u32> = (0..n_examples as u32).collect();
    order.shuffle(&mut rng);
    order
}

/// `40 s`, `12 min` or `3.5 h`.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        0.0..90.0 => format!("{seconds:.0} s"),
        90.0..5400.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_has_an_order_of_its_own_that_the_seed_decides() {
        let first = order(1, 1, 100);
        assert_eq!(first, order(1, 1, 100));
        assert_ne!(first, order(1, 2, 100));
        assert_ne!(first, order(2, 1, 100));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<u32>>());
    }

    #[test]
    fn times_left_are_short() {
        let words = [3.4, 89.0, 720.0, 12_600.0].map(|s| in_words(Duration::from_secs_f64(s)));
        assert_eq!(words, ["3 s", "89 s", "12 min", "3.5 h"]);
    }
}
