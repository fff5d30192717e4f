//! The catalog itself: rows, columns, and who is served.

use rustc_hash::FxHashMap;
use serde_json::{Map, Value as Json};

use super::cell::Cell;
use super::column::{Column, NO_TIME};
use super::error::CatalogError;
use super::fields::{self, ColumnType, FIELDS};
use super::item_row::{Ids, ItemRow};
use super::reading::{Changes, Mode};

/// Items by row, with typed columns.
///
/// An item is live from when it is first [upserted](Self::upsert) or [seen](Self::ensure) until it is
/// [removed](Self::remove); its row stays, so that rows in models and events stay true. Changes are whole or not at
/// all: an item with one bad field changes nothing.
///
/// # Cost
/// A lookup by id is one hash. An item with ten fields takes some 200 bytes beside its texts; equal texts and lists
/// stand once ([`Self::n_bytes`]). Cloning copies the columns.
///
/// ```
/// use forecart_serve::catalog::Catalog;
/// use serde_json::json;
///
/// let mut catalog = Catalog::new();
/// let mug = json!({"title": "Mug", "price": 9.5, "attributes": {"color": "red"}});
/// let row = catalog.upsert("mug-1", mug.as_object().unwrap()).unwrap();
/// catalog.patch("mug-1", json!({"price": 8, "title": null}).as_object().unwrap()).unwrap();
/// assert_eq!(
///     serde_json::Value::Object(catalog.item(row).unwrap()),
///     json!({"item_id": "mug-1", "price": 8, "attributes": {"color": "red"}}),
/// );
/// assert!(catalog.is_eligible(row, 0));
/// catalog.remove("mug-1");
/// assert!(!catalog.is_eligible(row, 0));
/// ```
#[derive(Debug, Clone)]
pub struct Catalog {
    ids: Ids,
    is_live: Vec<bool>,
    n_live: usize,
    /// The fields of [`FIELDS`] in their order, then attributes in the order in which they came.
    columns: Vec<Named>,
    by_name: FxHashMap<String, usize>,
}

#[derive(Debug, Clone)]
struct Named {
    name: String,
    column_type: ColumnType,
    column: Column,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::new()
    }
}

impl Catalog {
    /// A catalog without an item, with the columns of [`FIELDS`].
    pub fn new() -> Self {
        let mut catalog = Self {
            ids: Ids::default(),
            is_live: Vec::new(),
            n_live: 0,
            columns: Vec::new(),
            by_name: FxHashMap::default(),
        };
        for (name, column_type) in FIELDS {
            catalog.add_column(name, column_type);
        }
        catalog
    }

    /// Makes room for an attribute of a stated type before an item has it. Without this an attribute has the type of
    /// its first value, and times are texts.
    ///
    /// # Errors
    /// [`CatalogError::OtherColumn`] if it stands already with another type, [`CatalogError::BadName`] and
    /// [`CatalogError::TooManyAttributes`].
    pub fn declare(&mut self, name: &str, column_type: ColumnType) -> Result<(), CatalogError> {
        match self.column_type(name) {
            Some(found) if found == column_type => Ok(()),
            Some(found) => {
                Err(CatalogError::OtherColumn { name: name.into(), found, wanted: column_type })
            }
            None => {
                self.check_new_attribute(name, 0)?;
                self.add_column(name, column_type);
                Ok(())
            }
        }
    }

    /// Puts an item in, or replaces all that is known of it; a removed one lives again. `fields` are those of
    /// [`FIELDS`], and `attributes` with any further name; `null` is missing, and so is what is not named.
    ///
    /// # Errors
    /// [`CatalogError`] names the field and the fix; nothing is changed then.
    pub fn upsert(
        &mut self,
        id: &str,
        fields: &Map<String, Json>,
    ) -> Result<ItemRow, CatalogError> {
        self.ids.check(id)?;
        let changes = Changes::read(self, id, fields, Mode::Replace)?;
        let row = self.live_row(id);
        self.clear(row);
        self.apply(row, changes);
        Ok(row)
    }

    /// Changes the named fields of a live item; `null` takes a value away, `"attributes": null` all attributes.
    ///
    /// # Errors
    /// [`CatalogError::UnknownItem`] if there is none or it is removed; otherwise as [`Self::upsert`].
    pub fn patch(&mut self, id: &str, fields: &Map<String, Json>) -> Result<ItemRow, CatalogError> {
        let row = self.row(id).filter(|row| self.is_live(*row));
        let row =
            row.ok_or_else(|| CatalogError::UnknownItem { id: id.chars().take(64).collect() })?;
        let changes = Changes::read(self, id, fields, Mode::Change)?;
        if changes.clears_attributes {
            for named in &mut self.columns[FIELDS.len()..] {
                named.column.set(row, &Cell::Missing);
            }
        }
        self.apply(row, changes);
        Ok(row)
    }

    /// Takes an item out of what is served and forgets its fields; its row, if it was live.
    pub fn remove(&mut self, id: &str) -> Option<ItemRow> {
        let row = self.row(id).filter(|row| self.is_live(*row))?;
        self.clear(row);
        self.is_live[row.index()] = false;
        self.n_live -= 1;
        Some(row)
    }

    /// The row of an item that a model or an event knows: if it is new, it is live with everything missing. A removed
    /// item stays removed; an event about it does not bring it back.
    ///
    /// # Errors
    /// [`CatalogError::EmptyId`], [`CatalogError::LongId`], [`CatalogError::TooManyItems`].
    pub fn ensure(&mut self, id: &str) -> Result<ItemRow, CatalogError> {
        if let Some(row) = self.row(id) {
            return Ok(row);
        }
        self.ids.check(id)?;
        Ok(self.live_row(id))
    }

