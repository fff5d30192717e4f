//! Text cut into blocks of whole records.

use std::path::{Path, PathBuf};

use memchr::memchr_iter;

use super::records::{Dialect, last_cut};
use super::source::Source;
use crate::PrepareError;
use crate::error::Place;

/// Whole records of one file.
#[derive(Debug)]
pub(crate) struct TextBlock {
    pub(crate) bytes: Vec<u8>,
    /// Line of the first record, from 1.
    pub(crate) first_line: u64,
}

/// Cuts a source into blocks of about `block_bytes`, at ends of records.
pub(crate) struct Blocks {
    source: Source,
    /// Read and not yet handed out; begins with a record.
    ahead: Vec<u8>,
    is_at_end: bool,
    line: u64,
    block_bytes: usize,
    max_line_bytes: usize,
}

const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

impl Blocks {
    /// Opens a source and reads its head: 256 KiB or all of it.
    pub(crate) fn open(
        source: Source,
        block_bytes: usize,
        max_line_bytes: usize,
    ) -> Result<Self, PrepareError> {
        let mut blocks = Self {
            source,
            ahead: Vec::new(),
            is_at_end: false,
            line: 1,
            block_bytes: block_bytes.max(1),
            max_line_bytes,
        };
        blocks.is_at_end = blocks.source.fill(&mut blocks.ahead, 256 << 10)?;
        if blocks.ahead.starts_with(BYTE_ORDER_MARK) {
            blocks.ahead.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(blocks)
    }

    pub(crate) fn path(&self) -> &Path {
        self.source.path()
    }

    /// What was read and not yet handed out, and whether that is all there is.
    pub(crate) fn head(&self) -> (&[u8], bool) {
        (&self.ahead, self.is_at_end)
    }

    /// Passes over the first `n_bytes` of the head: a header line.
    pub(crate) fn skip(&mut self, n_bytes: usize) {
        let skipped = self.ahead.drain(..n_bytes.min(self.ahead.len()));
        self.line += memchr_iter(b'\n', skipped.as_slice()).count() as u64;
    }

    /// The next block, or `None` at the end.
    pub(crate) fn next(&mut self, dialect: Dialect) -> Result<Option<TextBlock>, PrepareError> {
        let mut bytes = std::mem::take(&mut self.ahead);
        // How far to look for the end of a record; what lies behind stays for the next block.
        let mut window = self.block_bytes;
        loop {
            if !self.is_at_end && bytes.len() < window {
                let wanted = window - bytes.len();
                self.is_at_end = self.source.fill(&mut bytes, wanted)?;
            }
            let is_last = self.is_at_end && window >= bytes.len();
            let cut = last_cut(&bytes[..window.min(bytes.len())], dialect, is_last);
            if is_last {
                if let Some(at) = cut.open_quote {
                    return Err(self.open_quote(&bytes, at));
                }
                return Ok((!bytes.is_empty()).then(|| self.block(bytes)));
            }
            if cut.end > 0 {
                self.ahead = bytes.split_off(cut.end);
                return Ok(Some(self.block(bytes)));
            }
            if window > self.max_line_bytes {
                return Err(match cut.open_quote {
                    Some(at) => self.open_quote(&bytes, at),
                    None => too_long(self.path(), self.line, self.max_line_bytes),
                });
            }
            // A record longer than a block: look further, within the limit of a line.
            window *= 2;
        }
    }

    /// The file's hash, once [`Blocks::next`] returned `None`.
    pub(crate) fn hash(&self) -> String {
        self.source.hash()
    }

    fn block(&mut self, bytes: Vec<u8>) -> TextBlock {
        let first_line = self.line;
        self.line += memchr_iter(b'\n', &bytes).count() as u64;
        TextBlock { bytes, first_line }
    }

    fn open_quote(&self, bytes: &[u8], at: usize) -> PrepareError {
        let line = self.line + memchr_iter(b'\n', &bytes[..at]).count() as u64;
        let place = Place::file(PathBuf::from(self.path())).line(line);
        let reason = "a quoted field begins here and never ends";
        PrepareError::input(
            place,
            reason,
            "close the quote, or set `data.quote = \"\"` if quotes mean nothing in this file",
        )
    }
}

/// The error for a line past `data.max_line_bytes`.
pub(crate) fn too_long(path: &Path, line: u64, max_line_bytes: usize) -> PrepareError {
    let reason = format!("a line of more than {max_line_bytes} bytes");
    let fix = "check the file's line ends and quotes, or raise `data.max_line_bytes`";
    PrepareError::input(Place::file(path).line(line), reason, fix)
}
