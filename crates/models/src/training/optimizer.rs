//! The hyperparameters of the optimizer that all trained models share.

use forecart_nn::optim::{Decay, Schedule};
use forecart_nn::{Adam, Optimizer};
use serde::{Deserialize, Serialize};

use crate::error::ModelError;

/// How the learning rate goes on after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LearningRateSchedule {
    /// It stays.
    #[default]
    Constant,
    /// It falls to 0 in a line.
    Linear,
    /// It falls to 0 along half a cosine (Loshchilov and Hutter, ICLR 2017, equation 5, without restarts).
    Cosine,
}

/// Adam with a schedule and clipping, as the models' configurations name them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OptimizerConfig {
    pub(crate) learning_rate: f64,
    pub(crate) weight_decay: f64,
    pub(crate) schedule: LearningRateSchedule,
    pub(crate) warmup_steps: u32,
    /// 0 for the number of epochs.
    pub(crate) decay_epochs: u32,
    /// 0 for none.
    pub(crate) max_grad_norm: f64,
}

impl OptimizerConfig {
    /// Refuses values outside of their ranges.
    pub(crate) fn check(&self, model: &'static str) -> Result<(), ModelError> {
        let refuse = |name: &str, value: f64, range: &str| {
            Err(ModelError::hyperparameter(model, name, format!("{value} is not {range}")))
        };
        // The optimizer computes in f32.
        let is_finite = |value: f64| (value as f32).is_finite();
        if !(self.learning_rate as f32 > 0.0 && is_finite(self.learning_rate)) {
            return refuse("learning_rate", self.learning_rate, "a positive number");
        }
        for (name, value) in
            [("weight_decay", self.weight_decay), ("max_grad_norm", self.max_grad_norm)]
        {
            if !(value >= 0.0 && is_finite(value)) {
                return refuse(name, value, "a number from 0 up");
            }
        }
        Ok(())
    }

    /// The optimizer, without state yet.
    pub(crate) fn build(&self, model: &'static str) -> Result<Optimizer, ModelError> {
        let rule = Adam {
            learning_rate: self.learning_rate as f32,
            weight_decay: self.weight_decay as f32,
            ..Adam::default()
        };
        let optimizer =
            Optimizer::new(rule).and_then(|optimizer| match self.max_grad_norm as f32 {
                0.0 => Ok(optimizer),
                max_norm => optimizer.with_clip_norm(max_norm),
            });
        optimizer.map_err(ModelError::training(model, None))
    }

    /// The learning rate of a step, counted from 0, in a run of `n_epochs` of `steps_per_epoch`.
    pub(crate) fn rate_at(&self, step: u64, n_epochs: usize, steps_per_epoch: usize) -> f32 {
        let n_epochs = match self.decay_epochs {
            0 => n_epochs as u64,
            n => u64::from(n),
        };
        let n_steps = n_epochs.saturating_mul(steps_per_epoch as u64);
        let decay = match self.schedule {
            LearningRateSchedule::Constant => Decay::Constant,
            LearningRateSchedule::Linear => Decay::Linear { n_steps, floor: 0.0 },
            LearningRateSchedule::Cosine => Decay::Cosine { n_steps, floor: 0.0 },
        };
        let schedule = Schedule { n_warm_up: self.warmup_steps.into(), decay };
        self.learning_rate as f32 * schedule.share(step)
    }

    /// What `decay_epochs` must be where a run of `n_epochs` is repeated with fewer, so that the learning rate falls as
    /// it did.
    pub(crate) fn decay_epochs_of(&self, n_epochs: u32) -> u32 {
        match (self.schedule, self.decay_epochs) {
            (LearningRateSchedule::Constant, n) => n,
            (_, 0) => n_epochs,
            (_, n) => n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: OptimizerConfig = OptimizerConfig {
        learning_rate: 0.5,
        weight_decay: 0.0,
        schedule: LearningRateSchedule::Linear,
        warmup_steps: 2,
        decay_epochs: 0,
        max_grad_norm: 0.0,
    };

    #[test]
    fn the_rate_rises_over_the_warm_up_and_falls_to_the_end_of_the_run() {
        // 3 epochs of 2 steps; the last step still moves.
        let rates = |config: OptimizerConfig| [0, 1, 2, 3, 4, 5].map(|at| config.rate_at(at, 3, 2));
        assert_eq!(rates(CONFIG), [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]);
        let cosine = OptimizerConfig { schedule: LearningRateSchedule::Cosine, ..CONFIG };
        let [_, _, first, _, half, last] = rates(cosine);
        assert_eq!((first, half), (0.5, 0.25));
        assert!(last > 0.0 && last < 0.125, "{last}");
        let constant = OptimizerConfig { schedule: LearningRateSchedule::Constant, ..CONFIG };
        assert_eq!(rates(constant), [0.25, 0.5, 0.5, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn a_shorter_run_can_keep_the_rates_of_the_longer_one() {
        let shorter = OptimizerConfig { decay_epochs: CONFIG.decay_epochs_of(3), ..CONFIG };
        assert_eq!(shorter.decay_epochs, 3);
        for step in 0..4 {
            assert_eq!(shorter.rate_at(step, 2, 2), CONFIG.rate_at(step, 3, 2));
        }
        assert_eq!(OptimizerConfig { decay_epochs: 9, ..CONFIG }.decay_epochs_of(3), 9);
        let constant = OptimizerConfig { schedule: LearningRateSchedule::Constant, ..CONFIG };
        assert_eq!(constant.decay_epochs_of(3), 0);
    }

    #[test]
    fn values_that_f32_cannot_hold_are_refused_by_name() {
        for (config, name) in [
            (OptimizerConfig { learning_rate: 1e39, ..CONFIG }, "learning_rate"),
            (OptimizerConfig { learning_rate: 1e-60, ..CONFIG }, "learning_rate"),
            (OptimizerConfig { learning_rate: f64::NAN, ..CONFIG }, "learning_rate"),
            (OptimizerConfig { weight_decay: -0.1, ..CONFIG }, "weight_decay"),
            (OptimizerConfig { max_grad_norm: f64::INFINITY, ..CONFIG }, "max_grad_norm"),
        ] {
            let error = config.check("sasrec").unwrap_err();
            assert!(
                matches!(&error, ModelError::Hyperparameter { name: found, .. } if found == name),
                "{error}"
            );
        }
        CONFIG.check("sasrec").unwrap();
    }
}
