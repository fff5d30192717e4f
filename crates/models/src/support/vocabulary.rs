//! Pieces of texts by their hashes: the place of one is its index.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::num::NonZeroU32;

use forecart_text::Analyzed;

use crate::error::ModelError;
use crate::tensors::{TensorData, Tensors};

/// Hashes that have an index.
#[derive(Debug, Clone, Default)]
pub(super) struct Vocabulary {
    /// Ascending.
    hashes: Vec<u64>,
    index: HashMap<u64, u32>,
}

impl Vocabulary {
    /// Of what stands in `min_count` texts or more, and in how many each of them stands; of more than `most` those that stand in most texts, of as many
    /// those of the lower hashes. `pieces` adds the hashes of a text.
    pub(super) fn fit(
        texts: &[Analyzed],
        (min_count, most): (u32, NonZeroU32),
        pieces: impl Fn(&Analyzed, &mut Vec<u64>),
    ) -> (Self, Vec<u32>) {
        let mut counts: HashMap<u64, u32> = HashMap::new();
        let mut of_text: Vec<u64> = Vec::new();
        for text in texts {
            of_text.clear();
            pieces(text, &mut of_text);
            of_text.sort_unstable();
            of_text.dedup();
            of_text.iter().for_each(|hash| *counts.entry(*hash).or_default() += 1);
        }
        let mut kept: Vec<(u64, u32)> =
            counts.into_iter().filter(|(_, count)| *count >= min_count).collect();
        let most = most.get() as usize;
        if kept.len() > most {
            kept.select_nth_unstable_by_key(most, |(hash, count)| (Reverse(*count), *hash));
            kept.truncate(most);
        }
        kept.sort_unstable();
        let (hashes, counts) = kept.into_iter().unzip();
        (Self::new(hashes), counts)
    }

    fn new(hashes: Vec<u64>) -> Self {
        let index = hashes.iter().copied().zip(0..).collect();
        Self { hashes, index }
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(super) fn get(&self, hash: u64) -> Option<u32> {
        self.index.get(&hash).copied()
    }

    pub(super) fn tensors(&self, name: &str, tensors: &mut Tensors) {
        tensors.insert(name, TensorData::U64(self.hashes.clone()));
    }

    pub(super) fn load(name: &str, tensors: &mut Tensors) -> Result<Self, ModelError> {
        let hashes = tensors.take_u64(name, None)?;
        if !hashes.is_sorted_by(|a, b| a < b) || u32::try_from(hashes.len()).is_err() {
            return Err(ModelError::damaged(format!("its {name} are out of order")));
        }
        Ok(Self::new(hashes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forecart_text::{Pipeline, PipelineConfig};

    #[test]
    fn what_stands_in_few_texts_has_no_index() {
        let pipeline = Pipeline::new(PipelineConfig::default()).unwrap();
        let texts = ["aab", "ab", "bc"].map(|text| pipeline.analyze(text));
        let letters = |text: &Analyzed, out: &mut Vec<u64>| {
            out.extend(text.text().bytes().map(u64::from));
        };
        let most = |n| NonZeroU32::new(n).unwrap();
        let (found, counts) = Vocabulary::fit(&texts, (2, most(9)), letters);
        assert_eq!(counts, [2, 3]);
        let index = |letter: u8| found.get(letter.into());
        assert_eq!([index(b'a'), index(b'b'), index(b'c')], [Some(0), Some(1), None]);
        let (most_frequent, counts) = Vocabulary::fit(&texts, (1, most(2)), letters);
        assert_eq!(counts, [2, 3]);
        assert_eq!(most_frequent.get(b'c'.into()), None);
        let mut tensors = Tensors::default();
        found.tensors("letters", &mut tensors);
        assert_eq!(Vocabulary::load("letters", &mut tensors).unwrap().len(), found.len());
        tensors.insert("letters", TensorData::U64(vec![3, 3]));
        Vocabulary::load("letters", &mut tensors).unwrap_err();
    }
}
