//! `GET /metrics`: every count, and figures of the database and the process.

use std::sync::Arc;

use crate::clock::{self, Timestamp};
use crate::gate::Traffic;
use crate::metrics::exposition::{Page, Unit};
use crate::metrics::{Metrics, RejectReason};
use crate::store::{ActionStats, Stats};

/// The counts of both gates.
pub struct GateMetrics {
    pub public: Arc<Traffic>,
    pub admin: Arc<Traffic>,
}

/// The whole page.
pub fn page(
    metrics: &Metrics,
    traffic: &GateMetrics,
    stats: &Stats,
    is_well: bool,
    disk_reserve_bytes: u64,
    started_at: Timestamp,
) -> String {
    let mut page = Page::default();
    page.gauge("hookbox_healthy", "1 where /healthz says that all is well.").sample(&[], u64::from(is_well));
    page.gauge("hookbox_disk_reserve_bytes", "What is to stay free on the disk.").sample(&[], disk_reserve_bytes);
    deliveries(&mut page, metrics, stats);
    connections(&mut page, traffic);
    let help = "Requests at the page's listener that had a wrong token.";
    page.counter("hookbox_wrong_tokens_total", help).sample(&[], metrics.wrong_tokens.get());
    attempts(&mut page, metrics);
    database(&mut page, stats);
    jobs(&mut page, stats, &metrics.actions());
    process(&mut page, started_at);
    page.into_text()
}

fn deliveries(page: &mut Page, metrics: &Metrics, stats: &Stats) {
    let sources = metrics.sources();
    let help = "Deliveries to a configured source, by what became of them.";
    let mut metric = page.counter("hookbox_deliveries_total", help);
    for (source, counts) in &sources {
        let outcomes = [
            ("stored", counts.stored.get()),
            ("duplicate", counts.duplicates.get()),
            ("replayed", counts.replayed.get()),
            ("repeated", counts.repeated.get()),
            ("handshake", counts.handshakes.get()),
            ("rejected", counts.rejects.total()),
            ("not_stored", counts.refused.get()),
        ];
        for (outcome, count) in outcomes {
            metric.sample(&[("source", source), ("outcome", outcome)], count);
        }
    }
    let help = "Rejected requests by reason, those too that were refused before they reached a source; without a source where \
                the path is that of none.";
    let mut metric = page.counter("hookbox_rejects_total", help);
    let of_sources = sources.iter().map(|(source, counts)| (source.as_str(), &counts.rejects));
    for (source, counts) in of_sources.chain([("", &metrics.unmatched)]) {
        for (reason, label) in RejectReason::ALL {
            metric.sample(&[("source", source), ("reason", label)], counts.of(reason).get());
        }
    }
    let help = "When a delivery was last received, in Unix time; 0 where none was.";
    let mut metric = page.gauge("hookbox_last_received_timestamp_seconds", help);
    for (source, counts) in &sources {
        let stored =
            stats.sources.iter().find(|stats| stats.source == *source).and_then(|it| it.last_received.as_deref());
        let stored_ms = stored.and_then(Timestamp::parse).map_or(0, |at| at.unix_ms().unsigned_abs());
        metric.sample(&[("source", source)], counts.last_received_ms.get().max(stored_ms) / 1000);
    }
    recoveries(page, stats);
    silence(page, sources.iter().map(|(name, _)| name.as_str()), stats);
    let mut metric = page.histogram("hookbox_commit_deliveries", "Deliveries that were committed together.");
    metric.distribution(&[], Unit::Count, &metrics.commit_deliveries);
}

fn silence<'a>(page: &mut Page, sources: impl Iterator<Item = &'a str>, stats: &Stats) {
    let now = clock::now();
    let help = "For how long a source has received nothing, where that is longer than its expect_every; otherwise 0.";
    let mut metric = page.gauge("hookbox_source_silent_seconds", help);
    for source in sources {
        let stats = stats.sources.iter().find(|stats| stats.source == source);
        let since = stats.and_then(|stats| stats.silent_since.as_deref()).and_then(Timestamp::parse);
        metric.sample(&[("source", source)], since.map_or(0, |since| since.distance(now).as_secs()));
    }
}

