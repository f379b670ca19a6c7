//! Opens the database for `serve`, and first brings one of an earlier version up to date: its schema, and its page size too,
//! where no other program has it open.
//!
//! Both are SQLite transactions, so that a process that is killed meanwhile leaves the old state or the new one. They
//! rewrite every event, which takes minutes on a card with a million of them. So the room is checked first, a copy is kept
//! beside the database, and the log and the service manager hear of the progress.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use log::{info, warn};
use rusqlite::{Connection, OpenFlags};

use super::backup::{self, PartFile};
use super::connection::{self, DEFAULT_PAGE_BYTES, PAGE_BYTES, connect};
use super::error::{BackupError, OpenError, StorageError, is_busy};
use super::files::sibling;
use super::filesystem::Disk;
use super::{migrate, wal};

/// The copy before migration 7, the first that rewrites a table that can be large.
const COPY: &str = ".before-7";

/// Copies under way. What a killed process has left of them is deleted by the next start.
const COPY_PART: &str = ".before-7.part";
const RESIZED_PART: &str = ".resized.part";

/// Between two lines in the log, and two messages to the service manager.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How much longer the start may take, from each message on. A synced write to a worn card can stall for a while.
const EXTENSION: Duration = Duration::from_secs(120);

/// Page cache while rows are copied: unique indexes are filled in no order.
const CACHE_KIB: i64 = 32 << 10;

/// What `serve` knows, and the store needs for its start.
pub struct Upgrade<'a> {
    /// So much of the disk must stay free.
    pub reserve_bytes: u64,
    /// Tells the service manager that the start takes so much longer.
    pub extend_timeout: &'a (dyn Fn(Duration) + Sync),
}

/// The size of the database file, and how much of it is in use.
#[derive(Clone, Copy)]
struct Extent {
    file_bytes: u64,
    used_bytes: u64,
}

/// Opens the database, creates it where there is none, and brings it up to date. The caller holds the lock of the database.
pub(super) fn open(path: &Path, upgrade: &Upgrade<'_>) -> Result<Connection, OpenError> {
    for part in [COPY_PART, RESIZED_PART] {
        // Mostly there is none.
        let _ = fs::remove_file(sibling(path, part));
    }
    let mut connection = connection::open_or_create(path)?;
    if migrate::rewrites_events(&connection, path)? {
        upgrade.migrate(&mut connection, path)?;
    } else {
        migrate::migrate(&mut connection, path)?;
    }
    migrate::mend(&mut connection, path)?;
    upgrade.resize_pages(connection, path)
}

