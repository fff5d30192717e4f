//! Tables beside the events: the item catalog and the users.

use std::fs::File;
use std::path::{Path, PathBuf};

use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::common::JoinType;
use datafusion::functions::string::expr_fn::btrim;
use datafusion::functions_aggregate::count::count_all;
use datafusion::functions_aggregate::expr_fn::median;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::ExprFunctionExt;
use datafusion::prelude::{DataFrame, col, lit};
use forecart_data::event::{self, columns};
use forecart_data::{Progress, storage};
use parquet::arrow::ArrowWriter;
use rustc_hash::FxHashSet;

use super::columnar;
use super::parse::parse_block;
use super::plan::{InputPlan, Kind, Mapped, Output, Table, file_name};
use super::rejects::{Code, Fault, Rejects};
use super::rows::Parsed;
use super::writer::properties;
use crate::config::{DataConfig, Format, closest};
use crate::error::Place;
use crate::log::Input;
use crate::read::blocks::Blocks;
use crate::read::dialect;
use crate::read::inputs::Inputs;
use crate::read::source::Source;
use crate::session::Session;
use crate::{LogManifest, PrepareError, Resources};

/// Other names of a catalog's columns: `(ours, theirs)`.
const CATALOG_ALIASES: &[(&str, &[&str])] = &[
    (
        columns::TITLE,
        &["name", "item_title", "item_name", "product_title", "product_name", "movie_title"],
    ),
    ("category", &["categories", "category_name", "product_category", "genre", "genres"]),
    ("brand", &["brand_name", "manufacturer"]),
    (columns::PRICE, &["unit_price", "item_price"]),
];

/// What the tables are made from.
pub(crate) struct Tables<'a> {
    pub(crate) found: &'a Inputs,
    pub(crate) plans: &'a [InputPlan],
    pub(crate) table: &'a Table,
    pub(crate) config: &'a DataConfig,
}

