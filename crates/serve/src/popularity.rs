//! Which items were acted on most often lately: what an answer falls back on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use crate::store::{Store, StoreError};

/// Items that are kept in order.
const N_RANKED: usize = 10_000;

/// An item and how often it was acted on.
pub(crate) type Counted = (Arc<str>, u64);

/// Counts of the last days.
#[derive(Debug, Default)]
pub(crate) struct Popularity {
    counts: Mutex<FxHashMap<Arc<str>, u64>>,
    is_stale: AtomicBool,
    ranked: ArcSwap<Vec<Counted>>,
}

impl Popularity {
    /// Counts anew from the store, so that old events no longer count.
    pub(crate) async fn recount(&self, store: &dyn Store, since_ms: i64) -> Result<(), StoreError> {
        let counted = store.popularity(since_ms, 1_000_000).await?;
        let counts = counted.into_iter().map(|(item, n)| (Arc::from(item), n)).collect();
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        self.is_stale.store(true, Ordering::Release);
        self.rank();
        Ok(())
    }

    /// Counts events on items.
    pub(crate) fn count<'a>(&self, items: impl Iterator<Item = &'a str>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            match counts.get_mut(item) {
                Some(n) => *n += 1,
                None => drop(counts.insert(Arc::from(item), 1)),
            }
        }
        self.is_stale.store(true, Ordering::Release);
    }

    /// Sorts what was counted since the last time, if anything was.
    pub(crate) fn rank(&self) {
        if !self.is_stale.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut ranked: Vec<Counted> = {
            let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.iter().map(|(item, n)| (item.clone(), *n)).collect()
        };
        let order = |a: &Counted, b: &Counted| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0));
        if ranked.len() > N_RANKED {
            ranked.select_nth_unstable_by(N_RANKED, order);
            ranked.truncate(N_RANKED);
        }
        ranked.sort_unstable_by(order);
        self.ranked.store(Arc::new(ranked));
    }

    /// Most often first, equal ones by id.
    pub(crate) fn ranked(&self) -> Arc<Vec<Counted>> {
        self.ranked.load_full()
    }
}
