//! PostgreSQL, for more than one machine.

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use tokio::sync::mpsc;

use super::record::{
    ItemRecord, KeyRecord, LoggedEvent, Promotion, Receipt, StoreCounts, UserRecord,
};
use super::revise::{self, ReviseItem, ReviseUser, revise_methods};
use super::sql::{self, EventRow, ReceiptRow, event_columns, receipt_columns, shared_methods};
use super::{Change, Store, StoreError, Stored, object};
use crate::event::Event;
use crate::ids::new_id;

/// Most connections of one process.
const N_CONNECTIONS: u32 = 8;

/// How long a connection is waited for. A server that is not there is tried all this time.
const ACQUIRE: Duration = Duration::from_secs(1);

/// What processes that append wait for.
const APPEND_LOCK: i64 = 0x666f_7265_6361_7274;

/// Where changes are announced.
const CHANNEL: &str = "forecart";
/// How often a process says something that it should hear itself.
const BEAT: Duration = Duration::from_secs(1);
/// After so long without a word the connection is taken for lost.
const SILENCE: Duration = Duration::from_secs(10);
/// Most announcements that are looked at together.
const N_TOGETHER: usize = 1024;
/// Most events that are read together, unless one announcement is of more.
const N_EVENTS: i64 = 20_000;

/// PostgreSQL 12 or newer, by the settings of its address; `synchronous_commit` stays as the server has it.
#[derive(Debug)]
pub struct PostgresStore {
    writer: PgPool,
    readers: PgPool,
    /// Begins what this process announces, so that it knows its own changes.
    origin: String,
    /// Beats count from here.
    began: Instant,
}

impl PostgresStore {
    /// Connects to `postgres://user:password@host:port/database`.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be reached, or if its tables are of a newer program. No error says the password.
    pub async fn connect(address: &str) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(address).map_err(|error| StoreError::Place {
            place: "the address of PostgreSQL".to_owned(),
            reason: error.to_string(),
        })?;
        let place = format!(
            "PostgreSQL at {}:{}/{}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        );
        let pool = PgPoolOptions::new()
            .max_connections(N_CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .connect_with(options.application_name("forecart"))
            .await
            .map_err(|error| StoreError::Place { place, reason: error.to_string() })?;
        sql::migrator("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY").run(&pool).await?;
        let origin = new_id();
        Ok(Self { writer: pool.clone(), readers: pool, origin, began: Instant::now() })
    }
}

impl PostgresStore {
    /// What was deleted is the server's to clean.
    async fn deleted(&self) {}

