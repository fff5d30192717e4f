//! A file that a thread of its own writes: who makes the bytes does not wait for them.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use bytemuck::{NoUninit, cast_slice};
use sha2::{Digest, Sha256};

use crate::error::DataError;
use crate::storage::to_hex;

/// Bytes that are handed to the thread at once.
const BLOCK: usize = 1 << 18;

/// Blocks that may wait for the thread.
const QUEUE: usize = 2;

/// A file in the making. Not synced: that is for whoever puts it in place.
///
/// # Cost
/// A thread that mostly sleeps, and up to four blocks of 256 KiB.
#[derive(Debug)]
pub struct BackgroundFile {
    path: PathBuf,
    block: Vec<u8>,
    /// `None` once the thread has ended.
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    handle: JoinHandle<io::Result<WrittenFile>>,
}

/// What a [`BackgroundFile`] became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// Size.
    pub n_bytes: u64,
    /// SHA-256 in hexadecimal digits; `None` if it was not asked for.
    pub sha256: Option<String>,
}

impl BackgroundFile {
    /// Creates the file, or empties one that exists; `hashes`: whether its SHA-256 is wanted.
    ///
    /// # Errors
    /// [`DataError::Io`] if the file cannot be made or the thread cannot be started.
    pub fn create(path: &Path, hashes: bool) -> Result<Self, DataError> {
        let file = File::create(path).map_err(DataError::io("create", path))?;
        let (full, blocks) = sync_channel(QUEUE);
        let (back, empty) = channel();
        let handle = std::thread::Builder::new()
            .name("forecart-write".into())
            .spawn(move || write_blocks(file, hashes, &blocks, &back))
            .map_err(DataError::io("start a thread to write", path))?;
        let thread = Some(Thread { full, empty, handle });
        Ok(Self { path: path.to_owned(), block: Vec::with_capacity(BLOCK), thread })
    }

    /// Appends values as their bytes.
    ///
    /// # Errors
    /// [`DataError::Io`] if an earlier block could not be written.
    pub fn push<T: NoUninit>(&mut self, values: &[T]) -> Result<(), DataError> {
        self.block.extend_from_slice(cast_slice(values));
        if self.block.len() < BLOCK { Ok(()) } else { self.hand_over() }
    }

    fn hand_over(&mut self) -> Result<(), DataError> {
        let Some(thread) = &self.thread else { return Ok(()) };
        let next = thread.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BLOCK));
        let block = std::mem::replace(&mut self.block, next);
        // Nobody receives once a write has failed: the thread's result says why.
        match thread.full.send(block) {
            Ok(()) => Ok(()),
            Err(_) => self.end().map(|_| ()),
        }
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// [`DataError::Io`] if it could not be.
    pub fn finish(mut self) -> Result<WrittenFile, DataError> {
        self.hand_over()?;
        self.end()
    }

    fn end(&mut self) -> Result<WrittenFile, DataError> {
        let gone = || io::Error::other("an earlier write failed");
        let ended = match self.thread.take() {
            Some(Thread { full, handle, .. }) => {
                drop(full);
                handle.join().unwrap_or_else(|_| Err(gone()))
            }
            None => Err(gone()),
        };
        ended.map_err(DataError::io("write", &self.path))
    }
}

fn write_blocks(
    mut file: File,
    hashes: bool,
    blocks: &Receiver<Vec<u8>>,
    back: &Sender<Vec<u8>>,
) -> io::Result<WrittenFile> {
    let mut hash = hashes.then(Sha256::new);
    let mut n_bytes = 0;
    for mut block in blocks {
        file.write_all(&block)?;
        n_bytes += block.len() as u64;
        if let Some(hash) = &mut hash {
            hash.update(&block);
        }
        block.clear();
        // The file may be dropped unfinished: then nobody wants the block back.
        let _ = back.send(block);
    }
    Ok(WrittenFile { n_bytes, sha256: hash.map(|hash| to_hex(&hash.finalize())) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage;

    #[test]
    fn what_was_pushed_is_in_the_file_with_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values");
        let values: Vec<u32> = (0..300_000).collect();
        let mut file = BackgroundFile::create(&path, true).unwrap();
        for part in values.chunks(777) {
            file.push(part).unwrap();
        }
        let written = file.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes, cast_slice::<u32, u8>(&values));
        assert_eq!(written.n_bytes, bytes.len() as u64);
        assert_eq!(written.sha256, Some(storage::sha256(&bytes)));
        let empty = BackgroundFile::create(&path, false).unwrap().finish().unwrap();
        assert_eq!(empty, WrittenFile { n_bytes: 0, sha256: None });
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let mut file = BackgroundFile::create(Path::new("/dev/full"), false).unwrap();
        let block = vec![0u8; BLOCK];
        let failed = (0..100).find_map(|_| file.push(&block).err());
        let error = failed.expect("nothing can be written to it").to_string();
        assert!(error.contains("/dev/full") && error.contains("write"), "{error}");
        assert!(file.finish().is_err());
    }
}
