//! The JSON API of the page and of other programs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::answer::Answer;
use super::bulk;
use super::config_view::{self, ActionView, SourceView};
use super::prometheus::{self, GateMetrics};
use crate::action::{Exclusion, exclusions};
use crate::ask;
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::current::Current;
use crate::event::{EventId, ShownStatus};
use crate::listen::LocalAddress;
use crate::metrics::{Metrics, Reject, exposition};
use crate::route::Routing;
use crate::stop::Waker;
use crate::store::{Commands, Detail, Filter, HourStats, JobDetail, Reader, RunningJobs, Stats, Summary};
use crate::units::parse_duration;

/// Events in a response: a screen of them, and the most that `limit` may be.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// A larger payload is unreadable in a browser, and a response must pass the gate.
const MAX_SHOWN_BYTES: usize = 256 * 1024;

/// Attempts of each job: each may have 4 KiB of output.
const MAX_ATTEMPTS: usize = 20;

/// Longer than the second after which the receiver reports that another program holds the lock.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// The parts of the service that the API reads and changes.
pub struct Api {
    pub reader: Reader,
    pub commands: Commands,
    pub metrics: Arc<Metrics>,
    pub traffic: GateMetrics,
    pub config: Current<Config>,
    /// The public listener, which is asked for its health.
    pub local_address: LocalAddress,
    pub started_at: Timestamp,
    /// Its workers are woken when jobs were queued.
    pub routing: Current<Routing>,
    pub router: Waker,
    pub running_jobs: RunningJobs,
}

/// `/api/events/{id}`
#[derive(Serialize)]
struct Event<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    headers_json: &'a str,
    /// `None` where it is larger than [`MAX_SHOWN_BYTES`].
    payload_json: Option<&'a str>,
    payload_bytes: usize,
    /// The exact body of the delivery, where the payload is not that.
    body: Option<Cow<'a, str>>,
    jobs: &'a [JobDetail],
    /// The actions that have no job for it, and why.
    not_for: Vec<Exclusion>,
}

/// `/api/stats`
#[derive(Serialize)]
struct Overview<'a> {
    version: &'static str,
    started_at: String,
    health: Health,
    sources: Vec<SourceView>,
    actions: Vec<ActionView>,
    disk_reserve_bytes: u64,
    stats: &'a Stats,
    hours: Vec<FullHour>,
    /// By source, since the start.
    rejected: BTreeMap<String, u64>,
    /// The same by reason, and also those that match no source (`""`), which the gate may have refused.
    reject_reasons: BTreeMap<String, BTreeMap<&'static str, u64>>,
    rejects: Vec<Reject>,
}

#[derive(Serialize)]
struct FullHour {
    #[serde(flatten)]
    hour: HourStats,
    rejected: u64,
}

/// The receiver's answer to `GET /healthz`.
#[derive(Serialize)]
struct Health {
    is_well: bool,
    /// `ok`, or the problem.
    line: String,
}

impl Api {
    /// The newest events that pass the filter, and whether there are older ones.
    pub fn events(&self, query: &str, known_tag: Option<&str>) -> Result<Answer, Answer> {
        let filter = filter(query).map_err(|line| Answer::line(400, &line))?;
        // One more than asked for, to tell whether there are more.
        let wanted = filter.limit as usize;
        // Before: a job that ends meanwhile is then described as it is after that.
        let server = self.running_jobs.all();
        let mut listed = self.reader.list(&Filter { limit: filter.limit + 1, ..filter })?;
        let more = listed.events.len() > wanted;
        listed.events.truncate(wanted);
        self.reader.add_notes(&mut listed.events, &server, clock::now())?;
        let searched_to = listed.searched_to.map(|id| id.0);
        let answer = json!({ "events": listed.events, "more": more, "searched_to": searched_to });
        Ok(Answer::json(&answer).tagged(known_tag))
    }

    pub fn event(&self, id: i64, known_tag: Option<&str>) -> Result<Answer, Answer> {
        let server = self.running_jobs.all();
        let mut detail = self.reader.detail(EventId(id))?.ok_or_else(Answer::not_found)?;
        detail.describe(&server, clock::now());
        let not_for = self.not_for(&detail)?;
        Ok(event_answer(&mut detail, not_for).tagged(known_tag))
    }

