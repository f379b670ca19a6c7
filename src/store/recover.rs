//! What a provider lists and what was not stored here: what was asked for, how far the list was compared, what is lost.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::error::{OpenError, Result, WriteError};
use super::row::string;
use super::writer::{WORKER_BUSY, Writer};
use super::{deliveries, ingest};
use crate::clock::Timestamp;
use crate::event::{Delivery, EventId};

/// Longer than any provider lists its deliveries: what is older need not be remembered.
const REMEMBERED: Duration = Duration::from_secs(100 * 24 * 60 * 60);

/// A connection for recovering.
pub struct Recoveries {
    pub(super) writer: Writer,
}

/// A delivery that the provider lists and that was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    pub delivery_id: String,
    /// Its id in the provider's list.
    pub item: String,
    pub event_type: String,
    /// When it was first delivered, by the provider's clock.
    pub at: Timestamp,
    /// How often it was asked for.
    pub asked: u32,
    /// When it was last asked for.
    pub asked_at: Option<Timestamp>,
    /// What the provider says about its last attempt.
    pub status: String,
}

/// When hookbox was last known to run.
#[derive(Clone, Copy, Debug)]
pub struct LastRan {
    pub at: Timestamp,
    /// It was stopped then. Otherwise it has run on without a trace, as long as nothing came.
    pub is_stop: bool,
}

impl Recoveries {
    /// For the command line.
    pub fn open(path: &Path) -> Result<Recoveries, OpenError> {
        Ok(Recoveries { writer: Writer::open_for_command(path, WORKER_BUSY)? })
    }

    /// How far the deliveries of a source were compared; `None`: never.
    pub fn compared_to(&self, source: &str) -> Result<Option<Timestamp>> {
        let sql = "SELECT compared_ms FROM recovery_marks WHERE source = ?1";
        self.writer.read(|connection| {
            let found = connection.query_row(sql, [source], |row| row.get(0)).optional()?;
            Ok(found.map(Timestamp::from_unix_ms))
        })
    }

    /// When hookbox was last known to run, if a source was compared before.
    pub fn last_ran(&self, source: &str) -> Result<Option<LastRan>> {
        let sql = "SELECT coalesce(max(ran_ms), 0), max(compared_ms),
                 coalesce((SELECT unixepoch(received_at) * 1000 FROM webhook_events ORDER BY id DESC LIMIT 1), 0)
             FROM recovery_marks HAVING max(source = ?1)";
        self.writer.read(|connection| {
            let times = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let found: Option<(i64, i64, i64)> = connection.query_row(sql, [source], times).optional()?;
            Ok(found.map(|(stopped_ms, compared_ms, received_ms)| {
                let at_ms = stopped_ms.max(compared_ms).max(received_ms);
                LastRan { at: Timestamp::from_unix_ms(at_ms), is_stop: stopped_ms == at_ms }
            }))
        })
    }

    /// Records that hookbox has run until now.
    pub fn record_stop(&self, now: Timestamp) -> Result<()> {
        let sql = "UPDATE recovery_marks SET ran_ms = max(?1, coalesce(ran_ms, 0))";
        self.writer.write(|transaction| transaction.execute(sql, [now.unix_ms()]).map(drop))
    }

    /// Those of these delivery ids that need no recovery: stored, known as missing already, lost, or deleted here.
    pub fn known(&self, source: &str, delivery_ids: &[&str]) -> Result<HashSet<String>> {
        let sql = "SELECT EXISTS (SELECT 1 FROM webhook_events WHERE source = ?1 AND delivery_id = ?2)
                 OR EXISTS (SELECT 1 FROM recoveries WHERE source = ?1 AND delivery_id = ?2)";
        self.writer.read(|connection| {
            let mut is_known = connection.prepare_cached(sql)?;
            let mut known = HashSet::new();
            for id in delivery_ids {
                if is_known.query_row((source, id), |row| row.get(0))? {
                    known.insert((*id).to_owned());
                }
            }
            Ok(known)
        })
    }

