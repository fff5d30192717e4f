//! Rows of files as hashed features, block by block, for a model that learns from them as they come.
//!
//! Memory holds a block, whatever the size of the files. What a row says is what `prepare --samples` reads of it, with the same bad rows
//! and the same errors; moments are passed over. Features are named as [`forecart_data::encode::hashed`] says.

use std::path::PathBuf;

use forecart_data::Progress;
use forecart_data::encode::{HashSpace, HashedFeature, HashedRows, SpaceSeed};
use forecart_data::samples::{ColumnKind, Role, SampleColumn};

use super::config::SamplesConfig;
use super::input::{Input, RowFound, Rows};
use super::label::LabelRule;
use super::plan::{Looked, Plan};
use super::rows::{SEPARATOR, Slot, check_share};
use super::sparse;
use super::value::{Given, Reading};
use super::vw_lines::{Stops, VwLines};
use crate::PrepareError;
use crate::config::{DataConfig, Format};
use crate::error::Place;
use crate::import::cell::Cell;
use crate::import::parse::{Found, TextInput, each_record};
use crate::import::rejects::{Code, Fault, Rejects};
use crate::import::{data_hash, n_bytes};
use crate::log::{Input as LogInput, Rejected};
use crate::read::blocks::TextBlock;
use crate::read::inputs;
use crate::read::source::Hashing;

/// Bytes of a block: text and features stay in an L2 cache.
const BLOCK_BYTES: usize = 256 << 10;
/// The largest importance of a row.
const MAX_IMPORTANCE: f64 = 1e6;

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
}

/// What was met in a pass so far.
#[derive(Default)]
struct Counts {
    n_read: u64,
    /// Of the input that is read.
    n_of_input: u64,
    n_open: u64,
    rejects: Rejects,
}

/// How the rows of one input become features.
#[derive(Debug)]
enum Reader {
    Vw(VwLines),
    /// Lines of any sparse format; features of these spaces, and these columns of numbers, are passed over.
    Lines {
        rule: Option<LabelRule>,
        excluded: Vec<String>,
    },
    Cells(Vec<(usize, Action)>),
}

/// What becomes of a cell.
#[derive(Debug)]
enum Action {
    Label(LabelRule),
    Number(Reading, u32),
    Texts(Reading, SpaceSeed),
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
                        sink.vw_block(lines, block, input, self.space, &self.data)?;
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

impl Reader {
    /// `slots`: one for each of `columns`.
    fn new(
        input: &Input,
        columns: &[SampleColumn],
        slots: &[Slot],
        space: HashSpace,
        data: &DataConfig,
        config: &SamplesConfig,
    ) -> Self {
        let is_read = |column: &SampleColumn| {
            matches!(column.role, Role::Label | Role::Feature | Role::Position)
        };
        if input.layout.format.is_sparse() {
            let rule = slots.iter().find_map(|slot| match slot {
                Slot::Label(rule) => Some(rule.clone()),
                Slot::Value(_) => None,
            });
            let groups = columns.iter().filter(|column| !is_read(column));
            let mut excluded: Vec<String> = groups.map(|column| column.name.clone()).collect();
            excluded.extend(config.raw.ignore.iter().cloned());
            return match input.layout.format == Format::Vw && excluded.is_empty() {
                true => Self::Vw(VwLines::new(space, rule, data)),
                false => Self::Lines { rule, excluded },
            };
        }
        let mut actions = Vec::new();
        for (column, slot) in columns.iter().zip(slots).filter(|(column, _)| is_read(column)) {
            let source = input.layout.names.iter().position(|name| *name == column.name);
            let action = match slot {
                Slot::Label(rule) => Action::Label(rule.clone()),
                Slot::Value(reading) if reading.kind == ColumnKind::Number => {
                    Action::Number(reading.clone(), space.slot_of_numbers(&column.name))
                }
                Slot::Value(reading) if reading.kind == ColumnKind::Time => continue,
                Slot::Value(reading) => {
                    Action::Texts(reading.clone(), SpaceSeed::new(column.name.as_bytes()))
                }
            };
            actions.extend(source.map(|source| (source, action)));
        }
        Self::Cells(actions)
    }
}

/// The importance of a row as a weight.
pub(super) fn importance(written: f64) -> Result<f32, String> {
    match (0.0..=MAX_IMPORTANCE).contains(&written) {
        true => Ok(written as f32),
        false => Err(format!("importance {written} is not in 0..=1e6")),
    }
}

/// Where rows go.
struct Sink<'a> {
    rows: &'a mut HashedRows,
    counts: &'a mut Counts,
    has_labels: bool,
}

