//! The store of a server, for verbs that do one thing with it: opened, used, and closed whatever came of it.

use std::sync::Arc;

use forecart_serve::store::{self, Store, StoreError};

use super::Context;
use super::serve::runtime;
use crate::args::StoreFlag;

/// Does something with the store, beside a server that may run.
pub(super) fn with_store<T>(
    context: &Context,
    flag: &StoreFlag,
    work: impl AsyncFnOnce(&dyn Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let address = address(context, flag);
    runtime()?.block_on(then_closed(store::open(&address), work))
}

/// Does something with the store as a server would: no other has the same file of SQLite meanwhile.
pub(super) fn with_store_to_serve<T>(
    context: &Context,
    flag: &StoreFlag,
    work: impl AsyncFnOnce(&dyn Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let address = address(context, flag);
    runtime()?.block_on(then_closed(store::open_to_serve(&address), work))
}

/// Does something with a store that is opened for it, and closes it.
pub(super) async fn then_closed<T>(
    opening: impl Future<Output = Result<Arc<dyn Store>, StoreError>>,
    work: impl AsyncFnOnce(&dyn Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let store = opening.await?;
    let done = work(store.as_ref()).await;
    store.close().await;
    done
}

fn address(context: &Context, flag: &StoreFlag) -> String {
    let configured = flag.store.clone().or_else(|| context.config.serve().store);
    configured.unwrap_or_else(|| forecart_serve::DEFAULT_STORE.to_owned())
}
