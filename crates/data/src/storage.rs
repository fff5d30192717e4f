//! Writing so that a kill at any moment leaves the last good file or folder in place.
//!
//! Everything is written under a temporary name beside its target, synced, and then takes the
//! target's place in one rename (an atomic exchange where the target is a folder that exists).
//! The writer holds an advisory lock on the temporary; the system releases it when the process
//! dies, however it dies, and the next writer of the same target removes what is unlocked. So
//! nothing piles up, and two live writers do not remove each other's work.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::error::DataError;

const MARK: &str = ".forecart-tmp-";

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file or folder in the making, which [`Replacement::commit`] puts in the place of its target.
///
/// Dropped without a commit, it removes what was written and the target stays as it was.
#[derive(Debug)]
pub struct Replacement {
    target: PathBuf,
    temporary: PathBuf,
    /// What takes the target's place: the temporary, or the one file in it.
    made: PathBuf,
    lock: Option<File>,
}

impl Replacement {
    /// Starts a folder that will replace `target`; creates the parent folders.
    ///
    /// # Errors
    /// [`DataError::Io`] if the temporary folder cannot be made.
    pub fn folder(target: &Path) -> Result<Self, DataError> {
        let temporary = prepare_temporary(target)?;
        fs::create_dir(&temporary).map_err(DataError::io("create", &temporary))?;
        Self::locked(target, temporary)
    }

    /// Starts a file that will replace `target`; creates the parent folders and an empty file.
    ///
    /// # Errors
    /// [`DataError::Io`] if the temporary file cannot be made.
    pub fn file(target: &Path) -> Result<Self, DataError> {
        let temporary = prepare_temporary(target)?;
        File::create_new(&temporary).map_err(DataError::io("create", &temporary))?;
        Self::locked(target, temporary)
    }

    /// Starts a file in a temporary folder of its own, for writers that put temporaries of theirs beside what they write: they
    /// go with the folder, after a kill too. The file is not there yet.
    ///
    /// # Errors
    /// [`DataError::Io`] if the temporary folder cannot be made.
    pub fn file_in_folder(target: &Path) -> Result<Self, DataError> {
        let mut folder = Self::folder(target)?;
        folder.made = folder.temporary.join("file");
        Ok(folder)
    }

    fn locked(target: &Path, temporary: PathBuf) -> Result<Self, DataError> {
        // A file system without locks (some network mounts) only loses the protection of live
        // temporaries from a second writer of the same target.
        let lock = File::open(&temporary).ok().filter(|file| file.try_lock().is_ok());
        Ok(Self { target: target.to_owned(), made: temporary.clone(), temporary, lock })
    }

    /// Where to write: the folder to fill, or the file to write to.
    pub fn path(&self) -> &Path {
        &self.made
    }

    /// Syncs what was written and puts it in the target's place.
    ///
    /// # Errors
    /// [`DataError::Io`] if anything cannot be synced or renamed; the target is then as it was.
    pub fn commit(mut self) -> Result<(), DataError> {
        sync_tree(&self.made)?;
        replace(&self.made, &self.target).map_err(DataError::io("replace", self.target.clone()))?;
        if let Some(parent) = parent_of(&self.target) {
            sync(parent)?;
        }
        self.lock = None;
        // After an exchange the temporary name holds the old folder; one around a file is still there.
        remove(&self.temporary);
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        self.lock = None;
        remove(&self.temporary);
    }
}

/// A folder for intermediate files that is gone when this value is, or, after a kill, when the
/// next one is made in the same parent.
#[derive(Debug)]
pub struct Scratch {
    folder: Replacement,
}

impl Scratch {
    /// A fresh folder in `parent`, which is created if it is missing.
    ///
    /// # Errors
    /// [`DataError::Io`] if the folder cannot be made.
    pub fn new(parent: &Path) -> Result<Self, DataError> {
        Ok(Self { folder: Replacement::folder(&parent.join("forecart-scratch"))? })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Writes `bytes` to `path` by way of a [`Replacement`].
///
/// # Errors
/// [`DataError::Io`] if it cannot be written; an older file is then as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let replacement = Replacement::file(path)?;
    fs::write(replacement.path(), bytes).map_err(DataError::io("write", path))?;
    replacement.commit()
}

/// Deletes the file at `path`, if there is one, and what killed writers of it have left.
///
/// # Errors
/// [`DataError::Io`] if the file is there and cannot be deleted.
pub fn remove_file(path: &Path) -> Result<(), DataError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(DataError::io("delete", path)(error));
        }
        _ => {}
    }
    if let (Some(parent), Some(name)) = (parent_of(path), path.file_name()) {
        remove_dead_temporaries(parent, &temporary_prefix(name));
    }
    Ok(())
}

