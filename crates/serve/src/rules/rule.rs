//! Filters and boosts: checked rules that can be kept, and what they are for one request.

use std::fmt;

use super::bind::Facts;
use super::bound::Condition;
use super::check::Checker;
use super::error::RuleError;
use super::parser::{parse_boost, parse_condition};
use super::schema::Schema;
use super::syntax::Node;
use super::typed::Typed;
use crate::catalog::ItemRow;

/// A condition on items, checked. Printed, it is the rule again, in one form.
///
/// ```
/// use forecart_serve::catalog::Catalog;
/// use forecart_serve::rules::{Facts, Filter, Schema, Values};
/// use serde_json::json;
///
/// let mut catalog = Catalog::new();
/// let mut put = |id, item: serde_json::Value| catalog.upsert(id, item.as_object().unwrap());
/// let mug = put("mug", json!({"price": 9, "in_stock": true})).unwrap();
/// let vase = put("vase", json!({"in_stock": true})).unwrap();
///
/// let filter = Filter::parse("item.in_stock and (item.price < 100)", &Schema::new()).unwrap();
/// let (user, context) = (Values::default(), Values::default());
/// let facts = Facts { catalog: &catalog, user: &user, context: &context, now_ms: 0 };
/// let bound = filter.bind(&facts);
/// assert!(bound.matches(mug));
/// assert!(!bound.matches(vase), "what is missing is not below 100");
/// assert_eq!(filter.to_string(), "item.in_stock and item.price < 100");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    node: Node,
    typed: Typed,
}

/// A factor for the items that a condition holds of; above 1 it raises them, below 1 it lowers them
/// ([`crate::assemble`] says how). Written `boost 1.2 if item.margin > 0.3`.
#[derive(Debug, Clone, PartialEq)]
pub struct Boost {
    factor: f64,
    condition: Filter,
}

/// A filter for one request: names are resolved, user, context and time are known.
#[derive(Debug, Clone)]
pub struct BoundFilter<'a>(Condition<'a>);

/// A boost for one request.
#[derive(Debug, Clone)]
pub struct BoundBoost<'a> {
    factor: f64,
    condition: BoundFilter<'a>,
}

impl Filter {
    /// Reads a condition and checks its columns and types.
    ///
    /// # Errors
    /// [`RuleError`] says what is wrong, where, and how to put it right.
    pub fn parse(source: &str, schema: &Schema) -> Result<Self, RuleError> {
        let node = parse_condition(source)?;
        let typed = Checker { schema, source }.condition(&node)?;
        Ok(Self { node, typed })
    }

    /// The filter over the columns of a catalog, for one user and one request.
    ///
    /// # Cost
    /// One lookup for each name and text of the rule.
    pub fn bind<'a>(&'a self, facts: &Facts<'a>) -> BoundFilter<'a> {
        BoundFilter(facts.condition(&self.typed))
    }
}

impl Boost {
    /// Reads `boost FACTOR if CONDITION`, and checks columns and types.
    ///
    /// # Errors
    /// [`RuleError`] says what is wrong, where, and how to put it right.
    pub fn parse(source: &str, schema: &Schema) -> Result<Self, RuleError> {
        let (factor, node) = parse_boost(source)?;
        let typed = Checker { schema, source }.condition(&node)?;
        Ok(Self { factor, condition: Filter { node, typed } })
    }

    /// Finite and above 0.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Whom it is for.
    pub fn condition(&self) -> &Filter {
        &self.condition
    }

    /// The boost over the columns of a catalog, for one user and one request.
    pub fn bind<'a>(&'a self, facts: &Facts<'a>) -> BoundBoost<'a> {
        BoundBoost { factor: self.factor, condition: self.condition.bind(facts) }
    }
}

impl BoundFilter<'_> {
    /// Whether the condition holds of an item; of a row that the catalog does not have, as of an item of which
    /// nothing is known.
    #[inline]
    pub fn matches(&self, row: ItemRow) -> bool {
        self.0.holds(row)
    }
}

impl BoundBoost<'_> {
    /// Finite and above 0.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Whether the boost is for this item.
    #[inline]
    pub fn matches(&self, row: ItemRow) -> bool {
        self.condition.matches(row)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.node.fmt(f)
    }
}

impl fmt::Display for Boost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boost {} if {}", self.factor, self.condition)
    }
}
