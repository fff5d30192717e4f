//! An item as it was sent, checked as a whole before anything of it is applied.

use serde_json::{Map, Value as Json};

use super::cell::{Cell, json_type};
use super::error::CatalogError;
use super::fields::{ColumnType, FIELDS, MAX_ATTRIBUTES, MAX_NAME_BYTES, nearest};
use super::items::Catalog;

/// What a `null` and a missing name mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The item is what is sent, and nothing else.
    Replace,
    /// The item is changed where something is sent.
    Change,
}

/// Checked changes of one item.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) cells: Vec<Change>,
    /// Attributes go before `cells` are applied.
    pub(super) clears_attributes: bool,
}

/// A checked value of one column, which may not stand yet.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) column_type: ColumnType,
    pub(super) cell: Cell,
}

impl Changes {
    /// Checks all that is sent of item `id`.
    pub(super) fn read(
        catalog: &Catalog,
        id: &str,
        sent: &Map<String, Json>,
        mode: Mode,
    ) -> Result<Self, CatalogError> {
        let mut changes = Self { cells: Vec::with_capacity(sent.len()), clears_attributes: false };
        for (name, value) in sent {
            match (name.as_str(), value) {
                ("item_id", value) if value.as_str() == Some(id) => {}
                ("item_id", _) => return Err(CatalogError::OtherId { id: id.into() }),
                ("attributes", Json::Null) => changes.clears_attributes = mode == Mode::Change,
                ("attributes", Json::Object(sent)) => changes.read_attributes(catalog, sent)?,
                ("attributes", other) => {
                    return Err(CatalogError::AttributesNotObject { found: json_type(other) });
                }
                (name, value) => changes.read_field(name, value)?,
            }
        }
        Ok(changes)
    }

    fn read_field(&mut self, name: &str, value: &Json) -> Result<(), CatalogError> {
        let known = FIELDS.iter().find(|(field, _)| *field == name);
        let Some((_, column_type)) = known else {
            let names = FIELDS.iter().map(|(field, _)| *field);
            return Err(CatalogError::UnknownField {
                field: name.into(),
                nearest: nearest(name, names.chain(["attributes", "item_id"])),
            });
        };
        let cell = Cell::read(name, *column_type, value)?;
        self.cells.push(Change { name: name.into(), column_type: *column_type, cell });
        Ok(())
    }

    fn read_attributes(
        &mut self,
        catalog: &Catalog,
        sent: &Map<String, Json>,
    ) -> Result<(), CatalogError> {
        let mut n_new = 0;
        for (name, value) in sent {
            let field = format!("attributes.{name}");
            check_name(name)?;
            let column_type = match catalog.column_type(name) {
                Some(column_type) => column_type,
                None => {
                    let Some(column_type) = Cell::attribute_type(&field, value)? else { continue };
                    catalog.check_new_attribute(name, n_new)?;
                    n_new += 1;
                    column_type
                }
            };
            let cell = Cell::read(&field, column_type, value)?;
            self.cells.push(Change { name: name.clone(), column_type, cell });
        }
        Ok(())
    }
}

impl Catalog {
    /// Whether an attribute may be added, after `n_before` others that are not added yet.
    pub(super) fn check_new_attribute(
        &self,
        name: &str,
        n_before: usize,
    ) -> Result<(), CatalogError> {
        check_name(name)?;
        if self.n_attributes() + n_before >= MAX_ATTRIBUTES {
            return Err(CatalogError::TooManyAttributes {
                name: name.into(),
                limit: MAX_ATTRIBUTES,
            });
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), CatalogError> {
    let reason = if name.is_empty() {
        "the name is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "the name is too long"
    } else if name.chars().any(char::is_control) {
        "the name has a control character"
    } else if FIELDS.iter().any(|(field, _)| *field == name) {
        "this is a field of every item, which is not written under \"attributes\""
    } else if ["item_id", "attributes"].contains(&name) {
        "this name has a meaning of its own"
    } else {
        return Ok(());
    };
    Err(CatalogError::BadName { name: name.chars().take(64).collect(), reason })
}
