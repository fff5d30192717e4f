//! What each user did last: the newest events, kept in memory for the users who come, read from the store for the others.

use std::collections::hash_map::Entry;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forecart_data::event::columns;
use rustc_hash::{FxBuildHasher, FxHashMap};
use serde_json::Value;

use crate::circuit::Circuit;
use crate::event::Event;
use crate::store::{Store, StoreError};

/// How old what is known of other processes may be, for histories that are kept to be used.
const MAX_LAG: Duration = Duration::from_secs(3);

/// Parts of the cache, each with its own lock.
const N_SHARDS: usize = 64;

/// An event of the past, as answers need it.
#[derive(Debug, Clone, PartialEq)]
pub struct PastEvent {
    /// On what; `None` if on nothing.
    pub item: Option<Arc<str>>,
    /// What was done.
    pub event: Arc<str>,
    /// What a question asks, where that is known.
    pub intent: Option<Arc<str>>,
    /// When; milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// How much the event says.
    pub value: Option<f32>,
}

impl From<&Event> for PastEvent {
    fn from(event: &Event) -> Self {
        Self {
            item: event.item_id.as_deref().map(Arc::from),
            event: Arc::from(event.event.as_str()),
            intent: event.further.get(columns::INTENT).and_then(Value::as_str).map(Arc::from),
            timestamp_ms: event.timestamp_ms,
            value: event.value.map(|value| value as f32),
        }
    }
}

/// The newest events of a user, oldest first.
pub type UserHistory = Arc<Vec<PastEvent>>;

/// Histories of the users who came last.
///
/// A history is never older than the last event that was acknowledged before it was asked for, and no event stands in it twice: an event that
/// was written is put into the history that is kept, and one that is read while events are written is answered with but not kept.
///
/// Where other processes write to the store too, this is so of the own events. Histories that others have changed are let go of as soon as this is
/// told, and while it is not certain that all changes up to three seconds ago were told, none is kept or used.
#[derive(Debug)]
pub struct Histories {
    store: Arc<dyn Store>,
    circuit: Arc<Circuit>,
    n_events: usize,
    n_users_a_shard: usize,
    shards: Vec<Shard>,
    /// Up to when all changes of others were told; `None` where it is not known, or nobody else writes.
    told: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Shard {
    /// Writes that have begun, and those of them that have ended; one that has not may or may not be in what the store says.
    n_begun: AtomicU64,
    n_ended: AtomicU64,
    users: Mutex<Users>,
}

#[derive(Debug, Default)]
struct Users {
    /// Two generations: what is asked for comes into the young one; when that is full it becomes the old one, and what was not asked
    /// for meanwhile is gone.
    young: FxHashMap<Arc<str>, UserHistory>,
    old: FxHashMap<Arc<str>, UserHistory>,
}

impl Users {
    fn get(&mut self, user_id: &str, n_most: usize) -> Option<UserHistory> {
        if let Some(history) = self.young.get(user_id) {
            return Some(history.clone());
        }
        let (user, history) = self.old.remove_entry(user_id)?;
        self.insert(user, history.clone(), n_most);
        Some(history)
    }

    fn insert(&mut self, user_id: Arc<str>, history: UserHistory, n_most: usize) {
        if self.young.len() >= n_most.div_ceil(2) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(user_id, history);
    }

    /// Puts a new event into a history that is kept.
    fn push(&mut self, user_id: &str, event: PastEvent, n_events: usize) {
        for users in [&mut self.young, &mut self.old] {
            if let Entry::Occupied(mut user) = users.entry(Arc::from(user_id)) {
                let events = Arc::make_mut(user.get_mut());
                let place = events.partition_point(|own| own.timestamp_ms <= event.timestamp_ms);
                events.insert(place, event);
                let n_over = events.len().saturating_sub(n_events);
                events.drain(..n_over);
                return;
            }
        }
    }
}

impl Histories {
    /// Keeps the newest `n_events` of about `n_users`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        circuit: Arc<Circuit>,
        n_events: usize,
        n_users: usize,
    ) -> Self {
        let shards = (0..N_SHARDS).map(|_| Shard::default()).collect();
        let n_users_a_shard = n_users.div_ceil(N_SHARDS);
        Self { store, circuit, n_events, n_users_a_shard, shards, told: Mutex::default() }
    }

    /// What a user did last.
    ///
    /// # Errors
    /// [`StoreError`] if it is not kept and cannot be read.
    pub async fn of(&self, user_id: &str) -> Result<UserHistory, StoreError> {
        let shard = self.shard(user_id);
        let may_keep = self.may_keep();
        if may_keep && let Some(history) = shard.users().get(user_id, self.n_users_a_shard) {
            return Ok(history);
        }
        let n_ended = shard.n_ended.load(Ordering::SeqCst);
        let events = self.circuit.ask(self.store.history(user_id, self.n_events)).await?;
        let history: UserHistory = Arc::new(events.iter().map(PastEvent::from).collect());
        if may_keep {
            let mut users = shard.users();
            if shard.n_begun.load(Ordering::SeqCst) == n_ended {
                users.insert(Arc::from(user_id), history.clone(), self.n_users_a_shard);
            }
        }
        Ok(history)
    }

    fn may_keep(&self) -> bool {
        let is_known = || self.told().is_some_and(|told| told.elapsed() < MAX_LAG);
        self.n_users_a_shard > 0 && (!self.store.is_shared() || is_known())
    }

    fn told(&self) -> MutexGuard<'_, Option<Instant>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that all changes that others made before `until` were told.
    pub(crate) fn told_until(&self, until: Instant) {
        *self.told() = Some(until);
    }

    /// Says that changes of others may have been missed: nothing that was read before this is used any more.
    pub(crate) fn missed(&self) {
        *self.told() = None;
        self.clear();
    }

    /// Says that others have changed what these users did.
    pub(crate) fn changed<'a>(&self, users: impl Iterator<Item = &'a str>) {
        for user_id in users {
            self.begin(std::iter::once(user_id));
            self.forget(user_id);
            self.end(std::iter::once(user_id));
        }
    }

    /// Lets go of all that is kept, and of what is being read.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            shard.n_begun.fetch_add(1, Ordering::SeqCst);
            *shard.users() = Users::default();
            shard.n_ended.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Says that events of these users are about to be written, or forgotten.
    pub(crate) fn begin<'a>(&self, users: impl Iterator<Item = &'a str>) {
        for user in users {
            self.shard(user).n_begun.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Says that this has ended, well or not.
    pub(crate) fn end<'a>(&self, users: impl Iterator<Item = &'a str>) {
        for user in users {
            self.shard(user).n_ended.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Puts events that were written just now into the histories that are kept, between begin and end, before anybody is told of them.
    pub(crate) fn wrote<'a>(&self, events: impl Iterator<Item = &'a Event>) {
        for event in events {
            let mut users = self.shard(&event.user_id).users();
            users.push(&event.user_id, PastEvent::from(event), self.n_events);
        }
    }

    /// Forgets what is kept of a user.
    pub(crate) fn forget(&self, user_id: &str) {
        let mut users = self.shard(user_id).users();
        users.young.remove(user_id);
        users.old.remove(user_id);
    }

    fn shard(&self, user_id: &str) -> &Shard {
        &self.shards[FxBuildHasher.hash_one(user_id) as usize % N_SHARDS]
    }
}

impl Shard {
    fn users(&self) -> MutexGuard<'_, Users> {
        // What is behind the lock is whole after every step.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
