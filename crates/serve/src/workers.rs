//! Threads that compute answers, apart from those that speak HTTP: a long list of scores never delays an acknowledgement.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tokio::sync::oneshot;
use tracing::{Instrument as _, info_span};

type Job = Box<dyn FnOnce() + Send>;

/// Pieces that are done together at most: with more, the first would wait long for the last.
const MOST_TOGETHER: usize = 8;
/// Jobs that are looked through for pieces that go with one.
const MOST_LOOKED_THROUGH: usize = 64;

/// Why nothing was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkError {
    /// More requests wait than may.
    #[error("too many requests wait for an answer")]
    Overloaded,
    /// The computation failed inside; the message is in the log.
    #[error("the computation failed")]
    Failed,
}

/// Work of which several pieces cost less together than one after the other.
pub(crate) trait Piece: Send + Sized + 'static {
    /// What one gives.
    type Answer: Send + 'static;

    /// Whether both may be done together.
    fn goes_with(&self, other: &Self) -> bool;

    /// The answer to each, in their order; the same as if it was alone.
    fn answer(pieces: Vec<Self>) -> Vec<Self::Answer>;
}

struct Queue<P: Piece> {
    jobs: VecDeque<Held<P>>,
    n_pieces: usize,
    is_closed: bool,
}

enum Held<P: Piece> {
    Alone(Job),
    Piece(P, oneshot::Sender<P::Answer>),
}

/// What a thread takes at once: one job, or pieces that go together.
enum Taken<P: Piece> {
    Alone(Job),
    Pieces(Vec<(P, oneshot::Sender<P::Answer>)>),
}

impl<P: Piece> Queue<P> {
    /// What has waited longest. If it is a piece, with it its thread's share of those that wait and go with it: the others are left to the other
    /// threads. What is passed over keeps its place.
    fn take(&mut self, n_threads: NonZeroUsize) -> Option<Taken<P>> {
        let (piece, reply) = match self.jobs.pop_front()? {
            Held::Alone(job) => return Some(Taken::Alone(job)),
            Held::Piece(piece, reply) => (piece, reply),
        };
        let n_most = self.n_pieces.div_ceil(n_threads.get()).min(MOST_TOGETHER);
        let mut pieces = vec![(piece, reply)];
        let mut at = 0;
        while pieces.len() < n_most && at < self.jobs.len().min(MOST_LOOKED_THROUGH) {
            let goes =
                |held: &Held<P>| matches!(held, Held::Piece(own, _) if own.goes_with(&pieces[0].0));
            if self.jobs.get(at).is_some_and(goes)
                && let Some(Held::Piece(piece, reply)) = self.jobs.remove(at)
            {
                pieces.push((piece, reply));
            } else {
                at += 1;
            }
        }
        self.n_pieces -= pieces.len();
        Some(Taken::Pieces(pieces))
    }
}

struct Shared<P: Piece> {
    queue: Mutex<Queue<P>>,
    came: Condvar,
    n_threads: NonZeroUsize,
}

/// A fixed number of threads with a bounded queue.
pub(crate) struct Workers<P: Piece> {
    shared: Arc<Shared<P>>,
    n_most: usize,
}

impl<P: Piece> std::fmt::Debug for Workers<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("n_most", &self.n_most).finish_non_exhaustive()
    }
}

