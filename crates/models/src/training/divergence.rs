//! When training has gone wrong, and what to say about it.

use std::fmt;

use forecart_nn::{Gradient, Name, NnError, Optimizer, Parameters};

use super::learner::{BatchLoss, Learner, Measure};
use super::optimizer::OptimizerConfig;
use super::record::FitRecord;

/// A batch whose mean loss is so many times that of the first one ends training. The first one is that of untrained
/// weights, which guess; no training that works comes near.
const MAX_STEP_FACTOR: f64 = 30.0;

/// The same for the mean of an epoch: worse than guessing three times over, for a whole pass.
const MAX_EPOCH_FACTOR: f64 = 3.0;

/// The least first loss that others are held against, in nats: that of guessing between two.
const MIN_REFERENCE: f64 = std::f64::consts::LN_2;

/// Where training stood when it diverged, and what is known of why.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step, from 1, counted over the whole run.
    pub step: u64,
    /// What was found: `loss is not finite: NaN`.
    pub what: String,
    /// The learning rate of that step.
    pub learning_rate: f32,
    /// Name and value of the weight that is largest in absolute value.
    pub largest_weight: Option<(String, f32)>,
    /// The same of the last gradients, if the step came to compute any.
    pub largest_gradient: Option<(String, f32)>,
    /// The epoch that was best on validation before that, and what was measured there, larger is better.
    pub best_epoch: Option<(usize, f64)>,
    /// What was measured.
    pub measure: Measure,
    /// Whether gradients were clipped.
    pub is_clipped: bool,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, step, what, learning_rate, .. } = self;
        write!(
            f,
            "in epoch {epoch}, step {step}, with a learning rate of {learning_rate:e}: {what}"
        )?;
        if let Some((name, value)) = &self.largest_gradient {
            write!(f, "; the largest gradient is {value:e}, of {name}")?;
        }
        if let Some((name, value)) = &self.largest_weight {
            write!(f, "; the largest weight is {value:e}, in {name}")?;
        }
        f.write_str("; lower `learning_rate` (a tenth is a good next try)")?;
        if !self.is_clipped {
            f.write_str(", or set `max_grad_norm = 1.0` and `warmup_steps = 100`")?;
        }
        if let Some((epoch, value)) = self.best_epoch {
            let shown = self.measure.shown(value);
            write!(
                f,
                "; epoch {epoch} was best on validation ({shown}), and `n_epochs = {epoch}` ends there"
            )?;
        }
        Ok(())
    }
}

/// What is wrong with the loss of a step, where `first` is the loss of the first one.
pub(super) fn of_step(loss: BatchLoss, first: f64) -> Option<String> {
    let reference = first.max(MIN_REFERENCE);
    let too_large = loss.mean > MAX_STEP_FACTOR * reference;
    if loss.mean.is_finite() && !too_large {
        return None;
    }
    Some(format!("the loss of a batch is {:.4}, that of the first one was {first:.4}", loss.mean))
}

/// What is wrong with the mean loss of an epoch or its validation.
pub(super) fn of_epoch(
    mean_loss: f64,
    (measure, validation): (Measure, Option<f64>),
    first: f64,
) -> Option<String> {
    if validation.is_some_and(|value| !value.is_finite()) {
        return Some(measure.not_a_number());
    }
    let too_large = mean_loss > MAX_EPOCH_FACTOR * first.max(MIN_REFERENCE);
    too_large.then(|| {
        format!("the mean loss is {mean_loss:.4}, and {first:.4} was that of untrained weights")
    })
}

/// What is wrong with weights or optimizer state that are about to be stored.
pub(super) fn of_state(network: &impl Parameters, optimizer: &Optimizer) -> Option<String> {
    if let Some((name, value)) = largest_weight(network).filter(|(_, value)| !value.is_finite()) {
        return Some(format!("a weight in {name} is {value}"));
    }
    let is_finite = |values: &Vec<f32>| values.iter().all(|value| value.is_finite());
    let overflown =
        optimizer.state().iter().find(|s| !(is_finite(&s.first) && is_finite(&s.second)));
    overflown
        .map(|state| format!("the square of a gradient in {} does not fit in an f32", state.name))
}

