//! The ids of events. SQLite never uses one twice, even after the event is deleted: it counts on from the largest there ever
//! was, and stops at the largest there can be.

use rusqlite::{Connection, Result};

/// The largest id that an event has, or had; 0 where there was none.
pub(super) fn largest(connection: &Connection) -> Result<i64> {
    let sql = "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'webhook_events'), 0),
                   coalesce((SELECT max(id) FROM webhook_events), 0))";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// The id of the next event. Errs where there is none left.
pub(super) fn next(connection: &Connection) -> Result<i64> {
    // As SQLite itself reports it.
    let full = || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
    largest(connection)?.checked_add(1).ok_or_else(full)
}

/// Whether no further event can be stored. SQLite reports that as a full disk.
pub(super) fn are_used_up(connection: &Connection) -> Result<bool> {
    Ok(largest(connection)? == i64::MAX)
}
