//! The receiver's way into the database: a batch of deliveries in one transaction.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{OptionalExtension, Row, Transaction, named_params};

use super::counters::BatchCounts;
use super::error::{Result, StorageError, WriteError, of_row};
use super::files::FileIdentity;
use super::filesystem::Disk;
use super::row::string;
use super::writer::Writer;
use super::{counters, events, replay};
use crate::clock::Timestamp;
use crate::event::{Delivery, DeliveryId, EventId, Status};

/// A delivery takes its bytes on the disk twice, in the WAL and in the database, until the WAL is cut back.
const COPIES: u64 = 2;

/// How long the same content counts as the same delivery where the provider sent no id: long enough for the retries after a
/// lost answer, short enough that a message sent again on purpose is a new event.
const CONTENT_WINDOW: Duration = Duration::from_secs(5 * 60);

/// The receiver's connection.
pub struct Ingest {
    pub(super) writer: Writer,
    pub(super) files: FileIdentity,
    /// Whether the last commit failed for a reason that concerns every delivery.
    pub(super) has_failed: bool,
}

/// The result of storing a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// A new event.
    New(EventId),
    /// This event already; nothing was stored.
    Duplicate(EventId),
    /// This event already, which had failed: its dead jobs are queued again, because that is the only purpose of a
    /// provider's Redeliver button.
    Requeued(EventId),
    /// This event already, but so long ago that the sender means it again: it is processed as if it were new.
    Replayed(EventId),
}

/// A delivery that is safe on disk, with what the caller attached. Only this module can make one, and only after its
/// transaction is committed: code that needs one to answer cannot answer too early.
#[derive(Debug)]
pub struct Stored<T> {
    ingested: Ingested,
    carried: T,
}

impl<T> Stored<T> {
    pub fn into_parts(self) -> (Ingested, T) {
        (self.ingested, self.carried)
    }
}

/// A delivery that is not on disk, with what the caller attached.
#[derive(Debug)]
pub struct NotStored<T> {
    pub carried: T,
    pub error: Arc<WriteError>,
}

/// Of one delivery: the inner error is its own fault, and leaves the others of the batch as they are.
type InsertResult = rusqlite::Result<Ingested>;

impl Ingest {
    /// Stores all of `batch` in one transaction, and returns after it is durable.
    ///
    /// If the database refuses one delivery for a fault of its own, the others are stored. Nothing is stored that would
    /// leave less than `reserve_bytes` free on the disk.
    pub fn store<T>(
        &mut self,
        batch: Vec<(Delivery, T)>,
        reserve_bytes: u64,
    ) -> Vec<std::result::Result<Stored<T>, NotStored<T>>> {
        let (deliveries, carried): (Vec<Delivery>, Vec<T>) = batch.into_iter().unzip();
        let committed = self.commit_checked(&deliveries, reserve_bytes);
        self.has_failed = committed.is_err();
        let results = match committed {
            Ok(results) => results,
            Err(error) => {
                let error = Arc::new(error);
                return carried.into_iter().map(|carried| Err(NotStored { carried, error: error.clone() })).collect();
            }
        };
        let refused = |error| Arc::new(StorageError::of(&self.writer.path, error).into());
        let stored = |(result, carried): (InsertResult, T)| match result {
            Ok(ingested) => Ok(Stored { ingested, carried }),
            Err(error) => Err(NotStored { carried, error: refused(error) }),
        };
        results.into_iter().zip(carried).map(stored).collect()
    }

    /// Whether a delivery could be stored now: the disk reserve is free, a write transaction can begin, and the last
    /// commit succeeded. After a commit that failed, a small one is attempted; otherwise nothing is written.
    pub fn probe(&mut self, reserve_bytes: u64) -> Result<(), WriteError> {
        self.check(reserve_bytes, 0)?;
        let has_failed = self.has_failed;
        self.writer.write(|transaction| if has_failed { rewrite_version(transaction) } else { Ok(()) })?;
        self.has_failed = false;
        Ok(())
    }

    fn commit_checked(&self, deliveries: &[Delivery], reserve_bytes: u64) -> Result<Vec<InsertResult>, WriteError> {
        let needed_bytes = COPIES * deliveries.iter().map(|delivery| delivery.content_bytes() as u64).sum::<u64>();
        self.check(reserve_bytes, needed_bytes)?;
        let results = self.commit(deliveries)?;
        // Once more: the files may have been moved or deleted while this waited for the lock and for the disk.
        self.files.check()?;
        Ok(results)
    }

    /// A full card breaks the whole machine, not only hookbox. And a commit that does not fit leaves the WAL at its new
    /// length, so that smaller ones no longer fit either.
    fn check(&self, reserve_bytes: u64, needed_bytes: u64) -> Result<(), WriteError> {
        self.files.check()?;
        let path = &self.writer.path;
        // Where the file system cannot be asked, the commit itself will say what is wrong.
        let Some(Disk { free_bytes, .. }) = Disk::of(path) else { return Ok(()) };
        if free_bytes < reserve_bytes.saturating_add(needed_bytes) {
            let path = path.display().to_string();
            return Err(WriteError::Reserve { path, free_bytes, needed_bytes, reserve_bytes });
        }
        Ok(())
    }

    /// For the benchmark that measures what storing costs; `cargo bench` alone builds it.
    #[cfg(hookbox_store_nothing)]
    fn commit(&self, deliveries: &[Delivery]) -> Result<Vec<InsertResult>> {
        Ok(deliveries.iter().map(|_| Ok(Ingested::New(EventId(0)))).collect())
    }

