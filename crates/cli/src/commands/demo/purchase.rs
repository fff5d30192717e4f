//! `demo purchase`: which sessions buy, and how much will be sold.

use std::path::Path;
use std::time::Instant;

use forecart_data::storage::{Scratch, write_file};
use forecart_data::{OrderTable, SampleTable};
use forecart_models::ads::registry;
use forecart_models::purchase::demand::{DemandSpec, models};
use forecart_prepare::config::{RawDataConfig, RawEventsConfig};
use forecart_prepare::samples::{RawSamplesConfig, SamplesConfig, prepare_samples};
use forecart_prepare::{
    DataConfig, DemandConfig, PrepareConfig, RawDemandConfig, RawPrepareConfig, RawSplitConfig,
    prepare_orders,
};
use forecart_train::{OutcomeContestant, measure_demand, measure_outcomes, train_demand};
use serde_json::Value;

use super::super::{Context, demand, outcome};
use super::{import_orders, step};
use crate::args::DemoArgs;
use crate::output;

/// UCI Online Shoppers, complete: see NOTICE.
const SESSIONS: &[u8] = include_bytes!("../../../../../samples/online_shoppers.parquet");
const SESSIONS_NAME: &str = "online_shoppers.parquet";

/// What is known only when the outcome is: the value of the pages before a purchase.
const KNOWS_THE_OUTCOME: &str = "PageValues";

/// Weeks until an order that is placed now is there, and the share of them that are to end without the item being out.
const LEAD_TIME: u32 = 2;
const SERVICE_LEVEL: f64 = 0.95;

pub(super) fn run(context: &Context, arguments: &DemoArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let out = &arguments.out;
    step(
        context,
        "1  which sessions end with a purchase? 12,330 of them, in ten folds, without PageValues, which is known too late",
    )?;
    let samples = out.join("samples");
    prepare_sessions(context, out, &samples)?;
    let table = SampleTable::open(&samples)?;
    let contestants =
        [("lr", true), (registry::DEFAULT_MODEL, false)].map(|(name, is_baseline)| {
            Ok::<_, anyhow::Error>(OutcomeContestant::new(
                outcome::spec(context, name)?,
                is_baseline,
            ))
        });
    let contestants = contestants.into_iter().collect::<Result<Vec<_>, _>>()?;
    let options = outcome::options(context, None);
    let sessions = measure_outcomes(&table, &contestants, &[], &options, &context.display)?;
    context.display.end();
    if !context.json {
        output::line(sessions.table().trim_end())?;
    }

    step(
        context,
        "2  how much of each item will be sold next week? every way to say it, before each of the last 8 weeks",
    )?;
    let (log, orders) = (out.join("log"), out.join("orders"));
    let resources = context.resources_beside(&log);
    import_orders(context, out, &log, &resources)?;
    let prepare = PrepareConfig::new(RawPrepareConfig::default(), RawSplitConfig::default())?;
    let config = DemandConfig::try_from(RawDemandConfig::default())?;
    let manifest = prepare_orders(&log, &prepare, &config, &orders, &resources, &context.display)?;
    context.display.end();
    if !context.json {
        demand::print_orders(&manifest)?;
    }
    let table = OrderTable::open(&orders)?;
    let options = demand::options(context, &config.raw);
    let specs = models().map(|(name, _)| DemandSpec::from_name(name, &Value::Null));
    let specs = specs.collect::<Result<Vec<_>, _>>()?;
    let forecasts = measure_demand(&table, &specs, &options, &context.display)?;
    context.display.end();
    if context.json {
        return output::json(&serde_json::json!({ "purchase": sessions, "demand": forecasts }));
    }
    output::line(forecasts.table().trim_end())?;

    step(context, "3  what to order: enough for two weeks, in 95 of 100 cases")?;
    let spec = DemandSpec::from_name("default", &Value::Null)?;
    let (file, _) = train_demand(&table, &spec)?;
    let model = out.join("demand.forecart");
    file.save(&model)?;
    show_reorders(&file)?;
    output::line(&format!(
        "all of them: forecart predict --model {} --lead-time {LEAD_TIME} --service-level {SERVICE_LEVEL}\nall of it took {:.1} s",
        model.display(),
        started.elapsed().as_secs_f64(),
    ))
}

fn prepare_sessions(context: &Context, out: &Path, samples: &Path) -> anyhow::Result<()> {
    let scratch = Scratch::new(out)?;
    let file = scratch.path().join(SESSIONS_NAME);
    write_file(&file, SESSIONS)?;
    let raw = RawSamplesConfig {
        task: Some("purchase".into()),
        label: Some("Revenue".into()),
        ignore: vec![KNOWS_THE_OUTCOME.into()],
        split: "folds".into(),
        ..RawSamplesConfig::default()
    };
    let data = DataConfig::try_from((RawDataConfig::default(), RawEventsConfig::default()))?;
    let config = SamplesConfig::try_from(raw)?;
    let resources = context.resources_beside(samples);
    prepare_samples(&[file], &[], &data, &config, samples, &resources, &context.display)?;
    Ok(())
}

/// The five items of which most is expected.
fn show_reorders(file: &forecart_models::model_file::DemandModelFile) -> anyhow::Result<()> {
    let mut totals = Vec::new();
    for item in 0..file.items().len() {
        if let Some((expected, needed)) = file.fitted().total(item, LEAD_TIME, &[SERVICE_LEVEL])? {
            totals.push((expected, needed[0], file.items().get(item)));
        }
    }
    totals.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(b.2)));
    let rows: Vec<Vec<String>> = totals
        .iter()
        .take(5)
        .map(|(expected, needed, id)| {
            let units = |units: f64| output::count(units.ceil() as u64);
            vec![(*id).to_owned(), units(*expected), units(*needed)]
        })
        .collect();
    output::line(&output::table(&["item", "expected in two weeks", "to have"], &rows, 1))
}
