//! Any text through the pipeline: what is stored stays as it is when it is cleaned again, shows no long number, and its tokens stand in it in
//! order.
#![no_main]

use std::sync::OnceLock;

use forecart_text::{Pipeline, PipelineConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|typed: &str| {
    static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
    let pipeline = PIPELINE
        .get_or_init(|| Pipeline::new(PipelineConfig::default()).expect("the defaults are valid"));
    let clean = pipeline.clean(typed);
    assert_eq!(pipeline.clean(&clean), clean);
    let digits = clean.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    assert!(digits.unwrap_or(0) < 7, "{clean:?}");
    let text = pipeline.analyze(&clean);
    let mut end = 0;
    for (at, token) in text.tokens().iter().enumerate() {
        assert!(token.span.start >= end && token.span.end > token.span.start);
        assert!(!text.token(at).trim().is_empty());
        end = token.span.end;
    }
    assert_eq!(pipeline.tags(&text).len(), text.tokens().len());
    let _ = (pipeline.language(&clean), pipeline.script(&clean));
});
