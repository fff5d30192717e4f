//! The contract of all models of intents, on texts written by a grammar.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::OnceLock;

use forecart_data::intents::IntentDescription;
use forecart_data::{IntentTable, IntentWriter, Part, Silent};
use forecart_models::model_file::{AnyHeader, IntentModelFile, inspect};
use forecart_models::recommend::FitOn;
use forecart_models::support::predictor::Serving;
use forecart_models::support::{
    Abstained, ChosenOn, IntentOptions, IntentPredictor, Learned, held_out_accuracy, registry,
};
use forecart_models::training::FitContext;
use forecart_text::{Pipeline, PipelineConfig};
use proptest::prelude::*;
use serde_json::{Value, json};

const INTENTS: [&str; 4] = ["cancel_order", "refund", "track_order", "退货"];

const SECRETS: [&str; 4] =
    ["13912345678", "planted.person@shop.example", "ORD-2026-777123", "+44 20 7946 0958"];

/// What the texts of each intent are made of: a beginning, a middle, an end.
const WORDS: [[[&str; 4]; 3]; 4] = [
    [
        ["please cancel", "I want to cancel", "stop", "call off"],
        ["my order", "the purchase", "what I bought", "the parcel"],
        ["now", "before it ships", "today", "I changed my mind"],
    ],
    [
        ["I want my money back", "refund me", "pay me back", "when is the refund"],
        ["for the shoes", "for the broken lamp", "of last week", "for my order"],
        ["soon", "on my card", "please", "in full"],
    ],
    [
        ["where is", "track", "when will I get", "has it shipped"],
        ["my parcel", "the delivery", "my order", "the package"],
        ["it is late", "now", "please", "I am waiting"],
    ],
    [
        ["我要退货", "怎么退货", "可以退货吗", "想退掉"],
        ["这双鞋", "这个订单", "昨天买的", "衣服"],
        ["谢谢", "太小了", "坏了", "麻烦快点"],
    ],
];

fn pipeline() -> &'static Pipeline {
    static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
    PIPELINE.get_or_init(|| Pipeline::new(PipelineConfig::default()).unwrap())
}

/// All 64 texts of each intent; every third has a secret in it. `part_of` tells where each goes.
fn write(folder: &Path, part_of: impl Fn(usize) -> Part) {
    let mut writer = IntentWriter::new(folder, INTENTS.iter().collect()).unwrap();
    for at in 0..64 {
        for (intent, words) in WORDS.iter().enumerate() {
            let [a, b, c] = [at % 4, at / 4 % 4, at / 16];
            let mut typed = format!("{} {} {}", words[0][a], words[1][b], words[2][c]);
            if at % 3 == 0 {
                typed = format!("{typed} {}", SECRETS[at / 3 % SECRETS.len()]);
            }
            let text = pipeline().clean(&typed);
            writer.push(&text, Some(intent as u32), part_of(at * 5 % 64)).unwrap();
        }
    }
    let description = IntentDescription {
        data_hash: "00".into(),
        pipeline: serde_json::to_value(pipeline().config()).unwrap(),
        config: json!({}),
        left_out: Vec::new(),
    };
    writer.finish(description).unwrap();
}

fn opened(part_of: impl Fn(usize) -> Part) -> (tempfile::TempDir, IntentTable) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("intents");
    write(&folder, part_of);
    let table = IntentTable::open(&folder).unwrap();
    table.verify().unwrap();
    (root, table)
}

pub(crate) fn table() -> &'static IntentTable {
    static TABLE: OnceLock<(tempfile::TempDir, IntentTable)> = OnceLock::new();
    let part_of = |at| match at {
        0..40 => Part::Train,
        40..52 => Part::Validation,
        _ => Part::Test,
    };
    &TABLE.get_or_init(|| opened(part_of)).1
}

fn context(n_threads: usize) -> FitContext<'static> {
    FitContext {
        seed: 3,
        n_threads: NonZeroUsize::new(n_threads).unwrap(),
        progress: &Silent,
        memory_limit_bytes: None,
        checkpoint: None,
    }
}

