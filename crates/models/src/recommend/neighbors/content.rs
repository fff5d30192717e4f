//! Items alike by what the catalog says: new items too.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use forecart_data::{History, ItemIdx};
use serde::{Deserialize, Serialize};

use super::Interactions;
use super::comparison::{Comparison, Scratch, SharedDot};
use super::keys::NeighborKeys;
use crate::error::ModelError;
use crate::recommend::contract::FitContext;
use crate::recommend::related_items::{
    RelatedItems, RelatedItemsConfig, Speaking, decay_by_place, newest_of_each,
};
use crate::recommend::search_space::Parameter;
use crate::recommend::sparse::ItemMatrix;
use crate::recommend::view::TrainingView;

/// Items alike by the catalog, with the hyperparameters.
///
/// An item is a row of two blocks: the words of its title, and its categorical attributes as the dataset encodes them.
/// A word of the block counts `(1 + ln n) · ln(N / N_w)`, `n` times in the title, in `N_w` of the `N` items that have a
/// title; an attribute `ln(N / N_a)` in the same way. Each block is divided by its norm, that of the words times
/// `√text_share`, that of the attributes times `√(1 - text_share)`, and rows are compared by their cosine, so that items of
/// which both are known are alike by `text_share · cosine of words + (1 - text_share) · cosine of attributes`.
/// No event plays a part: an item without any is found like all others. The score of an item is the sum of its
/// similarities to the distinct items of the history, each times `decay` to the number of events after its newest.
///
/// Words are runs of letters and digits in lower case; of Chinese and Japanese, which are written without spaces, and of
/// Korean, whose words grow endings, single characters and pairs. Words of more than half of the items that have a title say
/// nothing and are left out; so are numbers such as the price, of which a cosine does not know which are near each other, and
/// what the encoders call unknown or missing.
///
/// Source: Salton and Buckley, Information Processing & Management 24(5), 1988 (weights of words); Pazzani and Billsus,
/// The Adaptive Web, 2007, section 10.2 (items alike to those that a user chose).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContentConfig {
    /// Neighbors kept for each item.
    pub n_neighbors: NonZeroU32,
    /// What the words have of the similarity, in `0.0..=1.0`; the attributes have the rest.
    pub text_share: f64,
    /// How much an event counts against the one after it, in `0.0..=1.0`.
    pub decay: f64,
    /// Newest events that speak.
    pub max_history: NonZeroU32,
}

impl Default for ContentConfig {
    fn default() -> Self {
        let count = |n| NonZeroU32::new(n).expect("a default is not 0");
        Self { n_neighbors: count(100), text_share: 0.7, decay: 0.85, max_history: count(20) }
    }
}

/// The items most like each item by the catalog.
pub type Content = RelatedItems<ContentConfig>;

/// Items that one word may be of, as a share of those that have a title.
const MAX_WORD_SHARE: f64 = 0.5;

impl RelatedItemsConfig for ContentConfig {
    const NAME: &'static str = "content";
    const SEARCH_SPACE: &'static [Parameter] = &[
        Parameter::log_int("n_neighbors", 10, 1000),
        Parameter::float("text_share", 0.0, 1.0),
        Parameter::float("decay", 0.1, 1.0),
        Parameter::log_int("max_history", 1, 100),
    ];
    const PHASE: &'static str = "neighbors";
    const IF_TOO_LARGE: &'static str = "lower `n_neighbors`";

    fn check(&self) -> Result<(), ModelError> {
        for (key, value) in [("text_share", self.text_share), ("decay", self.decay)] {
            if !(0.0..=1.0).contains(&value) {
                let reason = format!("{value} is not in 0.0..=1.0");
                return Err(ModelError::hyperparameter(Self::NAME, key, reason));
            }
        }
        Ok(())
    }

    /// Needs titles or categorical attributes of some item.
    fn check_view(&self, view: &TrainingView<'_>) -> Result<(), ModelError> {
        let has_text = view.titles().iter().any(|title| !title.is_empty());
        match has_text || view.item_features().n_sparse() > 0 {
            true => Ok(()),
            false => Err(ModelError::NeedsCatalog { model: Self::NAME }),
        }
    }

    /// The rows and their transpose, and the neighbors, held twice while the rows are put together. Of the text, a word
    /// takes four bytes at least; of Chinese, a character of three is two words.
    fn needed_bytes(&self, view: &TrainingView<'_>) -> u64 {
        let n_items = view.n_item_rows() as u64;
        let n_bytes: u64 = view.titles().iter().map(|title| title.len() as u64).sum();
        let n_entries = n_bytes * 2 / 3 + view.item_features().sparse_indices.len() as u64;
        let n_stored = n_items.saturating_mul(u64::from(self.n_neighbors.get()).min(n_items));
        n_entries * (16 + 64) + n_items * (24 + 20 * 16) + n_stored.saturating_mul(16)
    }

    /// Exact, in O(Σ over words and attributes of the square of their items).
    fn relate(
        &self,
        view: &TrainingView<'_>,
        context: &FitContext<'_>,
    ) -> Result<ItemMatrix, ModelError> {
        let by_item = self.rows(view);
        let n_features = by_item.cols.iter().max().map_or(0, |last| *last as usize + 1);
        let keys = NeighborKeys { n_neighbors: self.n_neighbors, ..NeighborKeys::default() };
        let comparison = Comparison::of(keys, by_item.transposed(n_features), by_item.n_rows());
        let row = |item: ItemIdx, scratch: &mut Scratch<SharedDot>, output: &mut Vec<_>| {
            if !context.progress.is_cancelled() && item.is_known() {
                let row = by_item.row(item.row());
                output.extend(comparison.nearest(row, Some(item.row()), scratch));
            }
        };
        Ok(ItemMatrix::build(
            by_item.n_rows(),
            || Scratch::new(comparison.n_rows()),
            row,
            |n| context.progress.advance(n),
        ))
    }

    fn speaking(&self, history: History<'_>) -> Vec<Speaking> {
        let mut events = newest_of_each(history, self.max_history.get() as usize);
        decay_by_place(&mut events, history, self.decay);
        events
    }
}

