//! The cleaned rows in a file, user by user: later passes stream through it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use bytemuck::{Pod, Zeroable, cast_slice_mut};
use forecart_data::BackgroundFile;

use crate::PrepareError;

/// One event of a user.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Row {
    pub(super) timestamp_ms: i64,
    pub(super) item: u32,
    pub(super) session: u32,
    pub(super) value: f32,
    pub(super) event: u32,
}

/// The file and, in memory, 8 bytes a user.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    /// User (as the scan numbered them) and number of rows, a user for each of its sequences.
    users: Vec<(u32, u32)>,
    n_rows: u64,
}

/// Writes a [`Spool`].
#[derive(Debug)]
pub(super) struct SpoolWriter {
    file: BackgroundFile,
    spool: Spool,
    by_session: bool,
}

impl SpoolWriter {
    /// `by_session`: each session of a user is a sequence of its own.
    pub(super) fn create(folder: &Path, by_session: bool) -> Result<Self, PrepareError> {
        let path = folder.join("cleaned.rows");
        let file = BackgroundFile::create(&path, false)?;
        Ok(Self { file, spool: Spool { path, users: Vec::new(), n_rows: 0 }, by_session })
    }

    /// Appends a user; one without rows is left out.
    pub(super) fn push(&mut self, user: u32, rows: &[Row]) -> Result<(), PrepareError> {
        let by_session = self.by_session;
        let is_one = |a: &Row, b: &Row| !by_session || a.session == b.session;
        rows.chunk_by(is_one).try_for_each(|rows| self.push_sequence(user, rows))
    }

    fn push_sequence(&mut self, user: u32, rows: &[Row]) -> Result<(), PrepareError> {
        let n = u32::try_from(rows.len())
            .map_err(|_| forecart_data::DataError::TooMany { what: "one user's history" })?;
        self.spool.users.push((user, n));
        self.spool.n_rows += u64::from(n);
        Ok(self.file.push(rows)?)
    }

    pub(super) fn finish(self) -> Result<Spool, PrepareError> {
        self.file.finish()?;
        Ok(self.spool)
    }
}

impl Spool {
    /// Users with rows; sessions, where these are the sequences. So below.
    pub(super) fn n_users(&self) -> usize {
        self.users.len()
    }

    /// Rows of all users.
    pub(super) fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Calls `each` with every user: its place among the users with rows, its number in the scan
    /// and its rows, which may be changed (the file stays as it is).
    pub(super) fn for_each_user(
        &self,
        mut each: impl FnMut(usize, u32, &mut Vec<Row>) -> Result<(), PrepareError>,
    ) -> Result<(), PrepareError> {
        let file = File::open(&self.path).map_err(PrepareError::io("read", &self.path))?;
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut rows = Vec::new();
        for (place, (user, n)) in self.users.iter().enumerate() {
            rows.clear();
            rows.resize(*n as usize, Row::zeroed());
            file.read_exact(cast_slice_mut(&mut rows))
                .map_err(PrepareError::io("read", &self.path))?;
            each(place, *user, &mut rows)?;
        }
        Ok(())
    }
}
