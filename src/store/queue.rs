//! The life of events and jobs after the acknowledgement: each transition is one method, and one transaction.

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use super::{Error, Result, Writer};
use crate::clock::Timestamp;
use crate::event::{Attempt, Event, EventId, Job};

/// A worker's, or the router's, connection.
pub struct Queue {
    writer: Writer,
}

/// Where a job goes after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Succeeded,
    /// Back to the queue, until then.
    Queued(Timestamp),
    Dead,
}

impl Queue {
    pub(super) fn new(writer: Writer) -> Queue {
        Queue { writer }
    }

    /// Up to `limit` events whose jobs are to be made, as (id, source, event type), in id order.
    pub fn unrouted(&self, limit: u32) -> Result<Vec<(EventId, String, String)>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT event_id, coalesce(source, ''), coalesce(event_type, '')
                 FROM unrouted LEFT JOIN webhook_events ON id = event_id ORDER BY event_id LIMIT ?1",
            )?;
            statement.query_map([limit], |row| Ok((EventId(row.get(0)?), row.get(1)?, row.get(2)?)))?.collect()
        })
    }

    /// Makes a job for each of the actions of each event. An event that no action is for is processed.
    ///
    /// One that another program has marked as done meanwhile, or that still has open jobs, is left as it is.
    pub fn route(&mut self, routes: &[(EventId, Vec<&str>)], now: Timestamp) -> Result<()> {
        self.writer.write(|transaction| {
            for (event, actions) in routes {
                transaction.prepare_cached("DELETE FROM unrouted WHERE event_id = ?1")?.execute([event.0])?;
                if !is_open(transaction, *event)? {
                    continue;
                }
                queue_jobs(transaction, *event, actions)?;
                if actions.is_empty() {
                    settle(transaction, *event, now)?;
                }
            }
            Ok(())
        })
    }

    /// Takes up to `limit` jobs of an action that are due, the longest due first. The attempt counts from here on, so
    /// that a job which takes the machine down with it is not tried for ever.
    pub fn claim(&mut self, action: &str, limit: u32, now: Timestamp) -> Result<Vec<Job>> {
        self.writer.write(|transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE jobs SET state = 'running', due_at_ms = NULL, attempts = attempts + 1, tries = tries + 1
                 WHERE state = 'queued' AND action = :action AND event_id IN (
                     SELECT event_id FROM jobs WHERE state = 'queued' AND action = :action AND due_at_ms <= :now
                     ORDER BY due_at_ms, event_id LIMIT :limit)
                 RETURNING event_id, attempts, tries",
            )?;
            let job = |row: &rusqlite::Row<'_>| {
                Ok(Job {
                    event: EventId(row.get(0)?),
                    action: action.to_owned(),
                    attempt: row.get(1)?,
                    tries: row.get(2)?,
                })
            };
            let named = named_params! { ":action": action, ":now": now.unix_ms(), ":limit": limit };
            let mut jobs: Vec<Job> = statement.query_map(named, job)?.collect::<rusqlite::Result<_>>()?;
            jobs.sort_by_key(|job| job.event);
            Ok(jobs)
        })
    }

    /// When the first queued job of an action is due. Asked before a claim, so that an idle queue writes nothing.
    pub fn next_due(&self, action: &str) -> Result<Option<Timestamp>> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT min(due_at_ms) FROM jobs WHERE state = 'queued' AND action = ?1")?
                .query_row([action], |row| Ok(row.get::<_, Option<i64>>(0)?.map(Timestamp::from_unix_ms)))
        })
    }

    /// An event as actions see it; `None` if it was deleted.
    pub fn event(&self, id: EventId) -> Result<Option<Event>> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT event_type, delivery_id, payload_json FROM webhook_events WHERE id = ?1")?
                .query_row([id.0], |row| {
                    Ok(Event { id, event_type: row.get(0)?, delivery_id: row.get(1)?, payload_json: row.get(2)? })
                })
                .optional()
        })
    }

    /// Records finished attempts and moves their jobs, and the events of which no job is open any more, to what follows.
    /// Puts back `untouched` jobs, which were claimed and not tried; that attempt does not count.
    ///
    /// A job that was cancelled while it ran stays cancelled; its attempt is recorded all the same.
    pub fn record(&mut self, finished: &[(Attempt, Next)], untouched: &[Job], now: Timestamp) -> Result<()> {
        self.writer.write(|transaction| {
            for (attempt, next) in finished {
                insert_attempt(transaction, attempt)?;
                move_job(transaction, attempt, *next)?;
                settle(transaction, attempt.job.event, now)?;
            }
            untouched.iter().try_for_each(|job| put_back(transaction, job))
        })
    }

    /// Keeps the WAL short. For every thread but the receiver to call when it has written, or others have.
    pub fn checkpoint(&self) -> Result<()> {
        self.writer.checkpoint()
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.writer.connection).map_err(|error| Error::of(&self.writer.path, error))
    }
}