impl Tables<'_> {
    /// Writes `items.parquet` and `users.parquet` into a log whose events stand, where there is
    /// something to write, and adds to the manifest what was read and found.
    pub(crate) fn write(
        &self,
        log: &Path,
        resources: &Resources,
        progress: &dyn Progress,
        manifest: &mut LogManifest,
    ) -> Result<(), PrepareError> {
        let with = |paths: &[PathBuf], stated: &Option<PathBuf>| -> Vec<PathBuf> {
            stated.iter().chain(paths).cloned().collect()
        };
        let items = with(&self.found.items, &self.config.items);
        let users = with(&self.found.users, &self.config.users);
        if !users.is_empty() {
            progress.begin("import users", None);
            self.copy(&users, columns::USER_ID, &log.join("users.parquet"), manifest)?;
        }
        if !items.is_empty() {
            progress.begin("import items", None);
            self.copy(&items, columns::ITEM_ID, &log.join("items.parquet"), manifest)?;
        } else if self.plans.iter().any(|plan| plan.order_lines) {
            progress.begin("catalog from order lines", None);
            self.write_from_order_lines(log, resources)?;
        }
        Ok(())
    }

    /// The items of order lines, in order of their ids: the most frequent text (of equals the
    /// first in order) is the title, the median of positive prices of what was not refunded is
    /// the price.
    fn write_from_order_lines(
        &self,
        log: &Path,
        resources: &Resources,
    ) -> Result<(), PrepareError> {
        let has = |name: &str| self.table.outputs.iter().any(|output| output.name == name);
        let (has_text, has_price) = (has(columns::TEXT), has(columns::PRICE));
        if !has_text && !has_price {
            return Ok(());
        }
        let session = Session::new(resources)?;
        session.register_events(log)?;
        let has_item = col(columns::ITEM_ID).is_not_null();
        let events = session.table("events")?.filter(has_item)?;
        let mut items = events.clone().select(vec![col(columns::ITEM_ID)])?.distinct()?;
        let mut shown = vec![col(columns::ITEM_ID)];
        if has_text {
            items = joined(items, most_frequent_texts(events.clone())?)?;
            shown.push(col(columns::TITLE));
        }
        if has_price {
            items = joined(items, median_prices(events)?)?;
            shown.push(col(columns::PRICE));
        }
        let frame = items.select(shown)?.sort(vec![col(columns::ITEM_ID).sort(true, false)])?;
        let path = log.join("items.parquet");
        let mut writer = None;
        session.for_each(frame, |batch| {
            if writer.is_none() {
                let file = File::create(&path).map_err(PrepareError::io("write", &path))?;
                writer = Some(ArrowWriter::try_new(file, batch.schema(), None)?);
            }
            Ok(writer.as_mut().map_or(Ok(()), |writer| writer.write(&batch))?)
        })?;
        if let Some(writer) = writer {
            writer.close()?;
        }
        Ok(())
    }

    /// Copies tables with one row for each id; of rows with the same id the first is kept.
    fn copy(
        &self,
        paths: &[PathBuf],
        id: &str,
        to: &Path,
        manifest: &mut LogManifest,
    ) -> Result<(), PrepareError> {
        let mut plans =
            paths.iter().map(|path| plan(path, id, self.config)).collect::<Result<Vec<_>, _>>()?;
        let mut outputs: Vec<Output> = Vec::new();
        for mapped in plans.iter().flat_map(|plan| &plan.mapped) {
            let known = outputs.iter_mut().find(|output| output.name == mapped.name);
            match known {
                // Two files that do not agree that a column is a number: it is text.
                Some(output) if output.kind != mapped.kind => output.kind = Kind::Text,
                Some(_) => {}
                None => {
                    outputs.push(Output { name: mapped.name.clone(), kind: mapped.kind });
                }
            }
        }
        outputs.sort_by_key(|output| output.name != id);
        let table = Table::new(outputs, true);
        let file = File::create(to).map_err(PrepareError::io("write", to))?;
        let schema = std::sync::Arc::clone(&table.schema);
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties(&table)))?;
        let mut seen = FxHashSet::default();
        let mut rejects = Rejects::default();
        let mut n_kept = 0;
        for (path, plan) in paths.iter().zip(&mut plans) {
            plan.bind(&table);
            let mut n_read = 0;
            let sha256 = each_part(path, plan, &table, self.config, |mut parsed| {
                let repeated = Fault { code: Code::RepeatedId, column: None, found: String::new() };
                let fresh = only_new(&parsed.batch, &mut seen, |row, found| {
                    let fault = Fault { found, ..repeated.clone() };
                    let line = n_read + row as u64 + 1;
                    parsed.rejects.add(&plan.file_name, line, &plan.layout.names, &fault);
                })?;
                n_read += parsed.n_read;
                n_kept += fresh.num_rows() as u64;
                rejects.append(std::mem::take(&mut parsed.rejects));
                Ok(writer.write(&fresh)?)
            })?;
            let format =
                format!("{} table, {}", id.trim_end_matches("_id"), plan.layout.format.name());
            let name = plan.file_name.clone();
            manifest.inputs.push(Input { name, sha256, format, n_read });
        }
        writer.close()?;
        let n_bad = rejects.n_rows();
        let rejected = rejects.into_report();
        let n_repeated: u64 =
            rejected.iter().filter(|group| group.code == "repeated_id").map(|g| g.n_rows).sum();
        if (n_bad - n_repeated) as f64 > self.config.max_bad_rows * (n_kept + n_bad) as f64 {
            return Err(PrepareError::TooManyBadRows {
                n_read: n_kept + n_bad,
                n_rejected: n_bad,
                allowed: self.config.max_bad_rows,
                rejected,
            });
        }
        manifest.warnings.extend(rejected);
        Ok(())
    }
}

/// Name of the item in a table that is joined to the items.
const OF_ITEM: &str = "of_item";

/// `items` with the columns of `more`, where it has the item.
fn joined(items: DataFrame, more: DataFrame) -> Result<DataFrame, PrepareError> {
    let items = items.join(more, JoinType::Left, &[columns::ITEM_ID], &[OF_ITEM], None)?;
    Ok(items.drop_columns(&[OF_ITEM])?)
}

/// One row an item: `of_item` and its `title`.
fn most_frequent_texts(events: DataFrame) -> Result<DataFrame, PrepareError> {
    let title = || col(columns::TITLE);
    let place = row_number()
        .partition_by(vec![col(OF_ITEM)])
        .order_by(vec![col("n").sort(false, false), title().sort(true, false)])
        .build()?;
    let texts = vec![
        col(columns::ITEM_ID).alias(OF_ITEM),
        btrim(vec![col(columns::TEXT)]).alias(columns::TITLE),
    ];
    Ok(events
        .select(texts)?
        .filter(title().not_eq(lit("")))?
        .aggregate(vec![col(OF_ITEM), title()], vec![count_all().alias("n")])?
        .window(vec![place.alias("place")])?
        .filter(col("place").eq(lit(1u64)))?
        .select(vec![col(OF_ITEM), title()])?)
}

/// One row an item: `of_item` and its `price`.
fn median_prices(events: DataFrame) -> Result<DataFrame, PrepareError> {
    let price = || col(columns::PRICE);
    let is_sold = price().gt(lit(0.0)).and(col(columns::EVENT).not_eq(lit("refund")));
    let item = col(columns::ITEM_ID).alias(OF_ITEM);
    let prices = vec![median(price()).alias(columns::PRICE)];
    Ok(events.filter(is_sold)?.aggregate(vec![item], prices)?)
}

