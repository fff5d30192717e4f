//! Records that are changed by what they were: read, changed and written while nobody else writes them.
//!
//! A row is taken by an insert that changes nothing of one that is there and says what it holds. Both databases let the next transaction wait for the
//! end of this one then, also where the row was not there: a `SELECT … FOR UPDATE` finds no row to lock in that case. What the insert made stays only
//! if something was written into it.

use super::{ItemRecord, UserRecord};

/// What is to be known of an item of which this is known; nothing if it stays as it is.
pub type ReviseItem<'a> = Box<dyn FnOnce(Option<ItemRecord>) -> Option<ItemRecord> + Send + 'a>;

/// What is to be known of the user of an id of whom this is known; nothing if it stays as it is. It is asked once for each id, in their order.
pub type ReviseUser<'a> =
    Box<dyn FnMut(&str, Option<UserRecord>) -> Option<UserRecord> + Send + 'a>;

/// The time of change of a row that was not there before the transaction under way.
pub(super) const NEW: i64 = i64::MIN;
/// Users of one statement.
pub(super) const USERS_AT_ONCE: usize = 1_000;

/// The methods of a store that change records by what they were.
macro_rules! revise_methods {
    () => {
        fn revise_item<'a>(
            &'a self,
            item_id: &'a str,
            revise: ReviseItem<'a>,
        ) -> Stored<'a, Option<ItemRecord>> {
            Box::pin(async move {
                let mut transaction = self.writer.begin().await?;
                let (attributes, is_removed, changed_ms): (String, i64, i64) = sqlx::query_as(
                    "INSERT INTO items (item_id, attributes, is_removed, changed_ms) VALUES ($1, '{}', 0, $2)
                     ON CONFLICT (item_id) DO UPDATE SET changed_ms = items.changed_ms
                     RETURNING attributes, is_removed, changed_ms",
                )
                .bind(item_id)
                .bind(revise::NEW)
                .fetch_one(&mut *transaction)
                .await?;
                let known = match changed_ms {
                    revise::NEW => None,
                    changed_ms => Some(ItemRecord {
                        item_id: item_id.to_owned(),
                        attributes: object("an item", &attributes)?,
                        is_removed: is_removed != 0,
                        changed_ms,
                    }),
                };
                let Some(revised) = revise(known) else {
                    transaction.rollback().await?;
                    return Ok(None);
                };
                sqlx::query(
                    "UPDATE items SET attributes = $2, is_removed = $3, changed_ms = $4 WHERE item_id = $1",
                )
                .bind(item_id)
                .bind(Value::Object(revised.attributes.clone()).to_string())
                .bind(i64::from(revised.is_removed))
                .bind(revised.changed_ms)
                .execute(&mut *transaction)
                .await?;
                self.announce(&mut transaction, "items", "").await?;
                transaction.commit().await?;
                Ok(Some(revised))
            })
        }

        fn revise_users<'a>(
            &'a self,
            user_ids: &'a std::collections::BTreeSet<&'a str>,
            mut revise: ReviseUser<'a>,
        ) -> Stored<'a, Vec<UserRecord>> {
            Box::pin(async move {
                // In one order: two processes that change some of the same users never wait for each other in a circle.
                let user_ids: Vec<&str> = user_ids.iter().copied().collect();
                let mut transaction = self.writer.begin().await?;
                let mut written = Vec::with_capacity(user_ids.len());
                let mut is_all = true;
                for user_ids in user_ids.chunks(revise::USERS_AT_ONCE) {
                    let mut take =
                        sqlx::QueryBuilder::new("INSERT INTO users (user_id, attributes, changed_ms) ");
                    take.push_values(user_ids, |mut row, user_id| {
                        row.push_bind(*user_id).push("'{}'").push_bind(revise::NEW);
                    });
                    take.push(
                        " ON CONFLICT (user_id) DO UPDATE SET changed_ms = users.changed_ms
                         RETURNING user_id, attributes, changed_ms",
                    );
                    let rows: Vec<(String, String, i64)> = take
                        .build_query_as()
                        .persistent(false)
                        .fetch_all(&mut *transaction)
                        .await?;
                    let mut known = std::collections::BTreeMap::new();
                    for (user_id, attributes, changed_ms) in rows {
                        let attributes = object("a user", &attributes)?;
                        known.insert(user_id, (attributes, changed_ms));
                    }
                    let n_before = written.len();
                    for (user_id, (attributes, changed_ms)) in known {
                        let was_there = changed_ms != revise::NEW;
                        let record = UserRecord { user_id: user_id.clone(), attributes, changed_ms };
                        match revise(&user_id, was_there.then_some(record)) {
                            Some(revised) => written.push(UserRecord { user_id, ..revised }),
                            None => is_all &= was_there,
                        }
                    }
                    let revised = &written[n_before..];
                    if revised.is_empty() {
                        continue;
                    }
                    let mut put =
                        sqlx::QueryBuilder::new("INSERT INTO users (user_id, attributes, changed_ms) ");
                    put.push_values(revised, |mut row, user| {
                        row.push_bind(&user.user_id)
                            .push_bind(Value::Object(user.attributes.clone()).to_string())
                            .push_bind(user.changed_ms);
                    });
                    put.push(
                        " ON CONFLICT (user_id) DO UPDATE SET attributes = excluded.attributes,
                         changed_ms = excluded.changed_ms",
                    );
                    put.build().persistent(false).execute(&mut *transaction).await?;
                }
                if !is_all {
                    sqlx::query("DELETE FROM users WHERE changed_ms = $1")
                        .bind(revise::NEW)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                Ok(written)
            })
        }
    };
}
pub(super) use revise_methods;
