//! From tensors and a header to bytes and back, with every length checked.

use std::borrow::Cow;
use std::collections::HashMap;

use forecart_data::storage::sha256;
use safetensors::tensor::{Dtype, Metadata, TensorInfo, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::header::{FORMAT, FORMAT_VERSION, FileHeader};
use crate::error::ModelError;
use crate::tensors::{Tensor, TensorData, Tensors};

/// The key of the header in the file's `__metadata__`. One key alone: several would be written in
/// the order of a hash map. A signature is put before it afterwards (`signing`).
const KEY: &str = "forecart-model";

/// A header text begins with this, then 64 hexadecimal digits.
const HASH_PREFIX: &str = "{\"content_hash\":\"";

/// The format's own bound on its JSON part.
const MAX_JSON_BYTES: usize = 100_000_000;

/// A tensor of a file, as [`super::inspect`] lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// Type of its values, as safetensors writes it: `F32`.
    pub dtype: String,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Its size.
    pub n_bytes: usize,
}

/// Tensors alone as the bytes of a safetensors file, without the header that makes it a model file.
pub(crate) fn to_safetensors(tensors: &Tensors) -> Result<Vec<u8>, ModelError> {
    let views = tensors.iter().map(|(name, tensor)| (name.to_owned(), Bytes::from(tensor)));
    safetensors::serialize(views, None).map_err(|error| ModelError::damaged(error.to_string()))
}

/// The bytes of a file, and the header with its content hash filled in.
pub(super) fn write<H: FileHeader>(
    header: &H,
    tensors: &Tensors,
) -> Result<(Vec<u8>, H), ModelError> {
    let unwritable = |error: &dyn std::fmt::Display| ModelError::damaged(error.to_string());
    let views: Vec<(String, Bytes)> =
        tensors.iter().map(|(name, tensor)| (name.to_owned(), Bytes::from(tensor))).collect();
    let mut header = header.clone();
    *header.content_hash_mut() = "0".repeat(64);
    let text = serde_json::to_string(&header).map_err(|error| unwritable(&error))?;
    let hashed = views.iter().map(|(name, view)| {
        (name.as_str(), view.dtype, view.shape.as_slice(), view.bytes.as_slice())
    });
    *header.content_hash_mut() = content_hash(without_hash(&text)?.1, hashed);
    let text = serde_json::to_string(&header).map_err(|error| unwritable(&error))?;
    let metadata = HashMap::from([(KEY.to_owned(), text)]);
    let bytes =
        safetensors::serialize(views, Some(metadata)).map_err(|error| unwritable(&error))?;
    Ok((bytes, header))
}

/// Refuses what is no whole model file of a version that this program reads.
pub(super) fn check_whole(bytes: &[u8]) -> Result<(), ModelError> {
    whole(bytes).map(drop)
}

/// What the JSON of a file tells, and its values, checked against the content hash.
fn whole(bytes: &[u8]) -> Result<(Front, &[u8]), ModelError> {
    let (json, data) = split(bytes)?;
    let front = Front::parse(json)?;
    front.check_data_len(data.len())?;
    let values = |info: &TensorInfo| &data[info.data_offsets.0..info.data_offsets.1];
    let infos = front.tensors();
    let hashed = infos
        .iter()
        .map(|(name, info)| (name.as_str(), info.dtype, info.shape.as_slice(), values(info)));
    let (stored, rest) = without_hash(&front.text)?;
    let found = content_hash(rest, hashed);
    if found != stored {
        let reason = format!("its content has the hash {found}, its header says {stored:.64}");
        return Err(ModelError::damaged(reason));
    }
    Ok((front, data))
}

/// The header and the tensors of a file.
pub(super) fn read<H: FileHeader>(bytes: &[u8]) -> Result<(H, Tensors), ModelError> {
    let (front, data) = whole(bytes)?;
    let mut tensors = Tensors::default();
    for (name, info) in front.tensors() {
        let values = &data[info.data_offsets.0..info.data_offsets.1];
        let read = tensor(&name, info, values)?;
        tensors.insert_checked(name, read);
    }
    Ok((front.header()?, tensors))
}

/// The parts of a file that its JSON tells: all but the values.
#[derive(Debug)]
pub(super) struct Front {
    metadata: Metadata,
    text: String,
    task: String,
}