/// Finds the columns of a table of items or users.
fn plan(path: &Path, id: &str, config: &DataConfig) -> Result<InputPlan, PrepareError> {
    // What the configuration says of the events' layout is not about this file.
    let config = DataConfig {
        null_values: config.null_values.clone(),
        time_zone: config.time_zone.clone(),
        ..DataConfig::default()
    };
    let layout = if columnar::is_parquet(path)? {
        columnar::look(path, &config)?
    } else {
        let source = Source::open(path)?;
        let mut blocks = Blocks::open(source, config.block_bytes, config.max_line_bytes)?;
        let (head, is_all) = blocks.head();
        let mut layout = dialect::recognize(path, head, is_all, &config)?;
        if layout.format == Format::Jsonl {
            super::jsonl::find_columns(&mut blocks, &mut layout)?;
        }
        layout
    };
    let id_column = layout.names.iter().position(|name| event::canonical_column(name) == Some(id));
    let Some(id_column) = id_column else {
        let names: Vec<&str> = layout.names.iter().map(String::as_str).collect();
        let meant = closest(id, &names).map(|name| format!("did you mean {name:?}? "));
        let reason = format!("no column for {id}; found {}", names.join(", "));
        let fix = format!("{}name the column {id}", meant.unwrap_or_default());
        return Err(PrepareError::input(Place::file(path).line(1), reason, fix));
    };
    let mut mapped: Vec<Mapped> = Vec::new();
    for (source, theirs) in layout.names.iter().enumerate() {
        let alias = CATALOG_ALIASES.iter().find(|(ours, others)| {
            let folded = event::folded(theirs);
            event::folded(ours) == folded || others.iter().any(|o| event::folded(o) == folded)
        });
        let ours = match alias {
            _ if source == id_column => id,
            Some((ours, _)) if id == columns::ITEM_ID => ours,
            _ => theirs,
        };
        let is_taken =
            mapped.iter().any(|mapped| mapped.name == ours) || (ours == id && source != id_column);
        let name = if is_taken { format!("input_{theirs}") } else { ours.to_owned() };
        let kind = match layout.types.get(source).and_then(Option::as_deref) {
            _ if source == id_column && id == columns::ITEM_ID => Kind::Item,
            _ if source == id_column => Kind::User,
            Some("float") => Kind::Float,
            _ if name == columns::PRICE => Kind::Float,
            _ => Kind::Text,
        };
        mapped.push(Mapped { source, name, kind, is_extra: false });
    }
    Ok(InputPlan {
        file_name: file_name(path),
        layout,
        mapped,
        sources: Vec::new(),
        time: None,
        keeps_missing_user: false,
        order_lines: false,
        event: None,
        decisions: Vec::new(),
    })
}

/// Parses a file part by part; returns its hash.
fn each_part(
    path: &Path,
    plan: &InputPlan,
    table: &Table,
    config: &DataConfig,
    mut each: impl FnMut(Parsed) -> Result<(), PrepareError>,
) -> Result<String, PrepareError> {
    if plan.layout.format == Format::Parquet {
        let mut reader = columnar::guarded(path, || columnar::open(path, 8 << 10))?;
        let mut first_row = 1;
        loop {
            let batch = columnar::guarded(path, || {
                reader.next().transpose().map_err(|error| columnar::damaged(path, &error))
            })?;
            let Some(batch) = batch else { return Ok(storage::sha256_file(path)?) };
            each(columnar::parse_batch(&batch, first_row, plan, table, config)?)?;
            first_row += batch.num_rows() as u64;
        }
    }
    let source = Source::open(path)?;
    let mut blocks = Blocks::open(source, config.block_bytes, config.max_line_bytes)?;
    blocks.skip(plan.layout.header_bytes);
    while let Some(block) = blocks.next(plan.layout.dialect)? {
        each(parse_block(&block, plan, table, config)?)?;
    }
    Ok(blocks.hash())
}

/// The rows whose id, the first column, was not seen before.
fn only_new(
    batch: &RecordBatch,
    seen: &mut FxHashSet<String>,
    mut repeated: impl FnMut(usize, String),
) -> Result<RecordBatch, PrepareError> {
    let ids = batch.column(0).as_string::<i32>();
    let mut is_new = Vec::with_capacity(ids.len());
    for (row, id) in ids.iter().enumerate() {
        let id = id.unwrap_or_default();
        let fresh = !seen.contains(id) && seen.insert(id.to_owned());
        if !fresh {
            repeated(row, id.to_owned());
        }
        is_new.push(fresh);
    }
    Ok(filter_record_batch(batch, &BooleanArray::from(is_new))?)
}
