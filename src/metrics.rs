//! The counts of the running server, for Prometheus and for the page. Every number is an atomic, so that a count costs an
//! addition. Numbers about the database's contents are not counted here but queried on demand.
//!
//! Labels are the sources and actions of the configuration, and words of this program, never a sender's.

pub mod exposition;
mod rejects;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use rejects::{Hours, Reject, RejectReason, Rejects};

use crate::event::Outcome;

/// For attempts, in microseconds: from printing a line to a command of ten minutes.
const ATTEMPT_BOUNDS_US: [u64; 10] =
    [1_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 30_000_000, 120_000_000, 600_000_000];

/// For processing, in microseconds: from none to a day of retries. The times in the database are whole seconds.
const PROCESSING_BOUNDS_US: [u64; 9] = [
    1_000_000,
    2_000_000,
    5_000_000,
    15_000_000,
    60_000_000,
    300_000_000,
    1_800_000_000,
    10_800_000_000,
    86_400_000_000,
];

/// For the deliveries of a commit: powers of two up to the number of the gate's upstream connections.
const BATCH_BOUNDS: [u64; 6] = [1, 2, 4, 8, 16, 32];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts of values by upper bound.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for the values above all of them.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    /// `bounds` ascend.
    pub fn new(bounds: &'static [u64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub fn observe(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// For bounds in microseconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    pub commit_deliveries: Histogram,
    /// Rejects by the hour.
    pub hours: Hours,
    pub rejects: Rejects,
    sources: Labelled<SourceCounts>,
    /// Rejects of requests that match no source.
    pub unmatched: RejectCounts,
    /// Sent to the private listener.
    pub wrong_tokens: Counter,
    actions: Labelled<ActionCounts>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            commit_deliveries: Histogram::new(&BATCH_BOUNDS),
            hours: Hours::default(),
            rejects: Rejects::default(),
            sources: Labelled::default(),
            unmatched: RejectCounts::default(),
            wrong_tokens: Counter::default(),
            actions: Labelled::default(),
        }
    }
}

impl Metrics {
    /// The counts of a configured source.
    pub fn source(&self, name: &str) -> Arc<SourceCounts> {
        self.sources.get(name, || SourceCounts { name: name.to_owned(), ..SourceCounts::default() })
    }

    /// The counts of a configured action.
    pub fn action(&self, name: &str) -> Arc<ActionCounts> {
        self.actions.get(name, ActionCounts::default)
    }

    pub fn sources(&self) -> Vec<(String, Arc<SourceCounts>)> {
        self.sources.all()
    }

    /// By source and reason; under an empty name those that match no source.
    pub fn reject_reasons(&self) -> BTreeMap<String, BTreeMap<&'static str, u64>> {
        let of_sources = self.sources().into_iter().map(|(name, counts)| (name, counts.rejects.by_reason()));
        let all = of_sources.chain([(String::new(), self.unmatched.by_reason())]);
        all.filter(|(_, reasons)| !reasons.is_empty()).collect()
    }

    pub fn actions(&self) -> Vec<(String, Arc<ActionCounts>)> {
        self.actions.all()
    }
}

/// Counts by label. A label that a new configuration drops keeps its numbers, because a counter never falls.
#[derive(Debug, Default)]
struct Labelled<T>(Mutex<BTreeMap<String, Arc<T>>>);

impl<T> Labelled<T> {
    fn get(&self, label: &str, new: impl FnOnce() -> T) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(label.to_owned()).or_insert_with(|| Arc::new(new())))
    }

    fn all(&self) -> Vec<(String, Arc<T>)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(label, counts)| (label.clone(), Arc::clone(counts))).collect()
    }
}

/// The deliveries of a source, by result.
#[derive(Debug, Default)]
pub struct SourceCounts {
    pub name: String,
    pub stored: Counter,
    pub duplicates: Counter,
    /// Duplicates that have queued dead jobs again, or that came after `dedup_window`.
    pub replayed: Counter,
    /// Bodies of stored events under another id, which the source ignores.
    pub repeated: Counter,
    pub handshakes: Counter,
    /// Answered 503: they could not be stored.
    pub refused: Counter,
    pub rejects: RejectCounts,
    /// When a delivery was last acknowledged, in Unix time; 0 if none was since the start.
    pub last_received_ms: Gauge,
}

/// Rejects by their reason.
#[derive(Debug, Default)]
pub struct RejectCounts([Counter; RejectReason::ALL.len()]);

impl RejectCounts {
    pub fn of(&self, reason: RejectReason) -> &Counter {
        &self.0[reason as usize]
    }

    pub fn total(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }

    /// The reasons that have occurred, with their numbers.
    pub fn by_reason(&self) -> BTreeMap<&'static str, u64> {
        let counts = RejectReason::ALL.into_iter().map(|(reason, label)| (label, self.of(reason).get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// The attempts of an action, by outcome.
#[derive(Debug)]
pub struct ActionCounts {
    pub succeeded: Counter,
    pub failed: Counter,
    pub gave_up: Counter,
    pub attempt: Histogram,
    /// From receiving the event to the success.
    pub processing: Histogram,
}

impl Default for ActionCounts {
    fn default() -> ActionCounts {
        ActionCounts {
            succeeded: Counter::default(),
            failed: Counter::default(),
            gave_up: Counter::default(),
            attempt: Histogram::new(&ATTEMPT_BOUNDS_US),
            processing: Histogram::new(&PROCESSING_BOUNDS_US),
        }
    }
}

impl ActionCounts {
    /// `None` for an attempt without a result.
    pub fn of(&self, outcome: Outcome) -> Option<&Counter> {
        match outcome {
            Outcome::Success => Some(&self.succeeded),
            Outcome::Retry { .. } | Outcome::Busy { .. } => Some(&self.failed),
            Outcome::GiveUp => Some(&self.gave_up),
            Outcome::Interrupted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(histogram: &Histogram) -> Vec<u64> {
        histogram.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn a_value_on_a_bound_lies_below_it() {
        let histogram = Histogram::new(&[1, 2, 4]);
        for value in [0, 1, 2, 3, 4, 5, u64::MAX - 20] {
            histogram.observe(value);
        }
        assert_eq!(counts(&histogram), [2, 1, 2, 2]);
    }

    #[test]
    fn a_label_keeps_its_numbers() {
        let metrics = Metrics::default();
        metrics.source("a").stored.add(2);
        metrics.source("a").stored.add(1);
        assert_eq!(metrics.sources().len(), 1);
        assert_eq!((metrics.source("a").name.as_str(), metrics.source("a").stored.get()), ("a", 3));
    }
}
