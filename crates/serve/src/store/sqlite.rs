//! One file beside the program: SQLite in WAL mode.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Connection as _, QueryBuilder, Sqlite};

use super::alone::Alone;
use super::record::{
    ItemRecord, KeyRecord, LoggedEvent, Promotion, Receipt, StoreCounts, UserRecord,
};
use super::revise::{self, ReviseItem, ReviseUser, revise_methods};
use super::sql::{self, EventRow, ReceiptRow, event_columns, receipt_columns, shared_methods};
use super::{Change, Store, StoreError, Stored, object};
use crate::event::Event;

/// A disk with less room is full: events may be a little more than what is left, and what is left should not be used up to the last byte.
const MIN_ROOM_BYTES: u64 = 1 << 20;

/// How long a lock that another program holds is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// Connections that read beside the one that writes.
const N_READERS: u32 = 4;

/// Rows of one statement, as many as are left of the largest first: of few sizes, so that each statement is prepared once.
const ROWS_OF_A_STATEMENT: [usize; 3] = [256, 16, 1];

/// Memory in which the connection that writes keeps pages. Ids of users come in no order: each new event touches another page of their index.
const WRITER_CACHE_KIB: u32 = 32 << 10;

/// Pages of 4 KiB in the log of transactions after which they are written to the file. A page that many transactions change is written there once.
const CHECKPOINT_PAGES: u32 = 8_192;

/// SQLite in WAL mode. One connection writes, so that no write waits for a lock that another holds; readers see the last commit.
///
/// `synchronous = FULL`: a commit is on the disk before it is acknowledged (in WAL mode the weaker `NORMAL` may lose the last ones to a
/// power cut).
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    /// Of a server.
    _alone: Option<Alone>,
    writer: SqlitePool,
    readers: SqlitePool,
    /// Whether the log of transactions may hold what was deleted.
    is_to_clean: AtomicBool,
}

