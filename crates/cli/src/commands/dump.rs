//! `dump`, `restore`: all that a store holds, as one file.

use super::Context;
use super::store::{with_store, with_store_to_serve};
use crate::args::{DumpArgs, RestoreArgs};
use crate::failure::UsageError;
use crate::output::{self, count};

pub(crate) fn dump(context: &Context, arguments: &DumpArgs) -> anyhow::Result<()> {
    if arguments.out.exists() && !arguments.force {
        let path = arguments.out.display();
        return Err(UsageError(format!("{path} exists; use --force to replace it")).into());
    }
    let dumped = with_store(context, &arguments.store, async |store| {
        Ok(forecart_serve::dump(store, &arguments.out, &context.display).await?)
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
    // Alone: what a server holds in memory would not be what is restored.
    let restored = with_store_to_serve(context, &arguments.store, async |store| {
        let (file, adds) = (&arguments.file, arguments.add);
        Ok(forecart_serve::restore(store, file, adds, &context.display).await?)
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
