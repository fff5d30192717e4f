//! Samples: files of rows with a label, to a sample table.
//!
//! Two passes. The first looks at the columns (the first 100,000 rows; of libsvm, libffm and Vowpal Wabbit all rows, since
//! which features there are is their layout) and decides what each holds; the second writes. Memory holds a byte, the label and
//! the moment of each row, and the different texts of each column.
//!
//! Start at [`prepare_samples`]; [`RawSamplesConfig`] documents every setting, `infer` how kinds are found. [`prepare_from_log`] makes
//! rows and labels from an event log. [`SampleRows`] reads files for predictions, [`SampleStream`] files of any size as hashed features, for a model that
//! learns from rows as they come. What is not here: encoders, which each model fits for itself.

mod config;
mod from_log;
mod infer;
mod input;
mod label;
mod plan;
mod rows;
mod sparse;
mod split;
mod stream;
mod value;

use std::path::{Path, PathBuf};

use forecart_data::dataset::{Reason, StepReport};
use forecart_data::samples::{Cell, PartCounts, SampleDescription, SampleSplit};
use forecart_data::{DataError, Progress, SampleWriter};
use serde::Serialize;

pub use config::{RawSamplesConfig, SamplesConfig, SplitChoice};
pub use from_log::{JoinReport, RawLogSamplesConfig, prepare_from_log};
pub use plan::ColumnReport;
pub use rows::SampleRows;
pub use stream::{SampleStream, StreamPurpose};
pub use value::OwnedRow;

use self::input::Input;
use self::plan::{Looked, Plan};
use self::rows::{RowPlan, check_share};
use self::split::{Samples, chosen};
use self::value::Given;
use crate::config::DataConfig;
use crate::error::Place;
use crate::import::rejects::{Code, Fault, Rejects};
use crate::import::{data_hash, n_bytes};
use crate::log::{Input as LogInput, Rejected};
use crate::read::inputs;
use crate::{PrepareError, Resources};

/// What was found and done; `forecart prepare` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SamplesReport {
    /// The columns in the order of the input, those that are not kept included.
    pub columns: Vec<ColumnReport>,
    /// What was decided by looking at the data, in sentences.
    pub decisions: Vec<String>,
    /// The files.
    pub inputs: Vec<LogInput>,
    /// How the parts were made.
    pub split: SampleSplit,
    /// Training, validation and test, or the folds.
    pub parts: Vec<PartCounts>,
    /// Rows whose label is not known yet: they are in no part.
    pub n_open: u64,
    /// Rows that were read, bad ones included.
    pub n_rows_read: u64,
    /// Rows that were left out.
    pub n_bad_rows: u64,
    /// These by reason, with the first lines.
    pub rejected: Vec<Rejected>,
    /// How the events of a log were joined to samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinReport>,
    /// Hash of the inputs, as in the manifest.
    pub data_hash: String,
    /// Hash of the table, as in the manifest.
    pub content_hash: String,
}

