//! The receiver's way into the database: a batch of deliveries in one transaction.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, named_params};

use super::counters::batch::Batch;
use super::counters::hour;
use super::file_identity::FileIdentity;
use super::filesystem::Disk;
use super::queue::text;
use super::{Error, Result, Writer, error};
use crate::clock::Timestamp;
use crate::event::{Delivery, DeliveryId, EventId, Status};

/// How long the same content counts as the same delivery where the provider sent no id: long enough for the retries
/// after a lost answer, short enough that a message which is meant again is a new event.
const CONTENT_WINDOW: Duration = Duration::from_secs(5 * 60);

/// A delivery takes its bytes on the disk twice, in the WAL and in the database, until the WAL is cut back.
const COPIES: u64 = 2;

/// The receiver's connection.
pub struct Ingest {
    writer: Writer,
    anchor: FileIdentity,
    /// Whether the last commit failed for a reason that concerns every delivery.
    failed: bool,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// A new event.
    New(EventId),
    /// This event already; nothing was stored.
    Duplicate(EventId),
    /// This event already, which had failed: its dead jobs are queued again. A provider's Redeliver button is pressed
    /// for nothing else.
    Requeued(EventId),
    /// This event already, but so long ago that it is meant again: it is processed as if it were new.
    Replayed(EventId),
}

/// A delivery that is safe on disk, with what the caller gave along. Only this module can make one, and only a
/// transaction that was committed hands it out: whoever needs one to answer cannot answer too early.
#[derive(Debug)]
pub struct Stored<T> {
    kept: Ingested,
    carried: T,
}

impl<T> Stored<T> {
    pub fn into_parts(self) -> (Ingested, T) {
        (self.kept, self.carried)
    }
}

/// A delivery of which nothing is on disk, with what the caller gave along.
#[derive(Debug)]
pub struct NotStored<T> {
    pub carried: T,
    pub error: Arc<Error>,
}

/// What became of one delivery of a batch.
pub type Verdict<T> = std::result::Result<Stored<T>, NotStored<T>>;

impl Ingest {
    pub(super) fn new(writer: Writer, anchor: FileIdentity) -> Ingest {
        Ingest { writer, anchor, failed: false }
    }

    /// Stores all of `batch` in one transaction, and returns after it is durable.
    ///
    /// A delivery that the database refuses for a reason of its own does not take the others with it. Nothing is stored
    /// that would leave less than `reserve_bytes` free on the disk.
    pub fn store<T>(&mut self, batch: Vec<(Delivery, T)>, reserve_bytes: u64) -> Vec<Verdict<T>> {
        let (deliveries, carried): (Vec<Delivery>, Vec<T>) = batch.into_iter().unzip();
        let needed_bytes = COPIES * deliveries.iter().map(|delivery| delivery.content_bytes() as u64).sum::<u64>();
        let committed = self.check(reserve_bytes, needed_bytes).and_then(|()| self.commit(&deliveries));
        // Once more: the files may have been moved or deleted while it waited for its turn and for the disk.
        let committed = committed.and_then(|kept| self.anchor.check().map(|()| kept));
        self.failed = committed.is_err();
        match committed {
            Ok(kept) => kept.into_iter().zip(carried).map(|(kept, carried)| self.outcome(kept, carried)).collect(),
            Err(error) => {
                let error = Arc::new(error);
                carried.into_iter().map(|carried| Err(NotStored { carried, error: error.clone() })).collect()
            }
        }
    }

    /// Whether a delivery could be stored now: the disk reserve is free, a write transaction can begin, and the last
    /// commit succeeded. Where it did not, a small one is tried; otherwise nothing is written.
    pub fn probe(&mut self, reserve_bytes: u64) -> Result<()> {
        self.check(reserve_bytes, 0)?;
        let failed = self.failed;
        self.writer.write(|transaction| if failed { rewrite_version(transaction) } else { Ok(()) })?;
        self.failed = false;
        Ok(())
    }

    fn check(&self, reserve_bytes: u64, needed_bytes: u64) -> Result<()> {
        self.anchor.check()?;
        self.check_reserve(reserve_bytes, needed_bytes)
    }

