//! The partitions of the event log: rows by month, row groups encoded by the workers.
//!
//! A month's rows wait until they fill a row group. So that waiting rows stay bounded however the
//! input is ordered, the month with most of them is written early when all months together hold
//! too many. What goes into which row group depends on the input alone.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use forecart_data::event::columns;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::plan::{Kind, Table};
use crate::PrepareError;
use crate::log::events_folder;

const ROW_GROUP_ROWS: usize = 256 << 10;
const MAX_WAITING_BYTES: usize = 256 << 20;
const MAX_OPEN_FILES: usize = 128;

/// A month, and the number of one of its files.
type PartKey = (Option<i32>, usize);

/// One row group to be encoded, by any worker.
pub(crate) struct EncodeJob {
    part: PartKey,
    sequence: u64,
    batches: Vec<RecordBatch>,
    writers: Vec<ArrowColumnWriter>,
}

/// A row group that is ready to be written.
pub(crate) struct Encoded {
    part: PartKey,
    sequence: u64,
    chunks: Vec<ArrowColumnChunk>,
}

impl EncodeJob {
    pub(crate) fn run(mut self) -> Result<Encoded, PrepareError> {
        for batch in &self.batches {
            let schema = batch.schema();
            let columns = schema.fields().iter().zip(batch.columns());
            for ((field, column), writer) in columns.zip(&mut self.writers) {
                for leaf in compute_leaves(field, column)? {
                    writer.write(&leaf)?;
                }
            }
        }
        let chunks = self.writers.into_iter().map(ArrowColumnWriter::close);
        let chunks = chunks.collect::<Result<_, _>>()?;
        Ok(Encoded { part: self.part, sequence: self.sequence, chunks })
    }
}

/// Writes `events/`; months are keys as of [`super::time::month_of`], `None` without times.
pub(crate) struct LogWriter {
    folder: PathBuf,
    schema: SchemaRef,
    properties: WriterProperties,
    months: BTreeMap<Option<i32>, Month>,
    /// Files that are being written.
    parts: BTreeMap<PartKey, Part>,
    n_waiting_bytes: usize,
    n_flushes: u64,
    n_encoding: usize,
}

#[derive(Default)]
struct Month {
    waiting: VecDeque<RecordBatch>,
    n_rows: usize,
    n_bytes: usize,
    n_parts: usize,
    /// Whether the last of the parts takes more row groups.
    is_open: bool,
    last_flush: u64,
}

struct Part {
    file: SerializedFileWriter<File>,
    factory: ArrowRowGroupWriterFactory,
    /// Row groups handed out and written, for putting them in order.
    n_submitted: u64,
    n_written: u64,
    encoded: BTreeMap<u64, Encoded>,
    takes_more: bool,
}

impl LogWriter {
    pub(crate) fn new(log: &Path, table: &Table) -> Self {
        Self {
            folder: events_folder(log),
            schema: Arc::clone(&table.schema),
            properties: properties(table),
            months: BTreeMap::new(),
            parts: BTreeMap::new(),
            n_waiting_bytes: 0,
            n_flushes: 0,
            n_encoding: 0,
        }
    }

    /// Row groups that are being encoded.
    pub(crate) fn n_encoding(&self) -> usize {
        self.n_encoding
    }

    /// Takes the next rows of a month; returns the row groups that are full now.
    pub(crate) fn push(
        &mut self,
        month: Option<i32>,
        batch: RecordBatch,
    ) -> Result<Vec<EncodeJob>, PrepareError> {
        let n_bytes = n_bytes(&batch);
        self.n_waiting_bytes += n_bytes;
        let entry = self.months.entry(month).or_default();
        entry.n_rows += batch.num_rows();
        entry.n_bytes += n_bytes;
        entry.waiting.push_back(batch);
        let mut jobs = Vec::new();
        while self.months[&month].n_rows >= ROW_GROUP_ROWS {
            jobs.push(self.flush(month, ROW_GROUP_ROWS)?);
        }
        while self.n_waiting_bytes > MAX_WAITING_BYTES {
            let largest = self.months.iter().max_by_key(|(month, m)| (m.n_bytes, **month));
            let Some(month) = largest.map(|(month, _)| *month) else { break };
            jobs.push(self.flush(month, usize::MAX)?);
        }
        Ok(jobs)
    }

    /// The row groups of all rows that still wait.
    pub(crate) fn finish_rows(&mut self) -> Result<Vec<EncodeJob>, PrepareError> {
        let months: Vec<_> = self.months.keys().copied().collect();
        let mut jobs = Vec::new();
        for month in months {
            if self.months[&month].n_rows > 0 {
                jobs.push(self.flush(month, usize::MAX)?);
            }
        }
        Ok(jobs)
    }

