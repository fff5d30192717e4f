//! `demo ads`: which impressions are clicked, what a budget would have bought, and what should have been shown.

use std::path::Path;
use std::time::Instant;

use forecart_data::storage::{Scratch, write_file};
use forecart_data::{Part, SampleTable};
use forecart_eval::Bootstrap;
use forecart_eval::auction::Opportunity;
use forecart_models::ads::{Positions, registry};
use forecart_models::model_file::OutcomeModelFile;
use forecart_prepare::DataConfig;
use forecart_prepare::config::{RawDataConfig, RawEventsConfig};
use forecart_prepare::samples::{RawSamplesConfig, SamplesConfig, SamplesReport, prepare_from_log};
use forecart_train::{
    OffPolicyOptions, OutcomeContestant, measure_off_policy, measure_outcomes, train_outcome,
};

use super::super::{Context, ads, data, outcome, samples};
use super::step;
use crate::args::{DemoArgs, OffPolicyArgs};
use crate::output;

/// A sample of the Open Bandit Dataset: see NOTICE.
const IMPRESSIONS: &[u8] = include_bytes!("../../../../../samples/open_bandit.parquet");
const IMPRESSIONS_NAME: &str = "open_bandit.parquet";

/// The columns of the sample that say with which probability an item had been drawn, and whose items it was drawn from.
const PROPENSITY: &str = "propensity";
const CAMPAIGN: &str = "campaign";

/// What speaks of user and item together: for an item that was not shown nobody has written it down.
const OF_USER_AND_ITEM: [&str; 5] =
    ["affinity", "user_item_impressions", "user_item_clicks", "user_item_looks", "secs_since_item"];

/// What the demo asks: one that is fitted in a second, beside the model that stands for `default`.
const DEMO_MODEL: &str = "lr";

/// What an impression costs where a click is worth 1, and what share of all there is money for.
const PRICE: f64 = 0.004;
const SHARE: f64 = 0.2;

pub(super) fn run(context: &Context, arguments: &DemoArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let out = &arguments.out;
    let (log, folder) = (out.join("log-ads"), out.join("samples-ads"));
    step(
        context,
        "1  import: 30,000 impressions of items in three campaigns of a fashion shop, 157 of them clicked",
    )?;
    import(context, out, &log)?;

    step(
        context,
        "2  prepare: a row for each impression, with what was known before it; the first days to learn, the last to measure",
    )?;
    let report = prepare(context, &log, &folder)?;
    if !context.json {
        samples::print_parts(&report)?;
    }

    step(
        context,
        "3  train and evaluate: how probable is a click, and are the probabilities right?",
    )?;
    let table = SampleTable::open(&folder)?;
    let contestants =
        [(DEMO_MODEL, true), (registry::DEFAULT_MODEL, false)].map(|(name, is_baseline)| {
            Ok::<_, anyhow::Error>(OutcomeContestant::new(
                outcome::spec(context, name)?,
                is_baseline,
            ))
        });
    let contestants = contestants.into_iter().collect::<Result<Vec<_>, _>>()?;
    let options = outcome::options(context, None);
    let measured = measure_outcomes(&table, &contestants, &[], &options, &context.display)?;
    let spec = outcome::spec(context, DEMO_MODEL)?;
    let (file, _) = train_outcome(&table, spec.as_ref(), &options, &context.display)?;
    let model = out.join("click.forecart");
    file.save(&model)?;
    context.display.end();
    if !context.json {
        output::line(measured.table().trim_end())?;
    }

    step(
        context,
        "4  a budget: an impression costs 0.004, a click is worth 1, and there is money for a fifth of the impressions of the last days",
    )?;
    let offered = offered(&table, &file)?;
    let bought = ads::simulated(&offered, SHARE * PRICE * offered.len() as f64)?;
    if !context.json {
        ads::print_simulation(&bought)?;
    }

    step(
        context,
        "5  off-policy: the log drew its items with known probabilities; what would have been clicked, had the model chosen?",
    )?;
    let flags = OffPolicyArgs {
        model: model.clone(),
        input: None,
        data: Some(folder.clone()),
        item: "item_id".into(),
        propensity: None,
        within: vec![CAMPAIGN.into()],
        item_columns: Vec::new(),
        temperature: 1.0,
        clip: None,
    };
    let options = OffPolicyOptions {
        item: flags.item.clone(),
        item_columns: Vec::new(),
        within: flags.within.clone(),
        temperature: flags.temperature,
        clip: flags.clip,
        bootstrap: Bootstrap { seed: context.config.seed, ..Bootstrap::default() },
    };
    let impressions = ads::of_table(&table, &flags)?;
    let columns = &file.header().samples.columns;
    let policies = measure_off_policy(file.predictor(), columns, &impressions, &options)?;
    if context.json {
        let found = serde_json::json!({
            "click": measured, "simulation": bought, "off_policy": policies,
        });
        return output::json(&found);
    }
    ads::print_off_policy(&policies)?;
    output::line(&format!(
        "157 clicks in all tell no item from another: where an interval of the table holds the log's own rate, leave things as they are.\n\
         all of it took {:.1} s; next:\n  forecart ads off-policy --model {} --data {} --within {CAMPAIGN} --temperature 0.2\n  \
         forecart init --from FILE, for your own impressions",
        started.elapsed().as_secs_f64(),
        model.display(),
        folder.display(),
    ))
}

fn import(context: &Context, out: &Path, log: &Path) -> anyhow::Result<()> {
    let scratch = Scratch::new(out)?;
    let file = scratch.path().join(IMPRESSIONS_NAME);
    write_file(&file, IMPRESSIONS)?;
    let config = DataConfig::try_from((RawDataConfig::default(), RawEventsConfig::default()))?;
    let resources = context.resources_beside(log);
    let manifest = forecart_prepare::import(&[file], &config, log, &resources, &context.display)?;
    context.display.end();
    if context.json { Ok(()) } else { data::print_log(&manifest, context.verbose) }
}

fn prepare(context: &Context, log: &Path, folder: &Path) -> anyhow::Result<SamplesReport> {
    let raw = RawSamplesConfig {
        task: Some("click".into()),
        propensity: Some(PROPENSITY.into()),
        ignore: OF_USER_AND_ITEM.map(str::to_owned).to_vec(),
        ..RawSamplesConfig::default()
    };
    let data = DataConfig::try_from((RawDataConfig::default(), RawEventsConfig::default()))?;
    let config = SamplesConfig::try_from(raw)?;
    let resources = context.resources_beside(folder);
    let report = prepare_from_log(log, &data, &config, folder, &resources, &context.display)?;
    context.display.end();
    Ok(report)
}

/// The impressions of the test part, each at the same price.
fn offered(table: &SampleTable, file: &OutcomeModelFile) -> anyhow::Result<Vec<Opportunity>> {
    let rows = table.rows(Part::Test);
    let asked = rows.iter().map(|row| table.row(*row));
    let predictions = file.predictor().predict(asked, Positions::Neutral)?;
    let one = |(row, prediction): (&u32, &forecart_models::ads::Prediction)| {
        let clicked = table.label(*row) == 1.0;
        Opportunity {
            expected: prediction.probability,
            price: PRICE,
            realized: f64::from(u8::from(clicked)),
            clicked,
            converted: false,
        }
    };
    Ok(rows.iter().zip(&predictions).map(one).collect())
}
