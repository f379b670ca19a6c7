//! `hookbox stats`: counts by source and action, and how long the oldest have waited.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;

use super::table::{self, Screen, one_line};
use super::{Failure, json, page};
use crate::ask::{Response, get};
use crate::clock;
use crate::config::Config;
use crate::listen::LocalAddress;
use crate::secret::Env;
use crate::store::{ActionStats, HourStats, Reader, SourceStats, Stats};
use crate::units::round_size_text;

/// The server is on this machine, and a person waits.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Counts that only the running server has, read from its admin listener.
#[derive(Debug, Default)]
struct Running {
    /// Counts by source.
    rejected: Value,
    /// The latest, each with its reason.
    rejects: Value,
}

pub(super) fn run(config: &Config, as_json: bool, env: &Env<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let reader = Reader::open(&config.database)?;
    let (stats, hours) = (reader.stats()?, reader.hours(clock::now())?);
    let running = ask_server(config, env);
    if as_json {
        // `null` where the server cannot be asked.
        let Running { rejected, rejects } = running.unwrap_or_default();
        let mut object = serde_json::json!(stats);
        object["hours"] = serde_json::json!(hours);
        object["rejected"] = rejected;
        object["rejects"] = rejects;
        return Ok(writeln!(out, "{}", json::one_line(&object.to_string()))?);
    }
    let screen = Screen::of_stdout();
    write_sources(out, screen, config, &stats)?;
    write_actions(out, screen, config, &stats)?;
    write_rest(out, screen, config, &stats, &hours)?;
    Ok(write_rejects(out, running)?)
}

/// Configured sources, and others that have events.
fn write_sources(out: &mut dyn Write, screen: Screen, config: &Config, stats: &Stats) -> io::Result<()> {
    let header = ["SOURCE", "RECEIVED", "DUPLICATES", "PENDING", "ERROR", "OLDEST PENDING", "LAST RECEIVED (UTC)"];
    let mut rows = vec![header.map(str::to_owned)];
    let quiet = config.sources.keys().filter(|name| stats.sources.iter().all(|source| source.source != **name));
    let quiet: Vec<_> = quiet.map(|name| SourceStats { source: name.clone(), ..SourceStats::default() }).collect();
    for source in stats.sources.iter().chain(&quiet) {
        let name = noted(&source.source, config.sources.contains_key(&source.source), false);
        let numbers = [source.received, source.duplicates, source.events.unprocessed, source.events.error];
        let [received, duplicates, pending, failed] = numbers.map(|count| count.to_string());
        let [oldest, latest] = [&source.oldest_unprocessed, &source.last_received].map(|at| time(at.as_deref()));
        rows.push([name, received, duplicates, pending, failed, oldest, latest]);
    }
    table::write(out, screen, &rows)
}

fn write_actions(out: &mut dyn Write, screen: Screen, config: &Config, stats: &Stats) -> io::Result<()> {
    let header = ["ACTION", "PENDING", "DEAD", "SUCCEEDED", "CANCELLED", "OLDEST PENDING (UTC)"];
    let mut rows = vec![header.map(str::to_owned)];
    let idle = config.actions.keys().filter(|name| stats.actions.iter().all(|action| action.action != **name));
    let idle: Vec<_> = idle.map(|name| ActionStats { action: name.clone(), ..ActionStats::default() }).collect();
    for action in stats.actions.iter().chain(&idle) {
        let name = noted(&action.action, config.actions.contains_key(&action.action), action.paused);
        let numbers = [action.pending, action.dead, action.succeeded, action.cancelled];
        let [pending, dead, succeeded, cancelled] = numbers.map(|count| count.to_string());
        rows.push([name, pending, dead, succeeded, cancelled, time(action.oldest_pending.as_deref())]);
    }
    writeln!(out)?;
    table::write(out, screen, &rows)
}

fn write_rest(
    out: &mut dyn Write,
    screen: Screen,
    config: &Config,
    stats: &Stats,
    hours: &[HourStats],
) -> io::Result<()> {
    let events = &stats.events;
    let sum = |count: fn(&HourStats) -> i64| hours.iter().map(count).sum::<i64>();
    let (received, duplicates, failed) = (sum(|it| it.received), sum(|it| it.duplicates), sum(|it| it.failed));
    let sizes = &stats.sizes;
    let free = sizes.disk_free_bytes.map_or("unknown".to_owned(), round_size_text);
    let [database, reusable, wal] = [sizes.database_bytes, sizes.reusable_bytes, sizes.wal_bytes].map(round_size_text);
    let (unprocessed, processed, error) = (events.unprocessed, events.processed, events.error);
    let rows = [
        ["events", &format!("{unprocessed} unprocessed, {processed} processed, {error} in error")],
        ["last 24 hours", &format!("{received} received, {duplicates} duplicates, {failed} failed")],
        ["database", &config.database.display().to_string()],
        ["size", &format!("{database}, of which {reusable} can be used again; WAL {wal}; free on the disk {free}")],
    ];
    writeln!(out)?;
    table::write(out, Screen { columns: None, ..screen }, &rows.map(|row| row.map(one_line)))
}

