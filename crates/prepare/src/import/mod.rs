//! Import: files as shops have them, to the event log.
//!
//! Read `plan` for which column becomes which, `rows` for what makes a row bad, `pipeline`
//! for how the work is spread over threads. What is not here: cleaning. Import keeps every row
//! that can be read, duplicates and cancellations included.

mod catalog;
pub(crate) mod cell;
pub(crate) mod columnar;
mod counts;
pub(crate) mod jsonl;
pub(crate) mod parse;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod rejects;
mod rows;
pub(crate) mod time;
mod writer;

use std::path::{Path, PathBuf};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use forecart_data::{Progress, event, storage};

use self::counts::{DistinctCount, EventCounts};
use self::pipeline::{Part, Task};
pub(crate) use self::plan::file_name;
use self::plan::{InputPlan, Kind, Table};
use self::rejects::Rejects;
use self::writer::LogWriter;
use crate::config::{DataConfig, Format};
use crate::error::Place;
use crate::log::{ColumnMapping, EventCount, FORMAT, FORMAT_VERSION, Input, Rejected};
use crate::read::blocks::Blocks;
use crate::read::dialect::{self, Layout};
use crate::read::inputs;
use crate::read::source::Source;
use crate::{LogManifest, PrepareError, Resources};

/// Imports files, or the data files of folders, into an event log folder.
///
/// The folder `out` is replaced at the end, in one step; if the import fails or is killed, what
/// stood there before stays. Bad rows are counted in the manifest.
///
/// # Errors
/// [`PrepareError::Input`] if a file cannot be read as what it is said to be,
/// [`PrepareError::TooManyBadRows`] past `data.max_bad_rows`, [`PrepareError::Io`] and
/// [`PrepareError::Data`] if files cannot be read or written, [`PrepareError::Cancelled`].
pub fn import(
    inputs: &[PathBuf],
    config: &DataConfig,
    out: &Path,
    resources: &Resources,
    progress: &dyn Progress,
) -> Result<LogManifest, PrepareError> {
    let found = inputs::find(inputs)?;
    progress.begin("look at the input", None);
    let mut plans =
        found.events.iter().map(|path| plan_input(path, config)).collect::<Result<Vec<_>, _>>()?;
    let table = Table::of_events(&plans)?;
    for plan in &mut plans {
        plan.bind(&table);
    }
    let folder = storage::Replacement::folder(out)?;
    let mut writer = LogWriter::new(folder.path(), &table);
    let task = Task {
        paths: &found.events,
        plans: &plans,
        table: &table,
        config,
        n_threads: resources.n_threads,
    };
    progress.begin("import", n_bytes(&found.events, plans.iter().map(|plan| plan.layout.format)));
    let mut totals = Totals::new(plans.len());
    let hashes = pipeline::run(&task, &mut writer, progress, |part| totals.add(part, &table))?;
    drop(writer);
    let mut manifest = totals.into_manifest(&plans, &table, hashes);
    manifest.decisions.extend(found.decisions.iter().cloned());
    let has_texts = table.outputs.iter().any(|output| output.name == event::columns::TEXT);
    if has_texts && manifest.events.iter().any(|event| event.name == "ask") {
        manifest.decisions.push(
            "texts of asks are masked: addresses, phone numbers, order ids and other numbers"
                .into(),
        );
    }
    if manifest.n_rows == 0 || is_too_many(&manifest, config) {
        let n_read = manifest.n_rows + manifest.n_rejected;
        return Err(PrepareError::TooManyBadRows {
            n_read,
            n_rejected: manifest.n_rejected,
            allowed: config.max_bad_rows,
            rejected: manifest.rejected,
        });
    }
    let tables = catalog::Tables { found: &found, plans: &plans, table: &table, config };
    tables.write(folder.path(), resources, progress, &mut manifest)?;
    manifest.data_hash = data_hash(&manifest.inputs);
    manifest.write(folder.path())?;
    folder.commit()?;
    Ok(manifest)
}

/// Rows of a text in memory, as [`parse_csv_bytes`] reads them.
#[derive(Debug)]
pub struct ParsedText {
    /// The rows that are good, as columns of the event log, in blocks.
    pub batches: Vec<RecordBatch>,
    /// Rows that were read.
    pub n_read: u64,
    /// The bad ones among them.
    pub rejected: Vec<Rejected>,
}

