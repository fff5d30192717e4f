//! TF-IDF and one linear classifier for each intent against all others: strong on short texts, trained in seconds.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use forecart_text::Analyzed;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{IntentModel, IntentSpec, IntentTexts};
use super::dual::Problem;
use super::features::{Features, NgramConfig};
use super::sentence_encoder::SentenceEncoder;
use crate::error::ModelError;
use crate::recommend::Parameter;
use crate::recommend::registry::parse_keys_of;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord};

/// What the classifiers minimize.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinearLoss {
    /// The squared hinge loss of support vector machines.
    SquaredHinge,
    /// The loss of logistic regression.
    Logistic,
}

impl LinearLoss {
    /// Both.
    pub const ALL: [Self; 2] = [Self::SquaredHinge, Self::Logistic];

    /// The model's name in the registry.
    pub const fn model(self) -> &'static str {
        match self {
            Self::SquaredHinge => "tfidf-svm",
            Self::Logistic => "tfidf-lr",
        }
    }

    /// One line about it.
    pub const fn about(self) -> &'static str {
        match self {
            Self::SquaredHinge => "TF-IDF of words and characters, linear support vector machines",
            Self::Logistic => "TF-IDF of words and characters, logistic regression",
        }
    }

    fn defaults(self) -> LinearConfig {
        let ngrams = NgramConfig::DEFAULT;
        LinearConfig {
            word_ngrams: ngrams.word_ngrams,
            char_ngrams_from: ngrams.char_ngrams_from,
            char_ngrams: ngrams.char_ngrams,
            ideograph_ngrams: ngrams.ideograph_ngrams,
            min_count: ngrams.min_count,
            max_features: ngrams.max_features,
            sublinear: ngrams.sublinear,
            c: match self {
                Self::SquaredHinge => 0.5,
                Self::Logistic => 20.0,
            },
            tolerance: 0.01,
            max_iterations: 1000,
            encoder: String::new(),
        }
    }
}

/// Hyperparameters of both models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearConfig {
    /// Longest n-grams of words; 0 for none.
    pub word_ngrams: usize,
    /// Shortest n-grams of characters.
    pub char_ngrams_from: usize,
    /// Longest n-grams of characters; 0 for none.
    pub char_ngrams: usize,
    /// Longest of those that hold a Chinese character, kana or hangul.
    pub ideograph_ngrams: usize,
    /// Texts that an n-gram has to be in.
    pub min_count: u32,
    /// N-grams at most, those in most texts.
    pub max_features: NonZeroU32,
    /// Whether a count counts as `1 + ln count`.
    pub sublinear: bool,
    /// The weight of the losses against that of large weights.
    pub c: f64,
    /// Where the solver ends.
    pub tolerance: f64,
    /// Passes over the texts at most.
    pub max_iterations: usize,
    /// The folder of a frozen encoder of sentences, whose vectors stand beside the n-grams; the model file holds what it needs of it, and names it by its hash.
    #[serde(default)]
    pub encoder: String,
}

impl LinearConfig {
    fn ngrams(&self) -> NgramConfig {
        NgramConfig {
            word_ngrams: self.word_ngrams,
            char_ngrams_from: self.char_ngrams_from,
            char_ngrams: self.char_ngrams,
            ideograph_ngrams: self.ideograph_ngrams,
            min_count: self.min_count,
            max_features: self.max_features,
            sublinear: self.sublinear,
        }
    }
}

/// One of the two models with its hyperparameters.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearSpec {
    loss: LinearLoss,
    config: LinearConfig,
}

impl LinearSpec {
    /// With `keys` in place of defaults.
    ///
    /// # Errors
    /// [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`].
    pub fn from_keys(loss: LinearLoss, keys: &Value) -> Result<Self, ModelError> {
        let config = parse_keys_of(loss.model(), &loss.defaults(), keys)?;
        let refuse =
            |name: &str, reason: &str| Err(ModelError::hyperparameter(loss.model(), name, reason));
        const LONGEST: usize = 10;
        if config.word_ngrams > LONGEST || config.char_ngrams > LONGEST {
            return refuse("word_ngrams", "n-grams have a length of 10 at most");
        }
        if config.word_ngrams == 0 && config.char_ngrams == 0 {
            return refuse("word_ngrams", "0, and char_ngrams is 0: no n-gram is left");
        }
        if config.char_ngrams > 0 && !(1..=config.char_ngrams).contains(&config.char_ngrams_from) {
            return refuse("char_ngrams_from", "give 1 to char_ngrams");
        }
        if config.ideograph_ngrams == 0 {
            return refuse("ideograph_ngrams", "give 1 or more");
        }
        if config.min_count == 0 {
            return refuse("min_count", "give 1 or more");
        }
        if !(config.c > 0.0 && config.c <= 1e6) {
            return refuse("c", "give a number above 0, up to 1e6");
        }
        if !(config.tolerance > 0.0 && config.tolerance <= 1.0) {
            return refuse("tolerance", "give a number above 0, up to 1");
        }
        if config.max_iterations == 0 {
            return refuse("max_iterations", "give 1 or more");
        }
        Ok(Self { loss, config })
    }
}

