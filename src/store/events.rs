//! The life of an event: each transition of its status is one statement here.

use log::warn;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::error::is_row_error;
use super::row::{bytes, string, text};
use crate::clock::Timestamp;
use crate::event::{Event, EventId};

/// An event as actions see it; `None` if it was deleted.
pub(super) fn read(connection: &Connection, id: EventId) -> rusqlite::Result<Option<Event>> {
    connection
        .prepare_cached(
            "SELECT source, event_type, delivery_id, received_at, headers_json, payload_json, body
             FROM webhook_events WHERE id = ?1",
        )?
        .query_row([id.0], |row| {
            Ok(Event {
                id,
                source: string(row, 0)?,
                event_type: string(row, 1)?,
                delivery_id: string(row, 2)?,
                received_at: string(row, 3)?,
                headers_json: string(row, 4)?,
                payload_json: text(row, 5)?.into(),
                body: bytes(row, 6)?,
            })
        })
        .optional()
}

/// True for an unprocessed event without open jobs.
pub(super) fn is_routable(transaction: &Transaction<'_>, event: EventId) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM webhook_events WHERE id = ?1 AND status = 'unprocessed')
             AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND dead_action = ''
                             AND state IN ('queued', 'running'))",
        )?
        .query_row([event.0], |row| row.get(0))
}

/// From unprocessed to processed, or to error if a job is dead; not while a job is open.
pub(super) fn finish(transaction: &Transaction<'_>, event: EventId, now: Timestamp) -> rusqlite::Result<()> {
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

/// As [`finish`]; where another program's rule refuses the status of this one event, the others do not wait for it. Its jobs
/// have ended and the event is not routed again, so that nothing is done twice.
pub(super) fn finish_if_allowed(transaction: &Transaction<'_>, event: EventId, now: Timestamp) -> rusqlite::Result<()> {
    match finish(transaction, event, now) {
        // Once all is rolled back, the rest would run outside of a transaction.
        Err(error) if is_row_error(&error) && !transaction.is_autocommit() => {
            warn!("event {event} keeps its status: {error}");
            Ok(())
        }
        finished => finished,
    }
}

/// Back to unprocessed. A trigger puts the event on the router's list, which queues the jobs of all its actions again. False
/// if there is no such event.
pub(super) fn reopen(transaction: &Transaction<'_>, event: EventId) -> rusqlite::Result<bool> {
    let opened = transaction
        .prepare_cached("UPDATE webhook_events SET status = 'unprocessed', processed_at = NULL WHERE id = ?1")?
        .execute([event.0])?;
    Ok(opened > 0)
}
