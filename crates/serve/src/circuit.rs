//! Whether the store does what it should. While it does not, nobody waits for it: answers come from memory, writes are refused at once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, watch};

use crate::store::StoreError;

/// How long things around the store may take.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// How long an answer waits for the store, which does in a millisecond what an answer needs. One that waits longer does without.
    patience: Duration,
    /// How long a write may take to be tried.
    trial: Duration,
    /// Pause between trials while the store does what it should.
    pause: Duration,
    /// Pause between trials while it does not.
    pause_away: Duration,
    /// How long a refusal of events counts that no other follows.
    refusal: Duration,
}

const TIMES: Times = Times {
    patience: Duration::from_secs(1),
    trial: Duration::from_secs(2),
    pause: Duration::from_secs(5),
    pause_away: Duration::from_millis(250),
    refusal: Duration::from_secs(30),
};

/// What the store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// What it should.
    Well,
    /// It can be read, and takes no writes: its disk is full.
    Full,
    /// Nothing.
    Away,
}

/// What is known of the store: it is away, or full, from a failure on until a write goes through, which is tried all the time.
#[derive(Debug)]
pub(crate) struct Circuit {
    state: watch::Sender<State>,
    /// When events were refused last, by a store that does all else. Reads and other writes go on.
    refusal: Mutex<Option<Instant>>,
    /// Somebody had to wait: it should be tried now.
    doubt: Notify,
    failures: Counter,
    up: Gauge,
    times: Times,
}

impl Circuit {
    /// Counts failures, and says in `up` whether there is a store.
    pub(crate) fn new(failures: Counter, up: Gauge) -> Self {
        up.set(1);
        let (state, doubt) = (watch::Sender::new(State::Well), Notify::new());
        Self { state, refusal: Mutex::default(), doubt, failures, up, times: TIMES }
    }

    /// Whether the store does what it should.
    fn is_well(&self) -> bool {
        *self.state.borrow() == State::Well
    }

    /// Whether the store does what it should, and takes events.
    pub(crate) fn takes_events(&self) -> bool {
        self.is_well() && self.refusal().is_none()
    }

