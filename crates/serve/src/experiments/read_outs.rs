//! Read-outs that were computed just now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{Experiment, ReadOut, read_out};
use crate::clock::now_ms;
use crate::consent::Consents;
use crate::store::{Store, StoreError};

/// How long one is answered with at least.
const FRESH: Duration = Duration::from_secs(10);
/// How long it is kept at most.
const STALE: Duration = Duration::from_secs(120);
/// How many times as long as it took to compute one is answered with.
const TIMES: u32 = 20;

#[derive(Debug)]
struct Kept {
    read_out: Arc<ReadOut>,
    until: Instant,
}

/// The last read-out of each experiment. One is computed at a time, and however often it is asked for, that takes a small part of one core.
#[derive(Debug, Default)]
pub(crate) struct ReadOuts(Mutex<BTreeMap<String, Kept>>);

impl ReadOuts {
    pub(crate) async fn of(
        &self,
        store: &dyn Store,
        experiment: &Experiment,
        consents: &Consents,
    ) -> Result<Arc<ReadOut>, StoreError> {
        let mut kept = self.0.lock().await;
        let begun = Instant::now();
        if let Some(own) = kept.get(experiment.name()).filter(|own| begun < own.until) {
            return Ok(own.read_out.clone());
        }
        let read_out = Arc::new(read_out(store, experiment, consents, now_ms()).await?);
        let until = Instant::now() + (begun.elapsed() * TIMES).clamp(FRESH, STALE);
        let own = Kept { read_out: read_out.clone(), until };
        kept.insert(experiment.name().to_owned(), own);
        Ok(read_out)
    }
}