    /// For the benchmark that measures what storing costs; `cargo bench` alone builds it.
    #[cfg(hookbox_store_nothing)]
    fn commit(&self, deliveries: &[Delivery]) -> Result<Vec<rusqlite::Result<Ingested>>> {
        Ok(deliveries.iter().map(|_| Ok(Ingested::New(EventId(0)))).collect())
    }

    #[cfg(not(hookbox_store_nothing))]
    fn commit(&self, deliveries: &[Delivery]) -> Result<Vec<rusqlite::Result<Ingested>>> {
        self.writer.write(|transaction| {
            match deliveries {
                // Counted by the triggers, which takes as long for one alone and writes a page less.
                [alone] => Ok(vec![insert(transaction, alone)?]),
                many => keep_counted(transaction, many),
            }
        })
    }

    fn outcome<T>(&self, kept: rusqlite::Result<Ingested>, carried: T) -> Verdict<T> {
        match kept {
            Ok(kept) => Ok(Stored { kept, carried }),
            Err(error) => Err(NotStored { carried, error: Error::of(&self.writer.path, error).into() }),
        }
    }

    /// A full card breaks the whole machine, not only us. And a commit that does not fit leaves the WAL as long as it got,
    /// so that what would have fitted does not any more.
    fn check_reserve(&self, reserve_bytes: u64, needed_bytes: u64) -> Result<()> {
        let path = &self.writer.path;
        // Where the file system cannot be asked, the commit itself will say what is wrong.
        let Some(Disk { free_bytes, .. }) = Disk::of(path) else { return Ok(()) };
        if free_bytes < reserve_bytes.saturating_add(needed_bytes) {
            return Err(Error::Reserve { path: path.clone(), free_bytes, needed_bytes, reserve_bytes });
        }
        Ok(())
    }
}

/// A real commit that changes nothing: the page with the version is written again.
fn rewrite_version(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    transaction.pragma_update(None, "user_version", version)
}

fn keep_counted(
    transaction: &Transaction<'_>,
    deliveries: &[Delivery],
) -> rusqlite::Result<Vec<rusqlite::Result<Ingested>>> {
    let mut counted = Batch::begin(transaction)?;
    let mut all_kept = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let kept = insert(transaction, delivery)?;
        if let Ok(Ingested::New(event)) = kept {
            counted.add(event, &delivery.source, delivery.received_at);
        }
        all_kept.push(kept);
    }
    counted.end(transaction)?;
    Ok(all_kept)
}

/// The inner error is the delivery's own fault, and leaves the others as they are.
fn insert(transaction: &Transaction<'_>, delivery: &Delivery) -> rusqlite::Result<rusqlite::Result<Ingested>> {
    match keep(transaction, delivery) {
        // Nothing else is its own fault; and once all is rolled back, the rest would run on its own.
        Err(error) if !error::is_of_the_row(&error) || transaction.is_autocommit() => Err(error),
        kept => Ok(kept),
    }
}

fn keep(transaction: &Transaction<'_>, delivery: &Delivery) -> rusqlite::Result<Ingested> {
    let id = match &delivery.id {
        DeliveryId::Given(id) => id.clone(),
        DeliveryId::OfContent(id) => within_window(transaction, delivery, id)?,
    };
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO webhook_events
                 (source, event_type, delivery_id, payload_json, received_at, status, headers_json, body)
             VALUES (:source, :event_type, :delivery_id, :payload_json, :received_at, 'unprocessed', :headers_json, :body)
             ON CONFLICT (source, delivery_id) DO NOTHING",
        )?
        .execute(named_params! {
            ":source": delivery.source,
            ":event_type": delivery.event_type,
            ":delivery_id": id,
            ":payload_json": delivery.payload_json,
            ":received_at": delivery.received_at.to_string(),
            ":headers_json": delivery.headers_json,
            ":body": delivery.body,
        })?;
    if inserted == 1 {
        let event = EventId(transaction.last_insert_rowid());
        insert_provenance(transaction, event, delivery)?;
        return Ok(Ingested::New(event));
    }
    insert_duplicate(transaction, delivery, &id)
}

