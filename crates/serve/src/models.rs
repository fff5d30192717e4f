//! Which models answer: found in files, one for each slot, changed while requests go on.
//!
//! A slot is a task (`recommend`, and `together` for the model of that name, `click`, `conversion`, `purchase`, `support`, `question`, `demand`). A request takes
//! [`Models::live`] once and answers all of it from that: every answer is of one whole version of a model, whatever is promoted meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use forecart_models::ModelError;
use forecart_models::model_file::{
    self, AnyHeader, DemandModelFile, IntentModelFile, LoadedModel, OutcomeModelFile,
    QuestionModelFile, Trust,
};
use serde::Serialize;
use utoipa::ToSchema;

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

/// How files of models end, where a folder of them is given.
const EXTENSION: &str = "forecart";
/// Shortest part of a version's hash that names it.
const MIN_VERSION_CHARS: usize = 6;

/// Why a model is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServedModelError {
    /// The file cannot be read, or is damaged.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No file has this version.
    #[error("no file holds version {version:?} of {slot:?}; there are: {known}")]
    UnknownVersion {
        /// The slot asked for.
        slot: String,
        /// The version asked for.
        version: String,
        /// Those there are.
        known: String,
    },
    /// Several files begin like this.
    #[error("several versions of {slot:?} begin with {version:?}: write more of it")]
    Ambiguous {
        /// The slot asked for.
        slot: String,
        /// The version asked for.
        version: String,
    },
    /// The version is in a file that is not of who is trusted.
    #[error("{reason}")]
    Refused {
        /// Which file, why, and what would do.
        reason: String,
    },
    /// There is nothing to go back to.
    #[error("{slot:?} has no earlier version to go back to")]
    NothingEarlier {
        /// The slot asked for.
        slot: String,
    },
}

/// A model file that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Found {
    /// The task that it is for.
    pub name: String,
    /// The model's name in the registry.
    pub model: String,
    /// Its content hash.
    pub version: String,
    /// The file's name.
    pub file: String,
    /// Id of the key that it says to be signed by; checked where `serve.trusted_keys` is set.
    pub signed_by: Option<String>,
    /// Whether it is what answers now.
    pub is_live: bool,
    /// Where it is.
    #[serde(skip)]
    pub path: PathBuf,
    /// When the file was written; the newest is served where none was promoted.
    #[serde(skip)]
    pub written: Option<SystemTime>,
}

/// What answers now.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Lists of items.
    pub recommend: Option<Arc<LoadedModel>>,
    /// What is bought together; a model `together` has this slot of its own.
    pub together: Option<Arc<LoadedModel>>,
    /// Clicks, conversions, purchases, by task.
    pub outcomes: BTreeMap<String, Arc<OutcomeModelFile>>,
    /// What texts ask.
    pub support: Option<Arc<IntentModelFile>>,
    /// What users will ask.
    pub question: Option<Arc<QuestionModelFile>>,
    /// How much will be sold.
    pub demand: Option<Arc<DemandModelFile>>,
    /// Models of lists that variants of experiments answer with, by what the configuration calls them.
    pub beside: BTreeMap<String, Arc<LoadedModel>>,
}

impl Live {
    /// The model and version in a slot.
    pub fn in_slot(&self, slot: &str) -> Option<(&str, &str)> {
        let (model, version) = match slot {
            RECOMMEND => {
                let header = self.recommend.as_ref()?.header();
                (&header.model, &header.content_hash)
            }
            TOGETHER => {
                let header = self.together.as_ref()?.header();
                (&header.model, &header.content_hash)
            }
            "support" => {
                let header = self.support.as_ref()?.header();
                (&header.model, &header.content_hash)
            }
            "question" => {
                let header = self.question.as_ref()?.header();
                (&header.model, &header.content_hash)
            }
            "demand" => {
                let header = self.demand.as_ref()?.header();
                (&header.model, &header.content_hash)
            }
            outcome => {
                let header = self.outcomes.get(outcome)?.header();
                (&header.model, &header.content_hash)
            }
        };
        Some((model, version))
    }

    fn put(&mut self, slot: &str, file: Loaded) {
        match file {
            Loaded::Recommend(file) if slot == TOGETHER => self.together = Some(file),
            Loaded::Recommend(file) => self.recommend = Some(file),
            Loaded::Outcome(file) => drop(self.outcomes.insert(slot.to_owned(), file)),
            Loaded::Intent(file) => self.support = Some(file),
            Loaded::Question(file) => self.question = Some(file),
            Loaded::Demand(file) => self.demand = Some(file),
        }
    }
}

#[derive(Debug)]
enum Loaded {
    Recommend(Arc<LoadedModel>),
    Outcome(Arc<OutcomeModelFile>),
    Intent(Arc<IntentModelFile>),
    Question(Arc<QuestionModelFile>),
    Demand(Arc<DemandModelFile>),
}

