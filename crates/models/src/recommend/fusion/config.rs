//! What is fused, and how it is fitted.

use forecart_data::History;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::contract::{FitContext, FitRecord, Fitted, MemberRecord, ModelSpec};
use super::super::registry;
use super::super::search_space::Parameter;
use super::super::view::TrainingView;
use super::{Fusion, shown, weights};
use crate::error::ModelError;

pub(super) const NAME: &str = "fusion";

/// A model that is fused, with its own hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberConfig {
    /// Its name in the [registry](super::super::registry).
    pub model: String,
    /// Its hyperparameters, where they are not the defaults.
    #[serde(flatten)]
    pub keys: Map<String, Value>,
}

/// How the members' answers become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FusionMethod {
    /// The weighted sum of the logarithms of what each holds probable.
    #[default]
    LogProbability,
    /// `Σ_m w_m / (rrf_k + rank_m(item))`: no scale of any score plays a part. Tied items share the mean of their ranks;
    /// what a model of rules or neighbors says nothing about has no rank with it.
    /// Source: Cormack et al., SIGIR 2009.
    ReciprocalRank,
}

/// Several models as one, with their weights.
///
/// By the default [`FusionMethod`] the score of an item is `Σ_m w_m ln p_m(item | history)`, up to a constant: a logarithmic opinion pool. `p_m` of a
/// network is the softmax of its scores. Of models that add up weights (rules, neighbors) it is the item's share of
/// all weights plus that of one item among all, so that an item without a rule is unlikely, not impossible.
///
/// A sum of probabilities in place of their logarithms gains little: each model's mass lies on its own few items. In
/// the logarithm an item that one model holds impossible needs much of the others.
///
/// The weight of the first member is 1. The others are chosen on the validation part, by NDCG@10, one after the other
/// until none gets better; without a validation part, and by reciprocal rank, they are 1. Each member is fitted with a seed of its own.
///
/// Source: Genest and Zidek, Statistical Science 1(1), 1986, section 3 (logarithmic opinion pools); Hinton, Neural
/// Computation 14(8), 2002 (products of experts). We differ: the weights need not add up to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FusionConfig {
    /// The models.
    pub members: Vec<MemberConfig>,
    /// One weight a member, the first one 1; empty: chosen on the validation part (by reciprocal rank: 1 each).
    pub weights: Vec<f64>,
    /// How the members' answers become one.
    pub method: FusionMethod,
    /// What is added to a rank by [`FusionMethod::ReciprocalRank`]: the larger, the less the first places stand out.
    /// 60 as in the paper.
    pub rrf_k: f64,
}

impl Default for FusionConfig {
    /// Softmax attention, pointwise attention, what followed what, and two towers without attention: four ways to be wrong.
    fn default() -> Self {
        let member = |model: &str, keys: Value| MemberConfig {
            model: model.to_owned(),
            keys: keys.as_object().cloned().unwrap_or_default(),
        };
        let network = |d_model: u32| {
            json!({
                "d_model": d_model, "d_ff": 64, "loss": "auto", "batch_size": 32, "patience": 3,
            })
        };
        let mut hstu = network(64);
        hstu["d_ff"] = json!(0);
        Self {
            members: vec![
                member("sasrec", network(128)),
                member("hstu", hstu),
                member("seq-rules", json!({})),
                member("two-tower", json!({})),
            ],
            weights: Vec::new(),
            method: FusionMethod::LogProbability,
            rrf_k: 60.0,
        }
    }
}

impl FusionConfig {
    /// With all hyperparameters of its members, the defaults too; refuses members that do not exist, hyperparameters
    /// that they do not have, and weights that do not fit.
    ///
    /// # Errors
    /// [`ModelError::Hyperparameter`], or those of the member.
    pub fn checked(mut self) -> Result<Self, ModelError> {
        self.check()?;
        let specs = self.specs()?;
        for (member, spec) in self.members.iter_mut().zip(specs) {
            member.keys = spec.hyperparameters().as_object().cloned().unwrap_or_default();
        }
        Ok(self)
    }

