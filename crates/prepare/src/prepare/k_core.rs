//! k-core: users and items with few events go, until all that are left have enough.

use super::config::KCoreOn;
use super::parts::Cut;
use super::spool::{Row, Spool};
use crate::PrepareError;

/// What is left: the largest set in which every user and every item has enough events.
///
/// # Cost
/// One byte a user, five an item; a pass over the spooled rows for each round.
#[derive(Debug)]
pub(super) struct Core {
    on: KCoreOn,
    /// By place among the spool's users.
    users: Vec<bool>,
    /// By number in the scan.
    items: Vec<bool>,
    pub(super) n_rounds: u32,
}

impl Core {
    /// Everything stays.
    pub(super) fn all(spool: &Spool, n_items: usize, on: KCoreOn) -> Self {
        Self { on, users: vec![true; spool.n_users()], items: vec![true; n_items], n_rounds: 0 }
    }

    /// Removes users and items to the fixed point. The result does not depend on the order of
    /// removal: the union of two sets in which all have enough is such a set.
    ///
    /// `cut` says which events are for training, where these alone count.
    pub(super) fn shrink(
        &mut self,
        spool: &Spool,
        min_user_events: u32,
        min_item_events: u32,
        cut: &Cut,
    ) -> Result<(), PrepareError> {
        if min_user_events <= 1 && min_item_events <= 1 {
            return Ok(());
        }
        loop {
            self.n_rounds += 1;
            let mut changed = false;
            let mut item_events = vec![0u32; self.items.len()];
            spool.for_each_user(|place, _, rows| {
                let n = match self.on {
                    KCoreOn::All => rows.len(),
                    KCoreOn::Train => cut.starts(place, rows).0,
                };
                let rows = &rows[..n];
                if !self.users[place] {
                    return Ok(());
                }
                let alive = || rows.iter().filter(|row| self.items[row.item as usize]);
                if alive().count() < min_user_events as usize {
                    self.users[place] = false;
                    changed = true;
                    return Ok(());
                }
                alive().for_each(|row| item_events[row.item as usize] += 1);
                Ok(())
            })?;
            for (alive, n) in self.items.iter_mut().zip(&item_events) {
                // An item without any event left needs no further round.
                changed |= *alive && *n < min_item_events && *n > 0;
                *alive &= *n >= min_item_events;
            }
            if !changed {
                return Ok(());
            }
        }
    }

    /// Removes from one user's rows what is not in the core, and says where validation and test
    /// begin.
    pub(super) fn apply(&self, cut: &Cut, place: usize, rows: &mut Vec<Row>) -> (usize, usize) {
        match self.on {
            KCoreOn::All => {
                let user = self.users[place];
                rows.retain(|row| user && self.items[row.item as usize]);
                cut.starts(place, rows)
            }
            KCoreOn::Train => {
                let (validation, test) = cut.starts(place, rows);
                let mut i = 0;
                let mut n_gone = 0;
                rows.retain(|row| {
                    let is_train = i < validation;
                    i += 1;
                    let stays = !is_train || (self.users[place] && self.items[row.item as usize]);
                    n_gone += usize::from(!stays);
                    stays
                });
                (validation - n_gone, test - n_gone)
            }
        }
    }

    /// Users that went.
    pub(super) fn n_gone(&self) -> usize {
        self.users.iter().filter(|alive| !**alive).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare::spool::SpoolWriter;
    use proptest::prelude::*;

    /// The definition, as slowly as it reads.
    fn naive(mut pairs: Vec<(usize, u32)>, min_user: usize, min_item: usize) -> Vec<(usize, u32)> {
        loop {
            let before = pairs.clone();
            pairs.retain(|(user, item)| {
                before.iter().filter(|(other, _)| other == user).count() >= min_user
                    && before.iter().filter(|(_, other)| other == item).count() >= min_item
            });
            if pairs == before {
                return pairs;
            }
        }
    }

    fn spool(histories: &[Vec<u32>], folder: &std::path::Path) -> Spool {
        let mut writer = SpoolWriter::create(folder, false).unwrap();
        for (user, items) in (0..).zip(histories) {
            let rows: Vec<_> = (0..)
                .zip(items)
                .map(|(time, item)| Row {
                    timestamp_ms: time,
                    item: *item,
                    session: 0,
                    value: 1.0,
                    event: 0,
                })
                .collect();
            writer.push(user, &rows).unwrap();
        }
        writer.finish().unwrap()
    }

    fn left(spool: &Spool, core: &Core, cut: &Cut) -> Vec<(usize, u32)> {
        let mut left = Vec::new();
        spool
            .for_each_user(|place, _, rows| {
                core.apply(cut, place, rows);
                left.extend(rows.iter().map(|row| (place, row.item)));
                Ok(())
            })
            .unwrap();
        left
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_core_is_the_fixed_point_of_the_definition(
            histories in prop::collection::vec(prop::collection::vec(0u32..8, 1..9), 1..12),
            min_user in 1u32..5, min_item in 1u32..5,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let spool = spool(&histories, folder.path());
            let mut core = Core::all(&spool, 8, KCoreOn::All);
            core.shrink(&spool, min_user, min_item, &Cut::LooFull).unwrap();
            let pairs = histories
                .iter()
                .enumerate()
                .flat_map(|(user, items)| items.iter().map(move |item| (user, *item)));
            let want = naive(pairs.collect(), min_user as usize, min_item as usize);
            prop_assert_eq!(left(&spool, &core, &Cut::LooFull), want);
        }

        #[test]
        fn a_core_on_training_events_does_not_depend_on_validation_and_test(
            histories in prop::collection::vec(prop::collection::vec(0u32..8, 3..9), 1..12),
            later in prop::collection::vec(0u32..8, 2),
        ) {
            let core_of = |histories: &[Vec<u32>]| {
                let folder = tempfile::tempdir().unwrap();
                let spool = spool(histories, folder.path());
                let mut core = Core::all(&spool, 8, KCoreOn::Train);
                core.shrink(&spool, 2, 3, &Cut::LooFull).unwrap();
                (core.users, core.items)
            };
            let mut changed = histories.clone();
            for history in &mut changed {
                let n = history.len();
                history[n - 2..].copy_from_slice(&later);
            }
            prop_assert_eq!(core_of(&histories), core_of(&changed));
        }
    }
}
