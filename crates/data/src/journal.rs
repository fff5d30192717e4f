//! An append-only file of lines that outlives a kill at any moment.
//!
//! [`crate::storage`] replaces whole files; a journal grows. Each line carries the beginning of its own SHA-256 and is on
//! the disk before [`Journal::append`] returns, so what a kill can spoil is the last line alone: it is cut off when the
//! journal is opened again. A line that is wrong anywhere else is damage, and an error.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::storage;

/// Hexadecimal digits of each line's hash.
const HASH_DIGITS: usize = 16;

/// An open journal; no other process can open it while this one lives.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens or creates the journal at `path` and reads its lines, oldest first.
    ///
    /// # Errors
    /// [`DataError::Io`] if it cannot be read or another process has it open, [`DataError::DamagedJournal`] if a line that is
    /// not the last one is not what was written.
    pub fn open(path: &Path) -> Result<(Self, Vec<String>), DataError> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(DataError::io("create", parent))?;
        }
        let options = OpenOptions::new().read(true).append(true).create(true).open(path);
        let mut file = options.map_err(DataError::io("open", path))?;
        // Where a file system has no locks, two writers are not kept apart.
        if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
            let held = std::io::Error::other("another process is writing it");
            return Err(DataError::io("open", path)(held));
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).map_err(DataError::io("read", path))?;
        file.read_to_end(&mut bytes).map_err(DataError::io("read", path))?;
        let (lines, n_good) = parse(&bytes, path)?;
        if n_good < bytes.len() {
            file.set_len(n_good as u64).map_err(DataError::io("repair", path))?;
            file.sync_all().map_err(DataError::io("sync", path))?;
        }
        Ok((Self { path: path.to_owned(), file }, lines))
    }

    /// Adds a line; when this returns, it is on the disk.
    ///
    /// # Errors
    /// [`DataError::Io`] if it cannot be written.
    ///
    /// # Panics
    /// If `line` holds a line break.
    pub fn append(&mut self, line: &str) -> Result<(), DataError> {
        assert!(!line.contains('\n'), "a journal's line has no line break");
        let text = format!("{} {line}\n", hash(line));
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(DataError::io("write", &self.path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn hash(line: &str) -> String {
    let mut hash = storage::sha256(line.as_bytes());
    hash.truncate(HASH_DIGITS);
    hash
}

/// The good lines and how many bytes they take; only the last line may be bad.
fn parse(bytes: &[u8], path: &Path) -> Result<(Vec<String>, usize), DataError> {
    let mut lines = Vec::new();
    let mut n_good = 0;
    while n_good < bytes.len() {
        let rest = &bytes[n_good..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
        let text = std::str::from_utf8(&rest[..end]).ok();
        let line = text.and_then(|text| text.split_once(' '));
        match line.filter(|(own, line)| *own == hash(line)) {
            Some((_, line)) => lines.push(line.to_owned()),
            None if end + 1 == rest.len() => break,
            None => {
                let line = lines.len() + 1;
                return Err(DataError::DamagedJournal { path: path.to_owned(), line });
            }
        }
        n_good += end + 1;
    }
    Ok((lines, n_good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_and_a_torn_one_is_cut_off_wherever_it_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/trials.journal");
        let (mut journal, lines) = Journal::open(&path).unwrap();
        assert!(lines.is_empty());
        for line in ["one", "zwei 二", ""] {
            journal.append(line).unwrap();
        }
        assert!(Journal::open(&path).is_err(), "one writer at a time");
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for n in last..whole.len() {
            std::fs::write(&path, &whole[..n]).unwrap();
            let (mut journal, lines) = Journal::open(&path).unwrap();
            assert_eq!(lines, ["one", "zwei 二"], "{n} bytes");
            journal.append("again").unwrap();
            drop(journal);
            assert_eq!(Journal::open(&path).unwrap().1, ["one", "zwei 二", "again"]);
        }
    }

    #[test]
    fn damage_before_the_last_line_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        ["one", "two", "three"].iter().for_each(|line| journal.append(line).unwrap());
        drop(journal);
        let text = std::fs::read_to_string(&path).unwrap().replace("two", "tow");
        std::fs::write(&path, text).unwrap();
        let error = Journal::open(&path).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