    /// The row of an id, live or removed.
    pub fn row(&self, id: &str) -> Option<ItemRow> {
        self.ids.row(id)
    }

    /// The id of a row; empty for a row that was never given.
    pub fn id(&self, row: ItemRow) -> &str {
        self.ids.id(row)
    }

    /// How many rows there are, of removed items too.
    pub fn n_rows(&self) -> usize {
        self.ids.len()
    }

    /// How many items are live.
    pub fn n_live(&self) -> usize {
        self.n_live
    }

    /// Whether the item is there and was not removed.
    #[inline]
    pub fn is_live(&self, row: ItemRow) -> bool {
        self.is_live.get(row.index()).copied().unwrap_or(false)
    }

    /// Rows of all live items, in their order.
    pub fn live_rows(&self) -> impl Iterator<Item = ItemRow> {
        let rows = self.is_live.iter().enumerate();
        rows.filter(|(_, is_live)| **is_live).map(|(row, _)| ItemRow(row as u32))
    }

    /// Whether the item may be shown at `now_ms`: it is live, published (`published_at` is past or missing) and not
    /// expired (`expires_at` is still to come or missing).
    #[inline]
    pub fn is_eligible(&self, row: ItemRow, now_ms: i64) -> bool {
        let at = |column: usize| match &self.columns[column].column {
            Column::Time(times) => times.get(row.index()).copied().unwrap_or(NO_TIME),
            _ => NO_TIME,
        };
        // A missing time of publication is the smallest number of all: past.
        self.is_live(row)
            && at(fields::PUBLISHED_AT) <= now_ms
            && (at(fields::EXPIRES_AT) > now_ms || at(fields::EXPIRES_AT) == NO_TIME)
    }

    /// All that is known of a live item, as it is answered to `GET /v1/items/{id}`: with `item_id`, without what is
    /// missing; times are RFC 3339 in UTC, a category is its path as one text.
    pub fn item(&self, row: ItemRow) -> Option<Map<String, Json>> {
        if !self.is_live(row) {
            return None;
        }
        let mut item = Map::new();
        item.insert("item_id".into(), self.id(row).into());
        let (known, further) = self.columns.split_at(FIELDS.len());
        let values = |columns: &[Named]| {
            let value = |named: &Named| {
                let json = named.column.cell(row).into_json(named.column_type)?;
                Some((named.name.clone(), json))
            };
            columns.iter().filter_map(value).collect::<Map<_, _>>()
        };
        item.extend(values(known));
        let attributes = values(further);
        if !attributes.is_empty() {
            item.insert("attributes".into(), attributes.into());
        }
        Some(item)
    }

    /// The type of a field or an attribute that has a column.
    pub fn column_type(&self, name: &str) -> Option<ColumnType> {
        self.by_name.get(name).map(|at| self.columns[*at].column_type)
    }

    /// Fields and attributes that have a column, with their types: [`FIELDS`], then attributes in the order in which
    /// they came.
    pub fn column_types(&self) -> impl Iterator<Item = (&str, ColumnType)> {
        self.columns.iter().map(|named| (named.name.as_str(), named.column_type))
    }

    /// Memory in use, estimated, in bytes.
    pub fn n_bytes(&self) -> usize {
        let columns = self.columns.iter().map(|named| named.column.n_bytes() + named.name.len());
        self.ids.n_bytes() + self.is_live.capacity() + columns.sum::<usize>()
    }

    /// The column of a field or an attribute, if it has this type.
    pub(crate) fn column(&self, name: &str, column_type: ColumnType) -> Option<&Column> {
        let named = &self.columns[*self.by_name.get(name)?];
        (named.column_type == column_type).then_some(&named.column)
    }

    /// The column of a field by its place in [`FIELDS`].
    pub(super) fn field(&self, place: usize) -> &Column {
        &self.columns[place].column
    }

    /// The code of the item's group of variants: those of one group have the same.
    #[inline]
    pub(crate) fn group(&self, row: ItemRow) -> Option<u32> {
        match self.field(fields::GROUP_ID) {
            Column::Text(groups) => Some(groups.code(row)).filter(|code| *code != super::NO_CODE),
            _ => None,
        }
    }

    /// The first `depth` steps of the item's category, as codes; fewer if it has fewer.
    #[inline]
    pub(crate) fn category(&self, row: ItemRow, depth: usize) -> Option<&[u32]> {
        match self.field(fields::CATEGORY) {
            Column::Texts(paths) => paths.list(row).map(|path| &path[..path.len().min(depth)]),
            _ => None,
        }
    }

    /// How many attributes there are.
    pub(super) fn n_attributes(&self) -> usize {
        self.columns.len() - FIELDS.len()
    }

    fn add_column(&mut self, name: &str, column_type: ColumnType) -> usize {
        self.by_name.insert(name.into(), self.columns.len());
        self.columns.push(Named {
            name: name.into(),
            column_type,
            column: Column::new(column_type),
        });
        self.columns.len() - 1
    }

    /// The row of an id, which lives from now on.
    fn live_row(&mut self, id: &str) -> ItemRow {
        let row = self.ids.row_or_new(id);
        if row.index() >= self.is_live.len() {
            self.is_live.resize(row.index() + 1, false);
        }
        if !std::mem::replace(&mut self.is_live[row.index()], true) {
            self.n_live += 1;
        }
        row
    }

    fn clear(&mut self, row: ItemRow) {
        for named in &mut self.columns {
            named.column.set(row, &Cell::Missing);
        }
    }

    fn apply(&mut self, row: ItemRow, changes: Changes) {
        for change in changes.cells {
            let at = match self.by_name.get(&change.name) {
                Some(at) => *at,
                None => self.add_column(&change.name, change.column_type),
            };
            self.columns[at].column.set(row, &change.cell);
        }
    }
}
