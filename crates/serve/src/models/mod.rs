//! Which models answer: found in files, one for each slot, changed while requests go on.
//!
//! A slot is a task (`recommend`, and `together` for the model of that name, `click`, `conversion`, `purchase`, `support`, `question`, `demand`). A request takes
//! [`Models::live`] once and answers all of it from that: every answer is of one whole version of a model, whatever is promoted meanwhile.
//!
//! - `Listing` is what was found in the files, one entry for each: a model, no model, or one that is not of who is trusted.
//! - [`Live`] is what answers.
//! - [`Models`] goes from the one to the other: by what was promoted, else by what is newest.

mod error;
mod listing;
mod live;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use forecart_models::model_file::Trust;

pub use error::ServedModelError;
pub use listing::{Found, LeftOut};
pub use live::Live;

use listing::Listing;
use live::{Loaded, load};

use crate::clock::now_ms;
use crate::store::{self, Promotion, Store, StoreError};
use crate::trusted::Trusted;

/// What models are for.
pub const SLOTS: [&str; 8] =
    [RECOMMEND, TOGETHER, "click", "conversion", "purchase", "support", "question", "demand"];

/// Lists of items.
const RECOMMEND: &str = "recommend";
/// The model of lists that answers which items are bought together; also its slot.
const TOGETHER: &str = "together";

/// The models of a process.
#[derive(Debug)]
pub struct Models {
    paths: Vec<PathBuf>,
    trusted: Arc<Trusted>,
    store: Arc<dyn Store>,
    live: ArcSwap<Live>,
    /// Versions, or names of files, that are served beside the live model of lists.
    beside: Vec<String>,
    /// The files, as they were last looked at.
    listing: ArcSwap<Listing>,
    /// Models that should be served and could not be loaded.
    failed: ArcSwap<Vec<LeftOut>>,
    /// Where what is live was read from, by slot, and when that was written.
    origins: Mutex<BTreeMap<String, (PathBuf, Option<SystemTime>)>>,
    /// One change at a time.
    change: tokio::sync::Mutex<()>,
}

impl Models {
    /// Models of some files, and of all files in some folders that end in `.forecart`. Nothing is loaded yet.
    pub fn new(paths: Vec<PathBuf>, store: Arc<dyn Store>) -> Self {
        Self {
            paths,
            trusted: Arc::default(),
            store,
            live: ArcSwap::default(),
            beside: Vec::new(),
            listing: ArcSwap::default(),
            failed: ArcSwap::default(),
            origins: Mutex::default(),
            change: tokio::sync::Mutex::new(()),
        }
    }

