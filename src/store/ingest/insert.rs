//! One delivery becomes an event, or is recognised as one that is stored already.

use std::time::Duration;

use rusqlite::{OptionalExtension, Result, Row, Transaction, named_params};

use super::{Ingested, InsertResult};
use crate::clock::Timestamp;
use crate::event::{Delivery, DeliveryId, EventId, Status};
use crate::store::error::is_row_error;
use crate::store::row::string;
use crate::store::{counters, events, replay};

/// How long the same content counts as the same delivery where the provider sent no id: long enough for the retries
/// after a lost answer, short enough that a message which is meant again is a new event.
const CONTENT_WINDOW: Duration = Duration::from_secs(5 * 60);

/// The inner error is the delivery's own fault.
pub(super) fn insert(transaction: &Transaction<'_>, delivery: &Delivery) -> Result<InsertResult> {
    match insert_or_recognise(transaction, delivery) {
        // Once all is rolled back, the rest of the batch would run outside of a transaction.
        Err(error) if !is_row_error(&error) || transaction.is_autocommit() => Err(error),
        result => Ok(result),
    }
}

fn insert_or_recognise(transaction: &Transaction<'_>, delivery: &Delivery) -> Result<Ingested> {
    let id = match &delivery.id {
        DeliveryId::Given(id) => id.clone(),
        DeliveryId::OfContent(id) => id_within_window(transaction, delivery, id)?,
    };
    let sql = "INSERT INTO webhook_events
             (source, event_type, delivery_id, payload_json, received_at, status, headers_json, body)
         VALUES (:source, :event_type, :delivery_id, :payload_json, :received_at, 'unprocessed', :headers_json, :body)
         ON CONFLICT (source, delivery_id) DO NOTHING";
    let named = named_params! {
        ":source": delivery.source,
        ":event_type": delivery.event_type,
        ":delivery_id": id,
        ":payload_json": delivery.payload_json,
        ":received_at": delivery.received_at.to_string(),
        ":headers_json": delivery.headers_json,
        ":body": delivery.body,
    };
    if transaction.prepare_cached(sql)?.execute(named)? == 1 {
        let event = EventId(transaction.last_insert_rowid());
        insert_provenance(transaction, event, delivery)?;
        return Ok(Ingested::New(event));
    }
    insert_duplicate(transaction, delivery, &id)
}

fn insert_provenance(transaction: &Transaction<'_>, event: EventId, delivery: &Delivery) -> Result<()> {
    let position = delivery.secret_position.and_then(|position| i64::try_from(position).ok());
    let sql = "INSERT OR REPLACE INTO provenance (event_id, secret_position) VALUES (?1, ?2)";
    transaction.prepare_cached(sql)?.execute((event.0, position)).map(drop)
}

/// Counts a delivery that is stored already, and processes its event again where the sender means that.
fn insert_duplicate(transaction: &Transaction<'_>, delivery: &Delivery, id: &str) -> Result<Ingested> {
    let sql = "SELECT id, status, coalesce(renewed_at, received_at)
         FROM webhook_events LEFT JOIN provenance ON event_id = id WHERE source = ?1 AND delivery_id = ?2";
    let columns = |row: &Row<'_>| Ok((EventId(row.get(0)?), string(row, 1)?, string(row, 2)?));
    let (event, status, last_meant_at) = transaction.prepare_cached(sql)?.query_row((&delivery.source, id), columns)?;
    count_duplicate(transaction, event, delivery)?;
    if status == Status::Unprocessed.as_str() {
        return Ok(Ingested::Duplicate(event));
    }
    let is_meant_again = delivery.dedup_window.is_some_and(|window| {
        Timestamp::parse(&last_meant_at).is_some_and(|at| at.distance(delivery.received_at) > window)
    });
    if is_meant_again {
        events::reopen(transaction, event)?;
        let sql = "UPDATE provenance SET renewed_at = ?2 WHERE event_id = ?1";
        transaction.prepare_cached(sql)?.execute((event.0, delivery.received_at.to_string()))?;
        return Ok(Ingested::Replayed(event));
    }
    if status == Status::Error.as_str() && replay::requeue_failed(transaction, event)? {
        return Ok(Ingested::Requeued(event));
    }
    Ok(Ingested::Duplicate(event))
}

fn count_duplicate(transaction: &Transaction<'_>, event: EventId, delivery: &Delivery) -> Result<()> {
    let sql = "INSERT INTO provenance (event_id, duplicates) VALUES (?1, 1)
         ON CONFLICT (event_id) DO UPDATE SET duplicates = duplicates + 1";
    transaction.prepare_cached(sql)?.execute([event.0])?;
    counters::count_duplicate(transaction, &delivery.source, delivery.received_at)
}

/// The id under which to store content that came without one: that of its latest copy if that is recent, so that it is
/// recognised as a duplicate; otherwise the bare id, or, if that is taken, one with the time added.
fn id_within_window(transaction: &Transaction<'_>, delivery: &Delivery, id: &str) -> Result<String> {
    // `@` begins the added time; `A` is the character after it.
    let sql = "SELECT delivery_id, received_at FROM webhook_events
         WHERE source = ?1 AND (delivery_id = ?2 OR delivery_id >= ?2 || '@' AND delivery_id < ?2 || 'A')
         ORDER BY id DESC LIMIT 1";
    let columns = |row: &Row<'_>| Ok((string(row, 0)?, string(row, 1)?));
    let latest = transaction.prepare_cached(sql)?.query_row((&delivery.source, id), columns).optional()?;
    let Some((latest_id, received_at)) = latest else { return Ok(id.to_owned()) };
    let is_recent = Timestamp::parse(&received_at)
        .is_some_and(|received_at| received_at.distance(delivery.received_at) <= CONTENT_WINDOW);
    Ok(if is_recent { latest_id } else { format!("{id}@{}", delivery.received_at) })
}
