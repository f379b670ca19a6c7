//! Processing an event again: which of its jobs are queued, which are left as they are, and why.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction};
use serde::Serialize;

use super::row::string;
use super::{events, jobs};
use crate::clock::Timestamp;
use crate::event::{EventId, Status};

/// Which jobs of an event are replayed.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayOptions<'a> {
    /// Only those of this action.
    pub action: Option<&'a str>,
    pub scope: ReplayScope,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayScope {
    /// Everything that has not succeeded.
    #[default]
    Unsuccessful,
    /// Only what is dead or waits for a retry; events without such a job are passed over.
    Failed,
    /// Also what succeeded, and with another idempotency key: another round of all of it is meant.
    Again,
}

/// What a replay does with one event, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    pub event: i64,
    pub jobs: Vec<ReplayedJob>,
    /// Where no job is concerned.
    pub without_jobs: Option<WithoutJobs>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayedJob {
    pub action: String,
    pub effect: Effect,
    pub superseded_by: Option<i64>,
}

/// What a replay does with a job. The order is that of reports: first what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It waited for a retry, and is due now; its count stays as it was.
    DueNow,
    /// It has all its attempts again.
    Queued,
    /// It had succeeded, or was superseded, and is done again.
    Again,
    /// Left as it is: it is due, or under way in this moment.
    DueAlready,
    /// Left as it is: an attempt is under way.
    Running,
    /// Left as it is.
    Succeeded,
    /// Left as it is: the job of a later event has taken its place.
    Superseded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutJobs {
    /// The event has no job: the router decides again which actions are for it.
    Routed,
    /// The router has not seen the event yet.
    Unrouted,
    /// The action has no job for the event.
    OfAction,
}

/// The sum of what a replay has done with many events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayTotals {
    /// Events of which something was queued.
    pub events: usize,
    /// By action and effect.
    pub jobs: BTreeMap<(Effect, String), usize>,
    pub routed: usize,
    pub without_jobs: usize,
}

/// Queues jobs of an event as far as the options allow. `None` if there is no such event, or nothing of it has failed and
/// only that is asked for.
pub(super) fn replay(
    transaction: &Transaction<'_>,
    event: EventId,
    options: &ReplayOptions<'_>,
    now: Timestamp,
) -> Result<Option<Replayed>> {
    let Some(planned) = plan(transaction, event, options, now)? else { return Ok(None) };
    let raises_round = options.scope == ReplayScope::Again;
    for job in planned.jobs.iter().filter(|job| job.effect.is_change()) {
        jobs::replay(transaction, event, &job.action, job.effect != Effect::DueNow, raises_round)?;
    }
    if planned.is_change() {
        events::reopen(transaction, event)?;
    }
    Ok(Some(planned))
}

/// What [`replay`] would do.
pub(super) fn plan(
    connection: &Connection,
    event: EventId,
    options: &ReplayOptions<'_>,
    now: Timestamp,
) -> Result<Option<Replayed>> {
    let status = "SELECT status FROM webhook_events WHERE id = ?1";
    let status = connection.prepare_cached(status)?.query_row([event.0], |row| string(row, 0)).optional()?;
    let Some(status) = status else { return Ok(None) };
    let sql = "SELECT action, state, due_at_ms > ?2, outcome IS NOT NULL, superseded_by FROM jobs WHERE event_id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let found = |row: &Row<'_>| {
        let (state, waits, was_attempted) = (row.get::<_, String>(1)?, row.get::<_, Option<bool>>(2)?, row.get(3)?);
        let effect = effect(&state, waits == Some(true), was_attempted, options.scope);
        Ok((row.get::<_, String>(0)?, effect, row.get(4)?))
    };
    let all: Vec<_> = statement.query_map((event.0, now.unix_ms()), found)?.collect::<Result<_>>()?;
    let has_jobs = !all.is_empty();
    let is_meant = |action: &str| options.action.is_none_or(|only| only == action);
    let job = |(action, effect, superseded_by): (String, Option<Effect>, _)| {
        Some(ReplayedJob { action, effect: effect?, superseded_by })
    };
    let mut jobs: Vec<_> = all.into_iter().filter(|(action, ..)| is_meant(action)).filter_map(job).collect();
    jobs.sort_by(|a, b| (a.effect, &a.action).cmp(&(b.effect, &b.action)));
    let is_failed_only = options.scope == ReplayScope::Failed;
    let without_jobs = match () {
        _ if !jobs.is_empty() => None,
        _ if is_failed_only && (has_jobs || options.action.is_some() || status != Status::Error.as_str()) => {
            return Ok(None);
        }
        _ if options.action.is_some() || has_jobs => Some(WithoutJobs::OfAction),
        _ if events::is_unrouted(connection, event)? => Some(WithoutJobs::Unrouted),
        _ => Some(WithoutJobs::Routed),
    };
    let has_change = jobs.iter().any(|job| job.effect.is_change());
    let is_passed_over = is_failed_only && !has_change && without_jobs.is_none();
    Ok((!is_passed_over).then_some(Replayed { event: event.0, jobs, without_jobs }))
}