    /// Says to other processes that something changed; they hear it once the transaction of the connection has ended well.
    async fn announce(
        &self,
        connection: &mut PgConnection,
        what: &str,
        of: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(format!("{} {what} {of}", self.origin))
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Says something every second: when it is heard, all that was announced before has been.
    async fn beat(&self) {
        loop {
            let said = async {
                let mut connection = self.writer.acquire().await?;
                let now_ms = self.began.elapsed().as_millis().to_string();
                self.announce(&mut connection, "beat", &now_ms).await
            };
            if let Err(error) = super::in_time(self, 0, said).await {
                tracing::debug!(%error, "a beat was not said");
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Tells what announcements mean.
    async fn understand(
        &self,
        mut announced: mpsc::Receiver<String>,
        tell: &(dyn Fn(Change) + Send + Sync),
    ) -> Result<(), StoreError> {
        loop {
            let first = tokio::time::timeout(SILENCE, announced.recv()).await;
            let slow = StoreError::Slow { ms: SILENCE.as_millis() as u64 };
            let Some(first) = first.map_err(|_| slow)? else { return Ok(()) };
            let mut together = vec![first];
            while together.len() < N_TOGETHER
                && let Ok(next) = announced.try_recv()
            {
                together.push(next);
            }
            let (mut ranges, mut others) = (vec![], vec![]);
            for announcement in &together {
                let mut parts = announcement.splitn(3, ' ');
                let (Some(origin), Some(what), Some(of)) =
                    (parts.next(), parts.next(), parts.next())
                else {
                    continue;
                };
                match (what, origin == self.origin) {
                    ("beat", true) => {
                        let sent = of.parse().ok().map(Duration::from_millis);
                        others.extend(sent.map(|sent| Change::Until(self.began + sent)));
                    }
                    ("beat", false) | (_, true) => {}
                    ("events", _) => {
                        let range = of.split_once(' ');
                        let range = range
                            .and_then(|(a, b)| a.parse::<i64>().ok().zip(b.parse::<i64>().ok()));
                        ranges.extend(range);
                    }
                    ("forgotten", _) => others.push(Change::Forgotten(of.to_owned())),
                    ("items", _) => others.push(Change::Items),
                    ("promotions", _) => others.push(Change::Promotions),
                    ("keys", _) => others.push(Change::Keys),
                    // Of a newer program.
                    _ => {}
                }
            }
            for (firsts, lasts) in parts(&ranges) {
                let acts = sqlx::query_as(
                    "SELECT user_id, item_id FROM unnest($1::bigint[], $2::bigint[]) AS announced (first, last)
                     JOIN events ON seq BETWEEN first AND last",
                )
                .bind(firsts)
                .bind(lasts)
                .fetch_all(&self.readers);
                let acts: Vec<(String, Option<String>)> =
                    super::in_time(self, 0, async { Ok(acts.await?) }).await?;
                tell(Change::Events(acts));
            }
            // After the events: what is known up to a moment includes them.
            others.into_iter().for_each(tell);
        }
    }

    /// Its disk is that of its server, which says so itself.
    async fn has_room(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Firsts and lasts of announced ranges, in parts of at most [`N_EVENTS`] rows, or of one range.
fn parts(ranges: &[(i64, i64)]) -> Vec<(Vec<i64>, Vec<i64>)> {
    let mut parts: Vec<(Vec<i64>, Vec<i64>)> = Vec::new();
    let mut n_rows = 0;
    for (first, last) in ranges {
        let n_own = last.saturating_sub(*first).saturating_add(1);
        n_rows = n_own.saturating_add(n_rows);
        match parts.last_mut() {
            Some((firsts, lasts)) if n_rows <= N_EVENTS => {
                firsts.push(*first);
                lasts.push(*last);
            }
            _ => {
                n_rows = n_own;
                parts.push((vec![*first], vec![*last]));
            }
        }
    }
    parts
}

impl Store for PostgresStore {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn follow<'a>(&'a self, tell: &'a (dyn Fn(Change) + Send + Sync)) -> Stored<'a, ()> {
        Box::pin(async move {
            let connected = async { Ok(PgListener::connect_with(&self.writer).await?) };
            let mut listener = super::in_time(self, 0, connected).await?;
            // One that was connected anew would not say what it has missed.
            listener.eager_reconnect(false);
            super::in_time(self, 0, async { Ok(listener.listen(CHANNEL).await?) }).await?;
            tell(Change::Begin);
            let (put, announced) = mpsc::channel(N_TOGETHER);
            let listen = async {
                while let Some(own) = listener.try_recv().await? {
                    if put.send(own.payload().to_owned()).await.is_err() {
                        break;
                    }
                }
                Ok::<(), StoreError>(())
            };
            tokio::select! {
                heard = listen => heard,
                understood = self.understand(announced, tell) => understood,
                () = self.beat() => Ok(()),
            }
        })
    }

    fn clean(&self) -> Stored<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn append<'a>(&'a self, events: &'a [Event], received_ms: i64) -> Stored<'a, Vec<usize>> {
        Box::pin(async move {
            let column =
                |text: fn(&Event) -> &str| -> Vec<&str> { events.iter().map(text).collect() };
            let items: Vec<Option<&str>> =
                events.iter().map(|own| own.item_id.as_deref()).collect();
            let times: Vec<i64> = events.iter().map(|own| own.timestamp_ms).collect();
            let values: Vec<Option<f64>> = events.iter().map(|own| own.value).collect();
            let further: Vec<Option<String>> = events.iter().map(sql::further).collect();
            let mut transaction = self.writer.begin().await?;
            // Processes write one after the other: two that send the same events never wait for each other in a circle, and rows
            // are numbered in the order in which they become visible.
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(APPEND_LOCK)
                .execute(&mut *transaction)
                .await?;
            let inserted: Vec<(i64, String)> = sqlx::query_as(
                "INSERT INTO events (event_id, user_id, item_id, event, timestamp_ms, value, further, received_ms)
                 SELECT event_id, user_id, item_id, event, timestamp_ms, value, further, $8
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::float8[], $7::text[])
                 WITH ORDINALITY AS sent (event_id, user_id, item_id, event, timestamp_ms, value, further, place)
                 ORDER BY place
                 ON CONFLICT (event_id) DO NOTHING RETURNING seq, event_id",
            )
            .bind(column(|own| &own.event_id))
            .bind(column(|own| &own.user_id))
            .bind(items)
            .bind(column(|own| &own.event))
            .bind(times)
            .bind(values)
            .bind(further)
            .bind(received_ms)
            .fetch_all(&mut *transaction)
            .await?;
            let places = inserted.iter().map(|(seq, _)| *seq);
            if let (Some(first), Some(last)) = (places.clone().min(), places.max()) {
                // No other row stands between them: processes write one after the other.
                self.announce(&mut transaction, "events", &format!("{first} {last}")).await?;
            }
            transaction.commit().await?;
            Ok(super::places(events, inserted.into_iter().map(|(_, id)| id)))
        })
    }

    shared_methods!();
    revise_methods!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_events_are_read_together_than_may_unless_announced_together() {
        assert_eq!(parts(&[]), []);
        let of = |n: i64, first: i64| (first, first + n - 1);
        let ranges =
            [of(10_000, 1), of(10_000, 10_001), of(1, 20_001), of(30_000, 20_002), of(5, 50_002)];
        let firsts: Vec<Vec<i64>> = parts(&ranges).into_iter().map(|(firsts, _)| firsts).collect();
        assert_eq!(firsts, [vec![1, 10_001], vec![20_001], vec![20_002], vec![50_002]]);
        let lasts: Vec<i64> = parts(&ranges).into_iter().flat_map(|(_, lasts)| lasts).collect();
        assert_eq!(lasts, [10_000, 20_000, 20_001, 50_001, 50_006]);
        assert_eq!(parts(&[(1, i64::MAX), (0, i64::MAX)]).len(), 2);
    }
}
