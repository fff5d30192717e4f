//! Any bytes read as a model file, of a recommender or of intents: an error, or a model that answers.
//!
//! The content hash would stop all but untouched files, so a file that fails by its hash alone is
//! tried again with the right one: what a forger would do.
#![no_main]

use std::num::NonZeroUsize;

use forecart_data::SeenItems;
use forecart_models::model_file::{IntentModelFile, LoadedModel};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let intents = IntentModelFile::from_bytes(bytes).or_else(|error| {
        let forged = with_hash_of(bytes, &error.to_string());
        IntentModelFile::from_bytes(&forged.ok_or(error)?)
    });
    if let Ok(file) = intents {
        for text in ["where is my order", "我的快递到哪了", ""] {
            if let Ok(found) = file.predictor().classify(text) {
                assert_eq!(found.probabilities.len(), file.predictor().intents().len());
            }
        }
    }
    let model = LoadedModel::from_bytes(bytes).or_else(|error| {
        let forged = with_hash_of(bytes, &error.to_string());
        LoadedModel::from_bytes(&forged.ok_or(error)?)
    });
    if let Ok(model) = model {
        let first = model.items().text(1).to_owned();
        let k = NonZeroUsize::new(3).expect("3 is not 0");
        let answer = model.recommend_ids(&[first.as_str(), "b"], k, SeenItems::Exclude);
        for item in &answer.items {
            let _ = model.reasons_ids(&[first.as_str()], item.item_id, 2);
        }
        let _ = model.similar_ids(&first, k);
    }
});

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