/// What becomes of a job; `None` if it is not meant at all. `waits` is true if it is due later.
fn effect(state: &str, waits: bool, was_attempted: bool, scope: ReplayScope) -> Option<Effect> {
    use ReplayScope::{Again, Failed, Unsuccessful};
    match (scope, state) {
        (_, "dead") => Some(Effect::Queued),
        (Failed, "queued") => (waits && was_attempted).then_some(Effect::DueNow),
        (Failed, _) => None,
        (_, "running") => Some(Effect::Running),
        (_, "queued") if !waits => Some(Effect::DueAlready),
        (Unsuccessful, "queued") => Some(Effect::DueNow),
        (Again, "queued") | (_, "cancelled") => Some(Effect::Queued),
        (Again, _) => Some(Effect::Again),
        (_, "superseded") => Some(Effect::Superseded),
        _ => Some(Effect::Succeeded),
    }
}

/// Queues the failed jobs of an event again, and reopens it: those that are dead, and those that were cancelled because
/// another program has marked the event as failed. Where there are no jobs at all, it is routed again. False if there was
/// nothing to do.
pub(super) fn requeue_failed(transaction: &Transaction<'_>, event: EventId) -> Result<bool> {
    let queued = jobs::requeue_failed(transaction, event)?;
    let has_jobs = "SELECT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1)";
    if queued == 0 && transaction.prepare_cached(has_jobs)?.query_row([event.0], |row| row.get(0))? {
        return Ok(false);
    }
    events::reopen(transaction, event)
}

impl Effect {
    /// Whether the job is queued by it.
    pub fn is_change(self) -> bool {
        self < Effect::DueAlready
    }

    /// What is said of a job, and the verb before it.
    fn words(self, is_planned: bool) -> (&'static str, &'static str) {
        let verb = if is_planned && self.is_change() { "would be " } else { "is " };
        match self {
            Effect::DueNow => (verb, "due now"),
            Effect::Queued => (verb, "queued, with all attempts"),
            Effect::Again => (verb, "done again"),
            Effect::DueAlready => (verb, "due already, or under way"),
            Effect::Running => (verb, "under way"),
            Effect::Succeeded => ("", "succeeded already"),
            Effect::Superseded => ("was ", "superseded"),
        }
    }

    /// Whether [`ReplayScope::Again`] would do more.
    fn has_more(self) -> bool {
        matches!(self, Effect::Succeeded | Effect::Superseded)
    }
}

impl Replayed {
    /// Whether anything is queued.
    pub fn is_change(&self) -> bool {
        self.without_jobs == Some(WithoutJobs::Routed) || self.jobs.iter().any(|job| job.effect.is_change())
    }

    /// What is done and what is not, and why: `http is due now; mail succeeded already`. `again` is how to do the latter
    /// again.
    pub fn text(&self, is_planned: bool, again: &str) -> String {
        let mut text = self.jobs.iter().map(|job| job.text(is_planned)).collect::<Vec<_>>().join("; ");
        if self.jobs.iter().any(|job| job.effect.has_more()) {
            text.push_str(again);
        }
        match self.without_jobs {
            None => text,
            Some(WithoutJobs::Routed) if is_planned => "it has no job: it would be routed again".to_owned(),
            Some(WithoutJobs::Routed) => "it has no job: it is routed again".to_owned(),
            Some(WithoutJobs::Unrouted) => "its jobs are not made yet: hookbox serve makes them".to_owned(),
            Some(WithoutJobs::OfAction) => "this action has no job for it".to_owned(),
        }
    }
}

