//! Data parallelism whose result does not depend on the number of threads.

use std::{num::NonZeroUsize, ops::Range};

use rayon::prelude::*;

use crate::{Gradients, NnError, error::check_finite};

/// Runs forward, loss and backward over a batch, tile by tile, and sums the gradients in tile order.
///
/// A batch is cut in tiles of `tile_rows` rows (the last may be shorter), whatever the number of threads. Each
/// tile fills a gradient buffer of its own from zero; the buffers are added from the first tile to the
/// last. Sums are therefore the same to the bit on 1 and on n threads.
///
/// Tiles run in waves, and the buffers of a wave are reused by the next, so memory is that of 16 buffers, or
/// of two a thread where that is more. `W` is the workspace of a tile (activations), `G` its gradients.
///
/// # Cost
/// The reduction is one thread adding dense gradients once a tile: choose tiles of enough rows that a backward
/// pass costs far more than that, 128 or more for a multi-layer perceptron.
#[derive(Debug)]
pub struct DataParallel<W, G> {
    tile_rows: NonZeroUsize,
    total: G,
    buffers: Vec<Buffer<W, G>>,
}

#[derive(Debug)]
struct Buffer<W, G> {
    workspace: W,
    gradients: G,
    loss: Result<f64, NnError>,
}

const MIN_WAVE_TILES: usize = 16;

impl<W: Default + Send, G: Gradients> DataParallel<W, G> {
    /// `total` is a buffer for the sums, as from [`crate::Trainable::new_gradients`].
    pub fn new(tile_rows: NonZeroUsize, total: G) -> Self {
        Self { tile_rows, total, buffers: Vec::new() }
    }

    /// The sums of the last batch.
    pub fn total(&self) -> &G {
        &self.total
    }

    /// Calls `step` for the row range of each tile of a batch of `n_rows` and returns the sum of the tiles'
    /// losses with the sum of their gradients.
    ///
    /// `step` finds its gradient buffer zeroed and returns its share of the loss, for which all
    /// [losses](crate::loss) take the size of the whole batch. Runs on the current rayon pool.
    ///
    /// # Errors
    /// The error of the first tile, in tile order, whose `step` fails or whose loss is not finite; later waves
    /// do not run then.
    pub fn run(
        &mut self,
        n_rows: usize,
        new_gradients: impl Fn() -> G,
        step: impl Fn(Range<usize>, &mut W, &mut G) -> Result<f64, NnError> + Sync,
    ) -> Result<(f64, &mut G), NnError> {
        let tile_rows = self.tile_rows.get();
        let n_tiles = n_rows.div_ceil(tile_rows);
        let n_buffers = n_tiles.min(MIN_WAVE_TILES.max(2 * rayon::current_num_threads()));
        while self.buffers.len() < n_buffers {
            let (workspace, gradients) = (W::default(), new_gradients());
            self.buffers.push(Buffer { workspace, gradients, loss: Ok(0.0) });
        }
        self.total.clear();
        let mut loss = 0.0_f64;
        for first_tile in (0..n_tiles).step_by(n_buffers.max(1)) {
            let n_wave = n_buffers.min(n_tiles - first_tile);
            let wave = &mut self.buffers[..n_wave];
            wave.par_iter_mut().with_max_len(1).enumerate().for_each(|(position, buffer)| {
                let first_row = (first_tile + position) * tile_rows;
                let rows = first_row..(first_row + tile_rows).min(n_rows);
                buffer.gradients.clear();
                buffer.loss = step(rows, &mut buffer.workspace, &mut buffer.gradients)
                    .and_then(|loss| check_finite("loss of a tile", loss));
            });
            for buffer in wave {
                loss += buffer.loss.clone()?;
                self.total.add(&buffer.gradients)?;
            }
        }
        self.total.finish();
        Ok((loss, &mut self.total))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Matrix;

    fn runner(tile_rows: usize) -> DataParallel<(), Matrix> {
        DataParallel::new(NonZeroUsize::new(tile_rows).unwrap(), Matrix::zeros(1, 1))
    }

    #[test]
    fn every_row_is_in_one_tile() {
        for (n_rows, tile_rows) in [(0, 4), (1, 4), (4, 4), (5, 4), (1000, 7), (3, 100)] {
            let n_calls = AtomicUsize::new(0);
            let mut runner = runner(tile_rows);
            let (loss, total) = runner
                .run(
                    n_rows,
                    || Matrix::zeros(1, 1),
                    |rows, (), gradients| {
                        n_calls.fetch_add(1, Ordering::Relaxed);
                        gradients.as_mut_slice()[0] += rows.clone().sum::<usize>() as f32;
                        Ok(rows.len() as f64)
                    },
                )
                .unwrap();
            assert_eq!(loss, n_rows as f64);
            assert_eq!(total.as_slice()[0], (0..n_rows).sum::<usize>() as f32);
            assert_eq!(n_calls.into_inner(), n_rows.div_ceil(tile_rows));
        }
    }

    #[test]
    fn the_first_failing_tile_is_the_one_reported() {
        let mut runner = runner(1);
        let error = runner
            .run(
                100,
                || Matrix::zeros(1, 1),
                |rows, (), _| match rows.start {
                    5 | 3 | 90 => Err(NnError::Offsets { position: rows.start }),
                    _ => Ok(0.0),
                },
            )
            .unwrap_err();
        assert_eq!(error, NnError::Offsets { position: 3 });
    }

    #[test]
    fn a_loss_that_is_not_finite_is_an_error() {
        let mut runner = runner(1);
        let result = runner.run(2, || Matrix::zeros(1, 1), |_, (), _| Ok(f64::NAN));
        assert!(matches!(result, Err(NnError::NonFinite { what: "loss of a tile", .. })));
    }
}
