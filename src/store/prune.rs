//! Deletes old events, a few at a time, so that no other writer waits for long. SQLite uses the freed pages for new events;
//! only [`Pruner::vacuum`] gives them back to the file system.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::commands::Selection;
use super::error::{OpenError, Result, of_row};
use super::row::{string, text};
use super::stats::Sizes;
use super::writer::{WORKER_BUSY, Writer};
use super::{list, recover, wal};
use crate::clock::Timestamp;
use crate::event::{EventId, Status};

/// How long the command waits while others write back to back: SQLite's locks are not fair between processes.
const COMMAND_BUSY: Duration = Duration::from_secs(60);

/// Events deleted in one transaction: about a millisecond for which others wait.
const BATCH_EVENTS: usize = 20;

/// The most bytes in a batch: to free a page SQLite reads it. A larger event is a batch of its own.
const BATCH_BYTES: i64 = 256 << 10;

/// A search ends after this many events in a row that are too young, because events come in the order of their ids. A
/// single one does not end it, because an old event that was replayed is young again.
const YOUNG_RUN: u32 = 64;

/// Ids that are read at once.
const PAGE: u32 = 256;

/// The event `?1`, if it has the status `?2` and no open job.
const IS_DELETABLE: &str = "id = ?1 AND status = ?2 AND status <> 'unprocessed'
     AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = webhook_events.id AND state IN ('queued', 'running'))";

/// A connection for deleting.
pub struct Pruner {
    writer: Writer,
    /// Of retention nothing need be remembered: recovering looks at nothing that is older.
    is_by_hand: bool,
}

/// Which rows are deleted, and from which age.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub what: Expired,
    /// Rows are deleted that have been as `what` says since before then.
    pub before: Timestamp,
    pub now: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Events of this status, by when they got it. Never the unprocessed ones.
    Events(Status),
    /// The counts of duplicates, by when the event first came.
    Duplicates,
}

/// The position of the search for a rule's rows.
pub struct Cursor<'a> {
    rule: Rule,
    selection: &'a Selection,
    after: EventId,
    /// The next ids.
    page: VecDeque<i64>,
    young: u32,
    is_done: bool,
}

/// A few events that are deleted together.
#[derive(Debug, Default)]
pub struct PruneBatch {
    pub events: Vec<EventId>,
    /// The size of payloads and bodies.
    pub bytes: i64,
}

/// The number of events found or deleted, and their size.
#[derive(Debug, Default)]
pub struct Pruned {
    pub events: usize,
    pub bytes: i64,
}

impl Pruner {
    /// For the command line.
    pub fn open(path: &Path) -> Result<Pruner, OpenError> {
        let pruner = Pruner::new(Writer::open_for_command(path, COMMAND_BUSY)?)?;
        Ok(Pruner { is_by_hand: true, ..pruner })
    }

    /// For the command line, to find what would be deleted.
    pub fn open_read_only(path: &Path) -> Result<Pruner, OpenError> {
        Ok(Pruner { writer: Writer::open_read_only(path)?, is_by_hand: true })
    }

    /// Its commits do not wait for the disk: if a power cut undoes some, the same rows are deleted again, and no one was
    /// promised anything.
    pub(super) fn new(writer: Writer) -> Result<Pruner> {
        writer.relax()?;
        Ok(Pruner { writer, is_by_hand: false })
    }

    /// Calls `step` with every batch of events of a selection that the rules match, and with the sum of those before it.
    /// `step` returns how many events of the batch count, or `None` to stop.
    pub fn for_each_batch(
        &self,
        rules: &[Rule],
        selection: &Selection,
        mut step: impl FnMut(&Cursor<'_>, &PruneBatch, &Pruned) -> Result<Option<usize>>,
    ) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for rule in rules {
            let mut cursor = Cursor::new(*rule, selection);
            loop {
                let batch = self.writer.read(|connection| cursor.find(connection))?;
                if batch.events.is_empty() {
                    break;
                }
                let Some(events) = step(&cursor, &batch, &pruned)? else { return Ok(pruned) };
                if rule.what != Expired::Duplicates {
                    pruned.events += events;
                    pruned.bytes += batch.bytes;
                }
            }
        }
        Ok(pruned)
    }

    /// Deletes a batch, with all that belongs to its events. Returns how many were deleted: events that were replayed
    /// meanwhile are kept, and those that a rule of another program protects.
    pub fn delete(&self, cursor: &Cursor<'_>, batch: &PruneBatch) -> Result<usize> {
        self.writer.write(|transaction| {
            let mut deleted = 0;
            for event in &batch.events {
                if self.is_by_hand && matches!(cursor.rule.what, Expired::Events(_)) {
                    recover::remember_deleted(transaction, *event, cursor.rule.now)?;
                }
                deleted += of_row(transaction, delete(transaction, cursor.rule.what, *event))?.unwrap_or(0);
            }
            Ok(deleted)
        })
    }

