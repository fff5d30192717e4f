//! What must outlive the process: events, items, users, receipts, promotions, keys. One trait, two implementations, one suite of
//! tests for both (`tests/it/store.rs`).
//!
//! - [`SqliteStore`]: one file beside the program, in WAL mode; the default.
//! - [`PostgresStore`]: where a shop has outgrown one machine, or wants several processes.
//!
//! The suite is the definition: what holds of one holds of the other.

mod alone;
mod change;
mod postgres;
mod record;
mod revise;
mod sql;
mod sqlite;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

pub use change::Change;
pub use postgres::PostgresStore;
pub use record::{
    ItemRecord, KeyRecord, LoggedEvent, Promotion, Receipt, Scope, StoreCounts, UserRecord,
};
pub use revise::{ReviseItem, ReviseUser};
pub use sqlite::SqliteStore;

use crate::event::Event;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database refuses, is full, or does not answer.
    #[error("the store: {0}")]
    Database(#[from] sqlx::Error),
    /// The tables could not be made or brought up to date.
    #[error("the store's tables: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// There is no room for what should be written.
    #[error("{place}: the disk is full")]
    Full {
        /// The file.
        place: String,
    },
    /// It took longer than it may.
    #[error("the store did not answer within {ms} ms")]
    Slow {
        /// Milliseconds that it had.
        ms: u64,
    },
    /// It failed before, and was not asked again yet.
    #[error("the store does not answer; it is tried again and again")]
    Away,
    /// A row that this program did not write.
    #[error("the store holds {what} that cannot be read: {reason}")]
    Unreadable {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The place of the database cannot be used.
    #[error("{place}: {reason}")]
    Place {
        /// A file or an address, without its password.
        place: String,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// Whether there is no room on its disk.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Database(sqlx::Error::Database(error)) => sql::is_full(error.as_ref()),
            _ => false,
        }
    }

    /// Whether the store as a whole does not do what it should, rather than what was asked of it.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Slow { .. } | Self::Away => true,
            Self::Database(sqlx::Error::Database(error)) => sql::is_outage(error.as_ref()),
            Self::Database(error) => !matches!(
                error,
                sqlx::Error::RowNotFound
                    | sqlx::Error::ColumnDecode { .. }
                    | sqlx::Error::Decode(_)
                    | sqlx::Error::Encode(_)
            ),
            Self::Migration(_) | Self::Unreadable { .. } | Self::Place { .. } => false,
        }
    }
}

/// How long a call may take where the store is on another machine, and for each row that is sent by itself.
const CALL: Duration = Duration::from_secs(8);
const CALL_OF_A_ROW: Duration = Duration::from_millis(5);

/// Ends a call of a store that is on another machine, which sends `n_rows` one by one: a network may lose an answer, and what waits behind it must
/// not wait for ever.
///
/// # Errors
/// [`StoreError::Slow`], or that of the call.
pub(crate) async fn in_time<T>(
    store: &dyn Store,
    n_rows: usize,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    if !store.is_shared() {
        return call.await;
    }
    let most = CALL + CALL_OF_A_ROW * u32::try_from(n_rows).unwrap_or(u32::MAX);
    tokio::time::timeout(most, call).await.unwrap_or_else(|_| {
        let slow = StoreError::Slow { ms: most.as_millis() as u64 };
        tracing::warn!(error = %slow, "a call of the store was given up");
        Err(slow)
    })
}

/// A future of the store.
pub type Stored<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// What outlives the process.
///
/// Every method that writes has written durably when its future ends: the data is there after a power cut.
pub trait Store: Debug + Send + Sync {
    /// Its kind, for people: `sqlite`.
    fn kind(&self) -> &'static str;

    /// Whether other processes may write to it: then what was read may be kept only while [`Self::follow`] tells what they change.
    fn is_shared(&self) -> bool;

    /// Tells what other processes change, in the order in which they did, and every second up to when all was told; until it can no longer be
    /// heard. Never ends, and tells nothing, where nobody else writes.
    fn follow<'a>(&'a self, tell: &'a (dyn Fn(Change) + Send + Sync)) -> Stored<'a, ()>;

