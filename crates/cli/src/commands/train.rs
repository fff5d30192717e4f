//! `train`: one model, for service.

use std::path::{Path, PathBuf};

use forecart_data::{Dataset, IntentTable, OrderTable, Progress as _, Questions, SampleTable};
use forecart_models::model_file::{LoadedModel, Provenance, SigningKey};
use forecart_models::recommend::{FitOn, registry};
use forecart_models::training::{Checkpoint, FitRecord};
use forecart_train::{TrainOptions, Trained, train};

use super::{Context, demand, outcome, questions, signing, stream, support};
use crate::args::{TaskName, TrainArgs};
use crate::failure::UsageError;
use crate::output;

pub(crate) fn run(context: &Context, arguments: &TrainArgs) -> anyhow::Result<()> {
    let key = signing::key(&arguments.sign)?;
    let key = key.as_ref();
    if !arguments.samples.is_empty() {
        return stream::train(context, arguments, key);
    }
    if SampleTable::is_at(&arguments.data) {
        return outcome::train(context, arguments, key);
    }
    if OrderTable::is_at(&arguments.data) {
        return demand::train(context, arguments, key);
    }
    if IntentTable::is_at(&arguments.data) {
        return support::train(context, arguments, key);
    }
    if Questions::is_at(&arguments.data) {
        return questions::train(context, arguments, key);
    }
    if let Some(task) = arguments.task {
        let (table, made_by) = match task {
            TaskName::Demand => ("an order table", "`forecart prepare --task demand`"),
            TaskName::Support => ("an intent table", "`forecart prepare --task support`"),
            TaskName::Question => ("a question table", "`forecart prepare --task question`"),
            _ => {
                let made_by = "`forecart prepare --samples`, or give rows with `--samples`";
                ("a sample table", made_by)
            }
        };
        let message = format!(
            "--task {} learns from {table}, and {:?} is none: make one with {made_by}",
            task.name(),
            arguments.data
        );
        return Err(UsageError(message).into());
    }
    let name = registry::entry(&arguments.model)?.name;
    let spec = registry::spec(name, &context.config.model(name)?)?;
    let dataset = Dataset::open(&arguments.data)?;
    let checkpoint = checkpoint(arguments)?;
    let options = TrainOptions {
        fit_on: arguments.fit_on.map(FitOn::from).unwrap_or_default(),
        seed: context.config.seed,
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        seen: None,
        checkpoint: Some(checkpoint.clone()),
    };
    context.display.begin(&format!("train {name}"), None);
    let trained = train(&dataset, spec.as_ref(), &options, &context.display)?;
    let (fit_secs, memory_bytes) = (trained.fit_secs, trained.memory_bytes);
    let (needed_bytes, has_epochs) = (trained.needed_bytes, trained.seed.is_some());
    let model = save(&dataset, trained, &arguments.out, key)?;
    if has_epochs {
        checkpoint.remove()?;
    }
    let n_bytes = std::fs::metadata(&arguments.out)?.len();
    context.display.end();
    let provenance = &model.header().provenance;
    if context.json {
        return output::json(&serde_json::json!({
            "model": name,
            "file": arguments.out,
            "bytes": n_bytes,
            "seconds": fit_secs,
            "needed_bytes": needed_bytes,
            "memory_bytes": memory_bytes,
            "seed": provenance.seed,
            "fit_on": provenance.fit_on,
            "dataset_hash": dataset.manifest.content_hash,
            "training": provenance.record,
        }));
    }
    print_epochs(&provenance.record)?;
    output::line(&format!(
        "wrote {}: {name}, {:.1} MB, trained in {:.1} s; next: forecart evaluate --data {} --model {0}",
        arguments.out.display(),
        n_bytes as f64 / 1e6,
        fit_secs,
        arguments.data.display(),
    ))
}

/// Where training saves itself, beside its model file; empty if it is to begin anew.
pub(super) fn checkpoint(arguments: &TrainArgs) -> anyhow::Result<Checkpoint> {
    let mut path = arguments.out.as_os_str().to_owned();
    path.push(".checkpoint");
    let checkpoint = Checkpoint::new(PathBuf::from(path));
    if arguments.restart {
        checkpoint.remove()?;
    }
    Ok(checkpoint)
}

/// How many epochs there were; nothing for a model without.
pub(super) fn print_epochs(record: &FitRecord) -> anyhow::Result<()> {
    let Some(last) = record.curve.last() else { return Ok(()) };
    let chosen = record.chosen_epoch.unwrap_or(last.epoch);
    output::line(&format!("{} epochs, epoch {chosen} was best on validation", last.epoch))
}

/// Puts a trained model, with its vocabulary and provenance, into a model file, signed where there is a key.
pub(crate) fn save(
    dataset: &Dataset,
    trained: Trained,
    path: &Path,
    key: Option<&SigningKey>,
) -> anyhow::Result<LoadedModel> {
    let provenance = Provenance {
        seed: trained.seed,
        fit_on: trained.fit_on,
        record: trained.record,
        ..Provenance::default()
    };
    let model = LoadedModel::new(trained.model, dataset, provenance)?;
    model.save_signed(path, key)?;
    Ok(model)
}