impl Front {
    /// Parses the JSON part.
    pub(super) fn parse(json: &[u8]) -> Result<Self, ModelError> {
        let metadata: Metadata = serde_json::from_slice(json)
            .map_err(|error| ModelError::damaged(format!("not safetensors: {error}")))?;
        let text = metadata
            .metadata()
            .as_ref()
            .and_then(|entries| entries.get(KEY))
            .ok_or_else(|| ModelError::damaged("safetensors, but not written by forecart"))?
            .clone();
        let task = checked_task(&text)?;
        Ok(Self { metadata, text, task })
    }

    /// The header of a model for the tasks that `H` is of.
    pub(super) fn header<H: FileHeader>(&self) -> Result<H, ModelError> {
        if !H::is_of(&self.task) {
            let (found, expected) = (self.task.clone(), H::TASKS);
            return Err(ModelError::OtherTask { path: "model file".into(), found, expected });
        }
        serde_json::from_str(&self.text).map_err(|error| unreadable(&error))
    }

    /// What the model is for.
    pub(super) fn task(&self) -> &str {
        &self.task
    }

    /// Refuses a file whose values are fewer or more than the JSON says.
    pub(super) fn check_data_len(&self, n_bytes: usize) -> Result<(), ModelError> {
        let expected = self.metadata.data_len();
        if n_bytes == expected {
            return Ok(());
        }
        let reason = format!("it holds {n_bytes} bytes of values, its header says {expected}");
        Err(ModelError::damaged(reason))
    }

    /// Tensors in the order of their names. Their ranges are within the values, and their shapes
    /// fit them, which `Metadata` checks when it is parsed.
    fn tensors(&self) -> Vec<(String, &TensorInfo)> {
        let mut infos: Vec<_> = self.metadata.tensors().into_iter().collect();
        infos.sort_by(|a, b| a.0.cmp(&b.0));
        infos
    }

    /// Tensors as they are listed for people.
    pub(super) fn entries(&self) -> Vec<TensorEntry> {
        let entry = |(name, info): (String, &TensorInfo)| TensorEntry {
            name,
            dtype: info.dtype.to_string(),
            shape: info.shape.clone(),
            n_bytes: info.data_offsets.1 - info.data_offsets.0,
        };
        self.tensors().into_iter().map(entry).collect()
    }
}

/// Length of the JSON part, checked against what there is: `n_rest` bytes after the first eight.
pub(crate) fn json_len(first: [u8; 8], n_rest: u64) -> Result<usize, ModelError> {
    let n_json = u64::from_le_bytes(first);
    usize::try_from(n_json)
        .ok()
        .filter(|n| *n <= MAX_JSON_BYTES && n_json <= n_rest)
        .ok_or_else(|| ModelError::damaged("the length of its header does not fit the file"))
}

/// The length of a JSON part that is to be written.
pub(super) fn checked_json_len(n: usize) -> Result<u64, ModelError> {
    if n <= MAX_JSON_BYTES {
        return Ok(n as u64);
    }
    Err(ModelError::damaged(format!("its header has {n} bytes, at most {MAX_JSON_BYTES} may be")))
}

/// The JSON part and the values of a file.
pub(super) fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), ModelError> {
    let (first, rest) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(|| ModelError::damaged("it is shorter than any model file"))?;
    Ok(rest.split_at(json_len(*first, rest.len() as u64)?))
}

fn unreadable(error: &serde_json::Error) -> ModelError {
    ModelError::damaged(format!("header: {error}"))
}

/// What a model is for, of a header that this program can read. Alone, for a newer version may have a header that this
/// program cannot read as a whole.
fn checked_task(text: &str) -> Result<String, ModelError> {
    #[derive(Deserialize)]
    struct Version {
        format: String,
        format_version: u32,
        forecart_version: String,
    }
    #[derive(Deserialize)]
    struct Task {
        task: String,
    }
    let version: Version = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    if version.format != FORMAT {
        return Err(ModelError::damaged(format!("its `format` is not {FORMAT}")));
    }
    if version.format_version > FORMAT_VERSION {
        return Err(ModelError::FormatVersion {
            path: "model file".into(),
            found: version.format_version,
            supported: FORMAT_VERSION,
            forecart_version: version.forecart_version,
        });
    }
    let Task { task } = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    Ok(task)
}

/// The hash at the beginning of a header text, and the text after it.
fn without_hash(text: &str) -> Result<(&str, &str), ModelError> {
    let after = text.strip_prefix(HASH_PREFIX);
    let parts = after.and_then(|after| after.split_at_checked(64));
    parts.ok_or_else(|| ModelError::damaged("its header does not begin with a hash"))
}

