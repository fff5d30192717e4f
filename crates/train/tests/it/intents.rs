//! Models of intents side by side: what they may learn from, and on how many threads they answer.

use std::num::NonZeroUsize;

use forecart_data::intents::IntentDescription;
use forecart_data::{IntentTable, IntentWriter, Part, Silent};
use forecart_models::support::{IntentModel, IntentOptions, IntentSpec, IntentTexts, registry};
use forecart_models::training::{FitContext, FitRecord};
use forecart_models::{ModelError, Tensors};
use forecart_text::Analyzed;
use forecart_train::{
    IntentContestant, IntentGiven, IntentMeasuring, IntentTraining, TrainError,
    measure_intent_models, train_intents,
};
use serde_json::{Value, json};

/// Words of the validation texts stand nowhere else, so that who knows them has learned from them.
fn table(root: &std::path::Path) -> IntentTable {
    let folder = root.join("intents");
    let mut writer = IntentWriter::new(&folder, ["a", "b"].into_iter().collect()).unwrap();
    for at in 0..40 {
        let (label, of_train, of_validation) = [(0, "parcel", "zzz"), (1, "money", "qqq")][at % 2];
        writer.push(&format!("{of_train} {at}"), Some(label), Part::Train).unwrap();
        writer
            .push(&format!("{of_validation} {}", at + 100), Some(label), Part::Validation)
            .unwrap();
    }
    writer
        .finish(IntentDescription {
            data_hash: "00".into(),
            pipeline: json!({}),
            config: Value::Null,
            left_out: Vec::new(),
        })
        .unwrap();
    IntentTable::open(&folder).unwrap()
}

fn training(n_threads: usize) -> IntentTraining {
    IntentTraining {
        seed: 1,
        n_threads: NonZeroUsize::new(n_threads).unwrap(),
        memory_limit_bytes: None,
        checkpoint: None,
        options: IntentOptions::default(),
    }
}

#[test]
fn what_is_measured_on_is_not_learned_from() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    let spec = || registry::spec("tfidf-svm", &json!({"char_ngrams": 0})).unwrap();
    let measuring = IntentMeasuring::new(training(2));
    let contestant = IntentContestant::new(spec(), false);
    let measured = |given: &[IntentGiven], contestants: &[IntentContestant]| {
        measure_intent_models(&table, contestants, given, Part::Validation, &measuring, &Silent)
    };
    let report = measured(&[], &[contestant]).unwrap();
    assert_eq!(report.source.n_train, 40);
    let row = report.rows.iter().find(|row| row.model == "tfidf-svm").unwrap();
    assert_eq!(row.measured.accuracy.value, 0.5);
    // The same model, after it has learned from all, knows them; it is not measured on them.
    let (file, _) = train_intents(&table, spec().as_ref(), &training(2), &Silent).unwrap();
    assert_eq!(file.predictor().classify("zzz").unwrap().best(), 0);
    assert_eq!(file.predictor().classify("qqq").unwrap().best(), 1);
    let given = IntentGiven { name: "m".into(), file };
    let error = measured(&[given], &[]).unwrap_err();
    assert!(matches!(&error, TrainError::LearnedFrom { model } if model == "m"), "{error}");
}

/// Refuses to answer on any other number of threads.
#[derive(Debug, Clone)]
struct OnThreads(usize);

impl IntentSpec for OnThreads {
    fn name(&self) -> &'static str {
        "on-threads"
    }

    fn hyperparameters(&self) -> Value {
        Value::Null
    }

    fn needed_bytes(&self, _train: IntentTexts<'_>) -> u64 {
        0
    }

    fn fit(
        &self,
        _train: IntentTexts<'_>,
        _validation: IntentTexts<'_>,
        _identity: &str,
        _context: &FitContext<'_>,
    ) -> Result<(Box<dyn IntentModel>, FitRecord), ModelError> {
        Ok((Box::new(self.clone()), FitRecord::default()))
    }

    fn for_refit(&self, _record: &FitRecord) -> Box<dyn IntentSpec> {
        Box::new(self.clone())
    }
}

impl IntentModel for OnThreads {
    fn name(&self) -> &'static str {
        "on-threads"
    }

    fn hyperparameters(&self) -> Value {
        Value::Null
    }

    fn logits(&self, _text: &Analyzed) -> Result<Vec<f32>, ModelError> {
        assert_eq!(rayon::current_num_threads(), self.0);
        Ok(vec![0.0, 1.0])
    }

    fn tensors(&self) -> Tensors {
        Tensors::default()
    }
}

#[test]
fn answers_keep_to_the_threads_that_may_work() {
    let root = tempfile::tempdir().unwrap();
    let table = table(root.path());
    // Another number than that of the machine, which the pool of all programs has.
    let n_threads = rayon::current_num_threads() + 1;
    let measuring =
        IntentMeasuring { deterministic: true, ..IntentMeasuring::new(training(n_threads)) };
    let contestants = [IntentContestant::new(Box::new(OnThreads(n_threads)), false)];
    measure_intent_models(&table, &contestants, &[], Part::Validation, &measuring, &Silent)
        .unwrap();
}
