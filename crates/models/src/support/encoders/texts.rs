//! Texts as lists of bags of rows of a table.

use forecart_nn::{Bags, DropoutKey, NnError, Ragged};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Texts, each a list of bags of indices: a bag is what one row of the network's input is summed from. Where a network reads words, it is
/// the pieces of one; where it reads a text at once, there is one bag a text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct BaggedTexts {
    pub(super) indices: Vec<u32>,
    /// One an index, or none.
    pub(super) weights: Vec<f32>,
    /// Bag `b` is `indices[bags[b]..bags[b + 1]]`; begins with 0.
    bags: Vec<usize>,
    /// Text `t` is bags `texts[t]..texts[t + 1]`; begins with 0.
    texts: Vec<usize>,
}

/// What is left out of a text at random while training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LeftOut {
    /// Bags become empty, of a text all but one at most: words that are not seen (Iyyer et al., ACL 2015, section 3.2).
    Bags(f32),
    /// Indices go; the weights of the others grow so that sums are kept.
    Indices(f32),
}

impl BaggedTexts {
    pub(super) fn new() -> Self {
        Self { bags: vec![0], texts: vec![0], ..Self::default() }
    }

    pub(super) fn clear(&mut self) {
        self.indices.clear();
        self.weights.clear();
        (self.bags, self.texts) = (vec![0], vec![0]);
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len() - 1
    }

    /// Ends the bag that the indices since the last one are.
    pub(super) fn end_bag(&mut self) {
        self.bags.push(self.indices.len());
    }

    /// Ends the text that the bags since the last one are. A text without bags gets an empty one: networks read at least one row.
    pub(super) fn end_text(&mut self) {
        if self.texts.last() == Some(&(self.bags.len() - 1)) {
            self.end_bag();
        }
        self.texts.push(self.bags.len() - 1);
    }

    /// The bags of a text.
    fn bags_of(&self, text: usize) -> std::ops::Range<usize> {
        self.texts[text]..self.texts[text + 1]
    }

    /// Adds text `text` of `others`.
    fn push(&mut self, others: &Self, text: usize, keeps: &mut impl Keeps) {
        let bags = others.bags_of(text);
        keeps.begin(bags.len());
        for (place, bag) in bags.enumerate() {
            if keeps.bag(place) {
                for at in others.bags[bag]..others.bags[bag + 1] {
                    let Some(scale) = keeps.index() else { continue };
                    self.indices.push(others.indices[at]);
                    if let Some(weight) = others.weights.get(at) {
                        self.weights.push(weight * scale);
                    }
                }
            }
            self.end_bag();
        }
        self.end_text();
    }

    /// Writes the texts at `places` to `out`, without what the step leaves out at random.
    pub(super) fn gather(
        &self,
        places: &[u32],
        left_out: Option<(LeftOut, DropoutKey)>,
        out: &mut Self,
    ) {
        out.clear();
        let mut random = left_out.map(|(left_out, key)| AtRandom {
            left_out,
            rng: ChaCha8Rng::seed_from_u64(key.to_seed()),
            kept: 0,
        });
        for place in places {
            match &mut random {
                Some(random) => out.push(self, *place as usize, random),
                None => out.push(self, *place as usize, &mut All),
            }
        }
    }

    /// The bags of these texts, and which of them are of each.
    pub(super) fn of(&self, texts: std::ops::Range<usize>) -> Result<Rows<'_>, NnError> {
        let bags = self.texts[texts.start]..self.texts[texts.end];
        let weights = (!self.weights.is_empty()).then_some(self.weights.as_slice());
        let starts: Vec<usize> =
            self.texts[texts.start..=texts.end].iter().map(|at| at - bags.start).collect();
        let first_row = bags.start;
        Ok(Rows {
            bags: Bags::new(&self.indices, &self.bags, weights)?.slice(bags),
            starts,
            first_row,
        })
    }
}

/// The bags of some texts.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) bags: Bags<'a>,
    starts: Vec<usize>,
    /// Place of the first bag among all.
    pub(super) first_row: usize,
}