pub(crate) fn fitted(
    name: &str,
    table: &IntentTable,
    n_threads: usize,
    fit_on: FitOn,
) -> IntentModelFile {
    let spec = registry::spec(name, &Value::Null).unwrap();
    let options = IntentOptions { fit_on, ..IntentOptions::default() };
    let (predictor, record) =
        IntentPredictor::fit(spec.as_ref(), table, options, &context(n_threads)).unwrap();
    IntentModelFile::new(predictor, table, Some(3), record).unwrap()
}

fn each(check: impl Fn(&str, &IntentModelFile)) {
    static FITTED: OnceLock<Vec<(&str, IntentModelFile)>> = OnceLock::new();
    let fit = |(name, _)| (name, fitted(name, table(), 2, FitOn::Train));
    for (name, file) in FITTED.get_or_init(|| registry::models().map(fit).collect()) {
        check(name, file);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    each(|name, file| {
        let other = fitted(name, table(), 1, FitOn::Train);
        assert_eq!(file.to_bytes().unwrap(), other.to_bytes().unwrap(), "{name}");
    });
}

#[test]
fn a_file_answers_as_the_model_did() {
    each(|name, file| {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("m.forecart");
        file.save(&path).unwrap();
        assert!(matches!(inspect(&path).unwrap().header, AnyHeader::Intent(_)), "{name}");
        let loaded = IntentModelFile::open(&path).unwrap();
        assert_eq!(loaded.header(), file.header());
        for row in 0..table().n_texts() {
            let text = table().text(row);
            let [one, other] = [file, &loaded].map(|file| file.predictor().classify(text).unwrap());
            assert_eq!(one, other, "{name}: {text}");
        }
        assert_eq!(loaded.to_bytes().unwrap(), file.to_bytes().unwrap());
    });
}

#[test]
fn test_texts_are_answered_and_rightly() {
    each(|name, file| {
        let rows = table().rows(Part::Test);
        let mut n_right = 0;
        for row in &rows {
            let found = file.predictor().classify(table().text(*row)).unwrap();
            n_right += usize::from(table().label(*row) == Some(found.best() as u32));
        }
        assert!(n_right * 10 >= rows.len() * 9, "{name}: {n_right} of {}", rows.len());
    });
}

#[test]
fn any_text_has_probabilities_and_texts_that_say_nothing_have_no_answer() {
    let long = "where is my order ".repeat(60_000);
    let texts = [
        ("", Some(Abstained::NoWords)),
        ("   \u{200f}\u{202e}\n", Some(Abstained::NoWords)),
        ("🙂👍🏽🇫🇷 !!! ...", Some(Abstained::NoWords)),
        ("Где мой заказ, когда он придет?", Some(Abstained::OtherScript)),
        ("注文はどこですか", None),
        ("'; DROP TABLE orders; --", None),
        ("<script>alert('x')</script><b>order</b>", None),
        ("\0\u{1}\u{fffd}\u{10ffff}", Some(Abstained::NoWords)),
        (long.as_str(), None),
    ];
    each(|name, file| {
        for (text, want) in texts {
            let found = file.predictor().classify(text).unwrap();
            let sum: f64 = found.probabilities.iter().sum();
            assert!((sum - 1.0).abs() < 1e-9 && found.score.is_finite(), "{name}: {text:.20}");
            if want.is_some() {
                assert_eq!(found.abstained, want, "{name}: {text:.20}");
            }
            let ranking = found.ranking();
            assert_eq!(ranking.len(), INTENTS.len());
            assert_eq!(ranking[0], found.best());
        }
    });
}

#[test]
fn what_was_masked_is_in_no_model_file_and_no_table() {
    let holds = |bytes: &[u8], secret: &str| {
        bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    };
    let fragments = ["1391234", "planted", "shop.example", "777123", "7946"];
    each(|name, file| {
        let bytes = file.to_bytes().unwrap();
        for secret in SECRETS.iter().chain(&fragments) {
            assert!(!holds(&bytes, secret), "{name}: {secret}");
        }
        // The search finds what is there.
        assert!(holds(&bytes, "cancel_order"));
    });
    for entry in std::fs::read_dir(table().folder()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in SECRETS.iter().chain(&fragments) {
            assert!(!holds(&bytes, secret), "{secret}");
        }
    }
}

#[test]
fn words_are_given_their_part() {
    each(|name, file| {
        let model = file.predictor().model();
        let text = pipeline().analyze("please cancel my order now");
        let added = model.attribute(&text, 0).unwrap();
        assert_eq!(added.len(), text.tokens().len());
        let most = (0..added.len()).max_by(|a, b| added[*a].total_cmp(&added[*b])).unwrap();
        assert_eq!(text.token(most), "cancel", "{name}: {added:?}");
        if name.starts_with("tfidf") {
            let logit = |text: &str| model.logits(&pipeline().analyze(text)).unwrap()[0];
            let want = f64::from(logit("please cancel my order now") - logit(""));
            let sum: f64 = added.iter().sum();
            assert!((sum - want).abs() < 1e-4, "{name}: {sum} {want}");
        }
    });
}

#[test]
fn without_a_validation_part_the_threshold_comes_from_cross_fitting() {
    let (_root, table) = opened(|_| Part::Train);
    each(|name, _| {
        let file = fitted(name, &table, 2, FitOn::Train);
        let confidence = &file.header().serving.confidence;
        assert_eq!(confidence.n_texts, table.n_texts() as u64, "{name}");
        let learned = &file.header().serving.learned;
        assert_eq!((learned.fit_on, learned.chosen_on), (FitOn::Train, ChosenOn::Folds), "{name}");
        assert_eq!(learned.n_texts, table.n_texts() as u64, "{name}");
        assert!(confidence.has_precision() && confidence.coverage > 0.5, "{name}: {confidence:?}");
    });
}

#[test]
fn what_chose_is_learned_from_in_the_end_and_chose_before() {
    assert_eq!(IntentOptions::default().fit_on, FitOn::TrainValidation);
    each(|name, file| {
        let both = fitted(name, table(), 2, FitOn::TrainValidation);
        let [both_serving, serving] = [&both, file].map(|file| &file.header().serving);
        // Probabilities and threshold are of the model that had not learned from the texts that chose them.
        assert_eq!(both_serving.confidence, serving.confidence, "{name}");
        let tensors = |file: &IntentModelFile| file.predictor().model().tensors();
        assert_ne!(tensors(&both), tensors(file), "{name}");
        let learned = |serving: &Serving| {
            let Learned { fit_on, n_texts, chosen_on } = serving.learned.clone();
            assert_eq!(chosen_on, ChosenOn::Validation);
            (fit_on, n_texts)
        };
        assert_eq!(learned(serving), (FitOn::Train, 40 * 4), "{name}");
        assert_eq!(learned(both_serving), (FitOn::TrainValidation, 52 * 4), "{name}");
    });
}

/// Of a text that no other resembles, the model knows the answer after it has learned from it, and what is measured of it does not.
#[test]
fn a_text_that_chose_is_known_afterwards() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("t");
    let mut writer = IntentWriter::new(&folder, ["a", "b"].iter().collect()).unwrap();
    for at in 0..30 {
        let (text, label) =
            [(format!("parcel {at}"), 0), (format!("money {at}"), 1)][at % 2].clone();
        writer.push(&text, Some(label), Part::Train).unwrap();
    }
    writer.push("zebra crossing", Some(1), Part::Validation).unwrap();
    writer.push("yellow giraffe", Some(0), Part::Validation).unwrap();
    writer.finish(table().manifest.description.clone()).unwrap();
    let table = IntentTable::open(&folder).unwrap();
    let file = fitted("tfidf-svm", &table, 1, FitOn::TrainValidation);
    let right = |file: &IntentModelFile| {
        let is_right = |(text, intent): (&str, usize)| {
            file.predictor().classify(text).unwrap().best() == intent
        };
        [("zebra crossing", 1), ("yellow giraffe", 0)]
            .into_iter()
            .filter(|asked| is_right(*asked))
            .count()
    };
    assert_eq!(right(&file), 2);
    let before = right(&fitted("tfidf-svm", &table, 1, FitOn::Train));
    assert!(before < 2);
    let spec = registry::spec("tfidf-svm", &Value::Null).unwrap();
    let (accuracy, _) = held_out_accuracy(spec.as_ref(), &table, &context(1)).unwrap();
    assert_eq!(accuracy, Some(before as f64 / 2.0));
}

