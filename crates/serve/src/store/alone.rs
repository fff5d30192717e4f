//! One server to a file: a lock beside it, which ends with its process.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StoreError;

/// How long a server that ends just now is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// Holds the lock of a file while it lives.
#[derive(Debug)]
pub(super) struct Alone {
    _file: File,
}

impl Alone {
    /// Takes the lock beside `path`.
    pub(super) async fn with(path: &Path) -> Result<Self, StoreError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock_path = PathBuf::from(name);
        let place = |error: std::io::Error| StoreError::Place {
            place: lock_path.display().to_string(),
            reason: error.to_string(),
        };
        let options =
            || File::options().read(true).write(true).create(true).truncate(false).open(&lock_path);
        let mut file = options().map_err(place)?;
        let started = std::time::Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error))
                    if error.kind() == std::io::ErrorKind::Unsupported =>
                {
                    tracing::warn!(file = %lock_path.display(), "this file system has no locks: that no second server has the store is not checked");
                    break;
                }
                Err(TryLockError::Error(error)) => return Err(place(error)),
                Err(TryLockError::WouldBlock) if started.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    let holder = holder.trim().parse::<u32>();
                    let holder =
                        holder.map_or_else(|_| String::new(), |id| format!(" (process {id})"));
                    return Err(StoreError::Place {
                        place: path.display().to_string(),
                        reason: format!(
                            "another server{holder} has this store: give each its own file, or use PostgreSQL, which several may share"
                        ),
                    });
                }
            }
        }
        // For people who look; the lock itself is the system's. On a full disk it stays empty.
        let noted = file.set_len(0).and_then(|()| file.rewind());
        let _ = noted.and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}
