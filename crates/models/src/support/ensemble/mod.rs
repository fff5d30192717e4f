//! Several models, whose logits are summed with weights.

mod weights;

use forecart_text::Analyzed;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::weights::{pool, stack};
use super::contract::{IntentModel, IntentSpec, IntentTexts, Logits};
use super::distilled;
use super::folds::{Folds, logits_of};
use super::registry;
use crate::error::ModelError;
use crate::recommend::registry::parse_keys;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord, MemberRecord};

/// The model's name in the registry.
pub(super) const NAME: &str = "ensemble";

/// Models that fit in one file.
const MOST_MEMBERS: usize = 32;

/// A model of an ensemble.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name; not another ensemble.
    pub model: String,
    /// Its hyperparameters, where they are not the defaults.
    #[serde(default)]
    pub hyperparameters: Value,
}

/// Hyperparameters of [`EnsembleSpec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnsembleConfig {
    /// The models, first the one that the others have to improve on; one that is named twice is fitted from two seeds.
    pub members: Vec<Member>,
    /// What the logits of each are multiplied by; empty where that is chosen.
    pub weights: Vec<f64>,
}

impl Default for EnsembleConfig {
    fn default() -> Self {
        let member = |model: &str| Member { model: model.to_owned(), hyperparameters: Value::Null };
        // Models that err on other texts: n-grams by a linear model and by a hidden layer, words in their order, words and subwords in none.
        let members = ["tfidf-svm", "ngram-mlp", "textcnn", "fasttext"].map(member);
        Self { members: members.into(), weights: Vec::new() }
    }
}

/// Models that are fitted on the same texts, each from a seed of its own. The logits are `Σ_m w_m z_m` of the members' logits `z_m`: a
/// weighted geometric mean of their probabilities, made to sum to 1.
///
/// The weights are not negative and minimize the log loss on texts that the members have not learned from, those of the validation part or,
/// without one, of [`Folds`], after which the members learn from all; of few texts, they stay near those of the first member alone.
/// A member of the weight 0 is left out.
///
/// Source: logarithmic opinion pool, Genest and Zidek, Statistical Science 1(1), 1986, section 3; weights by stacking, Wolpert, Neural Networks 5(2), 1992,
/// as a logistic model of the members' outputs, Ting and Witten, JAIR 10, 1999.
#[derive(Debug)]
pub struct EnsembleSpec {
    config: EnsembleConfig,
    members: Vec<Box<dyn IntentSpec>>,
}

impl EnsembleSpec {
    /// With `keys` in place of defaults.
    ///
    /// # Errors
    /// [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`], also of a member; [`ModelError::UnknownModel`].
    pub fn from_keys(keys: &Value) -> Result<Self, ModelError> {
        let mut config: EnsembleConfig = parse_keys(NAME, keys)?;
        let refuse = |name: &str, reason: &str| Err(ModelError::hyperparameter(NAME, name, reason));
        if config.members.is_empty() || config.members.len() > MOST_MEMBERS {
            return refuse("members", "give 1 to 32 models");
        }
        let is_of_models =
            |member: &Member| [NAME, distilled::NAME].contains(&registry::resolved(&member.model));
        if config.members.iter().any(is_of_models) {
            return refuse("members", "a model that is made of others is no member");
        }
        if !config.weights.is_empty() && config.weights.len() != config.members.len() {
            return refuse("weights", "give one for each member, or none");
        }
        if config.weights.iter().any(|weight| !(0.0..=1e3).contains(weight)) {
            return refuse("weights", "give numbers from 0 to 1000");
        }
        if !config.weights.is_empty() && config.weights.iter().all(|weight| *weight == 0.0) {
            return refuse("weights", "give one above 0");
        }
        let mut members = Vec::with_capacity(config.members.len());
        for member in &mut config.members {
            let spec = registry::spec(&member.model, &member.hyperparameters)?;
            // As it will be fitted, defaults included: the model file tells all.
            member.model = spec.name().to_owned();
            member.hyperparameters = spec.hyperparameters();
            members.push(spec);
        }
        Ok(Self { config, members })
    }

