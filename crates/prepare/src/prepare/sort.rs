//! The sort: batches of the scan go into the engine as they come and come back by user and time.

use std::fmt;
use std::sync::{Arc, Mutex};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{DataFrame, col};
use futures::stream;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::line::KEY;
use crate::PrepareError;
use crate::session::Session;

/// Batches that may wait before a partition; each has at most 32,768 rows.
const QUEUE: usize = 4;

/// A plan that sorts what is sent to the senders. The key is unique (it ends in the position of the
/// row), so the result does not depend on the number of partitions or on their timing.
pub(super) fn sorted(
    session: &Session,
    schema: &SchemaRef,
    n_partitions: usize,
) -> Result<(Vec<Sender<RecordBatch>>, DataFrame), PrepareError> {
    let mut senders = Vec::new();
    let mut partitions: Vec<Arc<dyn PartitionStream>> = Vec::new();
    for _ in 0..n_partitions {
        let (sender, receiver) = channel(QUEUE);
        senders.push(sender);
        let receiver = Mutex::new(Some(receiver));
        partitions.push(Arc::new(Channel { schema: Arc::clone(schema), receiver }));
    }
    let table = StreamingTable::try_new(Arc::clone(schema), partitions)?;
    let frame = session.context().read_table(Arc::new(table))?;
    Ok((senders, frame.sort(vec![col(KEY).sort(true, false)])?))
}

/// One partition: a channel, read once.
struct Channel {
    schema: SchemaRef,
    receiver: Mutex<Option<Receiver<RecordBatch>>>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl PartitionStream for Channel {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let receiver = self.receiver.lock().ok().and_then(|mut receiver| receiver.take());
        let batches = stream::unfold(receiver, async |receiver| {
            let mut receiver = receiver?;
            let batch = receiver.recv().await?;
            Some((Ok(batch), Some(receiver)))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
