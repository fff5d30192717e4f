//! Any bytes read as a vocabulary or a table of texts: an error, or one that answers.
#![no_main]

use std::path::Path;

use forecart_data::{TextTable, Vocabulary};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(vocabulary) = Vocabulary::from_bytes(bytes, Path::new("fuzz")) {
        for (index, text, _) in vocabulary.iter() {
            assert_eq!(vocabulary.index(text), Some(index));
        }
        assert_eq!(vocabulary.to_bytes(), bytes);
    }
    if let Ok(texts) = TextTable::from_bytes(bytes, Path::new("fuzz")) {
        assert_eq!(texts.to_bytes(), bytes);
    }
});