/// Rejects are not stored: only the server knows them.
fn write_rejects(out: &mut dyn Write, running: Result<Running, String>) -> io::Result<()> {
    let running = match running {
        Ok(running) => running,
        Err(why) => return writeln!(out, "rejected: unknown, {}", one_line(&why)),
    };
    let counts = running.counts();
    if counts.is_empty() {
        return writeln!(out, "rejected: none since the server started");
    }
    let counts: Vec<String> = counts.iter().map(|(source, count)| format!("{source} {count}")).collect();
    writeln!(out, "rejected since the server started: {}", one_line(&counts.join(", ")))?;
    running.reasons().iter().try_for_each(|reason| writeln!(out, "  {}", one_line(reason)))
}

fn noted(name: &str, is_configured: bool, is_paused: bool) -> String {
    let note = match (is_paused, is_configured) {
        (false, true) => "",
        (true, true) => " (paused)",
        (false, false) => " (not configured)",
        (true, false) => " (paused, not configured)",
    };
    one_line(name) + note
}

fn time(at: Option<&str>) -> String {
    at.map_or("-".to_owned(), |at| one_line(&table::time(at)))
}

/// Asks the server of this config. `Err` is the reason why the counts are unknown.
fn ask_server(config: &Config, env: &Env<'_>) -> Result<Running, String> {
    let Some(place) = config.admin.listen.place() else {
        return Err("there is no admin listener ([admin] listen is off)".to_owned());
    };
    let token = page::token(config, env)?;
    let response = LocalAddress::of(&place).and_then(|address| get(&address, "/api/stats", token.as_ref(), TIMEOUT));
    let overview = response.map_err(|error| error.to_string()).and_then(|response| overview(&response));
    let mut overview = overview.map_err(|why| format!("no answer from the admin listener at {place} ({why})"))?;
    if !is_of(&overview, config) {
        return Err(format!("the admin listener at {place} is that of another configuration"));
    }
    Ok(Running { rejected: overview["rejected"].take(), rejects: overview["rejects"].take() })
}

fn overview(response: &Response) -> Result<Value, String> {
    match response.status {
        200 => serde_json::from_slice(&response.body).map_err(|error| error.to_string()),
        401 => Err("401: it asks for the page's token".to_owned()),
        429 => Err("429: too many wrong tokens were sent; try again in a minute".to_owned()),
        status => Err(status.to_string()),
    }
}

/// False if another server listens there, which has other sources: the address may be the default one.
fn is_of(overview: &Value, config: &Config) -> bool {
    let sources = overview["sources"].as_array().into_iter().flatten();
    sources.filter_map(|source| source["name"].as_str()).eq(config.sources.keys())
}

impl Running {
    /// The number of rejects by source, without zeros.
    fn counts(&self) -> Vec<(String, u64)> {
        let counts = self.rejected.as_object().into_iter().flatten();
        let counts = counts.map(|(source, count)| (source.clone(), count.as_u64().unwrap_or_default()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// The latest rejects, one a line.
    fn reasons(&self) -> Vec<String> {
        let rejects = self.rejects.as_array().into_iter().flatten();
        let text = |reject: &Value, key: &str| reject[key].as_str().unwrap_or("?").to_owned();
        let line = |reject: &Value| {
            let place = reject["source"].as_str().map_or_else(|| text(reject, "path"), str::to_owned);
            let count = reject["count"].as_u64().unwrap_or(1);
            let [why, last_at, peer] = ["text", "last_at", "peer"].map(|key| text(reject, key));
            format!("{place}: {why} ({count} x, last {last_at} from {peer})")
        };
        rejects.map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_odd_values_are_no_error() {
        let body =
            r#"{"rejected":{"a":2,"b":0,"c":"?"},"rejects":[{"source":"a","text":"no signature","count":2},{}]}"#;
        let overview = overview(&Response { status: 200, body: body.into() }).unwrap();
        let running = Running { rejected: overview["rejected"].clone(), rejects: overview["rejects"].clone() };
        assert_eq!(running.counts(), [("a".to_owned(), 2)]);
        assert_eq!(running.reasons()[0], "a: no signature (2 x, last ? from ?)");
        assert_eq!(running.reasons().len(), 2);
    }

    #[test]
    fn a_response_that_is_no_overview_says_why() {
        for (status, body, why) in [(401, "", "token"), (503, "", "503"), (200, "hello", "expected")] {
            let error = overview(&Response { status, body: body.into() }).unwrap_err();
            assert!(error.contains(why), "{status} {body}: {error}");
        }
    }
}