    fn refusal(&self) -> MutexGuard<'_, Option<Instant>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gauge(&self) {
        self.up.set(self.takes_events().into());
    }

    /// Events were written.
    pub(crate) fn wrote_events(&self) {
        let was_refused = self.refusal().take().is_some();
        if was_refused {
            self.gauge();
            tracing::info!("the store takes events again");
        }
        self.works();
    }

    /// Events were not written. Where that is no outage, a right may be missing or a table be damaged: what else is written says nothing of it.
    pub(crate) fn refused_events(&self, error: &StoreError) {
        self.failed(error);
        if error.is_outage() {
            return;
        }
        let is_news = self.refusal().replace(Instant::now()).is_none();
        if is_news {
            self.gauge();
            tracing::error!(%error, "the store refuses events: it is not ready until some are written");
        }
    }

    /// Nobody may send events to a server that is not ready: a refusal that no other followed is forgotten, and the next events tell.
    fn forget_refusal(&self) {
        let is_old = self.refusal().take_if(|at| at.elapsed() > self.times.refusal).is_some();
        if is_old {
            self.gauge();
        }
    }

    /// Why a write is not worth trying, if it is not.
    pub(crate) fn refuses_writes(&self) -> Option<StoreError> {
        match *self.state.borrow() {
            State::Well => None,
            State::Full => Some(StoreError::Full { place: "the store".to_owned() }),
            State::Away => Some(StoreError::Away),
        }
    }

    /// Something was written.
    pub(crate) fn works(&self) {
        if self.change(State::Well) {
            self.gauge();
            tracing::info!("the store answers again");
        }
    }

    /// Whether this is news.
    fn change(&self, to: State) -> bool {
        self.state.send_if_modified(|state| std::mem::replace(state, to) != to)
    }

    /// Something failed. What says nothing of the store itself, such as a row that cannot be read, is counted alone.
    pub(crate) fn failed(&self, error: &StoreError) {
        if matches!(error, StoreError::Away) {
            return;
        }
        self.failures.inc();
        let state = match error.is_full() {
            true => State::Full,
            false if error.is_outage() => State::Away,
            false => return,
        };
        if self.change(state) {
            self.up.set(0);
            tracing::error!(%error, "the store fails: writes are refused until one goes through");
            self.doubt.notify_one();
        }
    }

    /// Waits for the store only while it does what it should, and not for long.
    ///
    /// # Errors
    /// [`StoreError::Away`], or that of the work.
    pub(crate) async fn ask<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut changes = self.state.subscribe();
        let answered = tokio::select! {
            biased;
            // Also if it is so already.
            _ = changes.wait_for(|state| *state == State::Away) => return Err(StoreError::Away),
            answered = tokio::time::timeout(self.times.patience, work) => answered,
        };
        let Ok(answered) = answered else {
            self.doubt.notify_one();
            return Err(StoreError::Away);
        };
        answered.inspect_err(|error| self.failed(error))
    }

    /// Does something each time that the store is there again.
    pub(crate) async fn on_return(&self, then: impl Fn()) {
        let mut changes = self.state.subscribe();
        loop {
            // The sender is this circuit: it is there.
            drop(changes.wait_for(|state| *state != State::Well).await);
            drop(changes.wait_for(|state| *state == State::Well).await);
            then();
        }
    }

    /// Tries to write, again and again.
    pub(crate) async fn tend<F>(&self, trial: impl Fn() -> F)
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        loop {
            let Times { pause, pause_away, trial: most, .. } = self.times;
            let pause = if self.is_well() { pause } else { pause_away };
            // While it is away, nobody's doubt makes the pause shorter.
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.doubt.notified(), if self.is_well() => {}
            }
            match tokio::time::timeout(most, trial()).await {
                Ok(Ok(())) => {
                    self.works();
                    self.forget_refusal();
                }
                Ok(Err(error)) => self.failed(&error),
                Err(_) => self.failed(&StoreError::Slow { ms: most.as_millis() as u64 }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit() -> Circuit {
        let ms = Duration::from_millis;
        let times = Times {
            patience: ms(60),
            trial: ms(60),
            pause: ms(9_000),
            pause_away: ms(5),
            refusal: ms(200),
        };
        Circuit { times, ..Circuit::new(Counter::default(), Gauge::default()) }
    }

    async fn never() -> Result<(), StoreError> {
        std::future::pending().await
    }

    #[tokio::test]
    async fn nobody_waits_for_a_store_that_is_away() {
        let circuit = circuit();
        assert_eq!(circuit.ask(async { Ok(1) }).await.unwrap(), 1);
        let started = std::time::Instant::now();
        // One waits while another finds out that it is away.
        let fails = async { circuit.failed(&StoreError::Slow { ms: 2 }) };
        let (waited, ()) = tokio::join!(circuit.ask(never()), fails);
        assert!(matches!(waited, Err(StoreError::Away)));
        assert!(matches!(circuit.ask(never()).await, Err(StoreError::Away)));
        assert!(started.elapsed() < circuit.times.patience);
        assert_eq!((circuit.up.get(), circuit.failures.get()), (0, 1));
        circuit.works();
        assert!(matches!(circuit.ask(never()).await, Err(StoreError::Away)));
        assert!(started.elapsed() >= circuit.times.patience);
        assert_eq!((circuit.up.get(), circuit.is_well()), (1, true));
        let unreadable = StoreError::Unreadable { what: "a key", reason: String::new() };
        assert!(circuit.ask(async { Err::<(), _>(unreadable) }).await.is_err());
        assert_eq!((circuit.failures.get(), circuit.is_well()), (2, true));
        // One that is full can be read.
        circuit.failed(&StoreError::Full { place: String::new() });
        assert!(matches!(circuit.refuses_writes(), Some(StoreError::Full { .. })));
        assert_eq!(circuit.ask(async { Ok(2) }).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_store_that_refuses_events_alone_is_not_ready_and_answers() {
        let refused = || StoreError::Unreadable { what: "a row", reason: String::new() };
        let circuit = circuit();
        circuit.refused_events(&refused());
        assert_eq!(
            (circuit.takes_events(), circuit.up.get(), circuit.failures.get()),
            (false, 0, 1)
        );
        // Nothing else is kept from it, and what else is written does not make it ready.
        assert!(circuit.refuses_writes().is_none());
        assert_eq!(circuit.ask(async { Ok(1) }).await.unwrap(), 1);
        circuit.works();
        circuit.forget_refusal();
        assert_eq!((circuit.takes_events(), circuit.up.get()), (false, 0));
        circuit.wrote_events();
        assert_eq!((circuit.takes_events(), circuit.up.get()), (true, 1));
        // One that no other follows ends by itself.
        circuit.refused_events(&refused());
        tokio::time::sleep(circuit.times.refusal * 2).await;
        assert!(!circuit.takes_events());
        circuit.forget_refusal();
        assert_eq!((circuit.takes_events(), circuit.up.get()), (true, 1));
        // An outage has a way of its own to end.
        circuit.refused_events(&StoreError::Slow { ms: 2 });
        assert!(!circuit.takes_events() && circuit.refusal().is_none());
        circuit.works();
        assert!(circuit.takes_events());
    }

    #[tokio::test]
    async fn a_doubt_is_looked_into_at_once_and_a_trial_that_succeeds_ends_it() {
        let circuit = circuit();
        let n_trials = std::cell::Cell::new(0);
        let trial = async || {
            n_trials.set(n_trials.get() + 1);
            if n_trials.get() < 3 { never().await } else { Ok(()) }
        };
        let mut changes = circuit.state.subscribe();
        let asks = async {
            drop(circuit.ask(never()).await);
            changes.wait_for(|state| *state == State::Away).await.unwrap();
            changes.wait_for(|state| *state == State::Well).await.unwrap();
        };
        let started = std::time::Instant::now();
        tokio::select! {
            () = circuit.tend(&trial) => {}
            () = asks => {}
        }
        // A doubt that came during a trial is looked into after it.
        assert!((3..=4).contains(&n_trials.get()), "{}", n_trials.get());
        assert!(started.elapsed() < circuit.times.pause);
    }
}