    /// What a member is fitted with.
    fn of_member<T>(
        &self,
        place: usize,
        context: &FitContext<'_>,
        fit: impl FnOnce(&dyn IntentSpec, &FitContext<'_>) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        let checkpoint = context.checkpoint.map(|checkpoint| checkpoint.of_member(place));
        let seed = context.seed.wrapping_add(place as u64);
        let context = FitContext { seed, checkpoint: checkpoint.as_ref(), ..*context };
        fit(self.members[place].as_ref(), &context)
    }

    /// The members' logits of texts that are held out, and the weights; those that were given, if they were.
    fn held_out(
        &self,
        folds: &Folds<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Vec<Logits>, Vec<f64>), ModelError> {
        let logits = |place: usize| {
            self.of_member(place, context, |spec, context| Ok(spec.cross_fit(folds, context)?.0))
        };
        let logits: Vec<Logits> = (0..self.members.len()).map(logits).collect::<Result<_, _>>()?;
        let weights = match self.config.weights.is_empty() {
            true => choose(&logits, &folds.labels())?,
            false => self.config.weights.clone(),
        };
        Ok((logits, weights))
    }
}

/// Weights by texts that ask for an intent.
fn choose(logits: &[Logits], labels: &[Option<u32>]) -> Result<Vec<f64>, ModelError> {
    let known: Vec<(usize, u32)> =
        labels.iter().enumerate().filter_map(|(row, label)| Some((row, (*label)?))).collect();
    let of_member =
        |logits: &Logits| -> Logits { known.iter().map(|(row, _)| logits[*row].clone()).collect() };
    let labels: Vec<u32> = known.iter().map(|(_, label)| *label).collect();
    stack(&logits.iter().map(of_member).collect::<Vec<_>>(), &labels)
}

impl IntentSpec for EnsembleSpec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers and names in a struct are JSON")
    }

    /// Weights are chosen by held out texts; what else there is to choose is the members'.
    fn tuned_instead(&self) -> Option<String> {
        let mut names: Vec<&str> = self.members.iter().map(|member| member.name()).collect();
        names.dedup();
        Some(format!(
            "its weights are chosen in every fit: tune a member ({}), and copy what `best.toml` says to the `hyperparameters` of this member in \
             `[intent_models.ensemble] members`",
            names.join(", ")
        ))
    }

    /// Members are fitted one after the other; what is fitted stays.
    fn needed_bytes(&self, train: IntentTexts<'_>) -> u64 {
        self.members.iter().map(|member| member.needed_bytes(train)).sum()
    }

    fn fit(
        &self,
        train: IntentTexts<'_>,
        validation: IntentTexts<'_>,
        identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn IntentModel>, FitRecord), ModelError> {
        context.check_memory(NAME, self.needed_bytes(train), "leave members out")?;
        let mut weights = self.config.weights.clone();
        if weights.is_empty() && validation.is_empty() {
            let labels: Vec<Option<u32>> = train.labels.iter().copied().map(Some).collect();
            // Choosing is short beside the fit that follows; a checkpoint is of that one.
            let context = FitContext { checkpoint: None, ..*context };
            let folds = Folds::new(train.texts, &labels, train.n_intents);
            weights = self.held_out(&folds, &context)?.1;
        }
        let counts = |place: &usize| weights.get(*place).is_none_or(|weight| *weight > 0.0);
        let fit = |place: usize| -> Result<FittedMember, ModelError> {
            let fit = |spec: &dyn IntentSpec, context: &FitContext<'_>| {
                spec.fit(train, validation, identity, context)
            };
            Ok((place, self.of_member(place, context, fit)?))
        };
        let places = (0..self.members.len()).filter(counts);
        let mut fitted: Vec<FittedMember> = places.map(fit).collect::<Result<_, _>>()?;
        if weights.is_empty() {
            let texts: Vec<&Analyzed> = validation.texts.iter().collect();
            let logits =
                |(_, (model, _)): &FittedMember| logits_of(model.as_ref(), &texts, context);
            let logits: Vec<_> = fitted.iter().map(logits).collect::<Result<_, _>>()?;
            weights = stack(&logits, validation.labels)?;
            fitted.retain(|(place, _)| weights[*place] > 0.0);
        }
        let of_weight = |weight: &f64| MemberRecord { weight: *weight, chosen_epoch: None };
        let members = weights.iter().map(of_weight).collect();
        let mut record = FitRecord { members, ..FitRecord::default() };
        let mut config = EnsembleConfig { members: Vec::new(), weights: Vec::new() };
        let mut models = Vec::with_capacity(fitted.len());
        for (place, (model, found)) in fitted {
            record.members[place].chosen_epoch = found.chosen_epoch;
            if record.curve.is_empty() {
                record.curve = found.curve;
            }
            config.members.push(Member {
                model: model.name().to_owned(),
                hyperparameters: model.hyperparameters(),
            });
            config.weights.push(weights[place]);
            models.push(model);
        }
        Ok((Box::new(EnsembleModel { config, members: models }), record))
    }

    /// The members are fitted for their logits alone, and what they say chooses the weights: once, not once a fold.
    fn cross_fit(
        &self,
        folds: &Folds<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Logits, Box<dyn IntentSpec>), ModelError> {
        let (logits, weights) = self.held_out(folds, context)?;
        let pooled = |text: usize| {
            let of_text: Vec<&[f32]> = logits.iter().map(|l| l[text].as_slice()).collect();
            pool(&of_text, &weights).into_iter().map(|logit| logit as f32).collect()
        };
        let n_texts = folds.labels().len();
        let of_weight = |weight: &f64| MemberRecord { weight: *weight, chosen_epoch: None };
        let members = weights.iter().map(of_weight).collect();
        let chosen = self.for_refit(&FitRecord { members, ..FitRecord::default() });
        Ok(((0..n_texts).map(pooled).collect(), chosen))
    }

    /// With the weights and the members' epochs that were chosen.
    fn for_refit(&self, record: &FitRecord) -> Box<dyn IntentSpec> {
        let refit = |(place, spec): (usize, &dyn IntentSpec)| {
            let chosen_epoch = record.members.get(place).and_then(|member| member.chosen_epoch);
            spec.for_refit(&FitRecord { chosen_epoch, ..FitRecord::default() })
        };
        let members: Vec<_> =
            self.members.iter().map(AsRef::as_ref).enumerate().map(refit).collect();
        let mut config = self.config.clone();
        config.weights = record.members.iter().map(|member| member.weight).collect();
        for (member, spec) in config.members.iter_mut().zip(&members) {
            member.hyperparameters = spec.hyperparameters();
        }
        Box::new(Self { config, members })
    }
}