impl ContentConfig {
    /// Items over words and attributes, each row of norm 1 where both are known; row 0, the unknown item, is empty.
    fn rows(&self, view: &TrainingView<'_>) -> Interactions {
        let features = view.item_features();
        let mut attributes = Block::default();
        let says = |name: &str| !name.ends_with("<unknown>") && !name.ends_with("<missing>");
        let speaking: Vec<bool> = features.names.sparse.iter().map(|name| says(name)).collect();
        let mut words = Block::default();
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        for row in 0..view.n_item_rows() {
            if row > 0 {
                let active = features.sparse_row(row).iter();
                let active = active.filter(|column| speaking[**column as usize]);
                active.for_each(|column| attributes.push(*column));
                each_word(view.titles().get(row), |word| {
                    let next = numbers.len() as u32;
                    words.push(match numbers.get(word) {
                        Some(number) => *number,
                        None => *numbers.entry(word.to_owned()).or_insert(next),
                    });
                });
            }
            attributes.end_row();
            words.end_row();
        }
        let words = words.weighted(MAX_WORD_SHARE, self.text_share.sqrt());
        let attributes = attributes.weighted(1.0, (1.0 - self.text_share).sqrt());
        let first_attribute = numbers.len() as u32;
        let mut rows = Interactions { offsets: vec![0], cols: Vec::new(), values: Vec::new() };
        for row in 0..view.n_item_rows() {
            let (columns, weights) = words.row(row);
            rows.cols.extend_from_slice(columns);
            rows.values.extend_from_slice(weights);
            let (columns, weights) = attributes.row(row);
            rows.cols.extend(columns.iter().map(|column| first_attribute + column));
            rows.values.extend_from_slice(weights);
            rows.offsets.push(rows.cols.len() as u64);
        }
        rows
    }
}

/// What items have, with counts, on its way to weights.
#[derive(Debug, Default)]
struct Block {
    /// Ends of the finished rows.
    ends: Vec<u64>,
    columns: Vec<u32>,
    counts: Vec<f32>,
    row: Vec<u32>,
}

impl Block {
    fn push(&mut self, column: u32) {
        self.row.push(column);
    }

    fn end_row(&mut self) {
        self.row.sort_unstable();
        for equal in self.row.chunk_by(|a, b| a == b) {
            self.columns.push(equal[0]);
            self.counts.push(equal.len() as f32);
        }
        self.row.clear();
        self.ends.push(self.columns.len() as u64);
    }

    /// Rows of the norm `norm`, with columns of at most the share `max_share` of the rows that hold any.
    fn weighted(self, max_share: f64, norm: f64) -> Interactions {
        let n_columns = self.columns.iter().max().map_or(0, |last| *last as usize + 1);
        let mut n_with = vec![0.0_f64; n_columns];
        self.columns.iter().for_each(|column| n_with[*column as usize] += 1.0);
        let starts = || std::iter::once(0).chain(self.ends.iter().copied());
        let bounds = || starts().zip(&self.ends).map(|(start, end)| start as usize..*end as usize);
        let n_rows = bounds().filter(|row| !row.is_empty()).count() as f64;
        let mut rows = Interactions { offsets: vec![0], cols: Vec::new(), values: Vec::new() };
        for row in bounds() {
            let first = rows.cols.len();
            let mut squares = 0.0;
            for place in row {
                let column = self.columns[place];
                let n_with = n_with[column as usize];
                let weight = (1.0 + f64::from(self.counts[place]).ln()) * (n_rows / n_with).ln();
                if n_with <= max_share * n_rows && weight > 0.0 {
                    squares += weight * weight;
                    rows.cols.push(column);
                    rows.values.push(weight as f32);
                }
            }
            let factor = if squares > 0.0 { norm / squares.sqrt() } else { 0.0 };
            rows.values[first..].iter_mut().for_each(|weight| *weight *= factor as f32);
            rows.offsets.push(rows.cols.len() as u64);
        }
        rows
    }
}

