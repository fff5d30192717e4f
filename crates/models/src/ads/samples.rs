//! What models learn from: rows of a sample table, and the same rows as numbers.

use std::ops::Range;

use forecart_data::encode::{EncodedRow, FeatureProgram, HashSpace, HashedRows};
use forecart_data::samples::{Role, SampleColumn, SampleRow, SampleSplit};
use forecart_data::{Part, SampleTable};
use rayon::prelude::*;

use super::network::{FieldRows, HistoryRows};
use crate::error::ModelError;

/// The rows of a table that a model may learn from, and those that it may choose by. It hands out no others, so that no
/// model sees its test.
#[derive(Debug, Clone)]
pub struct SampleView<'a> {
    table: &'a SampleTable,
    train: Vec<u32>,
    validation: Vec<u32>,
}

impl<'a> SampleView<'a> {
    /// The training and the validation part.
    pub fn new(table: &'a SampleTable) -> Self {
        let (train, validation) = (table.rows(Part::Train), table.rows(Part::Validation));
        Self { table, train, validation }
    }

    /// These rows: for folds, and for a fit on both parts.
    pub fn of_rows(table: &'a SampleTable, train: Vec<u32>, validation: Vec<u32>) -> Self {
        Self { table, train, validation }
    }

    /// The columns of the table.
    pub fn columns(&self) -> &'a [SampleColumn] {
        &self.table.manifest.columns
    }

    /// The rows to learn from.
    pub fn train(&self) -> &[u32] {
        &self.train
    }

    /// The rows to choose by; may be none.
    pub fn validation(&self) -> &[u32] {
        &self.validation
    }

    /// The row, as encoders read it.
    pub fn row(&self, row: u32) -> SampleRow<'a> {
        self.table.row(row)
    }

    /// Labels of some of its rows.
    pub fn labels(&self, rows: &[u32]) -> Vec<f32> {
        rows.iter().map(|row| self.table.label(*row) as f32).collect()
    }

    /// Time from the first training row to the last; 0 where they have none.
    pub(super) fn span_ms(&self) -> i64 {
        let Some((_, times)) = self.table.with_role(Role::Time) else { return 0 };
        let times = self.train.iter().filter_map(|row| times.time_ms(*row as usize));
        let ends = times.fold(None, |ends: Option<(i64, i64)>, time| {
            let (first, last) = ends.unwrap_or((time, time));
            Some((first.min(time), last.max(time)))
        });
        ends.map_or(0, |(first, last)| last.saturating_sub(first))
    }

    /// Places of the validation rows in two halves: the earlier and the later where rows have an order in time, else every other one.
    pub(super) fn validation_halves(&self) -> [Vec<usize>; 2] {
        let n = self.validation.len();
        let times = self.table.with_role(Role::Time).map(|(_, times)| times);
        let is_in_order = matches!(
            self.table.manifest.description.split,
            SampleSplit::Time { .. } | SampleSplit::Order | SampleSplit::Given
        );
        if !is_in_order {
            return [0, 1].map(|odd| (odd..n).step_by(2).collect());
        }
        let mut places: Vec<usize> = (0..n).collect();
        places.sort_by_key(|place| {
            times.and_then(|times| times.time_ms(self.validation[*place] as usize))
        });
        let later = places.split_off(n / 2);
        [places, later]
    }

    /// Share of the negative samples that is left in the table.
    pub(super) fn negatives_kept(&self) -> f64 {
        self.table.manifest.description.negatives_kept
    }

    /// What decides about the result of a fit on this view, for a checkpoint.
    pub(super) fn identity(&self) -> String {
        let rows: Vec<u8> = [&self.train, &self.validation]
            .into_iter()
            .flatten()
            .flat_map(|row| row.to_le_bytes())
            .collect();
        let rows = forecart_data::storage::sha256(&rows);
        format!("{} {} {rows}", self.table.manifest.content_hash, self.train.len())
    }

    /// Refuses a view from which nothing can be learned.
    ///
    /// # Errors
    /// [`ModelError::NoLabels`].
    pub(super) fn check(&self, model: &'static str) -> Result<(), ModelError> {
        let n_positive = self.train.iter().filter(|row| self.table.label(**row) == 1.0).count();
        match n_positive == 0 || n_positive == self.train.len() {
            true => Err(ModelError::NoLabels { model, n_rows: self.train.len(), n_positive }),
            false => Ok(()),
        }
    }

    /// Some of its rows as numbers, on the threads of the current pool.
    pub(super) fn encode(&self, rows: &[u32], program: &FeatureProgram) -> EncodedSamples {
        const BLOCK: usize = 4096;
        let layout = SampleLayout::from(program);
        let blocks: Vec<EncodedSamples> = rows
            .par_chunks(BLOCK)
            .map(|rows| {
                let mut block = EncodedSamples::new(&layout);
                let mut encoded = EncodedRow::default();
                for row in rows {
                    program.encode_into(&self.table.row(*row), &mut encoded);
                    block.push(&encoded, self.table.label(*row) as f32);
                }
                block
            })
            .collect();
        let mut all = EncodedSamples::new(&layout);
        blocks.iter().for_each(|block| all.append(block));
        let of_rows = |values: &[f64]| -> Vec<f32> {
            rows.iter().map(|row| values[*row as usize] as f32).collect()
        };
        all.conversions = self.table.second_label().map(of_rows).unwrap_or_default();
        all.weights = self.table.weights().map(of_rows).unwrap_or_default();
        all
    }
}

