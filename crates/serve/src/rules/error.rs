//! What is wrong with a rule, where, and how to put it right.

use std::fmt;

use super::schema::Scope;

/// Why a rule cannot be used. Printed, it shows the line with a mark under the place and the fix:
///
/// ```
/// use forecart_serve::rules::{Filter, Schema};
///
/// let error = Filter::parse("item.in_stock and item.prise < 100", &Schema::new()).unwrap_err();
/// let lines = [
///     "items have no column \"prise\" (line 1, column 19)",
///     "  item.in_stock and item.prise < 100",
///     "                    ^",
///     "did you mean item.price?",
/// ];
/// assert_eq!(error.to_string(), lines.join("\n"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RuleError {
    kind: RuleErrorKind,
    /// The line of the rule that the place is in.
    line: Box<str>,
    /// 1-based.
    n_line: usize,
    /// In characters, 1-based.
    n_column: usize,
    field: Option<Box<str>>,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleErrorKind {
    /// There is nothing in it.
    #[error("the rule is empty")]
    Empty,
    /// It is longer than [`MAX_RULE_BYTES`](super::MAX_RULE_BYTES).
    #[error("the rule has {n_bytes} bytes, more than {limit}")]
    TooLong {
        /// How long it is.
        n_bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Parentheses or operations stand in each other more than [`MAX_DEPTH`](super::MAX_DEPTH) deep.
    #[error("the rule is nested more than {limit} deep")]
    TooDeep {
        /// How deep it may be.
        limit: usize,
    },
    /// Something else was expected here.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What could stand here.
        expected: &'static str,
        /// What stands here.
        found: String,
        /// What was probably meant.
        hint: Option<&'static str>,
    },
    /// A text without its closing quote.
    #[error("a text has no closing quote")]
    UnclosedText,
    /// An escape that is none.
    #[error("{found:?} is no escape")]
    BadEscape {
        /// As it was written.
        found: String,
    },
    /// A number that cannot be read, or is infinite.
    #[error("{found:?} is not a finite number")]
    BadNumber {
        /// As it was written.
        found: String,
    },
    /// A text where a time must be that is none.
    #[error("{found:?} is not a time")]
    BadTime {
        /// As it was written.
        found: String,
    },
    /// A word that means nothing.
    #[error("unknown word {found:?}")]
    UnknownWord {
        /// The word.
        found: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// A column that the schema does not have.
    #[error("{} no column {name:?}", have(*.scope))]
    UnknownColumn {
        /// Whose column.
        scope: Scope,
        /// Its name as written.
        name: String,
        /// The name that was probably meant, as it is written in a rule.
        nearest: Option<String>,
    },
    /// A function with too few or too many arguments.
    #[error("{function} takes {expected}, found {found}")]
    Arguments {
        /// The function.
        function: &'static str,
        /// What it takes, in words.
        expected: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A value of another type than the place asks for.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What the place asks for, in words.
        expected: &'static str,
        /// What it is, in words.
        found: &'static str,
        /// How to put it right.
        hint: &'static str,
    },
    /// A factor of a boost that is not above zero.
    #[error("a boost cannot have the factor {found}")]
    BadFactor {
        /// The factor.
        found: f64,
    },
}

fn have(scope: Scope) -> &'static str {
    match scope {
        Scope::Item => "items have",
        Scope::User => "users have",
        Scope::Context => "the context has",
    }
}

impl RuleError {
    pub(super) fn new(kind: RuleErrorKind, source: &str, at: usize) -> Self {
        let before = &source[..at.min(source.len())];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = source[start..].lines().next().unwrap_or("");
        Self {
            kind,
            line: line.into(),
            n_line: before.matches('\n').count() + 1,
            n_column: source[start..before.len()].chars().count() + 1,
            field: None,
        }
    }

    /// The same error of a rule that stands in this field of a request or key of the configuration.
    #[must_use]
    pub fn in_field(mut self, field: &str) -> Self {
        self.field = Some(field.into());
        self
    }

    /// What is wrong.
    pub fn kind(&self) -> &RuleErrorKind {
        &self.kind
    }

