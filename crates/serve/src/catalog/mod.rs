//! The items that are served: in memory, by column, with what is known of each.
//!
//! A [`Catalog`] gives every external id a row that never changes, and keeps the fields of [`FIELDS`] and any further
//! attribute in typed columns, any of which may be missing for an item. It is synchronous and knows no database:
//! whoever keeps items on disk reads them into it. What is deliberately not here: the vocabulary of a model, whose
//! indices are others, and rules over the columns ([`crate::rules`]).
//!
//! Read [`Catalog`] first, then `column`.

mod cell;
mod column;
mod dictionary;
mod error;
mod fields;
mod item_row;
mod items;
mod reading;
mod similarity;
#[cfg(test)]
mod tests;
pub(crate) mod time;

pub use error::CatalogError;
pub use fields::{
    ColumnType, FIELDS, MAX_ATTRIBUTES, MAX_ID_BYTES, MAX_ITEMS, MAX_LIST_LEN, MAX_NAME_BYTES,
    MAX_TEXT_BYTES, PATH_SIGN,
};
pub use item_row::ItemRow;
pub use items::Catalog;

pub(crate) use cell::steps;
pub(crate) use column::{Column, NO_BOOL, NO_CODE, NO_TIME, TextColumn, TextsColumn};
pub(crate) use fields::nearest;
