//! Whether a delivery is a new event, or one that is stored already: by its id, by its content where it has none, or by its
//! body where the source ignores repeated ones.

use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, named_params};

use super::claims::Claims;
use super::row::string;
use super::{counters, events, ids, jobs, replay};
use crate::clock::Timestamp;
use crate::event::{Delivery, DeliveryId, EventId, MatchingAction, Status};

/// The result of storing a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// A new event.
    New(EventId),
    /// This event already; nothing was stored.
    Duplicate(EventId),
    /// This event already, which had failed: its dead jobs are queued again, because that is the only purpose of a
    /// provider's Redeliver button.
    Requeued(EventId),
    /// This event already, but so long ago that the sender means it again: it is processed as if it were new.
    Replayed(EventId),
    /// The body of this event under another id, at a source that ignores such.
    Repeated(EventId),
}

/// A stored event that a delivery may be.
struct Known {
    event: EventId,
    event_type: String,
    status: String,
    /// When it was received, or later came again and was replayed.
    last_meant_at: String,
}

/// Stores a delivery, or recognises its event.
pub(super) fn take(transaction: &Transaction<'_>, delivery: &Delivery, claims: &Claims) -> Result<Ingested> {
    if let Some(original) = original_of_repeated(transaction, delivery)? {
        counters::count_again(transaction, &delivery.source, "repeated", delivery.received_at)?;
        return Ok(Ingested::Repeated(original));
    }
    let (hash, actions) = match &delivery.id {
        DeliveryId::Given(id) => return insert(transaction, delivery, id),
        DeliveryId::OfContent { hash, actions } => (hash, actions),
    };
    match latest_of_content(transaction, delivery, hash)? {
        Some(known) if is_same(transaction, delivery, &known, actions, claims)? => {
            recognise(transaction, delivery, &known)
        }
        _ => insert(transaction, delivery, &numbered(transaction, hash)?),
    }
}

/// Inserts a new event, unless there is one with this id. Its jobs are made before it, so that the trigger need not list it
/// for the router.
pub(super) fn insert(transaction: &Transaction<'_>, delivery: &Delivery, id: &str) -> Result<Ingested> {
    if let Some(known) = with_id(transaction, &delivery.source, id)? {
        return recognise(transaction, delivery, &known);
    }
    let event = EventId(ids::next(transaction)?);
    let jobs = delivery.jobs.as_deref();
    for job in jobs.unwrap_or_default() {
        jobs::add(transaction, event, job)?;
    }
    let received_at = delivery.received_at.to_string();
    let (status, processed_at) = match jobs {
        Some([]) => (Status::Processed, Some(received_at.as_str())),
        _ => (Status::Unprocessed, None),
    };
    let sql = "INSERT INTO webhook_events (id, source, event_type, delivery_id, received_at, processed_at, status,
             padding, secret_position, body_digest, headers_json, payload_json, body)
         VALUES (:id, :source, :event_type, :delivery_id, :received_at, :processed_at, :status,
             :padding, :secret_position, :body_digest, :headers_json, :payload_json, :body)";
    let named = named_params! {
        ":id": event.0,
        ":source": delivery.source,
        ":event_type": delivery.event_type,
        ":delivery_id": id,
        ":received_at": received_at,
        ":processed_at": processed_at,
        ":status": status.as_str(),
        ":padding": events::padding_of(status.as_str(), processed_at.unwrap_or_default()),
        ":secret_position": delivery.secret_position.and_then(|position| i64::try_from(position).ok()),
        ":body_digest": delivery.body_digest,
        ":headers_json": delivery.headers_json,
        ":payload_json": delivery.payload_json,
        ":body": delivery.body,
    };
    if let Err(error) = transaction.prepare_cached(sql)?.execute(named) {
        jobs::delete_orphans(transaction, event)?;
        return Err(error);
    }
    Ok(Ingested::New(event))
}

/// Inserts a new event; `None` if there is one with this id, of which nothing is changed.
pub(super) fn insert_if_new(transaction: &Transaction<'_>, delivery: &Delivery, id: &str) -> Result<Option<EventId>> {
    if with_id(transaction, &delivery.source, id)?.is_some() {
        return Ok(None);
    }
    match insert(transaction, delivery, id)? {
        Ingested::New(event) => Ok(Some(event)),
        _ => Ok(None),
    }
}

/// Counts a delivery whose event is known, and processes the event again where the sender means that.
fn recognise(transaction: &Transaction<'_>, delivery: &Delivery, known: &Known) -> Result<Ingested> {
    let event = known.event;
    let sql = "UPDATE webhook_events SET duplicates = duplicates + 1 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute([event.0])?;
    counters::count_again(transaction, &delivery.source, "duplicates", delivery.received_at)?;
    if known.status == Status::Unprocessed.as_str() {
        return Ok(Ingested::Duplicate(event));
    }
    if known.is_within_window(delivery) == Some(false) {
        events::reopen(transaction, event)?;
        let sql = "UPDATE webhook_events SET renewed_at = ?2 WHERE id = ?1";
        transaction.prepare_cached(sql)?.execute((event.0, delivery.received_at.to_string()))?;
        return Ok(Ingested::Replayed(event));
    }
    if known.status == Status::Error.as_str() && replay::requeue_failed(transaction, event)? {
        return Ok(Ingested::Requeued(event));
    }
    Ok(Ingested::Duplicate(event))
}