    /// Where: line and column, in characters, both 1-based.
    pub fn position(&self) -> (usize, usize) {
        (self.n_line, self.n_column)
    }

    /// What went wrong, for programs.
    pub fn code(&self) -> &'static str {
        match &self.kind {
            RuleErrorKind::Empty
            | RuleErrorKind::Unexpected { .. }
            | RuleErrorKind::UnclosedText
            | RuleErrorKind::BadEscape { .. }
            | RuleErrorKind::BadNumber { .. }
            | RuleErrorKind::UnknownWord { .. }
            | RuleErrorKind::Arguments { .. } => "rule_syntax",
            RuleErrorKind::TooLong { .. } | RuleErrorKind::TooDeep { .. } => "rule_too_long",
            RuleErrorKind::BadTime { .. } => "bad_timestamp",
            RuleErrorKind::UnknownColumn { .. } => "unknown_column",
            RuleErrorKind::Type { .. } => "rule_type",
            RuleErrorKind::BadFactor { .. } => "bad_factor",
        }
    }

    /// What went wrong and where, for people, in one line.
    pub fn message(&self) -> String {
        format!("{} (line {}, column {})", self.kind, self.n_line, self.n_column)
    }

    /// The field that the rule stands in, if it was [said](Self::in_field).
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// How to put it right.
    pub fn hint(&self) -> String {
        match &self.kind {
            RuleErrorKind::Empty => "write a condition, such as item.in_stock".into(),
            RuleErrorKind::TooLong { .. } | RuleErrorKind::TooDeep { .. } => {
                "make several rules of it: filters are joined by and".into()
            }
            RuleErrorKind::Unexpected { hint: Some(hint), .. } => (*hint).into(),
            RuleErrorKind::Unexpected { expected, .. } => format!("write {expected} here"),
            RuleErrorKind::UnclosedText => {
                "end it with the quote that it begins with; a quote inside is written \\\"".into()
            }
            RuleErrorKind::BadEscape { .. } => {
                "escapes are \\\" \\' \\\\ \\n \\r \\t and \\u{1F600}".into()
            }
            RuleErrorKind::BadNumber { .. } => "write 100, 0.5 or 1e6".into(),
            RuleErrorKind::BadTime { .. } => {
                "write \"2026-05-01T09:30:00Z\", or a date (midnight UTC)".into()
            }
            RuleErrorKind::UnknownWord { nearest: Some(nearest), .. } => {
                format!("did you mean {nearest}?")
            }
            RuleErrorKind::UnknownWord { nearest: None, .. } => {
                "a column is written item.price, a text in quotes: \"red\"".into()
            }
            RuleErrorKind::UnknownColumn { nearest: Some(nearest), .. } => {
                format!("did you mean {nearest}?")
            }
            RuleErrorKind::UnknownColumn { scope: Scope::Item, .. } => {
                "name a field or an attribute of items, or declare the attribute".into()
            }
            RuleErrorKind::UnknownColumn { scope, .. } => {
                format!("declare it, or send it with the {scope}")
            }
            RuleErrorKind::Arguments { .. } => {
                "write default(item.price, 0) or age_days(item.published_at)".into()
            }
            RuleErrorKind::Type { hint, .. } => (*hint).into(),
            RuleErrorKind::BadFactor { .. } => {
                "a factor is above 0: above 1 it raises, below 1 it lowers".into()
            }
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A part of a long line, so that the mark is seen.
        const WIDTH: usize = 76;
        const BEFORE: usize = 50;
        let at = self.n_column - 1;
        let n_cut = at.saturating_sub(BEFORE);
        let shown: Vec<char> = self.line.chars().skip(n_cut).take(WIDTH).collect();
        let text: String = shown.iter().collect();
        // Tabs stay tabs, so that the mark stands right however wide they are.
        let blank = |c: &char| if *c == '\t' { '\t' } else { ' ' };
        let blanks: String = shown.iter().take(at - n_cut).map(blank).collect();
        write!(f, "{}\n  {text}\n  {blanks}^\n{}", self.message(), self.hint())
    }
}

impl std::error::Error for RuleError {}