fn insert_provenance(transaction: &Transaction<'_>, event: EventId, delivery: &Delivery) -> rusqlite::Result<()> {
    let position = delivery.secret_position.and_then(|position| i64::try_from(position).ok());
    transaction
        .prepare_cached("INSERT OR REPLACE INTO provenance (event_id, secret_position) VALUES (?1, ?2)")?
        .execute((event.0, position))?;
    Ok(())
}

/// Counts a delivery that is there already, and does what its coming again means.
fn insert_duplicate(transaction: &Transaction<'_>, delivery: &Delivery, id: &str) -> rusqlite::Result<Ingested> {
    let (event, status, last_meant_at): (i64, String, String) = transaction
        .prepare_cached(
            "SELECT id, status, coalesce(renewed_at, received_at)
             FROM webhook_events LEFT JOIN provenance ON event_id = id WHERE source = ?1 AND delivery_id = ?2",
        )?
        .query_row((&delivery.source, id), |row| {
            Ok((row.get(0)?, text(row, 1)?.into_owned(), text(row, 2)?.into_owned()))
        })?;
    let event = EventId(event);
    count_duplicate(transaction, event, delivery)?;
    if status == Status::Unprocessed.as_str() {
        return Ok(Ingested::Duplicate(event));
    }
    let is_meant_again = delivery.dedup_window.is_some_and(|window| {
        Timestamp::parse(&last_meant_at).is_some_and(|at| at.distance(delivery.received_at) > window)
    });
    if is_meant_again {
        super::queue::reopen(transaction, event)?;
        transaction
            .prepare_cached("UPDATE provenance SET renewed_at = ?2 WHERE event_id = ?1")?
            .execute((event.0, delivery.received_at.to_string()))?;
        return Ok(Ingested::Replayed(event));
    }
    if status == Status::Error.as_str() {
        let is_again = super::queue::requeue_failed(transaction, event)?;
        return Ok(if is_again { Ingested::Requeued(event) } else { Ingested::Duplicate(event) });
    }
    Ok(Ingested::Duplicate(event))
}

fn count_duplicate(transaction: &Transaction<'_>, event: EventId, delivery: &Delivery) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO provenance (event_id, duplicates) VALUES (?1, 1)
             ON CONFLICT (event_id) DO UPDATE SET duplicates = duplicates + 1",
        )?
        .execute([event.0])?;
    transaction
        .prepare_cached(
            "INSERT INTO tallies VALUES ('source', ?1, 'duplicates', 1), ('hour', ?2, 'duplicates', 1)
             ON CONFLICT (about, name, what) DO UPDATE SET count = count + 1",
        )?
        .execute((&delivery.source, hour(delivery.received_at)))?;
    Ok(())
}

/// The id under which to store content that came without one: that of its latest copy if that is recent, so that it is
/// recognised as a duplicate; otherwise the bare id, or, if that is taken, one with the time added.
fn within_window(transaction: &Transaction<'_>, delivery: &Delivery, id: &str) -> rusqlite::Result<String> {
    // `@` begins the added time; `A` is the character after it.
    let latest: Option<(String, String)> = transaction
        .prepare_cached(
            "SELECT delivery_id, received_at FROM webhook_events
             WHERE source = ?1 AND (delivery_id = ?2 OR delivery_id >= ?2 || '@' AND delivery_id < ?2 || 'A')
             ORDER BY id DESC LIMIT 1",
        )?
        .query_row((&delivery.source, id), |row| Ok((text(row, 0)?.into_owned(), text(row, 1)?.into_owned())))
        .optional()?;
    let Some((latest_id, received_at)) = latest else { return Ok(id.to_owned()) };
    let is_recent = Timestamp::parse(&received_at)
        .is_some_and(|received_at| received_at.distance(delivery.received_at) <= CONTENT_WINDOW);
    Ok(if is_recent { latest_id } else { format!("{id}@{}", delivery.received_at) })
}
