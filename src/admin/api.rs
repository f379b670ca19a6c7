//! The JSON API of the page and of other programs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::answer::{Answer, TEXT};
use super::config_view::ConfigView;
use super::health::{Health, HealthProbe};
use super::prometheus::{self, GateMetrics};
use crate::clock::{self, Timestamp};
use crate::current::Current;
use crate::event::{EventId, Status};
use crate::metrics::{Metrics, Reject, exposition};
use crate::route::Routing;
use crate::stop::Waker;
use crate::store::{self, Commands, Detail, Filter, HourStats, JobDetail, Reader, ReplayOptions, Stats, Summary};
use crate::units::parse_duration;

/// Events in a response: a screen of them, and the most that `limit` may be.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// A larger payload is unreadable in a browser, and a response must pass the gate.
const MAX_SHOWN_BYTES: usize = 256 * 1024;

/// Attempts of each job: each may have 4 KiB of output.
const MAX_ATTEMPTS: usize = 20;

/// What the API reads from, and acts on.
pub struct Api {
    pub reader: Reader,
    pub commands: Commands,
    pub metrics: Arc<Metrics>,
    pub traffic: GateMetrics,
    pub config_view: Current<ConfigView>,
    pub health: HealthProbe,
    pub started_at: Timestamp,
    /// Its workers are woken when jobs were queued.
    pub routing: Current<Routing>,
    pub router: Waker,
}

/// `/api/events`
#[derive(Serialize)]
struct Events {
    /// The newest first.
    events: Vec<Summary>,
    /// Whether there are older ones.
    more: bool,
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
}

/// `/api/stats`
#[derive(Serialize)]
struct Overview<'a> {
    version: &'static str,
    started_at: String,
    health: Health,
    #[serde(flatten)]
    config_view: &'a ConfigView,
    stats: &'a Stats,
    hours: Vec<FullHour>,
    /// By source, since the start.
    rejected: BTreeMap<String, u64>,
    rejects: Vec<Reject>,
}

#[derive(Serialize)]
struct FullHour {
    #[serde(flatten)]
    hour: HourStats,
    /// Since the start.
    rejected: u64,
}

/// The result of a change.
#[derive(Serialize)]
struct Change {
    changed: bool,
}

impl Api {
    pub fn events(&self, query: &str, has: Option<&str>) -> Answer {
        let filter = match filter(query) {
            Ok(filter) => filter,
            Err(line) => return Answer::line(400, &line),
        };
        // One more than asked for, to tell whether there are more.
        let wanted = filter.limit as usize;
        let listed = self.reader.list(&Filter { limit: filter.limit + 1, ..filter });
        answered(listed, |mut events| {
            let more = events.len() > wanted;
            events.truncate(wanted);
            Answer::json(&Events { events, more }).tagged(has)
        })
    }

    pub fn event(&self, id: i64, has: Option<&str>) -> Answer {
        answered(self.reader.detail(EventId(id)), |detail| match detail {
            Some(mut detail) => event_answer(&mut detail).tagged(has),
            None => Answer::not_found(),
        })
    }

    pub fn stats(&mut self, has: Option<&str>) -> Answer {
        let now = clock::now();
        let health = self.health.check();
        let read = self.reader.stats().and_then(|stats| Ok((stats, self.reader.hours(now)?)));
        answered(read, |(stats, hours)| {
            let full = |hour: HourStats| {
                let rejected = Timestamp::parse(&hour.hour).map_or(0, |at| self.metrics.hours.get(at));
                FullHour { hour, rejected }
            };
            let sources = self.metrics.sources();
            let overview = Overview {
                version: env!("CARGO_PKG_VERSION"),
                started_at: self.started_at.to_string(),
                health,
                config_view: &self.config_view.get(),
                stats: &stats,
                hours: hours.into_iter().map(full).collect(),
                rejected: sources.into_iter().map(|(name, counts)| (name, counts.rejects.total())).collect(),
                rejects: self.metrics.rejects.latest(),
            };
            Answer::json(&overview).tagged(has)
        })
    }