#[test]
fn a_table_that_cannot_be_learned_from_is_refused() {
    let (_root, table) = opened(|at| if at == 7 { Part::Train } else { Part::Test });
    assert_eq!(table.rows(Part::Train).len(), INTENTS.len());
    let root = tempfile::tempdir().unwrap();
    let mut writer = IntentWriter::new(&root.path().join("t"), ["a"].iter().collect()).unwrap();
    writer.push("text", Some(0), Part::Train).unwrap();
    writer.push("other", Some(1), Part::Train).unwrap_err();
    let description = table.manifest.description.clone();
    writer.finish(description).unwrap();
    let one = IntentTable::open(&root.path().join("t")).unwrap();
    let spec = registry::spec("tfidf-svm", &Value::Null).unwrap();
    let error = IntentPredictor::fit(spec.as_ref(), &one, IntentOptions::default(), &context(1));
    assert!(error.unwrap_err().to_string().contains("nothing to tell apart"));
    let mut writer =
        IntentWriter::new(&root.path().join("u"), ["a", "b"].iter().collect()).unwrap();
    writer.push("text", Some(0), Part::Train).unwrap();
    writer.push("other", Some(1), Part::Test).unwrap();
    writer.finish(table.manifest.description.clone()).unwrap();
    let untaught = IntentTable::open(&root.path().join("u")).unwrap();
    let error =
        IntentPredictor::fit(spec.as_ref(), &untaught, IntentOptions::default(), &context(1));
    let message = error.unwrap_err().to_string();
    assert!(message.contains("no training text asks for \"b\""), "{message}");
}

