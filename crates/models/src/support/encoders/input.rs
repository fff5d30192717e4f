//! From a text to the bags that a network reads.

use std::num::NonZeroU32;

use forecart_text::{Analyzed, TokenKind, ngrams};

use super::super::features::{Features, NgramConfig};
use super::super::vocabulary::Vocabulary;
use super::texts::BaggedTexts;
use crate::error::ModelError;
use crate::tensors::Tensors;

/// Words of a text that are read; the rest is left out.
pub(super) const MAX_WORDS: usize = 256;

/// What a network reads of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// One bag a text: the values of TF-IDF.
    Weighted,
    /// One bag a text: its words, pairs of words and subwords.
    Whole,
    /// One bag a word: the word and its subwords.
    ByWord,
}

/// Texts that a piece has to be in, and pieces at most.
pub(super) type Limits = (u32, NonZeroU32);

/// What is known of the pieces of texts after training.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Weighted(Features),
    /// Pieces that have a row of the table.
    Pieces(Vocabulary, Reading),
}

/// Lengths of the subwords of a word written with an alphabet: those of fastText are 3 to 6.
const LETTERS: std::ops::RangeInclusive<usize> = 3..=5;
/// Of other words, such as Chinese ones: a character there says as much as a word.
const CHARACTERS: std::ops::RangeInclusive<usize> = 1..=3;

/// The hashes of each word of a text.
fn words(text: &Analyzed) -> Vec<Vec<u64>> {
    let is_word = |at: &usize| text.tokens()[*at].kind != TokenKind::Mark;
    let places: Vec<usize> = text.word_places().filter(is_word).take(MAX_WORDS).collect();
    let mut words: Vec<Vec<u64>> = Vec::with_capacity(places.len());
    ngrams::words(text, 1..=1, |ngram| {
        if words.len() < places.len() {
            words.push(vec![ngram.hash]);
        }
    });
    let mut add = |lengths, of_letters: bool| {
        ngrams::subwords(text, lengths, |at, hash| {
            let Ok(place) = places.binary_search(&at) else { return };
            let first = text.token(at).chars().next();
            if first.is_some_and(|c| !ngrams::is_of_ideographs(c)) == of_letters {
                words[place].push(hash);
            }
        });
    };
    add(LETTERS, true);
    add(CHARACTERS, false);
    words
}

/// Calls `visit` with the hashes of each bag of a text.
fn bags(text: &Analyzed, reading: Reading, mut visit: impl FnMut(&[u64])) {
    let mut words = words(text);
    match reading {
        Reading::Weighted | Reading::ByWord => words.iter().for_each(|word| visit(word)),
        Reading::Whole => {
            let mut all: Vec<u64> = words.drain(..).flatten().collect();
            ngrams::words(text, 2..=2, |ngram| all.push(ngram.hash));
            visit(&all);
        }
    }
}

impl Input {
    /// Of pieces within `limits`.
    pub(super) fn fit(texts: &[Analyzed], reading: Reading, limits: Limits) -> Self {
        if reading == Reading::Weighted {
            return Self::Weighted(Features::fit(texts, weighted_config(limits), None));
        }
        let (pieces, _) = Vocabulary::fit(texts, limits, |text, hashes| {
            bags(text, reading, |bag| hashes.extend_from_slice(bag));
        });
        Self::Pieces(pieces, reading)
    }

    /// Rows of the table.
    pub(super) fn n_rows(&self) -> usize {
        match self {
            Self::Weighted(features) => features.len(),
            Self::Pieces(pieces, _) => pieces.len(),
        }
    }

    /// Adds a text to `texts`. What is not known is left out; a word of which nothing is known is an empty bag.
    pub(super) fn push(&self, text: &Analyzed, texts: &mut BaggedTexts) {
        match self {
            Self::Weighted(features) => {
                for (index, value) in features.row(text) {
                    texts.indices.push(index);
                    texts.weights.push(value);
                }
                texts.end_bag();
            }
            Self::Pieces(pieces, reading) => bags(text, *reading, |bag| {
                texts.indices.extend(bag.iter().filter_map(|hash| pieces.get(*hash)));
                texts.end_bag();
            }),
        }
        texts.end_text();
    }

