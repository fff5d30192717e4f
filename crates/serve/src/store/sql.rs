//! The SQL that both databases understand, written once.

use serde_json::Value;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};

use super::StoreError;
use super::record::{LoggedEvent, Receipt};
use crate::event::Event;

/// The tables of each version, oldest first. One that was released is never changed: a next one is added.
///
/// `{seq}` is the type of a column that counts rows by itself.
const VERSIONS: &[(&str, &str)] = &[
    (
        "events, items, users, receipts, promotions, datasets, probes, keys",
        "CREATE TABLE events (
         seq {seq},
         event_id TEXT NOT NULL UNIQUE,
         user_id TEXT NOT NULL,
         item_id TEXT,
         event TEXT NOT NULL,
         timestamp_ms BIGINT NOT NULL,
         received_ms BIGINT NOT NULL,
         value DOUBLE PRECISION,
         further TEXT
     );
     CREATE INDEX events_of_user ON events (user_id, timestamp_ms);
     CREATE TABLE items (
         item_id TEXT PRIMARY KEY,
         attributes TEXT NOT NULL,
         is_removed BIGINT NOT NULL,
         changed_ms BIGINT NOT NULL
     );
     CREATE INDEX items_by_change ON items (changed_ms);
     CREATE TABLE users (
         user_id TEXT PRIMARY KEY,
         attributes TEXT NOT NULL,
         changed_ms BIGINT NOT NULL
     );
     CREATE TABLE receipts (
         receipt_id TEXT PRIMARY KEY,
         at_ms BIGINT NOT NULL,
         n_events BIGINT NOT NULL,
         had_attributes BIGINT NOT NULL
     );
     CREATE TABLE promotions (
         seq {seq},
         slot TEXT NOT NULL,
         version TEXT NOT NULL,
         at_ms BIGINT NOT NULL
     );
     CREATE TABLE datasets (
         content_hash TEXT PRIMARY KEY,
         at_ms BIGINT NOT NULL
     );
     CREATE TABLE probes (
         probe_id BIGINT PRIMARY KEY,
         at_ms BIGINT NOT NULL
     );
     CREATE TABLE keys (
         key_id TEXT PRIMARY KEY,
         secret_hash TEXT NOT NULL,
         scope TEXT NOT NULL,
         made_ms BIGINT NOT NULL,
         ends_ms BIGINT
     );",
    ),
    (
        "positions",
        "CREATE TABLE positions (
         source TEXT PRIMARY KEY,
         seq BIGINT NOT NULL
     );",
    ),
    ("users by change", "CREATE INDEX users_by_change ON users (changed_ms);"),
];

/// Brings the tables of a database up to date. `seq` is its type of a column that counts rows by itself.
pub(super) fn migrator(seq: &str) -> Migrator {
    let migrations = (1..).zip(VERSIONS).map(|(version, (name, sql))| {
        let sql = AssertSqlSafe(sql.replace("{seq}", seq)).into_sql_str();
        Migration::new(version, (*name).into(), MigrationType::Simple, sql, false)
    });
    Migrator { migrations: migrations.collect(), ..Migrator::DEFAULT }
}

/// Whether an error of a database is about all of it: it ends, begins, has no room, or its files are damaged.
///
/// Codes of PostgreSQL are SQLSTATE (08 connection, 25006 read only, 53 no resources, 57P its end or begin, 58 system, XX inside), those of SQLite
/// numbers: `SQLITE_FULL`, `SQLITE_IOERR`, `SQLITE_READONLY` and others, in the low byte.
pub(super) fn is_outage(error: &(dyn sqlx::error::DatabaseError + 'static)) -> bool {
    let Some(code) = error.code() else { return true };
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // BUSY, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB.
        let code: u32 = code.parse().unwrap_or_default();
        return [5, 8, 10, 11, 13, 14, 26].contains(&(code & 0xff));
    }
    code == "25006" || ["08", "53", "57P", "58", "XX"].iter().any(|class| code.starts_with(class))
}

