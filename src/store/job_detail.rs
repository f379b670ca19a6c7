//! The jobs of events: what each does or waits for, in the words that `show`, `list`, the page and the API share.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, Result, Row};
use serde::Serialize;

use super::claims::ServerJobs;
use super::summary::Summary;
use crate::clock::Timestamp;
use crate::event::{EventId, Status};
use crate::text::one_line;
use crate::units::age_text;

/// The columns of a [`JobDetail`].
const JOB: &str = "event_id, action, state, last_error, due_at_ms, superseded_by,
     EXISTS (SELECT 1 FROM paused WHERE paused.action = jobs.action),
     (SELECT until_ms FROM holds WHERE holds.action = jobs.action AND jobs.state = 'queued'), key,
     CASE WHEN state = 'queued' AND key IS NOT NULL THEN coalesce(
         (SELECT event_id FROM jobs AS other WHERE state = 'running' AND action = jobs.action AND key = jobs.key),
         (SELECT event_id FROM jobs AS other WHERE state IN ('queued', 'running') AND action = jobs.action
          AND key = jobs.key AND event_id < jobs.event_id ORDER BY event_id LIMIT 1)) END,
     CASE WHEN state = 'running' THEN started_at END";

/// Events whose jobs are read by one statement.
const EVENTS_AT_ONCE: usize = 1000;

/// Jobs that a note names. It stands in one line.
const MAX_NOTED: usize = 3;

