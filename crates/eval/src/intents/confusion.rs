//! Which intent is taken for which.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::IntentAnswer;

/// Pairs that are kept.
const N_PAIRS: usize = 20;

/// Places that are kept of a pair.
const N_EXAMPLES: usize = 3;

/// An intent that is taken for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    /// What is asked.
    pub asked: u32,
    /// What is the most probable.
    pub found: u32,
    /// How often; a text counts once for each seed.
    pub n_texts: u64,
    /// Places of the first few texts.
    pub examples: Vec<usize>,
}

/// The pairs of intents that are confused most often, the most frequent first, equal ones by their intents.
pub fn confusions(seeds: &[Vec<IntentAnswer>]) -> Vec<Confusion> {
    let mut pairs: BTreeMap<(u32, u32), Vec<usize>> = BTreeMap::new();
    for answers in seeds {
        for (place, answer) in answers.iter().enumerate().filter(|(_, own)| !own.is_right()) {
            if let Some(label) = answer.label {
                pairs.entry((label, answer.best)).or_default().push(place);
            }
        }
    }
    let confusion = |((asked, found), mut places): ((u32, u32), Vec<usize>)| {
        let n_texts = places.len() as u64;
        places.sort_unstable();
        places.dedup();
        places.truncate(N_EXAMPLES);
        Confusion { asked, found, n_texts, examples: places }
    };
    let mut confusions: Vec<Confusion> = pairs.into_iter().map(confusion).collect();
    confusions.sort_by_key(|confusion| Reverse(confusion.n_texts));
    confusions.truncate(N_PAIRS);
    confusions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_over_the_seeds_and_strangers_are_none() {
        let answer = |label, best| IntentAnswer {
            best,
            confidence: 0.5,
            score: 0.5,
            abstained: false,
            label,
        };
        let one = vec![answer(Some(0), 0), answer(Some(1), 0), answer(Some(0), 1), answer(None, 1)];
        let mut other = one.clone();
        other[2].best = 0;
        let found = confusions(&[one, other]);
        let want = |asked, found, n_texts, place| Confusion {
            asked,
            found,
            n_texts,
            examples: vec![place],
        };
        assert_eq!(found, [want(1, 0, 2, 1), want(0, 1, 1, 2)]);
    }
}
