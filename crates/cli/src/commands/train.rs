//! `train`: one model, for service.

use forecart_data::{Dataset, Progress as _};
use forecart_models::model_file::{LoadedModel, Provenance};
use forecart_models::recommend::{FitOn, registry};
use forecart_train::{TrainOptions, Trained, train};

use super::Context;
use crate::args::TrainArgs;
use crate::output;

pub(crate) fn run(context: &Context, arguments: &TrainArgs) -> anyhow::Result<()> {
    let name = registry::entry(&arguments.model)?.name;
    let spec = registry::spec(name, &context.config.model(name)?)?;
    let dataset = Dataset::open(&arguments.data)?;
    let options = TrainOptions {
        fit_on: FitOn::from(arguments.fit_on),
        seed: context.config.seed,
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
    };
    context.display.begin(&format!("train {name}"), None);
    let trained = train(&dataset, spec.as_ref(), &options, &context.display)?;
    let (fit_secs, memory_bytes) = (trained.fit_secs, trained.memory_bytes);
    let model = save(&dataset, trained, &arguments.out)?;
    let n_bytes = std::fs::metadata(&arguments.out)?.len();
    context.display.end();
    let provenance = &model.header().provenance;
    if context.json {
        return output::json(&serde_json::json!({
            "model": name,
            "file": arguments.out,
            "bytes": n_bytes,
            "seconds": fit_secs,
            "memory_bytes": memory_bytes,
            "seed": provenance.seed,
            "fit_on": provenance.fit_on,
            "dataset_hash": dataset.manifest.content_hash,
            "training": provenance.record,
        }));
    }
    if let Some(last) = provenance.record.curve.last() {
        let chosen = provenance.record.chosen_epoch.unwrap_or(last.epoch);
        output::line(&format!("{} epochs, epoch {chosen} was best on validation", last.epoch))?;
    }
    output::line(&format!(
        "wrote {}: {name}, {:.1} MB, trained in {:.1} s; next: forecart evaluate --data {} --model {0}",
        arguments.out.display(),
        n_bytes as f64 / 1e6,
        fit_secs,
        arguments.data.display(),
    ))
}

/// Puts a trained model, with its vocabulary and provenance, into a model file.
pub(crate) fn save(
    dataset: &Dataset,
    trained: Trained,
    path: &std::path::Path,
) -> anyhow::Result<LoadedModel> {
    let provenance = Provenance {
        seed: trained.seed,
        fit_on: trained.fit_on,
        record: trained.record,
        ..Provenance::default()
    };
    let model = LoadedModel::new(trained.model, dataset, provenance)?;
    model.save(path)?;
    Ok(model)
}
