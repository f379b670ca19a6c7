//! Stored counts, so that nothing has to read all rows: the table `tallies`, which triggers maintain (007-fewer-pages.sql),
//! and beside it the latest events, which are counted when they are asked for.

use rusqlite::{Connection, Result, Row, Transaction};

use super::row::string;
use crate::clock::Timestamp;
use crate::event::Status;

/// What counts are about, each with the counts of the latest events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Source,
    Status,
    Action,
    Hour,
}

impl About {
    fn as_str(self) -> &'static str {
        match self {
            About::Source => "source",
            About::Status => "status",
            About::Action => "action",
            About::Hour => "hour",
        }
    }

    /// The counts of the events that are not in `tallies` yet, as (name, what, count), found by their ids: to group them,
    /// SQLite would read a whole index. News of our own is not received.
    fn uncounted(self) -> &'static str {
        match self {
            About::Source => {
                "SELECT source, 'received', count(*) FROM webhook_events NOT INDEXED
                 WHERE id > (SELECT up_to FROM counted) AND source <> 'hookbox' GROUP BY source"
            }
            About::Status => {
                "SELECT source, status, count(*) FROM webhook_events NOT INDEXED
                 WHERE id > (SELECT up_to FROM counted) GROUP BY source, status"
            }
            About::Action => {
                "SELECT action, CASE WHEN state IN ('queued', 'running') THEN 'open' ELSE state END AS what, count(*)
                 FROM jobs WHERE event_id > (SELECT up_to FROM counted) GROUP BY action, what"
            }
            About::Hour => {
                "SELECT strftime('%Y-%m-%dT%H', received_at) AS hour, 'received', count(*) FROM webhook_events NOT INDEXED
                 WHERE id > (SELECT up_to FROM counted) AND source <> 'hookbox' GROUP BY hour HAVING hour IS NOT NULL"
            }
        }
    }
}

/// All counts about something, as (name, what, count).
pub(super) fn read(connection: &Connection, about: About) -> Result<Vec<(String, String, i64)>> {
    let sql = format!(
        "SELECT name, what, sum(count) FROM (
             SELECT name, what, count FROM tallies WHERE about = ?1 UNION ALL {})
         GROUP BY name, what",
        about.uncounted()
    );
    let count = |row: &Row<'_>| Ok((string(row, 0)?, string(row, 1)?, row.get(2)?));
    connection.prepare_cached(&sql)?.query_map([about.as_str()], count)?.collect()
}

/// How many events are unprocessed, and how many in error.
pub(super) fn open_events(connection: &Connection) -> Result<(i64, i64)> {
    let counts = read(connection, About::Status)?;
    let sum = |status: Status| {
        let of_status = counts.iter().filter(|(_, what, _)| what == status.as_str());
        of_status.map(|(_, _, count)| count).sum()
    };
    Ok((sum(Status::Unprocessed), sum(Status::Error)))
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

#[cfg(test)]
mod tests;
