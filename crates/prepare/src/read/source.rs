//! The bytes of one input: decompressed by content, hashed as they lie on disk.
//!
//! By SHA-256; by XXH3 where the bytes are read faster than SHA-256 can follow (2 GB/s with the processor's own instructions).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use crate::PrepareError;
use crate::error::Place;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BUFFER: usize = 1 << 20;

/// A file's text, compressed or not.
pub(crate) struct Source {
    path: PathBuf,
    reader: Box<dyn Read + Send>,
    hasher: Arc<Mutex<Hasher>>,
    compression: Option<&'static str>,
}

/// By which function a file is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hashing {
    Sha256,
    Xxh3,
}

#[derive(Clone)]
enum Hasher {
    Sha256(Sha256),
    Xxh3(Box<Xxh3>),
}

impl Hasher {
    fn new(hashing: Hashing) -> Self {
        match hashing {
            Hashing::Sha256 => Self::Sha256(Sha256::new()),
            Hashing::Xxh3 => Self::Xxh3(Box::default()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Xxh3(hasher) => hasher.update(bytes),
        }
    }

    /// In hexadecimal digits; what is no SHA-256 says so.
    fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => {
                hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
            }
            Self::Xxh3(hasher) => format!("xxh3:{:032x}", hasher.digest128()),
        }
    }
}

impl Source {
    /// Opens a file and looks at its first bytes; the name plays no part.
    pub(crate) fn open(path: &Path) -> Result<Self, PrepareError> {
        Self::open_hashed(path, Hashing::Sha256)
    }

    /// The same, hashed by another function.
    pub(crate) fn open_hashed(path: &Path, hashing: Hashing) -> Result<Self, PrepareError> {
        let mut file = File::open(path).map_err(PrepareError::io("read", path))?;
        let mut magic = Vec::with_capacity(4);
        file.by_ref().take(4).read_to_end(&mut magic).map_err(PrepareError::io("read", path))?;
        Self::new(path, &magic.clone(), io::Cursor::new(magic).chain(file), hashing)
    }

    /// The same for bytes in memory.
    pub(crate) fn of_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, PrepareError> {
        let magic = bytes[..bytes.len().min(4)].to_vec();
        Self::new(Path::new(name), &magic, io::Cursor::new(bytes), Hashing::Sha256)
    }

    fn new(
        path: &Path,
        magic: &[u8],
        bytes: impl Read + Send + 'static,
        hashing: Hashing,
    ) -> Result<Self, PrepareError> {
        let hasher = Arc::new(Mutex::new(Hasher::new(hashing)));
        let hashed = Hashed { bytes, hasher: Arc::clone(&hasher) };
        let mut compression = None;
        let reader: Box<dyn Read + Send> = if magic.starts_with(GZIP) {
            compression = Some("gzip");
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, hashed)))
        } else if magic.starts_with(ZSTD) {
            compression = Some("zstd");
            let buffered = BufReader::with_capacity(BUFFER, hashed);
            let decoder = zstd::stream::read::Decoder::with_buffer(buffered);
            Box::new(decoder.map_err(PrepareError::io("read", path))?)
        } else {
            Box::new(hashed)
        };
        Ok(Self { path: path.to_owned(), reader, hasher, compression })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends up to `n_bytes` to `buffer`; returns whether the end of the input was reached.
    pub(crate) fn fill(
        &mut self,
        buffer: &mut Vec<u8>,
        n_bytes: usize,
    ) -> Result<bool, PrepareError> {
        buffer.reserve(n_bytes);
        let read = self.reader.by_ref().take(n_bytes as u64).read_to_end(buffer);
        match (read, self.compression) {
            (Ok(n_read), _) => Ok(n_read < n_bytes),
            (Err(error), None) => Err(PrepareError::io("read", &self.path)(error)),
            (Err(error), Some(compression)) => Err(PrepareError::input(
                Place::file(&self.path),
                format!("damaged or cut-off {compression} data ({error})"),
                "copy the file again, or decompress it by hand to see how far it goes",
            )),
        }
    }

    /// Hash of the file's bytes, once all of it was read.
    pub(crate) fn hash(&self) -> String {
        self.hasher.lock().unwrap_or_else(PoisonError::into_inner).clone().finish()
    }
}

struct Hashed<R> {
    bytes: R,
    hasher: Arc<Mutex<Hasher>>,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.bytes.read(buffer)?;
        self.hasher.lock().unwrap_or_else(PoisonError::into_inner).update(&buffer[..n]);
        Ok(n)
    }
}
