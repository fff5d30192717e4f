//! The query engine behind a blocking face: memory limit, spilling and threads in one place.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryPool, TrackConsumersPool, UnboundedMemoryPool,
};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{DataFrame, ParquetReadOptions, SessionConfig, SessionContext};
use forecart_data::storage::Scratch;
use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};

use crate::{PrepareError, Resources};

/// A DataFusion session with its own runtime; every method blocks.
///
/// Never make one, or call one, from inside an async task: the private runtime refuses to block
/// there.
pub struct Session {
    context: SessionContext,
    runtime: Runtime,
    // Dropped last: spill files lie in it.
    scratch: Scratch,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("scratch", &self.scratch).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that holds at most the share of the memory limit that operators account for,
    /// and spills what is above it into a folder of its own in [`Resources::scratch`].
    ///
    /// # Errors
    /// [`PrepareError::Config`] if the memory limit is below the smallest one,
    /// [`PrepareError::Data`] if the scratch folder cannot be made, [`PrepareError::Io`] if the
    /// threads cannot be started.
    pub fn new(resources: &Resources) -> Result<Self, PrepareError> {
        resources.check()?;
        let scratch = Scratch::new(&resources.scratch)?;
        let top = NonZeroUsize::new(5).expect("5 is not 0");
        let pool: Arc<dyn MemoryPool> = match resources.memory_limit_bytes {
            // Operators do not account for what they only pass on; a quarter is left for that.
            Some(limit) => {
                let bytes = usize::try_from(limit / 4 * 3).unwrap_or(usize::MAX);
                Arc::new(TrackConsumersPool::new(FairSpillPool::new(bytes), top))
            }
            None => Arc::new(UnboundedMemoryPool::default()),
        };
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![scratch.path().to_owned()]));
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .with_disk_manager_builder(disk)
            .build_arc()?;
        let mut config = SessionConfig::new().with_target_partitions(resources.n_partitions());
        // Plain text columns: our code downcasts to StringArray, not to views.
        config.options_mut().execution.parquet.schema_force_view_types = false;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(environment)
            .with_default_features()
            .build();
        let runtime = Builder::new_multi_thread()
            .worker_threads(resources.n_threads.max(1))
            .thread_name("forecart-query")
            .enable_all()
            .build()
            .map_err(PrepareError::io("start threads for", "the query engine"))?;
        Ok(Self { context: SessionContext::new_with_state(state), runtime, scratch })
    }

    /// The context, for building plans; run them with this session's methods.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// A folder for further intermediate files, gone with the session.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Runs any future of the engine to its end.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Registers a Parquet file, or a folder of them, as a table.
    ///
    /// # Errors
    /// [`PrepareError::Engine`] if the files cannot be read.
    pub fn register_parquet(&self, table: &str, path: &Path) -> Result<(), PrepareError> {
        let path = path.to_string_lossy();
        let options = ParquetReadOptions::default();
        Ok(self.block_on(self.context.register_parquet(table, path.as_ref(), options))?)
    }

    /// Registers the events of a log folder as table `events`, without the partition column.
    ///
    /// # Errors
    /// [`PrepareError::Engine`] if the files cannot be read.
    pub fn register_events(&self, log: &Path) -> Result<(), PrepareError> {
        self.register_parquet("events", &crate::log::events_folder(log))
    }

    /// All rows of a registered table, to build a plan on.
    ///
    /// # Errors
    /// [`PrepareError::Engine`] if there is no such table.
    pub fn table(&self, table: &str) -> Result<DataFrame, PrepareError> {
        Ok(self.block_on(self.context.table(table))?)
    }

    /// Runs a plan and returns all of its rows: for results that are small.
    ///
    /// # Errors
    /// [`PrepareError::Engine`] if it fails.
    pub fn collect(&self, frame: DataFrame) -> Result<Vec<RecordBatch>, PrepareError> {
        Ok(self.block_on(frame.collect())?)
    }

    /// Runs a plan and hands its batches to `each` as they come.
    ///
    /// # Errors
    /// [`PrepareError::Engine`] if the plan fails, or the first error of `each`.
    pub fn for_each(
        &self,
        frame: DataFrame,
        mut each: impl FnMut(RecordBatch) -> Result<(), PrepareError>,
    ) -> Result<(), PrepareError> {
        let mut stream = self.block_on(frame.execute_stream())?;
        while let Some(batch) = self.block_on(stream.next()) {
            each(batch?)?;
        }
        Ok(())
    }
}
