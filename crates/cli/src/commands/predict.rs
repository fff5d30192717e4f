//! `predict`: a probability for each row of a file, as a stream.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use forecart_data::encode::HashedRows;
use forecart_data::storage::{Replacement, Scratch};
use forecart_data::{Progress as _, Silent};
use forecart_models::ads::{Conversion, OutcomePredictor, Positions, Prediction};
use forecart_models::model_file::{self, AnyHeader, OutcomeModelFile};
use forecart_prepare::log::Rejected;
use forecart_prepare::samples::{SampleRows, SampleStream, StreamPurpose};
use forecart_prepare::{DataConfig, SamplesConfig};

use super::data::print_rows;
use super::{Context, demand};
use crate::args::PredictArgs;
use crate::failure::UsageError;
use crate::output;

/// A file of rows, or what a pipe gave: that can be read once, and a file is looked at before it is read.
pub(super) struct Input {
    path: PathBuf,
    /// Keeps what came through the pipe.
    _piped: Option<Scratch>,
}

impl Input {
    pub(super) fn open(given: &Path) -> anyhow::Result<Self> {
        if given.as_os_str() != "-" {
            return Ok(Self { path: given.to_owned(), _piped: None });
        }
        let scratch = Scratch::new(&std::env::temp_dir())?;
        let path = scratch.path().join("standard-input");
        let mut file = File::create(&path).with_context(|| format!("write {path:?}"))?;
        std::io::copy(&mut std::io::stdin().lock(), &mut file).context("read standard input")?;
        Ok(Self { path, _piped: Some(scratch) })
    }

    pub(super) fn rows(
        &self,
        context: &Context,
        model: &OutcomeModelFile,
    ) -> anyhow::Result<SampleRows> {
        let data = context.config.data(None)?;
        let config = context.config.samples(None, None)?;
        let columns = &model.header().samples.columns;
        Ok(SampleRows::open_with(&self.path, columns, &data, &config)?)
    }
}

pub(super) fn positions(as_logged: bool) -> Positions {
    if as_logged { Positions::AsLogged } else { Positions::Neutral }
}

pub(crate) fn run(context: &Context, arguments: &PredictArgs) -> anyhow::Result<()> {
    if matches!(model_file::inspect(&arguments.model)?.header, AnyHeader::Demand(_)) {
        return demand::predict(context, arguments);
    }
    if arguments.lead_time.is_some() {
        let message = "--lead-time is for a forecast of demand; leave it out";
        return Err(UsageError(message.into()).into());
    }
    let Some(given) = &arguments.input else {
        let message = "the model predicts rows: name a file of them by --in";
        return Err(UsageError(message.into()).into());
    };
    let file = OutcomeModelFile::open(&arguments.model)?;
    let header = file.header();
    let input = Input::open(given)?;
    let (data, config) = (context.config.data(None)?, context.config.samples(None, None)?);
    let mut rows = Source::open(&file, &input.path, &data, &config)?;
    let positions = positions(arguments.as_logged);
    let replacement = arguments.out.as_deref().map(Replacement::file).transpose()?;
    let mut out: Box<dyn Write> = match &replacement {
        Some(replacement) => {
            let path = replacement.path();
            let file = File::create(path).with_context(|| format!("write {path:?}"))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    let has_conversions = header.serving.conversion.is_some();
    if !context.json {
        let further =
            if has_conversions { ",conversion_given_click,click_and_conversion" } else { "" };
        output::written(writeln!(out, "line,probability{further}"))?;
    }
    let (mut n_rows, mut sum) = (0u64, 0.0);
    while let Some(predictions) = rows.next(file.predictor(), positions)? {
        for (line, prediction) in &predictions {
            let p = prediction.probability;
            output::written(match (context.json, prediction.conversion) {
                (true, None) => writeln!(out, "{{\"line\":{line},\"probability\":{p}}}"),
                (false, None) => writeln!(out, "{line},{p}"),
                (true, Some(Conversion { given_click, with_click })) => writeln!(
                    out,
                    "{{\"line\":{line},\"probability\":{p},\"conversion_given_click\":{given_click},\"click_and_conversion\":{with_click}}}"
                ),
                (false, Some(Conversion { given_click, with_click })) => {
                    writeln!(out, "{line},{p},{given_click},{with_click}")
                }
            })?;
            n_rows += 1;
            sum += p;
        }
    }
    output::written(out.flush())?;
    drop(out);
    let rejected = rows.rejected();
    let Some(replacement) = replacement else {
        // Standard output holds the predictions; what is missing from them is said beside it.
        for entry in &rejected {
            context.display.announce(&format!("left out {} rows: {}", entry.n_rows, entry.reason));
        }
        return Ok(());
    };
    replacement.commit()?;
    let path = arguments.out.as_deref().unwrap_or(given);
    output::line(&format!(
        "wrote {}: {} rows, mean probability {:.4} ({} of {})",
        path.display(),
        output::count(n_rows),
        sum / (n_rows as f64).max(1.0),
        header.model,
        header.task,
    ))?;
    print_rows("left out", &rejected)
}

/// Rows to predict.
enum Source {
    /// By the columns of the model.
    Rows(Box<SampleRows>),
    /// As hashed features, for a model that reads them: of lines of features all that there are.
    Stream(Box<SampleStream>, HashedRows),
}

impl Source {
    fn open(
        file: &OutcomeModelFile,
        input: &Path,
        data: &DataConfig,
        config: &SamplesConfig,
    ) -> anyhow::Result<Self> {
        let columns = &file.header().samples.columns;
        let space = file.predictor().encoders().hash_space();
        // A position that is the same for all rows is one of the columns.
        let is_free = file.predictor().serving().positions.is_empty();
        if let Some(space) = space.filter(|_| is_free) {
            let (paths, purpose) = ([input.to_owned()], StreamPurpose::Features(columns));
            let stream = SampleStream::open(&paths, purpose, space, data, config, &Silent)?;
            return Ok(Self::Stream(Box::new(stream), HashedRows::default()));
        }
        Ok(Self::Rows(Box::new(SampleRows::open_with(input, columns, data, config)?)))
    }

    /// The predictions of the next block, each with its line; `None` at the end.
    fn next(
        &mut self,
        predictor: &OutcomePredictor,
        positions: Positions,
    ) -> anyhow::Result<Option<Vec<(u64, Prediction)>>> {
        let (lines, predictions): (Vec<u64>, _) = match self {
            Self::Rows(rows) => {
                let Some(block) = rows.next_block()? else { return Ok(None) };
                let lines = block.iter().map(|row| row.line).collect();
                (lines, predictor.predict(block, positions)?)
            }
            Self::Stream(stream, rows) => {
                if stream.next_block(rows)?.is_none() {
                    return Ok(None);
                }
                let lines = rows.iter().map(|row| row.line).collect();
                (lines, predictor.predict_stream(rows)?)
            }
        };
        Ok(Some(lines.into_iter().zip(predictions).collect()))
    }

    fn rejected(&self) -> Vec<Rejected> {
        match self {
            Self::Rows(rows) => rows.rejected(),
            Self::Stream(stream, _) => stream.rejected(),
        }
    }
}