impl ReplayedJob {
    fn text(&self, is_planned: bool) -> String {
        let by = self.superseded_by.filter(|_| self.effect == Effect::Superseded);
        let by = by.map_or(String::new(), |event| format!(" by event {event}"));
        let (verb, what) = self.effect.words(is_planned);
        format!("{} {verb}{what}{by}", self.action)
    }
}

impl ReplayTotals {
    pub fn add(&mut self, replayed: &Replayed) {
        self.events += usize::from(replayed.is_change());
        self.routed += usize::from(replayed.without_jobs == Some(WithoutJobs::Routed));
        self.without_jobs += usize::from(replayed.without_jobs.is_some_and(|without| without != WithoutJobs::Routed));
        for job in &replayed.jobs {
            *self.jobs.entry((job.effect, job.action.clone())).or_default() += 1;
        }
    }

    /// How many jobs are queued.
    pub fn queued(&self) -> usize {
        self.jobs.iter().filter(|((effect, _), _)| effect.is_change()).map(|(_, count)| count).sum()
    }

    /// How many of them had succeeded, or were superseded.
    pub fn repeated(&self) -> usize {
        self.jobs.iter().filter(|((effect, _), _)| *effect == Effect::Again).map(|(_, count)| count).sum()
    }

    /// The actions of which jobs are queued.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        let queued = self.jobs.keys().filter(|(effect, _)| effect.is_change());
        queued.map(|(_, action)| action.as_str()).collect::<std::collections::BTreeSet<_>>().into_iter()
    }

    /// A line for each action and effect, and for events without jobs.
    pub fn lines(&self, is_planned: bool, again: &str) -> Vec<String> {
        let line = |((effect, action), count): (&(Effect, String), &usize)| {
            let again = if effect.has_more() { again } else { "" };
            let (verb, what) = effect.words(is_planned);
            let verb = if is_planned && effect.is_change() { verb } else { "" };
            format!("{action}: {} {verb}{what}{again}", jobs_text(*count))
        };
        let mut lines: Vec<String> = self.jobs.iter().map(line).collect();
        let routed = if is_planned { "would be routed again" } else { "routed again" };
        for (count, what) in [(self.routed, routed), (self.without_jobs, "left as it is")] {
            if count > 0 {
                lines.push(format!("{} without a job: {what}", events_text(count)));
            }
        }
        lines
    }

    /// `queued 2 jobs of 1 event`
    pub fn sum(&self, is_planned: bool) -> String {
        let verb = if is_planned { "would queue" } else { "queued" };
        let repeated = match self.repeated() {
            0 => String::new(),
            count => format!("; of these, {} had been done before", jobs_text(count)),
        };
        let routed = match self.routed {
            0 => String::new(),
            count => format!("; routed again: {}", events_text(count)),
        };
        format!("{verb} {} of {}{repeated}{routed}", jobs_text(self.queued()), events_text(self.events - self.routed))
    }
}

fn jobs_text(count: usize) -> String {
    if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") }
}

fn events_text(count: usize) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_succeeded_is_done_again_but_on_request() {
        use ReplayScope::{Again, Failed, Unsuccessful};
        let cases = [
            ("dead", false, Unsuccessful, Some(Effect::Queued)),
            ("queued", true, Unsuccessful, Some(Effect::DueNow)),
            ("queued", false, Unsuccessful, Some(Effect::DueAlready)),
            ("cancelled", false, Unsuccessful, Some(Effect::Queued)),
            ("succeeded", false, Unsuccessful, Some(Effect::Succeeded)),
            ("superseded", false, Unsuccessful, Some(Effect::Superseded)),
            ("dead", false, Failed, Some(Effect::Queued)),
            ("queued", true, Failed, Some(Effect::DueNow)),
            ("cancelled", false, Failed, None),
            ("succeeded", false, Failed, None),
            ("queued", true, Again, Some(Effect::Queued)),
            ("running", false, Again, Some(Effect::Running)),
            ("succeeded", false, Again, Some(Effect::Again)),
            ("superseded", false, Again, Some(Effect::Again)),
        ];
        for (state, waits, scope, expected) in cases {
            assert_eq!(effect(state, waits, true, scope), expected, "{state} {scope:?}");
        }
        assert_eq!(effect("queued", true, false, Failed), None, "a job that was postponed has not failed");
    }
}
