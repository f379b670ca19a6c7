//! News about jobs and actions, stored in the transaction that causes it.

use std::time::Duration;

use log::{info, warn};
use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction};
use serde_json::{Value, json};

use super::deaths::{self, Deaths};
use super::deliveries;
use super::jobs::Next;
use super::row::string;
use super::stats;
use super::troubles::{self, Trouble, TroubleKind};
use crate::clock::Timestamp;
use crate::event::{Attempt, EventId, Outcome};
use crate::news::{Kind, News, SOURCE, Wanted};

/// So many failures in a row of an action are news.
const MAX_FAILURES: u32 = 3;

/// So is an action that has failed for this long.
const MAX_FAILING: Duration = Duration::from_secs(5 * 60);

/// What an attempt has changed, to be logged once that is committed.
#[derive(Debug)]
pub(super) enum Change {
    Failing { action: String, error: String },
    Recovered { action: String, since: Timestamp },
}

impl Change {
    pub(super) fn log(&self) {
        match self {
            Change::Failing { action, error } => {
                warn!("action {action} has begun to fail: {error}. hookbox stats says when it is tried again");
            }
            Change::Recovered { action, since } => info!("action {action} works again: it failed since {since}"),
        }
    }
}

/// Stores it, unless it is stored already.
pub(super) fn insert(transaction: &Transaction<'_>, news: News, now: Timestamp) -> Result<()> {
    let delivery = news.into_delivery(now);
    let sql = "SELECT EXISTS (SELECT 1 FROM webhook_events WHERE source = ?1 AND delivery_id = ?2)";
    let id = delivery.id.as_str();
    if transaction.prepare_cached(sql)?.query_row((&delivery.source, id), |row| row.get(0))? {
        return Ok(());
    }
    deliveries::insert(transaction, &delivery, id).map(drop)
}

/// What an attempt says about its action, which is failing from a failure until the next success of any of its jobs. A
/// destination that asks for a short wait does not fail. A retry alone begins nothing: others have succeeded since its job
/// has failed, so that it is the job and not the action.
pub(super) fn attempted(
    transaction: &Transaction<'_>,
    attempt: &Attempt,
    next: &Next,
    wanted: Wanted,
    now: Timestamp,
) -> Result<Option<Change>> {
    if matches!(next, Next::Waiting { waited } if *waited < MAX_FAILING) {
        return Ok(None);
    }
    let action = &attempt.job.action;
    let trouble = troubles::read(transaction, TroubleKind::Action, action)?;
    match (attempt.outcome, trouble) {
        (Outcome::Interrupted, _) | (Outcome::Success, None) => Ok(None),
        (Outcome::Success, Some(trouble)) => recovered(transaction, trouble, wanted, now).map(Some),
        (_, None) if attempt.job.attempts_since_queued > 1 => Ok(None),
        (_, None) => {
            let failures = u32::from(!is_of_news(transaction, attempt.job.event)?);
            let error = Some(attempt.detail.clone());
            let begun = Trouble { name: action.clone(), since: now, told: None, failures, error };
            troubles::write(transaction, TroubleKind::Action, &begun)?;
            Ok(Some(Change::Failing { action: action.clone(), error: attempt.detail.clone() }))
        }
        (_, Some(Trouble { told: Some(_), .. })) => Ok(None),
        (_, Some(trouble)) => failed_again(transaction, trouble, attempt, wanted, now).map(|()| None),
    }
}

fn recovered(transaction: &Transaction<'_>, trouble: Trouble, wanted: Wanted, now: Timestamp) -> Result<Change> {
    let Trouble { name: action, since, told, .. } = trouble;
    troubles::end(transaction, TroubleKind::Action, &action)?;
    if told.is_some() && wanted.has(Kind::ActionRecovered) {
        let waiting = stats::waiting(transaction, &action)?;
        let payload =
            json!({ "action": action, "since": since.to_string(), "until": now.to_string(), "waiting": waiting });
        let key = format!("{action}/{}", since.unix_ms());
        insert(transaction, News { kind: Kind::ActionRecovered, key, payload }, now)?;
    }
    Ok(Change::Recovered { action, since })
}

/// A failure of a job of news makes no further news.
fn failed_again(
    transaction: &Transaction<'_>,
    mut trouble: Trouble,
    attempt: &Attempt,
    wanted: Wanted,
    now: Timestamp,
) -> Result<()> {
    if is_of_news(transaction, attempt.job.event)? {
        return Ok(());
    }
    trouble.failures += 1;
    if trouble.failures < MAX_FAILURES && trouble.since.distance(now) < MAX_FAILING {
        return troubles::write(transaction, TroubleKind::Action, &trouble);
    }
    tell_failing(transaction, trouble, &attempt.detail, wanted, now)
}

