//! `hookbox list --follow`: continues with new events and changes.
//!
//! It polls. Between two polls it holds no transaction open, which would keep the WAL from being emptied, and takes no lock.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Printer, oldest_first};
use crate::cli::Failure;
use crate::store::{ChangeFeed, Filter, OpenError, Reader, StorageError};

/// Fast enough for a person who watches. Where nothing was written, a poll costs some microseconds.
const EVERY: Duration = Duration::from_millis(250);

/// While there is no database, or it cannot be read.
const RETRY: Duration = Duration::from_secs(1);

/// Prints the list, then new events and changes, until the reader of standard output is gone.
pub(super) fn run(database: &Path, filter: &Filter, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let mut follower = Follower { filter, json, position: None, warned: None };
    loop {
        match follower.follow(database, out) {
            Ok(()) => return Ok(()),
            Err(Stopped::Replaced) => follower.position = None,
            Err(Stopped::Store(error)) if is_worth_waiting_for(&error) => follower.warn_once(&error),
            Err(Stopped::Store(error)) => return Err(error.into()),
            Err(Stopped::Other(failure)) => return Err(failure),
        }
        if is_reader_gone_after(RETRY)? {
            return Ok(());
        }
    }
}

struct Follower<'a> {
    filter: &'a Filter,
    json: bool,
    /// How much of this database is printed; kept while it cannot be read.
    position: Option<(ChangeFeed, Printer)>,
    /// The last warning.
    warned: Option<String>,
}

/// Why following ended before the reader was gone.
enum Stopped {
    /// The database was replaced by another file.
    Replaced,
    Store(OpenError),
    Other(Failure),
}

impl From<OpenError> for Stopped {
    fn from(error: OpenError) -> Stopped {
        Stopped::Store(error)
    }
}

impl From<StorageError> for Stopped {
    fn from(error: StorageError) -> Stopped {
        Stopped::Store(error.into())
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped::Other(failure)
    }
}

impl Follower<'_> {
    /// Ends without an error when the reader of standard output is gone.
    fn follow(&mut self, database: &Path, out: &mut dyn Write) -> Result<(), Stopped> {
        let reader = Reader::open(database)?;
        let mut listed = Vec::new();
        let (feed, printer) = match &mut self.position {
            Some((feed, printer)) => {
                feed.reconnect();
                (feed, printer)
            }
            none => {
                // Before the list is read, so that no change between the two is missed.
                let feed = reader.change_feed()?;
                listed = oldest_first(&reader, self.filter)?;
                let mut printer = Printer::new(self.json, &listed);
                printer.print_all(&listed, out)?;
                let (feed, printer) = none.insert((feed, printer));
                (feed, printer)
            }
        };
        while reader.is_current() {
            let mut events = reader.changes(feed)?;
            events.retain(|event| self.filter.passes(event) && !listed.contains(event));
            listed.clear();
            printer.print_all(&events, out)?;
            if is_reader_gone_after(EVERY)? {
                return Ok(());
            }
        }
        Err(Stopped::Replaced)
    }

    fn warn_once(&mut self, error: &OpenError) {
        let message = error.to_string();
        if self.warned.as_ref() != Some(&message) {
            log::warn!("waiting: {message}");
            self.warned = Some(message);
        }
    }
}

/// True if `serve` will create or migrate the database, or if the error is temporary.
fn is_worth_waiting_for(error: &OpenError) -> bool {
    matches!(error, OpenError::Missing(_) | OpenError::TooOld(_)) || !error.needs_a_person()
}

/// Waits. True if the reader of standard output is gone: without new events this would otherwise run forever.
fn is_reader_gone_after(wait: Duration) -> Result<bool, Failure> {
    let stdout = io::stdout();
    // Even without any requested event, poll(2) reports the end of a pipe.
    let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
    let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(&mut ends, Some(&timeout)) {
        Ok(_) => Ok(ends[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(Failure::failed(format!("cannot wait: {error}"))),
    }
}
