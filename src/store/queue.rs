//! The life of events and jobs after the acknowledgement: each transition is one method, and one transaction.

use std::borrow::Cow;

use log::warn;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use super::{Error, Result, Writer, error};
use crate::clock::Timestamp;
use crate::event::{Attempt, Event, EventId, Job, Status};

/// A worker's, or the router's, connection.
pub struct Queue {
    writer: Writer,
}

/// The due time of a job that does not wait: before every clock, so that one that is set back delays nothing.
pub const IMMEDIATELY: Timestamp = Timestamp::from_unix_ms(0);

/// Where a job goes after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Succeeded,
    /// Back to the queue, until then.
    Queued(Timestamp),
    /// For good; `tell` is the action that is to tell of it.
    Dead {
        tell: Option<String>,
    },
}

impl Queue {
    pub(super) fn new(writer: Writer) -> Queue {
        Queue { writer }
    }

    /// Up to `limit` events whose jobs are to be made, as (id, source, event type), in id order.
    pub fn unrouted(&self, limit: u32) -> Result<Vec<(EventId, String, String)>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT event_id, source, event_type
                 FROM unrouted LEFT JOIN webhook_events ON id = event_id ORDER BY event_id LIMIT ?1",
            )?;
            statement
                .query_map([limit], |row| {
                    Ok((EventId(row.get(0)?), text(row, 1)?.into_owned(), text(row, 2)?.into_owned()))
                })?
                .collect()
        })
    }

    /// Makes a job for each of the actions of each event. An event that no action is for is processed.
    ///
    /// One that another program has marked as done meanwhile, or that still has open jobs, is left as it is.
    pub fn route(&mut self, routes: &[(EventId, Vec<&str>)], now: Timestamp) -> Result<()> {
        self.writer.write_each(routes, |transaction, (event, actions)| {
            transaction.prepare_cached("DELETE FROM unrouted WHERE event_id = ?1")?.execute([event.0])?;
            if !is_open(transaction, *event)? {
                return Ok(());
            }
            for action in actions {
                queue_job(transaction, *event, action, "")?;
            }
            if actions.is_empty() {
                settle_if_allowed(transaction, *event, now)?;
            }
            Ok(())
        })
    }

    /// Takes up to `limit` jobs of an action that are due, those first that were never put off, then the longest due. The
    /// attempt counts from here on, so that a job which takes the machine down with it is not tried for ever.
    pub fn claim(&mut self, action: &str, limit: u32, now: Timestamp) -> Result<Vec<Job>> {
        self.writer.write(|transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE jobs SET state = 'running', due_at_ms = NULL, attempts = attempts + 1, tries = tries + 1
                 WHERE state = 'queued' AND action = :action AND (event_id, dead_action) IN (
                     SELECT event_id, dead_action FROM jobs WHERE state = 'queued' AND action = :action
                     AND due_at_ms <= :now AND NOT EXISTS (SELECT 1 FROM paused WHERE paused.action = :action)
                     ORDER BY due_at_ms, event_id LIMIT :limit)
                 RETURNING event_id, dead_action, attempts, tries",
            )?;
            let job = |row: &Row<'_>| {
                Ok(Job {
                    event: EventId(row.get(0)?),
                    action: action.to_owned(),
                    dead_action: row.get(1)?,
                    attempt: row.get(2)?,
                    tries: row.get(3)?,
                })
            };
            let named = named_params! { ":action": action, ":now": now.unix_ms(), ":limit": limit };
            let mut jobs: Vec<Job> = statement.query_map(named, job)?.collect::<rusqlite::Result<_>>()?;
            jobs.sort_by_key(|job| job.event);
            Ok(jobs)
        })
    }

    /// When the first queued job of an action is due; `None` while the action is paused. Asked before a claim, so that an
    /// idle queue writes nothing.
    pub fn next_due(&self, action: &str) -> Result<Option<Timestamp>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT min(due_at_ms) FROM jobs WHERE state = 'queued' AND action = ?1
                     AND NOT EXISTS (SELECT 1 FROM paused WHERE paused.action = ?1)",
                )?
                .query_row([action], |row| Ok(row.get::<_, Option<i64>>(0)?.map(Timestamp::from_unix_ms)))
        })
    }

    /// The last error of an action's job for an event.
    pub fn last_error(&self, event: EventId, action: &str) -> Result<Option<String>> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT last_error FROM jobs WHERE event_id = ?1 AND action = ?2 AND dead_action = ''")?
                .query_row((event.0, action), |row| row.get(0))
                .optional()
                .map(Option::flatten)
        })
    }

    /// Makes due at once the queued jobs of an action whose due time lies after `latest`; true if there were any.
    ///
    /// No job is put off for that long: the clock was ahead when it was, and has been set back since.
    pub fn expedite(&mut self, action: &str, latest: Timestamp) -> Result<bool> {
        let last_due: Option<i64> = self.read(|connection| {
            connection
                .prepare_cached("SELECT max(due_at_ms) FROM jobs WHERE state = 'queued' AND action = ?1")?
                .query_row([action], |row| row.get(0))
        })?;
        if last_due.is_none_or(|due_at_ms| due_at_ms <= latest.unix_ms()) {
            return Ok(false);
        }
        self.writer.write(|transaction| {
            transaction
                .prepare_cached(
                    "UPDATE jobs SET due_at_ms = 0 WHERE state = 'queued' AND action = ?1 AND due_at_ms > ?2",
                )?
                .execute((action, latest.unix_ms()))
        })?;
        Ok(true)
    }

    /// An event as actions see it; `None` if it was deleted.
    pub fn event(&self, id: EventId) -> Result<Option<Event>> {
        self.read(|connection| read_event(connection, id))
    }

    /// Records finished attempts and moves their jobs, and the events of which no job is open any more, to what follows.
    /// Puts back `unclaimed` jobs, which were claimed and not tried; that attempt does not count.
    ///
    /// A job that was cancelled while it ran stays cancelled; its attempt is recorded all the same. After an error some may
    /// be recorded: to record them again changes nothing.
    pub fn record(
        &mut self,
        finished: &[(Attempt, Next)],
        unclaimed: &[(Job, Timestamp)],
        now: Timestamp,
    ) -> Result<()> {
        self.writer.write_each(finished, |transaction, (attempt, next)| {
            insert_attempt(transaction, attempt)?;
            let is_moved = move_job(transaction, attempt, next)?;
            // Whoever else has moved it has settled the event too, or wants it done again.
            if is_moved && !matches!(next, Next::Queued(_)) {
                settle_if_allowed(transaction, attempt.job.event, now)?;
            }
            Ok(())
        })?;
        self.writer.write_each(unclaimed, |transaction, (job, due)| put_back(transaction, job, *due))
    }

    /// A number that changes when somebody else has written: another thread, or another program.
    pub fn version(&self) -> Result<i64> {
        self.read(|connection| connection.pragma_query_value(None, "data_version", |row| row.get(0)))
    }

    /// How many events are unprocessed, and how many in error.
    pub fn open_events(&self) -> Result<(i64, i64)> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT coalesce(sum(count), 0) FROM tallies WHERE about = 'status' AND what = ?1")?;
            let mut count = |status: Status| statement.query_row([status.as_str()], |row| row.get(0));
            Ok((count(Status::Unprocessed)?, count(Status::Error)?))
        })
    }

    /// Removes a job whose event is gone.
    pub fn forget(&self, job: &Job) -> Result<()> {
        self.writer.write(|transaction| {
            let gone =
                "DELETE FROM jobs WHERE event_id = ?1 AND NOT EXISTS (SELECT 1 FROM webhook_events WHERE id = ?1)";
            transaction.prepare_cached(gone)?.execute([job.event.0]).map(drop)
        })
    }

    /// Keeps the WAL short. For every thread but the receiver to call when it has written, or others have.
    pub fn checkpoint(&self) {
        self.writer.checkpoint();
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.writer.connection).map_err(|error| Error::of(&self.writer.path, error))
    }
}

