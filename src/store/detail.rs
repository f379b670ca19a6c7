//! Everything that is known of one event.

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::claims::ServerJobs;
use super::job_detail::{self, JobDetail};
use super::row::{bytes, string};
use super::summary::{SUMMARY, Summary};
use crate::clock::Timestamp;
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

impl Detail {
    /// Says in words what its jobs do or wait for. `server` is what its server says of them.
    pub fn describe(&mut self, server: &ServerJobs, now: Timestamp) {
        let event = self.summary.id;
        self.jobs.iter_mut().for_each(|job| job.describe(event, server, now));
        self.summary.note = job_detail::note(&self.jobs, now);
    }
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
    Ok(Some(Detail { jobs: job_detail::of_event(connection, id)?, ..detail }))
}
