//! Write transactions of one thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::connection::{open_for_writing, open_read_only, require};
use super::error::{OpenError, Result, StorageError, is_busy};
use super::migrate;
use super::wal::{self, Shortening};
use super::write_lock::{Priority, WriteGuard, WriteLock};

/// How long the receiver waits for another program that holds SQLite's lock, before the sender is told to come again.
/// Providers give up after a few seconds.
pub(super) const RECEIVER_BUSY: Duration = Duration::from_secs(1);

/// How long the other writers of `serve`, and commands, wait: nothing but their own work is delayed.
pub(super) const WORKER_BUSY: Duration = Duration::from_secs(5);

/// How long a waiting writer keeps the write lock before it queues for it again. While another program holds SQLite's lock,
/// the last in the queue waits this long for each writer before it. Short for a command too: SQLite asks for a lock less
/// and less often, and a `serve` under load leaves it free for moments only.
const GUARD_BUSY: Duration = Duration::from_millis(20);

/// How long a writer waits for another program's lock before the log says so.
const TOLD_BUSY: Duration = Duration::from_secs(1);

/// What the writers of one process share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) write_lock: WriteLock,
    shortening: Shortening,
}

/// One thread's connection for writing.
pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    priority: Priority,
    /// How long it waits for another program's lock in all.
    busy_timeout: Duration,
}

impl Writer {
    /// For a thread of `serve`, whose threads have `shared` in common.
    pub(super) fn open(
        path: &Path,
        shared: &Arc<Shared>,
        priority: Priority,
        busy_timeout: Duration,
    ) -> Result<Writer> {
        let connection = open_for_writing(path, GUARD_BUSY).map_err(StorageError::at(path))?;
        Ok(Writer { path: path.to_owned(), connection, shared: Arc::clone(shared), priority, busy_timeout })
    }

    /// For a command, beside a `serve` that may run. The database must exist.
    pub(super) fn open_for_command(path: &Path, busy_timeout: Duration) -> Result<Writer, OpenError> {
        require(path)?;
        let writer = Writer::open(path, &Arc::default(), Priority::Other, busy_timeout)?;
        migrate::require_current(&writer.connection, path)?;
        Ok(writer)
    }

    /// For the dry run of a command.
    pub(super) fn open_read_only(path: &Path) -> Result<Writer, OpenError> {
        let connection = open_read_only(path)?;
        let (shared, priority, busy_timeout) = (Arc::default(), Priority::Other, Duration::ZERO);
        Ok(Writer { path: path.to_owned(), connection, shared, priority, busy_timeout })
    }

    /// Commits do not wait for the disk any more: a power cut may undo the latest.
    pub(super) fn relax(&self) -> Result<()> {
        self.read(|connection| connection.pragma_update(None, "synchronous", "NORMAL"))
    }

    /// Reads outside of a transaction.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.connection).map_err(StorageError::at(&self.path))
    }

    /// Runs `work` in a write transaction under the write lock, and commits it. Returns only after the commit is durable.
    pub(super) fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        self.write_then(work, |_| {})
    }

    /// As [`Writer::write`], and calls `then` after the commit, still under the write lock.
    pub(super) fn write_then<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
        then: impl FnOnce(&T),
    ) -> Result<T> {
        let write = || {
            let (_guard, transaction) = self.begin()?;
            let value = work(&transaction)?;
            transaction.commit()?;
            then(&value);
            Ok(value)
        };
        write().map_err(StorageError::at(&self.path))
    }

    /// Runs `work` for each of `items`, in transactions that go on until the receiver waits for the write lock: a provider
    /// waits for the receiver, and no one for these items. Everything committed before an error stays. `then` is called for
    /// each item after its commit, still under the write lock.
    pub(super) fn write_each<T>(
        &self,
        items: &[T],
        work: impl Fn(&Transaction<'_>, &T) -> rusqlite::Result<()>,
        then: impl Fn(&T),
    ) -> Result<()> {
        let mut left = items;
        while !left.is_empty() {
            let some = |transaction: &Transaction<'_>| {
                for (at, item) in left.iter().enumerate() {
                    work(transaction, item)?;
                    if self.shared.write_lock.has_waiting_receiver() {
                        return Ok(at + 1);
                    }
                }
                Ok(left.len())
            };
            let written = self.write_then(some, |count| left[..*count].iter().for_each(&then))?;
            left = &left[written..];
        }
        Ok(())
    }

    /// The write lock, and a write transaction. While another program holds SQLite's lock, the write lock is released to
    /// the next in the queue again and again.
    fn begin(&self) -> rusqlite::Result<(WriteGuard<'_>, Transaction<'_>)> {
        let begun = Instant::now();
        let mut is_told = false;
        loop {
            let guard = self.shared.write_lock.acquire(self.priority);
            match Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate) {
                Err(error) if is_busy(&error) && begun.elapsed() < self.busy_timeout => {}
                transaction => return Ok((guard, transaction?)),
            }
            if !is_told && begun.elapsed() >= TOLD_BUSY {
                is_told = true;
                log::info!("waiting for another program that has locked the database");
            }
        }
    }

    /// Restores what another tool has dropped from the schema, under the write lock.
    pub(super) fn mend_schema(&self) -> Result<(), OpenError> {
        let _guard = self.shared.write_lock.acquire(self.priority);
        // A connection of its own, because tables are rebuilt with other settings.
        let mut connection = open_for_writing(&self.path, self.busy_timeout).map_err(StorageError::at(&self.path))?;
        migrate::mend(&mut connection, &self.path)
    }

    /// Keeps the WAL short. As with SQLite's own checkpoints nothing is lost where that fails, and the next commit reports
    /// what is wrong with the disk.
    pub(super) fn checkpoint(&self) {
        if let Err(error) = wal::shorten(&self.connection, &self.shared.write_lock, &self.shared.shortening) {
            log::debug!("the WAL stays as long as it is: {error}");
        }
    }

    /// The same for the receiver, where the others have had no time for it.
    pub(super) fn checkpoint_overdue(&self) {
        if let Err(error) = wal::shorten_overdue(&self.connection, &self.shared.write_lock, &self.shared.shortening) {
            log::debug!("the WAL stays as long as it is: {error}");
        }
    }
}
