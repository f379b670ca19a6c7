//! `GET /metrics`: every count, and figures of the database and the process.

use std::sync::Arc;

use crate::clock::{self, Timestamp};
use crate::gate::Traffic;
use crate::metrics::exposition::{MetricType, Page, Unit};
use crate::metrics::{Metrics, RejectCounts, RejectReason};
use crate::store::{ActionStats, Stats};

/// The counts of both gates.
#[derive(Clone, Default)]
pub struct GateMetrics {
    pub public: Arc<Traffic>,
    pub admin: Arc<Traffic>,
}

/// Everything that the page shows.
pub struct Readings<'a> {
    pub metrics: &'a Metrics,
    pub traffic: &'a GateMetrics,
    pub stats: &'a Stats,
    pub is_well: bool,
    pub disk_reserve_bytes: u64,
    pub started_at: Timestamp,
}

/// The whole page.
pub fn page(readings: &Readings<'_>) -> String {
    let Readings { metrics, traffic, stats, is_well, disk_reserve_bytes, started_at } = *readings;
    let mut page = Page::default();
    page.single("hookbox_healthy", MetricType::Gauge, "1 where /healthz says that all is well.", is_well.into());
    page.single(
        "hookbox_disk_reserve_bytes",
        MetricType::Gauge,
        "What is to stay free on the disk.",
        disk_reserve_bytes,
    );
    deliveries(&mut page, metrics);
    connections(&mut page, traffic);
    attempts(&mut page, metrics);
    database(&mut page, stats);
    jobs(&mut page, stats, &metrics.actions());
    process(&mut page, started_at);
    page.into_text()
}

fn deliveries(page: &mut Page, metrics: &Metrics) {
    let sources = metrics.sources();
    let name = "hookbox_deliveries_total";
    page.metric(name, MetricType::Counter, "Deliveries to a configured source, by what became of them.");
    for (source, counts) in &sources {
        let outcomes = [
            ("stored", counts.stored.get()),
            ("duplicate", counts.duplicates.get()),
            ("replayed", counts.replayed.get()),
            ("handshake", counts.handshakes.get()),
            ("rejected", counts.rejects.total()),
            ("not_stored", counts.refused.get()),
        ];
        for (outcome, count) in outcomes {
            page.sample(name, &[("source", source), ("outcome", outcome)], count);
        }
    }
    let name = "hookbox_rejects_total";
    page.metric(
        name,
        MetricType::Counter,
        "Rejected deliveries by reason; without a source where the address was that of none.",
    );
    for (source, counts) in &sources {
        rejects(page, name, source, &counts.rejects);
    }
    rejects(page, name, "", &metrics.unmatched);
    let name = "hookbox_commit_deliveries";
    page.metric(name, MetricType::Histogram, "Deliveries that were committed together.");
    page.histogram(name, &[], Unit::Count, &metrics.commit_deliveries);
}

fn rejects(page: &mut Page, name: &str, source: &str, counts: &RejectCounts) {
    for (reason, word) in RejectReason::ALL {
        page.sample(name, &[("source", source), ("reason", word)], counts.of(reason).get());
    }
}

fn connections(page: &mut Page, traffic: &GateMetrics) {
    let each = [("public", &*traffic.public), ("admin", &*traffic.admin)];
    let mut of_each = |name: &str, kind: MetricType, help: &str, value: fn(&Traffic) -> u64| {
        page.metric(name, kind, help);
        for (listener, traffic) in each {
            page.sample(name, &[("listener", listener)], value(traffic));
        }
    };
    of_each("hookbox_connections_open", MetricType::Gauge, "Connections that are open.", |it| it.open.get());
    of_each("hookbox_connections_total", MetricType::Counter, "Connections that were accepted.", |it| {
        it.accepted.get()
    });
    let name = "hookbox_connections_forced_total";
    page.metric(name, MetricType::Counter, "Connections closed by force: to make room, or at a deadline.");
    for (listener, traffic) in each {
        page.sample(name, &[("listener", listener), ("reason", "room")], traffic.shed.get());
        page.sample(name, &[("listener", listener), ("reason", "deadline")], traffic.late.get());
    }
    let name = "hookbox_refused_requests_total";
    page.metric(
        name,
        MetricType::Counter,
        "Requests refused before they reached a source, by the status of the answer.",
    );
    for (listener, traffic) in each {
        for (status, count) in traffic.refused() {
            page.sample(name, &[("listener", listener), ("status", status)], count);
        }
    }
    let name = "hookbox_acknowledgement_seconds";
    page.metric(name, MetricType::Histogram, "From the last byte of a delivery to its acknowledgement.");
    page.histogram(name, &[], Unit::Microseconds, &traffic.public.acknowledgement);
}

