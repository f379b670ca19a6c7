//! The life of a job: each transition of its state, as 007-fewer-pages.sql has them, is one statement here.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, named_params};

use super::events;
use crate::clock::Timestamp;
use crate::event::{Attempt, EventId, INTERRUPTED, Job, Key, NewJob};

/// The due time of a job that does not wait: earlier than any clock, so that setting a clock back delays nothing.
pub const IMMEDIATELY: Timestamp = Timestamp::from_unix_ms(0);

/// Where a job goes after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Succeeded,
    /// Back to the queue, until that time.
    Queued(Timestamp),
    /// Back to the queue, and this attempt does not count: the destination has asked to wait. That makes so long for this
    /// job.
    Waiting {
        waited: Duration,
    },
    /// Back to the queue: a stop of the process has cut the attempt short. The retry policy does not count it.
    Interrupted,
    /// For good.
    Dead,
}

/// When a job is due so long after its event; immediately without a delay. A clock that was ahead when the event was
/// received delays it no further.
pub fn due_after(received_at: Timestamp, delay: Duration, now: Timestamp) -> Timestamp {
    if delay.is_zero() { IMMEDIATELY } else { received_at.min(now).plus(delay) }
}

/// A new job. One that exists belongs to an event that was set back to `unprocessed`: it runs again, as after a replay, and
/// in another round, so that an attempt that is under way does not end it.
pub(super) fn add(transaction: &Transaction<'_>, event: EventId, job: &NewJob) -> Result<()> {
    // Behind until a trigger finds that it is not.
    let sql = "INSERT INTO jobs (event_id, action, key, is_behind, state, due_at_ms)
             VALUES (?1, ?2, ?3, ?3 IS NOT NULL, 'queued', ?4)
         ON CONFLICT (event_id, action) DO UPDATE SET state = 'queued', key = excluded.key, is_behind = excluded.is_behind,
             due_at_ms = 0, tries = 0, waited_ms = 0, is_replayed = 1, superseded_by = NULL,
             round = round + 1";
    let key = job.key.as_ref().map(|key| &key.text);
    transaction.prepare_cached(sql)?.execute((event.0, &job.action, key, job.due.unix_ms()))?;
    match &job.key {
        Some(key) if key.latest_only => expedite_first(transaction, &job.action, &key.text, job.due),
        _ => Ok(()),
    }
}

/// Makes the first job of a key due no later than a newer one, which will supersede it: its retry does not delay that.
fn expedite_first(transaction: &Transaction<'_>, action: &str, key: &str, due: Timestamp) -> Result<()> {
    let sql =
        "UPDATE jobs SET due_at_ms = min(due_at_ms, ?3) WHERE action = ?1 AND state = 'queued' AND is_replayed = 0
         AND event_id = (SELECT event_id FROM jobs WHERE action = ?1 AND key = ?2 AND state IN ('queued', 'running')
                         ORDER BY event_id LIMIT 1)";
    transaction.prepare_cached(sql)?.execute((action, key, due.unix_ms())).map(drop)
}

/// Whether a job is open of an event up to this one.
pub(super) fn is_open_up_to(connection: &Connection, event: EventId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'queued' AND event_id <= ?1)";
    connection.query_row(sql, [event.0], |row| row.get(0))
}

