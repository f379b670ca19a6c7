//! The receiver's way into the database: a batch of deliveries in one transaction.

mod insert;

use std::sync::Arc;

use rusqlite::Transaction;

use super::counters::BatchCounts;
use super::error::{Result, StorageError, WriteError};
use super::files::FileIdentity;
use super::filesystem::Disk;
use super::writer::Writer;
use crate::event::{Delivery, EventId};
use insert::insert;

/// A delivery takes its bytes on the disk twice, in the WAL and in the database, until the WAL is cut back.
const COPIES: u64 = 2;

/// The receiver's connection.
pub struct Ingest {
    pub(super) writer: Writer,
    pub(super) files: FileIdentity,
    /// Whether the last commit failed for a reason that concerns every delivery.
    pub(super) has_failed: bool,
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

/// A delivery of which nothing is on disk, with what the caller attached.
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
    /// A delivery that the database refuses for a reason of its own does not take the others with it. Nothing is stored
    /// that would leave less than `reserve_bytes` free on the disk.
    pub fn store<T>(
        &mut self,
        batch: Vec<(Delivery, T)>,
        reserve_bytes: u64,
    ) -> Vec<std::result::Result<Stored<T>, NotStored<T>>> {
        let (deliveries, carried): (Vec<Delivery>, Vec<T>) = batch.into_iter().unzip();
        let committed = self.commit_checked(&deliveries, reserve_bytes);
        self.has_failed = committed.is_err();
        match committed {
            Ok(results) => {
                results.into_iter().zip(carried).map(|(result, carried)| self.stored(result, carried)).collect()
            }
            Err(error) => {
                let error = Arc::new(error);
                carried.into_iter().map(|carried| Err(NotStored { carried, error: error.clone() })).collect()
            }
        }
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

    /// A full card breaks the whole machine, not only hookbox. And a commit that does not fit leaves the WAL as long as it
    /// got, so that smaller ones no longer fit either.
    fn check(&self, reserve_bytes: u64, needed_bytes: u64) -> Result<(), WriteError> {
        self.files.check()?;
        let path = &self.writer.path;
        // Where the file system cannot be asked, the commit itself will say what is wrong.
        let Some(Disk { free_bytes, .. }) = Disk::of(path) else { return Ok(()) };
        if free_bytes < reserve_bytes.saturating_add(needed_bytes) {
            return Err(WriteError::Reserve {
                path: path.display().to_string(),
                free_bytes,
                needed_bytes,
                reserve_bytes,
            });
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
                // Counted by the triggers, which takes as long for one alone and writes a page less.
                [alone] => Ok(vec![insert(transaction, alone)?]),
                many => insert_counted(transaction, many),
            }
        })
    }

    fn stored<T>(&self, result: InsertResult, carried: T) -> std::result::Result<Stored<T>, NotStored<T>> {
        match result {
            Ok(ingested) => Ok(Stored { ingested, carried }),
            Err(error) => {
                let error = WriteError::from(StorageError::of(&self.writer.path, error));
                Err(NotStored { carried, error: error.into() })
            }
        }
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

/// A real commit that changes nothing: the page with the version is written again.
fn rewrite_version(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    transaction.pragma_update(None, "user_version", version)
}