    fn check(&self) -> Result<(), ModelError> {
        let refuse = |key: &str, reason: &str| Err(ModelError::hyperparameter(NAME, key, reason));
        if self.members.is_empty() {
            return refuse("members", "there are none");
        }
        if self.members.iter().any(|member| member.model == NAME) {
            return refuse("members", "a fusion is no member of another one");
        }
        self.specs()?;
        if !(self.rrf_k >= 0.0 && self.rrf_k.is_finite()) {
            return refuse("rrf_k", "it must be 0 or more");
        }
        if self.weights.is_empty() {
            return Ok(());
        }
        if self.weights.len() != self.members.len() {
            return refuse("weights", "there must be one for each member, or none at all");
        }
        // A bound, so that their sum with any scores is finite.
        if !self.weights.iter().all(|weight| (0.0..=1e6).contains(weight)) {
            return refuse("weights", "each must be in 0.0..=1e6");
        }
        if self.weights[0] != 1.0 {
            return refuse("weights", "the first must be 1: the others are relative to it");
        }
        Ok(())
    }

    fn specs(&self) -> Result<Vec<Box<dyn ModelSpec>>, ModelError> {
        let spec = |member: &MemberConfig| {
            registry::spec(&member.model, &Value::Object(member.keys.clone()))
        };
        self.members.iter().map(spec).collect()
    }
}

/// The seed of a member: the first has that of the fusion.
fn seed_of(seed: u64, place: usize) -> u64 {
    seed ^ ((place as u64) << 32)
}

/// What `tune` varies where ranks are fused.
const BY_RANK: &[Parameter] = &[Parameter::log("rrf_k", 1.0, 1000.0)];

