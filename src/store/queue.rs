//! The work of the router and the workers on events that were acknowledged: each step is one method, and one transaction.

use std::cell::RefCell;
use std::sync::Arc;

use rusqlite::{Connection, Row, Transaction};

use super::claims::Claims;
use super::error::{OpenError, Result};
use super::jobs::{self, Next};
use super::news::{self, Change};
use super::row::string;
use super::write_lock::Priority;
use super::writer::Writer;
use super::{counters, events, holds};
use crate::clock::Timestamp;
use crate::event::{Attempt, Event, EventId, Job};
use crate::news::{Kind, Wanted};

/// A worker's, or the router's, connection.
pub struct Queue {
    pub(super) writer: Writer,
    pub(super) claims: Arc<Claims>,
    /// SQLite's number for the schema, when [`Queue::mend_schema`] last compared it.
    pub(super) schema_version: Option<i64>,
}

impl Queue {
    /// Up to `limit` events that have yet to be routed, as (id, source, event type), in id order.
    pub fn unrouted(&self, limit: u32) -> Result<Vec<(EventId, String, String)>> {
        self.writer.read(|connection| {
            let sql = "SELECT event_id, source, event_type
                 FROM unrouted LEFT JOIN webhook_events ON id = event_id ORDER BY event_id LIMIT ?1";
            let event = |row: &Row<'_>| Ok((EventId(row.get(0)?), string(row, 1)?, string(row, 2)?));
            connection.prepare_cached(sql)?.query_map([limit], event)?.collect()
        })
    }

    /// Makes a job for each action of each event. An event without actions is processed.
    ///
    /// An event is left as it is if another program has marked it as done meanwhile, or if it still has open jobs.
    pub fn route(&mut self, routes: &[(EventId, Vec<&str>)], now: Timestamp) -> Result<()> {
        self.writer.write_each(
            routes,
            |transaction, (event, actions)| {
                transaction.prepare_cached("DELETE FROM unrouted WHERE event_id = ?1")?.execute([event.0])?;
                if !events::is_routable(transaction, *event)? {
                    return Ok(());
                }
                for action in actions {
                    jobs::add(transaction, *event, action)?;
                }
                if actions.is_empty() {
                    events::finish_if_allowed(transaction, *event, now)?;
                }
                Ok(())
            },
            |_| {},
        )
    }

    /// Claims up to `limit` jobs of an action that are due; with `is_harmful`, on the disk: what the attempt does may take the
    /// process or the machine down, and must not be attempted forever. Otherwise the claim is in memory, unless the job was
    /// open when the last process ended uncleanly.
    pub fn claim(&mut self, action: &str, limit: u32, is_harmful: bool, now: Timestamp) -> Result<Vec<Job>> {
        if !is_harmful {
            let _guard = self.writer.write_lock.acquire(Priority::Other);
            let mut jobs = self.writer.read(|connection| unclaimed(connection, &self.claims, action, limit, now))?;
            jobs.retain(|job| !self.claims.is_suspect(job.event));
            jobs.iter().for_each(|job| self.claims.insert(job));
            if !jobs.is_empty() {
                return Ok(jobs);
            }
        }
        self.writer.write(|transaction| {
            let mut jobs = unclaimed(transaction, &self.claims, action, limit, now)?;
            jobs.iter_mut().try_for_each(|job| jobs::claim(transaction, job, now))?;
            Ok(jobs)
        })
    }

