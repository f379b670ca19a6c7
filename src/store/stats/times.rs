//! When the oldest and the latest events of a source or an action were received: each by a bounded number of seeks.

use rusqlite::{Connection, OptionalExtension, Result};

use crate::event::{EventId, Status};
use crate::store::blocks::Span;
use crate::store::list;
use crate::store::partitions::partitions;
use crate::store::row::string;
use crate::store::summary::Filter;

/// Postponed jobs among which the oldest is searched: they are in the order of their due times.
const MAX_POSTPONED: u32 = 10_000;

/// Events among which the oldest is searched, of a source with too many partitions to search one by one: some 5 ms.
const MAX_UNPROCESSED: u32 = 20_000;

/// Events among which the latest of such a source is searched.
const MAX_LATEST: u32 = 2000;

/// When the oldest unprocessed event of a source was received.
pub(super) fn oldest_unprocessed(connection: &Connection, source: &str) -> Result<Option<String>> {
    let unprocessed = Filter { source: Some(source.to_owned()), ..Filter::of_status(Status::Unprocessed) };
    let oldest = match partitions(connection, &unprocessed)? {
        Some(partitions) => list::oldest_of_partitions(connection, &partitions, EventId(i64::MIN), 1)?.pop(),
        None => oldest_of_some(connection, source)?,
    };
    received_at(connection, oldest)
}

/// When the latest event of a source was received.
pub(super) fn last_received(connection: &Connection, source: &str) -> Result<Option<String>> {
    let all = Filter { source: Some(source.to_owned()), ..Filter::default() };
    let latest = match partitions(connection, &all)? {
        Some(partitions) => list::newest_of_partitions(connection, &partitions, Span::ALL, 1)?.pop(),
        None => latest_of_some(connection, source)?,
    };
    received_at(connection, latest)
}

/// When the event of an action's oldest queued job was received: the index has the oldest of those never postponed first.
pub(super) fn oldest_pending(connection: &Connection, action: &str) -> Result<Option<String>> {
    let sql = "SELECT min(event_id) FROM (
             SELECT event_id FROM (SELECT event_id FROM jobs WHERE state = 'queued' AND action = ?1 AND due_at_ms = 0
                                   ORDER BY event_id LIMIT 1)
             UNION ALL
             SELECT event_id FROM (SELECT event_id FROM jobs WHERE state = 'queued' AND action = ?1 AND due_at_ms > 0
                                   ORDER BY due_at_ms LIMIT ?2))";
    let oldest = connection.prepare_cached(sql)?.query_row((action, MAX_POSTPONED), |row| row.get(0))?;
    received_at(connection, oldest)
}

/// The oldest of some unprocessed events of a source with very many partitions.
fn oldest_of_some(connection: &Connection, source: &str) -> Result<Option<i64>> {
    let sql = "SELECT min(id) FROM
             (SELECT id FROM webhook_events WHERE status = 'unprocessed' AND source = ?1 LIMIT ?2)";
    connection.prepare_cached(sql)?.query_row((source, MAX_UNPROCESSED), |row| row.get(0))
}

/// The latest event of a source with very many partitions, if it is among the latest of all.
fn latest_of_some(connection: &Connection, source: &str) -> Result<Option<i64>> {
    let sql = "SELECT id FROM webhook_events NOT INDEXED
         WHERE source = ?1 AND id > (SELECT max(id) FROM webhook_events) - ?2 ORDER BY id DESC LIMIT 1";
    connection.prepare_cached(sql)?.query_row((source, MAX_LATEST), |row| row.get(0)).optional()
}

fn received_at(connection: &Connection, event: Option<i64>) -> Result<Option<String>> {
    let Some(event) = event else { return Ok(None) };
    let sql = "SELECT received_at FROM webhook_events WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([event], |row| string(row, 0)).optional()
}
