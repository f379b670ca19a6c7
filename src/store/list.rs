//! The newest events that pass a filter, found without reading those that do not.
//!
//! There are few kinds of events: (status, source, event type). The index has the events of each kind in the order of
//! their ids, so the newest of each are a seek away, and the newest of all are among them. That holds for every
//! combination of filters, also for one that a single event in a million passes.

mod partitions;

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use super::queue::text;
use crate::clock::Timestamp;
use crate::event::{EventId, Status};

pub(super) use partitions::{Kind, kinds};

/// Ids in a row of `blocks`, as a power of two: see 004-tallies.sql.
pub(super) const BLOCK_BITS: u32 = 10;

/// A page of all events.
const NEWEST: &str = "SELECT id FROM webhook_events WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";

/// A page of the events of one kind.
const NEWEST_OF_KIND: &str = "SELECT id FROM webhook_events WHERE status = ?1 AND source = ?2 AND event_type = ?3
     AND id >= ?4 AND id < ?5 ORDER BY id DESC LIMIT ?6";

/// The oldest of one kind after an id.
const OLDEST_OF_KIND: &str = "SELECT id FROM webhook_events WHERE status = ?1 AND source = ?2 AND event_type = ?3
     AND id > ?4 ORDER BY id LIMIT ?5";

/// The oldest of a status after an id, by reading all events.
const OLDEST_OF_STATUS: &str =
    "SELECT id FROM webhook_events NOT INDEXED WHERE status = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

/// The same by reading all of the status, which are few as a rule.
const OLDEST_OF_FEW: &str = "SELECT id FROM webhook_events INDEXED BY webhook_events_kind WHERE status = ?1
     ORDER BY id LIMIT ?2";

/// A page of the events that pass, by reading all of them; by the index it would have to sort them.
const NEWEST_FILTERED: &str = "SELECT id FROM webhook_events NOT INDEXED WHERE id >= :from AND id < :before
     AND (:source IS NULL OR source = :source) AND (:event IS NULL OR event_type = :event)
     AND (:status IS NULL OR status = :status) ORDER BY id DESC LIMIT :limit";

const BLOCKS_SINCE: &str = "SELECT block FROM blocks WHERE latest >= ?1 ORDER BY block DESC";

/// Which events to list; `None` is any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub source: Option<String>,
    pub event_type: Option<String>,
    /// Received then or later.
    pub since: Option<Timestamp>,
    /// Only smaller ids: the next page after the one that ended with this id.
    pub before: Option<EventId>,
    pub limit: u32,
}

impl Filter {
    pub(super) fn of_status(status: Status) -> Filter {
        Filter { status: Some(status), ..Filter::default() }
    }

    /// Whether an event passes, whatever its id and its age.
    pub fn passes(&self, event: &Summary) -> bool {
        self.status.is_none_or(|status| event.status == status.as_str())
            && self.source.as_ref().is_none_or(|source| event.source == *source)
            && self.event_type.as_ref().is_none_or(|event_type| event.event == *event_type)
    }
}

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
pub(super) const SUMMARY: &str = "id, source, event_type, delivery_id, status, received_at, processed_at, \
                                  coalesce(duplicates, 0), secret_position + 1";

/// With what is known of how they came in.
pub(super) const EVENTS: &str = "webhook_events LEFT JOIN provenance ON event_id = id";

pub(super) fn summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
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

