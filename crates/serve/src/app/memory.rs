//! What is kept in memory beside the store, and how events change it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::catalog::Catalog;
use crate::circuit::Circuit;
use crate::clock::now_ms;
use crate::event::Event;
use crate::history::Histories;
use crate::intake::{Listener, Source};
use crate::metrics::Metrics;
use crate::new_items::NewItems;
use crate::popularity::Popularity;
use crate::store::StoreError;

/// What events change in memory, once they are durable.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(super) catalog: RwLock<Catalog>,
    /// Locked after the catalog.
    pub(super) new_items: RwLock<NewItems>,
    pub(crate) histories: Histories,
    pub(crate) popularity: Popularity,
    pub(crate) metrics: Metrics,
    /// Items that events and models may bring into the catalog.
    pub(super) max_items: usize,
    /// Whether the store does what it should.
    pub(crate) circuit: Arc<Circuit>,
}

impl Memory {
    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        // A change of the catalog is whole or not there.
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new_items(&self) -> RwLockReadGuard<'_, NewItems> {
        self.new_items.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new_items_mut(&self) -> RwLockWriteGuard<'_, NewItems> {
        self.new_items.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room in the catalog for items that were named by others than the shop's catalog.
    pub(crate) fn ensure<'a>(&self, items: impl Iterator<Item = &'a str>) {
        let new: Vec<&str> = {
            let catalog = self.catalog();
            items.filter(|item| catalog.row(item).is_none()).collect()
        };
        if !new.is_empty() {
            let mut catalog = self.catalog_mut();
            for item in new {
                if catalog.n_rows() >= self.max_items {
                    tracing::warn!(
                        max_items = self.max_items,
                        "further items are in no list: raise serve.max_items"
                    );
                    break;
                }
                // An id that cannot be one of the catalog's is in no list.
                let _ = catalog.ensure(item);
            }
        }
    }
}

impl Listener for Memory {
    fn begin(&self, events: &[Event]) {
        self.histories.begin(events.iter().map(|event| event.user_id.as_str()));
    }

    fn end(&self, events: &[Event]) {
        self.histories.end(events.iter().map(|event| event.user_id.as_str()));
    }

    fn wrote(&self, events: &[&Event]) {
        self.ensure(events.iter().filter_map(|event| event.item_id.as_deref()));
        self.histories.wrote(events.iter().copied());
        self.popularity.count(events.iter().filter_map(|event| event.item_id.as_deref()));
        if let Some(newest) = events.iter().map(|event| event.timestamp_ms).max() {
            self.metrics.lag.set(((now_ms() - newest) as f64 / 1e3).max(0.0));
        }
    }

    fn came(&self, source: Source, events: &[&Event]) {
        for event in events {
            self.metrics.count_event(&event.event, source.name());
        }
    }

    fn unsure(&self, events: &[Event]) {
        events.iter().for_each(|event| self.histories.forget(&event.user_id));
    }

    fn refuses(&self) -> Option<StoreError> {
        self.circuit.refuses_writes()
    }

    fn committed(&self, _n_events: usize, took: Duration) {
        self.circuit.wrote_events();
        self.metrics.count_commit(took);
    }

    fn failed(&self, error: &StoreError) {
        self.circuit.refused_events(error);
        tracing::debug!(%error, "events were not written");
    }
}