fn attempts(page: &mut Page, metrics: &Metrics) {
    let actions = metrics.actions();
    let name = "hookbox_attempts_total";
    page.metric(name, MetricType::Counter, "Attempts of jobs, by what became of them.");
    for (action, counts) in &actions {
        let outcomes = [("success", &counts.succeeded), ("retry", &counts.failed), ("give_up", &counts.gave_up)];
        for (outcome, count) in outcomes {
            page.sample(name, &[("action", action), ("outcome", outcome)], count.get());
        }
    }
    let name = "hookbox_attempt_seconds";
    page.metric(name, MetricType::Histogram, "How long attempts took.");
    for (action, counts) in &actions {
        page.histogram(name, &[("action", action)], Unit::Microseconds, &counts.attempt);
    }
    let name = "hookbox_processing_seconds";
    page.metric(
        name,
        MetricType::Histogram,
        "From the reception of an event to the success of its job, in whole seconds.",
    );
    for (action, counts) in &actions {
        page.histogram(name, &[("action", action)], Unit::Microseconds, &counts.processing);
    }
}

/// Only sums, without a label for the source: other programs may insert any.
fn database(page: &mut Page, stats: &Stats) {
    let count = |count: i64| count.max(0).unsigned_abs();
    let name = "hookbox_events";
    page.metric(name, MetricType::Gauge, "Events in the database, by status.");
    let events = &stats.events;
    for (status, events) in
        [("unprocessed", events.unprocessed), ("processed", events.processed), ("error", events.error)]
    {
        page.sample(name, &[("status", status)], count(events));
    }
    let oldest = stats.oldest_unprocessed.as_deref().and_then(Timestamp::parse);
    let age_s = oldest.map_or(0, |at| clock::now().distance(at).as_secs());
    page.single(
        "hookbox_oldest_pending_seconds",
        MetricType::Gauge,
        "Age of the oldest unprocessed event; 0 where there is none.",
        age_s,
    );
    let sizes = &stats.sizes;
    page.single("hookbox_database_bytes", MetricType::Gauge, "Size of the database.", sizes.database_bytes);
    page.single("hookbox_database_reusable_bytes", MetricType::Gauge, "What of it is free.", sizes.reusable_bytes);
    page.single("hookbox_wal_bytes", MetricType::Gauge, "Size of the write-ahead log.", sizes.wal_bytes);
    if let Some(free_bytes) = sizes.disk_free_bytes {
        page.single("hookbox_disk_free_bytes", MetricType::Gauge, "Free on the disk of the database.", free_bytes);
    }
}

/// A configured action without jobs has zeros: a series that starts at 1 raises no alert.
fn jobs<T>(page: &mut Page, stats: &Stats, configured: &[(String, T)]) {
    let is_new = |name: &&String| !stats.actions.iter().any(|action| action.action == **name);
    let new = configured.iter().map(|(name, _)| name).filter(is_new);
    let new: Vec<ActionStats> =
        new.map(|name| ActionStats { action: name.clone(), ..ActionStats::default() }).collect();
    let actions = || stats.actions.iter().chain(&new);
    let count = |count: i64| count.max(0).unsigned_abs();
    let name = "hookbox_jobs";
    page.metric(
        name,
        MetricType::Gauge,
        "Jobs in the database, by action and state; pending ones are queued or running.",
    );
    for action in actions() {
        let states = [
            ("pending", action.pending),
            ("succeeded", action.succeeded),
            ("dead", action.dead),
            ("cancelled", action.cancelled),
        ];
        for (state, jobs) in states {
            page.sample(name, &[("action", &action.action), ("state", state)], count(jobs));
        }
    }
    let name = "hookbox_action_paused";
    page.metric(name, MetricType::Gauge, "1 where an action is paused.");
    for action in actions() {
        page.sample(name, &[("action", &action.action)], u64::from(action.paused));
    }
}

fn process(page: &mut Page, started_at: Timestamp) {
    let name = "hookbox_build_info";
    page.metric(name, MetricType::Gauge, "Which version runs.");
    page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let name = "process_start_time_seconds";
    page.metric(name, MetricType::Gauge, "When it started, in Unix time.");
    page.sample(name, &[], started_at.unix_ms() as f64 / 1000.0);
    if let Some(resident_bytes) = resident_bytes() {
        page.single("process_resident_memory_bytes", MetricType::Gauge, "Resident memory.", resident_bytes);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let resident_kib: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(resident_kib * 1024)
}
