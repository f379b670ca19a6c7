//! Regular work: old events are deleted, and a disk that fills up is reported in time.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::error::Result;
use super::observer::{self, Observer};
use super::rejects::RejectKeeper;
use super::thread::{Message, Thread, in_background};
use crate::clock::{self, ClockStepDetector, Timestamp};
use crate::config::{Config, Retention};
use crate::current::Current;
use crate::stop::{Stop, Waker};
use crate::store::{self, Database, Pruner, Rule, Selection};

/// The longest time between two rounds. The first round comes after one interval, so that a machine without a clock battery
/// has had time to set its clock.
const MAX_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// The shortest time between two rounds, for events that are kept for seconds only.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// Rounds within the shortest configured age: nothing is kept more than a tenth longer than configured.
const ROUNDS_PER_AGE: u32 = 10;

/// The pause after each batch, which leaves the disk to others for most of the time.
const PAUSE: Duration = Duration::from_millis(50);

/// The pause while events are processed. Pruning never stops altogether: a machine that is never idle fills its disk too.
const PAUSE_WHILE_BUSY: Duration = Duration::from_secs(1);

pub(super) fn start(
    database: &Database,
    config: Current<Config>,
    observer: Observer,
    rejects: RejectKeeper,
    messages: &Sender<Message>,
) -> Result<Thread> {
    let (stop, waker) = (Stop::default(), Waker::default());
    let housekeeper = Housekeeper {
        pruner: database.pruner()?,
        config,
        observer,
        rejects,
        waker: waker.clone(),
        stop: stop.clone(),
        started: Instant::now(),
        clock_steps: ClockStepDetector::default(),
        was_clock_trusted: true,
    };
    Thread::spawn("housekeeper", &stop, move || waker.wake(), messages, in_background(|| housekeeper.run()))
}

struct Housekeeper {
    pruner: Pruner,
    config: Current<Config>,
    observer: Observer,
    rejects: RejectKeeper,
    waker: Waker,
    stop: Stop,
    started: Instant,
    clock_steps: ClockStepDetector,
    was_clock_trusted: bool,
}

impl Housekeeper {
    fn run(mut self) {
        self.is_clock_trusted(clock::now());
        self.observer.observe_disk(clock::now());
        let mut last_round = Instant::now();
        loop {
            let until_round = interval(&self.config.get().retention).saturating_sub(last_round.elapsed());
            self.waker.wait(until_round.min(observer::INTERVAL));
            if self.stop.is_set() {
                self.rejects.keep_now();
                return;
            }
            let now = clock::now();
            let is_clock_trusted = self.is_clock_trusted(now);
            self.observer.observe(is_clock_trusted, now);
            self.rejects.keep();
            if last_round.elapsed() >= interval(&self.config.get().retention) {
                self.prune();
                last_round = Instant::now();
            }
        }
    }

    fn prune(&mut self) {
        let now = clock::now();
        let rules = self.config.get().retention.rules(now);
        let is_trusted = self.is_clock_trusted(now);
        if !is_trusted && self.was_clock_trusted && !rules.is_empty() {
            warn!("the clock was set, or is not set: nothing is pruned until it has been right for an hour");
        }
        self.was_clock_trusted = is_trusted;
        if !is_trusted || rules.is_empty() {
            return;
        }
        match self.delete(&rules) {
            Ok(0) => {}
            Ok(deleted) => info!("pruned {deleted} events"),
            Err(error) => warn!("old events cannot be pruned yet: {error}"),
        }
        self.pruner.shrink();
    }

    /// Returns how many events were deleted.
    fn delete(&self, rules: &[Rule]) -> store::Result<usize> {
        let pruner = &self.pruner;
        let pruned = pruner.for_each_batch(rules, &Selection::default(), |cursor, batch, _| {
            if self.stop.is_set() {
                return Ok(None);
            }
            let deleted = pruner.delete(cursor, batch)?;
            pruner.checkpoint();
            self.waker.wait(if pruner.is_busy()? { PAUSE_WHILE_BUSY } else { PAUSE });
            Ok(Some(deleted))
        })?;
        Ok(pruned.events)
    }

    fn is_clock_trusted(&mut self, now: Timestamp) -> bool {
        self.clock_steps.is_trusted(self.started.elapsed(), now)
    }
}

/// How long until the next round.
fn interval(retention: &Retention) -> Duration {
    retention.shortest().map_or(MAX_INTERVAL, |age| (age / ROUNDS_PER_AGE).clamp(MIN_INTERVAL, MAX_INTERVAL))
}
