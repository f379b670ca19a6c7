//! Changes that a person makes to the queue: from the command line beside a `serve` that may run, or in the admin page.

use std::path::Path;

use rusqlite::{OptionalExtension, Transaction};

use super::error::{OpenError, Result};
use super::replay::{self, ReplayOptions, Replayed};
use super::row::texts;
use super::summary::{Filter, Summary};
use super::writer::{WORKER_BUSY, Writer};
use super::{events, holds, jobs, list, recover, wal};
use crate::clock::Timestamp;
use crate::event::EventId;

/// Events changed in one transaction: the receiver, in another process, waits for no more than these.
const BATCH: usize = 100;

/// Ids that are read at once.
const PAGE: u32 = 1000;

/// A connection for changing a database that exists.
pub struct Commands {
    pub(super) writer: Writer,
}

/// Which events a command is for: those of these ids, or any, that pass the filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub ids: Vec<EventId>,
    pub filter: Filter,
}

impl Selection {
    /// Whether every event is selected.
    pub fn is_any(&self) -> bool {
        *self == Selection::default()
    }
}

/// What [`Commands::cancel`] has done with one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    pub event: EventId,
    pub jobs: usize,
}

/// What [`Commands::delete`] has deleted.
#[derive(Debug)]
pub struct Deleted {
    pub summary: Summary,
    /// Jobs that were open: an attempt may be under way.
    pub open_jobs: i64,
    /// False if the WAL could not be emptied, because another program reads in it.
    pub is_wal_empty: bool,
}

impl Commands {
    /// For the command line.
    pub fn open(path: &Path) -> Result<Commands, OpenError> {
        Ok(Commands { writer: Writer::open_for_command(path, WORKER_BUSY)? })
    }

    /// The events of a selection that exist, in id order.
    pub fn select(&self, selection: &Selection) -> Result<Vec<EventId>> {
        let filter = Filter { limit: PAGE, ..selection.filter.clone() };
        self.writer.read(|connection| match &selection.ids[..] {
            [] => Ok(list::all(connection, &filter)?.into_iter().map(EventId).collect()),
            ids => list::only(connection, ids, &filter),
        })
    }

    /// Queues jobs of these events as far as the options allow. An event without jobs is routed again. Returns what was done
    /// with each, and what was not.
    pub fn replay(&mut self, events: &[EventId], options: &ReplayOptions<'_>, now: Timestamp) -> Result<Vec<Replayed>> {
        self.in_batches(events, |transaction, event| replay::replay(transaction, event, options, now))
    }

    /// What [`Commands::replay`] would do.
    pub fn plan_replay(
        &self,
        events: &[EventId],
        options: &ReplayOptions<'_>,
        now: Timestamp,
    ) -> Result<Vec<Replayed>> {
        self.writer.read(|connection| {
            let plans = events.iter().map(|event| replay::plan(connection, *event, options, now));
            plans.filter_map(rusqlite::Result::transpose).collect()
        })
    }

    /// Cancels the open jobs of these events, of `action` alone where it is given; an attempt that is under way is not
    /// broken off, but not repeated either.
    pub fn cancel(&mut self, events: &[EventId], action: Option<&str>, now: Timestamp) -> Result<Vec<Cancelled>> {
        self.in_batches(events, |transaction, event| {
            let jobs = jobs::cancel(transaction, event, action)?;
            // An event without jobs was not routed yet, or belongs to another program: in both cases it is not finished.
            if jobs > 0 {
                events::finish(transaction, event, now)?;
            }
            Ok(Some(Cancelled { event, jobs }))
        })
    }

    /// Deletes an event with its jobs and attempts, whatever its status, and overwrites it in the files of the database.
    /// `None` if there is no such event.
    pub fn delete(&mut self, event: EventId) -> Result<Option<Deleted>> {
        self.writer.read(|connection| connection.pragma_update(None, "secure_delete", true))?;
        let deleted = self.writer.write(|transaction| {
            let summary = Summary::by_id(transaction)?.query_row([event.0], Summary::of).optional()?;
            let Some(summary) = summary else { return Ok(None) };
            let open = "SELECT count(*) FROM jobs WHERE event_id = ?1 AND state IN ('queued', 'running')";
            let open_jobs = transaction.query_row(open, [event.0], |row| row.get(0))?;
            recover::remember_deleted(transaction, event, crate::clock::now())?;
            transaction.execute("DELETE FROM webhook_events WHERE id = ?1", [event.0])?;
            Ok(Some((summary, open_jobs)))
        })?;
        let Some((summary, open_jobs)) = deleted else { return Ok(None) };
        let is_wal_empty = self.writer.read(|connection| {
            connection.busy_timeout(WORKER_BUSY)?;
            wal::truncate(connection)
        })?;
        Ok(Some(Deleted { summary, open_jobs, is_wal_empty }))
    }

    /// Lets no further job of an action be claimed. False if it was paused already.
    pub fn pause(&mut self, action: &str, now: Timestamp) -> Result<bool> {
        self.writer.write(|transaction| {
            let paused = "INSERT INTO paused (action, since) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            Ok(transaction.execute(paused, (action, now.to_string()))? == 1)
        })
    }

    /// Ends a pause, and a hold that its destination has asked for. False if there was neither.
    pub fn resume(&mut self, action: &str, now: Timestamp) -> Result<bool> {
        self.writer.write(|transaction| {
            let was_held = holds::until(transaction, action)?.is_some_and(|until| until > now);
            holds::lift(transaction, action)?;
            let resumed = transaction.execute("DELETE FROM paused WHERE action = ?1", [action])? == 1;
            Ok(resumed || was_held)
        })
    }

    /// The actions whose destinations ask to wait, and until when.
    pub fn held(&self, now: Timestamp) -> Result<Vec<(String, Timestamp)>> {
        self.writer.read(|connection| holds::all(connection, now))
    }

    /// The actions that are paused.
    pub fn paused(&self) -> Result<Vec<String>> {
        self.writer.read(|connection| texts(connection, "SELECT action FROM paused ORDER BY action"))
    }

    fn in_batches<T>(
        &mut self,
        events: &[EventId],
        change: impl Fn(&Transaction<'_>, EventId) -> rusqlite::Result<Option<T>>,
    ) -> Result<Vec<T>> {
        let mut changed = Vec::new();
        for batch in events.chunks(BATCH) {
            let changes: Vec<T> = self.writer.write(|transaction| {
                batch.iter().filter_map(|event| change(transaction, *event).transpose()).collect()
            })?;
            changed.extend(changes);
            self.writer.checkpoint();
        }
        Ok(changed)
    }
}
