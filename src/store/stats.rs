//! Counts from [`counters`], and when the oldest and the latest were received, found with a bounded number of seeks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Result};
use serde::Serialize;

use super::blocks::Span;
use super::counters::{self, About, hour};
use super::files::sibling;
use super::filesystem::Disk;
use super::jobs::IMMEDIATELY;
use super::partitions::partitions;
use super::recovered::{self, RecoveryStats};
use super::row::string;
use super::summary::Filter;
use super::troubles::{self, Trouble, TroubleKind};
use super::{holds, list};
use crate::clock::Timestamp;
use crate::event::{EventId, Status};
use crate::text::cut;

/// The hours that [`hours`] returns, including the current one: as many as are kept.
const HOURS: u32 = 24;

/// Postponed jobs among which the oldest is searched: they are in the order of their due times.
const MAX_POSTPONED: u32 = 10_000;

/// Events among which the oldest is searched, of a source with too many partitions to search one by one: some 5 ms.
const MAX_UNPROCESSED: u32 = 20_000;

/// Events among which the latest of such a source is searched.
const MAX_LATEST: u32 = 2000;

#[derive(Debug, Serialize)]
pub struct Stats {
    pub events: StatusCounts,
    /// All events ever stored, including those that were deleted since.
    pub received: i64,
    /// Duplicates: deliveries of events that were stored already.
    pub duplicates: i64,
    /// Bodies of stored events under another id, at sources that ignore such.
    pub repeated: i64,
    /// When the oldest unprocessed event was received.
    pub oldest_unprocessed: Option<String>,
    /// In the order of their names.
    pub sources: Vec<SourceStats>,
    /// The actions that ever had a job, or are paused; in the order of their names.
    pub actions: Vec<ActionStats>,
    /// The sources that get back what they missed.
    pub recoveries: Vec<RecoveryStats>,
    #[serde(flatten)]
    pub sizes: Sizes,
}

/// The number of stored events, by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatusCounts {
    pub unprocessed: i64,
    pub processed: i64,
    pub error: i64,
}

