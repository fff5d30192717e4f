//! Any bytes read as a model file, of a recommender, of intents or of questions: an error, or a model that answers.
//!
//! The content hash would stop all but untouched files, so a file that fails by its hash alone is
//! tried again with the right one: what a forger would do. No bytes are taken for signed by a key that signed none.
#![no_main]

use std::num::NonZeroUsize;

use forecart_data::{History, ItemIdx, SeenItems};
use forecart_models::ModelError;
use forecart_models::model_file::{IntentModelFile, LoadedModel, QuestionModelFile, Trust};
use libfuzzer_sys::fuzz_target;

/// The public key of the first test vector of RFC 8032, which signs no model.
const NOBODY: &str = "forecart-verify-d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

fuzz_target!(|bytes: &[u8]| {
    let trust = Trust::of(vec![NOBODY.parse().expect("it is a public key")]);
    assert!(trust.check(bytes).is_err());
    if let Ok(file) = read(bytes, IntentModelFile::from_bytes) {
        for text in ["where is my order", "我的快递到哪了", ""] {
            if let Ok(found) = file.predictor().classify(text) {
                assert_eq!(found.probabilities.len(), file.predictor().intents().len());
            }
        }
    }
    if let Ok(file) = read(bytes, QuestionModelFile::from_bytes) {
        let predictor = file.predictor();
        let items = [1, 2, 0, 1, u32::MAX].map(ItemIdx);
        let (events, timestamps_ms) = ([1, 2, 255, 0, 1], [i64::MIN, 0, 0, 5, i64::MAX]);
        for n in [0, 1, 5] {
            let history = History {
                items: &items[..n],
                timestamps_ms: &timestamps_ms[..n],
                events: &events[..n],
                values: &[],
            };
            if let Ok(probabilities) = predictor.probabilities(history) {
                assert_eq!(probabilities.len(), predictor.n_intents());
                assert!(probabilities.iter().all(|p| *p > 0.0 && *p < 1.0));
            }
            if n > 0 {
                let _ = predictor.explain(history, 0);
            }
        }
    }
    if let Ok(model) = read(bytes, LoadedModel::from_bytes) {
        let first = model.items().text(1).to_owned();
        let k = NonZeroUsize::new(3).expect("3 is not 0");
        let answer = model.recommend_ids(&[first.as_str(), "b"], k, SeenItems::Exclude);
        for item in &answer.items {
            let _ = model.reasons_ids(&[first.as_str()], item.item_id, 2);
        }
        let _ = model.similar_ids(&first, k);
    }
});

/// What `open` makes of the file, or of the same with the right hash.
fn read<T>(bytes: &[u8], open: impl Fn(&[u8]) -> Result<T, ModelError>) -> Result<T, ModelError> {
    open(bytes).or_else(|error| {
        let forged = with_hash_of(bytes, &error.to_string());
        open(&forged.ok_or(error)?)
    })
}

/// The file with the hash that the error says its content has.
fn with_hash_of(bytes: &[u8], error: &str) -> Option<Vec<u8>> {
    let found = error.split("its content has the hash ").nth(1)?.get(..64)?;
    let name = b"content_hash";
    let at = bytes.windows(name.len()).position(|window| window == name)? + name.len();
    let digits = bytes.get(at..)?.iter().position(u8::is_ascii_hexdigit)? + at;
    let mut forged = bytes.to_vec();
    forged.get_mut(digits..digits + 64)?.copy_from_slice(found.as_bytes());
    Some(forged)
}
