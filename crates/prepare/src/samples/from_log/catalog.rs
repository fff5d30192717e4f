//! Attributes of items and users, from the tables beside the events.

use std::path::Path;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use forecart_data::event::columns;

use super::super::infer::{Inferred, Profile};
use super::super::plan::ColumnReport;
use super::super::value::{Given, Reading};
use super::columns::{Choice, choose};
use crate::PrepareError;
use crate::config::DataConfig;
use crate::import::cell::Cell;
use crate::prepare::interner::Interner;
use crate::prepare::scan::{batches_of, column};
use crate::samples::SamplesConfig;

/// Different values of a column that are counted.
const MAX_DISTINCT: usize = 100_000;

/// A table of attributes: a row for each number of an [`Interner`].
#[derive(Debug, Default)]
pub(super) struct Attributes {
    /// Names in the sample table, such as `item.color`, and how they are read.
    pub(super) columns: Vec<(String, Reading)>,
    /// No values where the table does not have the id.
    rows: Vec<Box<[Given<'static>]>>,
    pub(super) report: Vec<ColumnReport>,
}

impl Attributes {
    /// The value of a column for a number; missing for one that the table does not have.
    pub(super) fn value(&self, number: u32, at: usize) -> Given<'_> {
        let row = self.rows.get(number as usize);
        row.and_then(|row| row.get(at)).map_or(Given::Missing, Given::as_borrowed)
    }

    /// Reads a table whose ids stand in column `id`, in its order; of an id that stands twice the first row counts. Two passes: what the
    /// columns hold, then their values.
    fn read(
        file: &Path,
        id: &str,
        prefix: &str,
        ids: &mut Interner,
        (data, config): (&DataConfig, &SamplesConfig),
        mut each: impl FnMut(
            u32,
            &[String],
            &dyn Fn(usize) -> Option<String>,
        ) -> Result<(), PrepareError>,
    ) -> Result<Self, PrepareError> {
        let opened = std::fs::File::open(file).map_err(PrepareError::io("read", file))?;
        let reader =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(opened)?;
        let all: Vec<String> =
            reader.schema().fields().iter().map(|field| field.name().clone()).collect();
        let names: Vec<String> = all.iter().filter(|name| *name != id).cloned().collect();
        let separator = config.raw.list_separator.as_deref().unwrap_or("|");
        let new = || Profile::new(MAX_DISTINCT);
        let mut profiles: Vec<Profile> = names.iter().map(|_| new()).collect();
        each_row(file, &all, &names, id, |_, row, arrays| {
            for (profile, array) in profiles.iter_mut().zip(arrays) {
                profile.add(&cell(array, row), 1 + row as u64, data, Some(separator));
            }
            Ok(())
        })?;
        let mut found = Self::default();
        let mut kept = Vec::new();
        for (at, (name, profile)) in names.iter().zip(&profiles).enumerate() {
            let full = format!("{prefix}.{name}");
            let inferred = match name.as_str() {
                columns::TITLE => Inferred { kind: None, reason: "a title is no attribute".into() },
                _ => profile.infer(),
            };
            let choice = Choice { name: &full, profile, inferred, place: (file, name) };
            let (reading, report) = choose(choice, data, config)?;
            if let Some(reading) = reading {
                kept.push(at);
                found.columns.push((full, reading));
            }
            found.report.push(report);
        }
        let Self { columns, rows, .. } = &mut found;
        let mut seen: Vec<bool> = Vec::new();
        each_row(file, &all, &names, id, |text, row, arrays| {
            let number = ids.intern(text)?;
            let place = number as usize;
            if place >= seen.len() {
                seen.resize(place + 1, false);
                rows.resize_with(place + 1, Box::default);
            }
            if std::mem::replace(&mut seen[place], true) {
                return Ok(());
            }
            let values = kept.iter().zip(columns.iter()).map(|(at, (_, reading))| {
                // A value that is not of its column's kind says nothing.
                let cell = cell(&arrays[*at], row);
                reading.value(&cell, data).map_or(Given::Missing, Given::into_owned)
            });
            rows[place] = values.collect();
            each(number, &names, &|at| {
                Some(cell(&arrays[at], row).shown()).filter(|text| !text.is_empty())
            })
        })?;
        Ok(found)
    }
}

