//! SQLite: the queue, and the only state that outlives the process. Every statement of SQL is in this folder.
//!
//! Rows that stand for an acknowledgement or an outcome are committed with `synchronous=FULL` in WAL mode: with less, a
//! power cut takes back what a provider was told is safe. Write transactions of this process take turns in a fair lock
//! ([`fair`]); SQLite's own busy handler lets one busy writer starve the others.

mod error;
mod fair;
mod ingest;
mod inspect;
mod migrate;
mod queue;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::{FlockOperation, flock};

use fair::FairLock;

pub use error::Error;
pub use ingest::{Ingest, Kept, NotStored, Stored};
pub use inspect::{Detail, Filter, Inspector, JobDetail, Stats, Summary};
pub use queue::{Next, Queue};

pub type Result<T> = std::result::Result<T, Error>;

/// How long a write of the receiver waits for another program that holds the lock, before the sender is told to come
/// again. Providers give up after a few seconds.
const RECEIVER_BUSY: Duration = Duration::from_secs(1);

/// How long the other writers of `serve` wait. They hold the turn meanwhile and look again soon, so it is short.
const WORKER_BUSY: Duration = Duration::from_millis(250);

/// How long a command that only looks waits, for a recovery that the last crash left to do.
const INSPECTOR_BUSY: Duration = Duration::from_secs(5);

/// The WAL is cut back to this size after a checkpoint; unbounded, one burst would hold its space on the card for ever.
const JOURNAL_LIMIT_BYTES: i64 = 8 << 20;

/// Pages that wait in the WAL before they are brought into the database file: SQLite's own measure. Fewer would write
/// the same page to the card more often.
const CHECKPOINT_PAGES: i64 = 1000;

/// From this length on the WAL is made to begin anew: about `JOURNAL_LIMIT_BYTES`, in pages of 4 KiB.
const RESTART_PAGES: i64 = 2000;

/// Page cache for each connection. Rows are written once and read once; the operating system caches the rest.
const CACHE_KIB: i64 = 512;

/// The database as `serve` has it: migrated, and locked against a second `serve`.
pub struct Database {
    path: PathBuf,
    turns: Arc<FairLock>,
    /// Open for as long as the process serves: the lock ends with the descriptor, however the process ends.
    _claim: File,
}

impl Database {
    /// Opens the database for `serve`, creates it where there is none, and brings its schema up to date.
    ///
    /// Jobs that were running when the last process died are queued again.
    pub fn open(path: &Path) -> Result<Database> {
        let claim = claim(path)?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
            .map_err(|error| Error::of(path, error))?;
        prepare(&mut connection).map_err(|error| Error::of(path, error))?;
        migrate::migrate(&mut connection, path)?;
        queue::recover(&connection).map_err(|error| Error::of(path, error))?;
        Ok(Database { path: path.to_owned(), turns: Arc::new(FairLock::default()), _claim: claim })
    }

    /// The receiver's own way in.
    pub fn ingest(&self) -> Result<Ingest> {
        Ok(Ingest::new(self.writer(RECEIVER_BUSY)?))
    }

    /// A worker's, or the router's, own way in.
    pub fn queue(&self) -> Result<Queue> {
        Ok(Queue::new(self.writer(WORKER_BUSY)?))
    }

    /// Writes what the WAL holds into the database file and empties the WAL, so that a copy of the file is whole.
    pub fn checkpoint(&self) -> Result<()> {
        let writer = self.writer(WORKER_BUSY)?;
        let done = writer.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        done.map_err(|error| Error::of(&self.path, error))
    }

    fn writer(&self, busy: Duration) -> Result<Writer> {
        let open = || {
            let connection = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            connection.busy_timeout(busy)?;
            tune(&connection)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| Error::of(&self.path, error))?;
        Ok(Writer { path: self.path.clone(), connection, turns: Arc::clone(&self.turns) })
    }
}

/// One thread's connection for writing.
struct Writer {
    path: PathBuf,
    connection: Connection,
    turns: Arc<FairLock>,
}

impl Writer {
    /// Runs `work` in a write transaction, in turn, and commits it. Returns only after the commit is durable.
    fn write<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let _turn = self.turns.take();
        let write = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        let path = &self.path;
        write().map_err(|error| Error::of(path, error))
    }
}

impl Writer {
    /// Brings what waits in the WAL into the database file, if that is much.
    ///
    /// SQLite would do so within a commit, in turn, and the receiver would wait for two syncs of the disk more. Here the
    /// others write meanwhile, and only the rest, which keeps the WAL from beginning anew, is done in turn.
    fn checkpoint(&self) -> Result<()> {
        let wal = self.wal("PRAGMA wal_checkpoint(NOOP)")?;
        if wal.pages - wal.checkpointed < CHECKPOINT_PAGES {
            return Ok(());
        }
        if self.wal("PRAGMA wal_checkpoint(PASSIVE)")?.pages >= RESTART_PAGES {
            let _turn = self.turns.take();
            self.wal("PRAGMA wal_checkpoint(PASSIVE)")?;
        }
        Ok(())
    }

    fn wal(&self, pragma: &str) -> Result<Wal> {
        let wal = |row: &rusqlite::Row<'_>| Ok(Wal { pages: row.get(1)?, checkpointed: row.get(2)? });
        let asked = self.connection.prepare_cached(pragma).and_then(|mut pragma| pragma.query_row([], wal));
        asked.map_err(|error| Error::of(&self.path, error))
    }
}

/// How long the WAL is, and how much of it is in the database file.
struct Wal {
    pages: i64,
    checkpointed: i64,
}

/// Opens a database for a command that looks: read-only, and never creates one.
fn open_to_look(path: &Path) -> Result<Connection> {
    if !path.exists() {
        return Err(Error::Missing(path.to_owned()));
    }
    let open = || {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(INSPECTOR_BUSY)?;
        Ok(connection)
    };
    let connection = open().map_err(|error| Error::of(path, error))?;
    migrate::require_current(&connection, path)?;
    Ok(connection)
}

/// Holds the lock file beside the database, so that no two `serve` run the same jobs. The database file itself is opened
/// by SQLite alone, because closing any other descriptor of it would drop SQLite's locks.
fn claim(path: &Path) -> Result<File> {
    let lock_path = sibling(path, ".lock");
    let open = || {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            std::fs::metadata(directory)?;
        }
        OpenOptions::new().create(true).truncate(false).write(true).read(true).open(&lock_path)
    };
    let mut file = open().map_err(|error| Error::Unusable { path: path.to_owned(), error })?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let holder = std::fs::read_to_string(&lock_path).unwrap_or_default();
        return Err(Error::Served { path: path.to_owned(), pid: holder.trim().to_owned() });
    }
    // The number only helps a person to find the other process; the lock holds without it, on a full disk too.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Each connection stays in one thread, so SQLite need not lock it.
fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Settings that are kept in the file.
fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(INSPECTOR_BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    tune(connection)
}

/// Settings of one connection.
fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_LIMIT_BYTES)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?; // see `Writer::checkpoint`
    connection.pragma_update(None, "cache_size", -CACHE_KIB)
}