impl Rows<'_> {
    /// Which bags are of each text.
    pub(super) fn ragged(&self) -> Result<Ragged<'_>, NnError> {
        Ragged::new(&self.starts)
    }
}

/// What is kept of a text.
trait Keeps {
    fn begin(&mut self, n_bags: usize);
    fn bag(&mut self, place: usize) -> bool;
    /// By how much the weight of a kept index grows.
    fn index(&mut self) -> Option<f32>;
}

struct All;

impl Keeps for All {
    fn begin(&mut self, _: usize) {}

    fn bag(&mut self, _: usize) -> bool {
        true
    }

    fn index(&mut self) -> Option<f32> {
        Some(1.0)
    }
}

struct AtRandom {
    left_out: LeftOut,
    rng: ChaCha8Rng,
    /// The bag that is kept whatever is drawn.
    kept: usize,
}

impl Keeps for AtRandom {
    fn begin(&mut self, n_bags: usize) {
        self.kept = self.rng.random_range(0..n_bags);
    }

    fn bag(&mut self, place: usize) -> bool {
        match self.left_out {
            LeftOut::Bags(share) => self.rng.random::<f32>() >= share || place == self.kept,
            LeftOut::Indices(_) => true,
        }
    }

    fn index(&mut self) -> Option<f32> {
        match self.left_out {
            LeftOut::Bags(_) => Some(1.0),
            LeftOut::Indices(share) => {
                (self.rng.random::<f32>() >= share).then(|| 1.0 / (1.0 - share))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> BaggedTexts {
        let mut texts = BaggedTexts::new();
        for text in [vec![vec![1, 2], vec![3]], vec![], vec![vec![4], vec![], vec![5, 6]]] {
            for bag in text {
                texts.indices.extend_from_slice(&bag);
                texts.end_bag();
            }
            texts.end_text();
        }
        texts.weights = texts.indices.iter().map(|index| *index as f32).collect();
        texts
    }

    #[test]
    fn texts_are_gathered_whole_and_an_empty_one_is_an_empty_bag() {
        let texts = texts();
        let mut out = BaggedTexts::new();
        texts.gather(&[2, 1, 0], None, &mut out);
        assert_eq!(out.indices, [4, 5, 6, 1, 2, 3]);
        assert_eq!(
            (&out.bags[..], &out.texts[..]),
            (&[0, 1, 1, 3, 3, 5, 6][..], &[0, 3, 4, 6][..])
        );
        let rows = out.of(1..3).unwrap();
        assert_eq!((rows.bags.n_bags(), rows.first_row), (3, 3));
        assert_eq!(rows.ragged().unwrap().sequences().collect::<Vec<_>>(), [0..1, 1..3]);
        out.gather(&[0, 1, 2], None, &mut BaggedTexts::new());
        let mut same = BaggedTexts::new();
        texts.gather(&[0, 1, 2], None, &mut same);
        assert_eq!(same, texts);
    }

    #[test]
    fn what_is_left_out_is_drawn_by_the_key_and_sums_are_kept_on_average() {
        let mut texts = BaggedTexts::new();
        for index in 0..4000 {
            texts.indices.push(index);
            texts.weights.push(1.0);
            texts.end_bag();
        }
        texts.end_text();
        let drawn = |left_out, step| {
            let mut out = BaggedTexts::new();
            texts.gather(&[0], Some((left_out, DropoutKey::new(1, step))), &mut out);
            out
        };
        let bags = drawn(LeftOut::Bags(0.25), 1);
        assert_eq!(bags.bags.len(), 4001, "a bag that is left out is an empty one");
        // Binomial(4000, 0.25) has standard deviation 27.
        assert!(bags.indices.len().abs_diff(3000) < 140, "{}", bags.indices.len());
        assert_eq!(bags, drawn(LeftOut::Bags(0.25), 1));
        assert_ne!(bags, drawn(LeftOut::Bags(0.25), 2));
        let indices = drawn(LeftOut::Indices(0.25), 1);
        assert!((indices.weights.iter().sum::<f32>() - 4000.0).abs() < 190.0);
        assert!(!drawn(LeftOut::Bags(1.0 - 1e-7), 1).indices.is_empty(), "one is kept");
    }
}
