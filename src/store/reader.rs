//! The queries of the commands that only read the database. No statement stays open: a long reader would keep the WAL from
//! being emptied.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::change_feed::ChangeFeed;
use super::claims::ServerJobs;
use super::connection::open_read_only;
use super::detail::{self, Detail};
use super::error::{OpenError, Result, StorageError};
use super::events;
use super::files::{FileId, file_id, resolved};
use super::job_detail;
use super::list::{self, Listed};
use super::stats::{self, HourStats, Stats};
use super::summary::{Filter, Summary};
use crate::clock::Timestamp;
use crate::event::{Event, EventId};

/// A read-only view of a database.
pub struct Reader {
    path: PathBuf,
    connection: Connection,
    /// The identity of the open file.
    file_id: Option<FileId>,
}

impl Reader {
    /// Opens a database that exists.
    pub fn open(path: &Path) -> Result<Reader, OpenError> {
        let connection = open_read_only(path)?;
        Ok(Reader { path: path.to_owned(), connection, file_id: file_id(path).ok() })
    }

    /// The newest events that pass the filter, the newest first. Fast for every filter, however many events there are: a
    /// search for a text that takes long ends before its end, and says so.
    pub fn list(&self, filter: &Filter) -> Result<Listed> {
        self.read(|connection| list::newest(connection, filter))
    }

    /// An event as actions see it; `None` if there is none with this id.
    pub fn event(&self, id: EventId) -> Result<Option<Event>> {
        self.read(|connection| events::read(connection, id))
    }

    /// Everything about one event, with its jobs and their attempts.
    pub fn detail(&self, id: EventId) -> Result<Option<Detail>> {
        self.read(|connection| detail::read(connection, id))
    }

    /// Notes what the open jobs of each event do or wait for. `server` is what its server says of them.
    pub fn add_notes(&self, events: &mut [Summary], server: &ServerJobs, now: Timestamp) -> Result<()> {
        self.read(|connection| job_detail::add_notes(connection, events, server, now))
    }

    /// Counts by source and by action, and the sizes of the files.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = self.read(stats::stats)?;
        stats.sizes.add_files(&resolved(&self.path));
        Ok(stats)
    }

    /// The last 24 hours, the current one last.
    pub fn hours(&self, now: Timestamp) -> Result<Vec<HourStats>> {
        self.read(|connection| stats::hours(connection, now))
    }

    /// Whether an event passes, its payload too.
    pub fn passes(&self, event: EventId, filter: &Filter) -> Result<bool> {
        self.read(|connection| {
            Ok(list::Check::new(connection, filter)?.passing(list::Candidate::of(event.0))?.is_some())
        })
    }

    /// Begins to watch for changes, for [`Reader::changes`].
    pub fn change_feed(&self) -> Result<ChangeFeed> {
        self.read(ChangeFeed::begin)
    }

    /// The events that are new or have another status since the last call, in the order of their ids. Costs next to nothing
    /// where nothing was written.
    pub fn changes(&self, feed: &mut ChangeFeed) -> Result<Vec<Summary>> {
        let has_changed = feed.has_changed(&self.connection).map_err(StorageError::at(&self.path))?;
        if has_changed { self.read(|connection| feed.poll(connection)) } else { Ok(Vec::new()) }
    }

    /// False once another file is in the place of the database: a backup was restored, or a new one was created.
    pub fn is_current(&self) -> bool {
        file_id(&self.path).ok() == self.file_id
    }

    /// All of `work` sees the same state of the database, whatever others write meanwhile.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let read = || work(&*self.connection.unchecked_transaction()?);
        read().map_err(StorageError::at(&self.path))
    }
}
