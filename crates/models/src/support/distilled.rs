//! One network that has learned what a larger model says.

use forecart_text::Analyzed;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{IntentModel, IntentSpec, IntentTexts, Logits};
use super::encoders::{EncoderModel, EncoderSpec, TextEncoder};
use super::ensemble::{self, Member};
use super::folds::{Folds, logits_of};
use super::registry;
use crate::error::ModelError;
use crate::recommend::Parameter;
use crate::recommend::registry::parse_keys;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord};

/// The model's name in the registry.
pub(super) const NAME: &str = "distilled";

/// Copies of a text at most: what is trained on stays in memory.
const MOST_COPIES: u32 = 100;

/// Hyperparameters of [`DistilledSpec`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistilledConfig {
    /// The model that is imitated.
    pub teacher: Member,
    /// The network that imitates it.
    pub student: Member,
    /// What the logits of both are divided by while the student learns.
    pub temperature: f64,
    /// Copies of each training text with words left out, of which the student learns what the teacher says.
    pub n_copies: u32,
    /// Share of words that are left out of a copy, in `0.0..1.0`.
    pub copies_left_out: f64,
}

impl Default for DistilledConfig {
    fn default() -> Self {
        let member = |model: &str| Member { model: model.to_owned(), hyperparameters: Value::Null };
        Self {
            teacher: member(ensemble::NAME),
            student: member(TextEncoder::NgramMlp.model()),
            temperature: 2.0,
            n_copies: 3,
            copies_left_out: 0.2,
        }
    }
}

/// A teacher is fitted, and a student learns from what it says of the training texts and of copies of them that have lost words: the copies show where
/// the teacher draws its lines, which few texts alone do not. The file holds the student alone.
///
/// Source: Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015; copies as in Tang et al., *Distilling Task-Specific Knowledge
/// from BERT into Simple Neural Networks*, 2019, section 3.3, from which we differ: words are left out, not masked, and probabilities are imitated, not logits.
#[derive(Debug)]
pub struct DistilledSpec {
    config: DistilledConfig,
    teacher: Box<dyn IntentSpec>,
    student: EncoderSpec,
}

impl DistilledSpec {
    /// With `keys` in place of defaults.
    ///
    /// # Errors
    /// [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`], also of teacher and student; [`ModelError::UnknownModel`].
    pub fn from_keys(keys: &Value) -> Result<Self, ModelError> {
        let mut config: DistilledConfig = parse_keys(NAME, keys)?;
        let refuse = |name: &str, reason: &str| Err(ModelError::hyperparameter(NAME, name, reason));
        if registry::resolved(&config.teacher.model) == NAME {
            return refuse("teacher", "a distilled model is no teacher of another");
        }
        if !(config.temperature >= 0.1 && config.temperature <= 100.0) {
            return refuse("temperature", "give a number from 0.1 to 100");
        }
        if config.n_copies > MOST_COPIES {
            return refuse("n_copies", "give 100 at most");
        }
        if !(0.0..1.0).contains(&config.copies_left_out) {
            return refuse("copies_left_out", "give a share in 0.0..1.0");
        }
        let teacher = registry::spec(&config.teacher.model, &config.teacher.hyperparameters)?;
        let is_student = |encoder: &TextEncoder| encoder.model() == config.student.model;
        let Some(encoder) = TextEncoder::ALL.into_iter().find(is_student) else {
            let names = TextEncoder::ALL.map(TextEncoder::model).join(", ");
            let reason = format!("{:?} is no network; give one of {names}", config.student.model);
            return Err(ModelError::hyperparameter(NAME, "student", reason));
        };
        let student = EncoderSpec::from_keys(encoder, &config.student.hyperparameters)?;
        // As they will be fitted, defaults included: the model file tells all.
        config.teacher.model = teacher.name().to_owned();
        config.teacher.hyperparameters = teacher.hyperparameters();
        config.student.hyperparameters = student.hyperparameters();
        Ok(Self { config, teacher, student })
    }

    fn of_teacher(&self, teacher: Box<dyn IntentSpec>) -> Self {
        let mut config = self.config.clone();
        config.teacher.hyperparameters = teacher.hyperparameters();
        Self { config, teacher, student: self.student.clone() }
    }

    /// The texts, and after them the copies that still have a word.
    fn with_copies(&self, texts: &[Analyzed], seed: u64) -> Vec<Analyzed> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut all = texts.to_vec();
        for _ in 0..self.config.n_copies {
            for text in texts {
                let is_left_out: Vec<bool> = text
                    .tokens()
                    .iter()
                    .map(|_| rng.random::<f64>() < self.config.copies_left_out)
                    .collect();
                let copy = text.without(|at| is_left_out[at]);
                if copy.word_places().next().is_some() {
                    all.push(copy);
                }
            }
        }
        all
    }
}

