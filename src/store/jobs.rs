//! The life of a job: each transition of its state, as 002-queue.sql has them, is one statement here.

use std::time::Duration;

use rusqlite::{Connection, Result, Row, Transaction, named_params};

use crate::clock::Timestamp;
use crate::event::{Attempt, EventId, Job};

/// The due time of a job that does not wait: earlier than any clock, so that setting a clock back delays nothing.
pub const IMMEDIATELY: Timestamp = Timestamp::from_unix_ms(0);

/// Where a job goes after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Succeeded,
    /// Back to the queue, until that time.
    Queued(Timestamp),
    /// Back to the queue, and this attempt does not count: the destination has asked to wait. That makes so long for this job.
    Waiting {
        waited: Duration,
    },
    /// For good; `reported_by` is the action that reports it.
    Dead {
        reported_by: Option<String>,
    },
}

/// A new job. One that exists belongs to an event that was set back to `unprocessed`: it runs again.
pub(super) fn add(transaction: &Transaction<'_>, event: EventId, action: &str, dead_action: &str) -> Result<()> {
    let sql = "INSERT INTO jobs (event_id, action, dead_action, state, due_at_ms) VALUES (?1, ?2, ?3, 'queued', 0)
         ON CONFLICT (event_id, action, dead_action) DO UPDATE SET state = 'queued', due_at_ms = 0, tries = 0, waited_ms = 0";
    transaction.prepare_cached(sql)?.execute((event.0, action, dead_action)).map(drop)
}

/// The actions that have a job for an event, and for each whether an attempt has begun.
pub(super) fn of_event(connection: &Connection, event: EventId) -> Result<Vec<(String, bool)>> {
    let sql = "SELECT action, state <> 'queued' OR attempts > 0 FROM jobs WHERE event_id = ?1 AND dead_action = ''";
    connection.prepare_cached(sql)?.query_map([event.0], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// From queued to running: up to `limit` due jobs of an action; first those that were never postponed, then those that have
/// been due for longest.
pub(super) fn claim(transaction: &Transaction<'_>, action: &str, limit: u32, now: Timestamp) -> Result<Vec<Job>> {
    let mut statement = transaction.prepare_cached(
        "UPDATE jobs SET state = 'running', due_at_ms = NULL, attempts = attempts + 1, tries = tries + 1
         WHERE state = 'queued' AND action = :action AND (event_id, dead_action) IN (
             SELECT event_id, dead_action FROM jobs WHERE state = 'queued' AND action = :action
             AND due_at_ms <= :now AND NOT EXISTS (SELECT 1 FROM paused WHERE paused.action = :action)
             AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.action = :action AND until_ms > :now)
             ORDER BY due_at_ms, event_id LIMIT :limit)
         RETURNING event_id, dead_action, attempts, tries, waited_ms",
    )?;
    let job = |row: &Row<'_>| {
        Ok(Job {
            event: EventId(row.get(0)?),
            action: action.to_owned(),
            dead_action: row.get(1)?,
            attempt: row.get(2)?,
            attempts_since_queued: row.get(3)?,
            waited: Duration::from_millis(row.get::<_, i64>(4)?.unsigned_abs()),
        })
    };
    let named = named_params! { ":action": action, ":now": now.unix_ms(), ":limit": limit };
    let mut jobs: Vec<Job> = statement.query_map(named, job)?.collect::<Result<_>>()?;
    jobs.sort_by_key(|job| job.event);
    Ok(jobs)
}

/// No attempt at a deleted job: its event was deleted while it ran, and nothing would ever delete the attempt.
pub(super) fn insert_attempt(transaction: &Transaction<'_>, attempt: &Attempt) -> Result<()> {
    let duration_ms = i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX);
    let sql = "INSERT INTO attempts (event_id, action, dead_action, number, started_at, duration_ms, outcome, detail)
         SELECT event_id, action, dead_action, :number, :started_at, :duration_ms, :outcome, :detail FROM jobs
         WHERE event_id = :event AND action = :action AND dead_action = :dead_action
         ON CONFLICT DO NOTHING";
    let named = named_params! {
        ":event": attempt.job.event.0,
        ":action": attempt.job.action,
        ":dead_action": attempt.job.dead_action,
        ":number": attempt.job.attempt,
        ":started_at": attempt.started_at.to_string(),
        ":duration_ms": duration_ms,
        ":outcome": attempt.outcome.as_str(),
        ":detail": attempt.detail,
    };
    transaction.prepare_cached(sql)?.execute(named).map(drop)
}

/// From running to the state after an attempt. False where the job is no longer as this attempt left it.
pub(super) fn finish(transaction: &Transaction<'_>, attempt: &Attempt, next: &Next) -> Result<bool> {
    let job = &attempt.job;
    let (state, due_at_ms, error) = match next {
        Next::Succeeded => ("succeeded", None, None),
        Next::Queued(due) => ("queued", Some(due.unix_ms()), Some(&attempt.detail)),
        Next::Waiting { waited } => return wait(transaction, attempt, *waited),
        Next::Dead { .. } => ("dead", None, Some(&attempt.detail)),
    };
    let sql = "UPDATE jobs SET state = :state, due_at_ms = :due_at_ms, last_error = :error
         WHERE event_id = :event AND action = :action AND dead_action = :dead_action
         AND attempts = :attempt AND state = 'running'";
    let named = named_params! {
        ":state": state,
        ":due_at_ms": due_at_ms,
        ":error": error,
        ":event": job.event.0,
        ":action": job.action,
        ":dead_action": job.dead_action,
        ":attempt": job.attempt,
    };
    let is_moved = transaction.prepare_cached(sql)?.execute(named)? == 1;
    // Once, and not for a dead job that itself reports one: that could go on forever.
    if let Next::Dead { reported_by: Some(reporter) } = next
        && is_moved
        && job.dead_action.is_empty()
    {
        add(transaction, job.event, reporter, &job.action)?;
    }
    Ok(is_moved)
}