/// Makes a sample table in the folder `out` from files, or from the data files of folders.
///
/// `test` are the inputs of the test part, if it is given apart. The folder is replaced at the end, in one step; if
/// anything fails, what stood there before stays. The same inputs and settings give the same bytes, whatever the resources.
///
/// # Errors
/// [`PrepareError::Input`] if a file cannot be read, or its columns are not what the configuration says;
/// [`PrepareError::TooManyBadRows`] past `data.max_bad_rows`; [`PrepareError::Unusable`] if the rows do not allow the split;
/// [`PrepareError::Config`]; [`PrepareError::Io`] and [`PrepareError::Data`] if files cannot be read or written;
/// [`PrepareError::Cancelled`].
pub fn prepare_samples(
    inputs: &[PathBuf],
    test: &[PathBuf],
    data: &DataConfig,
    config: &SamplesConfig,
    out: &Path,
    resources: &Resources,
    progress: &dyn Progress,
) -> Result<SamplesReport, PrepareError> {
    resources.check()?;
    progress.begin("look at the samples", None);
    let mut found = inputs::find(inputs)?;
    let n_training = found.events.len();
    if !test.is_empty() {
        let test = inputs::find(test)?;
        found.events.extend(test.events);
        found.decisions.extend(test.decisions);
    }
    let names = config.raw.feature_names.as_deref();
    let known = config.named_columns();
    let look = |path: &PathBuf| Input::look(path, data, names, &known);
    let opened = found.events.iter().map(look).collect::<Result<Vec<_>, _>>()?;
    let mut plan =
        Plan::new(&opened, Looked { n_training, is_stream: false }, data, config, progress)?;
    plan.decisions.extend(found.decisions);
    let has_test = n_training < opened.len();
    let choice = chosen(config.split, plan.time_at.is_some(), has_test)?;
    let goes_by_time = plan.time_at.is_some()
        && (has_test || matches!(choice, SplitChoice::Auto | SplitChoice::Time));

    let mut writer = SampleWriter::new(out, plan.columns())?;
    let formats = opened.iter().map(|input| input.layout.format);
    progress.begin("write the samples", n_bytes(&found.events, formats));
    let mut reader =
        Reader { plan: &plan, data, goes_by_time, times: Vec::new(), rejects: Rejects::default() };
    let (mut read, mut n_before_test) = (Vec::new(), None);
    for (at, input) in opened.iter().enumerate() {
        if at == n_training {
            n_before_test = Some(writer.labels().len());
        }
        read.push(reader.read(input, progress, |values| push(&mut writer, values))?);
    }
    let Reader { times, rejects, .. } = reader;
    let n_read: u64 = read.iter().map(|input| input.n_read).sum();
    check_share(n_read, &rejects, data.max_bad_rows)?;
    if n_read == 0 {
        let place = Place::file(&found.events[0]);
        return Err(PrepareError::input(place, "no rows", "give a file with rows"));
    }

    progress.begin("split", None);
    let samples = Samples {
        labels: writer.labels(),
        times: plan.time_at.filter(|_| goes_by_time).map(|_| times.as_slice()),
        n_before_test,
    };
    let (parts, split) = samples.parts(choice, &config.raw)?;
    plan.note_split(&split, config);
    let rejected = rejects.clone().into_report();
    let data_hash = data_hash(&read);
    let description = SampleDescription {
        task: config.task.clone(),
        split: split.clone(),
        negatives_kept: config.raw.negatives_kept,
        data_hash: data_hash.clone(),
        config: config_value(&config.raw)?,
        steps: vec![step(n_read, &rejected)],
    };
    let manifest = writer.finish(&parts, description)?;
    Ok(SamplesReport {
        columns: plan.report,
        decisions: plan.decisions,
        inputs: read,
        split,
        parts: manifest.parts,
        n_open: manifest.n_open,
        n_rows_read: n_read,
        n_bad_rows: rejects.n_rows(),
        rejected,
        join: None,
        data_hash,
        content_hash: manifest.content_hash,
    })
}

/// What [`parse_sample_bytes`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedSamples {
    /// The columns.
    pub columns: Vec<ColumnReport>,
    /// Rows that were read.
    pub n_read: u64,
    /// Rows that are good.
    pub n_rows: u64,
    /// The others.
    pub rejected: Vec<Rejected>,
}

/// Reads a text of samples, compressed or not, from memory: for tests and tools. There is no limit of bad rows here.
///
/// ```
/// use forecart_prepare::{DataConfig, SamplesConfig, samples::parse_sample_bytes};
///
/// let text = b"label,age\n1,30\n0,40\n2,50\n";
/// let data = DataConfig { max_bad_rows: 1.0, ..DataConfig::default() };
/// let parsed = parse_sample_bytes(text, &data, &SamplesConfig::default()).unwrap();
/// assert_eq!((parsed.n_rows, parsed.rejected[0].code.as_str()), (2, "bad_label"));
/// ```
///
/// # Errors
/// [`PrepareError::Input`] if the text as a whole cannot be read.
pub fn parse_sample_bytes(
    bytes: &[u8],
    data: &DataConfig,
    config: &SamplesConfig,
) -> Result<ParsedSamples, PrepareError> {
    let inputs = [Input::of_bytes(bytes, data)?];
    let looked = Looked { n_training: 1, is_stream: false };
    let plan = Plan::new(&inputs, looked, data, config, &forecart_data::Silent)?;
    let goes_by_time = plan.time_at.is_some();
    let mut reader =
        Reader { plan: &plan, data, goes_by_time, times: Vec::new(), rejects: Rejects::default() };
    let mut n_rows = 0;
    let read = reader.read(&inputs[0], &forecart_data::Silent, |_| {
        n_rows += 1;
        Ok(())
    })?;
    let rejected = reader.rejects.into_report();
    Ok(ParsedSamples { columns: plan.report, n_read: read.n_read, n_rows, rejected })
}

/// The second pass.
struct Reader<'a> {
    plan: &'a Plan,
    data: &'a DataConfig,
    /// Whether a row with a label needs a moment.
    goes_by_time: bool,
    times: Vec<Option<i64>>,
    rejects: Rejects,
}