impl IntentSpec for DistilledSpec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers and names in a struct are JSON")
    }

    /// How the student learns; teacher and student have their own.
    fn search_space(&self) -> &'static [Parameter] {
        const SPACE: &[Parameter] = &[
            Parameter::log("temperature", 0.5, 8.0),
            Parameter::int("n_copies", 0, 8),
            Parameter::float("copies_left_out", 0.0, 0.5),
        ];
        SPACE
    }

    /// The teacher stays while the student learns.
    fn needed_bytes(&self, train: IntentTexts<'_>) -> u64 {
        let copies = u64::from(self.config.n_copies) + 1;
        let n_logits = train.len() as u64 * train.n_intents as u64;
        self.teacher.needed_bytes(train)
            + self.student.needed_bytes(train)
            + copies * (8 * n_logits + 200 * train.len() as u64)
    }

    fn fit(
        &self,
        train: IntentTexts<'_>,
        validation: IntentTexts<'_>,
        identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn IntentModel>, FitRecord), ModelError> {
        context.check_memory(NAME, self.needed_bytes(train), "lower `n_copies`")?;
        let of_part = |place| context.checkpoint.map(|checkpoint| checkpoint.of_member(place));
        let checkpoint = of_part(0);
        let of_teacher = FitContext { checkpoint: checkpoint.as_ref(), ..*context };
        let (teacher, record) = self.teacher.fit(train, validation, identity, &of_teacher)?;
        let texts = self.with_copies(train.texts, context.seed);
        let asked: Vec<&Analyzed> = texts.iter().collect();
        let logits = logits_of(teacher.as_ref(), &asked, context)?;
        let config = self.of_teacher(self.teacher.for_refit(&record)).config;
        let checkpoint = of_part(1);
        let of_student = FitContext { checkpoint: checkpoint.as_ref(), ..*context };
        // What a student says depends on its teacher.
        let teacher = serde_json::to_string(&config).expect("numbers and names are JSON");
        let (student, of_student) = self.student.imitate(
            (&texts, train.len()),
            (&logits, self.config.temperature),
            &format!("{identity} distilled by {teacher}"),
            &of_student,
        )?;
        let record = FitRecord { curve: of_student.curve, ..record };
        Ok((Box::new(DistilledModel { config, student }), record))
    }

    /// What the held out texts choose is the teacher's.
    fn cross_fit(
        &self,
        folds: &Folds<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Logits, Box<dyn IntentSpec>), ModelError> {
        let context = FitContext { checkpoint: None, ..*context };
        let chosen = self.of_teacher(self.teacher.cross_fit(folds, &context)?.1);
        let logits =
            folds.logits(&context, |train| Ok(chosen.fit(train, train.none(), "", &context)?.0))?;
        Ok((logits, Box::new(chosen)))
    }

    fn for_refit(&self, record: &FitRecord) -> Box<dyn IntentSpec> {
        Box::new(self.of_teacher(self.teacher.for_refit(record)))
    }
}

/// A student, with what it learned from.
#[derive(Debug, Clone)]
pub struct DistilledModel {
    config: DistilledConfig,
    student: EncoderModel,
}

impl DistilledModel {
    /// From what [`IntentModel::tensors`] gave.
    ///
    /// # Errors
    /// [`ModelError::Damaged`].
    pub(super) fn load(
        spec: DistilledSpec,
        tensors: &mut Tensors,
        n_intents: usize,
    ) -> Result<Self, ModelError> {
        let student = EncoderModel::load(spec.student, tensors, n_intents)?;
        Ok(Self { config: spec.config, student })
    }
}

