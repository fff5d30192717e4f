//! Reading, parsing and encoding at the same time, with results in the input's order.
//!
//! One thread reads; workers parse blocks and encode row groups; the caller's thread puts results
//! in order and writes. The reader waits for a permit before it hands over a block, and permits
//! come back when blocks are done, so a fixed number of blocks is in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};

use datafusion::arrow::array::{AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::Int64Type;
use forecart_data::{Progress, storage};

use super::columnar;
use super::parse::parse_block;
use super::plan::{InputPlan, Kind, Table};
use super::rows::{Parsed, numbered};
use super::time::month_of;
use super::writer::{EncodeJob, Encoded, LogWriter};
use crate::PrepareError;
use crate::config::{DataConfig, Format};
use crate::read::blocks::{Blocks, TextBlock};
use crate::read::source::Source;

/// What the pipeline reads and how.
pub(crate) struct Task<'a> {
    pub(crate) paths: &'a [PathBuf],
    pub(crate) plans: &'a [InputPlan],
    pub(crate) table: &'a Table,
    pub(crate) config: &'a DataConfig,
    pub(crate) n_threads: usize,
}

/// A parsed block, split by months.
pub(crate) struct Part {
    pub(crate) input: usize,
    pub(crate) months: Vec<(Option<i32>, RecordBatch)>,
    pub(crate) parsed: Parsed,
    n_bytes: u64,
}

struct Block {
    input: usize,
    payload: Payload,
}

enum Payload {
    Text(TextBlock),
    Batch(RecordBatch, u64),
}

enum Job {
    Parse(u64, Block),
    Encode(EncodeJob),
}

enum Message {
    Block(Block),
    /// An input's end, and its hash.
    Read(usize, String),
    End,
    Failed(PrepareError),
    Parsed(u64, Result<Part, PrepareError>),
    Encoded(Result<Encoded, PrepareError>),
}

/// Rows of a Parquet batch.
const BATCH_ROWS: usize = 64 << 10;

/// Reads all inputs into `writer`; `each` sees every part in the input's order. Returns the hashes
/// of the inputs.
pub(crate) fn run(
    task: &Task<'_>,
    writer: &mut LogWriter,
    progress: &dyn Progress,
    mut each: impl FnMut(&mut Part) -> Result<(), PrepareError>,
) -> Result<Vec<String>, PrepareError> {
    let n_threads = task.n_threads.max(1);
    let (job_sender, job_receiver) = mpsc::channel();
    let (sender, receiver) = mpsc::channel();
    let (permit_sender, permit_receiver) = mpsc::channel();
    let job_receiver = Mutex::new(job_receiver);
    std::thread::scope(|scope| {
        // Moved in, so that leaving this closure in any way ends the other threads.
        let (jobs, permits, receiver): (Sender<Job>, Sender<()>, Receiver<Message>) =
            (job_sender, permit_sender, receiver);
        for _ in 0..n_threads {
            let sender = sender.clone();
            let job_receiver = &job_receiver;
            scope.spawn(move || work(task, job_receiver, &sender));
        }
        scope.spawn(move || {
            let last = match read(task, &sender, &permit_receiver) {
                Ok(()) => Message::End,
                Err(error) => Message::Failed(error),
            };
            // If nobody listens any more, the import has ended with an error.
            _ = sender.send(last);
        });
        for _ in 0..n_threads + 2 {
            _ = permits.send(());
        }
        let mut order = Order { next: 0, parts: BTreeMap::new(), n_before: 0 };
        let mut hashes = vec![String::new(); task.paths.len()];
        let (mut n_blocks, mut n_owed) = (0, 0);
        let (mut is_read, mut is_flushed) = (false, false);
        loop {
            if progress.is_cancelled() {
                return Err(PrepareError::Cancelled);
            }
            if is_read && order.next == n_blocks {
                if !is_flushed {
                    is_flushed = true;
                    submit(&jobs, writer.finish_rows()?);
                }
                if writer.n_encoding() == 0 {
                    break;
                }
            }
            let message = receiver.recv().expect("workers live as long as there are jobs");
            match message {
                Message::Block(block) => {
                    _ = jobs.send(Job::Parse(n_blocks, block));
                    n_blocks += 1;
                }
                Message::Read(input, hash) => hashes[input] = hash,
                Message::End => is_read = true,
                Message::Failed(error) => return Err(error),
                Message::Parsed(sequence, part) => {
                    order.parts.insert(sequence, part);
                    while let Some(part) = order.parts.remove(&order.next) {
                        order.next += 1;
                        let mut part = part?;
                        each(&mut part)?;
                        let new = order.write(task, writer, &mut part)?;
                        submit(&jobs, new);
                        progress.advance(part.n_bytes);
                        n_owed += 1;
                    }
                }
                Message::Encoded(encoded) => writer.write(encoded?)?,
            }
            // Encoding that lags behind holds the reader back too.
            while n_owed > 0 && writer.n_encoding() <= n_threads + 1 {
                n_owed -= 1;
                _ = permits.send(());
            }
        }
        writer.close()?;
        Ok(hashes)
    })
}