impl IntentSpec for LinearSpec {
    fn name(&self) -> &'static str {
        self.loss.model()
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers in a struct are JSON")
    }

    fn search_space(&self) -> &'static [Parameter] {
        const SPACE: &[Parameter] = &[
            Parameter::log("c", 0.05, 50.0),
            Parameter::int("word_ngrams", 1, 3),
            Parameter::int("char_ngrams", 3, 6),
            Parameter::int("ideograph_ngrams", 1, 4),
            Parameter::int("min_count", 1, 3),
        ];
        SPACE
    }

    fn needed_bytes(&self, train: IntentTexts<'_>) -> u64 {
        let n_bytes: usize = train.texts.iter().map(|text| text.text().len()).sum();
        let lengths = self.config.word_ngrams + self.config.char_ngrams;
        // Of each n-gram an entry of a row and of the table of counts; of those that are different, of texts about one in eight, a weight for
        // each intent, twice while they are put in order.
        let n_ngrams = (n_bytes * lengths) as u64;
        let n_features = (n_ngrams / 8).min(self.config.max_features.get().into());
        // A file that is not there is told of when it is read.
        let encoder = match self.config.encoder.is_empty() {
            true => 0,
            false => SentenceEncoder::n_bytes(Path::new(&self.config.encoder)).unwrap_or(0),
        };
        n_ngrams * 40 + n_features * train.n_intents as u64 * 4 * 2 + encoder
    }

    fn fit(
        &self,
        train: IntentTexts<'_>,
        _validation: IntentTexts<'_>,
        _identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn IntentModel>, FitRecord), ModelError> {
        let hint = "raise min_count or lower char_ngrams";
        context.check_memory(self.name(), self.needed_bytes(train), hint)?;
        let model = context.on_threads(|| self.train(train, context))?;
        Ok((Box::new(model), FitRecord::default()))
    }

    fn for_refit(&self, _record: &FitRecord) -> Box<dyn IntentSpec> {
        Box::new(self.clone())
    }
}

impl LinearSpec {
    fn train(
        &self,
        train: IntentTexts<'_>,
        context: &FitContext<'_>,
    ) -> Result<LinearModel, ModelError> {
        let mut spec = self.clone();
        let mut encoder = None;
        if !self.config.encoder.is_empty() {
            let refuse = |reason| ModelError::hyperparameter(self.name(), "encoder", reason);
            let found = SentenceEncoder::read(Path::new(&self.config.encoder)).map_err(refuse)?;
            spec.config.encoder = found.hash();
            encoder = Some(Arc::new(found));
        }
        let features = Features::fit(train.texts, self.config.ngrams(), encoder);
        let rows = features.rows(train.texts);
        context.check_cancelled()?;
        let n_features = features.len();
        let solve = |intent: usize| {
            context.check_cancelled()?;
            let problem = Problem {
                rows: &rows,
                n_features,
                c: self.config.c,
                tolerance: self.config.tolerance,
                max_iterations: self.config.max_iterations,
                seed: context.seed.wrapping_add(intent as u64),
            };
            let is_positive = |row: usize| train.labels[row] as usize == intent;
            let solved = match self.loss {
                LinearLoss::SquaredHinge => problem.squared_hinge(is_positive),
                LinearLoss::Logistic => problem.logistic(is_positive),
            };
            Ok(solved.into_iter().map(|weight| weight as f32).collect::<Vec<f32>>())
        };
        let of_intents: Vec<Vec<f32>> =
            (0..train.n_intents).into_par_iter().map(solve).collect::<Result<_, ModelError>>()?;
        let mut weights = vec![0.0; (n_features + 1) * train.n_intents];
        for (intent, solved) in of_intents.iter().enumerate() {
            let column = weights.iter_mut().skip(intent).step_by(train.n_intents);
            column.zip(solved).for_each(|(to, from)| *to = *from);
        }
        Ok(LinearModel { spec, features, weights, n_intents: train.n_intents })
    }
}