    /// The same, of which only those of who is trusted are served.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Self {
        Self { trusted: Arc::new(Trusted::new(trust)), ..self }
    }

    /// Also serves these versions of models of lists, or files, beside the live one.
    #[must_use]
    pub fn beside(self, versions: Vec<String>) -> Self {
        Self { beside: versions, ..self }
    }

    /// What answers now.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Files that were looked at and are not served.
    pub fn left_out(&self) -> Vec<LeftOut> {
        let mut all: Vec<LeftOut> = self.listing.load().left_out().cloned().collect();
        for failed in self.failed.load().iter() {
            if !all.contains(failed) {
                all.push(failed.clone());
            }
        }
        all
    }

    /// The files that are there, by slot, the newest first.
    ///
    /// # Errors
    /// [`ServedModelError::Folder`]. A file that is no model is not an error: it is among [`Self::left_out`].
    pub fn found(&self) -> Result<Vec<Found>, ServedModelError> {
        Ok(self.list()?.models().cloned().collect())
    }

    /// Looks at the files.
    fn list(&self) -> Result<Arc<Listing>, ServedModelError> {
        let files = listing::files(&self.paths)?;
        let listing = Arc::new(Listing::new(files, &self.trusted, &self.live()));
        self.listing.store(listing.clone());
        Ok(listing)
    }

    /// Serves in every slot what was promoted there last, or the newest file where nothing was; what is live already stays as it is.
    /// A file that cannot be loaded leaves what is live in place, and where nothing is live the next newest is tried. What was read of a file does
    /// not change with it: where the file of what is live was changed it is read again, and is among [`Self::left_out`] if it is damaged.
    ///
    /// # Errors
    /// [`ServedModelError`] if nothing can be found at all.
    pub async fn refresh(&self) -> Result<(), ServedModelError> {
        let _change = self.change.lock().await;
        self.check_new_files().await?;
        let listing = self.list()?;
        let mut slots: Vec<&str> = listing.models().map(|own| own.name.as_str()).collect();
        slots.dedup();
        let mut failed = Vec::new();
        for slot in slots {
            let promoted = self.promotions(slot).await?;
            let of_slot: Vec<&Found> = listing.models().filter(|own| own.name == slot).collect();
            // What was loaded was whole: it answers on, unless another version was promoted since.
            let is_promoted_since = promoted.first().is_some_and(|newest| {
                let is_there = of_slot.iter().any(|own| own.version == newest.version);
                let live = self.live();
                is_there && live.in_slot(slot).is_none_or(|(_, own)| own != newest.version)
            });
            if self.is_live_altered(&listing, slot) && !is_promoted_since {
                continue;
            }
            let is_promoted = promoted
                .iter()
                .find_map(|own| of_slot.iter().find(|file| file.version == own.version));
            let candidates = is_promoted.into_iter().chain(&of_slot);
            for chosen in candidates {
                let is_live =
                    self.live().in_slot(slot).is_some_and(|(_, own)| own == chosen.version);
                let origin = (chosen.path.clone(), chosen.written);
                if is_live && self.origins().get(slot) == Some(&origin) {
                    break;
                }
                match self.load((*chosen).clone()).await {
                    Ok(loaded) => {
                        self.swap(chosen, loaded);
                        break;
                    }
                    Err(error) => {
                        let (file, reason) = (chosen.file.clone(), error.to_string());
                        failed.push(LeftOut { file, reason });
                        if self.live().in_slot(slot).is_some() {
                            break;
                        }
                    }
                }
            }
        }
        self.load_beside(&listing, &mut failed).await;
        self.failed.store(Arc::new(failed));
        Ok(())
    }

    /// Loads what is served beside the live model; one that cannot be loaded anew stays as it is.
    async fn load_beside(&self, listing: &Listing, failed: &mut Vec<LeftOut>) {
        let earlier = self.live();
        let mut beside = earlier.beside.clone();
        for name in &self.beside {
            let loaded = match listing.version(RECOMMEND, name) {
                Ok(own) => {
                    let mut known = earlier.recommend.iter().chain(earlier.beside.values());
                    match known.find(|file| file.header().content_hash == own.version) {
                        Some(file) => Ok(Loaded::Recommend(file.clone())),
                        None => self.load(own.clone()).await,
                    }
                }
                Err(error) => Err(error),
            };
            match loaded {
                Ok(Loaded::Recommend(file)) => drop(beside.insert(name.clone(), file)),
                Ok(_) => {}
                Err(error) => {
                    let reason = format!("for an experiment: {error}");
                    failed.push(LeftOut { file: name.clone(), reason });
                }
            }
        }
        if !self.beside.is_empty() {
            self.live.store(Arc::new(Live { beside, ..(*self.live()).clone() }));
        }
    }

    /// Serves a version and notes that it was promoted; what was live before is noted too, so that it can be gone back to.
    ///
    /// # Errors
    /// [`ServedModelError`]: then what was live before still is.
    pub async fn promote(&self, slot: &str, version: &str) -> Result<Found, ServedModelError> {
        let _change = self.change.lock().await;
        self.check_new_files().await?;
        let found = self.list()?.version(slot, version)?.clone();
        let promoted = self.promotions(slot).await?;
        let live = self.live().in_slot(slot).map(|(_, own)| own.to_owned());
        if live.as_deref() == Some(&found.version)
            && promoted.first().is_some_and(|own| own.version == found.version)
        {
            return Ok(Found { is_live: true, ..found });
        }
        let loaded = self.load(found.clone()).await?;
        if promoted.is_empty()
            && let Some(live) = live.filter(|own| *own != found.version)
        {
            self.note_promotion(slot, &live).await?;
        }
        self.note_promotion(slot, &found.version).await?;
        self.swap(&found, loaded);
        Ok(Found { is_live: true, ..found })
    }

    /// Serves the version that was served before the last promotion.
    ///
    /// # Errors
    /// [`ServedModelError::NothingEarlier`] if there was none; in any case what was live still is.
    pub async fn roll_back(&self, slot: &str) -> Result<Found, ServedModelError> {
        let _change = self.change.lock().await;
        self.check_new_files().await?;
        let promoted = self.promotions(slot).await?;
        let Some(earlier) = promoted.get(1) else {
            return Err(ServedModelError::NothingEarlier { slot: slot.to_owned() });
        };
        let found = self.list()?.version(slot, &earlier.version)?.clone();
        let loaded = self.load(found.clone()).await?;
        store::in_time(self.store.as_ref(), 0, self.store.demote(slot)).await?;
        self.swap(&found, loaded);
        Ok(Found { is_live: true, ..found })
    }

    async fn promotions(&self, slot: &str) -> Result<Vec<Promotion>, StoreError> {
        store::in_time(self.store.as_ref(), 0, self.store.promotions(slot)).await
    }

    async fn note_promotion(&self, slot: &str, version: &str) -> Result<(), StoreError> {
        store::in_time(self.store.as_ref(), 0, self.store.promote(slot, version, now_ms())).await
    }

    /// Reads files whose signatures were not looked at before, apart from the threads that answer: listing them then takes no time.
    async fn check_new_files(&self) -> Result<(), ServedModelError> {
        let (files, trusted) = (listing::files(&self.paths)?, self.trusted.clone());
        let check = move || files.iter().for_each(|path| drop(trusted.refusal(path)));
        let checked = tokio::task::spawn_blocking(check).await;
        checked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        Ok(())
    }

    /// Whether the file of what answers is no model any more (somebody may be writing it), or not of who is trusted.
    fn is_live_altered(&self, listing: &Listing, slot: &str) -> bool {
        self.origins().get(slot).is_some_and(|(path, _)| listing.leaves_out(path))
    }

    /// Loads a file apart from the threads that answer.
    async fn load(&self, found: Found) -> Result<Loaded, ServedModelError> {
        let trust = self.trusted.trust().clone();
        let loaded = tokio::task::spawn_blocking(move || load(&found, &trust)).await;
        Ok(loaded.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?)
    }

    fn swap(&self, found: &Found, loaded: Loaded) {
        let mut live = (*self.live()).clone();
        live.put(&found.name, loaded);
        self.live.store(Arc::new(live));
        let origin = (found.path.clone(), found.written);
        self.origins().insert(found.name.clone(), origin);
    }

    fn origins(&self) -> MutexGuard<'_, BTreeMap<String, (PathBuf, Option<SystemTime>)>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
