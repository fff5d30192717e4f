//! The steps' report: what was dropped and why, so that every row is accounted for.

use forecart_data::dataset::{Reason, StepReport};

/// Steps that leave fewer users or items than the one before, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    Window,
    Events,
    Users,
    Duplicates,
    NonProducts,
    Cancellations,
    Cap,
}

/// How far users and items came: the last step that left them a row. One byte for each.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// By number in the scan; 0 for a step that left nothing, else the step and 1.
    users: Vec<u8>,
    items: Vec<u8>,
}

impl Reached {
    /// A row of `user` on `item`, if it has them, is left by `step`.
    pub(super) fn mark(&mut self, user: Option<u32>, item: Option<u32>, step: Step) {
        fn raise(reached: &mut Vec<u8>, number: u32, to: u8) {
            let number = number as usize;
            if number >= reached.len() {
                reached.resize(number + 1, 0);
            }
            reached[number] = reached[number].max(to);
        }
        let to = step as u8 + 1;
        user.into_iter().for_each(|user| raise(&mut self.users, user, to));
        item.into_iter().for_each(|item| raise(&mut self.items, item, to));
    }

    /// Users and items that `step` left a row.
    pub(super) fn after(&self, step: Step) -> Left {
        let count = |reached: &[u8]| reached.iter().filter(|to| **to > step as u8).count() as u64;
        Left { n_users: count(&self.users), n_items: count(&self.items) }
    }
}

/// Users (sessions, where these are the sequences) and items that have a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) n_users: u64,
    pub(super) n_items: u64,
}

/// Collects steps; each begins with the rows that the one before it left.
#[derive(Debug)]
pub(super) struct Report {
    n_rows: u64,
    pub(super) steps: Vec<StepReport>,
}

impl Report {
    pub(super) fn new(n_rows: u64) -> Self {
        Self { n_rows, steps: Vec::new() }
    }

    /// Adds a step that dropped rows for these reasons; reasons without rows are left out.
    pub(super) fn step(
        &mut self,
        step: &str,
        reasons: impl IntoIterator<Item = (String, u64)>,
        left: Left,
    ) {
        let mut reasons: Vec<_> = reasons
            .into_iter()
            .filter(|(_, n_rows)| *n_rows > 0)
            .map(|(reason, n_rows)| Reason { reason, n_rows })
            .collect();
        reasons.sort_by(|a, b| b.n_rows.cmp(&a.n_rows).then_with(|| a.reason.cmp(&b.reason)));
        let n_rows_in = self.n_rows;
        self.n_rows -= reasons.iter().map(|reason| reason.n_rows).sum::<u64>();
        let (step, n_rows_out) = (step.into(), self.n_rows);
        let Left { n_users, n_items } = left;
        self.steps.push(StepReport { step, n_rows_in, n_rows_out, n_users, n_items, reasons });
    }

    pub(super) fn n_rows(&self) -> u64 {
        self.n_rows
    }
}
