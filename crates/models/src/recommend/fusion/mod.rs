//! Several models as one: a weighted sum of the logarithms of what each holds probable, or of reciprocal ranks.
//!
//! Start at [`FusionConfig`], which gives the formulas; `weights` chooses the weights on the validation part.

mod config;
mod ranks;
mod weights;

use forecart_data::{History, ItemIdx};
use serde_json::Value;

use super::contract::{Fallback, ModelSpec, Reason, Recommender, ScoreScale};
use super::leave_one_out::leave_one_out;
use super::registry;
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

pub use config::{FusionConfig, FusionMethod, MemberConfig};

use config::NAME;

/// Newest events that reasons are looked for in.
const MAX_REASONS_HISTORY: usize = 50;

/// Fitted models with their weights.
#[derive(Debug)]
pub struct Fusion {
    config: FusionConfig,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    model: Box<dyn Recommender>,
    weight: f32,
}

/// The logarithm of what a model holds probable, up to a constant, in place of its scores. A weight below 0, of linear
/// weights, says as little for an item as none.
fn to_log_probabilities(scale: ScoreScale, scores: &mut [f32]) {
    let ScoreScale::Weight = scale else { return };
    let n_items = scores.len().saturating_sub(1).max(1) as f64;
    let sum: f64 = scores[1..].iter().map(|score| f64::from(score.max(0.0))).sum();
    let (factor, uniform) = (if sum > 0.0 { 1.0 / sum } else { 0.0 }, 1.0 / n_items);
    // Most items have no weight at all: their logarithm is taken once.
    let nothing = uniform.ln() as f32;
    for score in &mut scores[1..] {
        *score = match *score {
            score if score <= 0.0 => nothing,
            score => (f64::from(score) * factor + uniform).ln() as f32,
        };
    }
}

impl Fusion {
    fn new(config: FusionConfig, models: Vec<Box<dyn Recommender>>, weights: &[f64]) -> Self {
        let members = models.into_iter().zip(weights);
        let members = members.map(|(model, weight)| Member { model, weight: *weight as f32 });
        Self { config, members: members.collect() }
    }

    /// Reads what [`Recommender::tensors`] gave.
    pub(super) fn load(
        config: FusionConfig,
        tensors: &mut Tensors,
        n_item_rows: usize,
    ) -> Result<Self, ModelError> {
        let weights = tensors.take_f32("weights", Some(config.members.len()))?;
        let members = config.members.iter().zip(weights).enumerate();
        let members = members.map(|(place, (member, weight))| {
            let own = tensors.split(&place.to_string());
            let keys = Value::Object(member.keys.clone());
            let model = registry::load(&member.model, &keys, own, n_item_rows)?;
            Ok(Member { model, weight })
        });
        let members = members.collect::<Result<_, ModelError>>()?;
        Ok(Self { config, members })
    }

    /// The first member, which answers where there is nothing to go by.
    fn first(&self) -> &dyn Recommender {
        self.members[0].model.as_ref()
    }

    fn score_of(&self, history: History<'_>, item: ItemIdx) -> f32 {
        self.score(history, &[item])[0]
    }
}

impl Recommender for Fusion {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn n_item_rows(&self) -> usize {
        self.first().n_item_rows()
    }

    fn score_scale(&self) -> ScoreScale {
        match self.config.method {
            FusionMethod::LogProbability => ScoreScale::Logit,
            FusionMethod::ReciprocalRank => ScoreScale::Weight,
        }
    }

    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        if self.fallback(history).is_some() {
            return self.first().score_all(history, scores);
        }
        scores.fill(0.0);
        let mut own = vec![0.0; scores.len()];
        let mut order = Vec::new();
        for Member { model, weight } in &self.members {
            if *weight == 0.0 || model.fallback(history).is_some() {
                continue; // it has nothing to say of this history
            }
            model.score_all(history, &mut own);
            match self.config.method {
                FusionMethod::LogProbability => to_log_probabilities(model.score_scale(), &mut own),
                FusionMethod::ReciprocalRank => {
                    let is_weight = model.score_scale() == ScoreScale::Weight;
                    ranks::to_reciprocal_ranks(self.config.rrf_k, is_weight, &mut own, &mut order);
                }
            }
            scores.iter_mut().zip(&own).for_each(|(sum, value)| *sum += *weight * value);
        }
        scores[ItemIdx::UNKNOWN.row()] = 0.0;
    }

    fn fallback(&self, history: History<'_>) -> Option<Fallback> {
        let mut reasons = self.members.iter().map(|member| member.model.fallback(history));
        let first = reasons.next().flatten();
        // One that has something to say is enough.
        if reasons.all(|reason| reason.is_some()) { first } else { None }
    }

    /// Leave one out: what the score of `item` loses without each known item.
    fn reasons(&self, history: History<'_>, item: ItemIdx, n: usize) -> Vec<Reason> {
        if !item.is_known() || item.row() >= self.n_item_rows() {
            return Vec::new();
        }
        if self.fallback(history).is_some() {
            return self.first().reasons(history, item, n);
        }
        let seen = history.newest(MAX_REASONS_HISTORY);
        let is_known = |item: ItemIdx| item.is_known() && item.row() < self.n_item_rows();
        // A fallback's scores are of another kind: without any event that speaks nothing is left.
        let score = |rest: History<'_>| match self.fallback(rest) {
            Some(_) => 0.0,
            None => self.score_of(rest, item),
        };
        leave_one_out(history, seen, is_known, score, n)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        let weights = self.members.iter().map(|member| member.weight).collect();
        tensors.insert("weights", TensorData::F32(weights));
        for (place, member) in self.members.iter().enumerate() {
            tensors.extend(&place.to_string(), member.model.tensors());
        }
        tensors
    }
}

/// The names of the members with their weights, for people.
fn shown(members: &[MemberConfig], weights: &[f64]) -> String {
    let parts = members.iter().zip(weights);
    let parts = parts.map(|(member, weight)| format!("{weight} {}", member.model));
    parts.collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_become_logarithms_of_smoothed_shares_and_logits_stay() {
        let mut scores = [7.0, 3.0, 0.0, 1.0, 0.0];
        to_log_probabilities(ScoreScale::Weight, &mut scores);
        let expected = [7.0, (0.75f32 + 0.25).ln(), 0.25f32.ln(), 0.5f32.ln(), 0.25f32.ln()];
        assert!(scores.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{scores:?}");
        // Linear weights may be below 0; what is below does not take from the others either.
        let mut linear = [7.0, 3.0, -0.5, 1.0, -9.0];
        to_log_probabilities(ScoreScale::Weight, &mut linear);
        assert_eq!(linear, scores);
        let mut nothing = [0.0; 5];
        to_log_probabilities(ScoreScale::Weight, &mut nothing);
        assert!(nothing[1..].iter().all(|score| *score == 0.25f32.ln()), "equal for all");
        let mut logits = [0.0, -2.0, 3.0];
        to_log_probabilities(ScoreScale::Logit, &mut logits);
        assert_eq!(logits, [0.0, -2.0, 3.0]);
    }
}
