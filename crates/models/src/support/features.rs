//! Texts as rows of TF-IDF: n-grams of words and of characters, each kind with length 1; after them what an encoder makes of a text, if there is one.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use forecart_text::{Analyzed, ngrams};

use super::sentence_encoder::SentenceEncoder;
use super::vocabulary::Vocabulary;
use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// The two kinds of n-grams; each is a block of its own.
const N_BLOCKS: usize = 2;

/// Which n-grams count, and how.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NgramConfig {
    /// Longest n-grams of words; 0 for none.
    pub(super) word_ngrams: usize,
    /// Shortest n-grams of characters.
    pub(super) char_ngrams_from: usize,
    /// Longest n-grams of characters; 0 for none.
    pub(super) char_ngrams: usize,
    /// Longest of those that hold a Chinese character, kana or hangul.
    pub(super) ideograph_ngrams: usize,
    /// Texts that an n-gram has to be in.
    pub(super) min_count: u32,
    /// N-grams at most, those in most texts.
    pub(super) max_features: NonZeroU32,
    /// Whether a count counts as `1 + ln count`.
    pub(super) sublinear: bool,
}

impl NgramConfig {
    /// What all models begin with.
    pub(super) const DEFAULT: Self = Self {
        word_ngrams: 2,
        char_ngrams_from: 1, // of Chinese: .899, not .883, on SMP
        char_ngrams: 5,
        ideograph_ngrams: 2, // see docs/measurements.md
        min_count: 1,
        max_features: NonZeroU32::new(1 << 18).expect("not 0"),
        sublinear: true,
    };

    /// Calls `visit` with the block, the hash and the place of each n-gram.
    fn each(&self, text: &Analyzed, mut visit: impl FnMut(usize, u64, Range<usize>)) {
        if self.word_ngrams > 0 {
            ngrams::words(text, 1..=self.word_ngrams, |ngram| visit(0, ngram.hash, ngram.span));
        }
        if self.char_ngrams > 0 {
            let lengths = self.char_ngrams_from..=self.char_ngrams;
            ngrams::characters(text, lengths, self.ideograph_ngrams, |ngram| {
                visit(1, ngram.hash, ngram.span);
            });
        }
    }
}

/// The n-grams that count, and the weight of each.
#[derive(Debug, Clone)]
pub(super) struct Features {
    config: NgramConfig,
    vocabulary: Vocabulary,
    /// Inverse document frequency of each.
    idf: Vec<f32>,
    /// A block of its own after the n-grams.
    encoder: Option<Arc<SentenceEncoder>>,
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

impl Features {
    /// Those n-grams that are in `min_count` texts or more; `idf = ln((1 + n) / (1 + n_texts_with_it)) + 1`, as in scikit-learn.
    pub(super) fn fit(
        texts: &[Analyzed],
        config: NgramConfig,
        encoder: Option<Arc<SentenceEncoder>>,
    ) -> Self {
        let (vocabulary, counts) =
            Vocabulary::fit(texts, (config.min_count, config.max_features), |text, hashes| {
                config.each(text, |_, hash, _| hashes.push(hash));
            });
        let n = texts.len() as f64;
        let idf = |count: u32| (((1.0 + n) / (1.0 + f64::from(count))).ln() + 1.0) as f32;
        Self { config, vocabulary, idf: counts.into_iter().map(idf).collect(), encoder }
    }

    /// Number of columns: n-grams, then the encoder's.
    pub(super) fn len(&self) -> usize {
        self.vocabulary.len() + self.encoder.as_ref().map_or(0, |encoder| encoder.n_dims())
    }

    /// The n-grams of a text that count, by block.
    fn found(&self, text: &Analyzed) -> [Vec<Found>; N_BLOCKS] {
        let mut found: [Vec<Found>; N_BLOCKS] = Default::default();
        self.config.each(text, |block, hash, span| {
            found[block].extend(self.vocabulary.get(hash).map(|index| Found { index, span }));
        });
        found
    }

