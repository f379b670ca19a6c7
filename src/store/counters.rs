//! How many of what: from counts that triggers keep, so that nothing here reads more than a few rows.

pub(super) mod batch;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;

use super::filesystem::Disk;
use super::list::{Filter, Kind, kinds};
use super::queue::text;
use super::sibling;
use crate::clock::Timestamp;
use crate::event::Status;

/// What [`hours`] looks back on, the current hour among them: as many as are kept.
const HOURS: u32 = 24;

/// Jobs among which the oldest is looked for: those put off are in the order of their due times.
const MAX_PUT_OFF: u32 = 10_000;

/// Events among which the oldest is looked for, of a source with more kinds than can be looked at one by one: some 5 ms.
const MAX_WAITING: u32 = 20_000;

/// Events among which the latest of such a source is looked for.
const MAX_LATE: u32 = 2000;

/// How many of what.
#[derive(Debug, Serialize)]
pub struct Stats {
    pub events: Counts,
    /// Events that were ever stored, those among them that were deleted since.
    pub received: i64,
    /// Deliveries that were there already.
    pub duplicates: i64,
    /// When the oldest unprocessed event was received.
    pub oldest_unprocessed: Option<String>,
    /// In the order of their names.
    pub sources: Vec<SourceStats>,
    /// Those that ever had a job, or are paused; in the order of their names.
    pub actions: Vec<ActionStats>,
    #[serde(flatten)]
    pub sizes: Sizes,
}

/// Events that are stored now, by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub unprocessed: i64,
    pub processed: i64,
    pub error: i64,
}

#[derive(Debug, Default, Serialize)]
pub struct SourceStats {
    pub source: String,
    pub received: i64,
    pub duplicates: i64,
    #[serde(flatten)]
    pub events: Counts,
    /// When the oldest unprocessed event was received.
    pub oldest_unprocessed: Option<String>,
    pub last_received: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct ActionStats {
    pub action: String,
    /// Jobs that are queued or running.
    pub pending: i64,
    pub succeeded: i64,
    pub dead: i64,
    pub cancelled: i64,
    /// When the event of the oldest job that waits was received. Beyond some thousand jobs that were put off: of those that
    /// are due first.
    pub oldest_pending: Option<String>,
    pub paused: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sizes {
    pub database_bytes: u64,
    /// What of the database is free for new events, and on the disk all the same.
    pub reusable_bytes: u64,
    pub wal_bytes: u64,
    /// On the disk of the database; `None` where the file system cannot be asked.
    pub disk_free_bytes: Option<u64>,
}

/// One hour of the past day, over all sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hour {
    /// Its beginning: `2025-01-31T12:00:00+00:00`.
    pub hour: String,
    pub received: i64,
    pub duplicates: i64,
    /// Events that came into the status `error`.
    pub failed: i64,
}

/// The name under which the counts of a time's hour are kept.
pub(super) fn hour(at: Timestamp) -> String {
    let mut hour = at.to_string();
    hour.truncate("2025-01-31T12".len());
    hour
}

pub(super) fn hours(connection: &Connection, now: Timestamp) -> rusqlite::Result<Vec<Hour>> {
    let counts: BTreeMap<(String, String), i64> =
        tallies(connection, "hour")?.into_iter().map(|(name, what, count)| ((name, what), count)).collect();
    let count = |name: &str, what: &str| counts.get(&(name.to_owned(), what.to_owned())).copied().unwrap_or(0);
    let hour_of = |ago: u32| {
        let name = hour(now.minus(Duration::from_secs(3600) * ago));
        let [received, duplicates, failed] = ["received", "duplicates", "failed"].map(|what| count(&name, what));
        Hour { hour: format!("{name}:00:00+00:00"), received, duplicates, failed }
    };
    Ok((0..HOURS).rev().map(hour_of).collect())
}

/// Without the sizes that the file system knows.
pub(super) fn stats(connection: &Connection) -> rusqlite::Result<Stats> {
    let sources = sources(connection)?;
    let sum = |count: fn(&SourceStats) -> i64| sources.iter().map(count).sum();
    let oldest = sources.iter().filter_map(|source| source.oldest_unprocessed.as_ref()).min();
    Ok(Stats {
        events: Counts {
            unprocessed: sum(|source| source.events.unprocessed),
            processed: sum(|source| source.events.processed),
            error: sum(|source| source.events.error),
        },
        received: sum(|source| source.received),
        duplicates: sum(|source| source.duplicates),
        oldest_unprocessed: oldest.cloned(),
        actions: actions(connection)?,
        sizes: sizes(connection)?,
        sources,
    })
}

fn sources(connection: &Connection) -> rusqlite::Result<Vec<SourceStats>> {
    let mut sources: BTreeMap<String, SourceStats> = BTreeMap::new();
    for (name, what, count) in tallies(connection, "source")? {
        let source = sources.entry(name).or_default();
        match what.as_str() {
            "received" => source.received = count,
            _ => source.duplicates = count,
        }
    }
    for (name, what, count) in tallies(connection, "status")? {
        let events = &mut sources.entry(name).or_default().events;
        match Status::parse(&what) {
            Some(Status::Unprocessed) => events.unprocessed = count,
            Some(Status::Processed) => events.processed = count,
            Some(Status::Error) => events.error = count,
            None => {}
        }
    }
    let named = |(source, stats)| SourceStats { source, ..stats };
    let mut sources: Vec<SourceStats> = sources.into_iter().map(named).collect();
    add_times(connection, &mut sources)?;
    Ok(sources)
}

fn add_times(connection: &Connection, sources: &mut [SourceStats]) -> rusqlite::Result<()> {
    for source in sources {
        let all = Filter { source: Some(source.source.clone()), ..Filter::default() };
        let unprocessed = Filter { status: Some(Status::Unprocessed), ..all.clone() };
        let oldest = match kinds(connection, &unprocessed)? {
            Some(kinds) => ends(connection, &kinds)?.map(|(oldest, _)| oldest),
            None => oldest_of_some(connection, &source.source)?,
        };
        let latest = match kinds(connection, &all)? {
            Some(kinds) => ends(connection, &kinds)?.map(|(_, latest)| latest),
            None => latest_of_late(connection, &source.source)?,
        };
        source.oldest_unprocessed = received_at(connection, oldest)?;
        source.last_received = received_at(connection, latest)?;
    }
    Ok(())
}

/// The smallest and the largest id among the events of these kinds.
fn ends(connection: &Connection, kinds: &[Kind]) -> rusqlite::Result<Option<(i64, i64)>> {
    let mut ends: Option<(i64, i64)> = None;
    for kind in kinds {
        let (first, last) = kind.ends(connection)?;
        ends = Some(ends.map_or((first, last), |(least, most)| (least.min(first), most.max(last))));
    }
    Ok(ends)
}

/// Of a source with very many kinds of events the oldest of some that wait.
fn oldest_of_some(connection: &Connection, source: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT min(id) FROM
                 (SELECT id FROM webhook_events WHERE status = 'unprocessed' AND source = ?1 LIMIT ?2)",
        )?
        .query_row((source, MAX_WAITING), |row| row.get(0))
}