    /// Writes events in one transaction, all or none. One whose `event_id` is there already, or twice among them, is left as it was first.
    ///
    /// Returns the places in `events` of those that were new, ascending.
    fn append<'a>(&'a self, events: &'a [Event], received_ms: i64) -> Stored<'a, Vec<usize>>;

    /// The newest `n` events of a user, oldest first; equal times in the order they came.
    fn history<'a>(&'a self, user_id: &'a str, n: usize) -> Stored<'a, Vec<Event>>;

    /// A page of all that is known of a user's events, in the order they came: those after `after` (0 for the first page), and where
    /// the next page begins, if there is one.
    fn events_of<'a>(
        &'a self,
        user_id: &'a str,
        after: i64,
        n: usize,
    ) -> Stored<'a, (Vec<Event>, Option<i64>)>;

    /// A page of all events, in the order they came: those after `after` (0 for the first page), at most `n`.
    fn log<'a>(&'a self, after: i64, n: usize) -> Stored<'a, Vec<LoggedEvent>>;
    /// A page of the events of some kinds that happened at or after `since_ms`, in the order they came: those after `after` (0 for the first
    /// page), and where the next page begins, if there is one.
    fn events_of_kinds<'a>(
        &'a self,
        kinds: &'a [&'a str],
        since_ms: i64,
        after: i64,
        n: usize,
    ) -> Stored<'a, (Vec<Event>, Option<i64>)>;

    /// How often each item was acted on since `since_ms`, most often first, equal ones by id; at most `n`.
    fn popularity<'a>(&'a self, since_ms: i64, n: usize) -> Stored<'a, Vec<(String, u64)>>;

    /// Removes events received before `before_ms`; the number removed.
    fn retain<'a>(&'a self, before_ms: i64) -> Stored<'a, u64>;

    /// Writes items, in one transaction.
    fn put_items<'a>(&'a self, items: &'a [ItemRecord]) -> Stored<'a, ()>;

    /// Changes an item by what is known of it, in a transaction during which nobody else changes it. Returns what was written, if it was changed.
    fn revise_item<'a>(
        &'a self,
        item_id: &'a str,
        revise: ReviseItem<'a>,
    ) -> Stored<'a, Option<ItemRecord>>;

    /// Writes those items that are not there, removed ones being there; how many that were.
    fn add_items<'a>(&'a self, items: &'a [ItemRecord]) -> Stored<'a, u64>;

    /// Whether a dataset was put in whole before.
    fn has_dataset<'a>(&'a self, content_hash: &'a str) -> Stored<'a, bool>;

    /// The datasets that were put in whole, by their content hash, and when.
    fn datasets(&self) -> Stored<'_, Vec<(String, i64)>>;

    /// Notes that a dataset was put in whole.
    fn note_dataset<'a>(&'a self, content_hash: &'a str, now_ms: i64) -> Stored<'a, ()>;

    /// A page of the items that changed at or after `since_ms`, by id: those after `after` ("" for the first page), at most `n`.
    fn items<'a>(&'a self, since_ms: i64, after: &'a str, n: usize) -> Stored<'a, Vec<ItemRecord>>;

    /// Writes users, in one transaction.
    fn put_users<'a>(&'a self, users: &'a [UserRecord]) -> Stored<'a, ()>;

    /// Changes users, each by what is known of it, in one transaction during which nobody else changes them. Returns those that were changed, as
    /// they were written, by id.
    fn revise_users<'a>(
        &'a self,
        user_ids: &'a BTreeSet<&'a str>,
        revise: ReviseUser<'a>,
    ) -> Stored<'a, Vec<UserRecord>>;

    /// What is known of a user beside events.
    fn user<'a>(&'a self, user_id: &'a str) -> Stored<'a, Option<UserRecord>>;

    /// A page of the users whose attributes changed at or after `since_ms`, by id: those after `after` ("" for the first page), at most `n`.
    fn users<'a>(&'a self, since_ms: i64, after: &'a str, n: usize) -> Stored<'a, Vec<UserRecord>>;

    /// Removes all events and attributes of a user and writes the receipt, in one transaction. The receipt does not say who it was.
    fn forget<'a>(
        &'a self,
        user_id: &'a str,
        receipt_id: &'a str,
        now_ms: i64,
    ) -> Stored<'a, Receipt>;

    /// A receipt of a deletion.
    fn receipt<'a>(&'a self, receipt_id: &'a str) -> Stored<'a, Option<Receipt>>;

    /// A page of all receipts, by id: those after `after` ("" for the first page), at most `n`.
    fn receipts<'a>(&'a self, after: &'a str, n: usize) -> Stored<'a, Vec<Receipt>>;

    /// Writes receipts of deletions that another store made.
    fn put_receipts<'a>(&'a self, receipts: &'a [Receipt]) -> Stored<'a, ()>;

    /// Notes that a version of a model is now served in its slot.
    fn promote<'a>(&'a self, slot: &'a str, version: &'a str, now_ms: i64) -> Stored<'a, ()>;

    /// Which versions were promoted in a slot, newest first.
    fn promotions<'a>(&'a self, slot: &'a str) -> Stored<'a, Vec<Promotion>>;

    /// Takes the newest promotion of a slot back; false if there is none.
    fn demote<'a>(&'a self, slot: &'a str) -> Stored<'a, bool>;

    /// Writes a key; one of that id is replaced.
    fn put_key<'a>(&'a self, key: &'a KeyRecord) -> Stored<'a, ()>;

    /// All keys that were made, revoked ones too, by id.
    fn keys(&self) -> Stored<'_, Vec<KeyRecord>>;

    /// Up to which place a source of events was written, as [`Self::note_position`] noted it last.
    fn position<'a>(&'a self, source: &'a str) -> Stored<'a, Option<u64>>;

    /// The same of all sources, by their names.
    fn positions(&self) -> Stored<'_, Vec<(String, u64)>>;

    /// Notes up to which place a source of events was written; an earlier note of it is replaced.
    fn note_position<'a>(&'a self, source: &'a str, seq: u64) -> Stored<'a, ()>;

    /// How much there is.
    fn counts(&self) -> Stored<'_, StoreCounts>;

    /// Takes what a deletion could not take out of its files at once out of them, if there is anything.
    fn clean(&self) -> Stored<'_, ()>;

    /// Whether it can be written to.
    fn probe(&self, now_ms: i64) -> Stored<'_, ()>;

    /// Ends all work on it, durably.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Opens the store that an address names: `postgres://…`, else a file of SQLite, which is made if it is not there.
