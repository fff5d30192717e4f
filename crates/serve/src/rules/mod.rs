//! A small typed language for filters and boosts: `item.in_stock and item.price < 100`.
//!
//! A rule is read and checked once against a [`Schema`] ([`Filter::parse`], [`Boost::parse`]), and bound to a catalog,
//! a user and a request each time it is used ([`Filter::bind`]), which costs little and leaves what reads columns. The
//! language is described for its users in docs/rules.md, its grammar stands in `parser`. What is missing makes a
//! comparison false; only `not` makes that true again. It has no loops and no way to the outside: a rule ends, and
//! soon.
//!
//! Read [`Filter`] first; the way of a rule is `lexer`, `parser`, `check`, `bind`, `bound`.

mod bind;
mod bound;
mod check;
mod error;
mod lexer;
mod parser;
#[cfg(test)]
pub(crate) mod reference;
mod rule;
mod schema;
mod syntax;
#[cfg(test)]
mod tests;
mod typed;
mod value;

pub use bind::Facts;
pub use error::{RuleError, RuleErrorKind};
pub use rule::{Boost, BoundBoost, BoundFilter, Filter};
pub use schema::{Schema, Scope};
pub use value::{Value, Values};

/// Longest rule, in bytes.
pub const MAX_RULE_BYTES: usize = 4096;
/// How deep operations may stand in each other.
pub const MAX_DEPTH: usize = 64;
