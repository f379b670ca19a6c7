//! Replays or cancels the events of a filter, a few at a time: the thread answers other requests in between.

use std::time::{Duration, Instant};

use serde_json::json;

use super::answer::Answer;
use crate::clock;
use crate::event::{EventId, ShownStatus};
use crate::store::{Commands, Filter, Reader, ReplayOptions, ReplayScope, ReplayTotals};

/// How long one request may take.
const MAX_TIME: Duration = Duration::from_secs(1);

/// Events of one step.
const STEP: u32 = 100;

/// The parameters of a request that say how to replay.
pub(super) struct Replay {
    action: Option<String>,
    scope: ReplayScope,
}

impl Replay {
    /// Reads them from a query, and returns the others.
    pub(super) fn of(query: &str) -> Result<(Replay, String), Answer> {
        let (action, rest) = take_parameter(query, "action");
        let (scope, rest) = take_parameter(&rest, "scope");
        let scope = match scope.as_deref() {
            None => ReplayScope::Unsuccessful,
            Some("failed") => ReplayScope::Failed,
            Some("again") => ReplayScope::Again,
            Some(_) => return Err(Answer::line(400, "scope is failed or again")),
        };
        Ok((Replay { action, scope }, rest))
    }

    pub(super) fn options(&self) -> ReplayOptions<'_> {
        ReplayOptions { action: self.action.as_deref(), scope: self.scope }
    }

    pub(super) fn run(&self, commands: &mut Commands, reader: &Reader, filter: Filter) -> Result<Answer, Answer> {
        let mut totals = ReplayTotals::default();
        // Those that are done have no failed job.
        let is_unfinished = self.scope == ReplayScope::Failed;
        let next = for_each_step(reader, Filter { is_unfinished, ..filter }, |events| {
            let replayed = commands.replay(events, &self.options(), clock::now())?;
            replayed.iter().for_each(|event| totals.add(event));
            Ok(())
        })?;
        let answer = json!({
            "queued": totals.queued(),
            "events": totals.events,
            "text": totals.sum(false),
            "lines": totals.lines(false, ""),
            "before": next.map(|id| id.0),
        });
        Ok(Answer::json(&answer))
    }
}

/// Takes a parameter out of a query, and returns the others. One without a value is none.
pub(super) fn take_parameter(query: &str, parameter: &str) -> (Option<String>, String) {
    let mut found = None;
    let mut rest = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != parameter {
            rest.append_pair(&name, &value);
        } else if !value.is_empty() {
            found = Some(value.into_owned());
        }
    }
    (found, rest.finish())
}

/// Cancels what is open of the events of a filter, of `action` alone where it is given.
pub(super) fn cancel(
    commands: &mut Commands,
    reader: &Reader,
    filter: Filter,
    action: Option<&str>,
) -> Result<Answer, Answer> {
    // Others have no open job.
    let status = filter.status.or(Some(ShownStatus::Unprocessed));
    let (mut jobs, mut changed) = (0, 0);
    let next = for_each_step(reader, Filter { status, ..filter }, |events| {
        let cancelled = commands.cancel(events, action, clock::now())?;
        jobs += cancelled.iter().map(|event| event.jobs).sum::<usize>();
        changed += cancelled.iter().filter(|event| event.jobs > 0).count();
        Ok(())
    })?;
    Ok(Answer::json(&json!({ "cancelled": jobs, "events": changed, "before": next.map(|id| id.0) })))
}

/// Passes the events of a filter on, the newest first, until the time is over. Returns where to go on.
fn for_each_step(
    reader: &Reader,
    filter: Filter,
    mut act: impl FnMut(&[EventId]) -> Result<(), Answer>,
) -> Result<Option<EventId>, Answer> {
    let begun = Instant::now();
    let mut left = Filter { limit: STEP, ..filter };
    loop {
        let listed = reader.list(&left)?;
        let events: Vec<EventId> = listed.events.iter().map(|event| EventId(event.id)).collect();
        act(&events)?;
        let is_full = events.len() >= STEP as usize;
        left.before = if is_full { events.last().copied() } else { listed.searched_to };
        if left.before.is_none() || begun.elapsed() >= MAX_TIME {
            return Ok(left.before);
        }
    }
}
