//! Forgets what is old enough, a little at a time, so that nobody waits for it. SQLite uses the freed pages for what comes
//! next; only [`Pruner::vacuum`] gives them back to the file system.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::queue::text;
use super::write_lock::Priority;
use super::{Error, Result, WORKER_BUSY, Writer, commands, error, list, open_to_look};
use crate::clock::Timestamp;
use crate::event::{EventId, Status};

/// Events forgotten in one transaction: about a millisecond of the others' time.
const BATCH_EVENTS: usize = 20;

/// Or so much of them: to free a page SQLite reads it. A larger event is a batch of its own.
const BATCH_BYTES: i64 = 256 << 10;

/// So many events in a row that are too young end a search, because events come in the order of their ids. It is not one,
/// because an old event that was replayed is young again.
const YOUNG_RUN: u32 = 64;

/// Ids that are looked up at once.
const PAGE: u32 = 256;

/// How long the command waits while others write back to back: SQLite's locks are not fair between processes.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(60);

/// True for an event of which a job is open: a word about a death may still be to be said.
const HAS_OPEN_JOB: &str =
    "EXISTS (SELECT 1 FROM jobs WHERE event_id = webhook_events.id AND state IN ('queued', 'running'))";

/// What is kept for how long.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub what: Expired,
    /// What has been so since before then is forgotten.
    pub before: Timestamp,
    pub now: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Events of this status, by when they got it. Never the unprocessed ones.
    Events(Status),
    /// The counts of how often events came again, by when they came first.
    Duplicates,
}

/// How far a search for what a rule is for has come.
pub struct Cursor {
    rule: Rule,
    after: EventId,
    /// What comes next.
    page: VecDeque<i64>,
    young: u32,
    is_done: bool,
}

/// A few events to be forgotten together.
#[derive(Debug, Default)]
pub struct Batch {
    pub events: Vec<EventId>,
    /// Of payload and body.
    pub bytes: i64,
}

/// A connection for forgetting.
pub struct Pruner {
    writer: Writer,
}

/// How large the database file is, and how much of it is free for what comes next.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    pub file_bytes: u64,
    pub free_bytes: u64,
}

impl Cursor {
    pub fn new(rule: Rule) -> Cursor {
        Cursor { rule, after: EventId(0), page: VecDeque::new(), young: 0, is_done: false }
    }

    /// The event to look at next, which stays the next one.
    fn next_id(&mut self, connection: &Connection, status: Status) -> rusqlite::Result<Option<i64>> {
        if self.page.is_empty() {
            self.page = list::oldest(connection, status, self.after, PAGE)?.into();
        }
        Ok(self.page.front().copied())
    }

    /// Whether an event of that time is to be forgotten.
    fn judge(&mut self, at: &str) -> bool {
        // A clock that was not set, or was ahead, says nothing about an age.
        let at = Timestamp::parse(at).filter(|at| at.is_plausible() && *at <= self.rule.now);
        let is_young = at.is_some_and(|at| at >= self.rule.before);
        let is_old = at.is_some_and(|at| at < self.rule.before);
        self.young = if is_old { 0 } else { self.young + u32::from(is_young) };
        self.is_done = self.young >= YOUNG_RUN;
        is_old
    }
}

impl Pruner {
    /// For the command line.
    pub fn open(path: &Path) -> Result<Pruner> {
        Pruner::of(Writer { patience: OPERATOR_PATIENCE, ..commands::open(path)? })
    }

    /// For a look at what would be forgotten.
    pub fn open_to_look(path: &Path) -> Result<Pruner> {
        let connection = open_to_look(path)?;
        let (turns, patience) = (Arc::default(), WORKER_BUSY);
        Ok(Pruner { writer: Writer { path: path.to_owned(), connection, turns, priority: Priority::Other, patience } })
    }

    pub fn path(&self) -> &Path {
        &self.writer.path
    }

    /// What a power cut takes back of this is forgotten again: nobody was told of it, and no commit waits for the disk.
    pub(super) fn of(writer: Writer) -> Result<Pruner> {
        let relaxed = writer.connection.pragma_update(None, "synchronous", "NORMAL");
        relaxed.map_err(|error| Error::of(&writer.path, error))?;
        Ok(Pruner { writer })
    }

    /// The next events to be forgotten; none when the search is at its end.
    pub fn find(&self, search: &mut Cursor) -> Result<Batch> {
        self.read(|connection| match search.rule.what {
            Expired::Events(status) => find_events(connection, search, status),
            Expired::Duplicates => find_counts(connection, search),
        })
    }