/// Of the sources that get back what they missed.
fn recoveries(page: &mut Page, stats: &Stats) {
    if stats.recoveries.is_empty() {
        return;
    }
    let mut metric =
        page.gauge("hookbox_recover_missing", "Deliveries that a provider lists and that were not stored.");
    for it in &stats.recoveries {
        metric.sample(&[("source", &it.source)], it.missing);
    }
    let mut metric = page.counter("hookbox_recovered_total", "Missed deliveries that came back.");
    for it in &stats.recoveries {
        metric.sample(&[("source", &it.source)], it.recovered);
    }
    let help = "Missed deliveries of the last hundred days that cannot be had any more.";
    let mut metric = page.gauge("hookbox_recover_lost", help);
    for it in &stats.recoveries {
        metric.sample(&[("source", &it.source)], it.lost);
    }
    let mut metric = page.gauge("hookbox_recover_failing", "1 where what was missed cannot be recovered now.");
    for it in &stats.recoveries {
        metric.sample(&[("source", &it.source)], u64::from(it.failing_since.is_some()));
    }
}

fn connections(page: &mut Page, traffic: &GateMetrics) {
    let each = [("public", &*traffic.public), ("admin", &*traffic.admin)];
    let mut metric = page.gauge("hookbox_connections_open", "Connections that are open.");
    for (listener, traffic) in each {
        metric.sample(&[("listener", listener)], traffic.open.get());
    }
    let mut metric = page.counter("hookbox_connections_total", "Connections that were accepted.");
    for (listener, traffic) in each {
        metric.sample(&[("listener", listener)], traffic.accepted.get());
    }
    let help = "Connections closed by force: to make room, or at a deadline.";
    let mut metric = page.counter("hookbox_connections_forced_total", help);
    for (listener, traffic) in each {
        metric.sample(&[("listener", listener), ("reason", "room")], traffic.shed.get());
        metric.sample(&[("listener", listener), ("reason", "deadline")], traffic.late.get());
    }
    let help = "Requests refused before they reached a source, by the status of the answer.";
    let mut metric = page.counter("hookbox_refused_requests_total", help);
    for (listener, traffic) in each {
        for (status, count) in traffic.refused() {
            metric.sample(&[("listener", listener), ("status", status)], count);
        }
    }
    let help = "From the last byte of a delivery to its acknowledgement.";
    let mut metric = page.histogram("hookbox_acknowledgement_seconds", help);
    metric.distribution(&[], Unit::Microseconds, &traffic.public.acknowledgement);
}

fn attempts(page: &mut Page, metrics: &Metrics) {
    let actions = metrics.actions();
    let mut metric = page.counter("hookbox_attempts_total", "Attempts of jobs, by what became of them.");
    for (action, counts) in &actions {
        let outcomes = [("success", &counts.succeeded), ("retry", &counts.failed), ("give_up", &counts.gave_up)];
        for (outcome, count) in outcomes {
            metric.sample(&[("action", action), ("outcome", outcome)], count.get());
        }
    }
    let mut metric = page.histogram("hookbox_attempt_seconds", "How long attempts took.");
    for (action, counts) in &actions {
        metric.distribution(&[("action", action)], Unit::Microseconds, &counts.attempt);
    }
    let help = "From the reception of an event to the success of its job, in whole seconds.";
    let mut metric = page.histogram("hookbox_processing_seconds", help);
    for (action, counts) in &actions {
        metric.distribution(&[("action", action)], Unit::Microseconds, &counts.processing);
    }
}

