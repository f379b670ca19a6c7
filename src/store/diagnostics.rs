//! What is wrong with a database, or waits in it. After an orderly end nothing is written, not even the files that SQLite
//! keeps beside it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Row};

use super::queue::text;
use super::{Error, Result, connect, migrate, require, resolved, sibling};
use crate::event::Status;

/// How many of the latest events tell what comes in at present.
const RECENT: u32 = 50;

/// A look into a database, whoever serves it.
pub struct Diagnostics {
    path: PathBuf,
    connection: Connection,
}

/// What waits, and what has failed.
#[derive(Debug)]
pub struct Waiting {
    pub unprocessed: i64,
    pub failed: i64,
    pub open_jobs: i64,
    pub dead_jobs: i64,
    /// When the oldest unprocessed event was received.
    pub oldest: Option<String>,
    pub paused: Vec<String>,
}

impl Diagnostics {
    /// Looks at a database that exists.
    pub fn open(path: &Path) -> Result<Diagnostics> {
        require(path)?;
        // SQLite keeps the `-wal` file there, and not beside a link.
        let path = &resolved(path);
        let connection = open(path).map_err(|error| Error::of(path, error))?;
        Ok(Diagnostics { path: path.to_owned(), connection })
    }

    /// Errs where the schema is not the one that this program knows.
    pub fn schema(&self) -> Result<()> {
        migrate::require_current(&self.connection, &self.path)
    }

    /// Reads every page. `None` where all is well, else what is not.
    pub fn damage(&self) -> Result<Option<String>> {
        self.read(|connection| {
            let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            Ok(Some(found).filter(|found| found != "ok"))
        })
    }

    pub fn waiting(&self) -> Result<Waiting> {
        self.read(|connection| {
            let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            let with_status = |status: Status| {
                let sql = "SELECT count(*) FROM webhook_events WHERE status = ?1";
                connection.query_row(sql, [status.as_str()], |row| row.get(0))
            };
            let oldest = "SELECT received_at FROM webhook_events WHERE status = 'unprocessed' ORDER BY id LIMIT 1";
            Ok(Waiting {
                unprocessed: with_status(Status::Unprocessed)?,
                failed: with_status(Status::Error)?,
                open_jobs: count("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')")?,
                dead_jobs: count("SELECT count(*) FROM jobs WHERE state = 'dead'")?,
                oldest: texts(connection, oldest)?.pop(),
                paused: texts(connection, "SELECT action FROM paused ORDER BY action")?,
            })
        })
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
        work(&self.connection).map_err(|error| Error::of(&self.path, error))
    }
}

/// After an orderly end there is no `-wal` file, and to open the database as usual would make one. As nobody writes it may
/// be read as what cannot change.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    // As in `connect`: what begins with a directory is no URI within the URI.
    let place = Path::new(".").join(path);
    let name = place.to_str().filter(|_| !sibling(path, "-wal").exists());
    let Some(name) = name else { return connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY) };
    let name = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let mode = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(format!("file:{name}?immutable=1"), mode)
}

fn texts(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let first = |row: &Row<'_>| Ok(text(row, 0)?.into_owned());
    connection.prepare(sql)?.query_map([], first)?.collect()
}