    /// Forgets a batch of a search, with all that belongs to its events. Returns how many were forgotten: what was replayed
    /// meanwhile is kept, and what a foreign rule holds.
    pub fn forget(&self, search: &Cursor, batch: &Batch) -> Result<usize> {
        self.writer.write(|transaction| {
            let mut forgotten = 0;
            for event in &batch.events {
                match forget(transaction, search.rule.what, *event) {
                    Ok(changed) => forgotten += changed,
                    Err(error) if error::is_of_the_row(&error) && !transaction.is_autocommit() => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(forgotten)
        })
    }

    /// Whether there is other work, for which this can wait.
    pub fn is_busy(&self) -> Result<bool> {
        self.read(|connection| {
            let busy = "SELECT EXISTS (SELECT 1 FROM unrouted) OR EXISTS (SELECT 1 FROM jobs WHERE state = 'running')";
            connection.prepare_cached(busy)?.query_row([], |row| row.get(0))
        })
    }

    /// Keeps the WAL short.
    pub fn checkpoint(&self) {
        self.writer.checkpoint();
    }

    /// Gives back the memory of its page cache, which it needs again only in a while.
    pub fn shrink(&self) {
        // It is the memory's sake alone.
        let _ = self.writer.connection.execute_batch("PRAGMA shrink_memory");
    }

    pub fn space(&self) -> Result<Space> {
        self.read(|connection| {
            let space = "SELECT page_count * page_size, freelist_count * page_size
                 FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
            connection.query_row(space, [], |row| {
                let bytes = |column| row.get(column).map(i64::unsigned_abs);
                Ok(Space { file_bytes: bytes(0)?, free_bytes: bytes(1)? })
            })
        })
    }

    /// Writes the database anew without its free pages, and makes the file shorter. Nobody else can write meanwhile.
    pub fn vacuum(&self) -> Result<()> {
        let connection = &self.writer.connection;
        let vacuum = || {
            connection.busy_timeout(WORKER_BUSY)?;
            connection.execute_batch("VACUUM")?;
            // The new database is in the WAL so far.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        vacuum().map_err(|error| Error::of(&self.writer.path, error))
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.writer.connection).map_err(|error| Error::of(&self.writer.path, error))
    }
}

fn find_events(connection: &Connection, search: &mut Cursor, status: Status) -> rusqlite::Result<Batch> {
    let mut batch = Batch::default();
    let mut by_id = connection.prepare_cached(&format!(
        "SELECT coalesce(processed_at, received_at), octet_length(payload_json) + coalesce(octet_length(body), 0)
         FROM webhook_events WHERE id = ?1 AND status = ?2 AND status <> 'unprocessed' AND NOT {HAS_OPEN_JOB}",
    ))?;
    while !search.is_done
        && let Some(id) = search.next_id(connection, status)?
    {
        let found =
            by_id.query_row((id, status.as_str()), |row| Ok((text(row, 0)?.into_owned(), row.get::<_, i64>(1)?)));
        if let Some((at, bytes)) = found.optional()?
            && search.judge(&at)
        {
            let is_full = batch.events.len() == BATCH_EVENTS || batch.bytes + bytes > BATCH_BYTES;
            if is_full && !batch.events.is_empty() {
                return Ok(batch);
            }
            batch.events.push(EventId(id));
            batch.bytes += bytes;
        }
        search.after = EventId(id);
        search.page.pop_front();
    }
    search.is_done = true;
    Ok(batch)
}

/// By id, because only ids come in the order of time.
fn find_counts(connection: &Connection, search: &mut Cursor) -> rusqlite::Result<Batch> {
    let mut batch = Batch::default();
    let mut statement = connection.prepare_cached(
        "SELECT event_id, received_at FROM provenance CROSS JOIN webhook_events ON id = event_id
         WHERE duplicates > 0 AND event_id > ?1 ORDER BY event_id",
    )?;
    let mut rows = statement.query([search.after.0])?;
    while !search.is_done
        && batch.events.len() < BATCH_EVENTS
        && let Some(row) = rows.next()?
    {
        search.after = EventId(row.get(0)?);
        if search.judge(&text(row, 1)?) {
            batch.events.push(search.after);
        }
    }
    Ok(batch)
}

/// An event may have been opened again since it was found.
fn forget(transaction: &Transaction<'_>, what: Expired, event: EventId) -> rusqlite::Result<usize> {
    let Expired::Events(status) = what else {
        let reset = "UPDATE provenance SET duplicates = 0 WHERE event_id = ?1 AND duplicates > 0";
        return transaction.prepare_cached(reset)?.execute([event.0]);
    };
    transaction
        .prepare_cached(&format!(
            "DELETE FROM webhook_events
             WHERE id = ?1 AND status = ?2 AND status <> 'unprocessed' AND NOT {HAS_OPEN_JOB}",
        ))?
        .execute((event.0, status.as_str()))
}
