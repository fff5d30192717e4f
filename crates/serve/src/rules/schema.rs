//! Which columns a rule may name, and their types.

use std::collections::BTreeMap;
use std::fmt;

use super::value::Values;
use crate::catalog::{Catalog, ColumnType, FIELDS};

/// Whose column it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Of the item that the rule is asked about.
    Item,
    /// Of the user that the list is for.
    User,
    /// Of the request.
    Context,
}

impl Scope {
    pub(super) const ALL: [Self; 3] = [Self::Item, Self::User, Self::Context];

    /// As it is written in a rule.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Item => "item",
            Self::User => "user",
            Self::Context => "context",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The columns that rules may name, with their types. A rule that names another is refused when it is read, with the
/// name that was probably meant.
///
/// ```
/// use forecart_serve::catalog::ColumnType;
/// use forecart_serve::rules::{Filter, Schema, Scope};
///
/// let mut schema = Schema::new();
/// schema.declare(Scope::Context, "max_price", ColumnType::Number);
/// assert!(Filter::parse("item.price <= context.max_price", &schema).is_ok());
/// assert!(Filter::parse("item.prise <= context.max_price", &schema).is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    columns: BTreeMap<(Scope, String), ColumnType>,
}

impl Default for Schema {
    fn default() -> Self {
        Self::new()
    }
}

impl Schema {
    /// The fields that every catalog has ([`FIELDS`]), whether or not an item has a value yet.
    pub fn new() -> Self {
        let field = |(name, column_type): &(&str, ColumnType)| {
            ((Scope::Item, (*name).to_owned()), *column_type)
        };
        Self { columns: FIELDS.iter().map(field).collect() }
    }

    /// All columns that a catalog has now.
    pub fn of(catalog: &Catalog) -> Self {
        let mut schema = Self::new();
        for (name, column_type) in catalog.column_types() {
            schema.declare(Scope::Item, name, column_type);
        }
        schema
    }

    /// Adds a column, or gives it another type; the fields of [`FIELDS`] keep theirs. A user and a context have no
    /// paths: there a path is a list of texts.
    ///
    /// An attribute of items that is declared here should be declared to the catalog too ([`Catalog::declare`]): a
    /// column that turns out to have another type is read as missing.
    pub fn declare(&mut self, scope: Scope, name: impl Into<String>, column_type: ColumnType) {
        let name = name.into();
        if scope == Scope::Item && FIELDS.iter().any(|(field, _)| *field == name) {
            return;
        }
        let column_type = match column_type {
            ColumnType::Path if scope != Scope::Item => ColumnType::Texts,
            other => other,
        };
        self.columns.insert((scope, name), column_type);
    }

    /// Adds a column for each value that is not declared yet: for rules that come with a request.
    pub fn declare_values(&mut self, scope: Scope, values: &Values) {
        for (name, value) in values.iter() {
            if self.column_type(scope, name).is_none() {
                self.declare(scope, name, value.value_type());
            }
        }
    }

    /// The type of a column.
    pub fn column_type(&self, scope: Scope, name: &str) -> Option<ColumnType> {
        self.columns.get(&(scope, name.to_owned())).copied()
    }

    /// The names of a scope, in order.
    pub(super) fn names(&self, scope: Scope) -> impl Iterator<Item = &str> {
        let columns = self.columns.keys().filter(move |(other, _)| *other == scope);
        columns.map(|(_, name)| name.as_str())
    }
}