/// Reads a CSV, TSV, RecBole or JSON lines text, compressed or not, from memory: for tests and
/// tools. There is no limit of bad rows here.
///
/// ```
/// use forecart_prepare::{DataConfig, import::parse_csv_bytes};
///
/// let text = b"user_id,item_id,timestamp\nu1,a,1700000000\nu1,,1700000001\n";
/// let parsed = parse_csv_bytes(text, &DataConfig::default()).unwrap();
/// assert_eq!((parsed.n_read, parsed.rejected[0].code.as_str()), (2, "missing_item"));
/// ```
///
/// # Errors
/// [`PrepareError::Input`] if the text as a whole cannot be read.
pub fn parse_csv_bytes(bytes: &[u8], config: &DataConfig) -> Result<ParsedText, PrepareError> {
    let open = || {
        let source = Source::of_bytes("input", bytes.to_vec())?;
        Blocks::open(source, config.block_bytes, config.max_line_bytes)
    };
    let path = Path::new("input");
    let mut plan = InputPlan::of_events(path, layout_of(path, open()?, config)?, config)?;
    let table = Table::of_events(std::slice::from_ref(&plan))?;
    plan.bind(&table);
    let mut blocks = open()?;
    blocks.skip(plan.layout.header_bytes);
    let (mut batches, mut n_read, mut rejects) = (Vec::new(), 0, Rejects::default());
    while let Some(block) = blocks.next(plan.layout.dialect)? {
        let parsed = parse::parse_block(&block, &plan, &table, config)?;
        batches.push(rows::numbered(&parsed.batch, &table, n_read)?);
        n_read += parsed.n_read;
        rejects.append(parsed.rejects);
    }
    Ok(ParsedText { batches, n_read, rejected: rejects.into_report() })
}

fn is_too_many(manifest: &LogManifest, config: &DataConfig) -> bool {
    let n_read = manifest.n_rows + manifest.n_rejected;
    manifest.n_rejected as f64 > config.max_bad_rows * n_read as f64
}

/// Bytes of all inputs, if progress can be told by them.
pub(crate) fn n_bytes(paths: &[PathBuf], mut formats: impl Iterator<Item = Format>) -> Option<u64> {
    if formats.any(|format| format == Format::Parquet) {
        return None;
    }
    let is_packed = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "gz" || extension == "zst")
    };
    if paths.iter().any(is_packed) {
        return None;
    }
    paths.iter().map(|path| Some(std::fs::metadata(path).ok()?.len())).sum()
}

/// Looks at one input and decides how its rows are read.
pub(crate) fn plan_input(path: &Path, config: &DataConfig) -> Result<InputPlan, PrepareError> {
    let mut problems = Vec::new();
    let plan = sketch_input(path, config, &mut problems)?;
    problems.into_iter().next().map_or(Ok(plan), Err)
}

/// The same for an input that cannot be imported yet; see [`InputPlan::sketch`].
pub(crate) fn sketch_input(
    path: &Path,
    config: &DataConfig,
    problems: &mut Vec<PrepareError>,
) -> Result<InputPlan, PrepareError> {
    if !columnar::is_parquet(path)? {
        let source = Source::open(path)?;
        let blocks = Blocks::open(source, config.block_bytes, config.max_line_bytes)?;
        return InputPlan::sketch(path, layout_of(path, blocks, config)?, config, problems);
    }
    if let Some(format) = config.format.filter(|format| *format != Format::Parquet) {
        let reason = format!("the file is Parquet, not {}", format.name());
        let place = Place::file(path);
        return Err(PrepareError::input(place, reason, "remove `data.format`"));
    }
    let plan = InputPlan::sketch(path, columnar::look(path, config)?, config, problems)?;
    if config.time_zone.is_none() && plan.time.is_some() {
        problems.extend(columnar::check_zone(path, &plan).err());
    }
    Ok(plan)
}

fn layout_of(path: &Path, mut blocks: Blocks, config: &DataConfig) -> Result<Layout, PrepareError> {
    let (head, is_all) = blocks.head();
    let mut layout = dialect::recognize(path, head, is_all, config)?;
    if layout.format == Format::Jsonl {
        jsonl::find_columns(&mut blocks, &mut layout)?;
    }
    Ok(layout)
}

