//! `dump`, `restore`: all that a store holds, as one file.

use forecart_serve::store;

use super::{Context, serve};
use crate::args::{DumpArgs, RestoreArgs};
use crate::failure::UsageError;
use crate::output::{self, count};

pub(crate) fn dump(context: &Context, arguments: &DumpArgs) -> anyhow::Result<()> {
    if arguments.out.exists() && !arguments.force {
        let path = arguments.out.display();
        return Err(UsageError(format!("{path} exists; use --force to replace it")).into());
    }
    let address = serve::store_address(context, &arguments.store);
    let dumped = serve::runtime()?.block_on(async {
        let store = store::open(&address).await?;
        let dumped = forecart_serve::dump(store.as_ref(), &arguments.out, &context.display).await;
        store.close().await;
        anyhow::Ok(dumped?)
    })?;
    context.display.end();
    if context.json {
        return output::json(&dumped);
    }
    output::line(&format!(
        "wrote {}: {} events, {} items, {} users",
        arguments.out.display(),
        count(dumped.n_events),
        count(dumped.n_items),
        count(dumped.n_users),
    ))
}

pub(crate) fn restore(context: &Context, arguments: &RestoreArgs) -> anyhow::Result<()> {
    let address = serve::store_address(context, &arguments.store);
    let restored = serve::runtime()?.block_on(async {
        // Alone: what a server holds in memory would not be what is restored.
        let store = store::open_to_serve(&address).await?;
        let (file, adds) = (&arguments.file, arguments.add);
        let restored = forecart_serve::restore(store.as_ref(), file, adds, &context.display).await;
        store.close().await;
        anyhow::Ok(restored?)
    })?;
    context.display.end();
    if context.json {
        return output::json(&restored);
    }
    output::line(&format!(
        "the store has {} events, {} items and {} users of {}",
        count(restored.n_events),
        count(restored.n_items),
        count(restored.n_users),
        arguments.file.display(),
    ))
}
