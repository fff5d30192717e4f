//! Several processes on one store: what others change is followed.
//!
//! The store tells changes in the order in which they were committed ([`Store::follow`]), usually within milliseconds. Histories of users
//! whose events others wrote are read anew; items, promotions and keys are read again. Where changes can no longer be heard, no history is kept
//! ([`Histories`]); items, promotions and keys are looked at every few seconds in any case.
//!
//! [`Store::follow`]: crate::store::Store::follow
//! [`Histories`]: crate::history::Histories

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::app::{App, every};
use crate::clock::now_ms;
use crate::consent::Consents;
use crate::store::{Change, StoreError};

/// How far back changes of items are read again, so that one whose transaction ended late, or whose writer has another time, is not missed.
const CHANGES_OVERLAP_MS: i64 = 10_000;
/// Pause before changes are listened to again.
const AGAIN: Duration = Duration::from_millis(250);
/// Least pause between two readings of what was announced: many small changes are read together.
const REST: Duration = Duration::from_millis(50);

/// What is to be read again.
#[derive(Debug, Default)]
struct News {
    items: Notify,
    promotions: Notify,
    keys: Notify,
    /// Whether users may have been forgotten without a word.
    forgotten: AtomicBool,
    /// Whether changes were listened to before.
    was_heard: AtomicBool,
}

/// Does something when it is told to, and after `pause` at the latest.
async fn when_told<F: Future<Output = ()>>(news: &Notify, pause: Duration, turn: impl Fn() -> F) {
    loop {
        // Either way it is time.
        let _ = tokio::time::timeout(pause, news.notified()).await;
        turn().await;
        tokio::time::sleep(REST).await;
    }
}

impl App {
    /// Follows what other processes change, until this process ends: of a store that is not shared keys alone, which programs beside make and end.
    pub(crate) async fn follow(&self) {
        let news = News::default();
        let keys = when_told(&news.keys, Duration::from_secs(5), || async {
            if let Err(error) = self.keys.refresh(self.store.as_ref()).await {
                tracing::warn!(%error, "keys were not read again");
            }
        });
        if !self.store.is_shared() {
            return keys.await;
        }
        let read_ms = AtomicI64::new(self.began_ms);
        tokio::join!(
            self.listen(&news),
            when_told(&news.items, Duration::from_secs(1), || async {
                let begin_ms = now_ms();
                let since_ms = read_ms.load(Ordering::Relaxed) - CHANGES_OVERLAP_MS;
                match self.read_items(since_ms).await {
                    Ok(()) => read_ms.store(begin_ms, Ordering::Relaxed),
                    Err(error) => tracing::debug!(%error, "changes of items were not read"),
                }
            }),
            self.follow_consents(&news),
            when_told(&news.promotions, Duration::from_secs(5), || async {
                if let Err(error) = self.refresh_models().await {
                    tracing::debug!(%error, "promotions of others were not followed");
                }
            }),
            keys,
        );
    }

    async fn follow_consents(&self, news: &News) {
        let store = self.store.as_ref();
        let read_ms = AtomicI64::new(self.began_ms);
        every(Duration::from_secs(1), || async {
            let begin_ms = now_ms();
            let since_ms = read_ms.load(Ordering::Relaxed) - CHANGES_OVERLAP_MS;
            let is_anew = news.forgotten.swap(false, Ordering::Relaxed);
            let read = async {
                // What was not told is seen only in all that is there.
                let anew = match is_anew {
                    true => Some(Consents::read(store, self.config.consent_default).await?),
                    false => None,
                };
                // While none is written here, so that nothing older comes after it.
                let _one_at_a_time = self.user_writes.lock().await;
                if let Some(anew) = anew {
                    self.consents.replace(anew);
                }
                self.consents.follow(store, since_ms).await
            };
            self.consents.begin_reading();
            let read: Result<(), StoreError> = read.await;
            self.consents.end_reading();
            match read {
                Ok(()) => read_ms.store(begin_ms, Ordering::Relaxed),
                Err(error) => {
                    news.forgotten.fetch_or(is_anew, Ordering::Relaxed);
                    tracing::debug!(%error, "changes of consents were not read");
                }
            }
        })
        .await;
    }

    async fn listen(&self, news: &News) {
        let tell = |change: Change| self.take_change(change, news);
        loop {
            let heard = self.store.follow(&tell).await;
            news.was_heard.store(true, Ordering::Relaxed);
            self.memory.histories.missed();
            if let Err(error) = heard {
                tracing::debug!(%error, "changes of other processes are not heard");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn take_change(&self, change: Change, news: &News) {
        let memory = &self.memory;
        match change {
            Change::Begin => {
                memory.histories.missed();
                news.forgotten.store(true, Ordering::Relaxed);
                // Who was forgotten meanwhile is not known.
                if news.was_heard.swap(true, Ordering::Relaxed) {
                    self.traces.clear();
                }
                for all in [&news.items, &news.promotions, &news.keys] {
                    all.notify_one();
                }
            }
            Change::Until(moment) => {
                memory.histories.told_until(moment);
                memory.metrics.replica_lag.set(moment.elapsed().as_secs_f64());
            }
            Change::Events(acts) => {
                let items = || acts.iter().filter_map(|(_, item)| item.as_deref());
                memory.ensure(items());
                memory.histories.changed(acts.iter().map(|(user, _)| user.as_str()));
                memory.popularity.count(items());
            }
            Change::Forgotten(user) => {
                memory.histories.changed(std::iter::once(user.as_str()));
                self.consents.forget(&user);
                self.traces.forget(&user);
            }
            Change::Items => news.items.notify_one(),
            Change::Promotions => news.promotions.notify_one(),
            Change::Keys => news.keys.notify_one(),
        }
    }
}
