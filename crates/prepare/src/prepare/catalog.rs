//! The item catalog: titles, and attributes through the encoders.

use std::path::Path;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use forecart_data::dataset::AttributeMoments;
use forecart_data::encode::{
    ColumnSpec, EncodedRow, FeatureProgram, FeatureSpec, Fitter, NumericStep, Row, Value,
};
use forecart_data::event::{columns, folded};
use forecart_data::{ItemFeatures, TextTable, Vocabulary};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustc_hash::FxHashSet;

use super::moments::Moments;
use super::scan::{batches_of, column};
use crate::PrepareError;

/// Catalog columns that hold several texts, split at `|`, by their folded names.
const LISTS: &[&str] =
    &["category", "categories", "productcategory", "genre", "genres", "tags", "department"];
/// Catalog columns that hold one text.
const NAMES: &[&str] = &["brand", "manufacturer", "color", "colour", "size", "type", "group"];
/// Texts of fewer training items are unknown.
const MIN_COUNT: u64 = 5;
const MAX_ENTRIES: u32 = 1000;

/// What the dataset takes from the catalog.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) titles: TextTable,
    pub(super) encoders: FeatureProgram,
    pub(super) features: ItemFeatures,
    pub(super) moments: Vec<AttributeMoments>,
}

/// Reads the catalog in `file` twice: once to fit the encoders on the items that occur in training,
/// once to encode every item of the vocabulary. Where an item stands twice, the first line counts. Moments among the
/// attributes are put against `test_start_ms`, where the split has one.
///
/// # Cost
/// Titles and encoded rows of all items in memory.
pub(super) fn read(
    file: Option<&Path>,
    spec: Option<&FeatureSpec>,
    items: &Vocabulary,
    test_start_ms: Option<i64>,
) -> Result<Catalog, PrepareError> {
    let Some(file) = file else {
        if spec.is_some_and(|spec| !spec.is_empty()) {
            let reason = "the log has no item catalog; remove it or import one";
            return Err(PrepareError::config("prepare.item_features", reason));
        }
        let titles = std::iter::repeat_n("", items.len()).collect();
        return Ok(Catalog { titles, ..Catalog::default() });
    };
    let fields = fields(file)?;
    let spec = match spec {
        Some(spec) => {
            check_columns(spec, &fields)?;
            spec.clone()
        }
        None => default_spec(&fields),
    };
    let mut fitter = Fitter::new(&spec)?;
    each_item(file, &fields, items, |item, row| {
        if items.count(item) > 0 {
            fitter.observe(row);
        }
    })?;
    let encoders = fitter.finish();
    let nothing: &[(&str, Value<'_>)] = &[];
    let unknown = encoders.encode(nothing);
    let mut encoded: Vec<Option<EncodedRow>> = vec![None; items.len()];
    let mut titles = vec![String::new(); items.len()];
    let mut moments = Moments::new(&spec, test_start_ms);
    each_item(file, &fields, items, |item, row| {
        if items.count(item) > 0 {
            moments.observe(items.text(item), row);
        }
        encoded[item as usize] = Some(encoders.encode(row));
        row.value(columns::TITLE).for_each_text(None, |title| {
            title.clone_into(&mut titles[item as usize]);
        });
    })?;
    let features = pack(&encoders, encoded.iter().map(|row| row.as_ref().unwrap_or(&unknown)));
    let moments = moments.finish();
    Ok(Catalog { titles: titles.iter().collect(), encoders, features, moments })
}

/// The item ids of the catalog in `file`, in its order, each once; none without a catalog.
pub(super) fn ids(file: Option<&Path>) -> Result<Vec<String>, PrepareError> {
    let mut ids = Vec::new();
    let Some(file) = file else { return Ok(ids) };
    let mut seen = FxHashSet::default();
    for batch in batches_of(file, &[columns::ITEM_ID.to_owned()])? {
        let Some(texts) = column(&batch?, columns::ITEM_ID, &DataType::Utf8)? else {
            return Err(no_item_id());
        };
        for id in texts.as_string::<i32>().iter().flatten().filter(|id| !id.is_empty()) {
            if seen.insert(id.to_owned()) {
                ids.push(id.to_owned());
            }
        }
    }
    Ok(ids)
}

fn no_item_id() -> PrepareError {
    let reason = "the item catalog has no column item_id; import it again".into();
    PrepareError::Unusable { step: "prepare", reason }
}

/// Encoded rows end to end.
fn pack<'r>(encoders: &FeatureProgram, rows: impl Iterator<Item = &'r EncodedRow>) -> ItemFeatures {
    let (mut dense, mut sparse, mut offsets) = (Vec::new(), Vec::new(), vec![0u64]);
    for row in rows {
        dense.extend_from_slice(&row.dense);
        sparse.extend_from_slice(&row.sparse);
        offsets.push(sparse.len() as u64);
    }
    ItemFeatures {
        names: encoders.names(),
        dense: dense.into(),
        sparse_offsets: offsets.into(),
        sparse_indices: sparse.into(),
    }
}

/// Columns of the catalog: name, and whether it holds numbers.
fn fields(file: &Path) -> Result<Vec<(String, bool)>, PrepareError> {
    let opened = std::fs::File::open(file).map_err(PrepareError::io("read", file))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(opened)?;
    let fields = reader.schema().fields().iter();
    Ok(fields.map(|f| (f.name().clone(), f.data_type().is_numeric())).collect())
}

fn check_columns(spec: &FeatureSpec, fields: &[(String, bool)]) -> Result<(), PrepareError> {
    for column in spec.columns.iter().map(ColumnSpec::column) {
        if !fields.iter().any(|(name, _)| name == column) {
            let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
            let reason =
                format!("the catalog has no column {column:?}; it has {}", names.join(", "));
            return Err(PrepareError::config("prepare.item_features", reason));
        }
    }
    Ok(())
}

/// Price as a standardized logarithm; categories, brands and the like by their texts.
fn default_spec(fields: &[(String, bool)]) -> FeatureSpec {
    let mut spec = FeatureSpec::default();
    for (name, is_number) in fields {
        let folded = folded(name);
        let column = name.clone();
        if *is_number {
            if folded == "price" {
                let steps = vec![NumericStep::Log1p, NumericStep::Standardize];
                spec.columns.push(ColumnSpec::numeric(name, steps));
            }
        } else if LISTS.contains(&folded.as_str()) {
            spec.columns.push(ColumnSpec::MultiHot {
                column,
                separator: Some("|".into()),
                min_count: MIN_COUNT,
                max_entries: Some(MAX_ENTRIES),
            });
        } else if NAMES.contains(&folded.as_str()) {
            spec.columns.push(ColumnSpec::OneHot {
                column,
                min_count: MIN_COUNT,
                max_entries: Some(MAX_ENTRIES),
            });
        }
    }
    spec
}

/// Calls `each` with the first line of every item that the vocabulary holds, in the file's order.
fn each_item(
    file: &Path,
    fields: &[(String, bool)],
    items: &Vocabulary,
    mut each: impl FnMut(u32, &CatalogRow<'_>),
) -> Result<(), PrepareError> {
    let wanted: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
    let mut seen = vec![false; items.len()];
    for batch in batches_of(file, &wanted)? {
        let batch = batch?;
        let columns = columns_of(&batch, fields)?;
        let Some(ids) = column(&batch, columns::ITEM_ID, &DataType::Utf8)? else {
            return Err(no_item_id());
        };
        for (row, id) in ids.as_string::<i32>().iter().enumerate() {
            let Some(item) = id.and_then(|id| items.index(id)) else { continue };
            if !std::mem::replace(&mut seen[item as usize], true) {
                each(item, &CatalogRow { columns: &columns, row });
            }
        }
    }
    Ok(())
}

/// Numbers as `f64`, everything else as text.
fn columns_of(
    batch: &RecordBatch,
    fields: &[(String, bool)],
) -> Result<Vec<(String, ArrayRef)>, PrepareError> {
    let mut columns = Vec::with_capacity(fields.len());
    for (name, is_number) in fields {
        let data_type = if *is_number { DataType::Float64 } else { DataType::Utf8 };
        if let Some(array) = column(batch, name, &data_type)? {
            columns.push((name.clone(), array));
        }
    }
    Ok(columns)
}

struct CatalogRow<'b> {
    columns: &'b [(String, ArrayRef)],
    row: usize,
}

impl Row for CatalogRow<'_> {
    fn value(&self, column: &str) -> Value<'_> {
        let Some((_, array)) = self.columns.iter().find(|(name, _)| name == column) else {
            return Value::Missing;
        };
        if array.is_null(self.row) {
            return Value::Missing;
        }
        match array.as_primitive_opt::<Float64Type>() {
            Some(numbers) => Value::Number(numbers.value(self.row)),
            None => Value::Text(array.as_string::<i32>().value(self.row)),
        }
    }
}