impl<P: Piece> Workers<P> {
    /// Starts `n_threads`; at most `n_most` jobs wait for them.
    ///
    /// # Errors
    /// If the system starts no thread.
    pub(crate) fn start(n_threads: NonZeroUsize, n_most: usize) -> std::io::Result<Self> {
        let queue = Queue { jobs: VecDeque::new(), n_pieces: 0, is_closed: false };
        let (queue, came) = (Mutex::new(queue), Condvar::new());
        let shared = Arc::new(Shared { queue, came, n_threads });
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
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkError> {
        let (reply, answer) = oneshot::channel();
        self.put(Held::Alone(Box::new(move || {
            if !reply.is_closed() {
                let _ = reply.send(job());
            }
        })))?;
        answer.instrument(info_span!("compute")).await.map_err(|_| WorkError::Failed)
    }

    /// The same for a piece. It is done at once if a thread is free, and together with others where several wait; if the computation fails,
    /// it fails for all of those.
    ///
    /// # Errors
    /// [`WorkError`].
    pub(crate) async fn together(&self, piece: P) -> Result<P::Answer, WorkError> {
        let (reply, answer) = oneshot::channel();
        self.put(Held::Piece(piece, reply))?;
        answer.instrument(info_span!("compute")).await.map_err(|_| WorkError::Failed)
    }

    fn put(&self, held: Held<P>) -> Result<(), WorkError> {
        {
            let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.jobs.len() >= self.n_most {
                return Err(WorkError::Overloaded);
            }
            queue.n_pieces += usize::from(matches!(held, Held::Piece(..)));
            queue.jobs.push_back(held);
        }
        self.shared.came.notify_one();
        Ok(())
    }
}

impl<P: Piece> Drop for Workers<P> {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.shared.came.notify_all();
    }
}

