//! Finds problems and waiting work in a database, for `hookbox doctor`. If no program has the database open, no file is
//! created beside it, not even those of SQLite.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::connection::{connect, require};
use super::error::{OpenError, Result, StorageError};
use super::files::{resolved, sibling};
use super::row::texts;
use super::stats::{self, Stats};
use super::{ids, migrate};

/// How many of the latest events are examined, as a sample of the present traffic.
const RECENT: u32 = 50;

/// A read-only connection, also to a database that is not up to date.
pub struct Diagnostics {
    path: PathBuf,
    connection: Connection,
}

impl Diagnostics {
    /// Opens a database that exists.
    pub fn open(path: &Path) -> Result<Diagnostics, OpenError> {
        require(path)?;
        // SQLite keeps the `-wal` file there, and not beside a link.
        let path = &resolved(path);
        let connection = open(path).map_err(StorageError::at(path))?;
        Ok(Diagnostics { path: path.to_owned(), connection })
    }

    /// What is missing in the schema, or was changed by another tool. Errs where it is not the one that this program knows.
    pub fn check_schema(&self) -> Result<Vec<String>, OpenError> {
        migrate::require_current(&self.connection, &self.path)?;
        migrate::differences(&self.connection, &self.path)
    }

    /// Whether no further event can be stored, because an event has the largest id there is.
    pub fn are_ids_used_up(&self) -> Result<bool> {
        self.read(ids::are_used_up)
    }

    /// Reads every page. Returns the first damage that SQLite finds.
    pub fn damage(&self) -> Result<Option<String>> {
        self.read(|connection| {
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            Ok(Some(found).filter(|found| found != "ok"))
        })
    }

    pub fn stats(&self) -> Result<Stats> {
        self.read(stats::stats)
    }

    /// The header fields of the latest events, each a JSON object, and when they were received; the latest first.
    pub fn recent(&self) -> Result<(Vec<String>, Option<String>)> {
        self.read(|connection| {
            let recent = |column| format!("SELECT {column} FROM webhook_events ORDER BY id DESC LIMIT {RECENT}");
            let headers = texts(connection, &recent("headers_json"))?;
            Ok((headers, texts(connection, &recent("received_at"))?.into_iter().next()))
        })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.connection).map_err(StorageError::at(&self.path))
    }
}

/// After an orderly end there is no `-wal` file, and opening the database as usual would create one. As no program writes,
/// it may be read as immutable.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    // As in `connect`: a name that begins with a directory is not a URI within the URI.
    let path = &Path::new(".").join(path);
    let name = path.to_str().filter(|_| !sibling(path, "-wal").exists());
    let Some(name) = name else { return connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY) };
    let name = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let mode = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(format!("file:{name}?immutable=1"), mode)
}
