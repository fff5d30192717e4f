//! What is read of each event of a history beside its name: its object, and how it stands to the events before it.

use std::collections::BTreeMap;

use forecart_data::History;
use forecart_nn::{Embedding, Matrix, NnError};
use rand_chacha::ChaCha8Rng;

use crate::recommend::sequence::encoder::INIT;

/// Rows for how often a behavior has come before; the last is that often or more.
const N_REPEATS: usize = 8;

/// Rows for time gaps: 0 for none, else 1 plus the logarithm of milliseconds to the base 2.
const N_GAPS: usize = 49;

/// The learned vectors of an event that are summed: of its object, of how often the same event and object have come before and how long ago,
/// of the name of the last event of the same object, and of the time since the event before it.
///
/// Attention can find earlier events of the same object by itself, given far more examples; these say it at once, of objects that nobody has
/// learned from too.
#[derive(Debug, Clone)]
pub(super) struct TokenVectors {
    /// `[n_object_rows, d]`.
    objects: Embedding,
    /// `[N_REPEATS, d]`.
    repeats: Embedding,
    /// `[N_GAPS, d]`.
    since_same: Embedding,
    /// `[n_event_rows, d]`; row 0 for an object that comes for the first time.
    earlier: Embedding,
    /// `[N_GAPS, d]`.
    gaps: Embedding,
}

forecart_nn::trainable!(
    TokenVectors,
    /// Gradients of [`TokenVectors`].
    pub(super) struct TokenGradients {
        objects: Embedding,
        repeats: Embedding,
        since_same: Embedding,
        earlier: Embedding,
        gaps: Embedding,
    }
);

/// Rows of the tables, one a token: objects, repeats, since_same, earlier, gaps.
#[derive(Debug, Default)]
pub(super) struct Tokens([Vec<u32>; 5]);

impl Tokens {
    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }

    /// Adds a window; `keep` says whether an object is read, or taken for the unknown one.
    pub(super) fn push(&mut self, window: History<'_>, mut keep: impl FnMut(u32) -> bool) {
        let mut behaviors: BTreeMap<(u8, u32), (u32, i64)> = BTreeMap::new();
        let mut last_events: BTreeMap<u32, u8> = BTreeMap::new();
        let mut before_ms = None;
        let [objects, repeats, since_same, earlier, gaps] = &mut self.0;
        for ((item, event), time_ms) in
            window.items.iter().zip(window.events).zip(window.timestamps_ms)
        {
            let object = item.0;
            let (count, last_ms) =
                behaviors.get(&(*event, object)).map_or((0, None), |(n, at)| (*n, Some(*at)));
            objects.push(if keep(object) { object } else { 0 });
            repeats.push(count.min(N_REPEATS as u32 - 1));
            since_same.push(gap(last_ms, *time_ms));
            // Objects that are not known are not the same.
            let last_event = last_events.get(&object).filter(|_| object != 0);
            earlier.push(last_event.copied().unwrap_or(0).into());
            gaps.push(gap(before_ms, *time_ms));
            behaviors.insert((*event, object), (count + 1, *time_ms));
            last_events.insert(object, *event);
            before_ms = Some(*time_ms);
        }
    }
}

fn gap(earlier_ms: Option<i64>, later_ms: i64) -> u32 {
    let Some(earlier_ms) = earlier_ms else { return 0 };
    let gap_ms = later_ms.abs_diff(earlier_ms).saturating_add(1);
    (1 + gap_ms.ilog2()).min(N_GAPS as u32 - 1)
}

impl TokenVectors {
    pub(super) fn new(
        [n_object_rows, n_event_rows]: [usize; 2],
        d: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let mut table = |n_rows| Embedding::new(n_rows, d, INIT, rng);
        Ok(Self {
            objects: table(n_object_rows)?,
            repeats: table(N_REPEATS)?,
            since_same: table(N_GAPS)?,
            earlier: table(n_event_rows)?,
            gaps: table(N_GAPS)?,
        })
    }

    fn tables(&self) -> [&Embedding; 5] {
        [&self.objects, &self.repeats, &self.since_same, &self.earlier, &self.gaps]
    }

    /// Writes the vector of each token, `[n_tokens, d]`.
    pub(super) fn forward(&self, tokens: &mut Tokens, vectors: &mut Matrix) {
        vectors.reset(tokens.0[0].len(), self.objects.n_dims());
        for (table, rows) in self.tables().into_iter().zip(&mut tokens.0) {
            for (token, row) in rows.iter_mut().enumerate() {
                // Of another table.
                *row = if (*row as usize) < table.n_rows() { *row } else { 0 };
                let sum = vectors.row_mut(token).iter_mut();
                sum.zip(table.table().row(*row as usize)).for_each(|(sum, value)| *sum += value);
            }
        }
    }

    /// Adds the gradient of a token's vector, times `scale`, to those of its rows.
    pub(super) fn add_gradient(
        tokens: &Tokens,
        token: usize,
        d_vector: &[f32],
        scale: f32,
        gradients: &mut TokenGradients,
    ) {
        let TokenGradients { objects, repeats, since_same, earlier, gaps } = gradients;
        let tables = [objects, repeats, since_same, earlier, gaps];
        for (table, rows) in tables.into_iter().zip(&tokens.0) {
            table.add_to_row(rows[token], d_vector, scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use forecart_data::ItemIdx;

    use super::*;

    #[test]
    fn how_an_event_stands_to_those_before_it() {
        let objects = [7, 0, 7, 7, 0].map(ItemIdx);
        let history = History {
            items: &objects,
            timestamps_ms: &[0, 1, 1, 8, 8],
            events: &[1, 2, 3, 1, 2],
            values: &[],
        };
        let mut tokens = Tokens::default();
        tokens.push(history, |object| object != 7);
        let [objects, repeats, since_same, earlier, gaps] = tokens.0;
        assert_eq!(objects, [0; 5], "none of 7 is kept");
        assert_eq!(repeats, [0, 0, 0, 1, 1]);
        // 8 and 7 ms ago: buckets of 7..=14 ms.
        assert_eq!(since_same, [0, 0, 0, 4, 4]);
        assert_eq!(earlier, [0, 0, 1, 3, 0]);
        assert_eq!(gaps, [0, 2, 1, 4, 1]);
    }
}
