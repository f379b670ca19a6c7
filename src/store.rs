//! SQLite: the queue, and the only state that outlives the process. Every statement of SQL is in this folder.
//!
//! Rows that stand for an acknowledgement or an outcome are committed with `synchronous=FULL` in WAL mode: with less, a
//! power cut takes back what a provider was told is safe. Write transactions of this process take turns ([`write_lock`]): the
//! receiver first, the others in their order. SQLite's own busy handler lets one busy writer starve the others.

mod file_identity;
mod backup;
mod diagnostics;
mod error;
mod write_lock;
mod ingest;
mod reader;
mod list;
mod migrate;
mod commands;
mod filesystem;
mod prune;
mod queue;
mod counters;
mod change_feed;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;

use file_identity::FileIdentity;
use write_lock::{Priority, WriteGuard, WriteLock};

pub use backup::backup;
pub use change_feed::ChangeFeed;
pub use commands::{Commands, Selection};
pub use counters::{ActionStats, Hour, SourceStats, Stats};
pub use diagnostics::{Diagnostics, Waiting};
pub use error::Error;
pub use filesystem::{Disk, FileSystem, directory_of};
pub use ingest::{Ingest, Ingested, NotStored, Stored};
pub use list::{Filter, Summary};
pub use prune::{Batch, Cursor, Expired, Pruner, Rule};
pub use queue::{IMMEDIATELY, Next, Queue, ReplayOptions};
pub use reader::{AttemptDetail, Detail, JobDetail, Reader};

pub type Result<T> = std::result::Result<T, Error>;

/// How long a write of the receiver waits for another program that holds the lock, before the sender is told to come
/// again. Providers give up after a few seconds.
const RECEIVER_BUSY: Duration = Duration::from_secs(1);

/// How long the other writers of `serve` wait. Nobody waits for them, and what they would report is only a delay.
const WORKER_BUSY: Duration = Duration::from_secs(5);

/// How much of its wait a writer spends with the turn in its hands, before it queues again: while another program holds
/// the lock, the one that came last waits as long for each writer before it.
const TURN_BUSY: Duration = Duration::from_millis(20);

/// How long a command that only looks waits, for a recovery that the last crash left to do.
const READER_BUSY: Duration = Duration::from_secs(5);

/// When to try again to become the one that serves a database.
const LOCK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The WAL is cut back to this size after a checkpoint; unbounded, one burst would hold its space on the card for ever.
const JOURNAL_LIMIT_BYTES: i64 = 8 << 20;

/// Pages that wait in the WAL before they are brought into the database file: half of SQLite's own measure. More would keep
/// the disk busy for so long at a time that the receiver's syncs are felt to wait; fewer would write the same page to the
/// card more often.
const CHECKPOINT_PAGES: i64 = 500;

/// From this length on the WAL is made to begin anew: about `JOURNAL_LIMIT_BYTES`, in pages of 4 KiB.
const RESTART_PAGES: i64 = 2000;

/// From this length on the receiver, too, waits for that: while it writes without a pause, no other moment comes.
const LONGEST_PAGES: i64 = 2 * RESTART_PAGES;

/// Page cache for each connection. Rows are written once and read once; the operating system caches the rest.
const CACHE_KIB: i64 = 512;

/// The database as `serve` has it: migrated, and locked against a second `serve`.
pub struct Database {
    path: PathBuf,
    turns: Arc<WriteLock>,
    /// Open for as long as the process serves: the lock ends with the descriptor, however the process ends.
    _claim: File,
}

impl Database {
    /// Opens the database for `serve`, creates it where there is none, and brings its schema up to date.
    ///
    /// Jobs that were running when the last process died are queued again.
    pub fn open(path: &Path) -> Result<Database> {
        let path = &resolved(path);
        filesystem::refuse_network(path)?;
        let claim = claim(path)?;
        refuse_emptied(path)?;
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
            .map_err(|error| Error::of(path, error))?;
        migrate::refuse_newer(&connection, path)?;
        prepare(&connection).map_err(|error| Error::of(path, error))?;
        migrate::migrate(&mut connection, path)?;
        queue::recover(&connection).map_err(|error| Error::of(path, error))?;
        Ok(Database { path: path.to_owned(), turns: Arc::new(WriteLock::default()), _claim: claim })
    }

