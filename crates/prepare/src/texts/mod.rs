//! From labeled texts to an intent table: read, masked, without repeats, in parts.
//!
//! Nothing of a text is kept or shown before [`Pipeline::clean`](forecart_text::Pipeline::clean) has masked it. Start at [`prepare_texts`].

mod config;
mod findings;
mod nlu;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use forecart_data::dataset::Reason;
use forecart_data::encode::{Row as _, Value};
use forecart_data::intents::{IntentDescription, IntentManifest};
use forecart_data::samples::{ColumnKind, Role, SampleColumn};
use forecart_data::{IntentTable, IntentWriter, Part, Progress, storage};
use serde::Serialize;

use forecart_text::Pipeline;

pub use config::{RawTextConfig, TextConfig};
pub use forecart_text::PipelineConfig;

pub use findings::{TextFindings, TextPair, find_in_texts};

use crate::error::Place;
use crate::log::{Input, Rejected};
use crate::{DataConfig, PrepareError, SampleRows};

const TEXT_NAMES: [&str; 6] = ["text", "utterance", "question", "query", "message", "sentence"];
const INTENT_NAMES: [&str; 4] = ["intent", "label", "category", "class"];

/// What was read and made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TextsReport {
    /// The table.
    pub manifest: IntentManifest,
    /// Rows that could not be read, by reason.
    pub rejected: Vec<Rejected>,
    /// What the files hold beside labeled texts, and is not used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// What is wrong with the texts.
    pub findings: TextFindings,
}

/// The examples of `nlu.yml` of Rasa with their intents, masked.
///
/// # Errors
/// [`PrepareError::Input`] for bytes that are none.
pub fn parse_nlu_bytes(
    bytes: &[u8],
    pipeline: &Pipeline,
) -> Result<Vec<(String, String)>, PrepareError> {
    let path = Path::new("nlu.yml");
    let text = std::str::from_utf8(bytes).map_err(|_| not_utf8(path))?;
    let examples = nlu::parse(text, path)?.examples.into_iter();
    Ok(examples.map(|example| (pipeline.clean(&example.text), example.intent)).collect())
}

/// What texts of an event log go through, of which no configuration speaks.
pub(crate) fn pipeline_of_logs() -> &'static Pipeline {
    static PIPELINE: LazyLock<Pipeline> = LazyLock::new(|| {
        Pipeline::new(PipelineConfig::default()).expect("the default configuration fits")
    });
    &PIPELINE
}

fn not_utf8(path: &Path) -> PrepareError {
    let fix = "convert the file to UTF-8, as with `iconv -f latin1 -t utf-8`";
    PrepareError::input(Place::file(path), "not UTF-8", fix)
}

/// What was read and is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// The name of the file.
    pub file: String,
    /// What it is, in words.
    pub what: String,
    /// How often it stands there.
    pub n: u64,
}

/// Where texts are read from.
#[derive(Debug, Clone, Copy)]
pub struct TextFiles<'a> {
    /// What is learned from.
    pub train: &'a [PathBuf],
    /// What chooses; without it, the share of the training texts that `text.validation` says.
    pub validation: Option<&'a Path>,
    /// What is measured on; without it, the share that `text.test` says.
    pub test: Option<&'a Path>,
}

/// A text on its way into the table.
struct Labeled {
    text: String,
    /// `None` for none of the intents.
    intent: Option<String>,
    part: Part,
}

/// What is read, file by file.
struct Reader<'a> {
    data: &'a DataConfig,
    config: &'a TextConfig,
    rows: Vec<Labeled>,
    inputs: Vec<Input>,
    rejected: Vec<Rejected>,
    passed_over: Vec<PassedOver>,
    n_without: [u64; 2],
}

