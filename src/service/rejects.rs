//! Keeps the latest rejects over a restart. Anyone can cause rejects: they are written rarely, however many there are, by a
//! thread that answers nothing, and no commit waits for the disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use crate::config::Config;
use crate::current::Current;
use crate::log::rate_limited;
use crate::metrics::Metrics;
use crate::store::{Disk, Rejects};

/// The shortest time between two writes: a flood of rejects makes at most 144 a day, of some 50 KiB each.
const MIN_BETWEEN_WRITES: Duration = Duration::from_secs(10 * 60);

pub(super) struct RejectKeeper {
    store: Rejects,
    metrics: Arc<Metrics>,
    config: Current<Config>,
    written_at: Option<Instant>,
    /// How many rejects there were when they were written.
    written: u64,
}

impl RejectKeeper {
    /// Restores those that are stored.
    pub(super) fn new(store: Rejects, metrics: Arc<Metrics>, config: Current<Config>) -> RejectKeeper {
        match store.read() {
            Ok((rejects, hours)) => {
                metrics.rejects.restore(rejects);
                metrics.hours.restore(&hours);
            }
            Err(error) => log::warn!("the rejects from before this start are not shown: {error}"),
        }
        RejectKeeper { store, metrics, config, written_at: None, written: 0 }
    }

    /// Writes what is new, unless something was written a short time ago.
    pub(super) fn keep(&mut self) {
        if self.written_at.is_none_or(|at| at.elapsed() >= MIN_BETWEEN_WRITES) {
            self.keep_now();
        }
    }

    /// For the end of the process.
    pub(super) fn keep_now(&mut self) {
        let count = self.metrics.rejects.count();
        if count == self.written || self.is_disk_full() {
            return;
        }
        let kept = (self.metrics.rejects.to_keep(), self.metrics.hours.all());
        self.written_at = Some(Instant::now());
        match self.store.replace(&kept) {
            Ok(()) => self.written = count,
            Err(error) => rate_limited(Level::Warn, "", "rejects", format_args!("rejects cannot be stored: {error}")),
        }
    }

    /// The reserve is for what was acknowledged.
    fn is_disk_full(&self) -> bool {
        Disk::is_full_at(self.store.path(), self.config.get().disk_reserve_bytes)
    }
}