impl Reader<'_> {
    /// Hands the values of every good row of an input to `write`.
    fn read(
        &mut self,
        input: &Input,
        progress: &dyn Progress,
        mut write: impl FnMut(&[Given<'_>]) -> Result<(), DataError>,
    ) -> Result<LogInput, PrepareError> {
        let plan = RowPlan::new(input, self.plan.slots());
        let mut rows = input.open(self.data)?;
        let mut n_read = 0;
        let mut failed = None;
        loop {
            if progress.is_cancelled() {
                return Err(PrepareError::Cancelled);
            }
            let block = rows.next(input, self.data, |found, line| {
                if failed.is_some() {
                    return;
                }
                n_read += 1;
                let values = plan.values(&found, input, self.data);
                let values = values.and_then(|values| self.weighed(values));
                match values.and_then(|values| self.timed(values)) {
                    Ok(values) => failed = write(&values).err(),
                    Err(fault) => {
                        self.rejects.add(&input.file_name, line, &input.layout.names, &fault);
                    }
                }
            })?;
            if let Some(error) = failed {
                return Err(error.into());
            }
            let Some(n_bytes) = block else { break };
            progress.advance(n_bytes);
        }
        Ok(LogInput {
            name: input.file_name.clone(),
            sha256: rows.hash(input)?,
            format: input.layout.format.name().to_owned(),
            n_read,
        })
    }

    /// Refuses a row whose weight is none.
    fn weighed<'a>(&self, values: Vec<Given<'a>>) -> Result<Vec<Given<'a>>, Fault> {
        let Some(at) = self.plan.weight_at else { return Ok(values) };
        match values[at] {
            Given::Number(weight) if weight >= 0.0 => Ok(values),
            Given::Number(weight) => {
                Err(Fault { code: Code::BadWeight, column: None, found: weight.to_string() })
            }
            _ => Err(Fault { code: Code::BadWeight, column: None, found: String::new() }),
        }
    }

    /// Keeps the moment of a row; one with a label needs one where the parts go by time.
    fn timed<'a>(&mut self, values: Vec<Given<'a>>) -> Result<Vec<Given<'a>>, Fault> {
        let Some(at) = self.plan.time_at else { return Ok(values) };
        let time = match values[at] {
            Given::Time(time) => Some(time),
            _ => None,
        };
        let is_open = match values[self.plan.label_at] {
            Given::Number(label) => label.is_nan(),
            _ => true,
        };
        if time.is_none() && self.goes_by_time && !is_open {
            return Err(Fault { code: Code::MissingTime, column: None, found: String::new() });
        }
        self.times.push(time);
        Ok(values)
    }
}

fn push(writer: &mut SampleWriter, values: &[Given<'_>]) -> Result<(), DataError> {
    let lists: Vec<Vec<&str>> = values
        .iter()
        .map(|value| match value {
            Given::List(texts) => texts.iter().map(AsRef::as_ref).collect(),
            _ => Vec::new(),
        })
        .collect();
    let cells: Vec<Cell<'_>> = values
        .iter()
        .zip(&lists)
        .map(|(value, list)| match value {
            Given::Missing => Cell::Missing,
            Given::Number(number) => Cell::Number(*number),
            Given::Text(text) => Cell::Text(text),
            Given::List(_) => Cell::List(list),
            Given::Time(time) => Cell::Time(*time),
        })
        .collect();
    writer.push(&cells)
}

/// The configuration for the manifest, which holds no paths.
fn config_value(raw: &RawSamplesConfig) -> Result<serde_json::Value, PrepareError> {
    let names = raw.feature_names.as_deref();
    let name = names.map(|path| PathBuf::from(crate::import::file_name(path)));
    let raw = RawSamplesConfig { feature_names: name, ..raw.clone() };
    serde_json::to_value(raw)
        .map_err(|error| DataError::Inconsistent { reason: error.to_string() }.into())
}

fn step(n_read: u64, rejected: &[Rejected]) -> StepReport {
    let mut reasons: Vec<Reason> = rejected
        .iter()
        .map(|group| Reason { reason: group.reason.clone(), n_rows: group.n_rows })
        .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.n_rows));
    let n_bad: u64 = reasons.iter().map(|reason| reason.n_rows).sum();
    StepReport {
        step: "read".into(),
        n_rows_in: n_read,
        n_rows_out: n_read - n_bad,
        reasons,
        ..StepReport::default()
    }
}