    /// `(1 + ln count) idf` of each n-gram, or `count idf`; each block has length 1.
    fn values(&self, found: &[Found]) -> Vec<(u32, f32)> {
        let mut indices: Vec<u32> = found.iter().map(|found| found.index).collect();
        indices.sort_unstable();
        let weigh = |indices: &[u32]| {
            let count = indices.len() as f32;
            let count = if self.config.sublinear { 1.0 + count.ln() } else { count };
            (indices[0], count * self.idf[indices[0] as usize])
        };
        let mut values: Vec<(u32, f32)> = indices.chunk_by(|a, b| a == b).map(weigh).collect();
        let squares: f64 = values.iter().map(|(_, value)| f64::from(*value).powi(2)).sum();
        let length = squares.sqrt().max(f64::MIN_POSITIVE) as f32;
        values.iter_mut().for_each(|(_, value)| *value /= length);
        values
    }

    /// The values of a text.
    pub(super) fn row(&self, text: &Analyzed) -> Vec<(u32, f32)> {
        let mut row: Vec<(u32, f32)> =
            self.found(text).iter().flat_map(|found| self.values(found)).collect();
        if let Some(encoder) = &self.encoder {
            let first = self.vocabulary.len() as u32;
            row.extend((first..).zip(encoder.vector_of(text)));
        }
        row
    }

    /// The values of texts.
    pub(super) fn rows(&self, texts: &[Analyzed]) -> SparseRows {
        let mut rows = SparseRows::default();
        texts.iter().for_each(|text| rows.push(&self.row(text)));
        rows
    }

    /// What each token of a text adds where an n-gram of value `v` and index `i` adds `v weight(i)`: an n-gram is shared out to its tokens by
    /// their bytes in it, and to the places where it stands evenly. The encoder's columns are shared out as its own tokens are.
    pub(super) fn attribute(&self, text: &Analyzed, weight: impl Fn(u32) -> f64) -> Vec<f64> {
        let mut added = vec![0.0; text.tokens().len()];
        for found in self.found(text) {
            let values: HashMap<u32, f32> = self.values(&found).into_iter().collect();
            let mut counts: HashMap<u32, u32> = HashMap::new();
            found.iter().for_each(|found| *counts.entry(found.index).or_default() += 1);
            for Found { index, span } in &found {
                let share = f64::from(values[index]) / f64::from(counts[index]) * weight(*index);
                share_out(text, span, share, &mut added);
            }
        }
        if let Some(encoder) = &self.encoder {
            let first = self.vocabulary.len();
            for share in encoder.shares(text, |dim| weight((first + dim) as u32)) {
                share_out(text, &share.span, share.value, &mut added);
            }
        }
        added
    }

    pub(super) fn tensors(&self, tensors: &mut Tensors) {
        self.vocabulary.tensors("ngrams", tensors);
        tensors.insert("idf", TensorData::F32(self.idf.clone()));
        self.encoder.iter().for_each(|encoder| encoder.tensors(tensors));
    }

    pub(super) fn load(
        config: NgramConfig,
        has_encoder: bool,
        tensors: &mut Tensors,
    ) -> Result<Self, ModelError> {
        let vocabulary = Vocabulary::load("ngrams", tensors)?;
        let idf = tensors.take_f32("idf", Some(vocabulary.len()))?;
        let encoder = match has_encoder {
            true => Some(Arc::new(SentenceEncoder::load(tensors)?)),
            false => None,
        };
        Ok(Self { config, vocabulary, idf, encoder })
    }
}

/// Adds `value` to the tokens that stand in `span`, by their bytes in it.
fn share_out(text: &Analyzed, span: &Range<usize>, value: f64, added: &mut [f64]) {
    let first = text.tokens().partition_point(|token| token.span.end <= span.start);
    let within =
        |at: &usize| text.tokens().get(*at).is_some_and(|token| token.span.start < span.end);
    let bytes = |at: usize| {
        let token = &text.tokens()[at].span;
        (token.end.min(span.end) - token.start.max(span.start)) as f64
    };
    let all: f64 = (first..).take_while(within).map(bytes).sum();
    for at in (first..).take_while(within) {
        added[at] += value * bytes(at) / all;
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
