//! Threads that compute answers, apart from those that speak HTTP: a long list of scores never delays an acknowledgement.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Why nothing was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// More requests wait than may.
    #[error("too many requests wait for an answer")]
    Overloaded,
    /// The computation failed inside; the message is in the log.
    #[error("the computation failed")]
    Failed,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Held>,
    is_closed: bool,
}

struct Held(Job);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("job")
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    came: Condvar,
}

/// A fixed number of threads with a bounded queue.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    n_most: usize,
}

impl Workers {
    /// Starts `n_threads`; at most `n_most` jobs wait for them.
    ///
    /// # Errors
    /// If the system starts no thread.
    pub fn start(n_threads: NonZeroUsize, n_most: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        for n in 0..n_threads.get() {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("answer-{n}")).spawn(move || work(&shared))?;
        }
        Ok(Self { shared, n_most })
    }

    /// Computes on one of the threads. A job whose caller has gone before it began is left out.
    ///
    /// # Errors
    /// [`WorkError`].
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let (reply, answer) = oneshot::channel();
        let span = tracing::info_span!("compute");
        let held = Held(Box::new(move || {
            if !reply.is_closed() {
                let _ = reply.send(span.in_scope(job));
            }
        }));
        {
            let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.jobs.len() >= self.n_most {
                return Err(WorkError::Overloaded);
            }
            queue.jobs.push_back(held);
        }
        self.shared.came.notify_one();
        answer.await.map_err(|_| WorkError::Failed)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.shared.came.notify_all();
    }
}

fn work(shared: &Shared) {
    loop {
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let job = loop {
            if let Some(job) = queue.jobs.pop_front() {
                break job;
            }
            if queue.is_closed {
                return;
            }
            queue = shared.came.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        drop(queue);
        // The caller is told by its dropped end; the panic itself goes to the log by the hook.
        let _ = catch_unwind(AssertUnwindSafe(job.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn workers(n_most: usize) -> Workers {
        Workers::start(NonZeroUsize::MIN, n_most).unwrap()
    }

    #[tokio::test]
    async fn a_job_that_panics_takes_no_thread_with_it() {
        let workers = workers(4);
        let failed = workers.run(|| assert_eq!(1 + 1, 3, "planted")).await;
        assert_eq!(failed, Err(WorkError::Failed));
        assert_eq!(workers.run(|| 5).await, Ok(5));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let workers = Arc::new(workers(1));
        let (go, wait) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let busy = workers.clone();
        let first = tokio::spawn(async move {
            busy.run(move || {
                let _ = began.send(());
                let _ = wait.recv();
            })
            .await
        });
        begun.await.unwrap();
        let waits = workers.clone();
        let second = tokio::spawn(async move { waits.run(|| 2).await });
        while workers.shared.queue.lock().unwrap().jobs.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(workers.run(|| 3).await, Err(WorkError::Overloaded));
        go.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(()));
        assert_eq!(second.await.unwrap(), Ok(2));
    }
}
