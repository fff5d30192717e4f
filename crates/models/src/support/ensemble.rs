//! Several models, whose probabilities are averaged.

use forecart_text::Analyzed;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{IntentModel, IntentSpec, IntentTexts};
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
    /// What its logits are multiplied by before they become probabilities: margins of support vector machines are too close to each other.
    #[serde(default = "one")]
    pub scale: f64,
    /// Its hyperparameters, where they are not the defaults.
    #[serde(default)]
    pub hyperparameters: Value,
}

fn one() -> f64 {
    1.0
}

/// Hyperparameters of [`EnsembleSpec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnsembleConfig {
    /// The models; one that is named twice is fitted from two seeds.
    pub members: Vec<Member>,
}

impl Default for EnsembleConfig {
    fn default() -> Self {
        let member = |model: &str, scale| Member {
            model: model.to_owned(),
            scale,
            hyperparameters: Value::Null,
        };
        // Models that err on other texts: n-grams by a linear model and by a hidden layer, words in their order.
        Self {
            members: vec![
                member("tfidf-svm", 3.0),
                member("ngram-mlp", 1.0),
                member("textcnn", 1.0),
            ],
        }
    }
}

/// Models that are fitted on the same texts, each from a seed of its own. The logit of an intent is the mean over the members of
/// `ln softmax(scale * logits)`, so that probabilities are the geometric mean of theirs, made to sum to 1.
///
/// Source: logarithmic opinion pool, Genest and Zidek, Statistical Science 1(1), 1986, equation 3.5, with equal weights.
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
        let refuse = |reason: &str| Err(ModelError::hyperparameter(NAME, "members", reason));
        if config.members.is_empty() || config.members.len() > MOST_MEMBERS {
            return refuse("give 1 to 32 models");
        }
        if config.members.iter().any(|member| registry::resolved(&member.model) == NAME) {
            return refuse("an ensemble is no member of another");
        }
        if config.members.iter().any(|member| !(member.scale > 0.0 && member.scale <= 1e3)) {
            return refuse("give scales above 0, up to 1000");
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
}

impl IntentSpec for EnsembleSpec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers and names in a struct are JSON")
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
        let mut members = Vec::with_capacity(self.members.len());
        let mut record = FitRecord::default();
        let weight = 1.0 / self.members.len() as f64;
        for (place, spec) in self.members.iter().enumerate() {
            let checkpoint = context.checkpoint.map(|checkpoint| checkpoint.of_member(place));
            let seed = context.seed.wrapping_add(place as u64);
            let context = FitContext { seed, checkpoint: checkpoint.as_ref(), ..*context };
            let (model, found) = spec.fit(train, validation, identity, &context)?;
            members.push(model);
            record.members.push(MemberRecord { weight, chosen_epoch: found.chosen_epoch });
            if record.curve.is_empty() {
                record.curve = found.curve;
            }
        }
        let model =
            EnsembleModel { config: self.config.clone(), members, n_intents: train.n_intents };
        Ok((Box::new(model), record))
    }

    fn for_refit(&self, record: &FitRecord) -> Box<dyn IntentSpec> {
        let refit = |(place, spec): (usize, &Box<dyn IntentSpec>)| {
            let chosen_epoch = record.members.get(place).and_then(|member| member.chosen_epoch);
            spec.for_refit(&FitRecord { chosen_epoch, ..FitRecord::default() })
        };
        let members: Vec<_> = self.members.iter().enumerate().map(refit).collect();
        let mut config = self.config.clone();
        for (member, spec) in config.members.iter_mut().zip(&members) {
            member.hyperparameters = spec.hyperparameters();
        }
        Box::new(Self { config, members })
    }
}

/// A fitted ensemble.
#[derive(Debug)]
pub struct EnsembleModel {
    config: EnsembleConfig,
    members: Vec<Box<dyn IntentModel>>,
    n_intents: usize,
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
        let load = |(place, member): (usize, &Member)| {
            let tensors = tensors.split(&place.to_string());
            registry::load(&member.model, &member.hyperparameters, tensors, n_intents)
        };
        let members = spec.config.members.iter().enumerate().map(load);
        Ok(Self { members: members.collect::<Result<_, _>>()?, config: spec.config, n_intents })
    }
}