    /// The receiver's own way in.
    pub fn ingest(&self) -> Result<Ingest> {
        let writer = Writer { priority: Priority::Receiver, ..self.writer(RECEIVER_BUSY)? };
        let anchor = FileIdentity::at(&self.path)?;
        Ok(Ingest::new(writer, anchor))
    }

    /// A worker's, or the router's, own way in.
    pub fn queue(&self) -> Result<Queue> {
        Ok(Queue::new(self.writer(WORKER_BUSY)?))
    }

    /// The housekeeper's own way in.
    pub fn pruner(&self) -> Result<Pruner> {
        Pruner::of(self.writer(WORKER_BUSY)?)
    }

    /// A person's way in, within `serve`.
    pub fn operator(&self) -> Result<Commands> {
        Ok(Commands::within(self.writer(WORKER_BUSY)?))
    }

    /// Writes what the WAL holds into the database file and empties the WAL, so that a copy of the file is whole.
    pub fn checkpoint(&self) -> Result<()> {
        let writer = self.writer(WORKER_BUSY)?;
        let done = writer.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        done.map_err(|error| Error::of(&self.path, error))
    }

    /// For the end of the process while actions are still under way: their jobs are queued again, and nobody in this
    /// process writes any more. That attempt does not count.
    pub fn interrupt(&self) -> Result<()> {
        let writer = self.writer(WORKER_BUSY)?;
        let turn = self.turns.take(Priority::Other);
        let interrupt = || {
            writer.connection.busy_timeout(WORKER_BUSY)?;
            queue::interrupt(&writer.connection)
        };
        interrupt().map_err(|error| Error::of(&self.path, error))?;
        // Whoever is still at work could otherwise record the success of a job that will be done again.
        std::mem::forget(turn);
        Ok(())
    }

    fn writer(&self, patience: Duration) -> Result<Writer> {
        Writer::open(&self.path, &self.turns, patience)
    }
}

/// One thread's connection for writing.
struct Writer {
    path: PathBuf,
    connection: Connection,
    turns: Arc<WriteLock>,
    priority: Priority,
    /// How long it waits for another program's lock in all.
    patience: Duration,
}

impl Writer {
    fn open(path: &Path, turns: &Arc<WriteLock>, patience: Duration) -> Result<Writer> {
        let open = || {
            let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            connection.busy_timeout(TURN_BUSY)?;
            tune(&connection)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| Error::of(path, error))?;
        Ok(Writer { path: path.to_owned(), connection, turns: Arc::clone(turns), priority: Priority::Other, patience })
    }