/// The actions that have a job for an event, and for each whether an attempt has begun that is on the disk.
pub(super) fn of_event(connection: &Connection, event: EventId) -> Result<Vec<(String, bool)>> {
    let sql = "SELECT action, state <> 'queued' OR attempts > 0 FROM jobs WHERE event_id = ?1";
    connection.prepare_cached(sql)?.query_map([event.0], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// What makes a [`Job`].
const JOB: &str = "SELECT event_id, attempts, tries, round, waited_ms, key, is_replayed FROM jobs";

fn job(row: &Row<'_>, action: &str, latest_only: bool) -> Result<Job> {
    Ok(Job {
        event: EventId(row.get(0)?),
        action: action.to_owned(),
        attempt: row.get::<_, u32>(1)?.saturating_add(1),
        attempts_since_queued: row.get::<_, u32>(2)?.saturating_add(1),
        round: row.get(3)?,
        waited: Duration::from_millis(row.get::<_, i64>(4)?.unsigned_abs()),
        key: row.get::<_, Option<String>>(5)?.map(|text| Key { text, latest_only }),
        is_replayed: row.get(6)?,
        is_claimed_on_disk: false,
    })
}

/// Up to `limit` due jobs of an action, of each key the first: in the order of their due times, those that were never
/// postponed before all others.
pub(super) fn due(
    connection: &Connection,
    action: &str,
    latest_only: bool,
    limit: u32,
    now: Timestamp,
) -> Result<Vec<Job>> {
    let mut statement = connection.prepare_cached(&format!(
        "{JOB} WHERE state = 'queued' AND is_behind = 0 AND action = :action AND due_at_ms <= :now
         AND NOT EXISTS (SELECT 1 FROM paused WHERE paused.action = :action)
         AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.action = :action AND until_ms > :now)
         ORDER BY due_at_ms, event_id LIMIT :limit"
    ))?;
    let named = named_params! { ":action": action, ":now": now.unix_ms(), ":limit": limit };
    statement.query_map(named, |row| job(row, action, latest_only))?.collect()
}

/// Jobs that one transaction supersedes: the receiver, whose sender waits, waits for no more than these.
const MAX_SUPERSEDED: u32 = 100;

/// Whether other jobs wait that the claim of a due job would supersede.
pub(super) fn supersedes(connection: &Connection, first: &Job) -> Result<bool> {
    Ok(waiting(connection, first, 2)?.len() > 1)
}

/// The job to claim where `first`, the first of its key, is due: with `latest_only` the newest that waits, which supersedes
/// the others. `None` where there are so many that the next transaction goes on.
pub(super) fn supersede(transaction: &Transaction<'_>, first: Job, now: Timestamp) -> Result<Option<Job>> {
    let mut waiting = waiting(transaction, &first, MAX_SUPERSEDED + 1)?;
    let is_all = waiting.len() <= MAX_SUPERSEDED as usize;
    let (Some(last), Some(key)) = (waiting.pop(), &first.key) else { return Ok(Some(first)) };
    let newest = if is_all { last } else { newest(transaction, &first.action, &key.text)?.unwrap_or(last) };
    let sql = "UPDATE jobs SET state = 'superseded', due_at_ms = NULL, superseded_by = ?3
         WHERE event_id = ?1 AND action = ?2 AND state = 'queued'";
    for event in waiting {
        transaction.prepare_cached(sql)?.execute((event.0, &first.action, newest.0))?;
        events::finish_if_allowed(transaction, event, now)?;
    }
    if !is_all {
        return Ok(None);
    }
    let sql = format!("{JOB} WHERE event_id = ?1 AND action = ?2 AND state = 'queued'");
    let newest = (newest.0, &first.action);
    transaction.prepare_cached(&sql)?.query_row(newest, |row| job(row, &first.action, key.latest_only)).optional()
}

/// The jobs of a key that wait, in the order of their events, up to one that was replayed. None where the first itself was,
/// or where each is done.
fn waiting(connection: &Connection, first: &Job, limit: u32) -> Result<Vec<EventId>> {
    let Some(key) = first.key.as_ref().filter(|key| key.latest_only) else { return Ok(Vec::new()) };
    let sql = "SELECT event_id, is_replayed FROM jobs WHERE action = ?1 AND key = ?2 AND state IN ('queued', 'running')
         ORDER BY event_id LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((&first.action, &key.text, limit))?;
    let mut waiting = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get(1)? {
            break;
        }
        waiting.push(EventId(row.get(0)?));
    }
    Ok(waiting)
}

fn newest(connection: &Connection, action: &str, key: &str) -> Result<Option<EventId>> {
    let sql = "SELECT event_id FROM jobs WHERE action = ?1 AND key = ?2 AND state IN ('queued', 'running')
         AND is_replayed = 0 ORDER BY event_id DESC LIMIT 1";
    connection.prepare_cached(sql)?.query_row((action, key), |row| row.get(0).map(EventId)).optional()
}

/// From queued to running. The attempt counts from here on, so that a job that crashes the machine is not attempted forever.
pub(super) fn claim(transaction: &Transaction<'_>, job: &mut Job, now: Timestamp) -> Result<()> {
    archive_latest_attempt(transaction, job)?;
    let sql = "UPDATE jobs SET state = 'running', due_at_ms = NULL, attempts = ?3, tries = ?4, started_at = ?5,
             duration_ms = NULL, outcome = NULL, detail = NULL
         WHERE event_id = ?1 AND action = ?2 AND state = 'queued'";
    let parameters = (job.event.0, &job.action, job.attempt, job.attempts_since_queued, now.to_string());
    transaction.prepare_cached(sql)?.execute(parameters)?;
    job.is_claimed_on_disk = true;
    Ok(())
}

