//! Which language a text is written in, as far as that can be told.

use std::collections::BTreeMap;

use serde::Serialize;
pub use unicode_script::Script;
use unicode_script::UnicodeScript as _;

/// The language of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Language {
    /// Its code in ISO 639-3: `eng`, `cmn`.
    pub code: &'static str,
}

impl Language {
    /// By the script where it says enough, else by the crate `whichlang`: the likeliest of 16 languages, which of a word or two is a guess. `None` for
    /// a text without letters, and for scripts of languages that are not among these.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let code = match script(text)? {
            Script::Hiragana | Script::Katakana => "jpn",
            Script::Han if text.chars().any(is_kana) => "jpn",
            Script::Han => "cmn",
            Script::Hangul => "kor",
            Script::Latin | Script::Cyrillic | Script::Arabic | Script::Devanagari => {
                whichlang::detect_language(text).three_letter_code()
            }
            _ => return None,
        };
        Some(Self { code })
    }
}

fn is_kana(c: char) -> bool {
    matches!(c.script(), Script::Hiragana | Script::Katakana)
}

/// The script of most letters of a text, of several the one whose name comes first; `None` for a text without letters.
pub(crate) fn script(text: &str) -> Option<Script> {
    let mut counts: BTreeMap<&'static str, (usize, Script)> = BTreeMap::new();
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        let script = c.script();
        if !matches!(script, Script::Common | Script::Inherited | Script::Unknown) {
            counts.entry(script.full_name()).or_insert((0, script)).0 += 1;
        }
    }
    let most = counts.values().map(|(n, _)| *n).max()?;
    counts.into_values().find(|(n, _)| *n == most).map(|(_, script)| script)
}
