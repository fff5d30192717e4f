//! `demo recommend`: from the bundled orders of a shop to what its customers want next.

use std::path::Path;
use std::time::Instant;

use forecart_data::dataset::Manifest;
use forecart_data::{Dataset, Part, Progress as _};
use forecart_eval::{Metric, find_leaks};
use forecart_models::model_file::LoadedModel;
use forecart_models::recommend::{FitOn, registry};
use forecart_prepare::Resources;
use forecart_prepare::prepare::{
    PrepareConfig, RawPrepareConfig, RawSplitConfig, SeenRule, SplitKind,
};
use forecart_train::{MeasureOptions, TrainOptions, measure, train};

use super::super::{Context, data, evaluate, recommend, train as train_verb};
use super::{import_orders, step};
use crate::args::DemoArgs;
use crate::output;

/// Days at the end of the log that are for test, and as many before them for validation.
const TEST_DAYS: u32 = 30;
/// What the demo serves: fitted in a second, where the default model takes minutes.
const DEMO_MODEL: &str = "seq-rules";

pub(crate) fn run(context: &Context, arguments: &DemoArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let out = &arguments.out;
    let (log, folder) = (out.join("log"), out.join("dataset"));
    let resources = context.resources_beside(&log);
    step(context, "1  import: all orders of a British gift shop, 2010-12 to 2011-12")?;
    let manifest = import_orders(context, out, &log, &resources)?;
    context.display.end();
    if !context.json {
        data::print_log(&manifest, context.verbose)?;
    }

    step(context, "2  prepare: clean, encode, split by time; the last 30 days are for test")?;
    let manifest = prepare_orders(context, &log, &folder, &resources)?;
    context.display.end();
    if !context.json {
        data::print_dataset(&manifest)?;
    }

    step(context, "3  train and evaluate: every item ranked for every user of the test days")?;
    let dataset = Dataset::open(&folder)?;
    let names = [DEMO_MODEL.to_owned(), "mlp".to_owned()];
    let options = MeasureOptions {
        fit_on: FitOn::Train,
        seeds: vec![context.config.seed],
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        max_history: None,
        seen: None,
        primary: Metric::ndcg(10),
        title: "Online Retail, next 30 days".to_owned(),
        commit: option_env!("FORECART_COMMIT").map(str::to_owned),
        deterministic: false,
    };
    let contestants = evaluate::contestants(context, &names, true)?;
    let mut report = measure(&dataset, &contestants, &[], &options, &context.display)?;
    report.leakage = find_leaks(&dataset);
    context.display.end();
    evaluate::write_report(out, &report.to_html()?, &report.to_json()?)?;
    if context.json {
        output::json(&report)?;
    } else {
        output::line(&report.table())?;
    }

    step(context, "4  recommend: the rules, trained on all days before the test")?;
    let model_file = out.join("model.forecart");
    let spec = registry::spec(DEMO_MODEL, &context.config.model(DEMO_MODEL)?)?;
    let options = TrainOptions {
        fit_on: FitOn::TrainValidation,
        seed: context.config.seed,
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        seen: None,
        checkpoint: None,
    };
    context.display.begin(&format!("train {DEMO_MODEL}"), None);
    let trained = train(&dataset, spec.as_ref(), &options, &context.display)?;
    train_verb::save(&dataset, trained, &model_file, None)?;
    context.display.end();
    if !context.json {
        show_answers(&dataset, &model_file)?;
        output::line(&format!(
            "the report with plots: {}\nall of it took {:.1} s; your own log next: forecart init --from FILE",
            out.join("report.html").display(),
            started.elapsed().as_secs_f64(),
        ))?;
    }
    Ok(())
}

/// Prepares them to the dataset `folder`.
pub(in crate::commands) fn prepare_orders(
    context: &Context,
    log: &Path,
    folder: &Path,
    resources: &Resources,
) -> anyhow::Result<Manifest> {
    let config = PrepareConfig::new(prepare_config(), split_config())?;
    let display = &context.display;
    Ok(forecart_prepare::prepare::prepare(log, &config, folder, resources, display)?)
}

/// What a shop of this kind would choose: people buy the same things again, so seen items stay.
fn prepare_config() -> RawPrepareConfig {
    RawPrepareConfig {
        min_user_events: 2,
        min_item_events: 5,
        seen: Some(SeenRule::Keep),
        ..RawPrepareConfig::default()
    }
}

fn split_config() -> RawSplitConfig {
    RawSplitConfig {
        kind: SplitKind::Time,
        test_days: Some(TEST_DAYS),
        validation_days: Some(TEST_DAYS),
        ..RawSplitConfig::default()
    }
}

/// A user of the test days, and a visitor with three items that the shop has never seen together.
fn show_answers(dataset: &Dataset, model_file: &Path) -> anyhow::Result<()> {
    let model = LoadedModel::open(model_file)?;
    let k = std::num::NonZeroUsize::new(5).expect("5 is not 0");
    let has_both = |user: &forecart_data::UserIdx| {
        let n_known = dataset.history_before(*user, Part::Test).items.len();
        (5..40).contains(&n_known) && !dataset.events_in(*user, Part::Test).items.is_empty()
    };
    if let Some(user) = dataset.user_indices().find(has_both) {
        recommend::show_user(dataset, &model, dataset.users.text(user.0), k)?;
    }
    let items: Vec<&str> = dataset.items.iter().take(3).map(|(_, id, _)| id).collect();
    recommend::show_visitor(&model, &items, k)
}