/// Only sums, without a label for the source: other programs may insert any.
fn database(page: &mut Page, stats: &Stats) {
    let Stats { events, sizes, .. } = stats;
    let mut metric = page.gauge("hookbox_events", "Events in the database, by status.");
    metric.sample(&[("status", "unprocessed")], events.unprocessed);
    metric.sample(&[("status", "processed")], events.processed);
    metric.sample(&[("status", "error")], events.error);
    let oldest = stats.oldest_unprocessed.as_deref().and_then(Timestamp::parse);
    let age_s = oldest.map_or(0, |at| clock::now().distance(at).as_secs());
    let help = "Age of the oldest unprocessed event; 0 where there is none.";
    page.gauge("hookbox_oldest_pending_seconds", help).sample(&[], age_s);
    page.gauge("hookbox_database_bytes", "Size of the database.").sample(&[], sizes.database_bytes);
    page.gauge("hookbox_database_reusable_bytes", "What of it is free.").sample(&[], sizes.reusable_bytes);
    page.gauge("hookbox_wal_bytes", "Size of the write-ahead log.").sample(&[], sizes.wal_bytes);
    if let Some(free_bytes) = sizes.disk_free_bytes {
        page.gauge("hookbox_disk_free_bytes", "Free on the disk of the database.").sample(&[], free_bytes);
    }
}

/// A configured action without jobs has zeros: a series that starts at 1 raises no alert.
fn jobs<T>(page: &mut Page, stats: &Stats, configured: &[(String, T)]) {
    let is_new = |name: &&String| !stats.actions.iter().any(|action| action.action == **name);
    let new = configured.iter().map(|(name, _)| name).filter(is_new);
    let new: Vec<ActionStats> =
        new.map(|name| ActionStats { action: name.clone(), ..ActionStats::default() }).collect();
    let actions = || stats.actions.iter().chain(&new);
    let help = "Jobs in the database, by action and state; pending ones are queued or running.";
    let mut metric = page.gauge("hookbox_jobs", help);
    for action in actions() {
        let states = [
            ("pending", action.pending),
            ("succeeded", action.succeeded),
            ("dead", action.dead),
            ("cancelled", action.cancelled),
            ("superseded", action.superseded),
        ];
        for (state, jobs) in states {
            metric.sample(&[("action", &action.action), ("state", state)], jobs);
        }
    }
    let mut metric = page.gauge("hookbox_action_paused", "1 where an action is paused.");
    for action in actions() {
        metric.sample(&[("action", &action.action)], u64::from(action.paused));
    }
    let help = "For how long the destination of an action has still asked to wait; 0 where it has not.";
    let mut metric = page.gauge("hookbox_action_held_seconds", help);
    for action in actions() {
        let left_ms = action.held_until_ms.map_or(0, |until_ms| (until_ms - clock::now().unix_ms()).max(0));
        metric.sample(&[("action", &action.action)], left_ms / 1000);
    }
    failing(page, &actions().collect::<Vec<_>>());
}

/// The latest error is no label: others choose it. Those that wait are the pending jobs.
fn failing(page: &mut Page, actions: &[&ActionStats]) {
    let now = clock::now();
    let help = "For how long an action has failed; 0 where it works.";
    let mut metric = page.gauge("hookbox_action_failing_seconds", help);
    for action in actions {
        let since = action.failing.as_ref().and_then(|failing| Timestamp::parse(&failing.since));
        // At least 1: times are in whole seconds.
        let failed_s = since.map_or(0, |since| since.distance(now).as_secs().max(1));
        metric.sample(&[("action", &action.action)], failed_s);
    }
    let help = "How long until a failing action is tried again; 0 where that is now, or it works.";
    let mut metric = page.gauge("hookbox_action_next_attempt_seconds", help);
    for action in actions {
        let next = action.failing.as_ref().and_then(|failing| failing.next_attempt_at.as_deref());
        let next = next.and_then(Timestamp::parse).filter(|next| *next > now);
        metric.sample(&[("action", &action.action)], next.map_or(0, |next| next.distance(now).as_secs()));
    }
}

fn process(page: &mut Page, started_at: Timestamp) {
    let mut metric = page.gauge("hookbox_build_info", "Which version runs.");
    metric.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let mut metric = page.gauge("process_start_time_seconds", "When it started, in Unix time.");
    metric.sample(&[], started_at.unix_ms() as f64 / 1000.0);
    let help = "Lines of the log that were dropped, because standard error was not read.";
    page.counter("hookbox_log_lines_dropped_total", help).sample(&[], crate::log::dropped_lines());
    if let Some(resident_bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Resident memory.").sample(&[], resident_bytes);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let resident_kib: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(resident_kib * 1024)
}
