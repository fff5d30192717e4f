//! Any bytes read as `nlu.yml`: examples, each as it would be stored, or an error.
#![no_main]

use std::sync::OnceLock;

use forecart_prepare::texts::parse_nlu_bytes;
use forecart_text::{Pipeline, PipelineConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
    let pipeline = PIPELINE
        .get_or_init(|| Pipeline::new(PipelineConfig::default()).expect("the defaults are valid"));
    for (text, intent) in parse_nlu_bytes(bytes, pipeline).into_iter().flatten() {
        assert!(!intent.is_empty());
        assert_eq!(pipeline.clean(&text), text);
    }
});
