//! `demo`: the whole way on data that come with the program.

mod ads;
mod purchase;
mod recommend;
mod support;

use std::path::Path;

use forecart_data::storage::{Scratch, write_file};
use forecart_prepare::config::{RawDataConfig, RawEventsConfig};
use forecart_prepare::{DataConfig, LogManifest, Resources};

use super::Context;
use crate::args::{DemoArgs, DemoName};
use crate::failure::UsageError;
use crate::output;

pub(super) use self::recommend::prepare_orders;

/// UCI Online Retail, complete: see NOTICE.
const ORDERS: &[u8] = include_bytes!("../../../../../samples/online_retail.parquet");
/// Whose list the demo of the server asks for.
const SERVED_USER: &str = "17850";
const ORDERS_NAME: &str = "online_retail.parquet";

pub(crate) fn run(context: &Context, arguments: &DemoArgs) -> anyhow::Result<()> {
    if arguments.serve && arguments.which != DemoName::Recommend {
        let message =
            "--serve answers with the model of `forecart demo recommend`; leave one of them out";
        return Err(UsageError(message.into()).into());
    }
    match arguments.which {
        DemoName::Recommend => {
            recommend::run(context, arguments)?;
            if !arguments.serve {
                return Ok(());
            }
            super::serve::demo(context, &arguments.out, arguments.port, SERVED_USER)
        }
        DemoName::Purchase => purchase::run(context, arguments),
        DemoName::Ads => ads::run(context, arguments),
        DemoName::Support => support::run(context, arguments),
    }
}

fn step(context: &Context, text: &str) -> anyhow::Result<()> {
    if context.json { Ok(()) } else { output::line(&format!("\n{text}")) }
}

/// Imports the bundled orders to `log`, by way of a file in `parent`.
pub(super) fn import_orders(
    context: &Context,
    parent: &Path,
    log: &Path,
    resources: &Resources,
) -> anyhow::Result<LogManifest> {
    let scratch = Scratch::new(parent)?;
    let orders = scratch.path().join(ORDERS_NAME);
    write_file(&orders, ORDERS)?;
    // The shop's clock: the orders state no zone.
    let raw = RawDataConfig { time_zone: Some("Europe/London".into()), ..Default::default() };
    let config = DataConfig::try_from((raw, RawEventsConfig::default()))?;
    Ok(forecart_prepare::import(&[orders], &config, log, resources, &context.display)?)
}