/// The whole explanation.
pub(super) fn explain<L: Learner>(
    learner: &mut L,
    what: String,
    (epoch, step): (usize, u64),
    config: &OptimizerConfig,
    record: &FitRecord,
) -> Divergence {
    let mut gradients = Largest::default();
    let _: Result<(), NnError> = learner.visit_gradients(&mut |name, gradient| {
        match gradient {
            Gradient::Dense(gradient) => gradients.look(name, gradient.as_slice()),
            Gradient::Rows(rows) => rows.rows().for_each(|(_, row)| gradients.look(name, row)),
        }
        Ok(())
    });
    let chosen = record.chosen_epoch.and_then(|epoch| record.curve.get(epoch - 1));
    let (network, optimizer) = learner.state();
    Divergence {
        epoch,
        step,
        what,
        learning_rate: optimizer.rule().learning_rate(),
        largest_weight: largest_weight(network),
        // All zero: the step failed before its first gradient.
        largest_gradient: gradients.0.filter(|(_, value)| *value != 0.0),
        best_epoch: chosen.and_then(|chosen| Some((chosen.epoch, chosen.validation()?))),
        measure: L::MEASURE,
        is_clipped: config.max_grad_norm > 0.0,
    }
}

fn largest_weight(network: &impl Parameters) -> Option<(String, f32)> {
    let mut largest = Largest::default();
    network.visit(&Name::root(), &mut |name, weights| largest.look(name, weights.as_slice()));
    largest.0
}

/// The value that is largest in absolute value; NaN is larger than any.
#[derive(Default)]
struct Largest(Option<(String, f32)>);

impl Largest {
    fn look(&mut self, name: &Name<'_>, values: &[f32]) {
        let size = |value: f32| if value.is_nan() { f32::INFINITY } else { value.abs() };
        let Some(here) = values.iter().copied().max_by(|a, b| size(*a).total_cmp(&size(*b))) else {
            return;
        };
        let here = values.iter().copied().find(|value| value.is_nan()).unwrap_or(here);
        let is_larger = match &self.0 {
            None => true,
            Some((_, before)) => !before.is_nan() && (here.is_nan() || size(here) > size(*before)),
        };
        if is_larger {
            self.0 = Some((name.to_string(), here));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(mean: f64) -> BatchLoss {
        BatchLoss { mean, n_labels: 3 }
    }

    #[test]
    fn a_loss_is_held_against_the_first_one() {
        assert_eq!(of_step(loss(100.0), 4.0), None);
        let found = of_step(loss(121.0), 4.0).unwrap();
        assert_eq!(found, "the loss of a batch is 121.0000, that of the first one was 4.0000");
        assert!(of_step(loss(f64::NAN), 4.0).is_some());
        // A first loss near 0 is no measure of what is large.
        assert_eq!(of_step(loss(1.0), 1e-6), None);
    }

    #[test]
    fn an_epoch_worse_than_guessing_is_divergence() {
        assert_eq!(of_epoch(11.9, (Measure::Ndcg, Some(0.1)), 4.0), None);
        assert!(of_epoch(12.1, (Measure::Ndcg, Some(0.1)), 4.0).unwrap().contains("12.1"));
        for (measure, name) in [(Measure::Ndcg, "NDCG@10"), (Measure::LogLoss, "log loss")] {
            let found = of_epoch(1.0, (measure, Some(f64::NAN)), 4.0).unwrap();
            assert!(found.contains(name), "{found}");
        }
    }

    #[test]
    fn nan_is_the_largest_value() {
        let root = Name::root();
        let mut largest = Largest::default();
        largest.look(&root.child("a"), &[1.0, -5.0, 2.0]);
        largest.look(&root.child("b"), &[4.0]);
        assert_eq!(largest.0, Some(("a".into(), -5.0)));
        largest.look(&root.child("c"), &[0.5, f32::NAN, f32::INFINITY]);
        largest.look(&root.child("d"), &[f32::INFINITY]);
        let (name, value) = largest.0.unwrap();
        assert!(name == "c" && value.is_nan());
    }

    #[test]
    fn the_words_say_where_how_large_and_what_to_change() {
        let divergence = Divergence {
            epoch: 2,
            step: 31,
            what: "loss of a tile is not finite: NaN".into(),
            learning_rate: 1000.0,
            largest_weight: Some(("items".into(), -3e9)),
            largest_gradient: None,
            best_epoch: Some((1, 0.05)),
            measure: Measure::Ndcg,
            is_clipped: false,
        };
        let want = "in epoch 2, step 31, with a learning rate of 1e3: loss of a tile is not finite: NaN; the largest \
                    weight is -3e9, in items; lower `learning_rate` (a tenth is a good next try), or set \
                    `max_grad_norm = 1.0` and `warmup_steps = 100`; epoch 1 was best on validation (NDCG@10 0.0500), \
                    and `n_epochs = 1` ends there";
        assert_eq!(divergence.to_string(), want);
    }
}
