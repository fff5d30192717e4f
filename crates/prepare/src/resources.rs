//! What a run may use of the machine.

use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Limits of one run. Results never depend on them.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Bytes that the buffers and the query engine may hold; `None` is no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Worker threads, at least 1.
    pub n_threads: usize,
    /// Parent folder of intermediate files; it is made when something is spilled.
    pub scratch: PathBuf,
}

impl Resources {
    /// No memory limit, one thread for each core, scratch in the system's temporary folder.
    pub fn of_machine() -> Self {
        let n_threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { memory_limit_bytes: None, n_threads, scratch: std::env::temp_dir() }
    }
}
