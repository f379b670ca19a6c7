//! Finds the ids of events that pass a filter, and summaries of the newest, without reading the others.
//!
//! The index has few [`partitions`]; the newest events of each are a seek away, and the newest of all are among them. That
//! holds for every combination of filters, even if only one event in a million passes.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Result, named_params};

use super::blocks::{Span, spans};
use super::partitions::{Partition, partitions};
use super::search::{Scan, Search};
use super::summary::{Filter, Summary};
use crate::event::{EventId, ShownStatus, Status};

/// A page of all events.
const NEWEST: &str = "SELECT id FROM webhook_events WHERE id >= ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";

/// A page of the events of one partition.
const NEWEST_OF_PARTITION: &str = "SELECT id FROM webhook_events WHERE status = ?1 AND source = ?2 AND event_type = ?3
     AND id >= ?4 AND id < ?5 ORDER BY id DESC LIMIT ?6";

/// The oldest of one partition after an id.
const OLDEST_OF_PARTITION: &str = "SELECT id FROM webhook_events WHERE status = ?1 AND source = ?2 AND event_type = ?3
     AND id > ?4 ORDER BY id LIMIT ?5";

/// The oldest of a status after an id, by reading all events.
const OLDEST_OF_STATUS: &str =
    "SELECT id FROM webhook_events NOT INDEXED WHERE status = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

/// The same by reading all of the status, which are usually few.
const OLDEST_OF_FEW: &str = "SELECT id FROM webhook_events INDEXED BY webhook_events_kind WHERE status = ?1
     ORDER BY id LIMIT ?2";

/// A page of the events of which a job was cancelled.
const NEWEST_CANCELLED: &str = "SELECT DISTINCT event_id FROM jobs INDEXED BY jobs_cancelled
     WHERE state = 'cancelled' AND event_id >= ?1 AND event_id < ?2 ORDER BY event_id DESC LIMIT ?3";

/// Ids that are read at once, also for a short list: few of them may pass.
const LEAST_PAGE: u32 = 64;

/// How long a person waits for a list. A search for a text that takes longer ends, and says how far it has come.
const MAX_SEARCH: Duration = Duration::from_millis(700);

/// A page of the events that pass, by reading all of them; by the index it would have to sort them.
const NEWEST_FILTERED: &str = "SELECT id FROM webhook_events NOT INDEXED WHERE id >= :from AND id < :before
     AND (:source IS NULL OR source = :source) AND (:event IS NULL OR event_type = :event)
     AND (:status IS NULL OR status = :status) AND (NOT :is_unfinished OR status <> 'processed') ORDER BY id DESC LIMIT :limit";

/// Events of a list, the newest first.
#[derive(Debug, Default)]
pub struct Listed {
    pub events: Vec<Summary>,
    /// The last event in which a text was looked for, where the search ended before all were: older ones may have it too.
    pub searched_to: Option<EventId>,
}

/// The newest events that pass, the newest first.
pub(super) fn newest(connection: &Connection, filter: &Filter) -> Result<Listed> {
    newest_within(connection, filter, MAX_SEARCH)
}

fn newest_within(connection: &Connection, filter: &Filter, max_search: Duration) -> Result<Listed> {
    let limit = filter.limit as usize;
    let mut check = Check { search: search(connection, filter, Some(max_search))?, ..Check::new(connection, filter)? };
    let mut listed = Listed::default();
    visit(connection, filter, |candidate| {
        listed.events.extend(check.passing(candidate)?);
        let is_full = listed.events.len() >= limit;
        if !is_full && check.is_over() {
            listed.searched_to = Some(EventId(candidate.id));
        }
        Ok(!is_full && listed.searched_to.is_none())
    })?;
    Ok(listed)
}

/// The ids of all events that pass, however many, in their order; `limit` is how many are read at once.
pub(super) fn all(connection: &Connection, filter: &Filter) -> Result<Vec<i64>> {
    let mut check = Check::new(connection, filter)?;
    let mut found = Vec::new();
    visit(connection, filter, |candidate| {
        let passes = filter.is_of_index() || check.passing(candidate)?.is_some();
        found.extend(passes.then_some(candidate.id));
        Ok(true)
    })?;
    found.reverse();
    Ok(found)
}

/// Those of these events that exist and pass, in the order of their ids, each once.
pub(super) fn only(connection: &Connection, ids: &[EventId], filter: &Filter) -> Result<Vec<EventId>> {
    let mut check = Check::new(connection, filter)?;
    let mut found = Vec::new();
    for id in ids.iter().collect::<BTreeSet<_>>() {
        let is_earlier = filter.before.is_none_or(|before| *id < before);
        found.extend((is_earlier && check.passing(Candidate::of(id.0))?.is_some()).then_some(*id));
    }
    Ok(found)
}

fn search<'a>(connection: &'a Connection, filter: &Filter, max_time: Option<Duration>) -> Result<Option<Search<'a>>> {
    filter.text.as_deref().map(|text| Search::new(connection, text, max_time)).transpose()
}

/// An event that may pass.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    id: i64,
    /// Whether it has the text of the filter; `None` where nothing has looked.
    has_text: Option<bool>,
}

impl Candidate {
    pub(super) fn of(id: i64) -> Candidate {
        Candidate { id, has_text: None }
    }
}

/// Reads events one by one and compares them with a filter, regardless of their ids.
pub(super) struct Check<'a> {
    filter: &'a Filter,
    by_id: CachedStatement<'a>,
    search: Option<Search<'a>>,
}

