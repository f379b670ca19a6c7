//! What can be wrong with a database, in words that name the file and the way out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

#[derive(Debug)]
pub enum Error {
    /// A command that looks found no database to look into.
    Missing(PathBuf),
    /// Whether there is one cannot be seen, or what is in it: often it is a service's, and only root may look.
    Hidden { path: PathBuf, error: io::Error },
    /// The file or its directory cannot be opened.
    Unusable { path: PathBuf, error: io::Error },
    /// On a file system of that name, which belongs to another machine.
    Network { path: PathBuf, name: String },
    /// Another `serve` works on this database.
    Served { path: PathBuf, pid: String },
    /// Written by a later version of hookbox.
    TooNew { path: PathBuf, found: i64, known: i64 },
    /// Not yet brought up to date by `serve`.
    TooOld(PathBuf),
    /// Not a database, or damaged. hookbox never moves or deletes it.
    Damaged { path: PathBuf, reason: String },
    /// The files are no longer those that were opened: what is written now would be gone at the next start.
    Moved(PathBuf),
    /// Another program holds the write lock.
    Busy(PathBuf),
    /// The disk is full.
    Full(PathBuf),
    /// Less than the reserve is free on the disk, or would be with what was to be stored.
    Reserve { path: PathBuf, free_bytes: u64, needed_bytes: u64, reserve_bytes: u64 },
    /// The file or its directory may not be written.
    ReadOnly(PathBuf),
    /// The file that a backup is to become is there already.
    Exists(PathBuf),
    /// A backup cannot be written there.
    Unwritable { path: PathBuf, error: io::Error },
    /// A backup does not fit.
    NoRoom { path: PathBuf, free_bytes: u64, needed_bytes: u64 },
    /// What was copied is not what was to be copied.
    BadCopy { path: PathBuf, reason: String },
    /// The schema of the older program could not be taken over.
    Foreign { path: PathBuf, reason: String },
    /// The disk, or what passes for one, fails.
    Failing { path: PathBuf, error: rusqlite::Error },
    /// Anything else that SQLite says.
    Other { path: PathBuf, error: rusqlite::Error },
}

impl Error {
    /// True if trying again changes nothing: somebody has to look.
    pub fn needs_a_person(&self) -> bool {
        !matches!(
            self,
            Error::Busy(_)
                | Error::Full(_)
                | Error::Reserve { .. }
                | Error::Exists(_)
                | Error::Unwritable { .. }
                | Error::NoRoom { .. }
                | Error::BadCopy { .. }
                | Error::Failing { .. }
                | Error::Other { .. }
        )
    }

    /// Sorts an error of SQLite by what the operator can do about it.
    pub(super) fn of(path: &Path, error: rusqlite::Error) -> Error {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Error::Damaged { path, reason: error.to_string() }
            }
            _ if is_busy(&error) => Error::Busy(path),
            Some(ErrorCode::DiskFull) => Error::Full(path),
            Some(ErrorCode::SystemIoFailure) => Error::Failing { path, error },
            Some(ErrorCode::ReadOnly) => Error::ReadOnly(path),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Error::Unusable { path, error: io::Error::other(error) }
            }
            _ => Error::Other { path, error },
        }
    }
}

/// True if another connection holds a lock.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// True for what a row is refused for: a rule that another program has added to the table, or its size.
pub(super) fn is_of_the_row(error: &rusqlite::Error) -> bool {
    let of_its_columns = matches!(
        error,
        rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
    );
    of_its_columns || matches!(error.sqlite_error_code(), Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing(path) => write!(
                f,
                "there is no database at {}: start `hookbox serve` once, or name another with --database",
                path.display()
            ),
            Error::Hidden { path, error } => write!(
                f,
                "the database {} cannot be looked into: {error}. Run this as the user who runs hookbox, or as root (sudo)",
                path.display()
            ),
            Error::Unusable { path, error } => write!(
                f,
                "cannot open the database {}: {error}. Its directory must exist, and be writable for the user that runs \
                 hookbox",
                path.display()
            ),
            Error::Network { path, name } => write!(
                f,
                "the database {} is on a file system of another machine ({name}): SQLite's locks and shared memory do not \
                 reach over a network, so that it would be damaged one day. Keep it on a disk of this machine (database, or \
                 --database), and copy it there with hookbox backup",
                path.display()
            ),
            Error::Served { path, pid } => write!(
                f,
                "another `hookbox serve` (process {pid}) already works on the database {}: stop it first, or name another \
                 database with --database",
                path.display()
            ),
            Error::TooNew { path, found, known } => write!(
                f,
                "the database {} was written by a later version of hookbox (schema {found}, this one knows {known}): use \
                 that version, or another database",
                path.display()
            ),
            Error::TooOld(path) => write!(
                f,
                "the database {} was written by an older program: `hookbox serve` brings it up to date when it starts",
                path.display()
            ),
            Error::Damaged { path, reason } => {
                let path = path.display();
                write!(
                    f,
                    "the database {path} is damaged, or is not a database ({reason}). hookbox changes nothing in it. To \
                     rescue what can be read: sqlite3 {path} .recover | sqlite3 {path}.rescued. To set it aside and start \
                     afresh: for f in {path} {path}-wal {path}-shm; do [ -e \"$f\" ] && mv \"$f\" \"$f.bad\"; done"
                )
            }
            Error::Moved(path) => write!(
                f,
                "the database {path} or its -wal or -shm file was moved, replaced or deleted by somebody else while hookbox \
                 works with it: put it back as it was, or restart hookbox to work with what is there now",
                path = path.display()
            ),
            Error::Busy(path) => write!(
                f,
                "another program holds the lock of the database {path} for too long: let it end its transaction, or find \
                 it with: fuser -v {path}",
                path = path.display()
            ),
            Error::Full(path) => {
                write!(f, "the disk that holds the database {} is full: make room on it", path.display())
            }
            Error::Reserve { path, free_bytes, needed_bytes, reserve_bytes } => write!(
                f,
                "the disk that holds the database {} has {} MiB free; storing {} KiB would leave less than the reserve of {} \
                 MiB (disk_reserve)",
                path.display(),
                free_bytes >> 20,
                needed_bytes >> 10,
                reserve_bytes >> 20
            ),
            Error::ReadOnly(path) => write!(
                f,
                "the database {} may not be written: the file, its -wal and -shm files and their directory must be \
                 writable for the user that runs hookbox",
                path.display()
            ),
            Error::Exists(path) => {
                write!(f, "{} is there already, and a backup overwrites nothing: name another file", path.display())
            }
            Error::Unwritable { path, error } => write!(
                f,
                "cannot write the backup {}: {error}. Its directory must exist, and be writable",
                path.display()
            ),
            Error::NoRoom { path, free_bytes, needed_bytes } => write!(
                f,
                "the backup {} takes {} MiB, and its disk has only {} MiB free (beside disk_reserve, where the database is \
                 on it too): name a file on another disk",
                path.display(),
                needed_bytes >> 20,
                free_bytes >> 20
            ),
            Error::BadCopy { path, reason } => write!(
                f,
                "the copy for the backup {} is not sound ({reason}), and was deleted: look at the database with hookbox \
                 doctor, and at the disk",
                path.display()
            ),
            Error::Foreign { path, reason } => {
                write!(f, "the table webhook_events in {} cannot be taken over: {reason}", path.display())
            }
            Error::Failing { path, error } => write!(
                f,
                "the disk that holds the database {} does not read or write what it should ({error}): look into the \
                 kernel's log (dmesg)",
                path.display()
            ),
            Error::Other { path, error } => write!(f, "the database {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {}
