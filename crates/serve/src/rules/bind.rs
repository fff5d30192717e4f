//! From a checked rule to one over the columns of a catalog, for one user and one request.

use super::bound::{Condition, Flag, List, Number, Text, Time, codes};
use super::schema::Scope;
use super::syntax::Comparison;
use super::typed::{Typed, TypedKind};
use super::value::{Value, Values};
use crate::catalog::{Catalog, Column, ColumnType, ItemRow, NO_TIME, time};

/// What rules are asked about: the items, the user, the request and its time.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The items.
    pub catalog: &'a Catalog,
    /// What is known of the user.
    pub user: &'a Values,
    /// What was said with the request.
    pub context: &'a Values,
    /// The time of the request: milliseconds since 1970-01-01 UTC.
    pub now_ms: i64,
}

/// Where a column of a scope leads to.
enum Found<'a> {
    Column(&'a Column),
    Value(&'a Value),
    Missing,
}

impl<'a> Facts<'a> {
    /// What a checked condition asks of each row.
    pub(super) fn condition(&self, typed: &'a Typed) -> Condition<'a> {
        match &typed.kind {
            TypedKind::Not(one) => match self.condition(one) {
                Condition::Constant(is) => Condition::Constant(!is),
                condition => Condition::Not(condition.into()),
            },
            TypedKind::And(parts) => self.joined(parts, false, Condition::All),
            TypedKind::Or(parts) => self.joined(parts, true, Condition::Any),
            TypedKind::Compare(comparison, left, right) => self.compare(*comparison, left, right),
            TypedKind::OneOf(number, numbers) => {
                settled(Condition::OneOf(self.number(number), numbers))
            }
            TypedKind::Share(left, right) => self.share(self.list(left), self.list(right)),
            TypedKind::PathHas { path, texts } => self.path_has(path, self.list(texts)),
            TypedKind::PathIs { path, text, is_denied } => match self.list(path) {
                List::Column(path) => {
                    Condition::PathIs { path, text: self.text(text), is_denied: *is_denied }
                }
                _ => Condition::Constant(false),
            },
            TypedKind::IsMissing(one) => self.is_missing(one),
            // A bool alone: missing is not true.
            _ => match self.flag(typed) {
                Flag::Constant(is) => Condition::Constant(is == Some(true)),
                Flag::Column(column) => Condition::BoolIs(column, 1),
                flag => Condition::Bools {
                    left: flag,
                    right: Flag::Constant(Some(true)),
                    is_denied: false,
                },
            },
        }
    }

    /// Conditions joined by or (`settles` is true) or and (false): one that is known settles all, or says nothing.
    fn joined(
        &self,
        parts: &'a [Typed],
        settles: bool,
        join: impl FnOnce(Vec<Condition<'a>>) -> Condition<'a>,
    ) -> Condition<'a> {
        let mut open = Vec::with_capacity(parts.len());
        for part in parts {
            match self.condition(part) {
                Condition::Constant(is) if is == settles => return Condition::Constant(settles),
                Condition::Constant(_) => {}
                condition => open.push(condition),
            }
        }
        match open.len() {
            0 => Condition::Constant(!settles),
            1 => open.swap_remove(0),
            _ => join(open),
        }
    }

    fn compare(&self, comparison: Comparison, left: &'a Typed, right: &'a Typed) -> Condition<'a> {
        let is_denied = comparison == Comparison::NotEqual;
        match left.column_type {
            ColumnType::Number => match (self.number(left), self.number(right)) {
                (Number::Column(column), Number::Constant(number)) => {
                    Condition::NumberIs(column, comparison, number)
                }
                (Number::Constant(number), Number::Column(column)) => {
                    Condition::NumberIs(column, comparison.mirrored(), number)
                }
                (left, right) => settled(Condition::Numbers(left, comparison, right)),
            },
            ColumnType::Time => {
                settled(Condition::Times(self.time(left), comparison, self.time(right)))
            }
            ColumnType::Bool => match (self.flag(left), self.flag(right)) {
                (Flag::Column(column), Flag::Constant(Some(is)))
                | (Flag::Constant(Some(is)), Flag::Column(column)) => {
                    Condition::BoolIs(column, u8::from(is != is_denied))
                }
                (left, right) => settled(Condition::Bools { left, right, is_denied }),
            },
            _ => match (self.text(left), self.text(right)) {
                (Text::Column(column), Text::Constant(Some(text)))
                | (Text::Constant(Some(text)), Text::Column(column)) => {
                    match (column.code_of(text), is_denied) {
                        (Some(code), false) => Condition::CodeIs(column, code),
                        (Some(code), true) => Condition::CodeIsNot(column, code),
                        (None, false) => Condition::Constant(false),
                        (None, true) => {
                            Condition::Not(Condition::NoText(Text::Column(column)).into())
                        }
                    }
                }
                (left, right) => settled(Condition::Texts { left, right, is_denied }),
            },
        }
    }

    fn share(&self, left: List<'a>, right: List<'a>) -> Condition<'a> {
        let (column, known) = match (left, right) {
            (known @ (List::Constant(_) | List::One(Text::Constant(_))), column)
            | (column, known) => (column, known),
        };
        let Some(texts) = known.known() else { return Condition::Share(column, known) };
        match column {
            List::One(Text::Column(column)) => {
                let mut codes: Vec<u32> =
                    texts.iter().filter_map(|text| column.code_of(text)).collect();
                codes.sort_unstable();
                codes.dedup();
                match codes.as_slice() {
                    [] => Condition::Constant(false),
                    [code] => Condition::CodeIs(column, *code),
                    _ => Condition::CodeIn(column, codes),
                }
            }
            List::Column(column) => {
                let codes: Vec<u32> =
                    texts.iter().filter_map(|text| column.code_of(text)).collect();
                if codes.is_empty() {
                    return Condition::Constant(false);
                }
                Condition::ListHas(column, codes)
            }
            column => settled(Condition::Share(column, known)),
        }
    }

    fn path_has(&self, path: &'a Typed, texts: List<'a>) -> Condition<'a> {
        let List::Column(path) = self.list(path) else { return Condition::Constant(false) };
        let Some(known) = texts.known() else { return Condition::PathHasTexts(path, texts) };
        let runs: Vec<Vec<u32>> = known.iter().filter_map(|text| codes(path, text)).collect();
        if runs.is_empty() { Condition::Constant(false) } else { Condition::PathHas(path, runs) }
    }

    fn is_missing(&self, typed: &'a Typed) -> Condition<'a> {
        settled(match typed.column_type {
            ColumnType::Number => Condition::NoNumber(self.number(typed)),
            ColumnType::Time => Condition::NoTime(self.time(typed)),
            ColumnType::Bool => Condition::NoFlag(self.flag(typed)),
            ColumnType::Text => Condition::NoText(self.text(typed)),
            ColumnType::Texts | ColumnType::Path => Condition::NoList(self.list(typed)),
        })
    }

    fn number(&self, typed: &'a Typed) -> Number<'a> {
        let number = match &typed.kind {
            TypedKind::Negate(one) => Number::Negate(self.number(one).into()),
            TypedKind::Arithmetic(operation, left, right) => {
                Number::Arithmetic(*operation, self.number(left).into(), self.number(right).into())
            }
            TypedKind::Default(one, other) => {
                Number::Default(self.number(one).into(), self.number(other).into())
            }
            TypedKind::AgeDays(time) => {
                Number::AgeDays { time: self.time(time).into(), now_ms: self.now_ms }
            }
            _ => match self.found(typed) {
                Found::Column(Column::Number(column)) => Number::Column(column),
                Found::Value(Value::Number(number)) => Number::Constant(*number),
                _ => Number::Constant(f64::NAN),
            },
        };
        if number.is_known() { Number::Constant(number.of_any()) } else { number }
    }

    fn time(&self, typed: &'a Typed) -> Time<'a> {
        match &typed.kind {
            TypedKind::Now => Time::Constant(self.now_ms),
            TypedKind::Default(one, other) => match self.time(one) {
                Time::Constant(NO_TIME) => self.time(other),
                known @ Time::Constant(_) => known,
                one => Time::Default(one.into(), self.time(other).into()),
            },
            _ => match self.found(typed) {
                Found::Column(Column::Time(column)) => Time::Column(column),
                Found::Value(value) => Time::Constant(time_of(value).unwrap_or(NO_TIME)),
                _ => Time::Constant(NO_TIME),
            },
        }
    }

    fn flag(&self, typed: &'a Typed) -> Flag<'a> {
        match &typed.kind {
            TypedKind::Default(one, other) => match self.flag(one) {
                Flag::Constant(None) => self.flag(other),
                known @ (Flag::Constant(_) | Flag::Condition(_)) => known,
                one => Flag::Default(one.into(), self.flag(other).into()),
            },
            TypedKind::Column(..) | TypedKind::Constant(_) => match self.found(typed) {
                Found::Column(Column::Bool(column)) => Flag::Column(column),
                Found::Value(Value::Bool(is)) => Flag::Constant(Some(*is)),
                _ => Flag::Constant(None),
            },
            _ => match self.condition(typed) {
                Condition::Constant(is) => Flag::Constant(Some(is)),
                condition => Flag::Condition(condition.into()),
            },
        }
    }

    fn text(&self, typed: &'a Typed) -> Text<'a> {
        match &typed.kind {
            TypedKind::Default(one, other) => match self.text(one) {
                Text::Constant(None) => self.text(other),
                known @ Text::Constant(_) => known,
                one => Text::Default(one.into(), self.text(other).into()),
            },
            _ => match self.found(typed) {
                Found::Column(Column::Text(column)) => Text::Column(column),
                Found::Value(Value::Text(text)) => Text::Constant(Some(text)),
                _ => Text::Constant(None),
            },
        }
    }

    fn list(&self, typed: &'a Typed) -> List<'a> {
        if typed.column_type == ColumnType::Text {
            return List::One(self.text(typed));
        }
        match self.found(typed) {
            Found::Column(Column::Texts(column)) => List::Column(column),
            Found::Value(Value::Texts(texts)) => List::Constant(Some(texts)),
            _ => List::Constant(None),
        }
    }

    fn found(&self, typed: &'a Typed) -> Found<'a> {
        match &typed.kind {
            TypedKind::Constant(value) => Found::Value(value),
            TypedKind::Column(Scope::Item, name) => {
                self.catalog.column(name, typed.column_type).map_or(Found::Missing, Found::Column)
            }
            TypedKind::Column(Scope::User, name) => {
                self.user.get(name).map_or(Found::Missing, Found::Value)
            }
            TypedKind::Column(Scope::Context, name) => {
                self.context.get(name).map_or(Found::Missing, Found::Value)
            }
            _ => Found::Missing,
        }
    }
}

/// A value where a time is asked for.
fn time_of(value: &Value) -> Option<i64> {
    match value {
        Value::Time(time_ms) => Some(*time_ms),
        Value::Text(text) => time::of_text(text),
        Value::Number(number) => time::of_number(*number),
        Value::Bool(_) | Value::Texts(_) => None,
    }
}

/// A condition that asks nothing of the item, as its answer.
fn settled(condition: Condition<'_>) -> Condition<'_> {
    let is_known = match &condition {
        Condition::Numbers(left, _, right) => left.is_known() && right.is_known(),
        Condition::OneOf(number, _) | Condition::NoNumber(number) => number.is_known(),
        Condition::Times(left, _, right) => {
            matches!((left, right), (Time::Constant(_), Time::Constant(_)))
        }
        Condition::Bools { left, right, .. } => {
            matches!((left, right), (Flag::Constant(_), Flag::Constant(_)))
        }
        Condition::Texts { left, right, .. } => {
            matches!((left, right), (Text::Constant(_), Text::Constant(_)))
        }
        Condition::Share(left, right) => left.known().is_some() && right.known().is_some(),
        Condition::NoTime(time) => matches!(time, Time::Constant(_)),
        Condition::NoText(text) => matches!(text, Text::Constant(_)),
        Condition::NoFlag(flag) => matches!(flag, Flag::Constant(_)),
        Condition::NoList(list) => list.known().is_some(),
        _ => false,
    };
    if is_known { Condition::Constant(condition.holds(ItemRow(0))) } else { condition }
}

impl Number<'_> {
    /// Whether it is the same for every item.
    fn is_known(&self) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::Column(_) => false,
            Self::Negate(one) => one.is_known(),
            Self::Arithmetic(_, one, other) | Self::Default(one, other) => {
                one.is_known() && other.is_known()
            }
            Self::AgeDays { time, .. } => matches!(**time, Time::Constant(_)),
        }
    }
}

impl<'a> List<'a> {
    /// Its texts, if they are the same for every item; a missing list has none.
    fn known(&self) -> Option<Vec<&'a str>> {
        match self {
            Self::Constant(list) => Some(list.unwrap_or(&[]).iter().map(String::as_str).collect()),
            Self::One(Text::Constant(text)) => Some(text.iter().copied().collect()),
            Self::Column(_) | Self::One(_) => None,
        }
    }
}

impl Comparison {
    /// The same comparison with its sides exchanged.
    fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}