    pub fn health(&mut self) -> Answer {
        let health = self.health.check();
        Answer::line(if health.is_well { 200 } else { 503 }, &health.line)
    }

    pub fn metrics(&mut self) -> Answer {
        let is_well = self.health.check().is_well;
        answered(self.reader.stats(), |stats| {
            let readings = prometheus::Readings {
                metrics: &self.metrics,
                traffic: &self.traffic,
                stats: &stats,
                is_well,
                disk_reserve_bytes: self.config_view.get().disk_reserve_bytes(),
                started_at: self.started_at,
            };
            Answer::new(200, exposition::CONTENT_TYPE, prometheus::page(&readings))
        })
    }

    pub fn replay(&mut self, id: i64, query: &str) -> Answer {
        let action = argument(query, "action");
        let options = ReplayOptions { action: action.as_deref(), ..ReplayOptions::default() };
        let replayed = self.commands.replay(&[EventId(id)], &options);
        self.changed(id, replayed.map(|opened| opened > 0), "there is nothing to do again")
    }

    pub fn cancel(&mut self, id: i64, query: &str) -> Answer {
        let action = argument(query, "action");
        let cancelled = self.commands.cancel(&[EventId(id)], action.as_deref(), clock::now());
        self.changed(id, cancelled.map(|events| events > 0), "there is no open job")
    }

    pub fn pause(&mut self, action: &str) -> Answer {
        if !self.config_view.get().has_action(action) {
            return Answer::not_found();
        }
        answered(self.commands.pause(action, clock::now()), |changed| Answer::json(&Change { changed }))
    }

    pub fn resume(&mut self, action: &str) -> Answer {
        let resumed = self.commands.resume(action);
        self.wake();
        answered(resumed, |changed| Answer::json(&Change { changed }))
    }

    fn changed(&self, id: i64, changed: store::Result<bool>, otherwise: &str) -> Answer {
        self.wake();
        answered(changed, |changed| match changed {
            true => Answer::json(&Change { changed }),
            false => answered(self.reader.event(EventId(id)), |event| match event {
                Some(_) => Answer::line(409, otherwise),
                None => Answer::not_found(),
            }),
        })
    }

    fn wake(&self) {
        self.router.wake();
        self.routing.get().workers.iter().for_each(Waker::wake);
    }
}

fn answered<T>(result: store::Result<T>, answer: impl FnOnce(T) -> Answer) -> Answer {
    match result {
        Ok(value) => answer(value),
        Err(error) => Answer::new(503, TEXT, format!("{error}\n")),
    }
}

fn event_answer(detail: &mut Detail) -> Answer {
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
    })
}

/// Parses the query of `/api/events`. An empty value, which a form sends, is no filter.
fn filter(query: &str) -> Result<Filter, String> {
    let mut filter = Filter { limit: DEFAULT_LIMIT, ..Filter::default() };
    for (name, value) in form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty()) {
        let number = || value.parse().map_err(|_| format!("{name} is a number"));
        match name.as_ref() {
            "status" => {
                let status = Status::parse(&value).ok_or("status is unprocessed, processed or error")?;
                filter.status = Some(status);
            }
            "source" => filter.source = Some(value.into_owned()),
            "event" => filter.event_type = Some(value.into_owned()),
            "since" => {
                let ago = parse_duration(&value).map_err(|error| format!("since: {error}"))?;
                filter.since = Some(clock::now().minus(ago));
            }
            "before" => filter.before = Some(EventId(number()?)),
            "limit" => filter.limit = u32::try_from(number()?.clamp(1, i64::from(MAX_LIMIT))).unwrap_or(DEFAULT_LIMIT),
            _ => return Err(format!("unknown: {name}; known: status, source, event, since, before, limit")),
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_filter_is_parsed_from_a_forms_query() {
        let read = filter("status=error&source=a%20b&event=&before=7&limit=9999").unwrap();
        assert_eq!((read.status, read.source.as_deref()), (Some(Status::Error), Some("a b")));
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