    /// Runs `work` in a write transaction, in turn, and commits it. Returns only after the commit is durable.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let write = || {
            let (_turn, transaction) = self.begin()?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        write().map_err(|error| Error::of(&self.path, error))
    }

    /// Does `work` for each of `items`, in transactions that take in as many as they can until the receiver waits: nobody
    /// waits for a batch, but a provider does for the receiver. What was committed before an error stays.
    fn write_each<T>(&self, items: &[T], work: impl Fn(&Transaction<'_>, &T) -> rusqlite::Result<()>) -> Result<()> {
        let mut items = items.iter();
        while !items.as_slice().is_empty() {
            self.write(|transaction| {
                for item in items.by_ref() {
                    work(transaction, item)?;
                    if self.turns.is_urgent() {
                        break;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// A write transaction, and the turn to have one. A turn that another program's lock makes useless is passed on.
    fn begin(&self) -> rusqlite::Result<(WriteGuard<'_>, Transaction<'_>)> {
        let begun = Instant::now();
        loop {
            let turn = self.turns.take(self.priority);
            match Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate) {
                Err(error) if error::is_busy(&error) && begun.elapsed() < self.patience => {}
                transaction => return Ok((turn, transaction?)),
            }
        }
    }

    /// Brings what waits in the WAL into the database file, if that is much. As with SQLite's own checkpoints nothing is
    /// lost where that fails, and what is wrong with the disk is told by the next commit.
    ///
    /// SQLite would do so within a commit, in turn, and the receiver would wait for two syncs of the disk more. Here the
    /// others write meanwhile, and only the rest, which keeps the WAL from beginning anew, is done in turn.
    fn checkpoint(&self) {
        if let Err(error) = self.shorten_wal() {
            log::debug!("the WAL stays as long as it is: {error}");
        }
    }

    fn shorten_wal(&self) -> rusqlite::Result<()> {
        if self.wal("NOOP")?.waiting_pages() < CHECKPOINT_PAGES {
            return Ok(());
        }
        if self.wal("PASSIVE")?.pages < RESTART_PAGES {
            return Ok(());
        }
        let held = self.turns.hold_others();
        self.wal("PASSIVE")?;
        let wal = self.wal("NOOP")?;
        drop(held);
        if wal.waiting_pages() > 0 && wal.pages >= LONGEST_PAGES {
            let _turn = self.turns.take(self.priority);
            self.wal("PASSIVE")?;
        }
        Ok(())
    }

    fn wal(&self, mode: &str) -> rusqlite::Result<Wal> {
        let wal = |row: &rusqlite::Row<'_>| Ok(Wal { pages: row.get(1)?, checkpointed: row.get(2)? });
        self.connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?.query_row([], wal)
    }
}

/// How long the WAL is, and how much of it is in the database file.
struct Wal {
    pages: i64,
    checkpointed: i64,
}

impl Wal {
    fn waiting_pages(&self) -> i64 {
        self.pages - self.checkpointed
    }
}

/// Opens a database for a command that looks: read-only, and never creates one.
fn open_to_look(path: &Path) -> Result<Connection> {
    require(path)?;
    let open = || {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(READER_BUSY)?;
        Ok(connection)
    };
    let connection = open().map_err(|error| Error::of(path, error))?;
    migrate::require_current(&connection, path)?;
    Ok(connection)
}

/// For commands, which create no database.
fn require(path: &Path) -> Result<()> {
    access(path, Access::READ_OK).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => Error::Missing(path.to_owned()),
        errno => Error::Hidden { path: path.to_owned(), error: errno.into() },
    })
}

/// Where the file really is: SQLite keeps the WAL there, and there the lock must be, whatever link led to it.
fn resolved(path: &Path) -> PathBuf {
    let beside = || Some(directory_of(path).canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}

/// Holds the lock file beside the database, so that no two `serve` run the same jobs. The database file itself is opened
/// by SQLite alone, because closing any other descriptor of it would drop SQLite's locks.
fn claim(path: &Path) -> Result<File> {
    let lock_path = sibling(path, ".lock");
    let open = || {
        std::fs::metadata(directory_of(path))?;
        OpenOptions::new().create(true).truncate(false).write(true).read(true).open(&lock_path)
    };
    let mut file = open().map_err(|error| Error::Unusable { path: path.to_owned(), error })?;
    if !lock(&file) {
        let holder = std::fs::read_to_string(&lock_path).unwrap_or_default();
        return Err(Error::Served { path: path.to_owned(), pid: holder.trim().to_owned() });
    }
    // The number only helps a person to find the other process; the lock holds without it, on a full disk too.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Tries twice: a command that asks whether somebody serves the database holds the lock for a moment.
fn lock(file: &File) -> bool {
    let try_lock = || flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    try_lock() || {
        std::thread::sleep(LOCK_AGAIN_AFTER);
        try_lock()
    }
}

/// The number of the process that serves a database, if one does; empty where it could not write it down.
pub fn server_of(path: &Path) -> Option<String> {
    let path = sibling(&resolved(path), ".lock");
    let lock = File::open(&path).ok()?;
    // Shared, and given back at once with the descriptor: see `claim`.
    match flock(&lock, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => Some(std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()),
        _ => None,
    }
}

/// SQLite takes an empty file (or one of a single byte) for a new database, and deletes the WAL beside it: perhaps the only
/// copy of what was acknowledged.
fn refuse_emptied(path: &Path) -> Result<()> {
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    if bytes(path) > 1 || bytes(&sibling(path, "-wal")) == 0 {
        return Ok(());
    }
    Err(Error::Damaged {
        path: path.to_owned(),
        reason: "the file is empty or missing, but its -wal file is not".to_owned(),
    })
}

fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Each connection stays in one thread, so SQLite need not lock it. It takes a name that begins with `file:` for a URI,
/// unless there is a directory before it.
fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(Path::new(".").join(path), mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Settings that are kept in the file.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(READER_BUSY)?;
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