    #[cfg(not(hookbox_store_nothing))]
    fn commit(&self, deliveries: &[Delivery]) -> Result<Vec<InsertResult>> {
        self.writer.write(|transaction| {
            match deliveries {
                // Counted by the triggers: for a single delivery this takes as long and writes a page less.
                [alone] => Ok(vec![insert(transaction, alone)?]),
                many => insert_counted(transaction, many),
            }
        })
    }
}

fn insert_counted(transaction: &Transaction<'_>, deliveries: &[Delivery]) -> rusqlite::Result<Vec<InsertResult>> {
    let mut counts = BatchCounts::begin(transaction)?;
    let mut results = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let result = insert(transaction, delivery)?;
        if let Ok(Ingested::New(event)) = result {
            counts.add(event, &delivery.source, delivery.received_at);
        }
        results.push(result);
    }
    counts.end(transaction)?;
    Ok(results)
}

/// The inner error is the delivery's own fault.
fn insert(transaction: &Transaction<'_>, delivery: &Delivery) -> rusqlite::Result<InsertResult> {
    of_row(transaction, insert_or_recognise(transaction, delivery))
}

fn insert_or_recognise(transaction: &Transaction<'_>, delivery: &Delivery) -> rusqlite::Result<Ingested> {
    let id = match &delivery.id {
        DeliveryId::Given(id) => id.clone(),
        DeliveryId::OfContent(id) => id_within_window(transaction, delivery, id)?,
    };
    let sql = "INSERT INTO webhook_events
             (source, event_type, delivery_id, payload_json, received_at, status, headers_json, body)
         VALUES (:source, :event_type, :delivery_id, :payload_json, :received_at, 'unprocessed', :headers_json, :body)
         ON CONFLICT (source, delivery_id) DO NOTHING";
    let named = named_params! {
        ":source": delivery.source,
        ":event_type": delivery.event_type,
        ":delivery_id": id,
        ":payload_json": delivery.payload_json,
        ":received_at": delivery.received_at.to_string(),
        ":headers_json": delivery.headers_json,
        ":body": delivery.body,
    };
    if transaction.prepare_cached(sql)?.execute(named)? == 1 {
        let event = EventId(transaction.last_insert_rowid());
        let position = delivery.secret_position.and_then(|position| i64::try_from(position).ok());
        let sql = "INSERT OR REPLACE INTO provenance (event_id, secret_position) VALUES (?1, ?2)";
        transaction.prepare_cached(sql)?.execute((event.0, position))?;
        return Ok(Ingested::New(event));
    }
    insert_duplicate(transaction, delivery, &id)
}

/// Counts a delivery that is stored already, and processes its event again where the sender means that.
fn insert_duplicate(transaction: &Transaction<'_>, delivery: &Delivery, id: &str) -> rusqlite::Result<Ingested> {
    let sql = "SELECT id, status, coalesce(renewed_at, received_at)
         FROM webhook_events LEFT JOIN provenance ON event_id = id WHERE source = ?1 AND delivery_id = ?2";
    let columns = |row: &Row<'_>| Ok((EventId(row.get(0)?), string(row, 1)?, string(row, 2)?));
    let (event, status, last_meant_at) = transaction.prepare_cached(sql)?.query_row((&delivery.source, id), columns)?;
    let sql = "INSERT INTO provenance (event_id, duplicates) VALUES (?1, 1)
         ON CONFLICT (event_id) DO UPDATE SET duplicates = duplicates + 1";
    transaction.prepare_cached(sql)?.execute([event.0])?;
    counters::count_duplicate(transaction, &delivery.source, delivery.received_at)?;
    if status == Status::Unprocessed.as_str() {
        return Ok(Ingested::Duplicate(event));
    }
    let is_meant_again = delivery.dedup_window.is_some_and(|window| {
        Timestamp::parse(&last_meant_at).is_some_and(|at| at.distance(delivery.received_at) > window)
    });
    if is_meant_again {
        events::reopen(transaction, event)?;
        let sql = "UPDATE provenance SET renewed_at = ?2 WHERE event_id = ?1";
        transaction.prepare_cached(sql)?.execute((event.0, delivery.received_at.to_string()))?;
        return Ok(Ingested::Replayed(event));
    }
    if status == Status::Error.as_str() && replay::requeue_failed(transaction, event)? {
        return Ok(Ingested::Requeued(event));
    }
    Ok(Ingested::Duplicate(event))
}

/// The id for content that came without one. If the latest copy is recent, its id, to recognise a duplicate; otherwise the
/// bare id, or, if that is taken, one with the time added.
fn id_within_window(transaction: &Transaction<'_>, delivery: &Delivery, id: &str) -> rusqlite::Result<String> {
    // `@` begins the added time; `A` is the character after it.
    let sql = "SELECT delivery_id, received_at FROM webhook_events
         WHERE source = ?1 AND (delivery_id = ?2 OR delivery_id >= ?2 || '@' AND delivery_id < ?2 || 'A')
         ORDER BY id DESC LIMIT 1";
    let columns = |row: &Row<'_>| Ok((string(row, 0)?, string(row, 1)?));
    let latest = transaction.prepare_cached(sql)?.query_row((&delivery.source, id), columns).optional()?;
    let Some((latest_id, received_at)) = latest else { return Ok(id.to_owned()) };
    let is_recent = Timestamp::parse(&received_at)
        .is_some_and(|received_at| received_at.distance(delivery.received_at) <= CONTENT_WINDOW);
    Ok(if is_recent { latest_id } else { format!("{id}@{}", delivery.received_at) })
}

/// A real commit that changes nothing: the page with the version is written again.
fn rewrite_version(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    transaction.pragma_update(None, "user_version", version)
}
