//! The words, numbers, texts and signs of a rule.

use super::error::{RuleError, RuleErrorKind};
use super::syntax::{begins_word, continues_word};

/// A part of a rule's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    /// A name or a word of the language.
    Word(&'a str),
    Number(f64),
    Text(String),
    /// One of [`SIGNS`].
    Sign(&'static str),
    End,
}

/// Longer ones first, so that `<=` is not read as `<`.
const SIGNS: [&str; 17] =
    ["==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "(", ")", "[", "]", ",", ".", ";"];

/// What people write who know other languages, and what it is here.
const OTHER_LANGUAGES: [(&str, &str); 8] = [
    ("&", "\"and\" joins two conditions"),
    ("|", "\"or\" joins two conditions"),
    ("!", "\"not\" denies a condition, \"!=\" compares"),
    ("=", "\"==\" compares"),
    ("\u{201c}", "texts stand in straight quotes: \"red\""),
    ("\u{201d}", "texts stand in straight quotes: \"red\""),
    ("\u{2018}", "texts stand in straight quotes: \"red\""),
    ("%", "a share is written 0.3, not 30 %"),
];

impl Token<'_> {
    /// As a person would call it.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Word(word) => format!("{word:?}"),
            Self::Number(number) => format!("the number {number}"),
            Self::Text(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
            Self::Sign(sign) => format!("{sign:?}"),
            Self::End => "the end".into(),
        }
    }
}

/// Splits a rule into parts with the place of each, in bytes; the last is [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(Token<'_>, usize)>, RuleError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = source[at..].trim_start();
        at = source.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            tokens.push((Token::End, source.trim_end().len()));
            return Ok(tokens);
        };
        let fail = |kind| RuleError::new(kind, source, at);
        let (token, n_bytes) = if begins_word(first) {
            let word = leading(rest, continues_word);
            (Token::Word(word), word.len())
        } else if first.is_ascii_digit() {
            number(rest).map_err(fail)?
        } else if first == '"' || first == '\'' {
            text(rest, first).map_err(|(kind, inside)| RuleError::new(kind, source, at + inside))?
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else {
            let hint = OTHER_LANGUAGES.iter().find(|(sign, _)| rest.starts_with(sign));
            return Err(fail(RuleErrorKind::Unexpected {
                expected: "a word, a number, a text or a sign",
                found: format!("{first:?}"),
                hint: hint.map(|(_, hint)| *hint),
            }));
        };
        tokens.push((token, at));
        at += n_bytes;
    }
}

fn leading(rest: &str, is_part: impl Fn(char) -> bool) -> &str {
    &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())]
}

/// `12`, `0.5`, `1e6`, `2.5e-3`.
fn number(rest: &str) -> Result<(Token<'_>, usize), RuleErrorKind> {
    let digits = |from: usize| leading(&rest[from..], |c| c.is_ascii_digit()).len();
    let mut end = digits(0);
    if rest[end..].starts_with('.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    // "10px" is one mistake, not a number and a word.
    let whole = end + leading(&rest[end..], continues_word).len();
    let bad = || RuleErrorKind::BadNumber { found: rest[..whole].chars().take(40).collect() };
    if whole > end {
        return Err(bad());
    }
    let number: f64 = rest[..end].parse().map_err(|_| bad())?;
    if number.is_finite() { Ok((Token::Number(number), end)) } else { Err(bad()) }
}

/// A text in quotes; an error comes with its place in `rest`.
fn text(rest: &str, quote: char) -> Result<(Token<'_>, usize), (RuleErrorKind, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((Token::Text(text), at + 1)),
            '\\' => {
                let bad = |found: &str| (RuleErrorKind::BadEscape { found: found.into() }, at);
                let escaped = chars.next().ok_or((RuleErrorKind::UnclosedText, 0))?.1;
                text.push(match escaped {
                    '"' | '\'' | '\\' => escaped,
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => {
                        let digits = rest[at + 2..]
                            .strip_prefix('{')
                            .and_then(|hex| hex.split_once('}').map(|(digits, _)| digits));
                        let is_hex =
                            |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                        let digits = digits.filter(|digits| digits.len() <= 6).filter(is_hex);
                        let code = digits.and_then(|hex| u32::from_str_radix(hex, 16).ok());
                        let c = code.and_then(char::from_u32).ok_or_else(|| bad("\\u"))?;
                        // Past the braces.
                        let n_digits = digits.map_or(0, str::len);
                        chars.nth(n_digits + 1);
                        c
                    }
                    other => return Err(bad(&format!("\\{other}"))),
                });
            }
            c => text.push(c),
        }
    }
    Err((RuleErrorKind::UnclosedText, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Vec<Token<'_>> {
        tokens(source).unwrap().into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn every_kind_of_part_is_read() {
        assert_eq!(
            read("item.price<=1.5e2 -3"),
            [
                Token::Word("item"),
                Token::Sign("."),
                Token::Word("price"),
                Token::Sign("<="),
                Token::Number(150.0),
                Token::Sign("-"),
                Token::Number(3.0),
                Token::End
            ]
        );
        assert_eq!(
            read(r#"'it''s' "a\"\\\n\u{1F600}b""#),
            [
                Token::Text("it".into()),
                Token::Text("s".into()),
                Token::Text("a\"\\\n\u{1F600}b".into()),
                Token::End
            ]
        );
        assert_eq!(read("Größe_2"), [Token::Word("Größe_2"), Token::End]);
    }

    #[test]
    fn mistakes_are_named_where_they_are() {
        let at = |source: &str| {
            let error = tokens(source).unwrap_err();
            (error.code(), error.position().1, error.hint())
        };
        assert_eq!(at("a = b").1, 3);
        assert_eq!(at("a = b").2, "\"==\" compares");
        assert_eq!(at("a && b").2, "\"and\" joins two conditions");
        assert_eq!(at("x < 10px").1, 5);
        assert_eq!(at("x < 1e999").1, 5);
        assert_eq!(at("x == \"ab").1, 6);
        assert_eq!(at(r#"x == "a\d""#).1, 8);
        assert_eq!(at(r#"x == "a\u{110000}""#).1, 8);
        assert_eq!(at(r#"x == "a\u{+5}""#).1, 8);
    }
}