/// Whether this character is taken for itself and with its neighbor: CJK ideographs, kana, hangul.
fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Calls `take` with each word of `text`, in lower case.
fn each_word(text: &str, mut take: impl FnMut(&str)) {
    let text = text.to_lowercase();
    let mut word = String::new();
    let mut before: Option<char> = None;
    for letter in text.chars().chain([' ']) {
        let is_unspaced = is_unspaced(letter);
        if letter.is_alphanumeric() && !is_unspaced {
            word.push(letter);
        } else if !word.is_empty() {
            take(&word);
            word.clear();
        }
        if is_unspaced {
            let mut pair = String::new();
            if let Some(before) = before {
                pair.extend([before, letter]);
                take(&pair);
            }
            pair.clear();
            pair.push(letter);
            take(&pair);
        }
        before = is_unspaced.then_some(letter);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::recommend::{FitOn, Reason, Recommender, TopK};
    use crate::testing::{Log, dataset, one_thread};

    const TITLES: [&str; 6] =
        ["", "Red mug, large", "Blue mug", "Desk lamp", "Floor lamp with RED shade", "陶瓷马克杯"];

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn words_are_runs_of_letters_and_pairs_where_there_are_no_spaces() {
        assert_eq!(words("Été-Mug 2x, LARGE"), ["été", "mug", "2x", "large"]);
        assert_eq!(words("USB马克杯 3"), ["usb", "马", "马克", "克", "克杯", "杯", "3"]);
        assert_eq!(words(" .- "), Vec::<String>::new());
    }

    /// Item 4 has no event: it is recommended all the same, because of its words, and is similar to others.
    #[test]
    fn a_new_item_is_recommended_and_similar_to_others() {
        let log = Log::new(5, &[&[1, 3], &[3, 2], &[1, 5]]).all_for_training().titled(&TITLES);
        let (_folder, dataset) = dataset(&log);
        let view = TrainingView::new(&dataset, FitOn::Train);
        let model = Content::fit(ContentConfig::default(), &view, &one_thread()).unwrap();
        let k = NonZeroUsize::new(1).unwrap();
        let history = [ItemIdx(3)];
        let request = TopK::new(k, forecart_data::SeenItems::Exclude);
        let best = model.recommend(History::of(&history), &request);
        assert_eq!(best[0].item, ItemIdx(4));
        let reasons = model.reasons(History::of(&history), ItemIdx(4), 1);
        assert!(matches!(reasons[..], [Reason::Event { position: 0, item: ItemIdx(3), .. }]));
        let similar = model.similar(ItemIdx(4), NonZeroUsize::new(9).unwrap());
        let similar: Vec<u32> = similar.iter().map(|scored| scored.item.0).collect();
        assert_eq!(similar, [3, 1], "lamp, then red");
    }

    /// Five titles; "mug" is in 2 of them, "blue" in 1, "red" in 2, "large" in 1.
    #[test]
    fn similarity_by_hand() {
        let log = Log::new(5, &[&[1, 2, 3, 4, 5]]).all_for_training().titled(&TITLES);
        let (_folder, dataset) = dataset(&log);
        let view = TrainingView::new(&dataset, FitOn::Train);
        let model = Content::fit(ContentConfig::default(), &view, &one_thread()).unwrap();
        let (once, twice) = (5.0_f64.ln(), 2.5_f64.ln());
        let want = twice * twice / ((once * once + 2.0 * twice * twice).sqrt() * once.hypot(twice));
        let got = model.similar(ItemIdx(2), NonZeroUsize::new(9).unwrap());
        assert_eq!((got.len(), got[0].item), (1, ItemIdx(1)));
        assert!((f64::from(got[0].score) - want).abs() < 1e-6, "{} {want}", got[0].score);
        // Nothing is like the Chinese mug: its history says nothing.
        assert!(model.fallback(History::of(&[ItemIdx(5)])).is_some());
    }

    #[test]
    fn without_a_catalog_there_is_nothing_to_compare() {
        let (_folder, dataset) = dataset(&Log::new(3, &[&[1, 2, 3]]).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let error = Content::fit(ContentConfig::default(), &view, &one_thread()).unwrap_err();
        assert!(matches!(error, ModelError::NeedsCatalog { model: "content" }), "{error}");
    }
}
