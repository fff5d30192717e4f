//! From accepted events to the store: a bounded queue, and one task that writes all that waits as one transaction.
//!
//! Group commit: while one transaction is on its way to the disk, the next one gathers. An answer is given when the events are durable.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::clock::now_ms;
use crate::event::{Event, MAX_EVENT_NAME_BYTES, MAX_FURTHER_BYTES, MAX_ID_BYTES};
use crate::store::{self, Store, StoreError};

/// Most events of one transaction.
const MAX_ROWS: usize = 10_000;
/// About the most bytes of one transaction.
const MAX_BYTES: usize = 16 << 20;
/// An event takes the room of one for each so many bytes that it has: the queue is bounded in bytes too.
const BYTES_OF_ONE: usize = 1024;
/// Most room that an event takes: its ids and all that it further says are bounded.
pub(crate) const MAX_ROOM_OF_ONE: usize = 64;
const _: () = assert!(
    (3 * MAX_ID_BYTES + MAX_EVENT_NAME_BYTES + MAX_FURTHER_BYTES) / BYTES_OF_ONE < MAX_ROOM_OF_ONE
);

/// Why events were not written; none of them was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IntakeError {
    /// More events wait than may; they are taken again soon.
    #[error("{n_waiting} events wait to be written: send these again in a moment")]
    Full {
        /// Events that wait.
        n_waiting: usize,
    },
    /// More events at once than may ever wait.
    #[error(
        "as much as {n_events} events of a thousand bytes at once, at most {most} are taken: send them in parts"
    )]
    TooMany {
        /// Events sent; larger ones count several times.
        n_events: usize,
        /// Most at once.
        most: usize,
    },
    /// The store refuses or does not answer.
    #[error("the events were not written: {0}")]
    Store(Arc<StoreError>),
    /// The process ends.
    #[error("the server is shutting down")]
    Closing,
}

/// The way that events came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A request.
    Http,
    /// A message of NATS.
    Nats,
}

impl Source {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Nats => "nats",
        }
    }
}

/// What is told of events once they are durable.
pub(crate) trait Listener: Send + Sync + 'static {
    /// Events are about to be written.
    fn begin(&self, events: &[Event]);

    /// The writing of these has ended, well or not.
    fn end(&self, events: &[Event]);

    /// New events were written, in the order of the log.
    fn wrote(&self, events: &[&Event]);

    /// These of the new events came in this way.
    fn came(&self, source: Source, events: &[&Event]);

    /// Whether these were written is not known.
    fn unsure(&self, events: &[Event]);

    /// Why nothing can be written now, where that is known.
    fn refuses(&self) -> Option<StoreError>;

    /// A transaction of `n_events` took that long.
    fn committed(&self, n_events: usize, took: Duration);

    /// A transaction failed.
    fn failed(&self, error: &StoreError);
}

#[derive(Debug)]
struct Job {
    events: Vec<Event>,
    source: Source,
    reply: oneshot::Sender<Result<usize, IntakeError>>,
    _room: OwnedSemaphorePermit,
}

/// Where events come in.
#[derive(Debug)]
pub struct Intake {
    jobs: mpsc::UnboundedSender<Job>,
    room: Arc<Semaphore>,
    n_room: usize,
}

impl Intake {
    /// Starts the task that writes; it ends when the intake is dropped and all that was taken is written.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        listener: Arc<dyn Listener>,
        n_room: usize,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (jobs, waiting) = mpsc::unbounded_channel();
        let writer = tokio::spawn(write(store, listener, waiting));
        (Self { jobs, room: Arc::new(Semaphore::new(n_room)), n_room }, writer)
    }

    /// Events that wait to be written.
    pub fn n_waiting(&self) -> usize {
        self.n_room - self.room.available_permits()
    }

    /// Room for events, in those of [`room_of`].
    pub(crate) fn n_room(&self) -> usize {
        self.n_room
    }

    /// Writes events; when this ends they are durable. Returns how many were new: one whose id is there already was written before.
    ///
    /// # Errors
    /// [`IntakeError`]: then none was written by this call.
    pub async fn write(&self, events: Vec<Event>, source: Source) -> Result<usize, IntakeError> {
        let n_events = events.iter().map(room_of).sum();
        if n_events > self.n_room {
            return Err(IntakeError::TooMany { n_events, most: self.n_room });
        }
        let permits = u32::try_from(n_events).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(permits) else {
            return Err(IntakeError::Full { n_waiting: self.n_waiting() });
        };
        let (reply, answer) = oneshot::channel();
        let job = Job { events, source, reply, _room: room };
        self.jobs.send(job).map_err(|_| IntakeError::Closing)?;
        answer.await.unwrap_or(Err(IntakeError::Closing))
    }
}

/// The room that an event takes in the queue.
pub(crate) fn room_of(event: &Event) -> usize {
    1 + event.n_bytes() / BYTES_OF_ONE
}

/// All rows are sent at once.
async fn append(store: &dyn Store, rows: &[Event]) -> Result<Vec<usize>, StoreError> {
    store::in_time(store, 0, store.append(rows, now_ms())).await
}

async fn write(
    store: Arc<dyn Store>,
    listener: Arc<dyn Listener>,
    mut waiting: mpsc::UnboundedReceiver<Job>,
) {
    while let Some(first) = waiting.recv().await {
        let bytes_of = |job: &Job| job.events.iter().map(Event::n_bytes).sum::<usize>();
        let (mut n_rows, mut n_bytes) = (first.events.len(), bytes_of(&first));
        let mut jobs = vec![first];
        while n_rows < MAX_ROWS
            && n_bytes < MAX_BYTES
            && let Ok(next) = waiting.try_recv()
        {
            n_rows += next.events.len();
            n_bytes += bytes_of(&next);
            jobs.push(next);
        }
        let mut rows = Vec::with_capacity(n_rows);
        let mut ends = Vec::with_capacity(jobs.len());
        for job in &mut jobs {
            rows.append(&mut job.events);
            ends.push(rows.len());
        }
        let started = std::time::Instant::now();
        listener.begin(&rows);
        let appended = match listener.refuses() {
            Some(error) => Err(error),
            None => append(store.as_ref(), &rows).await.inspect_err(|_| listener.unsure(&rows)),
        };
        match appended {
            Ok(new) => {
                let events: Vec<&Event> = new.iter().map(|place| &rows[*place]).collect();
                listener.wrote(&events);
                listener.end(&rows);
                listener.committed(rows.len(), started.elapsed());
                let mut begin = 0;
                for (job, end) in jobs.into_iter().zip(ends) {
                    let n_new = new[begin..].partition_point(|place| *place < end);
                    listener.came(job.source, &events[begin..begin + n_new]);
                    begin += n_new;
                    // Who asked may have gone; the events are written all the same.
                    let _ = job.reply.send(Ok(n_new));
                }
            }
            Err(error) => {
                listener.end(&rows);
                listener.failed(&error);
                let error = IntakeError::Store(Arc::new(error));
                for job in jobs {
                    let _ = job.reply.send(Err(error.clone()));
                }
            }
        }
    }
}
