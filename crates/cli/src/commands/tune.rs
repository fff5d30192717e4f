//! `tune`: searches for better hyperparameters of one model.

use std::num::NonZeroUsize;
use std::time::Duration;

use forecart_data::storage::{remove_file, write_file};
use forecart_data::{Dataset, SeenItems};
use forecart_eval::find_leaks;
use forecart_models::recommend::{FitOn, TrainingView, registry};
use forecart_train::{Budget, TuneOptions, survival, tune};

use super::{Context, evaluate};
use crate::args::TuneArgs;
use crate::failure::UsageError;
use crate::output;

/// Trials where no budget is given.
const N_TRIALS: NonZeroUsize = NonZeroUsize::new(40).expect("40 is not 0");

pub(crate) fn run(context: &Context, arguments: &TuneArgs) -> anyhow::Result<()> {
    let model = registry::entry(&arguments.model)?.name;
    let metric = evaluate::deciding(&arguments.metric)?;
    let budget = match arguments.minutes {
        Some(minutes) if minutes > 0.0 && minutes.is_finite() => {
            Budget::Time(Duration::from_secs_f64(minutes * 60.0))
        }
        Some(_) => return Err(UsageError("--minutes must be above 0".into()).into()),
        None => Budget::Trials(arguments.trials.unwrap_or(N_TRIALS)),
    };
    let dataset = Dataset::open(&arguments.data)?;
    let leakage = find_leaks(&dataset);
    if !leakage.leaks.is_empty() && !arguments.allow_leaks {
        return Err(evaluate::leaked(&leakage, evaluate::REPAIR).into());
    }
    let usual_length = || TrainingView::new(&dataset, FitOn::Train).usual_length();
    let options = TuneOptions {
        model: model.to_owned(),
        keys: context.config.model(model)?,
        budget,
        seed: context.config.seed,
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        metric,
        max_history: arguments.max_history.map_or_else(usual_length, usize::from),
        seen: arguments.seen.map(SeenItems::from),
        prunes: !arguments.no_pruning,
    };
    let out = &arguments.out;
    let journal = out.join("trials.journal");
    if arguments.restart {
        remove_file(&journal)?;
    }
    let trials = tune(&dataset, &options, &journal, &context.display)?;
    let title = arguments.data.display().to_string();
    let mut search = survival(&dataset, &options, trials, &title, &context.display)?;
    search.report.leakage = leakage;
    context.display.end();
    write_file(&out.join("report.html"), search.to_html()?.as_bytes())?;
    write_file(&out.join("report.json"), search.to_json()?.as_bytes())?;
    write_file(&out.join("best.toml"), search.to_toml().as_bytes())?;
    if context.json {
        return output::json(&search);
    }
    output::line(&search.table())?;
    output::line(&format!(
        "report: {}; next: forecart train --config {} --model {model}",
        out.join("report.html").display(),
        out.join("best.toml").display()
    ))
}
