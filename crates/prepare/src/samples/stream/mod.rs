//! Rows of files as hashed features, block by block, for a model that learns from them as they come.
//!
//! Memory holds a block, whatever the size of the files. What a row says is what `prepare --samples` reads of it, with the same bad rows
//! and the same errors; moments are passed over. Features are named as [`forecart_data::encode::hashed`] says.

mod reader;
mod sink;
mod vw;

use std::path::PathBuf;

use forecart_data::Progress;
use forecart_data::encode::{HashSpace, HashedRows};
use forecart_data::samples::{Role, SampleColumn};

use self::reader::Reader;
use self::sink::{Counts, Sink};
use self::vw::Stops;
use super::config::SamplesConfig;
use super::input::{Input, Rows};
use super::plan::{Looked, Plan};
use super::rows::{SEPARATOR, Slot, check_share};
use super::value::Reading;
use crate::PrepareError;
use crate::config::DataConfig;
use crate::error::Place;
use crate::import::{data_hash, n_bytes};
use crate::log::{Input as LogInput, Rejected};
use crate::read::inputs;
use crate::read::source::Hashing;

/// Bytes of a block: text and features stay in an L2 cache.
const BLOCK_BYTES: usize = 256 << 10;

/// What rows are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamPurpose<'a> {
    /// Learning or measuring: rows without a label are counted and left out.
    Labels,
    /// Predictions for a model with these columns: labels are not read.
    Features(&'a [SampleColumn]),
}

/// Rows of files as hashed features.
pub struct SampleStream {
    inputs: Vec<Input>,
    readers: Vec<Reader>,
    columns: Vec<SampleColumn>,
    decisions: Vec<String>,
    n_bytes: Option<u64>,
    data: DataConfig,
    space: HashSpace,
    has_labels: bool,
    /// The input that is read, and its rows.
    at: usize,
    rows: Option<Rows>,
    read: Vec<LogInput>,
    counts: Counts,
    /// Those of the block that is read.
    stops: Stops,
}

impl std::fmt::Debug for SampleStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("SampleStream");
        shown.field("inputs", &self.inputs).field("n_read", &self.counts.n_read);
        shown.finish_non_exhaustive()
    }
}

impl SampleStream {
    /// Looks at files, or the data files of folders, and finds how their rows are read. The first rows say which columns there are: of
    /// tables the first 100,000, of libsvm, libffm and Vowpal Wabbit the first 10,000 (their features are read whatever their names;
    /// the columns are for predictions from rows that are written in another way).
    ///
    /// # Errors
    /// [`PrepareError::Input`] or [`PrepareError::Io`] if a file cannot be read, or its columns are not what the configuration
    /// says; [`PrepareError::Config`].
    pub fn open(
        paths: &[PathBuf],
        purpose: StreamPurpose<'_>,
        space: HashSpace,
        data: &DataConfig,
        config: &SamplesConfig,
        progress: &dyn Progress,
    ) -> Result<Self, PrepareError> {
        let found = inputs::find(paths)?;
        let names = config.raw.feature_names.as_deref();
        let known: Vec<&str> = match purpose {
            StreamPurpose::Labels => config.named_columns(),
            StreamPurpose::Features(columns) => {
                columns.iter().map(|column| column.name.as_str()).collect()
            }
        };
        let look = |path: &PathBuf| Input::look(path, data, names, &known);
        let inputs = found.events.iter().map(look).collect::<Result<Vec<_>, _>>()?;
        let formats = inputs.iter().map(|input| input.layout.format);
        let n_bytes = n_bytes(&found.events, formats);
        let mut stream = Self::new(inputs, purpose, space, data, config, progress)?;
        stream.decisions.extend(found.decisions);
        stream.n_bytes = n_bytes;
        Ok(stream)
    }

