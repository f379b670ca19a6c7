//! `hookbox list --follow`: goes on with what happens.
//!
//! It holds no transaction open between two looks, which would keep the WAL from being emptied, and takes no lock.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Printer, oldest_first};
use crate::cli::Failure;
use crate::store::{ChangeFeed, Filter, OpenError, Reader, StorageError};

/// Soon enough for a person who looks on. Where nothing was written, a look costs some microseconds.
const EVERY: Duration = Duration::from_millis(250);

/// While there is no database, or it cannot be read now.
const RETRY: Duration = Duration::from_secs(1);

/// Prints the list, then what is new or changes, until whoever reads it is gone.
pub(super) fn run(database: &Path, filter: &Filter, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let mut follower = Follower { filter, json, place: None, told: None };
    loop {
        match follower.follow(database, out) {
            Ok(()) => return Ok(()),
            Err(Stopped::Replaced) => follower.place = None,
            Err(Stopped::Store(error)) if is_worth_waiting_for(&error) => follower.tell_once(&error),
            Err(Stopped::Store(error)) => return Err(error.into()),
            Err(Stopped::Other(failure)) => return Err(failure),
        }
        if is_unread_after(RETRY)? {
            return Ok(());
        }
    }
}

struct Follower<'a> {
    filter: &'a Filter,
    json: bool,
    /// How far it has come in this database; kept while that cannot be read for a time.
    place: Option<(ChangeFeed, Printer)>,
    /// The trouble that was told of last.
    told: Option<String>,
}

/// Why a look-out ended before the reader has gone.
enum Stopped {
    /// Another file has taken the database's place.
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
    /// Looks on for as long as the database is the same and somebody reads.
    fn follow(&mut self, database: &Path, out: &mut dyn Write) -> Result<(), Stopped> {
        let inspector = Reader::open(database)?;
        let mut listed = Vec::new();
        let (watch, printer) = match &mut self.place {
            Some((watch, printer)) => {
                watch.reconnect();
                (watch, printer)
            }
            none => {
                // Before the list is read, so that nothing falls between the two.
                let watch = inspector.change_feed()?;
                listed = oldest_first(&inspector, self.filter)?;
                let mut printer = Printer::new(self.json, &listed);
                printer.print_all(&listed, out)?;
                let (watch, printer) = none.insert((watch, printer));
                (watch, printer)
            }
        };
        while inspector.is_current() {
            let mut events = inspector.changes(watch)?;
            events.retain(|event| self.filter.passes(event) && !listed.contains(event));
            listed.clear();
            printer.print_all(&events, out)?;
            if is_unread_after(EVERY)? {
                return Ok(());
            }
        }
        Err(Stopped::Replaced)
    }

    fn tell_once(&mut self, error: &OpenError) {
        let message = error.to_string();
        if self.told.as_ref() != Some(&message) {
            log::warn!("waiting: {message}");
            self.told = Some(message);
        }
    }
}

/// A database that `serve` has yet to make or to bring up to date, and what passes by itself.
fn is_worth_waiting_for(error: &OpenError) -> bool {
    matches!(error, OpenError::Missing(_) | OpenError::TooOld(_)) || !error.needs_a_person()
}

/// Waits, and tells whether whoever reads standard output has gone meanwhile: a reader of a quiet list would otherwise leave
/// this running for ever.
fn is_unread_after(wait: Duration) -> Result<bool, Failure> {
    let stdout = io::stdout();
    // No event is asked for: the end of a pipe is told all the same.
    let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
    let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
    match poll(&mut ends, Some(&timeout)) {
        Ok(_) => Ok(ends[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(Failure::failed(format!("cannot wait: {error}"))),
    }
}
