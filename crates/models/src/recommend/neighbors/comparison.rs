//! Rows compared with all others by an inverted index of the features.

use super::Interactions;
use super::keys::{NeighborKeys, Similarity};

/// Rows of the index that are asked for before they are read.
const AHEAD: usize = 16;

/// What two rows share, added up feature by feature.
pub(super) trait Shared: Copy + Default + Send {
    /// Whether they share nothing so far.
    fn is_nothing(self) -> bool;

    /// Adds a feature with its weights in the one row and in the other.
    fn add(&mut self, weight: f32, other: f32);

    /// The product of the two rows over what they share.
    fn dot(self) -> f64;

    /// `Σ a²` and `Σ b²` over the shared features; `None` where nobody adds them up.
    fn squares(self) -> Option<(f64, f64)> {
        None
    }
}

/// The number of shared features: the product of rows of ones. Exact, and half the size of a number in f64.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SharedCount(u32);

/// The product of weighted rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SharedDot {
    dot: f64,
    n: u32,
}

/// The product, and the norms of what is shared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SharedCentered {
    dot: f64,
    squares: (f64, f64),
    n: u32,
}

impl Shared for SharedCount {
    fn is_nothing(self) -> bool {
        self.0 == 0
    }

    fn add(&mut self, _: f32, _: f32) {
        self.0 += 1;
    }

    fn dot(self) -> f64 {
        f64::from(self.0)
    }
}

impl Shared for SharedDot {
    fn is_nothing(self) -> bool {
        self.n == 0
    }

    fn add(&mut self, weight: f32, other: f32) {
        self.dot += f64::from(weight) * f64::from(other);
        self.n += 1;
    }

    fn dot(self) -> f64 {
        self.dot
    }
}

impl Shared for SharedCentered {
    fn is_nothing(self) -> bool {
        self.n == 0
    }

    fn add(&mut self, weight: f32, other: f32) {
        let (weight, other) = (f64::from(weight), f64::from(other));
        self.dot += weight * other;
        self.squares.0 += weight * weight;
        self.squares.1 += other * other;
        self.n += 1;
    }

    fn dot(self) -> f64 {
        self.dot
    }

    fn squares(self) -> Option<(f64, f64)> {
        Some(self.squares)
    }
}

/// What the rows share with one row, and which share anything, so that a row costs what it touches.
#[derive(Debug)]
pub(super) struct Scratch<S> {
    shared: Vec<S>,
    /// One longer than there are rows: the place after the last is written before it is known to be new.
    touched: Vec<u32>,
    n_touched: usize,
    selected: Vec<u64>,
}

impl<S: Shared> Scratch<S> {
    pub(super) fn new(n_rows: usize) -> Self {
        Self {
            shared: vec![S::default(); n_rows],
            touched: vec![0; n_rows + 1],
            n_touched: 0,
            selected: Vec::new(),
        }
    }

    /// Adds a feature that a row has with `weight` and `others` have with `weights`, 1 where there are none.
    fn add(&mut self, weight: f32, others: &[u32], weights: &[f32]) {
        let Self { shared, touched, n_touched, .. } = self;
        let mut n = *n_touched;
        // Whether a row is new is as good as random: the list grows without a branch.
        let mut add = |other: u32, other_weight: f32| {
            let sum = &mut shared[other as usize];
            touched[n] = other;
            n += usize::from(sum.is_nothing());
            sum.add(weight, other_weight);
        };
        if weights.is_empty() {
            others.iter().for_each(|other| add(*other, 1.0));
        } else {
            others.iter().zip(weights).for_each(|(other, weight)| add(*other, *weight));
        }
        *n_touched = n;
    }

    /// Adds what the rows of `index` share with a row of these features and weights, 1 where there are none.
    pub(super) fn add_features(&mut self, index: &Interactions, features: &[u32], weights: &[f32]) {
        for (piece, features) in features.chunks(AHEAD).enumerate() {
            // The rows lie anywhere in memory and are short: all of a piece are asked for before the first is read.
            let mut rows = [(&[][..], &[][..]); AHEAD];
            let mut ends = 0;
            for (row, feature) in rows.iter_mut().zip(features) {
                *row = index.row(*feature as usize);
                ends ^= row.0.first().copied().unwrap_or(0) ^ row.0.last().copied().unwrap_or(0);
            }
            std::hint::black_box(ends);
            for (place, (others, of_others)) in rows.iter().take(features.len()).enumerate() {
                let weight = weights.get(piece * AHEAD + place).copied().unwrap_or(1.0);
                self.add(weight, others, of_others);
            }
        }
    }

    /// The `n` rows of the largest quotients whose parts `value` makes of what is shared, ascending by row; the scratch is
    /// empty afterwards.
    pub(super) fn largest(
        &mut self,
        n: usize,
        value: impl Fn(usize, S) -> Option<(f64, f64)>,
    ) -> impl Iterator<Item = (u32, f32)> {
        let mut selection = Selection::new(n, &mut self.selected);
        for row in &self.touched[..self.n_touched] {
            let shared = std::mem::take(&mut self.shared[*row as usize]);
            if let Some((dividend, divisor)) = value(*row as usize, shared) {
                selection.offer(*row, dividend, divisor);
            }
        }
        self.n_touched = 0;
        selection.finish()
    }
}