    fn new(
        inputs: Vec<Input>,
        purpose: StreamPurpose<'_>,
        space: HashSpace,
        data: &DataConfig,
        config: &SamplesConfig,
        progress: &dyn Progress,
    ) -> Result<Self, PrepareError> {
        let separator = config.raw.list_separator.as_deref().unwrap_or(SEPARATOR);
        let (slots, columns, decisions) = match purpose {
            StreamPurpose::Labels => {
                if config.raw.position.is_some() {
                    let reason = "a stream is read once, so that nobody knows which position is usual; prepare a sample table";
                    return Err(PrepareError::config("samples.position", reason));
                }
                if config.raw.weight.is_some() {
                    let reason = "a stream has the importances of Vowpal Wabbit's lines alone; prepare a sample table";
                    return Err(PrepareError::config("samples.weight", reason));
                }
                let looked = Looked { n_training: inputs.len(), is_stream: true };
                let plan = Plan::new(&inputs, looked, data, config, progress)?;
                let slots: Vec<Slot> = plan.slots().map(|(_, slot)| slot.clone()).collect();
                (slots, plan.columns(), plan.decisions)
            }
            StreamPurpose::Features(columns) => {
                let kept = columns.iter().filter(|column| column.role != Role::Label);
                let columns: Vec<SampleColumn> = kept.cloned().collect();
                let slot = |column: &SampleColumn| {
                    let separator = separator.to_owned();
                    Slot::Value(Reading { kind: column.kind, moments: None, separator })
                };
                (columns.iter().map(slot).collect(), columns, Vec::new())
            }
        };
        let reader = |input: &Input| Reader::new(input, &columns, &slots, space, data, config);
        Ok(Self {
            readers: inputs.iter().map(reader).collect(),
            inputs,
            columns,
            decisions,
            n_bytes: None,
            data: DataConfig { block_bytes: data.block_bytes.min(BLOCK_BYTES), ..data.clone() },
            space,
            has_labels: purpose == StreamPurpose::Labels,
            at: 0,
            rows: None,
            read: Vec::new(),
            counts: Counts::default(),
            stops: Stops::default(),
        })
    }