impl ModelSpec for FusionConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(self).expect("numbers and names are JSON")
    }

    fn uses_seed(&self) -> bool {
        self.specs().is_ok_and(|specs| specs.iter().any(|spec| spec.uses_seed()))
    }

    /// Weights are chosen in every fit: there is nothing to search but what a rank counts.
    fn search_space(&self) -> &'static [Parameter] {
        match self.method {
            FusionMethod::LogProbability => &[],
            FusionMethod::ReciprocalRank => BY_RANK,
        }
    }

    fn tuned_instead(&self) -> Option<String> {
        let specs = self.specs().unwrap_or_default();
        let mut names: Vec<&str> = specs
            .iter()
            .filter(|spec| !spec.search_space().is_empty())
            .map(|spec| spec.name())
            .collect();
        names.sort_unstable();
        names.dedup();
        let members = match names.is_empty() {
            true => "choose others as members".to_owned(),
            false => format!(
                "tune its members one by one ({}), and put the keys of each best.toml beside its name in models.fusion.members",
                names.join(", ")
            ),
        };
        Some(format!("every fit chooses its weights on validation: {members}"))
    }

    /// One member is fitted at a time, beside those that are.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let specs = self.specs().unwrap_or_default();
        let needed = specs.iter().map(|spec| spec.needed_bytes(view));
        // What is fitted by steps is a fifth or less of what that needs; neighbors and rules may be most of it.
        let fitted = specs.iter().zip(needed.clone());
        let fitted = fitted.map(|(spec, bytes)| if spec.uses_seed() { bytes / 5 } else { bytes });
        fitted.fold(needed.max().unwrap_or(0), u64::saturating_add)
    }

    fn fit(&self, view: &TrainingView<'_>, context: &FitContext<'_>) -> Result<Fitted, ModelError> {
        let needed = self.needed_bytes(view);
        context.check_memory(NAME, needed, "lower d_model or batch_size of its members")?;
        let (mut models, mut records) = (Vec::new(), Vec::new());
        for (place, spec) in self.specs()?.iter().enumerate() {
            let checkpoint = context.checkpoint.map(|checkpoint| checkpoint.of_member(place));
            let seed = seed_of(context.seed, place);
            let context = FitContext { seed, checkpoint: checkpoint.as_ref(), ..*context };
            let fitted = spec.fit(view, &context)?;
            models.push(fitted.model);
            records.push(fitted.record);
        }
        let weights = match self.method {
            _ if !self.weights.is_empty() => self.weights.clone(),
            FusionMethod::ReciprocalRank => vec![1.0; models.len()],
            FusionMethod::LogProbability => {
                context.on_threads(|| weights::choose(&models, view, context))?
            }
        };
        context.progress.note(&format!("fusion: {}", shown(&self.members, &weights)));
        let curve = records.iter().find(|record| !record.curve.is_empty());
        let record = FitRecord {
            curve: curve.map(|record| record.curve.clone()).unwrap_or_default(),
            chosen_epoch: curve.and_then(|record| record.chosen_epoch),
            members: std::iter::zip(records, &weights)
                .map(|(record, weight)| MemberRecord {
                    weight: *weight,
                    chosen_epoch: record.chosen_epoch,
                })
                .collect(),
        };
        // With what the data decided.
        let members = self.members.iter().zip(&models).map(|(member, model)| {
            let keys = model.hyperparameters().as_object().cloned().unwrap_or_default();
            MemberConfig { model: member.model.clone(), keys }
        });
        let config =
            Self { members: members.collect(), weights: self.weights.clone(), ..self.clone() };
        let model = Fusion::new(config, models, &weights);
        Ok(Fitted { model: Box::new(model), record })
    }

    fn for_refit(&self, record: &FitRecord) -> Box<dyn ModelSpec> {
        let Ok(specs) = self.specs() else { return Box::new(self.clone()) };
        let members = self.members.iter().zip(&specs).zip(&record.members);
        let members = members.map(|((member, spec), record)| {
            let record = FitRecord { chosen_epoch: record.chosen_epoch, ..FitRecord::default() };
            let keys = spec.for_refit(&record).hyperparameters();
            let keys = keys.as_object().cloned().unwrap_or_default();
            MemberConfig { model: member.model.clone(), keys }
        });
        let weights = record.members.iter().map(|member| member.weight);
        Box::new(Self { members: members.collect(), weights: weights.collect(), ..self.clone() })
    }
}

/// What the choice of weights asks the members.
pub(super) fn log_probabilities(
    models: &[Box<dyn super::Recommender>],
    history: History<'_>,
    scores: &mut [Vec<f32>],
) {
    for (model, scores) in models.iter().zip(scores) {
        match model.fallback(history) {
            Some(_) => scores.fill(0.0),
            None => {
                model.score_all(history, scores);
                super::to_log_probabilities(model.score_scale(), scores);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::FitOn;
    use crate::testing::{Log, dataset};

    /// The neighbors of a fitted item-kNN are half of what its fit needs, not a fifth.
    #[test]
    fn members_that_are_counted_are_held_whole() {
        let (_folder, dataset) = dataset(&Log::new(9, &[&[1, 2, 3], &[4, 5, 6, 7, 8, 9]]));
        let view = TrainingView::new(&dataset, FitOn::Train);
        let member = |model: &str| MemberConfig { model: model.to_owned(), keys: Map::new() };
        let needed = |names: [&str; 2]| {
            let members = names.map(member).to_vec();
            FusionConfig { members, ..FusionConfig::default() }.needed_bytes(&view)
        };
        let alone = |name: &str| registry::spec(name, &Value::Null).unwrap().needed_bytes(&view);
        let (knn, rules, bpr) = (alone("item-knn"), alone("seq-rules"), alone("bpr"));
        assert_eq!(needed(["item-knn", "seq-rules"]), knn.max(rules) + knn + rules);
        assert_eq!(needed(["bpr", "item-knn"]), bpr.max(knn) + bpr / 5 + knn);
    }
}