/// From running back to queued, for a job whose destination asks to wait: the attempt does not count. It is due at once, and
/// so the first of its action when the hold is over.
fn wait(transaction: &Transaction<'_>, attempt: &Attempt, waited: Duration) -> Result<bool> {
    let job = &attempt.job;
    let sql = "UPDATE jobs SET state = 'queued', due_at_ms = 0, attempts = attempts - 1, tries = tries - 1,
             waited_ms = ?5, last_error = ?6
         WHERE event_id = ?1 AND action = ?2 AND dead_action = ?3 AND attempts = ?4 AND state = 'running'";
    let waited_ms = i64::try_from(waited.as_millis()).unwrap_or(i64::MAX);
    let parameters = (job.event.0, &job.action, &job.dead_action, job.attempt, waited_ms, &attempt.detail);
    Ok(transaction.prepare_cached(sql)?.execute(parameters)? == 1)
}

/// From running back to queued, for a job that was claimed and not attempted: the attempt does not count.
pub(super) fn put_back(transaction: &Transaction<'_>, job: &Job, due: Timestamp) -> Result<()> {
    let sql = "UPDATE jobs SET state = 'queued', due_at_ms = ?5, attempts = attempts - 1, tries = tries - 1
         WHERE event_id = ?1 AND action = ?2 AND dead_action = ?3 AND attempts = ?4 AND state = 'running'";
    let parameters = (job.event.0, &job.action, &job.dead_action, job.attempt, due.unix_ms());
    transaction.prepare_cached(sql)?.execute(parameters).map(drop)
}

/// From running back to queued, at the start: the last process ended before these attempts did.
pub(super) fn recover(
    transaction: &Transaction<'_>,
    wait: &impl Fn(&str, u32) -> Duration,
    now: Timestamp,
) -> Result<()> {
    let sql = "SELECT event_id, action, dead_action, tries FROM jobs WHERE state = 'running'";
    let mut statement = transaction.prepare(sql)?;
    let job = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let jobs: Vec<(i64, String, String, u32)> = statement.query_map([], job)?.collect::<Result<_>>()?;
    let sql = "UPDATE jobs SET state = 'queued', due_at_ms = ?4, last_error = 'hookbox ended before the attempt did'
         WHERE event_id = ?1 AND action = ?2 AND dead_action = ?3";
    for (event, action, dead_action, tries) in jobs {
        let due = match wait(&action, tries) {
            Duration::ZERO => IMMEDIATELY,
            wait => now.plus(wait),
        };
        transaction.prepare_cached(sql)?.execute((event, action, dead_action, due.unix_ms()))?;
    }
    Ok(())
}

/// From running back to queued, at the end of the process, when no outcome can be recorded any more: these attempts do not
/// count.
pub(super) fn interrupt(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "UPDATE jobs SET state = 'queued', due_at_ms = 0, attempts = attempts - 1, tries = tries - 1
         WHERE state = 'running'",
    )
}

/// From queued or running to cancelled: the jobs of an event, of `action` alone where it is given. Returns how many.
pub(super) fn cancel(transaction: &Transaction<'_>, event: EventId, action: Option<&str>) -> Result<usize> {
    let sql = "UPDATE jobs SET state = 'cancelled', due_at_ms = NULL
         WHERE event_id = ?1 AND (?2 IS NULL OR action = ?2) AND state IN ('queued', 'running')";
    transaction.prepare_cached(sql)?.execute((event.0, action))
}

/// Back to queued: the jobs of an event that are in one of `states`, of `action` alone where it is given. Returns how many.
pub(super) fn requeue(
    transaction: &Transaction<'_>,
    event: EventId,
    action: Option<&str>,
    states: &str,
) -> Result<usize> {
    let sql = format!(
        "UPDATE jobs SET state = 'queued', due_at_ms = 0, tries = 0, waited_ms = 0
         WHERE event_id = ?1 AND dead_action = '' AND (?2 IS NULL OR action = ?2) AND state IN ({states})"
    );
    transaction.prepare_cached(&sql)?.execute((event.0, action))
}

/// Makes the queued jobs of an action due that are due after `latest`.
pub(super) fn expedite(transaction: &Transaction<'_>, action: &str, latest: Timestamp) -> Result<()> {
    let sql = "UPDATE jobs SET due_at_ms = 0 WHERE state = 'queued' AND action = ?1 AND due_at_ms > ?2";
    transaction.prepare_cached(sql)?.execute((action, latest.unix_ms())).map(drop)
}

/// Deletes the jobs of an event that is gone.
pub(super) fn delete_orphans(transaction: &Transaction<'_>, event: EventId) -> Result<()> {
    let sql = "DELETE FROM jobs WHERE event_id = ?1 AND NOT EXISTS (SELECT 1 FROM webhook_events WHERE id = ?1)";
    transaction.prepare_cached(sql)?.execute([event.0]).map(drop)
}