fn cell(array: &ArrayRef, row: usize) -> Cell<'_> {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.as_primitive_opt::<Float64Type>() {
        Some(numbers) => Cell::Float(numbers.value(row)),
        None => Cell::Text(array.as_string::<i32>().value(row)),
    }
}

fn each_row(
    file: &Path,
    all: &[String],
    names: &[String],
    id: &str,
    mut each: impl FnMut(&str, usize, &[ArrayRef]) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    for batch in batches_of(file, all)? {
        let batch: RecordBatch = batch?;
        let arrays = names.iter().map(|name| {
            let field = batch.schema().field_with_name(name)?.data_type().clone();
            let wanted = if field.is_numeric() { DataType::Float64 } else { DataType::Utf8 };
            Ok(column(&batch, name, &wanted)?.expect("it is in the schema"))
        });
        let arrays = arrays.collect::<Result<Vec<_>, PrepareError>>()?;
        let Some(ids) = column(&batch, id, &DataType::Utf8)? else {
            let reason = format!("{file:?} has no column {id:?}; import it again");
            return Err(PrepareError::Unusable { step: "prepare samples", reason });
        };
        for (row, text) in ids.as_string::<i32>().iter().enumerate() {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                each(text, row, &arrays)?;
            }
        }
    }
    Ok(())
}

/// Items and users with their attributes, and what features need of the items.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) items: Attributes,
    pub(super) users: Attributes,
    /// Whether it says of which category an item is.
    pub(super) has_category: bool,
    pub(super) has_price: bool,
    prices: Vec<f64>,
    categories: Vec<Option<u32>>,
}

impl Catalog {
    /// Reads the tables that the log has.
    pub(super) fn read(
        (items, users): (Option<&Path>, Option<&Path>),
        names: &mut super::events::Names,
        data: &DataConfig,
        config: &SamplesConfig,
    ) -> Result<Self, PrepareError> {
        let mut catalog = Self::default();
        if let Some(file) = items {
            let Self { prices, categories, has_category, has_price, .. } = &mut catalog;
            let of = &mut names.categories;
            let each = |number: u32, columns: &[String], text: &dyn Fn(usize) -> Option<String>| {
                let place = number as usize;
                if place >= prices.len() {
                    prices.resize(place + 1, f64::NAN);
                    categories.resize(place + 1, None);
                }
                for (at, name) in columns.iter().enumerate() {
                    if name == columns::PRICE {
                        *has_price = true;
                        let price = text(at).and_then(|text| text.parse::<f64>().ok());
                        prices[place] = price.filter(|price| price.is_finite()).unwrap_or(f64::NAN);
                    }
                    if *name == config.raw.log.category {
                        *has_category = true;
                        categories[place] = text(at).map(|text| of.intern(&text)).transpose()?;
                    }
                }
                Ok(())
            };
            let both = (data, config);
            catalog.items =
                Attributes::read(file, columns::ITEM_ID, "item", &mut names.items, both, each)?;
        }
        if let Some(file) = users {
            let ids = &mut names.users;
            let both = (data, config);
            let each = |_: u32, _: &[String], _: &dyn Fn(usize) -> Option<String>| Ok(());
            catalog.users = Attributes::read(file, columns::USER_ID, "user", ids, both, each)?;
        }
        Ok(catalog)
    }

    /// Price of an item; NaN if it is not known.
    pub(super) fn price(&self, item: u32) -> f64 {
        self.prices.get(item as usize).copied().unwrap_or(f64::NAN)
    }

    /// Category of an item.
    pub(super) fn category(&self, item: u32) -> Option<u32> {
        self.categories.get(item as usize).copied().flatten()
    }
}
