//! Dead jobs of an action within a minute (008-troubles.sql): the first are reported one by one, the others together.

use std::time::Duration;

use rusqlite::{Connection, Result, Row, Transaction};

use crate::clock::{Timestamp, millis};
use crate::event::{Attempt, EventId};

/// A message for each of more would be a flood.
const MAX_PER_MINUTE: i64 = 10;

const MINUTE: Duration = Duration::from_secs(60);

/// Dead jobs of an action that are to be reported together.
#[derive(Debug)]
pub(super) struct Deaths {
    pub(super) action: String,
    pub(super) since: Timestamp,
    pub(super) count: i64,
    pub(super) first: EventId,
    pub(super) last: EventId,
    /// That of the last.
    pub(super) error: String,
}

/// Counts a dead job. False where it is to be reported later, together with others.
pub(super) fn count(transaction: &Transaction<'_>, attempt: &Attempt, now: Timestamp) -> Result<bool> {
    let job = &attempt.job;
    // Those of a minute that is over are reported before another one begins.
    let sql = "INSERT INTO deaths (action, since_ms, count) VALUES (?1, ?2, 1)
         ON CONFLICT (action) DO UPDATE SET
             count = CASE WHEN untold = 0 AND abs(?2 - since_ms) >= ?3 THEN 1 ELSE count + 1 END,
             since_ms = CASE WHEN untold = 0 AND abs(?2 - since_ms) >= ?3 THEN ?2 ELSE since_ms END
         RETURNING count";
    let parameters = (&job.action, now.unix_ms(), millis(MINUTE));
    let count: i64 = transaction.prepare_cached(sql)?.query_row(parameters, |row| row.get(0))?;
    if count <= MAX_PER_MINUTE {
        return Ok(true);
    }
    let sql =
        "UPDATE deaths SET untold = untold + 1, first_event = coalesce(first_event, ?2), last_event = ?2, error = ?3
         WHERE action = ?1";
    transaction.prepare_cached(sql)?.execute((&job.action, job.event.0, &attempt.detail))?;
    Ok(false)
}

/// Those whose minute is over, or was begun by a clock that was ahead.
pub(super) fn due(connection: &Connection, now: Timestamp) -> Result<Vec<Deaths>> {
    let sql = "SELECT action, since_ms, untold, first_event, last_event, error FROM deaths
         WHERE untold > 0 AND abs(?1 - since_ms) >= ?2";
    let deaths = |row: &Row<'_>| {
        Ok(Deaths {
            action: row.get(0)?,
            since: Timestamp::from_unix_ms(row.get(1)?),
            count: row.get(2)?,
            first: EventId(row.get(3)?),
            last: EventId(row.get(4)?),
            error: row.get(5)?,
        })
    };
    connection.prepare_cached(sql)?.query_map((now.unix_ms(), millis(MINUTE)), deaths)?.collect()
}

pub(super) fn delete(transaction: &Transaction<'_>, action: &str) -> Result<()> {
    transaction.prepare_cached("DELETE FROM deaths WHERE action = ?1")?.execute([action]).map(drop)
}
