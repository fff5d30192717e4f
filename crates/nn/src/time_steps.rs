//! Ragged sequences by time step.

use std::{cmp::Reverse, ops::Range};

use crate::{Direction, Matrix, Ragged};

/// The tokens of a batch by time step; in a step, those of longer sequences first.
#[derive(Debug, Clone, Default)]
pub(crate) struct TimeSteps {
    sequences: Vec<Range<usize>>,
    /// The token of each row.
    pub(crate) tokens: Vec<usize>,
    /// Step `t` is rows `starts[t]..starts[t + 1]`.
    starts: Vec<usize>,
}

impl TimeSteps {
    pub(crate) fn lay_out(&mut self, batch: Ragged<'_>, direction: Direction) {
        self.sequences.clear();
        self.sequences.extend(batch.sequences());
        self.sequences.sort_unstable_by_key(|rows| (Reverse(rows.len()), rows.start));
        self.tokens.clear();
        self.starts.clear();
        self.starts.push(0);
        for step in 0..batch.max_len() {
            let running = self.sequences.iter().take_while(|rows| step < rows.len());
            self.tokens.extend(running.map(|rows| match direction {
                Direction::Forward => rows.start + step,
                Direction::Reverse => rows.end - 1 - step,
            }));
            self.starts.push(self.tokens.len());
        }
    }

    pub(crate) fn n_steps(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    pub(crate) fn rows(&self, step: usize) -> Range<usize> {
        self.starts[step]..self.starts[step + 1]
    }

    /// Sequences that have a first token.
    pub(crate) fn n_first(&self) -> usize {
        self.starts.get(1).copied().unwrap_or(0)
    }

    /// Row of a matrix of states where those before a step begin.
    pub(crate) fn before(&self, step: usize) -> usize {
        if step == 0 { 0 } else { self.n_first() + self.starts[step - 1] }
    }
}

/// Writes the rows of `from` in the order of `rows`.
pub(crate) fn gather(from: &Matrix, rows: &[usize], to: &mut [f32]) {
    for (to, &row) in to.chunks_exact_mut(from.cols().max(1)).zip(rows) {
        to.copy_from_slice(from.row(row));
    }
}

/// The inverse of [`gather`].
pub(crate) fn scatter(from: &[f32], rows: &[usize], to: &mut Matrix) {
    for (from, &row) in from.chunks_exact(to.cols().max(1)).zip(rows) {
        to.row_mut(row).copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_hold_running_sequences_longest_first() {
        let mut steps = TimeSteps::default();
        let batch = Ragged::new(&[0, 1, 4, 4, 6]).unwrap();
        steps.lay_out(batch, Direction::Forward);
        assert_eq!(
            (&steps.tokens[..], &steps.starts[..]),
            (&[1, 4, 0, 2, 5, 3][..], &[0, 3, 5, 6][..])
        );
        assert_eq!([0, 1, 2].map(|step| steps.before(step)), [0, 3, 6]);
        steps.lay_out(batch, Direction::Reverse);
        assert_eq!(steps.tokens, [3, 5, 0, 2, 4, 1]);
        steps.lay_out(Ragged::new(&[0, 0]).unwrap(), Direction::Forward);
        assert_eq!((steps.n_steps(), steps.n_first()), (0, 0));
    }
}