impl Sink<'_> {
    fn counted(&mut self) {
        self.counts.n_read += 1;
        self.counts.n_of_input += 1;
    }

    /// Ends a row of this label, unless it is one to learn from that has none.
    #[inline]
    fn end_row(&mut self, label: f32, importance: f32, line: u64) {
        if self.has_labels && label.is_nan() {
            self.counts.n_open += 1;
            self.rows.abandon_row();
        } else {
            self.rows.end_row(label, importance, line);
        }
    }

    /// A block of Vowpal Wabbit's text.
    fn vw_block(
        &mut self,
        lines: &VwLines,
        block: &TextBlock,
        input: &Input,
        space: HashSpace,
        data: &DataConfig,
    ) -> Result<(), PrepareError> {
        let bytes = block.bytes.as_slice();
        let is_text = std::str::from_utf8(bytes).is_ok();
        let (mut at, mut line) = (0, block.first_line);
        let mut stops = Stops::new(bytes, 0);
        while at < bytes.len() {
            let read = if is_text { lines.read(&mut stops, at, data, self.rows) } else { None };
            if let Some(read) = read {
                self.counted();
                self.end_row(read.label, read.importance, line);
                (at, line) = (read.end, line + 1);
                continue;
            }
            self.rows.abandon_row();
            let found = memchr::memchr(b'\n', &bytes[at..]);
            let end = found.map_or(bytes.len(), |length| at + length + 1);
            let alone = TextBlock { bytes: bytes[at..end].to_vec(), first_line: line };
            let text = TextInput {
                layout: &input.layout,
                file_name: &input.file_name,
                max_line_bytes: data.max_line_bytes,
            };
            let reader = Reader::Lines { rule: lines.rule().cloned(), excluded: Vec::new() };
            each_record(&alone, &text, |found, start, lines| {
                let line = lines.at(start);
                let found = match found {
                    Found::Record(record) => RowFound::Line(record.line()),
                    Found::Cells(cells) => RowFound::Cells(cells),
                    Found::Bad(fault) => RowFound::Bad(fault),
                };
                self.row(&reader, &found, line, input, space, data);
            })?;
            (at, line) = (end, line + 1);
            stops = Stops::new(bytes, at);
        }
        Ok(())
    }

    /// Any row.
    fn row(
        &mut self,
        reader: &Reader,
        found: &RowFound<'_, '_>,
        line: u64,
        input: &Input,
        space: HashSpace,
        data: &DataConfig,
    ) {
        self.counted();
        let read = match (reader, found) {
            (_, RowFound::Bad(fault)) => Err(fault.clone()),
            (Reader::Cells(actions), RowFound::Cells(cells)) => {
                self.cells(actions, cells, space, data).map(|label| (label, 1.0))
            }
            (Reader::Lines { rule, excluded }, RowFound::Line(text)) => {
                self.line(rule.as_ref(), excluded, text, input, space, data)
            }
            _ => unreachable!("rows of a file are those of its format"),
        };
        match read {
            Ok((label, importance)) => self.end_row(label, importance, line),
            Err(fault) => {
                self.rows.abandon_row();
                self.counts.rejects.add(&input.file_name, line, &input.layout.names, &fault);
            }
        }
    }

    /// Pushes the features of a row of cells; returns its label.
    fn cells(
        &mut self,
        actions: &[(usize, Action)],
        cells: &[Cell<'_>],
        space: HashSpace,
        data: &DataConfig,
    ) -> Result<f32, Fault> {
        let mut label = f32::NAN;
        for (at, action) in actions {
            let cell = &cells[*at];
            let fault = |code| Fault { code, column: Some(*at), found: cell.shown() };
            match action {
                Action::Label(rule) => {
                    label = rule.read(cell, data).ok_or_else(|| fault(Code::BadLabel))? as f32;
                }
                Action::Number(reading, slot) => {
                    if let Given::Number(number) = reading.value(cell, data).map_err(fault)?
                        && let Some(feature) = space.number(*slot, number)
                    {
                        self.rows.push(feature);
                    }
                }
                Action::Texts(reading, seed) => {
                    let mut push = |text: &str| {
                        let slot = space.slot(*seed, text.as_bytes());
                        self.rows.push(HashedFeature { slot, value: 1.0 });
                    };
                    match reading.value(cell, data).map_err(fault)? {
                        Given::Text(text) => push(&text),
                        Given::List(texts) => texts.iter().for_each(|text| push(text)),
                        Given::Missing | Given::Number(_) | Given::Time(_) => {}
                    }
                }
            }
        }
        Ok(label)
    }

    /// Pushes the features of a line; returns its label and importance.
    fn line(
        &mut self,
        rule: Option<&LabelRule>,
        excluded: &[String],
        text: &str,
        input: &Input,
        space: HashSpace,
        data: &DataConfig,
    ) -> Result<(f32, f32), Fault> {
        let line = sparse::parse(input.layout.format, text, input.names.as_ref())?;
        let fault = |code, found| Fault { code, column: None, found };
        let label = match rule {
            Some(rule) => {
                let cell = line.label.map_or(Cell::Null, Cell::Text);
                rule.read(&cell, data).ok_or_else(|| fault(Code::BadLabel, cell.shown()))?
            }
            None => f64::NAN,
        };
        let importance =
            importance(line.importance).map_err(|found| fault(Code::BadFeature, found))?;
        for feature in line.features {
            let is_excluded = |name: &String| {
                let number = name.split_once(':');
                *name == feature.space
                    || number == Some((feature.space.as_ref(), feature.name.as_ref()))
            };
            if excluded.iter().any(is_excluded) {
                continue;
            }
            let seed = SpaceSeed::new(feature.space.as_bytes());
            let slot = space.slot(seed, feature.name.as_bytes());
            if let Some(feature) = space.number(slot, feature.value) {
                self.rows.push(feature);
            }
        }
        Ok((label as f32, importance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forecart_data::encode::HashedNumbers;
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