/// Queues the jobs whose attempt did not come to its end when the last process died.
pub(super) fn recover(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("UPDATE jobs SET state = 'queued', due_at_ms = 0 WHERE state = 'running'")
}

/// Queues the dead jobs of an event again, and opens the event. Their attempts start anew.
pub(super) fn requeue_dead(transaction: &Transaction<'_>, event: EventId) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE jobs SET state = 'queued', due_at_ms = 0, tries = 0 WHERE event_id = ?1 AND state = 'dead'",
        )?
        .execute([event.0])?;
    transaction
        .prepare_cached("UPDATE webhook_events SET status = 'unprocessed', processed_at = NULL WHERE id = ?1")?
        .execute([event.0])?;
    Ok(())
}

/// True for an unprocessed event without open jobs.
fn is_open(transaction: &Transaction<'_>, event: EventId) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM webhook_events WHERE id = ?1 AND status = 'unprocessed')
             AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND state IN ('queued', 'running'))",
        )?
        .query_row([event.0], |row| row.get(0))
}

/// A job that is there already belongs to an event that somebody has set back to `unprocessed`: it is done again.
fn queue_jobs(transaction: &Transaction<'_>, event: EventId, actions: &[&str]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO jobs (event_id, action, state, due_at_ms) VALUES (?1, ?2, 'queued', 0)
         ON CONFLICT (event_id, action) DO UPDATE SET state = 'queued', due_at_ms = 0, tries = 0",
    )?;
    for action in actions {
        statement.execute((event.0, action))?;
    }
    Ok(())
}

fn insert_attempt(transaction: &Transaction<'_>, attempt: &Attempt) -> rusqlite::Result<()> {
    let duration_ms = i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX);
    transaction
        .prepare_cached(
            "INSERT INTO attempts (event_id, action, number, started_at, duration_ms, outcome, detail)
             VALUES (:event, :action, :number, :started_at, :duration_ms, :outcome, :detail)
             ON CONFLICT DO NOTHING",
        )?
        .execute(named_params! {
            ":event": attempt.job.event.0,
            ":action": attempt.job.action,
            ":number": attempt.job.attempt,
            ":started_at": attempt.started_at.to_string(),
            ":duration_ms": duration_ms,
            ":outcome": attempt.outcome.as_str(),
            ":detail": attempt.detail,
        })?;
    Ok(())
}

fn move_job(transaction: &Transaction<'_>, attempt: &Attempt, next: Next) -> rusqlite::Result<()> {
    let (state, due_at_ms, error) = match next {
        Next::Succeeded => ("succeeded", None, None),
        Next::Queued(due) => ("queued", Some(due.unix_ms()), Some(&attempt.detail)),
        Next::Dead => ("dead", None, Some(&attempt.detail)),
    };
    transaction
        .prepare_cached(
            "UPDATE jobs SET state = :state, due_at_ms = :due_at_ms, last_error = :error
             WHERE event_id = :event AND action = :action AND attempts = :attempt AND state = 'running'",
        )?
        .execute(named_params! {
            ":state": state,
            ":due_at_ms": due_at_ms,
            ":error": error,
            ":event": attempt.job.event.0,
            ":action": attempt.job.action,
            ":attempt": attempt.job.attempt,
        })?;
    Ok(())
}

fn put_back(transaction: &Transaction<'_>, job: &Job) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE jobs SET state = 'queued', due_at_ms = 0, attempts = attempts - 1, tries = tries - 1
             WHERE event_id = ?1 AND action = ?2 AND attempts = ?3 AND state = 'running'",
        )?
        .execute((job.event.0, &job.action, job.attempt))?;
    Ok(())
}

/// Gives an event of which no job is open its final status.
fn settle(transaction: &Transaction<'_>, event: EventId, now: Timestamp) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE webhook_events SET processed_at = ?2, status =
                 CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND state = 'dead') THEN 'error' ELSE 'processed' END
             WHERE id = ?1 AND status = 'unprocessed'
             AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND state IN ('queued', 'running'))",
        )?
        .execute((event.0, now.to_string()))?;
    Ok(())
}
