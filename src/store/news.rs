//! Events about hookbox itself, stored in the transaction that causes them. They are routed like all others.

use rusqlite::{OptionalExtension, Result, Row, Transaction};
use serde_json::json;

use super::deliveries;
use super::row::string;
use crate::clock::Timestamp;
use crate::event::{Attempt, Delivery, DeliveryId, JOB_DEAD, NEWS_SOURCE};

/// Tells that a job is dead, unless its event is news itself: that could go on forever.
pub(super) fn job_dead(transaction: &Transaction<'_>, attempt: &Attempt, now: Timestamp) -> Result<()> {
    let job = &attempt.job;
    let sql = "SELECT source, event_type, delivery_id FROM webhook_events WHERE id = ?1";
    let event = |row: &Row<'_>| Ok([string(row, 0)?, string(row, 1)?, string(row, 2)?]);
    let event = transaction.prepare_cached(sql)?.query_row([job.event.0], event).optional()?;
    let Some([source, event_type, delivery_id]) = event else { return Ok(()) };
    if source == NEWS_SOURCE {
        return Ok(());
    }
    let payload = json!({
        "action": job.action,
        "error": attempt.detail,
        "attempts": job.attempt,
        "event": { "id": job.event.0, "source": source, "type": event_type, "delivery_id": delivery_id },
    });
    let delivery = Delivery {
        source: NEWS_SOURCE.to_owned(),
        event_type: JOB_DEAD.to_owned(),
        id: DeliveryId::Given(format!("{JOB_DEAD}/{}/{}/{}", job.event, job.action, job.attempt)),
        payload_json: payload.to_string(),
        body: None,
        headers_json: "{}".to_owned(),
        secret_position: None,
        dedup_window: None,
        body_digest: None,
        jobs: None,
        received_at: now,
    };
    deliveries::insert(transaction, &delivery, delivery.id.as_str()).map(drop)
}