pub(super) fn read_event(connection: &Connection, id: EventId) -> rusqlite::Result<Option<Event>> {
    connection
        .prepare_cached(
            "SELECT source, event_type, delivery_id, received_at, headers_json, payload_json, body
             FROM webhook_events WHERE id = ?1",
        )?
        .query_row([id.0], |row| {
            Ok(Event {
                id,
                source: text(row, 0)?.into_owned(),
                event_type: text(row, 1)?.into_owned(),
                delivery_id: text(row, 2)?.into_owned(),
                received_at: text(row, 3)?.into_owned(),
                headers_json: text(row, 4)?.into_owned(),
                payload_json: text(row, 5)?.into(),
                body: row.get_ref(6)?.as_bytes_or_null().ok().flatten().map(<[u8]>::to_vec),
            })
        })
        .optional()
}

/// A column of text, in which another program may have stored bytes that are none, or a number. An event that could not
/// be read at all would hold up those behind it. Borrowed where it can be: a payload is large.
pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<Cow<'a, str>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Cow::Borrowed(""),
        ValueRef::Integer(number) => number.to_string().into(),
        ValueRef::Real(number) => number.to_string().into(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes),
    })
}

/// Queues the jobs whose attempt did not come to its end when the last process died.
pub(super) fn recover(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch("UPDATE jobs SET state = 'queued', due_at_ms = 0 WHERE state = 'running'")
}

