//! What is done beside requests.

use std::sync::Arc;
use std::time::Duration;

use super::App;
use crate::clock::now_ms;
use crate::store::StoreError;

/// How long counting items, and removing old events, may take.
const LONG: Duration = Duration::from_secs(600);

/// Does something again and again; a turn that takes longer than the pause is followed by a pause.
pub(crate) async fn every<F: Future<Output = ()>>(pause: Duration, turn: impl Fn() -> F) {
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first tick is at once; all has just been read.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        turn().await;
    }
}

/// Ends long work on a store that may have gone without a word.
async fn within<T>(
    most: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let slow = StoreError::Slow { ms: most.as_millis() as u64 };
    tokio::time::timeout(most, work).await.unwrap_or(Err(slow))
}

impl App {
    /// What is done beside requests, until the process ends: each on its own, so that nothing long delays the end of a key.
    pub(crate) async fn tend(self: &Arc<Self>) {
        tokio::join!(
            every(Duration::from_secs(1), || async {
                self.memory.popularity.rank();
                self.memory.metrics.waiting.set(self.intake.n_waiting() as i64);
            }),
            self.follow(),
            self.retrain(),
            every(Duration::from_secs(10), || async {
                if let Err(error) = self.store.clean().await {
                    tracing::warn!(%error, "what was deleted is in the log of the store still: it is tried again");
                }
            }),
            // Only a write says whether writes are possible: a full disk can be read.
            self.memory.circuit.tend(|| self.store.probe(now_ms())),
            self.memory.circuit.on_return(|| self.memory.histories.clear()),
            every(Duration::from_secs(600), || async {
                if let Err(error) = within(LONG, self.recount()).await {
                    tracing::warn!(%error, "items were not counted again");
                }
                let Some(keep_ms) = self.config.keep_ms else { return };
                match within(LONG, self.store.retain(now_ms() - keep_ms)).await {
                    Ok(0) => {}
                    Ok(n_events) => tracing::info!(n_events, "events past their time removed"),
                    Err(error) => tracing::warn!(%error, "old events were not removed"),
                }
            }),
        );
    }
}
