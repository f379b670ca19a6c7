//! What the commands that look at the database ask for. Read-only, and no statement stays open: a long reader would keep
//! the WAL from being emptied.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use super::queue::{read_event, text};
use super::{Error, Result, open_to_look};
use crate::event::{Event, EventId, Status};

/// A read-only view of a database.
pub struct Inspector {
    path: PathBuf,
    connection: Connection,
}

/// Which events to list; `None` is any.
#[derive(Debug, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub source: Option<String>,
    pub event_type: Option<String>,
    pub limit: u32,
}

/// A line of a list.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub id: i64,
    pub source: String,
    pub event: String,
    pub delivery_id: String,
    pub status: String,
    pub received_at: String,
    pub processed_at: Option<String>,
    /// How often it came again.
    pub duplicates: i64,
    /// Which of the source's secrets it was verified with, from 1.
    pub secret: Option<i64>,
}

/// The columns of a [`Summary`], in its order.
const SUMMARY: &str = "id, source, event_type, delivery_id, status, received_at, processed_at, \
                       coalesce(duplicates, 0), secret_position + 1";

/// With what is known of how they came in.
const EVENTS: &str = "webhook_events LEFT JOIN provenance ON event_id = id";

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

/// How many of what.
#[derive(Debug, Serialize)]
pub struct Stats {
    pub events: Counts,
    /// Deliveries that were there already.
    pub duplicates: i64,
    pub jobs: Vec<JobCount>,
    /// When the oldest unprocessed event was received.
    pub oldest_unprocessed: Option<String>,
    pub database_bytes: i64,
    pub paused: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Counts {
    pub unprocessed: i64,
    pub processed: i64,
    pub error: i64,
}

#[derive(Debug, Serialize)]
pub struct JobCount {
    pub action: String,
    pub state: String,
    pub count: i64,
}

impl Inspector {
    pub fn open(path: &Path) -> Result<Inspector> {
        Ok(Inspector { path: path.to_owned(), connection: open_to_look(path)? })
    }

    /// The latest events that pass the filter, the newest last.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Summary>> {
        self.read(|connection| {
            let mut statement = connection.prepare(&format!(
                "SELECT {SUMMARY} FROM {EVENTS}
                 WHERE (:status IS NULL OR status = :status) AND (:source IS NULL OR source = :source)
                 AND (:event IS NULL OR event_type = :event) ORDER BY id DESC LIMIT :limit",
            ))?;
            let named = named_params! {
                ":status": filter.status.map(Status::as_str),
                ":source": filter.source,
                ":event": filter.event_type,
                ":limit": filter.limit,
            };
            let mut found: Vec<Summary> = statement.query_map(named, summary)?.collect::<rusqlite::Result<_>>()?;
            found.reverse();
            Ok(found)
        })
    }

    /// An event as actions see it.
    pub fn event(&self, id: EventId) -> Result<Option<Event>> {
        self.read(|connection| read_event(connection, id))
    }

    pub fn detail(&self, id: EventId) -> Result<Option<Detail>> {
        self.read(|connection| {
            let Some(mut detail) = connection
                .query_row(
                    &format!("SELECT {SUMMARY}, headers_json, payload_json, body FROM {EVENTS} WHERE id = ?1"),
                    [id.0],
                    |row| {
                        Ok(Detail {
                            summary: summary(row)?,
                            headers_json: row.get(9)?,
                            payload_json: row.get(10)?,
                            body: row.get(11)?,
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

    pub fn stats(&self) -> Result<Stats> {
        self.read(|connection| {
            let count = |status: Status| {
                connection.query_row(
                    "SELECT count(*) FROM webhook_events WHERE status = ?1",
                    [status.as_str()],
                    |row| row.get(0),
                )
            };
            let events = Counts {
                unprocessed: count(Status::Unprocessed)?,
                processed: count(Status::Processed)?,
                error: count(Status::Error)?,
            };
            let mut statement = connection
                .prepare("SELECT action, state, count(*) FROM jobs GROUP BY action, state ORDER BY action, state")?;
            let jobs = statement
                .query_map([], |row| Ok(JobCount { action: row.get(0)?, state: row.get(1)?, count: row.get(2)? }))?
                .collect::<rusqlite::Result<_>>()?;
            let oldest_unprocessed = connection
                .query_row(
                    "SELECT received_at FROM webhook_events WHERE status = 'unprocessed' ORDER BY id LIMIT 1",
                    [],
                    |row| row.get(0),
                )
                .optional()?;
            let duplicates = "SELECT coalesce(sum(duplicates), 0) FROM provenance WHERE duplicates > 0";
            let duplicates = connection.query_row(duplicates, [], |row| row.get(0))?;
            let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
            let database_bytes = connection.query_row(size, [], |row| row.get(0))?;
            let mut statement = connection.prepare("SELECT action FROM paused ORDER BY action")?;
            let paused = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            Ok(Stats { events, duplicates, jobs, oldest_unprocessed, database_bytes, paused })
        })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        work(&self.connection).map_err(|error| Error::of(&self.path, error))
    }
}

fn summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    let text = |column| Ok::<_, rusqlite::Error>(text(row, column)?.into_owned());
    Ok(Summary {
        id: row.get(0)?,
        source: text(1)?,
        event: text(2)?,
        delivery_id: text(3)?,
        status: text(4)?,
        received_at: text(5)?,
        processed_at: Some(text(6)?).filter(|at| !at.is_empty()),
        duplicates: row.get(7)?,
        secret: row.get(8)?,
    })
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
