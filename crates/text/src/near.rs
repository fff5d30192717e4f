//! Texts that say almost the same.

use std::collections::{BTreeSet, HashMap};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ngrams;
use crate::tokens::Analyzed;

/// Lengths of the n-grams of characters that texts are compared by.
const N: std::ops::RangeInclusive<usize> = 4..=4;

/// Hashes of a signature: bands of rows. Pairs of similarity 0.8 share a band with a probability above 0.999, pairs of 0.5 with 0.87: they are
/// looked at and found to be too far apart.
const N_BANDS: usize = 32;
const N_ROWS: usize = 4;

/// Texts that share one band with more than so many others are compared with these many alone.
const MAX_SHARED: usize = 200;

/// Two texts that are near each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearPair {
    /// The first and the second, by place.
    pub places: [usize; 2],
    /// Share of n-grams that both have of those that one has, `0.0..=1.0`.
    pub similarity: f64,
}

/// Pairs of texts whose sets of n-grams of four characters have a Jaccard similarity of `min_similarity` or more, by place. Almost all of them above
/// 0.8: pairs are found by their signatures, then compared exactly.
///
/// Source: Broder, *On the resemblance and containment of documents*, 1997; bands as in Leskovec et al., *Mining of Massive Datasets*, 3.4.
pub fn near_duplicates(texts: &[Analyzed], min_similarity: f64) -> Vec<NearPair> {
    let sets: Vec<Vec<u64>> = texts.iter().map(shingles).collect();
    let mut bands: HashMap<(usize, [u64; N_ROWS]), Vec<u32>> = HashMap::new();
    let mut candidates: BTreeSet<[u32; 2]> = BTreeSet::new();
    for (place, set) in sets.iter().enumerate().filter(|(_, set)| !set.is_empty()) {
        for band in 0..N_BANDS {
            let least = |row: usize| {
                let seed = (band * N_ROWS + row) as u64;
                let mixed = |hash: &u64| xxh3_64_with_seed(&hash.to_le_bytes(), seed);
                set.iter().map(mixed).min().unwrap_or(u64::MAX)
            };
            let with = bands.entry((band, std::array::from_fn(least))).or_default();
            if with.len() < MAX_SHARED {
                candidates.extend(with.iter().map(|other| [*other, place as u32]));
                with.push(place as u32);
            }
        }
    }
    let near = |[a, b]: [u32; 2]| {
        let similarity = jaccard(&sets[a as usize], &sets[b as usize]);
        let places = [a as usize, b as usize];
        (similarity >= min_similarity).then_some(NearPair { places, similarity })
    };
    candidates.into_iter().filter_map(near).collect()
}

fn shingles(text: &Analyzed) -> Vec<u64> {
    let mut hashes = Vec::new();
    ngrams::characters(text, N, *N.end(), |ngram| hashes.push(ngram.hash));
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let n_both = a.iter().filter(|hash| b.binary_search(hash).is_ok()).count();
    n_both as f64 / (a.len() + b.len() - n_both) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pipeline, PipelineConfig};

    #[test]
    fn near_texts_are_found_and_others_are_not() {
        let pipeline = Pipeline::new(PipelineConfig::default()).unwrap();
        let texts: Vec<Analyzed> = [
            "When will my new card arrive at my home address?",
            "how do I top up with a bank transfer",
            "When will my new card arrive at my home adress",
            "how do I top up with a bank transfer",
            "",
            "我的订单什么时候可以发货到家里",
            "我的订单什么时候能够发货到家里呢",
        ]
        .iter()
        .map(|text| pipeline.analyze(text))
        .collect();
        let found = near_duplicates(&texts, 0.7);
        let places: Vec<_> = found.iter().map(|pair| pair.places).collect();
        assert_eq!(places, [[0, 2], [1, 3]]);
        assert_eq!(found[1].similarity, 1.0);
    }
}