/// Moves a job to the state after an attempt, and puts the attempt into its row. False where the job is no longer as the
/// attempt has found it: others have moved it, and only the attempt is put on record.
pub(super) fn record(transaction: &Transaction<'_>, attempt: &Attempt, next: &Next) -> Result<bool> {
    let job = &attempt.job;
    let (state, due_at_ms) = match next {
        Next::Succeeded => ("succeeded", None),
        Next::Queued(due) => ("queued", Some(due.unix_ms())),
        // At once, and so the first of its action when the hold is over.
        Next::Waiting { .. } | Next::Interrupted => ("queued", Some(IMMEDIATELY.unix_ms())),
        Next::Dead => ("dead", None),
    };
    let (counted, tried, outcome) = match next {
        Next::Waiting { .. } => (0, 0, "wait"),
        Next::Interrupted => (1, 0, "interrupted"),
        _ => (1, 1, attempt.outcome.as_str()),
    };
    let waited = if let Next::Waiting { waited } = next { *waited } else { job.waited };
    let claimed = u32::from(job.is_claimed_on_disk);
    if !job.is_claimed_on_disk {
        archive_latest_attempt(transaction, job)?;
    }
    let sql = "UPDATE jobs SET
             state = CASE WHEN state = :open AND round = :round THEN :state ELSE state END,
             due_at_ms = CASE WHEN state = :open AND round = :round THEN :due_at_ms ELSE due_at_ms END,
             attempts = attempts + :counted - :claimed,
             tries = max(0, tries + :tried - :claimed),
             waited_ms = :waited_ms, started_at = :started_at, duration_ms = :duration_ms, outcome = :outcome, detail = :detail
         WHERE event_id = :event AND action = :action AND attempts = :found
         RETURNING state";
    let named = named_params! {
        ":open": if job.is_claimed_on_disk { "running" } else { "queued" },
        ":round": job.round,
        ":state": state,
        ":due_at_ms": due_at_ms,
        ":counted": counted,
        ":tried": tried,
        ":claimed": claimed,
        ":waited_ms": i64::try_from(waited.as_millis()).unwrap_or(i64::MAX),
        ":started_at": attempt.started_at.to_string(),
        ":duration_ms": i64::try_from(attempt.duration.as_millis()).unwrap_or(i64::MAX),
        ":outcome": outcome,
        ":detail": attempt.detail,
        ":event": job.event.0,
        ":action": job.action,
        ":found": job.attempt - 1 + claimed,
    };
    let found = transaction.prepare_cached(sql)?.query_map(named, |row| row.get::<_, String>(0))?.next().transpose()?;
    if let (Next::Queued(_), Some(key)) = (next, job.key.as_ref().filter(|key| key.latest_only)) {
        expedite_for_newer(transaction, job, &key.text)?;
    }
    Ok(found.is_some_and(|found| found == state))
}

/// Makes a job that waits for its retry due no later than the next of its key, which will supersede it.
fn expedite_for_newer(transaction: &Transaction<'_>, job: &Job, key: &str) -> Result<()> {
    let sql =
        "SELECT due_at_ms FROM jobs WHERE action = ?1 AND key = ?2 AND state IN ('queued', 'running') AND event_id > ?3
         AND is_replayed = 0 ORDER BY event_id LIMIT 1";
    let due =
        transaction.prepare_cached(sql)?.query_row((&job.action, key, job.event.0), |row| row.get(0)).optional()?;
    let Some(due_ms) = due else { return Ok(()) };
    expedite_first(transaction, &job.action, key, Timestamp::from_unix_ms(due_ms))
}

/// Before the row gets the next one.
fn archive_latest_attempt(transaction: &Transaction<'_>, job: &Job) -> Result<()> {
    if job.attempt == 1 {
        return Ok(());
    }
    let sql = format!("{ARCHIVE} AND attempts = ?3");
    transaction.prepare_cached(&sql)?.execute((job.event.0, &job.action, job.attempt - 1)).map(drop)
}

/// Copies the attempt in the row of a job, if it counts; more conditions may follow.
const ARCHIVE: &str = "INSERT OR IGNORE INTO earlier_attempts
         SELECT event_id, action, attempts, started_at, duration_ms, outcome, detail FROM jobs
         WHERE event_id = ?1 AND action = ?2 AND outcome IS NOT NULL AND outcome <> 'wait'";

/// For a job that was claimed and not attempted: the attempt does not count.
pub(super) fn put_back(transaction: &Transaction<'_>, job: &Job, due: Timestamp) -> Result<()> {
    let claimed = u32::from(job.is_claimed_on_disk);
    let sql = "UPDATE jobs SET state = 'queued', due_at_ms = ?3, attempts = attempts - ?4, tries = tries - ?4
         WHERE event_id = ?1 AND action = ?2 AND attempts = ?5 AND state = ?6";
    let open = if job.is_claimed_on_disk { "running" } else { "queued" };
    let parameters = (job.event.0, &job.action, due.unix_ms(), claimed, job.attempt - 1 + claimed, open);
    transaction.prepare_cached(sql)?.execute(parameters).map(drop)
}

