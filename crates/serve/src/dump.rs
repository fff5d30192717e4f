//! All that a store holds, as one file, and back: for backups, and from SQLite to PostgreSQL.
//!
//! The file is JSON lines under zstd. The first line says what it is, each further one is one row, and the last one counts the others and
//! has their SHA-256: a file that was cut short or altered is refused before anything of it is written.
//!
//! ```text
//! {"forecart_dump":1,"made_ms":1764000000000}
//! {"event":{"received_ms":1764000000000,"event":{"event_id":"e1","user_id":"u1",…}}}
//! {"item":{"item_id":"i1","attributes":{"title":"Tea"},"is_removed":false,"changed_ms":1764000000000}}
//! {"end":{"n_rows":2,"sha256":"…"}}
//! ```

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use forecart_data::storage::Replacement;
use forecart_data::{DataError, Progress};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock::now_ms;
use crate::event::Event;
use crate::keys::hex;
use crate::models::SLOTS;
use crate::store::{ItemRecord, KeyRecord, Receipt, Store, StoreCounts, StoreError, UserRecord};

/// The version of the file's form.
const VERSION: u32 = 1;
/// Rows that are read or written at once.
const ROWS: usize = 5_000;
/// Events that came within so many milliseconds are restored as if they had come together.
const TOGETHER_MS: i64 = 60_000;
/// Longest line: an item or a user as large as a request may be.
const MAX_LINE_BYTES: u64 = 64 << 20;
/// How hard zstd works: its usual level.
const LEVEL: i32 = 3;

/// Why a store was not written to a file, or a file not to a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be put in its place.
    #[error(transparent)]
    Place(#[from] DataError),
    /// The file cannot be written or read.
    #[error("{path:?}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no dump, was altered or cut short: nothing of it was written.
    #[error("{path:?}, line {line}: {reason}; nothing was restored")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The store holds something already.
    #[error(
        "the store holds {} events, {} items and {} users: restore into an empty one, or say --add (events that are there stay, items and users are replaced)",
        counts.n_events, counts.n_items, counts.n_users
    )]
    NotEmpty {
        /// What it holds.
        counts: StoreCounts,
    },
}

impl DumpError {
    /// Whether the file is at fault, and not the system.
    pub fn is_about_data(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// How much was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Dumped {
    /// Events; those that were there already count too.
    pub n_events: u64,
    /// Items, removed ones too.
    pub n_items: u64,
    /// Users with attributes.
    pub n_users: u64,
    /// All rows: receipts, promotions, datasets and keys too.
    pub n_rows: u64,
}

/// A row.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Row {
    Event { received_ms: i64, event: Event },
    Item(ItemRecord),
    User(UserRecord),
    Receipt(Receipt),
    Promotion { slot: String, version: String, at_ms: i64 },
    Dataset { content_hash: String, at_ms: i64 },
    Key(KeyRecord),
    Position { source: String, seq: u64 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    forecart_dump: u32,
    made_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    end: End,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    n_rows: u64,
    sha256: String,
}

/// Lines on their way into a file.
struct Lines {
    path: PathBuf,
    file: zstd::Encoder<'static, BufWriter<File>>,
    hash: Sha256,
    dumped: Dumped,
}

impl Lines {
    fn row(&mut self, row: &Row) -> Result<(), DumpError> {
        match row {
            Row::Event { .. } => self.dumped.n_events += 1,
            Row::Item(_) => self.dumped.n_items += 1,
            Row::User(_) => self.dumped.n_users += 1,
            _ => {}
        }
        self.dumped.n_rows += 1;
        let mut line = serde_json::to_vec(row).expect("a row is JSON");
        line.push(b'\n');
        self.hash.update(&line);
        self.write(&line)
    }