/// SHA-256 of a file, as lowercase hexadecimal; reads in pieces of 1 MiB.
///
/// # Errors
/// [`DataError::Io`] if the file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String, DataError> {
    let mut file = File::open(path).map_err(DataError::io("read", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hasher.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DataError::io("read", path)(error)),
        }
    }
    Ok(to_hex(&hasher.finalize()))
}

/// SHA-256 of `bytes`, as lowercase hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn parent_of(path: &Path) -> Option<&Path> {
    path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}

/// Creates the parent folder, removes dead temporaries of the same target and names a new one.
fn prepare_temporary(target: &Path) -> Result<PathBuf, DataError> {
    let (Some(parent), Some(name)) = (parent_of(target), target.file_name()) else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
        return Err(DataError::io("write", target)(source));
    };
    fs::create_dir_all(parent).map_err(DataError::io("create", parent))?;
    let prefix = temporary_prefix(name);
    remove_dead_temporaries(parent, &prefix);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    Ok(parent.join(format!("{prefix}{}-{number}", std::process::id())))
}

/// What the names of the temporaries of a file or folder begin with.
fn temporary_prefix(name: &OsStr) -> String {
    format!(".{}{MARK}", name.to_string_lossy())
}

fn remove_dead_temporaries(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let dead = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if dead {
            remove(&entry.path());
        }
    }
}

/// Best effort: what cannot be removed now is removed by the next writer.
fn remove(path: &Path) {
    let _ = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
}

fn sync(path: &Path) -> Result<(), DataError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(DataError::io("sync", path))
}

fn sync_tree(path: &Path) -> Result<(), DataError> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(DataError::io("read", path))? {
            sync_tree(&entry.map_err(DataError::io("read", path))?.path())?;
        }
    }
    sync(path)
}

fn replace(temporary: &Path, target: &Path) -> io::Result<()> {
    if !target.is_dir() {
        return fs::rename(temporary, target);
    }
    if exchange(temporary, target).is_ok() {
        return Ok(());
    }
    // Without an atomic exchange there is a moment in which the target has its temporary name.
    let aside = temporary.with_extension("old");
    fs::rename(target, &aside)?;
    fs::rename(temporary, target).inspect_err(|_| {
        let _ = fs::rename(&aside, target);
    })?;
    remove(&aside);
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn exchange(temporary: &Path, target: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, temporary, CWD, target, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_takes_the_place_of_an_older_one_and_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("dataset");
        for content in ["old", "new"] {
            let replacement = Replacement::folder(&target).unwrap();
            fs::write(replacement.path().join("file"), content).unwrap();
            replacement.commit().unwrap();
        }
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "new");
        assert_eq!(names(root.path()), ["dataset"]);
    }

    #[test]
    fn an_abandoned_replacement_leaves_the_target_and_no_temporary() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        write_file(&target, b"good").unwrap();
        let replacement = Replacement::file(&target).unwrap();
        fs::write(replacement.path(), "half").unwrap();
        drop(replacement);
        assert_eq!(fs::read(&target).unwrap(), b"good");
        assert_eq!(names(root.path()), ["model"]);
    }

    #[test]
    fn a_dead_temporary_is_removed_and_a_live_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("log");
        fs::create_dir(root.path().join(".log.forecart-tmp-1-0")).unwrap();
        let live = Replacement::folder(&target).unwrap();
        let second = Replacement::folder(&target).unwrap();
        assert!(live.path().exists() && second.path().exists());
        assert_eq!(names(root.path()).len(), 2);
    }

    #[test]
    fn what_a_writer_leaves_beside_a_file_goes_with_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("state");
        fs::write(&target, "old").unwrap();
        let killed = root.path().join(".state.forecart-tmp-1-0");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join(".tmp123"), "half").unwrap();
        let replacement = Replacement::file_in_folder(&target).unwrap();
        fs::write(replacement.path(), "new").unwrap();
        fs::write(replacement.path().with_extension("tmp"), "half").unwrap();
        replacement.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(root.path()), ["state"]);
    }

    #[test]
    fn removing_a_file_takes_what_killed_writers_left_of_it_and_of_no_other() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("state");
        for name in ["state", ".state.forecart-tmp-1-0", ".other.forecart-tmp-1-0"] {
            fs::write(root.path().join(name), "x").unwrap();
        }
        remove_file(&target).unwrap();
        assert_eq!(names(root.path()), [".other.forecart-tmp-1-0"]);
        remove_file(&target).unwrap();
        remove_file(&root.path().join("no folder").join("state")).unwrap();
    }

    #[test]
    fn hash_of_a_known_text() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), abc);
    }
}