/// SHA-256 of the one input, or of the sorted lines `name sha256` of many.
pub(crate) fn data_hash(inputs: &[Input]) -> String {
    if let [only] = inputs {
        return only.sha256.clone();
    }
    let mut lines: Vec<_> =
        inputs.iter().map(|input| format!("{} {}\n", input.name, input.sha256)).collect();
    lines.sort();
    storage::sha256(lines.concat().as_bytes())
}

/// What is counted over all parts.
struct Totals {
    n_read: Vec<u64>,
    n_rows: u64,
    n_guests: u64,
    users: DistinctCount,
    items: DistinctCount,
    events: EventCounts,
    rejects: Rejects,
    range: Option<(i64, i64)>,
}

impl Totals {
    fn new(n_inputs: usize) -> Self {
        Self {
            n_read: vec![0; n_inputs],
            n_rows: 0,
            n_guests: 0,
            users: DistinctCount::default(),
            items: DistinctCount::default(),
            events: EventCounts::default(),
            rejects: Rejects::default(),
            range: None,
        }
    }

    fn add(&mut self, part: &mut Part, table: &Table) -> Result<(), PrepareError> {
        let parsed = &mut part.parsed;
        self.n_read[part.input] += parsed.n_read;
        self.n_rows += parsed.batch.num_rows() as u64;
        self.n_guests += parsed.n_guests;
        parsed.users.drain().for_each(|hash| self.users.add(hash));
        parsed.items.drain().for_each(|hash| self.items.add(hash));
        self.events.append(std::mem::take(&mut parsed.events))?;
        self.rejects.append(std::mem::take(&mut parsed.rejects));
        if table.has_time {
            for millis in times(&parsed.batch, table) {
                let (first, last) = self.range.unwrap_or((*millis, *millis));
                self.range = Some((first.min(*millis), last.max(*millis)));
            }
        }
        Ok(())
    }

    fn into_manifest(self, plans: &[InputPlan], table: &Table, hashes: Vec<String>) -> LogManifest {
        let inputs =
            plans.iter().zip(hashes).zip(&self.n_read).map(|((plan, sha256), n_read)| Input {
                name: plan.file_name.clone(),
                sha256,
                format: plan.layout.format.name().to_owned(),
                n_read: *n_read,
            });
        let events = self.events.0.into_iter().map(|(name, n_rows)| {
            let is_known = event::STANDARD_EVENTS.contains(&name.as_str());
            EventCount { name, n_rows, is_known }
        });
        let mut columns: Vec<ColumnMapping> = Vec::new();
        let mut decisions: Vec<String> = Vec::new();
        for plan in plans {
            for mapped in plan.mapped.iter().filter(|mapped| !mapped.is_extra) {
                let theirs = plan.layout.names[mapped.source].clone();
                let mapping = ColumnMapping { theirs, ours: mapped.name.clone() };
                if !columns.contains(&mapping) {
                    columns.push(mapping);
                }
            }
            for decision in &plan.decisions {
                if !decisions.contains(decision) {
                    decisions.push(decision.clone());
                }
            }
        }
        let is_extra = |name: &str| {
            plans.iter().any(|plan| plan.mapped.iter().any(|m| m.is_extra && m.name == name))
        };
        let extra = table.outputs.iter().filter(|output| is_extra(&output.name));
        LogManifest {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").to_owned(),
            data_hash: String::new(),
            inputs: inputs.collect(),
            has_time: table.has_time,
            n_rows: self.n_rows,
            n_rejected: self.rejects.n_rows(),
            n_guests: self.n_guests,
            n_users: self.users.n(),
            n_items: self.items.n(),
            counts_are_exact: self.users.is_exact() && self.items.is_exact(),
            time_range_ms: self.range,
            events: events.filter(|event| event.n_rows > 0).collect(),
            columns,
            extra_columns: extra.map(|output| output.name.clone()).collect(),
            rejected: self.rejects.into_report(),
            warnings: Vec::new(),
            decisions,
        }
    }
}

fn times<'a>(batch: &'a RecordBatch, table: &Table) -> &'a [i64] {
    let time = table.outputs.iter().position(|output| output.kind == Kind::Time);
    time.map_or(&[], |time| batch.column(time).as_primitive::<Int64Type>().values())
}