    fn write(&mut self, line: &[u8]) -> Result<(), DumpError> {
        let path = &self.path;
        self.file.write_all(line).map_err(|source| DumpError::File { path: path.clone(), source })
    }
}

/// Writes all that a store holds to a file, which is there whole or not at all. Events that come meanwhile are left out, and so is what
/// is done by `DELETE` after it was made: a dump is as private as the store.
///
/// # Errors
/// [`DumpError::Store`], [`DumpError::File`], [`DumpError::Place`]; no file is left then.
pub async fn dump(
    store: &dyn Store,
    path: &Path,
    progress: &dyn Progress,
) -> Result<Dumped, DumpError> {
    let replacement = Replacement::file(path)?;
    let new = replacement.path();
    let file = File::create(new);
    let file = file.map_err(|source| DumpError::File { path: new.to_owned(), source })?;
    let dumped = write(store, new, file, progress).await?;
    replacement.commit()?;
    Ok(dumped)
}

async fn write(
    store: &dyn Store,
    path: &Path,
    file: File,
    progress: &dyn Progress,
) -> Result<Dumped, DumpError> {
    let failed = |source| DumpError::File { path: path.to_owned(), source };
    let mut file = zstd::Encoder::new(BufWriter::new(file), LEVEL).map_err(failed)?;
    file.include_checksum(true).map_err(failed)?;
    let (hash, dumped) = (Sha256::new(), Dumped::default());
    let mut lines = Lines { path: path.to_owned(), file, hash, dumped };
    let head = Head { forecart_dump: VERSION, made_ms: now_ms() };
    lines
        .write(format!("{}\n", serde_json::to_string(&head).expect("a head is JSON")).as_bytes())?;
    // Before the events are counted: what is before a position is among them.
    for (source, seq) in store.positions().await? {
        lines.row(&Row::Position { source, seq })?;
    }
    let n_events = store.counts().await?.n_events;
    progress.begin("dump", Some(n_events));
    let mut after = 0;
    // Not past what was there at the beginning, so that it ends however fast events come.
    while lines.dumped.n_events < n_events {
        let page = store.log(after, ROWS.min((n_events - lines.dumped.n_events) as usize)).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        progress.advance(page.len() as u64);
        for logged in page {
            lines.row(&Row::Event { received_ms: logged.received_ms, event: logged.event })?;
        }
    }
    let mut after = String::new();
    loop {
        let page = store.items(0, &after, ROWS).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.item_id);
        page.into_iter().try_for_each(|item| lines.row(&Row::Item(item)))?;
    }
    let mut after = String::new();
    loop {
        let page = store.users(0, &after, ROWS).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.user_id);
        page.into_iter().try_for_each(|user| lines.row(&Row::User(user)))?;
    }
    let mut after = String::new();
    loop {
        let page = store.receipts(&after, ROWS).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.receipt);
        page.into_iter().try_for_each(|receipt| lines.row(&Row::Receipt(receipt)))?;
    }
    for (content_hash, at_ms) in store.datasets().await? {
        lines.row(&Row::Dataset { content_hash, at_ms })?;
    }
    for slot in SLOTS {
        for own in store.promotions(slot).await?.into_iter().rev() {
            let (slot, version, at_ms) = (slot.to_owned(), own.version, own.at_ms);
            lines.row(&Row::Promotion { slot, version, at_ms })?;
        }
    }
    for key in store.keys().await? {
        lines.row(&Row::Key(key))?;
    }
    let n_rows = lines.dumped.n_rows;
    let sha256 = hex(&lines.hash.clone().finalize());
    let tail = Tail { end: End { n_rows, sha256 } };
    lines
        .write(format!("{}\n", serde_json::to_string(&tail).expect("a tail is JSON")).as_bytes())?;
    let file = lines.file.finish().map_err(failed)?;
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(lines.dumped)
}

/// Lines on their way out of a file; each row as its text, none of them trusted before the last line was read.
struct Reading {
    path: PathBuf,
    lines: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    n_lines: u64,
}

impl Reading {
    fn open(path: &Path) -> Result<Self, DumpError> {
        let failed = |source| DumpError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let lines = BufReader::new(zstd::Decoder::new(file).map_err(failed)?);
        let mut reading = Self { path: path.to_owned(), lines, n_lines: 0 };
        let head = reading.line()?.unwrap_or_default();
        let head: Head = serde_json::from_slice(&head)
            .map_err(|error| reading.damaged(format!("it is no dump of forecart: {error}")))?;
        if head.forecart_dump != VERSION {
            let reason = format!(
                "it has version {} of the form, this program reads {VERSION}: use a newer program",
                head.forecart_dump
            );
            return Err(reading.damaged(reason));
        }
        Ok(reading)
    }

    fn damaged(&self, reason: impl Into<String>) -> DumpError {
        DumpError::Damaged { path: self.path.clone(), line: self.n_lines, reason: reason.into() }
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, DumpError> {
        self.n_lines += 1;
        let mut line = Vec::new();
        let read = self.lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        // What zstd cannot read is the file's fault, whatever it is called.
        read.map_err(|error| self.damaged(error.to_string()))?;
        match line.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) => Err(self.damaged("the line has no end")),
        }
    }

    /// The next row; `None` at the end, which has been checked then.
    fn row(&mut self, hash: &mut Sha256, n_rows: &mut u64) -> Result<Option<Row>, DumpError> {
        let Some(line) = self.line()? else {
            return Err(self.damaged("the file was cut short: its last line is missing"));
        };
        if line.starts_with(b"{\"end\"") {
            let tail: Tail =
                serde_json::from_slice(&line).map_err(|error| self.damaged(error.to_string()))?;
            if tail.end.n_rows != *n_rows || tail.end.sha256 != hex(&hash.clone().finalize()) {
                return Err(self.damaged("the rows are not those that were written"));
            }
            if self.line()?.is_some() {
                return Err(self.damaged("there is more after the end"));
            }
            return Ok(None);
        }
        hash.update(&line);
        *n_rows += 1;
        let row = serde_json::from_slice(&line);
        row.map(Some).map_err(|error| self.damaged(error.to_string()))
    }
}