impl SqliteStore {
    /// Opens a file, or makes it.
    ///
    /// # Errors
    /// [`StoreError`] if it is not a database of this program, or if its tables are of a newer one.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::make_folder(path)?;
        Self::opened(path, None).await
    }

    /// Opens a file, or makes it, as its only server.
    ///
    /// # Errors
    /// As of [`Self::open`], and [`StoreError::Place`] if another server has it.
    pub async fn open_alone(path: &Path) -> Result<Self, StoreError> {
        Self::make_folder(path)?;
        let alone = Alone::with(path).await?;
        Self::opened(path, Some(alone)).await
    }

    fn make_folder(path: &Path) -> Result<(), StoreError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| StoreError::Place {
                place: folder.display().to_string(),
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }

    async fn opened(path: &Path, alone: Option<Alone>) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            // What was deleted must not be found in the file.
            .pragma("secure_delete", "ON");
        let place = |error: sqlx::Error| StoreError::Place {
            place: path.display().to_string(),
            reason: error.to_string(),
        };
        let writer = SqlitePoolOptions::new().max_connections(1).min_connections(1);
        // On a full disk SQLite ends a transaction by itself, and the rollback that follows fails. The next transactions on this connection
        // would be parts of one that nobody ends: acknowledged, and gone with the connection. So the connection goes at once.
        let writer = writer.after_release(|connection, _| {
            Box::pin(async move {
                // Behind the rollback of what was dropped.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        });
        let writing = options
            .clone()
            .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"))
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string());
        let writer = writer.connect_with(writing).await.map_err(place)?;
        sql::migrator("INTEGER PRIMARY KEY AUTOINCREMENT").run(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(N_READERS);
        let readers =
            readers.connect_with(options.pragma("query_only", "ON")).await.map_err(place)?;
        // A process that ended before may have left something.
        let is_to_clean = AtomicBool::new(true);
        Ok(Self { path: path.to_owned(), _alone: alone, writer, readers, is_to_clean })
    }
}

impl SqliteStore {
    /// Something was deleted. It is gone, whatever becomes of the files.
    async fn deleted(&self) {
        self.is_to_clean.store(true, Ordering::SeqCst);
        if let Err(error) = self.clean().await {
            tracing::warn!(%error, "what was deleted is in the log of the store still: it is tried again");
        }
    }

    /// How long the connection that writes waits for others.
    async fn wait_for_others(
        connection: &mut SqliteConnection,
        most: Duration,
    ) -> Result<(), StoreError> {
        let sql = format!("PRAGMA busy_timeout = {}", most.as_millis());
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    /// Nobody else listens.
    async fn announce(
        &self,
        _connection: &mut SqliteConnection,
        _what: &str,
        _of: &str,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// Small writes go through on a disk that is as good as full, since room in the log of transactions is used again once the log was written
    /// to the file.
    async fn has_room(&self) -> Result<(), StoreError> {
        // Where the system does not say, writes will.
        let Ok(disk) = rustix::fs::statvfs(&self.path) else { return Ok(()) };
        if disk.f_bavail.saturating_mul(disk.f_frsize) < MIN_ROOM_BYTES {
            // As far as the file has room for it.
            let _ = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&self.writer).await;
            return Err(StoreError::Full { place: self.path.display().to_string() });
        }
        Ok(())
    }
}

/// Events as rows; one whose id is there, or came before among them, is left out.
fn insert(events: &[Event], received_ms: i64) -> QueryBuilder<Sqlite> {
    let mut statement = QueryBuilder::new(
        "INSERT INTO events (event_id, user_id, item_id, event, timestamp_ms, value, further, received_ms) ",
    );
    statement.push_values(events, |mut row, event| {
        row.push_bind(event.event_id.clone())
            .push_bind(event.user_id.clone())
            .push_bind(event.item_id.clone())
            .push_bind(event.event.clone())
            .push_bind(event.timestamp_ms)
            .push_bind(event.value)
            .push_bind(sql::further(event))
            .push_bind(received_ms);
    });
    statement.push(" ON CONFLICT (event_id) DO NOTHING");
    statement
}

impl Store for SqliteStore {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn follow<'a>(&'a self, _tell: &'a (dyn Fn(Change) + Send + Sync)) -> Stored<'a, ()> {
        Box::pin(std::future::pending())
    }

    /// Takes what was deleted out of the log of transactions, unless a reader still needs it: then the next time. No reader is waited for, since all
    /// writes would wait too.
    fn clean(&self) -> Stored<'_, ()> {
        Box::pin(async move {
            if !self.is_to_clean.load(Ordering::SeqCst) {
                return Ok(());
            }
            // What was deleted before this was deleted on this connection: it is the only one.
            let mut connection = self.writer.acquire().await?;
            Self::wait_for_others(&mut connection, Duration::ZERO).await?;
            self.is_to_clean.store(false, Ordering::SeqCst);
            let done: Result<(i64, i64, i64), _> =
                sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
            if !matches!(done, Ok((0, _, _))) {
                self.is_to_clean.store(true, Ordering::SeqCst);
            }
            Self::wait_for_others(&mut connection, BUSY).await?;
            done?;
            Ok(())
        })
    }

    fn append<'a>(&'a self, events: &'a [Event], received_ms: i64) -> Stored<'a, Vec<usize>> {
        Box::pin(async move {
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            let last: i64 = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM events")
                .fetch_one(&mut *transaction)
                .await?;
            let (mut n_new, mut left) = (0, events);
            for n_rows in ROWS_OF_A_STATEMENT {
                while let Some((rows, rest)) = left.split_at_checked(n_rows) {
                    left = rest;
                    let done = insert(rows, received_ms).build().execute(&mut *transaction).await?;
                    n_new += done.rows_affected();
                }
            }
            // Which ones were new is asked only where some were not.
            let new = if n_new == events.len() as u64 {
                (0..events.len()).collect()
            } else {
                let ids: Vec<String> =
                    sqlx::query_scalar("SELECT event_id FROM events WHERE seq > $1")
                        .bind(last)
                        .fetch_all(&mut *transaction)
                        .await?;
                super::places(events, ids.into_iter())
            };
            transaction.commit().await?;
            Ok(new)
        })
    }

    shared_methods!();
    revise_methods!();
}