fn work<P: Piece>(shared: &Shared<P>) {
    loop {
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = loop {
            if let Some(taken) = queue.take(shared.n_threads) {
                break taken;
            }
            if queue.is_closed {
                return;
            }
            queue = shared.came.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        drop(queue);
        // The callers are told by their dropped ends; the panic itself goes to the log by the hook.
        let _ = catch_unwind(AssertUnwindSafe(|| match taken {
            Taken::Alone(job) => job(),
            Taken::Pieces(pieces) => {
                let wanted = pieces.into_iter().filter(|(_, reply)| !reply.is_closed());
                let (pieces, replies): (Vec<P>, Vec<_>) = wanted.unzip();
                if pieces.is_empty() {
                    return;
                }
                for (answer, reply) in P::answer(pieces).into_iter().zip(replies) {
                    let _ = reply.send(answer);
                }
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Gives its number, the kind, and how many were done with it.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Numbered {
        number: u32,
        kind: u32,
    }

    impl Piece for Numbered {
        type Answer = (u32, u32, usize);

        fn goes_with(&self, other: &Self) -> bool {
            self.kind == other.kind
        }

        fn answer(pieces: Vec<Self>) -> Vec<Self::Answer> {
            assert!(pieces.iter().all(|piece| piece.kind == pieces[0].kind));
            assert!(pieces.iter().all(|piece| piece.number != 13), "planted");
            pieces.iter().map(|piece| (piece.number, piece.kind, pieces.len())).collect()
        }
    }

    fn workers(n_most: usize) -> Workers<Numbered> {
        Workers::start(NonZeroUsize::MIN, n_most).unwrap()
    }

    /// Occupies a thread until the sender is used or dropped.
    async fn occupied(workers: &Arc<Workers<Numbered>>) -> mpsc::Sender<()> {
        let (go, wait) = mpsc::channel::<()>();
        let (began, begun) = oneshot::channel();
        let busy = workers.clone();
        tokio::spawn(async move {
            busy.run(move || {
                let _ = began.send(());
                let _ = wait.recv();
            })
            .await
        });
        begun.await.unwrap();
        go
    }

    async fn until_waiting(workers: &Workers<Numbered>, n: usize) {
        while workers.shared.queue.lock().unwrap().jobs.len() < n {
            tokio::task::yield_now().await;
        }
    }

    /// Answers to pieces that came in this order while the threads were busy.
    async fn answers(
        workers: &Arc<Workers<Numbered>>,
        pieces: &[(u32, u32)],
        go: Vec<mpsc::Sender<()>>,
    ) -> Vec<Result<(u32, u32, usize), WorkError>> {
        let mut asked = Vec::new();
        for (place, (number, kind)) in pieces.iter().enumerate() {
            let (own, piece) = (workers.clone(), Numbered { number: *number, kind: *kind });
            asked.push(tokio::spawn(async move { own.together(piece).await }));
            until_waiting(workers, place + 1).await;
        }
        drop(go);
        let mut answers = Vec::new();
        for one in asked {
            answers.push(one.await.unwrap());
        }
        answers
    }

    #[tokio::test]
    async fn a_job_that_panics_takes_no_thread_with_it() {
        let workers = workers(4);
        let failed = workers.run(|| assert_eq!(1 + 1, 3, "planted")).await;
        assert_eq!(failed, Err(WorkError::Failed));
        assert_eq!(workers.run(|| 5).await, Ok(5));
        let piece = |number| Numbered { number, kind: 1 };
        assert_eq!(workers.together(piece(13)).await, Err(WorkError::Failed));
        assert_eq!(workers.together(piece(1)).await, Ok((1, 1, 1)));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let workers = Arc::new(workers(1));
        let go = occupied(&workers).await;
        let waits = workers.clone();
        let second = tokio::spawn(async move { waits.run(|| 2).await });
        until_waiting(&workers, 1).await;
        assert_eq!(workers.run(|| 3).await, Err(WorkError::Overloaded));
        let piece = Numbered { number: 3, kind: 1 };
        assert_eq!(workers.together(piece).await, Err(WorkError::Overloaded));
        drop(go);
        assert_eq!(second.await.unwrap(), Ok(2));
    }

    #[tokio::test]
    async fn pieces_that_wait_are_done_with_those_of_their_kind() {
        let workers = Arc::new(workers(100));
        assert_eq!(workers.together(Numbered { number: 7, kind: 1 }).await, Ok((7, 1, 1)));
        let go = occupied(&workers).await;
        let pieces = [(1, 1), (2, 2), (3, 1), (4, 1), (5, 2)];
        let got = answers(&workers, &pieces, vec![go]).await;
        let want = [(1, 1, 3), (2, 2, 2), (3, 1, 3), (4, 1, 3), (5, 2, 2)];
        assert_eq!(got, want.map(Ok));
        let go = occupied(&workers).await;
        let pieces: Vec<(u32, u32)> = (20..30).map(|number| (number, 1)).collect();
        let got = answers(&workers, &pieces, vec![go]).await;
        let n_together = |number| if number < 28 { MOST_TOGETHER } else { 2 };
        let want = pieces.iter().map(|(number, kind)| Ok((*number, *kind, n_together(*number))));
        assert_eq!(got, want.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_piece_that_fails_fails_those_with_it_alone() {
        let workers = Arc::new(workers(100));
        let go = occupied(&workers).await;
        let got = answers(&workers, &[(1, 1), (13, 1), (3, 2)], vec![go]).await;
        assert_eq!(got, [Err(WorkError::Failed), Err(WorkError::Failed), Ok((3, 2, 1))]);
        assert_eq!(workers.together(Numbered { number: 4, kind: 1 }).await, Ok((4, 1, 1)));
    }

    #[tokio::test]
    async fn a_thread_leaves_the_others_their_share() {
        let workers = Arc::new(Workers::start(NonZeroUsize::new(2).unwrap(), 100).unwrap());
        let go = vec![occupied(&workers).await, occupied(&workers).await];
        let got = answers(&workers, &[(1, 1), (2, 1), (3, 1), (4, 1)], go).await;
        let mut n_together: Vec<usize> = got.into_iter().map(|answer| answer.unwrap().2).collect();
        n_together.sort_unstable();
        // Of four the first thread takes two; of two the next one, and so the last.
        assert_eq!(n_together, [1, 1, 2, 2]);
    }

    #[tokio::test]
    async fn pieces_that_nobody_waits_for_are_left_out() {
        let workers = Arc::new(workers(100));
        let go = occupied(&workers).await;
        let own = workers.clone();
        let gone =
            tokio::spawn(async move { own.together(Numbered { number: 13, kind: 1 }).await });
        until_waiting(&workers, 1).await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        let own = workers.clone();
        let stays =
            tokio::spawn(async move { own.together(Numbered { number: 2, kind: 1 }).await });
        until_waiting(&workers, 2).await;
        drop(go);
        assert_eq!(stays.await.unwrap(), Ok((2, 1, 1)));
    }
}
