//! A folder of columns with a manifest: what datasets and sample tables share on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytemuck::Pod;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::sequences::Column;
use crate::storage;

/// The file that says what a folder holds.
pub(crate) const MANIFEST: &str = "manifest.json";

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Length in bytes.
    pub n_bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// The files of a folder, by name.
pub(crate) type Files = BTreeMap<String, FileEntry>;

/// Reads the manifest in `folder`, which must say `format` and a version up to `supported`.
pub(crate) fn read_manifest<M: DeserializeOwned>(
    folder: &Path,
    format: &str,
    supported: u32,
) -> Result<M, DataError> {
    #[derive(Deserialize)]
    struct Version {
        format: String,
        format_version: u32,
    }
    let path = &folder.join(MANIFEST);
    let bytes = read(path)?;
    let damaged = |error: serde_json::Error| DataError::damaged(path, error.to_string());
    let version: Version = serde_json::from_slice(&bytes).map_err(damaged)?;
    if version.format != format {
        return Err(DataError::damaged(path, format!("its `format` is not {format}")));
    }
    if version.format_version > supported {
        return Err(DataError::FormatVersion {
            path: path.clone(),
            found: version.format_version,
            supported,
        });
    }
    serde_json::from_slice(&bytes).map_err(damaged)
}

/// What `format` the folder's manifest says, if it has one that can be read.
pub(crate) fn format_of(folder: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Format {
        format: String,
    }
    let bytes = fs::read(folder.join(MANIFEST)).ok()?;
    serde_json::from_slice::<Format>(&bytes).ok().map(|found| found.format)
}

/// Refuses files that are missing, of another length, or not plain names in the folder.
pub(crate) fn check_files(folder: &Path, files: &Files) -> Result<(), DataError> {
    for (name, entry) in files {
        let path = folder.join(name);
        let plain = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
        let found = fs::metadata(&path).map(|metadata| metadata.len()).ok();
        if !plain || found != Some(entry.n_bytes) {
            let reason = format!("the manifest says {} bytes", entry.n_bytes);
            return Err(DataError::damaged(path, reason));
        }
    }
    Ok(())
}

/// Reads every file and compares it with its hash.
pub(crate) fn verify_files(folder: &Path, files: &Files) -> Result<(), DataError> {
    for (name, entry) in files {
        let path = folder.join(name);
        if storage::sha256_file(&path)? != entry.sha256 {
            return Err(DataError::damaged(path, "its SHA-256 is not the manifest's"));
        }
    }
    Ok(())
}

/// SHA-256 over the names and hashes of all files.
pub(crate) fn content_hash(files: &Files) -> String {
    let listed: String =
        files.iter().map(|(name, entry)| format!("{name} {}\n", entry.sha256)).collect();
    storage::sha256(listed.as_bytes())
}

/// Writes a file of the folder and enters it.
pub(crate) fn write(
    folder: &Path,
    name: &str,
    bytes: &[u8],
    files: &mut Files,
) -> Result<(), DataError> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(DataError::io("write", &path))?;
    let entry = FileEntry { n_bytes: bytes.len() as u64, sha256: storage::sha256(bytes) };
    files.insert(name.to_owned(), entry);
    Ok(())
}

/// Writes the manifest, which no manifest lists.
pub(crate) fn write_manifest(folder: &Path, manifest: &impl Serialize) -> Result<(), DataError> {
    let path = folder.join(MANIFEST);
    let json = serde_json::to_vec_pretty(manifest)
        .map_err(|error| DataError::Inconsistent { reason: error.to_string() })?;
    fs::write(&path, json).map_err(DataError::io("write", &path))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    fs::read(path).map_err(DataError::io("read", path))
}

pub(crate) fn map<T: Pod>(folder: &Path, name: &str) -> Result<Column<T>, DataError> {
    Column::map(&folder.join(name))
}
