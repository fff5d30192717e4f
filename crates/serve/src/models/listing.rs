//! The files that were looked at, each with what came of it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use forecart_models::ModelError;
use forecart_models::model_file::{self, AnyHeader};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Live, ServedModelError, TOGETHER};
use crate::trusted::Trusted;

/// How files of models end, where a folder of them is given.
const EXTENSION: &str = "forecart";
/// Shortest part of a version's hash that names it.
const MIN_VERSION_CHARS: usize = 6;

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

/// A file that is not served, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LeftOut {
    /// The file's name.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A file that was looked at.
#[derive(Debug)]
enum Listed {
    /// A model that may be served.
    Model(Found),
    /// It is no model.
    Unreadable { path: PathBuf, left_out: LeftOut },
    /// A model that is not of who is trusted, by what its header says, which may be anything.
    Refused { path: PathBuf, slot: String, version: String, left_out: LeftOut },
}

impl Listed {
    fn new(path: PathBuf, trusted: &Trusted, live: &Live) -> Self {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Inspected { name, model, version, signed_by } = match inspected(&path) {
            Ok(inspected) => inspected,
            Err(error) => {
                let left_out = LeftOut { file, reason: error.to_string() };
                return Self::Unreadable { path, left_out };
            }
        };
        if let Some(reason) = trusted.refusal(&path) {
            let left_out = LeftOut { file, reason };
            return Self::Refused { path, slot: name, version, left_out };
        }
        let is_live = live.in_slot(&name).is_some_and(|(_, own)| own == version);
        let written = std::fs::metadata(&path).and_then(|own| own.modified()).ok();
        Self::Model(Found { name, model, version, file, signed_by, is_live, path, written })
    }

    fn model(&self) -> Option<&Found> {
        match self {
            Self::Model(found) => Some(found),
            Self::Unreadable { .. } | Self::Refused { .. } => None,
        }
    }

    /// Where it is and what is wrong with it, if it may not be served.
    fn left_out(&self) -> Option<(&Path, &LeftOut)> {
        match self {
            Self::Model(_) => None,
            Self::Unreadable { path, left_out } | Self::Refused { path, left_out, .. } => {
                Some((path, left_out))
            }
        }
    }
}

/// All files that were looked at once: the models by slot, the newest first; beside them what is left out, by path.
#[derive(Debug, Default)]
pub(super) struct Listing(Vec<Listed>);

impl Listing {
    pub(super) fn new(files: Vec<PathBuf>, trusted: &Trusted, live: &Live) -> Self {
        trusted.keep_only(&files);
        let mut listed: Vec<Listed> =
            files.into_iter().map(|path| Listed::new(path, trusted, live)).collect();
        // What is left out is alike here, and a sort that is stable keeps it by path.
        listed.sort_by(|a, b| match (a.model(), b.model()) {
            (Some(a), Some(b)) => {
                a.name.cmp(&b.name).then(b.written.cmp(&a.written)).then(a.file.cmp(&b.file))
            }
            (a, b) => a.is_none().cmp(&b.is_none()),
        });
        Self(listed)
    }

    /// The models that may be served.
    pub(super) fn models(&self) -> impl Iterator<Item = &Found> {
        self.0.iter().filter_map(Listed::model)
    }

    /// What may not.
    pub(super) fn left_out(&self) -> impl Iterator<Item = &LeftOut> {
        self.0.iter().filter_map(|own| Some(own.left_out()?.1))
    }

    /// Whether a file was looked at and may not be served.
    pub(super) fn leaves_out(&self, path: &Path) -> bool {
        self.0.iter().filter_map(Listed::left_out).any(|(own, _)| own == path)
    }

    /// The file of a version, or of a name.
    pub(super) fn version(&self, slot: &str, version: &str) -> Result<&Found, ServedModelError> {
        let of_slot = || self.models().filter(|own| own.name == slot);
        let (slot_name, asked) = (slot.to_owned(), version.to_owned());
        let mut named = of_slot().filter(|own| is_named(version, &own.file, &own.version));
        match (named.next(), named.next()) {
            (Some(one), None) => Ok(one),
            (Some(one), Some(other)) if one.version == other.version => Ok(one),
            (Some(_), Some(_)) => {
                Err(ServedModelError::Ambiguous { slot: slot_name, version: asked })
            }
            (None, _) => {
                if let Some(reason) = self.refusal(slot, version) {
                    return Err(ServedModelError::Refused { reason: reason.to_owned() });
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

    /// Why the file of a version, or of a name, is not of who is trusted.
    fn refusal(&self, asked_slot: &str, asked: &str) -> Option<&str> {
        self.0.iter().find_map(|own| match own {
            Listed::Refused { slot, version, left_out, .. }
                if slot == asked_slot && is_named(asked, &left_out.file, version) =>
            {
                Some(left_out.reason.as_str())
            }
            _ => None,
        })
    }
}

/// The files that `paths` name, and those of models in the folders among them, each once.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ServedModelError> {
    let mut files = Vec::new();
    for path in paths {
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
