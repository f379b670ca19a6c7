//! `hookbox stats`: counts by source and action, and how long the oldest have waited.

use std::io::{self, Write};

use super::running::{self, Running};
use super::table::{self, Screen, one_line};
use super::{Failure, json};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::news;
use crate::secret::Env;
use crate::store::{ActionStats, HourStats, Reader, SourceStats, Stats};
use crate::text::cut;
use crate::units::round_size_text;

/// Of an answer in a table.
const MAX_ANSWER_BYTES: usize = 60;

pub(super) fn run(config: &Config, as_json: bool, env: &Env<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let reader = Reader::open(&config.database)?;
    let (stats, hours) = (reader.stats()?, reader.hours(clock::now())?);
    let running = running::ask(config, env);
    if as_json {
        // `null` where the server cannot be asked.
        let Running { rejected, reasons, rejects, .. } = running.unwrap_or_default();
        let mut object = serde_json::json!(stats);
        object["hours"] = serde_json::json!(hours);
        object["rejected"] = rejected;
        object["reject_reasons"] = reasons;
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
        let silent = source.silent_since.as_ref().map(|since| format!("silent since {since}"));
        let is_configured = source.source == news::SOURCE || config.sources.contains_key(&source.source);
        let name = noted(&source.source, is_configured, silent);
        let numbers = [source.received, source.duplicates, source.events.unprocessed, source.events.error];
        let [received, duplicates, pending, failed] = numbers.map(|count| count.to_string());
        let [oldest, latest] = [&source.oldest_unprocessed, &source.last_received].map(|at| time(at.as_deref()));
        rows.push([name, received, duplicates, pending, failed, oldest, latest]);
    }
    table::write(out, screen, &rows)
}

fn write_actions(out: &mut dyn Write, screen: Screen, config: &Config, stats: &Stats) -> io::Result<()> {
    let header = ["ACTION", "PENDING", "DEAD", "SUCCEEDED", "CANCELLED", "SUPERSEDED", "OLDEST PENDING (UTC)"];
    let (now, mut rows) = (clock::now(), vec![header.map(str::to_owned)]);
    let idle = config.actions.keys().filter(|name| stats.actions.iter().all(|action| action.action != **name));
    let idle: Vec<_> = idle.map(|name| ActionStats { action: name.clone(), ..ActionStats::default() }).collect();
    for action in stats.actions.iter().chain(&idle) {
        let name = noted(&action.action, config.actions.contains_key(&action.action), wait_of(action, now));
        let numbers = [action.pending, action.dead, action.succeeded, action.cancelled, action.superseded];
        let [pending, dead, succeeded, cancelled, superseded] = numbers.map(|count| count.to_string());
        let oldest = time(action.oldest_pending.as_deref());
        rows.push([name, pending, dead, succeeded, cancelled, superseded, oldest]);
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
    let repeated = Some(sum(|it| it.repeated)).filter(|count| *count > 0);
    let repeated = repeated.map_or(String::new(), |count| format!(", {count} repeated"));
    let sizes = &stats.sizes;
    let free = sizes.disk_free_bytes.map_or("unknown".to_owned(), round_size_text);
    let [database, reusable, wal] = [sizes.database_bytes, sizes.reusable_bytes, sizes.wal_bytes].map(round_size_text);
    let (unprocessed, processed, error) = (events.unprocessed, events.processed, events.error);
    let rows = [
        ["events", &format!("{unprocessed} unprocessed, {processed} processed, {error} in error")],
        ["last 24 hours", &format!("{received} received, {duplicates} duplicates{repeated}, {failed} failed")],
        ["database", &config.database.display().to_string()],
        ["size", &format!("{database}, of which {reusable} can be used again; WAL {wal}; free on the disk {free}")],
    ];
    writeln!(out)?;
    table::write(out, Screen { columns: None, ..screen }, &rows.map(|row| row.map(one_line)))?;
    write_repeated(out, stats)?;
    write_recoveries(out, stats)
}

/// The sources that get back what they missed.
fn write_recoveries(out: &mut dyn Write, stats: &Stats) -> io::Result<()> {
    for it in &stats.recoveries {
        let (source, problems) = (one_line(&it.source), it.problems());
        writeln!(out, "missed by {source}: {} missing, {} recovered, {} lost", it.missing, it.recovered, it.lost)?;
        problems.iter().try_for_each(|problem| writeln!(out, "  {}", one_line(problem)))?;
    }
    Ok(())
}

/// Rare, so that it is no column.
fn write_repeated(out: &mut dyn Write, stats: &Stats) -> io::Result<()> {
    let counts = stats.sources.iter().filter(|source| source.repeated > 0);
    let counts: Vec<String> = counts.map(|source| format!("{} {}", source.source, source.repeated)).collect();
    if counts.is_empty() {
        return Ok(());
    }
    writeln!(out, "bodies repeated under another id, and ignored: {}", one_line(&counts.join(", ")))
}

/// Rejects are not stored: only the server knows them.
fn write_rejects(out: &mut dyn Write, running: Result<Running, String>) -> io::Result<()> {
    let running = match running {
        Ok(running) => running,
        Err(why) => return writeln!(out, "rejected: unknown, {}", one_line(&why)),
    };
    let counts: Vec<String> = running.counts().iter().map(|(source, count)| format!("{source} {count}")).collect();
    if counts.is_empty() {
        return writeln!(out, "rejected: none since the server started");
    }
    writeln!(out, "rejected since the server started: {}", one_line(&counts.join(", ")))?;
    running.latest().iter().try_for_each(|reject| writeln!(out, "  {}", one_line(&reject.line())))?;
    let reasons: Vec<String> = running.by_reason().iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    writeln!(out, "  by reason: {}", one_line(&reasons.join(", ")))
}

/// Why no job of an action is begun, or none succeeds.
fn wait_of(action: &ActionStats, now: Timestamp) -> Option<String> {
    if action.paused {
        return Some("paused".to_owned());
    }
    let Some(held_until) = action.held_until(now) else {
        return action.failing_text(now, MAX_ANSWER_BYTES).map(|failing| one_line(&failing));
    };
    let answer = action.held_because.as_deref().and_then(|answer| answer.lines().next());
    let answer = answer.map_or(String::new(), |answer| format!(": {}", one_line(&cut(answer, MAX_ANSWER_BYTES))));
    Some(format!("its destination asks to wait until {held_until}{answer}"))
}

fn noted(name: &str, is_configured: bool, wait: Option<String>) -> String {
    let not_configured = (!is_configured).then(|| "not configured".to_owned());
    let notes: Vec<String> = wait.into_iter().chain(not_configured).collect();
    if notes.is_empty() { one_line(name) } else { format!("{} ({})", one_line(name), notes.join(", ")) }
}

fn time(at: Option<&str>) -> String {
    at.map_or("-".to_owned(), |at| one_line(&table::time(at)))
}