    /// Whether there is other, more urgent work.
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
            wal::truncate(connection).map(drop)
        })
    }
}

/// An event may have been reopened since it was found. Returns how many rows were changed.
fn delete(transaction: &Transaction<'_>, what: Expired, event: EventId) -> rusqlite::Result<usize> {
    let Expired::Events(status) = what else {
        let reset = "UPDATE webhook_events SET duplicates = 0 WHERE id = ?1 AND duplicates > 0";
        return transaction.prepare_cached(reset)?.execute([event.0]);
    };
    let sql = format!("DELETE FROM webhook_events WHERE {IS_DELETABLE}");
    transaction.prepare_cached(&sql)?.execute((event.0, status.as_str()))
}

impl<'a> Cursor<'a> {
    pub fn new(rule: Rule, selection: &'a Selection) -> Cursor<'a> {
        Cursor { rule, selection, after: EventId(0), page: VecDeque::new(), young: 0, is_done: false }
    }

    fn find(&mut self, connection: &Connection) -> rusqlite::Result<PruneBatch> {
        match self.rule.what {
            Expired::Events(status) => self.find_events(connection, status),
            Expired::Duplicates => self.find_duplicates(connection),
        }
    }

    fn find_events(&mut self, connection: &Connection, status: Status) -> rusqlite::Result<PruneBatch> {
        let mut batch = PruneBatch::default();
        let is_any = self.selection.is_any();
        let mut selected = list::Check::new(connection, &self.selection.filter)?;
        let mut by_id = connection.prepare_cached(&format!(
            "SELECT coalesce(processed_at, received_at), octet_length(payload_json) + coalesce(octet_length(body), 0)
             FROM webhook_events WHERE {IS_DELETABLE}",
        ))?;
        while !self.is_done
            && let Some(id) = self.next_id(connection, status)?
        {
            let found = by_id.query_row((id, status.as_str()), |row| Ok((string(row, 0)?, row.get::<_, i64>(1)?)));
            if let Some((at, bytes)) = found.optional()?
                && self.check(&at)
                && (is_any || selected.passing(list::Candidate::of(id))?.is_some())
            {
                let is_full = batch.events.len() == BATCH_EVENTS || batch.bytes + bytes > BATCH_BYTES;
                if is_full && !batch.events.is_empty() {
                    return Ok(batch);
                }
                batch.events.push(EventId(id));
                batch.bytes += bytes;
            }
            self.after = EventId(id);
            self.page.pop_front();
        }
        self.is_done = true;
        Ok(batch)
    }

    /// By id, because only ids come in the order of time.
    fn find_duplicates(&mut self, connection: &Connection) -> rusqlite::Result<PruneBatch> {
        let mut batch = PruneBatch::default();
        let mut statement = connection.prepare_cached(
            "SELECT id, received_at FROM webhook_events INDEXED BY webhook_events_duplicated
             WHERE duplicates > 0 AND id > ?1 ORDER BY id",
        )?;
        let mut rows = statement.query([self.after.0])?;
        while !self.is_done
            && batch.events.len() < BATCH_EVENTS
            && let Some(row) = rows.next()?
        {
            self.after = EventId(row.get(0)?);
            if self.check(&text(row, 1)?) {
                batch.events.push(self.after);
            }
        }
        Ok(batch)
    }

    /// The event to check next, without moving on.
    fn next_id(&mut self, connection: &Connection, status: Status) -> rusqlite::Result<Option<i64>> {
        if self.page.is_empty() {
            self.page = match &self.selection.ids[..] {
                [] => list::oldest(connection, status, self.after, PAGE)?.into(),
                ids => ids
                    .iter()
                    .filter(|id| **id > self.after)
                    .map(|id| id.0)
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
            };
            let before = self.selection.filter.before.map_or(i64::MAX, |before| before.0);
            self.page.retain(|id| *id < before);
        }
        Ok(self.page.front().copied())
    }

    /// Whether an event of that time has expired; after many in a row that have not, the search is done, unless each event
    /// is named.
    fn check(&mut self, at: &str) -> bool {
        // A clock that was not set, or was ahead, says nothing about an age.
        let at = Timestamp::parse(at).filter(|at| at.is_plausible() && *at <= self.rule.now);
        let is_young = at.is_some_and(|at| at >= self.rule.before);
        let is_old = at.is_some_and(|at| at < self.rule.before);
        self.young = if is_old { 0 } else { self.young + u32::from(is_young) };
        self.is_done = self.young >= YOUNG_RUN && self.selection.ids.is_empty();
        is_old
    }
}