fn submit(jobs: &Sender<Job>, new: Vec<EncodeJob>) {
    for job in new {
        _ = jobs.send(Job::Encode(job));
    }
}

/// Parsed blocks that wait for earlier ones.
struct Order {
    next: u64,
    parts: BTreeMap<u64, Result<Part, PrepareError>>,
    n_before: u64,
}

impl Order {
    fn write(
        &mut self,
        task: &Task<'_>,
        writer: &mut LogWriter,
        part: &mut Part,
    ) -> Result<Vec<EncodeJob>, PrepareError> {
        let mut jobs = Vec::new();
        for (month, batch) in part.months.drain(..) {
            let batch = numbered(&batch, task.table, self.n_before)?;
            jobs.extend(writer.push(month, batch)?);
        }
        self.n_before += part.parsed.n_read;
        Ok(jobs)
    }
}

fn work(task: &Task<'_>, jobs: &Mutex<Receiver<Job>>, results: &Sender<Message>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let result = match job {
            Ok(Job::Parse(sequence, block)) => Message::Parsed(sequence, parse(task, &block)),
            Ok(Job::Encode(job)) => Message::Encoded(job.run()),
            Err(_) => return,
        };
        if results.send(result).is_err() {
            return;
        }
    }
}

fn parse(task: &Task<'_>, block: &Block) -> Result<Part, PrepareError> {
    let plan = &task.plans[block.input];
    let (parsed, n_bytes) = match &block.payload {
        Payload::Text(text) => {
            (parse_block(text, plan, task.table, task.config)?, text.bytes.len() as u64)
        }
        Payload::Batch(batch, first_row) => {
            let parsed = columnar::parse_batch(batch, *first_row, plan, task.table, task.config)?;
            (parsed, batch.get_array_memory_size() as u64)
        }
    };
    let months = by_month(&parsed.batch, task.table)?;
    Ok(Part { input: block.input, months, parsed, n_bytes })
}

/// A block's rows by month, in their order within each.
pub(crate) fn by_month(
    batch: &RecordBatch,
    table: &Table,
) -> Result<Vec<(Option<i32>, RecordBatch)>, PrepareError> {
    let time = table.outputs.iter().position(|output| output.kind == Kind::Time);
    let Some(time) = time.filter(|_| table.has_time) else {
        return Ok(vec![(None, batch.clone())]);
    };
    let times = batch.column(time).as_primitive::<Int64Type>();
    let mut rows: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
    let mut last = (i64::MAX, 0);
    for (row, millis) in (0..).zip(times.values()) {
        let day = millis.div_euclid(86_400_000);
        if day != last.0 {
            last = (day, month_of(*millis));
        }
        rows.entry(last.1).or_default().push(row);
    }
    if rows.len() <= 1 {
        let month = rows.keys().next().copied();
        let is_empty = times.is_empty();
        return Ok(if is_empty { Vec::new() } else { vec![(month, batch.clone())] });
    }
    let parts = rows.into_iter().map(|(month, rows)| {
        let part = take_record_batch(batch, &UInt32Array::from(rows))?;
        Ok((Some(month), part))
    });
    parts.collect()
}

fn read(
    task: &Task<'_>,
    sender: &Sender<Message>,
    permits: &Receiver<()>,
) -> Result<(), PrepareError> {
    for (input, (path, plan)) in task.paths.iter().zip(task.plans).enumerate() {
        // Both fail only when the import has ended with an error: then there is nothing to read.
        let mut hand_over = |payload| {
            permits.recv().is_ok() && sender.send(Message::Block(Block { input, payload })).is_ok()
        };
        let hash = if plan.layout.format == Format::Parquet {
            read_parquet(path, &mut hand_over)?;
            storage::sha256_file(path)?
        } else {
            let source = Source::open(path)?;
            let config = task.config;
            let mut blocks = Blocks::open(source, config.block_bytes, config.max_line_bytes)?;
            blocks.skip(plan.layout.header_bytes);
            while let Some(block) = blocks.next(plan.layout.dialect)? {
                if !hand_over(Payload::Text(block)) {
                    return Ok(());
                }
            }
            blocks.hash()
        };
        _ = sender.send(Message::Read(input, hash));
    }
    Ok(())
}

fn read_parquet(
    path: &std::path::Path,
    hand_over: &mut impl FnMut(Payload) -> bool,
) -> Result<(), PrepareError> {
    let mut reader = columnar::guarded(path, || columnar::open(path, BATCH_ROWS))?;
    let mut first_row = 1;
    loop {
        let batch = columnar::guarded(path, || {
            reader.next().transpose().map_err(|error| columnar::damaged(path, &error))
        })?;
        let Some(batch) = batch else { return Ok(()) };
        let n_rows = batch.num_rows() as u64;
        if !hand_over(Payload::Batch(batch, first_row)) {
            return Ok(());
        }
        first_row += n_rows;
    }
}
