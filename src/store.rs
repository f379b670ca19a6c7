//! SQLite: the queue, and the only state that outlives the process. Every statement of SQL is in this folder.
//!
//! Rows that stand for an acknowledgement or an outcome are committed with `synchronous=FULL` in WAL mode: with less, a
//! power cut could undo what was already acknowledged. Write transactions of this process take turns by a ticket lock
//! ([`write_lock`]), where the receiver goes first: with SQLite's own busy handler one busy writer starves the others.
//!
//! As in `main.rs`, a module uses only modules that are declared below it.

// The interface: a connection for each kind of caller.
mod upgrade;
mod backup;
mod diagnostics;
mod reader;
mod prune;
mod commands;
mod recover;
mod recovered;
mod rejects;
mod queue;
mod observer;
mod ingest;

// The contents of the tables, and their transitions.
mod news;
mod deliveries;
mod change_feed;
mod detail;
mod job_detail;
mod stats;
mod list;
mod search;
mod partitions;
mod summary;
mod counters;
mod blocks;
mod replay;
mod events;
mod jobs;
mod holds;
mod deaths;
mod troubles;

// The files, and connections to them.
mod writer;
mod connection;
mod wal;
mod migrate;
mod lock;
mod claims;
mod token;
mod sync_time;
mod filesystem;

// The basics.
mod write_lock;
mod ids;
mod row;
mod files;
mod error;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::EventId;
use claims::Claims;
use files::FileIdentity;
use lock::Lock;
use write_lock::Priority;
use writer::{RECEIVER_BUSY, Shared, WORKER_BUSY, Writer};

pub use backup::backup;
pub use change_feed::ChangeFeed;
pub use claims::{RunningJob, ServerJobs};
pub use commands::{Cancelled, Commands, Selection};
pub use deliveries::Ingested;
pub use detail::Detail;
pub use diagnostics::Diagnostics;
pub use error::{BackupError, OpenError, Result, StorageError, WriteError};
pub use files::{directory_of, other_owner};
pub use filesystem::{Disk, FileSystem};
pub use ingest::{Ingest, NotStored, Stored};
pub use job_detail::{AttemptDetail, JobDetail};
pub use jobs::{IMMEDIATELY, Next, due_after};
pub use lock::server_of;
pub use observer::Observer;
pub use prune::{Expired, Pruned, Pruner, Rule};
pub use queue::{Claim, Queue, Unrouted};
pub use reader::Reader;
pub use recover::{LastRan, Missed, Recoveries};
pub use rejects::Rejects;
pub use replay::{ReplayOptions, ReplayScope, ReplayTotals, Replayed};
pub use stats::{ActionStats, HourStats, SourceStats, Stats};
pub use summary::{Filter, Summary};
pub use sync_time::sync_time;
pub use token::{make_page_token, page_token, page_token_path};
pub use troubles::{Trouble, TroubleKind};
pub use upgrade::Upgrade;

/// The jobs of which attempts are under way, as this process knows them.
pub struct RunningJobs(Arc<Claims>);

impl RunningJobs {
    pub fn all(&self) -> ServerJobs {
        ServerJobs { is_served: true, running: self.0.running() }
    }
}

/// The database as `serve` has it: migrated, and locked against a second `serve`.
pub struct Database {
    path: PathBuf,
    shared: Arc<Shared>,
    claims: Arc<Claims>,
    lock: Lock,
}

impl Database {
    /// Opens the database, creates it where there is none, and brings it up to date.
    pub fn open(path: &Path, upgrade: &Upgrade<'_>) -> Result<Database, OpenError> {
        let path = files::resolved(path);
        filesystem::refuse_network(&path)?;
        let lock = lock::acquire(&path)?;
        let connection = upgrade::open(&path, upgrade)?;
        let last_event = ids::largest(&connection).map_err(StorageError::at(&path))?;
        let suspect_up_to = lock.follows_unclean_end.then_some(EventId(last_event));
        if wal::is_replicated(&connection).map_err(StorageError::at(&path))? {
            log::info!("Litestream replicates this database: hookbox leaves it to decide how long the WAL gets");
        }
        Ok(Database { path, shared: Arc::default(), claims: Arc::new(Claims::new(suspect_up_to)), lock })
    }