/// The newest events that pass, the newest first.
pub(super) fn newest(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<Summary>> {
    let limit = filter.limit as usize;
    let mut by_id = connection.prepare_cached(&format!("SELECT {SUMMARY} FROM {EVENTS} WHERE id = ?1"))?;
    let mut found = Vec::new();
    visit(connection, filter, |id| {
        let event = by_id.query_row([id], summary).optional()?;
        found.extend(event.filter(|event| is_recent(&event.received_at, filter.since)));
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// The ids of all events that pass, however many, in their order; `limit` is what is read at once.
pub(super) fn all(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<i64>> {
    let mut by_id = connection.prepare_cached("SELECT received_at FROM webhook_events WHERE id = ?1")?;
    let mut found = Vec::new();
    visit(connection, filter, |id| {
        // Times are behind the payload in the row: they are read only where they are asked for.
        let passes = filter.since.is_none() || {
            let at = by_id.query_row([id], |row| Ok(text(row, 0)?.into_owned())).optional()?;
            at.is_some_and(|at| is_recent(&at, filter.since))
        };
        found.extend(passes.then_some(id));
        Ok(true)
    })?;
    found.reverse();
    Ok(found)
}

/// Those of these events that exist and pass, in the order of their ids, each once.
pub(super) fn only(connection: &Connection, ids: &[EventId], filter: &Filter) -> rusqlite::Result<Vec<EventId>> {
    let mut by_id = connection.prepare_cached(&format!("SELECT {SUMMARY} FROM {EVENTS} WHERE id = ?1"))?;
    let mut found = Vec::new();
    for id in ids.iter().collect::<BTreeSet<_>>() {
        let event = by_id.query_row([id.0], summary).optional()?;
        let passes = |event: &Summary| filter.passes(event) && is_recent(&event.received_at, filter.since);
        found.extend(event.is_some_and(|event| passes(&event)).then_some(*id));
    }
    Ok(found)
}

/// Visits the events that may pass, the newest first, for as long as `take` wants more. Only `since` is left to be looked at.
fn visit(
    connection: &Connection,
    filter: &Filter,
    mut take: impl FnMut(i64) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let candidates = Candidates::of(connection, filter)?;
    for Span { from, mut before } in spans(connection, filter)? {
        loop {
            let ids = candidates.newest(connection, &Span { from, before }, filter)?;
            let Some(last) = ids.last() else { break };
            before = *last;
            for id in ids {
                if !take(id)? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// The oldest events of a status after an id, by their ids in their order; none where there are no more.
pub(super) fn oldest(
    connection: &Connection,
    status: Status,
    after: EventId,
    limit: u32,
) -> rusqlite::Result<Vec<i64>> {
    match kinds(connection, &Filter::of_status(status))? {
        Some(kinds) => oldest_of_kinds(connection, &kinds, after, limit),
        None => {
            let mut statement = connection.prepare_cached(OLDEST_OF_STATUS)?;
            statement.query_map((status.as_str(), after.0, limit), |row| row.get(0))?.collect()
        }
    }
}

/// The oldest of a status that most events do not have.
pub(super) fn oldest_of_few(connection: &Connection, status: Status, limit: u32) -> rusqlite::Result<Vec<i64>> {
    match kinds(connection, &Filter::of_status(status))? {
        Some(kinds) => oldest_of_kinds(connection, &kinds, EventId(0), limit),
        None => {
            let mut statement = connection.prepare_cached(OLDEST_OF_FEW)?;
            statement.query_map((status.as_str(), limit), |row| row.get(0))?.collect()
        }
    }
}

/// As [`oldest`], of these kinds.
fn oldest_of_kinds(connection: &Connection, kinds: &[Kind], after: EventId, limit: u32) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(OLDEST_OF_KIND)?;
    let mut ids: Vec<i64> = Vec::new();
    for kind in kinds {
        let named = (&kind.status, &kind.source, &kind.event_type, after.0, limit);
        for id in statement.query_map(named, |row| row.get(0))? {
            ids.push(id?);
        }
    }
    ids.sort_unstable();
    ids.truncate(limit as usize);
    Ok(ids)
}

/// What is not in the verifier's form of a time was received nobody knows when.
fn is_recent(received_at: &str, since: Option<Timestamp>) -> bool {
    since.is_none_or(|since| Timestamp::parse(received_at).is_some_and(|at| at >= since))
}

/// Ids from `from` on, and smaller than `before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: i64,
    before: i64,
}

/// Where the events can be that pass, by their ids alone; the newest first.
fn spans(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<Span>> {
    let before = filter.before.map_or(i64::MAX, |id| id.0);
    let Some(since) = filter.since else { return Ok(vec![Span { from: i64::MIN, before }]) };
    let minute = since.to_string()[..16].to_owned();
    let mut statement = connection.prepare_cached(BLOCKS_SINCE)?;
    let mut spans: Vec<Span> = Vec::new();
    for block in statement.query_map([minute], |row| row.get::<_, i64>(0))? {
        let from = block? << BLOCK_BITS;
        let end = from.saturating_add(1 << BLOCK_BITS);
        match spans.last_mut() {
            Some(last) if last.from == end => last.from = from,
            _ => spans.push(Span { from, before: end }),
        }
    }
    spans.iter_mut().for_each(|span| span.before = span.before.min(before));
    Ok(spans)
}

/// What to look through.
enum Candidates {
    /// Every event.
    All,
    /// Those of these kinds.
    Kinds(Vec<Kind>),
    /// Every event, as there are too many kinds.
    Filtered,
}

impl Candidates {
    fn of(connection: &Connection, filter: &Filter) -> rusqlite::Result<Candidates> {
        if filter.status.is_none() && filter.source.is_none() && filter.event_type.is_none() {
            return Ok(Candidates::All);
        }
        Ok(kinds(connection, filter)?.map_or(Candidates::Filtered, Candidates::Kinds))
    }

    /// A page of ids, the newest first; none where there are no more.
    fn newest(&self, connection: &Connection, span: &Span, filter: &Filter) -> rusqlite::Result<Vec<i64>> {
        match self {
            Candidates::All => {
                let mut statement = connection.prepare_cached(NEWEST)?;
                statement.query_map((span.from, span.before, filter.limit), |row| row.get(0))?.collect()
            }
            Candidates::Kinds(kinds) => newest_of_kinds(connection, kinds, span, filter.limit),
            Candidates::Filtered => newest_filtered(connection, span, filter),
        }
    }
}

fn newest_of_kinds(connection: &Connection, kinds: &[Kind], span: &Span, limit: u32) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(NEWEST_OF_KIND)?;
    let mut ids: Vec<i64> = Vec::new();
    for kind in kinds {
        let named = (&kind.status, &kind.source, &kind.event_type, span.from, span.before, limit);
        for id in statement.query_map(named, |row| row.get(0))? {
            ids.push(id?);
        }
    }
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.truncate(limit as usize);
    Ok(ids)
}

fn newest_filtered(connection: &Connection, span: &Span, filter: &Filter) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(NEWEST_FILTERED)?;
    let named = named_params! {
        ":from": span.from,
        ":before": span.before,
        ":source": filter.source,
        ":event": filter.event_type,
        ":status": filter.status.map(Status::as_str),
        ":limit": filter.limit,
    };
    statement.query_map(named, |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests;
