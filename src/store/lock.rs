//! The lock file beside a database, so that no two `serve` run the same jobs.
//!
//! The database file itself is opened by SQLite alone: closing any other descriptor of it would drop SQLite's locks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::error::{OpenError, StorageError};
use super::files::{directory_of, resolved, sibling};

/// When to try again: [`server_of`], which a command calls, holds the lock for a moment.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Locks a database against another `serve` until the file is closed, which the end of the process does, too.
pub(super) fn acquire(path: &Path) -> Result<File, OpenError> {
    let lock_path = sibling(path, ".lock");
    let open = || {
        fs::metadata(directory_of(path))?;
        OpenOptions::new().create(true).truncate(false).write(true).read(true).open(&lock_path)
    };
    let mut file = open().map_err(|error| StorageError::Unusable { path: path.display().to_string(), error })?;
    if !try_lock_twice(&file) {
        let pid = fs::read_to_string(&lock_path).unwrap_or_default().trim().to_owned();
        return Err(OpenError::Served { path: path.display().to_string(), pid });
    }
    // The number only helps a person to find the other process; the lock holds without it, on a full disk too.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn try_lock_twice(file: &File) -> bool {
    let try_lock = || file.try_lock().is_ok();
    try_lock() || {
        thread::sleep(RETRY_AFTER);
        try_lock()
    }
}

/// The id of the process that serves a database, if there is one; empty if it could not write its id.
pub fn server_of(path: &Path) -> Option<String> {
    let lock_path = sibling(&resolved(path), ".lock");
    let file = File::open(&lock_path).ok()?;
    // Shared, so that two commands do not take each other for a server; released with the descriptor at the end.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(fs::read_to_string(lock_path).unwrap_or_default().trim().to_owned()),
        _ => None,
    }
}