/// Whether there was no room on the disk: `disk_full` of PostgreSQL; `SQLITE_FULL` and `SQLITE_IOERR_SHMSIZE` of SQLite.
pub(super) fn is_full(error: &(dyn sqlx::error::DatabaseError + 'static)) -> bool {
    error.code().is_some_and(|code| ["53100", "13", "4874"].contains(&code.as_ref()))
}

/// A row of `events`, without what it does not say.
pub(super) type EventRow =
    (i64, String, String, Option<String>, String, i64, i64, Option<f64>, Option<String>);

/// Columns of an [`EventRow`].
macro_rules! event_columns {
    () => {
        "seq, event_id, user_id, item_id, event, timestamp_ms, received_ms, value, further"
    };
}
pub(super) use event_columns;

/// The event of a row.
pub(super) fn event(row: EventRow) -> Result<LoggedEvent, StoreError> {
    let (seq, event_id, user_id, item_id, event, timestamp_ms, received_ms, value, further) = row;
    let further = further.map(|text| super::object("an event", &text)).transpose()?;
    let further = further.unwrap_or_default();
    let event = Event { event_id, user_id, item_id, event, timestamp_ms, value, further };
    Ok(LoggedEvent { seq, received_ms, event })
}

/// A row of `receipts`.
pub(super) type ReceiptRow = (String, i64, i64, i64);

/// Columns of a [`ReceiptRow`].
macro_rules! receipt_columns {
    () => {
        "receipt_id, at_ms, n_events, had_attributes"
    };
}
pub(super) use receipt_columns;

/// The receipt of a row.
pub(super) fn receipt(row: ReceiptRow) -> Receipt {
    let (receipt, at_ms, n_events, had_attributes) = row;
    Receipt {
        receipt,
        at_ms,
        n_events: n_events.unsigned_abs(),
        had_attributes: had_attributes != 0,
    }
}

/// The events of a page of at most `n`, and where the next one begins, if there may be one.
pub(super) fn event_page(
    rows: Vec<EventRow>,
    n: usize,
) -> Result<(Vec<Event>, Option<i64>), StoreError> {
    let next = (rows.len() == n).then(|| rows.last().map(|row| row.0)).flatten();
    let events: Result<_, StoreError> = rows.into_iter().map(|row| Ok(event(row)?.event)).collect();
    Ok((events?, next))
}

/// Records by their ids; of two of one id the later one stays the later one.
pub(super) fn in_order<T>(records: &[T], id: impl Fn(&T) -> &String) -> Vec<&T> {
    let mut records: Vec<&T> = records.iter().collect();
    records.sort_by(|a, b| id(a).cmp(id(b)));
    records
}

/// What goes into the column `further`; nothing if there is nothing.
pub(super) fn further(event: &Event) -> Option<String> {
    (!event.further.is_empty()).then(|| Value::Object(event.further.clone()).to_string())
}

/// The methods of a store whose SQL is the same in both databases.
macro_rules! shared_methods {
    () => {
        fn history<'a>(&'a self, user_id: &'a str, n: usize) -> Stored<'a, Vec<Event>> {
            Box::pin(async move {
                let rows: Vec<EventRow> = sqlx::query_as(concat!(
                    "SELECT ",
                    event_columns!(),
                    " FROM events WHERE user_id = $1",
                    " ORDER BY timestamp_ms DESC, seq DESC LIMIT $2"
                ))
                .bind(user_id)
                .bind(n as i64)
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter().rev().map(|row| Ok(sql::event(row)?.event)).collect()
            })
        }

        fn events_of<'a>(
            &'a self,
            user_id: &'a str,
            after: i64,
            n: usize,
        ) -> Stored<'a, (Vec<Event>, Option<i64>)> {
            Box::pin(async move {
                let rows: Vec<EventRow> = sqlx::query_as(concat!(
                    "SELECT ",
                    event_columns!(),
                    " FROM events WHERE user_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
                ))
                .bind(user_id)
                .bind(after)
                .bind(n as i64)
                .fetch_all(&self.readers)
                .await?;
                sql::event_page(rows, n)
            })
        }

        fn events_of_kinds<'a>(
            &'a self,
            kinds: &'a [&'a str],
            since_ms: i64,
            after: i64,
            n: usize,
        ) -> Stored<'a, (Vec<Event>, Option<i64>)> {
            Box::pin(async move {
                let places: Vec<String> = (4..4 + kinds.len()).map(|at| format!("${at}")).collect();
                let sql = format!(
                    concat!(
                        "SELECT ",
                        event_columns!(),
                        " FROM events WHERE event IN ({}) AND timestamp_ms >= $1 AND seq > $2 ORDER BY seq LIMIT $3"
                    ),
                    places.join(", ")
                );
                let mut query = sqlx::query_as::<_, EventRow>(sqlx::AssertSqlSafe(sql))
                    .bind(since_ms)
                    .bind(after)
                    .bind(n as i64);
                for kind in kinds {
                    query = query.bind(*kind);
                }
                let rows = query.fetch_all(&self.readers).await?;
                sql::event_page(rows, n)
            })
        }

        fn log<'a>(&'a self, after: i64, n: usize) -> Stored<'a, Vec<LoggedEvent>> {
            Box::pin(async move {
                let rows: Vec<EventRow> = sqlx::query_as(concat!(
                    "SELECT ",
                    event_columns!(),
                    " FROM events WHERE seq > $1 ORDER BY seq LIMIT $2"
                ))
                .bind(after)
                .bind(n as i64)
                .fetch_all(&self.readers)
                .await?;
                rows.into_iter().map(sql::event).collect()
            })
        }

        fn popularity<'a>(&'a self, since_ms: i64, n: usize) -> Stored<'a, Vec<(String, u64)>> {
            Box::pin(async move {
                let rows: Vec<(String, i64)> = sqlx::query_as(
                    "SELECT item_id, count(*) AS n FROM events WHERE item_id IS NOT NULL AND timestamp_ms >= $1
                     GROUP BY item_id ORDER BY n DESC, item_id LIMIT $2",
                )
                .bind(since_ms)
                .bind(n as i64)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows.into_iter().map(|(item, n)| (item, n.unsigned_abs())).collect())
            })
        }

        fn retain<'a>(&'a self, before_ms: i64) -> Stored<'a, u64> {
            Box::pin(async move {
                // Rows come in about the order of their arrival: the oldest are looked at, in transactions that are short.
                const ROWS: u64 = 5_000;
                let mut n_removed = 0;
                loop {
                    let done = sqlx::query(
                        "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT $1) AND received_ms < $2",
                    )
                    .bind(ROWS as i64)
                    .bind(before_ms)
                    .execute(&self.writer)
                    .await?;
                    n_removed += done.rows_affected();
                    if done.rows_affected() < ROWS {
                        break;
                    }
                }
                if n_removed > 0 {
                    self.deleted().await;
                }
                Ok(n_removed)
            })
        }

        fn put_items<'a>(&'a self, items: &'a [ItemRecord]) -> Stored<'a, ()> {
            Box::pin(async move {
                let mut transaction = self.writer.begin().await?;
                // In one order: two processes that write some of the same items never wait for each other in a circle.
                for item in sql::in_order(items, |item| &item.item_id) {
                    sqlx::query(
                        "INSERT INTO items (item_id, attributes, is_removed, changed_ms) VALUES ($1, $2, $3, $4)
                         ON CONFLICT (item_id) DO UPDATE SET attributes = excluded.attributes,
                         is_removed = excluded.is_removed, changed_ms = excluded.changed_ms",
                    )
                    .bind(&item.item_id)
                    .bind(Value::Object(item.attributes.clone()).to_string())
                    .bind(i64::from(item.is_removed))
                    .bind(item.changed_ms)
                    .execute(&mut *transaction)
                    .await?;
                }
                self.announce(&mut transaction, "items", "").await?;
                Ok(transaction.commit().await?)
            })
        }

        fn add_items<'a>(&'a self, items: &'a [ItemRecord]) -> Stored<'a, u64> {
            Box::pin(async move {
                let mut transaction = self.writer.begin().await?;
                let mut n_added = 0;
                for item in sql::in_order(items, |item| &item.item_id) {
                    let done = sqlx::query(
                        "INSERT INTO items (item_id, attributes, is_removed, changed_ms) VALUES ($1, $2, $3, $4)
                         ON CONFLICT (item_id) DO NOTHING",
                    )
                    .bind(&item.item_id)
                    .bind(Value::Object(item.attributes.clone()).to_string())
                    .bind(i64::from(item.is_removed))
                    .bind(item.changed_ms)
                    .execute(&mut *transaction)
                    .await?;
                    n_added += done.rows_affected();
                }
                self.announce(&mut transaction, "items", "").await?;
                transaction.commit().await?;
                Ok(n_added)
            })
        }

        fn has_dataset<'a>(&'a self, content_hash: &'a str) -> Stored<'a, bool> {
            Box::pin(async move {
                let n: i64 = sqlx::query_scalar("SELECT count(*) FROM datasets WHERE content_hash = $1")
                    .bind(content_hash)
                    .fetch_one(&self.readers)
                    .await?;
                Ok(n > 0)
            })
        }

        fn datasets(&self) -> Stored<'_, Vec<(String, i64)>> {
            Box::pin(async move {
                let rows = sqlx::query_as("SELECT content_hash, at_ms FROM datasets ORDER BY content_hash");
                Ok(rows.fetch_all(&self.readers).await?)
            })
        }

        fn note_dataset<'a>(&'a self, content_hash: &'a str, now_ms: i64) -> Stored<'a, ()> {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO datasets (content_hash, at_ms) VALUES ($1, $2) ON CONFLICT (content_hash) DO NOTHING",
                )
                .bind(content_hash)
                .bind(now_ms)
                .execute(&self.writer)
                .await?;
                Ok(())
            })
        }

        fn items<'a>(
            &'a self,
            since_ms: i64,
            after: &'a str,
            n: usize,
        ) -> Stored<'a, Vec<ItemRecord>> {
            Box::pin(async move {
                let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(
                    "SELECT item_id, attributes, is_removed, changed_ms FROM items
                     WHERE changed_ms >= $1 AND item_id > $2 ORDER BY item_id LIMIT $3",
                )
                .bind(since_ms)
                .bind(after)
                .bind(n as i64)
                .fetch_all(&self.readers)
                .await?;
                let record = |(item_id, attributes, is_removed, changed_ms): (String, String, i64, i64)| {
                    let attributes = object("an item", &attributes)?;
                    Ok(ItemRecord { item_id, attributes, is_removed: is_removed != 0, changed_ms })
                };
                rows.into_iter().map(record).collect()
            })
        }

        fn put_users<'a>(&'a self, users: &'a [UserRecord]) -> Stored<'a, ()> {
            Box::pin(async move {
                let mut transaction = self.writer.begin().await?;
                for user in sql::in_order(users, |user| &user.user_id) {
                    sqlx::query(
                        "INSERT INTO users (user_id, attributes, changed_ms) VALUES ($1, $2, $3)
                         ON CONFLICT (user_id) DO UPDATE SET attributes = excluded.attributes, changed_ms = excluded.changed_ms",
                    )
                    .bind(&user.user_id)
                    .bind(Value::Object(user.attributes.clone()).to_string())
                    .bind(user.changed_ms)
                    .execute(&mut *transaction)
                    .await?;
                }
                Ok(transaction.commit().await?)
            })
        }

        fn user<'a>(&'a self, user_id: &'a str) -> Stored<'a, Option<UserRecord>> {
            Box::pin(async move {
                let row: Option<(String, i64)> =
                    sqlx::query_as("SELECT attributes, changed_ms FROM users WHERE user_id = $1")
                        .bind(user_id)
                        .fetch_optional(&self.readers)
                        .await?;
                let record = |(attributes, changed_ms): (String, i64)| {
                    let attributes = object("a user", &attributes)?;
                    Ok(UserRecord { user_id: user_id.to_owned(), attributes, changed_ms })
                };
                row.map(record).transpose()
            })
        }

        fn users<'a>(
            &'a self,
            since_ms: i64,
            after: &'a str,
            n: usize,
        ) -> Stored<'a, Vec<UserRecord>> {
            Box::pin(async move {
                let rows: Vec<(String, String, i64)> = sqlx::query_as(
                    "SELECT user_id, attributes, changed_ms FROM users
                     WHERE changed_ms >= $1 AND user_id > $2 ORDER BY user_id LIMIT $3",
                )
                .bind(since_ms)
                .bind(after)
                .bind(n as i64)
                .fetch_all(&self.readers)
                .await?;
                let record = |(user_id, attributes, changed_ms): (String, String, i64)| {
                    let attributes = object("a user", &attributes)?;
                    Ok(UserRecord { user_id, attributes, changed_ms })
                };
                rows.into_iter().map(record).collect()
            })
        }

        fn forget<'a>(
            &'a self,
            user_id: &'a str,
            receipt_id: &'a str,
            now_ms: i64,
        ) -> Stored<'a, Receipt> {
            Box::pin(async move {
                let mut transaction = self.writer.begin().await?;
                let events = sqlx::query("DELETE FROM events WHERE user_id = $1").bind(user_id);
                let n_events = events.execute(&mut *transaction).await?.rows_affected();
                let users = sqlx::query("DELETE FROM users WHERE user_id = $1").bind(user_id);
                let had_attributes = users.execute(&mut *transaction).await?.rows_affected() > 0;
                sqlx::query(
                    "INSERT INTO receipts (receipt_id, at_ms, n_events, had_attributes) VALUES ($1, $2, $3, $4)",
                )
                .bind(receipt_id)
                .bind(now_ms)
                .bind(n_events as i64)
                .bind(i64::from(had_attributes))
                .execute(&mut *transaction)
                .await?;
                self.announce(&mut transaction, "forgotten", user_id).await?;
                transaction.commit().await?;
                self.deleted().await;
                Ok(Receipt { receipt: receipt_id.to_owned(), at_ms: now_ms, n_events, had_attributes })
            })
        }

        fn receipt<'a>(&'a self, receipt_id: &'a str) -> Stored<'a, Option<Receipt>> {
            Box::pin(async move {
                let row: Option<ReceiptRow> = sqlx::query_as(concat!(
                    "SELECT ",
                    receipt_columns!(),
                    " FROM receipts WHERE receipt_id = $1"
                ))
                .bind(receipt_id)
                .fetch_optional(&self.readers)
                .await?;
                Ok(row.map(sql::receipt))
            })
        }

        fn receipts<'a>(&'a self, after: &'a str, n: usize) -> Stored<'a, Vec<Receipt>> {
            Box::pin(async move {
                let rows: Vec<ReceiptRow> = sqlx::query_as(concat!(
                    "SELECT ",
                    receipt_columns!(),
                    " FROM receipts WHERE receipt_id > $1 ORDER BY receipt_id LIMIT $2"
                ))
                .bind(after)
                .bind(n as i64)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows.into_iter().map(sql::receipt).collect())
            })
        }

        fn put_receipts<'a>(&'a self, receipts: &'a [Receipt]) -> Stored<'a, ()> {
            Box::pin(async move {
                let mut transaction = self.writer.begin().await?;
                for receipt in receipts {
                    sqlx::query(
                        "INSERT INTO receipts (receipt_id, at_ms, n_events, had_attributes) VALUES ($1, $2, $3, $4)
                         ON CONFLICT (receipt_id) DO NOTHING",
                    )
                    .bind(&receipt.receipt)
                    .bind(receipt.at_ms)
                    .bind(receipt.n_events as i64)
                    .bind(i64::from(receipt.had_attributes))
                    .execute(&mut *transaction)
                    .await?;
                }
                Ok(transaction.commit().await?)
            })
        }

        fn promote<'a>(&'a self, slot: &'a str, version: &'a str, now_ms: i64) -> Stored<'a, ()> {
            Box::pin(async move {
                let mut transaction = self.writer.begin().await?;
                sqlx::query("INSERT INTO promotions (slot, version, at_ms) VALUES ($1, $2, $3)")
                    .bind(slot)
                    .bind(version)
                    .bind(now_ms)
                    .execute(&mut *transaction)
                    .await?;
                self.announce(&mut transaction, "promotions", slot).await?;
                Ok(transaction.commit().await?)
            })
        }

        fn promotions<'a>(&'a self, slot: &'a str) -> Stored<'a, Vec<Promotion>> {
            Box::pin(async move {
                let rows: Vec<(String, i64)> = sqlx::query_as(
                    "SELECT version, at_ms FROM promotions WHERE slot = $1 ORDER BY seq DESC",
                )
                .bind(slot)
                .fetch_all(&self.readers)
                .await?;
                Ok(rows.into_iter().map(|(version, at_ms)| Promotion { version, at_ms }).collect())
            })
        }

        fn demote<'a>(&'a self, slot: &'a str) -> Stored<'a, bool> {
            Box::pin(async move {
                let mut transaction = self.writer.begin().await?;
                let done = sqlx::query(
                    "DELETE FROM promotions WHERE seq = (SELECT max(seq) FROM promotions WHERE slot = $1)",
                )
                .bind(slot)
                .execute(&mut *transaction)
                .await?;
                self.announce(&mut transaction, "promotions", slot).await?;
                transaction.commit().await?;
                Ok(done.rows_affected() > 0)
            })
        }

        fn put_key<'a>(&'a self, key: &'a KeyRecord) -> Stored<'a, ()> {
            Box::pin(async move {
                let mut transaction = self.writer.begin().await?;
                sqlx::query(
                    "INSERT INTO keys (key_id, secret_hash, scope, made_ms, ends_ms) VALUES ($1, $2, $3, $4, $5)
                     ON CONFLICT (key_id) DO UPDATE SET secret_hash = excluded.secret_hash, scope = excluded.scope,
                     made_ms = excluded.made_ms, ends_ms = excluded.ends_ms",
                )
                .bind(&key.key_id)
                .bind(&key.secret_hash)
                .bind(key.scope.to_string())
                .bind(key.made_ms)
                .bind(key.ends_ms)
                .execute(&mut *transaction)
                .await?;
                self.announce(&mut transaction, "keys", "").await?;
                Ok(transaction.commit().await?)
            })
        }

        fn keys(&self) -> Stored<'_, Vec<KeyRecord>> {
            Box::pin(async move {
                let rows: Vec<(String, String, String, i64, Option<i64>)> = sqlx::query_as(
                    "SELECT key_id, secret_hash, scope, made_ms, ends_ms FROM keys ORDER BY key_id",
                )
                .fetch_all(&self.readers)
                .await?;
                let key = |(key_id, secret_hash, scope, made_ms, ends_ms): (
                    String,
                    String,
                    String,
                    i64,
                    Option<i64>,
                )| {
                    let scope = scope
                        .parse()
                        .map_err(|reason| StoreError::Unreadable { what: "a key", reason })?;
                    Ok(KeyRecord { key_id, secret_hash, scope, made_ms, ends_ms })
                };
                rows.into_iter().map(key).collect()
            })
        }

        fn position<'a>(&'a self, source: &'a str) -> Stored<'a, Option<u64>> {
            Box::pin(async move {
                let seq: Option<i64> =
                    sqlx::query_scalar("SELECT seq FROM positions WHERE source = $1")
                        .bind(source)
                        .fetch_optional(&self.readers)
                        .await?;
                Ok(seq.map(i64::unsigned_abs))
            })
        }

        fn positions(&self) -> Stored<'_, Vec<(String, u64)>> {
            Box::pin(async move {
                let rows: Vec<(String, i64)> =
                    sqlx::query_as("SELECT source, seq FROM positions ORDER BY source")
                        .fetch_all(&self.readers)
                        .await?;
                Ok(rows.into_iter().map(|(source, seq)| (source, seq.unsigned_abs())).collect())
            })
        }

        fn note_position<'a>(&'a self, source: &'a str, seq: u64) -> Stored<'a, ()> {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO positions (source, seq) VALUES ($1, $2)
                     ON CONFLICT (source) DO UPDATE SET seq = excluded.seq",
                )
                .bind(source)
                .bind(seq as i64)
                .execute(&self.writer)
                .await?;
                Ok(())
            })
        }

        fn counts(&self) -> Stored<'_, StoreCounts> {
            Box::pin(async move {
                let (n_events, n_items, n_users): (i64, i64, i64) = sqlx::query_as(
                    "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM items WHERE is_removed = 0),
                     (SELECT count(*) FROM users)",
                )
                .fetch_one(&self.readers)
                .await?;
                Ok(StoreCounts {
                    n_events: n_events.unsigned_abs(),
                    n_items: n_items.unsigned_abs(),
                    n_users: n_users.unsigned_abs(),
                })
            })
        }

        fn probe(&self, now_ms: i64) -> Stored<'_, ()> {
            Box::pin(async move {
                self.has_room().await?;
                sqlx::query(
                    "INSERT INTO probes (probe_id, at_ms) VALUES (1, $1)
                     ON CONFLICT (probe_id) DO UPDATE SET at_ms = excluded.at_ms",
                )
                .bind(now_ms)
                .execute(&self.writer)
                .await?;
                Ok(())
            })
        }

        fn close(&self) -> BoxFuture<'_, ()> {
            Box::pin(async move {
                self.readers.close().await;
                self.writer.close().await;
            })
        }
    };
}
pub(super) use shared_methods;
