//! Stored counts, so that nothing has to read the rows: the table `tallies` of 004-tallies.sql.
//!
//! Triggers count all that other programs write, and every change of status or state. Deliveries of a batch are counted
//! here: four statements for each row would take longer than the row itself. The rules for a new event thus stand twice, in
//! the trigger `webhook_event_counted` and in [`BatchCounts`]; a test compares them.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result, Row, Transaction};

use super::blocks;
use super::row::string;
use crate::clock::Timestamp;
use crate::event::{EventId, Status};

/// All counts about something, as (name, what, count).
pub(super) fn read(connection: &Connection, about: &str) -> Result<Vec<(String, String, i64)>> {
    let sql = "SELECT name, what, count FROM tallies WHERE about = ?1";
    let count = |row: &Row<'_>| Ok((string(row, 0)?, string(row, 1)?, row.get(2)?));
    connection.prepare_cached(sql)?.query_map([about], count)?.collect()
}

/// How many events are unprocessed, and how many in error.
pub(super) fn open_events(connection: &Connection) -> Result<(i64, i64)> {
    let sql = "SELECT coalesce(sum(count), 0) FROM tallies WHERE about = 'status' AND what = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut count = |status: Status| statement.query_row([status.as_str()], |row| row.get(0));
    Ok((count(Status::Unprocessed)?, count(Status::Error)?))
}

/// The name under which the counts of a time's hour are kept: `2025-01-31T12`.
pub(super) fn hour(at: Timestamp) -> String {
    at.to_string()[.."2025-01-31T12".len()].to_owned()
}

/// Counts a delivery that is stored already; `what` is `duplicates` or `repeated`.
pub(super) fn count_again(transaction: &Transaction<'_>, source: &str, what: &str, at: Timestamp) -> Result<()> {
    let sql = "INSERT INTO tallies VALUES ('source', ?1, ?3, 1), ('hour', ?2, ?3, 1)
         ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1";
    transaction.prepare_cached(sql)?.execute((source, hour(at), what)).map(drop)
}

/// The changes of one transaction to the counts, written in a few statements at its end.
#[derive(Default)]
pub(super) struct BatchCounts {
    counts: BTreeMap<(&'static str, String, &'static str), i64>,
    /// The time of the latest reception, by block.
    blocks: BTreeMap<i64, Timestamp>,
}

impl BatchCounts {
    /// Suspends the trigger for this transaction.
    pub(super) fn begin(transaction: &Transaction<'_>) -> Result<BatchCounts> {
        suspend_trigger(transaction, true)?;
        Ok(BatchCounts::default())
    }

    pub(super) fn add(&mut self, event: EventId, source: &str, at: Timestamp) {
        let keys = [
            ("source", source.to_owned(), "received"),
            ("status", source.to_owned(), Status::Unprocessed.as_str()),
            ("hour", hour(at), "received"),
        ];
        for key in keys {
            *self.counts.entry(key).or_default() += 1;
        }
        let latest = self.blocks.entry(blocks::block_of(event)).or_insert(at);
        *latest = at.max(*latest);
    }

    pub(super) fn end(self, transaction: &Transaction<'_>) -> Result<()> {
        let sql = "INSERT INTO tallies VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (about, name, what) DO UPDATE SET count = count + excluded.count";
        for ((about, name, what), count) in self.counts {
            transaction.prepare_cached(sql)?.execute((about, name, what, count))?;
        }
        for (block, latest) in self.blocks {
            blocks::record(transaction, block, latest)?;
        }
        suspend_trigger(transaction, false)
    }
}

fn suspend_trigger(transaction: &Transaction<'_>, is_suspended: bool) -> Result<()> {
    transaction.prepare_cached("UPDATE counting SET by_hand = ?1")?.execute([is_suspended]).map(drop)
}

#[cfg(test)]
mod tests;
