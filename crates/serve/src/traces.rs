//! How the last answers came about, for `GET /v1/requests/{id}`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

/// The traces of the last answers, as JSON, of this process; older ones are gone.
#[derive(Debug)]
pub(crate) struct Traces {
    n_most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    order: VecDeque<Arc<str>>,
    by_id: FxHashMap<Arc<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    user_id: Option<String>,
    trace: Arc<str>,
}

impl Traces {
    pub(crate) fn new(n_most: usize) -> Self {
        Self { n_most, kept: Mutex::default() }
    }

    pub(crate) fn are_kept(&self) -> bool {
        self.n_most > 0
    }

    pub(crate) fn put(&self, id: &str, user_id: Option<String>, trace: String) {
        if !self.are_kept() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.order.len() >= self.n_most
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_id.remove(&oldest);
        }
        let id: Arc<str> = Arc::from(id);
        kept.order.push_back(id.clone());
        kept.by_id.insert(id, Entry { user_id, trace: Arc::from(trace) });
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<str>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_id.get(id).map(|entry| entry.trace.clone())
    }

    /// Takes all away.
    pub(crate) fn clear(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    /// Takes away what was answered to a user.
    pub(crate) fn forget(&self, user_id: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { order, by_id } = &mut *kept;
        by_id.retain(|_, entry| entry.user_id.as_deref() != Some(user_id));
        order.retain(|id| by_id.contains_key(id));
    }
}
