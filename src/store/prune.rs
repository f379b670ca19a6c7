//! Deletes old events, a few at a time, so that no other writer waits for long. SQLite uses the freed pages for new events;
//! only [`Pruner::vacuum`] gives them back to the file system.

mod cursor;

use std::path::Path;
use std::time::Duration;

use rusqlite::Transaction;

use super::error::{OpenError, Result, StorageError, is_row_error};
use super::stats::Sizes;
use super::wal;
use super::writer::{WORKER_BUSY, Writer};
use crate::event::EventId;
use cursor::IS_DELETABLE;

pub use cursor::{Cursor, Expired, PruneBatch, Rule};

/// How long the command waits while others write back to back: SQLite's locks are not fair between processes.
const COMMAND_BUSY: Duration = Duration::from_secs(60);

/// A connection for deleting.
pub struct Pruner {
    writer: Writer,
}

impl Pruner {
    /// For the command line.
    pub fn open(path: &Path) -> Result<Pruner, OpenError> {
        Ok(Pruner::new(Writer::open_for_command(path, COMMAND_BUSY)?)?)
    }

    /// For the command line, to find what would be deleted.
    pub fn open_read_only(path: &Path) -> Result<Pruner, OpenError> {
        Ok(Pruner { writer: Writer::open_read_only(path)? })
    }

    /// Its commits do not wait for the disk: what a power cut takes back of them is deleted again, and no one was promised
    /// anything.
    pub(super) fn new(writer: Writer) -> Result<Pruner> {
        let relaxed = writer.connection.pragma_update(None, "synchronous", "NORMAL");
        relaxed.map_err(StorageError::at(&writer.path))?;
        Ok(Pruner { writer })
    }

    pub fn path(&self) -> &Path {
        &self.writer.path
    }

    /// The next events to delete; none when the cursor is at its end.
    pub fn find(&self, cursor: &mut Cursor) -> Result<PruneBatch> {
        self.writer.read(|connection| cursor.find(connection))
    }

    /// Deletes a batch, with all that belongs to its events. Returns how many were deleted: events that were replayed
    /// meanwhile are kept, and those that a rule of another program protects.
    pub fn delete(&self, cursor: &Cursor, batch: &PruneBatch) -> Result<usize> {
        self.writer.write(|transaction| {
            let mut deleted = 0;
            for event in &batch.events {
                match delete(transaction, cursor.rule.what, *event) {
                    Ok(changed) => deleted += changed,
                    Err(error) if is_row_error(&error) && !transaction.is_autocommit() => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(deleted)
        })
    }

    /// Whether there is other work, for which this can wait.
    pub fn is_busy(&self) -> Result<bool> {
        let busy = "SELECT EXISTS (SELECT 1 FROM unrouted) OR EXISTS (SELECT 1 FROM jobs WHERE state = 'running')";
        self.writer.read(|connection| connection.prepare_cached(busy)?.query_row([], |row| row.get(0)))
    }

    /// Keeps the WAL short.
    pub fn checkpoint(&self) {
        self.writer.checkpoint();
    }

    /// Gives back the memory of the page cache, which is not needed again for a while.
    pub fn shrink(&self) {
        // Without it the process only takes more memory.
        let _ = self.writer.connection.execute_batch("PRAGMA shrink_memory");
    }

    /// How large the database file is, and how much of it is free for new events.
    pub fn sizes(&self) -> Result<Sizes> {
        self.writer.read(Sizes::of_file)
    }

    /// Rewrites the database without its free pages, and makes the file shorter. Nothing else can write meanwhile.
    pub fn vacuum(&self) -> Result<()> {
        self.writer.read(|connection| {
            connection.busy_timeout(WORKER_BUSY)?;
            connection.execute_batch("VACUUM")?;
            // The new database is in the WAL so far.
            wal::truncate(connection)
        })
    }
}

/// An event may have been reopened since it was found. Returns how many rows were changed.
fn delete(transaction: &Transaction<'_>, what: Expired, event: EventId) -> rusqlite::Result<usize> {
    let Expired::Events(status) = what else {
        let reset = "UPDATE provenance SET duplicates = 0 WHERE event_id = ?1 AND duplicates > 0";
        return transaction.prepare_cached(reset)?.execute([event.0]);
    };
    let sql = format!("DELETE FROM webhook_events WHERE {IS_DELETABLE}");
    transaction.prepare_cached(&sql)?.execute((event.0, status.as_str()))
}