    /// When the first queued job of an action can be claimed; `None` while the action is paused. Asked before a claim, so that
    /// an idle queue writes nothing.
    pub fn next_due(&self, action: &str) -> Result<Option<Timestamp>> {
        let sql = "SELECT event_id, max(due_at_ms, coalesce((SELECT until_ms FROM holds WHERE holds.action = ?1), 0))
             FROM jobs WHERE state = 'queued' AND action = ?1
             AND NOT EXISTS (SELECT 1 FROM paused WHERE paused.action = ?1)
             ORDER BY due_at_ms, event_id LIMIT ?2";
        let limit = self.claims.count(action) + 1;
        self.writer.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query((action, limit))?;
            while let Some(row) = rows.next()? {
                if !self.claims.contains(EventId(row.get(0)?), action) {
                    return Ok(Some(Timestamp::from_unix_ms(row.get(1)?)));
                }
            }
            Ok(None)
        })
    }

    /// Makes the queued jobs of an action due that are due after `latest`, and lifts a hold that ends after it; true if there
    /// were any.
    ///
    /// No job is postponed for that long: the clock was ahead when they were postponed, and has been set back since.
    pub fn expedite(&mut self, action: &str, latest: Timestamp) -> Result<bool> {
        let sql = "SELECT max(due_at_ms) FROM jobs WHERE state = 'queued' AND action = ?1";
        let (last_due, held_until) = self.writer.read(|connection| {
            Ok((connection.prepare_cached(sql)?.query_row([action], due_at)?, holds::until(connection, action)?))
        })?;
        let is_held_too_long = held_until.is_some_and(|until| until > latest);
        if !is_held_too_long && last_due.is_none_or(|due| due <= latest) {
            return Ok(false);
        }
        self.writer.write(|transaction| {
            if is_held_too_long {
                holds::lift(transaction, action)?;
            }
            jobs::expedite(transaction, action, latest)
        })?;
        Ok(true)
    }

    /// An event as actions see it; `None` if it was deleted.
    pub fn event(&self, id: EventId) -> Result<Option<Event>> {
        self.writer.read(|connection| events::read(connection, id))
    }

    /// Records finished attempts, moves their jobs to the next state, and finishes the events that have no open job any more.
    /// What is `wanted` of what that means becomes news. Puts back `unclaimed` jobs, which were claimed and not attempted; that attempt does
    /// not count.
    ///
    /// A job that was cancelled while it ran stays cancelled, and its attempt is recorded. After an error some attempts may
    /// be on record: to record them again changes nothing.
    pub fn record(
        &mut self,
        finished: &[(Attempt, Next)],
        unclaimed: &[(Job, Timestamp)],
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<()> {
        let claims = &self.claims;
        let changes = RefCell::new(Vec::new());
        let record = |transaction: &Transaction<'_>, (attempt, next): &(Attempt, Next)| {
            if let Some(until) = attempt.held_until {
                holds::extend(transaction, &attempt.job.action, until)?;
            }
            let is_moved = jobs::record(transaction, attempt, next)?;
            changes.borrow_mut().extend(news::attempted(transaction, attempt, next, wanted, now)?);
            // Another connection that has moved the job has finished the event too, or wants it processed again.
            if !is_moved {
                return Ok(());
            }
            if *next == Next::Dead && wanted.has(Kind::JobDead) {
                news::job_dead(transaction, attempt, now)?;
            }
            if matches!(next, Next::Succeeded | Next::Dead) {
                events::finish_if_allowed(transaction, attempt.job.event, now)?;
            }
            Ok(())
        };
        let recorded = |(attempt, _): &(Attempt, Next)| {
            claims.remove(&attempt.job);
            changes.take().iter().for_each(Change::log);
        };
        self.writer.write_each(finished, record, recorded)?;
        let put_back =
            |transaction: &Transaction<'_>, (job, due): &(Job, Timestamp)| jobs::put_back(transaction, job, *due);
        self.writer.write_each(unclaimed, put_back, |(job, _)| claims.remove(job))
    }

    /// A number that changes when another connection has written: another thread's, or another program's.
    pub fn version(&self) -> Result<i64> {
        self.writer.read(|connection| connection.pragma_query_value(None, "data_version", |row| row.get(0)))
    }

    /// Restores what another tool has dropped from the schema. Costs next to nothing where nothing was changed in it.
    pub fn mend_schema(&mut self) -> Result<(), OpenError> {
        let version = |writer: &Writer| {
            writer.read(|connection| connection.pragma_query_value(None, "schema_version", |row| row.get(0)))
        };
        if self.schema_version == Some(version(&self.writer)?) {
            return Ok(());
        }
        self.writer.mend_schema()?;
        self.schema_version = Some(version(&self.writer)?);
        Ok(())
    }

    /// How many events are unprocessed, and how many in error.
    pub fn open_events(&self) -> Result<(i64, i64)> {
        self.writer.read(counters::open_events)
    }

    /// Deletes a job whose event is gone.
    pub fn delete_orphan(&self, job: &Job) -> Result<()> {
        self.writer.write(|transaction| jobs::delete_orphans(transaction, job.event))
    }

    /// Keeps the WAL short. Every thread but the receiver calls this when it, or another, has written.
    pub fn checkpoint(&self) {
        self.writer.checkpoint();
    }
}

/// Due jobs that no worker of this process has claimed.
fn unclaimed(
    connection: &Connection,
    claims: &Claims,
    action: &str,
    limit: u32,
    now: Timestamp,
) -> rusqlite::Result<Vec<Job>> {
    let mut jobs = jobs::due(connection, action, limit.saturating_add(claims.count(action)), now)?;
    jobs.retain(|job| !claims.contains(job.event, action));
    jobs.truncate(limit as usize);
    jobs.sort_by_key(|job| job.event);
    Ok(jobs)
}

fn due_at(row: &Row<'_>) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(0)?.map(Timestamp::from_unix_ms))
}

#[cfg(test)]
mod tests;
