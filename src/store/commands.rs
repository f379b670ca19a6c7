//! Changes that a person makes to the queue: from the command line beside a `serve` that may run, or in the admin page.

use std::path::Path;

use rusqlite::Transaction;

use super::error::{OpenError, Result};
use super::replay::{self, ReplayOptions};
use super::summary::Filter;
use super::writer::{WORKER_BUSY, Writer};
use super::{events, holds, jobs, list};
use crate::clock::Timestamp;
use crate::event::{EventId, Status};

/// Events changed in one transaction: the receiver, in another process, waits for no more than these.
const BATCH: usize = 100;

/// Ids that are read at once.
const PAGE: u32 = 1000;

/// A connection for changing a database that exists.
pub struct Commands {
    pub(super) writer: Writer,
}

/// Which events a command is for; `None` is any.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub ids: Vec<EventId>,
    pub status: Option<Status>,
    /// Received then or later.
    pub since: Option<Timestamp>,
}

impl Commands {
    /// For the command line.
    pub fn open(path: &Path) -> Result<Commands, OpenError> {
        Ok(Commands { writer: Writer::open_for_command(path, WORKER_BUSY)? })
    }

    /// The events of a selection that exist, in id order.
    pub fn select(&self, selection: &Selection) -> Result<Vec<EventId>> {
        let filter = Filter { status: selection.status, since: selection.since, limit: PAGE, ..Filter::default() };
        self.writer.read(|connection| match &selection.ids[..] {
            [] => Ok(list::all(connection, &filter)?.into_iter().map(EventId).collect()),
            ids => list::only(connection, ids, &filter),
        })
    }

    /// Queues the dead jobs of these events again, or, where none is dead, all ended jobs, as far as the options allow. An
    /// event without jobs is routed again. Returns how many events were reopened.
    pub fn replay(&mut self, events: &[EventId], options: &ReplayOptions<'_>) -> Result<usize> {
        self.in_batches(events, |transaction, event| replay::replay(transaction, event, options))
    }

    /// Those of these events that [`Commands::replay`] would reopen.
    pub fn replayable(&self, events: &[EventId], options: &ReplayOptions<'_>) -> Result<Vec<EventId>> {
        self.writer.read(|connection| {
            let mut replayable = Vec::new();
            for event in events {
                if replay::is_replayable(connection, *event, options)? {
                    replayable.push(*event);
                }
            }
            Ok(replayable)
        })
    }

    /// Cancels the open jobs of these events, of `action` alone where it is given; an attempt that is under way is not
    /// broken off, but not repeated either. Returns how many events had such jobs.
    pub fn cancel(&mut self, events: &[EventId], action: Option<&str>, now: Timestamp) -> Result<usize> {
        self.in_batches(events, |transaction, event| {
            let has_cancelled = jobs::cancel(transaction, event, action)? > 0;
            // An event without jobs was not routed yet, or belongs to another program: in both cases it is not finished.
            if has_cancelled {
                events::finish(transaction, event, now)?;
            }
            Ok(has_cancelled)
        })
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