    /// None for a payload that is too large to be shown: reading it for a condition would delay other answers.
    fn not_for(&self, detail: &Detail) -> Result<Vec<Exclusion>, Answer> {
        if detail.payload_json.len() > MAX_SHOWN_BYTES {
            return Ok(Vec::new());
        }
        let event = self.reader.event(EventId(detail.summary.id))?.ok_or_else(Answer::not_found)?;
        let has_job = |action: &str| detail.jobs.iter().any(|job| job.action == action);
        Ok(exclusions(self.config.get().actions.values(), &event, has_job))
    }

    /// The jobs that are under way, and whose: the command that asks may have another database.
    pub fn running(&self) -> Answer {
        Answer::json(&json!({ "pid": std::process::id(), "jobs": self.running_jobs.all().running }))
    }

    pub fn stats(&self, known_tag: Option<&str>) -> Result<Answer, Answer> {
        let full = |hour: HourStats| {
            let rejected = Timestamp::parse(&hour.hour).map_or(0, |at| self.metrics.hours.get(at));
            FullHour { hour, rejected }
        };
        let (config, counts) = (self.config.get(), self.metrics.sources());
        let overview = Overview {
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.started_at.to_string(),
            health: self.check_health(),
            sources: config_view::sources(&config),
            actions: config_view::actions(&config),
            disk_reserve_bytes: config.disk_reserve_bytes,
            stats: &self.reader.stats()?,
            hours: self.reader.hours(clock::now())?.into_iter().map(full).collect(),
            rejected: counts.iter().map(|(name, counts)| (name.clone(), counts.rejects.total())).collect(),
            reject_reasons: self.metrics.reject_reasons(),
            rejects: self.metrics.rejects.latest(),
        };
        Ok(Answer::json(&overview).tagged(known_tag))
    }

    pub fn health(&self) -> Answer {
        let health = self.check_health();
        Answer::line(if health.is_well { 200 } else { 503 }, &health.line)
    }

    pub fn metrics(&self) -> Result<Answer, Answer> {
        let (stats, is_well) = (self.reader.stats()?, self.check_health().is_well);
        let reserve_bytes = self.config.get().disk_reserve_bytes;
        let page = prometheus::page(&self.metrics, &self.traffic, &stats, is_well, reserve_bytes, self.started_at);
        Ok(Answer::new(200, exposition::CONTENT_TYPE, page))
    }

    pub fn replay(&mut self, id: i64, query: &str) -> Result<Answer, Answer> {
        let (replay, rest) = bulk::Replay::of(query)?;
        if !rest.is_empty() {
            return Err(Answer::line(400, "known: action, scope"));
        }
        let replayed = self.commands.replay(&[EventId(id)], &replay.options(), clock::now())?;
        let Some(replayed) = replayed.into_iter().next() else {
            return self.changed(id, false, "no job is dead or waits for a retry");
        };
        let text = replayed.text(false, "");
        if !replayed.is_change() {
            return self.changed(id, false, &text);
        }
        self.wake();
        Ok(Answer::json(&json!({ "changed": true, "text": text, "jobs": replayed.jobs })))
    }

    /// Replays the events of a filter, the newest first, for a moment: the answer says where to go on.
    pub fn replay_all(&mut self, query: &str) -> Result<Answer, Answer> {
        let (replay, rest) = bulk::Replay::of(query)?;
        let filter = filter(&rest).map_err(|line| Answer::line(400, &line))?;
        let answer = replay.run(&mut self.commands, &self.reader, filter)?;
        self.wake();
        Ok(answer)
    }

    pub fn cancel(&mut self, id: i64, query: &str) -> Result<Answer, Answer> {
        let action = argument(query, "action");
        let cancelled = self.commands.cancel(&[EventId(id)], action.as_deref(), clock::now())?;
        self.changed(id, cancelled.iter().any(|event| event.jobs > 0), "there is no open job")
    }

    /// Cancels what is open of the events of a filter, for a moment: the answer says where to go on.
    pub fn cancel_all(&mut self, query: &str) -> Result<Answer, Answer> {
        let (action, rest) = bulk::take_parameter(query, "action");
        if form_urlencoded::parse(rest.as_bytes()).all(|(_, value)| value.is_empty()) {
            return Err(Answer::line(400, "give a filter: what is open of all events is not cancelled at once"));
        }
        let filter = filter(&rest).map_err(|line| Answer::line(400, &line))?;
        let answer = bulk::cancel(&mut self.commands, &self.reader, filter, action.as_deref())?;
        self.wake();
        Ok(answer)
    }

