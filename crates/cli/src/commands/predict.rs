//! `predict`: a probability for each row of a file, as a stream.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::Context as _;
use forecart_data::storage::Replacement;
use forecart_models::ads::Positions;
use forecart_models::model_file::OutcomeModelFile;
use forecart_prepare::samples::SampleRows;

use super::Context;
use crate::args::PredictArgs;
use crate::output;

pub(crate) fn run(context: &Context, arguments: &PredictArgs) -> anyhow::Result<()> {
    let file = OutcomeModelFile::open(&arguments.model)?;
    let header = file.header();
    let data = context.config.data(None)?;
    let mut rows = SampleRows::open(&arguments.input, &header.samples.columns, &data)?;
    let positions = if arguments.as_logged { Positions::AsLogged } else { Positions::Neutral };
    let replacement = arguments.out.as_deref().map(Replacement::file).transpose()?;
    let mut out: Box<dyn Write> = match &replacement {
        Some(replacement) => {
            let path = replacement.path();
            let file = File::create(path).with_context(|| format!("write {path:?}"))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(std::io::stdout().lock())),
    };
    if !context.json {
        writeln!(out, "line,probability")?;
    }
    let (mut n_rows, mut sum) = (0u64, 0.0);
    while let Some(block) = rows.next_block()? {
        let lines: Vec<u64> = block.iter().map(|row| row.line).collect();
        let predictions = file.predictor().predict(block, positions)?;
        for (line, prediction) in lines.iter().zip(&predictions) {
            let p = prediction.probability;
            match context.json {
                true => writeln!(out, "{{\"line\":{line},\"probability\":{p}}}")?,
                false => writeln!(out, "{line},{p}")?,
            }
            n_rows += 1;
            sum += p;
        }
    }
    out.flush()?;
    drop(out);
    let Some(replacement) = replacement else { return Ok(()) };
    replacement.commit()?;
    let path = arguments.out.as_deref().unwrap_or(&arguments.input);
    output::line(&format!(
        "wrote {}: {} rows, mean probability {:.4} ({} of {})",
        path.display(),
        output::count(n_rows),
        sum / (n_rows as f64).max(1.0),
        header.model,
        header.task,
    ))
}