/// Makes an intent table in the folder `out` from files of texts: tables (CSV, TSV, JSONL, Parquet) with a column of texts and one of intents, or
/// `nlu.yml` of Rasa. Without a file of test texts a share of each intent is the test part, and without one of validation texts a share of the rest is
/// the validation part, both by the seed and the texts alone, so that their order plays no part.
///
/// A text that stands in a part twice with one intent is kept once; one that stands in the test part too is learned from in no other.
///
/// # Errors
/// [`PrepareError::Input`] or [`PrepareError::Io`] if a file cannot be read or has not the columns, [`PrepareError::TooManyBadRows`],
/// [`PrepareError::Unusable`] if fewer than two intents are left, [`PrepareError::Data`], [`PrepareError::Cancelled`].
pub fn prepare_texts(
    files: TextFiles<'_>,
    data: &DataConfig,
    config: &TextConfig,
    out: &Path,
    progress: &dyn Progress,
) -> Result<TextsReport, PrepareError> {
    let mut reader = Reader {
        data,
        config,
        rows: Vec::new(),
        inputs: Vec::new(),
        rejected: Vec::new(),
        passed_over: Vec::new(),
        n_without: [0; 2],
    };
    progress.begin("texts", None);
    let TextFiles { train, validation, test } = files;
    let given = train.iter().map(|path| (path.as_path(), Part::Train));
    let given = given.chain(validation.map(|path| (path, Part::Validation)));
    for (path, part) in given.chain(test.map(|path| (path, Part::Test))) {
        if progress.is_cancelled() {
            return Err(PrepareError::Cancelled);
        }
        reader.read(path, part)?;
    }
    let Reader { mut rows, inputs, rejected, passed_over, n_without, .. } = reader;
    if test.is_none() {
        part_off(&mut rows, config.raw.test, Part::Test, config.raw.seed);
    }
    if validation.is_none() {
        part_off(&mut rows, config.raw.validation, Part::Validation, config.raw.seed ^ 1);
    }
    let (rows, n_repeated, n_in_test) = without_repeats(rows);
    let names: BTreeSet<&str> = rows.iter().filter_map(|row| row.intent.as_deref()).collect();
    if names.len() < 2 {
        let reason = format!(
            "{} texts of {} intents are left, and nothing can be told apart; give texts of two or more",
            rows.len(),
            names.len()
        );
        return Err(PrepareError::Unusable { step: "prepare support", reason });
    }
    let places: HashMap<&str, u32> = names.iter().copied().zip(0..).collect();
    let mut writer = IntentWriter::new(out, names.iter().collect())?;
    for row in &rows {
        let label = row.intent.as_deref().map(|intent| places[intent]);
        writer.push(&row.text, label, row.part)?;
    }
    let left_out = [
        ("without a text that shows anything", n_without[0]),
        ("without an intent", n_without[1]),
        ("the same text and intent as another of its part", n_repeated),
        ("stands in the test part, or of training texts in validation", n_in_test),
    ];
    let mut left_out: Vec<Reason> = left_out
        .into_iter()
        .filter(|(_, n_rows)| *n_rows > 0)
        .map(|(reason, n_rows)| Reason { reason: reason.to_owned(), n_rows })
        .collect();
    left_out.sort_by(|a, b| b.n_rows.cmp(&a.n_rows).then(a.reason.cmp(&b.reason)));
    let manifest = writer.finish(IntentDescription {
        data_hash: crate::import::data_hash(&inputs),
        pipeline: as_json(&config.raw.pipeline)?,
        config: as_json(&config.raw)?,
        left_out,
    })?;
    progress.begin("look for repeats", None);
    let table = IntentTable::open(out)?;
    let RawTextConfig { near_duplicate, min_texts, .. } = config.raw;
    let findings = find_in_texts(&table, &config.pipeline, near_duplicate, min_texts);
    Ok(TextsReport { manifest, rejected, passed_over, findings })
}

fn as_json(settings: &impl Serialize) -> Result<serde_json::Value, PrepareError> {
    serde_json::to_value(settings).map_err(|error| PrepareError::config("text", error.to_string()))
}

