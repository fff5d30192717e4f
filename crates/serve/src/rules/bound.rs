//! Rules over the columns of one catalog: what is asked of each row.
//!
//! Names are resolved and what does not depend on the item is computed; what is left reads columns. Texts are
//! compared by their codes wherever one side is known.

use super::syntax::{Arithmetic, Comparison};
use crate::catalog::{ItemRow, NO_BOOL, NO_CODE, NO_TIME, TextColumn, TextsColumn};

/// A condition.
#[derive(Debug, Clone)]
pub(super) enum Condition<'a> {
    Constant(bool),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
    /// A bool of an item, as 0 or 1.
    BoolIs(&'a [u8], u8),
    Bools {
        left: Flag<'a>,
        right: Flag<'a>,
        is_denied: bool,
    },
    NumberIs(&'a [f64], Comparison, f64),
    Numbers(Number<'a>, Comparison, Number<'a>),
    OneOf(Number<'a>, &'a [f64]),
    Times(Time<'a>, Comparison, Time<'a>),
    /// A text of an item has this code.
    CodeIs(&'a TextColumn, u32),
    /// A text of an item is there and has another code.
    CodeIsNot(&'a TextColumn, u32),
    /// A text of an item has one of these codes, which are in order.
    CodeIn(&'a TextColumn, Vec<u32>),
    Texts {
        left: Text<'a>,
        right: Text<'a>,
        is_denied: bool,
    },
    /// A list of an item has one of these codes.
    ListHas(&'a TextsColumn, Vec<u32>),
    Share(List<'a>, List<'a>),
    /// A path of an item has one of these in a row.
    PathHas(&'a TextsColumn, Vec<Vec<u32>>),
    PathHasTexts(&'a TextsColumn, List<'a>),
    PathIs {
        path: &'a TextsColumn,
        text: Text<'a>,
        is_denied: bool,
    },
    NoNumber(Number<'a>),
    NoTime(Time<'a>),
    NoText(Text<'a>),
    NoFlag(Flag<'a>),
    NoList(List<'a>),
}

/// A number; NaN is missing.
#[derive(Debug, Clone)]
pub(super) enum Number<'a> {
    Constant(f64),
    Column(&'a [f64]),
    Negate(Box<Self>),
    Arithmetic(Arithmetic, Box<Self>, Box<Self>),
    Default(Box<Self>, Box<Self>),
    AgeDays { time: Box<Time<'a>>, now_ms: i64 },
}

/// A time; [`NO_TIME`] is missing.
#[derive(Debug, Clone)]
pub(super) enum Time<'a> {
    Constant(i64),
    Column(&'a [i64]),
    Default(Box<Self>, Box<Self>),
}

/// True, false or missing.
#[derive(Debug, Clone)]
pub(super) enum Flag<'a> {
    Constant(Option<bool>),
    Column(&'a [u8]),
    Default(Box<Self>, Box<Self>),
    Condition(Box<Condition<'a>>),
}

/// A text, or none.
#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Constant(Option<&'a str>),
    Column(&'a TextColumn),
    Default(Box<Self>, Box<Self>),
}

/// A list of texts; a text is a list of one.
#[derive(Debug, Clone)]
pub(super) enum List<'a> {
    Constant(Option<&'a [String]>),
    Column(&'a TextsColumn),
    One(Text<'a>),
}

impl Condition<'_> {
    /// Whether it holds of an item.
    pub(super) fn holds(&self, row: ItemRow) -> bool {
        let at = row.index();
        match self {
            Self::Constant(is) => *is,
            Self::Not(one) => !one.holds(row),
            Self::All(conditions) => conditions.iter().all(|one| one.holds(row)),
            Self::Any(conditions) => conditions.iter().any(|one| one.holds(row)),
            Self::BoolIs(column, is) => column.get(at) == Some(is),
            Self::Bools { left, right, is_denied } => match (left.of(row), right.of(row)) {
                (Some(left), Some(right)) => (left == right) != *is_denied,
                _ => false,
            },
            Self::NumberIs(column, comparison, number) => {
                column.get(at).is_some_and(|found| comparison.holds(*found, *number))
            }
            Self::Numbers(left, comparison, right) => comparison.holds(left.of(row), right.of(row)),
            Self::OneOf(number, numbers) => numbers.contains(&number.of(row)),
            Self::Times(left, comparison, right) => match (left.of(row), right.of(row)) {
                (NO_TIME, _) | (_, NO_TIME) => false,
                (left, right) => comparison.holds(left, right),
            },
            Self::CodeIs(column, code) => column.code(row) == *code,
            Self::CodeIsNot(column, code) => ![NO_CODE, *code].contains(&column.code(row)),
            Self::CodeIn(column, codes) => codes.binary_search(&column.code(row)).is_ok(),
            Self::Texts { left, right, is_denied } => match (left.of(row), right.of(row)) {
                (Some(left), Some(right)) => (left == right) != *is_denied,
                _ => false,
            },
            Self::ListHas(column, codes) => {
                column.list(row).is_some_and(|list| list.iter().any(|code| codes.contains(code)))
            }
            Self::Share(left, right) => left.any(row, |one| right.any(row, |other| one == other)),
            Self::PathHas(column, runs) => column.list(row).is_some_and(|path| {
                runs.iter().any(|run| path.windows(run.len()).any(|w| w == run))
            }),
            Self::PathHasTexts(column, texts) => texts.any(row, |text| {
                let run = codes(column, text);
                let path = column.list(row).unwrap_or(&[]);
                run.is_some_and(|run| path.windows(run.len()).any(|window| window == run))
            }),
            Self::PathIs { path, text, is_denied } => match (path.list(row), text.of(row)) {
                (Some(list), Some(text)) => {
                    (codes(path, text).as_deref() == Some(list)) != *is_denied
                }
                _ => false,
            },
            Self::NoNumber(number) => number.of(row).is_nan(),
            Self::NoTime(time) => time.of(row) == NO_TIME,
            Self::NoText(text) => text.of(row).is_none(),
            Self::NoFlag(flag) => flag.of(row).is_none(),
            Self::NoList(list) => list.is_missing(row),
        }
    }
}

/// The steps of a path that is written as one text, as codes; `None` if no item has one of them.
pub(super) fn codes(column: &TextsColumn, path: &str) -> Option<Vec<u32>> {
    crate::catalog::steps(path).map(|step| column.code_of(step)).collect()
}

impl Number<'_> {
    /// Its value where it is the same for every item.
    pub(super) fn of_any(&self) -> f64 {
        self.of(ItemRow(0))
    }

    fn of(&self, row: ItemRow) -> f64 {
        match self {
            Self::Constant(number) => *number,
            Self::Column(column) => column.get(row.index()).copied().unwrap_or(f64::NAN),
            Self::Negate(one) => -one.of(row),
            Self::Arithmetic(operation, left, right) => operation.of(left.of(row), right.of(row)),
            Self::Default(one, other) => match one.of(row) {
                missing if missing.is_nan() => other.of(row),
                number => number,
            },
            Self::AgeDays { time, now_ms } => match time.of(row) {
                NO_TIME => f64::NAN,
                time_ms => now_ms.saturating_sub(time_ms) as f64 / 86_400_000.0,
            },
        }
    }
}

impl Arithmetic {
    /// What has no finite result is missing: a division by zero, a sum that is too large.
    fn of(self, left: f64, right: f64) -> f64 {
        let number = match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
        };
        if number.is_finite() { number } else { f64::NAN }
    }
}

impl Time<'_> {
    fn of(&self, row: ItemRow) -> i64 {
        match self {
            Self::Constant(time_ms) => *time_ms,
            Self::Column(column) => column.get(row.index()).copied().unwrap_or(NO_TIME),
            Self::Default(one, other) => match one.of(row) {
                NO_TIME => other.of(row),
                time_ms => time_ms,
            },
        }
    }
}

impl Flag<'_> {
    fn of(&self, row: ItemRow) -> Option<bool> {
        match self {
            Self::Constant(is) => *is,
            Self::Column(column) => {
                column.get(row.index()).filter(|is| **is != NO_BOOL).map(|is| *is == 1)
            }
            Self::Default(one, other) => one.of(row).or_else(|| other.of(row)),
            Self::Condition(condition) => Some(condition.holds(row)),
        }
    }
}

impl<'a> Text<'a> {
    fn of(&self, row: ItemRow) -> Option<&'a str> {
        match self {
            Self::Constant(text) => *text,
            Self::Column(column) => column.text(row),
            Self::Default(one, other) => one.of(row).or_else(|| other.of(row)),
        }
    }
}

impl<'a> List<'a> {
    fn is_missing(&self, row: ItemRow) -> bool {
        match self {
            Self::Constant(list) => list.is_none(),
            Self::Column(column) => column.list(row).is_none(),
            Self::One(text) => text.of(row).is_none(),
        }
    }

    /// Whether something holds of one of the texts.
    fn any(&self, row: ItemRow, mut is_it: impl FnMut(&'a str) -> bool) -> bool {
        match self {
            Self::Constant(list) => list.unwrap_or(&[]).iter().any(|text| is_it(text)),
            Self::Column(column) => {
                let list = column.list(row).unwrap_or(&[]);
                list.iter().any(|code| is_it(column.text(*code)))
            }
            Self::One(text) => text.of(row).is_some_and(is_it),
        }
    }
}
