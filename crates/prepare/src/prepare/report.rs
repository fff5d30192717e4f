//! The steps' report: what was dropped and why, so that every row is accounted for.

use forecart_data::dataset::{Reason, StepReport};

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
    pub(super) fn step(&mut self, step: &str, reasons: impl IntoIterator<Item = (String, u64)>) {
        let mut reasons: Vec<_> = reasons
            .into_iter()
            .filter(|(_, n_rows)| *n_rows > 0)
            .map(|(reason, n_rows)| Reason { reason, n_rows })
            .collect();
        reasons.sort_by(|a, b| b.n_rows.cmp(&a.n_rows).then_with(|| a.reason.cmp(&b.reason)));
        let n_rows_in = self.n_rows;
        self.n_rows -= reasons.iter().map(|reason| reason.n_rows).sum::<u64>();
        let n_rows_out = self.n_rows;
        self.steps.push(StepReport { step: step.into(), n_rows_in, n_rows_out, reasons });
    }

    pub(super) fn n_rows(&self) -> u64 {
        self.n_rows
    }
}
