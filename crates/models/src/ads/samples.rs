//! What models learn from: rows of a sample table, and the same rows as numbers.

use std::ops::Range;

use forecart_data::encode::{EncodedRow, FeatureProgram, HashSpace, HashedRows};
use forecart_data::samples::{Role, SampleColumn, SampleRow};
use forecart_data::{Part, SampleTable};
use rayon::prelude::*;

use super::network::FieldRows;
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
        let fields = program.sparse_fields();
        let blocks: Vec<EncodedSamples> = rows
            .par_chunks(BLOCK)
            .map(|rows| {
                let mut block = EncodedSamples::new(&fields, program.n_dense());
                let mut encoded = EncodedRow::default();
                for row in rows {
                    program.encode_into(&self.table.row(*row), &mut encoded);
                    block.push(&encoded, self.table.label(*row) as f32);
                }
                block
            })
            .collect();
        let mut all = EncodedSamples::new(&fields, program.n_dense());
        blocks.iter().for_each(|block| all.append(block));
        all
    }
}

/// Samples as numbers: the active rows of each field, and dense numbers.
///
/// # Shapes
/// `rows: [n n_fields]` or, where a field may have several rows active, as many as `ends` says; `ends: [n n_fields + 1]`;
/// `values`: one for each of `rows`, or none where all are 1; `dense: [n, n_dense]`, `labels: [n]`.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedSamples {
    fields: Vec<Range<u32>>,
    n_dense: usize,
    rows: Vec<u32>,
    values: Vec<f32>,
    /// Where each field of each sample begins.
    offsets: Vec<usize>,
    dense: Vec<f32>,
    labels: Vec<f32>,
}

impl EncodedSamples {
    /// None yet.
    pub fn new(fields: &[Range<u32>], n_dense: usize) -> Self {
        Self {
            fields: fields.to_vec(),
            n_dense,
            rows: Vec::new(),
            values: Vec::new(),
            offsets: vec![0],
            dense: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// Rows of a stream: one field, of all slots.
    pub fn of_stream(rows: &HashedRows, space: HashSpace) -> Self {
        let n_slots = space.n_slots() as u32;
        let mut samples = Self::new(std::slice::from_ref(&(0..n_slots)), 0);
        for row in rows.iter() {
            samples.rows.extend(row.features.iter().map(|feature| feature.slot));
            samples.values.extend(row.features.iter().map(|feature| feature.value));
            samples.offsets.push(samples.rows.len());
            samples.labels.push(row.label);
        }
        samples
    }

    /// Adds a row that a program with these fields has encoded.
    pub fn push(&mut self, row: &EncodedRow, label: f32) {
        // Only a table of slots has values, and it is the only field of its samples.
        self.values.extend_from_slice(&row.values);
        let mut at = 0;
        for field in &self.fields {
            let n = row.sparse[at..].iter().take_while(|column| **column < field.end).count();
            self.rows.extend_from_slice(&row.sparse[at..at + n]);
            self.offsets.push(self.rows.len());
            at += n;
        }
        self.dense.extend_from_slice(&row.dense);
        self.labels.push(label);
    }

    fn append(&mut self, other: &Self) {
        let n_before = self.rows.len();
        self.rows.extend_from_slice(&other.rows);
        self.values.extend_from_slice(&other.values);
        self.offsets.extend(other.offsets[1..].iter().map(|offset| n_before + offset));
        self.dense.extend_from_slice(&other.dense);
        self.labels.extend_from_slice(&other.labels);
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The sparse columns of each field.
    pub fn fields(&self) -> &[Range<u32>] {
        &self.fields
    }

    /// Rows of a table over all fields.
    pub fn n_rows(&self) -> usize {
        self.fields.last().map_or(0, |field| field.end as usize)
    }

    /// Dense numbers of a sample.
    pub fn n_dense(&self) -> usize {
        self.n_dense
    }

    /// The labels.
    pub fn labels(&self) -> &[f32] {
        &self.labels
    }

    /// Dense numbers of one sample.
    pub fn dense_row(&self, sample: usize) -> &[f32] {
        &self.dense[sample * self.n_dense..(sample + 1) * self.n_dense]
    }

    /// The active rows of one field of one sample.
    pub fn active(&self, sample: usize, field: usize) -> &[u32] {
        let slot = sample * self.fields.len() + field;
        &self.rows[self.offsets[slot]..self.offsets[slot + 1]]
    }

    /// The values of the active rows of the only field of one sample; none where all are 1.
    pub fn values(&self, sample: usize) -> &[f32] {
        match self.values.is_empty() {
            true => &[],
            false => &self.values[self.offsets[sample]..self.offsets[sample + 1]],
        }
    }

    /// All of them, as a network reads them.
    pub fn as_rows(&self) -> FieldRows<'_> {
        let has_one_each = self.rows.len() == self.offsets.len() - 1;
        FieldRows {
            rows: &self.rows,
            offsets: (!has_one_each).then_some(&self.offsets),
            dense: &self.dense,
            labels: &self.labels,
        }
    }

    /// Copies the samples at some places into `out`, which has the same fields.
    pub(super) fn gather(&self, places: &[u32], out: &mut Self) {
        out.rows.clear();
        out.values.clear();
        out.offsets.truncate(1);
        out.dense.clear();
        out.labels.clear();
        let n_fields = self.fields.len();
        for place in places.iter().map(|place| *place as usize) {
            let slots = &self.offsets[place * n_fields..=(place + 1) * n_fields];
            let (first, n_before) = (slots[0], out.rows.len());
            out.rows.extend_from_slice(&self.rows[first..slots[n_fields]]);
            out.values.extend_from_slice(self.values(place));
            out.offsets.extend(slots[1..].iter().map(|offset| n_before + offset - first));
            out.dense.extend_from_slice(self.dense_row(place));
            out.labels.push(self.labels[place]);
        }
    }
}
