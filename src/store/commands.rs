//! What a person does to the queue from the command line, beside a `serve` that may run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{OpenFlags, Transaction};

use super::list::{self, Filter};
use super::queue::{ReplayOptions, is_replayable, requeue, settle};
use super::write_lock::{Priority, WriteLock};
use super::{Error, Result, TURN_BUSY, Writer, connect, migrate, require, tune};
use crate::clock::Timestamp;
use crate::event::{EventId, Status};

/// A person waits longer than a provider.
const COMMAND_BUSY: Duration = Duration::from_secs(5);

/// Events changed in one transaction: the receiver, in another process, waits for no more than these.
const BATCH: usize = 100;

/// Ids that are read at once.
const PAGE: u32 = 1000;

/// A connection for changing a database that exists.
pub struct Commands {
    writer: Writer,
}

/// Which events a command is for; `None` is any.
#[derive(Debug, Default)]
pub struct Selection {
    pub ids: Vec<EventId>,
    pub status: Option<Status>,
    /// Received then or later.
    pub since: Option<Timestamp>,
}

/// Opens a database that exists, for a command that changes something.
pub(super) fn open(path: &Path) -> Result<Writer> {
    require(path)?;
    let open = || {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(COMMAND_BUSY)?;
        tune(&connection)?;
        Ok(connection)
    };
    let connection = open().map_err(|error| Error::of(path, error))?;
    migrate::require_current(&connection, path)?;
    // In many short waits: SQLite asks for a lock less and less often, and a `serve` under load leaves it free for moments.
    connection.busy_timeout(TURN_BUSY).map_err(|error| Error::of(path, error))?;
    let (turns, patience) = (Arc::new(WriteLock::default()), COMMAND_BUSY);
    Ok(Writer { path: path.to_owned(), connection, turns, priority: Priority::Other, patience })
}

impl Commands {
    pub fn open(path: &Path) -> Result<Commands> {
        Ok(Commands { writer: open(path)? })
    }

    pub(super) fn within(writer: Writer) -> Commands {
        Commands { writer }
    }

    /// The events of a selection that exist, in id order.
    pub fn select(&self, selection: &Selection) -> Result<Vec<EventId>> {
        let connection = &self.writer.connection;
        let filter = Filter { status: selection.status, since: selection.since, limit: PAGE, ..Filter::default() };
        let select = || match &selection.ids[..] {
            [] => Ok(list::all(connection, &filter)?.into_iter().map(EventId).collect()),
            ids => list::only(connection, ids, &filter),
        };
        select().map_err(|error| Error::of(&self.writer.path, error))
    }

    /// Queues the dead jobs of these events again, or, where none is dead, all that have ended; of these, what is asked
    /// for. An event of which there are no jobs is routed anew. Returns how many events were opened.
    pub fn replay(&mut self, events: &[EventId], options: &ReplayOptions<'_>) -> Result<usize> {
        self.in_batches(events, |transaction, event| requeue(transaction, event, options))
    }

    /// Those of these events that [`Commands::replay`] would open.
    pub fn replayable(&self, events: &[EventId], options: &ReplayOptions<'_>) -> Result<Vec<EventId>> {
        let mut replayable = Vec::new();
        for event in events {
            let is_one = is_replayable(&self.writer.connection, *event, options);
            if is_one.map_err(|error| Error::of(&self.writer.path, error))? {
                replayable.push(*event);
            }
        }
        Ok(replayable)
    }

    /// Cancels the open jobs of these events, of `action` alone where it is given; an attempt that is under way is not
    /// broken off, but not repeated either. Returns how many events had such jobs.
    pub fn cancel(&mut self, events: &[EventId], action: Option<&str>, now: Timestamp) -> Result<usize> {
        self.in_batches(events, |transaction, event| {
            let cancelled = transaction
                .prepare_cached(
                    "UPDATE jobs SET state = 'cancelled', due_at_ms = NULL
                     WHERE event_id = ?1 AND (?2 IS NULL OR action = ?2) AND state IN ('queued', 'running')",
                )?
                .execute((event.0, action))?;
            // An event without jobs was not routed yet, or is another program's: neither is done.
            if cancelled > 0 {
                settle(transaction, event, now)?;
            }
            Ok(cancelled > 0)
        })
    }

    /// Lets no further job of an action be claimed. False if it was paused already.
    pub fn pause(&mut self, action: &str, now: Timestamp) -> Result<bool> {
        self.writer.write(|transaction| {
            let paused = "INSERT INTO paused (action, since) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            Ok(transaction.execute(paused, (action, now.to_string()))? == 1)
        })
    }

    /// Ends a pause. False if there was none.
    pub fn resume(&mut self, action: &str) -> Result<bool> {
        self.writer.write(|transaction| Ok(transaction.execute("DELETE FROM paused WHERE action = ?1", [action])? == 1))
    }

    fn in_batches(
        &mut self,
        events: &[EventId],
        change: impl Fn(&Transaction<'_>, EventId) -> rusqlite::Result<bool>,
    ) -> Result<usize> {
        let mut changed = 0;
        for batch in events.chunks(BATCH) {
            changed += self.writer.write(|transaction| {
                let changes = batch.iter().map(|event| change(transaction, *event));
                changes.map(|changed| changed.map(usize::from)).sum::<rusqlite::Result<usize>>()
            })?;
        }
        Ok(changed)
    }
}
