//! Users with what they chose, as pairs to learn from, and draws of what they did not choose.

use forecart_data::ItemIdx;
use rand::{Rng, RngExt};

use super::interactions::Interactions;
use super::neighbors::Weighting;
use super::popularity::ItemCounts;
use super::view::TrainingView;
use crate::error::ModelError;
use crate::tensors::Tensors;

/// Items drawn for a pair before the last one is taken, chosen or not.
const MAX_DRAWS: usize = 16;

/// Who chose what.
#[derive(Debug)]
pub(super) struct Choices {
    pub(super) by_user: Interactions,
    /// Each user with each chosen item, user by user.
    pub(super) pairs: Vec<(u32, u32)>,
    /// Items that somebody chose, ascending; at least one.
    pub(super) known: Vec<u32>,
}

impl Choices {
    /// All that may be learned from, for the model `name`.
    ///
    /// # Errors
    /// [`ModelError::NoEvents`] if nothing was chosen.
    pub(super) fn of(
        view: &TrainingView<'_>,
        counts: &ItemCounts,
        name: &'static str,
    ) -> Result<Self, ModelError> {
        let by_user = Interactions::of(view, Weighting::Binary);
        let known: Vec<u32> = (1..view.n_item_rows() as u32)
            .filter(|item| counts.get(ItemIdx(*item)) > 0.0)
            .collect();
        if known.is_empty() {
            return Err(ModelError::NoEvents { model: name });
        }
        let of_user =
            |user: usize| by_user.row(user).0.iter().map(move |item| (user as u32, *item));
        let pairs = (0..by_user.n_rows()).flat_map(of_user).collect();
        Ok(Self { by_user, pairs, known })
    }

    /// An item of `pool` that `user` did not choose, or the last of many draws.
    pub(super) fn draw_other(&self, user: u32, pool: &[u32], rng: &mut impl Rng) -> u32 {
        let of_user = self.by_user.row(user as usize).0;
        let mut draw = || pool[rng.random_range(0..pool.len())];
        let mut other = draw();
        for _ in 1..MAX_DRAWS {
            if of_user.binary_search(&other).is_err() {
                break;
            }
            other = draw();
        }
        other
    }
}

/// The items that histories are compared with, as a fitted model has them.
pub(super) fn take_reference(
    tensors: &mut Tensors,
    n_item_rows: usize,
) -> Result<Vec<u32>, ModelError> {
    let reference = tensors.take_u32("reference", None)?;
    if reference.is_empty() || reference.iter().any(|item| *item as usize >= n_item_rows) {
        return Err(ModelError::damaged("the items to compare with are none or past the items"));
    }
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::recommend::FitOn;
    use crate::testing::{Log, dataset};

    #[test]
    fn what_is_drawn_was_not_chosen_unless_everything_was() {
        let (_folder, dataset) =
            dataset(&Log::new(4, &[&[1, 2, 1], &[1, 2, 3]]).all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let counts = ItemCounts::of(&view, "bpr").unwrap();
        let choices = Choices::of(&view, &counts, "bpr").unwrap();
        assert_eq!(choices.known, [1, 2, 3], "nobody chose item 4");
        assert_eq!(choices.pairs, [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]);
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<u32> = (0..20).map(|_| choices.draw_other(0, &choices.known, rng)).collect();
        assert!(drawn.iter().all(|item| *item == 3), "{drawn:?}");
        assert!([1, 2, 3].contains(&choices.draw_other(1, &choices.known, rng)));
    }
}