    /// All texts.
    pub(super) fn read(&self, texts: &[Analyzed]) -> BaggedTexts {
        let mut all = BaggedTexts::new();
        texts.iter().for_each(|text| self.push(text, &mut all));
        all
    }

    pub(super) fn tensors(&self, tensors: &mut Tensors) {
        match self {
            Self::Weighted(features) => features.tensors(tensors),
            Self::Pieces(pieces, _) => pieces.tensors("pieces", tensors),
        }
    }

    pub(super) fn load(
        reading: Reading,
        limits: Limits,
        tensors: &mut Tensors,
    ) -> Result<Self, ModelError> {
        if reading == Reading::Weighted {
            return Ok(Self::Weighted(Features::load(weighted_config(limits), false, tensors)?));
        }
        Ok(Self::Pieces(Vocabulary::load("pieces", tensors)?, reading))
    }
}

/// The features of the linear models.
fn weighted_config((min_count, max_features): Limits) -> NgramConfig {
    NgramConfig { min_count, max_features, ..NgramConfig::DEFAULT }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::analyzed;

    fn limits(min_count: u32) -> Limits {
        (min_count, NonZeroU32::MAX)
    }

    #[test]
    fn a_word_is_read_with_its_subwords_and_a_chinese_one_by_its_characters() {
        let texts = analyzed(&["card", "订单"]);
        // Of `<card>` there are 4 + 3 + 2 subwords of 3 to 5 letters; of `<订单>` 4 + 3 + 2 of 1 to 3.
        assert_eq!(words(&texts[0])[0].len(), 1 + 9);
        assert_eq!(words(&texts[1])[0].len(), 1 + 9);
        let (order, list) =
            (&words(&analyzed(&["订单"])[0])[0], &words(&analyzed(&["单子"])[0])[0]);
        assert!(order[1..].iter().any(|hash| list[1..].contains(hash)), "both have 单");
    }

    #[test]
    fn what_is_rare_or_new_is_left_out_and_marks_are_not_read() {
        let texts = analyzed(&["my card!", "my order?"]);
        let all = Input::fit(&texts, Reading::ByWord, limits(1)).n_rows();
        let frequent = Input::fit(&texts, Reading::ByWord, limits(2));
        let subwords_of_my = 2 + 1; // <my, my>; <my> is the whole and no subword: 2 of length 3, and the word
        assert!(all > frequent.n_rows());
        assert_eq!(frequent.n_rows(), subwords_of_my);
        let read = frequent.read(&analyzed(&["my parcel!", "", "zzz"]));
        let rows = read.of(0..3).unwrap();
        assert_eq!(
            rows.bags.n_bags(),
            2 + 1 + 1,
            "a bag a word, an empty one for a text without words"
        );
        assert_eq!(read.indices.len(), subwords_of_my);
    }

    #[test]
    fn a_text_read_at_once_is_one_bag_with_pairs_of_words() {
        let texts = analyzed(&["my card"]);
        let (by_word, whole) = (
            Input::fit(&texts, Reading::ByWord, limits(1)),
            Input::fit(&texts, Reading::Whole, limits(1)),
        );
        assert_eq!(whole.n_rows(), by_word.n_rows() + 1);
        assert_eq!(whole.read(&texts).of(0..1).unwrap().bags.n_bags(), 1);
    }

    #[test]
    fn long_texts_are_read_from_the_beginning() {
        let texts = analyzed(&[&"my card ".repeat(MAX_WORDS)]);
        let read = Input::fit(&texts, Reading::ByWord, limits(1)).read(&texts);
        assert_eq!(read.of(0..1).unwrap().bags.n_bags(), MAX_WORDS);
    }

    #[test]
    fn what_is_read_comes_back_from_tensors() {
        let texts = analyzed(&["where is my card", "我的订单在哪"]);
        for reading in [Reading::Weighted, Reading::Whole, Reading::ByWord] {
            let input = Input::fit(&texts, reading, limits(1));
            let mut tensors = Tensors::default();
            input.tensors(&mut tensors);
            let loaded = Input::load(reading, limits(1), &mut tensors).unwrap();
            tensors.expect_empty().unwrap();
            assert_eq!(loaded.read(&texts), input.read(&texts), "{reading:?}");
        }
    }
}