    /// Queues the jobs again that were running when the last process ended, before any worker begins. `wait` is how long
    /// each waits, by its action and its number of attempts.
    pub fn recover(&self, wait: impl Fn(&str, u32) -> Duration, now: Timestamp) -> Result<()> {
        self.background_writer()?.write(|transaction| jobs::recover(transaction, &wait, now))
    }

    /// The receiver's connection.
    pub fn ingest(&self) -> Result<Ingest> {
        let writer = self.writer(Priority::Receiver, RECEIVER_BUSY)?;
        let (files, claims) = (FileIdentity::of(&self.path)?, Arc::clone(&self.claims));
        Ok(Ingest { writer, claims, files, failed: None })
    }

    /// A worker's, or the router's, connection.
    pub fn queue(&self) -> Result<Queue> {
        Ok(Queue { writer: self.background_writer()?, claims: Arc::clone(&self.claims), schema_version: None })
    }

    /// The connection of a worker whose outcomes may be lost in a power cut, because to repeat its attempts does no harm:
    /// its commits do not wait for the disk.
    pub fn relaxed_queue(&self) -> Result<Queue> {
        let queue = self.queue()?;
        queue.writer.relax()?;
        Ok(queue)
    }

    /// The housekeeper's connection.
    pub fn pruner(&self) -> Result<Pruner> {
        Pruner::new(self.background_writer()?)
    }

    /// The connection of the thread that observes sources and the disk.
    pub fn observer(&self) -> Result<Observer> {
        Ok(Observer { writer: self.background_writer()? })
    }

    /// The connection of the thread that gets back what was missed.
    pub fn recoveries(&self) -> Result<Recoveries> {
        Ok(Recoveries { writer: self.background_writer()? })
    }

    /// The connection of the thread that keeps rejects.
    pub fn rejects(&self) -> Result<Rejects> {
        let writer = self.background_writer()?;
        writer.relax()?;
        Ok(Rejects { writer })
    }

    /// The admin page's connection.
    pub fn commands(&self) -> Result<Commands> {
        Ok(Commands { writer: self.background_writer()? })
    }

    /// For the admin page.
    pub fn running_jobs(&self) -> RunningJobs {
        RunningJobs(Arc::clone(&self.claims))
    }

    /// Copies the WAL into the database file and empties it, so that a copy of the file is whole. False where another
    /// program reads the database: then the newest events are in the WAL alone.
    pub fn checkpoint(&self) -> Result<bool> {
        self.background_writer()?.read(wal::truncate)
    }

    /// For the end of the process while actions are still under way: their jobs are queued again, that attempt does not
    /// count, and no thread of this process writes any more.
    pub fn interrupt(&self, now: Timestamp) -> Result<()> {
        let writer = self.background_writer()?;
        let guard = self.shared.write_lock.acquire(Priority::Other);
        writer.read(|connection| {
            connection.busy_timeout(WORKER_BUSY)?;
            jobs::interrupt_running(connection)?;
            let claimed = self.claims.all();
            claimed.iter().try_for_each(|(action, event)| jobs::interrupt_claimed(connection, *event, action, now))
        })?;
        // Never released: a worker could otherwise record the success of a job that runs again.
        std::mem::forget(guard);
        Ok(())
    }

    /// Tells the next process that nothing was under way when this one ended.
    pub fn mark_clean_end(&self) {
        let has_suspect_job = |last| self.background_writer()?.read(|connection| jobs::is_open_up_to(connection, last));
        // What may have ended an earlier process is still to be attempted: the next process is as careful with it.
        if self.claims.suspect_up_to().is_none_or(|last| has_suspect_job(last).is_ok_and(|has| !has)) {
            self.lock.mark_clean_end();
        }
    }

    fn background_writer(&self) -> Result<Writer> {
        self.writer(Priority::Other, WORKER_BUSY)
    }

    fn writer(&self, priority: Priority, busy_timeout: Duration) -> Result<Writer> {
        Writer::open(&self.path, &self.shared, priority, busy_timeout)
    }
}