#[derive(Debug, Default, Serialize)]
pub struct SourceStats {
    pub source: String,
    pub received: i64,
    pub duplicates: i64,
    pub repeated: i64,
    #[serde(flatten)]
    pub events: StatusCounts,
    /// When the oldest unprocessed event was received.
    pub oldest_unprocessed: Option<String>,
    pub last_received: Option<String>,
    /// Since when it has received nothing, where that is longer than its `expect_every`.
    pub silent_since: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct ActionStats {
    pub action: String,
    /// Jobs that are queued or running.
    pub pending: i64,
    pub succeeded: i64,
    pub dead: i64,
    pub cancelled: i64,
    /// Jobs whose place that of a later event has taken.
    pub superseded: i64,
    /// When the event of the oldest queued job was received. Beyond some thousand postponed jobs: of those that are due
    /// first.
    pub oldest_pending: Option<String>,
    pub paused: bool,
    /// Until when the destination has asked to wait; it may be in the past.
    pub held_until_ms: Option<i64>,
    /// The answer with which it did.
    pub held_because: Option<String>,
    /// It has failed since its last success.
    pub failing: Option<Failing>,
}

/// An action that fails.
#[derive(Debug, Serialize)]
pub struct Failing {
    pub since: String,
    /// The latest that is known.
    pub error: String,
    /// When the next attempt is due; it may be in the past. `None` where it is due at once, or no job waits.
    pub next_attempt_at: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sizes {
    pub database_bytes: u64,
    /// The part of the database file that is free for new events.
    pub reusable_bytes: u64,
    pub wal_bytes: u64,
    /// On the disk of the database; `None` where the file system cannot be asked.
    pub disk_free_bytes: Option<u64>,
}

/// One hour of the past day, over all sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HourStats {
    /// Its beginning: `2025-01-31T12:00:00+00:00`.
    pub hour: String,
    pub received: i64,
    pub duplicates: i64,
    pub repeated: i64,
    /// Events that came into the status `error`.
    pub failed: i64,
}

pub(super) fn hours(connection: &Connection, now: Timestamp) -> Result<Vec<HourStats>> {
    let counts: BTreeMap<(String, String), i64> =
        counters::read(connection, About::Hour)?.into_iter().map(|(name, what, count)| ((name, what), count)).collect();
    let count = |name: &str, what: &str| counts.get(&(name.to_owned(), what.to_owned())).copied().unwrap_or(0);
    let hour_of = |ago: u32| {
        let name = hour(now.minus(Duration::from_secs(3600) * ago));
        let counts = ["received", "duplicates", "repeated", "failed"].map(|what| count(&name, what));
        let [received, duplicates, repeated, failed] = counts;
        HourStats { hour: format!("{name}:00:00+00:00"), received, duplicates, repeated, failed }
    };
    Ok((0..HOURS).rev().map(hour_of).collect())
}

/// Without the sizes that only the file system knows.
pub(super) fn stats(connection: &Connection) -> Result<Stats> {
    let sources = sources(connection)?;
    let sum = |count: fn(&SourceStats) -> i64| sources.iter().map(count).sum();
    let oldest = sources.iter().filter_map(|source| source.oldest_unprocessed.as_ref()).min();
    Ok(Stats {
        events: StatusCounts {
            unprocessed: sum(|source| source.events.unprocessed),
            processed: sum(|source| source.events.processed),
            error: sum(|source| source.events.error),
        },
        received: sum(|source| source.received),
        duplicates: sum(|source| source.duplicates),
        repeated: sum(|source| source.repeated),
        oldest_unprocessed: oldest.cloned(),
        actions: actions(connection)?,
        recoveries: recovered::stats(connection)?,
        sizes: Sizes::of_file(connection)?,
        sources,
    })
}

fn sources(connection: &Connection) -> Result<Vec<SourceStats>> {
    let mut sources: BTreeMap<String, SourceStats> = BTreeMap::new();
    for (name, what, count) in counters::read(connection, About::Source)? {
        let source = sources.entry(name).or_default();
        match what.as_str() {
            "received" => source.received = count,
            "repeated" => source.repeated = count,
            _ => source.duplicates = count,
        }
    }
    for (name, what, count) in counters::read(connection, About::Status)? {
        let events = &mut sources.entry(name).or_default().events;
        match Status::parse(&what) {
            Some(Status::Unprocessed) => events.unprocessed = count,
            Some(Status::Processed) => events.processed = count,
            Some(Status::Error) => events.error = count,
            None => {}
        }
    }
    for silent in troubles::all(connection, TroubleKind::Silent)?.into_iter().filter(|silent| silent.told.is_some()) {
        sources.entry(silent.name).or_default().silent_since = Some(silent.since.to_string());
    }
    let named = |(source, stats)| SourceStats { source, ..stats };
    let mut sources: Vec<SourceStats> = sources.into_iter().map(named).collect();
    for source in &mut sources {
        source.oldest_unprocessed = oldest_unprocessed(connection, &source.source)?;
        source.last_received = last_received(connection, &source.source)?;
    }
    Ok(sources)
}

fn actions(connection: &Connection) -> Result<Vec<ActionStats>> {
    let mut actions: BTreeMap<String, ActionStats> = BTreeMap::new();
    for (name, what, count) in counters::read(connection, About::Action)? {
        let action = actions.entry(name).or_default();
        match what.as_str() {
            "open" => action.pending = count,
            "succeeded" => action.succeeded = count,
            "dead" => action.dead = count,
            "superseded" => action.superseded = count,
            _ => action.cancelled = count,
        }
    }
    let mut paused = connection.prepare_cached("SELECT action FROM paused")?;
    for name in paused.query_map([], |row| row.get(0))? {
        actions.entry(name?).or_default().paused = true;
    }
    let mut held = connection.prepare_cached("SELECT action, until_ms FROM holds")?;
    for hold in held.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (name, until_ms): (String, i64) = hold?;
        if let Some(action) = actions.get_mut(&name) {
            action.held_until_ms = Some(until_ms);
        }
    }
    let named = |(action, stats)| ActionStats { action, ..stats };
    let mut actions: Vec<ActionStats> = actions.into_iter().map(named).collect();
    for action in &mut actions {
        action.oldest_pending = oldest_pending(connection, &action.action)?;
        if action.held_until_ms.is_some() {
            action.held_because = held_because(connection, &action.action)?;
        }
    }
    for trouble in troubles::all(connection, TroubleKind::Action)? {
        if let Some(action) = actions.iter_mut().find(|action| action.action == trouble.name) {
            action.failing = failing(connection, action, trouble)?;
        }
    }
    Ok(actions)
}

