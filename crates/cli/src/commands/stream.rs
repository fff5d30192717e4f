//! `train --samples`: a model from rows as they come, of files of any size.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use forecart_data::Progress as _;
use forecart_data::encode::HashedRows;
use forecart_eval::probability::{Bins, Predictions, auc, ece, logloss, normalized_entropy};
use forecart_models::ads::registry;
use forecart_models::model_file::{OutcomeModelFile, SigningKey};
use forecart_prepare::samples::{SampleStream, StreamPurpose};
use forecart_prepare::{DataConfig, PrepareError, SamplesConfig};
use forecart_train::{
    StreamOptions, StreamOrigin, StreamPredictions, StreamTrainer, peak_memory_bytes,
};

use super::Context;
use super::data::print_rows;
use crate::args::TrainArgs;
use crate::output::{self, count};

/// Between two lines about how far the work is.
const PAUSE: Duration = Duration::from_secs(10);

pub(crate) fn train(
    context: &Context,
    arguments: &TrainArgs,
    key: Option<&SigningKey>,
) -> anyhow::Result<()> {
    let keys = context.config.outcome_model(registry::STREAMED_MODEL)?;
    let config = registry::streamed(&arguments.model, &keys)?;
    let samples = context.config.samples(arguments.label.clone(), arguments.task)?;
    let data = context.config.data(None)?;
    let options = StreamOptions {
        n_passes: arguments.passes,
        held_out_every: arguments.hold_out.and_then(NonZeroU64::new),
        memory_limit_bytes: context.config.memory_limit_bytes,
    };
    let mut trainer = StreamTrainer::new(&config, &options)?;
    context.display.begin("look at the samples", None);
    let (paths, purpose, space) = (&arguments.samples, StreamPurpose::Labels, config.space());
    let mut stream = SampleStream::open(paths, purpose, space, &data, &samples, &context.display)?;
    let started = Instant::now();
    for pass in 1..=arguments.passes.get() {
        if pass > 1 {
            stream.rewind();
        }
        context.display.begin(&format!("learn, pass {pass}"), stream.n_bytes());
        pass_over(context, &mut stream, &mut trainer)?;
        trainer.end_pass();
    }
    let learn_secs = started.elapsed().as_secs_f64();
    let (learned, held_out) = trainer.ended();
    let origin = StreamOrigin {
        task: &samples.task,
        data_hash: stream.data_hash(),
        columns: stream.columns(),
        negatives_kept: samples.raw.negatives_kept,
    };
    context.display.begin("calibrate and write", None);
    let file = trainer.finish(&origin)?;
    file.save_signed(&arguments.out, key)?;
    let test = arguments.test.as_ref();
    let test = test.map(|path| measured(context, &file, path, &data, &samples)).transpose()?;
    context.display.end();
    let n_bytes = std::fs::metadata(&arguments.out)?.len();
    let header = file.header();
    let n_learned = stream.n_read() * u64::from(arguments.passes.get());
    let rows_per_second = n_learned as f64 / learn_secs.max(1e-9);
    if context.json {
        return output::json(&serde_json::json!({
            "task": header.task,
            "model": header.model,
            "file": arguments.out,
            "bytes": n_bytes,
            "rows": stream.n_read(),
            "rows_learned_from": learned.n_rows,
            "rows_without_label": stream.n_open(),
            "rejected": stream.rejected(),
            "columns": stream.columns(),
            "decisions": stream.decisions(),
            "data_hash": header.samples.data_hash,
            "seconds": learn_secs,
            "rows_per_second": rows_per_second,
            "progressive_log_loss": learned.mean(),
            "held_out": (held_out.n_rows > 0).then(|| serde_json::json!({
                "rows": held_out.n_rows, "log_loss": held_out.mean(),
            })),
            "test": test.as_ref().map(|test| test.to_json()),
            "calibration": header.serving.calibrator,
            "training": header.record,
            "peak_memory_bytes": peak_memory_bytes(),
        }));
    }
    for decision in stream.decisions() {
        output::line(decision)?;
    }
    print_rows("left out", &stream.rejected())?;
    if stream.n_open() > 0 {
        output::line(&format!("{} rows have no label", count(stream.n_open())))?;
    }
    output::line(&format!(
        "{} rows in {learn_secs:.1} s, {} rows/s; progressive log loss {:.4}",
        count(n_learned),
        count(rows_per_second as u64),
        learned.mean(),
    ))?;
    if held_out.n_rows > 0 {
        output::line(&format!(
            "{} rows held out: log loss {:.4}",
            count(held_out.n_rows),
            held_out.mean()
        ))?;
    }
    if let Some(test) = &test {
        output::line(&test.shown())?;
    }
    output::line(&format!(
        "wrote {}: {} of {}, {:.1} MB, calibrated by {}; next: forecart predict --model {0} --in rows.csv",
        arguments.out.display(),
        header.model,
        header.task,
        n_bytes as f64 / 1e6,
        header.serving.calibrator.method().name(),
    ))
}