/// The place of a member, itself, and how it was fitted.
type FittedMember = (usize, (Box<dyn IntentModel>, FitRecord));

/// A fitted ensemble.
#[derive(Debug)]
pub struct EnsembleModel {
    config: EnsembleConfig,
    members: Vec<Box<dyn IntentModel>>,
}

impl EnsembleModel {
    /// From what [`IntentModel::tensors`] gave.
    ///
    /// # Errors
    /// [`ModelError::Damaged`], and those of the members.
    pub(super) fn load(
        spec: EnsembleSpec,
        tensors: &mut Tensors,
        n_intents: usize,
    ) -> Result<Self, ModelError> {
        if spec.config.weights.len() != spec.members.len() {
            return Err(ModelError::damaged("its members have no weights"));
        }
        let load = |(place, member): (usize, &Member)| {
            let tensors = tensors.split(&place.to_string());
            registry::load(&member.model, &member.hyperparameters, tensors, n_intents)
        };
        let members = spec.config.members.iter().enumerate().map(load);
        Ok(Self { members: members.collect::<Result<_, _>>()?, config: spec.config })
    }
}

impl IntentModel for EnsembleModel {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers and names in a struct are JSON")
    }

    fn logits(&self, text: &Analyzed) -> Result<Vec<f32>, ModelError> {
        let logits: Vec<Vec<f32>> =
            self.members.iter().map(|model| model.logits(text)).collect::<Result<_, _>>()?;
        let logits: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
        let pooled = pool(&logits, &self.config.weights);
        Ok(pooled.into_iter().map(|logit| logit as f32).collect())
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        for (place, member) in self.members.iter().enumerate() {
            tensors.extend(&place.to_string(), member.tensors());
        }
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::analyzed;
    use crate::testing::one_thread;
    use serde_json::json;

    fn texts() -> Vec<Analyzed> {
        analyzed(&[
            "where is my order",
            "where is my parcel",
            "when does my order come",
            "my order has not come",
            "i want my money back",
            "refund please",
            "how do i get a refund",
            "give me my money back",
        ])
    }

    const LABELS: [u32; 8] = [0, 0, 0, 0, 1, 1, 1, 1];

    fn fitted(name: &str, keys: &Value, seed: u64) -> Box<dyn IntentModel> {
        let (texts, context) = (texts(), FitContext { seed, ..one_thread() });
        let train = IntentTexts::new(&texts, &LABELS, 2);
        let spec = registry::spec(name, keys).unwrap();
        spec.fit(train, train.none(), "", &context).unwrap().0
    }

    #[test]
    fn an_ensemble_is_the_weighted_sum_of_its_members() {
        let of_network = json!({"n_epochs": 2});
        let keys = json!({"weights": [3.0, 0.5], "members": [
            {"model": "tfidf-svm"},
            {"model": "textcnn", "hyperparameters": of_network},
        ]});
        let ensemble = fitted(NAME, &keys, 5);
        // A member has the seed of the ensemble plus its place.
        let (svm, cnn) = (fitted("tfidf-svm", &Value::Null, 5), fitted("textcnn", &of_network, 6));
        for text in texts() {
            let (svm, cnn) = (svm.logits(&text).unwrap(), cnn.logits(&text).unwrap());
            for (intent, got) in ensemble.logits(&text).unwrap().into_iter().enumerate() {
                let want = 3.0 * svm[intent] + 0.5 * cnn[intent];
                assert!((got - want).abs() < 1e-5 * want.abs().max(1.0), "{got} {want}");
            }
        }
    }

    #[test]
    fn chosen_weights_stay_in_a_refit() {
        let (texts, context) = (texts(), one_thread());
        let train = IntentTexts::new(&texts, &LABELS, 2);
        let keys = json!({"members": [{"model": "tfidf-svm"}, {"model": "tfidf-lr"}]});
        let spec = registry::spec(NAME, &keys).unwrap();
        let (model, record) = spec.fit(train, train.none(), "", &context).unwrap();
        assert_eq!(record.members.len(), 2);
        let refit = spec.for_refit(&record);
        let weights: Vec<f64> = record.members.iter().map(|member| member.weight).collect();
        assert_eq!(refit.hyperparameters()["weights"], json!(weights));
        let again = refit.fit(train, train.none(), "", &context).unwrap().0;
        assert_eq!(again.logits(&texts[0]).unwrap(), model.logits(&texts[0]).unwrap());
    }

    #[test]
    fn a_member_that_does_not_count_is_left_out() {
        let keys = json!({"weights": [0.0, 2.0], "members": [
            {"model": "textcnn", "hyperparameters": {"n_epochs": 2}}, {"model": "tfidf-svm"},
        ]});
        let (model, svm) = (fitted(NAME, &keys, 5), fitted("tfidf-svm", &Value::Null, 6));
        let text = &texts()[0];
        let twice: Vec<f32> = svm.logits(text).unwrap().iter().map(|logit| 2.0 * logit).collect();
        assert_eq!(model.logits(text).unwrap(), twice);
        assert_eq!(model.hyperparameters()["members"].as_array().unwrap().len(), 1);
        assert!(model.tensors().iter().all(|(name, _)| name.starts_with("0.")));
        let none = json!({"weights": [0.0], "members": [{"model": "tfidf-svm"}]});
        let refused = registry::spec(NAME, &none).unwrap_err().to_string();
        assert!(refused.contains("above 0"), "{refused}");
    }

    #[test]
    fn members_are_cross_fitted_once_and_their_weights_stay() {
        let (texts, context) = (texts(), one_thread());
        let labels = LABELS.map(Some);
        let folds = Folds::new(&texts, &labels, 2);
        let keys = json!({"members": [{"model": "tfidf-svm"}, {"model": "tfidf-lr"}]});
        let spec = registry::spec(NAME, &keys).unwrap();
        let (logits, chosen) = spec.cross_fit(&folds, &context).unwrap();
        let weights: Vec<f64> =
            serde_json::from_value(chosen.hyperparameters()["weights"].clone()).unwrap();
        let of_member = |name, seed| {
            let context = FitContext { seed, ..context };
            registry::spec(name, &Value::Null).unwrap().cross_fit(&folds, &context).unwrap().0
        };
        let (svm, lr) =
            (of_member("tfidf-svm", context.seed), of_member("tfidf-lr", context.seed + 1));
        for (text, logits) in logits.iter().enumerate() {
            let want = weights[0] * f64::from(svm[text][0]) + weights[1] * f64::from(lr[text][0]);
            assert!((f64::from(logits[0]) - want).abs() < 1e-5);
        }
        // Weights that are given are not chosen anew.
        let refit = chosen.cross_fit(&folds, &context).unwrap();
        assert_eq!(refit.0, logits);
    }

    #[test]
    fn members_are_checked_and_written_out() {
        let refused = |keys: Value| registry::spec(NAME, &keys).unwrap_err().to_string();
        for (members, said) in [
            (json!([]), "1 to 32"),
            (json!([{"model": "ensemble"}]), "no member"),
            (json!([{"model": "tfidf-swm"}]), "tfidf-svm"),
            (json!([{"model": "textcnn", "hyperparameters": {"n_hiden": 1}}]), "n_hiden"),
            (json!([{"model": "textcnn", "weight": 1.0}]), "weight"),
        ] {
            let message = refused(json!({"members": members}));
            assert!(message.contains(said), "{message}");
        }
        assert!(refused(json!({"weights": [1.0]})).contains("one for each"));
        assert!(refused(json!({"weights": [1.0, -1.0, 1.0, 1.0]})).contains("from 0"));
        let spec = registry::spec(NAME, &Value::Null).unwrap();
        let keys = spec.hyperparameters();
        assert!(keys["members"][2]["hyperparameters"]["n_filters"].is_number(), "{keys}");
        assert_eq!(registry::spec(NAME, &keys).unwrap().hyperparameters(), keys);
    }
}