    pub fn pause(&mut self, action: &str) -> Result<Answer, Answer> {
        if !self.config.get().actions.contains_key(action) {
            return Err(Answer::not_found());
        }
        let changed = self.commands.pause(action, clock::now())?;
        Ok(Answer::json(&json!({ "changed": changed })))
    }

    pub fn resume(&mut self, action: &str) -> Result<Answer, Answer> {
        let changed = self.commands.resume(action, clock::now())?;
        self.wake();
        Ok(Answer::json(&json!({ "changed": changed })))
    }

    fn changed(&self, id: i64, changed: bool, otherwise: &str) -> Result<Answer, Answer> {
        if changed {
            self.wake();
            return Ok(Answer::json(&json!({ "changed": changed })));
        }
        self.reader.event(EventId(id))?.ok_or_else(Answer::not_found)?;
        Err(Answer::line(409, otherwise))
    }

    fn wake(&self) {
        self.router.wake();
        self.routing.get().workers.wake_all();
    }

    /// Asks at the public address, as a sender would.
    fn check_health(&self) -> Health {
        match ask::health(&self.local_address, HEALTH_TIMEOUT) {
            Ok(response) => Health { is_well: response.status == 200, line: response.line() },
            Err(error) => Health { is_well: false, line: format!("the receiver does not answer: {error}") },
        }
    }
}

fn event_answer(detail: &mut Detail, not_for: Vec<Exclusion>) -> Answer {
    for job in &mut detail.jobs {
        let left_out = job.attempts.len().saturating_sub(MAX_ATTEMPTS);
        job.attempts.drain(..left_out);
    }
    let body = detail.body.as_deref().filter(|body| body.len() <= MAX_SHOWN_BYTES).map(String::from_utf8_lossy);
    Answer::json(&Event {
        summary: &detail.summary,
        headers_json: &detail.headers_json,
        payload_json: Some(detail.payload_json.as_str()).filter(|payload| payload.len() <= MAX_SHOWN_BYTES),
        payload_bytes: detail.body.as_ref().map_or(detail.payload_json.len(), Vec::len),
        body,
        jobs: &detail.jobs,
        not_for,
    })
}

/// Parses the query of `/api/events`. An empty value, which a form sends, is no filter.
fn filter(query: &str) -> Result<Filter, String> {
    let mut filter = Filter { limit: DEFAULT_LIMIT, ..Filter::default() };
    for (name, value) in form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty()) {
        let number = || value.parse().map_err(|_| format!("{name} is a number"));
        match name.as_ref() {
            "status" => {
                let status =
                    ShownStatus::parse(&value).ok_or("status is unprocessed, processed, cancelled or error")?;
                filter.status = Some(status);
            }
            "source" => filter.source = Some(value.into_owned()),
            "event" => filter.event_type = Some(value.into_owned()),
            "since" => {
                let ago = parse_duration(&value).map_err(|error| format!("since: {error}"))?;
                filter.since = Some(clock::now().minus(ago));
            }
            "grep" => filter.text = Some(value.into_owned()),
            "before" => filter.before = Some(EventId(number()?)),
            "limit" => filter.limit = u32::try_from(number()?.clamp(1, i64::from(MAX_LIMIT))).unwrap_or(DEFAULT_LIMIT),
            _ => return Err(format!("unknown: {name}; known: status, source, event, since, grep, before, limit")),
        }
    }
    Ok(filter)
}

fn argument(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_parsed_from_a_forms_query() {
        let read = filter("status=error&source=a%20b&event=&before=7&limit=9999").unwrap();
        assert_eq!((read.status, read.source.as_deref()), (Some(ShownStatus::Error), Some("a b")));
        assert_eq!((read.event_type, read.before, read.limit), (None, Some(EventId(7)), MAX_LIMIT));
        assert_eq!(filter("").unwrap().limit, DEFAULT_LIMIT);
        let day_ago = clock::now().minus(Duration::from_secs(24 * 60 * 60));
        assert!(filter("since=1d").unwrap().since.unwrap().distance(day_ago) < Duration::from_secs(60));
    }

    #[test]
    fn an_invalid_filter_is_refused() {
        for query in ["status=odd", "since=2", "before=x", "limit=1.5", "stat=error"] {
            assert!(filter(query).is_err(), "{query}");
        }
    }
}
