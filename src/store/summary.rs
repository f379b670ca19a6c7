//! A line of a list of events.

use rusqlite::{CachedStatement, Connection, Result, Row};
use serde::Serialize;

use super::row::string;

/// The columns of a [`Summary`], in its order.
pub(super) const SUMMARY: &str = "id, source, event_type, delivery_id, status, received_at, processed_at, \
                                  coalesce(duplicates, 0), secret_position + 1";

/// Events, and how they came in.
pub(super) const EVENTS: &str = "webhook_events LEFT JOIN provenance ON event_id = id";

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
        })
    }

    /// A statement for the columns [`SUMMARY`] of the event with the id `?1`.
    pub(super) fn by_id(connection: &Connection) -> Result<CachedStatement<'_>> {
        connection.prepare_cached(&format!("SELECT {SUMMARY} FROM {EVENTS} WHERE id = ?1"))
    }
}