/// `None` where nothing waits for it, and only few jobs have failed (they are dead, which is said already), or none of those
/// is left.
fn failing(connection: &Connection, action: &ActionStats, trouble: Trouble) -> Result<Option<Failing>> {
    if action.pending == 0 && (trouble.told.is_none() || action.dead == 0) {
        return Ok(None);
    }
    let latest = latest_error(connection, &action.action)?;
    let error = latest.or_else(|| action.held_because.clone()).or(trouble.error).unwrap_or_default();
    let next_attempt_at = next_attempt(connection, &action.action)?.map(|at| at.to_string());
    Ok(Some(Failing { since: trouble.since.to_string(), error, next_attempt_at }))
}

/// How many jobs of an action wait: at most as many as are counted at once.
pub(super) fn waiting(connection: &Connection, action: &str) -> Result<i64> {
    let sql = "SELECT count(*) FROM (
             SELECT 1 FROM jobs WHERE state = 'queued' AND is_behind = 0 AND action = ?1
             UNION ALL
             SELECT 1 FROM jobs WHERE state IN ('queued', 'running') AND key IS NOT NULL AND action = ?1
             AND state = 'queued' AND is_behind = 1
             LIMIT ?2)";
    connection.prepare_cached(sql)?.query_row((action, MAX_POSTPONED), |row| row.get(0))
}

/// When the next attempt of an action is due; `None` where it is due at once, or no job waits.
pub(super) fn next_attempt(connection: &Connection, action: &str) -> Result<Option<Timestamp>> {
    let sql = "SELECT due_at_ms FROM jobs WHERE state = 'queued' AND is_behind = 0 AND action = ?1
         ORDER BY due_at_ms LIMIT 1";
    let due_ms: Option<i64> = connection.prepare_cached(sql)?.query_row([action], |row| row.get(0)).optional()?;
    let held_until = holds::until(connection, action)?;
    let next = due_ms.map(Timestamp::from_unix_ms).map(|due| held_until.map_or(due, |until| due.max(until)));
    Ok(next.filter(|next| *next > IMMEDIATELY))
}

/// Why the last attempt at one of the jobs that wait for a retry has failed.
pub(super) fn latest_error(connection: &Connection, action: &str) -> Result<Option<String>> {
    let sql = "SELECT detail FROM
             (SELECT started_at, detail FROM jobs
              WHERE state = 'queued' AND is_behind = 0 AND action = ?1 AND due_at_ms > 0 AND outcome = 'retry' LIMIT ?2)
         ORDER BY started_at DESC LIMIT 1";
    connection.prepare_cached(sql)?.query_row((action, MAX_POSTPONED), |row| row.get(0)).optional()
}

/// The answer with which the destination of an action has asked to wait: that to its first job that has one.
fn held_because(connection: &Connection, action: &str) -> Result<Option<String>> {
    let sql = "SELECT last_error FROM
             (SELECT last_error FROM jobs WHERE state = 'queued' AND is_behind = 0 AND action = ?1 LIMIT ?2)
         WHERE last_error IS NOT NULL LIMIT 1";
    connection.prepare_cached(sql)?.query_row((action, MAX_POSTPONED), |row| row.get(0)).optional()
}

