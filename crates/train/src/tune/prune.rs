//! Ends a trial whose training falls behind: the median stopping rule.

use std::sync::Mutex;

use forecart_data::Progress;
use forecart_eval::tuning::Trial;

/// Epochs that every trial may have: the first ones say little.
const N_EPOCHS: usize = 3;
/// Curves that there must be to compare with.
const N_CURVES: usize = 4;

/// For each epoch, what the trials of earlier batches had reached by then.
///
/// A trial is ended after an epoch if the best it has reached lies below the median of what the others had reached. A
/// curve that stopped by itself, because validation no longer improved, counts with its best for all later epochs; one
/// that was ended early does so too, which makes the rule milder.
///
/// Source: Golovin et al., *Google Vizier*, KDD 2017, section 3.2.2. We differ: the best value so far instead of the
/// running mean, because the best epoch is what is kept.
#[derive(Debug, Default)]
pub(super) struct Curves(Vec<Vec<f64>>);

impl Curves {
    pub(super) fn of(trials: &[&Trial]) -> Self {
        let curves = trials.iter().map(|trial| best_so_far(&trial.epochs));
        Self(curves.filter(|curve| !curve.is_empty()).collect())
    }

    /// The median after `epoch` (from 1), if enough is known.
    fn median(&self, epoch: usize) -> Option<f64> {
        if epoch < N_EPOCHS || self.0.len() < N_CURVES {
            return None;
        }
        let reached = self.0.iter().map(|curve| curve[epoch.min(curve.len()) - 1]);
        let mut reached: Vec<f64> = reached.collect();
        reached.sort_by(f64::total_cmp);
        Some(reached[(reached.len() - 1) / 2])
    }
}

fn best_so_far(curve: &[f64]) -> Vec<f64> {
    let best = curve.iter().scan(f64::NEG_INFINITY, |best, value| {
        *best = best.max(*value);
        Some(*best)
    });
    best.collect()
}

/// The progress of one trial: keeps its curve, and asks it to stop.
pub(super) struct Watch<'a> {
    outer: &'a dyn Progress,
    curves: &'a Curves,
    may_prune: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    curve: Vec<f64>,
    is_pruned: bool,
}

impl<'a> Watch<'a> {
    pub(super) fn new(outer: &'a dyn Progress, curves: &'a Curves, may_prune: bool) -> Self {
        Self { outer, curves, may_prune, state: Mutex::default() }
    }

    /// What each epoch reached on validation.
    pub(super) fn curve(&self) -> Vec<f64> {
        super::lock(&self.state).curve.clone()
    }

    pub(super) fn best(&self) -> Option<f64> {
        self.curve().into_iter().reduce(f64::max)
    }

    pub(super) fn is_pruned(&self) -> bool {
        super::lock(&self.state).is_pruned
    }
}

/// Stages of single trials are not shown: several run side by side.
impl Progress for Watch<'_> {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}

    fn epoch_ended(&self, epoch: usize, validation: Option<f64>) {
        let Some(value) = validation.map(super::short) else { return };
        let mut state = super::lock(&self.state);
        state.curve.push(value);
        let best = state.curve.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if self.may_prune && self.curves.median(epoch).is_some_and(|median| best < median) {
            state.is_pruned = true;
        }
    }

    fn is_cancelled(&self) -> bool {
        self.outer.is_cancelled() || self.is_pruned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forecart_data::Silent;

    fn curves() -> Curves {
        let trial = |top: f64| Trial {
            epochs: (1..=6).map(|epoch| top * f64::from(epoch) / 6.0).collect(),
            ..Trial::complete(0, serde_json::Map::new(), top)
        };
        let trials = [0.1, 0.2, 0.3, 0.4, 0.5].map(trial);
        Curves::of(&trials.iter().collect::<Vec<_>>())
    }

    fn epochs_of(values: &[f64], curves: &Curves, may_prune: bool) -> usize {
        let watch = Watch::new(&Silent, curves, may_prune);
        for (epoch, value) in values.iter().enumerate() {
            if watch.is_cancelled() {
                return epoch;
            }
            watch.epoch_ended(epoch + 1, Some(*value));
        }
        values.len()
    }

    #[test]
    fn what_falls_behind_the_median_is_ended_and_what_leads_is_not() {
        let curves = curves();
        // The median after three epochs is .15.
        assert_eq!(epochs_of(&[0.0, 0.0, 0.14, 0.9], &curves, true), 3);
        assert_eq!(epochs_of(&[0.0, 0.16, 0.0, 0.2, 0.3, 0.3, 0.3, 0.3], &curves, true), 8);
        assert_eq!(epochs_of(&[0.0; 9], &curves, false), 9);
        assert_eq!(epochs_of(&[0.0; 9], &Curves::of(&[]), true), 9);
    }
}