/// A fitted linear model.
#[derive(Debug, Clone)]
pub struct LinearModel {
    spec: LinearSpec,
    features: Features,
    /// `[n_features + 1, n_intents]`; the last row is the bias.
    weights: Vec<f32>,
    n_intents: usize,
}

impl LinearModel {
    /// From what [`IntentModel::tensors`] gave.
    ///
    /// # Errors
    /// [`ModelError::Damaged`].
    pub(super) fn load(
        spec: LinearSpec,
        tensors: &mut Tensors,
        n_intents: usize,
    ) -> Result<Self, ModelError> {
        let features =
            Features::load(spec.config.ngrams(), !spec.config.encoder.is_empty(), tensors)?;
        let weights = tensors.take_matrix("weights", features.len() + 1, n_intents)?;
        Ok(Self { spec, features, weights, n_intents })
    }

    fn weights_of(&self, feature: usize) -> &[f32] {
        &self.weights[feature * self.n_intents..(feature + 1) * self.n_intents]
    }
}

impl IntentModel for LinearModel {
    fn name(&self) -> &'static str {
        self.spec.name()
    }

    fn hyperparameters(&self) -> Value {
        self.spec.hyperparameters()
    }

    fn logits(&self, text: &Analyzed) -> Result<Vec<f32>, ModelError> {
        let mut logits = self.weights_of(self.features.len()).to_vec();
        for (feature, value) in self.features.row(text) {
            let weights = self.weights_of(feature as usize);
            logits.iter_mut().zip(weights).for_each(|(logit, weight)| *logit += value * weight);
        }
        Ok(logits)
    }

    /// What its n-grams add, each shared out to the tokens that it is of by their bytes; with the bias they sum to the logit.
    fn attribute(&self, text: &Analyzed, intent: usize) -> Result<Vec<f64>, ModelError> {
        let weight = |feature: u32| f64::from(self.weights_of(feature as usize)[intent]);
        Ok(self.features.attribute(text, weight))
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        self.features.tensors(&mut tensors);
        tensors.insert_matrix("weights", self.weights.clone(), self.n_intents);
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::registry;
    use crate::support::sentence_encoder::tests::folder;
    use crate::support::testing::analyzed;
    use crate::testing::one_thread;
    use serde_json::json;

    /// No word of the second parcel or money is in a training text; vectors tell them apart.
    #[test]
    fn an_encoder_knows_words_that_no_training_text_has() {
        let texts = analyzed(&["my parcel", "a parcel", "my refund", "a refund"]);
        let train = IntentTexts::new(&texts, &[0, 0, 1, 1], 2);
        let root = folder();
        let keys = json!({"encoder": root.path(), "char_ngrams": 0});
        let spec = registry::spec("tfidf-svm", &keys).unwrap();
        let model = spec.fit(train, train.none(), "", &one_thread()).unwrap().0;
        let asked = analyzed(&["package", "money"]);
        let best = |model: &dyn IntentModel, text: &Analyzed| {
            let logits = model.logits(text).unwrap();
            assert!((logits[0] - logits[1]).abs() > 0.1, "{logits:?}");
            usize::from(logits[1] > logits[0])
        };
        assert_eq!(asked.iter().map(|text| best(model.as_ref(), text)).collect::<Vec<_>>(), [0, 1]);
        let added = model.attribute(&asked[0], 0).unwrap();
        let empty = model.logits(&analyzed(&[""])[0]).unwrap()[0];
        assert!((added[0] - f64::from(model.logits(&asked[0]).unwrap()[0] - empty)).abs() < 1e-5);

        // The file needs the folder no more, and does not name it.
        drop(root);
        let keys = model.hyperparameters();
        assert!(keys["encoder"].as_str().unwrap().starts_with("sha256:"), "{keys}");
        let loaded = registry::load("tfidf-svm", &keys, model.tensors(), 2).unwrap();
        assert_eq!(loaded.logits(&asked[1]).unwrap(), model.logits(&asked[1]).unwrap());
        let error = spec.fit(train, train.none(), "", &one_thread()).unwrap_err().to_string();
        assert!(error.contains("encoder") && error.contains("tokenizer.json"), "{error}");
    }
}