fn load(found: &Found, trust: &Trust) -> Result<Loaded, ModelError> {
    let path = &found.path;
    Ok(match found.name.as_str() {
        RECOMMEND | TOGETHER => {
            let file = LoadedModel::open_trusted(path, trust)?;
            file.model().warm();
            Loaded::Recommend(Arc::new(file))
        }
        "support" => Loaded::Intent(Arc::new(IntentModelFile::open_trusted(path, trust)?)),
        "question" => Loaded::Question(Arc::new(QuestionModelFile::open_trusted(path, trust)?)),
        "demand" => Loaded::Demand(Arc::new(DemandModelFile::open_trusted(path, trust)?)),
        _ => Loaded::Outcome(Arc::new(OutcomeModelFile::open_trusted(path, trust)?)),
    })
}

/// A file that is not served, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LeftOut {
    /// The file's name.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A file that is not of who is trusted, by what its header says, which may be anything.
#[derive(Debug, Clone)]
struct Refused {
    slot: String,
    version: String,
    left_out: LeftOut,
}

/// The models of a process.
#[derive(Debug)]
pub struct Models {
    paths: Vec<PathBuf>,
    trusted: Arc<Trusted>,
    store: Arc<dyn Store>,
    live: ArcSwap<Live>,
    /// Versions, or names of files, that are served beside the live model of lists.
    beside: Vec<String>,
    /// Files that are no models.
    unreadable: ArcSwap<Vec<LeftOut>>,
    /// Where those are, and those that are not of who is trusted.
    bad_paths: ArcSwap<Vec<PathBuf>>,
    /// Files that are models and not of who is trusted; they are among the unreadable ones too.
    refused: ArcSwap<Vec<Refused>>,
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
            unreadable: ArcSwap::default(),
            bad_paths: ArcSwap::default(),
            refused: ArcSwap::default(),
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
        let mut all = (*self.unreadable.load_full()).clone();
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
        let mut found = Vec::new();
        let mut left_out = Vec::new();
        let mut refused = Vec::new();
        let mut bad_paths = Vec::new();
        let live = self.live();
        let files = self.files()?;
        self.trusted.keep_only(&files);
        for path in files {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Inspected { name, model, version, signed_by } = match inspected(&path) {
                Ok(inspected) => inspected,
                Err(error) => {
                    left_out.push(LeftOut { file, reason: error.to_string() });
                    bad_paths.push(path);
                    continue;
                }
            };
            if let Some(reason) = self.trusted.refusal(&path) {
                let own = LeftOut { file, reason };
                left_out.push(own.clone());
                refused.push(Refused { slot: name, version, left_out: own });
                bad_paths.push(path);
                continue;
            }
            let is_live = live.in_slot(&name).is_some_and(|(_, own)| own == version);
            let written = std::fs::metadata(&path).and_then(|own| own.modified()).ok();
            found.push(Found { name, model, version, file, signed_by, is_live, path, written });
        }
        found.sort_by(|a, b| {
            a.name.cmp(&b.name).then(b.written.cmp(&a.written)).then(a.file.cmp(&b.file))
        });
        self.unreadable.store(Arc::new(left_out));
        self.bad_paths.store(Arc::new(bad_paths));
        self.refused.store(Arc::new(refused));
        Ok(found)
    }

    fn files(&self) -> Result<Vec<PathBuf>, ServedModelError> {
        let mut files = Vec::new();
        for path in &self.paths {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let folder = |source| ServedModelError::Folder { path: path.clone(), source };
            for entry in std::fs::read_dir(path).map_err(folder)? {
                let file = entry.map_err(folder)?.path();
                if file.is_file() && file.extension().is_some_and(|own| own == EXTENSION) {
                    files.push(file);
                }
            }
        }
        files.sort();
        files.dedup();
        Ok(files)
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
        let found = self.found()?;
        let mut slots: Vec<String> = found.iter().map(|own| own.name.clone()).collect();
        slots.dedup();
        let mut failed = Vec::new();
        for slot in slots {
            let promoted = self.promotions(&slot).await?;
            let of_slot: Vec<&Found> = found.iter().filter(|own| own.name == slot).collect();
            // What was loaded was whole: it answers on, unless another version was promoted since.
            let is_promoted_since = promoted.first().is_some_and(|newest| {
                let is_there = of_slot.iter().any(|own| own.version == newest.version);
                let live = self.live();
                is_there && live.in_slot(&slot).is_none_or(|(_, own)| own != newest.version)
            });
            if self.is_live_altered(&slot) && !is_promoted_since {
                continue;
            }
            let is_promoted = promoted
                .iter()
                .find_map(|own| of_slot.iter().find(|file| file.version == own.version));
            let candidates = is_promoted.into_iter().chain(&of_slot);
            for chosen in candidates {
                let is_live =
                    self.live().in_slot(&slot).is_some_and(|(_, own)| own == chosen.version);
                let origin = (chosen.path.clone(), chosen.written);
                if is_live && self.origins().get(&slot) == Some(&origin) {
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
                        if self.live().in_slot(&slot).is_some() {
                            break;
                        }
                    }
                }
            }
        }
        self.load_beside(&found, &mut failed).await;
        self.failed.store(Arc::new(failed));
        Ok(())
    }

    /// Loads what is served beside the live model; one that cannot be loaded anew stays as it is.
    async fn load_beside(&self, found: &[Found], failed: &mut Vec<LeftOut>) {
        let earlier = self.live();
        let mut beside = earlier.beside.clone();
        for name in &self.beside {
            let loaded = match self.version_among(found, RECOMMEND, name) {
                Ok(own) => {
                    let mut known = earlier.recommend.iter().chain(earlier.beside.values());
                    match known.find(|file| file.header().content_hash == own.version) {
                        Some(file) => Ok(Loaded::Recommend(file.clone())),
                        None => self.load(own).await,
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
        let found = self.version(slot, version)?;
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
        let found = self.version(slot, &earlier.version)?;
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
        let (files, trusted) = (self.files()?, self.trusted.clone());
        let check = move || files.iter().for_each(|path| drop(trusted.refusal(path)));
        let checked = tokio::task::spawn_blocking(check).await;
        checked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        Ok(())
    }

    /// Whether the file of what answers is no model any more (somebody may be writing it), or not of who is trusted.
    fn is_live_altered(&self, slot: &str) -> bool {
        let origins = self.origins();
        origins.get(slot).is_some_and(|(path, _)| self.bad_paths.load().contains(path))
    }

    fn version(&self, slot: &str, version: &str) -> Result<Found, ServedModelError> {
        self.version_among(&self.found()?, slot, version)
    }

    /// The file of a version, or of a name.
    fn version_among(
        &self,
        found: &[Found],
        slot: &str,
        version: &str,
    ) -> Result<Found, ServedModelError> {
        let of_slot = || found.iter().filter(|own| own.name == slot);
        let (slot_name, asked) = (slot.to_owned(), version.to_owned());
        let mut named = of_slot().filter(|own| is_named(version, &own.file, &own.version));
        match (named.next(), named.next()) {
            (Some(one), None) => Ok(one.clone()),
            (Some(one), Some(other)) if one.version == other.version => Ok(one.clone()),
            (Some(_), Some(_)) => {
                Err(ServedModelError::Ambiguous { slot: slot_name, version: asked })
            }
            (None, _) => {
                let refused = self.refused.load();
                let mut of_slot_refused = refused.iter().filter(|own| own.slot == slot);
                if let Some(own) =
                    of_slot_refused.find(|own| is_named(version, &own.left_out.file, &own.version))
                {
                    return Err(ServedModelError::Refused { reason: own.left_out.reason.clone() });
                }
                let known: Vec<String> = of_slot()
                    .map(|own| {
                        format!("{} ({})", &own.version[..own.version.len().min(12)], own.file)
                    })
                    .collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(ServedModelError::UnknownVersion { slot: slot_name, version: asked, known })
            }
        }
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

/// Whether `asked` is the file's name or the beginning of its version.
fn is_named(asked: &str, file: &str, version: &str) -> bool {
    file == asked || (asked.len() >= MIN_VERSION_CHARS && version.starts_with(asked))
}

/// What the header of a file says.
struct Inspected {
    /// The slot.
    name: String,
    model: String,
    version: String,
    signed_by: Option<String>,
}

fn inspected(path: &Path) -> Result<Inspected, ModelError> {
    let model_file::Inspection { header, signed_by, .. } = model_file::inspect(path)?;
    let (task, model, version) = match &header {
        AnyHeader::Recommend(own) if own.model == TOGETHER => {
            (&own.model, &own.model, &own.content_hash)
        }
        AnyHeader::Recommend(own) => (&own.task, &own.model, &own.content_hash),
        AnyHeader::Outcome(own) => (&own.task, &own.model, &own.content_hash),
        AnyHeader::Demand(own) => (&own.task, &own.model, &own.content_hash),
        AnyHeader::Intent(own) => (&own.task, &own.model, &own.content_hash),
        AnyHeader::Question(own) => (&own.task, &own.model, &own.content_hash),
    };
    let (name, model, version) = (task.clone(), model.clone(), version.clone());
    Ok(Inspected { name, model, version, signed_by })
}
