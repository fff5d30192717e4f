//! The one error type of this crate.

/// Why a pipeline cannot be made. Texts are never refused: any text gives an answer, if an empty one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A pattern of order ids is not a regular expression, or too large a one.
    #[error("order_ids: {pattern:?} is no regular expression: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What does not fit.
        reason: String,
    },
    /// A pattern of order ids that would mask what is between any two characters.
    #[error("order_ids: {pattern:?} also matches the empty text; ask for at least one character")]
    EmptyMatch {
        /// The pattern.
        pattern: String,
    },
    /// A word of the user dictionary that cannot be one.
    #[error("user_words: {line:?}: {reason}; write `word`, `word count` or `word count tag`")]
    UserWord {
        /// The entry.
        line: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// A limit of 0.
    #[error("max_chars: give 1 or more")]
    MaxChars,
}
