//! Replays the events of a filter, a few at a time: the thread answers other requests in between.

use std::time::{Duration, Instant};

use serde_json::json;

use super::answer::Answer;
use crate::clock;
use crate::event::EventId;
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
        let mut replay = Replay { action: None, scope: ReplayScope::Unsuccessful };
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match (name.as_ref(), value.as_ref()) {
                ("action" | "scope", "") => {}
                ("action", _) => replay.action = Some(value.into_owned()),
                ("scope", "failed") => replay.scope = ReplayScope::Failed,
                ("scope", "again") => replay.scope = ReplayScope::Again,
                ("scope", _) => return Err(Answer::line(400, "scope is failed or again")),
                _ => drop(rest.append_pair(&name, &value)),
            }
        }
        Ok((replay, rest.finish()))
    }

    pub(super) fn options(&self) -> ReplayOptions<'_> {
        ReplayOptions { action: self.action.as_deref(), scope: self.scope }
    }

    pub(super) fn run(&self, commands: &mut Commands, reader: &Reader, filter: Filter) -> Result<Answer, Answer> {
        let begun = Instant::now();
        let mut totals = ReplayTotals::default();
        // Those that are done have no failed job.
        let is_unfinished = self.scope == ReplayScope::Failed;
        let mut left = Filter { limit: STEP, is_unfinished, ..filter };
        let next = loop {
            let listed = reader.list(&left)?;
            let events: Vec<EventId> = listed.events.iter().map(|event| EventId(event.id)).collect();
            let replayed = commands.replay(&events, &self.options(), clock::now())?;
            replayed.iter().for_each(|event| totals.add(event));
            let last = listed.events.last().map(|event| EventId(event.id));
            let is_full = listed.events.len() >= STEP as usize;
            left.before = if is_full { last } else { listed.searched_to };
            if left.before.is_none() || begun.elapsed() >= MAX_TIME {
                break left.before;
            }
        };
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
