//! The receiver's way into the database: a batch of deliveries in one transaction.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Transaction;

use super::claims::Claims;
use super::deliveries::{self, Ingested};
use super::error::{Result, StorageError, WriteError};
use super::files::FileIdentity;
use super::filesystem::Disk;
use super::ids;
use super::writer::Writer;
use crate::clock;
use crate::digest;
use crate::event::Delivery;

/// A delivery takes its bytes on the disk twice, in the WAL and in the database, until the WAL is cut back.
const COPIES: u64 = 2;

/// The receiver's connection.
pub struct Ingest {
    pub(super) writer: Writer,
    pub(super) claims: Arc<Claims>,
    pub(super) files: FileIdentity,
    /// A delivery like the last one, where nothing of that commit was stored.
    pub(super) failed: Option<Delivery>,
}

/// A delivery that is safe on disk, with what the caller attached. Only this module can make one, and only after its
/// transaction is committed: code that needs one to answer cannot answer too early.
#[derive(Debug)]
pub struct Stored<T> {
    ingested: Ingested,
    carried: T,
}

impl<T> Stored<T> {
    /// Whether it belongs to an earlier event, which is to be processed again: the router sees to that.
    pub fn is_reopened(&self) -> bool {
        matches!(self.ingested, Ingested::Requeued(_) | Ingested::Replayed(_))
    }

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
        let is_stored = committed.as_ref().is_ok_and(|results| results.iter().any(InsertResult::is_ok));
        self.failed = deliveries.last().filter(|_| !is_stored).map(sample_of);
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

    /// Shortens the WAL where it has become too long, because the threads that should do so get no turn.
    pub fn shorten_overdue_wal(&self) {
        self.writer.checkpoint_overdue();
    }

    /// Whether a delivery could be stored now: the disk reserve is free, there are ids left, a write transaction can begin,
    /// and the last commit stored something. If it did not, one like it is inserted and taken back, because a small commit
    /// may succeed where that fails; otherwise nothing is written.
    pub fn probe(&mut self, reserve_bytes: u64) -> Result<(), WriteError> {
        self.check(reserve_bytes, &[])?;
        if self.writer.read(ids::are_used_up)? {
            return Err(self.no_id_left());
        }
        self.writer.write(|transaction| {
            self.failed.as_ref().map_or(Ok(()), |failed| try_out(transaction, failed, &self.claims))
        })?;
        self.failed = None;
        Ok(())
    }

    fn commit_checked(&self, deliveries: &[Delivery], reserve_bytes: u64) -> Result<Vec<InsertResult>, WriteError> {
        self.check(reserve_bytes, deliveries)?;
        let results = self.commit(deliveries).map_err(|error| self.explained(error))?;
        // Once more: the files may have been moved or deleted while this waited for the lock and for the disk.
        self.files.check()?;
        Ok(results)
    }

    /// SQLite calls it a full disk when no id is left.
    fn explained(&self, error: StorageError) -> WriteError {
        let is_full = matches!(error, StorageError::Full(_));
        if is_full && self.writer.read(ids::are_used_up).unwrap_or(false) { self.no_id_left() } else { error.into() }
    }

    fn no_id_left(&self) -> WriteError {
        WriteError::NoIdLeft(self.writer.path.display().to_string())
    }

    fn check(&self, reserve_bytes: u64, deliveries: &[Delivery]) -> Result<(), WriteError> {
        self.files.check()?;
        check_reserve(&self.writer.path, reserve_bytes, deliveries)
    }

    /// For the benchmark that measures what storing costs; `cargo bench` alone builds it.
    #[cfg(hookbox_store_nothing)]
    fn commit(&self, deliveries: &[Delivery]) -> Result<Vec<InsertResult>> {
        Ok(deliveries.iter().map(|_| Ok(Ingested::New(crate::event::EventId(0)))).collect())
    }

    #[cfg(not(hookbox_store_nothing))]
    fn commit(&self, deliveries: &[Delivery]) -> Result<Vec<InsertResult>> {
        let claims = &self.claims;
        self.writer
            .write(|transaction| deliveries.iter().map(|delivery| insert(transaction, delivery, claims)).collect())
    }
}

/// A full card breaks the whole machine, not only hookbox. And a commit that does not fit leaves the WAL at its new length,
/// so that smaller ones no longer fit either.
pub(super) fn check_reserve<'d>(
    path: &Path,
    reserve_bytes: u64,
    deliveries: impl IntoIterator<Item = &'d Delivery>,
) -> Result<(), WriteError> {
    let needed_bytes = COPIES * deliveries.into_iter().map(|delivery| delivery.content_bytes() as u64).sum::<u64>();
    // Where the file system cannot be asked, the commit itself will say what is wrong.
    let Some(Disk { free_bytes, .. }) = Disk::of(path) else { return Ok(()) };
    if free_bytes < reserve_bytes.saturating_add(needed_bytes) {
        let path = path.display().to_string();
        return Err(WriteError::Reserve { path, free_bytes, needed_bytes, reserve_bytes });
    }
    Ok(())
}

/// The inner error is the delivery's own fault.
#[cfg(not(hookbox_store_nothing))]
fn insert(transaction: &Transaction<'_>, delivery: &Delivery, claims: &Claims) -> rusqlite::Result<InsertResult> {
    super::error::of_row(transaction, deliveries::take(transaction, delivery, claims))
}

/// A small delivery of the same source and type, which meets the same rules of other programs.
fn sample_of(delivery: &Delivery) -> Delivery {
    Delivery::of_own(&delivery.source, &delivery.event_type, digest::uuid(), "{}".to_owned(), clock::now())
}

/// Inserts a delivery and takes it back. What is left is a real commit that changes nothing: the page with the version is
/// written again.
fn try_out(transaction: &Transaction<'_>, delivery: &Delivery, claims: &Claims) -> rusqlite::Result<()> {
    transaction.execute_batch("SAVEPOINT trial")?;
    deliveries::take(transaction, delivery, claims)?;
    transaction.execute_batch("ROLLBACK TO trial; RELEASE trial")?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    transaction.pragma_update(None, "user_version", version)
}