impl Reader<'_> {
    fn read(&mut self, path: &Path, part: Part) -> Result<(), PrepareError> {
        let n_before = self.rows.len();
        let (format, n_read) = match nlu::is_nlu(path) {
            true => ("nlu", self.read_nlu(path, part)?),
            false => ("table", self.read_table(path, part)?),
        };
        if self.rows.len() == n_before {
            let fix = "give a file with texts and their intents";
            return Err(PrepareError::input(Place::file(path), "no labeled texts", fix));
        }
        self.inputs.push(Input {
            name: crate::import::file_name(path),
            sha256: storage::sha256_file(path)?,
            format: format.to_owned(),
            n_read,
        });
        Ok(())
    }

    fn push(&mut self, text: &str, intent: &str, part: Part) {
        let text = self.config.pipeline.clean(text);
        let intent = intent.trim();
        if text.is_empty() {
            self.n_without[0] += 1;
        } else if intent.is_empty() {
            self.n_without[1] += 1;
        } else {
            let is_none = self.config.raw.out_of_scope.iter().any(|name| name == intent);
            let intent = (!is_none).then(|| intent.to_owned());
            self.rows.push(Labeled { text, intent, part });
        }
    }

    fn read_nlu(&mut self, path: &Path, part: Part) -> Result<u64, PrepareError> {
        let bytes = std::fs::read(path).map_err(PrepareError::io("read", path))?;
        let text = String::from_utf8(bytes).map_err(|_| not_utf8(path))?;
        let nlu::Nlu { examples, passed_over } = nlu::parse(&text, path)?;
        examples.iter().for_each(|example| self.push(&example.text, &example.intent, part));
        self.passed_over.extend(passed_over.into_iter().map(|(what, n)| PassedOver {
            file: crate::import::file_name(path),
            what,
            n,
        }));
        Ok(examples.len() as u64)
    }

    fn read_table(&mut self, path: &Path, part: Part) -> Result<u64, PrepareError> {
        let RawTextConfig { text, intent, .. } = &self.config.raw;
        let asked = |name: &Option<String>, known: &[&str]| match name {
            Some(name) => vec![name.clone()],
            None => known.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
        };
        let (texts, intents) = (asked(text, &TEXT_NAMES), asked(intent, &INTENT_NAMES));
        let columns: Vec<SampleColumn> = texts
            .iter()
            .chain(&intents)
            .map(|name| SampleColumn::new(name, ColumnKind::Category, Role::Feature))
            .collect();
        let mut rows = SampleRows::open(path, &columns, self.data)?;
        let found = |names: &[String], key: &str, what: &str| {
            let column = names.iter().find(|name| rows.names().contains(name));
            column.cloned().ok_or_else(|| {
                let reason = format!(
                    "no column {} of {what}; it has {}",
                    names.join(", "),
                    rows.names().join(", ")
                );
                PrepareError::input(Place::file(path), reason, format!("name it in `text.{key}`"))
            })
        };
        let text_column = found(&texts, "text", "texts")?;
        let intent_column = found(&intents, "intent", "intents")?;
        while let Some(block) = rows.next_block()? {
            for row in block {
                let value = |column: &str| match row.value(column) {
                    Value::Text(text) => text.to_owned(),
                    _ => String::new(),
                };
                self.push(&value(&text_column), &value(&intent_column), part);
            }
        }
        let mut rejected = rows.rejected();
        // What stands in a row that cannot be read was not masked.
        rejected.iter_mut().flat_map(|entry| &mut entry.examples).for_each(|row| row.found.clear());
        self.rejected.extend(rejected);
        Ok(rows.n_read())
    }
}

/// Moves a share of the training texts of each intent into another part: those with the lowest hashes. At least one text of each intent stays.
fn part_off(rows: &mut [Labeled], share: f64, part: Part, seed: u64) {
    let mut of_intent: BTreeMap<Option<String>, Vec<(u64, usize)>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate().filter(|(_, row)| row.part == Part::Train) {
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(row.text.as_bytes(), seed);
        of_intent.entry(row.intent.clone()).or_default().push((hash, place));
    }
    for mut places in of_intent.into_values() {
        places.sort_unstable();
        let n = (places.len() as f64 * share).round() as usize;
        let n = n.min(places.len() - 1);
        places[..n].iter().for_each(|(_, place)| rows[*place].part = part);
    }
}

/// The rows without repeats; how many were left out as repeats of their part, and as texts of a part that is measured on.
fn without_repeats(rows: Vec<Labeled>) -> (Vec<Labeled>, u64, u64) {
    let texts_of = |part: Part| -> BTreeSet<String> {
        rows.iter().filter(|row| row.part == part).map(|row| row.text.clone()).collect()
    };
    let (in_validation, in_test) = (texts_of(Part::Validation), texts_of(Part::Test));
    let mut seen: BTreeSet<(String, Option<String>)> = BTreeSet::new();
    let (mut n_repeated, mut n_in_test) = (0, 0);
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        let is_elsewhere = match row.part {
            Part::Train => in_test.contains(&row.text) || in_validation.contains(&row.text),
            Part::Validation => in_test.contains(&row.text),
            Part::Test => false,
        };
        if is_elsewhere {
            n_in_test += 1;
        } else if !seen.insert((row.text.clone(), row.intent.clone())) {
            n_repeated += 1;
        } else {
            kept.push(row);
        }
    }
    (kept, n_repeated, n_in_test)
}
