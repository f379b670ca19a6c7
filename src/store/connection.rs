//! SQLite connections: how a database is opened, and with which settings.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::error::{OpenError, StorageError};
use super::files::{open_own, sibling};
use super::migrate;
use super::wal::{self, JOURNAL_LIMIT_BYTES};

/// How long a new connection waits for the recovery that is due after a crash.
const RECOVERY_BUSY: Duration = Duration::from_secs(5);

/// A commit writes whole pages to the card, and a delivery touches ten that are not its payload.
pub(super) const PAGE_BYTES: i64 = 1024;

/// SQLite's own, which earlier versions and other programs have left as it is.
pub(super) const DEFAULT_PAGE_BYTES: i64 = 4096;

/// Page cache of each connection. Rows are written once and read once; the operating system caches the rest.
const CACHE_KIB: i64 = 512;

/// Of the file of the WAL, in SQLite's words.
const NO_LIMIT: i64 = -1;

/// Each connection stays in one thread, so SQLite need not lock it. The directory is added because SQLite takes a name that
/// begins with `file:` for a URI.
pub(super) fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(Path::new(".").join(path), mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Opens the database for `serve`, and creates it where there is none. Errs for one of a later version.
pub(super) fn open_or_create(path: &Path) -> Result<Connection, OpenError> {
    refuse_emptied(path)?;
    create_missing(path)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(StorageError::at(path))?;
    // SQLite opens a file for reading where it cannot be written.
    if connection.is_readonly("main").map_err(StorageError::at(path))? {
        return Err(StorageError::ReadOnly(path.display().to_string()).into());
    }
    migrate::supported_version(&connection, path)?;
    // SQLite opens a file that it may only read, and the first write would fail: that of a delivery.
    if connection.is_readonly("main").map_err(StorageError::at(path))? {
        return Err(StorageError::ReadOnly(path.display().to_string()).into());
    }
    use_wal(&connection).map_err(StorageError::at(path))?;
    Ok(connection)
}

/// Opens a database that exists, for a command that only reads.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, OpenError> {
    require(path)?;
    let open = || {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(RECOVERY_BUSY)?;
        Ok(connection)
    };
    let connection = open().map_err(StorageError::at(path))?;
    migrate::require_current(&connection, path)?;
    Ok(connection)
}

/// Opens a database that exists for writing. `busy_timeout` is how long it waits for other programs' locks from then on.
pub(super) fn open_for_writing(path: &Path, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(RECOVERY_BUSY)?;
    configure(&connection)?;
    connection.busy_timeout(busy_timeout)?;
    Ok(connection)
}

/// Errs unless there is a database, which commands do not create.
pub(super) fn require(path: &Path) -> Result<(), OpenError> {
    access(path, Access::READ_OK).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => OpenError::Missing(path.display().to_string()),
        errno => OpenError::Hidden { path: path.display().to_string(), error: errno.into() },
    })
}

/// SQLite takes an empty file (or one of a single byte) for a new database, and deletes the WAL beside it, which may be the
/// only copy of acknowledged deliveries.
fn refuse_emptied(path: &Path) -> Result<(), StorageError> {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    if bytes(path) > 1 || bytes(&sibling(path, "-wal")) == 0 {
        return Ok(());
    }
    let reason = "the file is empty or missing, but its -wal file is not".to_owned();
    Err(StorageError::Damaged { path: path.display().to_string(), reason })
}

/// SQLite would create it for all users to read. The WAL and its index get the permissions of the database.
///
/// An existing one is not opened here: closing it would drop SQLite's locks.
fn create_missing(path: &Path) -> Result<(), StorageError> {
    if fs::metadata(path).is_ok() {
        return Ok(());
    }
    let created = open_own(path, OpenOptions::new().write(true).create_new(true));
    created.map(drop).map_err(|error| StorageError::Unusable { path: path.display().to_string(), error })
}

/// Settings that are kept in the file. The page size of one that has pages stays as it is.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(RECOVERY_BUSY)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    configure(connection)
}

/// Settings of one connection.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    let limit_bytes = if wal::is_replicated(connection).unwrap_or(false) { NO_LIMIT } else { JOURNAL_LIMIT_BYTES };
    connection.pragma_update(None, "journal_size_limit", limit_bytes)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?; // see `wal`
    connection.pragma_update(None, "cache_size", -CACHE_KIB)
}