///
/// # Errors
/// [`StoreError`] if it cannot be opened, or if its tables are of a newer program.
pub async fn open(address: &str) -> Result<Arc<dyn Store>, StoreError> {
    match postgres(address).await {
        Some(store) => store,
        None => Ok(Arc::new(SqliteStore::open(Path::new(address)).await?)),
    }
}

/// Opens the store of a server: as [`open`], and a file of SQLite as the only server, since each knows only what it wrote itself. Other programs may
/// open the file beside it.
///
/// # Errors
/// [`StoreError`] as of [`open`], and if another server has the file.
pub async fn open_to_serve(address: &str) -> Result<Arc<dyn Store>, StoreError> {
    match postgres(address).await {
        Some(store) => store,
        None => Ok(Arc::new(SqliteStore::open_alone(Path::new(address)).await?)),
    }
}

async fn postgres(address: &str) -> Option<Result<Arc<dyn Store>, StoreError>> {
    let (scheme, _) = address.split_once("://")?;
    if !matches!(scheme, "postgres" | "postgresql") {
        // Not a file of that name: it may hold a password.
        let reason = format!(
            "{scheme}:// is none; it is postgres://user@host/database, or a file of SQLite"
        );
        let place = "the address of the store".to_owned();
        return Some(Err(StoreError::Place { place, reason }));
    }
    Some(PostgresStore::connect(address).await.map(|store| Arc::new(store) as Arc<dyn Store>))
}

/// A JSON object from the text of a row.
fn object(what: &'static str, text: &str) -> Result<Map<String, Value>, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Unreadable { what, reason: error.to_string() })
}

/// The first place of each inserted id among the events that were sent, ascending.
fn places(events: &[Event], inserted: impl Iterator<Item = String>) -> Vec<usize> {
    let mut inserted: rustc_hash::FxHashSet<String> = inserted.collect();
    let first = |(place, event): (usize, &Event)| inserted.remove(&event.event_id).then_some(place);
    events.iter().enumerate().filter_map(first).collect()
}
