//! Processing an event again: which of its jobs are queued, and whether it is routed instead.

use rusqlite::{Connection, Result, Transaction};

use super::{events, jobs};
use crate::event::EventId;

/// Which jobs of an event are replayed.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayOptions<'a> {
    /// Only those of this action.
    pub action: Option<&'a str>,
    /// Where none is dead, only those that have not succeeded.
    pub spares_succeeded: bool,
}

/// The jobs that [`replay`] queues, or the routing in their place.
enum ReplayScope {
    /// It queues the jobs in these states, written as in a statement.
    Jobs(&'static str),
    /// The event has no jobs: it is routed.
    Route,
}

/// Queues the dead jobs of an event again, or, where none is dead, all ended jobs, as far as the options allow. The retry
/// policy counts their attempts from 1. An event without jobs is routed again. False if there was nothing to do.
pub(super) fn replay(transaction: &Transaction<'_>, event: EventId, options: &ReplayOptions<'_>) -> Result<bool> {
    let Some(scope) = scope(transaction, event, options)? else { return Ok(false) };
    if let ReplayScope::Jobs(states) = scope {
        jobs::requeue(transaction, event, options.action, states)?;
    }
    events::reopen(transaction, event)
}

/// Whether [`replay`] would do anything.
pub(super) fn is_replayable(connection: &Connection, event: EventId, options: &ReplayOptions<'_>) -> Result<bool> {
    Ok(scope(connection, event, options)?.is_some())
}

/// Queues the failed jobs of an event again, and reopens it: those that are dead, and those that were cancelled because
/// another program has marked the event as failed. Where there are no jobs at all, it is routed again. False if there was
/// nothing to do.
pub(super) fn requeue_failed(transaction: &Transaction<'_>, event: EventId) -> Result<bool> {
    let queued = jobs::requeue(transaction, event, None, "'dead', 'cancelled'")?;
    let has_jobs = "SELECT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1)";
    if queued == 0 && transaction.prepare_cached(has_jobs)?.query_row([event.0], |row| row.get(0))? {
        return Ok(false);
    }
    events::reopen(transaction, event)
}

/// `None` where there is nothing to do.
fn scope(connection: &Connection, event: EventId, options: &ReplayOptions<'_>) -> Result<Option<ReplayScope>> {
    let has = |states: &str| -> Result<bool> {
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM jobs WHERE event_id = ?1
                            AND (?2 IS NULL OR action = ?2) AND state IN ({states}))"
        );
        connection.prepare_cached(&sql)?.query_row((event.0, options.action), |row| row.get(0))
    };
    let ended =
        if options.spares_succeeded { "'cancelled', 'superseded'" } else { "'succeeded', 'cancelled', 'superseded'" };
    for states in ["'dead'", ended] {
        if has(states)? {
            return Ok(Some(ReplayScope::Jobs(states)));
        }
    }
    Ok((options.action.is_none() && !has("'queued', 'running'")?).then_some(ReplayScope::Route))
}
