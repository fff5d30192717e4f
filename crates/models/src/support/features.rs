//! Texts as rows of TF-IDF: n-grams of words and of characters, each kind with length 1.

use std::collections::HashMap;
use std::ops::Range;

use forecart_text::{Analyzed, ngrams};

use super::linear::LinearConfig;
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// The two kinds of n-grams; each is a block of its own.
const N_BLOCKS: usize = 2;

/// The n-grams that count, and the weight of each.
#[derive(Debug, Clone)]
pub(super) struct Features {
    /// Hashes, ascending; the place of one is its index.
    hashes: Vec<u64>,
    /// Inverse document frequency of each.
    idf: Vec<f32>,
    index: HashMap<u64, u32>,
}

/// An n-gram of a text that counts.
#[derive(Debug, Clone)]
struct Found {
    index: u32,
    span: Range<usize>,
}

/// Values of several texts, one after the other.
#[derive(Debug, Default)]
pub(super) struct SparseRows {
    /// Row `i` has the entries `ends[i - 1]..ends[i]`.
    ends: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl SparseRows {
    pub(super) fn n_rows(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn row(&self, row: usize) -> &[(u32, f32)] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.entries[start..self.ends[row]]
    }

    fn push(&mut self, entries: &[(u32, f32)]) {
        self.entries.extend_from_slice(entries);
        self.ends.push(self.entries.len());
    }
}

/// Calls `visit` with the block, the hash and the place of each n-gram.
fn each(text: &Analyzed, config: &LinearConfig, mut visit: impl FnMut(usize, u64, Range<usize>)) {
    if config.word_ngrams > 0 {
        ngrams::words(text, 1..=config.word_ngrams, |ngram| visit(0, ngram.hash, ngram.span));
    }
    if config.char_ngrams > 0 {
        let lengths = config.char_ngrams_from..=config.char_ngrams;
        ngrams::characters(text, lengths, |ngram| visit(1, ngram.hash, ngram.span));
    }
}

impl Features {
    /// Those n-grams that are in `min_count` texts or more; `idf = ln((1 + n) / (1 + n_texts_with_it)) + 1`, as in scikit-learn.
    pub(super) fn fit(texts: &[Analyzed], config: &LinearConfig) -> Self {
        let mut counts: HashMap<u64, u32> = HashMap::new();
        let mut of_text: Vec<u64> = Vec::new();
        for text in texts {
            of_text.clear();
            each(text, config, |_, hash, _| of_text.push(hash));
            of_text.sort_unstable();
            of_text.dedup();
            of_text.iter().for_each(|hash| *counts.entry(*hash).or_default() += 1);
        }
        let mut kept: Vec<(u64, u32)> =
            counts.into_iter().filter(|(_, count)| *count >= config.min_count).collect();
        kept.sort_unstable();
        let n = texts.len() as f64;
        let idf = |count: u32| (((1.0 + n) / (1.0 + f64::from(count))).ln() + 1.0) as f32;
        Self::new(
            kept.iter().map(|(hash, _)| *hash).collect(),
            kept.iter().map(|(_, count)| idf(*count)).collect(),
        )
    }

    fn new(hashes: Vec<u64>, idf: Vec<f32>) -> Self {
        let index = hashes.iter().copied().zip(0..).collect();
        Self { hashes, idf, index }
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The n-grams of a text that count, by block.
    fn found(&self, text: &Analyzed, config: &LinearConfig) -> [Vec<Found>; N_BLOCKS] {
        let mut found: [Vec<Found>; N_BLOCKS] = Default::default();
        each(text, config, |block, hash, span| {
            if let Some(index) = self.index.get(&hash) {
                found[block].push(Found { index: *index, span });
            }
        });
        found
    }

    /// `(1 + ln count) idf` of each n-gram, or `count idf`; each block has length 1.
    fn values(&self, found: &[Found], config: &LinearConfig) -> Vec<(u32, f32)> {
        let mut indices: Vec<u32> = found.iter().map(|found| found.index).collect();
        indices.sort_unstable();
        let weigh = |indices: &[u32]| {
            let count = indices.len() as f32;
            let count = if config.sublinear { 1.0 + count.ln() } else { count };
            (indices[0], count * self.idf[indices[0] as usize])
        };
        let mut values: Vec<(u32, f32)> = indices.chunk_by(|a, b| a == b).map(weigh).collect();
        let squares: f64 = values.iter().map(|(_, value)| f64::from(*value).powi(2)).sum();
        let length = squares.sqrt().max(f64::MIN_POSITIVE) as f32;
        values.iter_mut().for_each(|(_, value)| *value /= length);
        values
    }

    /// The values of a text.
    pub(super) fn row(&self, text: &Analyzed, config: &LinearConfig) -> Vec<(u32, f32)> {
        let blocks = self.found(text, config);
        blocks.iter().flat_map(|found| self.values(found, config)).collect()
    }

    /// The values of texts.
    pub(super) fn rows(&self, texts: &[Analyzed], config: &LinearConfig) -> SparseRows {
        let mut rows = SparseRows::default();
        texts.iter().for_each(|text| rows.push(&self.row(text, config)));
        rows
    }

    /// What each token of a text adds where an n-gram of value `v` and index `i` adds `v weight(i)`: an n-gram is shared out to its tokens by
    /// their bytes in it, and to the places where it stands evenly.
    pub(super) fn attribute(
        &self,
        text: &Analyzed,
        config: &LinearConfig,
        weight: impl Fn(u32) -> f64,
    ) -> Vec<f64> {
        let mut added = vec![0.0; text.tokens().len()];
        for found in self.found(text, config) {
            let values: HashMap<u32, f32> = self.values(&found, config).into_iter().collect();
            let mut counts: HashMap<u32, u32> = HashMap::new();
            found.iter().for_each(|found| *counts.entry(found.index).or_default() += 1);
            for Found { index, span } in &found {
                let share = f64::from(values[index]) / f64::from(counts[index]) * weight(*index);
                let first = text.tokens().partition_point(|token| token.span.end <= span.start);
                let within = |at: &usize| {
                    text.tokens().get(*at).is_some_and(|token| token.span.start < span.end)
                };
                let bytes = |at: usize| {
                    let token = &text.tokens()[at].span;
                    (token.end.min(span.end) - token.start.max(span.start)) as f64
                };
                let all: f64 = (first..).take_while(within).map(bytes).sum();
                for at in (first..).take_while(within) {
                    added[at] += share * bytes(at) / all;
                }
            }
        }
        added
    }

    pub(super) fn tensors(&self, tensors: &mut Tensors) {
        tensors.insert("ngrams", TensorData::U64(self.hashes.clone()));
        tensors.insert("idf", TensorData::F32(self.idf.clone()));
    }

    pub(super) fn load(tensors: &mut Tensors) -> Result<Self, ModelError> {
        let hashes = tensors.take_u64("ngrams", None)?;
        let idf = tensors.take_f32("idf", Some(hashes.len()))?;
        if !hashes.is_sorted_by(|a, b| a < b) || u32::try_from(hashes.len()).is_err() {
            return Err(ModelError::damaged("its n-grams are out of order"));
        }
        Ok(Self::new(hashes, idf))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::SparseRows;

    pub(in crate::support) fn rows_of(rows: &[&[(u32, f32)]]) -> SparseRows {
        let mut out = SparseRows::default();
        rows.iter().for_each(|row| out.push(row));
        out
    }
}