/// Of a source with very many kinds of events the latest, if it is among the latest of all.
fn latest_of_late(connection: &Connection, source: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT id FROM webhook_events NOT INDEXED
             WHERE source = ?1 AND id > (SELECT max(id) FROM webhook_events) - ?2 ORDER BY id DESC LIMIT 1",
        )?
        .query_row((source, MAX_LATE), |row| row.get(0))
        .optional()
}

fn actions(connection: &Connection) -> rusqlite::Result<Vec<ActionStats>> {
    let mut actions: BTreeMap<String, ActionStats> = BTreeMap::new();
    for (name, what, count) in tallies(connection, "action")? {
        let action = actions.entry(name).or_default();
        match what.as_str() {
            "open" => action.pending = count,
            "succeeded" => action.succeeded = count,
            "dead" => action.dead = count,
            _ => action.cancelled = count,
        }
    }
    let mut paused = connection.prepare_cached("SELECT action FROM paused")?;
    for name in paused.query_map([], |row| row.get(0))? {
        actions.entry(name?).or_default().paused = true;
    }
    let named = |(action, stats)| ActionStats { action, ..stats };
    let mut actions: Vec<ActionStats> = actions.into_iter().map(named).collect();
    for action in &mut actions {
        action.oldest_pending = received_at(connection, oldest_pending(connection, &action.action)?)?;
    }
    Ok(actions)
}

/// The first event that an action still has to do: among those never put off the index has it first.
fn oldest_pending(connection: &Connection, action: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT min(event_id) FROM (
                 SELECT event_id FROM (SELECT event_id FROM jobs WHERE state = 'queued' AND action = ?1 AND due_at_ms = 0
                                       ORDER BY event_id LIMIT 1)
                 UNION ALL
                 SELECT event_id FROM (SELECT event_id FROM jobs WHERE state = 'queued' AND action = ?1 AND due_at_ms > 0
                                       ORDER BY due_at_ms LIMIT ?2))",
        )?
        .query_row((action, MAX_PUT_OFF), |row| row.get(0))
}

fn received_at(connection: &Connection, event: Option<i64>) -> rusqlite::Result<Option<String>> {
    let Some(event) = event else { return Ok(None) };
    connection
        .prepare_cached("SELECT received_at FROM webhook_events WHERE id = ?1")?
        .query_row([event], |row| Ok(text(row, 0)?.into_owned()))
        .optional()
}

/// All counts about something, as (name, what, count). Those of other programs' bytes are read as well as it goes.
fn tallies(connection: &Connection, about: &str) -> rusqlite::Result<Vec<(String, String, i64)>> {
    let tally = |row: &Row<'_>| Ok((text(row, 0)?.into_owned(), text(row, 1)?.into_owned(), row.get(2)?));
    connection
        .prepare_cached("SELECT name, what, count FROM tallies WHERE about = ?1")?
        .query_map([about], tally)?
        .collect()
}

fn sizes(connection: &Connection) -> rusqlite::Result<Sizes> {
    let pragma = |name: &str| -> rusqlite::Result<u64> {
        let value: i64 = connection.pragma_query_value(None, name, |row| row.get(0))?;
        Ok(value.unsigned_abs())
    };
    let page_bytes = pragma("page_size")?;
    Ok(Sizes {
        database_bytes: pragma("page_count")? * page_bytes,
        reusable_bytes: pragma("freelist_count")? * page_bytes,
        ..Sizes::default()
    })
}

impl Sizes {
    /// The database file itself is not opened: closing it would drop SQLite's locks. `path` is where it really is.
    pub(super) fn add_files(&mut self, path: &Path) {
        self.wal_bytes = std::fs::metadata(sibling(path, "-wal")).map_or(0, |file| file.len());
        self.disk_free_bytes = Disk::of(path).map(|disk| disk.free_bytes);
    }
}

#[cfg(test)]
mod tests;