/// Puts back the jobs that are running; that attempt does not count. For the end of the process, when nobody can record
/// their outcome any more.
pub(super) fn interrupt(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "UPDATE jobs SET state = 'queued', due_at_ms = 0, attempts = attempts - 1, tries = tries - 1
         WHERE state = 'running'",
    )
}

/// Which jobs of an event are to be done again.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayOptions<'a> {
    /// Only those of this action.
    pub action: Option<&'a str>,
    /// None that have succeeded, where none is dead either.
    pub spares_succeeded: bool,
}

impl ReplayOptions<'_> {
    fn ended(&self) -> &'static str {
        if self.spares_succeeded { "'cancelled'" } else { "'succeeded', 'cancelled'" }
    }
}

/// Queues the dead jobs of an event again, or, where none is dead, all that have ended; of these, what is asked for. Their
/// attempts start anew. An event of which there are no jobs is routed anew. False if there was nothing to do.
pub(super) fn requeue(
    transaction: &Transaction<'_>,
    event: EventId,
    options: &ReplayOptions<'_>,
) -> rusqlite::Result<bool> {
    let states = match replay_scope(transaction, event, options)? {
        Some(ReplayScope::Dead) => "'dead'",
        Some(ReplayScope::Ended) => options.ended(),
        Some(ReplayScope::Route) => return reopen(transaction, event),
        None => return Ok(false),
    };
    queue_again(transaction, event, options.action, states)?;
    reopen(transaction, event)
}

/// Queues what has failed of an event again, and opens it: its dead jobs, and those that somebody has cancelled by marking
/// the event as failed. Where there are no jobs at all, it is routed anew. False if there is nothing to do again.
pub(super) fn requeue_failed(transaction: &Transaction<'_>, event: EventId) -> rusqlite::Result<bool> {
    let queued = queue_again(transaction, event, None, "'dead', 'cancelled'")?;
    let has_jobs = "SELECT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND dead_action = '')";
    if queued == 0 && transaction.prepare_cached(has_jobs)?.query_row([event.0], |row| row.get(0))? {
        return Ok(false);
    }
    reopen(transaction, event)
}

/// Queues the jobs of an event that are in one of `states`, of `action` alone where it is given; returns how many.
fn queue_again(
    transaction: &Transaction<'_>,
    event: EventId,
    action: Option<&str>,
    states: &str,
) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(&format!(
            "UPDATE jobs SET state = 'queued', due_at_ms = 0, tries = 0
             WHERE event_id = ?1 AND dead_action = '' AND (?2 IS NULL OR action = ?2) AND state IN ({states})"
        ))?
        .execute((event.0, action))
}

/// Opens an event that is done. The router queues the jobs of all actions that it is for again. False if there is none.
pub(super) fn reopen(transaction: &Transaction<'_>, event: EventId) -> rusqlite::Result<bool> {
    let opened = transaction
        .prepare_cached("UPDATE webhook_events SET status = 'unprocessed', processed_at = NULL WHERE id = ?1")?
        .execute([event.0])?;
    Ok(opened > 0)
}

/// What [`requeue`] does again.
enum ReplayScope {
    /// The dead jobs.
    Dead,
    /// All jobs that have ended, as none is dead.
    Ended,
    /// The event has no jobs: it is routed.
    Route,
}

/// `None` where there is nothing to do again.
fn replay_scope(
    connection: &Connection,
    event: EventId,
    options: &ReplayOptions<'_>,
) -> rusqlite::Result<Option<ReplayScope>> {
    let has = |states: &str| -> rusqlite::Result<bool> {
        connection
            .prepare_cached(&format!(
                "SELECT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND dead_action = ''
                                AND (?2 IS NULL OR action = ?2) AND state IN ({states}))"
            ))?
            .query_row((event.0, options.action), |row| row.get(0))
    };
    if has("'dead'")? {
        return Ok(Some(ReplayScope::Dead));
    }
    if has(options.ended())? {
        return Ok(Some(ReplayScope::Ended));
    }
    Ok((options.action.is_none() && !has("'queued', 'running'")?).then_some(ReplayScope::Route))
}

/// Whether [`requeue`] would do anything.
pub(super) fn is_replayable(
    connection: &Connection,
    event: EventId,
    options: &ReplayOptions<'_>,
) -> rusqlite::Result<bool> {
    Ok(replay_scope(connection, event, options)?.is_some())
}

/// True for an unprocessed event without open jobs.
fn is_open(transaction: &Transaction<'_>, event: EventId) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM webhook_events WHERE id = ?1 AND status = 'unprocessed')
             AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND dead_action = ''
                             AND state IN ('queued', 'running'))",
        )?
        .query_row([event.0], |row| row.get(0))
}

