//! Where candidates come from.

use crate::catalog::ItemRow;

/// An item that a source proposes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The item.
    pub row: ItemRow,
    /// The source's own score, if it has one; it is answered as it is and decides nothing here.
    pub score: Option<f32>,
}

/// Candidates, best first. What makes them is asked for as many as are needed, no more.
///
/// An item may come twice, and rows that the catalog does not have are passed over. For a list that is never short, the
/// last source must end with all live items ([`crate::catalog::Catalog::live_rows`]).
pub trait Source {
    /// For the trace, the metrics and the answer.
    fn name(&self) -> &str;

    /// The next best candidate.
    fn next_best(&mut self) -> Option<Candidate>;
}

/// A list that is in order already, such as the most popular items.
#[derive(Debug, Clone)]
pub struct InOrder<'a, I> {
    name: &'a str,
    candidates: I,
}

impl<'a, I: Iterator<Item = Candidate>> InOrder<'a, I> {
    /// Candidates, best first.
    pub fn new(
        name: &'a str,
        candidates: impl IntoIterator<Item = Candidate, IntoIter = I>,
    ) -> Self {
        Self { name, candidates: candidates.into_iter() }
    }
}

impl<I: Iterator<Item = Candidate>> Source for InOrder<'_, I> {
    fn name(&self) -> &str {
        self.name
    }

    fn next_best(&mut self) -> Option<Candidate> {
        self.candidates.next()
    }
}

/// Scored items in any order; the best first, ties by row. Scores that are not finite are left out: models mark with
/// them what they do not propose.
///
/// # Cost
/// O(n) to begin with, and the best are sorted as they are asked for: 64, then each time four times as many.
#[derive(Debug, Clone)]
pub struct ByScore<'a> {
    name: &'a str,
    /// Score and row in one number each, smaller is better: numbers are selected and sorted faster than pairs.
    keys: Vec<u64>,
    next: usize,
    n_sorted: usize,
    n_more: usize,
}

impl<'a> ByScore<'a> {
    /// Items with their scores.
    pub fn new(name: &'a str, scores: impl IntoIterator<Item = (ItemRow, f32)>) -> Self {
        let finite = scores.into_iter().filter(|(_, score)| score.is_finite());
        let keys = finite.map(|(row, score)| key(row, score)).collect();
        Self { name, keys, next: 0, n_sorted: 0, n_more: 64 }
    }
}

/// Of IEEE numbers the bits of positive ones rise with the number, those of negative ones fall.
fn key(row: ItemRow, score: f32) -> u64 {
    // Both zeros are one score.
    let bits = (score + 0.0).to_bits();
    let rising = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    (u64::from(!rising) << 32) | u64::from(row.0)
}

fn candidate(key: u64) -> Candidate {
    let rising = !((key >> 32) as u32);
    let bits = if rising >> 31 == 1 { rising & !(1 << 31) } else { !rising };
    Candidate { row: ItemRow(key as u32), score: Some(f32::from_bits(bits)) }
}

impl Source for ByScore<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn next_best(&mut self) -> Option<Candidate> {
        if self.next == self.n_sorted {
            let rest = &mut self.keys[self.n_sorted..];
            let n = self.n_more.min(rest.len());
            if n < rest.len() {
                rest.select_nth_unstable(n);
            }
            rest[..n].sort_unstable();
            self.n_sorted += n;
            self.n_more *= 4;
        }
        let key = *self.keys.get(self.next)?;
        self.next += 1;
        Some(candidate(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_by_row() {
        let scores = [(4, -1.5), (7, 0.0), (2, -0.0), (9, f32::NAN), (1, 3.5), (0, -1.5)];
        let scores = scores.into_iter().chain([(3, f32::NEG_INFINITY)]);
        let mut source = ByScore::new("model", scores.map(|(row, score)| (ItemRow(row), score)));
        let all: Vec<(u32, f32)> = std::iter::from_fn(|| source.next_best())
            .map(|one| (one.row.0, one.score.unwrap()))
            .collect();
        assert_eq!(all, [(1, 3.5), (2, 0.0), (7, 0.0), (0, -1.5), (4, -1.5)]);
    }

    #[test]
    fn sorting_bit_by_bit_is_sorting() {
        let score = |row: u32| ((row.wrapping_mul(2_654_435_761) >> 20) as f32) - 2000.0;
        let mut source = ByScore::new("model", (0..5000).map(|row| (ItemRow(row), score(row))));
        let mut want: Vec<u32> = (0..5000).collect();
        want.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
        let got: Vec<u32> = std::iter::from_fn(|| source.next_best()).map(|c| c.row.0).collect();
        assert_eq!(got, want);
    }
}