/// What encoded samples are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleLayout {
    /// The sparse columns of each field.
    pub fields: Vec<Range<u32>>,
    /// The field in whose rows each history is.
    pub histories: Vec<usize>,
    /// Dense numbers of a sample.
    pub n_dense: usize,
}

impl From<&FeatureProgram> for SampleLayout {
    fn from(program: &FeatureProgram) -> Self {
        Self {
            fields: program.sparse_fields(),
            histories: program.history_fields(),
            n_dense: program.n_dense(),
        }
    }
}

/// Samples as numbers: the active rows of each field, those of histories, and dense numbers.
///
/// # Shapes
/// `rows: [n n_fields]` or, where a field may have several rows active, as many as `offsets: [n n_fields + 1]` says;
/// `values`: one for each of `rows`, or none where all are 1; `dense: [n, n_dense]`, `labels: [n]`.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedSamples {
    layout: SampleLayout,
    rows: Vec<u32>,
    values: Vec<f32>,
    /// Where each field of each sample begins; `None` as long as each has one row.
    offsets: Option<Vec<usize>>,
    histories: Lists,
    dense: Vec<f32>,
    labels: Vec<f32>,
    /// What came of each sample whose label is 1, NaN where that is not known; empty where the table says nothing of it.
    conversions: Vec<f32>,
    /// How much each sample counts in what is learned; empty where all count alike.
    weights: Vec<f32>,
}

/// Lists, one after the other.
#[derive(Debug, Clone, PartialEq)]
struct Lists {
    rows: Vec<u32>,
    /// Where each begins, and where the last ends.
    offsets: Vec<usize>,
}

impl Lists {
    fn append(&mut self, rows: &[u32], offsets: &[usize]) {
        extend_offsets(&mut self.offsets, self.rows.len(), offsets);
        self.rows.extend_from_slice(rows);
    }
}

/// Adds where lists end that begin at `offsets[0]` there and at `at` here.
fn extend_offsets(into: &mut Vec<usize>, at: usize, offsets: &[usize]) {
    into.extend(offsets[1..].iter().map(|offset| at + offset - offsets[0]));
}

