//! Actions whose destinations ask to wait: until then, none of their jobs is claimed.

use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction};

use crate::clock::Timestamp;

/// Holds an action until that time, or longer where it is held already.
pub(super) fn extend(transaction: &Transaction<'_>, action: &str, until: Timestamp) -> Result<()> {
    let sql = "INSERT INTO holds (action, until_ms) VALUES (?1, ?2)
         ON CONFLICT (action) DO UPDATE SET until_ms = max(until_ms, excluded.until_ms)";
    transaction.prepare_cached(sql)?.execute((action, until.unix_ms())).map(drop)
}

/// Until when an action is held; it may be in the past.
pub(super) fn until(connection: &Connection, action: &str) -> Result<Option<Timestamp>> {
    let sql = "SELECT until_ms FROM holds WHERE action = ?1";
    let until_ms = connection.prepare_cached(sql)?.query_row([action], |row| row.get(0)).optional()?;
    Ok(until_ms.map(Timestamp::from_unix_ms))
}

/// The actions that are held, and until when; in the order of their names.
pub(super) fn all(connection: &Connection, now: Timestamp) -> Result<Vec<(String, Timestamp)>> {
    let sql = "SELECT action, until_ms FROM holds WHERE until_ms > ?1 ORDER BY action";
    let hold = |row: &Row<'_>| Ok((row.get(0)?, Timestamp::from_unix_ms(row.get(1)?)));
    connection.prepare_cached(sql)?.query_map([now.unix_ms()], hold)?.collect()
}

/// Lets an action go on; true if it was held.
pub(super) fn lift(transaction: &Transaction<'_>, action: &str) -> Result<bool> {
    Ok(transaction.prepare_cached("DELETE FROM holds WHERE action = ?1")?.execute([action])? == 1)
}
