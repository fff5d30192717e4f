//! A safetensors file written and read one tensor at a time, so that it costs the memory of its largest tensor.
//!
//! ```text
//! safetensors
//!   __metadata__
//!     forecart-checkpoint   {"content_hash": ..., "header": the header, as JSON text}
//!   ...                     tensors
//! ```
//! The content hash covers the header and all tensors.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use forecart_data::DataError;
use forecart_data::storage::{self, Replacement};
use safetensors::tensor::{Dtype, Metadata, TensorInfo, View};
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::model_file::container;
use crate::tensors::Tensors;

const KEY: &str = "forecart-checkpoint";

/// What `__metadata__` holds.
#[derive(Serialize, Deserialize)]
struct Envelope {
    content_hash: String,
    header: String,
}

/// A tensor whose bytes are made when they are asked for.
pub(super) struct Lazy<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Box<dyn Fn() -> Vec<u8> + 'a>,
}

impl<'a> Lazy<'a> {
    pub(super) fn f32(shape: Vec<usize>, bytes: impl Fn() -> Vec<u8> + 'a) -> Self {
        Self { dtype: Dtype::F32, shape, bytes: Box::new(bytes) }
    }

    pub(super) fn u32(values: &'a [u32]) -> Self {
        let bytes = || values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: Dtype::U32, shape: vec![values.len()], bytes: Box::new(bytes) }
    }
}

/// Little-endian bytes.
pub(super) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

impl View for &Lazy<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned((self.bytes)())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * 4
    }
}

/// Puts a file of `header` and `tensors` in the place of `path`; a kill at any moment leaves the older one or the new.
pub(super) fn write(
    path: &Path,
    header: &impl Serialize,
    tensors: &BTreeMap<String, Lazy<'_>>,
) -> Result<(), ModelError> {
    let unwritable = |error: &dyn std::fmt::Display| damaged(path, error.to_string());
    let header = serde_json::to_string(header).map_err(|error| unwritable(&error))?;
    let digest = |(name, lazy): (&String, &Lazy<'_>)| {
        (name.clone(), digest(lazy.dtype, &lazy.shape, &(lazy.bytes)()))
    };
    let content_hash = content_hash(&header, &tensors.iter().map(digest).collect());
    let envelope = serde_json::to_string(&Envelope { content_hash, header });
    let envelope = envelope.map_err(|error| unwritable(&error))?;
    let metadata = HashMap::from([(KEY.to_owned(), envelope)]);
    let file = Replacement::file_in_folder(path)?;
    safetensors::serialize_to_file(tensors, Some(metadata), file.path())
        .map_err(|error| unwritable(&error))?;
    Ok(file.commit()?)
}

/// A file whose header was read and whose tensors were not yet.
pub(super) struct Opened {
    file: File,
    metadata: Metadata,
    content_hash: String,
    /// The header, as JSON text.
    pub(super) header: String,
}

/// Opens the file at `path`; `None` if there is none.
pub(super) fn open(path: &Path) -> Result<Option<Opened>, ModelError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(DataError::io("read", path))?,
    };
    let n_bytes = file.metadata().map_err(DataError::io("read", path))?.len();
    let mut first = [0; 8];
    let n_rest = n_bytes.checked_sub(first.len() as u64);
    let n_rest = n_rest.ok_or_else(|| damaged(path, "it is shorter than any checkpoint"))?;
    file.read_exact(&mut first).map_err(DataError::io("read", path))?;
    let n_json = container::json_len(first, n_rest).map_err(|error| within(path, error))?;
    let mut json = vec![0; n_json];
    file.read_exact(&mut json).map_err(DataError::io("read", path))?;
    let metadata: Metadata = serde_json::from_slice(&json)
        .map_err(|error| damaged(path, format!("not safetensors: {error}")))?;
    let envelope = metadata.metadata().as_ref().and_then(|entries| entries.get(KEY));
    let envelope = envelope.ok_or_else(|| damaged(path, "safetensors, but no checkpoint"))?;
    let Envelope { content_hash, header } =
        serde_json::from_str(envelope).map_err(|error| damaged(path, error.to_string()))?;
    if n_rest - n_json as u64 != metadata.data_len() as u64 {
        return Err(damaged(path, "it has other than the bytes that its header says"));
    }
    Ok(Some(Opened { file, metadata, content_hash, header }))
}

impl Opened {
    /// All tensors, checked against the content hash.
    pub(super) fn tensors(mut self, path: &Path) -> Result<Tensors, ModelError> {
        let mut infos: Vec<(String, &TensorInfo)> = self.metadata.tensors().into_iter().collect();
        infos.sort_by_key(|(_, info)| info.data_offsets); // they follow each other, as `Metadata` checks
        let (mut tensors, mut digests) = (Tensors::default(), BTreeMap::new());
        for (name, info) in infos {
            let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
            self.file.read_exact(&mut bytes).map_err(DataError::io("read", path))?;
            digests.insert(name.clone(), digest(info.dtype, &info.shape, &bytes));
            let tensor = container::tensor(&name, info, &bytes);
            tensors.insert_checked(name, tensor.map_err(|error| within(path, error))?);
        }
        if content_hash(&self.header, &digests) != self.content_hash {
            return Err(damaged(path, "its content does not have the hash that it says"));
        }
        Ok(tensors)
    }
}

fn digest(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> String {
    format!("{dtype} {shape:?} {}", storage::sha256(bytes))
}

/// SHA-256 over the header, and the name and digest of each tensor.
fn content_hash(header: &str, digests: &BTreeMap<String, String>) -> String {
    let mut listed = format!("{header}\n");
    for (name, digest) in digests {
        listed.push_str(&format!("{name:?} {digest}\n"));
    }
    storage::sha256(listed.as_bytes())
}

pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> ModelError {
    ModelError::DamagedCheckpoint { path: path.to_owned(), reason: reason.into() }
}

/// What is wrong with the bytes of a file, said of the checkpoint at `path`.
pub(super) fn within(path: &Path, error: ModelError) -> ModelError {
    match error {
        ModelError::Damaged { reason, .. } => damaged(path, reason),
        other => other,
    }
}