/// `error` is the latest.
fn tell_failing(
    transaction: &Transaction<'_>,
    trouble: Trouble,
    error: &str,
    wanted: Wanted,
    now: Timestamp,
) -> Result<()> {
    let Trouble { name: action, since, failures, .. } = &trouble;
    if wanted.has(Kind::ActionFailing) {
        let next_attempt_at = stats::next_attempt(transaction, action)?.map(|at| at.to_string());
        let payload = json!({
            "action": action,
            "since": since.to_string(),
            "failures": failures,
            "error": error,
            "waiting": stats::waiting(transaction, action)?,
            "next_attempt_at": next_attempt_at,
        });
        let key = format!("{action}/{}", since.unix_ms());
        insert(transaction, News { kind: Kind::ActionFailing, key, payload }, now)?;
    }
    troubles::write(transaction, TroubleKind::Action, &Trouble { told: Some(now), ..trouble })
}

/// The actions that have failed for so long that this is news now. What waits is an event that is no news itself.
pub(super) fn long_failing(connection: &Connection, now: Timestamp) -> Result<Vec<Trouble>> {
    let mut troubles = troubles::all(connection, TroubleKind::Action)?;
    troubles.retain(|it| it.told.is_none() && it.failures > 0 && it.since.distance(now) >= MAX_FAILING);
    let mut long = Vec::new();
    for trouble in troubles {
        if stats::waiting(connection, &trouble.name)? > 0 {
            long.push(trouble);
        }
    }
    Ok(long)
}

pub(super) fn tell_long_failing(
    transaction: &Transaction<'_>,
    action: &str,
    wanted: Wanted,
    now: Timestamp,
) -> Result<()> {
    // A worker may have changed it meanwhile.
    let Some(trouble) = troubles::read(transaction, TroubleKind::Action, action)?.filter(|it| it.told.is_none()) else {
        return Ok(());
    };
    let error = stats::latest_error(transaction, action)?.or(trouble.error.clone()).unwrap_or_default();
    tell_failing(transaction, trouble, &error, wanted, now)
}

/// Reports a dead job, now or together with others.
pub(super) fn job_dead(transaction: &Transaction<'_>, attempt: &Attempt, now: Timestamp) -> Result<()> {
    let job = &attempt.job;
    if is_of_news(transaction, job.event)? || !deaths::count(transaction, attempt, now)? {
        return Ok(());
    }
    let payload = json!({
        "action": job.action,
        "error": attempt.detail,
        "attempts": job.attempt,
        "count": 1,
        "first_id": job.event.0,
        "last_id": job.event.0,
        "event": event(transaction, job.event)?,
    });
    let key = format!("{}/{}/{}", job.event, job.action, job.attempt);
    insert(transaction, News { kind: Kind::JobDead, key, payload }, now)
}

/// Reports the dead jobs of an action together.
pub(super) fn jobs_dead(transaction: &Transaction<'_>, deaths: &Deaths, wanted: Wanted, now: Timestamp) -> Result<()> {
    let Deaths { action, since, count, first, last, error } = deaths;
    deaths::delete(transaction, action)?;
    if !wanted.has(Kind::JobDead) {
        return Ok(());
    }
    let attempts = "SELECT attempts FROM jobs WHERE event_id = ?1 AND action = ?2";
    let attempts: Option<i64> =
        transaction.prepare_cached(attempts)?.query_row((last.0, action), |row| row.get(0)).optional()?;
    let payload = json!({
        "action": action,
        "error": error,
        "attempts": attempts,
        "count": count,
        "first_id": first.0,
        "last_id": last.0,
        "event": event(transaction, *last)?,
    });
    let key = format!("{first}/{last}/{action}/{}", since.unix_ms());
    insert(transaction, News { kind: Kind::JobDead, key, payload }, now)
}

/// An event as news names it; null if it was deleted.
fn event(connection: &Connection, id: EventId) -> Result<Value> {
    let sql = "SELECT source, event_type, delivery_id FROM webhook_events WHERE id = ?1";
    let event = |row: &Row<'_>| {
        let [source, event_type, delivery_id] = [string(row, 0)?, string(row, 1)?, string(row, 2)?];
        Ok(json!({ "id": id.0, "source": source, "type": event_type, "delivery_id": delivery_id }))
    };
    Ok(connection.prepare_cached(sql)?.query_row([id.0], event).optional()?.unwrap_or_default())
}

/// Whether an event is news itself, of which no further news is made: that could go on forever. So is one that was deleted,
/// about which there is nothing to say.
fn is_of_news(connection: &Connection, event: EventId) -> Result<bool> {
    let sql = "SELECT source FROM webhook_events WHERE id = ?1";
    let source = connection.prepare_cached(sql)?.query_row([event.0], |row| string(row, 0)).optional()?;
    Ok(source.is_none_or(|source| source == SOURCE))
}
