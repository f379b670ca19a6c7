//! The life of an event: each transition of its status is one statement here.

use std::sync::Arc;

use log::warn;
use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction};

use super::error::of_row;
use super::row::{bytes, string, text};
use crate::clock::Timestamp;
use crate::event::{Event, EventId, Status};

/// The bytes that `status`, `processed_at` and `padding` take together. While they do not change, SQLite writes only the
/// page with the status; otherwise the whole row, with its payload.
const STATE_BYTES: usize = "unprocessed".len() + "2025-01-31T12:00:00+00:00".len() - 2;

/// The padding beside a status and a time.
pub(super) fn padding_of(status: &str, processed_at: &str) -> String {
    " ".repeat(STATE_BYTES.saturating_sub(status.len() + processed_at.len()))
}

/// The same as an expression over two columns.
pub(super) fn padding(status: &str, processed_at: &str) -> String {
    let all = " ".repeat(STATE_BYTES);
    format!("substr('{all}', 1, max(0, {STATE_BYTES} - length({status}) - coalesce(length({processed_at}), 0)))")
}

/// An event as actions see it; `None` if it was deleted.
pub(super) fn read(connection: &Connection, id: EventId) -> Result<Option<Event>> {
    let sql = "SELECT source, event_type, delivery_id, received_at, headers_json, payload_json, body
         FROM webhook_events WHERE id = ?1";
    let event = |row: &Row<'_>| {
        Ok(Event {
            id,
            source: string(row, 0)?,
            event_type: string(row, 1)?,
            delivery_id: string(row, 2)?,
            received_at: string(row, 3)?,
            headers_json: string(row, 4)?,
            payload_json: text(row, 5)?.into(),
            body: bytes(row, 6)?.map(Arc::from),
        })
    };
    connection.prepare_cached(sql)?.query_row([id.0], event).optional()
}

/// True while the router has yet to see an event.
pub(super) fn is_unrouted(connection: &Connection, event: EventId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM unrouted WHERE event_id = ?1)";
    connection.prepare_cached(sql)?.query_row([event.0], |row| row.get(0))
}

/// True for an unprocessed event without open jobs.
pub(super) fn is_routable(transaction: &Transaction<'_>, event: EventId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM webhook_events WHERE id = ?1 AND status = 'unprocessed')
         AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND state IN ('queued', 'running'))";
    transaction.prepare_cached(sql)?.query_row([event.0], |row| row.get(0))
}

/// From unprocessed to processed, or to error if a job is dead; not while a job is open.
pub(super) fn finish(transaction: &Transaction<'_>, event: EventId, now: Timestamp) -> Result<()> {
    let is_dead = "SELECT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND state = 'dead')";
    let is_dead: bool = transaction.prepare_cached(is_dead)?.query_row([event.0], |row| row.get(0))?;
    let status = if is_dead { Status::Error } else { Status::Processed }.as_str();
    let sql = "UPDATE webhook_events SET processed_at = ?2, status = ?3, padding = ?4
         WHERE id = ?1 AND status = 'unprocessed'
         AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1 AND state IN ('queued', 'running'))";
    let now = now.to_string();
    let parameters = (event.0, &now, status, padding_of(status, &now));
    transaction.prepare_cached(sql)?.execute(parameters).map(drop)
}

/// As [`finish`], but if another program's rule refuses the new status, the other events are still finished. The jobs of
/// this one have ended and it is not routed again, so that nothing is done twice.
pub(super) fn finish_if_allowed(transaction: &Transaction<'_>, event: EventId, now: Timestamp) -> Result<()> {
    if let Err(error) = of_row(transaction, finish(transaction, event, now))? {
        warn!("event {event} keeps its status: {error}");
    }
    Ok(())
}

/// Back to unprocessed. A trigger puts the event on the router's list, which queues the jobs of all its actions again. False
/// if there is no such event.
pub(super) fn reopen(transaction: &Transaction<'_>, event: EventId) -> Result<bool> {
    let status = Status::Unprocessed.as_str();
    let sql = "UPDATE webhook_events SET status = ?2, processed_at = NULL, padding = ?3 WHERE id = ?1";
    Ok(transaction.prepare_cached(sql)?.execute((event.0, status, padding_of(status, "")))? > 0)
}
