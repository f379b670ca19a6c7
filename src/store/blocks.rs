//! Finds the ids of the events received since a time: the table `blocks` of 004-tallies.sql has the minute of the latest
//! reception for each block of 1,024 ids.

use rusqlite::{Connection, Result, Transaction};

use crate::clock::Timestamp;
use crate::event::EventId;

/// Ids in a block, as a power of two.
const BLOCK_BITS: u32 = 10;

pub(super) const BLOCKS_SINCE: &str = "SELECT block FROM blocks WHERE latest >= ?1 ORDER BY block DESC";

/// Ids from `from` on, and smaller than `before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) before: i64,
}

impl Span {
    pub(super) const ALL: Span = Span { from: i64::MIN, before: i64::MAX };
}

pub(super) fn block_of(event: EventId) -> i64 {
    event.0 >> BLOCK_BITS
}

/// Records a reception in a block.
pub(super) fn record(transaction: &Transaction<'_>, block: i64, at: Timestamp) -> Result<()> {
    let sql = "INSERT INTO blocks VALUES (?1, ?2)
         ON CONFLICT (block) DO UPDATE SET latest = excluded.latest WHERE excluded.latest > latest";
    transaction.prepare_cached(sql)?.execute((block, minute(at))).map(drop)
}

/// The ids smaller than `before` that include all events received at `since` or later; the newest first.
pub(super) fn spans(connection: &Connection, since: Timestamp, before: i64) -> Result<Vec<Span>> {
    let mut statement = connection.prepare_cached(BLOCKS_SINCE)?;
    let mut spans: Vec<Span> = Vec::new();
    for block in statement.query_map([minute(since)], |row| row.get::<_, i64>(0))? {
        let from = block? << BLOCK_BITS;
        let end = from.saturating_add(1 << BLOCK_BITS);
        match spans.last_mut() {
            Some(last) if last.from == end => last.from = from,
            _ => spans.push(Span { from, before: end }),
        }
    }
    spans.iter_mut().for_each(|span| span.before = span.before.min(before));
    Ok(spans)
}

/// `2025-01-31T12:00`
fn minute(at: Timestamp) -> String {
    at.to_string()[.."2025-01-31T12:00".len()].to_owned()
}
