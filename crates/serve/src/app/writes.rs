//! How requests write to the store: one at a time, and not while it takes no writes.

use super::App;
use crate::store::{self, StoreError};

impl App {
    /// The turn to write what is written one at a time; at once refused while the store takes no writes.
    pub(crate) async fn turn<'a>(
        &self,
        turns: &'a tokio::sync::Mutex<()>,
    ) -> Result<tokio::sync::MutexGuard<'a, ()>, StoreError> {
        match self.memory.circuit.refuses_writes() {
            Some(error) => Err(error),
            None => Ok(turns.lock().await),
        }
    }

    /// Does a part of a write that sends `n_rows` one by one, unless the store takes none by now; who comes next knows how it went.
    pub(crate) async fn written<T>(
        &self,
        n_rows: usize,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let circuit = &self.memory.circuit;
        if let Some(error) = circuit.refuses_writes() {
            return Err(error);
        }
        let done = store::in_time(self.store.as_ref(), n_rows, work).await;
        done.inspect_err(|error| circuit.failed(error))
    }
}
