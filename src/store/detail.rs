//! Everything that is known of one event.

use rusqlite::{Connection, OptionalExtension, Result, Row};
use serde::Serialize;

use super::row::{bytes, string};
use super::summary::{SUMMARY, Summary};
use crate::event::EventId;

#[derive(Debug)]
pub struct Detail {
    pub summary: Summary,
    pub headers_json: String,
    pub payload_json: String,
    /// The exact bytes of the delivery, where `payload_json` is not them.
    pub body: Option<Vec<u8>>,
    pub jobs: Vec<JobDetail>,
}

#[derive(Debug, Serialize)]
pub struct JobDetail {
    pub action: String,
    pub state: String,
    /// The action is paused: the job waits until somebody resumes it.
    pub paused: bool,
    /// Until when the destination has asked to wait: no job of the action is begun before. It may be in the past.
    pub held_until_ms: Option<i64>,
    pub attempts: Vec<AttemptDetail>,
    pub last_error: Option<String>,
    pub due_at_ms: Option<i64>,
    /// Jobs of the action with the same key are done one after the other.
    pub key: Option<String>,
    /// The event for whose job of the same key this one waits.
    pub waits_for: Option<i64>,
    /// The event whose job has taken the place of this one.
    pub superseded_by: Option<i64>,
}

#[derive(Debug, Serialize)]
pub struct AttemptDetail {
    pub number: u32,
    pub started_at: String,
    /// Unknown where the process ended before the attempt did.
    pub duration_ms: Option<i64>,
    pub outcome: String,
    pub detail: String,
}

pub(super) fn read(connection: &Connection, id: EventId) -> Result<Option<Detail>> {
    let event = format!("SELECT {SUMMARY}, headers_json, payload_json, body FROM webhook_events WHERE id = ?1");
    let detail = |row: &Row<'_>| {
        Ok(Detail {
            summary: Summary::of(row)?,
            headers_json: string(row, 10)?,
            payload_json: string(row, 11)?,
            body: bytes(row, 12)?,
            jobs: Vec::new(),
        })
    };
    let Some(detail) = connection.query_row(&event, [id.0], detail).optional()? else { return Ok(None) };
    Ok(Some(Detail { jobs: jobs(connection, id)?, ..detail }))
}

fn jobs(connection: &Connection, event: EventId) -> Result<Vec<JobDetail>> {
    let mut statement = connection.prepare(
        "SELECT action, state, last_error, due_at_ms, superseded_by,
         EXISTS (SELECT 1 FROM paused WHERE paused.action = jobs.action),
         (SELECT until_ms FROM holds WHERE holds.action = jobs.action AND jobs.state = 'queued'), key,
         CASE WHEN state = 'queued' THEN coalesce(
             (SELECT event_id FROM jobs AS other WHERE state = 'running' AND action = jobs.action AND key = jobs.key),
             (SELECT event_id FROM jobs AS other WHERE state IN ('queued', 'running') AND action = jobs.action
              AND key = jobs.key AND event_id < jobs.event_id ORDER BY event_id LIMIT 1)) END
         FROM jobs WHERE event_id = ?1 ORDER BY action",
    )?;
    let job = |row: &Row<'_>| {
        Ok(JobDetail {
            action: row.get(0)?,
            state: row.get(1)?,
            last_error: row.get(2)?,
            due_at_ms: row.get(3)?,
            superseded_by: row.get(4)?,
            paused: row.get(5)?,
            held_until_ms: row.get(6)?,
            key: row.get(7)?,
            waits_for: row.get(8)?,
            attempts: Vec::new(),
        })
    };
    let mut jobs: Vec<JobDetail> = statement.query_map([event.0], job)?.collect::<Result<_>>()?;
    for job in &mut jobs {
        job.attempts = attempts(connection, event, &job.action)?;
    }
    Ok(jobs)
}

fn attempts(connection: &Connection, event: EventId, action: &str) -> Result<Vec<AttemptDetail>> {
    let mut statement = connection.prepare(
        "SELECT number, started_at, duration_ms, outcome, detail FROM attempts
         WHERE event_id = ?1 AND action = ?2 ORDER BY number",
    )?;
    let attempt = |row: &Row<'_>| {
        Ok(AttemptDetail {
            number: row.get(0)?,
            started_at: row.get(1)?,
            duration_ms: row.get(2)?,
            outcome: row.get(3)?,
            detail: row.get(4)?,
        })
    };
    statement.query_map((event.0, action), attempt)?.collect()
}
