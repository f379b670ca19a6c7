//! The rows of a list of events, and the filter that selects them.

use rusqlite::{CachedStatement, Connection, Result, Row};
use serde::Serialize;

use super::row::string;
use crate::clock::Timestamp;
use crate::event::{EventId, ShownStatus, Status};

/// The columns of a [`Summary`], in its order. The status is the one that is shown, [`ShownStatus`].
pub(super) const SUMMARY: &str = "id, source, event_type, delivery_id, \
    CASE WHEN status = 'processed' \
         AND EXISTS (SELECT 1 FROM jobs WHERE event_id = webhook_events.id AND state = 'cancelled') \
         AND NOT EXISTS (SELECT 1 FROM jobs WHERE event_id = webhook_events.id AND state = 'succeeded') \
    THEN 'cancelled' ELSE status END, \
    received_at, processed_at, duplicates, secret_position + 1, \
    EXISTS (SELECT 1 FROM taken WHERE event_id = webhook_events.id)";

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
    /// It came from the provider's API and not by a delivery.
    pub taken: bool,
    /// What its open jobs do or wait for, where that was asked for.
    pub note: Option<String>,
}

impl Summary {
    /// Reads the columns [`SUMMARY`], which are the first of the row.
    pub(super) fn of(row: &Row<'_>) -> Result<Summary> {
        Ok(Summary {
            id: row.get(0)?,
            source: string(row, 1)?,
            event: string(row, 2)?,
            delivery_id: string(row, 3)?,
            status: string(row, 4)?,
            received_at: string(row, 5)?,
            processed_at: Some(string(row, 6)?).filter(|at| !at.is_empty()),
            duplicates: row.get(7)?,
            secret: row.get(8)?,
            taken: row.get(9)?,
            note: None,
        })
    }

    /// A statement for the columns [`SUMMARY`] of the event with the id `?1`.
    pub(super) fn by_id(connection: &Connection) -> Result<CachedStatement<'_>> {
        connection.prepare_cached(&format!("SELECT {SUMMARY} FROM webhook_events WHERE id = ?1"))
    }
}

/// Conditions that an event has to meet, and how many to list; `None` is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub status: Option<ShownStatus>,
    /// Only those that are unprocessed or in error.
    pub is_unfinished: bool,
    pub source: Option<String>,
    pub event_type: Option<String>,
    /// Received then or later.
    pub since: Option<Timestamp>,
    /// Only smaller ids: the next page after the one that ended with this id.
    pub before: Option<EventId>,
    /// In the delivery id, the event type or the payload.
    pub text: Option<String>,
    pub limit: u32,
}

impl Filter {
    pub(super) fn of_status(status: Status) -> Filter {
        Filter { status: Some(status.into()), ..Filter::default() }
    }

    /// Whether an event passes, regardless of its id, its age and its payload.
    pub fn passes(&self, event: &Summary) -> bool {
        let is_unfinished = || [Status::Unprocessed, Status::Error].iter().any(|one| event.status == one.as_str());
        self.status.is_none_or(|status| event.status == status.as_str())
            && (!self.is_unfinished || is_unfinished())
            && self.source.as_ref().is_none_or(|source| event.source == *source)
            && self.event_type.as_ref().is_none_or(|event_type| event.event == *event_type)
    }

    /// Whether an event received then is young enough. A time in another form than ours has no known age.
    pub(super) fn is_since(&self, received_at: &str) -> bool {
        self.since.is_none_or(|since| Timestamp::parse(received_at).is_some_and(|at| at >= since))
    }

    /// The status in the database.
    pub(super) fn stored_status(&self) -> Option<&'static str> {
        self.status.map(|status| status.stored().as_str())
    }

    /// True if the index decides which events pass, and no row has to be read.
    pub(super) fn is_of_index(&self) -> bool {
        let is_exact = !matches!(self.status, Some(ShownStatus::Processed | ShownStatus::Cancelled));
        self.since.is_none() && self.text.is_none() && is_exact
    }

    /// True if every event passes, regardless of its id, its age and its payload.
    pub(super) fn passes_all(&self) -> bool {
        self.status.is_none() && !self.is_unfinished && self.source.is_none() && self.event_type.is_none()
    }
}
