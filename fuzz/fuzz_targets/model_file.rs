//! Any bytes read as a model file: an error, or a model that answers.
#![no_main]

use std::num::NonZeroUsize;

use forecart_data::SeenItems;
use forecart_models::model_file::LoadedModel;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = LoadedModel::from_bytes(bytes) {
        let _ = model.recommend_ids(&["a", "b"], NonZeroUsize::MIN, SeenItems::Exclude);
    }
});