impl IntentModel for DistilledModel {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("numbers and names in a struct are JSON")
    }

    fn logits(&self, text: &Analyzed) -> Result<Vec<f32>, ModelError> {
        self.student.logits(text)
    }

    fn attribute(&self, text: &Analyzed, intent: usize) -> Result<Vec<f64>, ModelError> {
        self.student.attribute(text, intent)
    }

    fn tensors(&self) -> Tensors {
        self.student.tensors()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::analyzed;
    use crate::testing::one_thread;
    use serde_json::json;

    const LABELS: [u32; 4] = [0, 0, 1, 1];

    fn texts() -> Vec<Analyzed> {
        analyzed(&[
            "where is my order",
            "when does my parcel come",
            "give me my money back",
            "refund please",
        ])
    }

    #[test]
    fn a_student_says_what_its_teacher_says() {
        let (texts, context) = (texts(), one_thread());
        // Labels that no rule explains: the teacher knows them by heart, and so what it says can come from it alone.
        let train = IntentTexts::new(&texts, &LABELS, 2);
        let teacher = json!({"model": "tfidf-lr", "hyperparameters": {"c": 0.3}});
        let student = json!({"model": "ngram-mlp", "hyperparameters": {
            "n_dims": 32, "min_count": 1, "left_out": 0.0, "dropout_out": 0.0, "weight_decay": 0.0,
            "n_epochs": 300, "learning_rate": 0.01,
        }});
        for temperature in [1.0, 2.0] {
            let keys = json!({"teacher": teacher, "student": student, "temperature": temperature, "n_copies": 1});
            let spec = registry::spec(NAME, &keys).unwrap();
            let model = spec.fit(train, train.none(), "", &context).unwrap().0;
            let teacher = registry::spec("tfidf-lr", &json!({"c": 0.3})).unwrap();
            let teacher = teacher.fit(train, train.none(), "", &context).unwrap().0;
            for text in &texts {
                let gap = |model: &dyn IntentModel| {
                    let logits = model.logits(text).unwrap();
                    logits[0] - logits[1]
                };
                let (got, want) = (gap(model.as_ref()), gap(teacher.as_ref()));
                assert!((got - want).abs() < 0.1 * want.abs().max(0.5), "{got} {want}");
            }
        }
    }

    #[test]
    fn copies_have_lost_words_and_are_drawn_by_the_seed() {
        let keys = json!({"n_copies": 50, "copies_left_out": 0.5});
        let spec = DistilledSpec::from_keys(&keys).unwrap();
        let texts = texts();
        let all = spec.with_copies(&texts, 1);
        assert_eq!(all[..4], texts);
        assert!((150..=204).contains(&all.len()), "{}", all.len());
        assert!(all.iter().all(|text| text.word_places().next().is_some()));
        let n_words = |texts: &[Analyzed]| -> usize {
            texts.iter().map(|text| text.word_places().count()).sum()
        };
        let (before, after) = (n_words(&texts) * 50, n_words(&all[4..]));
        // Binomial(800, 0.5), and those without words are gone.
        assert!(after.abs_diff(before / 2) < 80, "{before} {after}");
        assert_eq!(all, spec.with_copies(&texts, 1));
        assert_ne!(all, spec.with_copies(&texts, 2));
    }

    #[test]
    fn what_a_refit_keeps_are_the_weights_of_the_teacher() {
        let (texts, context) = (texts(), one_thread());
        let labels = LABELS.map(Some);
        let members = json!([{"model": "tfidf-svm"}, {"model": "tfidf-lr"}]);
        let keys = json!({
            "teacher": {"model": "ensemble", "hyperparameters": {"members": members}},
            "student": {"model": "fasttext", "hyperparameters": {"n_epochs": 2}},
        });
        let spec = registry::spec(NAME, &keys).unwrap();
        let weights = |keys: &Value| keys["teacher"]["hyperparameters"]["weights"].clone();
        assert_eq!(weights(&spec.hyperparameters()), json!([]));
        let (logits, chosen) = spec.cross_fit(&Folds::new(&texts, &labels, 2), &context).unwrap();
        assert_eq!(logits.len(), 4);
        assert_eq!(weights(&chosen.hyperparameters()).as_array().unwrap().len(), 2);
        let train = IntentTexts::new(&texts, &LABELS, 2);
        let (model, record) = chosen.fit(train, train.none(), "", &context).unwrap();
        assert_eq!(model.hyperparameters(), chosen.hyperparameters());
        assert_eq!(record.members.len(), 2);
    }

    #[test]
    fn bad_teachers_and_students_are_refused() {
        let refused = |keys: Value| registry::spec(NAME, &keys).unwrap_err().to_string();
        for (keys, said) in [
            (json!({"teacher": {"model": "distilled"}}), "no teacher"),
            (json!({"student": {"model": "tfidf-svm"}}), "fasttext"),
            (
                json!({"student": {"model": "textcnn", "hyperparameters": {"n_hiden": 1}}}),
                "n_hiden",
            ),
            (json!({"temperature": 0.0}), "temperature"),
            (json!({"n_copies": 101}), "n_copies"),
            (json!({"copies_left_out": 1.0}), "copies_left_out"),
        ] {
            let message = refused(keys);
            assert!(message.contains(said), "{message}");
        }
    }
}