/// SHA-256 over the header after its hash, and the name, type, shape and hash of each tensor.
fn content_hash<'a>(
    header: &str,
    tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>,
) -> String {
    let mut listed = format!("{header}\n");
    for (name, dtype, shape, bytes) in tensors {
        let mut hasher = Sha256::new();
        hasher.update(bytes);
        let digest: [u8; 32] = hasher.finalize().into();
        listed.push_str(&format!("{name:?} {dtype} {shape:?} {digest:?}\n"));
    }
    sha256(listed.as_bytes())
}

/// A tensor from its bytes, which are as many as its type and shape ask for.
pub(crate) fn tensor(name: &str, info: &TensorInfo, bytes: &[u8]) -> Result<Tensor, ModelError> {
    let data = match info.dtype {
        Dtype::U8 => TensorData::U8(bytes.to_vec()),
        Dtype::U32 => TensorData::U32(
            bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect(),
        ),
        Dtype::U64 => TensorData::U64(
            bytes.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect(),
        ),
        Dtype::F32 => TensorData::F32(
            bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect(),
        ),
        other => {
            let reason = format!("tensor {name:?} has the type {other}, which no model writes");
            return Err(ModelError::damaged(reason));
        }
    };
    Ok(Tensor { shape: info.shape.clone(), data })
}

struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl From<&Tensor> for Bytes {
    fn from(tensor: &Tensor) -> Self {
        let dtype = match tensor.data {
            TensorData::U8(_) => Dtype::U8,
            TensorData::U32(_) => Dtype::U32,
            TensorData::U64(_) => Dtype::U64,
            TensorData::F32(_) => Dtype::F32,
        };
        Self { dtype, shape: tensor.shape.clone(), bytes: tensor.data.to_bytes() }
    }
}

impl View for Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Gives a type with `header`, `tensors` and `from_bytes` what every model file can do: `to_bytes`, `save` and `open`, signed and trusted too.
macro_rules! as_file {
    ($file:ty) => {
        impl $file {
            /// The bytes of the model file: the same for the same model, on any machine.
            ///
            /// # Errors
            /// [`ModelError::Damaged`] if a part cannot be written, which the parts of a fitted model always can.
            pub fn to_bytes(&self) -> Result<Vec<u8>, $crate::error::ModelError> {
                Ok($crate::model_file::container::write(&self.header, &self.tensors()?)?.0)
            }

            /// Writes the model file; a kill at any moment leaves the older file or the new one.
            ///
            /// # Errors
            /// [`ModelError::Data`] if it cannot be written.
            pub fn save(&self, path: &::std::path::Path) -> Result<(), $crate::error::ModelError> {
                Ok(::forecart_data::storage::write_file(path, &self.to_bytes()?)?)
            }

            /// The same, signed where there is a key.
            ///
            /// # Errors
            /// As [`Self::save`].
            pub fn save_signed(
                &self,
                path: &::std::path::Path,
                key: Option<&$crate::model_file::SigningKey>,
            ) -> Result<(), $crate::error::ModelError> {
                let Some(key) = key else { return self.save(path) };
                let signed = $crate::model_file::signing::signed(&self.to_bytes()?, key)?;
                Ok(::forecart_data::storage::write_file(path, &signed)?)
            }

            /// Reads a model file, whoever wrote it.
            ///
            /// # Errors
            /// [`ModelError::Data`] if it cannot be read, else those of [`Self::from_bytes`], with the path.
            pub fn open(path: &::std::path::Path) -> Result<Self, $crate::error::ModelError> {
                Self::open_trusted(path, &$crate::model_file::Trust::Any)
            }

            /// Reads a model file if it is of who is trusted. The bytes that are checked are those that are loaded.
            ///
            /// # Errors
            /// [`ModelError::Refused`], else as [`Self::open`].
            pub fn open_trusted(
                path: &::std::path::Path,
                trust: &$crate::model_file::Trust,
            ) -> Result<Self, $crate::error::ModelError> {
                let bytes =
                    ::std::fs::read(path).map_err(::forecart_data::DataError::io("read", path))?;
                trust
                    .check(&bytes)
                    .and_then(|_| Self::from_bytes(&bytes))
                    .map_err(|error| $crate::model_file::inspection::with_path(error, path))
            }
        }
    };
}

pub(super) use as_file;
