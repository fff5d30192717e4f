//! Several models, whose logits are summed with weights.

use forecart_text::Analyzed;
use rayon::prelude::*;
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

/// One of so many texts of each intent is held out to choose weights where there is no validation part.
const HOLDOUT: usize = 5;

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
    /// The models; one that is named twice is fitted from two seeds.
    pub members: Vec<Member>,
    /// What the logits of each are multiplied by; empty where that is chosen.
    pub weights: Vec<f64>,
}

impl Default for EnsembleConfig {
    fn default() -> Self {
        let member = |model: &str| Member { model: model.to_owned(), hyperparameters: Value::Null };
        // Models that err on other texts: n-grams by a linear model and by a hidden layer, words in their order.
        let members = ["tfidf-svm", "ngram-mlp", "textcnn"].map(member);
        Self { members: members.into(), weights: Vec::new() }
    }
}

/// Models that are fitted on the same texts, each from a seed of its own. The logits are `Σ_m w_m z_m` of the members' logits `z_m`: a
/// weighted geometric mean of their probabilities, made to sum to 1.
///
/// The weights are not negative and minimize the log loss on texts that the members have not learned from: those of the validation part or,
/// without one, every fifth of each intent, after which the members learn from all. Of few texts a linear model knows more than networks do, of many less.
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
        if config.members.iter().any(|member| registry::resolved(&member.model) == NAME) {
            return refuse("members", "an ensemble is no member of another");
        }
        if !config.weights.is_empty() && config.weights.len() != config.members.len() {
            return refuse("weights", "give one for each member, or none");
        }
        if config.weights.iter().any(|weight| !(0.0..=1e3).contains(weight)) {
            return refuse("weights", "give numbers from 0 to 1000");
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

    /// The members fitted on `train`, and how that went.
    fn fit_members(
        &self,
        train: IntentTexts<'_>,
        validation: IntentTexts<'_>,
        identity: &str,
        context: &FitContext<'_>,
    ) -> Result<Vec<FittedMember>, ModelError> {
        let fit = |(place, spec): (usize, &dyn IntentSpec)| {
            let checkpoint = context.checkpoint.map(|checkpoint| checkpoint.of_member(place));
            let seed = context.seed.wrapping_add(place as u64);
            let context = FitContext { seed, checkpoint: checkpoint.as_ref(), ..*context };
            spec.fit(train, validation, identity, &context)
        };
        self.members.iter().map(AsRef::as_ref).enumerate().map(fit).collect()
    }

    /// Weights by a part of `train` that is held out.
    fn weights_by_holdout(
        &self,
        train: IntentTexts<'_>,
        context: &FitContext<'_>,
    ) -> Result<Vec<f64>, ModelError> {
        let mut n_of_intent = vec![0_usize; train.n_intents];
        let (mut learned, mut held_out) = (Vec::new(), Vec::new());
        for row in 0..train.len() {
            let n = &mut n_of_intent[train.labels[row] as usize];
            *n += 1;
            // The first text of an intent is always learned from.
            if n.is_multiple_of(HOLDOUT) { held_out.push(row) } else { learned.push(row) }
        }
        let pick = |rows: &[usize]| -> (Vec<Analyzed>, Vec<u32>) {
            rows.iter().map(|row| (train.texts[*row].clone(), train.labels[*row])).unzip()
        };
        let ((texts, labels), (held_out, truths)) = (pick(&learned), pick(&held_out));
        let learned = IntentTexts::new(&texts, &labels, train.n_intents);
        let held_out = IntentTexts::new(&held_out, &truths, train.n_intents);
        // Choosing is short beside the fit that follows; a checkpoint is of that one.
        let context = FitContext { checkpoint: None, ..*context };
        let members = self.fit_members(learned, held_out, "", &context)?;
        choose(&members, held_out, &context)
    }
}

/// Weights of members that have not learned from `held_out`.
fn choose(
    members: &[(Box<dyn IntentModel>, FitRecord)],
    held_out: IntentTexts<'_>,
    context: &FitContext<'_>,
) -> Result<Vec<f64>, ModelError> {
    let logits = |text: &Analyzed| -> Result<Vec<Vec<f32>>, ModelError> {
        members.iter().map(|(model, _)| model.logits(text)).collect()
    };
    let logits: Vec<Vec<Vec<f32>>> =
        context.on_threads(|| held_out.texts.par_iter().map(logits).collect())?;
    Ok(stack(&logits, held_out.labels, members.len()))
}

/// The weights `w >= 0` that minimize `Σ_t -ln softmax(Σ_m w_m z_tm)_(label of t) + Σ_m (w_m - 1)² / 2` for logits `z: [n_texts][n_members][n_intents]`: from 1 each,
/// member by member by Newton steps of at most the weight's size plus one, until none moves. The problem is convex; the second term, which counts as much as a text or so,
/// holds the weights where texts say nothing.
fn stack(logits: &[Vec<Vec<f32>>], labels: &[u32], n_members: usize) -> Vec<f64> {
    const SWEEPS: usize = 200;
    let mut weights = vec![1.0; n_members];
    for _ in 0..SWEEPS {
        let mut moved = 0.0_f64;
        for member in 0..n_members {
            let (mut slope, mut curvature) = (weights[member] - 1.0, 1.0);
            for (of_members, label) in logits.iter().zip(labels) {
                let pooled = pool(of_members, &weights);
                let max = pooled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let (mut total, mut mean, mut square) = (0.0_f64, 0.0_f64, 0.0_f64);
                for (pooled, z) in pooled.iter().zip(&of_members[member]) {
                    let (p, z) = ((pooled - max).exp(), f64::from(*z));
                    total += p;
                    mean += p * z;
                    square += p * z * z;
                }
                mean /= total;
                slope += mean - f64::from(of_members[member][*label as usize]);
                curvature += (square / total - mean * mean).max(0.0);
            }
            let most = weights[member] + 1.0;
            let step = (slope / curvature).clamp(-most, most);
            let new = (weights[member] - step).clamp(0.0, 1e3);
            moved = moved.max((new - weights[member]).abs());
            weights[member] = new;
        }
        if moved < 1e-6 {
            break;
        }
    }
    // Short numbers come back from JSON to the bit.
    weights.iter().map(|weight| (weight * 1e4).round() / 1e4).collect()
}