impl Upgrade<'_> {
    fn migrate(&self, connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
        let extent = Extent::of(connection).map_err(StorageError::at(path))?;
        self.keep_copy(connection, path, extent)?;
        let wal = sibling(path, "-wal");
        self.during("bringing the database up to date", extent.used_bytes, &|| file_bytes(&wal), || {
            connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(StorageError::at(path))?;
            migrate::migrate(connection, path)?;
            // A program that reads now keeps some of it in the WAL.
            Ok(wal::truncate(connection).map(drop).map_err(StorageError::at(path))?)
        })
    }

    /// Copies the database to a file beside it, where there is room for that. Errs where there is none for the migration.
    fn keep_copy(&self, connection: &Connection, path: &Path, extent: Extent) -> Result<(), OpenError> {
        let to = sibling(path, COPY);
        // Every row once more in the WAL, and from there in the database file.
        let needed_bytes = self.reserve_bytes.saturating_add(2 * extent.used_bytes);
        let free_bytes = Disk::of(path).map_or(u64::MAX, |disk| disk.free_bytes);
        if free_bytes < needed_bytes {
            return Err(OpenError::NoRoomToUpgrade { path: path.display().to_string(), needed_bytes, free_bytes });
        }
        if to.symlink_metadata().is_ok() {
            info!("{} exists already: no other copy is made before the database is brought up to date", to.display());
            return Ok(());
        }
        if free_bytes < needed_bytes.saturating_add(extent.file_bytes) {
            warn!(
                "the database is brought up to date without a copy of its earlier state: that takes {}, and the disk has \
                 {} free",
                mib(needed_bytes.saturating_add(extent.file_bytes)),
                mib(free_bytes)
            );
            return Ok(());
        }
        let copied_bytes = AtomicU64::new(0);
        let copy = || {
            let part = PartFile::create(&sibling(path, COPY_PART), &to)?;
            let show = |done: i32, all: i32| copied_bytes.store(share(extent.file_bytes, done, all), Ordering::Relaxed);
            backup::complete(connection, &part, &to, show)
        };
        let done = || copied_bytes.load(Ordering::Relaxed);
        match self.during("copying the database before it is brought up to date", extent.file_bytes, &done, copy) {
            Ok(_) => info!(
                "the database as the earlier version left it is in {to}. To go back to that version: stop hookbox and its socket, rm -f \
                 {path}-wal {path}-shm, mv {to} {path}. When it is no longer needed: rm {to}",
                to = to.display(),
                path = path.display()
            ),
            Err(BackupError::Database(error)) => return Err(error),
            Err(BackupError::Failed(reason)) => {
                return Err(OpenError::NotUpgraded { path: path.display().to_string(), reason });
            }
        }
        Ok(())
    }

    /// Gives a database that has SQLite's default page size that of new ones. Where another program has the file open, or
    /// there is no room, it stays as it is.
    fn resize_pages(&self, connection: Connection, path: &Path) -> Result<Connection, OpenError> {
        let page_bytes: i64 =
            connection.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(StorageError::at(path))?;
        if page_bytes != DEFAULT_PAGE_BYTES {
            return Ok(connection);
        }
        if let Err(reason) = self.try_to_resize(connection, path)? {
            info!(
                "the database keeps its pages of {page_bytes} bytes, with which each delivery writes more to the disk than \
                 with {PAGE_BYTES}: {reason}. The next start tries again"
            );
        }
        connection::open_or_create(path)
    }

    /// The inner error is why it must stay as it is.
    fn try_to_resize(&self, mut connection: Connection, path: &Path) -> Result<Result<(), String>, OpenError> {
        let extent = Extent::of(&connection).map_err(StorageError::at(path))?;
        // The new pages in a file of their own, with more room between the rows, and the old ones in the rollback journal.
        let needed_bytes = self.reserve_bytes.saturating_add(extent.used_bytes * 3 / 2 + extent.file_bytes);
        let free_bytes = Disk::of(path).map_or(u64::MAX, |disk| disk.free_bytes);
        if free_bytes < needed_bytes {
            return Ok(Err(format!(
                "the change takes {}, and the disk has {} free",
                mib(needed_bytes),
                mib(free_bytes)
            )));
        }
        if !take_alone(&connection).map_err(StorageError::at(path))? {
            return Ok(Err("another program has it open".to_owned()));
        }
        let part = sibling(path, RESIZED_PART);
        let copied_bytes = AtomicU64::new(0);
        let done = || file_bytes(&part) + copied_bytes.load(Ordering::Relaxed);
        let resize = || {
            let part = PartFile::create(&part, path)?;
            let show = |done: i32, all: i32| copied_bytes.store(share(extent.used_bytes, done, all), Ordering::Relaxed);
            rewrite(&mut connection, part.path(), show).map_err(|error| StorageError::of(path, error).into())
        };
        match self.during("changing the page size of the database", 2 * extent.used_bytes, &done, resize) {
            Ok(()) => info!("the database has pages of {PAGE_BYTES} bytes now: a delivery writes less to the disk"),
            Err(BackupError::Failed(reason)) => return Ok(Err(reason)),
            Err(BackupError::Database(error)) => return Ok(Err(error.to_string())),
        }
        Ok(Ok(()))
    }

    /// Does `work`, which may take long; meanwhile reports the progress.
    fn during<T>(
        &self,
        what: &str,
        total_bytes: u64,
        done_bytes: &(impl Fn() -> u64 + Sync),
        work: impl FnOnce() -> T,
    ) -> T {
        let (working, end) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| self.report(what, total_bytes, done_bytes, end));
            // Dropped after the work, and in a panic too, before the scope waits for the thread.
            let _working: mpsc::Sender<()> = working;
            work()
        })
    }

    fn report(&self, what: &str, total_bytes: u64, done_bytes: &impl Fn() -> u64, end: Receiver<()>) {
        (self.extend_timeout)(EXTENSION);
        let mut most_bytes = 0;
        while end.recv_timeout(REPORT_EVERY) == Err(RecvTimeoutError::Timeout) {
            (self.extend_timeout)(EXTENSION);
            // A part may be deleted already.
            most_bytes = done_bytes().max(most_bytes);
            info!("{what}: {} %", percent(most_bytes, total_bytes));
        }
    }
}

impl Extent {
    fn of(connection: &Connection) -> rusqlite::Result<Extent> {
        let get = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (page_bytes, pages, unused) = (get("page_size")?, get("page_count")?, get("freelist_count")?);
        let bytes = |pages: i64| (pages * page_bytes).unsigned_abs();
        Ok(Extent { file_bytes: bytes(pages), used_bytes: bytes(pages - unused) })
    }
}

/// Locks everybody else out until the connection is closed. False where another program has the database open.
fn take_alone(connection: &Connection) -> rusqlite::Result<bool> {
    let take = || {
        connection.pragma_update(None, "journal_mode", "DELETE")?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")
    };
    match take() {
        Err(error) if is_busy(&error) => Ok(false),
        taken => taken.map(|()| true),
    }
}

/// Copies the database into `part` with the page size of new ones, and from there back. As `VACUUM` does it, but that has
/// its copy in a directory for temporary files, where there may be no room.
fn rewrite(connection: &mut Connection, part: &Path, progress: impl FnMut(i32, i32)) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.execute("VACUUM INTO ?1", [part.display().to_string()])?;
    let resized = connect(part, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    backup::copy_pages(&resized, connection, progress)
}

fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// What `done` of `all` parts are of a number of bytes.
fn share(bytes: u64, done: i32, all: i32) -> u64 {
    bytes / u64::from(all.unsigned_abs().max(1)) * u64::from(done.unsigned_abs())
}

/// Below 100: what remains is not done in bytes.
fn percent(done_bytes: u64, total_bytes: u64) -> u64 {
    (done_bytes.saturating_mul(100) / total_bytes.max(1)).min(99)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