impl<'a> Check<'a> {
    pub(super) fn new(connection: &'a Connection, filter: &'a Filter) -> Result<Check<'a>> {
        Ok(Check { filter, by_id: Summary::by_id(connection)?, search: search(connection, filter, None)? })
    }

    /// The event, if there is one and it passes.
    pub(super) fn passing(&mut self, Candidate { id, has_text }: Candidate) -> Result<Option<Summary>> {
        // First, because the index has decided most of the rest.
        let has_text = match (has_text, &mut self.search) {
            (Some(has_text), _) => has_text,
            (None, Some(search)) => search.finds(id)?,
            (None, None) => true,
        };
        if !has_text {
            return Ok(None);
        }
        let event = self.by_id.query_row([id], Summary::of).optional()?;
        Ok(event.filter(|event| self.filter.passes(event) && self.filter.is_since(&event.received_at)))
    }

    /// Whether a search has taken as long as it may.
    fn is_over(&self) -> bool {
        self.search.as_ref().is_some_and(Search::is_over)
    }
}

/// Calls `visitor` with the events that may pass, the newest first, until it returns false. `visitor` has to check what
/// the index does not decide.
fn visit(connection: &Connection, filter: &Filter, mut visitor: impl FnMut(Candidate) -> Result<bool>) -> Result<()> {
    let is_unpartitioned = filter.passes_all() || filter.status == Some(ShownStatus::Cancelled);
    let partitions = if is_unpartitioned { None } else { partitions(connection, filter)? };
    let before = filter.before.map_or(i64::MAX, |id| id.0);
    let spans = match filter.since {
        Some(since) => spans(connection, since, before)?,
        None => vec![Span { before, ..Span::ALL }],
    };
    if let Some(text) = filter.text.as_deref().filter(|_| filter.passes_all()) {
        return scan(connection, text, spans, visitor);
    }
    for Span { from, mut before } in spans {
        loop {
            let ids = newest_ids(connection, partitions.as_deref(), Span { from, before }, filter)?;
            let Some(last) = ids.last() else { break };
            before = *last;
            for id in ids {
                if !visitor(Candidate::of(id))? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// The same for a text in any event.
fn scan(
    connection: &Connection,
    text: &str,
    spans: Vec<Span>,
    mut visitor: impl FnMut(Candidate) -> Result<bool>,
) -> Result<()> {
    let (mut scan, mut goes_on) = (Scan::new(connection, text)?, true);
    for Span { from, mut before } in spans {
        while goes_on {
            let last = scan.block(Span { from, before }, |id, has_text| {
                goes_on = visitor(Candidate { id, has_text: Some(has_text) })?;
                Ok(goes_on)
            })?;
            let Some(last) = last else { break };
            before = last;
        }
    }
    Ok(())
}

/// The oldest events of a status after an id, by their ids in their order; none where there are no more.
pub(super) fn oldest(connection: &Connection, status: Status, after: EventId, limit: u32) -> Result<Vec<i64>> {
    match partitions(connection, &Filter::of_status(status))? {
        Some(partitions) => oldest_of_partitions(connection, &partitions, after, limit),
        None => ids(connection, OLDEST_OF_STATUS, (status.as_str(), after.0, limit)),
    }
}

/// The oldest of a status that most events do not have.
pub(super) fn oldest_of_few(connection: &Connection, status: Status, limit: u32) -> Result<Vec<i64>> {
    match partitions(connection, &Filter::of_status(status))? {
        Some(partitions) => oldest_of_partitions(connection, &partitions, EventId(0), limit),
        None => ids(connection, OLDEST_OF_FEW, (status.as_str(), limit)),
    }
}

/// The oldest of these partitions after an id, in their order.
pub(super) fn oldest_of_partitions(
    connection: &Connection,
    partitions: &[Partition],
    after: EventId,
    limit: u32,
) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    for Partition { status, source, event_type } in partitions {
        found.extend(ids(connection, OLDEST_OF_PARTITION, (status, source, event_type, after.0, limit))?);
    }
    found.sort_unstable();
    found.truncate(limit as usize);
    Ok(found)
}

/// A page of the newest ids in a span that may pass, the newest first; none where there are no more. Searches these
/// partitions, or all events.
fn newest_ids(
    connection: &Connection,
    partitions: Option<&[Partition]>,
    Span { from, before }: Span,
    filter: &Filter,
) -> Result<Vec<i64>> {
    let limit = if filter.is_of_index() { filter.limit } else { filter.limit.max(LEAST_PAGE) };
    if let Some(partitions) = partitions {
        return newest_of_partitions(connection, partitions, Span { from, before }, limit);
    }
    if filter.passes_all() {
        return ids(connection, NEWEST, (from, before, limit));
    }
    if filter.status == Some(ShownStatus::Cancelled) {
        return ids(connection, NEWEST_CANCELLED, (from, before, limit));
    }
    let named = named_params! {
        ":from": from,
        ":before": before,
        ":source": filter.source,
        ":event": filter.event_type,
        ":status": filter.stored_status(),
        ":is_unfinished": filter.is_unfinished,
        ":limit": limit,
    };
    ids(connection, NEWEST_FILTERED, named)
}

/// The newest of these partitions, the newest first.
pub(super) fn newest_of_partitions(
    connection: &Connection,
    partitions: &[Partition],
    Span { from, before }: Span,
    limit: u32,
) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    for Partition { status, source, event_type } in partitions {
        found.extend(ids(connection, NEWEST_OF_PARTITION, (status, source, event_type, from, before, limit))?);
    }
    found.sort_unstable_by_key(|id| Reverse(*id));
    found.truncate(limit as usize);
    Ok(found)
}

fn ids(connection: &Connection, sql: &str, parameters: impl Params) -> Result<Vec<i64>> {
    connection.prepare_cached(sql)?.query_map(parameters, |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests;