/// The event whose body a delivery repeats under an id that is not stored.
fn original_of_repeated(transaction: &Transaction<'_>, delivery: &Delivery) -> Result<Option<EventId>> {
    let Some(digest) = &delivery.body_digest else { return Ok(None) };
    let original =
        transaction.prepare_cached(OF_BODY)?.query_row([digest], |row| row.get(0).map(EventId)).optional()?;
    // The same id first: a provider's Redeliver button sends the same body too.
    Ok(match &delivery.id {
        DeliveryId::Given(id) if original.is_some() && with_id(transaction, &delivery.source, id)?.is_some() => None,
        _ => original,
    })
}

/// Whether a delivery without an id is the one that came last with this content. Only an event of the same type can be: its
/// actions are others.
fn is_same(
    transaction: &Transaction<'_>,
    delivery: &Delivery,
    known: &Known,
    actions: &[MatchingAction],
    claims: &Claims,
) -> Result<bool> {
    if known.event_type != delivery.event_type {
        return Ok(false);
    }
    if known.is_within_window(delivery) == Some(true) {
        return Ok(true);
    }
    Ok(known.status == Status::Unprocessed.as_str() && may_join(transaction, known.event, actions, claims)?)
}

/// Whether everything that `actions` do for an unprocessed event is still to begin. What came again is then done with it,
/// and sees the latest state of what it reports. Otherwise another event is needed.
///
/// Without any action of ours another program processes the event, and it is unknown whether that has begun.
fn may_join(
    transaction: &Transaction<'_>,
    event: EventId,
    actions: &[MatchingAction],
    claims: &Claims,
) -> Result<bool> {
    let jobs = jobs::of_event(transaction, event)?;
    if jobs.is_empty() {
        return Ok(!actions.is_empty() && events::is_unrouted(transaction, event)?);
    }
    let has_job = |action: &MatchingAction| jobs.iter().any(|(name, _)| *name == action.name);
    let has_begun = jobs.iter().any(|(name, has_begun)| *has_begun || claims.contains(event, name));
    Ok(!has_begun
        && actions.iter().any(has_job)
        && actions.iter().all(|action| action.has_condition || has_job(action)))
}

/// The id of a new event that came without one: the hash of its content, `@n` and the event's own number in 19 digits. So
/// the ids of equal content sort in the order of their arrival, also after those of earlier versions (the bare hash, or
/// with `@` and a time), and the latest is found by one seek.
fn numbered(transaction: &Transaction<'_>, hash: &str) -> Result<String> {
    Ok(format!("{hash}@n{:019}", ids::next(transaction)?))
}

const KNOWN: &str = "SELECT id, event_type, status, coalesce(renewed_at, received_at) FROM webhook_events";

/// `A` is the character after `@`.
const OF_CONTENT: &str =
    "WHERE source = ?1 AND delivery_id >= ?2 AND delivery_id < ?2 || 'A' ORDER BY delivery_id DESC LIMIT 1";

const OF_BODY: &str = "SELECT id FROM webhook_events WHERE body_digest = ?1 LIMIT 1";

fn with_id(connection: &Connection, source: &str, id: &str) -> Result<Option<Known>> {
    let sql = format!("{KNOWN} WHERE source = ?1 AND delivery_id = ?2");
    connection.prepare_cached(&sql)?.query_row((source, id), Known::of).optional()
}

/// The latest event with the content of a delivery that brought no id.
fn latest_of_content(connection: &Connection, delivery: &Delivery, hash: &str) -> Result<Option<Known>> {
    let sql = format!("{KNOWN} {OF_CONTENT}");
    connection.prepare_cached(&sql)?.query_row((&delivery.source, hash), Known::of).optional()
}

impl Known {
    fn of(row: &Row<'_>) -> Result<Known> {
        Ok(Known {
            event: EventId(row.get(0)?),
            event_type: string(row, 1)?,
            status: string(row, 2)?,
            last_meant_at: string(row, 3)?,
        })
    }

    /// Whether a delivery came within the source's window; `None` without a window, or where that is unknown.
    fn is_within_window(&self, delivery: &Delivery) -> Option<bool> {
        let last_meant_at = Timestamp::parse(&self.last_meant_at)?;
        Some(last_meant_at.distance(delivery.received_at) <= delivery.dedup_window?)
    }
}

#[cfg(test)]
mod tests;