/// In a note, a time within this is one of today.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Serialize)]
pub struct JobDetail {
    pub action: String,
    pub state: String,
    /// The state in words, and until when it waits, or for what.
    pub text: String,
    /// While an attempt is under way.
    pub running_since: Option<String>,
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

/// What a job does, or waits for.
enum Doing<'a> {
    Running {
        since: Timestamp,
    },
    /// No process makes the attempt any more.
    BrokenOff,
    /// A job of this event, with the same key, is done first.
    Behind(i64),
    Paused,
    /// Its destination asks to wait.
    Held {
        until: Timestamp,
        answer: &'a str,
    },
    Later(Timestamp),
    Superseded(i64),
    Other(&'a str),
}

/// All jobs of an event, with their attempts.
pub(super) fn of_event(connection: &Connection, event: EventId) -> Result<Vec<JobDetail>> {
    let sql = format!("SELECT {JOB} FROM jobs WHERE event_id = ?1 ORDER BY action");
    let mut statement = connection.prepare(&sql)?;
    let mut jobs: Vec<JobDetail> = statement.query_map([event.0], job)?.collect::<Result<_>>()?;
    for job in &mut jobs {
        job.attempts = attempts(connection, event, &job.action)?;
    }
    Ok(jobs)
}

/// Notes what the open jobs of each event do or wait for. `server` is what its server says of them.
pub(super) fn add_notes(
    connection: &Connection,
    events: &mut [Summary],
    server: &ServerJobs,
    now: Timestamp,
) -> Result<()> {
    let sql = format!(
        "SELECT {JOB} FROM jobs WHERE event_id IN (SELECT value FROM json_each(?1)) AND state IN ('queued', 'running')
         ORDER BY event_id, action"
    );
    let mut statement = connection.prepare(&sql)?;
    // Others have no open job.
    let mut open: Vec<_> = events.iter_mut().filter(|event| event.status == Status::Unprocessed.as_str()).collect();
    for events in open.chunks_mut(EVENTS_AT_ONCE) {
        let ids = serde_json::json!(events.iter().map(|event| event.id).collect::<Vec<_>>()).to_string();
        let mut jobs: BTreeMap<i64, Vec<JobDetail>> = BTreeMap::new();
        let mut rows = statement.query([ids])?;
        while let Some(row) = rows.next()? {
            let (event, mut job): (i64, _) = (row.get(0)?, job(row)?);
            job.describe(event, server, now);
            jobs.entry(event).or_default().push(job);
        }
        for event in events {
            event.note = jobs.get(&event.id).and_then(|jobs| note(jobs, now));
        }
    }
    Ok(())
}

/// What the jobs of one event do or wait for, in a few words; `None` where there is nothing to say of them.
pub(super) fn note(jobs: &[JobDetail], now: Timestamp) -> Option<String> {
    let noted = jobs.iter().filter_map(|job| Some(format!("{}: {}", job.action, job.doing(now).note(now)?)));
    let noted: Vec<String> = noted.collect();
    let left = noted.len().saturating_sub(MAX_NOTED);
    let shown = noted[..noted.len() - left].join("; ");
    match (noted.is_empty(), left) {
        (true, _) => None,
        (false, 0) => Some(shown),
        (false, left) => Some(format!("{shown}; {left} more")),
    }
}

fn job(row: &Row<'_>) -> Result<JobDetail> {
    Ok(JobDetail {
        action: row.get(1)?,
        state: row.get(2)?,
        text: String::new(),
        running_since: row.get(10)?,
        last_error: row.get(3)?,
        due_at_ms: row.get(4)?,
        superseded_by: row.get(5)?,
        paused: row.get(6)?,
        held_until_ms: row.get(7)?,
        key: row.get(8)?,
        waits_for: row.get(9)?,
        attempts: Vec::new(),
    })
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

impl JobDetail {
    pub(super) fn describe(&mut self, event: i64, server: &ServerJobs, now: Timestamp) {
        let running = server.running.iter().find(|job| job.event == event && job.action == self.action);
        // A job that was cancelled during its attempt stays cancelled.
        if let Some(job) = running.filter(|_| self.state == "queued") {
            self.state = "running".to_owned();
            self.running_since = Some(job.since.clone());
        }
        if !server.is_served {
            self.running_since = None;
        }
        self.text = self.doing(now).text(now);
    }

    fn doing(&self, now: Timestamp) -> Doing<'_> {
        let later = |at_ms: Option<i64>| at_ms.map(Timestamp::from_unix_ms).filter(|at| *at > now);
        let superseded_by = self.superseded_by.filter(|_| self.state == "superseded");
        let since = self.running_since.as_deref().and_then(Timestamp::parse);
        if let (Some(since), "running") = (since, self.state.as_str()) {
            return Doing::Running { since };
        }
        match (superseded_by, self.state.as_str(), self.waits_for) {
            (Some(event), ..) => return Doing::Superseded(event),
            (_, "queued", _) if self.paused => return Doing::Paused,
            (_, "queued", Some(event)) => return Doing::Behind(event),
            (_, "queued", None) => {}
            (_, "running", _) => return Doing::BrokenOff,
            (_, state, _) => return Doing::Other(state),
        }
        match (later(self.due_at_ms), later(self.held_until_ms)) {
            (due, Some(until)) if due.is_none_or(|due| due <= until) => {
                Doing::Held { until, answer: self.last_error.as_deref().unwrap_or_default() }
            }
            (Some(due), _) => Doing::Later(due),
            (None, _) => Doing::Other("queued"),
        }
    }
}

impl Doing<'_> {
    fn text(&self, now: Timestamp) -> String {
        match self {
            Doing::Running { since } => format!("running for {}", age_text(since.distance(now))),
            Doing::BrokenOff => "broken off when hookbox ended: hookbox serve tries it again".to_owned(),
            Doing::Behind(event) => format!("queued, waits for event {event} (same key)"),
            Doing::Paused => "queued, paused".to_owned(),
            Doing::Held { until, answer } => {
                let answer = answer.lines().next().map_or(String::new(), |line| format!(": {}", one_line(line)));
                format!("queued, its destination asks to wait until {until}{answer}")
            }
            Doing::Later(due) => format!("queued until {due}"),
            Doing::Superseded(event) => format!("superseded by event {event}"),
            Doing::Other(state) => (*state).to_owned(),
        }
    }

    /// Shorter, for one line of a list.
    fn note(&self, now: Timestamp) -> Option<String> {
        match self {
            Doing::Running { .. } => Some(self.text(now)),
            Doing::BrokenOff => Some("broken off".to_owned()),
            Doing::Behind(event) => Some(format!("waits for event {event}")),
            Doing::Paused => Some("paused".to_owned()),
            Doing::Held { until, .. } => Some(format!("asked to wait until {}", short_time(*until, now))),
            Doing::Later(due) => Some(format!("queued until {}", short_time(*due, now))),
            Doing::Superseded(_) | Doing::Other(_) => None,
        }
    }
}

/// `12:00:00`, with its date where that is not near.
fn short_time(at: Timestamp, now: Timestamp) -> String {
    let text = at.to_string();
    let (date, time) = (&text[.."2025-01-31".len()], &text["2025-01-31T".len().."2025-01-31T12:00:00".len()]);
    if at.distance(now) < DAY { format!("{time} UTC") } else { format!("{date} {time} UTC") }
}
