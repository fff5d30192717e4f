//! Which language a text is written in, as far as that can be told.

use serde::Serialize;
pub use whatlang::Script;

/// The language of a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Language {
    /// Its code in ISO 639-3: `eng`, `cmn`.
    pub code: &'static str,
    /// How sure that is, `0.0..=1.0`. Of a few words of a script that many languages share it is low.
    pub confidence: f64,
    /// Whether it can be relied on.
    pub is_reliable: bool,
}

impl Language {
    /// Of a text by its script, and by its trigrams where languages share the script; `None` for a text without letters.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let found = whatlang::detect(text)?;
        Some(Self {
            code: found.lang().code(),
            confidence: found.confidence(),
            is_reliable: found.is_reliable(),
        })
    }
}

/// The script of most letters of a text; `None` for a text without letters.
pub(crate) fn script(text: &str) -> Option<Script> {
    whatlang::detect_script(text)
}
