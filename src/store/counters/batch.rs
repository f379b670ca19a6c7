//! The receiver's counts: those of a whole batch in a few statements, which say what the trigger `webhook_event_counted`
//! says of each row that another program inserts.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use super::hour;
use crate::clock::Timestamp;
use crate::event::{EventId, Status};
use crate::store::list::BLOCK_BITS;

/// What one transaction adds to the counts.
#[derive(Default)]
pub struct Batch {
    counts: BTreeMap<(&'static str, String, &'static str), i64>,
    /// The minute of the latest reception, by block.
    blocks: BTreeMap<i64, String>,
}

impl Batch {
    /// Tells the trigger that the rows of this transaction are counted by us.
    pub fn begin(transaction: &Transaction<'_>) -> rusqlite::Result<Batch> {
        by_hand(transaction, true)?;
        Ok(Batch::default())
    }

    /// An event that is new.
    pub fn add(&mut self, event: EventId, source: &str, at: Timestamp) {
        let kinds = [
            ("source", source.to_owned(), "received"),
            ("status", source.to_owned(), Status::Unprocessed.as_str()),
            ("hour", hour(at), "received"),
        ];
        for kind in kinds {
            *self.counts.entry(kind).or_default() += 1;
        }
        let latest = self.blocks.entry(event.0 >> BLOCK_BITS).or_default();
        *latest = minute(at).max(std::mem::take(latest));
    }

    pub fn end(self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        for ((about, name, what), count) in self.counts {
            transaction
                .prepare_cached(
                    "INSERT INTO tallies VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (about, name, what) DO UPDATE SET count = count + excluded.count",
                )?
                .execute((about, name, what, count))?;
        }
        for block in self.blocks {
            transaction
                .prepare_cached(
                    "INSERT INTO blocks VALUES (?1, ?2)
                     ON CONFLICT (block) DO UPDATE SET latest = excluded.latest WHERE excluded.latest > latest",
                )?
                .execute(block)?;
        }
        by_hand(transaction, false)
    }
}

fn by_hand(transaction: &Transaction<'_>, is_by_hand: bool) -> rusqlite::Result<()> {
    transaction.prepare_cached("UPDATE counting SET by_hand = ?1")?.execute([is_by_hand])?;
    Ok(())
}

/// `2025-01-31T12:00`
fn minute(at: Timestamp) -> String {
    let mut minute = at.to_string();
    minute.truncate("2025-01-31T12:00".len());
    minute
}
