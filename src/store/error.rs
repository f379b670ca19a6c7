//! Errors of the database, one enum for each layer. Each message names the file and a remedy.

use std::fmt;
use std::io;
use std::path::Path;

use rusqlite::{ErrorCode, Transaction};

/// The result of most of the store, which works on an open database.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// Reading or writing an open database fails.
#[derive(Debug)]
pub enum StorageError {
    /// Not a database, or damaged. hookbox never moves or deletes it.
    Damaged { path: String, reason: String },
    /// The file or its directory cannot be opened.
    Unusable { path: String, error: io::Error },
    /// The file or its directory is not writable.
    ReadOnly(String),
    /// Another program holds the write lock.
    Busy(String),
    /// The disk is full.
    Full(String),
    /// The disk fails, or the device that is used as one.
    Failing { path: String, error: rusqlite::Error },
    /// Any other error of SQLite.
    Other { path: String, error: rusqlite::Error },
}

impl StorageError {
    /// Sorts an error of SQLite by what the operator can do about it.
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> StorageError {
        let path = path.display().to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                StorageError::Damaged { path, reason: error.to_string() }
            }
            _ if is_busy(&error) => StorageError::Busy(path),
            Some(ErrorCode::DiskFull) => StorageError::Full(path),
            Some(ErrorCode::SystemIoFailure) => StorageError::Failing { path, error },
            Some(ErrorCode::ReadOnly) => StorageError::ReadOnly(path),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                StorageError::Unusable { path, error: io::Error::other(error) }
            }
            _ => StorageError::Other { path, error },
        }
    }

    /// [`StorageError::of`], for `map_err`.
    pub(super) fn at(path: &Path) -> impl FnOnce(rusqlite::Error) -> StorageError {
        move |error| StorageError::of(path, error)
    }

    fn needs_a_person(&self) -> bool {
        use StorageError::{Damaged, ReadOnly, Unusable};
        matches!(self, Damaged { .. } | Unusable { .. } | ReadOnly(_))
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::Damaged { path, reason } => write!(
                f,
                "the database {path} is damaged, or is not a database ({reason}). hookbox changes nothing in it. To rescue \
                 what can be read: sqlite3 {path} .recover | sqlite3 {path}.rescued. To set it aside and start afresh: for f \
                 in {path} {path}-wal {path}-shm; do [ -e \"$f\" ] && mv \"$f\" \"$f.bad\"; done"
            ),
            StorageError::Unusable { path, error } => write!(
                f,
                "cannot open the database {path}: {error}. Its directory must exist, and be writable for the user that runs \
                 hookbox"
            ),
            StorageError::ReadOnly(path) => write!(
                f,
                "the database {path} is not writable: the file, its -wal and -shm files and their directory must be \
                 writable for the user that runs hookbox"
            ),
            StorageError::Busy(path) => write!(
                f,
                "another program holds the lock of the database {path} for too long: let it end its transaction, or find \
                 it with: fuser -v {path}"
            ),
            StorageError::Full(path) => write!(
                f,
                "the disk that holds the database {path} is full: make room on it (df, and df -i), or raise its quota"
            ),
            StorageError::Failing { path, error } => write!(
                f,
                "the disk that holds the database {path} fails to read or write ({error}): check the kernel's log \
                 (dmesg)"
            ),
            StorageError::Other { path, error } => write!(f, "the database {path}: {error}"),
        }
    }
}

impl std::error::Error for StorageError {}

/// A database cannot be opened for its purpose.
#[derive(Debug)]
pub enum OpenError {
    /// A command that does not create databases found none.
    Missing(String),
    /// The file, or whether there is one, cannot be read: often it belongs to a service, and only root may.
    Hidden { path: String, error: io::Error },
    /// On a file system of that name, which belongs to another machine.
    Network { path: String, name: String },
    /// The lock file beside it cannot be used.
    Lock { path: String, error: io::Error },
    /// Another `serve` works on this database.
    Served { path: String, pid: String },
    /// Written by a later version of hookbox.
    TooNew { path: String, found: u32, known: u32 },
    /// Not yet brought up to date by `serve`.
    TooOld(String),
    /// Every event is to be rewritten for this version, and the disk has no room for that beside its reserve.
    NoRoomToUpgrade { path: String, needed_bytes: u64, free_bytes: u64 },
    /// No copy could be made of a database that is to be rewritten.
    NotUpgraded { path: String, reason: String },
    /// The schema of the older program could not be taken over.
    Foreign { path: String, reason: String },
    /// The database itself does not work.
    Storage(StorageError),
}

impl OpenError {
    /// True where a retry cannot succeed until someone has acted.
    pub fn needs_a_person(&self) -> bool {
        !matches!(self, OpenError::Storage(error) if !error.needs_a_person())
    }
}