/// A job that is there already belongs to an event that somebody has set back to `unprocessed`: it is done again.
fn queue_job(transaction: &Transaction<'_>, event: EventId, action: &str, dead_action: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO jobs (event_id, action, dead_action, state, due_at_ms) VALUES (?1, ?2, ?3, 'queued', 0)
             ON CONFLICT (event_id, action, dead_action) DO UPDATE SET state = 'queued', due_at_ms = 0, tries = 0",
        )?
        .execute((event.0, action, dead_action))?;
    Ok(())
}

/// Not one of a job that is gone: the event was deleted while it ran, and nobody would ever delete this.
fn insert_attempt(transaction: &Transaction<'_>, attempt: &Attempt) -> rusqlite::Result<()> {
    let duration_ms = i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX);
    transaction
        .prepare_cached(
            "INSERT INTO attempts (event_id, action, dead_action, number, started_at, duration_ms, outcome, detail)
             SELECT event_id, action, dead_action, :number, :started_at, :duration_ms, :outcome, :detail FROM jobs
             WHERE event_id = :event AND action = :action AND dead_action = :dead_action
             ON CONFLICT DO NOTHING",
        )?
        .execute(named_params! {
            ":event": attempt.job.event.0,
            ":action": attempt.job.action,
            ":dead_action": attempt.job.dead_action,
            ":number": attempt.job.attempt,
            ":started_at": attempt.started_at.to_string(),
            ":duration_ms": duration_ms,
            ":outcome": attempt.outcome.as_str(),
            ":detail": attempt.detail,
        })?;
    Ok(())
}

/// False where the job is no longer where this attempt left it.
fn move_job(transaction: &Transaction<'_>, attempt: &Attempt, next: &Next) -> rusqlite::Result<bool> {
    let job = &attempt.job;
    let (state, due_at_ms, error) = match next {
        Next::Succeeded => ("succeeded", None, None),
        Next::Queued(due) => ("queued", Some(due.unix_ms()), Some(&attempt.detail)),
        Next::Dead { .. } => ("dead", None, Some(&attempt.detail)),
    };
    let moved = transaction
        .prepare_cached(
            "UPDATE jobs SET state = :state, due_at_ms = :due_at_ms, last_error = :error
             WHERE event_id = :event AND action = :action AND dead_action = :dead_action
             AND attempts = :attempt AND state = 'running'",
        )?
        .execute(named_params! {
            ":state": state,
            ":due_at_ms": due_at_ms,
            ":error": error,
            ":event": job.event.0,
            ":action": job.action,
            ":dead_action": job.dead_action,
            ":attempt": job.attempt,
        })?;
    // Once, and not of a death of its own kind: telling must not go round in circles.
    if let Next::Dead { tell: Some(tell) } = next
        && moved == 1
        && job.dead_action.is_empty()
    {
        queue_job(transaction, job.event, tell, &job.action)?;
    }
    Ok(moved == 1)
}

fn put_back(transaction: &Transaction<'_>, job: &Job, due: Timestamp) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE jobs SET state = 'queued', due_at_ms = ?5, attempts = attempts - 1, tries = tries - 1
             WHERE event_id = ?1 AND action = ?2 AND dead_action = ?3 AND attempts = ?4 AND state = 'running'",
        )?
        .execute((job.event.0, &job.action, &job.dead_action, job.attempt, due.unix_ms()))?;
    Ok(())
}

/// As [`settle`]; where another program's rule refuses the status of this one event, the others do not wait for it. Its jobs
/// have ended and nothing routes it again, so that nobody does it twice.
fn settle_if_allowed(transaction: &Transaction<'_>, event: EventId, now: Timestamp) -> rusqlite::Result<()> {
    match settle(transaction, event, now) {
        // Once all is rolled back, the rest would run on its own.
        Err(error) if error::is_of_the_row(&error) && !transaction.is_autocommit() => {
            warn!("event {event} keeps its status: {error}");
            Ok(())
        }
        settled => settled,
    }
}

/// Gives an event of which no job is open its final status.
pub(super) fn settle(transaction: &Transaction<'_>, event: EventId, now: Timestamp) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE webhook_events SET processed_at = ?2, status =
                 CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND dead_action = '' AND state = 'dead')
                 THEN 'error' ELSE 'processed' END
             WHERE id = ?1 AND status = 'unprocessed'
             AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND dead_action = ''
                             AND state IN ('queued', 'running'))",
        )?
        .execute((event.0, now.to_string()))?;
    Ok(())
}

#[cfg(test)]
mod tests;
