//! Finds the ids of the events received since a time: the table `blocks` has the minute of the latest reception for each
//! block of 1,024 ids.

use rusqlite::{Connection, Result};

use crate::clock::Timestamp;

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

/// The ids smaller than `before` that include all events received at `since` or later; the newest first. The latest events,
/// which are in no block yet, are always among them.
pub(super) fn spans(connection: &Connection, since: Timestamp, before: i64) -> Result<Vec<Span>> {
    let uncounted = "SELECT coalesce(max(up_to), 0) + 1 FROM counted";
    let uncounted: i64 = connection.prepare_cached(uncounted)?.query_row([], |row| row.get(0))?;
    let mut spans = vec![Span { from: uncounted, before: i64::MAX }];
    let mut statement = connection.prepare_cached(BLOCKS_SINCE)?;
    for block in statement.query_map([minute(since)], |row| row.get::<_, i64>(0))? {
        let from = block? << BLOCK_BITS;
        let end = from.saturating_add(1 << BLOCK_BITS).min(uncounted);
        match spans.last_mut() {
            _ if from >= end => {}
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