#[test]
fn bad_names_and_keys_are_refused() {
    let refused = |name: &str, keys: Value| registry::spec(name, &keys).unwrap_err().to_string();
    assert!(refused("tfidf-smv", Value::Null).contains("did you mean \"tfidf-svm\"?"));
    assert!(refused("tfidf-svm", json!({"cc": 1})).contains("no hyperparameter"));
    assert!(refused("tfidf-svm", json!({"c": -1.0})).contains("hyperparameter c"));
    assert!(refused("tfidf-lr", json!({"min_count": 0})).contains("min_count"));
    assert!(refused("tfidf-lr", json!({"word_ngrams": 0, "char_ngrams": 0})).contains("no n-gram"));
    for (name, _) in registry::models() {
        let spec = registry::spec(name, &Value::Null).unwrap();
        let again = registry::spec(name, &spec.hyperparameters()).unwrap();
        assert_eq!(spec.hyperparameters(), again.hyperparameters(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_files_are_refused(position in 0usize..1_000_000, byte: u8, cut in 0usize..1_000_000) {
        static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
        let bytes = BYTES.get_or_init(|| {
            fitted("tfidf-svm", table(), 2, FitOn::Train).to_bytes().unwrap()
        });
        let mut damaged = bytes.clone();
        let at = position % damaged.len();
        damaged[at] = byte;
        damaged.truncate(damaged.len() - cut % 9);
        prop_assert_eq!(IntentModelFile::from_bytes(&damaged).is_ok(), damaged == *bytes);
    }

    #[test]
    fn any_text_is_answered(text in "(\\PC|[\u{0}-\u{10ffff}]){0,80}") {
        each(|_, file| {
            let found = file.predictor().classify(&text).unwrap();
            assert!(found.probabilities.iter().all(|p| p.is_finite()));
        });
    }
}
