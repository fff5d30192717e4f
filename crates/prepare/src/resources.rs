//! What a run may use of the machine.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::PrepareError;

/// Limits of one run. Results never depend on them.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Bytes that the buffers and the query engine may hold, at least
    /// [`Resources::MIN_MEMORY_LIMIT_BYTES`]; `None` is no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Worker threads, at least 1.
    pub n_threads: usize,
    /// Parent folder of intermediate files; it is made when something is spilled.
    pub scratch: PathBuf,
}

impl Resources {
    /// The smallest memory limit that works, with any number of threads and any number of rows.
    pub const MIN_MEMORY_LIMIT_BYTES: u64 = 64 << 20;

    /// No memory limit, one thread for each core, scratch in the system's temporary folder.
    pub fn of_machine() -> Self {
        let n_threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { memory_limit_bytes: None, n_threads, scratch: std::env::temp_dir() }
    }

    /// Refuses a limit below the smallest one.
    pub(crate) fn check(&self) -> Result<(), PrepareError> {
        let least = Self::MIN_MEMORY_LIMIT_BYTES;
        match self.memory_limit_bytes {
            Some(limit) if limit < least => {
                let reason = format!(
                    "{limit} bytes are too few; the smallest limit that works is {}MiB",
                    least >> 20
                );
                Err(PrepareError::config("limits.memory", reason))
            }
            _ => Ok(()),
        }
    }

    /// Partitions of the query engine: one for each thread, fewer where the limit is tight.
    ///
    /// The sort of a partition sets 10 MiB aside for its merge (`sort_spill_reservation_bytes`)
    /// and gives up when its share of the memory is used up before it can spill: 12 MiB were too
    /// few, 18 enough. It gets 24, three quarters of 32.
    pub(crate) fn n_partitions(&self) -> usize {
        let fit = self.memory_limit_bytes.map_or(u64::MAX, |limit| limit / (32 << 20));
        self.n_threads.clamp(1, usize::try_from(fit).unwrap_or(usize::MAX).max(1))
    }
}