/// Learns from all rows once.
fn pass_over(
    context: &Context,
    stream: &mut SampleStream,
    trainer: &mut StreamTrainer,
) -> anyhow::Result<()> {
    let (started, mut said) = (Instant::now(), Instant::now());
    let mut rows = HashedRows::default();
    while let Some(n_bytes) = stream.next_block(&mut rows)? {
        if context.display.is_cancelled() {
            return Err(PrepareError::Cancelled.into());
        }
        trainer.learn(&rows);
        context.display.advance(n_bytes);
        if said.elapsed() >= PAUSE {
            said = Instant::now();
            let per_second = stream.n_read() as f64 / started.elapsed().as_secs_f64();
            context.display.announce(&format!(
                "{} rows, {} rows/s, progressive log loss {:.4}",
                count(stream.n_read()),
                count(per_second as u64),
                trainer.learned().mean(),
            ));
        }
    }
    Ok(())
}

/// What was measured of rows that were not learned from.
struct OnTest {
    predictions: Predictions,
    ece: f64,
}

impl OnTest {
    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "rows": self.predictions.n_rows(),
            "log_loss": logloss(&self.predictions),
            "auc": auc(&self.predictions),
            "normalized_entropy": normalized_entropy(&self.predictions),
            "ece": self.ece,
            "mean_probability": self.predictions.mean_probability(),
            "base_rate": self.predictions.base_rate(),
        })
    }

    fn shown(&self) -> String {
        let shown = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
        format!(
            "{} rows of the test: log loss {:.4}, AUC {}, normalized entropy {}, ECE {:.4}",
            count(self.predictions.n_rows() as u64),
            logloss(&self.predictions),
            shown(auc(&self.predictions)),
            shown(normalized_entropy(&self.predictions)),
            self.ece,
        )
    }
}

fn measured(
    context: &Context,
    file: &OutcomeModelFile,
    path: &PathBuf,
    data: &DataConfig,
    samples: &SamplesConfig,
) -> anyhow::Result<OnTest> {
    let space = file.predictor().encoders().hash_space();
    let space = space.expect("a model that learned from a stream reads hashed features");
    context.display.begin("measure", None);
    let paths = std::slice::from_ref(path);
    let purpose = StreamPurpose::Labels;
    let mut stream = SampleStream::open(paths, purpose, space, data, samples, &context.display)?;
    let (mut rows, mut predictions) = (HashedRows::default(), StreamPredictions::default());
    while stream.next_block(&mut rows)?.is_some() {
        if context.display.is_cancelled() {
            return Err(PrepareError::Cancelled.into());
        }
        predictions.add(file, &rows)?;
    }
    let predictions = predictions.finish()?;
    Ok(OnTest { ece: ece(&predictions, Bins::default())?, predictions })
}