/// Writes a file of [`dump`] into a store. The whole file is checked first. Without `adds`, only into a store that holds no event, no item
/// and no user; with it, events that are there stay and items, users and keys are replaced, so that what was cut short is done again.
///
/// # Errors
/// [`DumpError`].
pub async fn restore(
    store: &dyn Store,
    path: &Path,
    adds: bool,
    progress: &dyn Progress,
) -> Result<Dumped, DumpError> {
    let counts = store.counts().await?;
    if counts != StoreCounts::default() && !adds {
        return Err(DumpError::NotEmpty { counts });
    }
    let (mut reading, mut hash, mut n_rows) = (Reading::open(path)?, Sha256::new(), 0);
    while reading.row(&mut hash, &mut n_rows)?.is_some() {}
    progress.begin("restore", Some(n_rows));
    let (mut reading, mut hash, mut n_rows) = (Reading::open(path)?, Sha256::new(), 0);
    let mut batch = Batch::default();
    while let Some(row) = reading.row(&mut hash, &mut n_rows)? {
        progress.advance(1);
        batch.dumped.n_rows += 1;
        batch.take(store, row).await?;
    }
    batch.write(store).await?;
    batch.conclude(store).await?;
    Ok(batch.dumped)
}

/// Rows that wait to be written together.
#[derive(Default)]
struct Batch {
    dumped: Dumped,
    received_ms: i64,
    events: Vec<Event>,
    items: Vec<ItemRecord>,
    users: Vec<UserRecord>,
    receipts: Vec<Receipt>,
    promotions: Vec<(String, String, i64)>,
    positions: Vec<(String, u64)>,
}

impl Batch {
    async fn take(&mut self, store: &dyn Store, row: Row) -> Result<(), StoreError> {
        match row {
            Row::Event { received_ms, event } => {
                // Events are kept for so long after they came, in days: those of a minute came at its beginning.
                let is_same = (0..TOGETHER_MS).contains(&(received_ms - self.received_ms));
                if !is_same || self.events.len() == ROWS {
                    self.write(store).await?;
                    self.received_ms = received_ms;
                }
                self.events.push(event);
            }
            Row::Item(item) => self.items.push(item),
            Row::User(user) => self.users.push(user),
            Row::Receipt(receipt) => self.receipts.push(receipt),
            Row::Promotion { slot, version, at_ms } => {
                self.promotions.push((slot, version, at_ms));
            }
            Row::Dataset { content_hash, at_ms } => {
                store.note_dataset(&content_hash, at_ms).await?;
            }
            Row::Key(key) => store.put_key(&key).await?,
            Row::Position { source, seq } => self.positions.push((source, seq)),
        }
        if self.items.len() + self.users.len() + self.receipts.len() >= ROWS {
            self.write(store).await?;
        }
        Ok(())
    }

    async fn write(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        if !self.events.is_empty() {
            store.append(&self.events, self.received_ms).await?;
        }
        if !self.items.is_empty() {
            store.put_items(&self.items).await?;
        }
        if !self.users.is_empty() {
            store.put_users(&self.users).await?;
        }
        if !self.receipts.is_empty() {
            store.put_receipts(&self.receipts).await?;
        }
        self.dumped.n_events += self.events.len() as u64;
        self.dumped.n_items += self.items.len() as u64;
        self.dumped.n_users += self.users.len() as u64;
        self.events.clear();
        self.items.clear();
        self.users.clear();
        self.receipts.clear();
        Ok(())
    }

    /// Last: promotions only in slots where nothing else was promoted, positions of sources only where none was noted. Doing it again changes
    /// nothing.
    async fn conclude(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        for (source, seq) in &self.positions {
            if store.position(source).await?.is_none() {
                store.note_position(source, *seq).await?;
            }
        }
        for slot in SLOTS {
            let there = store.promotions(slot).await?.into_iter().rev();
            let there: Vec<(String, i64)> = there.map(|own| (own.version, own.at_ms)).collect();
            let own = self.promotions.iter().filter(|own| own.0 == slot);
            let own: Vec<(String, i64)> = own.map(|own| (own.1.clone(), own.2)).collect();
            // What was cut short goes on; where anything else was promoted, nothing is.
            if let Some(rest) = own.strip_prefix(there.as_slice()) {
                for (version, at_ms) in rest {
                    store.promote(slot, version, *at_ms).await?;
                }
            }
        }
        Ok(())
    }
}