impl IntentModel for EnsembleModel {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers and names in a struct are JSON")
    }

    fn n_intents(&self) -> usize {
        self.n_intents
    }

    fn logits(&self, text: &Analyzed) -> Result<Vec<f32>, ModelError> {
        let mut sums = vec![0.0; self.n_intents];
        for (model, member) in self.members.iter().zip(&self.config.members) {
            let scaled = |logit: f32| f64::from(logit) * member.scale;
            let logits: Vec<f64> = model.logits(text)?.into_iter().map(scaled).collect();
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logits.iter().map(|logit| (logit - max).exp()).sum();
            let log_total = max + total.ln();
            sums.iter_mut().zip(&logits).for_each(|(sum, logit)| *sum += logit - log_total);
        }
        let n = self.members.len() as f64;
        Ok(sums.into_iter().map(|sum| (sum / n) as f32).collect())
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
    use crate::testing::one_thread;
    use forecart_text::{Pipeline, PipelineConfig};
    use serde_json::json;

    fn texts() -> Vec<Analyzed> {
        let typed = [
            "where is my order",
            "where is my parcel",
            "when does my order come",
            "my order has not come",
            "i want my money back",
            "refund please",
            "how do i get a refund",
            "give me my money back",
        ];
        let pipeline = Pipeline::new(PipelineConfig::default()).unwrap();
        typed.map(|text| pipeline.analyze(&pipeline.clean(text))).into()
    }

    const LABELS: [u32; 8] = [0, 0, 0, 0, 1, 1, 1, 1];

    fn fitted(name: &str, keys: &Value, seed: u64) -> Box<dyn IntentModel> {
        let (texts, context) = (texts(), FitContext { seed, ..one_thread() });
        let train = IntentTexts::new(&texts, &LABELS, 2);
        let spec = registry::spec(name, keys).unwrap();
        spec.fit(train, train.none(), "", &context).unwrap().0
    }

    fn log_probabilities(logits: &[f32], scale: f64) -> Vec<f64> {
        let total: f64 = logits.iter().map(|logit| (f64::from(*logit) * scale).exp()).sum();
        logits.iter().map(|logit| f64::from(*logit) * scale - total.ln()).collect()
    }

    #[test]
    fn an_ensemble_is_the_mean_of_the_logarithms_of_its_members() {
        let of_network = json!({"n_epochs": 2});
        let keys = json!({"members": [
            {"model": "tfidf-svm", "scale": 3.0},
            {"model": "textcnn", "hyperparameters": of_network},
        ]});
        let ensemble = fitted(NAME, &keys, 5);
        // A member has the seed of the ensemble plus its place.
        let (svm, cnn) = (fitted("tfidf-svm", &Value::Null, 5), fitted("textcnn", &of_network, 6));
        for text in texts() {
            let svm = log_probabilities(&svm.logits(&text).unwrap(), 3.0);
            let cnn = log_probabilities(&cnn.logits(&text).unwrap(), 1.0);
            for (intent, got) in ensemble.logits(&text).unwrap().into_iter().enumerate() {
                let want = (svm[intent] + cnn[intent]) / 2.0;
                assert!((f64::from(got) - want).abs() < 1e-5, "{got} {want}");
            }
        }
    }

    #[test]
    fn members_are_checked_and_written_out() {
        let refused = |keys: Value| registry::spec(NAME, &keys).unwrap_err().to_string();
        for (members, said) in [
            (json!([]), "1 to 32"),
            (json!([{"model": "ensemble"}]), "no member"),
            (json!([{"model": "tfidf-svm", "scale": 0.0}]), "scales"),
            (json!([{"model": "tfidf-swm"}]), "tfidf-svm"),
            (json!([{"model": "textcnn", "hyperparameters": {"n_hiden": 1}}]), "n_hiden"),
            (json!([{"model": "textcnn", "weight": 1.0}]), "weight"),
        ] {
            let message = refused(json!({"members": members}));
            assert!(message.contains(said), "{message}");
        }
        let spec = registry::spec(NAME, &Value::Null).unwrap();
        let keys = spec.hyperparameters();
        assert!(keys["members"][2]["hyperparameters"]["n_filters"].is_number(), "{keys}");
        assert_eq!(registry::spec(NAME, &keys).unwrap().hyperparameters(), keys);
    }
}
