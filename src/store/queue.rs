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
use crate::event::{Attempt, Event, EventId, Job, NewJob};
use crate::news::{Kind, Wanted};

/// The queued jobs of an action that are the first of their key, and when each can be claimed.
const NEXT_DUE: &str =
    "SELECT event_id, max(due_at_ms, coalesce((SELECT until_ms FROM holds WHERE holds.action = ?1), 0)), key
     FROM jobs WHERE state = 'queued' AND is_behind = 0 AND action = ?1
     AND NOT EXISTS (SELECT 1 FROM paused WHERE paused.action = ?1)
     ORDER BY due_at_ms, event_id LIMIT ?2";

/// A worker's, or the router's, connection.
pub struct Queue {
    pub(super) writer: Writer,
    pub(super) claims: Arc<Claims>,
    /// SQLite's number for the schema, when [`Queue::mend_schema`] last compared it.
    pub(super) schema_version: Option<i64>,
}

/// An event that has yet to be routed.
pub struct Unrouted {
    pub id: EventId,
    pub source: String,
    pub event_type: String,
    /// `None` where another program has stored something else.
    pub received_at: Option<Timestamp>,
}

/// Which jobs a worker claims.
pub struct Claim<'a> {
    pub action: &'a str,
    pub limit: u32,
    /// What an attempt does may take the process or the machine down.
    pub is_harmful: bool,
    /// Of each key the newest, which supersedes the others.
    pub latest_only: bool,
}

impl Queue {
    /// Up to `limit` events that have yet to be routed, in id order.
    pub fn unrouted(&self, limit: u32) -> Result<Vec<Unrouted>> {
        self.writer.read(|connection| {
            let sql = "SELECT event_id, source, event_type, received_at
                 FROM unrouted LEFT JOIN webhook_events ON id = event_id ORDER BY event_id LIMIT ?1";
            let event = |row: &Row<'_>| {
                Ok(Unrouted {
                    id: EventId(row.get(0)?),
                    source: string(row, 1)?,
                    event_type: string(row, 2)?,
                    received_at: Timestamp::parse(&string(row, 3)?),
                })
            };
            connection.prepare_cached(sql)?.query_map([limit], event)?.collect()
        })
    }

    /// Makes the jobs of each event. An event without any is processed.
    ///
    /// An event is left as it is if another program has marked it as done meanwhile, or if it still has open jobs.
    pub fn route(&mut self, routes: &[(EventId, Vec<NewJob>)], now: Timestamp) -> Result<()> {
        self.writer.write_each(
            routes,
            |transaction, (event, jobs)| {
                transaction.prepare_cached("DELETE FROM unrouted WHERE event_id = ?1")?.execute([event.0])?;
                if !events::is_routable(transaction, *event)? {
                    return Ok(());
                }
                for job in jobs {
                    jobs::add(transaction, *event, job)?;
                }
                if jobs.is_empty() {
                    events::finish_if_allowed(transaction, *event, now)?;
                }
                Ok(())
            },
            |_| {},
        )
    }

    /// Whether an event was stored before the last process ended uncleanly: it may be what has ended it.
    pub fn is_suspect(&self, event: EventId) -> bool {
        self.claims.is_suspect(event)
    }

    /// Claims up to `limit` jobs of an action that are due; with `is_harmful`, on the disk: what the attempt does may take
    /// the process or the machine down, and must not be attempted forever. Otherwise the claim is in memory, unless the job
    /// was open when the last process ended uncleanly, or others are superseded with the claim.
    ///
    /// Of each key one job is claimed at a time. None may be: further ones have to be superseded before.
    pub fn claim(&mut self, what: &Claim<'_>, now: Timestamp) -> Result<Vec<Job>> {
        let claims = &self.claims;
        if !what.is_harmful {
            let _guard = self.writer.shared.write_lock.acquire(Priority::Other);
            let jobs = self.writer.read(|connection| harmless(connection, claims, what, now))?;
            jobs.iter().for_each(|job| claims.insert(job, now));
            if !jobs.is_empty() {
                return Ok(jobs);
            }
        }
        let claim = |transaction: &Transaction<'_>| {
            let mut claimed = Vec::new();
            for first in claimable(transaction, claims, what, now)? {
                let Some(mut job) = jobs::supersede(transaction, first, now)? else { continue };
                jobs::claim(transaction, &mut job, now)?;
                claimed.push(job);
            }
            claimed.sort_by_key(|job| job.event);
            Ok(claimed)
        };
        self.writer.write_then(claim, |jobs: &Vec<Job>| jobs.iter().for_each(|job| claims.insert(job, now)))
    }

    /// When the first queued job of an action can be claimed; `None` while the action is paused. Asked before a claim, so
    /// that an idle queue writes nothing.
    pub fn next_due(&self, action: &str) -> Result<Option<Timestamp>> {
        let limit = self.claims.count(action) + 1;
        self.writer.read(|connection| {
            let mut statement = connection.prepare_cached(NEXT_DUE)?;
            let mut rows = statement.query((action, limit))?;
            while let Some(row) = rows.next()? {
                let key: Option<String> = row.get(2)?;
                if is_free(&self.claims, EventId(row.get(0)?), action, key.as_deref()) {
                    return Ok(Some(Timestamp::from_unix_ms(row.get(1)?)));
                }
            }
            Ok(None)
        })
    }

    /// Makes the queued jobs of an action due that are due after `latest`, and lifts a hold that ends after it; true if
    /// there were any.
    ///
    /// No job is postponed for that long: the clock was ahead when they were postponed, and has been set back since.
    pub fn expedite(&mut self, action: &str, latest: Timestamp) -> Result<bool> {
        let sql = "SELECT max(due_at_ms) FROM jobs WHERE state = 'queued' AND is_behind = 0 AND action = ?1";
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

    /// Records finished attempts, moves their jobs to the next state, and finishes the events that have no open job any
    /// more. What is `wanted` of what that means becomes news. Puts back `unclaimed` jobs, which were claimed and not
    /// attempted; that attempt does not count.
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
        let delete = |transaction: &Transaction<'_>| jobs::delete_orphans(transaction, job.event);
        self.writer.write_then(delete, |()| self.claims.remove(job))
    }

    /// Keeps the WAL short. Every thread but the receiver calls this when it, or another, has written.
    pub fn checkpoint(&self) {
        self.writer.checkpoint();
    }
}

