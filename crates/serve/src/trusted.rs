//! Which model files are of who is trusted, remembered while a file stays as it is.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use forecart_models::ModelError;
use forecart_models::model_file::Trust;
use rustc_hash::FxHashMap;

/// What tells that a file may be another than before.
type Stamp = (Option<SystemTime>, u64);

/// Checks files that are listed. What is loaded is checked again, byte by byte: this only says early, and without reading whole files each time,
/// what loading would say.
#[derive(Debug, Default)]
pub(crate) struct Trusted {
    trust: Trust,
    checked: Mutex<FxHashMap<PathBuf, (Stamp, Option<String>)>>,
}

impl Trusted {
    pub(crate) fn new(trust: Trust) -> Self {
        Self { trust, checked: Mutex::default() }
    }

    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Why a file is refused; `None` if it is not, or cannot be read, which loading will say.
    pub(crate) fn refusal(&self, path: &Path) -> Option<String> {
        if self.trust == Trust::Any {
            return None;
        }
        let facts = std::fs::metadata(path).ok()?;
        let stamp = (facts.modified().ok(), facts.len());
        let checked = || self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((own, refusal)) = checked().get(path)
            && *own == stamp
        {
            return refusal.clone();
        }
        let refusal = match self.trust.check_file(path) {
            Err(error @ ModelError::Refused { .. }) => Some(error.to_string()),
            Err(_) => return None,
            Ok(_) => None,
        };
        checked().insert(path.to_owned(), (stamp, refusal.clone()));
        refusal
    }

    /// Lets go of files that are there no more.
    pub(crate) fn keep_only(&self, files: &[PathBuf]) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.retain(|path, _| files.contains(path));
    }
}