/// The rows that others are compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    similarity: Similarity,
    shrinkage: f64,
    n_neighbors: usize,
    /// The rows that have each feature, with their weights.
    pub(super) index: Interactions,
    /// Of each row, `√Σ w²` for cosine, else `Σ w²`.
    norms: Vec<f64>,
}

impl Comparison {
    /// Of `n_rows` rows; `index` are the features with their rows.
    pub(super) fn of(keys: NeighborKeys, index: Interactions, n_rows: usize) -> Self {
        let mut norms = vec![0.0_f64; n_rows];
        for (place, row) in index.cols.iter().enumerate() {
            norms[*row as usize] += index.values.get(place).map_or(1.0, |w| f64::from(*w).powi(2));
        }
        if keys.similarity == Similarity::Cosine {
            norms.iter_mut().for_each(|norm| *norm = norm.sqrt());
        }
        Self {
            similarity: keys.similarity,
            shrinkage: keys.shrinkage,
            n_neighbors: keys.n_neighbors.get() as usize,
            index,
            norms,
        }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.norms.len()
    }

    /// What the similarity divides the product by.
    fn denominator(&self, norm: f64, other: usize, shared: impl Shared) -> f64 {
        let denominator = match (self.similarity, shared.squares()) {
            (_, Some((own, other))) => (own * other).sqrt(),
            (Similarity::Cosine, None) => norm * self.norms[other],
            (Similarity::Jaccard, None) => norm + self.norms[other] - shared.dot(),
            _ => 1.0,
        };
        denominator + self.shrinkage
    }

    /// The norm of a row that is not one of those here, as those are stored.
    fn norm_of(&self, weights: &[f32], n_features: usize) -> f64 {
        let squares = match weights {
            [] => n_features as f64,
            weights => weights.iter().map(|weight| f64::from(*weight).powi(2)).sum(),
        };
        if self.similarity == Similarity::Cosine { squares.sqrt() } else { squares }
    }

    /// The rows most similar to one with these features and weights (1 where there are none), without row `own`, and
    /// their similarities, ascending by row.
    pub(super) fn nearest<S: Shared>(
        &self,
        (features, weights): (&[u32], &[f32]),
        own: Option<usize>,
        scratch: &mut Scratch<S>,
    ) -> impl Iterator<Item = (u32, f32)> {
        scratch.add_features(&self.index, features, weights);
        let norm = self.norm_of(weights, features.len());
        scratch.largest(self.n_neighbors, move |other, shared| {
            let denominator = self.denominator(norm, other, shared);
            (own != Some(other)).then_some((shared.dot(), denominator))
        })
    }
}

/// The `n` largest positive values, equal ones by the smaller column.
///
/// An entry is one number that is larger where it is better: the bits of a positive float ascend like its value.
#[derive(Debug)]
struct Selection<'a> {
    n: usize,
    kept: &'a mut Vec<u64>,
    /// No smaller value can be among the largest.
    floor: f32,
    /// A quotient below it is smaller than the floor in f32 too.
    floor_below: f64,
}

impl<'a> Selection<'a> {
    fn new(n: usize, kept: &'a mut Vec<u64>) -> Self {
        kept.clear();
        Self { n, kept, floor: f32::from_bits(1), floor_below: 0.0 }
    }

    fn offer(&mut self, col: u32, dividend: f64, divisor: f64) {
        // Most are too small, which a product shows sooner than a quotient; a little below the floor, for rounding.
        if dividend < self.floor_below * divisor {
            return;
        }
        let value = (dividend / divisor) as f32;
        // A value that is not a number is none of the largest.
        if value >= self.floor && value <= f32::MAX {
            self.kept.push((u64::from(value.to_bits()) << 32) | u64::from(!col));
            if self.kept.len() >= self.n.max(32).saturating_mul(4) {
                self.cut();
            }
        }
    }

    fn cut(&mut self) {
        if self.kept.len() > self.n {
            let first = self.kept.len() - self.n;
            let (_, last, _) = self.kept.select_nth_unstable(first);
            self.floor = f32::from_bits((*last >> 32) as u32);
            self.floor_below = f64::from(self.floor) * (1.0 - 1e-6);
            self.kept.drain(..first);
        }
    }

    /// Column and value, ascending by column.
    fn finish(mut self) -> impl Iterator<Item = (u32, f32)> {
        self.cut();
        let kept = self.kept;
        kept.iter_mut().for_each(|entry| *entry = entry.rotate_left(32) ^ (0xffff_ffff << 32));
        kept.sort_unstable();
        kept.iter().map(|entry| ((*entry >> 32) as u32, f32::from_bits(*entry as u32)))
    }
}