    /// Records what is missing, and how far the list was compared.
    pub fn record(&self, source: &str, missed: &[Missed], compared_to: Timestamp, now: Timestamp) -> Result<()> {
        self.writer.write(|transaction| {
            let sql = "INSERT INTO recoveries
                     (source, delivery_id, item, event_type, at_ms, state, asked, asked_ms, status)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'missing', ?6, ?7, ?8) ON CONFLICT DO NOTHING";
            let mut insert = transaction.prepare_cached(sql)?;
            for it in missed {
                let asked_ms = it.asked_at.map(Timestamp::unix_ms);
                let at_ms = it.at.unix_ms();
                insert.execute((
                    source,
                    &it.delivery_id,
                    &it.item,
                    &it.event_type,
                    at_ms,
                    it.asked,
                    asked_ms,
                    &it.status,
                ))?;
            }
            let mark = "INSERT INTO recovery_marks (source, compared_ms) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET compared_ms = max(compared_ms, excluded.compared_ms)";
            transaction.execute(mark, (source, compared_to.unix_ms()))?;
            forget(transaction, source, now.minus(REMEMBERED))
        })
    }

    /// What is missing, the oldest first.
    pub fn missing(&self, source: &str) -> Result<Vec<Missed>> {
        let sql = "SELECT delivery_id, item, event_type, at_ms, asked, asked_ms, status FROM recoveries
             WHERE source = ?1 AND state = 'missing' ORDER BY at_ms, delivery_id";
        self.writer.read(|connection| connection.prepare_cached(sql)?.query_map([source], Missed::of)?.collect())
    }

    /// Marks what has arrived meanwhile. Returns how many they are; nothing is written where there are none.
    pub fn settle(&self, source: &str) -> Result<usize> {
        let arrived = "source = ?1 AND state = 'missing' AND EXISTS (SELECT 1 FROM webhook_events AS event
                 WHERE event.source = ?1 AND event.delivery_id = recoveries.delivery_id)";
        let any = format!("SELECT EXISTS (SELECT 1 FROM recoveries WHERE {arrived})");
        if !self.writer.read(|connection| connection.query_row(&any, [source], |row| row.get::<_, bool>(0)))? {
            return Ok(0);
        }
        let sql = format!("UPDATE recoveries SET state = 'recovered' WHERE {arrived}");
        self.writer.write(|transaction| transaction.execute(&sql, [source]))
    }

    /// Records that one is asked for, before it is. False if it has arrived, or another process has asked for it.
    pub fn ask(&self, source: &str, missed: &Missed, now: Timestamp) -> Result<bool> {
        let sql = "UPDATE recoveries SET asked = asked + 1, asked_ms = ?4
             WHERE source = ?1 AND delivery_id = ?2 AND asked = ?3 AND state = 'missing'
             AND NOT EXISTS (SELECT 1 FROM webhook_events WHERE source = ?1 AND delivery_id = ?2)";
        let parameters = (source, &missed.delivery_id, missed.asked, now.unix_ms());
        self.writer.write(|transaction| Ok(transaction.execute(sql, parameters)? == 1))
    }

    /// Stores an event that came from the provider's API, and marks it as such. False if it has arrived meanwhile. Nothing
    /// is stored that would leave less than `reserve_bytes` free on the disk.
    pub fn take(&self, delivery: &Delivery, reserve_bytes: u64) -> Result<bool, WriteError> {
        ingest::check_reserve(&self.writer.path, reserve_bytes, [delivery])?;
        let id = delivery.id.as_str();
        let is_new = self.writer.write(|transaction| {
            let ingested = deliveries::insert_if_new(transaction, delivery, id)?;
            if let Some(event) = ingested {
                transaction.execute("INSERT INTO taken VALUES (?1)", [event.0])?;
            }
            let sql = "UPDATE recoveries SET state = 'recovered' WHERE source = ?1 AND delivery_id = ?2";
            transaction.execute(sql, (&delivery.source, id))?;
            Ok(ingested.is_some())
        })?;
        Ok(is_new)
    }

    /// It cannot be had any more; `status` is why.
    pub fn lose(&self, source: &str, delivery_id: &str, status: &str) -> Result<()> {
        let sql = "UPDATE recoveries SET state = 'lost', status = ?3
             WHERE source = ?1 AND delivery_id = ?2 AND state = 'missing'";
        self.writer.write(|transaction| transaction.execute(sql, (source, delivery_id, status)).map(drop))
    }

    /// Records the provider's status of a delivery that is missing, where it is another one.
    pub fn update_status_if_missing(&self, source: &str, delivery_id: &str, status: &str) -> Result<()> {
        let sql = "UPDATE recoveries SET status = ?3
             WHERE source = ?1 AND delivery_id = ?2 AND state = 'missing' AND status <> ?3";
        let is_other = "SELECT EXISTS (SELECT 1 FROM recoveries
             WHERE source = ?1 AND delivery_id = ?2 AND state = 'missing' AND status <> ?3)";
        let parameters = (source, delivery_id, status);
        if !self.writer.read(|connection| connection.query_row(is_other, parameters, |row| row.get::<_, bool>(0)))? {
            return Ok(());
        }
        self.writer.write(|transaction| transaction.execute(sql, (source, delivery_id, status)).map(drop))
    }
}

impl Missed {
    fn of(row: &Row<'_>) -> rusqlite::Result<Missed> {
        Ok(Missed {
            delivery_id: string(row, 0)?,
            item: string(row, 1)?,
            event_type: string(row, 2)?,
            at: Timestamp::from_unix_ms(row.get(3)?),
            asked: row.get(4)?,
            asked_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_unix_ms),
            status: string(row, 6)?,
        })
    }
}

/// Deletes what is older than `before` and settled; how many were recovered is counted on.
fn forget(transaction: &Transaction<'_>, source: &str, before: Timestamp) -> rusqlite::Result<()> {
    let count = "UPDATE recovery_marks SET recovered_before = recovered_before + (SELECT count(*) FROM recoveries
             WHERE source = ?1 AND state = 'recovered' AND at_ms < ?2) WHERE source = ?1";
    transaction.execute(count, (source, before.unix_ms()))?;
    let forget = "DELETE FROM recoveries WHERE source = ?1 AND state <> 'missing' AND at_ms < ?2";
    transaction.execute(forget, (source, before.unix_ms())).map(drop)
}

/// Remembers that an event is deleted here, so that it does not come back as missing: of a source that is compared, and if
/// a provider may still list it.
pub(super) fn remember_deleted(transaction: &Transaction<'_>, event: EventId, now: Timestamp) -> rusqlite::Result<()> {
    if !has_marks(transaction)? {
        return Ok(());
    }
    let sql = "INSERT INTO recoveries (source, delivery_id, item, event_type, at_ms, state, status)
         SELECT source, delivery_id, '', event_type, unixepoch(received_at) * 1000, 'deleted', '' FROM webhook_events
         WHERE id = ?1 AND received_at > ?2 AND source IN (SELECT source FROM recovery_marks)
         ON CONFLICT DO UPDATE SET state = 'deleted'";
    transaction.prepare_cached(sql)?.execute((event.0, now.minus(REMEMBERED).to_string())).map(drop)
}

fn has_marks(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM recovery_marks)";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}