impl From<StorageError> for OpenError {
    fn from(error: StorageError) -> OpenError {
        OpenError::Storage(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Missing(path) => {
                write!(f, "there is no database at {path}: start `hookbox serve` once, or name another with --database")
            }
            OpenError::Hidden { path, error } => write!(
                f,
                "the database {path} cannot be read: {error}. Run this as the user who runs hookbox, or as root (sudo)"
            ),
            OpenError::Network { path, name } => write!(
                f,
                "the database {path} is on a file system of another machine ({name}): SQLite's locks and shared memory do \
                 not work over a network, so that it would be damaged sooner or later. Keep it on a disk of this machine \
                 (database, or --database), and copy it there with hookbox backup"
            ),
            OpenError::Lock { path, error } => write!(
                f,
                "cannot use the lock file {path}: {error}. The file and its directory must be writable for the user that \
                 runs hookbox. If it is a link, remove it"
            ),
            OpenError::Served { path, pid } => write!(
                f,
                "another `hookbox serve` (process {pid}) already works on the database {path}: stop it first, or name \
                 another database with --database"
            ),
            OpenError::TooNew { path, found, known } => write!(
                f,
                "the database {path} was written by a later version of hookbox (schema {found}, this one knows {known}): \
                 use that version, or another database"
            ),
            OpenError::TooOld(path) => write!(
                f,
                "the database {path} was written by an older program: `hookbox serve` brings it up to date when it starts"
            ),
            OpenError::NoRoomToUpgrade { path, needed_bytes, free_bytes } => {
                f.write_str(&no_room_to_upgrade(path, *needed_bytes, *free_bytes))
            }
            OpenError::NotUpgraded { path, reason } => write!(
                f,
                "the database {path} was written by an earlier version, and is not brought up to date: {reason}. Nothing in \
                 it was changed"
            ),
            OpenError::Foreign { path, reason } => {
                write!(f, "the table webhook_events in {path} cannot be taken over: {reason}")
            }
            OpenError::Storage(error) => error.fmt(f),
        }
    }
}

fn no_room_to_upgrade(path: &str, needed_bytes: u64, free_bytes: u64) -> String {
    format!(
        "the database {path} was written by an earlier version. To bring it up to date takes {} MiB on its disk \
         (disk_reserve among them), and {} MiB are free: make room, move the database to a larger disk (database, or \
         --database), or delete old events with the earlier version (hookbox prune --older-than 30d --vacuum). Nothing \
         in it was changed",
        needed_bytes.div_ceil(1 << 20),
        free_bytes >> 20
    )
}

impl std::error::Error for OpenError {}

/// Deliveries cannot be stored.
#[derive(Debug)]
pub enum WriteError {
    /// Less than the reserve is free on the disk, or would be after the deliveries are stored.
    Reserve { path: String, free_bytes: u64, needed_bytes: u64, reserve_bytes: u64 },
    /// The files are no longer those that were opened: what is written now would be gone at the next start.
    Moved(String),
    /// An event has, or had, the largest id that there is: SQLite numbers no further one.
    NoIdLeft(String),
    /// The database itself does not work.
    Storage(StorageError),
}

impl WriteError {
    /// In a few words and without a path, because anyone may ask for our health.
    pub fn summary(&self) -> &'static str {
        match self {
            WriteError::Reserve { .. } => "the disk reserve is used up",
            WriteError::Storage(StorageError::Full(_)) => "the disk is full",
            WriteError::Storage(StorageError::Busy(_)) => "the database is locked by another program",
            WriteError::Storage(StorageError::ReadOnly(_)) => "the database cannot be written",
            WriteError::NoIdLeft(_) => "no id is left for another event",
            WriteError::Moved(_) | WriteError::Storage(_) => "the database does not work",
        }
    }
}

impl From<StorageError> for WriteError {
    fn from(error: StorageError) -> WriteError {
        WriteError::Storage(error)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Reserve { path, free_bytes, needed_bytes, reserve_bytes } => write!(
                f,
                "the disk that holds the database {path} has {} MiB free; storing {} KiB would leave less than the reserve of \
                 {} MiB (disk_reserve)",
                free_bytes >> 20,
                needed_bytes >> 10,
                reserve_bytes >> 20
            ),
            WriteError::Moved(path) => write!(
                f,
                "the database {path} or its -wal or -shm file was moved, replaced or deleted by another program while \
                 hookbox uses it: put it back as it was, or restart hookbox to use the file that is there now"
            ),
            WriteError::NoIdLeft(path) => write!(
                f,
                "no id is left for another event in the database {path}: another program has stored one with the largest \
                 id there is ({}), and SQLite counts on from there. `hookbox help database` says how to give it a smaller \
                 one",
                i64::MAX
            ),
            WriteError::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {}

/// A backup cannot be made.
#[derive(Debug)]
pub enum BackupError {
    /// The copy cannot be written, or is not as it must be; with what to do.
    Failed(String),
    /// The database cannot be opened, or it or its copy does not work.
    Database(OpenError),
}

impl<E: Into<OpenError>> From<E> for BackupError {
    fn from(error: E) -> BackupError {
        BackupError::Database(error.into())
    }
}

/// True if another connection holds a lock.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Separates the errors of one row (the inner result) from those that end the transaction. An error of a row after which
/// all is rolled back also ends it, since the rest would run outside of a transaction.
pub(super) fn of_row<T>(
    transaction: &Transaction<'_>,
    result: rusqlite::Result<T>,
) -> rusqlite::Result<rusqlite::Result<T>> {
    match result {
        Err(error) if !is_row_error(&error) || transaction.is_autocommit() => Err(error),
        result => Ok(result),
    }
}

/// True if a row breaks a rule that another program has added to the table, or is too large.
fn is_row_error(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, InvalidColumnType, QueryReturnedNoRows};
    matches!(error, QueryReturnedNoRows | FromSqlConversionFailure(..) | InvalidColumnType(..))
        || matches!(error.sqlite_error_code(), Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig))
}
