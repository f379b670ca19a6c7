//! `hookbox list --follow`: continues with new events and changes.
//!
//! It polls. Between two polls it holds no transaction open, which would keep the WAL from being emptied, and takes no lock.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{NOTE_WIDTH, Printer, oldest_first, searched};
use crate::cli::Failure;
use crate::clock;
use crate::event::EventId;
use crate::store::{ChangeFeed, Filter, OpenError, Reader, ServerJobs, Summary};

/// Fast enough for a person who watches. Where nothing was written, a poll costs some microseconds.
const EVERY: Duration = Duration::from_millis(250);

/// While there is no database, or it cannot be read.
const RETRY: Duration = Duration::from_secs(1);

/// Prints the list, then new events and changes, until the reader of standard output is gone.
pub(super) fn run(database: &Path, filter: &Filter, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let mut follower = Follower { database, filter, reader: None, feed: None, listed: Vec::new() };
    let (mut printer, mut warned) = (Printer::new(json, &[], NOTE_WIDTH), String::new());
    loop {
        let is_list = follower.feed.is_none();
        let wait = match follower.read() {
            Ok(Some(events)) => {
                if is_list {
                    printer = Printer::new(json, &events, NOTE_WIDTH);
                }
                printer.print_all(&events, out)?;
                EVERY
            }
            Ok(None) => RETRY,
            Err(error) if is_worth_waiting_for(&error) => {
                let message = error.to_string();
                if warned != message {
                    log::warn!("waiting: {message}");
                    warned = message;
                }
                RETRY
            }
            Err(error) => return Err(error.into()),
        };
        if is_reader_gone_after(wait)? {
            return Ok(());
        }
    }
}

struct Follower<'a> {
    database: &'a Path,
    filter: &'a Filter,
    /// `None` while the database cannot be read.
    reader: Option<Reader>,
    /// The position in this database; kept while it cannot be read.
    feed: Option<ChangeFeed>,
    /// Events that the feed may repeat: it began before the list was read, so that no change between the two is missed.
    listed: Vec<Summary>,
}

impl Follower<'_> {
    /// The list, or what has changed since the last call; `None` if another file has taken the place of the database.
    fn read(&mut self) -> Result<Option<Vec<Summary>>, OpenError> {
        let reader = match self.reader.take() {
            Some(reader) if reader.is_current() => reader,
            Some(_) => {
                self.feed = None;
                return Ok(None);
            }
            None => {
                self.feed.iter_mut().for_each(ChangeFeed::reconnect);
                Reader::open(self.database)?
            }
        };
        let mut events = match &mut self.feed {
            Some(feed) => {
                let mut passing = Vec::new();
                for event in reader.changes(feed)? {
                    let is_new = self.filter.passes(&event) && !self.listed.contains(&event);
                    if is_new && (self.filter.text.is_none() || reader.passes(EventId(event.id), self.filter)?) {
                        passing.push(event);
                    }
                }
                self.listed.clear();
                passing
            }
            none => {
                let feed = reader.change_feed()?;
                let (listed, searched_to) = oldest_first(&reader, self.filter)?;
                searched_to.into_iter().for_each(|id| log::warn!("{}", searched(id)));
                self.listed = listed;
                *none = Some(feed);
                self.listed.clone()
            }
        };
        if !events.is_empty() {
            // The server is not asked four times a second.
            let server = ServerJobs { is_served: true, running: Vec::new() };
            reader.add_notes(&mut events, &server, clock::now())?;
        }
        self.reader = Some(reader);
        Ok(Some(events))
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