    /// The same for a text in memory, compressed or not: for tests and tools.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_bytes(
        bytes: &[u8],
        space: HashSpace,
        data: &DataConfig,
        config: &SamplesConfig,
    ) -> Result<Self, PrepareError> {
        let inputs = vec![Input::of_bytes(bytes, data)?];
        let purpose = StreamPurpose::Labels;
        Self::new(inputs, purpose, space, data, config, &forecart_data::Silent)
    }

    /// Puts the rows of the next block in place of those in `rows`, in the order of the files; returns the bytes that were
    /// read, after decompression, or `None` at the end.
    ///
    /// # Errors
    /// [`PrepareError::Input`] if a file cannot be read on; [`PrepareError::TooManyBadRows`] at the end, past
    /// `data.max_bad_rows`.
    pub fn next_block(&mut self, rows: &mut HashedRows) -> Result<Option<u64>, PrepareError> {
        rows.clear();
        while let Some(input) = self.inputs.get(self.at) {
            let source = match &mut self.rows {
                Some(open) => open,
                None => self.rows.insert(input.open_hashed(&self.data, Hashing::Xxh3)?),
            };
            let mut sink = Sink { rows, counts: &mut self.counts, has_labels: self.has_labels };
            let block = match &self.readers[self.at] {
                Reader::Vw(lines) => {
                    let block = source.next_text(input)?;
                    let read = block.as_ref().map(|block| block.bytes.len() as u64);
                    if let Some(block) = &block {
                        sink.vw_block(
                            lines,
                            &mut self.stops,
                            block,
                            input,
                            self.space,
                            &self.data,
                        )?;
                    }
                    read
                }
                reader => source.next(input, &self.data, |found, line| {
                    sink.row(reader, &found, line, input, self.space, &self.data);
                })?,
            };
            if let Some(n_bytes) = block {
                return Ok(Some(n_bytes));
            }
            self.read.push(LogInput {
                name: input.file_name.clone(),
                sha256: source.hash(input)?,
                format: input.layout.format.name().to_owned(),
                n_read: std::mem::take(&mut self.counts.n_of_input),
            });
            self.rows = None;
            self.at += 1;
        }
        check_share(self.counts.n_read, &self.counts.rejects, self.data.max_bad_rows)?;
        if self.counts.n_read == 0 {
            let place = Place::file(&self.inputs[0].path);
            return Err(PrepareError::input(place, "no rows", "give a file with rows"));
        }
        Ok(None)
    }

    /// Begins again, for another pass.
    pub fn rewind(&mut self) {
        (self.at, self.rows, self.counts) = (0, None, Counts::default());
        self.read.clear();
    }

    /// The columns, as a sample table of the same files would have them.
    pub fn columns(&self) -> &[SampleColumn] {
        &self.columns
    }

    /// What was decided by looking at the data, in sentences.
    pub fn decisions(&self) -> &[String] {
        &self.decisions
    }

    /// Bytes of the files, where they say how far the work is.
    pub fn n_bytes(&self) -> Option<u64> {
        self.n_bytes
    }

    /// Rows that were read in this pass, bad ones included.
    pub fn n_read(&self) -> u64 {
        self.counts.n_read
    }

    /// Rows among them without a label, which were left out.
    pub fn n_open(&self) -> u64 {
        self.counts.n_open
    }

    /// The bad rows of this pass so far, by reason.
    pub fn rejected(&self) -> Vec<Rejected> {
        self.counts.rejects.clone().into_report()
    }

    /// The files that were read to their end in this pass. Text is hashed by XXH3 (`xxh3:` and 128 bits) in place of SHA-256, which would
    /// take a fifth of the time.
    pub fn inputs(&self) -> &[LogInput] {
        &self.read
    }

    /// Hash of the files, once all were read: that of the one file, or of the sorted list of hashes if there are many.
    pub fn data_hash(&self) -> String {
        data_hash(&self.read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Format;
    use forecart_data::encode::{HashedFeature, HashedNumbers, SpaceSeed};
    use proptest::prelude::*;

    const SPACE: HashSpace = HashSpace { bits: 20, numbers: HashedNumbers::Log };

    fn data(block_bytes: usize) -> DataConfig {
        DataConfig {
            format: Some(Format::Vw),
            max_bad_rows: 1.0,
            block_bytes,
            ..DataConfig::default()
        }
    }

    /// All rows, and the bad ones; `is_plain`: line by line, without the way for lines that are plainly written.
    fn read(
        text: &str,
        block_bytes: usize,
        is_plain: bool,
    ) -> Result<(HashedRows, Vec<Rejected>), String> {
        let (data, config) = (data(block_bytes), SamplesConfig::default());
        let stream = SampleStream::of_bytes(text.as_bytes(), SPACE, &data, &config);
        let mut stream = stream.map_err(|error| error.to_string())?;
        if is_plain {
            let Reader::Vw(lines) = &stream.readers[0] else { panic!("text of vw") };
            let rule = lines.rule().cloned();
            stream.readers[0] = Reader::Lines { rule, excluded: Vec::new() };
        }
        let (mut all, mut block) = (HashedRows::default(), HashedRows::default());
        loop {
            match stream.next_block(&mut block) {
                Ok(Some(_)) => block.iter().for_each(|row| all.push_row(row)),
                Ok(None) => return Ok((all, stream.rejected())),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    #[test]
    fn lines_that_are_odd_are_read_as_a_table_would_hold_them() {
        let text = "1 |a x y:2 |b:3 z\n\
                    0 2.5 tag|x\n\
                    0 'tag | x:-0.5 u:v:2 w:1e1\n\
                    \n\
                    | unlabeled\n\
                    2 |a bad_label\n\
                    1 |a bad:number\n\
                    1 |a :1\n\
                    1 -1 |a negative\n\
                    no bar\n\
                    1 ||| \t x\r\n\
                    1 |a zero:0 x";
        let (rows, rejected) = read(text, 1 << 20, false).unwrap();
        assert_eq!(read(text, 1 << 20, true).unwrap(), (rows.clone(), rejected.clone()));
        let slot =
            |space: &str, name: &str| SPACE.slot(SpaceSeed::new(space.as_bytes()), name.as_bytes());
        let feature = |space: &str, name: &str, value: f64| HashedFeature {
            slot: slot(space, name),
            value: SPACE.numbers.apply(value),
        };
        let found: Vec<_> = rows.iter().map(|row| (row.line, row.label, row.importance)).collect();
        assert_eq!(
            found,
            [(1, 1.0, 1.0), (2, 0.0, 2.5), (3, 0.0, 1.0), (11, 1.0, 1.0), (12, 1.0, 1.0)]
        );
        let first = [feature("a", "x", 1.0), feature("a", "y", 2.0), feature("b", "z", 3.0)];
        assert_eq!(rows.features(0), first);
        let third = [
            feature("features", "x", -0.5),
            feature("features", "u:v", 2.0),
            feature("features", "w", 10.0),
        ];
        assert_eq!(rows.features(2), third);
        assert_eq!(rows.features(3), [feature("features", "x", 1.0)]);
        // A feature of value 0 counts nothing.
        assert_eq!(rows.features(4), [feature("a", "x", 1.0)]);
        let codes: Vec<_> =
            rejected.iter().map(|group| (group.code.as_str(), group.n_rows)).collect();
        assert_eq!(codes, [("bad_label", 1), ("bad_feature", 3), ("no_bar", 1)]);
        assert_eq!(rejected[1].examples[0].line, 7);
    }

    proptest! {
        /// Whatever stands in a text, the fast way reads what the plain one reads, and any cut into blocks the same.
        #[test]
        fn every_way_to_read_a_text_gives_the_same_rows(
            text in "(((1|0|-1|2|1 2|0 0\\.5| )? ?('t)?\\|? ?([ab\u{e9}:|.0-9\\-\t\r ]{0,12}))?\n){0,8}[a|: 1]{0,5}",
            block_bytes in 1_usize..64,
        ) {
            let whole = read(&text, 1 << 20, false);
            prop_assert_eq!(&read(&text, 1 << 20, true), &whole);
            prop_assert_eq!(&read(&text, block_bytes, false), &whole);
        }
    }
}
