//! PostgreSQL, for more than one machine.

use std::str::FromStr as _;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::record::{
    ItemRecord, KeyRecord, LoggedEvent, Promotion, Receipt, StoreCounts, UserRecord,
};
use super::sql::{self, EventRow, ReceiptRow, event_columns, receipt_columns, shared_methods};
use super::{Store, StoreError, Stored, object};
use crate::event::Event;

/// Most connections of one process.
const N_CONNECTIONS: u32 = 8;

/// What processes that append wait for.
const APPEND_LOCK: i64 = 0x666f_7265_6361_7274;

/// PostgreSQL 12 or newer, by the settings of its address; `synchronous_commit` stays as the server has it.
#[derive(Debug)]
pub struct PostgresStore {
    writer: PgPool,
    readers: PgPool,
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
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options.application_name("forecart"))
            .await
            .map_err(|error| StoreError::Place { place, reason: error.to_string() })?;
        sql::migrator("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY").run(&pool).await?;
        Ok(Self { writer: pool.clone(), readers: pool })
    }
}

impl PostgresStore {
    /// What was deleted is the server's to clean.
    async fn cleaned(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Store for PostgresStore {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn is_shared(&self) -> bool {
        true
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
            let inserted: Vec<(String,)> = sqlx::query_as(
                "INSERT INTO events (event_id, user_id, item_id, event, timestamp_ms, value, further, received_ms)
                 SELECT event_id, user_id, item_id, event, timestamp_ms, value, further, $8
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::float8[], $7::text[])
                 WITH ORDINALITY AS sent (event_id, user_id, item_id, event, timestamp_ms, value, further, place)
                 ORDER BY place
                 ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
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
            transaction.commit().await?;
            Ok(super::places(events, inserted.into_iter().map(|(id,)| id)))
        })
    }

    shared_methods!();
}
