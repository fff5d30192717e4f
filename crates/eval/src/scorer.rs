//! The one face by which this crate sees a model.

use forecart_data::History;

/// Scores all items for a history. Everything that can rank is measured through this trait.
///
/// A larger score is a better item; only the order of scores matters. Scores must be numbers:
/// infinities are allowed, NaN is an error of the evaluation.
pub trait Scorer: Sync {
    /// Writes a score for every item into `scores`.
    ///
    /// `history` is what is known at the moment of prediction, oldest first, cut to the newest
    /// `max_history` events; it is empty for a cold user and may hold the unknown item.
    ///
    /// # Shapes
    /// `scores: [n_item_rows]`, as long as the dataset's item vocabulary. Row 0, the unknown item,
    /// is ignored; every other row must be written. Rows hold NaN on entry, so a row that is left
    /// out is found.
    fn score_all(&self, history: History<'_>, scores: &mut [f32]);
}

impl<F: Fn(History<'_>, &mut [f32]) + Sync> Scorer for F {
    fn score_all(&self, history: History<'_>, scores: &mut [f32]) {
        self(history, scores);
    }
}
