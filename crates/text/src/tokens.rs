//! A text cut into words.

use std::ops::Range;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A word, or a number that was not masked.
    Word,
    /// What stands for something masked: `<phone>`.
    Mask,
    /// Everything else that is seen: punctuation, signs, emoji.
    Mark,
}

/// A token of an [`Analyzed`] text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its bytes in [`Analyzed::text`].
    pub span: Range<usize>,
    /// What it is.
    pub kind: TokenKind,
    /// Whether it is on a stop list.
    pub is_stop: bool,
}

/// A text as models read it. Made by [`Pipeline::analyze`](crate::Pipeline::analyze).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Analyzed {
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
}

impl Analyzed {
    /// The text in lower case and, where that is configured, simplified characters; words are set apart by one space as they were.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All tokens, marks and stop words included, in order; they do not overlap.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The token at a place, as text.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn token(&self, at: usize) -> &str {
        &self.text[self.tokens[at].span.clone()]
    }

    /// Places of the tokens that are features: words and masks that are on no stop list.
    pub fn word_places(&self) -> impl Iterator<Item = usize> {
        let is_word = |token: &Token| token.kind != TokenKind::Mark && !token.is_stop;
        (0..self.tokens.len()).filter(move |at| is_word(&self.tokens[*at]))
    }

    /// The tokens that are features, as text.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.word_places().map(|at| self.token(at))
    }

    /// The same text without the tokens for which `is_left_out` is true; what stands around them stays.
    pub fn without(&self, is_left_out: impl Fn(usize) -> bool) -> Self {
        let mut out = Self::default();
        let mut end = 0;
        for (at, token) in self.tokens.iter().enumerate() {
            let between = &self.text[end..token.span.start];
            if !(between == " " && (out.text.is_empty() || out.text.ends_with(' '))) {
                out.text.push_str(between);
            }
            end = token.span.end;
            if is_left_out(at) {
                continue;
            }
            let start = out.text.len();
            out.text.push_str(self.token(at));
            out.tokens.push(Token { span: start..out.text.len(), ..token.clone() });
        }
        out.text.truncate(out.text.trim_end().len());
        out
    }
}

#[cfg(test)]
mod tests {
    use crate::{Pipeline, PipelineConfig};

    #[test]
    fn tokens_can_be_left_out() {
        let pipeline = Pipeline::new(PipelineConfig::default()).unwrap();
        let text = pipeline.analyze("Where is my card? 我的卡在哪");
        let left = text.without(|at| ["is", "card", "我"].contains(&text.token(at)));
        assert_eq!(left.text(), "where my ? 的卡在哪");
        assert_eq!(left, pipeline.analyze(left.text()));
        assert_eq!(text.without(|_| false), text);
        assert_eq!(text.without(|_| true).text(), "");
    }
}