/// From running back to queued, at the start: the last process ended before these attempts did.
pub(super) fn recover(
    transaction: &Transaction<'_>,
    wait: &impl Fn(&str, u32) -> Duration,
    now: Timestamp,
) -> Result<()> {
    let sql = "SELECT event_id, action, tries FROM jobs WHERE state = 'running'";
    let mut statement = transaction.prepare(sql)?;
    let job = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let jobs: Vec<(i64, String, u32)> = statement.query_map([], job)?.collect::<Result<_>>()?;
    let sql = "UPDATE jobs SET state = 'queued', due_at_ms = ?3, outcome = 'interrupted',
             detail = 'hookbox ended before the attempt did'
         WHERE event_id = ?1 AND action = ?2";
    for (event, action, tries) in jobs {
        let due = match wait(&action, tries) {
            Duration::ZERO => IMMEDIATELY,
            wait => now.plus(wait),
        };
        transaction.prepare_cached(sql)?.execute((event, action, due.unix_ms()))?;
    }
    Ok(())
}

/// From running back to queued, at the end of the process, when no outcome can be recorded any more: the retry policy does
/// not count these attempts.
pub(super) fn interrupt_running(connection: &Connection) -> Result<()> {
    let sql = "UPDATE jobs SET state = 'queued', due_at_ms = 0, tries = tries - 1, outcome = 'interrupted', detail = ?1
         WHERE state = 'running'";
    connection.execute(sql, [INTERRUPTED]).map(drop)
}

/// The same for a job that was claimed in memory.
pub(super) fn interrupt_claimed(connection: &Connection, event: EventId, action: &str, now: Timestamp) -> Result<()> {
    connection.execute(&format!("{ARCHIVE} AND state = 'queued'"), (event.0, action))?;
    let sql = "UPDATE jobs SET attempts = attempts + 1, started_at = ?4, duration_ms = NULL, outcome = 'interrupted', detail = ?3
         WHERE event_id = ?1 AND action = ?2 AND state = 'queued'";
    connection.execute(sql, (event.0, action, INTERRUPTED, now.to_string())).map(drop)
}

/// From queued or running to cancelled: the jobs of an event, of `action` alone where it is given. Returns how many.
pub(super) fn cancel(transaction: &Transaction<'_>, event: EventId, action: Option<&str>) -> Result<usize> {
    let sql = "UPDATE jobs SET state = 'cancelled', due_at_ms = NULL
         WHERE event_id = ?1 AND (?2 IS NULL OR action = ?2) AND state IN ('queued', 'running')";
    transaction.prepare_cached(sql)?.execute((event.0, action))
}

/// Back to queued and due, because a person wants that; with `from_first`, with all its attempts. With `raises_round`, what
/// was done before is meant again.
pub(super) fn replay(
    transaction: &Transaction<'_>,
    event: EventId,
    action: &str,
    from_first: bool,
    raises_round: bool,
) -> Result<()> {
    // Behind until a trigger finds that it is not; that of a job that was open knows already.
    let sql = "UPDATE jobs SET state = 'queued', due_at_ms = 0, is_replayed = 1, superseded_by = NULL,
             is_behind = CASE WHEN state = 'queued' THEN is_behind ELSE key IS NOT NULL END, round = round + ?4,
             tries = CASE WHEN ?3 THEN 0 ELSE tries END, waited_ms = CASE WHEN ?3 THEN 0 ELSE waited_ms END
         WHERE event_id = ?1 AND action = ?2 AND state <> 'running'";
    transaction.prepare_cached(sql)?.execute((event.0, action, from_first, raises_round)).map(drop)
}

/// Back to queued, with all their attempts: the jobs of an event that are dead or cancelled. Returns how many.
pub(super) fn requeue_failed(transaction: &Transaction<'_>, event: EventId) -> Result<usize> {
    let sql = "UPDATE jobs SET state = 'queued', due_at_ms = 0, tries = 0, waited_ms = 0, is_behind = key IS NOT NULL,
             is_replayed = 1, superseded_by = NULL
         WHERE event_id = ?1 AND state IN ('dead', 'cancelled')";
    transaction.prepare_cached(sql)?.execute([event.0])
}

/// Makes the queued jobs of an action due that are due after `latest`.
pub(super) fn expedite(transaction: &Transaction<'_>, action: &str, latest: Timestamp) -> Result<()> {
    let sql = "UPDATE jobs SET due_at_ms = 0
         WHERE state = 'queued' AND is_behind = 0 AND action = ?1 AND due_at_ms > ?2";
    transaction.prepare_cached(sql)?.execute((action, latest.unix_ms())).map(drop)
}

/// Deletes the jobs of an event that is gone, or could not be stored.
pub(super) fn delete_orphans(transaction: &Transaction<'_>, event: EventId) -> Result<()> {
    let sql = "DELETE FROM jobs WHERE event_id = ?1 AND NOT EXISTS (SELECT 1 FROM webhook_events WHERE id = ?1)";
    transaction.prepare_cached(sql)?.execute([event.0]).map(drop)
}
