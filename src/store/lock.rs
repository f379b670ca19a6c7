//! The lock file beside a database, so that no two `serve` run the same jobs.
//!
//! The database file itself is opened by SQLite alone: closing any other descriptor of it would drop SQLite's locks.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::error::{OpenError, StorageError};
use super::files::{directory_of, open_own, resolved, sibling};

/// When to try again: [`server_of`], which a command calls, holds the lock for a moment.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// The longest process id, and the end of its line.
const MAX_PID_BYTES: usize = 11;

/// The lock of a database, held until it is dropped, or the process ends.
pub(super) struct Lock {
    file: File,
    /// The last process that held it has ended without [`Lock::mark_clean_end`].
    pub(super) follows_unclean_end: bool,
}

impl Lock {
    /// Tells the next process that nothing was under way when this one ended.
    pub(super) fn mark_clean_end(&self) {
        // Without that the next process is more careful than needed.
        let _ = write_line(&self.file, "");
    }
}

/// Locks a database against another `serve`.
///
/// The file is never truncated: what another user has put in its place may be somebody's data.
pub(super) fn acquire(path: &Path) -> Result<Lock, OpenError> {
    let unusable = |error| StorageError::Unusable { path: path.display().to_string(), error };
    fs::metadata(directory_of(path)).map_err(unusable)?;
    let lock_path = sibling(path, ".lock");
    let opened = open_own(&lock_path, OpenOptions::new().create(true).truncate(false).write(true).read(true));
    let unusable = |error| OpenError::Lock { path: lock_path.display().to_string(), error };
    let file = opened.and_then(require_own).map_err(unusable)?;
    if !try_lock_twice(&file) {
        return Err(OpenError::Served { path: path.display().to_string(), pid: pid_in(&file) });
    }
    let follows_unclean_end = !pid_in(&file).is_empty();
    // The lock holds without the number, on a full disk too: a person may not find the process then, and the next start may
    // not see that this one has crashed. On the disk before any job begins, because one may take the machine down.
    let _ = write_line(&file, &std::process::id().to_string()).and_then(|()| file.sync_data());
    Ok(Lock { file, follows_unclean_end })
}

/// Replaces the only line of a lock file.
fn write_line(mut file: &File, text: &str) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{text:<width$}\n", width = MAX_PID_BYTES - 1).as_bytes())
}

/// Errs where another name leads to the same file, because we write to it.
fn require_own(file: File) -> io::Result<File> {
    let found = file.metadata()?;
    if found.is_file() && found.nlink() <= 1 {
        return Ok(file);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "it has another name too"))
}

/// The process id in a lock file; empty if there is none.
fn pid_in(mut file: &File) -> String {
    let mut text = [0; MAX_PID_BYTES];
    let bytes = file.read(&mut text).unwrap_or_default();
    let pid = String::from_utf8_lossy(&text[..bytes]).trim().to_owned();
    if pid.bytes().all(|byte| byte.is_ascii_digit()) { pid } else { String::new() }
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
    let file = open_own(&lock_path, OpenOptions::new().read(true)).ok()?;
    // Shared, so that two commands do not take each other for a server; released with the descriptor at the end.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(pid_in(&file)),
        _ => None,
    }
}