/// Due jobs that can be claimed, in the order of their due times: no worker of this process has claimed them, or their key.
fn claimable(connection: &Connection, claims: &Claims, what: &Claim<'_>, now: Timestamp) -> rusqlite::Result<Vec<Job>> {
    let limit = what.limit.saturating_add(claims.count(what.action));
    let mut jobs = jobs::due(connection, what.action, what.latest_only, limit, now)?;
    jobs.retain(|job| is_free(claims, job.event, what.action, job.key.as_ref().map(|key| key.text.as_str())));
    jobs.truncate(what.limit as usize);
    Ok(jobs)
}

/// Those of [`claimable`] jobs whose claim needs no write, up to the first that does.
fn harmless(connection: &Connection, claims: &Claims, what: &Claim<'_>, now: Timestamp) -> rusqlite::Result<Vec<Job>> {
    let mut harmless = Vec::new();
    for job in claimable(connection, claims, what, now)? {
        if claims.is_suspect(job.event) || jobs::supersedes(connection, &job)? {
            break;
        }
        harmless.push(job);
    }
    harmless.sort_by_key(|job| job.event);
    Ok(harmless)
}

fn is_free(claims: &Claims, event: EventId, action: &str, key: Option<&str>) -> bool {
    !claims.contains(event, action) && !key.is_some_and(|key| claims.has_key(action, key))
}

fn due_at(row: &Row<'_>) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(0)?.map(Timestamp::from_unix_ms))
}

#[cfg(test)]
mod tests;
