//! How a model is fitted, beside its hyperparameters.

use std::fmt::{self, Debug};
use std::num::NonZeroUsize;

use forecart_data::Progress;

use super::checkpoint::Checkpoint;
use crate::error::ModelError;

/// How a model is fitted, beside its hyperparameters. None of it changes the result but `seed`.
#[derive(Clone, Copy)]
pub struct FitContext<'a> {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Threads that may work; the result is the same for any number.
    pub n_threads: NonZeroUsize,
    /// Told how far the work is, and asked whether to stop.
    pub progress: &'a dyn Progress,
    /// Training that is estimated to need more is refused before it starts.
    pub memory_limit_bytes: Option<u64>,
    /// Where a model that is trained by epochs saves itself, and from where it goes on; `None` for nowhere.
    pub checkpoint: Option<&'a Checkpoint>,
}

impl Debug for FitContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FitContext")
            .field("seed", &self.seed)
            .field("n_threads", &self.n_threads)
            .field("memory_limit_bytes", &self.memory_limit_bytes)
            .field("checkpoint", &self.checkpoint)
            .finish_non_exhaustive()
    }
}

impl FitContext<'_> {
    /// Refuses training that would need more memory than the limit; `hint` says what lowers the
    /// need.
    ///
    /// # Errors
    /// [`ModelError::Memory`].
    pub fn check_memory(
        &self,
        model: &'static str,
        needed_bytes: u64,
        hint: &'static str,
    ) -> Result<(), ModelError> {
        match self.memory_limit_bytes {
            Some(limit) if needed_bytes > limit => Err(ModelError::Memory {
                model,
                needed_mb: needed_bytes.div_ceil(1_000_000),
                limit_mb: limit / 1_000_000,
                hint,
            }),
            _ => Ok(()),
        }
    }

    /// Ends long work that the user asked to stop.
    ///
    /// # Errors
    /// [`ModelError::Cancelled`].
    pub fn check_cancelled(&self) -> Result<(), ModelError> {
        match self.progress.is_cancelled() {
            true => Err(ModelError::Cancelled { checkpoint: None }),
            false => Ok(()),
        }
    }

    /// Runs `work` on a pool of `n_threads` threads.
    ///
    /// # Errors
    /// [`ModelError::Threads`] if the pool cannot be made, else those of `work`.
    pub fn on_threads<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, ModelError> + Send,
    ) -> Result<T, ModelError> {
        let n_threads = self.n_threads.get();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build();
        let pool =
            pool.map_err(|error| ModelError::Threads { n_threads, reason: error.to_string() })?;
        pool.install(work)
    }
}