/// `Σ_m w_m z_m`.
fn pool(logits: &[Vec<f32>], weights: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0; logits.first().map_or(0, Vec::len)];
    for (logits, weight) in logits.iter().zip(weights) {
        let terms = sums.iter_mut().zip(logits);
        terms.for_each(|(sum, logit)| *sum += weight * f64::from(*logit));
    }
    sums
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
        let mut config = self.config.clone();
        if config.weights.is_empty() && validation.is_empty() {
            config.weights = self.weights_by_holdout(train, context)?;
        }
        let members = self.fit_members(train, validation, identity, context)?;
        if config.weights.is_empty() {
            config.weights = choose(&members, validation, context)?;
        }
        let mut record = FitRecord::default();
        let mut models = Vec::with_capacity(members.len());
        for ((model, found), weight) in members.into_iter().zip(&config.weights) {
            models.push(model);
            let chosen_epoch = found.chosen_epoch;
            record.members.push(MemberRecord { weight: *weight, chosen_epoch });
            if record.curve.is_empty() {
                record.curve = found.curve;
            }
        }
        let model = EnsembleModel { config, members: models };
        Ok((Box::new(model), record))
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

/// A member, and how it was fitted.
type FittedMember = (Box<dyn IntentModel>, FitRecord);

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

    fn log_loss(logits: &[Vec<Vec<f32>>], labels: &[u32], weights: &[f64]) -> f64 {
        let loss = |(of_members, label): (&Vec<Vec<f32>>, &u32)| {
            let pooled = pool(of_members, weights);
            pooled.iter().map(|logit| logit.exp()).sum::<f64>().ln() - pooled[*label as usize]
        };
        let prior: f64 = weights.iter().map(|weight| (weight - 1.0).powi(2) / 2.0).sum();
        logits.iter().zip(labels).map(loss).sum::<f64>() + prior
    }

    /// One member that is mostly right, one that says nothing true.
    fn held_out() -> (Vec<Vec<Vec<f32>>>, Vec<u32>) {
        let of_text = |at: usize| {
            let label = (at % 2) as u32;
            let right = if at.is_multiple_of(7) { -1.0 } else { 1.0 };
            let sign = if label == 0 { 1.0 } else { -1.0 };
            let noise = (at as f32 * 2.3).sin();
            (vec![vec![right * sign, -right * sign], vec![noise, -noise]], label)
        };
        (0..200).map(of_text).unzip()
    }

    #[test]
    fn weights_are_those_of_the_smallest_loss() {
        let (logits, labels) = held_out();
        let weights = stack(&logits, &labels, 2);
        // Of the first member alone 6 of 7 are right, so that 2 w is about ln 6.
        assert!((0.7..1.1).contains(&weights[0]) && weights[1] < 0.2, "{weights:?}");
        let least = log_loss(&logits, &labels, &weights);
        for (member, by) in [(0, 0.01), (0, -0.01), (1, 0.01), (1, -0.01)] {
            let mut other = weights.clone();
            other[member] = f64::max(0.0, other[member] + by);
            let loss = log_loss(&logits, &labels, &other);
            assert!(loss >= least - 1e-6, "{weights:?} {other:?}: {loss} {least}");
        }
    }

    #[test]
    fn weights_that_no_text_speaks_of_are_one() {
        assert_eq!(stack(&[], &[], 3), [1.0; 3]);
        // Texts that are all told apart do not send a weight to infinity.
        let weights = stack(&vec![vec![vec![5.0, -5.0]]; 100], &[0; 100], 1);
        assert!((0.9..2.0).contains(&weights[0]), "{weights:?}");
    }

    #[test]
    fn chosen_weights_stay_in_a_refit() {
        let (texts, context) = (texts(), one_thread());
        let train = IntentTexts::new(&texts, &LABELS, 2);
        let keys = json!({"members": [{"model": "tfidf-svm"}, {"model": "tfidf-lr"}]});
        let spec = registry::spec(NAME, &keys).unwrap();
        let (model, record) = spec.fit(train, train.none(), "", &context).unwrap();
        let weights = model.hyperparameters()["weights"].clone();
        assert_eq!(weights.as_array().unwrap().len(), 2);
        let refit = spec.for_refit(&record);
        assert_eq!(refit.hyperparameters()["weights"], weights);
        let again = refit.fit(train, train.none(), "", &context).unwrap().0;
        assert_eq!(again.logits(&texts[0]).unwrap(), model.logits(&texts[0]).unwrap());
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
        assert!(refused(json!({"weights": [1.0, -1.0, 1.0]})).contains("from 0"));
        let spec = registry::spec(NAME, &Value::Null).unwrap();
        let keys = spec.hyperparameters();
        assert!(keys["members"][2]["hyperparameters"]["n_filters"].is_number(), "{keys}");
        assert_eq!(registry::spec(NAME, &keys).unwrap().hyperparameters(), keys);
    }
}