/// When the oldest unprocessed event of a source was received.
fn oldest_unprocessed(connection: &Connection, source: &str) -> Result<Option<String>> {
    let unprocessed = Filter { source: Some(source.to_owned()), ..Filter::of_status(Status::Unprocessed) };
    let oldest = match partitions(connection, &unprocessed)? {
        Some(partitions) => list::oldest_of_partitions(connection, &partitions, EventId(i64::MIN), 1)?.pop(),
        None => {
            let sql = "SELECT min(id) FROM
                 (SELECT id FROM webhook_events WHERE status = 'unprocessed' AND source = ?1 LIMIT ?2)";
            connection.prepare_cached(sql)?.query_row((source, MAX_UNPROCESSED), |row| row.get(0))?
        }
    };
    received_at(connection, oldest)
}

/// When the latest event of a source was received.
pub(super) fn last_received(connection: &Connection, source: &str) -> Result<Option<String>> {
    let all = Filter { source: Some(source.to_owned()), ..Filter::default() };
    let latest = match partitions(connection, &all)? {
        Some(partitions) => list::newest_of_partitions(connection, &partitions, Span::ALL, 1)?.pop(),
        None => {
            let sql = "SELECT id FROM webhook_events NOT INDEXED
                 WHERE source = ?1 AND id > (SELECT max(id) FROM webhook_events) - ?2 ORDER BY id DESC LIMIT 1";
            connection.prepare_cached(sql)?.query_row((source, MAX_LATEST), |row| row.get(0)).optional()?
        }
    };
    received_at(connection, latest)
}

/// When the event of an action's oldest queued job was received: the index has the oldest of those never postponed first,
/// and none that is behind an older one.
fn oldest_pending(connection: &Connection, action: &str) -> Result<Option<String>> {
    let sql = "SELECT min(event_id) FROM (
             SELECT event_id FROM (SELECT event_id FROM jobs WHERE state = 'queued' AND is_behind = 0
                                   AND action = ?1 AND due_at_ms = 0 ORDER BY event_id LIMIT 1)
             UNION ALL
             SELECT event_id FROM (SELECT event_id FROM jobs WHERE state = 'queued' AND is_behind = 0
                                   AND action = ?1 AND due_at_ms > 0 ORDER BY due_at_ms LIMIT ?2))";
    let oldest = connection.prepare_cached(sql)?.query_row((action, MAX_POSTPONED), |row| row.get(0))?;
    received_at(connection, oldest)
}

fn received_at(connection: &Connection, event: Option<i64>) -> Result<Option<String>> {
    let Some(event) = event else { return Ok(None) };
    let sql = "SELECT received_at FROM webhook_events WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([event], |row| string(row, 0)).optional()
}

impl ActionStats {
    /// Until when its destination has asked to wait, if that is after `now`.
    pub fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.held_until_ms.map(Timestamp::from_unix_ms).filter(|until| *until > now)
    }

    /// Since when it fails, the latest error, and when it is tried again.
    pub fn failing_text(&self, now: Timestamp, max_error_bytes: usize) -> Option<String> {
        let Failing { since, error, next_attempt_at } = self.failing.as_ref()?;
        let error = cut(error.lines().next().unwrap_or_default(), max_error_bytes);
        let next = next_attempt_at.as_deref().and_then(Timestamp::parse).filter(|next| *next > now);
        let next = match next {
            Some(next) => format!("tried again at {next}"),
            None if self.pending > 0 => "tried again now".to_owned(),
            None => "no job waits".to_owned(),
        };
        Some(format!("has failed since {since}: {error}; {next}"))
    }
}

impl Sizes {
    /// The sizes of the database file alone.
    pub(super) fn of_file(connection: &Connection) -> Result<Sizes> {
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0)).map(i64::unsigned_abs);
        let page_bytes = pragma("page_size")?;
        Ok(Sizes {
            database_bytes: pragma("page_count")? * page_bytes,
            reusable_bytes: pragma("freelist_count")? * page_bytes,
            ..Sizes::default()
        })
    }

    /// Adds what the file system knows of the database at `path`, with all links resolved. The database file itself is not
    /// opened: closing it would drop SQLite's locks.
    pub(super) fn add_files(&mut self, path: &Path) {
        self.wal_bytes = std::fs::metadata(sibling(path, "-wal")).map_or(0, |file| file.len());
        self.disk_free_bytes = Disk::of(path).map(|disk| disk.free_bytes);
    }
}
