//! What the commands that look at the database ask for. Read-only, and no statement stays open: a long reader would keep
//! the WAL from being emptied.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;

use super::change_feed::ChangeFeed;
use super::counters::{self, Hour, Stats};
use super::file_identity::{FileId, file_id};
use super::list::{self, EVENTS, Filter, SUMMARY, Summary, summary};
use super::queue::{read_event, text};
use super::{Error, Result, open_to_look, resolved};
use crate::clock::Timestamp;
use crate::event::{Event, EventId};

/// A read-only view of a database.
pub struct Reader {
    path: PathBuf,
    connection: Connection,
    /// Of the file that is open.
    file_id: Option<FileId>,
}

/// Everything that is known of one event.
#[derive(Debug)]
pub struct Detail {
    pub summary: Summary,
    pub headers_json: String,
    pub payload_json: String,
    /// The exact bytes of the delivery, where `payload_json` is not them.
    pub body: Option<Vec<u8>>,
    pub jobs: Vec<JobDetail>,
}

#[derive(Debug, Serialize)]
pub struct JobDetail {
    pub action: String,
    /// The action whose death this job tells of; empty for a job of the event itself.
    pub dead_action: String,
    pub state: String,
    /// The action is paused: the job waits until somebody resumes it.
    pub paused: bool,
    pub attempts: Vec<AttemptDetail>,
    pub last_error: Option<String>,
    pub due_at_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
pub struct AttemptDetail {
    pub number: u32,
    pub started_at: String,
    pub duration_ms: i64,
    pub outcome: String,
    pub detail: String,
}

impl Reader {
    pub fn open(path: &Path) -> Result<Reader> {
        let connection = open_to_look(path)?;
        Ok(Reader { path: path.to_owned(), connection, file_id: file_id(path).ok() })
    }

    /// The newest events that pass the filter, the newest first. Fast whatever the filter and however many events there
    /// are.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Summary>> {
        self.read(|connection| list::newest(connection, filter))
    }

    /// An event as actions see it.
    pub fn event(&self, id: EventId) -> Result<Option<Event>> {
        self.read(|connection| read_event(connection, id))
    }

    /// Everything about one event, with its jobs and their attempts.
    pub fn detail(&self, id: EventId) -> Result<Option<Detail>> {
        self.read(|connection| {
            let Some(mut detail) = connection
                .query_row(
                    &format!("SELECT {SUMMARY}, headers_json, payload_json, body FROM {EVENTS} WHERE id = ?1"),
                    [id.0],
                    |row| {
                        Ok(Detail {
                            summary: summary(row)?,
                            headers_json: text(row, 9)?.into_owned(),
                            payload_json: text(row, 10)?.into_owned(),
                            body: row.get_ref(11)?.as_bytes_or_null().ok().flatten().map(<[u8]>::to_vec),
                            jobs: Vec::new(),
                        })
                    },
                )
                .optional()?
            else {
                return Ok(None);
            };
            detail.jobs = jobs(connection, id)?;
            Ok(Some(detail))
        })
    }

    /// How many of what, by source and by action, and the sizes of the files. Of counts kept, not of rows read.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = self.read(counters::stats)?;
        stats.sizes.add_files(&resolved(&self.path));
        Ok(stats)
    }

    /// The last 24 hours, the current one last.
    pub fn hours(&self, now: Timestamp) -> Result<Vec<Hour>> {
        self.read(|connection| counters::hours(connection, now))
    }

    /// Looks on: [`Reader::changes`] tells of what happens from now on.
    pub fn watch(&self) -> Result<ChangeFeed> {
        self.read(ChangeFeed::begin)
    }

    /// The events that are new or have another status since the last look, in the order of their ids. Costs next to nothing
    /// where nobody has written.
    pub fn changes(&self, watch: &mut ChangeFeed) -> Result<Vec<Summary>> {
        let is_news = watch.is_news(&self.connection).map_err(|error| Error::of(&self.path, error))?;
        if is_news { self.read(|connection| watch.look(connection)) } else { Ok(Vec::new()) }
    }

    /// False once another file is where the database was: it was restored from a backup, or made anew.
    pub fn is_current(&self) -> bool {
        file_id(&self.path).ok() == self.file_id
    }

    /// All of `work` sees the same state of the database, whatever others write meanwhile.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let read = || work(&*self.connection.unchecked_transaction()?);
        read().map_err(|error| Error::of(&self.path, error))
    }
}

fn jobs(connection: &Connection, event: EventId) -> rusqlite::Result<Vec<JobDetail>> {
    let mut statement = connection.prepare(
        "SELECT action, dead_action, state, last_error, due_at_ms,
         EXISTS (SELECT 1 FROM paused WHERE paused.action = jobs.action)
         FROM jobs WHERE event_id = ?1 ORDER BY dead_action, action",
    )?;
    let mut jobs: Vec<JobDetail> = statement
        .query_map([event.0], |row| {
            Ok(JobDetail {
                action: row.get(0)?,
                dead_action: row.get(1)?,
                state: row.get(2)?,
                last_error: row.get(3)?,
                due_at_ms: row.get(4)?,
                paused: row.get(5)?,
                attempts: Vec::new(),
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    for job in &mut jobs {
        job.attempts = attempts(connection, event, &job.action, &job.dead_action)?;
    }
    Ok(jobs)
}

fn attempts(
    connection: &Connection,
    event: EventId,
    action: &str,
    dead_action: &str,
) -> rusqlite::Result<Vec<AttemptDetail>> {
    let mut statement = connection.prepare(
        "SELECT number, started_at, duration_ms, outcome, detail FROM attempts
         WHERE event_id = ?1 AND action = ?2 AND dead_action = ?3 ORDER BY number",
    )?;
    let attempt = |row: &Row<'_>| {
        Ok(AttemptDetail {
            number: row.get(0)?,
            started_at: row.get(1)?,
            duration_ms: row.get(2)?,
            outcome: row.get(3)?,
            detail: row.get(4)?,
        })
    };
    statement.query_map((event.0, action, dead_action), attempt)?.collect()
}
