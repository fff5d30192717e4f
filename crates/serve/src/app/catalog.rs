//! The catalog and what stands beside it, as the store and the models have them.

use forecart_models::model_file::LoadedModel;

use super::App;
use crate::catalog::ItemRow;
use crate::clock::now_ms;
use crate::metrics::ModelLabels;
use crate::models::ServedModelError;
use crate::new_items::{NewItems, terms};
use crate::store::{self, ItemRecord, StoreError};

/// Items of one page, when the catalog is read from the store.
const ITEMS_PAGE: usize = 5_000;
/// Items whose texts are read together, while the catalog is locked for changes.
const TEXTS_AT_ONCE: usize = 16;

impl App {
    /// Reads items that changed since a moment into the catalog.
    pub(crate) async fn read_items(&self, since_ms: i64) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let page = self.store.items(since_ms, &after, ITEMS_PAGE);
            let page = store::in_time(self.store.as_ref(), 0, page).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.item_id);
            let is_last = page.len() < ITEMS_PAGE;
            self.take_items(page).await;
            if is_last {
                break;
            }
        }
        self.gauge_catalog();
        Ok(())
    }

    /// Takes items of the store into the catalog.
    pub(crate) async fn take_items(&self, items: Vec<ItemRecord>) {
        let mut rows = Vec::with_capacity(items.len());
        {
            let mut catalog = self.memory.catalog_mut();
            for item in items {
                if item.is_removed {
                    // With a row of its own, so that a model or an event that names it does not bring it back.
                    let _ = catalog.ensure(&item.item_id);
                    catalog.remove(&item.item_id);
                } else if let Err(error) = catalog.upsert(&item.item_id, &item.attributes) {
                    tracing::warn!(item = item.item_id, %error, "an item of the store cannot be served");
                }
                rows.extend(catalog.row(&item.item_id));
            }
        }
        let _one_at_a_time = self.new_item_writes.lock().await;
        let live = self.models.live();
        let Some(file) = &live.recommend else { return };
        for rows in rows.chunks(TEXTS_AT_ONCE) {
            let new = self.terms_of_new(file, rows, |row| self.memory.new_items().may_hold(row));
            if !new.is_empty() {
                let mut new_items = self.memory.new_items_mut();
                new.into_iter().for_each(|(row, terms)| new_items.put(row, terms));
            }
            tokio::task::yield_now().await;
        }
    }

    /// The terms of those of a few items that a model does not know and that may be held.
    fn terms_of_new(
        &self,
        file: &LoadedModel,
        rows: &[ItemRow],
        may_hold: impl Fn(ItemRow) -> bool,
    ) -> Vec<(ItemRow, Vec<u32>)> {
        let catalog = self.memory.catalog();
        let new = rows.iter().copied().filter(|row| file.items().index(catalog.id(*row)).is_none());
        new.filter(|row| may_hold(*row))
            .map(|row| (row, terms(&catalog, row, &self.texts)))
            .collect()
    }

    pub(crate) fn gauge_catalog(&self) {
        let catalog = self.memory.catalog();
        self.memory.metrics.items.set(catalog.n_live() as i64);
        self.memory.metrics.catalog_bytes.set(catalog.n_bytes() as i64);
    }

    pub(super) async fn recount(&self) -> Result<(), StoreError> {
        let since_ms = now_ms() - self.config.popular_ms;
        self.memory.popularity.recount(self.store.as_ref(), since_ms).await?;
        let ranked = self.memory.popularity.ranked();
        self.memory.ensure(ranked.iter().map(|(item, _)| item.as_ref()));
        Ok(())
    }

    /// Looks for model files again and serves what should be served.
    pub(crate) async fn refresh_models(&self) -> Result<(), ServedModelError> {
        self.models.refresh().await?;
        self.model_changed().await;
        Ok(())
    }

    /// After another model answers: its items are in the catalog, the metrics name it.
    pub(crate) async fn model_changed(&self) {
        let live = self.models.live();
        for file in live.recommend.iter().chain(&live.together).chain(live.beside.values()) {
            self.memory.ensure(file.items().iter().map(|(_, id, _)| id));
        }
        self.find_new_items().await;
        let models = &self.memory.metrics.models;
        models.clear();
        for slot in crate::models::SLOTS {
            if let Some((model, version)) = live.in_slot(slot) {
                let labels =
                    ModelLabels { model: format!("{slot}/{model}"), version: version.to_owned() };
                models.get_or_create(&labels).set(1);
            }
        }
        self.gauge_catalog();
    }

    /// Finds the items that the live model does not know, if it is another one than before.
    async fn find_new_items(&self) {
        let _one_at_a_time = self.new_item_writes.lock().await;
        let live = self.models.live();
        let Some(file) = &live.recommend else { return };
        let version = &file.header().content_hash;
        if self.memory.new_items().is_of(version) {
            return;
        }
        let mut anew = NewItems::of(version);
        let rows: Vec<ItemRow> = self.memory.catalog().live_rows().collect();
        for rows in rows.chunks(TEXTS_AT_ONCE) {
            let new = self.terms_of_new(file, rows, |row| anew.may_hold(row));
            new.into_iter().for_each(|(row, terms)| anew.put(row, terms));
            tokio::task::yield_now().await;
        }
        let earlier = std::mem::replace(&mut *self.memory.new_items_mut(), anew);
        // What it takes to let go of it is not waited for by lists.
        drop(earlier);
    }
}
