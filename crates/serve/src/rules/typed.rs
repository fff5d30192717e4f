//! A rule whose columns and types were checked against a schema.

use super::schema::Scope;
use super::syntax::{Arithmetic, Comparison};
use super::value::Value;
use crate::catalog::ColumnType;

/// A part of a checked rule, with its type.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Typed {
    pub(super) column_type: ColumnType,
    pub(super) kind: TypedKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TypedKind {
    /// Of the value's own type; a text where a path or a time is asked for became one.
    Constant(Value),
    Column(Scope, String),
    /// A time.
    Now,
    /// A number.
    Negate(Box<Typed>),
    /// A number, of two numbers.
    Arithmetic(Arithmetic, Box<Typed>, Box<Typed>),
    /// A number, of a time.
    AgeDays(Box<Typed>),
    /// The first, or the second where it is missing; of the type of both.
    Default(Box<Typed>, Box<Typed>),
    /// Of two numbers, two times, or (equal or not) two texts or two bools.
    Compare(Comparison, Box<Typed>, Box<Typed>),
    /// Whether a path is exactly the one that a text writes; denied: whether it is there and another.
    PathIs {
        path: Box<Typed>,
        text: Box<Typed>,
        is_denied: bool,
    },
    /// Whether a number is one of these.
    OneOf(Box<Typed>, Vec<f64>),
    /// Whether the two have a text in common; each is a text or a list of texts.
    Share(Box<Typed>, Box<Typed>),
    /// Whether a path has steps in a row that a text, or one of a list of texts, writes.
    PathHas {
        path: Box<Typed>,
        texts: Box<Typed>,
    },
    IsMissing(Box<Typed>),
    Not(Box<Typed>),
    And(Vec<Typed>),
    Or(Vec<Typed>),
}

impl Typed {
    pub(super) fn new(column_type: ColumnType, kind: TypedKind) -> Self {
        Self { column_type, kind }
    }

    /// A condition.
    pub(super) fn bool(kind: TypedKind) -> Self {
        Self::new(ColumnType::Bool, kind)
    }
}