    /// Hands out the first `n_rows` waiting rows of a month.
    fn flush(&mut self, month: Option<i32>, n_rows: usize) -> Result<EncodeJob, PrepareError> {
        self.n_flushes += 1;
        self.open(month)?;
        let entry = self.months.get_mut(&month).expect("only months with rows are flushed");
        let mut batches = Vec::new();
        let mut n_left = n_rows;
        while n_left > 0 {
            let Some(batch) = entry.waiting.pop_front() else { break };
            let before = n_bytes(&batch);
            entry.n_bytes -= before;
            self.n_waiting_bytes -= before;
            if batch.num_rows() <= n_left {
                n_left -= batch.num_rows();
                entry.n_rows -= batch.num_rows();
                batches.push(batch);
                continue;
            }
            let rest = batch.slice(n_left, batch.num_rows() - n_left);
            let after = n_bytes(&rest);
            entry.n_bytes += after;
            self.n_waiting_bytes += after;
            entry.waiting.push_front(rest);
            entry.n_rows -= n_left;
            batches.push(batch.slice(0, n_left));
            n_left = 0;
        }
        entry.last_flush = self.n_flushes;
        let key = (month, entry.n_parts - 1);
        let part = self.parts.get_mut(&key).expect("it was opened above");
        let writers = part.factory.create_column_writers(0)?;
        let sequence = part.n_submitted;
        part.n_submitted += 1;
        self.n_encoding += 1;
        Ok(EncodeJob { part: key, sequence, batches, writers })
    }

    /// Takes back an encoded row group and writes what is next in its month.
    pub(crate) fn write(&mut self, encoded: Encoded) -> Result<(), PrepareError> {
        self.n_encoding -= 1;
        let key = encoded.part;
        let part = self.parts.get_mut(&key).expect("parts with work under way stay open");
        part.encoded.insert(encoded.sequence, encoded);
        while let Some(next) = part.encoded.remove(&part.n_written) {
            let mut group = part.file.next_row_group()?;
            for chunk in next.chunks {
                chunk.append_to_row_group(&mut group)?;
            }
            group.close()?;
            part.n_written += 1;
        }
        self.close_if_done(key)
    }

    /// Writes the footers; every row group must have come back.
    pub(crate) fn close(&mut self) -> Result<(), PrepareError> {
        fs::create_dir_all(&self.folder).map_err(PrepareError::io("create", &self.folder))?;
        for part in std::mem::take(&mut self.parts).into_values() {
            part.file.close()?;
        }
        Ok(())
    }

    fn close_if_done(&mut self, key: PartKey) -> Result<(), PrepareError> {
        let part = &self.parts[&key];
        if !part.takes_more && part.n_submitted == part.n_written {
            let part = self.parts.remove(&key).expect("it was found above");
            part.file.close()?;
        }
        Ok(())
    }

    fn open(&mut self, month: Option<i32>) -> Result<(), PrepareError> {
        if self.months[&month].is_open {
            return Ok(());
        }
        let open = || self.months.iter().filter(|(_, m)| m.is_open);
        if open().count() >= MAX_OPEN_FILES {
            // The one that is longest untouched: a choice that depends on the input alone, so it
            // may still have row groups under way and is closed after them.
            let oldest = open().min_by_key(|(_, m)| m.last_flush).map(|(month, _)| *month);
            if let Some((month, entry)) =
                oldest.and_then(|m| self.months.get_mut(&m).map(|e| (m, e)))
            {
                entry.is_open = false;
                let key = (month, entry.n_parts - 1);
                self.parts.get_mut(&key).expect("an open month has a part").takes_more = false;
                self.close_if_done(key)?;
            }
        }
        let entry = self.months.get_mut(&month).expect("only months with rows are opened");
        let folder = self.folder.join(partition(month));
        fs::create_dir_all(&folder).map_err(PrepareError::io("create", &folder))?;
        let path = folder.join(format!("part-{:05}.parquet", entry.n_parts));
        let file = File::create(&path).map_err(PrepareError::io("write", &path))?;
        let properties = self.properties.clone();
        let writer = ArrowWriter::try_new(file, Arc::clone(&self.schema), Some(properties))?;
        let (file, factory) = writer.into_serialized_writer()?;
        let part = Part {
            file,
            factory,
            n_submitted: 0,
            n_written: 0,
            encoded: BTreeMap::new(),
            takes_more: true,
        };
        self.parts.insert((month, entry.n_parts), part);
        entry.n_parts += 1;
        entry.is_open = true;
        Ok(())
    }
}

fn partition(month: Option<i32>) -> String {
    match month {
        Some(month) => format!("month={:04}-{:02}", month / 12, month % 12 + 1),
        None => "month=none".into(),
    }
}

/// Bytes of a batch's rows, with what a batch costs by itself; slices count their own part.
fn n_bytes(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    let data = columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(0) + 200);
    data.sum::<usize>() + 200
}

pub(crate) fn properties(table: &Table) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .set_created_by(format!("forecart {}", env!("CARGO_PKG_VERSION")))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(None);
    for output in &table.outputs {
        let path = ColumnPath::from(output.name.as_str());
        if matches!(output.kind, Kind::Time | Kind::RowNumber) {
            builder = builder
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path.clone(), parquet::basic::Encoding::DELTA_BINARY_PACKED)
                .set_column_statistics_enabled(path, EnabledStatistics::Chunk);
        } else if output.name == columns::EVENT_ID {
            builder = builder.set_column_dictionary_enabled(path, false);
        }
    }
    builder.build()
}