impl EncodedSamples {
    /// None yet.
    pub fn new(layout: &SampleLayout) -> Self {
        Self {
            layout: layout.clone(),
            rows: Vec::new(),
            values: Vec::new(),
            offsets: None,
            histories: Lists { rows: Vec::new(), offsets: vec![0] },
            dense: Vec::new(),
            labels: Vec::new(),
            conversions: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// Rows of a stream: one field, of all slots.
    pub fn of_stream(rows: &HashedRows, space: HashSpace) -> Self {
        let fields = std::iter::once(0..space.n_slots() as u32).collect();
        let mut samples = Self::new(&SampleLayout { fields, histories: Vec::new(), n_dense: 0 });
        let mut offsets = vec![0];
        for row in rows.iter() {
            samples.rows.extend(row.features.iter().map(|feature| feature.slot));
            samples.values.extend(row.features.iter().map(|feature| feature.value));
            offsets.push(samples.rows.len());
            samples.labels.push(row.label);
        }
        samples.offsets = Some(offsets);
        samples
    }

    /// Adds a row that a program with this layout has encoded.
    pub fn push(&mut self, row: &EncodedRow, label: f32) {
        // Only a table of slots has values, and it is the only field of its samples.
        self.values.extend_from_slice(&row.values);
        let mut at = 0;
        for field in &self.layout.fields {
            let n = row.sparse[at..].iter().take_while(|column| **column < field.end).count();
            let n_before = self.rows.len();
            if n != 1 {
                // Until here each field had one.
                self.offsets.get_or_insert_with(|| (0..=n_before).collect());
            }
            self.rows.extend_from_slice(&row.sparse[at..at + n]);
            if let Some(offsets) = &mut self.offsets {
                offsets.push(self.rows.len());
            }
            at += n;
        }
        for list in &row.histories {
            self.histories.append(list, &[0, list.len()]);
        }
        self.dense.extend_from_slice(&row.dense);
        self.labels.push(label);
    }

    fn append(&mut self, other: &Self) {
        self.append_slots(other, 0..other.len());
        self.dense.extend_from_slice(&other.dense);
        self.labels.extend_from_slice(&other.labels);
        self.conversions.extend_from_slice(&other.conversions);
        self.weights.extend_from_slice(&other.weights);
    }

    /// Adds the rows of some samples of `other`, those of histories too.
    fn append_slots(&mut self, other: &Self, samples: Range<usize>) {
        let n_fields = self.layout.fields.len();
        let slots = samples.start * n_fields..samples.end * n_fields;
        let n_before = self.rows.len();
        let taken = match &other.offsets {
            None => {
                if let Some(offsets) = &mut self.offsets {
                    offsets.extend((1..=slots.len()).map(|n| n_before + n));
                }
                slots
            }
            Some(theirs) => {
                let theirs = &theirs[slots.start..=slots.end];
                let own = self.offsets.get_or_insert_with(|| (0..=n_before).collect());
                extend_offsets(own, n_before, theirs);
                theirs[0]..theirs[slots.len()]
            }
        };
        self.rows.extend_from_slice(&other.rows[taken.clone()]);
        if !other.values.is_empty() {
            self.values.extend_from_slice(&other.values[taken]);
        }
        let n_histories = self.layout.histories.len();
        let offsets = &other.histories.offsets;
        let offsets = &offsets[samples.start * n_histories..=samples.end * n_histories];
        let tokens = offsets[0]..offsets[offsets.len() - 1];
        self.histories.append(&other.histories.rows[tokens], offsets);
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// What they are made of.
    pub fn layout(&self) -> &SampleLayout {
        &self.layout
    }

    /// The sparse columns of each field.
    pub fn fields(&self) -> &[Range<u32>] {
        &self.layout.fields
    }

    /// Rows of a table over all fields.
    pub fn n_rows(&self) -> usize {
        self.layout.n_rows()
    }

    /// Dense numbers of a sample.
    pub fn n_dense(&self) -> usize {
        self.layout.n_dense
    }

    /// The labels.
    pub fn labels(&self) -> &[f32] {
        &self.labels
    }

    /// What came of each sample whose label is 1; empty where the table says nothing of it.
    pub fn conversions(&self) -> &[f32] {
        &self.conversions
    }

    /// How much each sample counts in what is learned, not below 0; empty where all count alike.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Rows of all histories of the sample that has most of them.
    pub fn max_tokens(&self) -> usize {
        let n_histories = self.layout.histories.len();
        if n_histories == 0 {
            return 0;
        }
        let ends = self.histories.offsets.iter().step_by(n_histories);
        ends.clone().zip(ends.skip(1)).map(|(start, end)| end - start).max().unwrap_or(0)
    }

    /// Memory that they take.
    pub fn n_bytes(&self) -> u64 {
        let offsets = self.offsets.as_ref().map_or(0, Vec::len) + self.histories.offsets.len();
        let values = self.rows.len() + self.histories.rows.len() + self.dense.len();
        let labels = self.labels.len() + self.conversions.len() + self.weights.len();
        offsets as u64 * 8 + (values + labels) as u64 * 4
    }

    /// Dense numbers of one sample.
    pub fn dense_row(&self, sample: usize) -> &[f32] {
        &self.dense[sample * self.n_dense()..(sample + 1) * self.n_dense()]
    }

    /// The active rows of one field of one sample.
    pub fn active(&self, sample: usize, field: usize) -> &[u32] {
        let slot = sample * self.fields().len() + field;
        match &self.offsets {
            None => &self.rows[slot..=slot],
            Some(offsets) => &self.rows[offsets[slot]..offsets[slot + 1]],
        }
    }

    /// The values of the active rows of the only field of one sample; none where all are 1.
    pub fn values(&self, sample: usize) -> &[f32] {
        match &self.offsets {
            _ if self.values.is_empty() => &[],
            None => &self.values[sample..=sample],
            Some(offsets) => &self.values[offsets[sample]..offsets[sample + 1]],
        }
    }

    /// All of them, as a network reads them.
    pub fn as_rows(&self) -> FieldRows<'_> {
        FieldRows {
            rows: &self.rows,
            offsets: self.offsets.as_deref(),
            dense: &self.dense,
            labels: &self.labels,
            histories: HistoryRows { rows: &self.histories.rows, offsets: &self.histories.offsets },
            conversions: &self.conversions,
            weights: &self.weights,
        }
    }

    /// Copies the samples at some places into `out`, which has the same layout.
    pub(super) fn gather(&self, places: &[u32], out: &mut Self) {
        out.rows.clear();
        out.values.clear();
        if let Some(offsets) = &mut out.offsets {
            offsets.truncate(1);
        }
        out.histories.rows.clear();
        out.histories.offsets.truncate(1);
        out.dense.clear();
        out.labels.clear();
        out.conversions.clear();
        out.weights.clear();
        for place in places.iter().map(|place| *place as usize) {
            out.append_slots(self, place..place + 1);
            out.dense.extend_from_slice(self.dense_row(place));
            out.labels.push(self.labels[place]);
            out.conversions.extend(self.conversions.get(place));
            out.weights.extend(self.weights.get(place));
        }
    }
}

impl SampleLayout {
    /// Rows of a table over all fields.
    pub fn n_rows(&self) -> usize {
        self.fields.last().map_or(0, |field| field.end as usize)
    }
}
